"""What is kept of replies, for which requests, and where."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acytoo.errors import UsageError
from acytoo.gateway.cache import (
    Cache,
    MemoryCache,
    decode_reply,
    encode_reply,
    is_deterministic,
    key_of,
    open_cache,
)
from acytoo.gateway.redis_cache import RedisCache
from acytoo.gateway.sqlite_cache import SQLiteCache
from acytoo.secret import Secret
from acytoo.types import (
    Attempt,
    Attempts,
    Finish,
    Item,
    Logprobs,
    OpaquePart,
    Reasoning,
    Refusal,
    Request,
    Start,
    ToolCall,
    Usage,
)
from tests.services import Redis

HELLO = Request([{"role": "user", "content": "Hello"}], "fast", temperature=0)
FUNCTION: Any = {"type": "function", "function": {"name": "look_up"}}
SCOPE = ("fast", "openai/gpt-5-mini")

ALL_KINDS: list[Item] = [
    Start("id-1", "m-1", 7),
    Reasoning(text="hm"),
    "Hel",
    "lo",
    Refusal("no"),
    ToolCall(0, "call-1", "look_up", '{"a": 1}'),
    Usage(3, 5, 1, 0, 2),
    Finish("tool_calls", raw="TOOLS"),
]


def changed(**changes: Any) -> Request:
    """Return the request with changes."""
    return msgspec.structs.replace(HELLO, **changes)


# Which requests.


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"temperature": 0.0}, True),
        ({"temperature": None}, False),
        ({"temperature": 0.1}, False),
        ({"temperature": 1.0, "seed": 0}, True),
        ({"temperature": None, "seed": 7}, True),
        ({"tools": [FUNCTION]}, True),
        ({"tools": [FUNCTION, {"type": "web_search"}]}, False),
    ],
)
def test_a_deterministic_request_has_temperature_0_or_a_seed_and_no_tools_of_the_service(
    changes: dict[str, Any], expected: bool
) -> None:
    assert is_deterministic(changed(**changes)) is expected


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": False},
        {"user": "somebody"},
        {"extra_for": "openai"},  # there is nothing extra
        {"messages": [{"content": "Hello", "role": "user"}]},
    ],
)
def test_what_does_not_change_the_reply_does_not_change_the_key(changes: dict[str, Any]) -> None:
    assert key_of(SCOPE, changed(**changes)) == key_of(SCOPE, HELLO)


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [{"role": "user", "content": "Hello!"}]},
        {"messages": [{"role": "system", "content": "Hello"}]},
        {"messages": [*HELLO.messages, *HELLO.messages]},
        {"model": "slow"},
        {"temperature": 0.5},
        {"seed": 1},
        {"max_tokens": 5},
        {"stop": ["x"]},
        {"tools": [FUNCTION]},
        {"tool_choice": "none"},
        {"response_format": {"type": "json_object"}},
        {"reasoning_effort": "low"},
        {"logprobs": True},
        {"extra": {"n": 2}},
    ],
)
def test_what_may_change_the_reply_changes_the_key(changes: dict[str, Any]) -> None:
    assert key_of(SCOPE, changed(**changes)) != key_of(SCOPE, HELLO)


def test_every_field_of_a_request_is_in_its_key_or_is_known_not_to_matter() -> None:
    other = {
        "messages": [{"role": "user", "content": "?"}], "model": "x", "temperature": 2.0, "top_p": 0.5, "top_k": 3,
        "max_tokens": 4, "stop": ["s"], "seed": 5, "presence_penalty": 0.1, "frequency_penalty": 0.2,
        "tools": [FUNCTION], "tool_choice": "auto", "parallel_tool_calls": True, "response_format": {"type": "text"},
        "reasoning_effort": "high", "logprobs": True, "top_logprobs": 2, "extra": {"a": 1},
    }  # fmt: skip
    assert set(other) == set(Request.__struct_fields__) - {"stream", "user", "extra_for"}
    assert len({key_of(SCOPE, changed(**{name: value})) for name, value in other.items()}) == len(other)


def test_fields_of_different_apis_are_different() -> None:
    keys = {key_of(SCOPE, changed(extra={"n": 2}, extra_for=api)) for api in ("openai", "gemini")}
    assert len(keys) == 2


def test_other_targets_of_a_model_have_replies_of_their_own() -> None:
    assert key_of(("fast", "local/llama"), HELLO) != key_of(SCOPE, HELLO)
    assert key_of(("fast", "a", "b"), HELLO) != key_of(("fast", "ab"), HELLO)


# Which replies.


def test_items_of_all_kinds_come_back_as_they_were() -> None:
    kept = encode_reply(ALL_KINDS, {"x-acytoo-dropped": "seed"})
    assert kept is not None
    reply = decode_reply(kept)
    assert reply is not None
    assert (reply.items, reply.headers) == (ALL_KINDS, {"x-acytoo-dropped": "seed"})


def test_logprobs_and_opaque_parts_come_back_too() -> None:
    items: list[Item] = [
        "x", Logprobs([{"token": "x", "logprob": -0.1}]), OpaquePart(source="gemini", fields={"a": [1, None]}),
    ]  # fmt: skip
    kept = encode_reply(items, {})
    assert kept is not None
    reply = decode_reply(kept)
    assert reply is not None
    assert reply.items == items


def test_the_attempts_of_a_route_are_not_kept() -> None:
    kept = encode_reply([Attempts([Attempt("openai/m", "answered", 0.1)]), "Hello", Finish("stop")], {})
    assert kept is not None
    reply = decode_reply(kept)
    assert reply is not None
    assert reply.items == ["Hello", Finish("stop")]


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls"])
def test_a_complete_reply_is_kept(reason: str) -> None:
    assert encode_reply(["Hello", Finish(reason)], {}) is not None


def test_a_reply_of_an_api_without_finish_reasons_is_kept() -> None:
    assert encode_reply(["Hello"], {}) is not None


@pytest.mark.parametrize(
    "items",
    [
        ["Hel", Finish("content_filter")],
        ["Hel", Finish("error")],
        ["Hel", Finish("stop"), Finish("incomplete")],
        [Start("id-1", "m-1"), Finish("stop")],
        [],
        ["\ud800", Finish("stop")],
    ],
)
def test_a_reply_that_is_not_complete_or_has_nothing_is_not_kept(items: list[Item]) -> None:
    assert encode_reply(items, {}) is None


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"\x92\x91\xa1", b"\x92\x91\xc3\x80", msgspec.msgpack.encode([[{"type": "?"}], {}])]
)
def test_what_cannot_be_read_is_ignored(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert decode_reply(value) is None
    assert "cannot be read" in caplog.text


# Where.

Factory = Callable[..., Cache]


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def cache(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cache]:
    """A cache of each kind, empty."""
    if request.param == "redis":
        server: Redis = request.getfixturevalue("redis_server")
        made = open_cache(Secret(server.url))
    else:
        made = open_cache(Secret("memory" if request.param == "memory" else f"sqlite:{tmp_path / 'cache.db'}"))
    yield made
    await made.close()


async def test_a_reply_is_found_by_its_key_only(cache: Cache) -> None:
    await cache.put(b"a", b"\x00\xff", 60)
    assert (await cache.get(b"a"), await cache.get(b"b")) == (b"\x00\xff", None)


async def test_a_newer_reply_replaces_an_older_one(cache: Cache) -> None:
    for value in (b"123456", b"654321"):
        await cache.put(b"a", value, 60)
    assert await cache.get(b"a") == b"654321"


async def test_a_reply_expires(cache: Cache) -> None:
    await cache.put(b"a", b"1", 0.02)
    while await cache.get(b"a") is not None:  # noqa: ASYNC110 - time is what this waits for
        await asyncio.sleep(0.01)
    await cache.put(b"b", b"2", 60)
    assert (await cache.get(b"a"), await cache.get(b"b")) == (None, b"2")


# Their limits. Redis has its own.


@pytest.fixture(params=["memory", "sqlite"])
async def cache_of(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Factory]:
    """Return what makes a cache of each kind with limits."""
    made: list[Cache] = []

    def make(*limits: int) -> Cache:
        made.append(MemoryCache(*limits) if request.param == "memory" else SQLiteCache(tmp_path / "cache.db", *limits))
        return made[-1]

    yield make
    for cache in made:
        await cache.close()


async def test_a_reply_that_replaces_another_counts_once(cache_of: Factory) -> None:
    cache = cache_of(10, 10)
    for value in (b"123456", b"654321"):
        await cache.put(b"a", value, 60)
    assert await cache.get(b"a") == b"654321"


async def test_the_bytes_are_bounded(cache_of: Factory) -> None:
    cache = cache_of(1000, 100)
    for number in range(20):
        await cache.put(b"%d" % number, bytes(100), 60 + number)
    kept = [number for number in range(20) if await cache.get(b"%d" % number) is not None]
    assert kept == list(range(10, 20))


async def test_the_number_of_replies_is_bounded(cache_of: Factory) -> None:
    cache = cache_of(1000, 3)
    for number in range(5):
        await cache.put(b"%d" % number, b"x", 60 + number)
    assert [await cache.get(b"%d" % number) for number in range(5)] == [None, None, b"x", b"x", b"x"]


async def test_a_reply_that_is_larger_than_the_cache_is_not_kept_and_drops_no_other(cache_of: Factory) -> None:
    cache = cache_of(10, 10)
    await cache.put(b"a", b"1", 60)
    await cache.put(b"b", bytes(11), 60)
    assert (await cache.get(b"a"), await cache.get(b"b")) == (b"1", None)


async def test_in_memory_the_reply_that_was_used_last_stays() -> None:
    cache = MemoryCache(1000, 2)
    await cache.put(b"a", b"1", 60)
    await cache.put(b"b", b"2", 60)
    await cache.get(b"a")
    await cache.put(b"c", b"3", 60)
    assert [await cache.get(key) for key in (b"a", b"b", b"c")] == [b"1", None, b"3"]
    assert cache.size == 2


async def test_a_file_is_shared_and_survives_a_restart(tmp_path: Path) -> None:
    first, second = SQLiteCache(tmp_path / "c.db"), SQLiteCache(tmp_path / "c.db")
    await first.put(b"a", b"1", 60)
    assert await second.get(b"a") == b"1"
    await first.close()
    await second.close()
    third = SQLiteCache(tmp_path / "c.db")
    assert await third.get(b"a") == b"1"
    await third.close()


async def test_replies_of_a_clock_that_was_ahead_are_neither_used_nor_in_the_way_of_others(tmp_path: Path) -> None:
    clock = [1e9 + 86400]
    cache = SQLiteCache(tmp_path / "c.db", 1000, 2, now=lambda: clock[0])
    for key in (b"a", b"b"):
        await cache.put(key, b"1", 60)
    clock[0] = 1e9
    assert await cache.get(b"a") is None
    await cache.put(b"c", b"2", 60)
    await cache.put(b"d", b"3", 60)
    assert [await cache.get(key) for key in (b"a", b"b", b"c", b"d")] == [None, None, b"2", b"3"]
    clock[0] += 59
    assert await cache.get(b"c") == b"2"
    clock[0] += 1
    assert await cache.get(b"c") is None
    await cache.close()


@pytest.mark.skipif(os.name == "nt", reason="needs permissions of POSIX")
def test_other_users_cannot_read_a_new_file(tmp_path: Path) -> None:
    cache = SQLiteCache(tmp_path / "c.db")
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    asyncio.run(cache.close())


def test_a_file_that_cannot_be_opened_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot open the cache .*nowhere"):
        SQLiteCache(tmp_path / "nowhere" / "c.db")
    (tmp_path / "text.db").write_text("this is not a database, but a text that is long enough to be one" * 20)
    with pytest.raises(UsageError, match="not a database"):
        SQLiteCache(tmp_path / "text.db")
    assert (tmp_path / "text.db").read_text().startswith("this is not")


async def test_while_another_process_locks_the_file_requests_go_without_a_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = SQLiteCache(tmp_path / "c.db")
    await cache.put(b"a", b"1", 60)
    other = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await cache.put(b"b", b"2", 60)
    assert await cache.get(b"a") is None  # no second try for some seconds
    assert len(caplog.records) == 1
    other.close()
    await cache.close()


async def test_without_redis_requests_go_without_a_cache_until_it_is_back(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    cache = RedisCache(redis_server.url, pause=0.0)
    await cache.put(b"a", b"1", 60)
    redis_server.kill()
    assert await cache.get(b"a") is None
    await cache.put(b"b", b"2", 60)
    assert "the cache in" in caplog.text
    redis_server.start()
    await cache.put(b"a", b"3", 60)
    assert await cache.get(b"a") == b"3"
    await cache.close()


async def test_a_redis_that_hangs_delays_one_request_only(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    cache = RedisCache(redis_server.url)
    await cache.put(b"a", b"1", 60)
    redis_server.pause()
    assert [await cache.get(b"a") for _ in range(100)] == [None] * 100
    redis_server.resume()
    assert len(caplog.records) == 1
    await cache.close()


async def test_a_password_in_the_url_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    cache = RedisCache("redis://:hidden-password@127.0.0.1:1/0")
    assert await cache.get(b"a") is None
    assert "the cache in" in caplog.text
    assert "hidden-password" not in caplog.text
    await cache.close()
