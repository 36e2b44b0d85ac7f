"""Streamed replies of the toy API: items to bytes."""

from __future__ import annotations

import msgspec

from acytoo.dialects.base import Writer
from acytoo.errors import AcytooError
from acytoo.types import Finish, Item, Refusal


class LineWriter(Writer):
    """A writer of a streamed reply."""

    content_type = "application/x-ndjson"
    framing = "ndjson"

    def __init__(self) -> None:
        self._finish = "stop"

    def write(self, items: list[Item]) -> bytes:
        texts = [item.text if isinstance(item, Refusal) else item for item in items]
        for item in items:
            if isinstance(item, Finish):
                self._finish = item.reason
        return b"".join(line({"piece": text}) for text in texts if isinstance(text, str))

    def end(self) -> bytes:
        return line({"finish": self._finish})

    def fail(self, error: AcytooError) -> bytes:
        return line({"error": error.message})


def line(document: dict[str, str]) -> bytes:
    """Encode one line."""
    return msgspec.json.encode(document) + b"\n"
