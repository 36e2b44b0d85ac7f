"""What an exchange does at once, and at its timeouts: looked for after a few turns of the event loop.

The server is a plain socket and the clock is put forward, so that a mistake after which nothing happens fails at once
instead of making a test wait.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from acytoo import Timeout
from acytoo.errors import AcytooError, ProtocolError, TimedOutError, TruncatedError, UnreachableError
from acytoo.http import HTTPRequest
from acytoo.transport.config import Connection
from acytoo.transport.exchange import Exchange, open_exchange
from tests.skipping_loop import in_skipping_loop, skip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="other event loops take other numbers of turns")

T = TypeVar("T")


async def turns(number: int = 60) -> None:
    """Let the event loop do what can be done now."""
    for _ in range(number):
        await asyncio.sleep(0)


async def now(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of what can be done now. Assert that it can."""
    task = asyncio.ensure_future(work)
    await turns()
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
        raise AssertionError("it is not done")
    return task.result()


class Server:
    """A server that does what the test says, one connection after another."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=200)
        self._listening.setblocking(False)
        self.accepted: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    async def requests(self) -> list[bytes]:
        """Return what has arrived on each connection since the last time."""
        await turns()
        while True:
            try:
                self.accepted.append(self._listening.accept()[0])
            except BlockingIOError:
                break
            self.accepted[-1].setblocking(False)
        received = []
        for each in self.accepted:
            try:
                received.append(each.recv(1_000_000) if each.fileno() >= 0 else b"")
            except BlockingIOError:
                received.append(b"")
            except ConnectionResetError:
                received.append(b"(reset)")
        return received

    async def asking(self, **timeouts: float | None) -> asyncio.Task[Exchange]:
        """Begin an exchange, and return when its request has been sent."""
        limits: dict[str, float | None] = {"connect": None, "first_byte": None, "idle": None, "total": None, **timeouts}
        connection = Connection(Timeout(**limits))
        task = asyncio.ensure_future(open_exchange(HTTPRequest(self.url, {"x-a": "b"}, b"{}"), connection))
        await turns()
        return task

    async def answer(self, data: bytes, number: int = -1) -> None:
        """Send bytes on a connection, by default the last."""
        await self.requests()
        self.accepted[number].send(data)
        await turns()

    async def opened(self, data: bytes, **timeouts: float | None) -> Exchange:
        """Return an exchange whose response has begun with these bytes."""
        task = await self.asking(**timeouts)
        await self.answer(data)
        return await now(finished(task))

    def close(self) -> None:
        """End everything."""
        for each in (self._listening, *self.accepted):
            each.close()


async def finished(task: asyncio.Task[T]) -> T:
    """Return the result of a task."""
    return await task


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
SIZED = HEAD + b"content-length: 5\r\n\r\n"
LAST = b"0\r\n\r\n"

COMPLETE = {
    "a length": ([SIZED + b"Hello"], b"Hello", True),
    "a length in parts": ([SIZED, b"Hel", b"lo"], b"Hello", True),
    "nothing": ([HEAD + b"content-length: 0\r\n\r\n"], b"", True),
    "no content": ([b"HTTP/1.1 204 No Content\r\n\r\n"], b"", True),
    "chunks": ([CHUNKED + b"2\r\nHe\r\n3\r\nllo\r\n" + LAST], b"Hello", True),
    "chunks in parts": ([CHUNKED, b"2\r\nHe\r", b"\n3\r\nllo\r\n", b"0\r", b"\n\r\n"], b"Hello", True),
    "a trailer": ([CHUNKED + b"5\r\nHello\r\n0\r\nx-a: b\r\n\r\n"], b"Hello", True),
    "interim": ([b"HTTP/1.1 103 Early Hints\r\n\r\n", SIZED + b"Hello"], b"Hello", True),
    "it closes": ([HEAD + b"connection: close\r\ncontent-length: 5\r\n\r\nHello"], b"Hello", False),
    "1.0": ([b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nHello"], b"Hello", False),
    "1.0 is kept": ([b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nHello"], b"Hello", True),
    "more": ([SIZED + b"Hello!"], b"Hello", False),
    "another response": ([SIZED + b"Hello" + SIZED + b"World"], b"Hello", False),
    "until the end": ([HEAD + b"\r\nHel", b"lo", b""], b"Hello", False),
}
"""Responses in parts (an empty one ends the connection), their bodies, and whether another request may follow."""


async def read_all(exchange: Exchange) -> bytes:
    """Return the body."""
    body = b""
    while data := await exchange.read():
        body += data
    return body


@pytest.mark.parametrize("case", COMPLETE)
@in_skipping_loop
async def test_a_complete_response_is_read_and_its_connection_kept_if_that_is_possible(
    case: str, server: Server
) -> None:
    parts, body, is_kept = COMPLETE[case]
    task = await server.asking()
    (request,) = await server.requests()
    assert request.endswith(b"content-length: 2\r\n\r\n{}")
    reading: asyncio.Task[bytes] | None = None
    for part in parts:
        if part:
            await server.answer(part)
        else:
            server.accepted[-1].close()
        if task.done() and reading is None:
            reading = asyncio.ensure_future(read_all(task.result()))
            await turns()
    await turns()
    assert reading is not None
    assert await now(finished(reading)) == body
    with task.result() as exchange:
        assert exchange.head.status in (200, 204)
    again = await server.asking()
    assert [bool(received) for received in await server.requests()] == ([True] if is_kept else [False, True])
    await server.answer(SIZED + b"World")
    with await now(finished(again)) as exchange:
        assert await now(exchange.read()) == b"World"


FAILED: dict[str, tuple[list[bytes], type[AcytooError]]] = {
    "nothing": ([b""], UnreachableError),
    "half a head": ([HEAD, b""], UnreachableError),
    "not HTTP": ([b"SSH-2.0\r\n"], ProtocolError),
    "another version": ([b"HTTP/3.0 200 OK\r\n\r\n"], ProtocolError),
    "two lengths": ([HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n"], ProtocolError),
    "a length that is not reached": ([SIZED + b"Hell", b""], TruncatedError),
    "chunks without an end": ([CHUNKED + b"5\r\nHello\r\n", b""], TruncatedError),
    "half a last chunk": ([CHUNKED + b"5\r\nHello\r\n0\r\n", b""], TruncatedError),
    "a wrong chunk": ([CHUNKED + b"5\r\nHello\r\nno\r\n"], TruncatedError),
}


@pytest.mark.parametrize("case", FAILED)
@in_skipping_loop
async def test_a_response_that_fails_is_an_error_after_what_has_arrived(case: str, server: Server) -> None:
    parts, kind = FAILED[case]
    task = await server.asking()
    for part in parts:
        if part:
            await server.answer(part)
        else:
            await server.requests()
            server.accepted[-1].close()
            await turns()
    body = b""
    with pytest.raises(kind) as caught:
        exchange = await now(finished(task))
        while True:
            data = await now(exchange.read())
            assert data, "it counts as complete"
            body += data
    assert type(caught.value) is kind
    arrived = b"".join(parts)
    assert body == next((text for text in (b"Hello", b"Hell") if text in arrived), b"")
    if task.exception() is None:
        task.result().close()
    await turns()
    _ = await server.asking()
    assert len(await server.requests()) == 2, "the connection is used again"


@in_skipping_loop
async def test_an_exchange_that_is_left_early_ends_its_connection_at_once(server: Server) -> None:
    exchange = await server.opened(CHUNKED + b"5\r\nHello\r\n")
    assert await now(exchange.read()) == b"Hello"
    exchange.close()
    exchange.close()
    await turns()
    assert server.accepted[0].recv(1) == b""
    _ = await server.asking()
    assert len(await server.requests()) == 2


@in_skipping_loop
async def test_a_second_try_after_a_stale_connection_is_on_a_new_one(server: Server) -> None:
    exchanges = [await server.opened(SIZED + b"Hello") for _ in range(3)]
    for exchange in exchanges:
        exchange.close()
    await turns()
    task = await server.asking()
    received = await server.requests()
    assert [bool(each) for each in received] == [False, False, True]  # the one that became idle last
    server.accepted[-1].close()
    received = await server.requests()
    assert [bool(each) for each in received] == [False, False, False, True]
    await server.answer(SIZED + b"again")
    assert await now((await now(finished(task))).read()) == b"again"


@in_skipping_loop
async def test_each_idle_connection_is_closed_after_half_a_minute(server: Server) -> None:
    exchanges = [await server.opened(SIZED + b"Hello") for _ in range(3)]
    for exchange in exchanges:
        exchange.close()
        skip(10)
    ends = []
    for seconds in (-1, 2, 8, 2, 8, 2):
        skip(seconds)
        await turns()
        ends.append(sum(is_ended(each) for each in server.accepted))
    assert ends == [0, 1, 1, 2, 2, 3]


def is_ended(sock: socket.socket) -> bool:
    """Return whether the other side has closed the connection."""
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False


@in_skipping_loop
async def test_a_hundred_idle_connections_are_kept_and_the_longest_idle_is_closed_for_another(server: Server) -> None:
    exchanges = [await server.opened(SIZED + b"Hello") for _ in range(102)]
    for number, exchange in enumerate(exchanges, 1):
        exchange.close()
        await turns(5)
        assert sum(is_ended(each) for each in server.accepted) == max(0, number - 100)
    assert [is_ended(each) for each in server.accepted[:3]] == [True, True, False]


@in_skipping_loop
async def test_bytes_on_an_idle_connection_end_it(server: Server) -> None:
    exchange = await server.opened(SIZED + b"Hello")
    exchange.close()
    await turns()
    await server.answer(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    _ = await server.asking()
    assert [bool(each) for each in await server.requests()][1:] == [True]


@pytest.mark.parametrize("limit", ["first_byte", "idle", "total"])
@pytest.mark.parametrize("how", ["read", "forward"])
@in_skipping_loop
async def test_a_timeout_ends_a_body_when_it_is_over_and_not_before(limit: str, how: str, server: Server) -> None:
    exchange = await server.opened(CHUNKED, **{limit: 100.0})
    if limit == "idle":
        await server.answer(b"2\r\nHi\r\n")
        assert await now(exchange.read()) == b"Hi"
        exchange.deadlines.content_received()

    def consume(data: bytes) -> bool:
        exchange.deadlines.content_received()
        return True

    async def wait() -> bytes:
        if how == "forward":
            await exchange.forward(consume)
        return await exchange.read()

    waiting = asyncio.ensure_future(wait())
    await turns()
    skip(60)
    await turns()
    if limit == "idle" and how == "forward":
        await server.answer(b"2\r\nHi\r\n")  # the time begins again
        skip(60)
        await turns()
    skip(38)
    await turns()
    assert not waiting.done()
    skip(3)
    await turns()
    skip(0.02)  # the grace of a busy event loop
    await turns()
    assert waiting.done()
    with pytest.raises(TimedOutError) as caught:
        waiting.result()
    assert (caught.value.phase, caught.value.limit) == (limit, 100.0)


@in_skipping_loop
async def test_keep_alives_do_not_end_the_wait_for_content(server: Server) -> None:
    exchange = await server.opened(CHUNKED, first_byte=100.0)
    for number in range(2):
        await server.answer(b"2\r\n:\n\r\n")
        assert await now(exchange.read()) == b":\n"
        exchange.deadlines.pause_waiting()
        skip(1000 if number == 0 else 0)  # the reader is busy
    waiting = asyncio.ensure_future(exchange.read())
    await turns()
    skip(99)
    await turns()
    assert not waiting.done()
    skip(1.1)
    await turns()
    skip(0.02)
    await turns()
    assert isinstance(waiting.exception(), TimedOutError)


@pytest.mark.parametrize("size", [10, 65_536, 65_537])
@in_skipping_loop
async def test_as_much_of_an_errors_body_is_read_as_is_shown_and_the_rest_is_waited_for_shortly(
    size: int, server: Server
) -> None:
    exchange = await server.opened(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 100000\r\n\r\n")
    await server.answer(b"x" * size)
    reading = asyncio.ensure_future(exchange.read_error())
    await turns()
    assert reading.done() is (size >= 65_536)
    if not reading.done():
        skip(4)
        await turns()
        assert not reading.done()
        skip(1.1)
        await turns()
    assert await now(finished(reading)) == b"x" * min(size, 65_536)


@in_skipping_loop
async def test_a_reader_that_is_behind_stops_the_server_until_it_reads(server: Server) -> None:
    exchange = await server.opened(CHUNKED)
    sent = 0
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    pending = b""
    for _ in range(2000):
        pending = pending or piece
        try:
            count = server.accepted[0].send(pending)
        except BlockingIOError:
            break
        sent += count
        pending = pending[count:]
        await turns(3)
    assert sent < 2000 * len(piece), "nothing stops it"
    first = await now(exchange.read())
    assert 100_000 < len(first) < 500_000
    for _ in range(200):
        try:
            server.accepted[0].send(pending)
            break
        except BlockingIOError:
            await now(exchange.read())
    else:
        raise AssertionError("nothing is read after a pause")
    exchange.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name the options differently")
@in_skipping_loop
async def test_the_kernel_probes_every_connection(server: Server) -> None:
    task = await server.asking()
    await server.answer(SIZED + b"Hello")
    exchange = await now(finished(task))
    sock = exchange._connection.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 15
    exchange.close()
