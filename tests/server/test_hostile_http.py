"""Broken or ambiguous HTTP is rejected with a reason and never reaches a backend."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import zlib
from collections.abc import Iterator

import pytest
import zstandard

from acytoo import dialects
from acytoo.testing import reply
from acytoo.testing.hostile.requests import (
    BODY,
    CODED,
    ENDLESS_HEAD,
    FOREIGN,
    LENGTH,
    POST,
    UNKNOWN_CODINGS,
    UNKNOWN_PATHS,
    broken_requests,
)
from acytoo.testing.hostile.site import Site
from acytoo.types import Finish, Start
from tests.server.live_server import LIMIT, call, head, live_server, raw_call, read_response, request

HELLO = reply(Start("id-1", "m-1", 7), "Hello", Finish("stop"))


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Assert that nothing is logged: anybody can send garbage, and it must not fill the log."""
    caplog.set_level(logging.INFO)
    yield
    assert [
        record.getMessage() for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR
    ] == []


BROKEN = broken_requests(Site())


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_broken_http_is_rejected_with_400_and_the_connection_is_closed(data: bytes) -> None:
    async with live_server(HELLO) as server:
        answer = await raw_call(server.port, data)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b" 200 " not in answer
        assert server.fake.requests == []


async def test_an_endless_head_is_rejected_while_it_arrives() -> None:
    async with live_server(HELLO) as server:
        answer = await raw_call(server.port, ENDLESS_HEAD)
        assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_body_that_does_not_match_its_content_encoding_is_400_in_the_clients_format(coding: str) -> None:
    async with live_server(HELLO) as server:
        answer = await call(server.port, request(headers=f"content-encoding: {coding}\r\n"))
        assert answer.status == 400
        assert "content-encoding" in json.loads(answer.body)["error"]["message"]
        assert server.fake.requests == []


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("coding", UNKNOWN_CODINGS)
async def test_an_unknown_content_encoding_is_rejected(coding: str, dialect: dialects.Dialect) -> None:
    async with live_server(HELLO) as server:
        answer = await call(server.port, request(dialect, headers=f"content-encoding: {coding}\r\n"))
        assert answer.status == 400
        assert coding in dialect.read_error(400, answer.body).message
        assert json.loads(answer.body)
        assert server.fake.requests == []


BARE = zlib.compressobj(wbits=-zlib.MAX_WBITS)
COMPRESSED = {
    "gzip": ("gzip", gzip.compress(BODY)),
    "gzip of two members": ("gzip", gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])),
    "deflate": ("deflate", zlib.compress(BODY)),
    "deflate without its header": ("deflate", BARE.compress(BODY) + BARE.flush()),
    "zstd": ("zstd", zstandard.compress(BODY)),
    "identity": ("identity", BODY),
}


@pytest.mark.parametrize(("coding", "body"), COMPRESSED.values(), ids=COMPRESSED)
async def test_a_compressed_body_is_accepted(coding: str, body: bytes) -> None:
    async with live_server(HELLO) as server:
        answer = await call(server.port, request(headers=f"content-encoding: {coding}\r\n", body=body))
        assert (answer.status, answer.is_complete) == (200, True)


@pytest.mark.parametrize("body", [gzip.compress(BODY)[:-1], gzip.compress(BODY) + b"more"], ids=["cut", "and more"])
async def test_a_truncated_or_extended_compressed_body_is_400(body: bytes) -> None:
    async with live_server(HELLO) as server:
        answer = await call(server.port, request(headers="content-encoding: gzip\r\n", body=body))
        assert answer.status == 400
        assert "content-encoding" in json.loads(answer.body)["error"]["message"]


async def test_a_compressed_body_is_limited_by_its_decompressed_size() -> None:
    async with live_server(HELLO, max_body=100_000) as server:
        bomb = gzip.compress(b" " * 50_000_000)
        assert len(bomb) < 100_000
        answer = await call(server.port, request(headers="content-encoding: gzip\r\n", body=bomb))
        assert answer.status == 413
        assert json.loads(answer.body)["error"]["message"] == "the request body is larger than 100000 bytes"


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
async def test_a_body_that_is_too_large_is_413(chunked: bool) -> None:
    async with live_server(HELLO, max_body=1000) as server:
        body = b" " * 5000
        data = (
            head(POST, CODED) + b"1388\r\n" + body + b"\r\n0\r\n\r\n"
            if chunked
            else head(POST, f"content-length: {len(body)}\r\n") + body
        )
        answer = await call(server.port, data)
        assert answer.status == 413
        assert json.loads(answer.body)["error"]["message"] == "the request body is larger than 1000 bytes"
        assert server.fake.requests == []


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with live_server(HELLO) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head("GET /healthz HTTP/1.1") + request() + head("GET /nowhere HTTP/1.1") + request(stream=False))
        answers = [await read_response(reader) for _ in range(4)]
        writer.close()
        assert [answer.status for answer in answers] == [200, 200, 404, 200]
        assert all(answer.is_complete for answer in answers)
        assert answers[1].body.endswith(b"data: [DONE]\n\n")
        assert json.loads(answers[3].body)["choices"][0]["message"]["content"] == "Hello"


async def test_a_hundred_thousand_pipelined_requests_do_not_pile_up() -> None:
    async with live_server(HELLO) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        ask = head("GET /healthz HTTP/1.1")
        sent = 0
        while writer.transport.get_write_buffer_size() == 0 and sent < 100_000_000:
            writer.write(ask * 1000)
            sent += len(ask) * 1000
            await asyncio.sleep(0)
        assert sent < 50_000_000
        assert (await read_response(reader)).status == 200
        writer.transport.abort()


async def test_a_client_that_waits_for_100_continue_gets_it_before_it_sends_the_body() -> None:
    async with live_server(HELLO) as server, asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head(POST, LENGTH + "expect: 100-continue\r\n"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert server.fake.requests == []
        writer.write(BODY)
        assert (await read_response(reader)).status == 200
        writer.close()


async def test_an_unknown_expectation_is_417() -> None:
    async with live_server(HELLO) as server:
        assert (await call(server.port, request(headers="expect: tea\r\n"))).status == 417
        assert server.fake.requests == []


@pytest.mark.parametrize(("line", "status"), UNKNOWN_PATHS.items())
async def test_an_unknown_path_is_404_and_a_wrong_method_405(line: str, status: int) -> None:
    async with live_server(HELLO) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head(f"{line} HTTP/1.1", "connection: close\r\n"))
        answer = await read_response(reader)
        writer.close()
        assert answer.status == status
        assert answer.is_complete
        allowed = "GET, HEAD" if line == "TRACE /" else "POST"
        assert answer.headers.get("allow") == (allowed if status == 405 else None)
        if status == 404:
            assert json.loads(answer.body)["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("path", ["/healthz", "/", "/v1/models"])
async def test_a_head_request_gets_the_head_alone(path: str) -> None:
    async with live_server(HELLO) as server:
        answer = await raw_call(server.port, head(f"HEAD {path} HTTP/1.1", "connection: close\r\n"))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\n")


async def test_a_target_with_scheme_and_host_is_answered() -> None:
    async with live_server(HELLO) as server:
        data = head("POST http://127.0.0.1/v1/chat/completions HTTP/1.1", LENGTH) + BODY
        assert (await call(server.port, data)).status == 200


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(("host", "more"), FOREIGN.values(), ids=FOREIGN)
async def test_a_cross_site_request_is_rejected(host: str, more: str, dialect: dialects.Dialect) -> None:
    async with live_server(HELLO) as server:
        data = request(dialect, headers=more).replace(b"host: 127.0.0.1\r\n", b"host: %b\r\n" % host.encode())
        answer = await call(server.port, data)
        assert answer.status == 403
        assert "password" in answer.body.decode()
        assert json.loads(answer.body)
        if dialect.name == "openai":
            assert json.loads(answer.body)["error"]["type"] == "permission_error"
        assert server.fake.requests == []


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ("null", "pages without an origin may not call this server"),
        ("http://evil.example", "pages of 'http://evil.example' may not call this server"),
    ],
)
async def test_the_error_for_a_page_of_another_site_names_the_site(origin: str, message: str) -> None:
    async with live_server(HELLO) as server:
        answer = await call(server.port, request(headers=f"origin: {origin}\r\n"))
        assert dialects.OpenAI().read_error(403, answer.body).message.startswith(message)


@pytest.mark.parametrize(
    ("host", "origin", "message"),
    [
        ("evil.example", "", "the host 'evil.example' is not this machine: "
         "set a password (--password) to serve it under other names"),
        ("e" * 100, "", f"the host '{'e' * 100}' is not this machine: "
         "set a password (--password) to serve it under other names"),
        ("e" * 101, "", f"the host '{'e' * 99}…' is not this machine: "
         "set a password (--password) to serve it under other names"),
        ("127.0.0.1", "null",
         "pages without an origin may not call this server: set a password (--password) to allow it"),
        ("127.0.0.1", "http://evil.example",
         "pages of 'http://evil.example' may not call this server: set a password (--password) to allow it"),
        ("127.0.0.1", "http://" + "e" * 93,
         f"pages of 'http://{'e' * 93}' may not call this server: set a password (--password) to allow it"),
        ("127.0.0.1", "http://" + "e" * 94,
         f"pages of 'http://{'e' * 92}…' may not call this server: set a password (--password) to allow it"),
    ],
    ids=range(7),
)  # fmt: skip
async def test_the_error_for_a_cross_site_request_is_of_limited_length(host: str, origin: str, message: str) -> None:
    async with live_server(HELLO) as server:
        data = request(headers=f"origin: {origin}\r\n" if origin else "")
        answer = await call(server.port, data.replace(b"host: 127.0.0.1\r\n", f"host: {host}\r\n".encode()))
        assert dialects.OpenAI().read_error(403, answer.body).message == message


async def test_a_target_with_another_host_is_rejected_whatever_its_host_header_is() -> None:
    async with live_server(HELLO) as server:
        data = head("POST http://evil.example/v1/chat/completions HTTP/1.1", LENGTH) + BODY
        assert (await call(server.port, data)).status == 403
        assert server.fake.requests == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::1]:8000", "127.0.0.1:8000", "LOCALHOST", "192.168.1.7:80"]
)
async def test_this_machines_own_pages_may_call(host: str) -> None:
    async with live_server(HELLO) as server:
        data = request(headers=f"origin: http://{host}\r\n").replace(
            b"host: 127.0.0.1\r\n", f"host: {host}\r\n".encode()
        )
        assert (await call(server.port, data)).status == 200


async def test_with_a_password_any_host_and_origin_may_call() -> None:
    async with live_server(HELLO, password="sesame") as server:
        more = "authorization: Bearer sesame\r\norigin: http://evil.example\r\n"
        data = request(headers=more).replace(b"host: 127.0.0.1", b"host: evil.example")
        assert (await call(server.port, data)).status == 200
        assert (await call(server.port, data.replace(b"sesame", b"salami"))).status == 401
