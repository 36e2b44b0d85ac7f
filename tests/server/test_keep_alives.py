"""Keep-alives of a stream whose backend is silent, and how a stream ends that fails. The clock is put forward."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from acytoo import Timeout, dialects
from acytoo.dialects import Dialect
from acytoo.testing import ScriptedResponse, reply
from acytoo.types import Finish, Request, Start
from tests.server.live_server import LiveServer, call, live_server, request
from tests.skipping_loop import in_skipping_loop, skip

BEHIND = dialects.Ollama()
HELLO = reply(Start("id-1", "m-1", 7), "Hello", " there", Finish("stop"))
WITH_PINGS = [dialect for dialect in dialects.ALL if dialect.writer(Request([])).ping]
PINGS = pytest.mark.parametrize("dialect", WITH_PINGS, ids=lambda dialect: dialect.name)


class Client:
    """A client that looks at what has arrived. The text of Ollama's keep-alives begins with a time."""

    def __init__(self, sock: socket.socket, dialect: Dialect) -> None:
        self._sock = sock
        self._ping = dialect.writer(Request([])).ping[-40:]

    async def arrived(self) -> bytes:
        """Return what has arrived, after the server has done what it can do now."""
        for _ in range(50):
            await asyncio.sleep(0)
        try:
            return self._sock.recv(100_000)
        except BlockingIOError:
            return b""

    async def arrives(self, part: bytes) -> None:
        """Read until the part has arrived. Everything is in this process, so that many turns are enough."""
        data = b""
        for _ in range(200):
            data += await self.arrived()
            if part in data:
                return
        raise AssertionError(f"only {data!r} has arrived")

    async def pings(self) -> int:
        """Return how many keep-alives have arrived, and nothing else."""
        data = await self.arrived()
        size, number = data.partition(b"\r\n")[0], 0
        while data:
            size, _, rest = data.partition(b"\r\n")
            chunk, data = rest[: int(size, 16)], rest[int(size, 16) + 2 :]
            assert chunk.endswith(self._ping)
            number += 1
        return number


@asynccontextmanager
async def streaming(
    client: Dialect, script: ScriptedResponse, **settings: Any
) -> AsyncIterator[tuple[LiveServer, Client]]:
    """Send a request for a stream; no timeout but that of the keep-alives ends anything."""
    patient = {"timeout": Timeout(None, None, None, None)}
    async with live_server(script, dialect=BEHIND, provider=patient, idle=1e7, unread=1e7, **settings) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.setblocking(False)
            sock.send(request(client))
            await server.fake.received()
            yield server, Client(sock, client)


@PINGS
@pytest.mark.parametrize(("first", "later"), [(1000, 300), (300, 1000)])
@in_skipping_loop
async def test_a_silent_backend_causes_the_head_and_then_keep_alives_at_their_intervals(
    dialect: Dialect, first: int, later: int
) -> None:
    async with streaming(dialect, HELLO.stall(after=0), first_ping_after=first, ping_after=later) as (_, client):
        for part in (first - 100, 50):
            skip(part)
            assert await client.arrived() == b""
        skip(50)
        assert (await client.arrived()).startswith(b"HTTP/1.1 200 OK\r\n")
        for _ in range(3):
            skip(later - 50)
            assert await client.pings() == 0
            skip(50)
            assert await client.pings() == 1
        skip(10 * later)
        assert await client.pings() == 1


@PINGS
@pytest.mark.parametrize(("first", "later"), [(1000, 300), (300, 1000)])
@in_skipping_loop
async def test_after_a_text_keep_alives_begin_once_the_stream_is_silent_for_their_interval(
    dialect: Dialect, first: int, later: int
) -> None:
    # The first check is due after 300 s in both cases.
    script = HELLO.stall(after=2)
    async with streaming(dialect, script, first_ping_after=first, ping_after=later) as (_, client):
        await client.arrives(b"Hello")
        skip(later - 50)
        assert await client.pings() == 0
        skip(50)
        assert await client.pings() == 1
        skip(later - 50)
        assert await client.pings() == 0
        skip(50)
        assert await client.pings() == 1


@in_skipping_loop
async def test_an_api_without_keep_alives_has_none() -> None:
    async with streaming(dialects.Acytoo(), HELLO.stall(after=0), first_ping_after=10, ping_after=10) as (_, client):
        for _ in range(3):
            skip(1000)
            assert await client.arrived() == b""


@PINGS
@in_skipping_loop
async def test_a_stream_that_has_ended_has_no_keep_alives(dialect: Dialect) -> None:
    async with streaming(dialect, HELLO, first_ping_after=10, ping_after=10) as (_, client):
        await client.arrives(b"0\r\n\r\n")
        for _ in range(3):
            skip(1000)
            assert await client.arrived() == b""


FAILURES = {
    "reported": HELLO.fail("no GPU is left", after=2),
    "cut": HELLO.close(after=2),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("passes", [True, False], ids=["same API", "other API"])
@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
async def test_a_failed_stream_ends_only_if_its_error_is_an_end_that_nothing_can_precede(
    dialect: Dialect, passes: bool, failure: str
) -> None:
    other = dialects.Gemini() if isinstance(dialect, dialects.Ollama) else dialects.Ollama()
    async with live_server(FAILURES[failure], dialect=dialect if passes else other) as server:
        answer = await call(server.port, request(dialect))
    assert answer.status == 200
    assert b"Hello" in answer.body
    writer = dialect.writer(Request([]))
    may_have_ended = passes and failure == "cut"
    assert answer.is_complete is (writer.error_ends_reply and not may_have_ended)
