"""A model of counters that is too simple to be wrong: a list of everything that was ever counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from hypothesis import strategies as st

from acytoo.gateway.counters import Claim, Claims, Counters, Exceeded, Hold, Limit, Plan, Window

START = datetime(2027, 1, 31, 23, 57, tzinfo=UTC).timestamp()
"""Three minutes before a day and a month end."""


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Entry(NamedTuple):
    """An amount that was counted, in the window that began at `start`."""

    counter: str
    window: Window
    start: object
    amount: int


class Model:
    """What counters have to do, written down naively."""

    def __init__(self) -> None:
        self.now = START
        self.entries: list[Entry] = []
        self.minutes: dict[str, float] = {}

    def start_of(self, counter: str, window: Window) -> object:
        """Return what identifies the current window."""
        if window == "flight":
            return None
        if window == "minute":
            begun = self.minutes.get(counter)
            return begun if begun is not None and self.now < begun + 60 else self.now
        today = datetime.fromtimestamp(self.now, UTC)
        return today.date() if window == "day" else (today.year, today.month)

    def used(self, counter: str, window: Window) -> int:
        """Return the sum of the current window."""
        start = self.start_of(counter, window)
        return sum(entry.amount for entry in self.entries if entry[:3] == (counter, window, start))

    def reserve(self, claims: list[Claim]) -> list[Entry] | Claim:
        """Return the new entries, or the first claim that does not fit."""
        for claim in claims:
            if self.used(claim.counter, claim.window) + max(1, claim.amount) > claim.limit:
                return claim
        added = []
        for claim in claims:
            start = self.start_of(claim.counter, claim.window)
            if isinstance(start, float):
                self.minutes[claim.counter] = start
            added.append(Entry(claim.counter, claim.window, start, claim.amount))
        self.entries += added
        return added

    def settle(self, added: list[Entry], actual: dict[str, int]) -> None:
        """Replace the entries of windows that have not ended."""
        for entry in added:
            if self.start_of(entry.counter, entry.window) == entry.start:
                self.entries.remove(entry)
                amount = 0 if entry.window == "flight" else actual.get(entry.counter, entry.amount)
                self.entries.append(entry._replace(amount=amount))


LIMITS: dict[tuple[str, Window], int] = {
    ("requests", "minute"): 3,
    ("requests", "day"): 8,
    ("tokens", "minute"): 100,
    ("tokens", "day"): 250,
    ("money", "month"): 1000,
    ("places", "flight"): 2,
}


class Reserve(NamedTuple):
    """Reserve claims."""

    claims: list[Claim]


class Settle(NamedTuple):
    """Settle one of the holds that are not settled yet."""

    place: int
    actual: dict[str, int]


class Wait(NamedTuple):
    """Let time pass."""

    seconds: float


Step: TypeAlias = Reserve | Settle | Wait

_claims = st.lists(
    st.tuples(st.sampled_from(list(LIMITS)), st.integers(0, 120)),
    min_size=1,
    max_size=4,
    unique_by=lambda pair: pair[0],
).map(
    lambda pairs: [
        Claim(counter, window, LIMITS[counter, window], 1 if window == "flight" else amount)
        for (counter, window), amount in pairs
    ]
)

steps = st.lists(
    st.one_of(
        st.builds(Reserve, _claims),
        st.builds(
            Settle,
            st.integers(0, 5),
            st.dictionaries(st.sampled_from(["requests", "tokens", "money"]), st.integers(0, 400)),
        ),
        st.builds(Wait, st.sampled_from([1.0, 30.0, 59.0, 60.0, 100.0, 86400.0])),
    ),
    max_size=40,
)


def settle_now(counters: Counters, hold: Hold, actual: dict[str, int]) -> None:
    """Settle with real amounts by counter. Others are what was reserved, and places are free again."""
    amounts = [*hold.claims.amounts]
    for limit in hold.claims.plan.limits:
        amounts[limit.unit] = 0 if limit.window == "flight" else actual.get(limit.counter, amounts[limit.unit])
    counters.settle(hold, amounts)


async def settle(counters: Counters, hold: Hold, actual: dict[str, int]) -> None:
    """Settle, and wait for the task that does it if the counters are in a server."""
    before = asyncio.all_tasks()
    settle_now(counters, hold, actual)
    if started := asyncio.all_tasks() - before:
        await asyncio.wait(started)


async def follow(counters: Counters, steps: list[Step], wait: Callable[[float], Awaitable[None]]) -> None:
    """Take the same steps with counters and with the model; compare every answer."""
    model = Model()
    plans: dict[tuple[Limit, ...], Plan] = {}
    held: list[tuple[Hold, list[Entry]]] = []
    for step in steps:
        if isinstance(step, Wait):
            model.now += step.seconds
            await wait(step.seconds)
        elif isinstance(step, Settle):
            if step.place < len(held):
                hold, added = held.pop(step.place)
                model.settle(added, step.actual)
                await settle(counters, hold, step.actual)
                await settle(counters, hold, {"tokens": 10_000})  # the second time counts for nothing
        else:
            expected = model.reserve(step.claims)
            claims = Claims.of(step.claims)
            plan = plans.setdefault(claims.plan.limits, claims.plan)  # several plans have some counters in common
            result = await counters.reserve(Claims(plan, claims.amounts))
            if isinstance(expected, Claim):
                assert isinstance(result, Exceeded)
                assert result.level.claim == expected
                assert result.level in result.levels
                assert [level.used for level in result.levels] == [
                    model.used(claim.counter, claim.window) for claim in step.claims
                ]
            else:
                assert isinstance(result, Hold)
                assert [level.used for level in result.levels] == [
                    model.used(claim.counter, claim.window) for claim in step.claims
                ]
                held.append((result, expected))
