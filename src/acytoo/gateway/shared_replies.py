"""Replies that are kept or still arriving, for requests that are identical to an earlier one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Self

from acytoo.gateway.cache import Cache, decode_reply, encode_reply
from acytoo.gateway.flights import Flights
from acytoo.server.control import Ask, BackendReply
from acytoo.types import Closable, Item, Usage, has_content

_OF_REQUEST = ("x-acytoo-dropped",)
"""Headers that say how the request was changed: they hold for all identical requests, others for one only."""


class Hit:
    """The reply to a request that no upstream was asked for, and what was seen of it."""

    def __init__(self, batches: Closable[list[Item]]) -> None:
        self._batches = batches
        self.usage = Usage()
        """What the upstream reported when it was asked."""
        self.first_content_at: float | None = None
        self.is_complete = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Item]:
        try:
            batch = await self._batches.__anext__()
        except StopAsyncIteration:
            self.is_complete = True
            raise
        if self.first_content_at is None and has_content(batch):
            self.first_content_at = time.monotonic()
        for item in batch:
            if isinstance(item, Usage):
                self.usage = item
        return batch

    async def aclose(self) -> None:
        """Leave."""
        await self._batches.aclose()


class SharedReplies:
    """The replies of one gateway that several requests may get."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._flights = Flights()

    async def open(
        self,
        key: bytes,
        seconds: float,
        ask: Ask,
        note_task: Callable[[asyncio.Task[None]], None],
        *,
        has_budget: bool = False,
    ) -> BackendReply:
        """Return the reply to the request with a key: its batches are a Hit, unless it has to be asked for.

        Then it is kept for some seconds, and `note_task` is given the task that asks, which belongs to no request.
        A call that may fail because a budget needs prices is shared only by requests with a budget. Raises AcytooError.
        """
        flight = key + b"budget" if has_budget else key
        reader = self._flights.join(flight)
        if reader is None:
            value = await self._cache.get(key)
            kept = decode_reply(value) if value is not None else None
            if kept is not None:
                return _hit(_replayed(kept.items), kept.headers)
            reader = self._flights.join(flight)  # of a request that came while the cache was asked
        is_first = reader is None
        if reader is None:
            reader = self._flights.start(flight, ask, partial(self._keep, key, seconds))
            note_task(reader.task)
        try:
            headers = await reader.opened()
        except BaseException:
            await reader.aclose()
            raise
        if not is_first:
            return _hit(reader, headers)
        return BackendReply(reader, False, {**headers, "x-acytoo-cache": "miss"})

    async def close(self) -> None:
        """Stop what is still arriving, and close the cache."""
        await self._flights.close()
        await self._cache.close()

    async def _keep(self, key: bytes, seconds: float, items: Sequence[Item], headers: Mapping[str, str]) -> None:
        if (value := encode_reply(items, _of_request(headers))) is not None:
            await self._cache.put(key, value, seconds)


def _hit(batches: Closable[list[Item]], headers: Mapping[str, str]) -> BackendReply:
    return BackendReply(Hit(batches), False, {**_of_request(headers), "x-acytoo-cache": "hit"})


def _of_request(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _OF_REQUEST if name in headers}


async def _replayed(items: Sequence[Item]) -> AsyncGenerator[list[Item], None]:
    """Yield a kept reply."""
    yield list(items)
