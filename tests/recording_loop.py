"""An event loop that keeps its timers, for tests of whether one remains of what has ended."""

from __future__ import annotations

import asyncio
from typing import Any


class RecordingLoop(asyncio.SelectorEventLoop):
    """An event loop that keeps its timers."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[asyncio.TimerHandle] = []

    def call_at(self, *args: Any, **options: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        self.timers.append(super().call_at(*args, **options))
        return self.timers[-1]

    def pending(self) -> int:
        """Return how many timers are neither over nor cancelled."""
        return sum(each.when() > self.time() and not each.cancelled() for each in self.timers)
