"""Replies that are kept, to answer identical requests without asking a model again.

Only a request that asks for a deterministic reply is answered from the cache: one with temperature 0 or with a seed,
whose tools are all functions, because a service's own tools, such as a web search, answer differently each time. Two
requests are identical if they are so after decoding: the API, `stream` and `user` do not matter, all else does.

A reply is kept as items, so it can be replayed in any dialect, streamed or not. It is kept only if it was complete: not
if it was cut, failed, or ended for any other reason than its end, a tool call or the limit that the request set itself.

A cache never fails a request: what it cannot read is not there, and what it cannot write is not kept.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from acytoo.secret import Secret
from acytoo.types import (
    Finish,
    Item,
    Logprobs,
    OpaquePart,
    Reasoning,
    Refusal,
    Request,
    Start,
    ToolCall,
    Usage,
    has_content,
)

LOG = logging.getLogger("acytoo.gateway")

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of all replies together, unless the configuration has another limit."""

MOST_ENTRIES = 10_000

_COMPLETE = ("stop", "tool_calls", "length")
"""Finish reasons of replies that an identical request may get again."""

_VERSION = b"1"
"""Part of each key. Changes when what is kept can no longer be read, or means something else."""


class CachedReply(msgspec.Struct, array_like=True):
    """A complete reply, and the headers that said how its request was changed for the model that gave it."""

    items: list[str | Start | Reasoning | ToolCall | OpaquePart | Refusal | Logprobs | Usage | Finish]
    headers: dict[str, str]


class Cache(Protocol):
    """Encoded replies by their keys, each for some seconds. Nothing raises."""

    async def get(self, key: bytes) -> bytes | None:
        """Return a reply that has not expired."""

    async def put(self, key: bytes, value: bytes, seconds: float) -> None:
        """Keep a reply, and drop others if there are too many."""

    async def close(self) -> None:
        """Release what the cache holds open."""


def is_deterministic(request: Request) -> bool:
    """Return whether a request asks for a reply that is the same each time."""
    if request.temperature != 0 and request.seed is None:
        return False
    return all(tool.get("type") == "function" for tool in request.tools or ())


def key_of(scope: Sequence[str], request: Request) -> bytes:
    """Return the key of a request. `scope` is what answers it: a model's name and the services behind it."""
    same = msgspec.structs.replace(
        request, stream=True, user=None, extra_for=request.extra_for if request.extra else ""
    )
    digest = hashlib.sha256(_VERSION)
    digest.update(msgspec.msgpack.encode([scope, same], order="sorted"))
    return digest.digest()


def encode_reply(items: Sequence[Item], headers: dict[str, str]) -> bytes | None:
    """Return a complete reply as it is kept, None if it must not be kept."""
    kept: list[Item] = [item for item in items if isinstance(item, _KINDS)]
    finish = next((item for item in reversed(kept) if isinstance(item, Finish)), None)
    if not has_content(kept) or (finish is not None and finish.reason not in _COMPLETE):
        return None
    try:
        return msgspec.msgpack.encode((kept, headers))
    except (UnicodeEncodeError, TypeError, OverflowError):  # a lone surrogate, or a value that msgpack does not have
        return None


_KINDS = (str, Start, Reasoning, ToolCall, OpaquePart, Refusal, Logprobs, Usage, Finish)

_decoder = msgspec.msgpack.Decoder(CachedReply)


def decode_reply(value: bytes) -> CachedReply | None:
    """Return a reply that was kept, None if it cannot be read."""
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        LOG.warning("the cache has a reply that cannot be read: it is ignored")
        return None


class MemoryCache:
    """Replies in the memory of one process. The one that was not used for the longest time makes room."""

    def __init__(self, most_bytes: int = MOST_BYTES, most_entries: int = MOST_ENTRIES) -> None:
        self._most_bytes = most_bytes
        self._most_entries = most_entries
        self._replies: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self.size = 0
        """Bytes of all replies."""

    async def get(self, key: bytes) -> bytes | None:
        """Return a reply that has not expired."""
        found = self._replies.get(key)
        if found is None:
            return None
        expires_at, value = found
        if expires_at <= time.monotonic():
            self._remove(key)
            return None
        self._replies.move_to_end(key)
        return value

    async def put(self, key: bytes, value: bytes, seconds: float) -> None:
        """Keep a reply, unless it is larger than the cache."""
        if key in self._replies:
            self._remove(key)
        if len(value) > self._most_bytes:
            return
        self._replies[key] = time.monotonic() + seconds, value
        self.size += len(value)
        while self.size > self._most_bytes or len(self._replies) > self._most_entries:
            self._remove(next(iter(self._replies)))

    async def close(self) -> None:
        """Forget everything."""
        self._replies.clear()
        self.size = 0

    def _remove(self, key: bytes) -> None:
        self.size -= len(self._replies.pop(key)[1])


def open_cache(url: Secret, most_bytes: int = MOST_BYTES, most_entries: int = MOST_ENTRIES) -> Cache:
    """Return the cache at `memory`, `sqlite:PATH` or a URL of Redis or Valkey. Raises AcytooError."""
    where = url.reveal()
    if where == "memory":
        return MemoryCache(most_bytes, most_entries)
    if where.startswith("sqlite:"):
        from acytoo.gateway.sqlite_cache import SQLiteCache

        return SQLiteCache(Path(where.removeprefix("sqlite:")), most_bytes, most_entries)
    from acytoo.gateway.redis_cache import RedisCache

    return RedisCache(url)
