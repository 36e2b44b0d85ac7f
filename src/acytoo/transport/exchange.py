"""One request and its response: the head, then the body chunk by chunk, within its timeouts.

The problem is the end of the body. A chat reply must be complete or an error, so every way in which a body can end
too early has to be noticed: cut chunked framing, too few bytes, a reset where the connection's end is the body's end,
compressed data without its trailer, silence. The connection and its parser report whether the body is complete, and
why it cannot become so; what has arrived before is returned first. Every failure leaves here as an AcytooError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from acytoo.errors import AcytooError, ProtocolError, TruncatedError
from acytoo.http import HTTPRequest, ResponseHead
from acytoo.transport.config import Connection
from acytoo.transport.connection import HTTPConnection
from acytoo.transport.errors import describe
from acytoo.transport.request import open_response
from acytoo.transport.timeouts import Deadlines
from acytoo.wire.compression import ContentDecoder, DecodingError, IncompleteDataError, content_decoder
from acytoo.wire.limits import check_elements, check_record_size

_MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error's body that are read; the rest is ignored."""

_ERROR_TIMEOUT = 5.0
"""Seconds in which an error's body has to arrive; the rest is ignored."""

_MAX_DECOMPRESSED = 16 * 1024 * 1024
"""Bytes that one read of the socket may decompress to."""


class Exchange:
    """A response whose head has arrived. Closing it before the end of its body closes the connection at once."""

    __slots__ = ("_connection", "_decoder", "_is_closed", "deadlines", "head")

    def __init__(self, connection: HTTPConnection, head: ResponseHead, deadlines: Deadlines) -> None:
        self.head = head
        self._connection = connection
        self.deadlines = deadlines
        coding = head.headers.get("content-encoding")
        self._decoder = content_decoder(coding, _MAX_DECOMPRESSED) if coding else None
        self._is_closed = False

    async def read(self) -> bytes:
        """Return all data that has arrived, at least one byte, or b"" at the end.

        Call `deadlines.content_received` if there was content in it: keep-alives do not end the wait for it.

        Raises:
            TimedOutError: No content arrived in time.
            TruncatedError: The body ended before the end that HTTP or its compression defines.
            ProtocolError: The body cannot be decompressed.
        """
        connection, deadlines = self._connection, self.deadlines
        while True:
            chunk = connection.take()
            if chunk is None:
                if connection.error is not None:
                    raise self._body_error(connection.error)
                deadlines.start_waiting()
                await connection.wait()
                continue
            if self._decoder is None:
                return chunk
            data = _decode(self._decoder, chunk)
            if data or not chunk:
                return data

    async def forward(self, consume: Callable[[bytes], bool]) -> None:
        """Call `consume` with the data that arrives, in the same step of the event loop, until it returns False.

        Return at the latest at the end of the body or at a failure, which `read` then reports; at once if data is
        waiting already or has to be decompressed. Raises what `consume` raises.
        """
        connection, deadlines = self._connection, self.deadlines
        parser = connection.parser
        if self._decoder is not None or parser.pieces or parser.is_complete or connection.error is not None:
            return
        deadlines.start_waiting()
        deadlines.is_waiting_on = True
        try:
            await connection.forward(consume)
        finally:
            deadlines.is_waiting_on = False

    async def read_all(self) -> bytes:
        """Return the complete body, a document. Raises as `read`, and ProtocolError if it is too large.

        The first-byte timeout holds for all of it: a part of a document is not content yet.
        """
        body = bytearray()
        while chunk := await self.read():
            body += chunk
            check_record_size(len(body))
        document = bytes(body)
        check_elements(document)
        return document

    async def read_error(self) -> bytes:
        """Return the start of an error's body: what arrives soon, and before reading fails.

        The status matters more than the rest, and whoever waits for it may want to try another server.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(_ERROR_TIMEOUT):
                while len(body) < _MAX_ERROR_BODY and (chunk := await self.read()):
                    body += chunk
        except (AcytooError, TimeoutError):
            pass
        return bytes(body[:_MAX_ERROR_BODY])

    def close(self) -> None:
        """Return the connection to the pool if the body has ended, otherwise close it."""
        if not self._is_closed:
            self._is_closed = True
            self._connection.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _body_error(self, cause: Exception) -> AcytooError:
        if self.deadlines.expired is not None:
            error: AcytooError = self.deadlines.take_error()
        else:
            error = TruncatedError(f"the connection was lost before the reply was complete ({describe(cause)})")
        error.__cause__ = cause
        return error


def _decode(decoder: ContentDecoder, chunk: bytes) -> bytes:
    """Return the decompressed chunk; check the end at an empty one. Raises TruncatedError, ProtocolError."""
    try:
        if chunk:
            decoded = decoder.decode(chunk)
            check_elements(decoded)  # other chunks are too short to contain a record of so many
            return decoded
        decoder.flush()
    except IncompleteDataError as error:
        raise TruncatedError("the compressed response was cut") from error
    except DecodingError as error:
        raise ProtocolError(f"cannot decompress the response: {error}") from error
    return b""


async def open_exchange(request: HTTPRequest, connection: Connection) -> Exchange:
    """Send the request and return when the response's head has arrived. Raises as `open_response`."""
    deadlines = Deadlines(connection.timeout, asyncio.get_running_loop(), request.content_within)
    return Exchange(*await open_response(request, connection, deadlines), deadlines)
