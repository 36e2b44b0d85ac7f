"""Limits of keys and upstreams: as claims on counters, as errors, and as response headers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Literal, NamedTuple, TypeAlias

from acytoo.dialects.base import Dialect
from acytoo.dialects.quotas import Quota
from acytoo.errors import RateLimitError
from acytoo.gateway.config import Limits
from acytoo.gateway.counters import Claim, Exceeded, Level, Window

Unit: TypeAlias = Literal["requests", "tokens", "money", "concurrent"]
"""What a counter counts: the last part of its name. Money is in nanodollars."""

_QUOTAS: dict[str, Literal["requests", "tokens"]] = {"requests": "requests", "tokens": "tokens"}
"""The units that headers report."""

NANODOLLARS = 1_000_000_000
"""In a dollar."""


class _Limit(NamedTuple):
    field: str
    unit: Unit
    window: Window


_LIMITS = (
    _Limit("budget_per_month", "money", "month"),
    _Limit("budget_per_day", "money", "day"),
    _Limit("tokens_per_day", "tokens", "day"),
    _Limit("requests_per_day", "requests", "day"),
    _Limit("tokens_per_minute", "tokens", "minute"),
    _Limit("requests_per_minute", "requests", "minute"),
    _Limit("concurrent", "concurrent", "flight"),
)
"""Those with the longest windows first: if several are reached, the error reports the time that is long enough."""


def counter_name(subject: str, unit: Unit) -> str:
    """Return the name of a counter of a subject, such as `key:ci-bot` or `upstream:openai`."""
    return f"{subject}:{unit}"


def unit_of(counter: str) -> str:
    """Return what a counter counts."""
    return counter.rpartition(":")[2]


def claims_of(limits: Limits, subject: str, requests: int, tokens: int, nanodollars: int) -> list[Claim]:
    """Return the claims of a request on the limits that are set; the amounts are estimates."""
    amounts = {"requests": requests, "tokens": tokens, "money": nanodollars, "concurrent": 1}
    return [
        Claim(counter, window, limit, amounts[unit])
        for counter, window, limit, unit in _parts(subject, _values(limits))
    ]


_values = attrgetter(*[limit.field for limit in _LIMITS])


@lru_cache(maxsize=4096)
def _parts(subject: str, values: tuple[float | None, ...]) -> list[tuple[str, Window, int, Unit]]:
    """Return the counter, window, limit and unit of each limit that is set."""
    parts: list[tuple[str, Window, int, Unit]] = []
    for (_, unit, window), limit in zip(_LIMITS, values, strict=True):
        if limit is not None:
            whole = round(limit * NANODOLLARS) if unit == "money" else int(limit)
            parts.append((counter_name(subject, unit), window, whole, unit))
    return parts


def refusal(exceeded: Exceeded) -> RateLimitError:
    """Return the error for a request that exceeds a limit: which one, and what to do."""
    claim, wait = exceeded.level.claim, exceeded.retry_after
    subject, _, unit = claim.counter.rpartition(":")
    owner = " ".join(subject.split(":", 1))
    limit = _describe(claim.limit, unit, claim.window)
    code = "insufficient_quota" if unit == "money" else "rate_limit_exceeded"
    if wait is None:
        needed = _describe(claim.amount, unit, "flight")
        message = f"{owner}: this request may need {needed}, but the limit is {limit}: send less, or lower max_tokens"
        error = RateLimitError(message, status=429, code=code)
        error.retryable = False
        return error
    if unit == "concurrent":
        message = f"{owner}: {limit} are in progress, which is the limit: try again when one has ended"
    else:
        message = f"{owner}: the limit of {limit} is reached: try again in {_wait(wait)}"
    return RateLimitError(message, status=429, code=code, retry_after=wait)


def headers_of(levels: Sequence[Level], dialect: Dialect, now: float | None = None) -> dict[str, str]:
    """Return the response headers that report what is left of requests and tokens, as the dialect's clients read them.

    Of several limits on the same unit, the one of which the least is left.
    """
    least: dict[Literal["requests", "tokens"], Level] = {}
    for level in levels:
        unit = _QUOTAS.get(unit_of(level.claim.counter))
        if unit is not None and (unit not in least or level.remaining < least[unit].remaining):
            least[unit] = level
    if not least:
        return {}
    quotas = [Quota(unit, level.claim.limit, level.remaining, level.resets_in) for unit, level in least.items()]
    return dialect.quota_headers(quotas, time.time() if now is None else now)


def _describe(amount: int, unit: str, window: Window) -> str:
    if unit == "concurrent":
        return f"{amount} request{'s' if amount != 1 else ''}"
    per = "" if window == "flight" else f" per {window}"
    if unit == "money":
        return f"${amount / NANODOLLARS:.12g}{per}"
    return f"{amount} {unit if amount != 1 else unit.removesuffix('s')}{per}"


def _wait(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{max(1, round(seconds))} s"
