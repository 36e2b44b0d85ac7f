"""CORS: a browser lets a page of another site send and read only what the server's headers allow."""

from __future__ import annotations

import json

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
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
