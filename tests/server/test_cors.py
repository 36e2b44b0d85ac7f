"""CORS: a browser lets a page of another site send and read only what the server's headers allow."""

from __future__ import annotations

import json

import pytest

from acytoo import Acytoo, dialects
from acytoo.dialects import Dialect
from acytoo.secret import Secret
from acytoo.server.config import ServerConfig
from acytoo.server.cors import cors_headers, cross_site_reason, is_preflight, preflight_response
from acytoo.server.request import IncomingRequest
from acytoo.testing import reply, status
from acytoo.types import Finish, Start
from tests.server.live_server import Response, call, head, live_server, request

HELLO = reply(Start("id-1", "m-1", 7), "Hello", Finish("stop"))
ORIGIN = "origin: http://localhost:3000\r\n"
ADMITTED = ORIGIN + "authorization: Bearer sesame\r\n"
ASKS = "access-control-request-method: POST\r\naccess-control-request-headers: authorization,content-type,x-a\r\n"
ALL = pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)


def readable(answer: Response) -> bool:
    """Return whether a browser shows the response and its headers to the page that sent the request."""
    return (
        answer.headers.get("access-control-allow-origin") == "*"
        and answer.headers.get("access-control-expose-headers") == "*"
    )


@ALL
async def test_with_a_password_a_preflight_is_answered_without_it(dialect: Dialect) -> None:
    async with live_server(HELLO, password="sesame") as server:
        path = request(dialect).split()[1].decode()
        answer = await call(server.port, head(f"OPTIONS {path} HTTP/1.1", ORIGIN + ASKS))
        assert (answer.status, answer.body) == (204, b"")
        assert readable(answer)
        assert answer.headers["access-control-allow-methods"] == "GET, POST"
        assert answer.headers["access-control-allow-headers"] == "authorization,content-type,x-a"
        assert server.fake.requests == []


async def test_a_preflight_that_asks_for_no_headers_is_answered_without_any() -> None:
    async with live_server(HELLO, password="sesame") as server:
        asked = ORIGIN + "access-control-request-method: POST\r\n"
        answer = await call(server.port, head("OPTIONS /v1/chat/completions HTTP/1.1", asked))
        assert answer.status == 204
        assert "access-control-allow-headers" not in answer.headers


@ALL
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_with_a_password_a_page_can_read_every_reply(dialect: Dialect, stream: bool) -> None:
    async with live_server(HELLO, password="sesame") as server:
        body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "password": "sesame"}).encode()
        answer = await call(
            server.port,
            request(dialect, stream=stream, headers=ADMITTED, body=body if dialect.name == "acytoo" else None),
        )
        assert answer.status == 200
        assert readable(answer)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (head("GET /v1/models HTTP/1.1", ADMITTED), 200),
        (head("GET /v1/models HTTP/1.1", ORIGIN), 401),
        (request(headers=ORIGIN), 401),
        (request(headers=ADMITTED), 429),
        (request(headers=ADMITTED, body=b"{"), 400),
        (head("GET /nowhere HTTP/1.1", ADMITTED), 404),
        (head("GET /v1/messages HTTP/1.1", ADMITTED), 405),
    ],
)
async def test_with_a_password_a_page_can_read_lists_and_errors(data: bytes, code: int) -> None:
    async with live_server(status(429, "slow down", retry_after=7), password="sesame") as server:
        answer = await call(server.port, data)
        assert answer.status == code
        assert readable(answer)


async def test_a_request_without_an_origin_gets_no_cors_headers() -> None:
    async with live_server(HELLO, password="sesame") as server:
        answer = await call(server.port, request(headers="authorization: Bearer sesame\r\n"))
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert (
            await call(server.port, head("OPTIONS /v1/chat/completions HTTP/1.1", "x-api-key: sesame\r\n"))
        ).status == 405


@pytest.mark.parametrize(
    "data", [head("OPTIONS /v1/chat/completions HTTP/1.1", ORIGIN + ASKS), request(headers=ORIGIN)]
)
async def test_without_a_password_another_sites_page_can_neither_send_nor_read(data: bytes) -> None:
    async with live_server(HELLO) as server:
        answer = await call(server.port, data)
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert server.fake.requests == []


def received(method: str = "POST", **headers: str) -> IncomingRequest:
    return IncomingRequest(None, method, "/", "1.1", headers, True)  # type: ignore[arg-type]


OWN = ("127.0.0.1", "127.0.0.1:8000", "localhost", "LocalHost:1", "[::1]", "[::1]:65535", "10.0.0.1", "[fe80::1]:80")
FOREIGN = ("", "evil.example", "localhost.", "127.1", "[localhost]", "[::1", "localhost:123456", "a@localhost", "::1")


@pytest.mark.parametrize("host", OWN)
def test_an_address_and_localhost_are_this_machine(host: str) -> None:
    assert cross_site_reason(received(host=host)) == ""
    assert cross_site_reason(received(host=host, origin=f"http://{host}")) == ""
    assert cross_site_reason(received(host=host, origin=f"https://{host}")) == ""
    assert cross_site_reason(received(host=host, origin="")) == ""


@pytest.mark.parametrize("host", FOREIGN)
def test_any_other_name_is_not_this_machine(host: str) -> None:
    reason = f"the host {host!r} is not this machine: set a password (--password) to serve it under other names"
    assert cross_site_reason(received(host=host)) == reason
    assert cross_site_reason(received(host=host, origin=f"http://{host}")) == reason


@pytest.mark.parametrize(
    ("origin", "why"),
    [
        ("null", "pages without an origin may not call this server: set a password (--password) to allow it"),
        ("http://evil.example", "pages of 'http://evil.example' may not call this server: set a password"),
        ("http://localhost:80001", "pages of 'http://localhost:80001' may not call"),
        ("http://localhost:800", "pages of 'http://localhost:800' may not call"),
        ("localhost:8000", "pages of 'localhost:8000' may not call"),
    ],
)
def test_a_page_of_another_origin_is_refused_with_its_name(origin: str, why: str) -> None:
    assert cross_site_reason(received(host="localhost:8000", origin=origin)).startswith(why)


def test_a_long_host_and_a_long_origin_are_shortened() -> None:
    for headers in ({"host": "x" * 1000}, {"host": "localhost", "origin": "x" * 1000}):
        reason = cross_site_reason(received(**headers))
        assert "x" * 90 in reason
        assert "x" * 101 not in reason


PROTECTED = ServerConfig({"a": Acytoo("http://127.0.0.1:9")}, Secret("sesame"))
OPEN = ServerConfig({"a": Acytoo("http://127.0.0.1:9")})
PREFLIGHT = {"origin": "http://a", "access-control-request-method": "POST"}


@pytest.mark.parametrize(
    ("method", "headers", "config", "expected"),
    [
        ("OPTIONS", PREFLIGHT, PROTECTED, True),
        ("OPTIONS", PREFLIGHT | {"x": "y"}, PROTECTED, True),
        ("OPTIONS", PREFLIGHT, OPEN, False),
        ("POST", PREFLIGHT, PROTECTED, False),
        ("OPTIONS", {"origin": "http://a"}, PROTECTED, False),
        ("OPTIONS", {"access-control-request-method": "POST"}, PROTECTED, False),
    ],
    ids=range(6),
)
def test_a_preflight_has_an_origin_and_the_method_that_will_follow(
    method: str, headers: dict[str, str], config: ServerConfig, expected: bool
) -> None:
    assert is_preflight(received(method, **headers), config) is expected


@pytest.mark.parametrize(("asked", "allowed"), [("x-a", "x-a"), ("x-\u00e9", None), ("", None), (None, None)])
def test_a_preflight_allows_the_headers_that_it_asks_for(asked: str | None, allowed: str | None) -> None:
    headers = {} if asked is None else {"access-control-request-headers": asked}
    answer = preflight_response(received("OPTIONS", **headers))
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers == {
        "access-control-allow-methods": "GET, POST",
        "access-control-max-age": "86400",
        **({"access-control-allow-headers": allowed} if allowed else {}),
    }
    assert cors_headers(received(), PROTECTED) == cors_headers(received(origin="a"), OPEN) == {}
    assert cors_headers(received(origin="a"), PROTECTED) == {
        "access-control-allow-origin": "*",
        "access-control-expose-headers": "*",
    }
