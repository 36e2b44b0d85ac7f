"""The parts of a model's turn: text, thoughts, calls and their signatures.

This file is apart because three others share it: a reply's parts (reader.py, writer.py) have the same shape as those of
the model's turns in a request (request.py).

Source: Google's Gemini API reference (`Content`, `Part`, `FinishReason`) and "Thought signatures".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from acytoo.dialects.tool_calls import arguments_text
from acytoo.types import Item, JSONObject, Reasoning, ReasoningBlock, ToolCall, ToolCallDict


class FunctionCall(msgspec.Struct, rename="camel", gc=False):
    """A call. Not every model gives it an id."""

    id: str | None = None
    name: str | None = None
    args: Any = None  # an object, but some servers send JSON text


class Part(msgspec.Struct, rename="camel", gc=False):
    """The fields of a part that become items. Code execution and inline images have no item."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class TurnReader:
    """A reader of the parts of one turn.

    Consecutive thoughts are one reasoning block, and a signature ends a block. The signature of the answer's text
    becomes a block of its own, without text.
    """

    def __init__(self, call_id: Callable[[str, str | None], str]) -> None:
        """`call_id` returns the id for a call, given its name and the id that it came with, if any."""
        self._call_id = call_id
        self._block = 0
        self._block_is_open = False
        self.calls = 0

    def read(self, part: Part, items: list[Item]) -> None:
        """Append the part's items."""
        signature = part.thought_signature or ""
        if part.thought:
            if part.text or signature:
                self._block_is_open = True
                items.append(Reasoning(part.text or "", self._block, signature, source="gemini"))
            if signature:
                self._close_block()
            return
        self._close_block()
        if part.function_call is not None:
            items.append(self._decode_call(part.function_call, signature))
            return
        if part.text:
            items.append(part.text)
        if signature:
            items.append(Reasoning("", self._block, signature, source="gemini"))
            self._block += 1

    def _close_block(self) -> None:
        if self._block_is_open:
            self._block_is_open = False
            self._block += 1

    def _decode_call(self, call: FunctionCall, signature: str) -> ToolCall:
        """Return a call. Gemini never splits one."""
        self.calls += 1
        name = call.name or ""
        source = "gemini" if signature else ""
        return ToolCall(
            self.calls - 1, self._call_id(name, call.id), name, arguments_text(call.args), signature, source
        )


def encode_text(text: str, signature: str = "", *, thought: bool = False) -> JSONObject:
    """Return a text part, with its signature if it has one."""
    part: JSONObject = {"text": text}
    if thought:
        part["thought"] = True
    if signature:
        part["thoughtSignature"] = signature
    return part


def encode_call(call: ToolCallDict, arguments: JSONObject, signature: str = "") -> JSONObject:
    """Return the part of a tool call with these arguments."""
    fields: JSONObject = {"name": call["function"]["name"], "args": arguments}
    if call.get("id"):
        fields["id"] = call["id"]
    return {"functionCall": fields, "thoughtSignature": signature} if signature else {"functionCall": fields}


def encode_turn(text: str, blocks: Iterable[ReasoningBlock]) -> list[JSONObject]:
    """Return the parts of a turn's reasoning blocks and text. A block without text holds the text's signature."""
    parts = []
    signatures = []
    for block in blocks:
        signature = signature_of_block(block)
        if block.get("text"):
            parts.append(encode_text(block["text"], signature, thought=True))
        elif signature:
            signatures.append(signature)
    last = signatures.pop() if signatures else ""
    parts += [encode_text("", signature) for signature in signatures]
    if text or last:
        parts.append(encode_text(text, last))
    return parts


def signature_of_block(block: ReasoningBlock) -> str:
    """Return the signature of a reasoning block, "" if it has none or another API made it."""
    return block.get("signature") or "" if block.get("source") == "gemini" else ""


FILTERED = (
    *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR", "ESCALATION"),
    *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "JAILBREAK"),
)
"""Finish and block reasons that mean that content was filtered."""

OTHER = (
    *("OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "NO_IMAGE"),
    *("IMAGE_OTHER", "MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE", "CONTINUATION", "PUP_LIMITED_DISABLED"),
)
"""Finish reasons that the shared shape has no equivalent for."""

FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length", **dict.fromkeys(FILTERED, "content_filter")}
"""Finish reasons, and the shared shape's. Those in `OTHER` keep their name.

In the other direction, the first name that maps to a shared reason is its default.
"""
