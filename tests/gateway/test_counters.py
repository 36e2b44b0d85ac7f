"""Counters in memory: sums, windows, clocks that jump."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.dialects import by_name
from acytoo.dialects.quotas import Quota
from acytoo.gateway.config import Limits
from acytoo.gateway.counters import (
    Claim,
    Claims,
    Counters,
    Exceeded,
    Hold,
    Limit,
    MemoryCounters,
    Plan,
    Window,
)
from acytoo.gateway.limits import amounts_of, plan_of
from acytoo.http import ResponseHead
from tests.gateway.counters_model import START, Clock, Step, follow, settle_now, steps


async def reserve(counters: Counters, *claims: Claim) -> Hold:
    """Reserve what has to fit."""
    held = await counters.reserve(claims)
    assert isinstance(held, Hold)
    return held


async def refuse(counters: Counters, *claims: Claim) -> Exceeded:
    """Reserve what must not fit."""
    exceeded = await counters.reserve(claims)
    assert isinstance(exceeded, Exceeded)
    return exceeded


def requests(limit: int, window: Window = "minute") -> Claim:
    return Claim("key:a:requests", window, limit, 1)


def tokens(limit: int, amount: int, window: Window = "minute") -> Claim:
    return Claim("key:a:tokens", window, limit, amount)


PLACE = Claim("key:a:concurrent", "flight", 1, 1)


@given(steps)
async def test_any_interleaving_of_reserving_and_settling_keeps_the_sums_right(
    interleaving: list[Step],
) -> None:
    clock = Clock()

    async def wait(seconds: float) -> None:
        clock.now += seconds

    await follow(MemoryCounters(wall=clock, monotonic=clock), interleaving, wait)


async def test_200_that_race_for_100_places_get_exactly_100() -> None:
    counters = MemoryCounters()
    results = await asyncio.gather(*[counters.reserve([requests(100)]) for _ in range(200)])
    assert sum(isinstance(result, Hold) for result in results) == 100


async def test_a_request_that_exceeds_one_limit_counts_for_none() -> None:
    counters = MemoryCounters()
    await refuse(counters, requests(10), tokens(100, 101))
    assert (await reserve(counters, requests(10))).levels[0].used == 1


async def test_settling_replaces_the_estimate_and_keeps_what_has_no_real_amount() -> None:
    counters = MemoryCounters()
    held = await reserve(counters, requests(2), tokens(100, 90))
    settle_now(counters, held, {"key:a:tokens": 10})
    levels = (await reserve(counters, requests(2), tokens(100, 90))).levels
    assert [level.used for level in levels] == [2, 100]
    assert [level.remaining for level in levels] == [0, 0]


async def test_a_reply_that_was_dearer_than_estimated_refuses_the_next_request() -> None:
    counters = MemoryCounters()
    settle_now(counters, await reserve(counters, tokens(100, 10)), {"key:a:tokens": 150})
    exceeded = await refuse(counters, tokens(100, 0))
    assert exceeded.level.used == 150
    assert exceeded.level.remaining == 0


async def test_a_place_in_flight_is_free_again_once_settled() -> None:
    counters = MemoryCounters()
    held = await reserve(counters, PLACE)
    assert (await refuse(counters, PLACE)).retry_after == 1
    settle_now(counters, held, {})
    settle_now(counters, held, {})
    await reserve(counters, PLACE)
    await refuse(counters, PLACE)


async def test_a_claim_larger_than_its_limit_never_fits_so_there_is_no_time_to_wait() -> None:
    assert (await refuse(MemoryCounters(), tokens(100, 101))).retry_after is None


async def test_a_minute_begins_with_its_first_request() -> None:
    clock = Clock()
    counters = MemoryCounters(wall=clock, monotonic=clock)
    clock.now += 30
    await refuse(counters, requests(1), tokens(1, 2))  # counts for nothing
    clock.now += 10
    await reserve(counters, requests(1))
    clock.now += 59
    assert (await refuse(counters, requests(1))).retry_after == 1
    clock.now += 1
    await reserve(counters, requests(1))


async def test_days_and_months_are_those_of_utc() -> None:
    clock = Clock()
    counters = MemoryCounters(wall=clock, monotonic=clock)
    held = await reserve(counters, requests(1, "day"), requests(1, "month"))
    assert [level.resets_in for level in held.levels] == [180, 180]
    clock.now += 180
    held = await reserve(counters, requests(1, "day"), requests(1, "month"))
    assert [level.resets_in for level in held.levels] == [86400, 28 * 86400]
    clock.now += 300 * 86400  # the 28th of November
    assert (await reserve(counters, requests(1, "month"))).levels[0].resets_in == 3 * 86400
    clock.now += 4 * 86400  # December, after which the year ends
    assert (await reserve(counters, requests(1, "month"))).levels[0].resets_in == 30 * 86400


async def test_an_amount_that_is_settled_after_its_window_has_ended_counts_nowhere() -> None:
    clock = Clock()
    counters = MemoryCounters(wall=clock, monotonic=clock)
    held = await reserve(counters, tokens(100, 50))
    clock.now += 61
    await reserve(counters, tokens(100, 1))
    settle_now(counters, held, {"key:a:tokens": 90})
    assert (await reserve(counters, tokens(100, 1))).levels[0].used == 2


async def test_what_a_ledger_has_is_restored_once_however_often_it_is_reported() -> None:
    counters = MemoryCounters()
    await counters.restore("key:a:tokens", "day", 70)
    await counters.restore("key:a:tokens", "day", 70)
    assert (await reserve(counters, tokens(100, 10, "day"))).levels[0].used == 80
    await counters.restore("key:a:tokens", "day", 70)
    assert (await reserve(counters, tokens(100, 10, "day"))).levels[0].used == 90


@pytest.mark.parametrize("window", ["day", "month"])
async def test_what_was_used_of_a_day_or_month_that_has_ended_meanwhile_is_not_restored(window: Window) -> None:
    wall = Clock()
    wall.now = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    asked_at = wall.now - 1
    counters = MemoryCounters(wall=wall)
    await counters.restore("key:a:tokens", window, 70, asked_at)
    assert (await reserve(counters, tokens(100, 10, window))).levels[0].used == 10
    await counters.restore("key:a:tokens", window, 70, wall.now)
    assert (await reserve(counters, tokens(100, 10, window))).levels[0].used == 80


async def test_a_clock_that_jumps_back_locks_nobody_out() -> None:
    wall, monotonic = Clock(), Clock()
    counters = MemoryCounters(wall=wall, monotonic=monotonic)
    wall.now += 400 * 86400
    await reserve(counters, requests(1), requests(1, "day"), requests(1, "month"))
    wall.now -= 400 * 86400
    await reserve(counters, requests(1, "day"), requests(1, "month"))
    await refuse(counters, requests(1))  # a minute does not follow the clock on the wall
    monotonic.now += 60
    await reserve(counters, requests(1))


@given(st.lists(st.sampled_from([-86400.0, -1.0, 0.0, 1.0, 86400.0, 31 * 86400.0]), max_size=10))
async def test_however_the_clock_jumps_no_sum_becomes_negative(jumps: list[float]) -> None:
    clock = Clock()
    counters = MemoryCounters(wall=clock, monotonic=lambda: START)
    held = []
    for jump in jumps:
        held.append(await reserve(counters, tokens(10_000, 100, "day"), tokens(10_000, 100, "month")))
        clock.now += jump
    for hold in held:
        settle_now(counters, hold, {"key:a:tokens": 0})
    levels = (await reserve(counters, tokens(10_000, 1, "day"), tokens(10_000, 1, "month"))).levels
    assert all(level.used >= 1 for level in levels)


async def test_two_plans_with_one_counter_count_together_though_a_clock_jumps() -> None:
    clock = Clock()
    counters = MemoryCounters(wall=clock, monotonic=clock)
    first, second = (Plan([Limit("key:a:tokens", "day", 100, 0)]) for _ in range(2))

    async def used(plan: Plan) -> int:
        held = await counters.reserve(Claims(plan, [1]))
        assert isinstance(held, Hold)
        return held.levels[0].used

    assert [await used(first), await used(second), await used(first)] == [1, 2, 3]
    clock.now += 86400
    assert await used(second) == 1
    clock.now -= 86400
    assert [await used(second), await used(first), await used(second)] == [1, 2, 3]


async def test_a_plan_whose_day_has_ended_while_its_minute_has_not_counts_from_zero() -> None:
    clock = Clock()
    counters = MemoryCounters(wall=clock, monotonic=clock)
    plan = Plan([Limit("key:a:tokens", "day", 100, 0), Limit("key:a:tokens", "minute", 100, 0)])
    clock.now = START + 170
    assert isinstance(await counters.reserve(Claims(plan, [5])), Hold)
    clock.now = START + 190
    held = await counters.reserve(Claims(plan, [5]))
    assert isinstance(held, Hold)
    assert [level.used for level in held.levels] == [5, 10]


def reported(held: Hold, dialect: str) -> list[Quota]:
    """Return what a response reports to a client."""
    api = by_name(dialect)
    lines = held.quota_fields(api, START).decode().splitlines()
    return api.read_quotas(ResponseHead(200, dict(line.split(": ", 1) for line in lines)), START)


async def reserve_all(counters: MemoryCounters, plan: Plan | None) -> Hold:
    """Reserve a request with 20 tokens."""
    assert plan is not None
    held = await counters.reserve(Claims(plan, amounts_of(20, 1)))
    assert isinstance(held, Hold)
    return held


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_a_response_reports_what_is_left_of_the_tightest_limits_on_requests_and_on_tokens(dialect: str) -> None:
    clock = Clock()
    counters = MemoryCounters(wall=clock, monotonic=clock)
    limits = Limits(requests_per_minute=5, requests_per_day=3, tokens_per_minute=50, concurrent=9, budget_per_day=1)
    plan = plan_of(limits, "key:a")

    def left(held: Hold) -> dict[str, tuple[int, int]]:
        assert held.quota_fields(by_name("ollama"), START) == b""
        return {quota.unit: (quota.limit, quota.remaining) for quota in reported(held, dialect)}

    assert left(await reserve_all(counters, plan)) == {"requests": (3, 2), "tokens": (50, 30)}
    held = await reserve_all(counters, plan)
    assert left(held) == {"requests": (3, 1), "tokens": (50, 10)}
    await counters.restore("key:a:requests", "minute", 5)
    assert left(held) == {"requests": (5, 0), "tokens": (50, 10)}
    await counters.restore("key:a:tokens", "minute", 60)
    assert left(held) == {"requests": (5, 0), "tokens": (50, 0)}


async def test_a_response_reports_the_time_until_a_limit_begins_again_a_twentieth_of_a_second_late_at_most() -> None:
    clock = Clock()
    counters = MemoryCounters(wall=clock, monotonic=clock)
    plan = plan_of(Limits(requests_per_minute=100), "key:a")
    await reserve_all(counters, plan)
    times = []
    for passed in (59.5, 59.52, 59.54, 59.56, 59.8, 59.79):
        clock.now = START + passed
        [quota] = reported(await reserve_all(counters, plan), "openai")
        times.append(round(quota.resets_in, 2))
    assert times == [0.5, 0.5, 0.5, 0.44, 0.2, 0.21]
