"""Helpers for the tests of OpenAI's Responses: events, requests and Hypothesis strategies."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from acytoo.dialects.base import Reader, Unsupported
from acytoo.dialects.openai_responses import OpenAIResponses
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.secret import Secret
from acytoo.types import Finish, Item, Request, Start, Usage

DIALECT = OpenAIResponses()
NAME = "openai-responses"
STREAM_HEAD = ResponseHead(200, {"content-type": "text/event-stream; charset=utf-8"})
DOCUMENT_HEAD = ResponseHead(200, {"content-type": "application/json"})
ENDPOINT = Endpoint("https://api.example/v1", Secret("sk-1"))


def sse(*events: dict[str, Any]) -> bytes:
    """Return the events as server-sent events."""
    return b"".join([f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n".encode() for event in events])


def feed(reader: Reader, data: bytes, size: int = 0) -> list[Item]:
    """Feed a body in chunks of this size (0: in one), and return the items. Raises if the reply is not complete."""
    items: list[Item] = []
    size = size or len(data) or 1
    for start in range(0, len(data), size):
        items += reader.feed(data[start : start + size])
    items += reader.flush()
    reader.close()
    return items


def read(data: bytes, size: int = 0) -> list[Item]:
    """Return the items of a streamed body, fed in chunks of this size."""
    return feed(DIALECT.reader(STREAM_HEAD), data, size)


def make_request(*messages: Any, **options: Any) -> Request:
    return Request([*messages] or [{"role": "user", "content": "Hello"}], model="gpt-x", **options)


def encode(request: Request, *, drop: bool = False) -> dict[str, Any]:
    """Return the body that a client sends for a request. `drop` leaves out what the API cannot express."""
    body: dict[str, Any] = json.loads(DIALECT.encode_request(request, ENDPOINT, Unsupported(NAME, drop=drop)).body)
    return body


def decode(body: dict[str, Any]) -> Request:
    """Return the request that a server reads from a body."""
    return DIALECT.decode_request(ServerRequest("/v1/responses", {}, json.dumps(body).encode())).request


def write(items: list[Item], request: Request | None = None) -> bytes:
    """Return a complete streamed reply to a request."""
    writer = DIALECT.writer(request or make_request())
    return writer.write(items) + writer.end()


def decode_events(data: bytes) -> list[Any]:
    """Return the documents of server-sent events."""
    return [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: ")]


CREATED = {
    "type": "response.created",
    "response": {"id": "resp_1", "object": "response", "created_at": 1741290958, "status": "in_progress",
                 "model": "gpt-4o-2024-08-06", "output": []},
}  # fmt: skip
START = Start("resp_1", "gpt-4o-2024-08-06", 1741290958)
USAGE = {
    "input_tokens": 37,
    "input_tokens_details": {"cached_tokens": 7},
    "output_tokens": 11,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 48,
}


def completed(*output: dict[str, Any], kind: str = "completed", **fields: Any) -> dict[str, Any]:
    """Return the last event of a stream, whose response has this output."""
    response = {**CREATED["response"], "status": kind, "output": list(output), "usage": USAGE, **fields}  # type: ignore[dict-item]
    return {"type": f"response.{kind}", "response": response}


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return a complete message item."""
    return {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": list(parts)}


def text(value: str) -> dict[str, Any]:
    """Return a text part."""
    return {"type": "output_text", "text": value, "annotations": []}


def event(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    """Return an event about the output item with this index."""
    ids = {"item_id": f"item_{index}", "output_index": index}
    return {"type": f"response.{kind}", **ids, **fields}


CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "get_weather"}
END: list[Item] = [Usage(37, 11, 7, 0, 3), Finish("stop")]


FIELDS = [
    "type", "role", "id", "item", "item_id", "output_index", "content_index", "delta", "text", "refusal", "arguments",
    "logprobs", "part", "response", "error", "code", "message", "status", "output", "content", "summary", "call_id",
    "encrypted_content", "usage", "input_tokens", "input_tokens_details", "name", "incomplete_details", "reason",
    "created_at", "model", "input", "instructions", "tools", "tool_choice", "reasoning", "effort", "include",
    "image_url", "background", "top_logprobs", "strict", "format",
]  # fmt: skip
TYPES = [
    "message", "function_call", "reasoning", "function_call_output", "output_text", "input_text", "input_image",
    "input_file", "refusal", "summary_text", "reasoning_text", "function", "allowed_tools", "json_schema", "other",
]  # fmt: skip


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for objects that have a known type, and known fields with any values."""
    fields = st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)
    return st.builds(
        lambda type_, fields: {**fields, **type_}, st.fixed_dictionaries({"type": st.sampled_from(TYPES)}), fields
    )


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "a", "user", "assistant"]),
    lambda inner: st.lists(inner, max_size=3) | objects(inner),
    max_leaves=12,
)


texts = st.text(min_size=1, max_size=8)
