"""Shared parts of the server side: requests from bodies, secrets from headers, identifiers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import msgspec

from acytoo.dialects.fields import invalid
from acytoo.errors import UsageError
from acytoo.http import ServerRequest
from acytoo.messages import check_messages, check_options, wrong_type
from acytoo.secret import Secret
from acytoo.types import OPTIONS, Request

_NOT_NULL = ("model", "messages", "stream")
"""Fields for which null is the same as none. For an option, `Request` has that itself."""

_FIELDS = OPTIONS.union(_NOT_NULL)


def request_from_body(body: dict[str, Any], dialect: str, names: Mapping[str, str] = {}) -> Request:
    """Decode a body that has the shared shape's field names. All other fields become the request's `extra`.

    `names` are those of the API for fields that an error may name.

    Raises RequestError (400) that names the field of a wrong type or the malformed message.
    """
    extra = {} if body.keys() <= _FIELDS else {name: value for name, value in body.items() if name not in _FIELDS}
    known = {**body, "extra": extra, "extra_for": dialect}
    for name in _NOT_NULL:
        if known.get(name, True) is None:
            del known[name]
    if known.get("reasoning_effort") == "":  # as LibreChat's unset one
        del known["reasoning_effort"]
    if isinstance(stop := known.get("stop"), str):
        known["stop"] = stop = [stop]
    if isinstance(stop, list) and "" in stop:  # no text ends before it
        known["stop"] = [text for text in stop if text != ""]
    if "messages" not in known:
        raise invalid("messages is missing")
    try:
        known["messages"] = check_messages(known["messages"])
        request = msgspec.convert(known, Request)
        check_options(request)
        return request
    except UsageError as error:
        raise invalid(str(error)) from error
    except msgspec.ValidationError as error:
        raise invalid(wrong_type(known, names)) from error


def new_id(prefix: str) -> str:
    """Return a new identifier: the prefix and 24 random hexadecimal digits."""
    return prefix + random.getrandbits(96).to_bytes(12).hex()  # as `randbytes`, with one call less


_KEY_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")


def header_secrets(incoming: ServerRequest) -> list[Secret]:
    """Return the secrets in a request's headers: a bearer token and the key headers of all APIs' clients."""
    headers, secrets = incoming.headers, []
    if "authorization" in headers:
        scheme, _, token = headers["authorization"].partition(" ")
        if scheme.lower() == "bearer" and token:
            secrets.append(Secret(token.strip()))
    return secrets + [Secret(headers[name]) for name in _KEY_HEADERS if name in headers]


def secrets_in(incoming: ServerRequest) -> list[Secret]:
    """Return the secrets in a request's headers, and the key that Gemini's clients may put into the query."""
    secrets = header_secrets(incoming)
    if key := incoming.query.get("key"):
        secrets.append(Secret(key))
    return secrets
