"""To stop reading, in any phase, closes the connection at once; a slow consumer slows the server."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import aclosing

import pytest

from acytoo import Acytoo, dialects
from acytoo.testing import (
    FakeEndpoint,
    FakeHTTPProxy,
    FakeSOCKSProxy,
    ScriptedResponse,
    black_hole,
    reply,
    silent,
    status,
)
from tests.helpers import MESSAGES, texts
from tests.skipping_loop import in_skipping_loop, skip

ENDLESS = reply(*["x" * 65536] * 2000)
HELLO = reply("Hello ", "world").stall(after=1)


async def test_leaving_the_iteration_early_and_closing_closes_the_connection() -> None:
    async with FakeEndpoint(dialects.Acytoo(), HELLO) as fake:
        async with aclosing(Acytoo(fake.url).create_async_generator("", MESSAGES)) as stream:
            async for _ in stream:
                break
        await fake.disconnected()


async def test_a_break_without_closing_closes_when_the_generator_is_collected() -> None:
    async with FakeEndpoint(dialects.Acytoo(), HELLO) as fake:
        async for _ in Acytoo(fake.url).create_async_generator("", MESSAGES):
            break
        gc.collect()
        await fake.disconnected()


async def test_an_exception_in_the_consumers_code_closes_and_propagates() -> None:
    async with FakeEndpoint(dialects.Acytoo(), HELLO) as fake:
        with pytest.raises(ZeroDivisionError):
            async with aclosing(Acytoo(fake.url).create_async_generator("", MESSAGES)) as stream:
                async for _ in stream:
                    1 / 0
        await fake.disconnected()


async def test_closing_a_generator_before_its_first_step_sends_nothing() -> None:
    async with FakeEndpoint(dialects.Acytoo(), HELLO) as fake:
        stream = Acytoo(fake.url).create_async_generator("", MESSAGES)
        await stream.aclose()
        assert [text async for text in stream] == []
        assert fake.connections == 0


async def test_the_rest_of_a_closed_reply_is_not_read_into_the_next() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("one", "two"), reply("three")) as fake:
        provider = Acytoo(fake.url)
        stream = provider.create_async_generator("", MESSAGES)
        assert await anext(stream) == "one"
        await stream.aclose()
        assert await texts(provider) == ["three"]


PHASES: dict[str, ScriptedResponse] = {
    "before the first byte": silent(),
    "in the head": reply("Hi").stall(at_byte=9),
    "before the first text": reply("Hi").stall(after=0),
    "in mid-stream": HELLO,
    "in an error's body": status(500, body="out of").with_length(99).stall(),
}


@pytest.mark.parametrize("complete", [False, True], ids=["streamed", "create_async"])
@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancelled_call_closes_the_connection_and_stays_cancelled(phase: str, complete: bool) -> None:
    async with FakeEndpoint(dialects.Acytoo(), PHASES[phase]) as fake:
        provider = Acytoo(fake.url)
        task = asyncio.create_task(provider.create_async("", MESSAGES) if complete else _read_all(provider))
        await fake.received()
        await asyncio.sleep(0.05)
        task.cancel("for a reason")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("for a reason",)
        assert task.cancelled()
        await fake.disconnected()


async def _read_all(provider: Acytoo) -> str:
    return "".join([text async for text in provider.create_async_generator("", MESSAGES)])


async def test_a_call_cancelled_while_connecting_ends_at_once() -> None:
    async with black_hole() as port:
        task = asyncio.create_task(texts(Acytoo(f"http://127.0.0.1:{port}")))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_call_cancelled_in_a_tls_handshake_closes_the_connection() -> None:
    async with FakeEndpoint(dialects.Acytoo(), on_connect=silent()) as fake:
        task = asyncio.create_task(texts(Acytoo(fake.url.replace("http:", "https:"))))
        await fake.connected()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await fake.disconnected()


@pytest.mark.parametrize("kind", [FakeHTTPProxy, FakeSOCKSProxy])
async def test_cancelling_a_call_through_a_proxy_reaches_the_server(
    kind: type[FakeHTTPProxy] | type[FakeSOCKSProxy],
) -> None:
    async with FakeEndpoint(dialects.Acytoo(), silent()) as fake, kind() as proxy:
        task = asyncio.create_task(texts(Acytoo(fake.url, proxy=proxy.url)))
        await fake.received()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await fake.disconnected()


@in_skipping_loop
async def test_a_callers_own_timeout_is_a_plain_timeout_error() -> None:
    async with FakeEndpoint(dialects.Acytoo(), HELLO) as fake:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1000):
                async for _ in Acytoo(fake.url).create_async_generator("", MESSAGES):
                    skip(1000)
        assert type(caught.value) is TimeoutError
        await fake.disconnected()


async def test_a_slow_consumer_slows_the_server_and_memory_stays_flat() -> None:
    async with FakeEndpoint(dialects.Acytoo(), ENDLESS) as fake:
        tracemalloc.start()
        try:
            async with aclosing(Acytoo(fake.url).create_async_generator("", MESSAGES)) as stream:
                assert await anext(stream)
                before = -1
                while before != fake.written:
                    before = fake.written
                    await asyncio.sleep(0.1)
                held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert fake.written < 30_000_000, "of 131 MB"
        assert held < 5_000_000
        await fake.disconnected()


async def test_a_very_large_reply_is_streamed() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply(*["x" * 65536] * 500)) as fake:
        size = 0
        async for text in Acytoo(fake.url).create_async_generator("", MESSAGES):
            size += len(text)
        assert size == 500 * 65536
