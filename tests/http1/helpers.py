"""Messages of a given size."""

from __future__ import annotations


def sized(size: int, count: int) -> bytes:
    """Return as many fields, whose names and values have this many bytes together."""
    share, rest = divmod(size, count)
    return b"".join(b"x: " + b"y" * (share - 1 + (rest if not number else 0)) + b"\r\n" for number in range(count))
