"""The fake endpoint and proxies, called over plain sockets and by clients that are not ours."""

from __future__ import annotations

import asyncio
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from acytoo import dialects
from acytoo.testing import (
    Authority,
    FakeEndpoint,
    FakeHTTPProxy,
    black_hole,
    garbage,
    hang_up,
    raw,
    refused_port,
    reply,
    silent,
    status,
)

BODY = b'{"messages": [{"role": "user", "content": "Hi"}]}'
REQUEST = b"POST /api/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


async def call(port: int, data: bytes = REQUEST) -> bytes:
    """Return everything the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_received_requests_and_connections_are_recorded() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi").close()) as fake:
        assert (await call(fake.port)).endswith(b"2\r\nHi\r\n")
        assert fake.requests[0].method == "POST"
        assert fake.requests[0].path == "/api/completions"
        assert fake.requests[0].headers["host"] == "x"
        assert fake.requests[0].json["messages"] == [{"role": "user", "content": "Hi"}]
        assert fake.connections == 1


async def test_a_chunked_request_is_read_completely() -> None:
    chunked = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi").close()) as fake:
        await call(fake.port, chunked)
        assert fake.requests[0].body == b"{}"


async def test_each_request_gets_the_next_script_and_the_last_one_is_repeated() -> None:
    async with FakeEndpoint(dialects.Acytoo(), raw(b"1"), raw(b"2"), raw(b"3").close()) as fake:
        assert await call(fake.port, REQUEST * 3) == b"123"
        assert await call(fake.port) == b"3"


async def test_a_script_may_be_a_function_of_the_request() -> None:
    async with FakeEndpoint(dialects.Acytoo(), lambda request: raw(request.path.encode()).close()) as fake:
        assert await call(fake.port) == b"/api/completions"


async def test_it_sees_that_the_client_has_disconnected() -> None:
    async with FakeEndpoint(dialects.Acytoo(), silent()) as fake:
        _, writer = await asyncio.open_connection("127.0.0.1", fake.port)
        writer.write(REQUEST)
        await fake.received()
        writer.close()
        await fake.disconnected()


async def test_reset_resets_the_connection() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello").reset(after_bytes=2)) as fake:
        with pytest.raises(ConnectionResetError):
            await call(fake.port)


async def test_a_half_closed_connection_keeps_reading() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello").half_close(after_bytes=2)) as fake:
        reader, writer = await asyncio.open_connection("127.0.0.1", fake.port)
        writer.write(REQUEST)
        assert (await reader.read()).endswith(b"He")
        assert not fake.peers[0].client_left.is_set()
        writer.close()
        await fake.disconnected()


@pytest.mark.parametrize(("response", "expected"), [(hang_up(), b""), (garbage(), b"\x00\xff\xfe SSH")])
async def test_on_connect_is_sent_before_any_request(response: object, expected: bytes) -> None:
    async with FakeEndpoint(dialects.Acytoo(), on_connect=response) as fake:  # type: ignore[arg-type]
        assert (await call(fake.port, b"")).startswith(expected)
        assert fake.requests == []


async def test_written_stops_growing_if_the_client_does_not_read() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply(*["x" * 65536] * 1000)) as fake:
        _, writer = await asyncio.open_connection("127.0.0.1", fake.port, limit=1024)
        writer.write(REQUEST)
        await fake.received()
        before = -1
        while before != fake.written:
            before = fake.written
            await asyncio.sleep(0.1)
        assert 0 < fake.written < 64_000_000
        writer.close()


async def test_a_tls_endpoint_has_a_certificate_of_its_authority(tmp_path: Path) -> None:
    authority = Authority()
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi").close(), tls=authority.server_context()) as fake:
        context = ssl.create_default_context(cafile=authority.write(tmp_path))
        reader, writer = await asyncio.open_connection("127.0.0.1", fake.port, ssl=context)
        writer.write(REQUEST)
        assert (await reader.read()).endswith(b"2\r\nHi\r\n")
        writer.close()


def test_a_blocking_client_is_served_from_a_thread() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("Hel", "lo").with_length()) as fake:
        request = urllib.request.Request(fake.url + "/api/completions", BODY)
        with urllib.request.urlopen(request) as response:
            assert response.read() == b"Hello"
        fake.wait_disconnected()


def test_a_blocking_client_is_served_through_the_proxy() -> None:
    with FakeEndpoint(dialects.Acytoo(), status(418, "teapot")) as fake, FakeHTTPProxy() as proxy:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy.url}))
        with pytest.raises(urllib.error.HTTPError) as caught:
            opener.open(fake.url, BODY)
        assert caught.value.code == 418
        caught.value.close()
        assert proxy.targets == [f"127.0.0.1:{fake.port}"]


async def test_a_refused_port_refuses_connections() -> None:
    with refused_port() as port, pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_black_hole_never_answers_a_connect() -> None:
    async with black_hole() as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.open_connection("127.0.0.1", port)


async def test_an_error_in_the_script_is_raised_when_the_endpoint_stops() -> None:
    def broken(_: object) -> object:
        raise KeyError("a script with a mistake")

    with pytest.raises(KeyError):
        async with FakeEndpoint(dialects.Acytoo(), broken) as fake:  # type: ignore[arg-type]
            with pytest.raises(ConnectionResetError):
                await call(fake.port)
