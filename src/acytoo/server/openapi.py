"""What the server answers, as an OpenAPI description: every path it has, in whose API, and no more than is true."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from acytoo import __version__
from acytoo.server.config import ServerConfig


def add_description(app: web.Application, config: ServerConfig) -> None:
    """`GET /openapi.json`: made from the routes that the application has."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(description(app, config)), content_type="application/json")

    app.router.add_get("/openapi.json", answer)


def description(app: web.Application, config: ServerConfig) -> dict[str, Any]:
    """The description; bodies are only said to be JSON objects, as their fields are each API's own."""
    whose = {_path(route): dialect for dialect in config.dialects for route in (*dialect.routes, *dialect.count_routes)}
    paths: dict[str, Any] = {}
    for route in app.router.routes():
        path = route.resource.canonical if route.resource is not None else ""
        if route.method == "HEAD":
            continue
        dialect = whose.get(path)
        operation: dict[str, Any] = {
            "operationId": f"{route.method.lower()} {path}",
            "responses": {
                "200": {"description": "the answer"},
                "4XX": {"description": "the request is wrong, or the backend refused it"},
                "5XX": {"description": "the backend failed"},
            },
        }
        if names := [part.partition("}")[0] for part in path.split("{")[1:]]:
            operation["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
            ]
        if dialect is not None:
            operation["tags"] = [dialect.name]
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _OBJECT}}}
        paths.setdefault(path, {})[route.method.lower()] = operation
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


def _path(route: str) -> str:
    """The route without the pattern of its names."""
    return route.replace(":.+}", "}")


_OBJECT = {"type": "object"}
