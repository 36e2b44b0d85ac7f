"""A server's answer says whose fault it was, and a body becomes a request or a clear refusal."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.dialects.error_bodies import describe_error
from acytoo.dialects.server_side import new_id, request_from_body
from acytoo.errors import (
    AcytooError,
    EmbeddedError,
    MissingExtraError,
    ProtocolError,
    ProxyError,
    RedirectError,
    RequestError,
    TimedOutError,
    TLSError,
    TruncatedError,
    UnreachableError,
    UnsupportedError,
    UsageError,
    status_error,
)
from acytoo.types import Request

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (status_error(400, "x"), 400, "invalid_request_error"),
        (status_error(401, "x"), 401, "authentication_error"),
        (status_error(403, "x"), 403, "permission_error"),
        (status_error(404, "x"), 404, "not_found_error"),
        (status_error(413, "x"), 413, "request_too_large"),
        (status_error(422, "x"), 422, "invalid_request_error"),
        (status_error(429, "x"), 429, "rate_limit_error"),
        (status_error(429, "x", code="their_word"), 429, "their_word"),
        (status_error(500, "x"), 500, "server_error"),
        (status_error(503, "x"), 503, "overloaded_error"),
        (status_error(418, "x"), 418, "server_error"),
        (status_error(None, "x"), 502, "upstream_error"),
        (status_error(302, "x"), 502, "upstream_error"),
        (UsageError("x"), 400, "invalid_request_error"),
        (UnsupportedError("tools", "acytoo"), 400, "invalid_request_error"),
        (TimedOutError("idle", 5), 504, "timeout_error"),
        (UnreachableError("x"), 502, "upstream_error"),
        (TLSError("x"), 502, "upstream_error"),
        (ProxyError("x"), 502, "upstream_error"),
        (RedirectError("x"), 502, "upstream_error"),
        (TruncatedError("x"), 502, "upstream_error"),
        (ProtocolError("x"), 502, "upstream_error"),
        (EmbeddedError("x"), 500, "server_error"),
        (MissingExtraError("x", "local"), 500, "server_error"),
        (AcytooError("x"), 500, "server_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_the_status_says_whose_fault_it_was(error: AcytooError, status: int, code: str) -> None:
    assert describe_error(error)[::2] == (status, code)
    assert describe_error(error)[1] == error.message


@pytest.mark.parametrize(
    ("seconds", "header"),
    [(2, "2"), (0.5, "1"), (1234567.0, "1234567"), (float("inf"), None), (0, "0"), (3600.0, "3600"), (None, None)],
)
def test_the_time_to_wait_is_passed_on(seconds: float | None, header: str | None) -> None:
    assert describe_error(status_error(429, "x", retry_after=seconds))[3].get("retry-after") == header


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        ({"messages": HELLO}, Request(HELLO, extra_for="d")),
        ({"messages": HELLO, "model": "m", "stream": False}, Request(HELLO, "m", stream=False, extra_for="d")),
        ({"messages": HELLO, "stop": "x"}, Request(HELLO, stop=["x"], extra_for="d")),
        ({"messages": HELLO, "seed": None, "top_k": 5}, Request(HELLO, top_k=5, extra_for="d")),
        ({"messages": HELLO, "odd": None}, Request(HELLO, extra={"odd": None}, extra_for="d")),
        (
            {"messages": HELLO, "extra": 5, "extra_for": 6},
            Request(HELLO, extra={"extra": 5, "extra_for": 6}, extra_for="d"),
        ),
    ],
)
def test_a_body_becomes_this_request(body: dict[str, Any], request_: Request) -> None:
    assert request_from_body(body, "d") == request_


def test_the_body_is_left_as_it_was() -> None:
    body = {"messages": HELLO, "stop": "x", "odd": 1}
    request_from_body(body, "d")
    assert body == {"messages": HELLO, "stop": "x", "odd": 1}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "messages is missing"),
        ({"messages": 5}, "messages must be a list"),
        ({"messages": HELLO, "max_tokens": "5"}, r"\$\.max_tokens"),
        ({"messages": HELLO, "tools": [5]}, r"\$\.tools\[0\]"),
    ],
)
def test_a_malformed_body_is_refused_naming_the_place(body: dict[str, Any], place: str) -> None:
    with pytest.raises(RequestError, match=place) as caught:
        request_from_body(body, "d")
    assert caught.value.status == 400


def test_identifiers_are_fresh_and_named() -> None:
    ids = {new_id("call_") for _ in range(100)}
    assert len(ids) == 100
    assert all(len(i) == 29 and i.startswith("call_") for i in ids)
