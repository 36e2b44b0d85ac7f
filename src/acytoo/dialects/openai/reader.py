"""Replies of OpenAI's chat completions, and of the servers that are compatible with it, as items."""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.error_bodies import error_from_event
from acytoo.dialects.fields import count
from acytoo.dialects.json import UNDECODABLE
from acytoo.dialects.readers import RecordReader, bare_error
from acytoo.dialects.server_side import new_id
from acytoo.dialects.tool_calls import arguments_text
from acytoo.errors import status_error
from acytoo.types import (
    Finish,
    Item,
    Logprobs,
    Reasoning,
    Refusal,
    Start,
    ToolCall,
    Usage,
    signature_of,
)
from acytoo.wire.sse import SSEDecoder


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    finish_reason: str | None = None
    index: int | None = 0
    logprobs: dict[str, Any] | None = None
    message: _Delta | None = None
    error: Any = None


class Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    id: str | None = None
    model: str | None = None
    created: Any = None
    error: Any = None


decode = msgspec.json.Decoder(Chunk).decode
_DONE = b"[DONE]"


def _telling(records: list[bytes]) -> list[bytes]:
    """All but those that say they are not the end, or have no choice, and name no error.

    Inside a text, quotes are escaped. A record is searched from its right, where such words are.
    """
    return [
        record
        for record in records
        if (record.rfind(b'"finish_reason":null') < 0 and record.rfind(b'"choices":[]') < 0)
        or record.rfind(b'"error"') >= 0
    ]


def _has_text(record: bytes) -> bool:
    return b'"content":"' in record and b'"content":""' not in record


class StreamReader(RecordReader):
    """Chunks of a streamed completion; complete with a finish reason, or with `[DONE]` where anything was said."""

    ending = "finish_reason or [DONE] after a reply"

    def __init__(self, name: str) -> None:
        super().__init__(name, SSEDecoder())
        self._named = False
        self._started = False
        self._said = False
        self._done = False
        self.finished = False
        self._ids: list[str] = []
        self._calls: dict[int | None, int] = {}

    @property
    def complete(self) -> bool:
        """A finish reason came, or `[DONE]` after something."""
        return self.finished or (self._done and self._said)

    def significant(self, records: list[bytes]) -> list[bytes]:
        """All until one has a text, then all but those that say they are not the end and name no error."""
        if self._said:
            return _telling(records)
        begun = next((place for place, record in enumerate(records) if _has_text(record)), len(records)) + 1
        return records[:begun] + _telling(records[begun:])

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Add the items of some records; only text or arguments, as in nearly all, take the short way."""
        for record in records:
            if self._done:
                break
            if record == _DONE:
                self._done = True
                break
            try:
                chunk = decode(record)
            except UNDECODABLE:
                unusual = self._unusual(record)
                if unusual is None:
                    continue
                chunk = unusual
            choices = chunk.choices
            if choices and len(choices) == 1:
                choice = choices[0]
                delta = choice.delta
                if delta is not None:
                    text, calls = delta.content, delta.tool_calls
                    if (
                        (type(text) is str or (text is None and calls))
                        and choice.finish_reason is None
                        and chunk.usage is None
                        and choice.logprobs is None
                        and (calls is None or not text)
                        and delta.reasoning_content is None
                        and delta.reasoning is None
                        and delta.refusal is None
                        and delta.function_call is None
                        and not choice.index
                        and chunk.error is None
                        and choice.error is None
                    ):
                        if not self._started:
                            self._start(chunk, items, text or calls)
                        if text:
                            items.append(text)
                        elif calls:
                            for call in calls:
                                items += self._call(call)
                        continue
            if (
                choices is None
                and chunk.error is None
                and chunk.usage is None
                and (error := bare_error(record)) is not None
            ):
                raise error_from_event(error, STATUS)
            items += self.items(chunk)

    def _unusual(self, record: bytes) -> Chunk | None:
        """A record that msgspec refuses: `[DONE]`, an empty one, or one with half a character."""
        word = record.strip()
        if not word:
            return None
        if word == _DONE:
            self._done = True
            return None
        return self.decode_unusual(record, Chunk)

    def items(self, chunk: Chunk) -> list[Item]:
        """The items of one chunk, or of a whole completion."""
        if chunk.error or (chunk.error is not None and chunk.choices is None):
            raise error_from_event(chunk.error, STATUS)
        items: list[Item] = []
        if not self._started:
            self._start(chunk, items)
        before = len(items)
        for choice in chunk.choices or ():
            if choice.error:
                raise error_from_event(choice.error, STATUS)
            if choice.index:
                continue
            delta = choice.delta or choice.message
            if delta is not None:
                self._delta(delta, items)
            tokens = choice.logprobs.get("content") if choice.logprobs else None
            if tokens and isinstance(tokens, list):
                items.append(Logprobs(tokens))
            if choice.finish_reason and not self.finished:
                if choice.finish_reason == "error":
                    raise status_error(None, "the server ended the reply with the finish_reason 'error'", code="error")
                self.finished = True
                items.append(_finish(choice.finish_reason))
        if len(items) > before:
            self._said = True
        if chunk.usage:
            items.append(_usage(chunk.usage))
        return items

    def _start(self, chunk: Chunk, items: list[Item], said: object = None) -> None:
        """The reply's identity, once; after that, and the first thing said, a piece of text has nothing to start."""
        if not self._named and (chunk.id or chunk.model):
            self._named = True
            items.append(Start(chunk.id or "", chunk.model or "", count(chunk.created)))
        if said:
            self._said = True
        self._started = self._named and self._said

    def _delta(self, delta: _Delta, items: list[Item]) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            items.append(Reasoning(thought))
        if isinstance(delta.content, str):
            if delta.content:
                items.append(delta.content)
        elif delta.content:
            items += _parts(delta.content)
        if delta.refusal:
            items.append(Refusal(delta.refusal))
        for call in delta.tool_calls or ():
            items += self._call(call)
        if delta.function_call:
            items += self._call(_ToolCall(function=delta.function_call))

    def _call(self, call: _ToolCall) -> list[Item]:
        """The piece of a tool call, numbered in order of appearance.

        Some servers leave `index` out (Gemini's), or have 0 for every call (Ollama's), or give no id.
        """
        function = call.function or _Function()
        number = self._calls.get(call.index)
        if (
            number is not None
            and call.index is not None
            and call.id is None
            and function.name is None
            and type(function.arguments) is str
            and call.extra_content is None
        ):
            return [ToolCall(number, arguments=function.arguments)]
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = arguments_text(arguments)
        if number is None:
            begins = bool(call.id or function.name or arguments)
        elif call.id and call.id != self._ids[number]:
            begins = call.index is None or bool(function.name)
        else:
            begins = call.index is None and not call.id and bool(function.name)
        given = ""
        if begins:
            given = call.id or new_id("call_")
            number = self._calls[call.index] = len(self._ids)
            self._ids.append(given)
        if number is None:
            return []
        signed = signature_of({"extra_content": call.extra_content}) or ("", "")
        return [ToolCall(number, given, function.name or "", arguments or "", *signed)]


def _parts(parts: list[dict[str, Any]]) -> list[Item]:
    """Content parts inside a delta (Mistral's `thinking` and `text`)."""
    items: list[Item] = []
    for part in parts:
        if isinstance(part.get("text"), str) and part["text"]:
            items.append(part["text"])
        elif isinstance(part.get("thinking"), list):
            thoughts = [thought.get("text") for thought in part["thinking"] if isinstance(thought, dict)]
            items += [Reasoning(text) for text in thoughts if text and isinstance(text, str)]
    return items


STATUS = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
}

_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})


def _finish(reason: str) -> Finish:
    if reason in _REASONS:
        return Finish(reason)
    return Finish("tool_calls" if reason == "function_call" else reason, raw=reason)


def _usage(fields: dict[str, Any]) -> Usage:
    """Usage in OpenAI's names; DeepSeek's `prompt_cache_hit_tokens` too."""
    into, out = fields.get("prompt_tokens_details"), fields.get("completion_tokens_details")
    cached = count(fields.get("prompt_cache_hit_tokens"))
    written = thought = 0
    if into and isinstance(into, dict):
        cached, written = count(into.get("cached_tokens")) or cached, count(into.get("cache_write_tokens"))
    if out and isinstance(out, dict):
        thought = count(out.get("reasoning_tokens"))
    sent, said = count(fields.get("prompt_tokens")), count(fields.get("completion_tokens"))
    return Usage(sent, said, cached, written, thought)
