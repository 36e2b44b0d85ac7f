"""The deadline of replies that have not begun.

A timer for each reply costs more than the rest of a route's work. All replies of a route have the same time, so the one
that was added first is due first, and one timer for each event loop is enough.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acytoo.routing.reply import RoutedReply


class Watch:
    """The replies of one route that have to begin in time, in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = weakref.ref(loop)
        self._seconds = seconds
        self._tasks: dict[RoutedReply[Any], tuple[float, asyncio.Task[Any]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reply: RoutedReply[Any], task: asyncio.Task[Any]) -> None:
        """Cancel the task in time, unless the reply is removed before."""
        loop = task.get_loop()
        due = loop.time() + self._seconds
        self._tasks[reply] = due, task
        if self._timer is None:
            self._timer = loop.call_at(due, self._on_timer)

    def remove(self, reply: RoutedReply[Any]) -> None:
        """Let a reply take its time: it has begun, or failed."""
        self._tasks.pop(reply, None)

    def _on_timer(self) -> None:
        self._timer = None
        loop = self._loop()
        assert loop is not None
        while self._tasks:
            reply, (due, task) = next(iter(self._tasks.items()))
            if due > loop.time():
                self._timer = loop.call_at(due, self._on_timer)
                return
            del self._tasks[reply]
            reply.expire(task)
