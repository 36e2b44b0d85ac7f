"""A pool of connections for each event loop, closed when the loop ends."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator, Hashable

from acytoo._process import in_forked_child, leak
from acytoo.http1.buffer import ReceiveBuffer
from acytoo.transport.connection import HTTPConnection

_MAX_IDLE = 100
"""Idle connections that an event loop keeps; the longest idle is closed first."""

_IDLE_TIMEOUT = 30.0
"""Seconds that a connection may be idle. Most servers wait longer, and a stale connection only costs a second try."""


class Pool:
    """The connections of one event loop. Idle ones are kept by key: connections of one key are interchangeable."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._open: set[HTTPConnection] = set()
        self._idle: dict[HTTPConnection, None] = {}
        """In the order in which they became idle."""
        self._by_key: dict[Hashable, list[HTTPConnection]] = {}
        self._buffer = ReceiveBuffer()
        self._timer: asyncio.TimerHandle | None = None
        self._closer: AsyncGenerator[None, None] | None = None

    async def start(self) -> None:
        """Have the connections closed when the loop ends: `shutdown_asyncgens` closes a generator that waits here."""
        if self._closer is None:
            self._closer = self._close_with_loop()
            await anext(self._closer)

    def new_connection(self, key: Hashable) -> HTTPConnection:
        """Return the protocol of a connection that is about to be established."""
        connection = HTTPConnection(self, key, self._buffer.get())
        self._open.add(connection)
        return connection

    def take(self, key: Hashable) -> HTTPConnection | None:
        """Return the connection of this key that became idle last, None if there is none."""
        connections = self._by_key.get(key)
        while connections:
            connection = connections.pop()
            del self._idle[connection]
            if not connection.transport.is_closing():
                connection.start()
                return connection
        return None

    def put(self, connection: HTTPConnection) -> None:
        """Keep a connection for the next request if its response allows that, else close it."""
        if not connection.can_reuse:
            connection.close()
            return
        connection.become_idle()
        self._idle[connection] = None
        self._by_key.setdefault(connection.key, []).append(connection)
        if len(self._idle) > _MAX_IDLE:
            self._close_idle(next(iter(self._idle)))
        if self._timer is None:
            self._timer = self.loop.call_later(_IDLE_TIMEOUT, self._close_expired)

    def _close_expired(self) -> None:
        self._timer = None
        oldest = self.loop.time() - _IDLE_TIMEOUT
        while self._idle and (connection := next(iter(self._idle))).idle_since <= oldest:
            self._close_idle(connection)
        if self._idle:
            due = next(iter(self._idle)).idle_since + _IDLE_TIMEOUT
            self._timer = self.loop.call_at(due, self._close_expired)

    def _close_idle(self, connection: HTTPConnection) -> None:
        self._forget(connection)
        connection.close()

    def _forget(self, connection: HTTPConnection) -> None:
        if connection in self._idle:
            del self._idle[connection]
            connections = self._by_key[connection.key]
            connections.remove(connection)
            if not connections:
                del self._by_key[connection.key]

    @property
    def is_busy(self) -> bool:
        """Whether more than one connection is in use."""
        return len(self._open) - len(self._idle) > 1

    def discard(self, connection: HTTPConnection) -> None:
        """Forget a connection that has ended, or was never established."""
        self._open.discard(connection)
        self._forget(connection)

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._closer = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            while lost := [connection for connection in self._open if hasattr(connection, "transport")]:
                for connection in lost:
                    connection.fail(ConnectionAbortedError("the event loop has ended"))
                await asyncio.sleep(0)  # then the event loop closes the sockets
            with _lock:
                _pools.pop(self.loop, None)


_pools: dict[asyncio.AbstractEventLoop, Pool] = {}
_lock = threading.Lock()


def pool_of(loop: asyncio.AbstractEventLoop) -> Pool:
    """Return the pool of the running loop. `start` has to be awaited before its first connection is opened."""
    pool = _pools.get(loop)
    if pool is None:
        _drop_closed_loops()
        with _lock:
            pool = _pools.setdefault(loop, Pool(loop))
    return pool


def _drop_closed_loops() -> None:
    """Forget the pools of loops that were closed without shutting down their async generators.

    Nothing can be awaited on a closed loop; Python closes the sockets when it destroys them.
    """
    with _lock:
        for loop in [loop for loop in _pools if loop.is_closed()]:
            del _pools[loop]


atexit.register(_drop_closed_loops)


@in_forked_child
def _after_fork() -> None:
    """Leave the parent's connections alone: destroying one would reach into the parent's event loop."""
    global _pools, _lock
    if _pools:
        leak(_pools)
    _pools = {}
    _lock = threading.Lock()
