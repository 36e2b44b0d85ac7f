"""What clients see of errors: those about the backend's place are replaced, and the log has them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    MissingExtraError,
    ProtocolError,
    ProxyError,
    RateLimitError,
    RedirectError,
    ReplyTooLargeError,
    ServerError,
    StatusError,
    TimedOutError,
    TLSError,
    TruncatedError,
    UnreachableError,
    UnsupportedError,
    UsageError,
)
from acytoo.server.errors import public_error
from acytoo.server.request import IncomingRequest

CONNECTION: Any = None
REQUEST = IncomingRequest(CONNECTION, "POST", "/v1/%6dodels?key=sk-secret", "1.1", {}, True)


@pytest.mark.parametrize(
    ("error", "message", "kind"),
    [
        (TLSError("secret:81"), "no TLS connection to the backend can be made", TLSError),
        (UnreachableError("secret:81"), "the backend cannot be reached: try again later", UnreachableError),
        (ProxyError("secret:81"), "the backend cannot be reached: try again later", UnreachableError),
        (RedirectError("secret:81", "http://secret:81"), "the backend has moved", RedirectError),
        (ProtocolError("secret:81"), "the backend's response is not in the format of its API", ProtocolError),
        (MissingExtraError("secret:81", "socks"), "the server lacks an optional dependency", ServerError),
    ],
)
def test_an_error_that_names_the_backend_is_replaced_and_logged(
    error: AcytooError, message: str, kind: type[AcytooError], caplog: pytest.LogCaptureFixture
) -> None:
    public = public_error(error, REQUEST)
    assert (public.message, type(public)) == (message, kind)
    assert public is not public_error(error, REQUEST)
    if isinstance(public, StatusError):
        assert public.status == 500
    if isinstance(public, RedirectError):
        assert public.location == ""
    for record in caplog.records:
        assert (record.name, record.levelno) == ("acytoo.server", logging.WARNING)
        assert record.getMessage().startswith("/v1/%6dodels: ")
        assert "secret:81" in record.getMessage()
        assert "sk-secret" not in record.getMessage()
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    "error",
    [
        UsageError("wrong"),
        UnsupportedError("seed", "gemini"),
        TimedOutError("idle", 3),
        AuthenticationError("no", status=401),
        RateLimitError("slow down", status=429),
        ServerError("broken", status=500),
        TruncatedError("cut"),
        ReplyTooLargeError(7),
    ],
)
def test_every_other_error_is_for_the_client(error: AcytooError, caplog: pytest.LogCaptureFixture) -> None:
    assert public_error(error, REQUEST) is error
    assert caplog.records == []
