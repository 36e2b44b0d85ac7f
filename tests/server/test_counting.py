"""Counting the tokens of a request: the backend counts, the client gets its own API's document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, reply, status
from acytoo.testing.hostile.site import example
from acytoo.types import Finish, Request, Start
from tests.server.live_server import LiveServer, Response, backend, call, head, live_server, request

RESPONSES = dialects.OpenAIResponses()

COUNTS = {
    "anthropic": {"input_tokens": 17},
    "gemini": {"totalTokens": 17},
    "openai-responses": {"object": "response.input_tokens", "input_tokens": 17},
}
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
        assert asked.path.endswith(("/count_tokens", ":countTokens", "/responses/input_tokens"))


async def test_a_count_of_responses_asks_for_nothing_that_only_a_reply_needs() -> None:
    request = Request([{"role": "user", "content": "Hello"}], model="m-1", max_tokens=9, temperature=0.1)
    counted = status(200, body=b'{"input_tokens": 17}', content_type="application/json")
    async with FakeEndpoint(RESPONSES, counted) as fake:
        assert await backend(RESPONSES, f"{fake.url}?api-version=v1").count_tokens(request) == 17
        (asked,) = fake.requests
    assert asked.target == "/responses/input_tokens?api-version=v1"
    assert json.loads(asked.body).keys() == {"model", "input"}


async def test_the_query_of_a_url_follows_the_path_of_a_count() -> None:
    dialect = dialects.Anthropic()
    counted = status(200, body=b'{"input_tokens": 17}', content_type="application/json")
    async with FakeEndpoint(dialect, counted) as fake:
        request = Request([{"role": "user", "content": "Hello"}], model="m-1")
        assert await backend(dialect, f"{fake.url}?region=eu").count_tokens(request) == 17
        assert fake.requests[0].target == "/v1/messages/count_tokens?region=eu"


async def test_a_count_refers_to_an_earlier_reply_as_a_request_does() -> None:
    said = reply(Start("resp_" + "x" * 30, "m-1", 7), "Hi there", Finish("stop"))
    counted = status(200, body=b'{"input_tokens": 17}', content_type="application/json")
    async with live_server(said, counted, dialect=dialects.Anthropic()) as server:
        first = await ask(server, "/v1/responses", model="m-1", input="Hello", max_output_tokens=9)
        assert first.status == 200
        previous = json.loads(first.body)["id"]
        answer = await ask(
            server, "/v1/responses/input_tokens", model="m-1", input="More", previous_response_id=previous
        )
        assert (answer.status, json.loads(answer.body)) == (200, COUNTS["openai-responses"])
        texts = json.loads(server.fake.requests[1].body)["messages"]
        assert [message["role"] for message in texts] == ["user", "assistant", "user"]


async def test_a_service_counts_what_its_own_client_sent() -> None:
    counted = status(200, body=b'{"input_tokens": 17}', content_type="application/json")
    tools = [{"type": "web_search"}]
    async with live_server(counted, dialect=RESPONSES) as server:
        answer = await ask(
            server,
            "/responses/input_tokens",
            model="m-1",
            input="More",
            tools=tools,
            reasoning={"effort": "low"},
            previous_response_id="resp_of_the_service",
        )
        assert answer.status == 200
        body = json.loads(server.fake.requests[0].body)
    assert body["previous_response_id"] == "resp_of_the_service"
    assert body["reasoning"]["effort"] == "low"
    assert body["tools"] == tools


async def ask(server: LiveServer, path: str, **fields: Any) -> Response:
    body = json.dumps(fields).encode()
    return await call(server.port, head(f"POST {path} HTTP/1.1", f"content-length: {len(body)}\r\n") + body)
