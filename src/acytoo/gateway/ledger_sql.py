"""The ledger's tables and queries, in the SQL that SQLite and PostgreSQL share.

A start needs what each key has used of its budgets, and a month may have millions of rows. So `ledger_days` has their
sums by day, key and upstream. Rows and their part of the sums are written in one transaction.

Both take `$1`, `$2`, … as parameters, and both know these names of types.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from acytoo.errors import AcytooError, UsageError
from acytoo.gateway.counters import DAY
from acytoo.gateway.ledger import GROUPS, Row, Total, UsageRow

VERSION = 2
"""Increment it with every change of the tables."""

_LONGEST_TEXT = 500
"""Characters of a text; a caller may ask for a model with a name of any length."""

_MOST = 2**45
"""Tokens, nanodollars or seconds of one attempt: so many that 262,144 such rows can still be summed up in 64 bits."""

MOST_GROUPS = 10_000
"""Groups in one answer: callers invent names of models, and a group of each of them is kept in memory."""

_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")

_TEXTS = ("request_id", "key", "dialect", "model", "target", "upstream", "outcome")
_TIMES = ("at", "first_content", "seconds")
_OPTIONAL = ("cost", "first_content")


def _type(name: str) -> str:
    return "TEXT" if name in _TEXTS else "DOUBLE PRECISION" if name in _TIMES else "BIGINT"


COLUMNS = ("writer", "sequence", *Row.__struct_fields__)
COLUMN_TYPES = ("BIGINT", "BIGINT", *[_type(name) for name in Row.__struct_fields__])

_columns = ", ".join(
    f"{name} {type_}" + ("" if name in _OPTIONAL else " NOT NULL")
    for name, type_ in zip(COLUMNS, COLUMN_TYPES, strict=True)
)
CREATE = (
    f"CREATE TABLE IF NOT EXISTS ledger ({_columns}, PRIMARY KEY (writer, sequence))",
    "CREATE INDEX IF NOT EXISTS ledger_at ON ledger (at)",
    "CREATE TABLE IF NOT EXISTS ledger_days (day BIGINT, key TEXT, upstream TEXT, requests BIGINT NOT NULL,"
    " attempts BIGINT NOT NULL, tokens NUMERIC NOT NULL, cost NUMERIC NOT NULL, last DOUBLE PRECISION NOT NULL,"
    " PRIMARY KEY (day, key, upstream))",
    "CREATE TABLE IF NOT EXISTS ledger_version (version INTEGER PRIMARY KEY)",
    f"INSERT INTO ledger_version SELECT {VERSION} WHERE NOT EXISTS (SELECT 1 FROM ledger_version)",
)

SELECT_VERSION = "SELECT MAX(version) FROM ledger_version"

# A request without attempts counts if it was answered, from a cache, and not if it was refused.
_REQUESTS = "SUM(CASE WHEN attempt = 1 OR attempt = 0 AND status < 400 THEN 1 ELSE 0 END)"
_DAYS = "SUM(tokens), SUM(cost), MAX(last) FROM ledger_days WHERE day >= $1 AND day <= $2"
TOTALS = (
    f"SELECT 'key', key, SUM(requests), {_DAYS} AND key <> '' GROUP BY key"
    f" UNION ALL SELECT 'upstream', upstream, SUM(attempts), {_DAYS} AND upstream <> '' GROUP BY upstream"
)
"""What is used from a day until another, both included; see `day_of`."""


def day_of(at: float) -> int:
    """Return the day of a Unix time, in UTC, as `ledger_days` counts them."""
    return int(at // DAY)


def add_to_days(rows: str, day: str) -> str:
    """Return the statement that adds rows to the sums of their days.

    `rows` is what follows FROM and has to end in a condition, or SQLite would take ON CONFLICT for that of a join.
    `day` is the database's expression for the day of a row. The order keeps two replicas from waiting for each other.
    """
    return (
        f"INSERT INTO ledger_days SELECT {day}, key, upstream, {_REQUESTS}, COUNT(*),"
        f" SUM(input_tokens + output_tokens), SUM(COALESCE(cost, 0)), MAX(at) FROM {rows}"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 ON CONFLICT (day, key, upstream) DO UPDATE SET "
        + ", ".join(f"{n} = ledger_days.{n} + excluded.{n}" for n in ("requests", "attempts", "tokens", "cost"))
        + ", last = CASE WHEN excluded.last > ledger_days.last THEN excluded.last ELSE ledger_days.last END"
    )


def check_version(version: int | None) -> None:
    """Raise AcytooError unless the tables are of this version."""
    if version != VERSION:
        raise AcytooError(
            f"its tables have version {version}, this acytoo needs version {VERSION}: "
            "use the acytoo that wrote it, or start a new ledger"
        )


def columns_of(writer: int, place: int, rows: Sequence[Row]) -> list[Sequence[Any]]:
    """Return what is stored of rows, the first of which has this place: the values of each column.

    Texts and numbers may come from callers and upstreams. What a database would refuse is changed here, or else one
    such row would keep all later ones from being written.
    """
    columns = zip(*map(msgspec.structs.astuple, rows), strict=True)
    return [
        [writer] * len(rows),
        range(place, place + len(rows)),
        *[_stored(name, column) for name, column in zip(Row.__struct_fields__, columns, strict=True)],
    ]


def _stored(name: str, column: tuple[Any, ...]) -> Sequence[Any]:
    """Return what is stored of the values of a column."""
    # What holds for all values together holds for each. Few of them differ, except for times.
    if name in _TEXTS:
        different = {*column}
        texts = "".join(different)
        is_storable = texts.isascii() and "\0" not in texts and max(map(len, different)) <= _LONGEST_TEXT
    elif name == "is_estimated":  # SQLite's module looks for an adapter of each bool
        return [*map(int, column)]
    else:
        numbers = [*filter(None, column if name in _TIMES else {*column})]
        # A sum with "not a number" is that too, which is not below the limit.
        is_storable = not numbers or (min(numbers) >= 0 and sum(numbers) <= _MOST)
    return column if is_storable else [_storable(value) for value in column]


def _storable(value: object) -> object:
    if isinstance(value, str):
        if not value.isprintable() or len(value) > _LONGEST_TEXT:
            value = value[:_LONGEST_TEXT].encode("utf-8", "replace").decode().replace("\0", "?")
        return value
    if isinstance(value, float):
        return 0.0 if math.isnan(value) else max(0.0, min(value, float(_MOST)))
    if isinstance(value, int):
        return max(0, min(int(value), _MOST))
    return value


def usage_query(by: Sequence[str], expressions: dict[str, str], *, has_key: bool) -> str:
    """Return the query for `Ledger.usage`; `expressions` are the database's own for "day" and "hour".

    Raises UsageError for an unknown group.
    """
    for name in by:
        if name not in GROUPS:
            raise UsageError(f"cannot group usage by {name!r}: use {', '.join(GROUPS)}")
    groups = "".join(f"{expressions.get(name, name)}, " for name in by)
    numbers = ", ".join(str(number) for number in range(1, len(by) + 1))
    return (
        f"SELECT {groups}"
        "SUM(CASE WHEN attempt <= 1 THEN 1 ELSE 0 END), SUM(CASE WHEN attempt >= 1 THEN 1 ELSE 0 END), "
        + "".join(f"SUM({name}), " for name in _TOKENS)
        + "SUM(is_estimated), SUM(cost), "
        "SUM(CASE WHEN cost IS NULL AND input_tokens + output_tokens > 0 THEN 1 ELSE 0 END), "
        "COUNT(first_content), AVG(first_content), AVG(CASE WHEN attempt >= 1 THEN seconds END) "
        "FROM ledger WHERE at >= $1 AND at < $2"
        + (" AND key = $3" if has_key else "")
        + (f" GROUP BY {numbers} ORDER BY {numbers} LIMIT {MOST_GROUPS + 1}" if by else " HAVING COUNT(*) > 0")
    )  # fmt: skip


def usage_rows(by: Sequence[str], records: Iterable[Sequence[Any]]) -> list[UsageRow]:
    """Return the records of a usage query as rows. PostgreSQL returns sums as Decimal.

    Raises UsageError if there are too many.
    """
    rows = [_usage_row(by, record) for record in records]
    if len(rows) > MOST_GROUPS:
        raise UsageError(
            f"there are more than {MOST_GROUPS} groups: leave out one of {', '.join(by)}, or ask for less time"
        )
    return rows


def _usage_row(by: Sequence[str], record: Sequence[Any]) -> UsageRow:
    group = {name: str(value) for name, value in zip(by, record, strict=False)}
    numbers, (first_content, seconds) = record[len(by) : -2], record[-2:]
    names = ("requests", "attempts", *_TOKENS, "estimated", "cost", "unpriced", "first_contents")
    sums: dict[str, Any] = {
        name: None if number is None else int(number) for name, number in zip(names, numbers, strict=True)
    }
    return UsageRow(group=group, **sums, first_content=first_content, seconds=seconds)


def total_rows(records: Iterable[Sequence[Any]]) -> list[Total]:
    """Return the records of the totals query as rows."""
    return [
        Total(subject, name, int(requests), int(tokens), int(cost), last)
        for subject, name, requests, tokens, cost, last in records
    ]
