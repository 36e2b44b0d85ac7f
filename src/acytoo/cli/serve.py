"""`acytoo serve`: one endpoint for every chat client."""

from __future__ import annotations

import asyncio

import click

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import UsageError
from acytoo.secret import Secret


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address to bind; a public one needs a password."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port; 0 picks a free one."
)
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
@click.option("--to-key", metavar="KEY", help="Our key at the one backend (better: its environment variable).")
@click.option("--to-password", metavar="TEXT", help="Our password at the one backend.")
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

    addresses: dict[str, str] = {}
    for target in targets:
        name, equals, address = target.partition("=")
        if not equals or "://" in name:
            name, address = ("acytoo" if "://" in target else target.partition("/")[0]), target
        if name in addresses:
            raise UsageError(f"two backends are called {name!r}: name one, like --to other={address}")
        addresses[name] = address
    settings = {"key": key, "password": password}
    for what, given in settings.items():
        if given and len(addresses) != 1:
            raise UsageError(f"--to-{what} is for one backend: {_instead(what, list(addresses.values()))}")
    if addresses:
        return {name: provider(address, **settings) for name, address in addresses.items()}
    from acytoo.embedded.provider import engine_provider
    from acytoo.providers.acytoo import Acytoo

    return {"embedded": engine_provider(Acytoo.url)}


def _instead(what: str, addresses: list[str]) -> str:
    """What to do where one secret cannot be for all of these backends."""
    from acytoo.registry import provider_class

    if not addresses:
        return "name it with --to"
    classes = [provider_class("acytoo" if "://" in address else address.partition("/")[0]) for address in addresses]
    variables = [next(iter(cls.env.get(what, ())), f"{cls.__name__.upper()}_{what.upper()}") for cls in classes]
    return f"with several, set each provider's environment variable ({', '.join(dict.fromkeys(variables))})"


def _announce(url: str) -> None:
    click.echo(f"Acytoo serves {url} (Ctrl-C ends)", err=True)
