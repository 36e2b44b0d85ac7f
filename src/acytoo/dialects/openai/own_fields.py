"""What only the service that sent a reply needs back with the next turn."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from acytoo.dialects.fields import text_or_empty, without_none
from acytoo.dialects.openai.request import NAME
from acytoo.types import Item, JSONObject, OpaquePart, Reasoning

LISTS = ("reasoning_details", "annotations", "thinking_blocks", "images")


class _Text:
    """The pieces of the text of a block, which are joined once: a long text may have very many."""

    def __init__(self) -> None:
        self._block: JSONObject = {}
        self._field = ""
        self._pieces: list[str] = []

    def add(self, block: JSONObject, field: str, piece: str, others: JSONObject) -> None:
        """Add a piece of the text in a field of a block, and replace the other fields."""
        self._block, self._field = block, field
        self._pieces.append(piece)
        block |= {name: value for name, value in others.items() if name != field and value is not None}

    def join(self) -> None:
        """Put the text into the block, before another block begins and at the end."""
        if self._pieces:
            self._block[self._field] = text_or_empty(self._block.get(self._field)) + "".join(self._pieces)
            self._pieces = []


class OwnFields:
    """The fields of a reply that go back with the turn, see `TURN_FIELDS`, and its sound."""

    def __init__(self) -> None:
        self.reasoning_details: list[JSONObject] = []
        self.annotations: list[JSONObject] = []
        self.thinking_blocks: list[JSONObject] = []
        self.reasoning_opaque: Any = None
        self.images: list[JSONObject] = []
        self._detail, self._thought = _Text(), _Text()  # of the last block of each
        self._audio: JSONObject = {}
        self._sounds: list[str] = []

    def add_details(self, details: list[JSONObject], items: list[Item] | None) -> None:
        """Keep OpenRouter's blocks of reasoning, whose texts arrive in pieces. Append their text to `items`, if given.

        Source: "Preserving reasoning blocks" in OpenRouter's documentation.
        """
        for detail in details:
            last = self.reasoning_details[-1] if self.reasoning_details else {}
            kind = text_or_empty(detail.get("type"))
            field = _TEXT_OF_DETAILS.get(kind, "")
            piece = detail.get(field)
            if field and (last.get("type"), last.get("index")) == (kind, detail.get("index")):
                self._detail.add(last, field, text_or_empty(piece), detail)
            else:
                self._detail.join()
                self.reasoning_details.append(dict(detail))
            if items is not None and piece and isinstance(piece, str):
                items.append(Reasoning(piece))

    def add_thinking(self, blocks: list[JSONObject], items: list[Item] | None) -> None:
        """Keep LiteLLM's blocks of thinking, of which a signature ends one. Append their text to `items`, if given."""
        for block in blocks:
            last = self.thinking_blocks[-1] if self.thinking_blocks else {}
            text = text_or_empty(block.get("thinking"))
            if block.get("type") == last.get("type") == "thinking" and not last.get("signature"):
                self._thought.add(last, "thinking", text, block)
            else:
                self._thought.join()
                self.thinking_blocks.append(dict(block))
            if items is not None and text:
                items.append(Reasoning(text))

    def add_audio(self, audio: JSONObject, items: list[Item]) -> None:
        """Keep a spoken reply, of which a later turn needs the `id`. Append its words."""
        if transcript := text_or_empty(audio.get("transcript")):
            items.append(transcript)
        if isinstance(data := audio.get("data"), str):
            self._sounds.append(data)
        kept = {name: value for name, value in audio.items() if name not in ("transcript", "data")}
        self._audio |= without_none(kept)

    def forget(self, message: object) -> None:
        """Forget the lists that a complete message has too."""
        for name in LISTS:
            if getattr(message, name):
                setattr(self, name, [])

    def parts(self) -> list[Item]:
        """Return the part of the turn that has these fields, if there are any."""
        self._detail.join()
        self._thought.join()
        if self._sounds:
            self._audio["data"] = _joined_base64(self._sounds)
        fields = {name: getattr(self, name) for name in (*LISTS, "reasoning_opaque")} | {"audio": self._audio}
        kept = {name: value for name, value in fields.items() if value}
        return [OpaquePart(NAME, kept)] if kept else []


def _joined_base64(pieces: list[str]) -> str:
    """Return base64 of the bytes of several pieces, or the pieces one after the other if they are not base64."""
    try:
        return b64encode(b"".join([b64decode(piece, validate=True) for piece in pieces])).decode()
    except ValueError:
        return "".join(pieces)


_TEXT_OF_DETAILS = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""Types of OpenRouter's `reasoning_details` whose text arrives in pieces, and the field of that text."""
