"""Resetting a connection: the one way to show a peer that what it received is incomplete if the protocol cannot."""

from __future__ import annotations

import asyncio
import socket
import struct


def reset(transport: asyncio.Transport) -> None:
    """Close a connection at once with RST instead of FIN; unsent data is lost. One that is closing stays as it is."""
    if not transport.is_closing() and (sock := transport.get_extra_info("socket")) is not None:
        # With a linger time of zero, closing the socket sends RST.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
