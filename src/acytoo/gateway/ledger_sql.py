"""The ledger's tables and queries, in the SQL that SQLite and PostgreSQL share.

The problem: a start needs what each key has used of its budgets, and people ask for the usage of a month, which may
have millions of rows. The strategy: `ledger_days` has their sums by day and by all that usage can be grouped by, except
hours. Rows and their part of the sums are written, and deleted, in one transaction. A query takes complete days from
the sums and the rest from the rows. The cost: one more statement for each batch of rows.

Both take `$1`, `$2`, … as parameters, and both know these names of types.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from acytoo.errors import AcytooError, UsageError
from acytoo.gateway.counters import DAY
from acytoo.gateway.ledger import GROUPS, Row, Total, UsageRow

VERSION = 3
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

HOUR = 3600.0


def _type(name: str) -> str:
    return "TEXT" if name in _TEXTS else "DOUBLE PRECISION" if name in _TIMES else "BIGINT"


COLUMNS = ("writer", "sequence", *Row.__struct_fields__)
COLUMN_TYPES = ("BIGINT", "BIGINT", *[_type(name) for name in Row.__struct_fields__])

_columns = ", ".join(
    f"{name} {type_}" + ("" if name in _OPTIONAL else " NOT NULL")
    for name, type_ in zip(COLUMNS, COLUMN_TYPES, strict=True)
)

DIMENSIONS = ("key", "dialect", "model", "target", "upstream", "status", "outcome")
"""What the sums of a day are kept by."""

# A request without attempts counts for limits if it was answered, from a cache, and not if it was refused.
_SUMMED = {
    "requests": "CASE WHEN attempt <= 1 THEN 1 ELSE 0 END",
    "attempts": "CASE WHEN attempt >= 1 THEN 1 ELSE 0 END",
    "answered": "CASE WHEN attempt = 1 OR attempt = 0 AND status < 400 THEN 1 ELSE 0 END",
    **{name: name for name in _TOKENS},
    "estimated": "is_estimated",
    "cost": "COALESCE(cost, 0)",
    "priced": "CASE WHEN cost IS NULL THEN 0 ELSE 1 END",
    "unpriced": "CASE WHEN cost IS NULL AND input_tokens + output_tokens > 0 THEN 1 ELSE 0 END",
    "first_contents": "CASE WHEN first_content IS NULL THEN 0 ELSE 1 END",
    "first_content": "COALESCE(first_content, 0)",
    "seconds": "CASE WHEN attempt >= 1 THEN seconds ELSE 0 END",
}
"""What is summed up, and what one row has of it."""


def _sum_type(name: str) -> str:
    # Sums of numbers that an upstream reports may not fit into 64 bits.
    return "DOUBLE PRECISION" if name in _TIMES else "NUMERIC" if name in (*_TOKENS, "cost") else "BIGINT"


_dimensions = ", ".join(DIMENSIONS)
_day_columns = ", ".join(
    ["day BIGINT", *[f"{name} {_type(name)}" for name in DIMENSIONS]]
    + [f"{name} {_sum_type(name)} NOT NULL" for name in _SUMMED]
)
CREATE = (
    f"CREATE TABLE IF NOT EXISTS ledger ({_columns}, PRIMARY KEY (writer, sequence))",
    "CREATE INDEX IF NOT EXISTS ledger_at ON ledger (at)",
    f"CREATE TABLE IF NOT EXISTS ledger_days ({_day_columns}, last DOUBLE PRECISION NOT NULL,"
    f" PRIMARY KEY (day, {_dimensions}))",
    "CREATE TABLE IF NOT EXISTS ledger_version (version INTEGER PRIMARY KEY)",
    f"INSERT INTO ledger_version SELECT {VERSION} WHERE NOT EXISTS (SELECT 1 FROM ledger_version)",
)

SELECT_VERSION = "SELECT MAX(version) FROM ledger_version"

_DAYS = "SUM(input_tokens + output_tokens), SUM(cost), MAX(last) FROM ledger_days WHERE day >= $1 AND day <= $2"
TOTALS = (
    f"SELECT 'key', key, SUM(answered), {_DAYS} AND key <> '' GROUP BY key"
    f" UNION ALL SELECT 'upstream', upstream, SUM(attempts), {_DAYS} AND upstream <> '' GROUP BY upstream"
)
"""What is used from a day until another, both included; see `day_of`."""

IS_EMPTY = "requests = 0 AND attempts = 0"
"""Whether nothing is left of the rows of which a row of `ledger_days` has the sums."""


def day_of(at: float) -> int:
    """Return the day of a Unix time, in UTC, as `ledger_days` counts them."""
    return int(at // DAY)


def change_days(rows: str, whole: str, *, sign: str = "", differ: Sequence[str] = ("day", *DIMENSIONS)) -> str:
    """Return the statement that adds rows to the sums of their days, or takes them from these with the sign "-".

    `rows` is what follows FROM and has to end in a condition, or SQLite would take ON CONFLICT for that of a join.
    `whole` is the database's own for the whole part of `{}`. The order keeps two replicas from waiting for each other.
    `differ`: that by which the rows may differ. SQLite takes the rest of it from one of the rows.
    """
    sums = ", ".join(f"{sign}SUM({value})" for value in _SUMMED.values())
    keys = ", ".join(str(number) for number, name in enumerate(("day", *DIMENSIONS), 1) if name in differ)
    return (
        f"INSERT INTO ledger_days SELECT {_number_of(DAY, whole)}, {_dimensions}, {sums}, MAX(at) FROM {rows}"
        f" GROUP BY {keys} ORDER BY {keys} ON CONFLICT (day, {_dimensions}) DO UPDATE SET "
        + ", ".join(f"{name} = ledger_days.{name} + excluded.{name}" for name in _SUMMED)
        + ", last = CASE WHEN excluded.last > ledger_days.last THEN excluded.last ELSE ledger_days.last END"
    )


def _number_of(seconds: float, whole: str) -> str:
    """Return the expression for the day or hour of a row, counted from 1970."""
    return whole.format(f"at / {seconds}")


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
        return [1 if value else 0 for value in column]
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


def usage_query(since: float, until: float, by: Sequence[str], key: str | None, whole: str) -> tuple[str, list[Any]]:
    """Return the query for `Ledger.usage`, and its arguments; `whole` is as for `change_days`.

    Raises UsageError for an unknown group.
    """
    for name in by:
        if name not in GROUPS:
            raise UsageError(f"cannot group usage by {name!r}: use {', '.join(GROUPS)}")
    first, last = -day_of(-since), day_of(until)
    arguments: list[Any] = [since, until]
    of_key = ""
    if key is not None:
        arguments.append(key)
        of_key = f" AND key = ${len(arguments)}"
    names = [name for name in by if name in DIMENSIONS]
    times = {"day": _number_of(DAY, whole), "hour": _number_of(HOUR, whole)}
    columns = [*[f"{times[name]} AS {name}" for name in by if name in times], *names]
    rows = f"SELECT {', '.join([*columns, *[f'{value} AS {name}' for name, value in _SUMMED.items()]])} FROM ledger"
    if "hour" in by or first >= last:
        parts = [f"{rows} WHERE at >= $1 AND at < $2{of_key}"]
    else:
        number = len(arguments)
        arguments += [first * DAY, last * DAY, first, last]
        days = ", ".join([*(["day"] if "day" in by else []), *names, *_SUMMED])
        parts = [
            f"{rows} WHERE at >= $1 AND at < ${number + 1}{of_key}",
            f"SELECT {days} FROM ledger_days WHERE day >= ${number + 3} AND day < ${number + 4}{of_key}",
            f"{rows} WHERE at >= ${number + 2} AND at < $2{of_key}",
        ]
    groups = "".join(f"{name}, " for name in by)
    sums = ", ".join(f"SUM({name})" for name in _SUMMED)
    numbers = ", ".join(str(number) for number in range(1, len(by) + 1))
    query = f"SELECT {groups}{sums} FROM ({' UNION ALL '.join(parts)}) AS parts" + (
        f" GROUP BY {numbers} ORDER BY {numbers} LIMIT {MOST_GROUPS + 1}" if by else " HAVING COUNT(*) > 0"
    )
    return query, arguments


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
    group = {name: _shown(name, value) for name, value in zip(by, record, strict=False)}
    sums = dict(zip(_SUMMED, record[len(by) :], strict=True))
    first_content, seconds = float(sums.pop("first_content")), float(sums.pop("seconds"))
    numbers = {name: int(number) for name, number in sums.items()}
    first_contents, attempts = numbers["first_contents"], numbers["attempts"]
    del numbers["answered"]
    cost = numbers.pop("cost")
    return UsageRow(
        group=group,
        cost=cost if numbers.pop("priced") else None,
        first_content=first_content / first_contents if first_contents else None,
        seconds=seconds / attempts if attempts else None,
        **numbers,
    )


def _shown(name: str, value: Any) -> str:
    """Return a value by which usage is grouped as a text."""
    if name not in _FORMATS:
        return str(value)
    size, format_ = _FORMATS[name]
    return datetime.fromtimestamp(min(value * size, _LAST), UTC).strftime(format_)


_FORMATS = {"day": (DAY, "%Y-%m-%d"), "hour": (HOUR, "%Y-%m-%dT%H:00Z")}

_LAST = 253_402_300_799.0
"""The end of the year 9999."""


def total_rows(records: Iterable[Sequence[Any]]) -> list[Total]:
    """Return the records of the totals query as rows."""
    return [
        Total(subject, name, int(requests), int(tokens), int(cost), last)
        for subject, name, requests, tokens, cost, last in records
    ]
