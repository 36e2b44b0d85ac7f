"""What every dialect's server half needs: a request from a body, and an error's status and words."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from acytoo.dialects.fields import invalid
from acytoo.errors import (
    UsageError,
)
from acytoo.http import ServerRequest
from acytoo.messages import check_messages, check_options
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
        known["messages"] = check_messages(messages)
        request = msgspec.convert({**known, "extra": extra, "extra_for": dialect}, Request)
        check_options(request)
        return request
    except UsageError as error:
        raise invalid(str(error)) from error
    except msgspec.ValidationError as error:
        raise invalid(f"the request is not what this endpoint takes: {error}") from error


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
