"""Usage for people and programs: spans of time, and the document that `GET /usage` returns."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from acytoo.errors import RequestError, UsageError
from acytoo.gateway.config import GatewayConfig
from acytoo.gateway.counters import Window, bounds
from acytoo.gateway.ledger import GROUPS, Ledger, UsageRow, open_ledger
from acytoo.gateway.limits import counter_name
from acytoo.gateway.prices import NANODOLLARS
from acytoo.gateway.secrets import resolve_url
from acytoo.secret import show

DEFAULT_SINCE = "7d"
DEFAULT_BY = ("key", "model")

_AGO = re.compile(r"(\d{1,4})\s*([mhdw])")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}

_LAST = 253_402_300_799.0
"""The end of the year 9999."""


def parse_time(text: str, now: float) -> float:
    """Return the Unix time of `7d` (so long ago; also m, h, w), or of a date or date and time. Without a zone: UTC.

    Raises UsageError.
    """
    at = _time(text.strip(), now)
    if at is None or not 0 <= at <= _LAST:
        raise UsageError(
            f"invalid time {show(text)}: expected a time ago, such as 7d or 12h, or a date, such as 2027-01-31"
        )
    return at


def _time(text: str, now: float) -> float | None:
    if match := _AGO.fullmatch(text):
        return now - int(match[1]) * _SECONDS[match[2]]
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def parse_groups(text: str) -> list[str]:
    """Return the groups in `key,model`: none for "". Raises UsageError."""
    groups = [name.strip() for name in text.split(",")] if text.strip() else []
    for number, name in enumerate(groups):
        if name not in GROUPS:
            raise UsageError(f"cannot group usage by {show(name)}: use {', '.join(GROUPS)}")
        if name in groups[:number]:
            raise UsageError(f"usage is grouped by {name!r} twice")
    return groups


def format_time(at: float) -> str:
    """Return a Unix time as an ISO 8601 text in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def dollars(nanodollars: int | None) -> float | None:
    """Return nanodollars as US dollars; None is an unknown price."""
    return None if nanodollars is None else nanodollars / NANODOLLARS


def row_document(row: UsageRow) -> dict[str, Any]:
    """Return a row as JSON has it: the group's names and the numbers side by side, money in dollars."""
    fields = msgspec.structs.asdict(row)
    group, cost = fields.pop("group"), dollars(fields.pop("cost"))
    del fields["first_contents"]
    return {**group, **fields, "cost_usd": cost}


async def usage_document(ledger: Ledger, key: str | None, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the document of `GET /usage`: that of one key, or of all keys if it is None.

    The query may have `since` and `until` (see `parse_time`), and `by`, a list of groups separated by commas. Raises
    RequestError for another value or field.
    """
    try:
        if unknown := query.keys() - {"since", "until", "by"}:
            raise UsageError(f"unknown field {show(min(unknown))} of the query: use since, until and by")
        now = time.time()
        since = parse_time(query.get("since") or DEFAULT_SINCE, now)
        until = parse_time(query["until"], now) if query.get("until") else now
        by = parse_groups(query.get("by", ",".join(DEFAULT_BY)))
        rows = await ledger.usage(since, until, by, key)
    except UsageError as error:
        raise RequestError(str(error), status=400, code="invalid_request_error") from error
    return document(since, until, by, rows)


def document(since: float, until: float, by: Sequence[str], rows: Sequence[UsageRow]) -> dict[str, Any]:
    """Return the document of usage in a span of time."""
    total = total_of(rows)
    return {
        "object": "usage",
        "since": format_time(since),
        "until": format_time(until),
        "by": list(by),
        "data": [row_document(row) for row in rows],
        "total": None if total is None else row_document(total),
    }


def total_of(rows: Sequence[UsageRow]) -> UsageRow | None:
    """Return the usage of all groups together; None if there are none.

    Another query would read all rows of the ledger again, and find others than the first one while a server adds some.
    """
    if not rows:
        return None
    sums = {name: sum([getattr(row, name) for row in rows]) for name in _SUMS}
    costs = [row.cost for row in rows if row.cost is not None]
    return UsageRow(
        group={},
        **sums,
        cost=sum(costs) if costs else None,
        first_content=_mean([(row.first_content, row.first_contents) for row in rows]),
        seconds=_mean([(row.seconds, row.attempts) for row in rows]),
    )


_SUMS = frozenset(UsageRow.__struct_fields__) - {"group", "cost", "first_content", "seconds"}


def _mean(means: Sequence[tuple[float | None, int]]) -> float | None:
    """Return the mean of all values of which some means and the numbers of their values are given."""
    known = [(mean, number) for mean, number in means if mean is not None]
    return sum([mean * number for mean, number in known]) / sum([number for _, number in known]) if known else None


async def open_ledger_of(config: GatewayConfig) -> Ledger:
    """Return the ledger of a server, to be read. Raises AcytooError."""
    return await open_ledger(resolve_url(config.storage.ledger, config.place("storage", "ledger")), read_only=True)


async def used_amounts(ledger: Ledger, now: float) -> dict[tuple[str, Window], int]:
    """Return what a ledger has of the current day and month, by counter and window."""
    used: dict[tuple[str, Window], int] = {}
    windows: tuple[Window, ...] = ("month", "day")
    for window in windows:
        start, _ = bounds(window, now)
        for total in await ledger.totals(start):
            subject = f"{total.subject}:{total.name}"
            used[counter_name(subject, "requests"), window] = total.requests
            used[counter_name(subject, "tokens"), window] = total.tokens
            used[counter_name(subject, "money"), window] = total.cost
    return used
