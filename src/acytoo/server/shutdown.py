"""How a server's replies end with it: those that run have a time to finish, then they are cut."""

from __future__ import annotations

import asyncio

_LETTING_GO = 1.0
"""Seconds in which a reply that is cut has let go of its backend; one that has not is left to the event loop's end."""


class InFlightRequests:
    """The requests that are being answered, each until its answer is written."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """The current task answers a request."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self, grace: float) -> None:
        """Return when all answers are written, or cut after `grace` seconds; no request may come any more."""
        await asyncio.sleep(0)  # what came before that has begun then
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=grace)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_LETTING_GO)
