"""`acytoo usage`: what the keys of a server have used, from its ledger."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acytoo.cli.exit_codes import print_error, replace_controls
from acytoo.errors import UsageError

if TYPE_CHECKING:
    from acytoo.gateway.ledger import UsageRow

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command
@click.option("--config", "file", type=_FILE, required=True, help="Config file of the server.")
@click.option(
    "--by",
    default="key,model",
    show_default=True,
    metavar="GROUPS",
    help="Some of key, model, target, upstream, dialect, status, outcome, day, hour; '' for a total.",
)
@click.option("--since", default="7d", show_default=True, metavar="TIME", help="7d, 12h, or a date and time.")
@click.option("--until", metavar="TIME", help="By default now.")
@click.option("--key", metavar="NAME", help="The usage of one key.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON document of GET /usage.")
@click.option(
    "--plot", type=_FILE, metavar="FILE", help="Draw the usage over time, by the first group, as .svg or .png."
)
def usage(
    file: Path,
    by: str,
    since: str,
    until: str | None,
    key: str | None,
    *,
    as_csv: bool,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Print requests, tokens and costs from a server's ledger.

    Days are UTC's. A cost with a + leaves out attempts whose price is unknown, tokens with a ~ include estimates.

    \b
    Examples:
      acytoo usage --config acytoo.toml
      acytoo usage --config acytoo.toml --by key,model --since 2027-01-01 --csv
      acytoo usage --config acytoo.toml --by model --since 30d --plot usage.svg
    """
    import asyncio
    import time

    from acytoo.gateway.usage import parse_groups, parse_time

    if as_csv + as_json + (plot is not None) > 1:
        raise UsageError("use one of --csv, --json and --plot")
    now = time.time()
    start, end = parse_time(since, now), now if until is None else parse_time(until, now)
    groups = parse_groups(by)
    if plot is not None:
        asyncio.run(_plot(file, groups, start, end, key, plot))
    else:
        asyncio.run(_print(file, groups, start, end, key, "csv" if as_csv else "json" if as_json else ""))


async def _print(file: Path, by: list[str], since: float, until: float, key: str | None, form: str) -> None:
    from acytoo.gateway.config import load
    from acytoo.gateway.usage import document, open_ledger_of, total_of

    ledger = await open_ledger_of(load(file))
    try:
        rows = await ledger.usage(since, until, by, key)
    finally:
        await ledger.close()
    if form == "json":
        import json

        click.echo(json.dumps(document(since, until, by, rows), indent=2))
    elif form == "csv":
        _print_csv(by, rows)
    elif (total := total_of(rows)) is None:
        print_error("no requests in this time")
    else:
        _print_table(by, rows, total)


def _print_csv(by: Sequence[str], rows: Sequence[UsageRow]) -> None:
    import csv

    from acytoo.gateway.usage import row_document

    documents = [row_document(row) for row in rows]
    names = [*by, "requests", "attempts", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens"]
    names += ["reasoning_tokens", "estimated", "unpriced", "cost_usd", "first_content", "seconds"]
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: _cell(document[name]) for name in names} for document in documents])


def _cell(value: object) -> object:
    """Return a value for CSV. Spreadsheets would run a text that begins like a formula, and callers choose some."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _print_table(by: Sequence[str], rows: Sequence[UsageRow], total: UsageRow) -> None:
    head = [*by, "requests", "attempts", "input", "output", "cached", "cost", "first content", "time"]
    lines = [[*row.group.values(), *_numbers(row)] for row in rows]
    if by:
        lines.append(["total", *[""] * (len(by) - 1), *_numbers(total)])
    cells = [[replace_controls(cell) for cell in line] for line in (head, *lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = [
            cell.ljust(width) if place < len(by) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  ".join(padded).rstrip())


def _numbers(row: UsageRow) -> list[str]:
    about = "~" if row.estimated else ""
    tokens = [f"{about}{count:,}" for count in (row.input_tokens, row.output_tokens, row.cached_tokens)]
    times = ["" if value is None else f"{value:.2f} s" for value in (row.first_content, row.seconds)]
    return [f"{row.requests:,}", f"{row.attempts:,}", *tokens, _cost(row), *times]


def _cost(row: UsageRow) -> str:
    from acytoo.gateway.prices import NANODOLLARS

    if row.cost is None:
        return "unknown" if row.unpriced else ""
    return f"${row.cost / NANODOLLARS:,.4f}" + ("+" if row.unpriced else "")


async def _plot(file: Path, by: list[str], since: float, until: float, key: str | None, path: Path) -> None:
    from acytoo.gateway.config import load
    from acytoo.gateway.usage import open_ledger_of
    from acytoo.gateway.usage_plot import plot_usage, step_of
    from acytoo.svg import image_writer

    write = image_writer(path)
    step = step_of(since, until)
    names = [name for name in by if name not in ("day", "hour")][:1]
    ledger = await open_ledger_of(load(file))
    try:
        rows = await ledger.usage(since, until, [step, *names], key)
    finally:
        await ledger.close()
    write(plot_usage(rows, since, until, names[0] if names else ""))
