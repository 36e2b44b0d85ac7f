"""One connection: what is answered before a body arrives, what is discarded, limits, and the order of responses."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.testing import reply, silent
from acytoo.testing.conformance.clock import occurs_within
from acytoo.types import Finish, Start
from tests.server.live_server import (
    LIMIT,
    Response,
    call,
    endless,
    head,
    live_server,
    raw_call,
    read_response,
    request,
)

HELLO = reply(Start("id-1", "m-1", 7), "Hello", Finish("stop"))
POST = "POST /v1/chat/completions HTTP/1.1"
HEALTH = head("GET /healthz HTTP/1.1")
IN_HEAD = pytest.mark.parametrize(
    "dialect", [dialect for dialect in dialects.ALL if dialect.name != "acytoo"], ids=lambda dialect: dialect.name
)


async def answer_to(port: int, data: bytes) -> Response:
    """Send bytes, return the response, and assert that the server closes the connection after it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(LIMIT):
        writer.write(data)
        response = await read_response(reader)
        assert await reader.read() == b""
        writer.close()
    return response


# Before the body


@IN_HEAD
@pytest.mark.parametrize("more", ["", "expect: 100-continue\r\n"], ids=["", "100-continue"])
async def test_a_wrong_password_in_a_head_is_rejected_before_the_body_arrives(dialect: Dialect, more: str) -> None:
    async with live_server(HELLO, password="sesame") as server:
        asked = request(dialect, headers=f"authorization: Bearer salami\r\n{more}").partition(b"\r\n\r\n")[0]
        response = await answer_to(server.port, asked + b"\r\n\r\n")
        assert (response.status, response.is_complete) == (401, True)
        assert dialect.read_error(401, response.body).message == "the password or key is missing or wrong"
        assert response.headers["connection"] == "close"


@IN_HEAD
async def test_a_right_password_in_a_head_asks_for_the_body(dialect: Dialect) -> None:
    async with live_server(HELLO, password="sesame") as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        first, _, body = request(dialect, headers="x-api-key: sesame\r\nexpect: 100-continue\r\n").partition(
            b"\r\n\r\n"
        )
        writer.write(first + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await read_response(reader)).status == 200
        writer.close()


async def test_a_body_that_has_to_be_read_for_its_password_may_have_1_mib_unless_a_header_presents_it() -> None:
    async with live_server(HELLO, password="sesame") as server:
        response = await answer_to(server.port, head("POST /api/completions HTTP/1.1", "content-length: 1048577\r\n"))
        assert response.status == 413
        for size, headers, status in (
            (1_000_000, "", 200),
            (1_100_000, "", 413),
            (1_100_000, "x-api-key: salami\r\n", 413),
            (1_100_000, "x-api-key: sesame\r\n", 200),
        ):
            fields = {"messages": [{"role": "user", "content": "x" * size}], "password": "sesame"}
            body = json.dumps(fields).encode()
            assert (await call(server.port, request("acytoo", headers=headers, body=body))).status == status


@pytest.mark.parametrize("line", ["POST /nowhere HTTP/1.1", "PUT /v1/messages HTTP/1.1"])
async def test_a_wrong_path_or_method_is_answered_before_the_body_arrives(line: str) -> None:
    async with live_server(HELLO) as server:
        assert (await answer_to(server.port, head(line, "content-length: 1000000\r\n"))).status in (404, 405)


@pytest.mark.parametrize("size", [5_000_000, 40_000_000])
async def test_a_client_that_sends_a_body_that_is_too_large_can_read_why(size: int) -> None:
    async with live_server(HELLO, max_body=1000) as server:
        response = await answer_to(server.port, head(POST, f"content-length: {size}\r\n") + b" " * size)
        assert (response.status, response.is_complete) == (413, True)


async def test_what_follows_a_rejected_request_is_not_answered() -> None:
    async with live_server(HELLO, max_body=1000) as server:
        data = head(POST, "content-length: 100000\r\n") + b" " * 1000 + HEALTH * 20
        answer = await raw_call(server.port, data)
        assert answer.count(b"HTTP/1.1 ") == 1


# Limits


@pytest.mark.parametrize("trailer", [b"x-a: b\r\n" * 10, b""])
async def test_trailers_are_dropped(trailer: bytes) -> None:
    body = request().partition(b"\r\n\r\n")[2]
    chunked = head(POST, "transfer-encoding: chunked\r\n") + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailer)
    async with live_server(HELLO) as server:
        response = await call(server.port, chunked)
        assert (response.status, response.is_complete) == (200, True)


@pytest.mark.parametrize(
    "trailer", [b"x-a: b\r\n" * 200, b"x-a: %b\r\n" % (b"b" * 17_000), b"x-a: " + b"b" * 300_000, b"x-a : b\r\n"]
)
async def test_too_many_or_broken_trailers_are_400(trailer: bytes) -> None:
    body = request().partition(b"\r\n\r\n")[2]
    chunked = head(POST, "transfer-encoding: chunked\r\n") + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailer)
    async with live_server(HELLO) as server:
        response = await answer_to(server.port, chunked)
        assert response.status == 400
        assert server.fake.requests == []


async def test_a_chunk_extension_without_an_end_is_rejected() -> None:
    async with live_server(HELLO) as server:
        data = head(POST, "transfer-encoding: chunked\r\n") + b"5;" + b"x" * 1_000_000
        assert (await answer_to(server.port, data)).status == 400


async def test_a_connection_above_the_limit_gets_503() -> None:
    async with live_server(HELLO, max_connections=2) as server, asyncio.timeout(LIMIT):
        pairs = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        for reader, writer in pairs:
            writer.write(HEALTH)
            assert (await read_response(reader)).status == 200
        refused = await answer_to(server.port, HEALTH)
        assert (refused.status, json.loads(refused.body)["error"]["type"]) == (503, "overloaded_error")
        pairs[0][1].close()
        while (await call(server.port, HEALTH)).status != 200:  # noqa: ASYNC110 - the server sees it a little later
            await asyncio.sleep(0.01)
        pairs[1][1].close()


async def test_a_pipelined_body_is_not_read_while_another_request_is_answered() -> None:
    async with live_server(silent(), first_ping_after=0.1, ping_after=0.1) as server, asyncio.timeout(LIMIT):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request())
        await server.fake.received()
        writer.write(head(POST, "content-length: 30000000\r\n") + b" " * 30_000_000)
        await asyncio.sleep(0.5)
        assert writer.transport.get_write_buffer_size() > 10_000_000
        writer.transport.abort()
        await server.fake.disconnected()


async def test_a_pipelined_body_is_read_when_it_is_its_turn() -> None:
    async with live_server(HELLO) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = request().partition(b"\r\n\r\n")[2]
        writer.write(request() + request(body=body + b" " * 5_000_000) + HEALTH)
        assert [(await read_response(reader)).status for _ in range(3)] == [200, 200, 200]
        writer.close()


async def test_a_document_that_is_not_read_is_not_held_forever() -> None:
    async with live_server(endless(1_600), unread=0.3, idle=0.1) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(request(stream=False))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2.0)
        with pytest.raises(ConnectionResetError):
            while await reader.read(1_000_000):
                pass
        writer.close()


# Order and the end


async def test_requests_before_a_broken_one_are_answered_first() -> None:
    async with live_server(HELLO.wait(0.2, after=1)) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HEALTH + request() + HEALTH + b"nonsense\r\n\r\n")
        responses = [await read_response(reader) for _ in range(4)]
        assert [response.status for response in responses] == [200, 200, 200, 400]
        assert "invalid HTTP request" in json.loads(responses[3].body)["error"]["message"]
        assert await reader.read() == b""
        writer.close()


async def test_more_requests_are_read_after_too_many_were_sent_ahead() -> None:
    async with live_server(HELLO.wait(0.2, after=1)) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request() + HEALTH * 40)
        await server.fake.received()
        writer.write(HEALTH * 2)
        received = await reader.readuntil(b"\r\n0\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")

        async def read_rest() -> None:
            for _ in range(42):
                assert (await read_response(reader)).status == 200

        assert await occurs_within(read_rest(), 10.0)
        writer.close()


async def test_nothing_is_answered_after_connection_close() -> None:
    async with live_server(HELLO) as server:
        answer = await raw_call(server.port, head("GET /healthz HTTP/1.1", "connection: close\r\n") + HEALTH * 3)
        assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_request_that_offers_another_protocol_is_answered_in_this_one(protocol: str, framing: str) -> None:
    first, _, body = request().partition(b"\r\n\r\n")
    if framing == "chunks":
        first = re.sub(rb"content-length: \d+", b"transfer-encoding: chunked", first)
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    offer = f"\r\nconnection: upgrade, http2-settings\r\nupgrade: {protocol}\r\n\r\n".encode()
    async with live_server(HELLO) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for parts in ([first + offer, body[:5], body[5:]], [first + offer + body]):
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.01)
            assert (await read_response(reader)).status == 200
        writer.write(head("GET /healthz HTTP/1.1", "connection: upgrade\r\nupgrade: h2c\r\n") + HEALTH)
        assert [(await read_response(reader)).status for _ in range(2)] == [200, 200]
        writer.write(head("CONNECT 127.0.0.1:443 HTTP/1.1") + HEALTH)
        assert (await read_response(reader)).status == 404
        assert await reader.read() == b""
        writer.close()


async def test_an_http_1_0_connection_is_kept_if_its_client_asks() -> None:
    async with live_server(HELLO) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for keep in ("connection: keep-alive\r\n", ""):
            writer.write(head("GET /healthz HTTP/1.0", keep))
            response = await read_response(reader)
            assert response.headers["connection"] == ("keep-alive" if keep else "close")
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_a_request_may_arrive_in_pieces(size: int) -> None:
    async with live_server(HELLO) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        data = request()
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await asyncio.sleep(0)
        assert (await read_response(reader)).is_complete
        writer.close()


# Event loops


async def every_kind_of_end() -> None:
    """Serve a complete stream, a document, a client that leaves, one that does not read, and one over HTTP/1.0."""
    async with live_server(HELLO, HELLO, HELLO.stall(after=2), endless(6_400), HELLO, unread=0.3) as server:
        for stream in (True, False):
            assert (await call(server.port, request(stream=stream))).is_complete
        async with asyncio.timeout(LIMIT):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request())
            await reader.readuntil(b"Hello")
            writer.close()
            await server.fake.disconnected()
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            writer.write(request())
            await server.fake.received(4)
            await server.fake.disconnected()
            writer.transport.abort()
        plain = await raw_call(server.port, request("acytoo").replace(b" HTTP/1.1", b" HTTP/1.0", 1))
        assert plain.endswith(b"\r\n\r\nHello")
        assert (await answer_to(server.port, b"nonsense\r\n\r\n")).status == 400


def runners() -> list[Any]:
    """Return how to run a coroutine on each event loop that is installed."""
    try:
        import uvloop
    except ImportError:
        return [asyncio.run]
    return [asyncio.run, pytest.param(uvloop.run, id="uvloop")]


@pytest.mark.parametrize("run", runners())
def test_a_server_does_the_same_on_every_event_loop(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    run(every_kind_of_end())


@pytest.mark.parametrize("in_parts", [True, False])
async def test_a_kept_connection_is_not_limited_in_the_bytes_of_all_its_requests(in_parts: bool) -> None:
    async with live_server(HELLO, password="sesame") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        fields = {"model": "m-1", "messages": [{"role": "user", "content": "x" * 10_000}]}
        sent = request(body=json.dumps(fields).encode(), headers="authorization: Bearer sesame\r\n")
        parts = [sent[:-5_000], sent[-5_000:]] if in_parts else [sent]

        async def ask_often() -> None:
            for _ in range(30):
                for part in parts:
                    writer.write(part)
                    await asyncio.sleep(0.01)
                assert (await read_response(reader)).status == 200

        assert await occurs_within(ask_often(), 10.0)
        writer.close()
