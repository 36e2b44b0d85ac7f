"""What a connection does at once, and at its timeouts: looked for after a few turns of the event loop.

Everything is local and the clock is put forward, so that a mistake after which nothing happens fails at once instead of
making a test wait.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from acytoo import dialects
from acytoo.http import HTTPResponse
from acytoo.http1.head import HTTPError
from acytoo.server.config import ServerConfig
from acytoo.server.connection import DisconnectedError
from acytoo.server.hangup import has_hung_up
from acytoo.server.http_server import HTTPServer
from acytoo.server.request import BodyTooLargeError, Budget, BudgetError, IncomingRequest
from acytoo.server.response import StreamedResponse
from tests.recording_loop import RecordingLoop
from tests.server.live_server import backend, head
from tests.skipping_loop import in_stopped_loop, skip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="other event loops take other numbers of turns")

BACKENDS = {"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")}
GET = head("GET /a HTTP/1.1")
CHUNKED = head("POST /b HTTP/1.1", "transfer-encoding: chunked\r\n")
Handler = Callable[[IncomingRequest], Awaitable[HTTPResponse | None]]


async def turns(number: int = 60) -> None:
    """Let the event loop do what can be done now."""
    for _ in range(number):
        await asyncio.sleep(0)


class Client:
    """A client that looks at what has arrived."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setblocking(False)

    async def send(self, data: bytes) -> None:
        """Send bytes, and let the server do what it can do now."""
        self.sock.send(data)
        await turns()

    async def arrived(self) -> str:
        """Return what has arrived without dates, and `(end)` or `(reset)` after it at the end of the connection."""
        await turns()
        data, end = b"", ""
        try:
            while piece := self.sock.recv(1_000_000):
                data += piece
            end = "(end)"
        except BlockingIOError:
            pass
        except ConnectionResetError:
            end = "(reset)"
        return re.sub("date: [^\r]*\r\n", "", data.decode()) + end


class Running:
    """A server with a handler of the test."""

    def __init__(self, server: HTTPServer, port: int) -> None:
        self.server = server
        self.port = port
        self.clients: list[Client] = []

    async def client(self) -> Client:
        """Connect."""
        self.clients.append(Client(self.port))
        await turns()
        return self.clients[-1]


@asynccontextmanager
async def running(handler: Handler, *, access_log: bool = False, **settings: Any) -> AsyncIterator[Running]:
    """Run a server whose timeouts are 1000 s, but for those that are given."""
    long = {"idle": 1000.0, "receive": 1000.0, "unread": 1000.0, "grace": 0.0}
    server = HTTPServer(handler, ServerConfig(BACKENDS, **{**long, **settings}), access_log=access_log)
    _, port = await server.listen("127.0.0.1", 0)
    running = Running(server, port)
    try:
        yield running
    finally:
        for client in running.clients:
            client.sock.close()
        await turns()
        await server.close()


def ok(text: str, connection: str = "") -> str:
    """Return a response without its date."""
    more = f"connection: {connection}\r\n" if connection else ""
    return f"HTTP/1.1 200 OK\r\n{more}content-length: {len(text)}\r\n\r\n{text}"


async def echo(request: IncomingRequest) -> HTTPResponse:
    """Return method, path and body of a request; `/a` and the like leave the body unread."""
    body = b"" if request.path == "/a" else await request.body(1000, 1000.0, Budget(10_000))
    return HTTPResponse(200, {}, f"{request.method} {request.path} {body.decode()}".encode())


def post(body: bytes, headers: str = "", path: str = "/b", version: str = "1.1") -> bytes:
    """Return a request with a body."""
    return head(f"POST {path} HTTP/{version}", f"content-length: {len(body)}\r\n{headers}") + body


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (GET, ok("GET /a ")),
        (GET * 3, ok("GET /a ") * 3),
        (head("HEAD /a HTTP/1.1"), ok("HEAD /a ").replace("\r\n\r\nHEAD /a ", "\r\n\r\n")),
        (post(b"Hi"), ok("POST /b Hi")),
        (post(b"Hi") + post(b"there") + GET, ok("POST /b Hi") + ok("POST /b there") + ok("GET /a ")),
        (post(b"Hi", "expect: 100-continue\r\n"), ok("POST /b Hi")),
        (CHUNKED + b"2\r\nHi\r\n1\r\n!\r\n0\r\n\r\n", ok("POST /b Hi!")),
        (head("POST /b HTTP/1.1", "expect: 100-continue\r\ncontent-length: 2\r\n"), "HTTP/1.1 100 Continue\r\n\r\n"),
        (head("POST /b HTTP/1.1", "expect: 100-continue\r\ncontent-length: 2\r\n") + b"H", ""),
        (head("POST /b HTTP/1.1", "content-length: 2\r\n"), ""),
        (head("POST /b HTTP/1.0", "expect: 100-continue\r\ncontent-length: 2\r\n"), ""),
        (GET[:-1], ""),
        (head("GET /a HTTP/1.1", "connection: close\r\n") + GET, ok("GET /a ", "close") + "(end)"),
        (head("GET /a HTTP/1.0") + GET, ok("GET /a ", "close") + "(end)"),
        (head("GET /a HTTP/1.0", "connection: keep-alive\r\n") + GET, ok("GET /a ", "keep-alive") + ok("GET /a ")),
        (post(b"x" * 1000), ok("POST /b " + "x" * 1000)),
        (post(b"Hi", path="/a"), ok("POST /a ")),
        (post(b"Hi", path="/a") + GET, ok("POST /a ") + ok("GET /a ")),
        (post(b"Hi", path="/a")[:-1], ok("POST /a ", "close") + "(end)"),
    ],
    ids=range(19),
)  # fmt: skip
@in_stopped_loop
async def test_requests_are_answered_in_order(sent: bytes, received: str) -> None:
    async with running(echo) as server:
        client = await server.client()
        await client.send(sent)
        assert await client.arrived() == received
        for _ in range(4):  # it is the same in parts, and on a connection of its own for each
            client = await server.client()
            for start in range(0, len(sent), 37):
                with suppress(ConnectionError):  # it may have ended
                    await client.send(sent[start : start + 37])
            if "expect" not in sent.decode() and "/a" not in received:
                assert await client.arrived() == received


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b"GET /a HTTP/1.1\r\n\r\n", ""),
        (b"nonsense\r\n\r\n", ""),
        (GET + b"nonsense\r\n\r\n", ok("GET /a ")),
        (GET * 2 + b"GET /a HTTP/1.1\r\n\r\n" + GET, ok("GET /a ") * 2),
    ],
)
@in_stopped_loop
async def test_broken_http_is_reported_in_its_turn_and_ends_the_connection(sent: bytes, received: str) -> None:
    async with running(echo) as server:
        client = await server.client()
        await client.send(sent)
        answer = await client.arrived()
        assert answer.startswith(
            received + "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close"
        )
        assert answer.endswith("}(end)")
        assert "invalid HTTP request: " in answer


async def refuse(request: IncomingRequest) -> HTTPResponse:
    """Report how reading a body failed."""
    try:
        body = await request.body(10, 1000.0, Budget(100))
    except (BodyTooLargeError, BudgetError, HTTPError, TimeoutError) as error:
        return HTTPResponse(400, {}, type(error).__name__.encode())
    finally:
        request.release()
    return HTTPResponse(200, {}, body)


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([post(b"x" * 10)], ""),
        ([post(b"x" * 11)], "BodyTooLargeError"),
        ([head("POST /b HTTP/1.1", "content-length: 11\r\n")], "BodyTooLargeError"),
        ([head("POST /b HTTP/1.1", "content-length: 11\r\n"), b"x"], "BodyTooLargeError"),
        ([CHUNKED + b"a\r\n" + b"x" * 10 + b"\r\n0\r\n\r\n"], ""),
        ([CHUNKED, b"a\r\n" + b"x" * 10 + b"\r\n0\r\n\r\n"], ""),
        ([CHUNKED, b"a\r\n" + b"x" * 10 + b"\r\n", b"1\r\nx"], "BodyTooLargeError"),
        ([CHUNKED + b"b\r\n" + b"x" * 11], "BodyTooLargeError"),
        ([CHUNKED, b"b\r\n" + b"x" * 11], "BodyTooLargeError"),
        ([CHUNKED, b"no\r\n"], "HTTPError"),
        ([CHUNKED + b"1\r\nxx"], "HTTPError"),
    ],
    ids=range(11),
)
@in_stopped_loop
async def test_a_body_that_cannot_be_read_is_an_error_for_whoever_reads_it(parts: list[bytes], error: str) -> None:
    async with running(refuse) as server:
        client = await server.client()
        for part in parts:
            await client.send(part)
        answer = await client.arrived()
        if not error:
            assert answer == ok("x" * 10)
        else:
            assert answer.startswith("HTTP/1.1 400 ")
            assert f"\r\n\r\n{error}" in answer


@in_stopped_loop
async def test_a_body_above_the_budget_is_refused_when_its_last_byte_does_not_fit() -> None:
    async def handle(request: IncomingRequest) -> HTTPResponse:
        try:
            return HTTPResponse(200, {}, await request.body(1000, 1000.0, Budget(10)))
        except BudgetError:
            return HTTPResponse(503, {}, b"")

    async with running(handle) as server:
        for size, status in ((10, 200), (11, 503)):
            for parts in (1, 2):
                client = await server.client()
                await client.send(CHUNKED)
                for start in range(parts):
                    data = b"x" * (size // parts + (size % parts if start else 0))
                    await client.send(b"%x\r\n%b\r\n" % (len(data), data))
                await client.send(b"0\r\n\r\n")
                assert (await client.arrived())[9:12] == str(status)


@in_stopped_loop
async def test_a_body_that_may_have_no_byte_is_empty() -> None:
    async def handle(request: IncomingRequest) -> HTTPResponse:
        return HTTPResponse(200, {}, await request.body(0, 1000.0, Budget(0)))

    async with running(handle) as server:
        for data in ([CHUNKED, b"0\r\n\r\n"], [CHUNKED + b"0\r\n\r\n"]):
            client = await server.client()
            for part in data:
                await client.send(part)
            assert await client.arrived() == ok("")


@in_stopped_loop
async def test_small_pieces_of_a_body_are_joined() -> None:
    sizes: list[list[int]] = []

    async def handle(request: IncomingRequest) -> HTTPResponse:
        body = await request.body(100_000, 1000.0, Budget(100_000))
        sizes.append([len(piece) for piece in request.pieces])
        return HTTPResponse(200, {}, str(len(body)).encode())

    async with running(handle) as server:
        client = await server.client()
        await client.send(CHUNKED)
        for size in (1000, 23, 1, 1, 1024, 2000, 1):
            await client.send(b"%x\r\n%b\r\n" % (size, b"x" * size))
        await client.send(b"0\r\n\r\n")
        assert await client.arrived() == ok("4050")
        assert sizes == [[1024, 1025, 2000, 1]]


@pytest.mark.parametrize("sent", [b"", GET[:10], GET, GET + GET[:10], post(b"x", path="/a")])
@in_stopped_loop
async def test_a_connection_without_a_complete_head_ends_after_the_idle_time(sent: bytes) -> None:
    async with running(echo, idle=100.0) as server:
        client = await server.client()
        skip(50)
        await client.send(sent)
        answered = sent.count(b"\r\n\r\n") > 0
        assert ("200 OK" in await client.arrived()) is answered
        skip(50 if not answered else 100)
        skip(-1)  # the clock goes on by itself
        assert await client.arrived() == ""
        skip(2)
        assert await client.arrived() == "(end)"


@in_stopped_loop
async def test_a_request_that_is_answered_has_no_idle_time() -> None:
    may_go_on = asyncio.Event()

    async def handle(_: IncomingRequest) -> HTTPResponse:
        await may_go_on.wait()
        return HTTPResponse(200, {}, b"late")

    async with running(handle, idle=100.0) as server:
        client = await server.client()
        await client.send(GET)
        skip(1000)
        assert await client.arrived() == ""
        may_go_on.set()
        assert await client.arrived() == ok("late")


@in_stopped_loop
async def test_a_body_has_its_time_to_arrive_from_when_it_is_asked_for() -> None:
    async with running(refuse) as server:
        client = await server.client()
        await client.send(head("POST /b HTTP/1.1", "content-length: 3\r\n") + b"x")
        skip(500)
        await client.send(b"x")
        skip(499)
        assert await client.arrived() == ""
        skip(2)
        answer = await client.arrived()
        assert answer.endswith("\r\n\r\nTimeoutError(end)")


@in_stopped_loop
async def test_the_rest_of_a_refused_request_is_discarded_for_two_seconds() -> None:
    async with running(refuse) as server:
        for seconds in (1.5, 3):
            client = await server.client()
            await client.send(head("POST /b HTTP/1.1", "content-length: 100000\r\n"))
            assert (await client.arrived()).endswith("(end)")
            await client.send(b"x" * 1000)
            skip(seconds)
            await turns()
            assert len(server.server.connections) == (1 if seconds < 2 else 0)
            client.sock.close()
            await turns()
            assert not server.server.connections


@pytest.mark.parametrize("closes", [True, False], ids=["the connection closes", "the connection is kept"])
@in_stopped_loop
async def test_a_client_that_reads_nothing_of_a_response_is_cut_off_and_one_that_reads_a_little_is_not(
    closes: bool,
) -> None:
    async def handle(_: IncomingRequest) -> HTTPResponse:
        return HTTPResponse(200, {}, b"x" * 500_000_000)

    async with running(handle, unread=1000.0, idle=100.0) as server:
        client = await server.client()
        await client.send(head("GET /a HTTP/1.1", "connection: close\r\n" if closes else ""))
        for _ in range(3):
            skip(990)
            await turns()
            assert server.server.connections
            read = 0
            for _ in range(1000):
                with suppress(BlockingIOError):
                    read += len(client.sock.recv(100_000))
                await asyncio.sleep(0)
            assert read > 1_000_000
            skip(11)
            await turns()
            assert server.server.connections
        while server.server.connections:  # more than once if the kernel has taken some bytes late
            skip(1001)
            await turns()
        assert (await client.arrived()).endswith("(end)" if closes else "(reset)")


@in_stopped_loop
async def test_the_next_request_is_answered_once_the_client_has_read_enough_of_a_long_response() -> None:
    started: list[str] = []

    async def handle(request: IncomingRequest) -> HTTPResponse:
        started.append(request.path)
        return HTTPResponse(200, {}, b"x" * (20_000_000 if request.path == "/long" else 2))

    async with running(handle) as server:
        client = await server.client()
        await client.send(head("GET /long HTTP/1.1") + GET * 2)
        assert started == ["/long"]
        received = ""
        for _ in range(1000):
            received += await client.arrived()
            if received.endswith(ok("xx") * 2):
                break
        assert received.endswith(ok("xx") * 2)
        assert started == ["/long", "/a", "/a"]
        await client.send(GET)
        assert await client.arrived() == ok("xx")


@pytest.mark.parametrize("ahead", [b"", GET])
@in_stopped_loop
async def test_little_of_a_body_is_received_before_it_is_asked_for(ahead: bytes) -> None:
    begun: list[IncomingRequest] = []
    may_go_on = asyncio.Event()

    async def handle(request: IncomingRequest) -> HTTPResponse:
        begun.append(request)
        if request.path == "/b":
            await may_go_on.wait()
            return HTTPResponse(200, {}, str(len(await request.body(10**7, 1000.0, Budget(10**7)))).encode())
        return HTTPResponse(200, {}, b"first")

    async with running(handle) as server:
        client = await server.client()
        data = ahead + post(b"x" * 1_000_000)
        sent = 0

        async def send_more() -> None:
            nonlocal sent
            for _ in range(100):
                with suppress(BlockingIOError):
                    sent += client.sock.send(data[sent : sent + 100_000])
                await turns(5)

        await send_more()
        assert [request.path for request in begun] == (["/a", "/b"] if ahead else ["/b"])
        assert 64 * 1024 < begun[-1].size <= 3 * 64 * 1024
        may_go_on.set()
        await send_more()
        assert sent == len(data)
        assert await client.arrived() == (ok("first") if ahead else "") + ok("1000000")
        await client.send(post(b"x" * 10))  # nothing of the first is counted any more
        await turns()
        assert await client.arrived() == ok("10")


@in_stopped_loop
async def test_a_handler_that_raises_or_finds_its_client_gone_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(request: IncomingRequest) -> HTTPResponse:
        raise DisconnectedError if request.path == "/gone" else RuntimeError("it broke")

    async with running(handle) as server:
        for path, logged in (("/gone", []), ("/b", ["internal error while answering /b"])):
            client = await server.client()
            await client.send(head(f"GET {path} HTTP/1.1"))
            assert await client.arrived() in ("(end)", "(reset)")
            assert [record.getMessage() for record in caplog.records] == logged
            assert not server.server.connections


@pytest.mark.parametrize("waits_for", ["the body", "something else", "a client that does not read"])
@in_stopped_loop
async def test_a_client_that_leaves_cancels_its_request(waits_for: str) -> None:
    ends: list[str] = []

    async def handle(request: IncomingRequest) -> HTTPResponse:
        try:
            if waits_for == "the body":
                await request.body(1000, 1000.0, Budget(1000))
            elif waits_for == "something else":
                await asyncio.Event().wait()
            else:
                request.connection.write(b"x" * 20_000_000)
                await request.connection.drain()
            raise AssertionError
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async with running(handle) as server:
        client = await server.client()
        await client.send(head("POST /b HTTP/1.1", "content-length: 10\r\n") + b"x")
        assert ends == []
        client.sock.close()
        skip(1.5)  # a client whose bytes are not read is looked for each second
        await turns()
        assert ends == ["cancelled"]
        assert not server.server.connections


@in_stopped_loop
async def test_a_client_that_is_not_read_is_looked_for_again_and_again() -> None:
    ends: list[str] = []

    async def handle(request: IncomingRequest) -> HTTPResponse:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(request.path)
        raise AssertionError

    async with running(handle) as server:
        client = await server.client()
        data = post(b"x" * 140_000)
        for _ in range(20):
            with suppress(BlockingIOError):
                data = data[client.sock.send(data) :]
            await turns(5)
        for _ in range(4):
            skip(1.01)
            await turns()
            assert (ends, len(server.server.connections)) == ([], 1)
        client.sock.close()
        skip(1.01)
        await turns()
        assert (ends, len(server.server.connections)) == (["/b"], 0)


@pytest.mark.parametrize("size", [20_000_000, 10])
@in_stopped_loop
async def test_a_client_that_sends_no_more_has_left(size: int) -> None:
    async def handle(_: IncomingRequest) -> HTTPResponse:
        return HTTPResponse(200, {}, b"x" * size)

    async with running(handle) as server:
        client = await server.client()
        await client.send(GET)
        client.sock.shutdown(socket.SHUT_WR)
        await turns()
        assert not server.server.connections
        received = await client.arrived()
        assert received.endswith("(end)" if size == 10 else ("(end)", "(reset)"))
        assert (received == ok("x" * 10) + "(end)") is (size == 10)


@in_stopped_loop
async def test_a_client_that_sends_no_more_of_a_refused_request_can_still_read_why() -> None:
    async def handle(request: IncomingRequest) -> HTTPResponse:
        return HTTPResponse(400, {}, b"x" * 20_000_000)

    async with running(handle) as server:
        client = await server.client()
        await client.send(head("POST /b HTTP/1.1", "content-length: 100000\r\n"))
        client.sock.shutdown(socket.SHUT_WR)
        received = ""
        for _ in range(1000):
            received += await client.arrived()
            if received.endswith(")"):
                break
        assert len(received) > 20_000_000
        assert received.endswith("x(end)")


@in_stopped_loop
async def test_at_most_64_mib_of_a_refused_request_are_discarded() -> None:
    async with running(refuse) as server:
        client = await server.client()
        await client.send(head("POST /b HTTP/1.1", "content-length: 1000000000\r\n"))
        assert "400 Bad Request" in await client.arrived()
        sent = 0
        piece = b"x" * 1_000_000
        with pytest.raises(ConnectionError):
            for _ in range(100_000):
                with suppress(BlockingIOError):
                    sent += client.sock.send(piece)
                await turns(3)
        assert 64 * 1024 * 1024 < sent < 64 * 1024 * 1024 + 20_000_000
        assert not server.server.connections


@in_stopped_loop
async def test_a_request_waits_until_its_client_has_read_the_response_before() -> None:
    started: list[str] = []

    async def handle(request: IncomingRequest) -> HTTPResponse:
        started.append(request.path)
        return HTTPResponse(200, {}, b"x" * (20_000_000 if request.path == "/long" else 2))

    for next_one in (GET, b"nonsense\r\n\r\n"):
        started.clear()
        async with running(handle) as server:
            client = await server.client()
            await client.send(head("GET /long HTTP/1.1"))
            await client.send(next_one)
            assert started == ["/long"]
            received = ""
            for _ in range(1000):
                received += await client.arrived()
                if not received.endswith("x" * 100):
                    break
            assert received.count("HTTP/1.1 ") == 2
            assert started == (["/long", "/a"] if next_one == GET else ["/long"])
            assert received.endswith(ok("xx") if next_one == GET else "(end)")


@in_stopped_loop
async def test_whether_there_is_a_client_is_known_until_it_leaves_or_is_disconnected() -> None:
    known: list[bool] = []

    async def handle(request: IncomingRequest) -> HTTPResponse:
        connection = request.connection
        known.append(connection.has_client)
        if request.path == "/close":
            assert connection.transport is not None
            connection.transport.abort()
            known.append(connection.has_client)
        try:
            await asyncio.Event().wait()
        finally:
            known.append(connection.has_client)
        raise AssertionError

    async with running(handle) as server:
        client = await server.client()
        await client.send(GET)
        client.sock.close()
        await turns()
        assert known == [True, False]
        known.clear()
        client = await server.client()
        await client.send(head("GET /close HTTP/1.1"))
        assert known == [True, False, False]


def test_no_timer_of_a_connection_remains_when_it_has_ended() -> None:
    async def handle(request: IncomingRequest) -> HTTPResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def main() -> None:
        async with running(handle, idle=1000.0, receive=500.0) as server:
            for sent, timers in ((b"", 1), (GET[:5], 1), (post(b"x" * 200_000, path="/a"), 2)):
                client = await server.client()
                while sent:
                    sent = sent[client.sock.send(sent) :]
                    await turns()
                    if server.server.connections and loop.pending() == timers:
                        break
                await turns()
                assert loop.pending() == timers
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sock.close()
                for connection in list(server.server.connections):
                    connection.abort()
                await turns()
                assert loop.pending() == 0

    loop = RecordingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("order", [(1000.0, 100.0), (100.0, 1000.0)])
@in_stopped_loop
async def test_a_body_has_its_own_time_whether_it_is_longer_than_the_idle_time_or_not(
    order: tuple[float, float],
) -> None:
    idle, receive = order

    async def handle(request: IncomingRequest) -> HTTPResponse:
        try:
            return HTTPResponse(200, {}, await request.body(10, receive, Budget(100)))
        except TimeoutError:
            return HTTPResponse(408, {}, b"")

    async with running(handle, idle=idle) as server:
        for is_late in (False, True):
            client = await server.client()
            await client.send(head("POST /b HTTP/1.1", "content-length: 2\r\n") + b"H")
            skip(receive - 1)
            await turns()
            assert await client.arrived() == ""
            if is_late:
                skip(1.1)
                assert (await client.arrived())[9:12] == "408"
            else:
                await client.send(b"i")
                assert await client.arrived() == ok("Hi")
                skip(idle - 1)
                assert await client.arrived() == ""
                skip(1.1)
                assert await client.arrived() == "(end)"


@in_stopped_loop
async def test_nothing_is_kept_of_a_body_that_is_refused() -> None:
    requests: list[IncomingRequest] = []

    async def handle(request: IncomingRequest) -> HTTPResponse:
        requests.append(request)
        return await refuse(request)

    async with running(handle) as server:
        client = await server.client()
        await client.send(CHUNKED + b"5\r\nHello\r\n")
        await client.send(b"6\r\nthere!\r\n" + b"5\r\nagain\r\n")
        assert "BodyTooLargeError" in await client.arrived()
        assert list(requests[0].pieces) == []


@pytest.mark.parametrize("unread", [b"", b"x"])
async def test_it_is_seen_whether_the_other_side_has_hung_up(unread: bytes) -> None:
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    transport.pause_reading()
    theirs.send(unread)
    assert not has_hung_up(transport)
    theirs.shutdown(socket.SHUT_WR)
    assert has_hung_up(transport)
    transport.abort()
    theirs.close()
    await turns()


@in_stopped_loop
async def test_a_server_that_is_aborted_or_closed_cancels_what_runs() -> None:
    ends: list[str] = []

    async def handle(request: IncomingRequest) -> HTTPResponse:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(request.path)
        raise AssertionError

    async with running(handle) as server:
        for path in ("/1", "/2"):
            client = await server.client()
            await client.send(head(f"GET {path} HTTP/1.1") * 2)
        for connection in list(server.server.connections):
            connection.abort()
            await turns()
        assert sorted(ends) == ["/1", "/2"]
        assert not server.server.connections


@in_stopped_loop
async def test_the_access_log_has_the_bytes_and_the_seconds_of_each_response(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "acytoo.access")
    may_go_on = asyncio.Event()

    async def handle(_: IncomingRequest) -> HTTPResponse:
        await may_go_on.wait()
        return HTTPResponse(200, {}, b"0123456789")

    async with running(handle, access_log=True) as server:
        client = await server.client()
        for seconds in (100, 0):
            may_go_on.clear()
            await client.send(head("GET /a?key=secret HTTP/1.1", "user-agent: curl\r\n"))
            skip(seconds)
            may_go_on.set()
            size = len((await client.arrived()).encode()) + len("date: Sat, 28 Nov 2026 02:41:00 GMT\r\n")
            (record,) = caplog.records
            logged = record.getMessage()
            assert re.fullmatch(rf'127\.0\.0\.1 "GET /a" 200 {size} {seconds}\.\d\d\d "curl"', logged)
            caplog.clear()


@in_stopped_loop
async def test_a_hundred_connections_above_the_limit_are_refused_in_http_and_more_are_ended() -> None:
    async with running(echo, max_connections=2) as server:
        clients = [await server.client() for _ in range(103)]
        answers = [await client.arrived() for client in clients]
        assert answers[:2] == ["", ""]
        for answer in answers[2:102]:
            assert answer.startswith("HTTP/1.1 503 Service Unavailable\r\n")
            assert "\r\nconnection: close\r\n" in answer
            assert answer.endswith("}(end)")
        assert answers[102] in ("(end)", "(reset)")
        for client in clients[2:]:
            client.sock.close()
        await turns(200)
        assert len(server.server.connections) == 2
        client = await server.client()
        assert (await client.arrived()).startswith("HTTP/1.1 503 ")
        clients[0].sock.close()
        client.sock.close()
        await turns()
        client = await server.client()
        await client.send(GET)
        assert await client.arrived() == ok("GET /a ")


@in_stopped_loop
async def test_a_handler_that_ignores_its_cancellation_holds_up_the_end_for_a_second() -> None:
    may_end = asyncio.Event()
    ended: list[str] = []

    async def handle(request: IncomingRequest) -> HTTPResponse:
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()
        ended.append(request.path)
        return HTTPResponse(200, {}, b"")

    async with running(handle, grace=50.0) as server:
        client = await server.client()
        await client.send(GET)
        closing = asyncio.ensure_future(server.server.close())
        for seconds in (0, 30, 21):  # the grace is over
            await turns()
            assert not closing.done()
            skip(seconds)
        await turns()
        assert not closing.done()
        skip(1.01)
        await turns()
        skip(1.01)
        await turns()
        assert closing.done()
        assert await client.arrived() in ("(end)", "(reset)")
        assert (ended, server.server.connections) == ([], set())
        may_end.set()
        await turns()
        assert ended == ["/a"]


@pytest.mark.parametrize(
    ("status", "head_of_it", "body"),
    [
        (200, "HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 2\r\n\r\n", "Hi"),
        (204, "HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n", ""),
        (304, "HTTP/1.1 304 Not Modified\r\nx-a: b\r\n\r\n", ""),
        (299, "HTTP/1.1 299 \r\nx-a: b\r\ncontent-length: 2\r\n\r\n", "Hi"),
    ],
)
@in_stopped_loop
async def test_a_response_has_the_length_of_its_body_unless_its_status_means_none(
    status: int, head_of_it: str, body: str
) -> None:
    async def handle(_: IncomingRequest) -> HTTPResponse:
        return HTTPResponse(status, {"x-a": "b"}, b"Hi")

    async with running(handle) as server:
        client = await server.client()
        await client.send(GET + head("HEAD /a HTTP/1.1") + GET)
        assert await client.arrived() == head_of_it + body + head_of_it + head_of_it + body


@pytest.mark.parametrize("streamed", [True, False])
async def test_every_response_has_its_date(streamed: bool) -> None:
    async def handle(request: IncomingRequest) -> HTTPResponse | None:
        if not streamed:
            return HTTPResponse(200, {}, b"")
        await StreamedResponse(request, {}).end(b"")
        return None

    async with running(handle) as server:
        client = await server.client()
        before = int(time.time())
        await client.send(GET)
        [date] = re.findall(r"\r\ndate: ([^\r]*)\r\n", client.sock.recv(1000).decode())
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)
        assert before <= parsedate_to_datetime(date).timestamp() <= time.time()


@pytest.mark.parametrize(
    ("sent", "ends"),
    [
        (b"", True),
        (GET[:10], True),
        (GET, False),
        (head("POST /b HTTP/1.1", "content-length: 2\r\n") + b"H", True),
        (post(b"Hi", path="/a")[:-1], False),
    ],
    ids=["nothing", "half a head", "a request", "half a body", "half a body that nobody waits for"],
)
@in_stopped_loop
async def test_a_server_that_stops_waits_only_for_what_is_being_answered(sent: bytes, ends: bool) -> None:
    may_go_on = asyncio.Event()

    async def handle(request: IncomingRequest) -> HTTPResponse:
        if request.path == "/b":
            await request.body(10, 1000.0, Budget(100))
        await may_go_on.wait()
        return HTTPResponse(200, {}, b"late")

    async with running(handle, grace=500.0) as server:
        client = await server.client()
        await client.send(sent)
        closing = asyncio.ensure_future(server.server.close())
        await turns()
        assert closing.done() is ends
        if ends:
            assert await client.arrived() in ("(end)", "(reset)")
        else:
            assert await client.arrived() == ""
            may_go_on.set()
            assert (await client.arrived()).startswith(ok("late", "close"))
            skip(3)  # what a client still sends is discarded for two seconds
            await turns()
            assert closing.done()


# Streams


Step = tuple[str, bytes]


def streaming(*steps: Step) -> Handler:
    """Return a handler that does the steps with a stream."""

    async def handle(request: IncomingRequest) -> None:
        response = StreamedResponse(request, {"x-a": "b"})
        try:
            for name, data in steps:
                match name:
                    case "write":
                        assert response.write(data)
                    case "flush":
                        response.flush(data)
                    case "turn":
                        await asyncio.sleep(0)
                    case "end":
                        await response.end(data)
                    case "abort":
                        await response.abort(reported=bool(data))
                    case _:
                        raise AssertionError(name)
        finally:
            response.close()

    return handle


HEAD = "HTTP/1.1 200 OK\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n"
HEAD_1_0 = "HTTP/1.1 200 OK\r\nx-a: b\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("steps", "framed", "plain"),
    [
        ([("end", b"")], "0\r\n\r\n", "(end)"),
        ([("end", b"a")], "1\r\na\r\n0\r\n\r\n", "a(end)"),
        ([("write", b"a"), ("write", b"b"), ("end", b"c")], "3\r\nabc\r\n0\r\n\r\n", "abc(end)"),
        ([("write", b"a"), ("turn", b""), ("turn", b""), ("write", b"b"), ("end", b"c")],
         "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", "abc(end)"),
        ([("write", b"a"), ("flush", b""), ("write", b"bc"), ("end", b"")],
         "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc(end)"),
        ([("flush", b"ping"), ("flush", b"pong"), ("end", b"")], "4\r\nping\r\n4\r\npong\r\n0\r\n\r\n",
         "pingpong(end)"),
        ([("flush", b""), ("end", b"a")], "1\r\na\r\n0\r\n\r\n", "a(end)"),
        ([("write", b"a"), ("end", b""), ("flush", b"late")], "1\r\na\r\n0\r\n\r\n", "a(end)"),
        ([("write", b"a"), ("abort", b"")], "1\r\na\r\n(end)", "a(reset)"),
        ([("write", b"a"), ("flush", b""), ("abort", b"")], "1\r\na\r\n(end)", "a(reset)"),
        ([("write", b"a"), ("flush", b""), ("abort", b"1")], "1\r\na\r\n(end)", "a(end)"),
        ([("write", b"x" * 65_535), ("write", b"y"), ("write", b"z"), ("end", b"")],
         f"10000\r\n{'x' * 65_535}y\r\n1\r\nz\r\n0\r\n\r\n", f"{'x' * 65_535}yz(end)"),
        ([("write", b"x" * 65_535), ("end", b"")], f"ffff\r\n{'x' * 65_535}\r\n0\r\n\r\n", f"{'x' * 65_535}(end)"),
    ],
    ids=range(13),
)  # fmt: skip
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@in_stopped_loop
async def test_a_stream_on_the_wire(steps: list[Step], framed: str, plain: str, version: str) -> None:
    async with running(streaming(*steps)) as server:
        client = await server.client()
        await client.send(head(f"GET /a HTTP/{version}"))
        expected = HEAD + framed if version == "1.1" else HEAD_1_0 + plain
        received = await client.arrived()
        if expected.endswith("(reset)"):
            # What was sent before may be lost with a reset.
            assert received.endswith("(reset)")
            assert expected.startswith(received.removesuffix("(reset)"))
        else:
            assert received == expected
        if version == "1.1" and not expected.endswith("(end)"):
            await client.send(GET)
            assert await client.arrived() == expected


@in_stopped_loop
async def test_a_stream_to_a_client_that_has_left_is_an_error_for_its_writer() -> None:
    raised: list[type[BaseException] | None] = []

    async def handle(request: IncomingRequest) -> None:
        response = StreamedResponse(request, {})
        response.write(b"a")
        response.flush()
        connection = request.connection
        assert connection.transport is not None
        connection.transport.abort()
        for act in (lambda: response.write(b"b"), lambda: response.flush(b"c")):
            try:
                act()
                raised.append(None)
            except DisconnectedError as error:
                raised.append(type(error))
        try:
            await response.end(b"d")
        except DisconnectedError as error:
            raised.append(type(error))
        response.close()

    async with running(handle) as server:
        client = await server.client()
        await client.send(GET)
        assert raised == [DisconnectedError, None, DisconnectedError]


@in_stopped_loop
async def test_a_client_has_its_time_to_read_before_what_follows() -> None:
    done: list[str] = []

    async def handle(request: IncomingRequest) -> None:
        response = StreamedResponse(request, {"x-a": "b"})
        response.write(b"a")
        await response.let_read()
        done.append("read")
        response.write(b"b")
        await response.report(b"error")
        done.append("reported")
        await response.abort(reported=True)
        response.close()

    async with running(handle) as server:
        client = await server.client()
        await client.send(GET)
        assert (await client.arrived(), done) == (HEAD + "1\r\na\r\n", [])
        skip(0.05)
        assert (await client.arrived(), done) == ("", [])
        skip(0.06)
        assert (await client.arrived(), done) == ("1\r\nb\r\n5\r\nerror\r\n", ["read"])
        skip(0.9)
        assert (await client.arrived(), done) == ("", ["read"])
        skip(0.2)
        assert (await client.arrived(), done) == ("(end)", ["read", "reported"])


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@in_stopped_loop
async def test_whether_a_stream_has_begun_and_its_client_is_behind_is_known(version: str) -> None:
    known: list[tuple[bool, bool]] = []

    async def handle(request: IncomingRequest) -> None:
        response = StreamedResponse(request, {})
        known.append((response.started, response.unsent))
        keeps_up = [response.write(b"a")]
        known.append((response.started, response.unsent))
        response.flush()
        known.append((response.started, response.unsent))
        keeps_up.append(response.write(b"x" * 20_000_000))
        assert keeps_up == [True, False]
        known.append((response.started, response.unsent))
        await response.drain()
        assert response.write(b"c")
        assert request.connection.transport is not None
        request.connection.transport.abort()
        try:
            await asyncio.sleep(0)
        finally:
            known.append((response.started, response.unsent))

    async with running(handle) as server:
        client = await server.client()
        await client.send(head(f"GET /a HTTP/{version}"))
        for _ in range(1000):
            await client.arrived()
            if len(known) == 5:
                break
        assert known == [(False, False), (True, False), (True, False), (True, True), (True, False)]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@in_stopped_loop
async def test_a_body_that_ends_with_its_connection_has_ended_when_it_was_received(version: str) -> None:
    ended: list[str] = []

    async def handle(request: IncomingRequest) -> None:
        response = StreamedResponse(request, {})
        await response.end(b"x" * 20_000_000)
        ended.append(version)
        response.close()

    async with running(handle) as server:
        client = await server.client()
        await client.send(head(f"GET /a HTTP/{version}"))
        assert ended == (["1.1"] if version == "1.1" else [])
        received = ""
        for _ in range(1000):
            received += await client.arrived()
            if len(received) > 20_000_000 and ended:
                break
        assert ended == [version]
        assert len(received) > 20_000_000


@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@in_stopped_loop
async def test_a_stream_that_is_cut_ends_when_its_client_has_received_what_was_sent(
    version: str, reported: bool
) -> None:
    ended: list[str] = []

    async def handle(request: IncomingRequest) -> None:
        response = StreamedResponse(request, {})
        response.write(b"x" * 20_000_000)
        await response.abort(reported=reported)
        ended.append(version)
        response.close()

    async with running(handle) as server:
        client = await server.client()
        await client.send(head(f"GET /a HTTP/{version}"))
        assert ended == []
        received = ""
        for _ in range(1000):
            received += await client.arrived()
            if received.endswith(")"):
                break
        assert ended == [version]
        if reported or version == "1.1":
            assert received.endswith("(end)")
            assert len(received) > 20_000_000
        else:  # a reset may discard what the client's kernel has
            assert received.endswith("(reset)")


@in_stopped_loop
async def test_waiting_until_all_is_sent_waits_for_the_last_byte_and_changes_nothing_for_later() -> None:
    steps: list[str] = []

    async def handle(request: IncomingRequest) -> None:
        connection = request.connection
        transport = connection.transport
        assert transport is not None
        await connection.drain_all()
        for name in ("first", "second"):
            while not transport.get_write_buffer_size():
                connection.write(b"x" * 10_000)
            assert not connection.write_paused
            steps.append(name)
            await connection.drain_all()
            assert transport.get_write_buffer_size() == 0
        steps.append("sent")

    async with running(handle) as server:
        client = await server.client()
        await client.send(GET)
        for expected in (["first"], ["first", "second"]):
            assert steps == expected
            for _ in range(1000):
                await client.arrived()
                if steps != expected:
                    break
        assert steps == ["first", "second", "sent"]


@in_stopped_loop
async def test_nobody_waits_for_what_a_client_that_has_left_would_read() -> None:
    async with running(refuse) as server:
        client = await server.client()
        [connection] = server.server.connections
        assert connection.has_client
        await connection.drain_all()
        client.sock.close()
        await turns()
        assert not connection.has_client
        await connection.drain_all()
        await connection.drain()
        with pytest.raises(DisconnectedError):
            connection.write(b"x")
