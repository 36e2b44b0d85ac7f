"""Reads Anthropic's replies: a stream of content blocks, or one whole message."""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.anthropic.request import SOURCE
from acytoo.dialects.base import not_this_api
from acytoo.dialects.error_bodies import NO_MESSAGE, error_from_event
from acytoo.dialects.fields import count
from acytoo.dialects.json import UNDECODABLE
from acytoo.dialects.readers import RecordReader, bare_error
from acytoo.dialects.surrogates import replace_lone_escapes
from acytoo.dialects.tool_calls import arguments_text
from acytoo.errors import ProtocolError
from acytoo.types import Finish, Item, Reasoning, Refusal, Start, ToolCall, Usage, signature_of
from acytoo.wire.sse import SSEDecoder


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    input: Any = None
    extra_content: Any = None


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None


class Message(msgspec.Struct, gc=False):
    """A message, whole or as its stream starts."""

    id: str | None = None
    model: str | None = None
    content: list[Any] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: Message | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode

_EVENTS = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    }
)
_BLOCKS = ("text", "thinking", "redacted_thinking", "tool_use")
_DELTAS = ("text_delta", "input_json_delta", "thinking_delta", "signature_delta")


def _unknown(record: bytes) -> bool:
    """Whether a record that does not fit is of an event, block or delta type made after this was written."""
    try:
        document = msgspec.json.decode(replace_lone_escapes(record))
    except UNDECODABLE:
        return False
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        return False
    if document["type"] not in _EVENTS:
        return True
    for field, known in (("content_block", _BLOCKS), ("delta", _DELTAS)):
        inner = document.get(field)
        kind = inner.get("type") if isinstance(inner, dict) else None
        if isinstance(kind, str) and kind not in known:
            return True
    return False


class _Open(msgspec.Struct):
    """A tool call being read: its ordinal, the input its start carried, whether fragments came."""

    ordinal: int
    input: Any
    told: bool = False


class StreamReader(RecordReader):
    """Events of a streamed message; complete with a stop reason, or with `message_stop` where a block had begun."""

    ending = "stop_reason or message_stop after a block"

    def __init__(self, name: str) -> None:
        super().__init__(name, SSEDecoder())
        self._started = False
        self._said = False
        self._done = False
        self._finished = False
        self._usage: dict[str, Any] = {}
        self._calls: dict[int, _Open] = {}
        self._call_count = 0
        self._thoughts: dict[int, int] = {}
        self._thought_count = 0

    @property
    def complete(self) -> bool:
        """A stop reason came, or `message_stop` after a block."""
        return self._finished or (self._done and self._said)

    def whole(self, message: Message) -> list[Item]:
        """The items of a message that is one document."""
        items: list[Item] = []
        self._start(message, items)
        for index, given in enumerate(message.content or ()):
            if isinstance(given, dict) and given.get("type") in _BLOCKS:
                self._open(index, msgspec.convert(given, _Block), items)
                self._close_call(index, items)
        self._usage |= _told_usage(message.usage)
        self._end(message.stop_reason, message.stop_sequence, message.stop_details, items)
        return items

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Add the items of some records; one that is a piece of text, as nearly all are, takes the short way."""
        for record in records:
            try:
                event = _decode(record)
            except UNDECODABLE:
                unusual = self._unusual(record)
                if unusual is None:
                    continue
                event = unusual
            if self._done:
                break
            delta = event.delta
            if delta is None or event.type != "content_block_delta":
                self._event(event, record, items)
            elif delta.type != "text_delta":
                self._delta(event.index, delta, items)
            elif delta.text:
                items.append(delta.text)

    def _unusual(self, record: bytes) -> _Event | None:
        """A record that msgspec refuses: an empty one, one of a type yet unknown, or one with half a character."""
        if self._done or record.strip() in (b"", b"[DONE]"):
            return None
        try:
            return self.decode_unusual(record, _Event)
        except ProtocolError:
            if _unknown(record):
                return None
            raise

    def _event(self, event: _Event, record: bytes, items: list[Item]) -> None:
        delta = event.delta
        if event.error is not None or event.type == "error":
            raise error_from_event(NO_MESSAGE if event.error is None else event.error, STATUS)
        if event.type == "content_block_start" and event.content_block is not None:
            self._open(event.index, event.content_block, items)
        elif event.type == "content_block_stop":
            self._close_call(event.index, items)
        elif event.type == "message_start" and event.message is not None:
            if event.message.content and not self._started:
                # A call that running code makes has no events of its own: the message starts with all of its content.
                try:
                    items += self.whole(event.message)
                except msgspec.ValidationError as invalid:
                    raise not_this_api(self._name, record, str(invalid)) from invalid
            else:
                self._usage |= _told_usage(event.message.usage)
                self._start(event.message, items)
        elif event.type == "message_delta":
            self._usage |= _told_usage(event.usage)
            if delta is not None and delta.stop_reason:
                self._end(delta.stop_reason, delta.stop_sequence, delta.stop_details, items)
        elif event.type == "message_stop":
            self._done = True
        elif not event.type:
            if (error := bare_error(record)) is not None:
                raise error_from_event(error, STATUS)
            raise not_this_api(self._name, record, "an event without type")

    def _start(self, message: Message, items: list[Item]) -> None:
        if not self._started and (message.id or message.model):
            self._started = True
            items.append(Start(message.id or "", message.model or ""))

    def _open(self, index: int, block: _Block, items: list[Item]) -> None:
        self._said = True
        if block.type == "text":
            if block.text:
                items.append(block.text)
        elif block.type == "tool_use":
            call = self._calls[index] = _Open(self._call_count, block.input)
            self._call_count += 1
            extra = block.extra_content
            signed = (signature_of({"extra_content": extra}) if isinstance(extra, dict) else None) or ("", "")
            items.append(ToolCall(call.ordinal, block.id or "", block.name or "", "", *signed))
        elif block.type in ("thinking", "redacted_thinking"):
            ordinal = self._thoughts[index] = self._thought_count
            self._thought_count += 1
            if block.thinking:
                items.append(Reasoning(block.thinking, ordinal))
            if block.signature or block.data:
                items.append(
                    Reasoning("", ordinal, signature=block.signature or "", data=block.data or "", source=SOURCE)
                )

    def _delta(self, index: int, delta: _Delta, items: list[Item]) -> None:
        if delta.type == "input_json_delta":
            call = self._calls.get(index)
            if call is not None and delta.partial_json:
                call.told = True
                items.append(ToolCall(call.ordinal, arguments=delta.partial_json))
            return
        ordinal = self._thoughts.get(index)
        if ordinal is None:
            return
        if delta.type == "thinking_delta" and delta.thinking:
            items.append(Reasoning(delta.thinking, ordinal))
        elif delta.type == "signature_delta" and delta.signature:
            items.append(Reasoning("", ordinal, signature=delta.signature, source=SOURCE))

    def _close_call(self, index: int, items: list[Item]) -> None:
        """The arguments of a call that streamed none: those its start carried, or an empty object."""
        call = self._calls.pop(index, None)
        if call is not None and not call.told:
            items.append(ToolCall(call.ordinal, arguments=arguments_text(call.input)))

    def _end(self, reason: str | None, sequence: str | None, details: dict[str, Any] | None, items: list[Item]) -> None:
        for index in list(self._calls):
            self._close_call(index, items)
        if reason and not self._finished:
            self._finished = True
            explanation = (details or {}).get("explanation")
            if reason == "refusal" and isinstance(explanation, str) and explanation:
                items.append(Refusal(explanation))
            items.append(_finish(reason, sequence))
        if self._usage:
            items.append(_usage(self._usage))


REASONS = {
    "end_turn": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "stop_sequence": "stop",
    "refusal": "content_filter",
    "model_context_window_exceeded": "length",
    "pause_turn": "pause_turn",
}
_PLAIN = frozenset({"end_turn", "max_tokens", "tool_use"})


def _finish(reason: str, sequence: str | None) -> Finish:
    """The reason in the shared words; `raw` where they say less than Anthropic's."""
    return Finish(REASONS.get(reason, reason), sequence or "", "" if reason in _PLAIN else reason)


def _told_usage(fields: dict[str, Any] | None) -> dict[str, Any]:
    """What is told; a later null does not unsay an earlier count."""
    return {field: value for field, value in (fields or {}).items() if value is not None}


def _usage(fields: dict[str, Any]) -> Usage:
    """Usage with the cached tokens counted as input, as everywhere else."""
    cached, written = count(fields.get("cache_read_input_tokens")), count(fields.get("cache_creation_input_tokens"))
    details = fields.get("output_tokens_details")
    return Usage(
        count(fields.get("input_tokens")) + cached + written,
        count(fields.get("output_tokens")),
        cached,
        written,
        count(details.get("thinking_tokens")) if isinstance(details, dict) else 0,
    )


STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
