"""However large a body is, and whatever else is under way, it arrives whole, once, behind its head."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from acytoo import Acytoo, dialects
from acytoo.errors import RequestError, TimedOutError, UsageError
from acytoo.testing import FakeEndpoint, FakeHTTPProxy, hang_up, reply
from acytoo.transport import request
from tests.helpers import failure, texts

SIZES = [1, 1_000, 31_000, 32_000, 33_000, 70_000, 1_000_000, 20_000_000]


def saying(size: int) -> dict[str, object]:
    """The option that makes a body about so large."""
    return {"extra_body": {"more": "é" * (size // 2)}}


@pytest.mark.parametrize("size", SIZES)
async def test_a_body_of_any_size_arrives_whole(size: int) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi"), reply("again")) as fake:
        for text in ("Hi", "again"):
            assert await texts(Acytoo(fake.url), **saying(size)) == [text]
        assert [request.json["more"] for request in fake.requests] == ["é" * (size // 2)] * 2
        assert fake.connections == 1


async def test_many_of_all_sizes_at_once_arrive_whole() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        sizes = SIZES[:-1] * 8
        assert await asyncio.gather(*[texts(Acytoo(fake.url), **saying(size)) for size in sizes]) == [["Hi"]] * 56
        assert sorted(len(request.json["more"]) for request in fake.requests) == sorted(size // 2 for size in sizes)


@pytest.mark.parametrize("size", [1_000, 1_000_000])
async def test_through_an_http_proxy_it_names_the_whole_url(size: int) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeHTTPProxy() as proxy:
        assert await texts(Acytoo(fake.url, proxy=proxy.url), **saying(size)) == ["Hi"]
        assert fake.requests[0].json["more"] == "é" * (size // 2)


@asynccontextmanager
async def listening(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A stand-in for an HTTP server that does as it is told with each connection, then ends it."""
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
async def test_an_answer_that_comes_before_the_body_was_read_is_the_answer(size: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntoo large")
        await reader.read()

    async with listening(answer) as url:
        error = await failure(Acytoo(url), **saying(size))
        assert isinstance(error, RequestError)
        assert error.status == 413


def test_an_answer_that_came_before_the_request_was_written_is_the_answer_on_uvloop_too() -> None:
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


async def test_a_body_waits_where_the_server_is_to_say_that_it_may_come() -> None:
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
async def test_a_header_that_says_where_the_body_ends_is_not_the_callers(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        Acytoo("http://127.0.0.1:9", extra_headers={name: "3"})


@pytest.mark.parametrize("size", [1_000, 20_000_000])
async def test_a_server_that_never_reads_the_body_is_given_up(size: int) -> None:
    given_up = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await given_up.wait()
        writer.transport.abort()

    async with listening(answer) as url:
        error = await failure(Acytoo(url, timeout={"first_byte": 0.3}), **saying(size))
        assert isinstance(error, TimedOutError)
        assert error.phase == "first_byte"
        given_up.set()


async def test_other_requests_on_kept_connections_that_prove_closed_are_each_sent_once_more() -> None:
    async with FakeEndpoint(dialects.Acytoo(), *[reply("1")] * 4, *[hang_up()] * 4, reply("2")) as fake:
        ask = Acytoo(fake.url)
        assert await asyncio.gather(*[texts(ask) for _ in range(4)]) == [["1"]] * 4
        assert await asyncio.gather(*[texts(ask) for _ in range(4)]) == [["2"]] * 4
        assert len(fake.requests) == 12


async def test_leaving_while_others_are_under_way_sends_nothing_and_holds_nothing() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("a", "b").wait(0.2, after=1)) as fake:
        others = [asyncio.ensure_future(texts(Acytoo(fake.url))) for _ in range(4)]
        leaving = asyncio.ensure_future(texts(Acytoo(fake.url)))
        await asyncio.sleep(0.05)
        leaving.cancel()
        assert await asyncio.gather(*others) == [["a", "b"]] * 4
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await texts(Acytoo(fake.url)) == ["a", "b"]


def test_the_installed_client_makes_responses_as_is_known_here() -> None:
    assert request._IS_KNOWN
