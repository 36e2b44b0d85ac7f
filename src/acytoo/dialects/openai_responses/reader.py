"""OpenAI's Responses, what comes back: typed events or one document, to items.

Source: OpenAI's API reference ("Responses", "Streaming events"), the types of its Python SDK, and events of other
servers as observed (llama.cpp leaves `output_index` out). Errors come nested in `error`, not flat as documented.
"""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.error_bodies import error_from_event
from acytoo.dialects.fields import object_or_empty, objects_in
from acytoo.dialects.json import UNDECODABLE
from acytoo.dialects.openai_responses.request import NAME, opaque_of, reasoning_texts
from acytoo.dialects.readers import RecordReader, bare_error
from acytoo.errors import StatusError, status_error
from acytoo.types import Finish, Item, Logprobs, Reasoning, Refusal, Start, ToolCall, Usage
from acytoo.wire.sse import SSEDecoder


class Document(msgspec.Struct):
    """A whole response, as far as it is read."""

    output: list[dict[str, Any]] | None = None
    status: str | None = None
    error: Any = None
    incomplete_details: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    id: str | None = None
    model: str | None = None
    created_at: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: Any = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    item_id: str | None = None
    logprobs: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    item: Any = None
    part: Any = None
    response: Any = None
    error: Any = None
    code: Any = None
    message: Any = None


_decode = msgspec.json.Decoder(_Event).decode

_TEXT = "response.output_text.delta"


class _Slot:
    """One output item as far as it was told: `number` among calls or blocks, `heard` the parts that came."""

    __slots__ = ("heard", "kind", "number", "opaque")

    def __init__(self) -> None:
        self.heard: set[int] = set()
        self.number = -1
        self.kind = ""
        self.opaque = False


class StreamReader(RecordReader):
    """Typed events; complete with `response.completed` or `response.incomplete` alone.

    What was told as deltas is not told again by the events that repeat it whole; what came only whole is told once.
    Servers that leave `output_index` out are followed by `item_id`.
    """

    ending = "response.completed or response.incomplete"

    def __init__(self) -> None:
        super().__init__(NAME, SSEDecoder())
        self._done = False
        self._failed = False
        self._start = Start()
        self._slots: dict[int | str | None, _Slot] = {}
        self._calls: dict[str, _Slot] = {}
        self._blocks = 0
        self._told: set[str] = set()

    @property
    def complete(self) -> bool:
        """The response was completed, or is incomplete as it says itself."""
        return self._done

    def close(self) -> None:
        """Raises TruncatedError where no end of the response came, ServerError where it failed without a word."""
        if self._failed:
            raise status_error(None, "the response failed, the server did not say why")
        super().close()

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Add the items of some events; a piece of a text that has begun, as nearly all are, takes the short way."""
        for record in records:
            if self._done:
                break
            try:
                event = _decode(record)
            except UNDECODABLE:
                if record.strip() in (b"", b"[DONE]"):
                    continue
                event = self.decode_unusual(record, _Event)
            if event.type == _TEXT and not event.logprobs and type(event.delta) is str:
                slot = self._slots.get(event.output_index)
                if slot is not None and event.content_index in slot.heard:
                    if event.delta:
                        items.append(event.delta)
                    continue
            if not event.type and event.error is None and (error := bare_error(record)) is not None:
                raise error_from_response(error)
            self._event(event, items)

    def _event(self, event: _Event, items: list[Item]) -> None:
        subject, _, what = event.type.removeprefix("response.").rpartition(".")
        if event.type == "error" or event.error is not None:
            raise error_from_response(
                event.error if event.error is not None else {"code": event.code, "message": event.message}
            )
        if event.type in ("response.created", "response.queued", "response.in_progress"):
            self._begin(object_or_empty(event.response), items)
        elif event.type in ("response.completed", "response.incomplete") and (event.response or self._slots):
            self.end(object_or_empty(event.response), items, incomplete=event.type == "response.incomplete")
        elif event.type == "response.failed":
            if (error := object_or_empty(event.response).get("error")) is not None:
                raise error_from_response(error)
            self._failed = True
        elif subject == "output_item":
            item = object_or_empty(event.item)
            self._item(self._slot(event, item.get("id"), item.get("call_id")), item, items, done=what == "done")
        elif subject == "content_part" and what == "done" and isinstance(event.part, dict):
            self._part(self._slot(event), event.content_index or 0, event.part, items)
        elif subject in ("output_text", "refusal"):
            text = event.text if subject == "output_text" else event.refusal
            self._said(self._slot(event), event.content_index or 0, subject, event.delta or text, what, items)
            if subject == "output_text" and what == "delta" and (tokens := objects_in(event.logprobs)):
                items.append(Logprobs(tokens))
        elif subject in ("reasoning_summary_text", "reasoning_text"):
            field = "summary" if subject == "reasoning_summary_text" else "content"
            place = (event.summary_index if field == "summary" else event.content_index) or 0
            self._thought(self._slot(event), field, place, event.delta or event.text, what, items)
        elif subject == "function_call_arguments":
            self._arguments(self._slot(event), event.delta or event.arguments, what, items)

    def _slot(self, event: _Event, item_id: Any = None, call_id: Any = None) -> _Slot:
        # llama.cpp gives a function_call no id; its deltas have the call_id as item_id (ggml-org/llama.cpp#20607).
        given = (event.output_index, event.item_id, item_id, call_id)
        names: list[int | str | None] = [name for name in given if isinstance(name, (int, str)) and name != ""]
        names = names or [None]
        slot = next((self._slots[name] for name in names if name in self._slots), None) or _Slot()
        for name in names:
            self._slots.setdefault(name, slot)
        return slot

    def _begin(self, response: dict[str, Any], items: list[Item]) -> None:
        """The reply's identity, told again only where a later event knows more of it."""
        created = response.get("created_at")
        start = Start(
            str(response.get("id") or self._start.id),
            str(response.get("model") or self._start.model),
            int(created) if isinstance(created, (int, float)) else self._start.created,
        )
        if start != self._start:
            self._start = start
            items.append(start)

    def _said(self, slot: _Slot, place: int, subject: str, text: Any, what: str, items: list[Item]) -> None:
        """Answer text or refusal: a delta always, a whole part only where no delta of it came."""
        if not isinstance(text, str) or not text or (what != "delta" and place in slot.heard):
            return
        slot.heard.add(place)
        self._told.add("message")
        items.append(text if subject == "output_text" else Refusal(text))

    def _part(self, slot: _Slot, place: int, part: dict[str, Any], items: list[Item]) -> None:
        kind = part.get("type")
        if kind == "output_text":
            new = place not in slot.heard
            self._said(slot, place, kind, part.get("text"), "done", items)
            if new and part.get("text") and (tokens := objects_in(part.get("logprobs"))):
                items.append(Logprobs(tokens))
        elif kind == "refusal":
            self._said(slot, place, kind, part.get("refusal"), "done", items)
        elif kind == "reasoning_text":
            self._thought(slot, "content", place, part.get("text"), "done", items)

    def _thought(self, slot: _Slot, field: str, place: int, text: Any, what: str, items: list[Item]) -> None:
        """Reasoning text, a blank line between its parts; a block's summary or its content, whichever came first."""
        if not isinstance(text, str) or not text or slot.kind not in ("", field):
            return
        if what != "delta" and place in slot.heard:
            return
        self._open_block(slot)
        slot.kind = field
        if slot.heard and place not in slot.heard:
            text = "\n\n" + text
        slot.heard.add(place)
        items.append(Reasoning(text, slot.number))

    def _open_block(self, slot: _Slot) -> None:
        self._told.add("reasoning")
        if slot.number < 0:
            slot.number = self._blocks
            self._blocks += 1

    def _arguments(self, slot: _Slot, text: Any, what: str, items: list[Item]) -> None:
        if not isinstance(text, str) or not text or (what != "delta" and slot.heard):
            return
        slot.heard.add(0)
        if slot.number < 0:
            slot.number = len(self._calls)
            self._calls[f"#{slot.number}"] = slot
        items.append(ToolCall(slot.number, arguments=text))

    def _item(self, slot: _Slot, item: dict[str, Any], items: list[Item], done: bool = True) -> None:
        """An output item, begun or whole; of one that is whole, what was not told before."""
        kind = item.get("type")
        if kind == "function_call":
            if slot.number < 0:
                slot.number = len(self._calls)
                call_id = str(item.get("call_id") or item.get("id") or "")
                self._calls[call_id or f"#{slot.number}"] = slot
                items.append(ToolCall(slot.number, call_id, str(item.get("name") or "")))
            if done:
                self._arguments(slot, item.get("arguments"), "done", items)
        elif kind == "reasoning":
            if slot.number < 0:
                self._open_block(slot)
                items.append(Reasoning("", slot.number, id=str(item.get("id") or ""), source=NAME))
            if done:
                for place, text in reasoning_texts(item):
                    self._thought(slot, slot.kind or "whole", place, text, "done", items)
                if item.get("encrypted_content") and not slot.opaque:
                    slot.opaque = True
                    items.append(Reasoning("", slot.number, **opaque_of(item)))
        elif kind == "message" and done:
            for place, part in enumerate(objects_in(item.get("content"))):
                self._part(slot, place, part, items)

    def end(self, response: dict[str, Any], items: list[Item], incomplete: bool = False) -> None:
        """The whole response: what of it was not told before, its usage, and why it ended."""
        self._begin(response, items)
        told = list(self._told)
        for item in objects_in(response.get("output")):
            if item.get("type") not in told:
                self._item(self._calls.get(str(item.get("call_id")), _Slot()), item, items)
        if usage := object_or_empty(response.get("usage")):
            items.append(_usage(usage))
        self._done = True
        if incomplete or response.get("status") == "incomplete":
            raw = str(object_or_empty(response.get("incomplete_details")).get("reason") or "incomplete")
            reason = _REASONS.get(raw, raw)
            items.append(Finish(reason, raw=raw if raw != reason else ""))
        else:
            items.append(Finish("tool_calls" if self._calls else "stop"))


_REASONS = {"max_output_tokens": "length"}


def error_from_response(error: Any) -> StatusError:
    """Return the error that a document or an event reports. Every code about an image means a bad request."""
    fields = error if isinstance(error, dict) else {"message": str(error)}
    codes = [code for code in (fields.get("code"), fields.get("type")) if isinstance(code, str)]
    return error_from_event(fields, {**{code: 400 for code in codes if "image" in code}, **_STATUS})


_STATUS = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "too_many_requests": 429,
    "insufficient_quota": 429,
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


def _usage(fields: dict[str, Any]) -> Usage:
    into = object_or_empty(fields.get("input_tokens_details"))
    out = object_or_empty(fields.get("output_tokens_details"))
    counts = (
        fields.get("input_tokens"),
        fields.get("output_tokens"),
        into.get("cached_tokens"),
        into.get("cache_write_tokens"),
        out.get("reasoning_tokens"),
    )
    return Usage(*[count if isinstance(count, int) else 0 for count in counts])
