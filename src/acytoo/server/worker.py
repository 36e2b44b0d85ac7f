"""A worker's connection to its supervisor, which has opened the listening sockets before.

The supervisor passes the descriptors in an environment variable. Over the connection the worker reports that it serves,
and then signs of life; the supervisor lends it the sockets of a worker that has ended, until there is another one
(`+PLACE` and `-PLACE`, a line each). `!0` announces that all workers will be stopped. The end of the connection shows
each that the other has ended, however that came.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from acytoo.server.listener import Listener

VARIABLE = "ACYTOO_WORKER"
"""`PLACE:DESCRIPTOR,…;DESCRIPTOR,…:CONNECTION:INTERVAL`: the worker's place, the listening sockets of all places, the
connection, seconds between signs of life or 0.
"""

READY = b"r"
ALIVE = b"."
LEND = b"+"
TAKE_BACK = b"-"
STOP_ALL = b"!"


def is_worker() -> bool:
    """Return whether this process was started by a supervisor, and has not connected yet."""
    return VARIABLE in os.environ


class SupervisorConnection:
    """The worker's end. `places` are the listening sockets of all workers, `sockets` its own."""

    def __init__(
        self, place: int, places: Sequence[Sequence[socket.socket]], connection: socket.socket, interval: float
    ) -> None:
        self.sockets = places[place]
        self._places = places
        self._connection = connection
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._received = b""

    @classmethod
    def from_environment(cls) -> SupervisorConnection | None:
        """Return the connection of this process, once; None if it has no supervisor."""
        value = os.environ.pop(VARIABLE, None)
        if value is None:
            return None
        place, listening, connection, interval = value.split(":")
        places = [
            [socket.socket(fileno=int(descriptor)) for descriptor in descriptors.split(",")]
            for descriptors in listening.split(";")
        ]
        return cls(int(place), places, socket.socket(fileno=int(connection)), float(interval))

    def start(self, listener: Listener, on_end: Callable[[], None]) -> None:
        """Report that this worker serves. Call `on_end` when the supervisor has ended."""
        self._connection.setblocking(False)
        self._listener = listener
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
        self._connection.close()
        for sockets in self._places:
            for each in sockets:
                each.close()

    def _on_readable(self) -> None:
        try:
            data = self._connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._connection)
            self._listener.is_last = True
            self._on_end()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            action, sockets = line[:1], self._places[int(line[1:])]
            if action == STOP_ALL:
                self._listener.is_last = True
            elif action == LEND:
                self._listener.add(sockets)
            else:
                self._listener.remove(sockets)

    def _beat(self) -> None:
        self._send(ALIVE)
        self._timer = self._loop.call_later(self._interval, self._beat)

    def _send(self, data: bytes) -> None:
        with suppress(OSError):  # it does not read, or has ended
            self._connection.send(data)
