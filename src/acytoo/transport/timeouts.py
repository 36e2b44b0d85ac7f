"""The time limits of one exchange, from its start to its end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from acytoo.errors import TimedOutError
from acytoo.transport.config import Timeout


class Deadlines:
    """First the time to connect holds, then until the first byte, then of silence between two; always the total.

    The HTTP client looks after the first, one timer after the others: it is armed anew only when it runs out, so no
    chunk costs one. `give_up` ends whatever is waited for.
    """

    __slots__ = ("_ends", "_limit", "_loop", "_timeout", "_timer", "_waiting_since", "expired", "give_up", "phase")

    def __init__(self, timeout: Timeout) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._ends = math.inf if timeout.total is None else self._loop.time() + timeout.total
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_since: float | None = None
        self.expired: TimedOutError | None = None

    def connecting(self) -> float | None:
        """A connection is being made or found: the seconds that it may take, which are the HTTP client's to limit."""
        self.phase, self._limit = "connect", self._timeout.connect
        self.give_up: Callable[[], object] = _nothing
        self._waiting_since = None
        connect = self._timeout.connect
        if self._ends == math.inf:
            return connect
        left = max(0.001, self._ends - self._loop.time())
        return left if connect is None else min(connect, left)

    def sending(self, give_up: Callable[[], object]) -> None:
        """The connection stands; again where a session of the caller's sends a request anew."""
        self.phase, self._limit = "first_byte", self._timeout.first_byte
        self.give_up = give_up
        self._waiting_since = self._loop.time()
        if self._timer is None:
            self._arm()

    def waiting(self) -> None:
        """Somebody waits for the next chunk; for the first, the time since the request was sent goes on."""
        if self._waiting_since is None:
            self._waiting_since = self._loop.time()

    def arrived(self) -> None:
        """What was waited for is here."""
        self._waiting_since = None
        if self.phase != "idle":
            self.phase, self._limit = "idle", self._timeout.idle

    def end(self) -> None:
        """No limit holds any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.give_up = _nothing

    def error(self) -> TimedOutError:
        """The limit that ran out, where it was not our timer that noticed."""
        if self.expired is not None:
            return self.expired
        if self._loop.time() >= self._ends:
            return TimedOutError("total", self._timeout.total or 0)
        return TimedOutError(self.phase, self._limit or 0)

    def _arm(self) -> None:
        """Never later than silence, which may begin meanwhile, would want."""
        now = self._loop.time()
        due = self._ends
        if self._limit is not None:
            due = min(due, (self._waiting_since or now) + self._limit)
        if self._timeout.idle is not None:
            due = min(due, now + self._timeout.idle)
        self._timer = None if due == math.inf else self._loop.call_at(due, self._look)

    def _look(self) -> None:
        """What came while the event loop was busy has a moment to be read: it was no silence."""
        now = self._loop.time()
        if now >= self._ends:
            self._expire()
        elif self._is_silent(now):
            self._timer = self._loop.call_later(_MOMENT, self._judge)
        else:
            self._arm()

    def _judge(self) -> None:
        if self._is_silent(self._loop.time()):
            self._expire()
        else:
            self._arm()

    def _is_silent(self, now: float) -> bool:
        return self._waiting_since is not None and self._limit is not None and now - self._waiting_since >= self._limit

    def _expire(self) -> None:
        self.expired = self.error()
        self.give_up()


_MOMENT = 0.01
"""Seconds between the end of a silence and the verdict, in which an event loop reads what has come."""


def _nothing() -> None:
    """Nothing is under way that could be given up."""
