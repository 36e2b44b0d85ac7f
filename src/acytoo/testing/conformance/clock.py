"""Limits that a busy machine does not break: time counts only while the event loop has its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_TICK = 0.005


async def ended(task: asyncio.Future[Any], limit: float) -> bool:
    """Whether the task ends within so many seconds in which this loop was not held up."""
    ticks = max(1, round(limit / _TICK))
    while ticks > 0 and not task.done():
        size = min(ticks, 20 if ticks > 40 else 1)
        await asyncio.wait({task}, timeout=size * _TICK)
        ticks -= size
    return task.done()


async def happens(waiting: Coroutine[Any, Any, T], limit: float) -> bool:
    """Whether what is waited for comes within the limit; else the waiting is given up."""
    task = asyncio.ensure_future(waiting)
    if await ended(task, limit):
        task.result()
        return True
    await stopped(task)
    return False


async def stopped(task: asyncio.Future[Any]) -> None:
    """Cancel the task and wait for it to end, whatever it ends in; one that will not be cancelled is left."""
    task.cancel()
    if await ended(task, 2.0) and not task.cancelled():
        task.exception()
