"""`GET /openapi.json` describes every path of the server, and nothing else."""

from __future__ import annotations

import json

from acytoo import dialects
from acytoo._version import __version__
from acytoo.http import HTTPResponse
from acytoo.server.openapi import openapi_document
from acytoo.server.request import IncomingRequest
from acytoo.server.router import PathRoute
from acytoo.testing import reply
from tests.server.live_server import call, example, head, live_server


async def test_every_path_is_described_and_answered() -> None:
    async with live_server(reply("Hello")) as server:
        described = json.loads((await call(server.port, head("GET /openapi.json HTTP/1.1"))).body)
        assert described["openapi"] == "3.1.0"
        for dialect in dialects.ALL:
            path, _ = example(dialect, stream=False)
            operation = described["paths"][path.replace("models/m-1", "models/{model}")]["post"]
            assert operation["tags"] == [dialect.name]
            assert operation["requestBody"]["required"]
            assert list(operation["requestBody"]["content"]) == ["application/json"]
            if "models/m-1" in path:
                model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
                assert operation["parameters"] == [model]
        for path, methods in described["paths"].items():
            for method in methods:
                answer = await call(
                    server.port,
                    head(f"{method.upper()} {path.replace('{model}', 'm-1')} HTTP/1.1", "content-length: 0\r\n"),
                )
                assert answer.status in (200, 400), path


async def test_every_operation_has_a_unique_id() -> None:
    async with live_server(reply("Hello")) as server:
        described = json.loads((await call(server.port, head("GET /openapi.json HTTP/1.1"))).body)
        found = [operation["operationId"] for path in described["paths"].values() for operation in path.values()]
        assert len(found) == len(set(found))


async def _answer(_: IncomingRequest) -> HTTPResponse:
    return HTTPResponse(200, {}, b"")


def test_a_document_has_these_fields_and_no_others() -> None:
    routes = [
        PathRoute("POST", "/chat", _answer, dialects.OpenAI()),
        PathRoute("GET", "/models/{model:.+}", _answer, is_public=True),
        PathRoute("DELETE", "/models/{model:.+}", _answer),
        PathRoute("POST", "/models/{model:.+}:ask", _answer, dialects.Gemini()),
    ]
    responses = {
        "200": {"description": "the answer"},
        "4XX": {"description": "the request is wrong, or the backend rejected it"},
        "5XX": {"description": "the backend failed"},
    }
    body = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    model = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    one = "/models/{model}"
    assert openapi_document(routes) == {
        "openapi": "3.1.0",
        "info": {
            "title": "Acytoo",
            "version": __version__,
            "description": "One server in every chat API; each API's own reference describes its bodies.",
        },
        "components": {"securitySchemes": {"password": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"password": []}],
        "paths": {
            "/chat": {
                "post": {"operationId": "post /chat", "responses": responses, "tags": ["openai"], "requestBody": body}
            },
            one: {
                "get": {"operationId": f"get {one}", "responses": responses, "parameters": model},
                "delete": {"operationId": f"delete {one}", "responses": responses, "parameters": model},
            },
            f"{one}:ask": {
                "post": {
                    "operationId": f"post {one}:ask",
                    "responses": responses,
                    "parameters": model,
                    "tags": ["gemini"],
                    "requestBody": body,
                }
            },
        },
    }


async def test_the_document_describes_its_own_path_and_everybody_may_read_it() -> None:
    async with live_server(reply("Hello"), password="sesame") as server:
        answer = await call(server.port, head("GET /openapi.json HTTP/1.1"))
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert "/openapi.json" in json.loads(answer.body)["paths"]
