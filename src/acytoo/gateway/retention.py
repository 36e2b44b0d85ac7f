"""Delete the rows of a ledger that are older than `[storage] retention_days`.

The problem: a ledger grows with every request, and the rows of years cannot be deleted in one statement: it would keep
others from writing, for minutes. The strategy: small batches with pauses, once an hour. The days from which a start
restores budgets are always kept. A clock that jumps must not delete what is not old: after a jump, a round is left out,
and whoever sets a clock by mistake has an hour to set it right. The cost: one query an hour.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from acytoo.errors import AcytooError
from acytoo.gateway.counters import DAY, bounds
from acytoo.gateway.ledger import BATCH, Ledger

_LOG = logging.getLogger("acytoo.gateway")

_PAUSE = 0.05
"""Seconds between two batches, in which others can write."""


class Pruner:
    """A task that deletes old rows of a ledger, at its start and then once an hour."""

    def __init__(self, ledger: Ledger, days: int, interval: float = 3600.0) -> None:
        """Create a pruner of rows that are older than `days`; `interval` is in seconds."""
        self._ledger = ledger
        self._days = days
        self._interval = interval
        self._offset = _offset()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the task, also in the middle of a round."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            before, self._offset = self._offset, _offset()
            if abs(self._offset - before) > DAY:
                _LOG.warning("the clock has jumped: no old rows of the ledger are deleted until the next round")
            else:
                await self._prune()
            await asyncio.sleep(self._interval)

    async def _prune(self) -> None:
        before = oldest_kept(time.time(), self._days)
        deleted, count = 0, BATCH
        try:
            while count == BATCH:
                count = await self._ledger.prune(before, BATCH)
                deleted += count
                await asyncio.sleep(_PAUSE)
        except AcytooError as error:
            _LOG.error("cannot delete old rows: %s", error)
        if deleted:
            _LOG.info("deleted %d rows of the ledger that were older than %d days", deleted, self._days)


def oldest_kept(now: float, days: int) -> float:
    """Return the Unix time from which rows are kept: for so many days, and those of this month's budgets.

    A replica whose clock is behind may still restore the budgets of the last month on the first day of a month.
    """
    return min(now - days * DAY, bounds("month", now - DAY)[0])


def _offset() -> float:
    """Return what changes when the clock is set."""
    return time.time() - time.monotonic()
