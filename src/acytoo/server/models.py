"""What clients ask for besides replies: which models there are, which version, how many tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from acytoo import __version__
from acytoo.dialects.server_side import keyed_secrets
from acytoo.errors import AuthenticationError, NotFoundError
from acytoo.http import ServerRequest
from acytoo.server.config import ServerConfig

_STARTED = int(time.time())
_OLLAMA_VERSION = "0.12.0"
"""The Ollama API version that our answers are modelled on; its clients compare it."""


def add_listings(app: web.Application, config: ServerConfig) -> None:
    """Model lists for each API's clients; a wrong password is refused as anywhere."""
    names = model_names(config)

    def listed(render: Callable[[list[str]], Any]) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            _admit(request, config)
            return _json(render(names))

        return answer

    def one(render: Callable[[str], Any]) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            _admit(request, config)
            name = request.match_info["model"].removeprefix("models/")
            if name not in names:
                raise NotFoundError(f"no model is called {name!r}", status=404, code="not_found_error")
            return _json(render(name))

        return answer

    async def v1_models(request: web.Request) -> web.Response:
        _admit(request, config)
        return _json(_v1_lists[client_dialect(request)](names))

    async def v1_model(request: web.Request) -> web.StreamResponse:
        return await one(_v1_model[client_dialect(request)])(request)

    async def show(request: web.Request) -> web.Response:
        _admit(request, config)
        return _json({"details": _DETAILS, "model_info": {}, "capabilities": ["completion", "tools"], "parameters": ""})

    app.router.add_get("/v1/models", v1_models)
    app.router.add_get("/v1/models/{model:.+}", v1_model)
    app.router.add_get("/v1beta/models", listed(_gemini_list))
    app.router.add_get("/v1beta/models/{model:.+}", one(_gemini_model))
    app.router.add_get("/api/version", listed(lambda names: {"version": _OLLAMA_VERSION}))
    app.router.add_get("/api/tags", listed(lambda names: {"models": [_ollama_model(name) for name in names]}))
    app.router.add_get("/api/ps", listed(lambda names: {"models": [_ollama_model(name) for name in names]}))
    app.router.add_post("/api/show", show)


def model_names(config: ServerConfig) -> list[str]:
    """Names that can be asked for, one for each backend that has a model of its own, or needs none.

    It is the default backend's model as it is, unless that would ask for another backend.
    """
    found = []
    default = next(iter(config.backends))
    for name, backend in config.backends.items():
        if backend.model:
            plain = name == default and config.route(backend.model) == (name, backend.model)
            found.append(backend.model if plain else f"{name}/{backend.model}")
        elif not backend.needs_model:
            found.append(name)
    return found


def _admit(request: web.Request, config: ServerConfig) -> None:
    if not config.admits(keyed_secrets(ServerRequest(request.path, request.headers, b"", request.query))):
        raise AuthenticationError("the password or key is missing or wrong", status=401, code="authentication_error")


def _json(document: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")


def _openai_list(names: list[str]) -> dict[str, Any]:
    return {"object": "list", "data": [_openai_model(name) for name in names]}


def _openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _STARTED, "owned_by": "acytoo"}


def _anthropic_list(names: list[str]) -> dict[str, Any]:
    return {
        "data": [_anthropic_model(name) for name in names],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }


def _anthropic_model(name: str) -> dict[str, Any]:
    created = datetime.fromtimestamp(_STARTED, UTC).isoformat()
    return {"type": "model", "id": name, "display_name": name, "created_at": created, "lifecycle": "active"}


def _gemini_model(name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "displayName": name,
        "version": __version__,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
    }


def _gemini_list(names: list[str]) -> dict[str, Any]:
    return {"models": [_gemini_model(name) for name in names]}


def client_dialect(request: web.Request) -> str:
    """Whose client asks on a path that three APIs share; by what only each one's sends."""
    if "anthropic-version" in request.headers:
        return "anthropic"
    gemini = "key" in request.query or request.headers.keys() & {"x-goog-api-key", "x-goog-api-client"}
    return "gemini" if gemini else "openai"


_v1_lists = {"openai": _openai_list, "anthropic": _anthropic_list, "gemini": _gemini_list}
_v1_model = {"openai": _openai_model, "anthropic": _anthropic_model, "gemini": _gemini_model}

_DETAILS = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}


def _ollama_model(name: str) -> dict[str, Any]:
    modified = datetime.fromtimestamp(_STARTED, UTC).isoformat()
    return {"name": name, "model": name, "modified_at": modified, "size": 0, "digest": "", "details": _DETAILS}
