"""The deadline of requests that wait for a reply to begin.

A timer for each request costs more than the rest of a route's work. All requests of a route have the same time, so the
one that was added first is due first, and one timer for each event loop is enough.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any


class Watch:
    """The requests of one route that have to be answered in time, in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        # The handle of the timer is not kept either: it would keep the loop alive.
        self.loop = weakref.ref(loop)
        self.tasks: dict[asyncio.Task[Any], float] = {}
        """The tasks that wait for a reply to begin, and since when (the loop's time).

        Whoever adds a task removes it; one that is missing by then has been cancelled, because its time was over.
        """
        self.is_armed = False
        self._deadline = deadline

    def arm(self, since: float, loop: asyncio.AbstractEventLoop) -> None:
        """Set the timer for a request that began then, the one that is due first."""
        self.is_armed = True
        loop.call_at(since + self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self.is_armed = False
        while self.tasks:
            task, since = next(iter(self.tasks.items()))
            loop = task.get_loop()
            if since + self._deadline > loop.time():
                self.arm(since, loop)
                return
            del self.tasks[task]
            task.cancel()
