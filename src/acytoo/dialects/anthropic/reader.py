"""Anthropic's replies as a client receives them: a stream of content blocks, one message, and the errors in them.

Some servers and proxies repeat themselves: the start of the message or of a block, a block, or the complete message
(maximhq/bifrost#4556). The index of a block does not identify it: Anthropic itself has given one to two blocks
(anthropics/anthropic-sdk-typescript#879). So a block that may be a repetition is held back until it ends, and compared
with the one that it may repeat.

Source: Anthropic's API reference ("Streaming Messages", "Create a Message", "Errors") and its Python SDK (2.12).
"""

from __future__ import annotations

import bisect
import re
from typing import Annotated, Any

import msgspec

from acytoo.dialects.anthropic.request import SOURCE
from acytoo.dialects.base import not_this_api
from acytoo.dialects.error_bodies import NO_MESSAGE, error_from_event
from acytoo.dialects.fields import count, object_or_empty, objects_in, text_or_empty, without_none
from acytoo.dialects.finish import append_finish, check_call, check_finish, shared_reason
from acytoo.dialects.json import UNDECODABLE, decoder
from acytoo.dialects.lenient import NEEDED, REASON, decode_document, fit
from acytoo.dialects.readers import (
    LONG_TEXT,
    MAX_FORM_SEARCHES,
    RecordReader,
    bare_error,
    continuation,
    decode_string,
    text_form,
    text_on_error,
    unframed,
)
from acytoo.dialects.surrogates import replace_lone_escapes
from acytoo.dialects.tool_calls import ARGUMENT_FIELDS, ReceivedCall, arguments_in, arguments_object, arguments_text
from acytoo.errors import ProtocolError, ReplyTooLargeError
from acytoo.observation import Received
from acytoo.types import Finish, Item, JSONObject, OpaquePart, Reasoning, Refusal, Start, ToolCall, Usage, signature_of
from acytoo.wire.sse import SSEDecoder


class _Block(msgspec.Struct, gc=False):
    type: Annotated[str, NEEDED] = ""
    id: str | None = None
    name: Annotated[str | None, NEEDED] = None
    text: Annotated[str | None, NEEDED] = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    input: Any = None  # an object, but some servers send JSON text
    arguments: Any = None  # these three: see `arguments_in`
    parameters: Any = None
    args: Any = None
    extra_content: object = None


class _Delta(msgspec.Struct, gc=False):
    type: Annotated[str, NEEDED] = ""
    text: Annotated[str | None, NEEDED] = None
    partial_json: Annotated[str | JSONObject | None, NEEDED] = None  # a piece of JSON text, or all of it as an object
    thinking: str | None = None
    signature: str | None = None
    stop_reason: Annotated[str | None, REASON] = None
    stop_sequence: str | None = None
    stop_details: JSONObject | None = None


class _Message(msgspec.Struct, gc=False):
    """A complete message, or what its stream begins with."""

    id: str | None = None
    model: str | None = None
    content: Annotated[list[object] | str | None, NEEDED] = None
    stop_reason: Annotated[str | None, REASON] = None
    stop_sequence: str | None = None
    stop_details: JSONObject | None = None
    usage: JSONObject | None = None
    container: JSONObject | None = None
    error: object = None


class _Event(msgspec.Struct, gc=False):
    type: Annotated[str, NEEDED] = ""
    index: int = 0
    delta: Annotated[_Delta | None, NEEDED] = None
    content_block: Annotated[_Block | None, NEEDED] = None
    message: Annotated[_Message | None, NEEDED] = None
    usage: JSONObject | None = None
    error: object = None


_decode = decoder(_Event).decode

_EVENT_TYPES = frozenset(
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
_BLOCK_TYPES = ("text", "thinking", "redacted_thinking", "tool_use")
_DELTA_TYPES = ("text_delta", "input_json_delta", "thinking_delta", "signature_delta")


_CALL_FIELDS = frozenset({"type", "id", "name", *ARGUMENT_FIELDS, "extra_content"})
"""Fields of a call's block that become a `ToolCall`. Others (`caller`) go back with the turn."""


def _raw_event(record: bytes) -> JSONObject:
    """Return a record with all its fields, {} if it is not an event."""
    try:
        document = decoder(Any).decode(replace_lone_escapes(record))
    except UNDECODABLE:
        return {}
    return document if isinstance(document, dict) and isinstance(document.get("type"), str) else {}


def _usage_in_delta(record: bytes) -> JSONObject:
    """Return the usage inside `delta`, where the API reference had it once (fumito-ito/AnthropicSwiftSDK#7)."""
    return object_or_empty(object_or_empty(_raw_event(record).get("delta")).get("usage"))


def _has_unknown_type(event: JSONObject) -> bool:
    """Return whether an event has a type that is not read here, or a block or delta of such a type.

    The API may add types at any time. Their fields need not fit those of `_Event`.
    """
    if not event or event["type"] not in _EVENT_TYPES:
        return bool(event)
    for field, known in (("content_block", _BLOCK_TYPES), ("delta", _DELTA_TYPES)):
        kind = object_or_empty(event.get(field)).get("type")
        if isinstance(kind, str) and kind not in known:
            return True
    return False


class _OpenOpaque(msgspec.Struct):
    """A block being read that only this API has, or what only this API has of a text."""

    fields: JSONObject
    part: str = ""
    input_fragments: list[str] = []
    fragments: dict[str, list[str]] = {}  # of texts, by the names of their fields
    citations: list[Any] = []

    def add(self, delta: JSONObject) -> None:
        """Add a delta: text continues text, `citation` is the next of `citations`, another value replaces the last.

        So does what is encrypted: each delta of a compaction has all of it (anthropics/anthropic-sdk-python#1830).
        """
        for name, value in delta.items():
            if name == "partial_json" and isinstance(value, str):
                self.input_fragments.append(value)
            elif name == "citation":
                self.citations.append(value)
            elif (
                isinstance(value, str)
                and isinstance(self.fields.get(name), str)
                and not name.startswith(("type", "encrypted"))
            ):
                self.fragments.setdefault(name, []).append(value)
            elif name != "type":
                self.fragments.pop(name, None)
                self.fields[name] = value

    def complete_fields(self) -> JSONObject:
        """Return the block's fields, with all that was streamed."""
        for name, fragments in self.fragments.items():
            self.fields[name] += "".join(fragments)
        if self.citations:
            self.fields["citations"] = [*objects_in(self.fields.get("citations")), *self.citations]
        if self.input_fragments:
            input_ = arguments_object("".join(self.input_fragments))
            self.fields["input"] = {} if input_ is None else input_
        return self.fields


class _OpenText(msgspec.Struct):
    """A block of text: its place in the reply's text, and the text that it started with."""

    place: int
    beginning: str
    is_open: bool = True


class _OpenCall(msgspec.Struct):
    """A tool call being read, and the input that its block started with. `fragments` are for a repeated block."""

    call: ReceivedCall
    input: Any
    fragments: list[str] = []


_PING = re.compile(rb'\s*\{\s*"type"\s*:\s*"ping"')


_EVENTS = frozenset(
    {
        *("message_start", "message_delta", "message_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
    }
)
"""Names of events, which some servers do not repeat in the data."""


class StreamReader(RecordReader):
    """A reader of a streamed message.

    It is complete with a stop reason, or with `message_stop` after a block that is not reasoning: compatible servers
    may leave out the stop reason, but a stream without any content is not a reply.
    """

    ending = "stop_reason or message_stop after a block of text or a call"

    def __init__(self, name: str, ends_without_finish: bool = False) -> None:
        super().__init__(name, SSEDecoder(), ends_without_finish)
        self._started = False
        self.has_content = False  # a block that is not reasoning
        self._stopped = False
        self._finish: Finish | None = None
        self._usage: JSONObject = {}
        self._container: JSONObject | None = None  # in which the model's code runs
        self._has_last_usage = False
        self._open_calls: dict[int, _OpenCall] = {}  # by the index of their blocks
        self._repeated_calls: dict[int, _OpenCall] = {}  # blocks with the id of an earlier call
        self._texts: dict[int, _OpenText] = {}  # by the index of their blocks
        self._call_indices: dict[int, int] = {}  # of the blocks of calls, by the numbers of the calls
        self._places: list[int] = []  # of all blocks of text
        self._held: dict[int, list[str]] = {}  # texts of blocks that may be repetitions
        self._begun: dict[int, str] = {}  # what blocks without a delta started with, by their index
        self._diverts = False  # stopped, some text is held, or a block started with one
        self._restarted = False  # the message began again, after a part of it
        self._thoughts: dict[int, int] = {}  # numbers of the reasoning blocks, by the index of their blocks
        self._thought_count = 0
        self._closed_thoughts: set[int] = set()  # the indices of the blocks that have ended
        self._unsigned: set[int] = set()  # numbers of the reasoning blocks without a signature so far
        self._opaque: dict[int, _OpenOpaque] = {}  # by the index of their blocks
        self._own_blocks: dict[int, JSONObject] = {}  # that only this API has, by their index
        self._has_own_call = False  # a call of a type that only this API has
        self._follows_text = False  # the last part of the reply is a text that no `OpaquePart` ended

    @property
    def complete(self) -> bool:
        """Whether a stop reason was read, or `message_stop` after a block that is neither reasoning nor a call cut."""
        return self._finish is not None or (self._stopped and self.has_content and not self.is_inside_call)

    @property
    def is_inside_call(self) -> bool:
        """Whether a call, or a block that only this API has, is not complete."""
        return bool(self._opaque) or super().is_inside_call

    def received(self) -> Received:
        """Return what has been received, with the usage so far if the reply was cut.

        The start of a message counts the request, and hardly anything of the reply: only its end counts that.
        """
        received = super().received()
        if received.usage is None and self._usage:
            received.usage = _decode_usage(self._usage)
        received.is_partial = received.usage is not None and not self._has_last_usage
        return received

    def is_keep_alive(self, record: bytes) -> bool:
        """Return whether a record is a `ping` event."""
        return _PING.match(record) is not None or super().is_keep_alive(record)

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Append the items of some events.

        Nearly all events are pieces of text: they cost no call, and one decode unless they have the form of the last.
        """
        form = self.form
        for record in records:
            if record.startswith(form.before) and record.endswith(form.after) and not self._diverts:
                try:
                    text = decode_string(record[form.place])
                except UNDECODABLE:
                    text = ""
                if text:
                    items.append(text)
                    continue
            try:
                event = _decode(record)
            except UNDECODABLE:
                record = unframed(record)
                unusual = self._decode_or_skip(record)
                if unusual is None:
                    continue
                event = unusual
            delta = event.delta
            if self._diverts:
                if self._stopped:
                    break
                if delta is not None and event.index in self._begun and self._repeats_start(event.index, delta):
                    continue
                if delta is not None and delta.text and event.index in self._held:
                    self._held[event.index].append(delta.text)
                    continue
            if delta is None or event.type != "content_block_delta":
                self._read_event(event, record, items)
            elif delta.type != "text_delta":
                self._read_delta(event.index, delta, record, items)
            elif delta.text:
                items.append(delta.text)
                if self.form_searches < MAX_FORM_SEARCHES:
                    self.form_searches += 1
                    form = self.form = text_form(record, b'"text"', delta.text)

    def _decode_or_skip(self, record: bytes) -> _Event | None:
        """Return the event of a record that msgspec refused, None if it is to be skipped.

        Gateways end a stream with `[DONE]`, as OpenAI's API does.
        """
        if self._stopped or record in (b"", b"[DONE]"):
            return None
        try:
            return self.decode_unusual(record, _Event)
        except ProtocolError:
            event = _raw_event(record)
            if not _has_unknown_type(event):
                if event.get("type", "error") == "error" and (reported := bare_error(record)) is not None:
                    raise error_from_event(reported, STATUSES_OF_TYPES, TOO_LONG) from None
                raise
            if isinstance(index := event.get("index"), int):
                self._read_opaque(index, event)
            return None

    def flush(self) -> list[Item]:
        """Return the last items, with the texts that were held back if their blocks had no end."""
        items = super().flush()
        if self._held:
            held: list[Item] = []
            self._close_blocks(held)
            self._items += held
            items += held
        return items

    def append(self, message: _Message, items: list[Item]) -> None:
        """Append the items of a complete message."""
        self._read_start(message, items)
        content = message.content or ()
        for index, block in enumerate([content] if isinstance(content, str) else content):
            if isinstance(block, str):  # some proxies send a text alone
                block = {"type": "text", "text": block}
            if isinstance(block, dict) and block.get("type") in _BLOCK_TYPES:
                self._open_block(index, fit(block, _Block), items)
                self._read_fields(index, block, items)
            else:
                self.has_content = True
                if isinstance(block, dict):
                    self._open_opaque(index, block)
            self._close_block(index, items)
        self._update_usage(message.usage or {})
        self._has_last_usage = True
        self._read_end(message.stop_reason, message.stop_sequence, message.stop_details, items)

    def _read_event(self, event: _Event, record: bytes, items: list[Item]) -> None:
        delta = event.delta
        if event.error is not None or event.type == "error":
            raise error_from_event(NO_MESSAGE if event.error is None else event.error, STATUSES_OF_TYPES, TOO_LONG)
        if event.type == "content_block_start" and event.content_block is not None:
            if event.content_block.type in _BLOCK_TYPES:
                self._open_block(event.index, event.content_block, items)
                if event.content_block.type == "tool_use" or (
                    event.content_block.type == "text" and b'"citations"' in record
                ):
                    self._read_fields(event.index, object_or_empty(_raw_event(record).get("content_block")), items)
            else:
                self.has_content = True
                self._read_opaque(event.index, _raw_event(record))
        elif event.type == "content_block_stop":
            self._close_block(event.index, items)
        elif event.type == "message_start" and event.message is not None:
            if event.message.content and not self._started:
                # A call that running code makes has no events of its own: the message starts with all its content.
                try:
                    self.append(event.message, items)
                except msgspec.ValidationError as error:
                    raise not_this_api(self._name, record, str(error)) from error
            else:
                self._usage |= without_none(event.message.usage or {})
                self._read_start(event.message, items)
                self._restart()
        elif event.type == "message_delta":
            if delta is not None and delta.stop_reason:
                if b'"container"' in record:
                    self._container = object_or_empty(object_or_empty(_raw_event(record).get("delta")).get("container"))
                usage = event.usage or _usage_in_delta(record)
                self._update_usage(usage)
                self._has_last_usage |= bool(usage)
                self._read_end(delta.stop_reason, delta.stop_sequence, delta.stop_details, items)
            else:
                self._read_late_end(event, record, items)
        elif event.type == "message_stop":
            self._close_blocks(items)
            if self._finish is None:
                self._read_late_end(event, record, items)
            self._stopped = self._diverts = True
        elif event.type == "message":
            self._read_message(record, items)
        elif not event.type and (name := self.event_name(record)) in _EVENTS:
            if name == "content_block_delta" and delta is not None:
                self._read_delta(event.index, delta, record, items)
            else:
                self._read_event(msgspec.structs.replace(event, type=name), record, items)
        elif not event.type:
            if (reported := bare_error(record)) is not None:
                raise error_from_event(reported, STATUSES_OF_TYPES, TOO_LONG)
            # An empty event, which a gateway sends before the first: QuantumNous/new-api issue 6797.
            if record != b"{}" and not self.is_aside(record):
                raise not_this_api(self._name, record, "an event without type")

    def _read_late_end(self, event: _Event, record: bytes, items: list[Item]) -> None:
        """Read what is not where it belongs: a stop reason beside `delta`, or in `message_stop`, or the usage after it.

        Source of the last: anomalyco/opencode pull request 46171.
        """
        self._update_usage(event.usage or {})
        self._has_last_usage |= bool(event.usage)
        raw = _raw_event(record)
        for fields in (raw, object_or_empty(raw.get("message"))):
            message = fit(fields, _Message)
            if message.stop_reason and self._finish is None:
                self._update_usage(message.usage or {})
                self._read_end(message.stop_reason, message.stop_sequence, message.stop_details, items)
                return
        if event.usage and self._finish is not None:
            items.append(_decode_usage(self._usage))

    def _read_message(self, record: bytes, items: list[Item]) -> None:
        """Read a complete message that is an event of the stream: all of it, or what it adds to the other events."""
        try:
            message = fit(_raw_event(record), _Message)
            if message.content is not None:
                self._restart()
                self.append(message, items)
        except msgspec.ValidationError as error:
            raise not_this_api(self._name, record, str(error)) from error

    def _restart(self) -> None:
        """Note that the message begins again, if there has been a part of it."""
        if self._texts or self._calls.last is not None or self._thoughts or self._own_blocks:
            self._restarted = True
            for text in self._texts.values():
                text.is_open = False

    def _update_usage(self, counts: JSONObject) -> None:
        """Update the usage. No null, and no report of no input or no output at all, undoes an earlier count.

        Source of the latter: envoyproxy/ai-gateway#1631.
        """
        new = without_none(counts)
        for names in (_INPUT_COUNTS, _OUTPUT_COUNTS):
            if not any(count(new.get(name)) for name in names):
                new = {name: value for name, value in new.items() if name not in names or name not in self._usage}
        self._usage |= new

    def _read_start(self, message: _Message, items: list[Item]) -> None:
        self._container = message.container or self._container
        if not self._started and (message.id or message.model):
            self._started = True
            items.append(Start(message.id or "", message.model or ""))

    def _open_block(self, index: int, block: _Block, items: list[Item]) -> None:
        if block.type not in ("thinking", "redacted_thinking"):
            self.has_content = True
        if block.type == "text":
            self._open_text(index, block.text or "", items)
            return
        self._follows_text = False
        if block.type == "tool_use":
            self._open_call(index, block, items)
        elif self._restarted and index in self._thoughts:
            del self._thoughts[index]  # a repetition
        elif block.type in ("thinking", "redacted_thinking"):
            number = self._open_thought(index)
            if block.thinking:
                items.append(Reasoning(block.thinking, number))
                self._begin(index, block.thinking)
            if block.signature or block.data:
                self._unsigned.discard(number)
                items.append(
                    Reasoning("", number, signature=block.signature or "", data=block.data or "", source=SOURCE)
                )

    def _open_thought(self, index: int) -> int:
        self._closed_thoughts.discard(index)
        number = self._thoughts[index] = self._thought_count
        self._thought_count += 1
        self._unsigned.add(number)
        return number

    def _open_text(self, index: int, beginning: str, items: list[Item]) -> None:
        """Begin a block of text. One whose index had another is held back, because it may be a repetition of that."""
        known = self._texts.get(index)
        if known is not None and not known.is_open:
            self._held[index] = [beginning]
            self._diverts = True
        elif known is None or beginning not in ("", known.beginning):  # else its start is repeated
            self._append_text(index, beginning, items)

    def _append_text(self, index: int, beginning: str, items: list[Item]) -> None:
        if self._follows_text:
            items.append(OpaquePart(SOURCE, part="text"))  # so that two blocks do not become one
        self._follows_text = True
        self._texts[index] = _OpenText(self.emitted_text_length(items), beginning)
        self._places.append(self._texts[index].place)
        if beginning:
            items.append(beginning)
            self._begin(index, beginning)

    def _begin(self, index: int, beginning: str) -> None:
        if len(beginning.strip()) > 1:  # else a model may well write it twice
            self._begun[index] = beginning
            self._diverts = True

    def _repeats_start(self, index: int, delta: _Delta) -> bool:
        """Return whether the first delta of a block repeats what the block started with.

        Source: BerriAI/litellm pull request 34433.
        """
        beginning = self._begun.pop(index)
        self._diverts = bool(self._held or self._begun)
        return (delta.text or delta.thinking) == beginning

    def _close_held(self, index: int, pieces: list[str], items: list[Item]) -> None:
        """Append what a block of text that was held back adds to the earlier one with its index.

        Raises ProtocolError if it differs although the message began again.
        """
        text, known = "".join(pieces), self._texts[index]
        if known.place < self.forgotten:
            raise ReplyTooLargeError(self._limit)
        later = bisect.bisect_right(self._places, known.place)
        after = self._places[later : later + 1]
        before = self.emitted_text(items, known.place)
        before = before[: after[0] - known.place] if after else before
        rest = continuation(before, text)
        is_long = len(text) >= LONG_TEXT or len([piece for piece in pieces if piece]) > 1
        if rest == "" and (self._restarted or is_long):
            return
        if not self._restarted:
            self._append_text(index, text, items)
        elif rest is None or after:
            raise ProtocolError("the server began its message again, with another text")
        else:
            items.append(rest)

    def _open_call(self, index: int, block: _Block, items: list[Item]) -> None:
        block.input = block.input or arguments_in(block)
        known = self._calls.by_id(block.id) if block.id else None
        if known is not None and block.name in (None, known.name):
            opened = self._open_calls.pop(index, None)
            started_with = block.input or (opened.input if opened is not None and opened.call is known else None)
            self._repeated_calls[index] = _OpenCall(known, started_with)
            return
        call = self._calls.open()
        self._call_indices[call.number] = index
        self._open_calls[index] = _OpenCall(call, block.input)
        signature = signature_of({"extra_content": block.extra_content})
        items += self._calls.add(call, block.id or "", block.name or "", signature=signature)

    def _close_repeated(self, index: int, repeated: _OpenCall, items: list[Item]) -> None:
        """Append what a block with the id of an earlier call adds to that: another call, the rest of it, or nothing.

        Raises ProtocolError if both have one index, and other arguments.
        """
        known, text = repeated.call, "".join(repeated.fragments)
        text = text or (arguments_text(repeated.input) if repeated.input else "")
        if self._call_indices.get(known.number) != index:
            items += self._calls.add_complete(known.received_id, known.name, text)
            return
        if known.is_partial:
            rest = continuation(known.arguments, text)
            text = text if rest is None else rest  # only its start may be repeated
        items += self._calls.add(known, arguments=text) + self._calls.end(known)

    def _read_fields(self, index: int, block: JSONObject, items: list[Item]) -> None:
        """Append or keep what only this API has of a block that becomes an item."""
        if block.get("type") == "tool_use" and (opened := self._open_calls.get(index)) is not None:
            if fields := {name: value for name, value in block.items() if name not in _CALL_FIELDS}:
                opened.call.attached.append(OpaquePart(SOURCE, fields, "tool_call", opened.call.number))
                items += self._calls.add(opened.call)
        elif block.get("type") == "text" and block.get("citations"):
            self._opaque[index] = _OpenOpaque({"citations": block["citations"]}, "text")

    def _read_delta(self, index: int, delta: _Delta, record: bytes, items: list[Item]) -> None:
        if delta.type not in _DELTA_TYPES:
            delta.type = self._type_of(index, delta)
        if delta.type == "input_json_delta" and (opened := self._open_calls.get(index)) is not None:
            call, fragment = opened.call, delta.partial_json
            if isinstance(fragment, dict):
                fragment = arguments_text(fragment)
            if fragment and call.is_begun and call.fragments and fragment.lstrip()[:1] != "{" and not call.is_quoted:
                call.fragments.append(fragment)
                items.append(ToolCall(call.number, arguments=fragment))
            elif fragment and (
                call.fragments or fragment.strip() != "{}"
            ):  # the block's end adds `{}` if nothing follows
                items += self._calls.add(call, arguments=fragment)
        elif delta.type == "input_json_delta" and index in self._repeated_calls:
            self._repeated_calls[index].fragments.append(
                arguments_text(delta.partial_json) if delta.partial_json else ""
            )
        elif delta.type == "text_delta" and delta.text:
            items.append(delta.text)
        elif delta.type == "input_json_delta" or delta.type not in _DELTA_TYPES:
            if delta.type == "input_json_delta" and delta.partial_json and index not in self._opaque:
                raise ProtocolError("the server sent arguments of a tool call that has not begun")
            self._read_opaque(index, _raw_event(record))
        elif delta.type == "thinking_delta" and delta.thinking:
            number = self._thoughts.get(index)
            if number is None and self._restarted:
                return  # a repetition
            # Proxies put thoughts into a block of text (anthropics/claude-code#63487), into none, or into one that has
            # ended (musistudio/claude-code-router#1725).
            if number is None or (index in self._closed_thoughts and not self._restarted):
                number = self._open_thought(index)
            items.append(Reasoning(delta.thinking, number))
        elif (number := self._thoughts.get(index)) is None:
            return
        elif delta.type == "signature_delta" and delta.signature:
            self._unsigned.discard(number)
            items.append(Reasoning("", number, signature=delta.signature, source=SOURCE))

    def _type_of(self, index: int, delta: _Delta) -> str:
        """Return the type of a delta that has none of those known, which its fields show unless its block is unknown.

        A call would be made without its arguments.
        """
        if (opaque := self._opaque.get(index)) is not None and not opaque.part:
            return delta.type
        if delta.partial_json and (index in self._open_calls or index in self._repeated_calls):
            return "input_json_delta"
        if delta.thinking or delta.text:
            return "thinking_delta" if delta.thinking else "text_delta"
        return "signature_delta" if delta.signature else delta.type

    def _read_opaque(self, index: int, event: JSONObject) -> None:
        """Keep a block that only this API has, or what a delta adds to it or to a text (its citations)."""
        if block := object_or_empty(event.get("content_block")):
            self._open_opaque(index, block)
        elif delta := object_or_empty(event.get("delta")):
            if index not in self._opaque and delta.get("type") == "citations_delta":
                self._opaque[index] = _OpenOpaque({}, "text")
            if index in self._opaque:
                self._opaque[index].add(delta)

    def _open_opaque(self, index: int, block: JSONObject) -> None:
        self._follows_text = False
        self._opaque[index] = _OpenOpaque(dict(block))
        if str(block.get("type")).endswith("_use"):
            self._has_own_call = True

    def _close_block(self, index: int, items: list[Item]) -> None:
        """Append what is known only at a block's end: what only this API has of it, a call's arguments."""
        self._close_call(index, items)
        if (text := self._texts.get(index)) is not None:
            text.is_open = False
        if index in self._thoughts:
            self._closed_thoughts.add(index)
        if (opaque := self._opaque.pop(index, None)) is not None:
            self._follows_text = False
            fields = opaque.complete_fields()
            if opaque.part or not self._is_repeated_block(index, fields):
                items.append(OpaquePart(SOURCE, fields, opaque.part))
        if self._unsigned and (number := self._thoughts.get(index)) in self._unsigned:
            self._unsigned.discard(number)
            items.append(Reasoning("", number, source=SOURCE))  # without a signature, only its source may be sent it

    def _is_repeated_block(self, index: int, fields: JSONObject) -> bool:
        """Return whether a block that only this API has is a repetition, which the API would refuse."""
        if self._own_blocks.get(index) == fields or (self._restarted and fields in self._own_blocks.values()):
            return True
        self._own_blocks[index] = fields
        return False

    def _close_call(self, index: int, items: list[Item]) -> None:
        """Append the arguments of a call that streamed none: those that its block started with, or `{}`."""
        if self._held or self._repeated_calls:
            self._close_repetitions(index, items)
        opened = self._open_calls.pop(index, None)
        if opened is not None:
            if not opened.call.fragments:
                items += self._calls.add(opened.call, arguments=arguments_text(opened.input))
            items += self._calls.end(opened.call)

    def _close_repetitions(self, index: int, items: list[Item]) -> None:
        if (pieces := self._held.pop(index, None)) is not None:
            self._diverts = bool(self._held or self._begun) or self._stopped
            self._close_held(index, pieces, items)
        if (repeated := self._repeated_calls.pop(index, None)) is not None:
            self._close_repeated(index, repeated, items)

    def _close_blocks(self, items: list[Item]) -> None:
        """Close the blocks that have no end of their own."""
        thoughts = [index for index, number in self._thoughts.items() if number in self._unsigned]
        for index in sorted({*self._open_calls, *self._opaque, *self._held, *self._repeated_calls, *thoughts}):
            self._close_block(index, items)

    def _read_end(
        self, reason: str | None, sequence: str | None, details: JSONObject | None, items: list[Item]
    ) -> None:
        self._close_blocks(items)
        if self._container and self._container.get("id"):
            items.append(OpaquePart(SOURCE, {"container": self._container}))
            self._container = None
        if reason and (self._finish is None or self._finish.reason == "stop"):
            explanation = (details or {}).get("explanation")
            if not isinstance(explanation, str):
                explanation = ""
            check_finish("stop_reason", reason, FINISH_REASONS, self.has_content, explanation)
            check_call("stop_reason", reason, bool(self._calls) or self._has_own_call)
            if reason == "refusal" and explanation:
                items.append(Refusal(explanation))
            self._finish = append_finish(_decode_finish(reason, sequence), self._finish, items)
        if self._usage:
            items.append(_decode_usage(self._usage))


def read_document(name: str, body: bytes, ends_without_finish: bool = False) -> list[Item]:
    """Return the items of a complete message.

    Raises msgspec.DecodeError if the body is not this API's, TruncatedError if it has no stop reason.
    """
    message = decode_document(body, _Message)
    if message.error is not None:
        error = error_from_event(message.error, STATUSES_OF_TYPES, TOO_LONG)
        texts = [text_or_empty(block.get("text")) for block in objects_in(message.content)]
        error.text = "".join(texts) or text_or_empty(message.content)
        raise error
    if message.content is None and not message.stop_reason:
        if (reported := bare_error(body)) is not None:
            raise error_from_event(reported, STATUSES_OF_TYPES, TOO_LONG)
        raise msgspec.ValidationError("it has no content")
    reader = StreamReader(name, ends_without_finish)
    items: list[Item] = []
    with text_on_error(items):
        reader.append(message, items)
        reader.require_end("the reply has no stop_reason", items)
    return items


FINISH_REASONS = {
    "end_turn": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "stop_sequence": "stop",
    "refusal": "content_filter",
    "model_context_window_exceeded": "length",
    "pause_turn": "pause_turn",
}
"""Stop reasons, and the shared shape's finish reasons. For the way back, the first of each is its default."""

_EXACT_REASONS = frozenset({"end_turn", "max_tokens", "tool_use"})
"""The stop reasons that a finish reason expresses completely. `Finish.raw` keeps all others."""


def _decode_finish(reason: str, sequence: str | None) -> Finish:
    shared = FINISH_REASONS.get(reason) or shared_reason(reason)
    return Finish(shared, sequence or "", "" if reason in _EXACT_REASONS else reason)


_INPUT_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
"""The counts of a request, of which a part may be cached."""

_OUTPUT_COUNTS = ("output_tokens", "completion_tokens")
"""The count of a reply, in this API and in OpenAI's."""


def _decode_usage(fields: JSONObject) -> Usage:
    """Return the usage. Unlike in the shared shape, `input_tokens` does not include cached tokens."""
    cached, written = count(fields.get("cache_read_input_tokens")), count(fields.get("cache_creation_input_tokens"))
    searches = count(object_or_empty(fields.get("server_tool_use")).get("web_search_requests"))
    return Usage(
        count(fields.get("input_tokens", fields.get("prompt_tokens"))) + cached + written,
        count(fields.get("output_tokens", fields.get("completion_tokens"))),
        cached,
        written,
        count(object_or_empty(fields.get("output_tokens_details")).get("thinking_tokens")),
        count(object_or_empty(fields.get("cache_creation")).get("ephemeral_1h_input_tokens")),
        {"web_searches": searches} if searches else {},
    )


STATUSES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""HTTP status codes, and the `type` of an error. Other APIs' servers send 408 and 503."""

STATUSES_OF_TYPES = {type_: status for status, type_ in STATUSES.items()}
"""For an error in mid-stream, its HTTP status: the highest of those with the same type, which is this API's own."""

TOO_LONG = "prompt is too long|input length and `max_tokens` exceed context limit|Input is too long for requested model"
"""How an `invalid_request_error` begins for a conversation that is too long, which has no type of its own.

Sources: "prompt is too long: 208310 tokens > 200000 maximum" (anthropics/claude-code#12186), "input length and
`max_tokens` exceed context limit: 90402 + 116650 > 204648, …" (stackblitz/bolt.new#7414), and Bedrock's "Input is too
long for requested model." (anthropics/claude-code#760).
"""
