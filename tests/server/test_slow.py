"""Slow and idle clients: memory stays bounded, limits disconnect them, and others are served."""

from __future__ import annotations

import asyncio
import json
import resource
import socket

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.testing import reply
from acytoo.types import Finish, Start
from tests.server.live_server import LIMIT, call, endless, head, live_server, read_response, request
from tests.skipping_loop import in_skipping_loop, skip

HELLO = reply(Start("id-1", "m-1", 7), "Hello", Finish("stop"))
TEXTS = 6_400
ALL = pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)


async def stable_value(number: object) -> int:
    """Return the result of the function once it has not changed for half a second."""
    assert callable(number)
    last, same = number(), 0
    while same < 10:
        await asyncio.sleep(0.05)
        last, same = number(), same + 1 if number() == last else 0
    return int(last)


# From `openai` to the others a reply is re-rendered, from `ollama` to `ollama` it is passed on.
@pytest.mark.parametrize(
    ("dialect", "upstream"),
    [
        *[(dialect, dialects.OpenAI()) for dialect in dialects.ALL],
        (dialects.Ollama(), dialects.Ollama()),
    ],
    ids=lambda dialect: dialect.name,
)
async def test_a_client_that_does_not_read_stops_the_flow_and_then_gets_everything(
    dialect: Dialect, upstream: Dialect
) -> None:
    async with live_server(endless(TEXTS), dialect=upstream) as server, asyncio.timeout(LIMIT * 4):
        # The kernel lets the buffer of a receiver grow to 32 MB, unless the program has set its size.
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        slow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(slow, ("127.0.0.1", server.port))
        reader, writer = await asyncio.open_connection(sock=slow, limit=64 * 1024)
        writer.write(request(dialect))
        await server.taken(100_000)
        taken = await stable_value(lambda: server.fake.written)
        assert taken < 50_000_000, "what the sockets' own buffers hold, 32 MB for each receiver, and no more"
        response = await read_response(reader)
        writer.close()
        assert response.is_complete
        assert response.body.count(b"xxxxxxxxxx") >= TEXTS * 1000


@pytest.mark.parametrize("data", [b"", b"POST /v1/chat/comp", head("POST /v1/messages HTTP/1.1")[:-2]])
async def test_a_connection_without_a_complete_head_is_closed(data: bytes) -> None:
    async with live_server(HELLO, idle=0.2) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data)
        assert await reader.read() == b""
        writer.close()


async def test_a_head_that_arrives_byte_by_byte_is_cut_off() -> None:
    async with live_server(HELLO, idle=0.3) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /v1/messages HTTP/1.1\r\nx-a: ")
        ended = asyncio.ensure_future(reader.read())
        while not ended.done():
            writer.write(b"x")
            await asyncio.wait({ended}, timeout=0.02)
        assert isinstance(ended.exception(), ConnectionError) or ended.result() == b""
        assert server.fake.requests == []
        writer.close()


async def test_an_idle_kept_alive_connection_is_closed_after_the_same_time() -> None:
    async with live_server(HELLO, idle=0.2) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request())
        assert (await read_response(reader)).is_complete
        assert await reader.read() == b""
        writer.close()


@in_skipping_loop
async def test_a_reply_may_take_longer_than_a_connection_may_be_idle() -> None:
    async with live_server(HELLO.wait(60, after=2), idle=10, receive=20) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request())
        assert (await reader.readuntil(b"Hello")).startswith(b"HTTP/1.1 200 ")
        skip(60)
        await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()


@ALL
@pytest.mark.parametrize("every_s", [None, 0.02], ids=["stops", "dribbles"])
async def test_a_body_that_does_not_arrive_is_408_in_the_clients_format(
    dialect: Dialect, every_s: float | None
) -> None:
    async with live_server(HELLO, receive=0.3) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        data = request(dialect, body=b" " * 5000)
        writer.write(data[:-4000])
        answered = asyncio.ensure_future(read_response(reader))
        while not answered.done():
            writer.write(b" " if every_s else b"")
            await asyncio.wait({answered}, timeout=every_s)
        response = answered.result()
        writer.close()
        assert response.status == 408
        assert "did not arrive within 0.3 s" in response.body.decode()
        document = json.loads(response.body)
        assert dialect.name != "openai" or document["error"]["type"] == "timeout_error"
        assert server.fake.requests == []


async def test_two_thousand_idle_connections_do_not_block_other_clients() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(2000, (soft - 200) // 2)  # both ends are in this process
    async with live_server(HELLO, idle=LIMIT * 4) as server, asyncio.timeout(LIMIT * 4):
        writers = []
        for number in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            if number % 2:
                writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost:")
            writers.append(writer)
        for dialect in dialects.ALL:
            response = await call(server.port, request(dialect))
            assert (response.status, response.is_complete) == (200, True)
        for writer in writers:
            writer.close()
        await asyncio.gather(*[writer.wait_closed() for writer in writers])
