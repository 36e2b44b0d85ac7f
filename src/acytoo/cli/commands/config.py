"""`acytoo config`: check the config file of `acytoo serve --config`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from acytoo.cli.exit_codes import print_error
from acytoo.errors import UsageError

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group
def config() -> None:
    """Check or import a server's config file, or print its schema.

    \b
    Examples:
      acytoo config check acytoo.toml
      acytoo config schema > acytoo.schema.json
      acytoo config import litellm config.yaml > acytoo.toml
    """


@config.command
@click.argument("file", type=_FILE)
@click.option("--no-secrets", is_flag=True, help="Leave out secrets and extras, which this machine may not have.")
def check(file: Path, no_secrets: bool) -> None:
    """Check a config file as a server does at its start. Exits with 1 if it has a mistake."""
    from acytoo.gateway.backends import check_extras, check_secrets, create_backends
    from acytoo.gateway.config import load
    from acytoo.gateway.config_warnings import warnings_of

    try:
        loaded = load(file)
        if not no_secrets:
            check_secrets(loaded)
            create_backends(loaded)
            check_extras(loaded)
    except UsageError as error:
        print_error(str(error))
        sys.exit(1)
    for warning in warnings_of(loaded):
        print_error(warning)
    parts = [_count(loaded.upstreams, "upstream"), _count(loaded.models, "model"), _count(loaded.keys, "key")]
    click.echo(f"{file}: ok: {', '.join(parts)}")


@config.command
def schema() -> None:
    """Print the JSON schema of a config file, for editors."""
    import json

    from acytoo.gateway.config import schema

    click.echo(json.dumps(schema(), indent=2))


@config.command("import")
@click.argument("kind", type=click.Choice(["litellm"]))
@click.argument("file", type=_FILE)
def import_(kind: str, file: Path) -> None:
    """Print the config file of another gateway in our format.

    What it has no equivalent for is listed on stderr, and so are secrets in clear, for which it has a variable.
    """
    from acytoo.gateway.config import decode_text, read_file
    from acytoo.gateway.litellm import import_litellm

    text, left_out = import_litellm(decode_text(read_file(file), file), file)
    click.echo(text, nl=False)
    if left_out:
        print_error("left out, or to be done by hand:" + "".join([f"\n- {line}" for line in left_out]))


def _count(table: Mapping[str, object], noun: str) -> str:
    return f"{len(table)} {noun}{'' if len(table) == 1 else 's'}"
