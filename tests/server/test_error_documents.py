"""The complete error document of each way in which the server itself refuses a request, in OpenAI's format."""

from __future__ import annotations

import gzip
import json

import pytest

from acytoo.testing import reply
from tests.server.live_server import call, head, live_server, request

KEY = "authorization: Bearer sesame\r\n"
PATH = "/v1/chat/completions"
POST = f"POST {PATH} HTTP/1.1"
GZIP = f"{KEY}content-encoding: gzip\r\n"
LONG = b'{"messages": [{"role": "user", "content": "Hi"}], "model": "%b"}' % (b"m" * 1001)
PASSWORD = "the password or key is missing or wrong"
CORRUPT = "the request body is corrupt: check its content-encoding and its chunks"
TOO_LARGE = "the request body is larger than 2000 bytes"
INVALID = "invalid_request_error"

REFUSALS = {
    "no password": (request(), 401, "authentication_error", PASSWORD),
    "a wrong password": (request(headers="x-api-key: salami\r\n"), 401, "authentication_error", PASSWORD),
    "no such path": (
        head("GET /no HTTP/1.1", KEY), 404, "not_found_error",
        "unknown path '/no': this server answers chats only, and GET /openapi.json lists its paths",
    ),
    "a version twice": (
        head("POST /v1/v1/messages HTTP/1.1", KEY), 404, "not_found_error",
        "unknown path '/v1/v1/messages': end the client's base URL before '/v1', because '/v1/messages' is a path here",
    ),
    "another service's folder": (
        head("POST /compatibility/v2/chat/completions HTTP/1.1", KEY), 404, "not_found_error",
        "unknown path '/compatibility/v2/chat/completions': end the client's base URL before '/compatibility/v2', "
        "because '/chat/completions' is a path here",
    ),
    "the end of another path": (
        head("POST /v1/fim/completions HTTP/1.1", KEY), 404, "not_found_error",
        "unknown path '/v1/fim/completions': this server answers chats only, and GET /openapi.json lists its paths",
    ),
    "a slash at the end": (
        head("POST /v1/responses/ HTTP/1.1", KEY), 404, "not_found_error",
        "unknown path '/v1/responses/': leave out the '/' at its end",
    ),
    "a folder": (
        head("GET /no/ HTTP/1.1", KEY), 404, "not_found_error",
        "unknown path '/no/': this server answers chats only, and GET /openapi.json lists its paths",
    ),
    "batches without a folder": (
        head("POST /v1/batches HTTP/1.1", KEY), 404, "not_found_error",
        "unknown path '/v1/batches': start the server with --files FOLDER (files in [storage] of a config file)",
    ),
    "no such model": (head("GET /v1/models/m-2 HTTP/1.1", KEY), 404, "not_found_error", "unknown model 'm-2'"),
    "a wrong method": (
        head(f"GET {PATH} HTTP/1.1", KEY), 405, "method_not_allowed", f"{PATH} does not allow GET: use POST",
    ),
    "an expectation": (
        head(POST, f"{KEY}expect: cake\r\n"), 417, INVALID, "unknown expectation: only 100-continue is supported",
    ),
    "too large": (head(POST, f"{KEY}content-length: 2001\r\n"), 413, "request_too_large", TOO_LARGE),
    "too large after decompression": (
        request(headers=GZIP, body=gzip.compress(b" " * 2001)), 413, "request_too_large", TOO_LARGE,
    ),
    "an unknown coding": (
        request(headers=f"{KEY}content-encoding: br\r\n", body=b"x"), 400, INVALID,
        "the content-encoding 'br' is unknown: send gzip, deflate, zstd or none",
    ),
    "not gzip": (request(headers=GZIP, body=b"x"), 400, INVALID, CORRUPT),
    "wrong chunks": (head(POST, f"{KEY}transfer-encoding: chunked\r\n") + b"no\r\n", 400, INVALID, CORRUPT),
    "not JSON": (request(headers=KEY, body=b"{"), 400, INVALID, "invalid request body: Input data was truncated"),
    "too deep": (
        request(headers=KEY, body=b"[" * 1500), 400, INVALID, "the request body is nested more than 200 levels deep",
    ),
    "a long model": (
        request(headers=KEY, body=LONG), 400, INVALID, "the model's name has more than 1000 characters",
    ),
    "not HTTP": (b"nonsense\r\n\r\n", 400, INVALID, "invalid HTTP request: Invalid method encountered"),
    "slow": (request(headers=KEY)[:-1], 408, "timeout_error", "the request body did not arrive within 0.2 s"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_has_its_status_kind_and_message(name: str) -> None:
    data, status, kind, message = REFUSALS[name]
    async with live_server(reply("Hi"), password="sesame", max_body=2000, receive=0.2) as server:
        answer = await call(server.port, data)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
        assert json.loads(answer.body) == {"error": {"message": message, "type": kind, "param": None, "code": kind}}
        assert answer.headers.get("allow") == ("POST" if status == 405 else None)
        assert server.fake.requests == []
