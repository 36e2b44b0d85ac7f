"""Replies of OpenAI's Responses as a server sends them: typed events of a stream, or one document.

The last event of a stream has the complete response, so the writer keeps all that it writes; the document is the same
object.

Source: OpenAI's API reference ("Responses", "Streaming events"), and what its Python SDK's stream helper accepts.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from acytoo.dialects.base import Unsupported, Writer
from acytoo.dialects.error_bodies import describe_error, in_stream, openai_error, retry_after_seconds
from acytoo.dialects.fields import objects_in
from acytoo.dialects.finish import nearest_reason
from acytoo.dialects.openai.writer import encode_citation
from acytoo.dialects.openai_responses.reader import INCOMPLETE_REASONS
from acytoo.dialects.openai_responses.request import NAME, add_extra, encode_instructions, encode_opaque, encode_options
from acytoo.dialects.openai_responses.tools import call_item, complete_call, own_tools
from acytoo.dialects.server_side import new_id
from acytoo.dialects.services import api_of
from acytoo.errors import AcytooError
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
    Usage,
)
from acytoo.wire.sse import COMMENT, sse

_TEXT_DELTA = "response.output_text.delta"

_MAX_ECHO = 256 * 1024
"""Bytes of a field of the request that a response repeats. A stream repeats it three times, for whoever sends it."""

_INCOMPLETE = {reason: raw for raw, reason in INCOMPLETE_REASONS.items()}

_ERROR_CODES = {429: "rate_limit_exceeded", **dict.fromkeys((400, 413, 422), "invalid_prompt")}
"""The codes of a failed response by HTTP status: it has fewer than an `error` event."""

_FAILED_CODES = frozenset(
    {"context_length_exceeded", "insufficient_quota", "rate_limit_exceeded", "server_is_overloaded", "slow_down"}
)
"""Codes of a failed response that keep their name: Codex has a message of its own for each, or waits and retries."""


_CODES_WITH_WAIT = frozenset({"rate_limit_exceeded", "slow_down"})
"""Codes for which Codex waits as long as the message says: "try again in 7s".

Source: `codex-rs/codex-api/src/sse/responses_error.rs` in openai/codex.
"""


class _Part:
    """The open part of an item: its type, its index, and the texts so far."""

    __slots__ = ("annotations", "index", "kind", "logprobs", "pieces")

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        self.pieces: list[str] = []
        self.logprobs: list[JSONObject] = []
        self.annotations: list[JSONObject] = []

    def document(self) -> JSONObject:
        """Return the part as it is in an item."""
        text = "".join(self.pieces)
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        if self.kind == "summary_text":
            return {"type": "summary_text", "text": text}
        return {"type": "output_text", "annotations": self.annotations, "logprobs": self.logprobs, "text": text}


class StreamWriter(Writer):
    """A writer of typed events, which are numbered.

    A message or a reasoning item ends when the next item begins. Tool calls stay open until the end of the reply,
    because the fragments of parallel calls may arrive in any order.
    """

    ping = COMMENT
    keeps_reply = True
    error_ends_reply = True  # `response.failed` is one of the API's ends, and Codex reports it when the body has ended

    def __init__(self, request: Request) -> None:
        self._start = Start(new_id("resp_"), request.model, int(time.time()))
        self._echo = _encode_echo(request)
        self._tools = own_tools(request.extra) if request.extra_for == NAME else {}
        self._number = 0  # of the next event
        self._has_started = False
        self._output: list[JSONObject] = []
        self._is_open = False  # whether a message or a reasoning item is open
        self._current = 0  # the index of that item in `_output`
        self._part: _Part | None = None
        self._block = -1  # the index of the open reasoning block
        self._opaque: dict[str, str] = {}  # the opaque fields of that block
        self._own: JSONObject = {}  # the fields that only this API has of the open item
        self._calls: dict[int, tuple[int, list[str]]] = {}  # the index in `_output`, and the fragments
        self._usage: Usage | None = None
        self._finish = Finish()
        self._before_text = b""

    def write(self, items: list[Item]) -> bytes:
        """Return the events for each item.

        A text costs one encode and no call after the first of its part: the frame around it is rendered once.
        """
        out: list[bytes] = []
        encode = msgspec.json.encode
        for item in items:
            if type(item) is str:
                if self._part is None or self._part.kind != "output_text":
                    self._open_message_part("output_text", out)
                assert self._part is not None
                self._part.pieces.append(item)
                out += (self._before_text, encode(item), b',"logprobs":[],"sequence_number":%d}\n\n' % self._number)
                self._number += 1
            elif isinstance(item, Event):
                self._encode_event(item, out)
        return b"".join(out)

    def end(self) -> bytes:
        """Return the ends of the open items, then the complete response."""
        out: list[bytes] = []
        self._write_start(out)
        response = self.complete_response(out)
        self._write_event(f"response.{response['status']}", out, response=response)
        return b"".join(out)

    def fail(self, error: AcytooError) -> bytes:
        """Return an `error` event, for which the official SDKs raise, then `response.failed`, which others wait for.

        Codex ignores the first, and discards the second if the body is cut after it.
        Source: `codex-rs/codex-api/src/sse/responses.rs` in openai/codex.
        """
        status, fields = describe_error(error)[0], openai_error(error)
        out: list[bytes] = []
        code, message, param = fields["code"], fields["message"], fields["param"]
        self._write_event("error", out, code=code, message=message, param=param, error=fields | in_stream(error))
        failed_code = code if code in _FAILED_CODES else _ERROR_CODES.get(status, "server_error")
        seconds = retry_after_seconds(error)
        if seconds is not None and failed_code in _CODES_WITH_WAIT and "try again in" not in message.lower():
            message = f"{message} Please try again in {seconds}s."
        failed = self._response("failed", error={"code": failed_code, "message": message})
        self._write_event("response.failed", out, response=failed)
        return b"".join(out)

    def complete_response(self, out: list[bytes]) -> JSONObject:
        """Return the complete response. The events that end the open items are appended to `out`."""
        reason = _INCOMPLETE.get(nearest_reason(self._finish, _INCOMPLETE))
        status = "incomplete" if reason else "completed"
        self._close_item(out, status)
        for index, pieces in self._calls.values():
            item = self._output[index]
            item["status"] = status
            for type_, fields in complete_call(item, "".join(pieces)):
                self._write_event(type_, out, item_id=item["id"], output_index=index, **fields)
            self._write_event("response.output_item.done", out, output_index=index, item=item)
        self._calls = {}
        return self._response(status, incomplete_details={"reason": reason} if reason else None)

    def _encode_event(self, item: Event, out: list[bytes]) -> None:
        if isinstance(item, ToolCall):
            self._encode_call(item, out)
        elif isinstance(item, Reasoning):
            self._encode_reasoning(item, out)
        elif isinstance(item, OpaquePart):
            if api_of(item.source) == NAME:
                self._encode_own_part(item, out)
            elif (part := self._part) is not None and part.kind == "output_text":
                cited = self.citations.new_in(item.source, item.fields)
                self._write_annotations([{"type": "url_citation", **encode_citation(one)} for one in cited], part, out)
        elif isinstance(item, Refusal):
            if item.text:
                self._open_message_part("refusal", out)
                self._write_delta("response.refusal.delta", item.text, out)
        elif isinstance(item, Logprobs):
            part = self._part
            if item.tokens and part is not None and part.kind == "output_text":
                part.logprobs += item.tokens
                self._write_delta(_TEXT_DELTA, "", out, logprobs=item.tokens)
        elif isinstance(item, Start):
            if not self._has_started:
                own = self._start
                self._start = Start(item.id or own.id, item.model or own.model, item.created or own.created)
                self._write_start(out)
        elif isinstance(item, Usage):
            self._usage = item
        elif isinstance(item, Finish):
            self._finish = item

    def _write_event(self, type_: str, out: list[bytes], **fields: Any) -> None:
        fields = {"type": type_, **fields, "sequence_number": self._number}
        self._number += 1
        out.append(sse(msgspec.json.encode(fields), type_))

    def _response(self, status: str, **fields: Any) -> JSONObject:
        done = status != "in_progress"
        return {
            "id": self._start.id,
            "object": "response",
            "created_at": self._start.created,
            "completed_at": max(int(time.time()), self._start.created) if status == "completed" else None,
            "status": status,
            "model": self._start.model,
            "error": None,
            "incomplete_details": None,
            "output": self._output if done else [],
            "usage": _encode_usage(self._usage) if done and self._usage else None,
            **self._echo,
            **fields,
        }

    def _write_start(self, out: list[bytes]) -> None:
        if not self._has_started:
            self._has_started = True
            response = self._response("in_progress")
            self._write_event("response.created", out, response=response)
            self._write_event("response.in_progress", out, response=response)

    def _add_item(self, item: JSONObject, out: list[bytes]) -> int:
        """Begin an item, and return its index in the output."""
        self._write_start(out)
        self._output.append(item)
        self._write_event("response.output_item.added", out, output_index=len(self._output) - 1, item=item)
        return len(self._output) - 1

    def _location(self, part: _Part) -> JSONObject:
        """Return the fields that identify a part in its events."""
        field = "summary_index" if part.kind == "summary_text" else "content_index"
        return {"item_id": self._output[self._current]["id"], "output_index": self._current, field: part.index}

    def _write_delta(self, type_: str, text: str, out: list[bytes], **fields: Any) -> None:
        assert self._part is not None
        self._part.pieces.append(text)
        self._write_event(type_, out, **self._location(self._part), delta=text, **fields)

    def _open_message_part(self, kind: str, out: list[bytes]) -> None:
        """Make a part of this type the open one, in the open message or in a new one."""
        if self._part is not None and self._part.kind == kind:
            return
        if not self._is_open or self._output[self._current]["type"] != "message":
            self._close_item(out)
            message = {"type": "message", "id": new_id("msg_"), "status": "in_progress", "role": "assistant"}
            self._current = self._add_item({**message, "content": []}, out)
            self._is_open = True
        self._close_part(out)
        self._part = part = _Part(kind, len(self._output[self._current]["content"]))
        location = self._location(part)
        self._write_event("response.content_part.added", out, **location, part=part.document())
        if kind == "output_text":
            head = msgspec.json.encode({"type": _TEXT_DELTA, **location})
            self._before_text = b"event: %b\ndata: %b" % (_TEXT_DELTA.encode(), head[:-1] + b',"delta":')

    def _encode_reasoning(self, item: Reasoning, out: list[bytes]) -> None:
        if not self._is_open or self._output[self._current]["type"] != "reasoning" or self._block != item.index:
            self._close_item(out)
            own_id = item.id if api_of(item.source) == NAME else ""
            # AI SDK's xAI provider requires the status, which OpenAI's reference has as optional.
            thought = {"type": "reasoning", "id": own_id or new_id("rs_"), "summary": [], "status": "in_progress"}
            self._current = self._add_item(thought, out)
            self._is_open, self._block, self._opaque = True, item.index, {}
        for field in ("signature", "data", "id", "source"):
            if value := getattr(item, field):
                self._opaque[field] = value
        if item.text:
            if self._part is None:
                self._part = part = _Part("summary_text", 0)
                self._write_event(
                    "response.reasoning_summary_part.added", out, **self._location(part), part=part.document()
                )
            self._write_delta("response.reasoning_summary_text.delta", item.text, out)

    def _encode_own_part(self, item: OpaquePart, out: list[bytes]) -> None:
        """Write an item that only this API has, or add to the open item or a call what only this API has of it."""
        own = {name: value for name, value in item.fields.items() if name != "id"}  # the first event has sent one
        kind = self._output[self._current]["type"] if self._is_open else ""
        if item.part == "tool_call":
            if item.index in self._calls:
                call = self._output[self._calls[item.index][0]]
                if call["type"] == own.get("type"):
                    call |= {name: value for name, value in own.items() if name not in call}
        elif item.part == "reasoning":
            if kind == "reasoning" and self._block == item.index:
                self._own = own
        elif item.part == "text" and kind == "message":
            self._own = own
            part, parts = self._part, objects_in(own.get("content"))
            if part is not None and part.index < len(parts):
                self._write_annotations(objects_in(parts[part.index].get("annotations")), part, out)
            self._close_item(out)
        elif item.fields:
            self._close_item(out)
            index = self._add_item(item.fields, out)
            self._write_event("response.output_item.done", out, output_index=index, item=item.fields)

    def _write_annotations(self, annotations: list[JSONObject], part: _Part, out: list[bytes]) -> None:
        """Add annotations to the open text."""
        for annotation in annotations:
            fields = self._location(part) | {"annotation_index": len(part.annotations), "annotation": annotation}
            part.annotations.append(annotation)
            self._write_event("response.output_text.annotation.added", out, **fields)

    def _close_part(self, out: list[bytes]) -> None:
        if (part := self._part) is None:
            return
        document, location = part.document(), self._location(part)
        if part.kind == "output_text":
            fields = {"text": document["text"], "logprobs": part.logprobs}
            self._write_event("response.output_text.done", out, **location, **fields)
        elif part.kind == "refusal":
            self._write_event("response.refusal.done", out, **location, refusal=document["refusal"])
        else:
            self._write_event("response.reasoning_summary_text.done", out, **location, text=document["text"])
        subject = "reasoning_summary_part" if part.kind == "summary_text" else "content_part"
        self._write_event(f"response.{subject}.done", out, **location, part=document)
        self._output[self._current]["summary" if part.kind == "summary_text" else "content"].append(document)
        self._part = None

    def _close_item(self, out: list[bytes], status: str = "completed") -> None:
        """End the open message or reasoning item, if there is one."""
        if not self._is_open:
            return
        self._close_part(out)
        item = self._output[self._current]
        item["status"] = status
        if item["type"] != "message" and (encrypted := encode_opaque(self._opaque)):
            item["encrypted_content"] = encrypted
        item |= self._own
        self._own = {}
        self._write_event("response.output_item.done", out, output_index=self._current, item=item)
        self._is_open = False

    def _encode_call(self, item: ToolCall, out: list[bytes]) -> None:
        if item.index not in self._calls:
            self._close_item(out)
            call = call_item(self._tools.get(item.name), item.name, item.id or new_id("call_"))
            self._calls[item.index] = (self._add_item(call, out), [])
        index, pieces = self._calls[item.index]
        if item.arguments:
            pieces.append(item.arguments)
            if self._output[index]["type"] != "function_call":
                return  # the text in the arguments is known at their end
            location = {"item_id": self._output[index]["id"], "output_index": index}
            self._write_event("response.function_call_arguments.delta", out, **location, delta=item.arguments)


def reply_document(reply: Reply, request: Request) -> JSONObject:
    """Return a complete reply as the `response` that a stream of it ends with."""
    writer = StreamWriter(request)
    writer.write(reply.items())
    return writer.complete_response([])


def _encode_echo(request: Request) -> JSONObject:
    """Return the fields of a request that its response repeats."""
    body = encode_options(request, Unsupported(NAME, drop=True))
    add_extra(body, request.extra if request.extra_for == NAME else {})
    body["instructions"] = encode_instructions(request.messages) or None
    if len(msgspec.json.encode(body)) > _MAX_ECHO:
        body = {name: value for name, value in body.items() if len(msgspec.json.encode(value)) <= _MAX_ECHO}
    return {
        "background": False,
        "frequency_penalty": None,  # this and the other one must be there for OpenRouter's SDKs
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "presence_penalty": None,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None, **(body.get("reasoning") or {})},
        "store": False,
        "temperature": body.get("temperature"),
        "text": {"format": {"type": "text"}, **(body.get("text") or {})},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_logprobs": body.get("top_logprobs", 0),
        "top_p": body.get("top_p"),
        "truncation": body.get("truncation", "disabled"),
        "user": body.get("user"),
    }


def _encode_usage(usage: Usage) -> JSONObject:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
