"""Writes Anthropic's replies: a stream of content blocks, the parts of a whole message, errors."""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.anthropic.reader import REASONS, STATUS
from acytoo.dialects.anthropic.request import SOURCE, Block
from acytoo.dialects.base import Writer
from acytoo.dialects.error_bodies import describe_error
from acytoo.dialects.json import dumps, is_complete_json
from acytoo.dialects.server_side import new_id
from acytoo.dialects.tool_calls import parse_arguments
from acytoo.errors import AcytooError, ProtocolError
from acytoo.types import (
    Event,
    Finish,
    Item,
    Reasoning,
    Refusal,
    Start,
    ToolCall,
    ToolCallDict,
    Usage,
    signature_content,
)
from acytoo.wire.sse import sse

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}

_TYPES = {status: type_ for type_, status in STATUS.items()} | {408: "timeout_error", 503: "overloaded_error"}


def stop_reason_of(finish: Finish | None, refused: bool, called: bool) -> tuple[str, str | None]:
    """The (stop_reason, stop_sequence) of a complete reply; one that ends with calls ends for them.

    OpenAI's API says `stop` where a function was forced, others give no reason at all.
    """
    if refused:
        return "refusal", None
    if finish is None:
        return ("tool_use" if called else "end_turn"), None
    if finish.stop_sequence:
        return "stop_sequence", finish.stop_sequence
    if finish.raw in REASONS:
        return finish.raw, None
    if called and finish.reason == "stop":
        return "tool_use", None
    return _STOP_REASONS.get(finish.reason) or finish.raw or finish.reason, None


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Usage as this API counts: cached tokens are not in `input_tokens`."""
    fields: dict[str, Any] = {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return fields


def error_document(error: AcytooError) -> dict[str, Any]:
    """Return the error as a document and as an event's data. Its type follows from its status."""
    status, message, _, _ = describe_error(error)
    kind = _TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def empty_message(id_: str, model: str) -> dict[str, Any]:
    """The message that a stream starts with; what it counts is told at the end."""
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_fields(Usage()),
    }


def call_block(call: ToolCallDict, finish: Finish | None) -> Block:
    """A whole call; the arguments of one that the token limit cut are left out. Raises as `parse_arguments`."""
    function = call["function"]
    given = parse_arguments(function["name"], function["arguments"], finish) or {}
    block: Block = {"type": "tool_use", "id": call["id"] or new_id("toolu_"), "name": function["name"], "input": given}
    if call.get("extra_content"):
        block["extra_content"] = call["extra_content"]
    return block


def _event(type_: str, **fields: Any) -> bytes:
    return sse(msgspec.json.encode({"type": type_, **fields}), type_)


class _CallBlock(msgspec.Struct):
    """A tool call being written: its block's index, its name, and its arguments so far."""

    index: int
    name: str
    fragments: list[str]
    open: bool = True

    @property
    def whole(self) -> bool:
        """Whether the arguments are complete: another block may follow."""
        if not (self.fragments and self.fragments[-1].rstrip().endswith("}")):
            return False
        return is_complete_json("".join(self.fragments).encode())


_TEXT_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":'
)


class StreamWriter(Writer):
    """Content blocks one after another; the frame of a block's text is rendered once.

    A tool call's block stays open beside others only while its arguments are not whole: servers may mix the
    fragments of parallel calls. Finish and usage wait for the end, where this API says both at once.
    """

    ping = _event("ping")

    def __init__(self, model: str) -> None:
        self._id = new_id("msg_")
        self._model = model
        self._opened = False
        self._next = 0
        self._current = -1
        self._thought = -1
        self._before = b""
        self._calls: dict[int, _CallBlock] = {}
        self._finish: Finish | None = None
        self._usage = Usage()
        self._refused = False

    def write(self, items: list[Item]) -> bytes:
        """Every piece as a delta of its block."""
        out: list[bytes] = []
        encode = msgspec.json.encode
        for item in items:
            if type(item) is str:
                if not self._before:
                    self._open_text(out)
                out += (self._before, encode(item), b"}}\n\n")
            elif isinstance(item, Event):
                self._write_event(item, out)
        return b"".join(out)

    def end(self) -> bytes:
        """`message_delta` with stop reason and usage, then `message_stop`; an error for a call that is not whole."""
        out: list[bytes] = []
        try:
            for call in self._calls.values():
                parse_arguments(call.name, "".join(call.fragments), self._finish)
        except ProtocolError as error:
            return self.fail(error)
        self._opening(out)
        self._close(out, all_calls=True)
        reason, sequence = stop_reason_of(self._finish, self._refused, bool(self._calls))
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        out.append(_event("message_delta", delta=delta, usage=usage_fields(self._usage)))
        out.append(_event("message_stop"))
        return b"".join(out)

    def fail(self, error: AcytooError) -> bytes:
        """An `error` event, which the makers' clients raise; no `message_stop` follows."""
        return sse(dumps(error_document(error), surrogates="replace"), "error")

    def _write_event(self, item: Event, out: list[bytes]) -> None:
        if isinstance(item, Start):
            self._id, self._model = item.id or self._id, item.model or self._model
            self._opening(out)
        elif isinstance(item, ToolCall):
            self._write_call(item, out)
        elif isinstance(item, Reasoning):
            self._write_thought(item, out)
        elif isinstance(item, Refusal):
            self._refused = True
            out.append(self.write([item.text]) if item.text else b"")
        elif isinstance(item, Usage):
            self._usage = item
        elif isinstance(item, Finish):
            self._finish = item
            self._close(out)

    def _opening(self, out: list[bytes]) -> None:
        if not self._opened:
            self._opened = True
            out.append(_event("message_start", message=empty_message(self._id, self._model)))

    def _begin(self, block: Block, out: list[bytes]) -> int:
        self._opening(out)
        self._close(out)
        index, self._next = self._next, self._next + 1
        out.append(_event("content_block_start", index=index, content_block=block))
        return index

    def _close(self, out: list[bytes], all_calls: bool = False) -> None:
        """End the text or thinking block, and every call that is whole."""
        closing = [call for call in self._calls.values() if call.open and (all_calls or call.whole)]
        for call in closing:
            call.open = False
        indexes = [call.index for call in closing]
        if self._current >= 0:
            indexes.append(self._current)
            self._current, self._thought, self._before = -1, -1, b""
        out += [_event("content_block_stop", index=index) for index in sorted(indexes)]

    def _open_text(self, out: list[bytes]) -> None:
        self._current = self._begin({"type": "text", "text": ""}, out)
        self._before = _TEXT_DELTA % self._current

    def _write_thought(self, item: Reasoning, out: list[bytes]) -> None:
        """Text of any source; signatures and redacted blocks only where they are Anthropic's own."""
        own = item.source == SOURCE
        if own and item.data:
            index = self._begin({"type": "redacted_thinking", "data": item.data}, out)
            out.append(_event("content_block_stop", index=index))
            return
        signature = item.signature if own else ""
        if not (item.text or signature):
            return
        if self._thought != item.index:
            self._current = self._begin({"type": "thinking", "thinking": "", "signature": ""}, out)
            self._thought = item.index
        if item.text:
            self._delta(self._current, out, type="thinking_delta", thinking=item.text)
        if signature:
            self._delta(self._current, out, type="signature_delta", signature=signature)

    def _write_call(self, item: ToolCall, out: list[bytes]) -> None:
        call = self._calls.get(item.index)
        if call is None:
            block: Block = {"type": "tool_use", "id": item.id or new_id("toolu_"), "name": item.name, "input": {}}
            if item.signature and item.source == "gemini":
                block["extra_content"] = signature_content(item.signature)
            call = self._calls[item.index] = _CallBlock(self._begin(block, out), item.name, [])
        if item.arguments:
            call.fragments.append(item.arguments)
            self._delta(call.index, out, type="input_json_delta", partial_json=item.arguments)

    def _delta(self, index: int, out: list[bytes], **delta: Any) -> None:
        out.append(_event("content_block_delta", index=index, delta=delta))
