"""Limits as claims, as errors in every API, and as headers."""

from __future__ import annotations

import json

import pytest

from acytoo import dialects
from acytoo.dialects.base import Dialect
from acytoo.gateway.config import Limits
from acytoo.gateway.counters import Claim, Claims, Exceeded, Hold, Level, MemoryCounters, Window, quotas_of
from acytoo.gateway.limits import amounts_of, plan_of, refusal
from tests.dialects.test_quotas import written

ALL_LIMITS = Limits(
    requests_per_minute=1,
    requests_per_day=2,
    tokens_per_minute=3,
    tokens_per_day=4,
    concurrent=5,
    budget_per_day=0.1,
    budget_per_month=7.5,
)
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def exceeded(unit: str, window: Window, limit: int, wait: float | None = 12.3, amount: int = 1) -> Exceeded:
    level = Level(Claim(f"key:ci-bot:{unit}", window, limit, amount), limit, wait or 0)
    return Exceeded(level, wait, [level])


def test_each_limit_that_is_set_is_one_claim() -> None:
    plan = plan_of(ALL_LIMITS, "key:a")
    assert plan is not None
    assert [*Claims(plan, amounts_of(20, 30))] == [
        Claim("key:a:money", "month", 7_500_000_000, 30),
        Claim("key:a:money", "day", 100_000_000, 30),
        Claim("key:a:tokens", "day", 4, 20),
        Claim("key:a:requests", "day", 2, 1),
        Claim("key:a:tokens", "minute", 3, 20),
        Claim("key:a:requests", "minute", 1, 1),
        Claim("key:a:concurrent", "flight", 5, 1),
    ]


def test_without_limits_there_is_no_plan() -> None:
    assert plan_of(Limits(), "key:a") is None


async def test_if_several_limits_are_reached_the_wait_is_that_of_the_longest_window() -> None:
    counters = MemoryCounters()
    plan = plan_of(Limits(requests_per_minute=1, requests_per_day=1), "key:a")
    assert plan is not None
    claims = Claims(plan, amounts_of(0, 0))
    assert isinstance(await counters.reserve(claims), Hold)
    refused = await counters.reserve(claims)
    assert isinstance(refused, Exceeded)
    assert refused.level.claim.window == "day"


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (exceeded("requests", "minute", 60), "the limit of 60 requests per minute is reached: try again in 12 s"),
        (exceeded("requests", "day", 1, 0.2), "the limit of 1 request per day is reached: try again in 1 s"),
        (exceeded("tokens", "day", 5, 7300), "the limit of 5 tokens per day is reached: try again in 2 hours"),
        (
            exceeded("money", "month", 5_500_000_000, 9e5),
            "the limit of $5.5 per month is reached: try again in 10 days",
        ),
        (
            exceeded("concurrent", "flight", 8, 1),
            "8 requests are in progress, which is the limit: try again when one has ended",
        ),
        (
            exceeded("tokens", "minute", 100, None, 150),
            "this request may need 150 tokens, but the limit is 100 tokens per minute: send less, or lower max_tokens",
        ),
    ],
)
def test_a_refusal_names_the_limit_and_what_to_do(refused: Exceeded, message: str) -> None:
    error = refusal(refused)
    assert error.message == f"key ci-bot: {message}"
    assert error.status == 429
    assert error.retry_after == refused.retry_after
    assert error.retryable == (refused.retry_after is not None)


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_a_refusal_has_its_status_and_wait_in_every_dialect(dialect: Dialect) -> None:
    response = dialect.write_error(refusal(exceeded("requests", "minute", 60)))
    assert response.status == 429
    assert response.headers["retry-after"] == "13"
    assert "60 requests per minute" in json.dumps(json.loads(response.body))


def level(unit: str, window: Window, limit: int, used: int, resets_in: float) -> Level:
    return Level(Claim(f"key:a:{unit}", window, limit, 1), used, resets_in)


LEVELS = [
    level("money", "month", 10**9, 5, 1000),
    level("tokens", "day", 1000, 600, 7325),
    level("requests", "day", 100, 40, 7325.4),
    level("tokens", "minute", 500, 700, 0.0123),
    level("requests", "minute", 10, 1, 59.6),
    level("concurrent", "flight", 3, 1, 0),
]


def test_headers_report_the_limit_of_which_the_least_is_left_as_openai_does() -> None:
    assert written("openai", quotas_of(LEVELS)) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "500",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "12ms",
    }


def test_headers_have_the_names_and_times_of_anthropic_for_its_clients() -> None:
    assert written("anthropic", quotas_of(LEVELS[1:3]), NOW) == {
        "anthropic-ratelimit-requests-limit": "100",
        "anthropic-ratelimit-requests-remaining": "60",
        "anthropic-ratelimit-requests-reset": "2027-01-15T10:02:06Z",
        "anthropic-ratelimit-tokens-limit": "1000",
        "anthropic-ratelimit-tokens-remaining": "400",
        "anthropic-ratelimit-tokens-reset": "2027-01-15T10:02:05Z",
    }


def test_without_limits_there_are_no_headers() -> None:
    for dialect in dialects.ALL:
        assert written(dialect.name, quotas_of([])) == {}
