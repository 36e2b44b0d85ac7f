"""Whatever the pieces a body comes in, and however many of them wait, all of it is taken, in order, and no more."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from acytoo import Acytoo, dialects
from acytoo.errors import TruncatedError
from acytoo.http import HTTPRequest
from acytoo.testing import FakeEndpoint, reply
from acytoo.transport import arrived
from acytoo.transport.config import Connection
from acytoo.transport.exchange import open_exchange
from tests.helpers import MESSAGES

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
    """A stand-in for an HTTP server: it answers whatever is asked with these pieces, as fast as they are taken."""

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


async def body_of(url: str, slow: bool = False) -> list[bytes]:
    """The body as it was taken; slowly, so that reading is paused."""
    taken = []
    with await open_exchange(HTTPRequest(url, {}, b"{}"), Connection()) as exchange:
        while data := await exchange.read():
            taken.append(data)
            if slow:
                await asyncio.sleep(0.001)
    return taken


@pytest.mark.parametrize("slow", [False, True], ids=["at once", "slowly"])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
async def test_every_byte_is_taken_in_order(pieces: list[bytes], framing: str, slow: bool) -> None:
    async with serving(pieces, framing) as url:
        assert b"".join(await body_of(url, slow)) == b"".join(pieces)


async def test_pieces_that_came_together_are_taken_together() -> None:
    async with serving(PIECES["many small ones"], "chunked") as url:
        assert len(await body_of(url)) < 1_000


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
async def test_a_body_that_is_cut_raises_once_what_came_is_taken(pieces: list[bytes], framing: str) -> None:
    async with serving(pieces, framing, cut=True) as url:
        taken = []
        with pytest.raises(TruncatedError):
            with await open_exchange(HTTPRequest(url, {}, b"{}"), Connection()) as exchange:
                while data := await exchange.read():
                    taken.append(data)
        assert b"".join(pieces).startswith(b"".join(taken))


class OwnReader(aiohttp.StreamReader):
    """A reader that is nobody's but this caller's."""

    __slots__ = ()


class OwnResponse(aiohttp.ClientResponse):
    """A response that is read through it."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Begin to be read."""
        await super().start(connection)
        self.content.__class__ = OwnReader
        return self


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
async def test_a_reader_that_is_the_callers_own_is_read_in_its_own_way(pieces: list[bytes], framing: str) -> None:
    async with serving(pieces, framing) as url, aiohttp.ClientSession(response_class=OwnResponse) as session:
        with await open_exchange(HTTPRequest(url, {}, b"{}"), Connection(session=session)) as exchange:
            taken = []
            while data := await exchange.read():
                taken.append(data)
    assert b"".join(taken) == b"".join(pieces)


async def test_a_cut_is_told_through_a_reader_of_the_callers_own_too() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "world").close(after=1)) as fake:
        async with aiohttp.ClientSession(response_class=OwnResponse) as session:
            with pytest.raises(TruncatedError) as caught:
                async for _ in Acytoo(fake.url, session=session).create_async_generator("", MESSAGES):
                    pass
    assert caught.value.text == "Hello "


def test_the_installed_reader_is_one_that_can_be_taken_from() -> None:
    assert arrived._IS_KNOWN


async def test_two_cannot_wait_for_one_body() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi").wait(0.2, after=0)) as fake:
        with await open_exchange(HTTPRequest(fake.url, {}, b"{}"), Connection()) as exchange:
            first = asyncio.ensure_future(exchange.read())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="waits"):
                await exchange.read()
            assert await first == b"Hi"


async def test_who_takes_their_time_is_given_all_that_came_before_a_cut() -> None:
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
async def test_a_whole_body_stays_whole_whatever_becomes_of_its_connection(framing: str) -> None:
    gone = asyncio.Event()

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
        gone.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with await open_exchange(HTTPRequest(url, {}, b"{}"), Connection()) as exchange:
            assert await exchange.read() == b"Hello"
            await gone.wait()
            await asyncio.sleep(0.1)
            assert await exchange.read() == b""


async def test_a_body_whose_connection_is_gone_says_so_each_time_it_is_read() -> None:
    async with serving([], "length", cut=True) as url:
        with await open_exchange(HTTPRequest(url, {}, b"{}"), Connection()) as exchange:
            for _ in range(2):
                with pytest.raises(TruncatedError):
                    await exchange.read()
