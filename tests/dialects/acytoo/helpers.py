"""Helpers for the tests of the Acytoo protocol."""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects import Acytoo
from acytoo.dialects.base import ParsedRequest, Unsupported
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.types import Item, Request

DIALECT = Acytoo()
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
PLAIN = {"content-type": "text/plain; charset=utf-8"}
JSON_UTF16 = {"content-type": "application/json; charset=utf-16"}
BOM = b"\xef\xbb\xbf"


def read(chunks: list[bytes], head: dict[str, str] = PLAIN) -> list[Item]:
    """Return the items of a response body. Raises if the reply is not complete."""
    reader = DIALECT.reader(ResponseHead(200, head))
    items = [item for chunk in chunks for item in reader.feed(chunk)] + reader.flush()
    reader.close()
    return items


def encode(request: Request, dialect: Acytoo = DIALECT, drop: bool = False) -> dict[str, Any]:
    """Return the body that a client sends for a request. `drop` leaves out what the protocol cannot express."""
    http_request = dialect.encode_request(request, Endpoint("http://h"), Unsupported("acytoo", drop=drop))
    body: dict[str, Any] = msgspec.json.decode(http_request.body)
    return body


def decode(body: object) -> ParsedRequest:
    """Return the request that a server reads from a body, with its secrets."""
    return DIALECT.decode_request(ServerRequest("/api/completions", {}, msgspec.json.encode(body)))
