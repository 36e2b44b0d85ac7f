"""How much of a connection is read at once: what a stream of small chunks needs, not what a download would."""

from __future__ import annotations

from typing import Any

_PLAIN = 64 * 1024
_TLS = 32 * 1024
"""Twice the largest TLS record."""


def read_less_at_once(transport: Any) -> None:
    """Let asyncio read into buffers of a stream's size, where its own are 256 KiB; other loops are left as they are.

    Each chunk that comes alone is read into a new buffer: a quarter of what it costs on CPython 3.11. Under TLS the
    buffers stay with the connection: most of the memory that an open stream holds.
    Source: CPython's `asyncio/selector_events.py` and `asyncio/sslproto.py`, in which both sizes are attributes.
    """
    tls = getattr(transport, "_ssl_protocol", None)
    if tls is None:
        if hasattr(transport, "max_size"):
            transport.max_size = _PLAIN
    elif hasattr(tls, "max_size") and hasattr(tls, "_ssl_buffer_view"):
        tls.max_size = _TLS
        tls._ssl_buffer = bytearray(_TLS)
        tls._ssl_buffer_view = memoryview(tls._ssl_buffer)
