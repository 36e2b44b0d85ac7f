"""One reply for several callers that ask the same at the same time.

The problem: the caller that came first may leave, and the others must not notice; one that reads slowly must not hold
up the others, nor make the gateway keep an endless reply. The strategy: a task that belongs to no caller reads the
reply and keeps it from its beginning, so that whoever comes later gets all of it. When the last caller leaves, the task
is cancelled. A reply that grows too large is closed to newcomers: from then on only what some caller has not read is
kept, and reading waits for the slowest. The cost: a task for each reply, and a wake-up of each caller for each batch.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Self, TypeAlias

from acytoo.errors import AcytooError, ServerError
from acytoo.server.control import Ask
from acytoo.types import Item, size_of

_LOG = logging.getLogger("acytoo.gateway")

MOST_BYTES = 4 * 1024 * 1024
"""Bytes of a reply above which it is closed to newcomers, and not kept in a cache."""

_AHEAD = 16
"""Batches of such a reply that may wait for the slowest caller."""


Keep: TypeAlias = Callable[[Sequence[Item], Mapping[str, str]], Awaitable[None]]
"""Is given the items of a complete reply that is not too large, and its headers."""


class Flights:
    """The replies that are being received, by the keys of their requests."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._flights: dict[bytes, Flight] = {}
        self._running: set[Flight] = set()

    def join(self, key: bytes) -> FlightReader | None:
        """Return a reader of the reply to the same request, None if there is no such reply."""
        flight = self._flights.get(key)
        return None if flight is None else flight.enter()

    def start(self, key: bytes, ask: Ask, keep: Keep) -> FlightReader:
        """Send a request that no other is like. Return a reader of the reply."""
        flight = self._flights[key] = Flight(self, key, ask, keep)
        self._running.add(flight)
        flight.task.add_done_callback(lambda _: self._running.discard(flight))
        return flight.enter()

    def remove(self, key: bytes, flight: Flight) -> None:
        """Let nobody join a reply any more."""
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def close(self) -> None:
        """Stop receiving. Wait until the replies that are complete have been kept."""
        for flight in self._running:
            if not flight.is_complete:
                flight.task.cancel()
        if self._running:
            await asyncio.wait({flight.task for flight in self._running})


class Flight:
    """A reply that is being received for one or more callers."""

    def __init__(self, flights: Flights, key: bytes, ask: Ask, keep: Keep) -> None:
        self.batches: list[list[Item]] = []
        self.dropped = 0
        """How many batches before those have been read by all callers."""
        self.headers: Mapping[str, str] = {}
        self.has_begun = self.is_complete = False
        self.error: BaseException | None = None
        self._flights = flights
        self._key = key
        self._size = 0
        self._readers: set[FlightReader] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self.task = asyncio.get_running_loop().create_task(self._run(ask, keep))

    def enter(self) -> FlightReader:
        """Return a reader of the reply from its beginning."""
        reader = FlightReader(self)
        self._readers.add(reader)
        return reader

    async def leave(self, reader: FlightReader) -> None:
        """Forget a reader. Stop receiving if it was the last one."""
        if reader not in self._readers:
            return
        self._readers.discard(reader)
        self._notify()  # the others may have waited for it
        if self._readers or self.is_complete or self.error is not None:
            return
        self._flights.remove(self._key, self)
        self.task.cancel()
        await asyncio.wait({self.task})

    async def change(self) -> None:
        """Wait until something has changed."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def progressed(self) -> None:
        """Note that a reader has read a batch."""
        if self._is_too_large:
            self._notify()

    @property
    def _is_too_large(self) -> bool:
        return self._size > self._flights.most_bytes

    async def _run(self, ask: Ask, keep: Keep) -> None:
        try:
            reply = await ask()
            self.headers, self.has_begun = reply.headers, True
            self._notify()
            try:
                async for batch in reply.batches:
                    self.batches.append(batch)
                    self._size += sum(map(size_of, batch))
                    self._notify()
                    if self._is_too_large:
                        await self._wait_for_slowest()
            finally:
                await reply.batches.aclose()
            self.is_complete = True
            self._notify()
            if not self._is_too_large:
                await keep([item for batch in self.batches for item in batch], self.headers)
        except AcytooError as error:
            self.error = error
        except asyncio.CancelledError as error:
            self.error = error
            raise
        except Exception as error:
            _LOG.exception("internal error while receiving a reply")
            self.error = error
        finally:
            self._flights.remove(self._key, self)
            self._notify()

    async def _wait_for_slowest(self) -> None:
        self._flights.remove(self._key, self)
        while True:
            read = min([reader.position for reader in self._readers], default=0) - self.dropped
            if read > 0:
                del self.batches[:read]
                self.dropped += read
            if len(self.batches) <= _AHEAD:
                return
            await self.change()

    def _notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


class FlightReader:
    """One caller's view of a reply: batches of items, from the beginning. It has to be closed."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self.position = 0
        """How many batches it has read."""

    @property
    def task(self) -> asyncio.Task[None]:
        """What receives the reply."""
        return self._flight.task

    async def opened(self) -> Mapping[str, str]:
        """Wait for the beginning of the reply. Return its headers. Raises the error of a reply that does not begin."""
        flight = self._flight
        while not flight.has_begun:
            self._raise_error()
            await flight.change()
        return flight.headers

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Item]:
        flight = self._flight
        while (index := self.position - flight.dropped) >= len(flight.batches):
            if flight.is_complete:
                raise StopAsyncIteration
            self._raise_error()
            await flight.change()
        self.position += 1
        batch = flight.batches[index]
        flight.progressed()
        return batch

    async def aclose(self) -> None:
        """Leave. The reply is received further only for others."""
        await self._flight.leave(self)

    def _raise_error(self) -> None:
        error = self._flight.error
        if isinstance(error, AcytooError):
            # Each caller raises an error of its own, because its traceback and attempts are that caller's.
            raise copy.copy(error) from error.__cause__
        if error is not None:
            raise ServerError("internal server error", status=500)
