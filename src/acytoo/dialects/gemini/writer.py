"""Gemini's replies as they are sent: streamed as events or as an array, and the errors.

Source: Google's Gemini API reference (`GenerateContentResponse`), and what its makers' clients do with an error in
mid-stream, with a comment, and with a blank line (`google-genai`, `@google/genai`, `google.golang.org/genai`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.base import Writer
from acytoo.dialects.error_bodies import error_fields, whole_seconds
from acytoo.dialects.gemini.parts import FILTERED, call_part, signature_of_block, text_part
from acytoo.dialects.server_side import new_id
from acytoo.dialects.tool_calls import arguments_object
from acytoo.errors import AcytooError
from acytoo.types import (
    Event,
    Finish,
    Item,
    Logprobs,
    Reasoning,
    Refusal,
    Start,
    ToolCall,
    ToolCallDict,
    Usage,
    collect,
    signature_of,
)
from acytoo.wire.escapes import without_line_ends
from acytoo.wire.sse import sse

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def error_document(error: AcytooError) -> dict[str, Any]:
    """`{"error": {"code", "message", "status", "details"}}`; how long to wait is among the details."""
    status, message, code, _ = error_fields(error)
    own = code if code in _STATUSES.values() or code == "FAILED_PRECONDITION" else _STATUSES.get(status, "UNKNOWN")
    told: dict[str, Any] = {"code": status, "message": message, "status": own}
    wait = whole_seconds(error)
    if wait is not None:
        told["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"}]
    return {"error": told}


def usage_fields(usage: Usage) -> dict[str, int]:
    fields = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": max(0, usage.output_tokens - usage.reasoning_tokens),
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens:
        fields["cachedContentTokenCount"] = usage.cached_tokens
    if usage.reasoning_tokens:
        fields["thoughtsTokenCount"] = usage.reasoning_tokens
    return fields


def logprobs_result(tokens: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "chosenCandidates": [_candidate(token) for token in tokens],
        "topCandidates": [
            {"candidates": [_candidate(other) for other in token.get("top_logprobs") or ()]} for token in tokens
        ],
    }


def _candidate(token: dict[str, Any]) -> dict[str, Any]:
    return {"token": token.get("token", ""), "logProbability": token.get("logprob", 0.0)}


def last_parts(calls: list[ToolCallDict], finish: Finish | None) -> tuple[list[dict[str, Any]], str]:
    """The (parts of the calls, finishReason); a call whose arguments are not JSON is left out, the reason says so."""
    parts = []
    reason = _finish_reason(finish)
    for call in calls:
        arguments = arguments_object(call["function"]["arguments"])
        if arguments is not None:
            signed = signature_of(call)
            named = call if call["id"] else {**call, "id": new_id("call_")}
            parts.append(call_part(named, arguments, signed[0] if signed else ""))
        elif reason != "MAX_TOKENS":
            reason = "MALFORMED_FUNCTION_CALL"
    return parts, reason


def _finish_reason(finish: Finish | None) -> str:
    if finish is None or finish.reason in ("stop", "tool_calls"):
        return "STOP"
    if finish.reason == "length":
        return "MAX_TOKENS"
    if finish.reason == "content_filter":
        return finish.raw if finish.raw in FILTERED else "SAFETY"
    return finish.raw if finish.raw in _OTHER_REASONS else "OTHER"


_OTHER_REASONS = frozenset(
    {
        *("OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "NO_IMAGE"),
        *("IMAGE_OTHER", "MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE", "CONTINUATION", "PUP_LIMITED_DISABLED"),
    }
)


class StreamWriter(Writer):
    """Responses as events; the frame of a text is rendered once. Calls are said whole, in the last event."""

    ping = b"\n\n"
    """Blank lines: the makers' clients break at a comment."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = new_id("")
        self._calls: list[Item] = []
        self._thoughts: set[int] = set()
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._frame()

    def _frame(self) -> None:
        identity = msgspec.json.encode({"modelVersion": self._model, "responseId": self._id})
        self._before = b'data: {"candidates":[{"content":{"parts":[{"text":'
        self._tail = b"," + identity[1:] + b"\n\n"
        self._after = b'}],"role":"model"},"index":0}]' + self._tail

    def write(self, items: list[Item]) -> bytes:
        """Every item as an event of its own, but for what belongs to the last one."""
        out: list[bytes] = []
        encode, before, after = msgspec.json.encode, self._before, self._after
        for item in items:
            if type(item) is str:
                out += (before, encode(item), after)
            elif isinstance(item, Start):
                self._id, self._model = item.id or self._id, item.model or self._model
                self._frame()
                after = self._after
            elif isinstance(item, Event):
                out.append(self._event(item))
        return without_line_ends(b"".join(out))

    def end(self) -> bytes:
        """The calls, the finish reason and the usage."""
        parts, reason = last_parts(collect(self._calls).tool_calls, self._finish)
        content = {"parts": parts or [text_part("")], "role": "model"}
        fields = {"usageMetadata": usage_fields(self._usage)} if self._usage else {}
        return without_line_ends(self._response({"content": content, "finishReason": reason, "index": 0}, fields))

    def fail(self, error: AcytooError) -> bytes:
        """The error as an event, and once more as plain JSON: each is what one of the makers' clients raises.

        Source: `google-genai` (Python) raises for either, `@google/genai` and `google.golang.org/genai` for plain JSON.
        """
        body = without_line_ends(msgspec.json.encode(error_document(error)))
        return sse(body) + body + b"\n"

    def _response(self, candidate: dict[str, Any], fields: dict[str, Any] | None = None) -> bytes:
        return b"data: " + msgspec.json.encode({"candidates": [candidate], **(fields or {})})[:-1] + self._tail

    def _part(self, part: dict[str, Any]) -> bytes:
        return self._response({"content": {"parts": [part], "role": "model"}, "index": 0})

    def _event(self, item: Event) -> bytes:
        if isinstance(item, ToolCall):
            self._calls.append(item)
        elif isinstance(item, Reasoning):
            signature = signature_of_block({"signature": item.signature, "source": item.source})
            if item.text:
                self._thoughts.add(item.index)
            if item.text or signature:
                return self._part(text_part(item.text, signature, thought=item.index in self._thoughts))
        elif isinstance(item, Refusal):
            return self._part(text_part(item.text))
        elif isinstance(item, Logprobs):
            return self._response({"index": 0, "logprobsResult": logprobs_result(item.tokens)})
        elif isinstance(item, Finish):
            self._finish = item
        elif isinstance(item, Usage):
            self._usage = item
        return b""


class ArrayWriter(Writer):
    """The same responses as the elements of one JSON array, which is all that clients without `alt=sse` know."""

    content_type = "application/json"
    framing = "text"  # an array is no sequence of records
    ping = b"\n"

    def __init__(self, model: str) -> None:
        self._events = StreamWriter(model)
        self._before = b"["

    def write(self, items: list[Item]) -> bytes:
        """Every item as an element of its own."""
        return self._elements(self._events.write(items))

    def end(self) -> bytes:
        """The last element."""
        return self._elements(self._events.end()) + b"]"

    def fail(self, error: AcytooError) -> bytes:
        """The error as the last element."""
        return self._elements(sse(msgspec.json.encode(error_document(error)))) + b"]"

    def _elements(self, events: bytes) -> bytes:
        out: list[bytes] = []
        for event in events.split(b"\n\n")[:-1]:
            out += (self._before, event[6:])
            self._before = b",\r\n"
        return b"".join(out)
