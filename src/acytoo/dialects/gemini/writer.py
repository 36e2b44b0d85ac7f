"""Gemini's replies as a server sends them: streamed as events or as an array, one document, and errors.

Source: Google's Gemini API reference (`GenerateContentResponse`), and how the official SDKs (`google-genai`,
`@google/genai`, `google.golang.org/genai`) treat an error in mid-stream, a comment and a blank line.
"""

from __future__ import annotations

import msgspec

from acytoo.dialects.base import Writer
from acytoo.dialects.citations import Citation, cited_in
from acytoo.dialects.error_bodies import describe_error, retry_after_seconds
from acytoo.dialects.fields import objects_in
from acytoo.dialects.gemini.parts import (
    FINISH_REASONS,
    OTHER,
    SOURCE,
    SOURCE_FIELDS,
    encode_call,
    encode_text,
    encode_turn,
)
from acytoo.dialects.gemini.reader import STATUSES
from acytoo.dialects.server_side import new_id
from acytoo.dialects.services import api_of, without_hosts
from acytoo.dialects.tool_calls import ArgumentPieces, arguments_object
from acytoo.errors import AcytooError
from acytoo.messages import turn_parts
from acytoo.types import (
    Event,
    Finish,
    Item,
    JSONObject,
    Logprobs,
    OpaquePart,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Start,
    ToolCall,
    ToolCallDict,
    Usage,
    collect,
    signature_of,
)
from acytoo.wire.escapes import escape_line_ends
from acytoo.wire.sse import sse


class StreamWriter(Writer):
    """A writer of one event per item.

    This API has no pieces of calls. So they are collected, and sent before whatever follows them, or in the last event.
    """

    ping = b"\n\n"
    """Blank lines. The usual comment would break the Python SDK: it parses every line that is not blank as JSON."""
    fails_alone = True

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = new_id("")
        self._calls: list[Item] = []  # that have not been sent
        self._arguments: dict[int, ArgumentPieces] = {}  # of those, by their indices
        self._sent: set[int] = set()  # the indices of the others
        self._continued: set[int] = set()  # the calls of which a piece was read since the last check
        self._incomplete: set[int] = set()
        self._thoughts: set[int] = set()
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._cited: list[Citation] = []  # from another API
        self._render_frame()

    def _render_frame(self) -> None:
        """Render what surrounds the text of an event, once for all events."""
        identity = msgspec.json.encode({"modelVersion": self._model, "responseId": self._id})
        self._before = b'data: {"candidates":[{"content":{"parts":[{"text":'
        self._tail = b"," + identity[1:] + b"\n\n"
        self._after = b'}],"role":"model"},"index":0}]' + self._tail

    def write(self, items: list[Item]) -> bytes:
        """Return an event for each item, except for those that `end` writes.

        A text costs one encode and no call: the frame around it is rendered once.
        """
        out: list[bytes] = []
        encode, before, after, calls = msgspec.json.encode, self._before, self._after, self._calls
        for item in items:
            if type(item) is str:
                if calls:
                    out.append(self._complete_calls())
                out += (before, encode(item), after)
            elif isinstance(item, Start):
                self._id, self._model = item.id or self._id, item.model or self._model
                self._render_frame()
                after = self._after
            elif isinstance(item, Event):
                out.append(self._encode_event(item))
        return escape_line_ends(b"".join(out))

    def end(self) -> bytes:
        """Return the last event: the calls, the finish reason and the usage."""
        calls, end = _encode_end(collect(self._calls).tool_calls, self._finish)
        end |= _grounding(self._cited)
        content = {"parts": [call for call in calls if call] or [encode_text("")], "role": "model"}
        fields: JSONObject = {"usageMetadata": _encode_usage(self._usage)} if self._usage else {}
        return escape_line_ends(self._response({"content": content, **end, "index": 0}, fields))

    def fail(self, error: AcytooError) -> bytes:
        """Return the error as plain JSON, not as an event: no official SDK needs one, and two of them ignore it.

        `@google/genai` parses whatever one read returns, so the JSON must arrive alone (`fails_alone`). If it does not,
        the missing blank line makes that SDK report an incomplete stream; with one it would skip the error.

        Source: `processStreamResponse` of `@google/genai`, `_iter_response_stream` of `google-genai` (Python), which
        raises for an event too, and `google.golang.org/genai`.
        """
        return escape_line_ends(msgspec.json.encode(error_document(error))) + b"\n"

    def _response(self, candidate: JSONObject, fields: JSONObject | None = None) -> bytes:
        return b"data: " + msgspec.json.encode({"candidates": [candidate], **(fields or {})})[:-1] + self._tail

    def _part(self, part: JSONObject) -> bytes:
        return self._response({"content": {"parts": [part], "role": "model"}, "index": 0})

    def _complete_calls(self) -> bytes:
        """Return an event with the calls so far, b"" if one of them is not complete."""
        for index in self._continued:
            change = self._incomplete.discard if self._arguments[index].is_complete else self._incomplete.add
            change(index)
        self._continued.clear()
        if self._incomplete:
            return b""
        parts, _ = _encode_end(collect(self._calls).tool_calls, None)
        self._sent |= self._arguments.keys()
        self._calls.clear()
        self._arguments.clear()
        return self._response({"content": {"parts": parts, "role": "model"}, "index": 0})

    def _add_call(self, item: ToolCall) -> None:
        if item.index in self._sent:
            return  # a signature that came too late
        self._calls.append(item)
        self._continued.add(item.index)
        self._arguments.setdefault(item.index, ArgumentPieces()).append(item.arguments)

    def _encode_event(self, item: Event) -> bytes:
        if self._calls and isinstance(item, (Reasoning, OpaquePart)):
            return self._complete_calls() + self._encode_part(item)
        return self._encode_part(item)

    def _encode_part(self, item: Event) -> bytes:
        if isinstance(item, ToolCall):
            self._add_call(item)
        elif isinstance(item, Reasoning):
            signature = item.signature if api_of(item.source) == SOURCE else ""
            if item.text:
                self._thoughts.add(item.index)
            if item.text or signature:
                # A block without any text is the signature of the answer's text, which is not a thought.
                return self._part(encode_text(item.text, signature, thought=item.index in self._thoughts))
        elif isinstance(item, OpaquePart):
            if api_of(item.source) != SOURCE:
                self._cited += self.citations.new_in(item.source, item.fields)
            if api_of(item.source) != SOURCE or item.part:
                return b""
            if item.fields and item.fields.keys() <= SOURCE_FIELDS:
                return self._response({**item.fields, "index": 0})
            return self._part(item.fields)
        elif isinstance(item, Refusal):  # this API has no field for a refusal: it is sent as text
            return self._part(encode_text(item.text))
        elif isinstance(item, Logprobs):
            return self._response({"index": 0, "logprobsResult": _encode_logprobs(item.tokens)})
        elif isinstance(item, Finish):
            self._finish = item
        elif isinstance(item, Usage):
            self._usage = item
        return b""


class ArrayWriter(Writer):
    """A writer of the same responses as elements of one JSON array, for clients that do not send `alt=sse`."""

    content_type = "application/json"
    framing = "text"  # an array is not a sequence of records
    ping = b"\n"

    def __init__(self, model: str) -> None:
        self._events = StreamWriter(model)
        self._before = b"["

    def write(self, items: list[Item]) -> bytes:
        """Return an element for each item, except for those that `end` writes."""
        return self._elements(self._events.write(items))

    def end(self) -> bytes:
        """Return the last element and the end of the array."""
        return self._elements(self._events.end()) + b"]"

    def fail(self, error: AcytooError) -> bytes:
        """Return the error as the last element and the end of the array."""
        return self._elements(sse(msgspec.json.encode(error_document(error)))) + b"]"

    def _elements(self, events: bytes) -> bytes:
        out: list[bytes] = []
        for event in events.split(b"\n\n")[:-1]:
            out += (self._before, event.removeprefix(b"data: "))
            self._before = b",\r\n"
        return b"".join(out)


def reply_document(reply: Reply, request: Request) -> JSONObject:
    """Return a complete reply as one response."""
    calls, end = _encode_end(reply.tool_calls, reply.finish)
    turn, blocks = without_hosts(turn_parts(reply.message)), without_hosts(reply.reasoning)
    turn = [{**part, "text": reply.text} if part["type"] == "content" else part for part in turn]
    parts = encode_turn(turn, blocks, calls.__getitem__)
    if reply.refusal:
        parts.append(encode_text(reply.refusal))
    candidate: JSONObject = {
        "content": {"parts": parts or [encode_text("")], "role": "model"},
        **end,
        "index": 0,
    }
    for part in turn:
        fields = part.get("fields", {}) if part.get("source") == SOURCE else {}
        candidate |= {name: value for name, value in fields.items() if name in SOURCE_FIELDS}
    candidate |= _grounding(cited_in(turn, SOURCE))
    if reply.logprobs:
        candidate["logprobsResult"] = _encode_logprobs(reply.logprobs)
    document: JSONObject = {"candidates": [candidate]}
    if reply.usage:
        document["usageMetadata"] = _encode_usage(reply.usage)
    return document | {"modelVersion": reply.model or request.model, "responseId": reply.id or new_id("")}


def _grounding(citations: list[Citation]) -> JSONObject:
    """Return the field of a candidate with the pages that it is based on, {} if there are none."""
    chunks = [{"web": {"uri": one.url, "title": one.title}} for one in citations]
    return {"groundingMetadata": {"groundingChunks": chunks}} if chunks else {}


def error_document(error: AcytooError) -> JSONObject:
    """Return `{"error": {"code", "message", "status", "details"}}`. The details have the time to wait, if known."""
    status, message, code, _ = describe_error(error)
    # The API also has FAILED_PRECONDITION, for the status 400 that INVALID_ARGUMENT already stands for.
    is_own_code = code in STATUSES.values() or code == "FAILED_PRECONDITION"
    fields: JSONObject = {
        "code": status,
        "message": message,
        "status": code if is_own_code else STATUSES.get(status, "UNKNOWN"),
    }
    seconds = retry_after_seconds(error)
    if seconds is not None:
        fields["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}]
    return {"error": fields}


def _encode_end(calls: list[ToolCallDict], finish: Finish | None) -> tuple[list[JSONObject | None], JSONObject]:
    """Return the (parts of the calls, fields of the candidate with the reason why the reply ended).

    A call whose arguments are not JSON is None, and the reason reports it: `args` can only be an object.
    """
    parts: list[JSONObject | None] = []
    end: JSONObject = {"finishReason": _encode_finish(finish)}
    for call in calls:
        arguments = arguments_object(call["function"]["arguments"])
        if arguments is not None:
            signed = signature_of(call)
            if not call["id"]:
                call = {**call, "id": new_id("call_")}
            parts.append(encode_call(call, arguments, signed[0] if signed else ""))
            continue
        parts.append(None)
        if end["finishReason"] != "MAX_TOKENS":
            message = f"the model's arguments for {call['function']['name']!r} are not a JSON object"
            end = {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": message}
    return parts, end


_DEFAULT_REASONS = {shared: reason for reason, shared in reversed(FINISH_REASONS.items())} | {"tool_calls": "STOP"}
"""The finish reason for each of the shared shape's."""


def _encode_finish(finish: Finish | None) -> str:
    """Return the finish reason: this API's own if the reply came with one, else the nearest."""
    if finish is None:
        return "STOP"
    if finish.reason in _DEFAULT_REASONS:
        return finish.raw if FINISH_REASONS.get(finish.raw) == finish.reason else _DEFAULT_REASONS[finish.reason]
    return finish.raw if finish.raw in OTHER else "OTHER"


def _encode_usage(usage: Usage) -> dict[str, int]:
    """Return `usageMetadata`. Unlike in the shared shape, `candidatesTokenCount` does not include thoughts."""
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


def _encode_logprobs(tokens: list[JSONObject]) -> JSONObject:
    return {
        "chosenCandidates": [_encode_token(token) for token in tokens],
        "topCandidates": [
            {"candidates": [_encode_token(other) for other in objects_in(token.get("top_logprobs"))]}
            for token in tokens
        ],
    }


def _encode_token(token: JSONObject) -> JSONObject:
    return {"token": token.get("token", ""), "logProbability": token.get("logprob", 0.0)}
