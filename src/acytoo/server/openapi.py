"""`GET /openapi.json`: an OpenAPI description of the server's paths."""

from __future__ import annotations

import msgspec
from aiohttp import web

from acytoo._version import __version__
from acytoo.server.config import ServerConfig
from acytoo.types import JSONObject

_OBJECT = {"type": "object"}
_RESPONSES = {
    "200": {"description": "the answer"},
    "4XX": {"description": "the request is wrong, or the backend rejected it"},
    "5XX": {"description": "the backend failed"},
}


def openapi_route(config: ServerConfig) -> web.RouteDef:
    """Return the route of the description."""

    async def handle(request: web.Request) -> web.Response:
        document = openapi_document(request.app, config)
        return web.Response(body=msgspec.json.encode(document), content_type="application/json")

    return web.get("/openapi.json", handle)


def openapi_document(app: web.Application, config: ServerConfig) -> JSONObject:
    """Describe the routes of the application. Bodies are plain objects: each API's own reference has their fields."""
    tags = {
        _without_pattern(path): dialect.name
        for dialect in config.dialects
        for path in (*dialect.routes, *dialect.count_routes)
    }
    paths: JSONObject = {}
    for route in app.router.routes():
        path = route.resource.canonical if route.resource is not None else ""
        if route.method != "HEAD":
            paths.setdefault(path, {})[route.method.lower()] = _operation(route.method, path, tags.get(path))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Acytoo",
            "version": __version__,
            "description": "One server in every chat API; each API's own reference describes its bodies.",
        },
        "components": {"securitySchemes": {"password": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"password": []}],
        "paths": paths,
    }


def _operation(method: str, path: str, tag: str | None) -> JSONObject:
    operation: JSONObject = {"operationId": f"{method.lower()} {path}", "responses": _RESPONSES}
    if names := [part.partition("}")[0] for part in path.split("{")[1:]]:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if tag is not None:
        operation["tags"] = [tag]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _OBJECT}}}
    return operation


def _without_pattern(path: str) -> str:
    """Return a route's path as aiohttp's `canonical` has it, without the pattern of its variable."""
    return path.replace(":.+}", "}")
