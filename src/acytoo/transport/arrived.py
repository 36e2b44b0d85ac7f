"""All that has arrived of a body, taken in one go."""

from __future__ import annotations

from collections import deque
from typing import Any

import aiohttp

_READ_HERE = frozenset({"_buffer", "_buffer_offset", "_size", "_cursor", "_http_chunk_splits", "_protocol", "_eof"})
_IS_KNOWN = frozenset(getattr(aiohttp.StreamReader, "__slots__", ())) >= _READ_HERE


async def arrived(content: aiohttp.StreamReader) -> bytes:
    """What `content.readany()` returns, and raises; b"" at the end.

    aiohttp takes what has arrived piece by piece and asks its parser to go on after each: half of what a piece of a
    burst costs. Here it is taken at once, and the parser asked where it was paused.
    Source: aiohttp's `streams.py`, 3.12 to 3.14; a reader that has other attributes is read in its own way.
    """
    if not _IS_KNOWN or type(content) is not aiohttp.StreamReader or content._buffer_offset:
        return await content.readany()
    if (error := content.exception()) is not None:
        raise error
    pieces = content._buffer
    while not pieces and not content._eof:
        await content._wait("readany")
    data = pieces.popleft() if len(pieces) == 1 else b"".join(_emptied(pieces))
    content._size = 0
    content._cursor += len(data)
    if content._http_chunk_splits:
        _emptied(content._http_chunk_splits)
    if content._protocol._reading_paused:
        content._protocol.resume_reading()
    return data


def _emptied(queue: deque[Any]) -> list[Any]:
    """What the queue had; its `clear()` would leave it with half a kilobyte more than it needs."""
    return [queue.popleft() for _ in range(len(queue))]
