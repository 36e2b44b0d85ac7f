"""One connection of a client: requests in, responses out, in order.

The problem: a client can leave, stall or send nonsense at any moment, also while its request is being answered, and
none of that may hold a backend, memory or a connection. The strategy: read all the time, even while a handler runs, so
that the end of the connection is seen at once and cancels the handler; each request has a task, each connection one
timer, which is only moved when it fires. The cost: what a client sends ahead of time is buffered, up to a limit; then
reading pauses, and the end of the connection is looked for once a second.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from acytoo._reset import reset
from acytoo.http import HTTPResponse
from acytoo.http1.head import HTTPError
from acytoo.http1.request_parser import RequestParser
from acytoo.server.hangup import has_hung_up
from acytoo.server.request import BodyTooLargeError, BudgetError, IncomingRequest
from acytoo.server.response import encode_response

if TYPE_CHECKING:
    from acytoo.server.http_server import HTTPServer

_LOG = logging.getLogger("acytoo.server")

_MAX_AHEAD = 64 * 1024
"""Bytes of bodies that nobody has asked for yet, above which reading pauses."""

_MIN_PIECE = 1024
"""Bytes that a piece of a body has before another is begun. An object for each tiny chunk takes 20 times its size."""

_MAX_QUEUED = 32
"""Requests that wait for the current one to be answered, above which reading pauses."""

_HANGUP_INTERVAL = 1.0
"""Seconds after which a client is looked for whose connection is not read."""

_LINGER = 2.0
"""Seconds in which the rest of a refused request is discarded, so that its client can read the response."""

_MAX_DISCARDED = 64 * 1024 * 1024
"""Bytes of a refused request that are discarded at most."""


class DisconnectedError(ConnectionResetError):
    """The client has left."""


class ServerConnection(asyncio.BufferedProtocol):
    """The server's end of a connection."""

    __slots__ = (
        "_action", "_buffer", "_deadline", "_discarded", "_drained", "_error", "_hangup_timer", "_is_paused", "_loop",
        "_parser", "_queue", "_receiving", "_server", "_task", "_timer", "_timer_at", "_unasked", "_unsent", "_waiter",
        "address", "sent", "transport", "write_paused",
    )  # fmt: skip

    def __init__(self, server: HTTPServer) -> None:
        self._server = server
        self._loop = server.loop
        self._buffer = server.buffer.get()
        self._parser = RequestParser(self)
        self._queue: deque[IncomingRequest] = deque()
        self._task: asyncio.Task[None] | None = None
        self._receiving: IncomingRequest | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._error: HTTPError | None = None
        self._is_paused = False
        self._hangup_timer: asyncio.TimerHandle | None = None
        self._unasked = self._unsent = 0
        self._discarded = -1
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = math.inf
        self._action: Callable[[], None] = self._on_idle
        self.transport: asyncio.Transport | None = None
        """None after the end of the connection."""
        self.write_paused = False
        """Whether the client is so far behind that nothing more should be written."""
        self.sent = 0
        """Bytes written, for the log."""
        self.address = ""
        """The address that its requests count for, "" before anybody asks for it."""

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, or refuse the connection if there are too many."""
        # No isinstance: uvloop's transports have the interface, not the class.
        self.transport = cast("asyncio.Transport", transport)
        excess = self._server.add(self)
        if excess is None:
            self._set_deadline(self._server.config.idle, self._on_idle)
        else:
            self.transport.write(encode_response(excess, False, "1.1", False))
            self._linger()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to read into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse the bytes that were read."""
        if self._discarded >= 0:
            self._discarded += nbytes
            if self._discarded > _MAX_DISCARDED:
                self._abort()
            return
        try:
            self._parser.feed(self._buffer[:nbytes])
        except HTTPError as error:
            self._fail(error)
        if self._queue or self._unasked > _MAX_AHEAD:
            self._limit_reading()

    def eof_received(self) -> None:
        """Treat a client that sends no more as one that has left: the transport closes when this returns."""
        self._leave()
        if self.transport is not None and self._discarded < 0 and self.transport.get_write_buffer_size():
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop everything that was done for the client."""
        self._leave()
        self.transport = None
        self._deadline = math.inf
        for timer in (self._timer, self._hangup_timer):
            if timer is not None:
                timer.cancel()
        self._parser.close()
        self._action = _do_nothing
        self._server.remove(self)

    def pause_writing(self) -> None:
        """Note that the client is behind."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Go on after the client has caught up."""
        self.write_paused = False
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
        elif self._task is None and self._discarded < 0:
            self._next()

    # Called by the parser.

    def head_received(self, method: str, target: str, version: str, headers: dict[str, str], keep_alive: bool) -> None:
        """Begin to answer a request, or queue it behind the current one."""
        request = self._receiving = IncomingRequest(self, method, target, version, headers, keep_alive)
        if self._task is None and not self._queue and not self.write_paused:
            self._start(request)
        else:
            self._queue.append(request)

    def body_received(self, data: bytes) -> None:
        """Keep a piece of the body, unless the body is too large."""
        request = self._receiving
        assert request is not None
        request.size += len(data)
        if request.limit is None:
            self._unasked += len(data)
        elif request.size > request.limit or not request.take(len(data)):
            self.drop_body(request, BodyTooLargeError() if request.size > request.limit else BudgetError())
            return
        pieces = request.pieces
        if pieces and len(pieces[-1]) < _MIN_PIECE:
            pieces[-1] += data
        else:
            pieces.append(data)

    def request_ended(self) -> None:
        """Complete the body."""
        assert self._receiving is not None
        self._receiving.is_complete = True
        self._receiving = None
        self._wake(None)

    # Called by requests and responses.

    async def receive_body(self, request: IncomingRequest, limit: int, timeout: float) -> None:
        """Wait for the body of the current request. Raises as `IncomingRequest.body`."""
        if max(request.size, int(request.headers.get("content-length", 0))) > limit:
            raise BodyTooLargeError
        if not request.take(request.size):
            raise BudgetError
        if self._error is not None:
            raise self._error
        request.limit = limit
        self._unasked -= request.size
        self._limit_reading()
        if not request.size and request.version == "1.1" and "expect" in request.headers:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._waiter = self._loop.create_future()
        self._set_deadline(timeout, self._on_body_timeout)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._deadline = math.inf

    def drop_body(self, request: IncomingRequest, error: Exception) -> None:
        """Keep nothing of a body that is arriving; `error` is raised to whoever waits for it."""
        self._wake(error)
        request.pieces.clear()
        request.limit = 0

    def write(self, data: bytes) -> None:
        """Write to the client. Raises DisconnectedError if it has left."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise DisconnectedError("the client has disconnected")
        self.sent += len(data)
        transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has caught up. One that reads nothing for too long is disconnected."""
        if self.write_paused and self.transport is not None:
            self._drained = self._loop.create_future()
            self._watch_unread()
            try:
                await self._drained
            finally:
                self._drained = None
                self._deadline = math.inf

    async def drain_all(self) -> None:
        """Wait until everything that was written has left this process."""
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.transport.set_write_buffer_limits(high=0)
            await self.drain()
            if self.transport is not None:
                self.transport.set_write_buffer_limits()

    @property
    def is_server_stopping(self) -> bool:
        """Whether the server accepts no new connections."""
        return self._server.is_stopping

    @property
    def has_client(self) -> bool:
        """Whether the client has neither left nor been disconnected."""
        return self.transport is not None and not self.transport.is_closing()

    def may_keep_alive(self, request: IncomingRequest) -> bool:
        """Return whether another request may follow this one."""
        return request.keep_alive and request.is_complete and not self._server.is_stopping

    # Called by the server when it stops.

    def finish(self) -> asyncio.Task[None] | None:
        """Close the connection if no complete request is being answered. Return the task that answers one otherwise."""
        if self._waiter is not None:  # for the rest of a body
            self.abort()
        elif self._task is None and self.transport is not None and self._discarded < 0:
            self._close()
        return self._task

    def abort(self) -> None:
        """Close the connection at once."""
        self._leave()
        self._abort()

    # One request after another.

    def _start(self, request: IncomingRequest) -> None:
        self._deadline = math.inf
        self._task = self._loop.create_task(self._answer(request))

    async def _answer(self, request: IncomingRequest) -> None:
        """Answer a request, then go on with the next one or close the connection."""
        server = self._server
        started = self._loop.time() if server.access_log else 0.0
        sent = self.sent
        try:
            try:
                response = await server.handler(request)
                if response is not None:
                    self._send(request, response)
            except BaseException as error:
                if request.call is not None:
                    request.call.end(error)
                raise
            if request.call is not None:
                request.call.end(None)
        except DisconnectedError:
            self._abort()
        except Exception:
            _LOG.exception("internal error while answering %s", request.path)
            self._abort()
        if server.access_log and request.status:
            server.log_access(request, self.sent - sent, self._loop.time() - started)
        self._task = None
        if request.limit is None:  # nobody has asked for the body, or it was complete by then
            self._unasked -= request.size
        if self.transport is None:
            return
        if not request.is_complete:
            self._linger()
        elif request.can_continue:
            self._next()
        else:
            self._close()

    def _send(self, request: IncomingRequest, response: HTTPResponse) -> None:
        request.status = response.status
        request.can_continue = self.may_keep_alive(request)
        own = request.call.fields if request.call is not None else b""
        self.write(encode_response(response, request.can_continue, request.version, request.method == "HEAD", own))

    def _next(self) -> None:
        """Go on after a response: with the next request, with the report of an error, or with waiting."""
        if self.write_paused:
            self._watch_unread()
            return
        request = self._queue.popleft() if self._queue else None
        if self._is_paused:
            self._limit_reading()
        if request is not None:
            self._start(request)
        elif self._error is not None:
            self._report(self._error)
        elif self._server.is_closing or self._parser.is_done:
            self._close()
        else:
            self._set_deadline(self._server.config.idle, self._on_idle)

    def _fail(self, error: HTTPError) -> None:
        """Report broken HTTP: to whoever waits for the body, else with a response of its own, in order."""
        self._error = error
        self._wake(error)
        if self._task is None and not self._queue and not self.write_paused:
            self._report(error)

    def _report(self, error: HTTPError) -> None:
        assert self.transport is not None
        self.transport.write(encode_response(self._server.describe(error), False, "1.1", False))
        self._linger()

    def _wake(self, error: Exception | None) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def _limit_reading(self) -> None:
        """Pause reading while too much has arrived ahead of time."""
        is_full = len(self._queue) >= _MAX_QUEUED or self._unasked > _MAX_AHEAD
        if is_full == self._is_paused or self.transport is None or self.transport.is_closing():
            return
        if is_full:
            self._is_paused = True
            self.transport.pause_reading()
            self._hangup_timer = self._loop.call_later(_HANGUP_INTERVAL, self._look_for_client)
        else:
            self._resume_reading()

    def _resume_reading(self) -> None:
        assert self.transport is not None
        assert self._hangup_timer is not None
        self._is_paused = False
        self._hangup_timer.cancel()
        self.transport.resume_reading()

    def _look_for_client(self) -> None:
        """Abort if the client has hung up behind what is not read."""
        if self.transport is None:
            return
        if has_hung_up(self.transport):
            self.abort()
        else:
            self._hangup_timer = self._loop.call_later(_HANGUP_INTERVAL, self._look_for_client)

    # The end.

    def _leave(self) -> None:
        """Stop answering: nobody will read it."""
        self._queue.clear()
        self._receiving = None
        if self._task is not None:
            self._task.cancel()

    def _close(self) -> None:
        """Close the connection after what was written. Bytes that are not read would reset it: discard them first."""
        assert self.transport is not None
        if self._queue or self._is_paused or self._receiving is not None:
            self._linger()
            return
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._watch_unread()

    def _linger(self) -> None:
        """Close the sending side, and discard for a while what the client is still sending."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self._discarded = 0
        transport.write_eof()
        if self._is_paused:
            self._resume_reading()
        self._set_deadline(_LINGER, self._abort)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    # The timer.

    def _set_deadline(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` after that time, unless the deadline is changed before."""
        self._action = action
        when = self._deadline = self._loop.time() + seconds
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, math.inf
        left = self._deadline - self._loop.time()
        if left <= 0:
            self._action()
        elif left < math.inf:
            self._set_deadline(left, self._action)

    def _on_idle(self) -> None:
        """Close a connection that sent no request for too long, unless its client is still reading a response."""
        assert self.transport is not None
        if self.transport.get_write_buffer_size():
            self._watch_unread()
        else:
            self._close()

    def _on_body_timeout(self) -> None:
        self._wake(TimeoutError())

    def _watch_unread(self) -> None:
        """Reset the connection if the client has read nothing of the unsent bytes when the timeout is over."""
        assert self.transport is not None
        self._unsent = self.transport.get_write_buffer_size()
        self._set_deadline(self._server.config.unread, self._on_unread)

    def _on_unread(self) -> None:
        assert self.transport is not None
        if self.transport.get_write_buffer_size() < self._unsent:
            self._watch_unread()
        else:
            reset(self.transport)


def _do_nothing() -> None:
    """Do nothing: the connection has ended."""
