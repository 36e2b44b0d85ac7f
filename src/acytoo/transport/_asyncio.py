"""The private details of asyncio that we use, in one place: if one is missing, nothing is lost but memory.

Source: CPython 3.11 to 3.14, `asyncio/sslproto.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

_TLS_BUFFER = 32 * 1024
"""Twice the largest TLS record."""


def use_small_tls_buffer(transport: asyncio.BaseTransport) -> None:
    """Let asyncio receive TLS into 32 KiB instead of 256 KiB, which is most of the memory that an open stream holds."""
    tls: Any = getattr(transport, "_ssl_protocol", None)
    if hasattr(tls, "max_size") and hasattr(tls, "_ssl_buffer") and hasattr(tls, "_ssl_buffer_view"):
        tls.max_size = _TLS_BUFFER
        tls._ssl_buffer = bytearray(_TLS_BUFFER)
        tls._ssl_buffer_view = memoryview(tls._ssl_buffer)
