"""Responses on the wire: a document in one write, and a stream that is written as it arrives.

The problem: most replies are short, and each write is a system call. A stream that ends early must be recognised as
cut by every client. The strategy: a stream's head waits for the first data and for everything else that arrives within
the same turn of the event loop, so that a short reply is one write. Later data is written at once. A cut body ends
without the last chunk, or, over HTTP/1.0, with a reset. Heads are cached: replies of the same second share a few, and
what is of one reply alone is added to them.
"""

from __future__ import annotations

import asyncio
import functools
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from acytoo._reset import reset
from acytoo.http import HTTPResponse
from acytoo.http1.head import encode_head

if TYPE_CHECKING:
    from acytoo.server.request import IncomingRequest

_FIRST_WRITE_SIZE = 64 * 1024
"""Bytes after which the first write no longer waits for more."""

_TIME_TO_READ = 0.1
"""Seconds in which a client that is not busy reads what has arrived."""

_TIME_TO_LEAVE = 1.0
"""Seconds in which a busy client has read an error, too. One that understands it leaves before they are over."""

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_NO_BODY = frozenset({204, 304})


class StreamedResponse:
    """A response with a body of unknown length, each part of it sent as it arrives."""

    __slots__ = ("_chunked", "_complete", "_connection", "_ended", "_first", "_first_flush", "_head_sent", "_headers",
                 "_keep_alive", "_request")  # fmt: skip

    def __init__(self, request: IncomingRequest, headers: dict[str, str]) -> None:
        self._request = request
        self._connection = request.connection
        self._headers = headers
        self._chunked = request.version == "1.1"
        self._first = bytearray()
        self._first_flush: asyncio.Handle | None = None
        self._head_sent = False
        self._keep_alive = False
        self._ended = False
        self._complete = False

    @property
    def started(self) -> bool:
        """Whether data was given to `write`: the status can no longer be changed."""
        return self._head_sent or self._first_flush is not None

    @property
    def unsent(self) -> bool:
        """Whether data is waiting for the client to read."""
        transport = self._connection.transport
        return transport is not None and transport.get_write_buffer_size() > 0

    def write(self, data: bytes) -> bool:
        """Send a part. Return whether the client keeps up; if it does not, await `drain` before the next part.

        Raises DisconnectedError if the client has left.
        """
        if self._head_sent:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        else:
            self._first += data
            if len(self._first) >= _FIRST_WRITE_SIZE:
                self.flush()
            elif self._first_flush is None:
                self._first_flush = asyncio.get_running_loop().call_soon(self.flush)
        return not self._connection.write_paused

    async def drain(self) -> None:
        """Wait while the client is behind. One that reads nothing is disconnected."""
        await self._connection.drain()

    def flush(self, data: bytes = b"") -> None:
        """Send what was held back, the head included, and then `data`. Does nothing after the end or a disconnect."""
        self._cancel_first_flush()
        transport = self._connection.transport
        if not self._ended and transport is not None and not transport.is_closing():
            self._connection.write(self._with_head(data))

    async def let_read(self) -> None:
        """Send what was held back, and give the client time to read it apart from what follows."""
        self.flush()
        await self._connection.drain_all()
        await asyncio.sleep(_TIME_TO_READ)

    async def report(self, error: bytes) -> None:
        """Send an error after which the body is cut. The client is given time to read it and leave."""
        self.flush(error)
        await self._connection.drain_all()
        await asyncio.sleep(_TIME_TO_LEAVE)

    async def end(self, data: bytes) -> None:
        """Send the last part and the end. Raises as `write`.

        If nothing but the end of the connection marks the end of the body, wait until the client has received it all.
        """
        self._cancel_first_flush()
        self._connection.write(self._with_head(data) + (b"0\r\n\r\n" if self._chunked else b""))
        self._ended = True
        if not self._chunked:
            await self._connection.drain_all()
        self._complete = True
        self._request.can_continue = self._keep_alive

    async def abort(self, *, reported: bool) -> None:
        """Close the connection without ending the body, so that clients detect the truncation.

        HTTP/1.0 has no framing to show it. There `close` resets the connection, unless the client can read the error
        in the body (`reported`).
        """
        if self._first:
            self.flush()
        self._ended = True
        await self._connection.drain_all()
        if (reported or self._chunked) and self._connection.transport is not None:
            self._connection.transport.close()

    def close(self) -> None:
        """Send nothing more. An incomplete body over HTTP/1.0 ends with a reset, because nothing else shows it."""
        self._cancel_first_flush()
        self._first.clear()
        transport = self._connection.transport
        is_cut = self._head_sent and not self._complete and not self._chunked
        if is_cut and transport is not None and not transport.is_closing():
            reset(transport)

    def _cancel_first_flush(self) -> None:
        if self._first_flush is not None:
            self._first_flush.cancel()
            self._first_flush = None

    def _with_head(self, data: bytes) -> bytes:
        """Return the framed bytes of a part, after the head and what was held back if they are still unsent."""
        if self._head_sent:
            return self._framed(data)
        self._head_sent = True
        self._first += data
        body = bytes(self._first)
        self._first.clear()
        return self._head() + self._framed(body)

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked and data else data

    def _head(self) -> bytes:
        self._request.status = 200
        headers = self._headers
        if self._chunked:
            headers = {**headers, "transfer-encoding": "chunked"}
        self._keep_alive = self._chunked and self._connection.may_keep_alive(self._request)
        connection = "" if self._keep_alive else "close"
        head = _encode_head(200, tuple(headers.items()), connection, int(time.time()))
        call = self._request.call
        return head + (call.fields if call is not None else b"") + b"\r\n"


def json_response(document: object, status: int = 200) -> HTTPResponse:
    """Return a response with a JSON document."""
    return HTTPResponse(status, {"content-type": "application/json"}, msgspec.json.encode(document))


def encode_response(
    response: HTTPResponse, keep_alive: bool, version: str, head_only: bool, own_fields: bytes = b""
) -> bytes:
    """Return the bytes of a complete response; the body of a response to HEAD is only counted.

    `own_fields` are further header fields, of this response alone: the others are encoded once for many.
    """
    connection = "close" if not keep_alive else "keep-alive" if version == "1.0" else ""
    head = _encode_head(response.status, tuple(response.headers.items()), connection, int(time.time()))
    head += own_fields
    if response.status in _NO_BODY:
        return head + b"\r\n"
    body = b"" if head_only else response.body
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(response.body), body)


@functools.lru_cache(maxsize=64)
def _encode_head(status: int, headers: tuple[tuple[str, str], ...], connection: str, second: int) -> bytes:
    """Encode the head of a response, without the empty line at its end."""
    fields = [*headers, ("date", _date(second))]
    if connection:
        fields.append(("connection", connection))
    return encode_head(f"HTTP/1.1 {status} {_REASONS.get(status, '')}", fields)[:-2]


@functools.lru_cache(maxsize=4)
def _date(second: int) -> str:
    """Return a time as headers have it."""
    return formatdate(second, usegmt=True)
