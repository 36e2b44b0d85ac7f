"""Ollama's replies as a server sends them: lines of a stream, or one document.

Source: Ollama's API documentation ("Generate a chat completion", "Streaming", "Errors"). The `ollama` Python package
splits a stream with `str.splitlines`, so no character that it takes for a line end may stand in a line.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec

from acytoo.dialects.base import Writer
from acytoo.dialects.error_bodies import describe_error, in_stream
from acytoo.dialects.finish import nearest_reason
from acytoo.dialects.server_side import new_id
from acytoo.dialects.tool_calls import parse_arguments
from acytoo.errors import AcytooError, ProtocolError
from acytoo.types import (
    Event,
    Finish,
    Item,
    JSONObject,
    Logprobs,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Start,
    ToolCall,
    ToolCallDict,
    Usage,
    collect,
)
from acytoo.wire.escapes import escape_line_ends


class StreamWriter(Writer):
    """A writer of one line per item. Calls are collected and sent in the line before the last."""

    content_type = "application/x-ndjson"
    framing = "ndjson"

    def __init__(self, model: str) -> None:
        self._model = model
        self._created = time.time()
        self._started_ns = time.perf_counter_ns()
        self._first_item_ns: int | None = None
        self._calls: list[Item] = []
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._render_frame()

    def _render_frame(self) -> None:
        """Render what surrounds the text of a line, once for all lines."""
        head = {"model": self._model, "created_at": _encode_time(self._created)}
        self._head = msgspec.json.encode(head)[:-1]
        self._before = self._head + b',"message":{"role":"assistant","content":'
        self._after = b'},"done":false}\n'
        # The official clients decode every line, so a blank line would break them: ping with an empty text.
        self.ping = self._before + b'""' + self._after

    def write(self, items: list[Item]) -> bytes:
        """Return a line for each item, except for those that `end` writes.

        A text costs one encode and no call: the frame around it is rendered once.
        """
        out: list[bytes] = []
        encode, before, after = msgspec.json.encode, self._before, self._after
        if self._first_item_ns is None and items:
            self._first_item_ns = time.perf_counter_ns()
        for item in items:
            if type(item) is str:
                out += (before, encode(item), after)
            elif isinstance(item, Start):
                self._model = item.model or self._model
                self._created = item.created or self._created
                self._render_frame()
                before = self._before
            elif isinstance(item, Event):
                out.append(self._encode_event(item))
        return escape_line_ends(b"".join(out))

    def end(self) -> bytes:
        """Return the calls and the line with `"done": true`, or an error if a call's arguments are not JSON."""
        out = b""
        try:
            calls = _encode_calls(collect(self._calls).tool_calls, self._finish)
        except ProtocolError as error:
            return self.fail(error)
        if calls:
            out = self._line({"role": "assistant", "content": "", "tool_calls": calls}, {"done": False})
        now = time.perf_counter_ns()
        evaluation = max(1, now - (self._first_item_ns or now))
        last = _encode_end(self._finish, self._usage, max(1, now - self._started_ns), evaluation)
        return escape_line_ends(out + self._line({"role": "assistant", "content": ""}, last))

    def fail(self, error: AcytooError) -> bytes:
        """Return `{"error": "…"}`, for which the official clients raise. No line with `done` follows."""
        return escape_line_ends(msgspec.json.encode(error_document(error) | in_stream(error))) + b"\n"

    def _line(self, message: JSONObject, fields: JSONObject) -> bytes:
        rest = msgspec.json.encode({"message": message, **fields})
        return self._head + b"," + rest[1:] + b"\n"

    def _encode_event(self, item: Event) -> bytes:
        if isinstance(item, ToolCall):
            self._calls.append(item)
        elif isinstance(item, Reasoning):
            if item.text:
                message = {"role": "assistant", "content": "", "thinking": item.text}
                return self._line(message, {"done": False})
        elif isinstance(item, Refusal):  # this API has no field for a refusal: it is sent as text
            return self._line({"role": "assistant", "content": item.text}, {"done": False})
        elif isinstance(item, Logprobs):
            return self._line({"role": "assistant", "content": ""}, {"done": False, "logprobs": item.tokens})
        elif isinstance(item, Finish):
            self._finish = item
        elif isinstance(item, Usage):
            self._usage = item
        return b""


class GenerateWriter(StreamWriter):
    """A writer of the lines of `/api/generate`, which have `response` and `thinking` instead of a message."""

    def _render_frame(self) -> None:
        super()._render_frame()
        self._before = self._head + b',"response":'
        self._after = b',"done":false}\n'
        self.ping = self._before + b'""' + self._after

    def _line(self, message: JSONObject, fields: JSONObject) -> bytes:
        rest = msgspec.json.encode(_flat_message(message) | fields)
        return self._head + b"," + rest[1:] + b"\n"


def reply_document(reply: Reply, request: Request) -> JSONObject:
    """Return a complete reply as one document.

    Its durations are measured from `reply.created`, the only time that a collected reply has.
    """
    message: JSONObject = {"role": "assistant", "content": reply.text + reply.refusal}
    thinking = "".join([block.get("text", "") for block in reply.reasoning])
    if thinking:
        message["thinking"] = thinking
    if calls := _encode_calls(reply.tool_calls, reply.finish):
        message["tool_calls"] = calls
    now = time.time()
    duration = max(1, int((now - reply.created) * 1e9)) if reply.created else 1
    document: JSONObject = {
        "model": reply.model or request.model,
        "created_at": _encode_time(reply.created or now),
        "message": message,
    }
    if reply.logprobs:
        document["logprobs"] = reply.logprobs
    return document | _encode_end(reply.finish, reply.usage, duration, duration)


def generate_document(reply: Reply, request: Request) -> JSONObject:
    """Return a complete reply as one document of `/api/generate`."""
    document = reply_document(reply, request)
    return _flat_message(document.pop("message")) | document


def _flat_message(message: JSONObject) -> JSONObject:
    """Return the fields that `/api/generate` has instead of a message."""
    return {"response" if field == "content" else field: value for field, value in message.items() if field != "role"}


def error_document(error: AcytooError) -> JSONObject:
    """Return `{"error": "…"}`."""
    return {"error": describe_error(error)[1]}


_REASONS = frozenset({"stop", "length", "content_filter", "tool_calls", "load", "unload"})
"""Reasons that this API has, and two of the shared shape."""


def _encode_end(finish: Finish | None, usage: Usage | None, total: int, evaluation: int) -> JSONObject:
    """Return the fields that only the last line has; the durations are in nanoseconds."""
    reason = nearest_reason(finish, _REASONS) if finish else "stop"
    counts = {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens} if usage else {}
    return {
        "done": True,
        "done_reason": "stop" if reason == "tool_calls" else reason,
        "total_duration": total,
        "load_duration": 0,
        "prompt_eval_duration": max(1, total - evaluation),
        "eval_duration": evaluation,
        **counts,
    }


def _encode_calls(calls: list[ToolCallDict], finish: Finish | None) -> list[JSONObject]:
    """Return the calls with their arguments as objects, without one that the token limit cut.

    Raises ProtocolError if the arguments of any other call are not JSON.
    """
    encoded: list[JSONObject] = []
    for index, call in enumerate(calls):
        function = call["function"]
        arguments = parse_arguments(function["name"], function["arguments"], finish)
        if arguments is not None:
            fields = {"index": index, "name": function["name"], "arguments": arguments}
            encoded.append({"id": call["id"] or new_id("call_"), "function": fields})
    return encoded


def _encode_time(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339; the present time if they are out of range."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.now(UTC)
    return moment.isoformat().replace("+00:00", "Z")
