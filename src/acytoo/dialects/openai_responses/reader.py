"""Replies of OpenAI's Responses as a client receives them: typed events of a stream, or one document.

A stream repeats itself: the same text arrives as deltas, then complete in `output_text.done`, `content_part.done`,
`output_item.done` and `response.completed`. OpenAI sends all of them; other servers leave some out, and which ones
differs. So do their identifiers: some give the repetition of an item another one. So the reader keeps for every output
item which of its parts have been emitted (`_OutputItem`), and where their texts begin (`_Text`). From a repetition it
takes only what no earlier event had.

Source: OpenAI's API reference ("Responses", "Streaming events"), the types of its Python SDK, and events of other
servers as observed (llama.cpp leaves out `output_index`). Errors are nested in `error`, not flat as documented.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from acytoo.dialects.base import not_this_api
from acytoo.dialects.custom_tools import custom_arguments
from acytoo.dialects.error_bodies import error_from_event, has_error
from acytoo.dialects.fields import count, object_or_empty, objects_in, text_or_empty, without_none
from acytoo.dialects.finish import check_finish, shared_reason
from acytoo.dialects.json import UNDECODABLE, decoder, display_json
from acytoo.dialects.lenient import NEEDED, decode_document, elements_of, is_empty, reason_in
from acytoo.dialects.openai.reader import TOO_LONG
from acytoo.dialects.openai_responses.request import (
    NAME,
    decode_reasoning_texts,
    is_plain_message,
    output_parts,
    own_opaque,
)
from acytoo.dialects.readers import RecordReader, bare_error, continuation, text_on_error, unframed
from acytoo.dialects.tool_calls import (
    ARGUMENT_FIELDS,
    ReceivedCall,
    arguments_in,
    arguments_object,
    arguments_text,
    two_sets_of_arguments,
)
from acytoo.errors import ProtocolError, StatusError, TruncatedError, status_error
from acytoo.types import Finish, Item, JSONObject, Logprobs, OpaquePart, Reasoning, Refusal, Start, Usage
from acytoo.wire.sse import SSEDecoder

_JSON: TypeAlias = Any
"""Any JSON value. Servers send wrong types in these fields, which are then ignored.

Not `object`, which msgspec checks: that made decoding a text delta 4 to 7 % slower when it was measured.
"""


class _Document(msgspec.Struct):
    output: Annotated[list[JSONObject] | None, NEEDED] = None
    output_text: _JSON = None  # what the official SDKs add, and some servers send alone
    status: str | None = None
    error: _JSON = None
    incomplete_details: _JSON = None
    usage: JSONObject | None = None
    id: str | None = None
    model: str | None = None
    created_at: _JSON = None


class _Event(msgspec.Struct):
    type: Annotated[str, NEEDED] = ""
    delta: _JSON = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    item_id: str | None = None
    logprobs: _JSON = None
    text: _JSON = None
    refusal: _JSON = None
    arguments: _JSON = None
    input: _JSON = None
    item: _JSON = None
    part: _JSON = None
    response: _JSON = None
    error: _JSON = None
    code: _JSON = None
    message: _JSON = None


_decode = decoder(_Event).decode
_decode_fields = decoder(JSONObject).decode

_CALL_FIELDS = frozenset({"type", "id", "status", "call_id", "name", "arguments"})
"""Fields of a function call that become a `ToolCall` or mean nothing to a later request."""

_CALL_TYPES = ("function_call", "custom_tool_call")
"""Types of items that become a `ToolCall`."""

_TEXT_DELTA = "response.output_text.delta"

_ANNOTATION = "response.output_text.annotation.added"

_RARE_FIELDS = frozenset({"response.completed", "response.incomplete", _ANNOTATION})
"""Events that may have fields which `_Event` does not: each of its fields costs time in every event."""

_TEXT_KINDS = {"output_text": "output_text", "refusal": "refusal", "text": "output_text"}
"""The subjects of events with text, the last one that of OpenAI's first Realtime API, and the types of their parts."""

_ReasoningField: TypeAlias = Literal["summary", "content", "item"]
"""Where a reasoning text is: in the deltas of a summary or of the content, or in a complete item."""

_REASONING_FIELDS: dict[str, _ReasoningField] = {
    "reasoning_summary_text": "summary",
    "reasoning_text": "content",
    "reasoning_summary": "summary",
    "reasoning": "content",
}
"""The subjects of events with reasoning text, the last two in the first version of the API and its imitations."""


class _Text:
    """A part of a message of which a text was emitted, its number, and where that begins in the reply's text."""

    __slots__ = ("complete", "is_done", "number", "start", "tokens")

    def __init__(self, number: int, start: int, tokens: int) -> None:
        self.number = number
        self.start = start
        self.tokens = tokens
        """How many of its log-probabilities were emitted."""
        self.complete = ""
        """The complete text, if an event had it and it was that of the deltas."""
        self.is_done = False
        """Whether an event had the complete part."""


class _Refusal:
    """A part of a message of which a refusal was emitted, and the pieces of that."""

    __slots__ = ("fragments", "is_done")

    def __init__(self) -> None:
        self.fragments: list[str] = []
        self.is_done = False
        """Whether an event had the complete part."""

    @property
    def text(self) -> str:
        return "".join(self.fragments)


class _OutputItem:
    """What has been emitted of one output item."""

    __slots__ = (
        "added_parts",
        "annotations",
        "announced",
        "call",
        "field",
        "fragments",
        "has_arguments",
        "has_ended_part",
        "has_opaque",
        "has_own_part",
        "index",
        "is_added",
        "is_done",
        "parts",
        "place",
        "refusals",
        "thoughts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.parts: dict[int, _Text] = {}
        """The parts of which a text was emitted, by their indices."""
        self.refusals: dict[int, _Refusal] = {}
        """The parts of which a refusal was emitted, by their indices."""
        self.added_parts: dict[int, JSONObject] = {}
        """The parts that had a text when they were added. They count only if no event has another text."""
        self.annotations: dict[int, list[JSONObject]] = {}
        """The annotations of its texts that had events of their own, by the indices of the parts."""
        self.thoughts: set[int] = set()
        """The indices of the parts of which a reasoning text was emitted. Some servers put all into one output item."""
        self.announced: _JSON = None
        """The arguments that its call had when it was added. They count only if no others follow."""
        self.has_arguments = False
        """Whether any of the arguments of its call was emitted."""
        self.fragments: list[str] = []
        """The pieces of a custom call's input, which are emitted together."""
        self.call: ReceivedCall | None = None
        self.place: int | None = None
        """Its `output_index`, if any event had one."""
        self.index = -1
        """The index of the reasoning block in the shared shape, -1 before its first event."""
        self.field: _ReasoningField | None = None
        self.has_ended_part = False
        """Whether the last event of a reasoning text had the complete part."""
        self.has_opaque = False
        self.is_added = False
        """Whether its `output_item.added` was read."""
        self.is_done = False
        """Whether its `output_item.done` was read."""
        self.has_own_part = False
        """Whether its `OpaquePart` was emitted, or is not needed."""


def _call_of(output: _OutputItem) -> ReceivedCall:
    assert output.call is not None
    return output.call


_NO_REASON = "the response failed, and the server gave no reason"

_KEEP_ALIVE = re.compile(rb'\s*\{\s*"type"\s*:\s*"(?:keepalive|ping)"')


class StreamReader(RecordReader):
    """A reader of a streamed reply, which is complete once `response.completed` or `response.incomplete` was read.

    Output items are identified by `output_index`, or by `item_id` if a server leaves that out.
    """

    ending = "response.completed or response.incomplete"
    names_in_pieces = True  # they do not, but calls are held back too: see `_drop_superseded`

    def __init__(self, name: str, ends_without_finish: bool = False) -> None:
        super().__init__(name, SSEDecoder(), ends_without_finish)
        self._done = False
        self._failed = False
        self._incomplete_type = ""  # of an output item that was cut
        self._start = Start()
        self._output: dict[int | str | None, _OutputItem] = {}
        self._blocks = 0
        self._emitted_types: set[str] = set()
        self._texts: list[_Text] = []
        self._refusals: list[_Refusal] = []
        self._early_tokens = 0  # log-probabilities that were emitted before any of their text
        self._last_with_tokens = -1  # the number of the last text of which log-probabilities were emitted
        self._held: list[ReceivedCall] = []  # calls of one function of which only the announcement was read
        self._last_call: _OutputItem | None = None
        self._last_text: _OutputItem | None = None  # the message whose text is the last part of the reply

    @property
    def complete(self) -> bool:
        """Whether `response.completed` or `response.incomplete` was read."""
        return self._done

    def close(self) -> None:
        """Raise TruncatedError if the reply is not complete, ServerError if it failed and no reason followed."""
        if self._failed:
            raise status_error(None, _NO_REASON)
        super().close()

    def flush(self) -> list[Item]:
        """Return the last items, with the calls that were only announced before the reply was cut."""
        items, held = super().flush(), list[Item]()
        self._begin_held(held)
        self._items += held
        return items + held

    def is_keep_alive(self, record: bytes) -> bool:
        """Return whether a record is a `keepalive` event, which OpenAI sends while a model works for long."""
        return _KEEP_ALIVE.match(record) is not None or super().is_keep_alive(record)

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Append the items of some events.

        Nearly all events are another piece of a text. They take the fast path below: one decode, two look-ups, no
        call. The instruction guard (`python -m bench guard`) measures it.
        """
        for record in records:
            if self._done:
                break
            try:
                event = _decode(record)
            except UNDECODABLE:
                record = unframed(record)
                if record in (b"", b"[DONE]"):
                    continue
                event = self.decode_unusual(record, _Event)
            if event.type == _TEXT_DELTA and not event.logprobs and type(event.delta) is str:
                output = self._output.get(event.output_index)
                if output is not None and event.content_index in output.parts:
                    if event.delta:
                        items.append(event.delta)
                    continue
            if event.type in _RARE_FIELDS:
                _decode_rare_fields(event, record)
            if event.type or event.error is not None:
                self._decode_event(event, items)
            elif (name := self.event_name(record)).startswith("response."):  # some servers do not repeat it in the data
                event.type = name
                _decode_rare_fields(event, record)
                self._decode_event(event, items)
            else:
                self._decode_untyped(record, items)

    def _decode_untyped(self, record: bytes, items: list[Item]) -> None:
        """Read a record that is no event: an error, or a complete response, which a gateway sends as a stream."""
        if (error := bare_error(record)) is not None:
            raise decode_error(error)
        if b'"output"' in record or b'"choices"' in record:
            document = decode_document(record, _Document)
            if document.output is None:
                raise not_this_api(self._name, record, "it has no output")
            self.end(msgspec.to_builtins(document), items)

    def _decode_event(self, event: _Event, items: list[Item]) -> None:
        subject, _, stage = event.type.removeprefix("response.").rpartition(".")
        is_delta = stage == "delta"
        if event.type in ("error", "response.error") or (event.error is not None and not event.type):
            raise decode_error(event.error or _flat_error(event))
        if has_error(event.error):
            raise decode_error(event.error)
        if event.type in ("response.created", "response.queued", "response.in_progress"):
            self._decode_start(object_or_empty(event.response), items)
        elif event.type in ("response.completed", "response.incomplete") and (event.response or self._output):
            self.end(object_or_empty(event.response), items, incomplete=event.type == "response.incomplete")
        elif event.type == "response.done" and object_or_empty(event.response).get("status"):
            # Some gateways send it as the last event (can1357/oh-my-pi#4692, decolua/9router#2142).
            self.end(object_or_empty(event.response), items)
        elif event.type == "response.failed":
            error = object_or_empty(event.response).get("error") or _flat_error(event)
            if has_error(error):
                raise decode_error(error)
            self._failed = True  # Azure sends the reason in an `error` event after it
        elif subject == "output_item":
            item, *calls = _with_usual_shape(object_or_empty(event.item))
            is_added = stage == "added"
            is_other = (is_added or _is_call(item)) and self._leave_place(event.output_index, item, is_added)
            output = self._output_item(event, item.get("id"), item.get("call_id"), is_other)
            output.is_added |= is_added
            output.is_done |= stage == "done"
            self._decode_item(output, item, items, done=stage == "done")
            for call in calls if stage == "done" else ():
                inner = self._output[f"call {len(self._output)}"] = _OutputItem()
                self._decode_item(inner, call, items)
        elif subject == "content_part" and stage == "done" and isinstance(event.part, dict):
            self._decode_part(self._output_item(event), event.content_index or 0, event.part, items)
        elif subject in _TEXT_KINDS:
            kind = _TEXT_KINDS[subject]
            text = event.delta or (event.text if kind == "output_text" else event.refusal)
            output, index = self._output_item(event), event.content_index or 0
            if event.logprobs and kind == "output_text" and not is_delta:
                self._decode_part(output, index, {"type": kind, "text": text, "logprobs": event.logprobs}, items)
                return
            self._decode_text(output, index, kind, text, is_delta, items)
            if event.logprobs and kind == "output_text" and (tokens := objects_in(event.logprobs)):
                self._append_logprobs(output.parts.get(index), tokens, items)
        elif subject == "content_part" and stage == "added":
            if isinstance(event.part, dict) and (event.part.get("text") or event.part.get("refusal")):
                self._output_item(event).added_parts[event.content_index or 0] = event.part
        elif event.type == _ANNOTATION:
            output, index = self._output_item(event), event.content_index or 0
            if index in output.parts and isinstance(event.part, dict):
                output.annotations.setdefault(index, []).append(event.part)
        elif subject in _REASONING_FIELDS:
            field = _REASONING_FIELDS[subject]
            index = (event.summary_index if field == "summary" else event.content_index) or 0
            text = event.delta or event.text
            text = text.get("text") if isinstance(text, dict) else text
            self._decode_reasoning(self._output_item(event), field, index, text, is_delta, items)
        elif subject == "function_call_arguments":
            self._decode_arguments(self._item_with_call(event), event.delta or event.arguments, is_delta, items)
        elif subject == "custom_tool_call_input":
            output = self._output_item(event)
            self._begin_held(items, output.call)
            output.fragments = output.fragments if is_delta else []
            output.fragments.append(text_or_empty(event.delta if is_delta else event.input))

    def _leave_place(self, place: int | None, item: JSONObject, is_added: bool) -> bool:
        """Return whether an item with an identifier of its own begins at the place of another, and forget that one.

        Some servers number several output items 0 (tashfeenahmed/freellmapi#846, theopenco/llmgateway#2908). Events
        that follow are about the new one, unless they have the identifier of one that is not done: some make several
        calls at once.
        """
        before = self._output.get(place)
        if before is None or not (before.is_done or (is_added and before.is_added)):
            return False
        identifiers = [text_or_empty(item.get(name)) for name in ("id", "call_id")]
        if not any(identifiers) or any(self._output.get(identifier) is not None for identifier in identifiers):
            return False
        del self._output[place]
        if before.is_done:
            before.place = -1  # so that no identifier that the new one shares leads to it
        return True

    def _output_item(
        self, event: _Event, item_id: _JSON = None, call_id: _JSON = None, is_new: bool = False
    ) -> _OutputItem:
        """Return the output item of an event, a new one if none of its identifiers is known."""
        # llama.cpp gives a function_call no id; its deltas have the call_id as item_id (ggml-org/llama.cpp#20607).
        # Numeric identifiers become text: one of 1 is not the item with the `output_index` 1.
        place = event.output_index
        identifiers = [text_or_empty(value) for value in (item_id, call_id, event.item_id)]
        keys: list[int | str | None] = [identifier for identifier in identifiers if identifier]
        keys = (keys if place is None else [*keys, place]) or [None]
        known = (self._output[key] for key in keys if key in self._output and not is_new)
        # Some servers give two items one identifier: then the place decides.
        output = next((item for item in known if None in (place, item.place) or item.place == place), None)
        output = output or _OutputItem()
        output.place = place if output.place is None else output.place
        for key in keys:
            self._output[key] = output
        return output

    def _item_with_call(self, event: _Event) -> _OutputItem:
        """Return the output item of an event about a call's arguments.

        If only its identifier or only its place is that of a call, that one is right (BerriAI/litellm#36375). The
        place decides between two, and the identifier if both are there.
        """
        known = [self._output.get(event.output_index), self._output.get(event.item_id or "")]
        if known[1] is not None and known[1].place == event.output_index:
            known.reverse()
        if event.output_index is None and not event.item_id:
            known.append(self._last_call)
        calls = (output for output in known if output is not None and output.call is not None)
        return next(calls, None) or self._output_item(event)

    def _decode_start(self, response: JSONObject, items: list[Item]) -> None:
        """Append the reply's identity, and once more only if a later event knows more of it."""
        start = Start(
            text_or_empty(response.get("id")) or self._start.id,
            text_or_empty(response.get("model")) or self._start.model,
            count(response.get("created_at")) or self._start.created,
        )
        if start != self._start:
            self._start = start
            items.append(start)

    def _decode_text(
        self, output: _OutputItem, index: int, kind: str, text: object, is_delta: bool, items: list[Item]
    ) -> None:
        """Append a delta of a text or refusal, or what of a complete part was not emitted.

        Raises ProtocolError if a delta is not text.
        """
        if not isinstance(text, str) or not text:
            if is_delta and not is_empty(text):
                raise ProtocolError(f"the server sent a piece of a text that is not text: {display_json(text)}")
            return
        complete = text
        if not is_delta and kind == "refusal":
            text = self._missing_refusal(output, index, text)
        elif not is_delta:
            text = self._missing_text(output, index, text, items)
        if text:
            self._append_text(output, index, kind, text, items)
            if not is_delta and kind == "refusal":
                output.refusals[index].is_done = True
            elif not is_delta:
                output.parts[index].is_done, output.parts[index].complete = True, complete

    def _append_text(self, output: _OutputItem, index: int, kind: str, text: str, items: list[Item]) -> None:
        self._begin_held(items)
        if index not in (output.parts if kind == "output_text" else output.refusals):
            is_first = not (output.parts or output.refusals)
            if is_first and self._last_text is not None and not self._end_annotated(items):
                items.append(OpaquePart(NAME, part="text"))  # so that two messages do not become one
            if kind == "output_text":
                part = _Text(len(self._texts), self.emitted_text_length(items), self._early_tokens)
                self._early_tokens = 0
                self._texts.append(part)
                output.parts[index] = part
            else:
                output.refusals[index] = _Refusal()
                self._refusals.append(output.refusals[index])
        if kind == "refusal":
            output.refusals[index].fragments.append(text)
        self._last_text = output
        self._emitted_types.add(kind)
        self.has_content = True
        items.append(text if kind == "output_text" else Refusal(text))

    def _missing_refusal(self, output: _OutputItem, index: int, text: str) -> str:
        """Return what of a complete refusal was not emitted, as `_missing_text` does."""
        part = output.refusals.get(index)
        if part is None:
            open_ones = (one for one in reversed(self._refusals) if not one.is_done)
            part = next((one for one in open_ones if continuation(one.text, text) is not None), None)
            if part is None:
                return text
            output.refusals[index] = part
        part.is_done = True
        return self._rest_of_refusal(part, text)

    def _rest_of_refusal(self, part: _Refusal, text: str) -> str:
        """Return what a complete refusal adds to a part. One that differs from it is ignored."""
        return (continuation(part.text, text) or "") if part is self._refusals[-1] else ""

    def _append_logprobs(self, part: _Text | None, tokens: list[JSONObject], items: list[Item]) -> None:
        """Append log-probabilities of a text, which may be a part that has not begun."""
        if part is None:
            self._early_tokens += len(tokens)
        else:
            part.tokens += len(tokens)
            self._last_with_tokens = max(self._last_with_tokens, part.number)
        items.append(Logprobs(tokens))

    def _append_missing_logprobs(
        self, part: _Text | None, complete: JSONObject, has_rest: bool, items: list[Item]
    ) -> None:
        """Append the log-probabilities of a complete part, or of what it adds to the text, if no delta had them."""
        tokens = objects_in(complete.get("logprobs"))
        if not tokens or part is None or part.number < self._last_with_tokens or (part.tokens and not has_rest):
            return
        if complete.get("text") == (part.complete or self._text_of(part, items)) and (rest := tokens[part.tokens :]):
            self._append_logprobs(part, rest, items)

    def _missing_text(self, output: _OutputItem, index: int, text: str, items: list[Item]) -> str:
        """Return what of a complete part was not emitted."""
        if index not in output.parts:
            repeated = self._repeated_text(text, items)
            if repeated is None:
                return text
            output.parts[index] = repeated
        part = output.parts[index]
        if part.is_done:
            return ""
        part.is_done = True
        return self._rest_of(part, text, items)

    def _repeated_text(self, text: str, items: list[Item]) -> _Text | None:
        """Return the emitted part that a complete text with unknown identifiers repeats, None if it is new."""
        for part in reversed(self._texts):
            if not part.is_done and continuation(self._text_of(part, items), text) is not None:
                return part
        return None

    def _rest_of(self, part: _Text, text: str, items: list[Item]) -> str:
        """Return what a complete text adds to a part. One that differs from it is ignored."""
        if part.start < self.forgotten:
            part.complete = text
        if text == part.complete or part is not self._texts[-1]:
            return ""
        rest = continuation(self._text_of(part, items), text)
        part.complete = text if rest is not None else part.complete
        return rest or ""

    def _text_of(self, part: _Text, items: list[Item]) -> str:
        number = part.number + 1
        text = self.emitted_text(items, part.start)
        return text[: self._texts[number].start - part.start] if number < len(self._texts) else text

    def _decode_part(self, output: _OutputItem, index: int, part: JSONObject, items: list[Item]) -> None:
        """Append whatever of a complete part no delta had."""
        kind = part.get("type")
        if kind == "output_text":
            before = len(items)
            self._decode_text(output, index, kind, part.get("text"), False, items)
            if part.get("logprobs"):
                self._append_missing_logprobs(output.parts.get(index), part, len(items) > before, items)
        elif kind == "refusal":
            self._decode_text(output, index, kind, part.get("refusal"), False, items)
        elif kind == "reasoning_text":
            self._decode_reasoning(output, "content", index, part.get("text"), False, items)

    def _decode_reasoning(
        self,
        output: _OutputItem,
        field: _ReasoningField,
        index: int,
        text: object,
        is_delta: bool,
        items: list[Item],
    ) -> None:
        """Append reasoning text, with a blank line between parts. vLLM numbers each delta (vllm-project/vllm#35184).

        Of a block that has both a summary and content, only the one that arrives first is emitted.
        """
        if not isinstance(text, str) or not text or output.field not in (None, field):
            return
        follows_part, output.has_ended_part = field != "content" or output.has_ended_part, not is_delta
        if not is_delta and index in output.thoughts:
            return
        self._number_block(output, items)
        output.field = field
        if output.thoughts and index not in output.thoughts and (follows_part or not is_delta):
            text = "\n\n" + text
        output.thoughts.add(index)
        items.append(Reasoning(text, output.index))

    def _number_block(self, output: _OutputItem, items: list[Item]) -> None:
        self._begin_held(items)
        self._end_annotated(items)
        self._last_text = None
        self._emitted_types.add("reasoning")
        if output.index < 0:
            output.index = self._blocks
            self._blocks += 1

    def _decode_arguments(self, output: _OutputItem, text: object, is_delta: bool, items: list[Item]) -> None:
        """Append a delta of a call's arguments, or what of the complete arguments was not emitted.

        Raises ProtocolError if the complete arguments are not those of the deltas, or neither text nor an object.
        """
        if isinstance(text, dict):
            text = arguments_text(text)
        if not isinstance(text, str) or not text:
            if not is_empty(text):
                raise ProtocolError(f"the server sent arguments of a call that are no object: {display_json(text)}")
            return
        call = self._call(output, items)
        if not call.is_begun:
            self._begin_held(items, call)
        if not is_delta and output.has_arguments:
            emitted = call.arguments
            if text == emitted or (call.is_complete and text.lstrip()[:1] != "{"):
                return
            if call.is_partial and (text := continuation(emitted, text)) is None:
                raise two_sets_of_arguments(call.name)
        output.has_arguments = True
        items += self._calls.add(call, arguments=text)

    def _call(self, output: _OutputItem, items: list[Item]) -> ReceivedCall:
        """Return the call of an output item, a new one if it has none. Deltas may come before its id and its name."""
        if output.call is None:
            output.call = self._calls.open()
            self.has_content = True
            self._end_annotated(items)
            self._last_text = None
        self._last_call = output
        return output.call

    def _repeated_call(self, item: JSONObject) -> ReceivedCall | None:
        """Return the call that a complete item with unknown identifiers repeats, None if it is new."""
        call_id, arguments = text_or_empty(item.get("call_id")), arguments_text(item.get("arguments") or "")
        known = self._calls.by_id(call_id) if call_id else None
        if known is None or known.name not in ("", item.get("name")):
            return None
        if known.is_complete:  # the same arguments may be formatted in another way
            is_same = arguments_object(known.arguments) == arguments_object(arguments)
        else:
            is_same = continuation(known.arguments, arguments) is not None
        return known if is_same else None

    def _decode_item(self, output: _OutputItem, item: JSONObject, items: list[Item], done: bool = True) -> None:
        """Append the beginning of an output item; if it is `done`, whatever of it has not been emitted."""
        kind = item.get("type")
        if _is_call(item):
            if done and output.call is None and (known := self._repeated_call(item)) is not None:
                output.call, output.has_own_part = known, True
                output.has_arguments = bool(known.fragments)
            call = self._call(output, items)
            if not call.is_begun:
                call_id = text_or_empty(item.get("call_id")) or text_or_empty(item.get("id"))
                items += self._calls.add(call, call_id, call.name or text_or_empty(item.get("name")))
            if not done:
                output.announced = item.get("arguments")
                self._hold(call, items)
            else:
                self._begin_held(items, call)
                if kind == "custom_tool_call":
                    output.fragments = [text_or_empty(item.get("input"))] if item.get("input") else output.fragments
                    self._end_input(output, items)
                else:
                    self._decode_arguments(output, item.get("arguments"), False, items)
                items += self._calls.end(call)
        elif kind == "reasoning":
            if output.index < 0:
                self._number_block(output, items)
                items.append(Reasoning("", output.index, id=str(item.get("id") or ""), source=NAME))
            if done:
                for index, text in decode_reasoning_texts(item):
                    self._decode_reasoning(output, output.field or "item", index, text, False, items)
                if item.get("encrypted_content") and not output.has_opaque:
                    output.has_opaque = True
                    items.append(Reasoning("", output.index, **own_opaque(item)))
        elif kind == "message":
            for index, part in enumerate(output_parts(item)):
                if done:
                    self._decode_part(output, index, part, items)
                elif part.get("text") or part.get("refusal"):
                    output.added_parts[index] = part
        if done:
            self._note_incomplete(item)
        if done and not output.has_own_part:
            output.has_own_part = True
            self._append_own_part(output, item, items)

    def _note_incomplete(self, item: JSONObject) -> None:
        """Remember that a text or a call was cut, which is an error unless the response is incomplete too."""
        if item.get("status") == "incomplete" and item.get("type") in ("message", *_CALL_TYPES):
            self._incomplete_type = item["type"]

    def _end_input(self, output: _OutputItem, items: list[Item]) -> None:
        """Append the arguments of a call whose tool takes text."""
        if not output.has_arguments:
            output.has_arguments = True
            self._begin_held(items, self._call(output, items))
            items += self._calls.add(self._call(output, items), arguments=custom_arguments("".join(output.fragments)))

    def _append_own_part(self, output: _OutputItem, item: JSONObject, items: list[Item]) -> None:
        """Append the complete item if no other event has all of it: a search, a message's phase, two summaries."""
        kind = item.get("type")
        if not isinstance(kind, str):
            return
        if kind == "message":
            item = _with_annotations(item, output.annotations)
            part, is_own = "text", output is self._last_text and not is_plain_message(item)
        elif _is_call(item):
            is_begun = output.call is not None and output.call.is_begun  # else it has no name, and was dropped
            part = "tool_call"
            is_own = is_begun and (kind == "custom_tool_call" or bool(without_none(item).keys() - _CALL_FIELDS))
        elif kind == "reasoning":
            texts = len(objects_in(item.get("summary"))) + len(objects_in(item.get("content")))
            part, is_own = "reasoning", texts > 1
        else:
            part, is_own = "", True
            self._begin_held(items)
            self._emitted_types.add(kind)
            self._end_annotated(items)
        if is_own:
            if part in ("", "text"):
                self._last_text = None
            index = max(output.index, 0) if output.call is None else output.call.number
            items.append(OpaquePart(NAME, item, part, index))

    def end(self, response: JSONObject, items: list[Item], incomplete: bool = False) -> None:
        """Append whatever of the complete response has not been emitted, its usage and its finish reason.

        Raises the error that it reports, or one for a status or a reason that is not the end of a reply.
        """
        output = response.get("output")
        received = objects_in([output] if isinstance(output, dict) else output)
        output_items = [item for outer in received for item in _with_usual_shape(outer)]
        kept = self._drop_superseded(output_items)
        self._begin_held(items)
        self._decode_start(response, items)
        emitted_types = set(self._emitted_types)  # a copy, because decoding an item adds its own type
        calls = itertools.count()
        outputs = {output.call.number: output for output in self._output.values() if output.call is not None}
        if isinstance(text := response.get("output_text"), str) and text and not self._texts and not output_items:
            output_items = [{"type": "message", "content": text}]
        texts = [(part, part.complete or self._text_of(part, items)) for part in self._texts]
        emitted_texts = _pairs(output_items, "output_text", "text", texts)
        emitted_refusals: list[dict[int, _Refusal]] = [{}] * len(output_items)
        if self._refusals:
            refusals = [(part, part.text) for part in self._refusals]
            emitted_refusals = _pairs(output_items, "refusal", "refusal", refusals)
        for place, item in enumerate(output_items):
            kind = item.get("type")
            if _is_call(item):
                known = self._known_call(kept, next(calls), item)
                emitted = outputs.get(known.number) if known is not None else None
                self._decode_item(emitted or _OutputItem(), item, items)
            elif kind == "message":
                self._end_message(item, emitted_texts[place], emitted_refusals[place], items)
            elif not (isinstance(kind, str) and kind in emitted_types):
                self._decode_item(_OutputItem(), item, items)
        self._end_added(items)
        for emitted in outputs.values():
            if emitted.fragments:
                self._end_input(emitted, items)
            elif emitted.announced and not emitted.has_arguments:
                self._decode_arguments(emitted, emitted.announced, False, items)
        items += self._calls.close()
        if usage := object_or_empty(response.get("usage")):
            items.append(_decode_usage(usage, sum(map(_is_search, output_items))))
        if has_error(response.get("error")):
            raise decode_error(response["error"])
        status = str(response.get("status") or "completed")
        if status == "failed":
            raise status_error(None, _NO_REASON)
        if incomplete or status == "incomplete" or object_or_empty(response.get("incomplete_details")).get("reason"):
            finish = _decode_incomplete(response)
            check_finish("incomplete_details.reason", finish.raw or finish.reason, INCOMPLETE_REASONS, self.has_content)
            self._done = True
            items.append(finish)
        else:
            if status != "completed":
                raise TruncatedError(f"the reply is not complete, its status is {status!r}")
            for item in output_items:
                self._note_incomplete(item)
            if self._incomplete_type:
                raise TruncatedError(f"the response is completed, but its {self._incomplete_type} is incomplete")
            self._done = True
            items.append(Finish("tool_calls" if self._calls else "stop"))

    def _end_message(
        self, item: JSONObject, emitted: dict[int, _Text], refused: dict[int, _Refusal], items: list[Item]
    ) -> None:
        """Append whatever of a message of the complete response has not been emitted."""
        output = _OutputItem()
        for index, part in enumerate(output_parts(item)):
            if index in emitted:
                rest = self._rest_of(emitted[index], text_or_empty(part.get("text")), items)
                items += [rest] if rest else []
                if part.get("logprobs"):
                    self._append_missing_logprobs(emitted[index], part, bool(rest), items)
            elif index in refused:
                rest = self._rest_of_refusal(refused[index], text_or_empty(part.get("refusal")))
                items += [Refusal(rest)] if rest else []
            elif part.get("type") in ("output_text", "refusal"):
                self._append_new_part(output, index, part, items)
        if output.parts and not emitted:
            self._append_own_part(output, item, items)
        last = self._last_text
        if last is not None and not last.has_own_part and any(part in emitted.values() for part in last.parts.values()):
            last.has_own_part = True
            self._append_own_part(last, item, items)

    def _append_new_part(self, output: _OutputItem, index: int, part: JSONObject, items: list[Item]) -> None:
        """Append a part of the complete response that no event had."""
        kind = part["type"]
        if text := text_or_empty(part.get("text" if kind == "output_text" else kind)):
            self._append_text(output, index, kind, text, items)
            if kind == "output_text" and (tokens := objects_in(part.get("logprobs"))):
                self._append_logprobs(output.parts[index], tokens, items)

    def _end_added(self, items: list[Item]) -> None:
        """Append texts that only events at the beginning of their parts had, and annotations without a message."""
        if self._emitted_types.isdisjoint(("output_text", "refusal")):
            for output in list(dict.fromkeys(self._output.values())):
                for index, part in output.added_parts.items():
                    self._decode_part(output, index, part, items)
        self._end_annotated(items)

    def _end_annotated(self, items: list[Item]) -> bool:
        """Append the annotations of the last text, if its message has not ended. Return whether there are any."""
        last = self._last_text
        if last is None or last.has_own_part or not last.annotations or self.forgotten:
            return False
        parts = [
            {
                "type": "output_text",
                "text": self._text_of(part, items),
                "annotations": last.annotations.get(index, []),
            }
            for index, part in last.parts.items()
        ]
        last.has_own_part = True
        self._append_own_part(last, {"type": "message", "role": "assistant", "content": parts}, items)
        return True

    def _hold(self, call: ReceivedCall, items: list[Item]) -> None:
        """Hold back a call that was only announced, and no earlier one of another function."""
        if self._held and self._held[0].name != call.name:
            self._begin_held(items)
        if not (call.is_begun or call in self._held):
            self._held.append(call)

    def _begin_held(self, items: list[Item], call: ReceivedCall | None = None) -> None:
        """Append the first pieces of calls, before anything else of the reply.

        If that is more of a call, those that were announced before it stay held back: it may be one of them.
        """
        if self._held:
            held, self._held = self._held, []
            for one in held:
                if call is not None and one.number < call.number and one.name == call.name:
                    self._held.append(one)
                else:
                    items += self._calls.begin(one)
        if call is not None:
            items += self._calls.begin(call)

    def _drop_superseded(self, output_items: list[JSONObject]) -> list[ReceivedCall]:
        """Drop the calls of which only the announcement was read, and return the others.

        Some servers announce a call again with other identifiers, under which the rest of it arrives. The complete
        response does not have the first ones.
        """
        outputs = [output for output in dict.fromkeys(self._output.values()) if output.call is not None]
        complete = {_call_of(output).name for output in outputs if output.is_done}
        missing = Counter([text_or_empty(item.get("call_id")) for item in output_items if _is_call(item)])
        missing -= Counter([_call_of(output).received_id for output in outputs if output.call not in self._held])
        dropped = [one for one in self._held if one.name in complete and not missing[one.received_id]]
        for output in outputs:
            if output.call in dropped:
                output.announced = None
        for call in dropped:
            self._calls.drop(call)
        self._held = [call for call in self._held if call not in dropped]
        calls = [_call_of(output) for output in outputs if output.call not in dropped]
        return sorted(calls, key=lambda call: call.number)

    def _known_call(self, kept: list[ReceivedCall], number: int, item: JSONObject) -> ReceivedCall | None:
        """Return the call that an item of the complete response repeats, None if it is new.

        It is the one at the same place, because some servers give a call another id here, or one id to two calls; but
        the one with its id if that one has another id than the call at this place.
        """
        call_id = text_or_empty(item.get("call_id"))
        known, named = kept[number] if number < len(kept) else None, self._calls.by_id(call_id)
        if known is not None and known.name in ("", item.get("name")) and (known.received_id == call_id or not named):
            return known
        return named


_Part = TypeVar("_Part", _Text, _Refusal)


def _pairs(
    output_items: list[JSONObject], kind: str, field: str, emitted: list[tuple[_Part, str]]
) -> list[dict[int, _Part]]:
    """Return which emitted part each part of the complete response repeats, by its index in each of the items.

    First those with the same text, then the remaining ones in their order. What is left is new.
    """
    pairs: list[dict[int, _Part]] = [{} for _ in output_items]
    parts = [
        (place, index, text)
        for place, item in enumerate(output_items)
        if item.get("type") == "message"
        for index, part in enumerate(output_parts(item))
        if part.get("type") == kind and (text := text_or_empty(part.get(field)))
    ]
    for is_exact in (True, False):
        for place, index, text in parts:
            if index in pairs[place]:
                continue
            match = next((one for one in emitted if not is_exact or one[1] == text), None)
            if match is not None:
                emitted.remove(match)
                pairs[place][index] = match[0]
    return pairs


def read_document(name: str, body: bytes, ends_without_finish: bool = False) -> list[Item]:
    """Return the items of a `response` document.

    Raises msgspec.DecodeError if the body is not this API's, and as `end` if the reply is not complete.
    """
    document = decode_document(body, _Document)
    if document.error is not None and document.output is None:
        raise decode_error(document.error)
    if document.output is None and not isinstance(document.output_text, str):
        if (error := bare_error(body)) is not None:
            raise decode_error(error)
        raise msgspec.ValidationError("it has no output")
    items: list[Item] = []
    with text_on_error(items):
        reader = StreamReader(name, ends_without_finish)
        reader.end(msgspec.to_builtins(document), items)
        reader.check_calls(items)
    return items


def _decode_rare_fields(event: _Event, record: bytes) -> None:
    """Add an annotation, as the `part`, or the response whose fields a server sends beside the type."""
    if event.type not in _RARE_FIELDS or (event.response and event.type != _ANNOTATION):
        return
    try:
        fields = _decode_fields(record)
    except UNDECODABLE:  # only the lenient decoding can read it
        return
    if event.type == _ANNOTATION:
        event.part = fields.get("annotation")
    else:
        known = ("type", "sequence_number", "response")
        event.response = {name: value for name, value in fields.items() if name not in known}


def _with_annotations(message: JSONObject, annotations: Mapping[int, list[JSONObject]]) -> JSONObject:
    """Return a message with the annotations of its parts, by their indices, where it has none itself."""
    if not annotations:
        return message
    parts = [
        {**part, "annotations": annotations[index]} if index in annotations and not part.get("annotations") else part
        for index, part in enumerate(output_parts(message))
    ]
    return {**message, "content": parts}


def _flat_error(event: _Event) -> JSONObject:
    """Return the error whose fields are those of the event."""
    return {"code": event.code, "message": event.message} if event.code or event.message else {}


def _with_usual_shape(item: JSONObject) -> list[JSONObject]:
    """Return an output item in its usual shape, followed by the calls that are inside of it.

    Some servers send a message without its type or only its part, a function as in Chat Completions or under another
    name, or the calls in the message.
    """
    kind = item.get("type")
    if kind == "output_text":
        return [{"type": "message", "content": [item]}]
    if kind == "message" or (item.get("content") and not kind):
        calls = objects_in(elements_of(item.get("tool_calls")))
        message = {name: value for name, value in item.items() if name != "tool_calls"}
        return [{**message, "type": "message"}, *[_with_usual_call(call) for call in calls]]
    function = object_or_empty(item.get("function"))
    is_call = kind == "function_call" or (kind in _OTHER_CALL_TYPES and (function or item).get("name"))
    return [_with_usual_call(item) if is_call else item]


_OTHER_CALL_TYPES = ("tool_call", "tool_use", "function")
"""Types that items with a call have at servers that put another API's into the output."""


def _with_usual_call(item: JSONObject) -> JSONObject:
    call = {**item, **object_or_empty(item.get("function")), "type": "function_call"}
    call["arguments"] = call.get("arguments") or arguments_in(call)
    return {name: value for name, value in call.items() if name not in ("function", "index", *ARGUMENT_FIELDS[1:])}


def _is_call(item: JSONObject) -> bool:
    """Return whether an output item is a call that the caller has to make. xAI's search in posts looks like one.

    Source: vercel/ai issue 10607.
    """
    return item.get("type") in _CALL_TYPES and item.get("name") not in _SEARCHES_OF_XAI


_SEARCHES_OF_XAI = ("x_keyword_search", "x_semantic_search", "x_user_search", "x_thread_fetch")
"""Names of calls that xAI's server makes itself if a request has the tool `x_search`."""


INCOMPLETE_REASONS = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
    "max_messages": "max_messages",
    "steered": "steered",
}
"""Reasons why a response is `incomplete`, and the finish reasons of the shared shape."""


def _decode_incomplete(response: JSONObject) -> Finish:
    details = response.get("incomplete_details")
    raw = object_or_empty(details).get("reason") or (details if isinstance(details, str) else "")
    raw = reason_in(raw) if isinstance(raw, dict) else text_or_empty(raw) or "incomplete"
    reason = INCOMPLETE_REASONS.get(raw) or shared_reason(raw)  # compatible servers send those of Chat Completions
    return Finish(reason, raw=raw if raw != reason else "")


def decode_error(error: object) -> StatusError:
    """Return the error that a document or an event reports. Every code about an image is the fault of the request."""
    fields = object_or_empty(error)
    codes = [code for code in (fields.get("code"), fields.get("type")) if isinstance(code, str)]
    return error_from_event(error, {**{code: 400 for code in codes if "image" in code}, **STATUSES}, TOO_LONG)


STATUSES = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "too_many_requests": 429,
    "insufficient_quota": 429,
    "usage_limit_reached": 429,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "bio_policy": 400,
    "data_residency_mismatch": 400,
    "misalignment_policy_violation": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "server_error": 500,
    "upstream_error": 502,
    "server_is_overloaded": 503,
    "overloaded_error": 503,
    "slow_down": 503,
    "timeout_error": 504,
    "vector_store_timeout": 504,
}
"""The HTTP status of each error code or type: a stream's own status is always 200."""


def _is_search(item: JSONObject) -> bool:
    """Return whether an output item is a web search. Source: the guide, "Web search": only searches cost a call."""
    return item.get("type") == "web_search_call" and object_or_empty(item.get("action")).get("type") in (None, "search")


def _decode_usage(fields: JSONObject, searches: int) -> Usage:
    """Return the token counts. Some servers have the names of Chat Completions."""
    input_details = object_or_empty(fields.get("input_tokens_details", fields.get("prompt_tokens_details")))
    output_details = object_or_empty(fields.get("output_tokens_details", fields.get("completion_tokens_details")))
    return Usage(
        count(fields.get("input_tokens", fields.get("prompt_tokens"))),
        count(fields.get("output_tokens", fields.get("completion_tokens"))),
        count(input_details.get("cached_tokens")),
        count(input_details.get("cache_write_tokens")),
        count(output_details.get("reasoning_tokens")),
        other_counts={"web_searches": searches} if searches else {},
    )
