"""Records of a stream that passes through: complete ones leave, an incomplete last one is held back.

Something may have to be inserted or removed at any time, and neither may happen inside a record.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Framing: TypeAlias = Literal["text", "sse", "ndjson"]
"""How a stream is divided into records: not at all, as server-sent events, or one JSON document per line."""

_ENDS: dict[Framing, tuple[bytes, ...]] = {"text": (), "sse": (b"\n\n", b"\r\n\r\n"), "ndjson": (b"\n",)}
"""What ends a record. Text is not divided into records, so nothing is held back."""


class RecordBuffer:
    """A buffer that releases complete records."""

    __slots__ = ("_ends", "_incomplete")

    def __init__(self, framing: Framing) -> None:
        self._ends = _ENDS[framing]
        self._incomplete = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Return the complete records, and keep an incomplete last one."""
        buffer = self._incomplete
        if not self._ends or (not buffer and data.endswith(self._ends)):
            return data
        searched = max(0, len(buffer) - 3)  # an end of up to four bytes may begin in what was searched before
        buffer += data
        ends = [(buffer.rfind(end, searched), end) for end in self._ends]
        length = max([index + len(end) for index, end in ends if index >= 0], default=0)
        complete = bytes(buffer[:length])
        del buffer[:length]
        return complete

    def flush(self) -> bytes:
        """Return the incomplete record, and forget it."""
        rest = bytes(self._incomplete)
        self._incomplete.clear()
        return rest


def split_records(data: bytes, framing: Framing) -> list[bytes]:
    """Return the records in some bytes, each with its end, and an incomplete last one."""
    pattern = _RECORDS.get(framing)
    return pattern.findall(data) if pattern is not None else [data]


_RECORDS: dict[Framing, re.Pattern[bytes]] = {
    "sse": re.compile(rb".*?\r?\n\r?\n|.+\Z", re.DOTALL),
    "ndjson": re.compile(rb".*?\n|.+\Z", re.DOTALL),
}
