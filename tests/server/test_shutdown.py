"""Shutdown under load: running replies finish, or are cut so that no client takes them for complete."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from acytoo import AsyncGeneratorProvider, Timeout, dialects
from acytoo.errors import UsageError
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, ScriptedResponse, reply, silent
from acytoo.testing.conformance.clock import finishes_within
from acytoo.types import Finish, Start
from tests.processes import ACYTOO, run
from tests.server.live_server import LIMIT, Response, backend, head, read_response, refused, request
from tests.skipping_loop import in_skipping_loop, skip

WORDS = [f"word {number} " for number in range(20)]
HELLO = reply(Start("id-1", "m-1", 7), *WORDS, Finish("stop"))


@asynccontextmanager
async def serving(fake: FakeEndpoint, grace: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Yield an `acytoo serve` process over the endpoint, and its port."""
    server = await asyncio.create_subprocess_exec(
        *[ACYTOO, "serve", "--port", "0", "--to", "compatible/m-1", "--grace", grace],
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COMPATIBLE_URL": fake.url},
    )
    try:
        assert server.stderr is not None
        yield server, int((await server.stderr.readline()).split()[2].rpartition(b":")[2])
        assert b"Traceback" not in await server.stderr.read()
        assert await server.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()


async def stop(server: asyncio.subprocess.Process, port: int, signals: int) -> None:
    """Send SIGTERM so many times, each after the server has handled the last: two that wait for it are one."""
    for _ in range(signals):
        server.send_signal(signal.SIGTERM)
        await refused(port)


async def responses_at_shutdown(answer: ScriptedResponse, grace: float, signals: int) -> list[Response]:
    """Return what each of 30 clients received from a server that is stopped while it answers them."""
    async with (
        FakeEndpoint(dialects.OpenAI(), answer) as fake,
        asyncio.timeout(LIMIT * 4),
        serving(fake, str(grace)) as (server, port),
    ):
        readers, writers = [], []
        for number in range(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(dialects.ALL[number % len(dialects.ALL)]))
            readers.append(reader)
            writers.append(writer)
        await fake.received(30)
        await stop(server, port, signals)
        responses = [await read_response(reader) for reader in readers]
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)
        for writer in writers:
            writer.close()
        return responses


async def test_running_replies_finish() -> None:
    responses = await responses_at_shutdown(HELLO.wait(2.0, after=3), 60.0, 1)
    assert all(response.status == 200 and response.is_complete for response in responses)


ENDS = pytest.mark.parametrize(
    ("grace", "signals"),
    [(0.5, 1), (0.0, 1), (60.0, 2)],
    ids=["the grace is over", "there is no grace", "a second signal"],
)


@ENDS
async def test_replies_that_do_not_finish_are_visibly_cut(grace: float, signals: int) -> None:
    responses = await responses_at_shutdown(HELLO.stall(after=3), grace, signals)
    assert not any(response.is_complete for response in responses)


@ENDS
async def test_cut_raw_text_over_http_1_0_ends_with_a_reset(grace: float, signals: int) -> None:
    async with (
        FakeEndpoint(dialects.OpenAI(), HELLO.stall(after=3)) as fake,
        asyncio.timeout(LIMIT),
        serving(fake, str(grace)) as (server, port),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("acytoo").replace(b" HTTP/1.1", b" HTTP/1.0", 1))
        assert await reader.readuntil(b"word 1 ")
        await stop(server, port, signals)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_raw_text_over_http_1_0_that_is_not_completely_sent_ends_with_a_reset() -> None:
    long = reply(Start("id-1", "m-1", 7), *["x" * 10_000] * 1_000, Finish("stop"))
    async with FakeEndpoint(dialects.OpenAI(), long) as fake, asyncio.timeout(LIMIT):
        config = ServerConfig({"backend": backend(dialects.OpenAI(), fake.url)}, port=0, grace=0.5)
        server, url = await start(config)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        reader, writer = await asyncio.open_connection(sock=sock, limit=65536)
        writer.write(request("acytoo").replace(b" HTTP/1.1", b" HTTP/1.0", 1))
        await reader.readuntil(b"xxx")
        await server.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


@pytest.mark.parametrize(
    ("stream", "answer"), [(True, HELLO.stall(after=3)), (False, silent())], ids=["streamed", "whole"]
)
@in_skipping_loop
async def test_a_running_reply_gets_exactly_the_configured_grace(stream: bool, answer: ScriptedResponse) -> None:
    async with FakeEndpoint(dialects.OpenAI(), answer) as fake:
        upstream = backend(dialects.OpenAI(), fake.url, timeout=Timeout(None, None, None))
        config = ServerConfig({"backend": upstream}, port=0, grace=1000)
        server, url = await start(config)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(request(stream=stream))
        await fake.received()
        closing = asyncio.ensure_future(server.close())
        assert not (await asyncio.wait({closing}, timeout=0.05))[0]
        skip(900)
        assert not (await asyncio.wait({closing}, timeout=0.05))[0]
        skip(100)
        await closing
        assert not (await read_response(reader)).is_complete
        await fake.disconnected()
        writer.close()


async def test_connections_without_a_complete_request_do_not_delay_the_end() -> None:
    async with FakeEndpoint(dialects.OpenAI(), HELLO) as fake, asyncio.timeout(LIMIT):
        config = ServerConfig({"backend": backend(dialects.OpenAI(), fake.url)}, port=0, grace=LIMIT * 10)
        server, url = await start(config)
        pairs = []
        for data in (
            b"",
            b"POST /v1/chat",
            request()[:-5],
            request(headers="expect: 100-continue\r\n")[:-5],
            request(),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(data)
            pairs.append((reader, writer))
        assert (await read_response(pairs[-1][0])).is_complete
        assert await finishes_within(asyncio.create_task(server.close()), 5.0)
        for reader, writer in pairs:
            assert await reader.read() == b""
            writer.close()
        assert server.connections == set()


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_clients_that_never_read_are_cut_off_after_the_grace(stream: bool) -> None:
    long = reply(Start("id-1", "m-1", 7), *["x" * 10_000] * 1_600, Finish("stop"))
    async with FakeEndpoint(dialects.OpenAI(), long) as fake, asyncio.timeout(LIMIT):
        config = ServerConfig({"backend": backend(dialects.OpenAI(), fake.url)}, port=0, grace=0.2)
        server, url = await start(config)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(request(stream=stream) + request(stream=stream))
        await reader.readuntil(b"\r\n\r\n")
        await server.close()
        assert server.connections == set()
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := await reader.read(1_000_000):
                received += len(data)
        assert received < 16_000_000
        writer.close()


async def test_a_request_that_has_just_arrived_is_answered() -> None:
    async with FakeEndpoint(dialects.OpenAI(), HELLO) as fake, asyncio.timeout(LIMIT):
        server, url = await start(ServerConfig({"backend": backend(dialects.OpenAI(), fake.url)}, port=0, grace=LIMIT))
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        while not server.connections:  # noqa: ASYNC110 - being accepted is no event
            await asyncio.sleep(0)
        writer.write(request())
        await server.close()
        response = await read_response(reader)
        assert (response.status, response.is_complete, response.headers["connection"]) == (200, True, "close")
        writer.close()


async def test_a_health_check_that_has_just_arrived_is_answered_with_503() -> None:
    async with FakeEndpoint(dialects.OpenAI(), HELLO) as fake, asyncio.timeout(LIMIT):
        server, url = await start(ServerConfig({"backend": backend(dialects.OpenAI(), fake.url)}, port=0, grace=LIMIT))
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        while not server.connections:  # noqa: ASYNC110 - being accepted is no event
            await asyncio.sleep(0)
        writer.write(head("GET /healthz HTTP/1.1"))
        await server.close()
        response = await read_response(reader)
        assert (response.status, json.loads(response.body)["status"]) == (503, "stopping")
        assert response.headers["connection"] == "close"
        writer.close()


async def test_an_infinite_grace_lets_a_reply_finish_and_then_ends() -> None:
    async with (
        FakeEndpoint(dialects.OpenAI(), HELLO.wait(1.0, after=3)) as fake,
        asyncio.timeout(LIMIT),
        serving(fake, "inf") as (server, port),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request())
        await fake.received()
        server.send_signal(signal.SIGTERM)
        assert (await read_response(reader)).is_complete
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(
    ("grace", "message"),
    [
        ("nan", b"acytoo: invalid grace nan: expected a number of seconds from 0 to inf"),
        ("-1", b"Error: Invalid value for '--grace': -1.0 is not in the range x>=0."),
        ("-inf", b"Error: Invalid value for '--grace': -inf is not in the range x>=0."),
    ],
)
def test_an_invalid_grace_is_rejected(grace: str, message: bytes) -> None:
    provider: dict[str, AsyncGeneratorProvider] = {"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")}
    with pytest.raises(UsageError, match="grace"):
        ServerConfig(provider, grace=float(grace))
    done = run([ACYTOO, "serve", "--to", "http://127.0.0.1:9", "--grace", grace])
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.splitlines()[-1] == message


async def test_a_server_that_drains_answers_kept_connections_once_more_and_announces_their_end() -> None:
    async with FakeEndpoint(dialects.OpenAI(), HELLO) as fake:
        server, url = await start(ServerConfig({"backend": backend(dialects.OpenAI(), url=fake.url)}, port=0))
        port = int(url.rpartition(":")[2])
        kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, writer in kept:
            writer.write(head("GET /healthz HTTP/1.1"))
            assert (await read_response(reader)).headers.get("connection") is None
        draining = asyncio.create_task(server.drain())
        await asyncio.sleep(0)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)
        for (reader, writer), data, status in zip(
            kept, (head("GET /healthz HTTP/1.1"), request(dialects.OpenAI())), (503, 200), strict=True
        ):
            writer.write(data)
            response = await read_response(reader)
            assert (response.status, response.headers["connection"]) == (status, "close")
            assert await reader.read() == b""
            writer.close()
        await draining
        await server.close()


async def test_a_stream_that_promised_to_keep_its_connection_keeps_it_while_the_server_drains() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("one", "two").wait(1, after=1)) as fake:
        server, url = await start(ServerConfig({"backend": backend(dialects.OpenAI(), url=fake.url)}, port=0))
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(request(dialects.OpenAI()))
        received = await reader.readuntil(b"one")
        draining = asyncio.create_task(server.drain())
        received += await reader.readuntil(b"\r\n0\r\n\r\n")
        assert b"connection: close" not in received
        writer.write(head("GET /healthz HTTP/1.1"))
        assert (await read_response(reader)).headers["connection"] == "close"
        writer.close()
        await draining
        await server.close()


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("is_replaced", [True, False])
async def test_a_connection_that_was_just_made_is_answered_before_the_server_ends(
    turns: int, is_replaced: bool
) -> None:
    provider = backend(dialects.OpenAI(), "http://127.0.0.1:9")
    server, url = await start(ServerConfig({"backend": provider}, port=0))
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
        client.sendall(head("GET /healthz HTTP/1.1"))
        for _ in range(turns):  # in one of them it is accepted, some later it is a connection
            await asyncio.sleep(0)
        if is_replaced:
            await server.drain()
        await server.close()
        assert client.recv(1000).startswith(b"HTTP/1.1 ")
