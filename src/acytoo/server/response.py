"""A streamed HTTP response that is written straight to its connection.

Problem: aiohttp's own streaming response writes the head and every chunk separately, several system calls for a short
reply. It cannot end a body so that every client sees that it was cut, and it waits forever for a client that does not
read.

Strategy: frame the body here and write to the transport. The head waits for the first data and for everything else
that arrives within the same turn of the event loop, so that a short reply is one write. Later data is written at once.
A cut body ends without the last chunk, or, over HTTP/1.0, with a reset. A timer closes the connection of a client that
has read nothing for too long.

Cost: the state of the response is kept here, and aiohttp calls only `prepare` and `write_eof`, which do nothing.
"""

from __future__ import annotations

import asyncio
import functools
import time
from email.utils import formatdate

from aiohttp import ClientConnectionResetError, HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from acytoo._reset import reset

_FIRST_WRITE_SIZE = 64 * 1024
"""Bytes after which the first write no longer waits for more."""


class StreamedResponse(web.StreamResponse):
    """A response with a body of unknown length, each part of it sent as it arrives."""

    def __init__(self, request: web.Request, headers: dict[str, str], unread: float) -> None:
        """`unread`: seconds that the client may leave sent data unread."""
        super().__init__(headers=headers)
        self._request = request
        self._unread_timeout = unread
        self._chunked = request.version >= HttpVersion11
        self._first = bytearray()
        self._first_flush: asyncio.Handle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._head_sent = False
        self._ended = False
        self._complete = False

    @property
    def started(self) -> bool:
        """Whether data was given to `send`: the status can no longer be changed."""
        return self._head_sent or self._first_flush is not None

    @property
    def unsent(self) -> bool:
        """Whether data is waiting for the client to read."""
        transport = self._request.transport
        return transport is not None and transport.get_write_buffer_size() > 0

    @property
    def keep_alive(self) -> bool:
        """Whether the connection can be used again."""
        return self._complete and self._may_keep_alive

    @property
    def _may_keep_alive(self) -> bool:
        return self._chunked and self._request.keep_alive

    async def send(self, data: bytes) -> None:
        """Send a part, and wait while the client is behind.

        Raises ConnectionResetError if the client has left. A client that reads nothing is disconnected.
        """
        if self._head_sent:
            self._write(self._framed(data))
        else:
            self._first += data
            if len(self._first) >= _FIRST_WRITE_SIZE:
                self.flush()
            elif self._first_flush is None:
                self._first_flush = asyncio.get_running_loop().call_soon(self.flush)
        if self.unsent:
            await self._drain()

    def flush(self, data: bytes = b"") -> None:
        """Send what was held back, the head included, and then `data`. Does nothing after the end or a disconnect."""
        self._cancel_first_flush()
        transport = self._request.transport
        if not self._ended and transport is not None and not transport.is_closing():
            self._write(self._with_head(data))

    async def end(self, data: bytes) -> None:
        """Send the last part and the end, and wait until the client has received it all. Raises as `send`."""
        self._cancel_first_flush()
        self._write(self._with_head(data) + (b"0\r\n\r\n" if self._chunked else b""))
        self._ended = True
        await self._drain_all()
        self._complete = True

    async def abort(self, data: bytes, *, reported: bool) -> None:
        """Send a final part, then close without ending the body, so that clients detect the truncation.

        HTTP/1.0 has no framing to show it. There `close` resets the connection, unless the client can read the error
        in the body (`reported`).
        """
        if data or self._first:
            self.flush(data)
        self._ended = True
        await self._drain_all()
        if (reported or self._chunked) and self._request.transport is not None:
            self._request.transport.close()

    def close(self) -> None:
        """Send nothing more. An incomplete body over HTTP/1.0 ends with a reset, because nothing else shows it."""
        self._cancel_first_flush()
        self._first.clear()
        if self._head_sent and not self._complete and not self._chunked:
            self._reset()

    def _cancel_first_flush(self) -> None:
        if self._first_flush is not None:
            self._first_flush.cancel()
            self._first_flush = None

    def _reset(self) -> None:
        """Reset the connection unless it is already closing."""
        transport = self._request.transport
        if transport is not None and not transport.is_closing():
            reset(transport)

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
        return _encode_head(tuple(self.headers.items()), self._chunked, self._may_keep_alive, int(time.time()))

    def _write(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client has disconnected")
        self._request.writer.output_size += len(data)
        if hasattr(self, "_body_length"):
            self._body_length += len(data)
        transport.write(data)

    async def _drain_all(self) -> None:
        """Wait until the client has received everything that was written."""
        transport = self._request.transport
        if transport is not None and self.unsent:
            transport.set_write_buffer_limits(high=0)
            await self._drain()
            transport.set_write_buffer_limits()

    async def _drain(self) -> None:
        """Wait until the write buffer is below its limit."""
        transport = self._request.transport
        if transport is None:
            return
        self._watch_progress(transport, transport.get_write_buffer_size())
        try:
            await self._request.writer.drain()
        finally:
            if self._unread_timer is not None:
                self._unread_timer.cancel()

    def _watch_progress(self, transport: asyncio.Transport, unsent: int) -> None:
        """Reset the connection if the client has not read any of the unsent bytes when the timeout is over."""

        def check() -> None:
            still_unsent = transport.get_write_buffer_size()
            if still_unsent < unsent:
                self._watch_progress(transport, still_unsent)
            else:
                self._reset()

        self._unread_timer = asyncio.get_running_loop().call_later(self._unread_timeout, check)

    # aiohttp calls these after the handler has returned. Everything has been sent by then.

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Do nothing: the head is sent with the body."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the end has been sent."""


@functools.lru_cache(maxsize=16)
def _encode_head(headers: tuple[tuple[str, str], ...], chunked: bool, keep_alive: bool, second: int) -> bytes:
    """Encode the head of a response. Responses of the same second share one of a few heads, so they are cached."""
    lines = ["HTTP/1.1 200 OK", *[f"{name}: {value}" for name, value in headers]]
    lines.append(f"date: {formatdate(second, usegmt=True)}")
    if chunked:
        lines.append("transfer-encoding: chunked")
    if not keep_alive:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
