"""Newline-delimited JSON: bytes to lines."""

from __future__ import annotations

from acytoo.wire.limits import check_record_size


class NDJSONDecoder:
    """Feed chunks as they come, take the lines they complete; blank lines are left out."""

    __slots__ = ("_buffer", "_started")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Every line that this chunk completes, without its LF; a CR before that is white space to JSON."""
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
        return self._filled(lines)

    def close(self) -> list[bytes]:
        """A last line whose line end did not come."""
        line, self._buffer = bytes(self._buffer), bytearray()
        return self._filled([line])

    def _filled(self, lines: list[bytes]) -> list[bytes]:
        """The lines that are not blank, without a byte order mark before the first."""
        filled = [line for line in lines if line and not line.isspace()]
        if filled and not self._started:
            self._started = True
            filled[0] = filled[0].removeprefix(b"\xef\xbb\xbf")
        return filled
