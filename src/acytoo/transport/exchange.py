"""The streamed body of one response, within its limits; every fault as one of our errors."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Self

import aiohttp

from acytoo.dialects.base import Head, Outgoing
from acytoo.errors import AcytooError, TimedOutError, TruncatedError
from acytoo.transport.arrived import arrived
from acytoo.transport.faults import words
from acytoo.transport.inflate import inflater
from acytoo.transport.opening import open_response
from acytoo.transport.options import Connection, Timeout

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error's body that are read; the rest is left."""


class Exchange:
    """A response whose head has come. Closing it before its end closes the connection at once."""

    __slots__ = (
        "_content",
        "_deadline",
        "_expired",
        "_inflate",
        "_limit",
        "_loop",
        "_lost",
        "_phase",
        "_response",
        "_timeout",
        "_timer",
        "_waiting_since",
        "head",
    )

    def __init__(self, response: aiohttp.ClientResponse, timeout: Timeout, started: float) -> None:
        self.head = Head(response.status, response.headers)
        self._response = response
        self._content = response.content
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._deadline = None if timeout.total is None else started + timeout.total
        self._waiting_since: float | None = None
        self._limit = timeout.first_byte
        self._phase = "first_byte"
        self._expired: TimedOutError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inflate = inflater(self.head)
        self._lost = _lost(response)
        if self._lost is not None:
            self._lost.add_done_callback(self._end_without_sign)
        if not self._content.is_eof():
            self._watch()

    async def read(self) -> bytes:
        """What has arrived, at least a byte; b"" at the end.

        Raises TimedOutError, and TruncatedError where the body does not end as HTTP says it must.
        """
        while True:
            self._waiting_since = self._loop.time()
            try:
                chunk = await arrived(self._content)
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise self._fault(error) from error
            finally:
                self._waiting_since = None
            if self._phase == "first_byte":
                self._phase, self._limit = "idle", self._timeout.idle
            if not chunk and self._lost is not None and self._lost.done() and (cut := self._lost.exception()):
                raise self._fault(cut) from cut
            if self._inflate is None:
                return chunk
            plain: bytes = self._inflate(chunk)
            if plain or not chunk:
                return plain

    async def read_up_to(self, size: int) -> bytes:
        """The first bytes of the body, at most `size`; whatever goes wrong after that, they are returned."""
        body = bytearray()
        try:
            while len(body) < size and (chunk := await self.read()):
                body += chunk
        except AcytooError:
            pass
        return bytes(body[:size])

    def close(self) -> None:
        """Give the connection back where the body has ended, else close it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lost is not None:
            self._lost.remove_done_callback(self._end_without_sign)
            self._lost.remove_done_callback(_seen)
            self._lost.add_done_callback(_seen)
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end_without_sign(self, lost: asyncio.Future[None]) -> None:
        """aiohttp closes a connection whose framing is broken without a word to whoever reads the body."""
        content = self._content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(lost.exception() or aiohttp.ClientPayloadError("its HTTP framing is broken"))

    def _fault(self, error: BaseException) -> AcytooError:
        if self._expired is not None:
            return self._expired
        return TruncatedError(f"the connection was lost before the reply was complete ({words(error)})")

    def _watch(self) -> None:
        """One timer a stream, armed anew only when it runs out: no chunk costs a timer, not even the first.

        It never looks later than the idle limit, which may begin to hold meanwhile, would want.
        """
        now = self._loop.time()
        due = math.inf if self._deadline is None else self._deadline
        if self._limit is not None:
            due = min(due, (self._waiting_since or now) + self._limit)
        if self._timeout.idle is not None:
            due = min(due, now + self._timeout.idle)
        self._timer = None if due == math.inf else self._loop.call_at(due, self._check)

    def _check(self) -> None:
        now = self._loop.time()
        since = self._waiting_since
        if self._deadline is not None and now >= self._deadline:
            self._expire(TimedOutError("total", self._timeout.total or 0))
        elif since is not None and self._limit is not None and now - since >= self._limit:
            self._expire(TimedOutError(self._phase, self._limit))
        else:
            self._watch()

    def _expire(self, error: TimedOutError) -> None:
        self._expired = error
        self._content.set_exception(aiohttp.ServerTimeoutError("expired"))
        self._response.close()


def _lost(response: aiohttp.ClientResponse) -> asyncio.Future[None] | None:
    """Done when the response's connection is lost, with how; None where the whole body is here already."""
    connection = response.connection
    return connection.protocol.closed if connection is not None and connection.protocol is not None else None


def _seen(lost: asyncio.Future[None]) -> None:
    """However a connection that nobody reads any more is lost, it is nobody's error."""
    lost.exception()


async def open_exchange(outgoing: Outgoing, connection: Connection) -> Exchange:
    """Send the request, return when the response's head is here, whatever its status. Raises as `open_response`."""
    started = asyncio.get_running_loop().time()
    response = await open_response(outgoing, connection, started)
    try:
        return Exchange(response, connection.timeout, started)
    except BaseException:
        response.close()
        raise
