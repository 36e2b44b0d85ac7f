"""The parts of a Gemini model's turn: text, thoughts, calls and their signatures, to items and back.

Source: Google's Gemini API reference (`Content`, `Part`) and "Thought signatures".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from acytoo.dialects.tool_calls import arguments_text
from acytoo.types import Item, Reasoning, ToolCall


class FunctionCall(msgspec.Struct, rename="camel", gc=False):
    """A call; not every model gives it an id."""

    id: str | None = None
    name: str | None = None
    args: Any = None


class Part(msgspec.Struct, rename="camel", gc=False):
    """What of a part can be an item; code execution and inline images cannot."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class TurnReader:
    """Parts to items: thoughts that follow each other are one block, a signature ends a block.

    The signature of an answer's text is a block of its own, without text.
    """

    def __init__(self, call_id: Callable[[str, str | None], str]) -> None:
        self._call_id = call_id
        self._block = 0
        self._open = False
        self.calls = 0

    def read(self, part: Part, items: list[Item]) -> None:
        """Append the part's items."""
        signature = part.thought_signature or ""
        if part.thought:
            if part.text or signature:
                self._open = True
                items.append(Reasoning(part.text or "", self._block, signature, source="gemini"))
            if signature:
                self.close_block()
            return
        self.close_block()
        if part.function_call is not None:
            items.append(self._call(part.function_call, signature))
            return
        if part.text:
            items.append(part.text)
        if signature:
            items.append(Reasoning("", self._block, signature, source="gemini"))
            self._block += 1

    def close_block(self) -> None:
        """What follows is not of the same thought."""
        if self._open:
            self._open = False
            self._block += 1

    def _call(self, call: FunctionCall, signature: str) -> ToolCall:
        """Every call comes whole."""
        self.calls += 1
        name = call.name or ""
        source = "gemini" if signature else ""
        return ToolCall(
            self.calls - 1, self._call_id(name, call.id), name, arguments_text(call.args), signature, source
        )


def text_part(text: str, signature: str = "", *, thought: bool = False) -> dict[str, Any]:
    """A text part, signed where there is a signature."""
    part: dict[str, Any] = {"text": text}
    if thought:
        part["thought"] = True
    if signature:
        part["thoughtSignature"] = signature
    return part


def call_part(call: Mapping[str, Any], arguments: dict[str, Any], signature: str = "") -> dict[str, Any]:
    """A call of the shared shape as a part."""
    sent: dict[str, Any] = {"name": call["function"]["name"], "args": arguments}
    if call.get("id"):
        sent["id"] = call["id"]
    return {"functionCall": sent, "thoughtSignature": signature} if signature else {"functionCall": sent}


def said_parts(text: str, blocks: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parts of a turn's reasoning blocks and text; a block without text is the text's signature."""
    parts = []
    signatures = []
    for block in blocks:
        signature = signature_of_block(block)
        if block.get("text"):
            parts.append(text_part(block["text"], signature, thought=True))
        elif signature:
            signatures.append(signature)
    last = signatures.pop() if signatures else ""
    parts += [text_part("", signature) for signature in signatures]
    if text or last:
        parts.append(text_part(text, last))
    return parts


def signature_of_block(block: Mapping[str, Any]) -> str:
    """The signature of a reasoning block, where it is Gemini's own."""
    return block.get("signature") or "" if block.get("source") == "gemini" else ""


FILTERED = frozenset(
    {
        *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR", "ESCALATION"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "JAILBREAK"),
    }
)
"""Finish and block reasons that mean the content was held back."""
