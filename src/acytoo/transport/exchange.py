"""The streamed body of one response, within its limits; every fault as one of our errors."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import aiohttp

from acytoo.errors import AcytooError, TruncatedError
from acytoo.http import HTTPRequest, ResponseHead
from acytoo.transport.arrived import is_known, more, taken
from acytoo.transport.config import Connection
from acytoo.transport.connect import open_response
from acytoo.transport.errors import words
from acytoo.transport.timeouts import Deadlines
from acytoo.wire.compression import inflater

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error's body that are read; the rest is left."""


_FRAMING = ("content-length", "transfer-encoding")
"""The headers that say where a body ends; without them it ends with its connection."""


class Exchange:
    """A response whose head has come. Closing it before its end closes the connection at once."""

    __slots__ = ("_content", "_inflate", "_is_known", "_limits", "_lost", "_response", "_watches", "head")

    def __init__(self, response: aiohttp.ClientResponse, limits: Deadlines) -> None:
        self.head = ResponseHead(response.status, response.headers)
        self._response = response
        self._content = response.content
        self._is_known = is_known(response.content)
        self._limits = limits
        self._inflate = inflater(self.head)
        self._lost = _lost(response)
        self._watches = False
        limits.give_up = self._give_up

    async def read(self) -> bytes:
        """What has arrived, at least a byte; b"" at the end.

        Raises TimedOutError, and TruncatedError where the body does not end as HTTP says it must.
        """
        while True:
            try:
                chunk = taken(self._content) if self._is_known else None
                if chunk is None:
                    self._limits.waiting()
                    if not self._watches:
                        self._watch()
                    if self._is_known:
                        await more(self._content)
                        continue
                    chunk = await self._content.readany()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise self._fault(error) from error
            self._limits.arrived()
            if not chunk and (cut := self._cut()) is not None:
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
        self._limits.end()
        if self._lost is not None:
            if self._watches:
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

    def _cut(self) -> BaseException | None:
        """How the connection was lost, where a body that ends with it ended by that, and not in good order."""
        if self._lost is None or not self._lost.done() or any(name in self.head.headers for name in _FRAMING):
            return None
        return self._lost.exception()

    def _watch(self) -> None:
        """From now on somebody waits, who must hear of a connection that is lost."""
        self._watches = True
        if self._lost is not None:
            self._lost.add_done_callback(self._end_without_sign)

    def _end_without_sign(self, lost: asyncio.Future[None]) -> None:
        """aiohttp closes a connection whose framing is broken without a word to whoever reads the body."""
        content = self._content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(lost.exception() or aiohttp.ClientPayloadError("its HTTP framing is broken"))

    def _fault(self, error: BaseException) -> AcytooError:
        return self._limits.expired or TruncatedError(
            f"the connection was lost before the reply was complete ({words(error)})"
        )

    def _give_up(self) -> None:
        self._content.set_exception(aiohttp.ServerTimeoutError("expired"))
        self._response.close()


def _lost(response: aiohttp.ClientResponse) -> asyncio.Future[None] | None:
    """Done when the response's connection is lost, with how; None where the whole body is here already."""
    connection = response.connection
    return connection.protocol.closed if connection is not None and connection.protocol is not None else None


def _seen(lost: asyncio.Future[None]) -> None:
    """However a connection that nobody reads any more is lost, it is nobody's error."""
    lost.exception()


async def open_exchange(outgoing: HTTPRequest, connection: Connection) -> Exchange:
    """Send the request, return when the response's head is here, whatever its status. Raises as `open_response`."""
    limits = Deadlines(connection.timeout)
    response = None
    try:
        response = await open_response(outgoing, connection, limits)
        return Exchange(response, limits)
    except BaseException:
        limits.end()
        if response is not None:
            response.close()
        raise
