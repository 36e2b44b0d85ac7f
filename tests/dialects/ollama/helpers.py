"""Helpers for the tests of Ollama's API: bodies, requests and Hypothesis strategies."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from acytoo.dialects.base import Reader, Unsupported
from acytoo.dialects.ollama import Ollama
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.secret import Secret
from acytoo.types import Item, Request

DIALECT = Ollama()
STREAM = ResponseHead(200, {"content-type": "application/x-ndjson"})
DOCUMENT = ResponseHead(200, {"content-type": "application/json; charset=utf-8"})
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

PNG = "iVBORw0KGgo="
no_deadline = settings(deadline=None)


def lines(*documents: dict[str, Any]) -> bytes:
    """Return the documents as newline-delimited JSON."""
    return b"".join([json.dumps(document, ensure_ascii=False).encode() + b"\n" for document in documents])


def read(data: bytes, sizes: list[int] | None = None, head: ResponseHead = STREAM) -> list[Item]:
    """Return the items of a body, fed in chunks of these sizes in turn. Raises if the reply is not complete."""
    reader = DIALECT.reader(head)
    items = feed(reader, data, sizes or [len(data) or 1])
    reader.close()
    return items


def feed(reader: Reader, data: bytes, sizes: list[int]) -> list[Item]:
    """Feed a body in chunks of these sizes in turn, and return the items."""
    items: list[Item] = []
    start = turn = 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        items += reader.feed(data[start : start + size])
        start, turn = start + size, turn + 1
    return items + reader.flush()


def make_request(messages: list[Any] | None = None, **options: Any) -> Request:
    return Request(messages or HELLO, model="llama3.2", **options)


def encode(request: Request, *, drop: bool = False, key: str = "") -> dict[str, Any]:
    """Return the body that a client sends for a request. `drop` leaves out what the API cannot express."""
    endpoint = Endpoint("http://localhost:11434", Secret(key))
    body: dict[str, Any] = json.loads(DIALECT.encode_request(request, endpoint, Unsupported("ollama", drop=drop)).body)
    return body


def decode(body: Any, headers: dict[str, str] | None = None) -> Request:
    """Return the request that a server reads from a body."""
    return DIALECT.decode_request(ServerRequest("/api/chat", headers or {}, json.dumps(body).encode())).request


def write(items: list[Item]) -> bytes:
    """Return a complete streamed reply."""
    writer = DIALECT.writer(make_request())
    return writer.write(items) + writer.end()


characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts
arguments = st.dictionaries(texts, scalars | st.lists(scalars, max_size=2), max_size=3)
names = st.sampled_from(["role", "content", "function", "name", "arguments", "type", "text", "id", "images"]) | texts

anything: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5)
        | st.lists(anything, max_size=3)
        | st.dictionaries(names, anything, max_size=4)
    )
)
