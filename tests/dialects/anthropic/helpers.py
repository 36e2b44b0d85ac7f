"""Helpers for the tests of Anthropic's API: events, requests and Hypothesis strategies."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import strategies as st

from acytoo.dialects.anthropic import Anthropic
from acytoo.dialects.base import Unsupported
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.secret import Secret
from acytoo.types import Item, Reasoning, Request, ToolCall

DIALECT = Anthropic()
STREAM = ResponseHead(200, {"content-type": "text/event-stream; charset=utf-8"})
DOCUMENT = ResponseHead(200, {"content-type": "application/json"})
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def events(*documents: dict[str, Any]) -> bytes:
    """Return server-sent events named by their types."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (d["type"].encode(), json.dumps(d).encode()) for d in documents)


def start(**usage: Any) -> dict[str, Any]:
    """Return a `message_start` with this usage."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-opus-4-7"}
    return {"type": "message_start", "message": message | {"stop_reason": None, "usage": usage}}


def block(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": content}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def end(reason: str, sequence: str | None = None, details: Any = None, **usage: int) -> list[Any]:
    """Return the two events that end a message: `message_delta` with this stop reason, and `message_stop`."""
    change = {"stop_reason": reason, "stop_sequence": sequence, "stop_details": details}
    return [{"type": "message_delta", "delta": change, "usage": usage}, {"type": "message_stop"}]


def read(body: bytes, sizes: list[int] | None = None, head: ResponseHead = STREAM) -> list[Item]:
    """Return the items of a body, fed in chunks of these sizes in turn. Raises if the reply is not complete."""
    reader = DIALECT.reader(head)
    items: list[Item] = []
    start = turn = 0
    while start < len(body):
        size = sizes[turn % len(sizes)] if sizes else len(body)
        items += reader.feed(body[start : start + size])
        start, turn = start + size, turn + 1
    items += reader.flush()
    reader.close()
    return items


def join_pieces(items: list[Item]) -> list[Item]:
    """Return the items with consecutive pieces of one text, block or call joined."""
    joined: list[Item] = []
    for item in items:
        last = joined[-1] if joined else None
        if isinstance(item, str) and isinstance(last, str):
            joined[-1] = last + item
        elif isinstance(item, Reasoning) and isinstance(last, Reasoning) and item.index == last.index:
            joined[-1] = msgspec.structs.replace(
                last,
                text=last.text + item.text,
                signature=last.signature or item.signature,
                source=last.source or item.source,
            )
        elif isinstance(item, ToolCall) and isinstance(last, ToolCall) and item.index == last.index:
            joined[-1] = msgspec.structs.replace(last, arguments=last.arguments + item.arguments)
        else:
            joined.append(item)
    return joined


def write(items: list[Item], request: Request | None = None) -> bytes:
    """Return a complete streamed reply, written item by item."""
    writer = DIALECT.writer(request or Request(HELLO, "claude"))
    return b"".join([writer.write([item]) for item in items]) + writer.end()


def documents(body: bytes) -> list[Any]:
    """Return the data of each event of a stream, whose name must be its type."""
    decoded = []
    for record in body.decode().strip().split("\n\n"):
        name, data = record.split("\n")
        document = json.loads(data.removeprefix("data: "))
        assert name == f"event: {document['type']}"
        decoded.append(document)
    return decoded


def encode(request: Request, dialect: Anthropic = DIALECT, drop: bool = False, url: str = "https://api.x") -> Any:
    """Return the body that a client sends for a request. `drop` leaves out what the API cannot express."""
    http_request = dialect.encode_request(request, Endpoint(url, Secret("sk-1")), Unsupported("anthropic", drop=drop))
    return json.loads(http_request.body)


def decode(body: dict[str, Any], **headers: str) -> Request:
    """Return the request that a server reads from a body."""
    return DIALECT.decode_request(ServerRequest("/v1/messages", headers, json.dumps(body).encode())).request


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
counts = st.integers(0, 10**6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
