"""`acytoo serve`: one endpoint for every chat client."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from acytoo.cli.exit_codes import print_error
from acytoo.cli.options import check_base_url, lacks_url, print_warnings, read_secret, secret_options
from acytoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from acytoo.base_provider import AsyncGeneratorProvider
    from acytoo.batch.routes import BatchExtension
    from acytoo.gateway.config import GatewayConfig
    from acytoo.secret import Secret


@click.command
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind; a public one needs a password.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 = any free port.")
@secret_options(
    "--password",
    "TEXT",
    "Password that clients must send, as password or as API key. Prefer ACYTOO_SERVE_PASSWORD.",
    envvar="ACYTOO_SERVE_PASSWORD",
)
@click.option(
    "--to",
    "targets",
    multiple=True,
    metavar="[NAME=]TARGET",
    help="Backend: the URL of an Acytoo server, or PROVIDER[/MODEL], or several separated by '|', the next one if one "
    "fails; a NAME stands for its backend. May be repeated.",
)
@secret_options("--to-key", "KEY", "API key for the backend. Prefer its environment variable.")
@secret_options("--to-password", "TEXT", "Site password for the backend.")
@click.option("--drop-unsupported", is_flag=True, help="Drop what a backend's API cannot express, instead of an error.")
@click.option(
    "--max-reply", type=click.IntRange(1), default=64, show_default=True, help="MiB that may be kept of one reply."
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds to finish running replies at shutdown.",
)
@click.option("--log", is_flag=True, help="Log each request to stderr.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that serve the port.")
@click.option(
    "--files",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for /v1/files and /v1/batches, which then work for every backend.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Serve what this TOML file describes: upstreams, models, keys, limits. It replaces the other options.",
)
@click.pass_context
def serve(
    ctx: click.Context,
    host: str,
    port: int,
    password: str | None,
    password_file: str | None,
    targets: tuple[str, ...],
    to_key: str | None,
    to_key_file: str | None,
    to_password: str | None,
    to_password_file: str | None,
    drop_unsupported: bool,
    max_reply: int,
    grace: float,
    log: bool,
    workers: int,
    files: Path | None,
    config: Path | None,
) -> None:
    """Serve the built-in model or any provider to any chat client.

    \b
    Examples:
      acytoo serve
      acytoo serve --to openai/gpt-5-mini --to claude=anthropic
      acytoo serve --to 'fast=openai/gpt-5-mini|ollama/llama3.2'
      acytoo serve --to http://other:8000 --to-password-file other.txt
      acytoo serve --host 0.0.0.0 --password-file password.txt
      acytoo serve --config acytoo.toml
    """
    from acytoo.cli.interrupts import kept_interrupts
    from acytoo.server.worker import is_worker

    if config is not None:
        _serve_config(config, _given_options(ctx))
        return
    if workers > 1 and files is not None:
        raise UsageError("--files works with one worker only: leave out --workers")
    if workers > 1 and not is_worker():
        _supervise(host, port, workers, grace)

    with kept_interrupts():
        from acytoo.secret import Secret
        from acytoo.server.config import ServerConfig
        from acytoo.server.run import loop_factory, run

        if log:
            import logging

            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        password = read_secret("--password", password, password_file)
        to_key = read_secret("--to-key", to_key, to_key_file)
        to_password = read_secret("--to-password", to_password, to_password_file)
        if password == "":  # such as --password "$UNSET"
            raise UsageError("the password is empty: set one, or leave out --password")
        server_config = ServerConfig(
            _create_backends(targets, to_key, to_password, max_reply * _MIB),
            Secret(password),
            host,
            port,
            max_reply=max_reply * _MIB,
            grace=grace,
            drop_unsupported=drop_unsupported,
        )
        new_loop = loop_factory()
    extension = _batch_extension(files, lambda _: server_config.password) if files is not None else None
    run(server_config, _announce, new_loop, access_log=log, extension=extension)


def _batch_extension(folder: Path, secret_of: Callable[[str], Secret | None]) -> BatchExtension:
    """Return what answers `/v1/files` and `/v1/batches`. Raises UsageError if the folder cannot be used."""
    from acytoo.batch.routes import BatchExtension
    from acytoo.batch.service import BatchService

    try:
        return BatchExtension(BatchService(folder, secret_of))
    except OSError as error:
        raise UsageError(f"cannot keep files in {folder}: {error.strerror}") from error


def _given_options(ctx: click.Context) -> list[str]:
    """Return the options that the command line has besides `--config`."""
    from click.core import ParameterSource

    return [
        f"--{name.replace('_', '-')}" if name != "targets" else "--to"
        for name in ctx.params
        if name != "config" and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]


def _serve_config(path: Path, given: list[str]) -> None:
    from acytoo.cli.interrupts import kept_interrupts

    if given:
        raise UsageError(f"{', '.join(given)} cannot be used with --config: set it in {path}")
    with kept_interrupts():
        import asyncio
        import logging

        from acytoo.gateway.config import load
        from acytoo.gateway.config_warnings import warnings_of
        from acytoo.gateway.gateway import Gateway, serve_gateway
        from acytoo.server.run import loop_factory
        from acytoo.server.worker import is_worker

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        if not is_worker():
            config = load(path)
            for warning in warnings_of(config):
                print_error(warning)
            if config.server.workers > 1:
                _supervise_config(config)
        gateway = Gateway(path)
        new_loop = loop_factory()
        files = gateway.config.storage.files
        extension = _batch_extension(path.parent / files, gateway.stand_in) if files else None
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve_gateway(gateway, _announce, extension))


_MIB = 1024 * 1024


def _supervise(host: str, port: int, workers: int, grace: float, **options: Any) -> NoReturn:
    """Run this command in several workers, and exit."""
    from acytoo.server.supervisor import supervise

    if sys.platform == "win32":
        raise UsageError("several workers need signals that Windows does not have: use one")
    sys.exit(supervise(host, port, workers, _announce, grace=grace, **options))


def _supervise_config(config: GatewayConfig) -> NoReturn:
    """Run this command in several workers, which share their metrics, and exit."""
    from tempfile import TemporaryDirectory

    from acytoo.gateway.metrics import forget_ended_workers, share

    def on_exit(pid: int) -> None:
        if config.metrics.enabled:
            with suppress(ImportError):  # the worker has reported that
                forget_ended_workers()

    server = config.server
    with TemporaryDirectory(prefix="acytoo-metrics-") as folder:
        share(Path(folder))
        grace = server.shutdown_delay + server.grace
        _supervise(server.host, server.port, server.workers, grace, can_reload=True, on_exit=on_exit)


def _create_backends(
    targets: tuple[str, ...], key: str | None, password: str | None, max_reply: int
) -> dict[str, AsyncGeneratorProvider]:
    """Return the backends by name. Without targets, load the built-in model."""
    addresses: dict[str, str] = {}
    for target in targets:
        name, equals, address = target.partition("=")
        if not equals or "://" in name:
            name, address = "route" if "|" in target else _provider_name(target), target
        if name in addresses:
            from acytoo.routing.addresses import mask_targets

            hint = f"name one of them, such as --to other={mask_targets(address)}"
            raise UsageError(f"two backends are named {name!r}: {hint}")
        addresses[name] = address
    secrets = {"key": key, "password": password}
    for setting, value in secrets.items():
        if value and (len(addresses) != 1 or "|" in next(iter(addresses.values()))):
            hint = _secret_hint(setting, addresses)
            raise UsageError(f"--to-{setting} needs exactly one backend: {hint}")
    if addresses:
        settings: dict[str, Any] = {**secrets, "max_reply": max_reply}
        backends: dict[str, AsyncGeneratorProvider] = {}
        for name in addresses:
            _create_backend(name, addresses, backends, settings, ())
        return {name: backends[name] for name in addresses}
    from acytoo.embedded.provider import load_provider
    from acytoo.providers.acytoo import Acytoo

    return {"embedded": load_provider(Acytoo.url)}


def _create_backend(
    name: str,
    addresses: dict[str, str],
    backends: dict[str, AsyncGeneratorProvider],
    settings: dict[str, Any],
    users: tuple[str, ...],
) -> AsyncGeneratorProvider:
    """Return the backend of that name, and those that it names as targets, created once. `users` need it."""
    if name in users:
        raise UsageError(f"backends that need one another: {' -> '.join([*users, name])}")
    if name not in backends:
        address = addresses[name]
        if "|" not in address:
            backends[name] = _single_provider(address, settings)
        else:
            from acytoo.routing.addresses import mask_targets, route_to

            def create(part: str) -> AsyncGeneratorProvider:
                if part in addresses:
                    return _create_backend(part, addresses, backends, settings, (*users, name))
                return _single_provider(part, settings)

            backends[name] = route_to(address, create, f"--to {name}={mask_targets(address)}")
    return backends[name]


def _single_provider(address: str, settings: dict[str, Any]) -> AsyncGeneratorProvider:
    from acytoo.registry import provider, provider_class

    cls = provider_class(_provider_name(address))
    if "://" not in address and lacks_url(cls):
        raise UsageError(f"{cls.address_name()} needs a URL: set {cls.variable('url')}")
    check_base_url(cls, address if "://" in address else cls.environment("url"))
    return provider(address, **settings)


def _provider_name(address: str) -> str:
    return "acytoo" if "://" in address else address.partition("/")[0]


def _secret_hint(setting: str, addresses: dict[str, str]) -> str:
    """Return what to do instead if one key or password cannot be for all of these backends."""
    from acytoo.registry import provider_class

    if not addresses:
        return "add it with --to"
    parts = [part.strip() for address in addresses.values() for part in address.split("|")]
    # The name of a backend may be that of its provider, which then is its address too.
    targets = [part for part in parts if addresses.get(part, part) == part]
    classes = [provider_class(_provider_name(part)) for part in targets]
    variables = [cls.variable(setting) for cls in classes]
    return f"for several, set their environment variables ({', '.join(dict.fromkeys(variables))})"


def _announce(url: str) -> None:
    click.echo(f"Acytoo serves {url} (Ctrl-C to stop)", err=True)
    print_warnings()
