"""Time limits that hold on a busy machine: only time in which the event loop runs is counted.

A limit is waited for in small ticks. If the process is not scheduled for a second, one tick passes, not a second, so
a slow machine makes a test slower and never makes it fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_TICK = 0.005


async def finishes_within(task: asyncio.Future[Any], limit_s: float) -> bool:
    """Return whether the task finishes within so many seconds of the event loop's running time."""
    ticks = max(1, round(limit_s / _TICK))
    while ticks > 0 and not task.done():
        # Far from the limit, longer waits cost less CPU.
        size = min(ticks, 20 if ticks > 40 else 1)
        await asyncio.wait({task}, timeout=size * _TICK)
        ticks -= size
    return task.done()


async def occurs_within(waiting: Coroutine[Any, Any, T], limit_s: float) -> bool:
    """Return whether the coroutine returns within the limit. If not, it is cancelled."""
    task = asyncio.ensure_future(waiting)
    if await finishes_within(task, limit_s):
        task.result()
        return True
    await cancel_and_wait(task)
    return False


async def cancel_and_wait(task: asyncio.Future[Any]) -> None:
    """Cancel the task and wait for it, whatever its outcome. One that ignores its cancellation is abandoned."""
    task.cancel()
    if await finishes_within(task, 2.0) and not task.cancelled():
        task.exception()
