"""The buffer that connections receive into."""

from __future__ import annotations

import sys

_SIZE = 64 * 1024
"""Bytes that one read of a socket can take."""


class ReceiveBuffer:
    """The buffers of one event loop's connections: one for all of them where that is safe.

    Event loops that wait for a socket to become readable receive and hand over in one step, and everything is parsed
    before anything else is received. Windows' proactor fills the buffer while other connections are served.
    """

    def __init__(self) -> None:
        self._shared = None if sys.platform == "win32" else _new()

    def get(self) -> memoryview:
        """Return the buffer for a connection."""
        return _new() if self._shared is None else self._shared


def _new() -> memoryview:
    return memoryview(bytearray(_SIZE))
