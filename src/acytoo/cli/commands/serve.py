"""`acytoo serve`: one endpoint for every chat client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from acytoo.cli.options import lacks_url
from acytoo.errors import UsageError

if TYPE_CHECKING:
    from acytoo.base_provider import AsyncGeneratorProvider


@click.command
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind; a public one needs a password.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 = any free port.")
@click.option(
    "--password", envvar="ACYTOO_SERVE_PASSWORD", help="Password that clients must send, as password or as API key."
)
@click.option(
    "--to",
    "targets",
    multiple=True,
    metavar="[NAME=]TARGET",
    help="Backend: the URL of an Acytoo server, or PROVIDER[/MODEL]. May be repeated.",
)
@click.option("--to-key", metavar="KEY", help="API key for the backend. Prefer its environment variable.")
@click.option("--to-password", metavar="TEXT", help="Site password for the backend.")
@click.option("--drop-unsupported", is_flag=True, help="Drop what a backend's API cannot express, instead of an error.")
@click.option("--grace", default=30.0, show_default=True, help="Seconds to finish running replies at shutdown.")
@click.option("--log", is_flag=True, help="Log each request to stderr.")
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
    """Serve the built-in model or any provider to any chat client.

    \b
    Examples:
      acytoo serve
      acytoo serve --to openai/gpt-5-mini --to claude=anthropic
      acytoo serve --to http://other:8000 --to-password secret
      acytoo serve --host 0.0.0.0 --password secret
    """
    from acytoo.cli.interrupts import kept_interrupts

    with kept_interrupts():
        from acytoo.secret import Secret
        from acytoo.server.config import ServerConfig
        from acytoo.server.run import loop_factory, run

        if log:
            import logging

            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        if password == "":  # such as --password "$UNSET"
            raise UsageError("the password is empty: set one, or leave out --password")
        config = ServerConfig(
            _create_backends(targets, to_key, to_password),
            Secret(password),
            host,
            port,
            grace=grace,
            drop_unsupported=drop_unsupported,
        )
        new_loop = loop_factory()
    run(config, _announce, new_loop, access_log=log)


def _create_backends(
    targets: tuple[str, ...], key: str | None, password: str | None
) -> dict[str, AsyncGeneratorProvider]:
    """Return the backends by name. Without targets, load the built-in model."""
    from acytoo.registry import provider, provider_class

    addresses: dict[str, str] = {}
    for target in targets:
        name, equals, address = target.partition("=")
        if not equals or "://" in name:
            name, address = _provider_name(target), target
        if name in addresses:
            raise UsageError(f"two backends are named {name!r}: name one of them, such as --to other={address}")
        addresses[name] = address
    settings = {"key": key, "password": password}
    for setting, value in settings.items():
        if value and len(addresses) != 1:
            hint = _secret_hint(setting, list(addresses.values()))
            raise UsageError(f"--to-{setting} needs exactly one backend: {hint}")
    for address in addresses.values():
        cls = provider_class(_provider_name(address))
        if "://" not in address and lacks_url(cls):
            raise UsageError(f"{cls.address_name()} needs a URL: set {cls.variable('url')}")
    if addresses:
        return {name: provider(address, **settings) for name, address in addresses.items()}
    from acytoo.embedded.provider import load_provider
    from acytoo.providers.acytoo import Acytoo

    return {"embedded": load_provider(Acytoo.url)}


def _provider_name(address: str) -> str:
    return "acytoo" if "://" in address else address.partition("/")[0]


def _secret_hint(setting: str, addresses: list[str]) -> str:
    """Return what to do instead if one key or password cannot be for all of these backends."""
    from acytoo.registry import provider_class

    if not addresses:
        return "add it with --to"
    classes = [provider_class(_provider_name(address)) for address in addresses]
    variables = [cls.variable(setting) for cls in classes]
    return f"for several, set their environment variables ({', '.join(dict.fromkeys(variables))})"


def _announce(url: str) -> None:
    click.echo(f"Acytoo serves {url} (Ctrl-C to stop)", err=True)
