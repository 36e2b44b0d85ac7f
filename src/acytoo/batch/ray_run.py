"""Run a batch from file to file on a Ray cluster. The driver writes the same output as one machine does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from acytoo.batch.ray import RowOutcome

_PASSES = 3
"""Passes over the input; the second one finds what a driver's error or Ray itself has lost, which is nothing so far."""


class RayRunner:
    """Passes over the rows that are not finished, until all of them are."""

    def __init__(
        self,
        outcomes: Callable[[], Iterator[RowOutcome]],
        deliver: Callable[[RowOutcome], None],
        is_left: Callable[[], bool],
    ) -> None:
        """`outcomes` begins a pass, `deliver` writes an outcome, `is_left` returns whether a row is not finished."""
        self._outcomes = outcomes
        self._deliver = deliver
        self._is_left = is_left
        self.stop_reason = ""

    def stop(self, reason: str) -> None:
        """Write no further outcome; the rows that the workers have begun are asked for again by the next run."""
        self.stop_reason = self.stop_reason or reason

    async def run(self) -> None:
        """Write the outcome of every row that is not finished."""
        for _ in range(_PASSES):
            await asyncio.to_thread(self._pass)
            if not await asyncio.to_thread(self._is_left):
                self.stop_reason = ""  # it came after the last outcome
                return
            if self.stop_reason:
                return
        self.stop("some rows have no result")

    def _pass(self) -> None:
        for outcome in self._outcomes():
            if self.stop_reason:
                return
            self._deliver(outcome)
