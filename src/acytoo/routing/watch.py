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
    from acytoo.routing.reply import RoutedReply


class Watch:
    """The replies of one route that have to begin in time, in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # The handle of the timer is not kept either: it would keep the loop alive.
        self.loop = weakref.ref(loop)
        self._tasks: dict[RoutedReply[Any], asyncio.Task[Any]] = {}
        self._is_armed = False

    def add(self, reply: RoutedReply[Any], task: asyncio.Task[Any]) -> None:
        """Cancel the task when the reply's time is over, unless the reply is removed before."""
        self._tasks[reply] = task
        if not self._is_armed:
            self._arm(reply, task.get_loop())

    def remove(self, reply: RoutedReply[Any]) -> None:
        """Let a reply take its time: it has begun, or failed."""
        self._tasks.pop(reply, None)

    def _arm(self, reply: RoutedReply[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._is_armed = True
        loop.call_later(reply.ends_at - time.monotonic(), self._on_timer)

    def _on_timer(self) -> None:
        self._is_armed = False
        while self._tasks:
            reply, task = next(iter(self._tasks.items()))
            if reply.ends_at > time.monotonic():
                self._arm(reply, task.get_loop())
                return
            del self._tasks[reply]
            reply.expire(task)
