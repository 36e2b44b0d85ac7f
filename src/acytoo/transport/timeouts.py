"""The timeouts of one exchange, from connecting to its end.

Four timeouts hold, in turn or throughout, and a fast reply has thousands of chunks: arming and cancelling a timer for
each would cost more than decoding it. So there is one timer per exchange, which no chunk touches. A chunk only stores
the time since which the reader has been waiting; when the timer fires, it checks whether that is long enough and
otherwise arms itself again for the earliest moment at which any timeout could expire. The price is one needless
wake-up per `idle` seconds. The time to connect is enforced where connections are established.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from acytoo.errors import TimedOutError
from acytoo.transport.config import Timeout

_GRACE = 0.01
"""Seconds between noticing a silence and giving up, in which a busy event loop reads what has arrived meanwhile."""


class Deadlines:
    """The connect, first-byte and idle timeouts, enforced in turn, and the total timeout, enforced throughout.

    When one expires, `expired` is set and `abort` is called, which ends whatever is being awaited.
    """

    __slots__ = ("_limit", "_loop", "_timeout", "_timer", "_total_deadline", "_waiting_since", "abort", "expired",
                 "phase")  # fmt: skip

    def __init__(self, timeout: Timeout) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._total_deadline = math.inf if timeout.total is None else self._loop.time() + timeout.total
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_since: float | None = None
        self.phase, self._limit = "connect", timeout.connect
        self.abort: Callable[[], object] = _do_nothing
        self.expired: TimedOutError | None = None

    def start_connecting(self) -> float | None:
        """Begin the connect phase. Return the seconds it may take, which the caller enforces."""
        self.phase, self._limit = "connect", self._timeout.connect
        self.abort = _do_nothing
        self._waiting_since = None
        connect = self._timeout.connect
        if self._total_deadline == math.inf:
            return connect
        left = max(0.001, self._total_deadline - self._loop.time())
        return left if connect is None else min(connect, left)

    def start_sending(self, abort: Callable[[], object]) -> None:
        """Begin the first-byte phase: the request is being sent. It begins again with each redirect."""
        self.phase, self._limit = "first_byte", self._timeout.first_byte
        self.abort = abort
        self._waiting_since = self._loop.time()
        if self._timer is None:
            self._arm()

    def start_waiting(self) -> None:
        """Note that the reader waits for a chunk. The wait for the first one began when the request was sent."""
        if self._waiting_since is None:
            self._waiting_since = self._loop.time()

    def data_received(self) -> None:
        """Note that a chunk has arrived: from now on the idle timeout holds."""
        self._waiting_since = None
        if self.phase != "idle":
            self.phase, self._limit = "idle", self._timeout.idle

    def stop(self) -> None:
        """Enforce nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.abort = _do_nothing

    def error(self) -> TimedOutError:
        """Return the error for the timeout that expired, also if the caller noticed it while connecting."""
        if self.expired is not None:
            return self.expired
        if self._loop.time() >= self._total_deadline:
            return TimedOutError("total", self._timeout.total or 0)
        return TimedOutError(self.phase, self._limit or 0)

    def _arm(self) -> None:
        """Set the timer for the earliest moment at which a timeout could expire, a wait that begins now included."""
        now = self._loop.time()
        due = self._total_deadline
        if self._limit is not None:
            due = min(due, (self._waiting_since or now) + self._limit)
        if self._timeout.idle is not None:
            due = min(due, now + self._timeout.idle)
        self._timer = None if due == math.inf else self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        now = self._loop.time()
        if now >= self._total_deadline:
            self._expire()
        elif self._is_overdue(now):
            # If the event loop was busy, data may be waiting in the socket: let it be read before calling it silence.
            self._timer = self._loop.call_later(_GRACE, self._after_grace)
        else:
            self._arm()

    def _after_grace(self) -> None:
        if self._is_overdue(self._loop.time()):
            self._expire()
        else:
            self._arm()

    def _is_overdue(self, now: float) -> bool:
        return self._waiting_since is not None and self._limit is not None and now - self._waiting_since >= self._limit

    def _expire(self) -> None:
        self.expired = self.error()
        self.abort()


def _do_nothing() -> None:
    """Abort nothing: nothing is in flight."""
