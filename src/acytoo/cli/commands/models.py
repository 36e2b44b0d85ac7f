"""`acytoo models`: list the models of an endpoint."""

from __future__ import annotations

from typing import Any

import click

from acytoo.cli.exit_codes import replace_controls
from acytoo.cli.options import address_argument, endpoint_options, provider_from_options
from acytoo.errors import UsageError


@click.command
@address_argument
@endpoint_options
def models(address: str | None, **endpoint: Any) -> None:
    """List the models of a provider.

    Each line is a model as -m takes it.

    \b
    Examples:
      acytoo models openai
      acytoo models http://localhost:8000 --password-file password.txt
    """
    import asyncio

    from acytoo.cli.conversation import provider_of
    from acytoo.embedded.weights import KNOWN

    if address and "://" in address:
        if endpoint["url"]:
            raise UsageError("the URL is set twice: use either URL or --url")
        endpoint["url"] = address
    elif address:
        if endpoint["model"]:
            raise UsageError("the provider is set twice: use either PROVIDER or -m")
        endpoint["model"] = address
    provider = provider_from_options(**endpoint, needs_model=False)
    if provider.url.startswith("embedded://"):
        name, names = "embedded", [*KNOWN]
    else:
        name, names = provider_of(endpoint["model"] or ""), asyncio.run(provider.list_models())
    for model in names:
        line = replace_controls(f"{name}/{model}" if name.isidentifier() else model)
        click.echo(line.replace("\n", "\N{REPLACEMENT CHARACTER}"))
