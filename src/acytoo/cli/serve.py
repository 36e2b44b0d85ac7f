"""`acytoo serve`: one endpoint for every chat client."""

from __future__ import annotations

import asyncio

import click

from acytoo.base import AsyncGeneratorProvider
from acytoo.errors import UsageError
from acytoo.secret import Secret


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address to bind; a public one needs a password."
)
@click.option("--port", default=8000, show_default=True, help="The port; 0 picks a free one.")
@click.option(
    "--password", envvar="ACYTOO_SERVE_PASSWORD", help="What callers must present, as password or as API key."
)
@click.option(
    "--to",
    "targets",
    multiple=True,
    metavar="[NAME=]TARGET",
    help="Backend: URL of an Acytoo server, or PROVIDER[/MODEL].",
)
@click.option("--to-key", metavar="KEY", help="Our key at the backend (better: its environment variable).")
@click.option("--to-password", metavar="TEXT", help="Our password at the backend.")
@click.option(
    "--drop-unsupported", is_flag=True, help="Leave out what a backend's API cannot express, instead of refusing."
)
@click.option(
    "--grace", default=30.0, show_default=True, help="Seconds that running replies have to finish at the end."
)
@click.option("--log", is_flag=True, help="Write a line for each request to stderr.")
def serve(
    host: str,
    port: int,
    password: str | None,
    targets: tuple[str, ...],
    to_key: str | None,
    to_password: str | None,
    drop_unsupported: bool,
    grace: float,
    log: bool,
) -> None:
    """Serve the built-in model, or any provider, to every chat client.

    \b
    Examples:
      acytoo serve
      acytoo serve --to openai/gpt-5-mini --to claude=anthropic
      acytoo serve --to http://other:8000 --to-password secret
      acytoo serve --host 0.0.0.0 --password secret
    """
    from acytoo.server.config import ServerConfig
    from acytoo.server.run import serve as run

    if log:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = ServerConfig(
        _backends(targets, to_key, to_password),
        Secret(password),
        host,
        port,
        grace=grace,
        drop_unsupported=drop_unsupported,
    )
    asyncio.run(run(config, _announce, access_log=log))


def _backends(targets: tuple[str, ...], key: str | None, password: str | None) -> dict[str, AsyncGeneratorProvider]:
    from acytoo.registry import provider

    settings = {"key": key, "password": password}
    if not targets:
        from acytoo.embedded.provider import engine_provider
        from acytoo.providers.acytoo import Acytoo

        return {"embedded": engine_provider(Acytoo.url)}
    backends: dict[str, AsyncGeneratorProvider] = {}
    for target in targets:
        name, equals, address = target.partition("=")
        if not equals or "://" in name:
            name, address = ("acytoo" if "://" in target else target.partition("/")[0]), target
        if name in backends:
            raise UsageError(f"two backends are called {name!r}: name one, like --to other={address}")
        backends[name] = provider(address, **settings)
    return backends


def _announce(url: str) -> None:
    click.echo(f"Acytoo serves {url} (Ctrl-C ends)", err=True)
