"""Newline-delimited JSON: bytes to lines."""

from __future__ import annotations

from acytoo.wire.limits import check_record_size


class NDJSONDecoder:
    """Feed chunks as they come, take the lines they complete; blank lines are left out."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Every line that this chunk completes, without its line end."""
        buffer = self._buffer
        if buffer:
            buffer += chunk
            if b"\n" not in chunk:
                check_record_size(len(buffer))
                return []
            chunk = bytes(buffer)
            buffer.clear()
        *lines, rest = chunk.split(b"\n")
        if rest:
            check_record_size(len(rest))
            buffer += rest
        return [line for line in lines if line and not line.isspace()]

    def close(self) -> list[bytes]:
        """A last line whose line end did not come."""
        line, self._buffer = bytes(self._buffer), bytearray()
        return [line] if line.strip() else []
