"""A client that disconnects, in any phase and way, stops its backend and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable

import pytest

from acytoo import dialects
from acytoo._reset import reset as reset_connection
from acytoo.dialects import Dialect
from acytoo.testing import reply, silent
from acytoo.types import Finish, Request, Start
from tests.server.live_server import LIMIT, LiveServer, call, endless, head, live_server, request

Leave = Callable[[asyncio.StreamWriter], None]

WORDS = [f"word {number} " for number in range(20)]
HELLO = reply(Start("id-1", "m-1", 7), *WORDS, Finish("stop"))


def close(writer: asyncio.StreamWriter) -> None:
    """Disconnect as most clients do (FIN)."""
    writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Disconnect as a killed process does (RST)."""
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    reset_connection(transport)


def half_close(writer: asyncio.StreamWriter) -> None:
    """Close the sending side only. HTTP clients that do this count as disconnected."""
    writer.write_eof()


ASKED = Request([{"role": "user", "content": "Hi"}])
WAYS = [close, reset, half_close]
ALL = pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
EVERY_WAY = pytest.mark.parametrize("leave", WAYS)


async def still_serves(server: LiveServer) -> None:
    """Assert that the next client is answered: earlier connections do not matter."""
    answer = await call(server.port, head("GET /healthz HTTP/1.1"))
    assert json.loads(answer.body)["status"] == "ok"


@EVERY_WAY
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.99], ids=["nothing", "the line", "half the head", "but its end"])
async def test_leaving_while_sending_the_head_leaves_nothing(part: float, leave: Leave) -> None:
    async with live_server(HELLO) as server:
        data = request(headers="x-a: b\r\n" * 20).partition(b"\r\n\r\n")[0]
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data[: int(len(data) * part)])
        await writer.drain()
        leave(writer)
        await still_serves(server)
        assert server.fake.requests == []
        writer.transport.abort()


@ALL
@EVERY_WAY
async def test_leaving_while_sending_the_body_never_reaches_the_backend(dialect: Dialect, leave: Leave) -> None:
    async with live_server(HELLO) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(dialect)[:-5])
        await writer.drain()
        leave(writer)
        await still_serves(server)
        assert server.fake.requests == []
        writer.transport.abort()


@ALL
@EVERY_WAY
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_leaving_while_waiting_for_the_first_byte_stops_the_backend(
    dialect: Dialect, leave: Leave, stream: bool
) -> None:
    async with live_server(silent()) as server, asyncio.timeout(LIMIT):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(dialect, stream=stream))
        await server.fake.received()
        leave(writer)
        await server.fake.disconnected()
        await still_serves(server)
        writer.transport.abort()


@ALL
@EVERY_WAY
@pytest.mark.parametrize("upstream", [dialects.OpenAI(), None], ids=["re-rendered", "passed on"])
async def test_leaving_in_mid_stream_stops_the_backend(
    dialect: Dialect, leave: Leave, upstream: Dialect | None
) -> None:
    async with live_server(HELLO.stall(after=8), dialect=upstream or dialect) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(dialect))
        await reader.readuntil(b"word 6")
        leave(writer)
        await server.fake.disconnected()
        await still_serves(server)
        writer.transport.abort()


@pytest.mark.parametrize("dialect", [d for d in dialects.ALL if d.writer(ASKED).ping], ids=lambda dialect: dialect.name)
@EVERY_WAY
async def test_leaving_while_keep_alives_are_sent_stops_the_backend(dialect: Dialect, leave: Leave) -> None:
    async with live_server(silent(), first_ping_after=0.05) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(dialect))
        await reader.readuntil(b"\r\n\r\n")
        leave(writer)
        await server.fake.disconnected()
        await still_serves(server)
        writer.transport.abort()


@ALL
async def test_leaving_during_a_reply_that_is_one_document_stops_the_backend(dialect: Dialect) -> None:
    async with live_server(HELLO.stall(after_bytes=50)) as server, asyncio.timeout(LIMIT):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(dialect, stream=False))
        await server.taken(1)
        close(writer)
        await server.fake.disconnected()


@EVERY_WAY
async def test_leaving_while_the_reply_is_not_read_stops_the_backend(leave: Leave) -> None:
    async with live_server(endless(25_600)) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await server.taken(1_000_000)
        leave(writer)
        await server.fake.disconnected()
        writer.transport.abort()


async def test_pipelined_requests_of_a_client_that_left_are_not_begun() -> None:
    async with live_server(silent()) as server, asyncio.timeout(LIMIT):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request() * 5)
        await server.fake.received()
        writer.close()
        await server.fake.disconnected()
        await still_serves(server)
        assert len(server.fake.requests) == 1


@EVERY_WAY
async def test_leaving_while_the_backend_receives_the_request_stops_it(leave: Leave) -> None:
    body = json.dumps({"model": "m-1", "messages": [{"role": "user", "content": "x" * 10_000_000}]}).encode()
    async with live_server(on_connect=silent()) as server, asyncio.timeout(LIMIT):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(body=body))
        await server.fake.connected()
        await asyncio.sleep(0.2)
        leave(writer)
        await server.fake.disconnected()
        assert server.fake.requests == []
        writer.transport.abort()


AHEAD = {
    "requests": request() * 40,
    "a body": head("POST /v1/messages HTTP/1.1", "content-length: 10000000\r\n") + b" " * 10_000_000,
}


@pytest.mark.parametrize("ahead", AHEAD.values(), ids=AHEAD)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@EVERY_WAY
async def test_leaving_after_sending_too_far_ahead_stops_the_backend(ahead: bytes, stream: bool, leave: Leave) -> None:
    async with live_server(silent()) as server, asyncio.timeout(LIMIT):
        sock = socket.create_connection(("127.0.0.1", server.port))
        _, writer = await asyncio.open_connection(sock=sock)
        writer.write(request(stream=stream))
        await server.fake.received()
        writer.write(ahead[:100_000])  # more would keep its end in the sender's buffers
        await writer.drain()
        await asyncio.sleep(0.1)
        leave(writer)
        await server.fake.disconnected()
        await still_serves(server)
        writer.transport.abort()


async def test_a_hundred_clients_that_leave_at_once_stop_a_hundred_upstreams() -> None:
    async with live_server(HELLO.stall(after=8)) as server, asyncio.timeout(LIMIT):
        writers = []
        for _ in range(100):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request("anthropic"))
            writers.append(writer)
        await server.fake.received(100)
        for number, writer in enumerate(writers):
            (close, reset)[number % 2](writer)
        await server.fake.disconnected()
        await still_serves(server)
