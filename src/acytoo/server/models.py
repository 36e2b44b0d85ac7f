"""The GET side of the chat APIs: lists of models, single models, and the few other documents that clients ask for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from acytoo.dialects.base import Dialect
from acytoo.errors import NotFoundError
from acytoo.http import HTTPResponse
from acytoo.server.request import IncomingRequest
from acytoo.server.response import json_response
from acytoo.server.router import Handler, PathRoute

NamesFor: TypeAlias = Callable[[IncomingRequest], list[str]]
"""Returns the names of the models that a request may ask for."""

_STARTED = int(time.time())
"""When the server's models were created, as far as their lists are concerned."""


def model_routes(dialects: Sequence[Dialect], names_for: NamesFor) -> Iterator[PathRoute]:
    """Yield the routes of every dialect's model list and of its fixed documents."""
    for path in dict.fromkeys(path for dialect in dialects for path in dialect.list_routes):
        sharing = [dialect for dialect in dialects if path in dialect.list_routes]
        yield PathRoute("GET", path, _models_handler(sharing, names_for))
    for dialect in dialects:
        for (method, path), document in dialect.fixed_documents.items():
            yield PathRoute(method, path, _document_handler(document))


def _models_handler(sharing: list[Dialect], names_for: NamesFor) -> Handler:
    """Return the handler of a path that these dialects share: the one whose client asks answers, else the first."""

    async def handle(request: IncomingRequest) -> HTTPResponse:
        names = names_for(request)
        received = request.received()
        shared = next((dialect for dialect in sharing if dialect.is_client(received)), sharing[0])
        dialect = shared.for_client(received)
        name = request.model
        if not name:
            return json_response(dialect.models(names, _STARTED))
        for other in sharing:  # clients of the shared paths send one another's prefixes
            name = name.removeprefix(other.model_prefix)
        if name not in names:
            raise NotFoundError(f"unknown model {name!r}", status=404)
        return json_response(dialect.model(name, _STARTED))

    return handle


def _document_handler(document: Mapping[str, Any]) -> Handler:
    async def handle(_: IncomingRequest) -> HTTPResponse:
        return json_response(document)

    return handle
