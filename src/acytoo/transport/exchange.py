"""One request and its response: the head, then the body chunk by chunk, within its timeouts.

The problem is the end of the body. A chat reply must be complete or an error, so every way in which a body can end
too early has to be noticed: cut chunked framing, too few bytes, a reset where the connection's end is the body's end,
compressed data without its trailer, silence. aiohttp reports most of them, but not broken framing while somebody
waits, nor a reset at the end of an unframed body; for these, the future that it completes when a connection is lost
is watched, only from the first wait on. Every failure leaves here as an AcytooError.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import aiohttp

from acytoo.errors import AcytooError, ProtocolError, TruncatedError
from acytoo.http import HTTPRequest, ResponseHead
from acytoo.transport._aiohttp import can_read_buffer, connection_lost, read_buffer, wait_for_data
from acytoo.transport.config import Connection
from acytoo.transport.connect import open_response
from acytoo.transport.errors import describe
from acytoo.transport.timeouts import Deadlines
from acytoo.wire.compression import ContentDecoder, DecodingError, IncompleteDataError, content_decoder

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error's body that are read; the rest is ignored."""

_MAX_DECOMPRESSED = 16 * 1024 * 1024
"""Bytes that one read of the socket may decompress to."""

_FRAMING = ("content-length", "transfer-encoding")
"""The headers that define where a body ends; without them it ends with its connection."""


class Exchange:
    """A response whose head has arrived. Closing it before the end of its body closes the connection at once."""

    __slots__ = ("_content", "_deadlines", "_decoder", "_lost", "_reads_buffer", "_response", "_watches", "head")

    def __init__(self, response: aiohttp.ClientResponse, deadlines: Deadlines) -> None:
        self.head = ResponseHead(response.status, response.headers)
        self._response = response
        self._content = response.content
        self._reads_buffer = can_read_buffer(response.content)
        self._deadlines = deadlines
        self._decoder = content_decoder(response.headers.get("content-encoding", ""), _MAX_DECOMPRESSED)
        self._lost = connection_lost(response)
        self._watches = False
        deadlines.abort = self._abort

    async def read(self) -> bytes:
        """Return all data that has arrived, at least one byte, or b"" at the end.

        Raises:
            TimedOutError: No data arrived in time.
            TruncatedError: The body ended before the end that HTTP or its compression defines.
            ProtocolError: The body cannot be decompressed.
        """
        while True:
            try:
                chunk = read_buffer(self._content) if self._reads_buffer else None
                if chunk is None:
                    self._deadlines.start_waiting()
                    if not self._watches:
                        self._watch()
                    if self._reads_buffer:
                        await wait_for_data(self._content)
                        continue
                    chunk = await self._content.readany()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise self._body_error(error) from error
            self._deadlines.data_received()
            if not chunk and (cut := self._connection_error()) is not None:
                raise self._body_error(cut) from cut
            if self._decoder is None:
                return chunk
            data = _decode(self._decoder, chunk)
            if data or not chunk:
                return data

    async def read_up_to(self, size: int) -> bytes:
        """Return the first `size` bytes of the body. If reading fails, return what arrived before that."""
        body = bytearray()
        try:
            while len(body) < size and (chunk := await self.read()):
                body += chunk
        except AcytooError:
            pass  # an error's status matters more than the rest of its body
        return bytes(body[:size])

    def close(self) -> None:
        """Return the connection to the pool if the body has ended, otherwise close it."""
        self._deadlines.stop()
        if self._lost is not None:
            if self._watches:
                self._lost.remove_done_callback(self._on_connection_lost)
            self._lost.remove_done_callback(_retrieve_exception)
            self._lost.add_done_callback(_retrieve_exception)
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connection_error(self) -> BaseException | None:
        """Return why the connection was lost if it, not framing, ended the body; None if it was closed cleanly."""
        if self._lost is None or not self._lost.done() or any(name in self.head.headers for name in _FRAMING):
            return None
        return self._lost.exception()

    def _watch(self) -> None:
        """Wake the reader when the connection is lost."""
        self._watches = True
        if self._lost is not None:
            self._lost.add_done_callback(self._on_connection_lost)

    def _on_connection_lost(self, lost: asyncio.Future[None]) -> None:
        # If a body's framing is broken, aiohttp closes the connection and leaves whoever reads the body waiting.
        content = self._content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(lost.exception() or aiohttp.ClientPayloadError("the HTTP framing is broken"))

    def _body_error(self, error: BaseException) -> AcytooError:
        return self._deadlines.expired or TruncatedError(
            f"the connection was lost before the reply was complete ({describe(error)})"
        )

    def _abort(self) -> None:
        self._content.set_exception(aiohttp.ServerTimeoutError("expired"))
        self._response.close()


def _decode(decoder: ContentDecoder, chunk: bytes) -> bytes:
    """Return the decompressed chunk; check the end at an empty one. Raises TruncatedError, ProtocolError."""
    try:
        if chunk:
            return decoder.decode(chunk)
        decoder.flush()
    except IncompleteDataError as error:
        raise TruncatedError("the compressed response was cut") from error
    except DecodingError as error:
        raise ProtocolError(f"cannot decompress the response: {error}") from error
    return b""


def _retrieve_exception(lost: asyncio.Future[None]) -> None:
    """Keep asyncio from logging how a connection was lost that nobody reads any more."""
    lost.exception()


async def open_exchange(request: HTTPRequest, connection: Connection) -> Exchange:
    """Send the request and return when the response's head has arrived. Raises as `open_response`."""
    deadlines = Deadlines(connection.timeout)
    response = None
    try:
        response = await open_response(request, connection, deadlines)
        return Exchange(response, deadlines)
    except BaseException:
        deadlines.stop()
        if response is not None:
            response.close()
        raise
