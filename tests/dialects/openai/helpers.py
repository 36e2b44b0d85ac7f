"""Helpers for the tests of OpenAI's chat completions: bodies, requests, events."""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects import OpenAI
from acytoo.dialects.base import Unsupported
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.types import Item, Request

DIALECT = OpenAI()
ENDPOINT = Endpoint("http://h/v1")
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def read(body: bytes, content_type: str = "text/event-stream") -> list[Item]:
    """Return the items of a response body. Raises if the reply is not complete."""
    reader = DIALECT.reader(ResponseHead(200, {"content-type": content_type}))
    items = reader.feed(body) + reader.flush()
    reader.close()
    return items


def events(*documents: object) -> bytes:
    """Return server-sent events with this data: a text unchanged, anything else as JSON."""
    return b"".join(b"data: %b\n\n" % (d.encode() if isinstance(d, str) else msgspec.json.encode(d)) for d in documents)


def choice(delta: object, finish: str | None = None, **fields: object) -> dict[str, Any]:
    """Return a chunk with one choice. `fields` are more fields of the choice."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, **fields}]}


def calling(*calls: object) -> dict[str, Any]:
    """Return a chunk with these pieces of calls."""
    return choice({"tool_calls": list(calls)})


STOP = choice({}, "stop")
CALLED = choice({}, "tool_calls")


def encode(request: Request, dialect: OpenAI = DIALECT, endpoint: Endpoint = ENDPOINT) -> dict[str, Any]:
    """Return the body that a client sends for a request."""
    body: dict[str, Any] = msgspec.json.decode(dialect.encode_request(request, endpoint, Unsupported("openai")).body)
    return body


def decode(body: object, headers: dict[str, str] | None = None) -> Request:
    """Return the request that a server reads from a body, given as bytes or as a document."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return DIALECT.decode_request(ServerRequest("/v1/chat/completions", headers or {}, raw)).request
