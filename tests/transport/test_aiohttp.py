"""Bodies through aiohttp's private parts: complete, in order, once, whatever their size and timing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import uvloop

from acytoo import Acytoo, dialects
from acytoo.errors import RequestError, TimedOutError, TruncatedError, UsageError
from acytoo.http import HTTPRequest
from acytoo.testing import FakeEndpoint, FakeHTTPProxy, hang_up, reply
from acytoo.transport import _aiohttp
from acytoo.transport.config import Connection
from acytoo.transport.exchange import open_exchange
from tests.helpers import MESSAGES, failure, texts

PIECES = {
    "many small ones": [b"%06d" % number for number in range(100_000)],
    "single bytes": [b"x"] * 20_000,
    "large ones": [bytes([65 + number]) * 300_000 for number in range(20)],
    "of every size": [b"y" * (number * 37 % 5_000 + 1) for number in range(2_000)],
    "none": [],
}
FRAMINGS = ("chunked", "length", "close")


@asynccontextmanager
async def serving(pieces: list[bytes], framing: str, *, cut: bool = False) -> AsyncIterator[str]:
    """A server that answers any request with these pieces, as fast as they are read."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = {
            "chunked": "transfer-encoding: chunked",
            "length": f"content-length: {sum(map(len, pieces)) + cut}",
            "close": "connection: close",
        }[framing]
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        if framing == "chunked":
            writer.writelines([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces])
            writer.write(b"" if cut else b"0\r\n\r\n")
        else:
            writer.writelines(pieces)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def read_body(url: str, slow: bool = False) -> list[bytes]:
    """Return the chunks read from the body; `slow` lets the buffer fill until aiohttp pauses reading."""
    chunks = []
    with await open_exchange(HTTPRequest(url, {}, b"{}"), Connection()) as exchange:
        while data := await exchange.read():
            chunks.append(data)
            if slow:
                await asyncio.sleep(0.001)
    return chunks


@pytest.mark.parametrize("slow", [False, True], ids=["at once", "slowly"])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
async def test_every_byte_is_read_in_order(pieces: list[bytes], framing: str, slow: bool) -> None:
    async with serving(pieces, framing) as url:
        assert b"".join(await read_body(url, slow)) == b"".join(pieces)


async def test_pieces_that_arrive_together_are_read_together() -> None:
    async with serving(PIECES["many small ones"], "chunked") as url:
        assert len(await read_body(url)) < 1_000


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
async def test_a_truncated_body_raises_after_its_buffered_data_was_read(pieces: list[bytes], framing: str) -> None:
    async with serving(pieces, framing, cut=True) as url:
        chunks = []
        with pytest.raises(TruncatedError):
            with await open_exchange(HTTPRequest(url, {}, b"{}"), Connection()) as exchange:
                while data := await exchange.read():
                    chunks.append(data)
        assert b"".join(pieces).startswith(b"".join(chunks))


class OwnReader(aiohttp.StreamReader):
    """A reader class of the caller's own."""

    __slots__ = ()


class OwnResponse(aiohttp.ClientResponse):
    """A response that is read through `OwnReader`."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Start the response, then replace its reader's class."""
        await super().start(connection)
        self.content.__class__ = OwnReader
        return self


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
async def test_a_readers_subclass_is_read_through_its_public_methods(pieces: list[bytes], framing: str) -> None:
    async with serving(pieces, framing) as url, aiohttp.ClientSession(response_class=OwnResponse) as session:
        with await open_exchange(HTTPRequest(url, {}, b"{}"), Connection(session=session)) as exchange:
            chunks = []
            while data := await exchange.read():
                chunks.append(data)
    assert b"".join(chunks) == b"".join(pieces)


async def test_a_truncated_body_raises_through_a_readers_subclass_too() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "world").close(after=1)) as fake:
        async with aiohttp.ClientSession(response_class=OwnResponse) as session:
            with pytest.raises(TruncatedError) as caught:
                async for _ in Acytoo(fake.url, session=session).create_async_generator("", MESSAGES):
                    pass
    assert caught.value.text == "Hello "


def test_the_installed_reader_has_the_fields_we_read() -> None:
    assert _aiohttp.KNOWS_READER


async def test_two_tasks_cannot_wait_for_the_same_body() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi").wait(0.2, after=0)) as fake:
        with await open_exchange(HTTPRequest(fake.url, {}, b"{}"), Connection()) as exchange:
            first = asyncio.ensure_future(exchange.read())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task is waiting"):
                await exchange.read()
            assert await first == b"Hi"


async def test_a_slow_consumer_gets_all_data_that_arrived_before_a_cut() -> None:
    async with FakeEndpoint(
        dialects.Acytoo(), reply("Hello ", "world", "!").wait(0.05, after=1).close(after=2)
    ) as fake:
        seen = []
        with pytest.raises(TruncatedError) as caught:
            async for text in Acytoo(fake.url).create_async_generator("", MESSAGES):
                seen.append(text)
                await asyncio.sleep(0.3)
        assert seen == ["Hello ", "world"]
        assert caught.value.text == "Hello world"


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_a_complete_body_stays_complete_if_its_connection_is_reset_later(framing: str) -> None:
    reset_sent = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"transfer-encoding: chunked" if framing == "chunked" else b"content-length: 5"
        body = b"5\r\nHello\r\n0\r\n\r\n" if framing == "chunked" else b"Hello"
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(body)
        await asyncio.sleep(0.1)
        option = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        writer.transport.abort()
        reset_sent.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with await open_exchange(HTTPRequest(url, {}, b"{}"), Connection()) as exchange:
            assert await exchange.read() == b"Hello"
            await reset_sent.wait()
            await asyncio.sleep(0.1)
            assert await exchange.read() == b""


async def test_a_body_whose_connection_was_lost_raises_each_time_it_is_read() -> None:
    async with serving([], "length", cut=True) as url:
        with await open_exchange(HTTPRequest(url, {}, b"{}"), Connection()) as exchange:
            for _ in range(2):
                with pytest.raises(TruncatedError):
                    await exchange.read()


SIZES = [1, 1_000, 31_000, 32_000, 33_000, 70_000, 1_000_000, 20_000_000]


def body_option(size: int) -> dict[str, object]:
    """Return the option that makes the request body about `size` bytes."""
    return {"extra_body": {"more": "é" * (size // 2)}}


@pytest.mark.parametrize("size", SIZES)
async def test_a_request_body_of_any_size_arrives_complete(size: int) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi"), reply("again")) as fake:
        for text in ("Hi", "again"):
            assert await texts(Acytoo(fake.url), **body_option(size)) == [text]
        assert [request.json["more"] for request in fake.requests] == ["é" * (size // 2)] * 2
        assert fake.connections == 1


async def test_concurrent_request_bodies_of_all_sizes_arrive_complete() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        sizes = SIZES[:-1] * 8
        assert await asyncio.gather(*[texts(Acytoo(fake.url), **body_option(size)) for size in sizes]) == [["Hi"]] * 56
        assert sorted(len(request.json["more"]) for request in fake.requests) == sorted(size // 2 for size in sizes)


@pytest.mark.parametrize("size", [1_000, 1_000_000])
async def test_a_request_through_an_http_proxy_names_the_complete_url(size: int) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeHTTPProxy() as proxy:
        assert await texts(Acytoo(fake.url, proxy=proxy.url), **body_option(size)) == ["Hi"]
        assert fake.requests[0].json["more"] == "é" * (size // 2)


@asynccontextmanager
async def listening(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that handles each connection with `answer`, then closes it."""
    answers: list[asyncio.Future[None]] = []

    async def all_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(lambda *ends: answers.append(asyncio.ensure_future(all_of(*ends))), "127.0.0.1")
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*answers)
    finally:
        server.close()


@pytest.mark.parametrize("size", [1_000, 1_000_000])
async def test_a_response_sent_before_the_body_was_read_is_returned(size: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntoo large")
        await reader.read()

    async with listening(answer) as url:
        error = await failure(Acytoo(url), **body_option(size))
        assert isinstance(error, RequestError)
        assert error.status == 413


def test_a_response_sent_before_the_request_was_written_is_returned_on_uvloop_too() -> None:
    busy = b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbusy"
    kept = []

    def answer(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                kept.append(listener.accept()[0])
                kept[-1].sendall(busy)
                kept[-1].shutdown(socket.SHUT_WR)

    async def ask(url: str) -> list[object]:
        loop = asyncio.get_running_loop()

        def work() -> None:
            time.sleep(0.005)
            loop.call_soon(work)

        work()
        return await asyncio.gather(*[failure(Acytoo(url)) for _ in range(16)])

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        errors = uvloop.run(ask(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        listener.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()
    assert {str(error) for error in errors} == {"503: busy"}


async def test_a_body_waits_for_100_continue_if_it_was_requested() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.read(1)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n\r\nHi")

    async with listening(answer) as url:
        assert await texts(Acytoo(url, extra_headers={"Expect": "100-continue"})) == ["Hi"]


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
async def test_a_caller_cannot_set_the_headers_that_frame_the_body(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        Acytoo("http://127.0.0.1:9", extra_headers={name: "3"})


@pytest.mark.parametrize("size", [1_000, 20_000_000])
async def test_a_server_that_never_reads_the_body_times_out(size: int) -> None:
    timed_out = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await timed_out.wait()
        writer.transport.abort()

    async with listening(answer) as url:
        error = await failure(Acytoo(url, timeout={"first_byte": 0.3}), **body_option(size))
        assert isinstance(error, TimedOutError)
        assert error.phase == "first_byte"
        timed_out.set()


async def test_concurrent_requests_on_stale_connections_are_each_retried_once() -> None:
    async with FakeEndpoint(dialects.Acytoo(), *[reply("1")] * 4, *[hang_up()] * 4, reply("2")) as fake:
        ask = Acytoo(fake.url)
        assert await asyncio.gather(*[texts(ask) for _ in range(4)]) == [["1"]] * 4
        assert await asyncio.gather(*[texts(ask) for _ in range(4)]) == [["2"]] * 4
        assert len(fake.requests) == 12


async def test_a_call_cancelled_while_others_are_in_flight_does_not_disturb_them() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("a", "b").wait(0.2, after=1)) as fake:
        others = [asyncio.ensure_future(texts(Acytoo(fake.url))) for _ in range(4)]
        cancelled = asyncio.ensure_future(texts(Acytoo(fake.url)))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        assert await asyncio.gather(*others) == [["a", "b"]] * 4
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await texts(Acytoo(fake.url)) == ["a", "b"]


def test_the_installed_response_is_constructed_as_expected() -> None:
    assert _aiohttp.KNOWS_RESPONSE


def test_the_installed_client_calls_the_hooks_that_reuse_depends_on() -> None:
    assert _aiohttp.CAN_REUSE


WITHOUT_HOOK = """
import asyncio, sys
import aiohttp

{change}

from acytoo import Acytoo
from acytoo.transport import _aiohttp

assert not _aiohttp.CAN_REUSE

async def main():
    for _ in range(2):
        print(await Acytoo(sys.argv[1]).create_async("", [{{"role": "user", "content": "Hi"}}]))

asyncio.run(main())
"""

CHANGES = {
    "send": """
send = aiohttp.ClientRequest.send

async def send_with_more(self, conn, more=None):
    return await send(self, conn)

aiohttp.ClientRequest.send = send_with_more
""",
    "_create_connection": """
create = aiohttp.TCPConnector._create_connection

async def create_with_more(self, req, traces, timeout, more=None):
    return await create(self, req, traces, timeout)

aiohttp.TCPConnector._create_connection = create_with_more
""",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_no_connection_is_reused_if_a_hook_is_not_the_one_we_know(change: str) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("1"), reply("2"), hang_up()) as fake:
        command = [sys.executable, "-c", WITHOUT_HOOK.format(change=change), fake.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stderr, done.stdout) == ("", "1\n2\n")
        assert fake.connections == 2
