"""Shared parts of the server side: requests from bodies, secrets from headers, identifiers."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from acytoo.dialects.fields import invalid
from acytoo.errors import UsageError
from acytoo.http import ServerRequest
from acytoo.messages import check_messages, check_options
from acytoo.secret import Secret
from acytoo.types import OPTIONS, Request

_FIELDS = OPTIONS | {"model", "messages", "stream"}


def request_from_body(body: dict[str, Any], dialect: str) -> Request:
    """Decode a body that has the shared shape's field names. All other fields become the request's `extra`.

    Raises RequestError (400) that names the field of a wrong type or the malformed message.
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
        raise invalid(f"invalid request: {error}") from error


def new_id(prefix: str) -> str:
    """Return a new identifier: the prefix and 24 random hexadecimal digits."""
    return prefix + random.randbytes(12).hex()


def header_secrets(incoming: ServerRequest) -> list[Secret]:
    """Return the secrets in a request's headers: a bearer token and the key headers of all APIs' clients."""
    secrets = []
    scheme, _, token = incoming.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        secrets.append(Secret(token.strip()))
    secrets += [
        Secret(incoming.headers[name])
        for name in ("x-api-key", "api-key", "x-goog-api-key")
        if name in incoming.headers
    ]
    return secrets


def secrets_in(incoming: ServerRequest) -> list[Secret]:
    """Return the secrets in a request's headers, and the key that Gemini's clients may put into the query."""
    key = incoming.query.get("key")
    return header_secrets(incoming) + ([Secret(key)] if key else [])
