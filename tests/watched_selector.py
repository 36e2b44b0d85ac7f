"""A selector that fails a test in which nothing happens any more.

The problem: a test that waits for bytes that never arrive hangs, or ends minutes later in a timeout that says nothing.
The strategy: both ends of nearly all tests are in one process, and on one event loop. There, a loop that has nothing
to do, and whose next timer is far away, waits for what nobody sends; so does one that only asks again and again whether
something has happened. It is given a long time nevertheless: a process or thread that the test has started may be busy.
Then the loop raises, with the place where each of its tasks waits. A step of the loop that never ends is interrupted
after as many seconds, but of the processor's time, of which a busy machine takes none.
"""

from __future__ import annotations

import asyncio
import selectors
import signal
import threading
import time
from types import CoroutineType, FrameType

_NEXT_TIMER = 45.0
"""Seconds until a timer that is worth waiting for. The limits of tests and the timeouts of servers are longer."""

_MANY = 200
"""Turns of an event loop without a file that is ready, after which it counts as one that only asks again."""


class WatchedSelector(selectors.DefaultSelector):
    """The selector of every event loop of the tests."""

    limit = 300.0
    """Seconds in which no file of the main thread's event loop is ready. The mutation tool sets fewer.

    Nothing that a test waits for takes so long, also on a busy machine.
    """

    def __init__(self) -> None:
        super().__init__()
        self._has_hung = False
        self._turns = 0
        self._ready_at = time.monotonic()

    def close(self) -> None:
        """Close the selector, after the last step of its event loop."""
        super().close()
        _limit_step(0.0)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for a file as every selector does. Raises AssertionError if nothing happens for too long."""
        if threading.current_thread() is not threading.main_thread():
            return super().select(timeout)
        # What ends the tasks of a loop that has hung waits for them: not so long again.
        limit = 1.0 if self._has_hung else self.limit
        is_idle = timeout is None or timeout >= max(limit, _NEXT_TIMER)
        events = super().select(limit if is_idle else timeout)
        _limit_step(limit)
        if events:
            self._turns, self._ready_at = 0, time.monotonic()
            return events
        self._turns += 1
        if is_idle or (self._turns > _MANY and time.monotonic() > self._ready_at + limit):
            self._has_hung = True
            raise AssertionError(f"nothing has happened for {limit:.0f} seconds: these tasks wait:\n{_stacks()}")
        return events


def _limit_step(seconds: float) -> None:
    """Interrupt the step that the event loop now begins after so many seconds of computing, or never after 0."""
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, seconds)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise AssertionError("a step of the event loop does not end")


if hasattr(signal, "SIGVTALRM"):
    signal.signal(signal.SIGVTALRM, _interrupt)


def _stacks() -> str:
    """Return where each task of the running event loop waits."""
    lines = []
    for task in asyncio.all_tasks():
        lines.append(f"{task.get_name()}:")
        coroutine: object = task.get_coro()
        while isinstance(coroutine, CoroutineType) and coroutine.cr_frame is not None:
            code = coroutine.cr_code
            lines.append(f"  {code.co_filename}:{coroutine.cr_frame.f_lineno} in {code.co_name}")
            coroutine = coroutine.cr_await
    return "\n".join(lines)
