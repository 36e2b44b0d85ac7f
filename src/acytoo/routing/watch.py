"""The deadline of replies that have not begun.

A timer for each reply costs more than the rest of a route's work. All replies of a route have the same time, so the one
that was added first is due first, and one timer for each event loop is enough.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acytoo.routing.reply import Opening


class Watch:
    """The replies of one route that have to begin in time, in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # The handle of the timer is not kept either: it would keep the loop alive.
        self.loop = weakref.ref(loop)
        self.tasks: dict[Opening[Any], asyncio.Task[Any]] = {}
        """The tasks to cancel when the time of their replies is over. A reply that begins or fails removes itself."""
        self.is_armed = False

    def arm(self, opening: Opening[Any], loop: asyncio.AbstractEventLoop) -> None:
        """Set the timer to the time of a request, the one that is due first."""
        self.is_armed = True
        loop.call_later(opening.ends_at - time.monotonic(), self._on_timer)

    def _on_timer(self) -> None:
        self.is_armed = False
        while self.tasks:
            opening, task = next(iter(self.tasks.items()))
            if opening.ends_at > time.monotonic():
                self.arm(opening, task.get_loop())
                return
            del self.tasks[opening]
            opening.expire(task)
