"""`acytoo keys`: the keys of the clients of `acytoo serve --config`."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acytoo.cli.exit_codes import print_error

if TYPE_CHECKING:
    from acytoo.gateway.config import KeyConfig

_FILE = click.Path(path_type=Path, dir_okay=False)

_BUDGET = re.compile(r"\$?(\d+(?:\.\d+)?)\s*(?:usd)?\s*/\s*(day|month)", re.IGNORECASE)
_PERIOD = re.compile(r"(\d{1,3})\s*([dwy])", re.IGNORECASE)
_DAYS = {"d": 1, "w": 7, "y": 365}


@click.group
def keys() -> None:
    """Make, list and revoke the keys of a server's clients.

    The config file of the server has only their hashes. A running server notices a change within a second.

    \b
    Examples:
      acytoo keys new ci-bot --models 'fast,claude*' --rpm 60 --budget 5usd/month --expires 90d
      acytoo keys new alice --config acytoo.toml
      acytoo keys list --config acytoo.toml
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
    from acytoo.gateway.config import load, warnings_of
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
    """List the keys of a config file: name, last day, models, limits."""
    from acytoo.gateway.config import load

    config = load(file)
    width = max(map(len, config.keys), default=0)
    for name, key in config.keys.items():
        click.echo(f"{name:{width}}  {_expiry(key):20}  {','.join(key.models)}  {_limits(key)}".rstrip())


def _expiry(key: KeyConfig) -> str:
    if key.expires is None:
        return "no end"
    return f"{'expired' if key.expires < _today() else 'until'} {key.expires}"


def _limits(key: KeyConfig) -> str:
    from acytoo.gateway.config import Limits

    limits = {name: getattr(key, name) for name in Limits.__struct_fields__}
    return " ".join([f"{name}={value:g}" for name, value in limits.items() if value is not None])


@keys.command
@click.argument("name")
@click.option("--config", "file", type=_FILE, required=True, help="Config file.")
def revoke(name: str, file: Path) -> None:
    """Remove the key NAME from a config file."""
    from acytoo.gateway.key_file import remove_key

    remove_key(file, name)
    click.echo(f"removed {name} from {file}", err=True)
