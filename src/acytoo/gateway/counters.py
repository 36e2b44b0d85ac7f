"""Count requests, tokens and money against limits: reserve before a call, settle after it.

The problem: with an amount that is known only after the call, a check before it lets everything through that arrives
in the meantime. The strategy: a reservation counts an estimate at once, all limits of a request or none; settling
replaces it by the real amount. That may pass the limit; then the next reservation is refused.

A minute begins with its first request, a day and a month are UTC's. A window counts from zero if its clock says that it
is another one, also an earlier one: a clock that jumps never locks anybody out for longer than a window.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias, overload

import msgspec

from acytoo.dialects.quotas import UNITS, Quota

if TYPE_CHECKING:
    from acytoo.dialects.base import Dialect

Window: TypeAlias = Literal["minute", "day", "month", "flight"]
"""How long an amount counts; "flight": until it is settled."""

MINUTE = 60.0
DAY = 86400.0

_TEMPLATE_LASTS = 0.05
"""Seconds for which responses report the same time until a limit begins again."""

_NEVER = float("-inf")

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


class Limit(NamedTuple):
    """A limit of a counter. `unit` is the place of its amount among the amounts of a request."""

    counter: str
    window: Window
    limit: int
    unit: int


class Plan:
    """The limits of a key or an upstream, which count together; each counter and window may occur once.

    The first units are those of `quotas.UNITS`. A plan is made once. So `MemoryCounters` keeps in it the counts that it
    has looked up.
    """

    __slots__ = ("counted", "has_budget", "limits", "needs_tokens")

    def __init__(self, limits: Iterable[Limit], *, has_budget: bool = False, needs_tokens: bool = False) -> None:
        """`has_budget`: whether a limit is on money. `needs_tokens`: whether one is on tokens or on money."""
        self.limits = tuple(limits)
        self.has_budget = has_budget
        self.needs_tokens = needs_tokens
        self.counted: _Counted | None = None


class Claims(Sequence[Claim]):
    """The claims of one request on the limits of a plan: one for each, made when they are looked at."""

    __slots__ = ("amounts", "plan")

    def __init__(self, plan: Plan, amounts: Sequence[int]) -> None:
        self.plan = plan
        self.amounts = amounts

    @classmethod
    def of(cls, claims: Sequence[Claim]) -> Claims:
        """Return claims; those that have no plan are on one of their own, with a unit for each."""
        if isinstance(claims, Claims):
            return claims
        limits = [
            Limit(claim.counter, claim.window, claim.limit, unit) for unit, claim in enumerate(claims, len(UNITS))
        ]
        return cls(Plan(limits), [*[0] * len(UNITS), *[claim.amount for claim in claims]])

    def __len__(self) -> int:
        return len(self.plan.limits)

    @overload
    def __getitem__(self, index: int) -> Claim: ...

    @overload
    def __getitem__(self, index: slice) -> list[Claim]: ...

    def __getitem__(self, index: int | slice) -> Claim | list[Claim]:
        if isinstance(index, slice):
            return [*self][index]
        counter, window, limit, unit = self.plan.limits[index]
        return Claim(counter, window, limit, self.amounts[unit])


class Hold:
    """A reservation that counts until it is settled. `levels` are those after it, none if it was not counted."""

    __slots__ = ()
    claims: Claims
    levels: Sequence[Level]
    is_settled: bool

    def quota_fields(self, dialect: Dialect, now: float) -> bytes:
        """Return the header fields that report what is left of requests and tokens at the time `now`."""
        return dialect.quota_fields(quotas_of(self.levels), now)


def quotas_of(levels: Iterable[Level]) -> list[Quota]:
    """Return what is left of requests and tokens. Of several limits on one unit, the one of which the least is left."""
    least: dict[str, Quota] = {}
    for level in levels:
        for unit in UNITS:
            if level.claim.counter.endswith(f":{unit}") and (
                unit not in least or level.remaining < least[unit].remaining
            ):
                least[unit] = Quota(unit, level.claim.limit, level.remaining, level.resets_in)
    return list(least.values())


class Exceeded(NamedTuple):
    """A claim that does not fit; nothing was counted. `retry_after` is None if it is larger than its limit.

    `levels` are those of all claims of the request.
    """

    level: Level
    retry_after: float | None
    levels: Sequence[Level]

    def quota_fields(self, dialect: Dialect, now: float) -> bytes:
        """Return the header fields that report what is left of requests and tokens at the time `now`."""
        return dialect.quota_fields(quotas_of(self.levels), now)


class Counters(Protocol):
    """What counts, in this process or in a server that many processes share."""

    async def reserve(self, claims: Sequence[Claim]) -> Hold | Exceeded:
        """Count all claims, or none if one does not fit. Each counter and window may occur once.

        A counter that is at its limit refuses even an amount that is estimated as 0.
        """
        ...

    def reserve_now(self, plan: Plan, amounts: Sequence[int]) -> Hold | Exceeded | None:
        """Do what `reserve` does for the claims of a plan, or return None if that has to be awaited."""
        ...

    def settle(self, hold: Hold, actual: Sequence[int]) -> None:
        """Replace the reserved amounts by the real ones, in the order of the units of the plan. Works once.

        A place in flight is free again if its amount is 0. A window that has ended meanwhile is left alone. Nobody
        waits for a server that has the counters: `close` does.
        """
        ...

    async def restore(self, counter: str, window: Window, used: int, at: float | None = None) -> None:
        """Count at least `used` in the current window: what a ledger has of it from before a restart.

        Does nothing if the day or month of the Unix time `at`, when the ledger was asked, has ended meanwhile.
        """
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
        self._version = object()
        """Another one whenever a count is replaced."""

    async def reserve(self, claims: Sequence[Claim]) -> Hold | Exceeded:
        """Count all claims, or none if one does not fit."""
        claims = Claims.of(claims)
        return self.reserve_now(claims.plan, claims.amounts)

    def reserve_now(self, plan: Plan, amounts: Sequence[int]) -> Hold | Exceeded:
        """Do what `reserve` does for the claims of a plan."""
        # Without a call for each claim: this is done for every request.
        kept, now, elapsed = plan.counted, self._wall(), self._monotonic()
        if (
            kept is not None
            and kept.version is self._version
            and kept.start <= now < kept.end
            and kept.minute_start <= elapsed < kept.minute_end
        ):
            counted = kept
        else:
            counted = self._counts_of(plan, now, elapsed)
        for count, most, unit in counted.counts:
            amount = amounts[unit]
            used = count.used + amount
            if used >= most and (used > most or not amount):
                counted.take_back(amounts, count)
                return _exceeded(counted, plan, amounts, now, elapsed)
            count.used = used
        if counted is not kept:
            self._keep(plan, counted)
        return _MemoryHold(plan, amounts, counted, now, elapsed)

    def settle(self, hold: Hold, actual: Sequence[int]) -> None:
        """Replace the reserved amounts by the real ones."""
        assert isinstance(hold, _MemoryHold)
        if hold.is_settled:
            return
        hold.is_settled = True
        amounts = hold.amounts
        for count, _, unit in hold.counted.counts:  # nobody looks at the count of a window that has ended
            count.used += actual[unit] - amounts[unit]

    async def restore(self, counter: str, window: Window, used: int, at: float | None = None) -> None:
        """Count at least `used` in the current window."""
        now = self._monotonic() if window == "minute" else self._wall()
        if at is not None and bounds(window, at) != bounds(window, now):
            return
        count = self._counts.get((counter, window))
        if count is None or not count.start <= now < count.end:
            count = self._counts[counter, window] = _begin(window, now)
            self._version = object()
        count.used = max(count.used, used)

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def _counts_of(self, plan: Plan, now: float, elapsed: float) -> _Counted:
        """Return the counts of a plan in the current windows; those that begin are not kept yet."""
        counts = []
        for limit in plan.limits:
            at = elapsed if limit.window == "minute" else now
            count = self._counts.get((limit.counter, limit.window))
            if count is None or not count.start <= at < count.end:
                count = _begin(limit.window, at)
            counts.append(count)
        return _Counted(plan.limits, counts)

    def _keep(self, plan: Plan, counted: _Counted) -> None:
        """Keep the counts of a plan."""
        for limit, (count, *_) in zip(plan.limits, counted.counts, strict=True):
            key = limit.counter, limit.window
            if self._counts.get(key) is not count:
                self._counts[key] = count
                self._version = object()  # another plan may have the one that is replaced
        plan.counted, counted.version = counted, self._version


class _Counted:
    """The counts of a plan: what is done for every request is looked up once for many.

    `counts` has a count for each limit, with the limit and the unit, `quotas` the limits on requests and those on
    tokens, and `templates` the header fields that report them, for each dialect. They are the current ones between
    `start` and `end`, and between `minute_start` and `minute_end`, as long as the counters have the `version`.
    """

    __slots__ = ("counts", "end", "minute_end", "minute_start", "quotas", "start", "templates", "version")

    def __init__(self, limits: Sequence[Limit], counts: Sequence[_Count]) -> None:
        self.version: object = None
        self.counts: list[tuple[_Count, int, int]] = []
        quotas: dict[int, list[_Quota]] = {}
        for limit, count in zip(limits, counts, strict=True):
            self.counts.append((count, limit.limit, limit.unit))
            quotas.setdefault(limit.unit, []).append((count, limit.limit, limit.window == "minute", limit.unit))
        self.quotas = [(quotas[unit][0], quotas[unit][1:]) for unit in range(len(UNITS)) if unit in quotas]
        self.templates: dict[str, tuple[float, list[_Quota], bytes]] = {}
        self.start, self.end = _common([c for c, limit in zip(counts, limits, strict=True) if limit.window != "minute"])
        self.minute_start, self.minute_end = _common(
            [c for c, limit in zip(counts, limits, strict=True) if limit.window == "minute"]
        )

    def take_back(self, amounts: Sequence[int], end: _Count) -> None:
        """Count the amounts no more that were counted before the count `end` had no room."""
        for count, _, unit in self.counts:
            if count is end:
                return
            count.used -= amounts[unit]


class _MemoryHold(msgspec.Struct, Hold, eq=False):
    """A reservation in memory. Its levels are calculated when they are looked at."""

    plan: Plan
    amounts: Sequence[int]
    counted: _Counted
    now: float
    elapsed: float
    is_settled: bool = False

    @property
    def claims(self) -> Claims:  # type: ignore[override]
        return Claims(self.plan, self.amounts)

    @property
    def levels(self) -> list[Level]:  # type: ignore[override]
        return _levels(self.claims, self.counted, self.now, self.elapsed)

    def quota_fields(self, dialect: Dialect, now: float) -> bytes:
        # Only what is left differs from request to request, so a template with the rest is made a few times a second.
        # What a response reports of the time is that much too late, which makes nobody come back too early.
        quotas, lefts = [], []
        for tightest, others in self.counted.quotas:
            left = tightest[1] - tightest[0].used
            for other in others:
                if (left_of_other := other[1] - other[0].used) < left:
                    tightest, left = other, left_of_other
            quotas.append(tightest)
            lefts.append(left if left > 0 else 0)
        templates = self.counted.templates
        at, those, template = templates.get(dialect.name, (_NEVER, quotas, b""))
        if those != quotas or not 0 <= self.elapsed - at < _TEMPLATE_LASTS:
            template = dialect.quota_template(
                [self._quota(quota, left) for quota, left in zip(quotas, lefts, strict=True)], now
            )
            templates[dialect.name] = self.elapsed, quotas, template
        return template and template % tuple(lefts)

    def _quota(self, quota: _Quota, left: int) -> Quota:
        count, most, is_minute, unit = quota
        return Quota(UNITS[unit], most, left, count.end - (self.elapsed if is_minute else self.now))


class _Count:
    """What is used in one window, from `start` to `end` of its clock."""

    __slots__ = ("end", "start", "used")

    def __init__(self, start: float, end: float) -> None:
        self.start = start
        self.end = end
        self.used = 0


_Quota: TypeAlias = tuple[_Count, int, bool, int]
"""What is used of a limit, the limit, whether it is one per minute, and its unit."""


def _begin(window: Window, at: float) -> _Count:
    """Return the count of a window that begins."""
    return _Count(at, at + MINUTE) if window == "minute" else _Count(*bounds(window, at))


def _common(counts: list[_Count]) -> tuple[float, float]:
    """Return from when until when all these windows are the current ones."""
    starts, ends = [count.start for count in counts], [count.end for count in counts]
    return max(starts, default=float("-inf")), min(ends, default=float("inf"))


def _levels(claims: Claims, counted: _Counted, now: float, elapsed: float) -> list[Level]:
    """Return how much is used of the limit of each claim."""
    levels = []
    for claim, (count, *_) in zip(claims, counted.counts, strict=True):
        at = elapsed if claim.window == "minute" else now
        levels.append(Level(claim, count.used, count.end - at if claim.window != "flight" else 0.0))
    return levels


def _exceeded(counted: _Counted, plan: Plan, amounts: Sequence[int], now: float, elapsed: float) -> Exceeded:
    """Return the first claim that does not fit."""
    levels = _levels(Claims(plan, amounts), counted, now, elapsed)
    level = next(level for level in levels if level.used + (level.claim.amount or 1) > level.claim.limit)
    return Exceeded(level, retry_after(level), levels)


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


def retry_after(level: Level) -> float | None:
    """Return after how many seconds a refused claim may fit; None if it never does."""
    claim = level.claim
    if (claim.amount or 1) > claim.limit:
        return None
    return FLIGHT_RETRY_AFTER if claim.window == "flight" else level.resets_in
