"""`acytoo keys`: the keys of the clients of `acytoo serve --config`."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acytoo.cli.exit_codes import print_error
from acytoo.errors import AcytooError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acytoo.gateway.config import GatewayConfig, KeyConfig
    from acytoo.gateway.counters import Window

_FILE = click.Path(path_type=Path, dir_okay=False)

_BUDGET = re.compile(r"\$?(\d+(?:\.\d+)?)\s*(?:usd)?\s*/\s*(day|month)", re.IGNORECASE)
_PERIOD = re.compile(r"(\d{1,3})\s*([dwy])", re.IGNORECASE)
_DAYS = {"d": 1, "w": 7, "y": 365}


@click.group
def keys() -> None:
    """Manage the keys of a server's clients.

    The config file of the server has only their hashes. A running server notices a change within a second.

    \b
    Examples:
      acytoo keys new ci-bot --models 'fast,claude*' --rpm 60 --budget 5usd/month --expires 90d
      acytoo keys new alice --config acytoo.toml
      acytoo keys list --config acytoo.toml
      acytoo keys rotate ci-bot --keep 7d --config acytoo.toml
      acytoo keys disable ci-bot --config acytoo.toml
      acytoo keys revoke ci-bot --config acytoo.toml
    """


def _split(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    patterns = [part.strip() for part in value.split(",")] if value is not None else None
    if patterns is not None and not all(patterns):
        raise click.BadParameter("expected names or patterns separated by commas, such as 'fast,claude*'")
    return patterns


def _budgets(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    budgets: dict[str, float] = {}
    for value in values:
        match = _BUDGET.fullmatch(value.strip())
        if match is None or not float(match[1]):
            raise click.BadParameter(f"expected dollars for each day or month, such as 5usd/month, not {value!r}")
        period, dollars = match[2].lower(), float(match[1])
        if f"budget_per_{period}" in budgets:
            raise click.BadParameter(f"there are two budgets for each {period}")
        budgets[f"budget_per_{period}"] = int(dollars) if dollars.is_integer() else dollars
    return budgets


def _last_day(context: click.Context, parameter: click.Parameter, value: str | None) -> date | None:
    if value is None:
        return None
    if match := _PERIOD.fullmatch(value.strip()):
        return _today() + timedelta(int(match[1]) * _DAYS[match[2].lower()])
    try:
        day = date.fromisoformat(value.strip())
    except ValueError:
        raise click.BadParameter(f"expected a time such as 90d, or a date such as 2027-01-31, not {value!r}") from None
    if day < _today():
        raise click.BadParameter(f"{day} has passed")
    return day


def _today() -> date:
    return datetime.now(UTC).date()


_COUNT = click.IntRange(1)


@keys.command
@click.argument("name")
@click.option("--models", metavar="NAMES", callback=_split, help="Names or patterns it may ask for; by default all.")
@click.option("--rpm", "requests_per_minute", type=_COUNT, metavar="N", help="Requests per minute.")
@click.option("--requests-per-day", type=_COUNT, metavar="N", help="Requests per day.")
@click.option("--tpm", "tokens_per_minute", type=_COUNT, metavar="N", help="Tokens per minute.")
@click.option("--tokens-per-day", type=_COUNT, metavar="N", help="Tokens per day.")
@click.option("--concurrent", type=_COUNT, metavar="N", help="Requests at the same time.")
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    metavar="USD/PERIOD",
    callback=_budgets,
    help="Such as 5usd/month.",
)
@click.option("--expires", metavar="TIME", callback=_last_day, help="90d, 12w, 1y, or the last valid day: 2027-01-31.")
@click.option("--max-body", type=_COUNT, metavar="N", help="Bytes of a request.")
@click.option("--config", "file", type=_FILE, help="Config file to add the key to.")
def new(name: str, budgets: dict[str, float], file: Path | None, **fields: Any) -> None:
    """Make a key named NAME, and print it. It cannot be printed again.

    The key is the first line of the output. Without --config, the table to paste into the config file follows.
    """
    from acytoo.gateway.checks import check_key_name
    from acytoo.gateway.config import load
    from acytoo.gateway.config_warnings import warnings_of
    from acytoo.gateway.key_file import add_key, key_table
    from acytoo.gateway.keys import hash_secret, new_secret

    check_key_name(name)
    secret = new_secret()
    fields = {name: value for name, value in fields.items() if value is not None}
    table = {"hash": hash_secret(secret), **fields, **budgets}
    if file is not None:
        add_key(file, name, table)
        click.echo(secret)
        click.echo(f"added {name} to {file}; the key itself is stored nowhere", err=True)
        for warning in warnings_of(load(file)):
            print_error(warning)
    else:
        text = key_table(name, table)
        click.echo(f"{secret}\n\n{text}", nl=False)
        click.echo(
            "acytoo: the key is the first line, and stored nowhere; the rest belongs into the config file", err=True
        )


@keys.command("list")
@click.option("--config", "file", type=_FILE, required=True, help="Config file.")
def list_(file: Path) -> None:
    """List the keys of a config file: name, last day, last use, models, limits.

    The last use is from the ledger. A limit of days or months has what the ledger has of it in the current one, in UTC:
    tokens_per_day=1200/200000.
    """
    import asyncio

    from acytoo.gateway.config import load

    config = load(file)
    used = None
    last_days: dict[str, str] | None = None
    try:
        if config.storage.ledger != "none":
            used, last_days = asyncio.run(_use(config))
    except AcytooError as error:
        print_error(f"the use of the keys is unknown: {error}")
    width = max(map(len, config.keys), default=0)
    for name, key in config.keys.items():
        last = "" if last_days is None else f"{last_days.get(name, 'not used'):15}  "
        click.echo(
            f"{name:{width}}  {_state(key):20}  {last}{','.join(key.models)}  {_limits(name, key, used)}".rstrip()
        )


async def _use(config: GatewayConfig) -> tuple[dict[tuple[str, Window], int], dict[str, str]]:
    """Return what is used of limits, and when each key was used last."""
    import time

    from acytoo.gateway.usage import format_time, open_ledger_of, used_amounts

    ledger = await open_ledger_of(config)
    try:
        totals = [total for total in await ledger.totals(0) if total.subject == "key"]
        last_days = {total.name: f"used {format_time(total.last).partition('T')[0]}" for total in totals}
        return await used_amounts(ledger, time.time()), last_days
    finally:
        await ledger.close()


def _state(key: KeyConfig) -> str:
    if key.disabled:
        return "disabled"
    if key.expires is None:
        return "no end"
    return f"{'expired' if key.expires < _today() else 'until'} {key.expires}"


def _limits(name: str, key: KeyConfig, used: Mapping[tuple[str, Window], int] | None) -> str:
    from acytoo.gateway.limits import limits_of
    from acytoo.gateway.prices import NANODOLLARS

    texts = []
    for field, limit in limits_of(key, f"key:{name}").items():
        size, form = (NANODOLLARS, "$%.12g") if field.startswith("budget") else (1, "%d")
        most = form % (limit.limit / size)
        if used is not None and limit.window in ("day", "month"):
            most = form % (used.get((limit.counter, limit.window), 0) / size) + "/" + most
        texts.append(f"{field}={most}")
    return " ".join(texts)


@keys.command
@click.argument("name")
@click.option(
    "--keep",
    "last_day",
    default="7d",
    show_default=True,
    metavar="TIME",
    callback=_last_day,
    help="How long the old secret is valid too; 0d: not at all.",
)
@click.option("--config", "file", type=_FILE, required=True, help="Config file.")
def rotate(name: str, last_day: date, file: Path) -> None:
    """Give the key NAME a new secret, and print it. The old one stays valid for a while."""
    from acytoo.gateway.config import load
    from acytoo.gateway.key_file import change_key
    from acytoo.gateway.keys import hash_secret, new_secret

    config = load(file)
    old = config.keys[name].hash if name in config.keys else ""
    secret = new_secret()
    is_kept = last_day > _today()
    changes = {
        "hash": hash_secret(secret),
        "previous_hash": old if is_kept else None,
        "previous_expires": last_day if is_kept else None,
    }
    change_key(file, name, changes)
    click.echo(secret)
    until = f"is valid until the end of {last_day} (UTC)" if is_kept else "is not valid any more"
    click.echo(f"{name} has a new secret, which is stored nowhere; the old one {until}", err=True)


@keys.command
@click.argument("name")
@click.option("--config", "file", type=_FILE, required=True, help="Config file.")
def disable(name: str, file: Path) -> None:
    """Refuse the key NAME until it is enabled again."""
    from acytoo.gateway.key_file import change_key

    change_key(file, name, {"disabled": True})
    click.echo(f"disabled {name} in {file}", err=True)


@keys.command
@click.argument("name")
@click.option("--config", "file", type=_FILE, required=True, help="Config file.")
def enable(name: str, file: Path) -> None:
    """Accept the key NAME again."""
    from acytoo.gateway.key_file import change_key

    change_key(file, name, {"disabled": None})
    click.echo(f"enabled {name} in {file}", err=True)


@keys.command
@click.argument("name")
@click.option("--config", "file", type=_FILE, required=True, help="Config file.")
def revoke(name: str, file: Path) -> None:
    """Remove the key NAME from a config file."""
    from acytoo.gateway.key_file import remove_key

    remove_key(file, name)
    click.echo(f"removed {name} from {file}", err=True)
