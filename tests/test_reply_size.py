"""What is kept of one reply is limited: a collected reply is an error above the limit, a streamed one is not."""

from __future__ import annotations

import gzip
import tracemalloc
from typing import Any

import pytest

from acytoo import ProtocolError, ReplyTooLargeError, TruncatedError, UsageError, dialects
from acytoo.dialects import Dialect
from acytoo.http import ResponseHead
from acytoo.testing import FakeEndpoint, reply, status
from acytoo.types import Finish, Item, Reasoning, Request, Start, ToolCall
from acytoo.wire.limits import MAX_REPLY_ELEMENTS
from tests.server.live_server import backend, call, live_server, request

EVERY = pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]
LONG = reply(Start("id-1", "m-1", 7), *["x" * 10_000] * 500, Finish("stop"))
"""A reply of 5 MB."""


@EVERY
async def test_a_collected_reply_above_the_limit_is_an_error_with_the_text_so_far(dialect: Dialect) -> None:
    async with FakeEndpoint(dialect, LONG) as fake:
        provider = backend(dialect, fake.url, max_reply=1_000_000)
        with pytest.raises(ReplyTooLargeError, match="larger than 1000000 bytes") as caught:
            await provider.reply(MESSAGES)
        assert 900_000 < len(caught.value.text) <= 1_000_000
        assert caught.value.limit == 1_000_000
        with pytest.raises(ReplyTooLargeError):
            await provider.create_async("", MESSAGES)
        assert len((await provider.reply(MESSAGES, max_reply=6_000_000)).text) == 5_000_000


@EVERY
async def test_a_streamed_reply_above_the_limit_is_complete_and_its_error_has_the_start_of_the_text(
    dialect: Dialect,
) -> None:
    async with FakeEndpoint(dialect, LONG, LONG.close(after=400)) as fake:
        provider = backend(dialect, fake.url, max_reply=1_000_000)
        texts = [text async for text in provider.create_async_generator("", MESSAGES)]
        assert sum(map(len, texts)) == 5_000_000
        with pytest.raises(TruncatedError) as caught:
            async for _ in provider.create_async_generator("", MESSAGES):
                pass
        assert 0 < len(caught.value.text) <= 1_000_000


@pytest.mark.parametrize(("count", "size", "limit", "kept"), [(5, 4, 12, 12), (5, 4, 11, 8), (3_000, 4, 5_001, 5_000)])
async def test_the_text_of_an_error_has_all_pieces_up_to_the_first_that_does_not_fit(
    count: int, size: int, limit: int, kept: int
) -> None:
    pieces = [f"{number % 10_000:0{size}}" for number in range(count)]
    answer = reply(Start("id-1", "m-1", 7), *pieces, Finish("stop")).close(after=count + 1)
    async with FakeEndpoint(dialects.OpenAI(), answer) as fake:
        with pytest.raises(TruncatedError) as caught:
            async for _ in backend(dialects.OpenAI(), fake.url, max_reply=limit).create_async_generator("", MESSAGES):
                pass
    assert caught.value.text == "".join(pieces)[:kept]


def stream_of(dialect: Dialect, items: list[Item], times: int) -> list[bytes]:
    """Return the chunks of a stream with the items written that often."""
    writer = dialect.writer(Request(MESSAGES))
    return [writer.write([Start("id-1", "m-1", 7)]), *[writer.write(items) for _ in range(times)]]


@EVERY
@pytest.mark.parametrize("item", ["x" * 10_000, Reasoning("x" * 10_000)], ids=["text", "reasoning"])
def test_a_reader_keeps_no_more_than_the_limit_when_it_is_trimmed(dialect: Dialect, item: Item) -> None:
    chunks = stream_of(dialect, [item], 1_000)
    reader = dialect.reader(ResponseHead(200, {"content-type": dialect.writer(Request([])).content_type}))
    tracemalloc.start()
    try:
        for chunk in chunks:
            reader.feed(chunk)
            reader.trim(1_000_000)
        assert tracemalloc.get_traced_memory()[0] < 2_500_000
    finally:
        tracemalloc.stop()


def test_a_call_with_larger_arguments_is_an_error_because_it_needs_all_of_them() -> None:
    dialect = dialects.OpenAI()
    reader = dialect.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    with pytest.raises(ReplyTooLargeError):
        for chunk in stream_of(dialect, [ToolCall(0, "c", "f", "x" * 10_000)], 1_000):
            reader.feed(chunk)
            reader.trim(1_000_000)


async def test_a_small_compressed_reply_is_limited_too() -> None:
    script = reply(Start("id-1", "m-1", 7), *["x" * 10_000] * 500, Finish("stop")).gzip()
    async with FakeEndpoint(dialects.OpenAI(), script) as fake:
        with pytest.raises(ReplyTooLargeError):
            await backend(dialects.OpenAI(), fake.url, max_reply=1_000_000).reply(MESSAGES)


async def test_the_values_in_a_compressed_record_are_limited() -> None:
    record = b'data: {"choices": [' + b"{}," * MAX_REPLY_ELEMENTS + b"{}]}\n\n"
    script = status(200, body=gzip.compress(record), content_type="text/event-stream")
    async with FakeEndpoint(dialects.OpenAI(), script.header("content-encoding", "gzip")) as fake:
        with pytest.raises(ProtocolError, match="values and fields"):
            await backend(dialects.OpenAI(), fake.url).reply(MESSAGES)


@EVERY
async def test_a_servers_complete_response_is_limited(dialect: Dialect) -> None:
    for api in (dialect, dialects.by_name("openai" if dialect.name != "openai" else "anthropic")):
        async with live_server(LONG, dialect=api, max_reply=1_000_000) as server:
            if dialect.name in ("acytoo",):
                return  # it always streams
            response = await call(server.port, request(dialect, stream=False))
            assert response.status == 502
            assert "larger than 1000000 bytes" in dialect.read_error(502, response.body).message


async def test_a_servers_stream_whose_end_repeats_all_of_it_is_limited() -> None:
    async with live_server(LONG, dialect=dialects.OpenAI(), max_reply=1_000_000) as server:
        response = await call(server.port, request("openai-responses"))
        assert response.status == 200
        assert 900_000 < len(response.body) < 2_500_000
        assert b"response.failed" in response.body
        assert b"larger than 1000000 bytes" in response.body


@pytest.mark.parametrize("value", [0, -1, 1.5, "64", True])
def test_the_limit_is_a_number_of_bytes(value: Any) -> None:
    with pytest.raises(UsageError, match="invalid max_reply"):
        backend(dialects.OpenAI(), "http://127.0.0.1:9", max_reply=value)
