"""Count requests, tokens and money against limits: reserve before a call, settle after it.

The problem: with an amount that is known only after the call, a check before it lets everything through that arrives
in the meantime. The strategy: a reservation counts an estimate at once, all limits of a request or none; settling
replaces it by the real amount. That may pass the limit; then the next reservation is refused.

A minute begins with its first request, a day and a month are UTC's. A window counts from zero if its clock says that it
is another one, also an earlier one: a clock that jumps never locks anybody out for longer than a window.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol, TypeAlias

Window: TypeAlias = Literal["minute", "day", "month", "flight"]
"""How long an amount counts; "flight": until it is settled."""

MINUTE = 60.0
DAY = 86400.0

FLIGHT_RETRY_AFTER = 1.0
"""Seconds to wait for a place that is in use: nobody knows how long a reply takes."""


class Claim(NamedTuple):
    """An amount to count against a limit.

    `counter` is a name such as `key:ci-bot:tokens`. `amount` is in requests, tokens or nanodollars; 1 for "flight".
    """

    counter: str
    window: Window
    limit: int
    amount: int


class Level(NamedTuple):
    """How much of a limit is used, and after how many seconds its window ends (0 for "flight")."""

    claim: Claim
    used: int
    resets_in: float

    @property
    def remaining(self) -> int:
        """What is left of the limit."""
        return max(0, self.claim.limit - self.used)


class Hold:
    """A reservation that counts until it is settled. `levels` are those after it.

    `marks` identify the windows in which the claims were counted; empty if they were not.
    """

    __slots__ = ("claims", "is_settled", "levels", "marks", "name")

    def __init__(self, claims: Sequence[Claim], levels: Sequence[Level], marks: Sequence[int], name: str = "") -> None:
        self.claims = claims
        self.levels = levels
        self.marks = marks
        self.name = name
        self.is_settled = False


class Exceeded(NamedTuple):
    """A claim that does not fit; nothing was counted. `retry_after` is None if it is larger than its limit."""

    level: Level
    retry_after: float | None


class Counters(Protocol):
    """What counts, in this process or in a server that many processes share."""

    async def reserve(self, claims: Sequence[Claim]) -> Hold | Exceeded:
        """Count all claims, or none if one does not fit. Each counter and window may occur once.

        A counter that is at its limit refuses even an amount that is estimated as 0.
        """
        ...

    async def settle(self, hold: Hold, actual: Mapping[str, int]) -> None:
        """Replace the reserved amounts by the real ones, by counter, and free the places in flight. Works once.

        Counters without a real amount keep the reserved one. A window that has ended meanwhile is left alone.
        """
        ...

    def settle_soon(self, hold: Hold, actual: Mapping[str, int]) -> None:
        """Settle without waiting for it."""
        ...

    async def restore(self, counter: str, window: Window, used: int) -> None:
        """Count at least `used` in the current window: what a ledger has of it from before a restart."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class MemoryCounters:
    """Counters of one process and one event loop; they begin at zero.

    `wall` and `monotonic` are the clocks: of days and months, and of minutes.
    """

    def __init__(
        self, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._counts: dict[tuple[str, str], _Count] = {}
        self._mark = 0

    async def reserve(self, claims: Sequence[Claim]) -> Hold | Exceeded:
        """Count all claims, or none if one does not fit."""
        now, elapsed = self._wall(), self._monotonic()
        counts: list[_Count] = []
        levels = []
        for claim in claims:  # without calls of ours: this is done for every request
            counter, window, limit, amount = claim
            at = elapsed if window == "minute" else now
            count = self._counts.get((counter, window))
            if count is None or not count.start <= at < count.end:
                count = self._begin(window, at)
            used = count.used
            resets_in = count.end - at if window != "flight" else 0.0
            if used + (amount or 1) > limit:
                level = Level(claim, used, resets_in)
                return Exceeded(level, retry_after(level))
            counts.append(count)
            levels.append(Level(claim, used + amount, resets_in))
        for claim, count in zip(claims, counts, strict=True):
            count.used += claim.amount
            self._counts[claim.counter, claim.window] = count
        return Hold(claims, levels, [count.mark for count in counts])

    async def settle(self, hold: Hold, actual: Mapping[str, int]) -> None:
        """Replace the reserved amounts by the real ones, and free the places in flight."""
        self.settle_soon(hold, actual)

    def settle_soon(self, hold: Hold, actual: Mapping[str, int]) -> None:
        """Do what `settle` does, at once."""
        if hold.is_settled:
            return
        hold.is_settled = True
        now, elapsed = self._wall(), self._monotonic()
        for claim, mark in zip(hold.claims, hold.marks, strict=True):
            counter, window, _, amount = claim
            count = self._counts[counter, window]
            if count.mark == mark and count.start <= (elapsed if window == "minute" else now) < count.end:
                count.used += settled(claim, actual) - amount

    async def restore(self, counter: str, window: Window, used: int) -> None:
        """Count at least `used` in the current window."""
        at = self._monotonic() if window == "minute" else self._wall()
        count = self._counts.get((counter, window))
        if count is None or not count.start <= at < count.end:
            count = self._counts[counter, window] = self._begin(window, at)
        count.used = max(count.used, used)

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def _begin(self, window: Window, at: float) -> _Count:
        """Return the count of a window that begins."""
        self._mark += 1
        start, end = (at, at + MINUTE) if window == "minute" else bounds(window, at)
        return _Count(start, end, self._mark)


class _Count:
    """What is used in one window, from `start` to `end` of its clock. A mark is never used again."""

    __slots__ = ("end", "mark", "start", "used")

    def __init__(self, start: float, end: float, mark: int) -> None:
        self.start = start
        self.end = end
        self.mark = mark
        self.used = 0


def bounds(window: Window, now: float) -> tuple[float, float]:
    """Return when the day or month (UTC) that contains `now` begins and ends; "flight" has no bounds."""
    if window == "flight":
        return float("-inf"), float("inf")
    if window == "day":
        start = now // DAY * DAY
        return start, start + DAY
    today = datetime.fromtimestamp(now, UTC)
    year, month = today.year, today.month
    following = (year, month + 1) if month < 12 else (year + 1, 1)
    return datetime(year, month, 1, tzinfo=UTC).timestamp(), datetime(*following, 1, tzinfo=UTC).timestamp()


def settled(claim: Claim, actual: Mapping[str, int]) -> int:
    """Return what of a claim stays counted after the call."""
    return 0 if claim.window == "flight" else actual.get(claim.counter, claim.amount)


def retry_after(level: Level) -> float | None:
    """Return after how many seconds a refused claim may fit; None if it never does."""
    claim = level.claim
    if (claim.amount or 1) > claim.limit:
        return None
    return FLIGHT_RETRY_AFTER if claim.window == "flight" else level.resets_in
