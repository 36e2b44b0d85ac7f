"""`acytoo check`: report whether an endpoint works and how fast, or why it does not."""

from __future__ import annotations

from typing import Any

import click

from acytoo.cli.exit_codes import error_text, replace_controls
from acytoo.cli.options import address_argument, endpoint_options, provider_from_options, select_address
from acytoo.secret import mask_url


@click.command
@address_argument
@endpoint_options
@click.pass_context
def check(context: click.Context, /, address: str | None, **endpoint: Any) -> None:
    """Test an endpoint by requesting a few tokens.

    Exits with 0 if the endpoint replies, with 1 if it does not.

    \b
    Examples:
      acytoo check
      acytoo check http://localhost:8000 --password-file password.txt
      acytoo check -m anthropic/claude-sonnet-5
    """
    import asyncio

    select_address(address, endpoint)
    provider = provider_from_options(**endpoint)
    result = asyncio.run(provider.check())
    url = mask_url(provider.url)
    if result.error is None:
        model = f", model {replace_controls(result.model)}" if result.model else ""
        click.echo(f"ok: {url} first text after {result.first_s:.2f} s, total {result.total_s:.2f} s{model}")
        return
    message = f"failed: {url} ({type(result.error).__name__}) {error_text(result.error)}"
    click.echo(replace_controls(message), err=True)
    context.exit(1)
