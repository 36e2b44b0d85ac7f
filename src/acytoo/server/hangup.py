"""Whether a client has hung up although bytes that it sent before are unread: event loops see the end only after them.

Linux reports it as POLLRDHUP; other systems report only a reset. Windows has no `poll`: there it is seen when the
bytes are read, or at the next write.
"""

from __future__ import annotations

import asyncio
import select


def has_hung_up(transport: asyncio.Transport) -> bool:
    """Return whether the client has closed its sending side, or has reset the connection."""
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(sock.fileno(), getattr(select, "POLLRDHUP", 0))  # a reset is reported whatever is asked for
    return bool(poll.poll(0))
