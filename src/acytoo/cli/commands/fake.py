"""`acytoo fake`: serve a fake chat API with scripted faults, to test any client."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import click

from acytoo.errors import UsageError

if TYPE_CHECKING:
    from acytoo.dialects.base import Dialect
    from acytoo.testing.fakes.endpoint import Script
    from acytoo.testing.fakes.requests import ReceivedRequest
    from acytoo.testing.script.responses import ScriptedResponse


class _FakeCommand(click.Command):
    """A command whose help ends with the list of fault directives."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the directives. They are imported here, because only `acytoo fake --help` needs them."""
        from acytoo.testing.script.directives import SYNTAX

        directives = SYNTAX.directives.values()
        width = max(len(directive.example) for directive in directives)
        rows = "".join(f"  {directive.example:{width}}  {directive.description}\n" for directive in directives)
        formatter.write(f"\nFaults, joined by + (or the name of a row of docs/faults.md):\n{rows}")


@click.command(cls=_FakeCommand)
@click.option("--dialect", default="openai", show_default=True, metavar="NAME", help="API to serve, on every path.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="FAULT",
    help="Fault of a response. Repeat it for further requests; the last one stays.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; 0 (the default) = any free port.")
@click.option("--tls", is_flag=True, help="Use TLS, with a new certificate authority.")
def fake(dialect: str, faults: tuple[str, ...], port: int, tls: bool) -> None:
    """Serve a fake chat API with scripted faults, to test clients.

    Listens on 127.0.0.1. Prints its URL on stdout and each request on stderr.

    \b
    Examples:
      acytoo fake --dialect openai --fault reset:17
      acytoo fake --dialect anthropic --fault status:529 --fault ok
      acytoo fake --dialect ollama --fault gzip+cut:1 --port 11434
    """
    import asyncio

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(dialect, faults or ("ok",), port, tls))


async def _serve(dialect_name: str, faults: tuple[str, ...], port: int, tls: bool) -> None:
    import asyncio
    import tempfile
    from pathlib import Path

    from acytoo import dialects
    from acytoo.testing.fakes.certificates import Authority
    from acytoo.testing.fakes.endpoint import FakeEndpoint

    dialect = dialects.by_name(dialect_name)
    scripts = [_create_script(directives, dialect) for fault in faults for directives in _expand_fault(fault)]
    authority = Authority() if tls else None
    endpoint = FakeEndpoint(dialect, *scripts, tls=authority.server_context() if authority else None)
    endpoint.port = port
    stop = asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with tempfile.TemporaryDirectory() as folder:
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(endpoint)
            except OSError as error:
                raise UsageError(f"cannot listen on port {port}: {os.strerror(error.errno or 0)}") from error
            if authority:
                click.echo(f"certificate authority: {authority.write(Path(folder))}", err=True)
            click.echo(endpoint.url)
            await stop.wait()


def _expand_fault(fault: str) -> tuple[str, ...]:
    """Return the directives, one text per request, of a row of the fault table; any other text is returned as it is."""
    from acytoo.testing.conformance.environments import Environment
    from acytoo.testing.conformance.faults import FAULT_SCENARIOS

    for row in FAULT_SCENARIOS:
        if row.name == fault and "+" not in fault:
            is_endpoint_alone = row.environment in (Environment.DIRECT, Environment.TLS)
            if not is_endpoint_alone or any("{" in directives for directives in row.scripts):
                raise UsageError(f"fault {fault!r} needs more than an endpoint: use acytoo.testing")
            return row.scripts
    return (fault,)


def _create_script(directives: str, dialect: Dialect) -> Script:
    """Return the script of the directives. It writes each request it answers to stderr."""
    from acytoo.testing.script.directives import SYNTAX

    respond = SYNTAX.parse(directives, dialect)

    def script(received: ReceivedRequest) -> ScriptedResponse:
        click.echo(f"{received.method} {received.target}: {directives}", err=True)
        return respond(received)

    return script
