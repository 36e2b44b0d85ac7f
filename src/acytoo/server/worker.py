"""A worker's connection to its supervisor, which has opened the listening sockets before.

The supervisor passes the descriptors in an environment variable. Over the connection the worker reports that it serves,
and then signs of life. The end of the connection shows each that the other has ended, however that came.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

VARIABLE = "ACYTOO_WORKER"
"""`DESCRIPTOR,…:CONNECTION:INTERVAL`: the listening sockets, the connection, seconds between signs of life or 0."""

READY = b"r"
ALIVE = b"."


def is_worker() -> bool:
    """Return whether this process was started by a supervisor, and has not connected yet."""
    return VARIABLE in os.environ


class SupervisorConnection:
    """The worker's end. `sockets` listen already, and other workers accept from them too."""

    def __init__(self, sockets: list[socket.socket], connection: socket.socket, interval: float) -> None:
        self.sockets = sockets
        self._connection = connection
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def from_environment(cls) -> SupervisorConnection | None:
        """Return the connection of this process, once; None if it has no supervisor."""
        value = os.environ.pop(VARIABLE, None)
        if value is None:
            return None
        listening, connection, interval = value.split(":")
        sockets = [socket.socket(fileno=int(descriptor)) for descriptor in listening.split(",")]
        return cls(sockets, socket.socket(fileno=int(connection)), float(interval))

    def start(self, on_end: Callable[[], None]) -> None:
        """Report that this worker serves. Call `on_end` when the supervisor has ended."""
        self._connection.setblocking(False)
        self._on_end = on_end
        self._loop.add_reader(self._connection, self._on_readable)
        self._send(READY)
        if self._interval:
            self._beat()

    def close(self) -> None:
        """Close the connection and the listening sockets of this process."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._connection)
        for each in (self._connection, *self.sockets):
            each.close()

    def _on_readable(self) -> None:
        """The supervisor sends nothing: this is the end."""
        self._loop.remove_reader(self._connection)
        self._on_end()

    def _beat(self) -> None:
        self._send(ALIVE)
        self._timer = self._loop.call_later(self._interval, self._beat)

    def _send(self, data: bytes) -> None:
        with suppress(OSError):  # it does not read, or has ended
            self._connection.send(data)
