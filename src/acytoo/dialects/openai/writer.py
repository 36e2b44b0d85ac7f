"""Items as chunks of a streamed chat completion."""

from __future__ import annotations

import functools
import time
from typing import Any

import msgspec

from acytoo.dialects.base import Writer
from acytoo.dialects.error_bodies import describe_error, openai_error
from acytoo.dialects.server_side import new_id
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
    Usage,
    signature_content,
)
from acytoo.wire.sse import COMMENT


def usage_fields(usage: Usage) -> dict[str, Any]:
    details: dict[str, int] = {"cached_tokens": usage.cached_tokens}
    if usage.cache_write_tokens:
        details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


_BEFORE = b'{"index":0,"delta":{"content":'
_AFTER = b'},"logprobs":null,"finish_reason":null}]}\n\n'


class StreamWriter(Writer):
    """`chat.completion.chunk` events; the frame of a text chunk is rendered once."""

    ping = COMMENT

    def __init__(self, model: str, usage: bool) -> None:
        self._id = new_id("chatcmpl-")
        self._model = model
        self._created = int(time.time())
        self._with_usage = usage
        self._usage: Usage | None = None
        self._calls: set[int] = set()
        self._open = False
        self._finished = False

    @functools.cached_property
    def _head(self) -> bytes:
        head = msgspec.json.encode(
            {
                "id": self._id,
                "object": "chat.completion.chunk",
                "created": self._created,
                "model": self._model,
            }
        )
        return b"data: " + head[:-1] + b',"choices":['

    def write(self, items: list[Item]) -> bytes:
        """Every item as a chunk of its own."""
        out: list[bytes] = []
        encode, before = msgspec.json.encode, self._head + _BEFORE
        for item in items:
            if type(item) is str:
                if not self._open:
                    out.append(self._opening())
                out += (before, encode(item), _AFTER)
            elif isinstance(item, Start):
                self._id, self._model = item.id or self._id, item.model or self._model
                self._created = item.created or self._created
                del self._head
                before = self._head + _BEFORE
                out.append(self._opening())
            elif isinstance(item, Event):
                if not self._open:
                    out.append(self._opening())
                out.append(self._event(item))
        return b"".join(out)

    def end(self) -> bytes:
        """A reason where the reply has told none, usage where asked for, then `[DONE]`."""
        last = b"" if self._open else self._opening()
        if not self._finished:
            last += self._choice({}, "stop")
        if self._with_usage and self._usage:
            last += self._head + b'],"usage":' + msgspec.json.encode(usage_fields(self._usage)) + b"}\n\n"
        return last + b"data: [DONE]\n\n"

    def fail(self, error: AcytooError) -> bytes:
        """An error event, which the makers' clients raise; no `[DONE]` follows."""
        told = openai_error(error) | {"code": describe_error(error)[0]}
        return b"data: " + msgspec.json.encode({"error": told}) + b"\n\n"

    def _opening(self) -> bytes:
        if self._open:
            return b""
        self._open = True
        return self._choice({"role": "assistant", "content": ""})

    def _choice(self, delta: dict[str, Any], reason: str | None = None, logprobs: Any = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._head + msgspec.json.encode(choice) + b"]}\n\n"

    def _event(self, item: Event) -> bytes:
        if isinstance(item, ToolCall):
            return self._choice({"tool_calls": [self._call(item)]})
        if isinstance(item, Reasoning):
            return self._choice({"reasoning_content": item.text}) if item.text else b""
        if isinstance(item, Refusal):
            return self._choice({"refusal": item.text})
        if isinstance(item, Logprobs):
            return self._choice({}, logprobs={"content": item.tokens, "refusal": None})
        if isinstance(item, Finish):
            self._finished = True
            return self._choice({}, item.reason)
        if isinstance(item, Usage):
            self._usage = item
        return b""

    def _call(self, item: ToolCall) -> dict[str, Any]:
        function: dict[str, Any] = {"arguments": item.arguments}
        call: dict[str, Any] = {"index": item.index, "function": function}
        if item.index not in self._calls:
            self._calls.add(item.index)
            call |= {"id": item.id or new_id("call_"), "type": "function"}
            function["name"] = item.name
        if item.signature:
            call["extra_content"] = signature_content(item.signature)
        return call
