"""Newline-delimited JSON: bytes to lines.

A chunk may end inside a line, and a line of megabytes may arrive in tiny chunks: joining and splitting everything for
each chunk would cost quadratic time. So a chunk without a line end is only appended to the buffer, whose size is
limited (`wire/limits.py`), and a chunk that starts with an empty buffer is split where it is, without a copy.
"""

from __future__ import annotations

from acytoo.wire.limits import check_elements, check_record_size


class NDJSONDecoder:
    """An incremental decoder: it returns each line that a chunk completes. Blank lines are skipped."""

    __slots__ = ("_buffer", "_started")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return every line that this chunk completes, without its LF. A CR before it stays: JSON allows that."""
        buffer = self._buffer
        if buffer:
            buffer += chunk
            if chunk.find(b"\n") < 0:
                check_record_size(len(buffer))
                return []
            chunk = bytes(buffer)
            buffer.clear()
            check_elements(chunk)
        *lines, rest = chunk.split(b"\n")
        if rest:
            check_record_size(len(rest))
            buffer += rest
        return self._non_blank(lines)

    def close(self) -> list[bytes]:
        """Return the last line, if no line end ended it."""
        line, self._buffer = bytes(self._buffer), bytearray()
        check_elements(line)
        return self._non_blank([line])

    def _non_blank(self, lines: list[bytes]) -> list[bytes]:
        """Return the lines that are not blank, without a byte order mark before the first."""
        kept = [line for line in lines if line and not line.isspace()]
        if kept and not self._started:
            self._started = True
            kept[0] = kept[0].removeprefix(b"\xef\xbb\xbf")
        return kept
