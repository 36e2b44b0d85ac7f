"""The GET side of the chat APIs: lists of models, single models, and the few other documents that clients ask for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from acytoo.dialects.base import Dialect
from acytoo.dialects.server_side import secrets_in
from acytoo.errors import NotFoundError
from acytoo.http import ServerRequest
from acytoo.server.auth import require_password
from acytoo.server.backends import model_names
from acytoo.server.config import ServerConfig

_STARTED = int(time.time())
"""When the server's models were created, as far as their lists are concerned."""


def model_routes(config: ServerConfig) -> Iterator[web.RouteDef]:
    """Yield the routes of every dialect's model list and of its fixed documents."""
    for path in dict.fromkeys(path for dialect in config.dialects for path in dialect.list_routes):
        sharing = [dialect for dialect in config.dialects if path in dialect.list_routes]
        yield web.get(path, _models_handler(sharing, config))
    for dialect in config.dialects:
        for (method, path), document in dialect.fixed_documents.items():
            yield web.route(method, path, _document_handler(document, config))


def _models_handler(sharing: list[Dialect], config: ServerConfig) -> Handler:
    """Return the handler of a path that these dialects share: the one whose client asks answers, else the first."""
    names = model_names(config.backends)

    async def handle(request: web.Request) -> web.Response:
        _authenticate(request, config)
        dialect = next((dialect for dialect in sharing if dialect.is_client(bodiless(request))), sharing[0])
        name = request.match_info.get("model")
        if name is None:
            return _json(dialect.models(names, _STARTED))
        for other in sharing:  # clients of the shared paths send one another's prefixes
            name = name.removeprefix(other.model_prefix)
        if name not in names:
            raise NotFoundError(f"unknown model {name!r}", status=404, code="not_found_error")
        return _json(dialect.model(name, _STARTED))

    return handle


def _document_handler(document: Mapping[str, Any], config: ServerConfig) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        _authenticate(request, config)
        return _json(document)

    return handle


def bodiless(request: web.Request) -> ServerRequest:
    """Return the request without its body, for what is decided by path, headers and query alone."""
    return ServerRequest(request.path, request.headers, b"", request.query)


def _authenticate(request: web.Request, config: ServerConfig) -> None:
    require_password(config.password, secrets_in(bodiless(request)))


def _json(document: Mapping[str, Any]) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")
