"""Thoughts that a model writes into its text, between `<think>` and `</think>`.

Servers without a parser for their model's reasoning send them like that: vLLM without `--reasoning-parser`, LM Studio,
Ollama before it knew a model's thoughts. A reply about these tags looks the same, so the user has to declare such a
server (`think_tags`). Only a reply that begins with the first tag has thoughts. Nothing is lost if the second one is
missing: the rest is a thought.

The templates of some models (DeepSeek-R1, Qwen's thinking ones) end the prompt with the first tag, so that the reply
has only the second. A stream cannot wait for that: the user declares that each reply begins inside a thought ("open").
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from acytoo.dialects.base import Reader
from acytoo.observation import Received
from acytoo.types import Item, Logprobs, Reasoning, Start, Usage

Tags: TypeAlias = bool | Literal["open"]
"""Whether a reply that begins with the first tag has thoughts; "open" if every reply begins inside a thought."""

_OPENING, _CLOSING = "<think>", "</think>"

_ACCOMPANYING = (Start, Usage, Logprobs)
"""Items that may stand between two pieces of a text."""


class ThinkTags:
    """What divides the texts of one reply into thoughts and the answer."""

    def __init__(self, tags: Tags = True) -> None:
        self._begins_open = tags == "open"
        self._held = ""  # what may be the beginning of a tag
        self._is_open = False
        self._is_answer = False

    def divide(self, items: list[Item]) -> list[Item]:
        """Return the items with reasoning in place of the texts between the tags."""
        if self._is_answer:
            return items
        divided: list[Item] = []
        for item in items:
            if isinstance(item, str):
                self._read(item, divided)
            else:
                divided += () if isinstance(item, _ACCOMPANYING) else self.flush()
                divided.append(item)
        return divided

    def flush(self) -> list[Item]:
        """Return what was held back: it is not the beginning of a tag."""
        held, self._held = self._held, ""
        if not held:
            return []
        self._is_open = self._is_open or (self._begins_open and not self._is_answer)
        self._is_answer = not self._is_open
        return [Reasoning(held) if self._is_open else held]

    def _read(self, text: str, divided: list[Item]) -> None:
        text = self._held + text
        self._held = ""
        if not (self._is_open or self._is_answer):
            beginning = text.lstrip()
            if len(beginning) < len(_OPENING) and _OPENING.startswith(beginning):
                self._held = text
                return
            has_tag = beginning.startswith(_OPENING)
            self._is_open = has_tag or self._begins_open
            self._is_answer = not self._is_open
            text = beginning.removeprefix(_OPENING) if has_tag else text
        if self._is_open:
            thought, closing, text = text.partition(_CLOSING)
            if closing:
                self._is_open, self._is_answer = False, True
            else:
                held = next(size for size in range(len(_CLOSING) - 1, -1, -1) if thought.endswith(_CLOSING[:size]))
                thought, self._held = thought[: len(thought) - held], thought[len(thought) - held :]
            divided += [Reasoning(thought)] if thought else []
        divided += [text] if text else []


class ThinkTagReader(Reader):
    """A reader of a stream whose texts may begin with a thought between the tags."""

    def __init__(self, reader: Reader, tags: Tags = True) -> None:
        self._reader = reader
        self._tags = ThinkTags(tags)

    def feed(self, chunk: bytes) -> list[Item]:
        """Return the items that this chunk completes."""
        items = self._tags.divide(self._reader.feed(chunk))
        self.received_content = self._reader.received_content
        self.pending_error = self._reader.pending_error
        return items

    def trim(self, max_size: int) -> None:
        """Trim what the reader of the stream keeps."""
        self._reader.trim(max_size)

    def flush(self) -> list[Item]:
        """Return the last items, with what was held back."""
        items = self._tags.divide(self._reader.flush()) + self._tags.flush()
        self.pending_error = self._reader.pending_error
        return items

    def flush_truncated(self) -> list[Item]:
        """Return what was held back before the body was cut."""
        return self._tags.divide(self._reader.flush_truncated()) + self._tags.flush()

    def close(self) -> None:
        """Raise TruncatedError if the reply is not complete."""
        self._reader.close()

    def received(self) -> Received:
        """Return what has been received."""
        return self._reader.received()


def divide_reply(items: list[Item], tags: Tags = True) -> list[Item]:
    """Return the items of a complete reply with reasoning in place of the texts between the tags."""
    divider = ThinkTags(tags)
    return divider.divide(items) + divider.flush()
