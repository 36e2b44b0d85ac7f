"""Limits of keys and upstreams: as plans for counters, and as errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from acytoo.errors import RateLimitError
from acytoo.gateway.config import MOST, Limits
from acytoo.gateway.counters import Exceeded, Limit, Plan, Window
from acytoo.gateway.ledger import Row
from acytoo.gateway.prices import NANODOLLARS

Unit: TypeAlias = Literal["requests", "tokens", "money", "concurrent"]
"""What a counter counts: the last part of its name. Money is in nanodollars."""


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


def limits_of(limits: Limits, subject: str) -> dict[str, Limit]:
    """Return the limits that are set, by their fields, as counters of a subject."""
    found = {}
    for field, unit, window in _LIMITS:
        if (limit := getattr(limits, field)) is not None:
            most = round(limit * NANODOLLARS) if unit == "money" else int(limit)
            found[field] = Limit(counter_name(subject, unit), window, most, _PLACES[unit])
    return found


def plan_of(limits: Limits, subject: str) -> Plan | None:
    """Return the limits that are set, as counters of a subject; None if none is. For the order of `amounts_of`."""
    plan = [*limits_of(limits, subject).values()]
    needs_tokens = limits.has_budget or any(limit.unit == _PLACES["tokens"] for limit in plan)
    return Plan(plan, has_budget=limits.has_budget, needs_tokens=needs_tokens) if plan else None


_PLACES: dict[Unit, int] = {"requests": 0, "tokens": 1, "money": 2, "concurrent": 3}


def amounts_of(tokens: int, nanodollars: int) -> tuple[int, int, int, int]:
    """Return the amounts that one request claims, in the order of a plan's units: first those of `quotas.UNITS`."""
    return 1, tokens, nanodollars, 1


UNUSED = (0, 0, 0, 0)
"""The amounts that a request uses for which no upstream was asked."""

COUNTED = (1, 0, 0, 0)
"""The amounts that a request to count tokens uses: services count for free, but have limits on it."""


def used_by(rows: Sequence[Row]) -> tuple[int, int, int, int]:
    """Return the amounts that were really used, in that order, once a request has ended.

    A request that was refused here has no rows, and is not counted. An upstream may report any numbers: Redis would
    refuse those that do not fit into 64 bits, and with them the settling of all other limits.
    """
    if len(rows) == 1:
        row = rows[0]
        tokens, money = row.input_tokens + row.output_tokens, row.cost or 0
    else:
        tokens = sum([row.input_tokens + row.output_tokens for row in rows])
        money = sum([row.cost or 0 for row in rows])
    if tokens > MOST or money > MOST:
        tokens, money = min(tokens, MOST), min(money, MOST)
    return 1 if rows else 0, tokens, money, 0


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
