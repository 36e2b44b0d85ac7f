"""Limits per minute: reserved, settled, learned from headers."""

from __future__ import annotations

import time
from collections import deque

import pytest

from acytoo import Usage, provider
from acytoo.batch import batch
from acytoo.batch.limits import Limiter
from acytoo.batch.rows import Row
from acytoo.dialects.quotas import Quota
from acytoo.testing import ScriptedResponse, reply, status
from tests.batch.upstream import Upstream

ROW = Row(1, 1, {"prompt": "x" * 387})
"""100 tokens with its field name."""


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def delays(limiter: Limiter, count: int) -> list[float]:
    return [round(limiter.reserve(ROW)[1], 6) for _ in range(count)]


def test_without_limits_nothing_waits() -> None:
    assert not Limiter().is_active


def test_requests_begin_at_the_rate_of_the_limit_after_a_short_burst() -> None:
    clock = Clock()
    limiter = Limiter(requests=60, clock=clock)  # one a second, 6 at once
    assert delays(limiter, 9) == [0, 0, 0, 0, 0, 0, 1, 2, 3]
    clock.now += 3600
    assert delays(limiter, 8) == [0, 0, 0, 0, 0, 0, 1, 2]


def test_a_request_reserves_its_tokens_and_gives_back_what_it_did_not_use() -> None:
    clock = Clock()
    limiter = Limiter(tokens=60_000, clock=clock)  # a thousand a second, 6,000 at once
    reservation, _ = limiter.reserve(ROW)
    assert reservation.tokens == pytest.approx(600)  # 100 and an unknown reply of 500
    assert delays(limiter, 10) == pytest.approx([0] * 9 + [0.6])
    limiter.settle(reservation, Usage(input_tokens=100, output_tokens=100))
    assert limiter.reserve(ROW)[1] < 0.6 + 0.6 - 0.4 + 0.001


def test_a_request_larger_than_the_burst_waits_and_is_not_refused() -> None:
    limiter = Limiter(tokens=600, clock=Clock())  # ten a second, 60 at once
    assert delays(limiter, 2) == pytest.approx([54, 114], abs=0.5)


def test_a_header_sets_the_level_without_what_was_taken_since_its_request() -> None:
    clock = Clock()
    limiter = Limiter(clock=clock)
    first, _ = limiter.reserve(ROW)
    limiter.learn(first, [Quota("requests", 60, 3, 57.0)])
    second, _ = limiter.reserve(ROW)
    assert delays(limiter, 3) == [0, 0, 1]
    limiter.learn(second, [Quota("requests", 60, 10, 50.0)])  # three were taken after the second
    assert delays(limiter, 8) == [0] * 7 + [1]


@pytest.mark.parametrize(
    ("quota", "seconds"),
    [
        (Quota("requests", 14400, 0, 86400.0), 6.0),  # of a day
        (Quota("requests", 600, 0, 60.0), 0.1),
        (Quota("requests", 600, 0, 0.0), 0.1),  # no time: a minute
        (Quota("requests", 600, 0, 1e9), 144.0),  # never longer than a day
    ],
)
def test_the_window_of_a_limit_follows_from_its_reset(quota: Quota, seconds: float) -> None:
    limiter = Limiter(clock=Clock())
    limiter.learn(limiter.reserve(ROW)[0], [quota])
    assert delays(limiter, 2) == pytest.approx([seconds, 2 * seconds])


async def test_an_upstream_that_reports_its_limit_never_has_to_refuse() -> None:
    window, limit = 60.0, 600
    started: deque[float] = deque()
    refused = 0

    def answer(prompt: str, count: int) -> ScriptedResponse | None:
        nonlocal refused
        now = time.monotonic()
        level = min(limit / 60, limit / 60 - len(started) + (now - started[0] if started else 0) * limit / window)
        if level < 1:
            refused += 1
            return status(429)
        started.append(now)
        echo = reply("re: ", prompt)
        for name, value in {"limit": limit, "remaining": int(level) - 1, "reset": "100ms"}.items():
            echo = echo.header(f"x-ratelimit-{name}-requests", str(value))
        return echo

    async with Upstream(answer) as upstream:
        model = provider("compatible/m", url=upstream.url)
        results = [result async for result in batch(model, [f"{n}" for n in range(25)], jobs=4)]
    assert all(result.error is None for result in results)
    assert refused <= 1  # the server rounds
