"""`GET /openapi.json` describes every path of the server, and nothing else."""

from __future__ import annotations

import json

from acytoo import dialects
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
