"""A route behind the server: which target answers, in any dialect, and what clients see of it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from acytoo import Attempt, Finish, Route, Start, Target, dialects
from acytoo.dialects import Dialect
from acytoo.secret import Secret
from acytoo.server.config import ServerConfig
from acytoo.server.relay import attempt_headers
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, ScriptedResponse, reply, silent, status
from tests.server.live_server import LIMIT, backend, call, request

ONE = reply(Start("id-1", "m-1", 7), "one ", "reply", Finish("stop"))
TWO = reply(Start("id-2", "m-2", 8), "two ", "replies", Finish("stop"))
OVERLOADED = status(503, "overloaded")

PAIRS = [
    pytest.param(client, first, second, stream, id=f"{client.name}-{first.name}-{second.name}-{stream}")
    for client in dialects.ALL
    for first, second in [(client, client), (client, dialects.Gemini()), (dialects.Anthropic(), client)]
    if first is client or client.name != "anthropic"
    for stream in (True, False)
]


@asynccontextmanager
async def server(
    first: Dialect, second: Dialect, *scripts: ScriptedResponse, **options: Any
) -> AsyncIterator[tuple[int, list[FakeEndpoint]]]:
    """Run a server over a route to two endpoints."""
    settings = {name: options.pop(name) for name in ("first_ping_after",) if name in options}
    async with FakeEndpoint(first, scripts[0]) as one, FakeEndpoint(second, scripts[1]) as two:
        route = Route(
            Target(backend(first, one.url), name="a/one"), Target(backend(second, two.url), name="b/two"), **options
        )
        running, url = await start(ServerConfig({"fast": route}, Secret(""), port=0, grace=0.1, **settings))
        try:
            yield urlsplit(url).port or 0, [one, two]
        finally:
            await running.close()


@pytest.mark.parametrize(("client", "first", "second", "stream"), PAIRS)
async def test_the_second_target_answers_in_the_clients_dialect_if_the_first_fails(
    client: Dialect, first: Dialect, second: Dialect, stream: bool
) -> None:
    async with server(first, second, OVERLOADED, TWO) as (port, _):
        response = await call(port, request(client, stream=stream))
        assert response.status == 200
        assert response.headers["x-acytoo-target"] == "b/two"
        assert response.headers["x-acytoo-attempts"] == "2"
        text = response.body.decode()
        assert "two " in text
        assert "replies" in text


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("client", dialects.ALL, ids=lambda dialect: dialect.name)
async def test_a_target_that_fails_in_its_stream_before_any_content_is_replaced(client: Dialect, stream: bool) -> None:
    failing = reply(Start("id-1", "m-1", 7), "x").reset(after_bytes=2 if client.framing == "text" else 20)
    if client.framing == "text":
        failing = OVERLOADED  # raw text has nothing that precedes its content
    async with server(client, client, failing, TWO) as (port, fakes):
        response = await call(port, request(client, stream=stream))
        assert "replies" in response.body.decode()
        assert "id-1" not in response.body.decode()
        assert [len(fake.requests) for fake in fakes] == [1, 1]


@pytest.mark.parametrize("client", dialects.ALL, ids=lambda dialect: dialect.name)
async def test_a_target_that_fails_after_its_first_content_is_not_replaced(client: Dialect) -> None:
    many = reply(Start("id-1", "m-1", 7), *["word "] * 20, Finish("stop")).reset(after=12)
    async with server(client, client, many, TWO) as (port, fakes):
        response = await call(port, request(client))
        assert "replies" not in response.body.decode()
        assert not response.is_complete or "error" in response.body.decode()
        assert [len(fake.requests) for fake in fakes] == [1, 0]


async def test_the_error_of_a_route_keeps_its_status_and_the_time_to_wait() -> None:
    limited = status(429, "slow down").header("retry-after", "40")
    async with server(dialects.OpenAI(), dialects.OpenAI(), limited, limited) as (port, _):
        response = await call(port, request())
        assert response.status == 429
        assert response.headers["retry-after"] == "40"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("client", dialects.ALL, ids=lambda dialect: dialect.name)
async def test_the_error_of_a_route_names_its_last_target_and_counts_the_attempts(
    client: Dialect, stream: bool
) -> None:
    refusing = status(401, "wrong key")
    async with server(client, dialects.Ollama(), refusing, refusing) as (port, _):
        response = await call(port, request(client, stream=stream))
        assert response.status == 401
        assert response.headers["x-acytoo-target"] == "b/two"
        assert response.headers["x-acytoo-attempts"] == "2"


async def test_several_attempts_are_listed_with_their_outcomes_and_times() -> None:
    async with server(dialects.OpenAI(), dialects.OpenAI(), status(429, "slow down"), TWO) as (port, _):
        answered = await call(port, request())
        member = r'"(a/one|b/two)";outcome=(RateLimitError|answered);seconds=(\d+\.\d{3})'
        assert re.fullmatch(f"{member}, {member}", answered.headers["x-acytoo-trace"])
        assert re.findall(member, answered.headers["x-acytoo-trace"])[0][:2] == ("a/one", "RateLimitError")
    async with server(dialects.OpenAI(), dialects.OpenAI(), TWO, TWO) as (port, _):
        at_once = await call(port, request())
        assert at_once.headers["x-acytoo-attempts"] == "1"
        assert "x-acytoo-trace" not in at_once.headers


@pytest.mark.parametrize("stream", [True, False])
async def test_the_error_of_a_route_lists_its_attempts(stream: bool) -> None:
    refusing = status(401, "wrong key")
    async with server(dialects.OpenAI(), dialects.OpenAI(), refusing, refusing) as (port, _):
        response = await call(port, request(stream=stream))
        assert re.findall(r'"([^"]+)";outcome=(\w+)', response.headers["x-acytoo-trace"]) == [
            ("a/one", "AuthenticationError"),
            ("b/two", "AuthenticationError"),
        ]


def test_a_traced_target_cannot_end_its_text() -> None:
    attempts = [Attempt('a"\\b\r\nx: y', "answered", 0.5)] * 2
    trace = attempt_headers(attempts)["x-acytoo-trace"]
    assert trace.split(", ")[0] == '"a\\"\\\\b??x: y";outcome=answered;seconds=0.500'


async def test_a_complete_response_that_fails_after_its_first_content_names_its_target() -> None:
    cut = reply(Start("id-1", "m-1", 7), *["word "] * 20, Finish("stop")).reset(after=12)
    async with server(dialects.Acytoo(), dialects.OpenAI(), cut, TWO) as (port, _):
        response = await call(port, request(stream=False))
        assert response.status == 502
        assert response.headers["x-acytoo-target"] == "a/one"
        assert response.headers["x-acytoo-attempts"] == "1"


async def test_keep_alives_flow_while_a_route_tries_its_targets() -> None:
    slow = TWO.wait(0.5, after=0)
    async with server(dialects.OpenAI(), dialects.OpenAI(), OVERLOADED, slow, first_ping_after=0.1) as (port, _):
        response = await call(port, request())
        assert response.body.startswith(b":")
        assert b"replies" in response.body


async def test_a_client_that_leaves_ends_every_attempt() -> None:
    async with server(dialects.OpenAI(), dialects.OpenAI(), OVERLOADED, silent()) as (port, fakes):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request())
        await fakes[1].received()
        writer.close()
        async with asyncio.timeout(LIMIT):
            await fakes[1].disconnected()


@pytest.mark.parametrize("first", [dialects.OpenAIResponses(), dialects.Anthropic()], ids=lambda first: first.name)
async def test_a_response_that_another_target_stores_is_continued_with_its_turns(first: Dialect) -> None:
    responses = dialects.OpenAIResponses()
    one = [reply(Start("resp_0123456789abcdef01234567", "m-1", 7), "one reply", Finish("stop")), OVERLOADED]
    async with FakeEndpoint(first, *one) as fake, FakeEndpoint(responses, TWO) as second:
        route = Route(
            Target(backend(first, fake.url), name="one"), Target(backend(responses, second.url), name="two"), affinity=0
        )
        running, url = await start(ServerConfig({"fast": route}, Secret(""), port=0, grace=0.1))
        try:
            port = urlsplit(url).port or 0
            question = {"model": "fast", "input": "first question"}
            answer = json.loads((await call(port, request(responses, body=json.dumps(question).encode()))).body)
            more = {"model": "fast", "input": "second question", "previous_response_id": answer["id"]}
            response = await call(port, request(responses, body=json.dumps(more).encode()))
        finally:
            await running.close()
    assert response.headers["x-acytoo-target"] == "two"
    sent = second.requests[0].decode(responses)
    assert [message["role"] for message in sent.messages] == ["user", "assistant", "user"]
    assert "previous_response_id" not in second.requests[0].json


async def test_a_single_backend_has_no_headers_of_a_route() -> None:
    async with FakeEndpoint(dialects.OpenAI(), ONE) as fake:
        running, url = await start(ServerConfig({"one": backend(dialects.OpenAI(), fake.url)}, port=0, grace=0.1))
        try:
            response = await call(urlsplit(url).port or 0, request())
        finally:
            await running.close()
        assert "x-acytoo-target" not in response.headers
