"""Replies from the cache and of requests in flight, through a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects import Dialect
from acytoo.gateway.keys import hash_secret
from acytoo.gateway.ledger import UsageRow
from acytoo.testing import FakeEndpoint, ScriptedResponse, reply
from acytoo.testing.script.responses import status
from acytoo.types import Finish, Reasoning, Start, ToolCall, Usage
from tests.gateway.served import Served, served
from tests.gateway.test_metrics import parse, value
from tests.server.live_server import backend, head
from tests.services import Redis

CACHED = '[models.fast]\ntargets = ["up/m1"]\ncache = 600\n[prices."up/m1"]\ninput = 2.0\noutput = 4.0\n'
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Hello"}]
HELLO = {"model": "fast", "messages": MESSAGES, "temperature": 0}
ANSWER = reply(Start("id-1", "m1", 7), "Hi", " there", Usage(1000, 500), Finish("stop"))
OTHER = reply(Start("id-2", "m1", 7), "Something else", Usage(9, 9), Finish("stop"))


@asynccontextmanager
async def cached(
    folder: Path, *scripts: ScriptedResponse, rest: str = CACHED
) -> AsyncIterator[tuple[Served, FakeEndpoint]]:
    """Run a gateway with a cache in front of an upstream that answers as scripted."""
    async with FakeEndpoint(dialects.OpenAI(), *scripts) as fake, served(folder, fake.url, rest) as server:
        yield server, fake


async def rows(server: Served, by: str = "outcome") -> dict[str, UsageRow]:
    """Return the rows of the ledger by their outcome."""
    await server.gateway.ledger.flush()
    return {row.group[by]: row for row in await server.gateway.ledger.usage(0, 1e12, [by])}


def client(dialect: Dialect, server: Served) -> AsyncGeneratorProvider:
    """Return a client of the gateway that uses an API."""
    return backend(dialect, server.url + ("/v1" if dialect.name.startswith("openai") else ""), key="sk-ci")


def cache_headers(responses: list[Any]) -> list[str]:
    return [response.headers["x-acytoo-cache"] for response in responses]


async def until_asked(fake: FakeEndpoint, count: int = 1) -> None:
    """Wait until the upstream has so many requests."""
    async with asyncio.timeout(120):
        while len(fake.requests) < count:  # noqa: ASYNC110 - a request is no event
            await asyncio.sleep(0.01)


# The cache.


@pytest.mark.parametrize("stream", [False, True])
async def test_an_identical_request_is_answered_from_the_cache(tmp_path: Path, stream: bool) -> None:
    async with cached(tmp_path, ANSWER, OTHER) as (server, fake):
        responses = [await server.post(CHAT, {**HELLO, "stream": stream}) for _ in range(3)]
    assert [response.status for response in responses] == [200] * 3
    assert cache_headers(responses) == ["miss", "hit", "hit"]
    assert len(fake.requests) == 1
    assert b"there" in responses[0].body
    if not stream:
        assert [json.loads(response.body)["choices"] for response in responses[1:]] == [
            json.loads(responses[0].body)["choices"]
        ] * 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
async def test_a_kept_reply_is_replayed_in_every_api(tmp_path: Path, dialect: Dialect, stream: bool) -> None:
    async with cached(tmp_path, ANSWER, status(500, "not asked twice")) as (server, fake):
        provider = client(dialect, server)
        options: dict[str, Any] = {"temperature": 0} | ({"max_tokens": 64} if "max_tokens" in dialect.options else {})
        assert (await server.post(CHAT, {**HELLO, **options})).status == 200
        if stream:
            texts = [t async for t in provider.create_async_generator("fast", MESSAGES, **options)]
            assert "".join(texts) == "Hi there"
        else:
            assert (await provider.reply(MESSAGES, model="fast", **options)).text == "Hi there"
    assert len(fake.requests) == 1


async def test_reasoning_and_tool_calls_are_replayed(tmp_path: Path) -> None:
    calls = reply(
        Start("id-1", "m1"),
        Reasoning("hm"),
        ToolCall(0, "call-1", "look_up", '{"a": 1}'),
        Usage(5, 6),
        Finish("tool_calls"),
    )
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    async with cached(tmp_path, calls, OTHER) as (server, _):
        replies = [
            await client(dialects.OpenAI(), server).reply(MESSAGES, model="fast", temperature=0, tools=tools)
            for _ in range(2)
        ]
    assert replies[0].message == replies[1].message
    assert replies[1].tool_calls[0]["function"] == {"name": "look_up", "arguments": '{"a": 1}'}
    assert replies[1].reasoning == [{"text": "hm"}]


@pytest.mark.parametrize(
    "changes",
    [{"temperature": 0.7}, {"temperature": None}, {"messages": [{"role": "user", "content": "Hello."}]}, {"seed": 3}],
)
async def test_another_request_is_asked_for(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with cached(tmp_path, ANSWER, OTHER) as (server, fake):
        await server.post(CHAT, HELLO)
        response = await server.post(CHAT, {**HELLO, **changes})
    assert b"Something else" in response.body
    assert len(fake.requests) == 2


async def test_a_request_with_a_seed_is_deterministic(tmp_path: Path) -> None:
    seeded = {**HELLO, "temperature": 1.0, "seed": 42}
    async with cached(tmp_path, ANSWER, OTHER) as (server, _):
        assert cache_headers([await server.post(CHAT, seeded) for _ in range(2)]) == ["miss", "hit"]


async def test_a_large_request_is_answered_from_the_cache_too(tmp_path: Path) -> None:
    large = {**HELLO, "messages": [{"role": "user", "content": "x" * 1_000_000}]}
    async with cached(tmp_path, ANSWER, OTHER) as (server, _):
        assert cache_headers([await server.post(CHAT, large) for _ in range(2)]) == ["miss", "hit"]


async def test_without_a_cache_in_the_config_nothing_is_kept(tmp_path: Path) -> None:
    rest = '[models.fast]\ntargets = ["up/m1"]\n'
    async with cached(tmp_path, ANSWER, OTHER, rest=rest) as (server, fake):
        responses = [await server.post(CHAT, HELLO) for _ in range(2)]
    assert len(fake.requests) == 2
    assert "x-acytoo-cache" not in responses[1].headers


async def test_requests_to_the_upstream_itself_do_not_use_the_models_cache(tmp_path: Path) -> None:
    async with cached(tmp_path, ANSWER, OTHER) as (server, fake):
        for _ in range(2):
            await server.post(CHAT, {**HELLO, "model": "up/m1"})
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    "script",
    [
        ANSWER.close(after=2),
        reply("Hi", Finish("content_filter")),
        ANSWER.fail("overloaded", after=2),
        status(400, "no"),
    ],
)
async def test_a_reply_that_was_cut_or_failed_is_never_kept(tmp_path: Path, script: ScriptedResponse) -> None:
    async with cached(tmp_path, script, ANSWER) as (server, fake):
        await server.post(CHAT, {**HELLO, "stream": True})
        response = await server.post(CHAT, {**HELLO, "stream": True})
    assert response.headers["x-acytoo-cache"] == "miss"
    assert b"there" in response.body
    assert len(fake.requests) == 2


async def test_a_reply_from_the_cache_costs_nothing_and_is_marked(tmp_path: Path) -> None:
    async with cached(tmp_path, ANSWER, OTHER) as (server, _):
        for _ in range(3):
            await server.post(CHAT, HELLO)
        found = await rows(server)
        series = parse((await server.get("/metrics")).body)
    assert set(found) == {"complete", "cached"}
    assert found["complete"].cost == (1000 * 2 + 500 * 4) * 1000
    assert (found["cached"].cost, found["cached"].input_tokens, found["cached"].output_tokens) == (0, 2000, 1000)
    assert value(series, "acytoo_attempts_total", upstream="", target="", outcome="cached") == 2
    assert value(series, "acytoo_first_content_seconds_count", dialect="openai", model="fast") == 3
    tokens = {"key": "ci", "model": "fast", "upstream": "up", "target": "up/m1", "type": "input"}
    assert value(series, "acytoo_tokens_total", **tokens) == 1000


async def test_a_reply_from_the_cache_uses_no_budget(tmp_path: Path) -> None:
    budget = "budget_per_day = 0.007\n" + CACHED  # a reply costs 0.004
    async with cached(tmp_path, ANSWER, OTHER, rest=budget) as (server, _):
        statuses = [(await server.post(CHAT, {**HELLO, "max_tokens": 500})).status for _ in range(5)]
        other = await server.post(CHAT, {**HELLO, "max_tokens": 1000})
    assert statuses == [200] * 5
    assert other.status == 429


async def test_keys_share_the_cache_of_a_model_that_both_may_use(tmp_path: Path) -> None:
    second = f"""
[keys.second]
hash = "{hash_secret("sk-second")}"
[keys.third]
hash = "{hash_secret("sk-third")}"
models = ["slow"]
"""
    async with cached(tmp_path, ANSWER, OTHER, rest=CACHED + second) as (server, _):
        await server.post(CHAT, HELLO)
        allowed = await server.post(CHAT, HELLO, "authorization: Bearer sk-second\r\n")
        refused = await server.post(CHAT, HELLO, "authorization: Bearer sk-third\r\n")
        found = await rows(server, "key")
    assert allowed.headers["x-acytoo-cache"] == "hit"
    assert refused.status == 404
    assert found["second"].cost == 0


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_a_cache_outside_of_the_process_survives_a_restart(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = "sqlite:cache.db"
    if kind == "redis":
        server_of_redis: Redis = request.getfixturevalue("redis_server")
        monkeypatch.setenv("CACHE_URL", server_of_redis.url)
        where = "env:CACHE_URL"
    rest = f'[storage]\ncache = "{where}"\n{CACHED}'
    async with FakeEndpoint(dialects.OpenAI(), ANSWER, OTHER) as fake:
        for expected in ("miss", "hit"):
            async with served(tmp_path, fake.url, rest) as server:
                assert (await server.post(CHAT, HELLO)).headers["x-acytoo-cache"] == expected


@pytest.mark.parametrize(
    "changes", [('"up/m1"', '"up/m2"'), ("url =", 'model = "other"\nurl ='), ('"inner"', '"up/m1"')]
)
async def test_after_a_change_of_what_answers_kept_replies_are_not_used(
    tmp_path: Path, changes: tuple[str, str]
) -> None:
    rest = '[models.fast]\ntargets = ["inner"]\ncache = 60\n[models.inner]\ntargets = ["up/m1", "up"]\n'
    async with cached(tmp_path, ANSWER, OTHER, rest=rest) as (server, _):
        assert (await server.post(CHAT, HELLO)).status == 200
        path = tmp_path / "acytoo.toml"
        path.write_text(path.read_text().replace(*changes, 1))
        await server.gateway.reloaded()
        response = await server.post(CHAT, HELLO)
    assert b"Something else" in response.body


async def test_after_another_change_of_the_config_kept_replies_are_used(tmp_path: Path) -> None:
    async with cached(tmp_path, ANSWER, OTHER) as (server, _):
        await server.post(CHAT, HELLO)
        path = tmp_path / "acytoo.toml"
        path.write_text(path.read_text().replace("cache = 600", "cache = 60\nmax_wait = 10"))
        await server.gateway.reloaded()
        assert (await server.post(CHAT, HELLO)).headers["x-acytoo-cache"] == "hit"


async def test_what_was_dropped_from_the_request_is_reported_for_a_hit_too(tmp_path: Path) -> None:
    rest = CACHED.replace("cache = 600", "cache = 600\n")
    body = {
        "model": "fast", "max_tokens": 50, "temperature": 0, "messages": [{"role": "user", "content": "Hello"}],
        "top_k": 5,
    }  # fmt: skip
    async with FakeEndpoint(dialects.OpenAI(), ANSWER, OTHER) as fake:
        async with served(tmp_path, fake.url, rest, server="drop_unsupported = true") as server:
            responses = [await server.post("/v1/messages", body) for _ in range(2)]
    assert cache_headers(responses) == ["miss", "hit"]
    assert responses[0].headers.get("x-acytoo-dropped") == responses[1].headers.get("x-acytoo-dropped")


# Requests in flight.


async def test_identical_requests_at_the_same_time_share_one_call(tmp_path: Path) -> None:
    async with cached(tmp_path, ANSWER.wait(0.2, after=1), OTHER) as (server, fake):
        first = asyncio.ensure_future(server.post(CHAT, {**HELLO, "stream": True}))
        await until_asked(fake)
        others = [server.post(CHAT, {**HELLO, "stream": number % 2 == 0}) for number in range(10)]
        responses = [*await asyncio.gather(first, *others)]
        found = await rows(server)
    assert cache_headers(responses) == ["miss", *["hit"] * 10]
    assert all(b"there" in response.body for response in responses)
    assert len(fake.requests) == 1
    assert found["complete"].attempts == 1
    assert found["cached"].input_tokens == 10_000
    assert found["cached"].cost == 0


async def leave(server: Served, body: object) -> asyncio.StreamWriter:
    """Send a request, and return what to close to leave."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    data = json.dumps(body).encode()
    lines = f"content-length: {len(data)}\r\nauthorization: Bearer sk-ci\r\n"
    writer.write(head(f"POST {CHAT} HTTP/1.1", lines) + data)
    return writer


async def in_progress(server: Served) -> float:
    """Return how many requests the gateway is answering."""
    return value(parse((await server.get("/metrics")).body), "acytoo_requests_in_progress") or 0


@pytest.mark.parametrize("texts", [0, 1])
async def test_the_first_caller_may_leave_and_the_call_goes_on_for_the_others(tmp_path: Path, texts: int) -> None:
    async with cached(tmp_path, ANSWER.wait(0.5, after=texts), OTHER) as (server, fake):
        first = await leave(server, {**HELLO, "stream": True})
        await until_asked(fake)
        second = asyncio.ensure_future(server.post(CHAT, {**HELLO, "stream": True}))
        while await in_progress(server) < 3:  # those two, and the one that asks
            pass
        first.close()
        response = await second
        found = await rows(server)
    assert b"there" in response.body
    assert response.headers["x-acytoo-cache"] == "hit"
    assert len(fake.requests) == 1
    assert (found["complete"].cost, found["complete"].input_tokens) == ((1000 * 2 + 500 * 4) * 1000, 1000)
    assert found["cached"].cost == 0


async def test_when_all_callers_leave_the_upstream_call_stops(tmp_path: Path) -> None:
    async with cached(tmp_path, ANSWER.stall(after=1), OTHER) as (server, fake):
        writers = [await leave(server, {**HELLO, "stream": True}) for _ in range(2)]
        await until_asked(fake)
        while await in_progress(server) < 3:
            pass
        for writer in writers:
            writer.close()
        async with asyncio.timeout(120):
            await fake.disconnected()
        response = await server.post(CHAT, HELLO)
        found = await rows(server)
    assert b"Something else" in response.body
    assert found["left"].attempts >= 1


async def test_an_error_of_the_shared_call_is_reported_to_all(tmp_path: Path) -> None:
    async with cached(tmp_path, status(400, "no such thing").wait(0.3, at_byte=1), OTHER) as (server, fake):
        first = asyncio.ensure_future(server.post(CHAT, {**HELLO, "stream": True}))
        await until_asked(fake)
        responses = await asyncio.gather(first, *[server.post(CHAT, HELLO) for _ in range(3)])
    assert [response.status for response in responses] == [400] * 4
    assert len(fake.requests) == 1


async def test_a_target_that_only_the_budget_of_one_key_refuses_is_asked_for_another_key(tmp_path: Path) -> None:
    rest = f"""
budget_per_day = 5
[keys.second]
hash = "{hash_secret("sk-second")}"
[models.fast]
targets = ["up/m1", "up/m2"]
attempts = 2
cache = 600
[prices."up/m1"]
input = 1
output = 1
"""
    async with cached(tmp_path, status(503, "no").wait(0.3, at_byte=1), ANSWER, rest=rest) as (server, fake):
        first = asyncio.ensure_future(server.post(CHAT, HELLO))
        await until_asked(fake)
        second = await server.post(CHAT, HELLO, "authorization: Bearer sk-second\r\n")
        assert (await first).status == 503  # the price of up/m2 is unknown
        third = await server.post(CHAT, HELLO)
    assert second.status == 200
    assert third.headers["x-acytoo-cache"] == "hit"


async def test_closing_the_gateway_stops_what_is_still_arriving(tmp_path: Path) -> None:
    async with cached(tmp_path, ANSWER.stall(after=1)) as (server, fake):
        asking = asyncio.ensure_future(server.post(CHAT, {**HELLO, "stream": True}))
        await until_asked(fake)
    await asking


async def test_two_hundred_that_ask_at_once_cause_as_many_calls_as_they_are_different(tmp_path: Path) -> None:
    async with cached(tmp_path, ANSWER) as (server, fake):
        bodies = [
            {**HELLO, "stream": number % 2 == 0, "messages": [{"role": "user", "content": f"Question {number % 10}"}]}
            for number in range(200)
        ]
        responses = await asyncio.gather(*[server.post(CHAT, body) for body in bodies])
        found = await rows(server)
    assert {response.status for response in responses} == {200}
    assert len(fake.requests) == found["complete"].attempts == 10
    assert (found["cached"].input_tokens, found["cached"].cost) == (190_000, 0)
