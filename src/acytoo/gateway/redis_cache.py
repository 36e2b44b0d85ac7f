"""The cache in Redis or Valkey, which several machines share.

Redis drops what has expired. How much is kept is for Redis to limit: `maxmemory` with the policy `allkeys-lru`, in a
Redis of its own, because the counters must not be dropped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from importlib import import_module
from typing import Any, TypeVar

from acytoo.gateway.redis_counters import connect
from acytoo.secret import Secret, redact

T = TypeVar("T")

_LOG = logging.getLogger("acytoo.gateway")

_TIMEOUT = 1.0
"""Seconds that a request waits for Redis: then it goes without the cache."""


class RedisCache:
    """Replies in the Redis or Valkey at a URL, for one event loop.

    `prefix` begins all keys. `pause`: seconds without a cache after a failure.
    """

    def __init__(self, url: Secret | str, *, prefix: str = "acytoo", pause: float = 5.0) -> None:
        """Create the cache; nothing is sent yet. Raises MissingExtraError, and UsageError for an invalid URL."""
        self._secrets, self._shown, self._client = connect(Secret(url).reveal(), "cache")
        self._failures: tuple[type[Exception], ...] = (import_module("redis.exceptions").RedisError, OSError)
        self._prefix = f"{prefix}:cache:".encode()
        self._pause = pause
        self._try_again_at = 0.0

    async def get(self, key: bytes) -> bytes | None:
        """Return a reply that has not expired."""
        if time.monotonic() < self._try_again_at:
            return None
        value: bytes | None = await self._try(self._client.get(self._prefix + key))
        return value

    async def put(self, key: bytes, value: bytes, seconds: float) -> None:
        """Keep a reply."""
        if time.monotonic() >= self._try_again_at:
            await self._try(self._client.set(self._prefix + key, value, px=max(1, int(seconds * 1000))))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _try(self, command: Awaitable[Any]) -> Any:
        """Return what Redis answers, None if it does not."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await command
        except self._failures as error:  # TimeoutError is an OSError
            reason = redact(str(error), self._secrets) or "no answer"
            _LOG.warning("the cache in %s is not used for %g s: %s", self._shown, self._pause, reason)
            self._try_again_at = time.monotonic() + self._pause
            return None
