"""`GET /openapi.json`: an OpenAPI description of the server's paths."""

from __future__ import annotations

from acytoo._version import __version__
from acytoo.http import HTTPResponse
from acytoo.server.request import IncomingRequest
from acytoo.server.response import json_response
from acytoo.server.router import PathRoute
from acytoo.types import JSONObject

_OBJECT = {"type": "object"}
_RESPONSES = {
    "200": {"description": "the answer"},
    "4XX": {"description": "the request is wrong, or the backend rejected it"},
    "5XX": {"description": "the backend failed"},
}


def openapi_route(routes: list[PathRoute]) -> PathRoute:
    """Return the route of the description of these routes and its own."""

    async def handle(_: IncomingRequest) -> HTTPResponse:
        return json_response(openapi_document([*routes, route]))

    route = PathRoute("GET", "/openapi.json", handle, is_public=True)
    return route


def openapi_document(routes: list[PathRoute]) -> JSONObject:
    """Describe the routes. Bodies are plain objects: each API's own reference has their fields."""
    paths: JSONObject = {}
    for route in routes:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
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


def _operation(route: PathRoute) -> JSONObject:
    path = route.template
    operation: JSONObject = {"operationId": f"{route.method.lower()} {path}", "responses": _RESPONSES}
    if names := [part.partition("}")[0] for part in path.split("{")[1:]]:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if route.dialect is not None:
        operation["tags"] = [route.dialect.name]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _OBJECT}}}
    return operation
