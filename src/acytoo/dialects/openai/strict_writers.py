"""Streams for clients that refuse what others of this API accept, because their own services send it otherwise.

Source: the types of Mistral's and OpenRouter's SDKs, and of xAI's and Mistral's providers of the AI SDK.
"""

from __future__ import annotations

import msgspec

from acytoo.dialects.openai.request import NAME
from acytoo.dialects.openai.writer import StreamWriter
from acytoo.dialects.services import api_of
from acytoo.errors import AcytooError
from acytoo.types import Event, JSONObject, OpaquePart, Request, ToolCall


class WholeCallsWriter(StreamWriter):
    """A writer that keeps the pieces of a call, for clients that refuse one without the function's name."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._whole: dict[int, tuple[JSONObject, list[str]]] = {}  # without their arguments, and the pieces of these
        self.keeps_reply = True

    def _encode_event(self, item: Event) -> bytes:
        if isinstance(item, ToolCall) and item.name not in self._custom and item.index not in self._inputs:
            call, pieces = self._whole.setdefault(item.index, ({}, []))
            pieces.append(item.arguments)
            call |= {**self._encode_call(item), **call}
            return b""
        if isinstance(item, OpaquePart) and item.part == "tool_call" and api_of(item.source) == NAME:
            call, _ = self._whole.get(item.index, ({}, []))
            call |= {**item.fields, **call}
            return b""
        return super()._encode_event(item)

    def _write_inputs(self) -> bytes:
        whole, self._whole = self._whole, {}
        for call, pieces in whole.values():
            call["function"]["arguments"] = "".join(pieces) or "{}"
        return b"".join([self._chunk({"tool_calls": [call]}) for call, _ in whole.values()]) + super()._write_inputs()


class MistralWriter(WholeCallsWriter):
    """A writer as Mistral's clients expect it: the last chunk always has the usage too."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._include_usage = True

    def _write_last(self, reason: str, usage: JSONObject | None) -> bytes:
        chunk = self._chunk({}, reason)
        if usage is None:
            return chunk
        return chunk.removesuffix(b"}\n\n") + b',"usage":' + msgspec.json.encode(usage) + b"}\n\n"


class OpenRouterWriter(StreamWriter):
    """A writer as OpenRouter's SDKs expect it: an error is a chunk too, and its choice finishes with `error`."""

    def fail(self, error: AcytooError) -> bytes:
        """Return a chunk with the error. No `[DONE]` follows."""
        document = super().fail(error).removeprefix(b"data: {")
        return self._chunk({}, "error").removesuffix(b"}\n\n") + b"," + document
