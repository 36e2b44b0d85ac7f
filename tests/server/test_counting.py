"""Counting the tokens of a request: the backend counts, the client gets its own API's document."""

from __future__ import annotations

import json

import pytest

from acytoo import dialects
from acytoo.testing import status
from acytoo.testing.hostile.site import example
from tests.server.live_server import call, live_server, request

COUNTS = {"anthropic": {"input_tokens": 17}, "gemini": {"totalTokens": 17}}
PATHS = [(dialect.name, path) for dialect in dialects.ALL for path in dialect.count_routes]


@pytest.mark.parametrize("behind", COUNTS)
@pytest.mark.parametrize(("client", "path"), PATHS)
async def test_a_client_gets_the_number_that_the_backend_counts(client: str, path: str, behind: str) -> None:
    counted = status(200, body=json.dumps(COUNTS[behind]).encode(), content_type="application/json")
    async with live_server(counted, dialect=dialects.by_name(behind)) as server:
        _, fields = example(dialects.by_name(client), stream=False)
        fields.pop("max_tokens", None)
        place = path.replace("{model:.+}", "m-1")
        data = request(client, body=json.dumps(fields).encode(), stream=False)
        line = data.partition(b" HTTP/1.1")[0]
        answer = await call(server.port, data.replace(line, f"POST {place}".encode(), 1))
        assert (answer.status, json.loads(answer.body)) == (200, COUNTS[client])
        assert answer.headers["content-type"] == "application/json"
        (asked,) = server.fake.requests
        assert "ount" in asked.path
