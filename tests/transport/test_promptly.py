"""What an exchange does at once, and at its timeouts: looked for after a few turns of the event loop.

The server is a plain socket and the clock is put forward, so that a mistake after which nothing happens fails at once
instead of making a test wait.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import sys
import weakref
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from acytoo import Timeout
from acytoo.errors import AcytooError, ProtocolError, TimedOutError, TruncatedError, UnreachableError
from acytoo.http import HTTPRequest
from acytoo.transport.config import Connection
from acytoo.transport.exchange import Exchange, open_exchange
from tests.recording_loop import RecordingLoop
from tests.skipping_loop import in_stopped_loop, skip

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
@in_stopped_loop
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
@in_stopped_loop
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


@in_stopped_loop
async def test_an_exchange_that_is_left_early_ends_its_connection_at_once(server: Server) -> None:
    exchange = await server.opened(CHUNKED + b"5\r\nHello\r\n")
    assert await now(exchange.read()) == b"Hello"
    exchange.close()
    exchange.close()
    await turns()
    assert server.accepted[0].recv(1) == b""
    _ = await server.asking()
    assert len(await server.requests()) == 2


@in_stopped_loop
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


@in_stopped_loop
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


@in_stopped_loop
async def test_a_hundred_idle_connections_are_kept_and_the_longest_idle_is_closed_for_another(server: Server) -> None:
    exchanges = [await server.opened(SIZED + b"Hello") for _ in range(102)]
    for number, exchange in enumerate(exchanges, 1):
        exchange.close()
        await turns(5)
        assert sum(is_ended(each) for each in server.accepted) == max(0, number - 100)
    assert [is_ended(each) for each in server.accepted[:3]] == [True, True, False]


@in_stopped_loop
async def test_bytes_on_an_idle_connection_end_it(server: Server) -> None:
    exchange = await server.opened(SIZED + b"Hello")
    exchange.close()
    await turns()
    await server.answer(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    _ = await server.asking()
    assert [bool(each) for each in await server.requests()][1:] == [True]


@pytest.mark.parametrize("limit", ["first_byte", "idle", "total"])
@pytest.mark.parametrize("how", ["read", "forward"])
@in_stopped_loop
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


@in_stopped_loop
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
@in_stopped_loop
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


@in_stopped_loop
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


# What the pool keeps


@in_stopped_loop
async def test_a_connection_is_kept_once_however_often_its_exchange_is_closed(server: Server) -> None:
    exchange = await server.opened(SIZED + b"Hello")
    exchange.close()
    exchange.close()
    _ = [await server.asking() for _ in range(2)]
    assert [bool(each) for each in await server.requests()] == [True, True]


@pytest.mark.parametrize("end", ["closed", "no more is sent", "reset", "aborted here"])
@in_stopped_loop
async def test_an_idle_connection_that_ends_is_closed_and_not_used_again(end: str, server: Server) -> None:
    exchange = await server.opened(SIZED + b"Hello")
    transport = exchange._connection.transport
    exchange.close()
    peer = server.accepted[0]
    if end == "closed":
        peer.close()
    elif end == "no more is sent":
        peer.shutdown(socket.SHUT_WR)
    elif end == "reset":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    else:
        transport.abort()  # the event loop reports it in its next step
    if end != "aborted here":
        await turns()
    if end == "no more is sent":
        assert is_ended(peer)
    _ = await server.asking()
    assert [bool(each) for each in await server.requests()] == [False, True]


@pytest.mark.parametrize("limit", ["first_byte", "idle", "total"])
@in_stopped_loop
async def test_the_timeouts_of_an_exchange_end_with_it(limit: str, server: Server) -> None:
    exchange = await server.opened(SIZED + b"Hello", **{limit: 10.0})
    assert await now(exchange.read()) == b"Hello"
    exchange.close()
    for _ in range(3):
        skip(9)
        await turns()
    again = await server.asking()
    assert [bool(each) for each in await server.requests()] == [True]
    skip(20)
    await turns()
    await server.answer(SIZED + b"World")
    assert await now((await now(finished(again))).read()) == b"World"


@pytest.mark.parametrize("limits", [(100.0, 50.0), (50.0, 100.0), (None, 50.0), (100.0, 100.0)])
@in_stopped_loop
async def test_each_exchange_of_a_connection_has_its_own_timeouts(
    limits: tuple[float | None, float], server: Server
) -> None:
    exchange = await server.opened(SIZED + b"Hello", first_byte=limits[0])
    exchange.close()
    task = await server.asking(first_byte=limits[1])
    skip(limits[1] - 1)
    await turns()
    assert not task.done()
    for seconds in (1.1, 0.02):
        skip(seconds)
        await turns()
    assert isinstance(task.exception(), TimedOutError)


def test_no_timer_of_a_connection_remains_when_it_has_ended() -> None:
    async def main(server: Server) -> None:
        for limit in (1000.0, 500.0, 2000.0):
            exchange = await server.opened(SIZED + b"Hello", first_byte=limit)
            assert loop.pending() == (1 if limit == 1000.0 else 2)  # the pool's, and one of the connection
            exchange.close()
        server.accepted[0].close()
        await turns()
        assert loop.pending() == 1

    server = Server()
    loop = RecordingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main(server))
    assert loop.pending() == 0
    server.close()


def test_nothing_is_kept_of_an_event_loop_that_has_ended() -> None:
    server = Server()
    loop = asyncio.new_event_loop()

    async def main() -> None:
        exchange = await server.opened(SIZED + b"Hello")
        exchange.close()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    server.close()
    ended = weakref.ref(loop)
    del loop
    gc.collect()
    assert ended() is None


def test_who_still_reads_when_the_generators_of_an_event_loop_end_is_told_why() -> None:
    server = Server()
    loop = asyncio.new_event_loop()

    async def main() -> asyncio.Task[bytes]:
        exchange = await server.opened(CHUNKED)
        reading = asyncio.ensure_future(exchange.read())
        await turns()
        return reading

    reading = loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(asyncio.wait([reading]))
    error = reading.exception()
    loop.close()
    server.close()
    assert isinstance(error, TruncatedError)
    assert str(error) == "the connection was lost before the reply was complete (the event loop has ended)"


# What is forwarded


@pytest.mark.parametrize("case", ["data waits", "it is complete", "it has failed", "it is compressed"])
@in_stopped_loop
async def test_nothing_is_forwarded_of_what_has_to_be_read(case: str, server: Server) -> None:
    head = CHUNKED
    if case == "it is compressed":
        head = HEAD + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    rest = {"data waits": b"1\r\nx\r\n", "it is complete": LAST, "it has failed": b"no\r\n", "it is compressed": b""}
    exchange = await server.opened(head)
    if rest[case]:
        await server.answer(rest[case])

    def consume(data: bytes) -> bool:
        raise AssertionError

    await now(exchange.forward(consume))
    exchange.close()


@pytest.mark.parametrize("parts", [[b"3\r\none\r\n", b"3\r\ntwo\r\n"], [b"3\r\none\r\n3\r\ntwo\r\n"]])
@in_stopped_loop
async def test_forwarding_ends_when_its_consumer_has_enough_and_the_rest_is_read(
    parts: list[bytes], server: Server
) -> None:
    exchange = await server.opened(CHUNKED)
    seen: list[bytes] = []

    def consume(data: bytes) -> bool:
        seen.append(data)
        return False

    forwarding = asyncio.ensure_future(exchange.forward(consume))
    await turns()
    await server.answer(b"3\r\n")  # only framing
    assert not forwarding.done()
    await server.answer(b"zer\r\n")
    assert (forwarding.done(), seen) == (True, [b"zer"])
    for part in parts:
        await server.answer(part)
    await server.answer(LAST)
    assert seen == [b"zer"]
    assert await now(read_all(exchange)) == b"onetwo"


@in_stopped_loop
async def test_after_forwarding_a_reader_that_is_busy_is_not_silence(server: Server) -> None:
    exchange = await server.opened(CHUNKED, idle=100.0)

    def consume(data: bytes) -> bool:
        exchange.deadlines.content_received()
        return False

    forwarding = asyncio.ensure_future(exchange.forward(consume))
    await turns()
    await server.answer(b"3\r\none\r\n")
    assert forwarding.done()
    exchange.deadlines.content_received()
    for seconds in (99, 99, 1, 1):  # the reader is busy
        skip(seconds)
        await turns()
    await server.answer(b"3\r\ntwo\r\n")
    assert await now(exchange.read()) == b"two"


@pytest.mark.parametrize("is_cancelled", [False, True])
@in_stopped_loop
async def test_what_a_consumer_raises_ends_forwarding(is_cancelled: bool, server: Server) -> None:
    exchange = await server.opened(CHUNKED)
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def consume(data: bytes) -> bool:
        if is_cancelled:
            asyncio.get_running_loop().call_soon(tasks[0].cancel)
        raise ValueError(data)

    tasks = [asyncio.ensure_future(exchange.forward(consume))]
    await turns()
    await server.answer(b"3\r\none\r\n")
    assert tasks[0].done()
    if not tasks[0].cancelled():
        assert isinstance(tasks[0].exception(), ValueError)
    await server.answer(b"3\r\ntwo\r\n" + LAST)
    assert await now(exchange.read()) == b"two"
    assert await now(exchange.read()) == b""
    tasks.clear()
    gc.collect()
    assert reported == []


@pytest.mark.parametrize("end", ["length", "chunks", "cut"])
@in_stopped_loop
async def test_forwarding_ends_with_the_body(end: str, server: Server) -> None:
    exchange = await server.opened(SIZED if end == "length" else CHUNKED)
    seen: list[bytes] = []

    def consume(data: bytes) -> bool:
        seen.append(data)
        return True

    forwarding = asyncio.ensure_future(exchange.forward(consume))
    await turns()
    if end == "length":
        await server.answer(b"He")
        assert not forwarding.done()
        await server.answer(b"llo")
    else:
        await server.answer(b"5\r\nHello\r\n")
        assert not forwarding.done()
        if end == "chunks":
            await server.answer(LAST)
        else:
            server.accepted[-1].close()
            await turns()
    await now(finished(forwarding))
    assert b"".join(seen) == b"Hello"
    if end == "cut":
        with pytest.raises(TruncatedError):
            await now(exchange.read())
    else:
        assert await now(exchange.read()) == b""


# What is sent


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("POST", b"{}", b"\r\ncontent-length: 2\r\n"),
        ("POST", b"", b"\r\ncontent-length: 0\r\n"),
        ("GET", b"", None),
        ("GET", b"x", b"\r\ncontent-length: 1\r\n"),
        ("DELETE", b"", b"\r\ncontent-length: 0\r\n"),
    ],
)
@in_stopped_loop
async def test_only_a_get_without_a_body_has_no_length(
    method: str, body: bytes, length: bytes | None, server: Server
) -> None:
    headers = {"x-a": "b", "content-length": "7", "accept-encoding": "br"}
    request = HTTPRequest(server.url, headers, body, method=method, own_fields=b"x-own: 1\r\n")
    task = asyncio.ensure_future(open_exchange(request, Connection()))
    (received,) = await server.requests()
    task.cancel()
    await asyncio.wait([task])
    head, _, rest = received.partition(b"\r\n\r\n")
    head += b"\r\n"
    assert (rest, head.split(b" ")[:2]) == (body, [method.encode(), b"/"])
    assert head.count(b"content-length") == (length is not None)
    assert (length or b"") in head
    assert b"\r\naccept-encoding: identity\r\n" in head
    assert b"\r\nx-own: 1\r\n" in head


@pytest.mark.parametrize("size", [0, 65_536, 65_537, 300_000])
@in_stopped_loop
async def test_a_body_follows_its_head_whatever_its_size(size: int, server: Server) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    task = asyncio.ensure_future(open_exchange(HTTPRequest(server.url, {}, body), Connection()))
    received = b""
    for _ in range(100):
        received += b"".join(await server.requests())
        if received.endswith(body) and len(received) > size:
            break
    task.cancel()
    await asyncio.wait([task])
    assert received.partition(b"\r\n\r\n")[2] == body


@in_stopped_loop
async def test_the_sum_of_all_redirects_has_one_total_timeout_and_each_its_own_first_byte(server: Server) -> None:
    task = await server.asking(first_byte=100.0, total=150.0)
    redirect = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n"
    skip(90)
    await server.answer(redirect)
    skip(55)
    await turns()
    assert not task.done()
    skip(6)
    await turns()
    error = task.exception()
    assert isinstance(error, TimedOutError)
    assert (error.phase, error.limit) == ("total", 150.0)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name the options differently")
@in_stopped_loop
async def test_the_kernel_probes_every_connection(server: Server) -> None:
    task = await server.asking()
    await server.answer(SIZED + b"Hello")
    exchange = await now(finished(task))
    sock = exchange._connection.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 15
    exchange.close()
