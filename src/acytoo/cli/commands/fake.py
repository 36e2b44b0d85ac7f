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
        from acytoo.testing.script.syntax import WORDS

        width = max(len(word.example) for word in WORDS.values())
        rows = "".join(f"  {word.example:{width}}  {word.does}\n" for word in WORDS.values())
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

    from acytoo.testing.conformance.report import dialect_of
    from acytoo.testing.fakes.certificates import Authority
    from acytoo.testing.fakes.endpoint import FakeEndpoint

    dialect = dialect_of(dialect_name)
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
    from acytoo.testing.conformance.faults import FAULTS

    for row in FAULTS:
        if row.name == fault and "+" not in fault:
            if row.place not in ("", "tls") or any("{" in directives for directives in row.words):
                raise UsageError(f"fault {fault!r} needs more than an endpoint: use acytoo.testing")
            return row.words
    return (fault,)


def _create_script(directives: str, dialect: Dialect) -> Script:
    """Return the script of the directives. It writes each request it answers to stderr."""
    from acytoo.testing.script.syntax import script_of

    respond = script_of(directives, dialect)

    def script(received: ReceivedRequest) -> ScriptedResponse:
        click.echo(f"{received.method} {received.target}: {directives}", err=True)
        return respond(received)

    return script
