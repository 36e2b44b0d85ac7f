"""Requests and tokens per minute: reserved before a request, settled after its reply, learned from headers.

The problem: a limit that is noticed by its refusals wastes requests, and hundreds of workers that wait for the same
moment all begin in it.

The strategy: a bucket for each unit fills at the limit's rate. A request takes its share at once, even if that leaves a
debt, and then waits until the debt has been filled. So requests begin one after the other, in the order in which they
came, and each waits once. The headers of a response correct the level: what the server has left, less what has been
taken since that request.

The cost: nothing without limits, a few additions with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from acytoo.batch.rows import Row
from acytoo.dialects.quotas import Quota
from acytoo.gateway.accounting import BYTES_PER_TOKEN
from acytoo.types import Usage

_BURST_S = 6.0
"""Seconds of a limit of the user that may be taken at once. In any minute, that is a tenth more than the limit."""

_SHORTEST_WINDOW = 60.0
_LONGEST_WINDOW = 86400.0
"""Seconds for which the limits of APIs are. Which one follows from the time until a limit is full again."""

_FIRST_OUTPUT = 500
"""Tokens that a reply is expected to have before there has been one."""


class Bucket:
    """What is left of a limit."""

    __slots__ = ("_at", "_level", "_rate", "_size", "taken")

    def __init__(self, size: float, rate: float, now: float) -> None:
        self._size = size
        self._rate = rate
        self._level = size
        self._at = now
        self.taken = 0.0
        """All that has ever been taken."""

    def take(self, amount: float, now: float) -> float:
        """Take an amount, and return for how many seconds to wait first."""
        self._fill(now)
        self._level -= amount
        self.taken += amount
        return max(0.0, -self._level) / self._rate

    def give_back(self, amount: float, now: float) -> None:
        """Correct an amount that was taken; a negative one takes more."""
        self._fill(now)
        self._level = min(self._size, self._level + amount)

    def correct(self, level: float, size: float, rate: float, now: float) -> None:
        """Set the level that the server reports."""
        self._level, self._size, self._rate, self._at = level, size, rate, now

    def _fill(self, now: float) -> None:
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now


class Reservation(msgspec.Struct):
    """What a request has taken, and what had been taken before it ended waiting."""

    tokens: float = 0.0
    marks: dict[str, float] = {}


class Limiter:
    """The limits of one upstream: those of the user, and those that its responses report."""

    def __init__(
        self,
        requests: float | None = None,
        tokens: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a limiter; the user's limits are per minute."""
        self._clock = clock
        self._own: dict[str, Bucket] = {}
        for unit, limit in (("requests", requests), ("tokens", tokens)):
            if limit is not None:
                rate = limit / 60
                self._own[unit] = Bucket(max(1.0, rate * _BURST_S), rate, clock())
        self._learned: dict[str, Bucket] = {}
        self._output = float(_FIRST_OUTPUT)
        self.is_active = bool(self._own)

    def reserve(self, row: Row) -> tuple[Reservation, float]:
        """Take what a row needs. Return that, and for how many seconds its request has to wait."""
        now = self._clock()
        reservation = Reservation()
        if "tokens" in self._own or "tokens" in self._learned:
            size = len(msgspec.json.encode(row.fields)) / BYTES_PER_TOKEN
            limit = row.fields.get("max_tokens")
            reservation.tokens = size + (min(limit, self._output) if isinstance(limit, int) else self._output)
        delay = 0.0
        for buckets in (self._own, self._learned):
            for unit, bucket in buckets.items():
                amount = 1.0 if unit == "requests" else reservation.tokens
                delay = max(delay, bucket.take(amount, now))
                if buckets is self._learned:
                    reservation.marks[unit] = bucket.taken
        return reservation, delay

    def settle(self, reservation: Reservation, usage: Usage | None) -> None:
        """Replace the estimate of a request with what it has used."""
        if usage is not None:
            self._output += (usage.output_tokens - self._output) * 0.05
        if reservation.tokens and usage is not None:
            now = self._clock()
            unused = reservation.tokens - usage.input_tokens - usage.output_tokens
            for buckets in (self._own, self._learned):
                if "tokens" in buckets:
                    buckets["tokens"].give_back(unused, now)

    def learn(self, reservation: Reservation, quotas: Iterable[Quota]) -> None:
        """Correct the buckets by what a response to that request reports."""
        now = self._clock()
        for quota in quotas:
            if quota.limit <= 0:
                continue
            used = quota.limit - quota.remaining
            window = quota.limit * quota.resets_in / used if used > 0 else _SHORTEST_WINDOW
            rate = quota.limit / min(max(window, _SHORTEST_WINDOW), _LONGEST_WINDOW)
            bucket = self._learned.get(quota.unit)
            if bucket is None:
                bucket = self._learned[quota.unit] = Bucket(quota.limit, rate, now)
                self.is_active = True
            since = bucket.taken - reservation.marks.get(quota.unit, 0.0)
            bucket.correct(quota.remaining - since, quota.limit, rate, now)
