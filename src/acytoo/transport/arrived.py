"""All that has arrived of a body, taken in one go.

aiohttp takes what has arrived piece by piece and asks its parser to go on after each: half of what a piece of a
burst costs. Here it is taken at once, the parser asked where it was paused, and whoever waits waits for the future
itself, through no coroutine.
Source: aiohttp's `streams.py`, 3.12 to 3.14; a reader that has other attributes is read in its own way.
"""

from __future__ import annotations

import asyncio
from collections import deque

import aiohttp

_READ_HERE = frozenset({
    "_buffer", "_buffer_offset", "_size", "_cursor", "_http_chunk_splits", "_protocol", "_eof", "_exception", "_waiter",
    "_loop",
})  # fmt: skip
_IS_KNOWN = frozenset(getattr(aiohttp.StreamReader, "__slots__", ())) >= _READ_HERE


def is_known(content: aiohttp.StreamReader) -> bool:
    """Whether this reader may be read here: nothing has been taken from it in its own way, in parts of pieces."""
    return _IS_KNOWN and type(content) is aiohttp.StreamReader and not content._buffer_offset


def taken(content: aiohttp.StreamReader) -> bytes | None:
    """All that is here, b"" at the end, None where nothing is yet: await `more`. Raises once all that came is taken."""
    pieces = content._buffer
    if not pieces:
        if (error := content._exception) is not None:
            raise error
        return b"" if content._eof else None
    data = pieces.popleft() if len(pieces) == 1 else b"".join(_emptied(pieces))
    content._size = 0
    content._cursor += len(data)
    splits = content._http_chunk_splits
    while splits:
        splits.pop()
    if content._protocol._reading_paused:
        content._protocol.resume_reading()
    return data


def more(content: aiohttp.StreamReader) -> asyncio.Future[None]:
    """Done when more has arrived, or nothing more will."""
    if content._waiter is not None and not content._waiter.done():
        raise RuntimeError("somebody waits for this body already")
    waiter = content._loop.create_future()
    if content._protocol.connected:
        content._waiter = waiter
    else:
        waiter.set_exception(aiohttp.ClientPayloadError("the connection is closed"))
    return waiter


def _emptied(queue: deque[bytes]) -> list[bytes]:
    """What the queue had; its `clear()` would leave it with half a kilobyte more than it needs."""
    return [queue.popleft() for _ in range(len(queue))]
