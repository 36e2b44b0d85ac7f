"""What every dialect's server half needs: a request from a body, and an error's status and words."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec

from acytoo.dialects.base import invalid
from acytoo.errors import (
    AcytooError,
    ProxyError,
    RedirectError,
    ReplyError,
    StatusError,
    TimedOutError,
    UnreachableError,
    UsageError,
)
from acytoo.http import ServerRequest
from acytoo.messages import check_options, checked
from acytoo.secret import Secret
from acytoo.types import OPTIONS, Request

_FIELDS = OPTIONS | {"model", "messages", "stream"}


def request_of(body: dict[str, Any], dialect: str) -> Request:
    """The request in a body that has the shared shape's names; the other fields become its `extra`.

    Raises RequestError (400) for a wrong type or malformed messages, saying where.
    """
    known = {name: value for name, value in body.items() if name in _FIELDS and value is not None}
    extra = {name: value for name, value in body.items() if name not in _FIELDS}
    if isinstance(known.get("stop"), str):
        known["stop"] = [known["stop"]]
    messages = known.pop("messages", None)
    if messages is None:
        raise invalid("messages is missing")
    try:
        known["messages"] = checked(messages)
        request = msgspec.convert({**known, "extra": extra, "extra_for": dialect}, Request)
        check_options(request)
        return request
    except UsageError as error:
        raise invalid(str(error)) from error
    except msgspec.ValidationError as error:
        raise invalid(f"the request is not what this endpoint takes: {error}") from error


def error_fields(error: AcytooError) -> tuple[int, str, str, dict[str, str]]:
    """The (status, message, code, headers) a server answers an error with: its status says whose fault it was."""
    headers: dict[str, str] = {}
    code = ""
    if isinstance(error, StatusError):
        status = error.status if error.status and error.status >= 400 else 502
        code = error.code
        wait = whole_seconds(error)
        if wait is not None:
            headers["retry-after"] = str(wait)
    elif isinstance(error, UsageError):
        status = 400
    elif isinstance(error, TimedOutError):
        status = 504
    elif isinstance(error, (UnreachableError, ProxyError, RedirectError, ReplyError)):
        status = 502
    else:
        status = 500
    return status, error.message, code or _CODES.get(status, "server_error"), headers


def openai_error(error: AcytooError) -> dict[str, Any]:
    """The error as OpenAI's APIs tell it: `{"message", "type", "param", "code"}`, in the server's own words."""
    _, message, code, _ = error_fields(error)
    told = error if isinstance(error, StatusError) else StatusError(message)
    return {"message": message, "type": told.type or code, "param": told.param or None, "code": code}


_CODES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    502: "upstream_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def whole_seconds(error: AcytooError) -> int | None:
    """How long to wait, rounded up to what `Retry-After` can say; None where the error does not tell."""
    wait = getattr(error, "retry_after", None)
    return math.ceil(wait) if wait is not None and math.isfinite(wait) else None


def new_id(prefix: str) -> str:
    """A fresh identifier, 24 random hexadecimal digits after the prefix."""
    return prefix + random.randbytes(12).hex()


def bearer_secrets(incoming: ServerRequest) -> list[Secret]:
    """The secrets in a request's headers: a bearer token, or the key headers of the other APIs' clients."""
    found = []
    scheme, _, token = incoming.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        found.append(Secret(token.strip()))
    found += [
        Secret(incoming.headers[name])
        for name in ("x-api-key", "api-key", "x-goog-api-key")
        if name in incoming.headers
    ]
    return found


def keyed_secrets(incoming: ServerRequest) -> list[Secret]:
    """The secrets in a request's headers, and the key that Gemini's clients may put into the query."""
    key = incoming.query.get("key")
    return bearer_secrets(incoming) + ([Secret(key)] if key else [])
