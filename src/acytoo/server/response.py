"""A streamed HTTP response that is written straight to its connection."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
import time
from email.utils import formatdate
from typing import Any

from aiohttp import ClientConnectionResetError, HttpVersion11, web

from acytoo.transport._aiohttp import count_sent

_ENOUGH = 64 * 1024
"""Bytes that the first write does not wait for more than."""


class StreamedResponse(web.StreamResponse):
    """A body of unknown length, each part of it sent as it comes.

    The head waits for the first part and, until the loop's turn is over, for what else comes at once: a reply that
    comes whole is one write. Everything after it is written when it comes.
    """

    def __init__(self, request: web.Request, headers: dict[str, str], unread: float) -> None:
        super().__init__(headers=headers)
        self._request = request
        self._unread = unread
        self._chunks = request.version >= HttpVersion11
        self._first = bytearray()
        self._waiting: asyncio.Handle | None = None
        self._watching: asyncio.TimerHandle | None = None
        self._head_sent = False
        self._ended = False
        self._whole = False

    @property
    def begun(self) -> bool:
        """Whether a part has been given: the status can no longer be another one."""
        return self._head_sent or self._waiting is not None

    @property
    def unsent(self) -> bool:
        """Whether the client has yet to take something that was written."""
        transport = self._request.transport
        return transport is not None and transport.get_write_buffer_size() > 0

    @property
    def keep_alive(self) -> bool:
        """Whether the connection can be used again."""
        return self._whole and self._keeps_alive

    @property
    def _keeps_alive(self) -> bool:
        return self._chunks and self._request.keep_alive

    async def send(self, data: bytes) -> None:
        """Send a part. Raises ConnectionResetError where the client has left; one that takes nothing is given up."""
        if self._head_sent:
            self._write(self._framed(data))
        else:
            self._first += data
            if len(self._first) >= _ENOUGH:
                self.flush()
            elif self._waiting is None:
                self._waiting = asyncio.get_running_loop().call_soon(self.flush)
        if self.unsent:
            await self._taken()

    def flush(self, data: bytes = b"") -> None:
        """Send what has come, the head too, and these bytes after it. After the end, or a client's leaving: nothing."""
        self._forget()
        transport = self._request.transport
        if not self._ended and transport is not None and not transport.is_closing():
            self._write(self._begun_with(data))

    async def end(self, data: bytes) -> None:
        """Send the last part and the end; return when the client has taken it all. Raises as `send`."""
        self._forget()
        self._write(self._begun_with(data) + (b"0\r\n\r\n" if self._chunks else b""))
        self._ended = True
        await self._all_taken()
        self._whole = True

    async def cut(self, data: bytes, *, told: bool) -> None:
        """Send a last part, then end the connection before the body's end, so that it cannot count as whole.

        Where the framing of HTTP/1.0 could not show that, and the body has not `told` it, `close` resets it.
        """
        if data or self._first:
            self.flush(data)
        self._ended = True
        await self._all_taken()
        if (told or self._chunks) and self._request.transport is not None:
            self._request.transport.close()

    def _forget(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def close(self) -> None:
        """Send nothing more. Half a body of HTTP/1.0, whose framing does not show that it is one, ends in a reset."""
        self._forget()
        self._first.clear()
        if self._head_sent and not self._whole and not self._chunks:
            self._reset()

    def _reset(self) -> None:
        """Tear the connection down, unless it is closing, so that nobody takes what came for all."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def _begun_with(self, data: bytes) -> bytes:
        """The bytes of a part, and of all that has to come before it."""
        if self._head_sent:
            return self._framed(data)
        self._head_sent = True
        self._first += data
        body = bytes(self._first)
        self._first.clear()
        return self._head() + self._framed(body)

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunks and data else data

    def _head(self) -> bytes:
        return _head_of(tuple(self.headers.items()), self._chunks, self._keeps_alive, int(time.time()))

    def _write(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client has left")
        count_sent(self, self._request, len(data))
        transport.write(data)

    async def _all_taken(self) -> None:
        transport = self._request.transport
        if transport is not None and self.unsent:
            transport.set_write_buffer_limits(high=0)
            await self._taken()
            transport.set_write_buffer_limits()

    async def _taken(self) -> None:
        """Return when the client has taken enough of what was written to be sent more."""
        transport = self._request.transport
        if transport is None:
            return
        self._watch(transport, transport.get_write_buffer_size())
        try:
            await self._request.writer.drain()
        finally:
            if self._watching is not None:
                self._watching.cancel()

    def _watch(self, transport: asyncio.Transport, left: int) -> None:
        """Give the connection up where, when the time is over, no less is left than there was."""

        def look() -> None:
            still_left = transport.get_write_buffer_size()
            if still_left < left:
                self._watch(transport, still_left)
            else:
                self._reset()

        self._watching = asyncio.get_running_loop().call_later(self._unread, look)

    # What the framework calls once the handler has returned: all has been said by then.

    async def prepare(self, request: web.BaseRequest) -> Any:
        """Do nothing: the head goes out with the body."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the end has been sent."""


@functools.lru_cache(maxsize=16)
def _head_of(headers: tuple[tuple[str, str], ...], chunks: bool, keeps_alive: bool, second: int) -> bytes:
    """The head of a response; all that begin within a second have one of a few."""
    lines = ["HTTP/1.1 200 OK", *[f"{name}: {value}" for name, value in headers]]
    lines.append(f"date: {formatdate(second, usegmt=True)}")
    if chunks:
        lines.append("transfer-encoding: chunked")
    if not keeps_alive:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
