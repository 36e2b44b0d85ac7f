"""Messages to the service manager: systemd's notification protocol, a datagram to the socket in NOTIFY_SOCKET.

Source: the manual pages sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress


def notify(state: str) -> None:
    """Send a state such as `READY=1`. Do nothing without a service manager, or if it cannot be reached."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@") or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):  # a name without a file
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1.0)
        sender.sendto(state.encode(), address)


def notify_reloading() -> None:
    """Report that the configuration is read again; `READY=1` has to follow."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval() -> float | None:
    """Return the seconds between two signs of life that the service manager waits for, None if it does not."""
    with suppress(ValueError):
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
        if microseconds > 0 and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            return microseconds / 1e6
    return None


class Watchdog:
    """Signs of life to the service manager, for as long as the running event loop turns."""

    def __init__(self) -> None:
        self._interval = watchdog_interval()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Send one now, and then twice in each interval."""
        if self._interval is not None:
            notify("WATCHDOG=1")
            self._timer = asyncio.get_running_loop().call_later(self._interval / 2, self.start)

    def stop(self) -> None:
        """Send no more."""
        if self._timer is not None:
            self._timer.cancel()
