"""`acytoo check`: does an endpoint work, how fast, and if not, why not."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from acytoo.cli.exit_codes import printable
from acytoo.cli.options import endpoint_options, provider_of
from acytoo.errors import UsageError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("address", required=False, metavar="[URL]")
@endpoint_options
@click.pass_context
def check(context: click.Context, /, address: str | None, **endpoint: Any) -> None:
    """Ask the endpoint for a few tokens; exit with 0 where they come, else with 1.

    \b
    Examples:
      acytoo check
      acytoo check http://localhost:8000 --password secret
      acytoo check -m anthropic/claude-sonnet-5
    """
    if address and endpoint["url"]:
        raise UsageError("give the URL once")
    endpoint["url"] = address or endpoint["url"]
    provider = provider_of(**endpoint)
    found = asyncio.run(provider.check())
    if found.ok:
        model = f", model {printable(found.model)}" if found.model else ""
        click.echo(
            f"ok: {provider.url} first answered after {found.first_s:.2f} s, {found.total_s:.2f} s in all{model}"
        )
        return
    click.echo(printable(f"failed: {provider.url} ({type(found.error).__name__}) {found.error}"), err=True)
    context.exit(1)
