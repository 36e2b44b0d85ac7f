"""The timeouts of one exchange, from connecting to its end.

Four timeouts hold, in turn or throughout, and a fast reply has thousands of chunks: arming and cancelling a timer for
each would cost more than decoding it. So there is one timer per connection, which no chunk touches. Waiting only stores
the time since which the reader has been waiting for content; when the timer fires, it checks whether that is long
enough and otherwise arms itself again for the earliest moment at which any timeout could expire. The timer stays armed
between the exchanges of a connection. The price is one needless wake-up per `idle` seconds. The time to connect is
enforced where connections are established.
"""

from __future__ import annotations

import asyncio
import math

from acytoo.errors import TimedOutError
from acytoo.transport.config import Timeout

_GRACE = 0.01
"""Seconds between noticing a silence and giving up, in which a busy event loop reads what has arrived meanwhile."""


class Deadlines:
    """The connect, first-byte and idle timeouts, enforced in turn, and the total timeout, enforced throughout.

    `content_within`: the seconds in which the reader has to accept the reply, by setting `content_due` to inf. The
    connection that carries the exchange calls `check`. Once a timeout has expired, `expired` is set.
    """

    __slots__ = ("_is_in_grace", "_limit", "_timeout", "_total_deadline", "_waited", "_waiting_since", "content_due",
                 "expired", "is_waiting_on", "loop", "phase")  # fmt: skip

    def __init__(self, timeout: Timeout, loop: asyncio.AbstractEventLoop, content_within: float = math.inf) -> None:
        self._timeout = timeout
        self.loop = loop
        self._total_deadline = math.inf if timeout.total is None else loop.time() + timeout.total
        self.content_due = math.inf if content_within == math.inf else loop.time() + content_within
        self._waiting_since: float | None = None
        self._waited = 0.0
        """Seconds waited for content before the reader turned to something else."""
        self._is_in_grace = False
        self.is_waiting_on = False
        """Whether the reader goes on waiting after each content, as it does while a reply is forwarded."""
        self.phase, self._limit = "connect", timeout.connect
        self.expired: TimedOutError | None = None

    def start_connecting(self) -> float | None:
        """Begin the connect phase. Return the seconds it may take, which the caller enforces."""
        self.phase, self._limit = "connect", self._timeout.connect
        self._waiting_since = None
        self._waited = 0.0
        connect = self._timeout.connect
        due = min(self._total_deadline, self.content_due)
        if due == math.inf:
            return connect
        left = max(0.001, due - self.loop.time())
        return left if connect is None else min(connect, left)

    def start_sending(self) -> float:
        """Begin the first-byte phase: the request is being sent. It begins again with each redirect.

        Return when to call `check`.
        """
        self.phase, self._limit = "first_byte", self._timeout.first_byte
        now = self._waiting_since = self.loop.time()
        return self._due(now)

    def waited(self) -> float:
        """Return the seconds that the reader has waited for content, or since the request was sent."""
        return self._silence(self.loop.time())

    def start_waiting(self) -> None:
        """Note that the reader waits for content. The wait for the first one began when the request was sent."""
        if self._waiting_since is None:
            self._waiting_since = self.loop.time() - self._waited

    def pause_waiting(self) -> None:
        """Note that the reader turns to something else although no content has arrived, only keep-alives."""
        if self._waiting_since is not None:
            self._waited = self.loop.time() - self._waiting_since
            self._waiting_since = None

    def content_received(self) -> None:
        """Note that content has arrived: from now on the idle timeout holds."""
        self._waiting_since = self.loop.time() if self.is_waiting_on else None
        self._waited = 0.0
        if self.phase != "idle":
            self.phase, self._limit = "idle", self._timeout.idle

    def error(self) -> TimedOutError:
        """Return the error for the timeout that expired, also if the caller noticed it while connecting."""
        if self.expired is not None:
            return self.expired
        now = self.loop.time()
        if now >= self._total_deadline:
            return TimedOutError("total", self._timeout.total or 0)
        if now >= self.content_due:
            return TimedOutError("deadline", 0, "the reply did not begin before the deadline")
        return TimedOutError(self.phase, self._limit or 0)

    def take_error(self) -> TimedOutError:
        """Return the error of `error` and forget it.

        The frames in its traceback refer to this object: such a cycle would keep the request in memory.
        """
        error, self.expired = self.error(), None
        return error

    def check(self) -> float:
        """Set `expired` if a timeout has expired, otherwise return when to call this again."""
        now = self.loop.time()
        is_overdue = self._limit is not None and self._silence(now) >= self._limit
        if now >= min(self._total_deadline, self.content_due) or (is_overdue and self._is_in_grace):
            self.expired = self.error()
        self._is_in_grace = is_overdue
        # If the event loop was busy, data may be waiting in the socket: let it be read before calling it silence.
        return now + _GRACE if is_overdue else self._due(now)

    def _due(self, now: float) -> float:
        """Return the earliest moment at which a timeout could expire, a wait that begins now included."""
        due = self._total_deadline
        if self.content_due < due:
            due = self.content_due
        if self._limit is not None:
            due = min(due, now + self._limit - self._silence(now))
        if self._timeout.idle is not None:
            due = min(due, now + self._timeout.idle)
        return due

    def _silence(self, now: float) -> float:
        """Return the seconds waited for content, without those in which the reader is busy with something else."""
        return self._waited if self._waiting_since is None else now - self._waiting_since
