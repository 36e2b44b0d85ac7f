"""The HTTP server: its access log, and what it keeps of connections that have ended."""

from __future__ import annotations

import asyncio
import gc
import logging
import re

import pytest

from acytoo import dialects
from acytoo.http import HTTPResponse
from acytoo.server.app import Application
from acytoo.server.config import ServerConfig
from acytoo.server.http_server import HTTPServer
from acytoo.server.request import IncomingRequest
from acytoo.server.router import PathRoute
from acytoo.server.run import start
from tests.server.live_server import LIMIT, backend, call, head, raw_call, read_response, request

LAST = head("GET /healthz?key=sesame HTTP/1.1", 'user-agent: a "b"\\\r\nconnection: close\r\n')


@pytest.mark.parametrize("is_on", [True, False])
async def test_the_access_log_has_each_request_with_its_own_size(is_on: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "acytoo.access")
    config = ServerConfig({"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")}, port=0)
    server, url = await start(config, access_log=is_on)
    answer = await raw_call(int(url.rpartition(":")[2]), head('GET /"no\\where HTTP/1.1') + LAST)
    await server.close()
    first, _, second = answer.partition(b"}HTTP/1.1 200 ")
    sizes = [len(first) + 1, len(second) + len(b"HTTP/1.1 200 ")]
    logged = [re.sub(r" \d\.\d{3} ", " SECONDS ", record.getMessage()) for record in caplog.records]
    expected = [
        f'127.0.0.1 "GET /\\"no\\\\where" 404 {sizes[0]} SECONDS "-"',
        f'127.0.0.1 "GET /healthz" 200 {sizes[1]} SECONDS "a \\"b\\"\\\\"',
    ]
    assert logged == (expected if is_on else [])


async def test_an_exception_in_a_handler_is_logged_and_reported_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(request: IncomingRequest) -> HTTPResponse:
        raise RuntimeError("it broke")

    config = ServerConfig({"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")}, port=0)
    server, url = await start(config, application=Application(config, routes=[PathRoute("GET", "/broken", broken)]))
    response = await call(int(url.rpartition(":")[2]), head("GET /broken HTTP/1.1"))
    await server.close()
    assert (response.status, response.is_complete) == (500, True)
    assert dialects.OpenAI().read_error(500, response.body).message == "internal server error"
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("acytoo.server", "internal error while answering /broken")
    assert record.exc_info is not None
    assert "it broke" in str(record.exc_info[1])


async def unused(request: IncomingRequest) -> HTTPResponse:
    raise AssertionError


@pytest.mark.parametrize("port", [-1, 65_536])
async def test_a_port_beyond_16_bits_is_refused(port: int) -> None:
    config = ServerConfig({"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")})
    with pytest.raises(OverflowError, match="a port is a number from 0 to 65535"):
        await HTTPServer(unused, config).listen("127.0.0.1", port)


async def test_a_server_that_never_listened_is_closed_at_once() -> None:
    server = HTTPServer(unused, ServerConfig({"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")}))
    await server.drain()
    await server.close()
    assert (server.is_stopping, server.is_closing) == (False, False)


async def test_nothing_is_kept_of_a_connection_that_has_ended() -> None:
    config = ServerConfig({"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")}, port=0, receive=LIMIT)
    server, url = await start(config)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    data = request()
    for part in (data[:-5], data[-5:]):
        writer.write(part)
        await asyncio.sleep(0.01)
    assert (await read_response(reader)).is_complete
    held = list(server.connections)
    writer.close()
    for _ in range(200):  # the server sees the end a little later
        await asyncio.sleep(0)
    assert not server.connections
    assert len(held) == 1
    assert gc.get_referrers(held[0]) == [held]
    await server.close()
