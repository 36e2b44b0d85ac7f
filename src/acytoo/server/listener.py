"""Accepting connections.

The problem: without free file descriptors, asyncio's own server writes a thousand tracebacks a second, on uvloop it is
silent. The strategy: accept here, on any event loop that can watch a socket; on failure wait a second, and log one line
a minute. The kernel keeps the clients waiting meanwhile.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress

_LOG = logging.getLogger("acytoo.server")

_BACKLOG = 1024
"""Connections that may wait to be accepted."""

_MAX_AT_ONCE = 64
"""Connections that are accepted before the event loop turns to others."""

_RETRY_AFTER = 1.0
"""Seconds until another try after a failure."""

_LOG_INTERVAL = 60.0
"""Seconds between two reports of failures."""


async def bind(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """Return sockets that listen, for processes to inherit. Raises what `create_server` raises.

    With `reuse_port`, connections are spread over all sockets of the port that were bound so.
    """
    server = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, host, port, start_serving=False, reuse_port=reuse_port or None
    )
    sockets = [socket.socket(fileno=os.dup(bound.fileno())) for bound in server.sockets]
    server.close()
    for bound in sockets:
        bound.listen(_BACKLOG)
    return sockets


class Listener:
    """The listening sockets of a server."""

    def __init__(self, new_connection: Callable[[], asyncio.BaseProtocol]) -> None:
        self._new_connection = new_connection
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._sockets: dict[socket.socket, asyncio.TimerHandle | None] = {}
        """Each with the timer after which it is accepted from again."""
        self._accepting: set[asyncio.Task[object]] = set()
        self._reported_at = -math.inf
        self.is_last = False
        """Whether no other process will accept from the sockets once this listener is closed.

        New clients are refused then. As long as a process has the sockets open, they would wait.
        """

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Accept connections. Return the address. Raises what `create_server` raises."""
        server = await self._loop.create_server(self._new_connection, host, port, backlog=_BACKLOG, start_serving=False)
        self._server = server
        address, port = server.sockets[0].getsockname()[:2]
        try:
            for bound in server.sockets:
                self._watch(socket.socket(fileno=os.dup(bound.fileno())))
        except NotImplementedError:  # Windows' proactor
            await server.start_serving()
        except OSError:  # another process has bound the port at the same time
            self._close()
            raise
        else:
            self._server = None
            server.close()
        return address, port

    def add(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections from sockets that listen. They are closed with the listener."""
        for listening in sockets:
            if listening not in self._sockets:
                self._watch(listening)

    def remove(self, sockets: Iterable[socket.socket]) -> None:
        """Leave the connections of these sockets to another process, which has them too."""
        for listening in sockets:
            if listening in self._sockets:
                self._ignore(listening, self._sockets.pop(listening))

    def _ignore(self, listening: socket.socket, timer: asyncio.TimerHandle | None) -> None:
        if timer is None:
            self._loop.remove_reader(listening)
        else:
            timer.cancel()

    async def close(self) -> None:
        """Accept what is waiting, and no more. Return when all that were accepted are connections."""
        for listening, timer in list(self._sockets.items()):
            if timer is None:
                for _ in range(_BACKLOG // _MAX_AT_ONCE):
                    if not self._accept(listening):  # the kernel would reset what is waiting
                        break
            if self.is_last:
                with suppress(OSError):  # another process was faster
                    listening.shutdown(socket.SHUT_RDWR)
        self._close()
        if self._accepting:
            await asyncio.wait(self._accepting)

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for listening, timer in self._sockets.items():
            self._ignore(listening, timer)
            listening.close()
        self._sockets.clear()

    def _watch(self, listening: socket.socket) -> None:
        self._sockets[listening] = None
        listening.setblocking(False)
        listening.listen(_BACKLOG)
        self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> bool:
        """Accept some of the connections that are waiting. Return whether there may be more."""
        for _ in range(_MAX_AT_ONCE):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return False
            except OSError as error:
                if self.is_last and error.errno == errno.EINVAL:  # another process has shut it down
                    self._loop.remove_reader(listening)
                else:
                    self._wait(listening, error)
                return False
            accepted.setblocking(False)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._new_connection, accepted))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)
        return True

    def _wait(self, listening: socket.socket, error: OSError) -> None:
        """Try again later: a socket that cannot be accepted from stays readable."""
        self._loop.remove_reader(listening)
        self._sockets[listening] = self._loop.call_later(_RETRY_AFTER, self._watch, listening)
        now = self._loop.time()
        if now >= self._reported_at + _LOG_INTERVAL:
            self._reported_at = now
            _LOG.error("cannot accept connections, trying again every second: %s", os.strerror(error.errno or 0))
