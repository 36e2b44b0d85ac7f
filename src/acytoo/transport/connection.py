"""A connection to a server, which carries one request and its response at a time.

The problem: a stream of small chunks must cost little more than llhttp does, a slow reader must slow the server, and
leaving must end the connection at once, whatever is still to be sent.

The strategy: a `BufferedProtocol` receives into a buffer that all connections of an event loop share, and the parser
is fed from there; only the pieces of the body are copied. Whoever reads takes all pieces at once and otherwise waits
for one future, or has a function called that takes them, without a task being woken. The cost: one Python call for each
read of the socket.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, cast

from acytoo.http1.head import HTTPError
from acytoo.http1.response_parser import ResponseParser
from acytoo.transport._asyncio import use_small_tls_buffer
from acytoo.transport.timeouts import Deadlines

if TYPE_CHECKING:
    from acytoo.transport.pool import Pool

_MAX_UNREAD = 128 * 1024
"""Bytes that may wait for the reader before the socket is read no further."""

_KEEPALIVE_IDLE, _KEEPALIVE_INTERVAL = 30, 15
"""Seconds of silence before the kernel probes a connection, and between its probes.

A model may think for minutes without sending a byte; a peer that has vanished does not answer the probes.
"""

_MAX_SENT_WITH_HEAD = 64 * 1024
"""Bytes of a body that are joined with the head: one system call and a copy instead of two calls."""


class HTTPConnection(asyncio.BufferedProtocol):
    """A connection. `parser` has the response to the request that was sent, and `error` why it cannot go on.

    Connections with equal keys are interchangeable.
    """

    __slots__ = ("_awaits_head", "_buffer", "_consume", "_deadlines", "_loop", "_paused", "_pool", "_timer",
                 "_timer_at", "_unread", "_waiter", "error", "idle_since", "is_lost", "key", "parser",
                 "transport")  # fmt: skip

    def __init__(self, pool: Pool, key: Hashable, buffer: memoryview) -> None:
        """`buffer`: received into; the connections of one event loop may share it."""
        self._pool = pool
        self._buffer = buffer
        self._loop = pool.loop
        self._paused = self._awaits_head = False
        self._unread = 0
        self._waiter: asyncio.Future[None] | None = None
        self._consume: Callable[[bytes], bool] | None = None
        self._deadlines: Deadlines | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self.key = key
        self.parser = ResponseParser()
        self.error: Exception | None = None
        self.idle_since = 0.0
        """When the connection became idle, 0 while it is in use."""
        self.is_lost = False
        self.transport: asyncio.Transport

    # The side of whoever sends requests.

    def start(self) -> None:
        """Expect the response to another request, on a connection that was idle."""
        self.idle_since = 0.0
        self.parser.start()

    def become_idle(self) -> None:
        """Drop what was not read of a complete response, and watch for the end of the connection."""
        self.idle_since = self._loop.time()
        self._deadlines = None
        self.parser.pieces.clear()
        self._unread = 0
        if self._paused:
            self._resume()

    def send(self, head: bytes, body: bytes) -> None:
        """Send a request. The event loop sends what the socket does not take now."""
        if len(body) <= _MAX_SENT_WITH_HEAD:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)

    def enforce(self, deadlines: Deadlines) -> None:
        """Fail once a timeout of the request that was sent expires, until its response is released."""
        self._deadlines = deadlines
        due = deadlines.start_sending()
        if due < self._timer_at:
            self._set_timer(due)

    def take(self) -> bytes | None:
        """Return all buffered bytes of the body, b"" at its end, or None if nothing has arrived.

        After None, raise `error` if it is set, and otherwise await `wait`.
        """
        parser = self.parser
        pieces = parser.pieces
        if pieces:
            if len(pieces) == 1:
                data = pieces.pop()
            else:
                data = b"".join(pieces)
                pieces.clear()
            self._unread = 0
            if self._paused:
                self._resume()
            return data
        return b"" if parser.is_complete else None

    def wait(self) -> asyncio.Future[None]:
        """Return a future that is done when more has arrived, or nothing more will. Only while `error` is None."""
        self._awaits_head = self.parser.head is None
        waiter = self._waiter = self._loop.create_future()
        return waiter

    async def forward(self, consume: Callable[[bytes], bool]) -> None:
        """Call `consume` with all of the body that arrives, in the step of the event loop that receives it.

        Return once it returns False, or nothing more will arrive. Raises what it raises. Only after `take` has returned
        None, and while `error` is None.
        """
        waiter = self.wait()
        self._consume = consume
        try:
            await waiter
        finally:
            self._consume = None

    def fail(self, error: Exception) -> None:
        """End the connection with an error, unless it has one; whoever waits is woken."""
        if self.error is None:
            self.error = error
        self.transport.abort()
        self._wake()

    @property
    def can_reuse(self) -> bool:
        """Whether the response is complete and another request may follow it."""
        return (
            self.parser.can_reuse
            and self.error is None
            and not self.transport.is_closing()
            and not self.transport.get_write_buffer_size()
        )

    def release(self) -> None:
        """Give the connection back: it is kept for the next request if its response allows that, else closed."""
        self._pool.put(self)

    def close(self) -> None:
        """Close after a complete response, else abort: neither side has a use for the rest."""
        self._deadlines = None
        if self.parser.is_complete and not self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self.transport.abort()

    # The side of the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up the socket. Called again if TLS begins on the connection."""
        # No isinstance: uvloop's transports have the interface, not the class.
        self.transport = transport = cast("asyncio.Transport", transport)
        use_small_tls_buffer(transport)
        if (sock := transport.get_extra_info("socket")) is not None:
            _keep_alive(sock)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to receive into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what was received, and wake whoever waits for it."""
        parser = self.parser
        if self.idle_since:  # the server sends something although nothing was requested
            self.transport.abort()
            return
        try:
            parser.feed(self._buffer[:nbytes])
        except HTTPError as error:
            self.fail(error)
            return
        waiter = self._waiter
        if waiter is None:
            if parser.pieces:
                self._unread += nbytes
                if self._unread > _MAX_UNREAD and not self._paused:
                    self._paused = True
                    self.transport.pause_reading()
            return
        if parser.pieces:
            if self._consume is not None and not waiter.done():
                try:
                    if self._consume(self.take() or b"") and not parser.is_complete:
                        return
                except Exception as error:
                    self._waiter = None
                    waiter.set_exception(error)
                    return
        elif not (parser.is_complete or (self._awaits_head and parser.head is not None)):
            return  # only framing
        self._waiter = None
        if not waiter.done():
            waiter.set_result(None)

    def eof_received(self) -> bool:
        """Note that the server sends no more; the event loop then closes the connection."""
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection has ended. One that was reset, or aborted here, completes no body."""
        self.is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        self._end(exc)
        self.parser.close()
        self._pool.discard(self)

    def _end(self, exc: Exception | None) -> None:
        parser = self.parser
        if exc is None and self.error is None:
            try:
                if parser.head is not None and not parser.is_complete:
                    self._receive_rest()
                parser.end()
            except HTTPError as error:
                exc = ConnectionResetError(str(error))
        if self.error is None:
            self.error = exc or ConnectionResetError("the connection has ended")
        self._wake()

    def _receive_rest(self) -> None:
        """Parse what is left of a TLS connection that has ended, and check its end.

        If the end arrives while reading is paused, event loops report it before all of the data. They also report an
        end without a close_notify, which anybody on the way can cause, as they report any other. Raises HTTPError if
        that has to mark the end of the body.
        """
        tls: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        if tls is None:
            return
        try:
            while data := tls.read(len(self._buffer)):
                self.parser.feed(data)
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError:  # more could follow
            if not self.parser.is_framed:
                raise HTTPError("the TLS connection ended without a close_notify") from None

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._deadlines is None:
            return
        due = self._deadlines.check()
        if (expired := self._deadlines.expired) is not None:
            if expired.phase == "deadline" and not self.parser.is_complete:
                self.parser.pieces.clear()  # else a reply could begin with these that is cut after them
            self.fail(TimeoutError())
        elif due < math.inf:
            self._set_timer(due)

    def _resume(self) -> None:
        self._paused = False
        if not self.is_lost:
            self.transport.resume_reading()


def _keep_alive(sock: socket.socket) -> None:
    """Let the kernel find out that a silent peer has vanished; systems name the options differently."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", _KEEPALIVE_IDLE), ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
