"""Graceful shutdown: running replies get some time to finish, then they are cancelled."""

from __future__ import annotations

import asyncio

_CANCEL_TIMEOUT = 1.0
"""Seconds that cancelled requests get to release their backends. Later ones are left to the event loop's end."""


class InFlightRequests:
    """The tasks that are answering requests, each until its response is written."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def add_current_task(self) -> None:
        """Count the current task as answering a request until it ends."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self, grace: float) -> None:
        """Wait until all responses are written, and cancel those that take longer than `grace` seconds.

        The server must have stopped accepting requests.
        """
        await asyncio.sleep(0)  # let requests that have already arrived register themselves
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=grace)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_CANCEL_TIMEOUT)
