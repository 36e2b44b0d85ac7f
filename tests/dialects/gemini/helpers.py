"""Helpers for the tests of Gemini's API: bodies, requests and Hypothesis strategies."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from acytoo.dialects.base import Reader, Unsupported
from acytoo.dialects.gemini import Gemini
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.types import Item, Request

DIALECT = Gemini()
STREAM = ResponseHead(200, {"content-type": "text/event-stream"})
DOCUMENT = ResponseHead(200, {"content-type": "application/json; charset=UTF-8"})
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
CONTENTS: list[Any] = [{"role": "user", "parts": [{"text": "Hello"}]}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "in a city", "parameters": SCHEMA}}
DECLARATION = {"name": "weather", "description": "in a city", "parametersJsonSchema": SCHEMA}
PNG = "iVBORw0KGgo="
no_deadline = settings(deadline=None)


def sse(*documents: dict[str, Any], end: str = "\r\n\r\n") -> bytes:
    """Return server-sent events with the line ends of Google's servers."""
    return b"".join([f"data: {json.dumps(document, ensure_ascii=False)}{end}".encode() for document in documents])


def response(*parts: dict[str, Any], reason: str = "", **fields: Any) -> dict[str, Any]:
    """Return a `GenerateContentResponse` with one candidate."""
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], **fields}


def snake_case(document: Any) -> Any:
    """Return a document with its field names in snake case, except in data of the model and of the caller."""
    if isinstance(document, list):
        return [snake_case(element) for element in document]
    if not isinstance(document, dict):
        return document
    return {
        re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", name): value
        if name in ("args", "response")
        else snake_case(value)
        for name, value in document.items()
    }


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


def make_request(messages: list[Any] | None = None, model: str = "gemini-2.0-flash", **options: Any) -> Request:
    return Request(messages or HELLO, model=model, **options)


def encode(request: Request, *, drop: bool = False) -> dict[str, Any]:
    """Return the body that a client sends for a request. `drop` leaves out what the API cannot express."""
    endpoint = Endpoint("https://generativelanguage.googleapis.com")
    body: dict[str, Any] = json.loads(DIALECT.encode_request(request, endpoint, Unsupported("gemini", drop=drop)).body)
    return body


def decode(body: Any, verb: str = "streamGenerateContent", query: dict[str, str] | None = None) -> Request:
    """Return the request that a server reads from a body."""
    path = f"/v1beta/models/gemini-2.0-flash:{verb}"
    return DIALECT.decode_request(
        ServerRequest(path, {}, json.dumps(body).encode(), {"alt": "sse"} if query is None else query)
    ).request


def write(items: list[Item]) -> bytes:
    """Return a complete streamed reply."""
    writer = DIALECT.writer(make_request())
    return writer.write(items) + writer.end()


characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts
arguments = st.dictionaries(texts, scalars | st.lists(scalars, max_size=2), max_size=3)
signatures = st.sampled_from(["", "c2ln", "RWpRS01nRU0="])

names = (
    st.sampled_from(["content", "parts", "text", "thought", "functionCall", "name", "args", "type", "error"])
    | st.sampled_from(["role", "functionResponse", "inlineData", "mime_type", "data", "details", "index"])
    | texts
)

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


def fields(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), anything, max_size=5)
