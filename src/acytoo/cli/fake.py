"""`acytoo fake`: a chat API's endpoint that misbehaves as it is told, for testing any client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acytoo.errors import UsageError

if TYPE_CHECKING:
    from acytoo.dialects.base import Dialect
    from acytoo.testing.fakes.endpoint import Script
    from acytoo.testing.fakes.requests import ReceivedRequest
    from acytoo.testing.script.responses import ScriptedResponse


def _words() -> str:
    from acytoo.testing.script.syntax import WORDS

    width = max(len(word.example) for word in WORDS.values())
    return "\n".join(f"  {word.example:{width}}  {word.does}" for word in WORDS.values())


class _WithWords(click.Command):
    """Its help ends with every word there is."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The words, as they are in the code."""
        formatter.write(f"\nFaults, joined by + (rows of docs/faults.md are known by their names too):\n{_words()}\n")


@click.command(cls=_WithWords, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--dialect", default="openai", show_default=True, metavar="NAME", help="The API it speaks, on every path."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="WORDS",
    help="What goes wrong; several are for one request after the other, the last again and again.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port; 0 picks a free one.")
@click.option("--tls", is_flag=True, help="Speak TLS, with an authority made on the spot.")
def fake(dialect: str, faults: tuple[str, ...], port: int, tls: bool) -> None:
    """Serve a chat API on 127.0.0.1 that fails as told; its URL goes to stdout, each request to stderr.

    \b
    Examples:
      acytoo fake --dialect openai --fault reset:17
      acytoo fake --dialect anthropic --fault status:529 --fault ok
      acytoo fake --dialect ollama --fault gzip+cut:1 --port 11434
    """
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(dialect, faults or ("ok",), port, tls))


async def _serve(dialect: str, faults: tuple[str, ...], port: int, tls: bool) -> None:
    from acytoo.testing.conformance.report import dialect_of
    from acytoo.testing.fakes.certificates import Authority
    from acytoo.testing.fakes.endpoint import FakeEndpoint

    spoken = dialect_of(dialect)
    scripts = [_script(words, spoken) for fault in faults for words in _meant(fault)]
    authority = Authority() if tls else None
    endpoint = FakeEndpoint(spoken, *scripts, tls=authority.server_context() if authority else None)
    endpoint.port = port
    stop = asyncio.Event()
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with tempfile.TemporaryDirectory() as folder:
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(endpoint)
            except OSError as error:
                raise UsageError(f"cannot listen on port {port}: {os.strerror(error.errno or 0)}") from error
            if authority:
                click.echo(f"its authority: {authority.write(Path(folder))}", err=True)
            click.echo(endpoint.url)
            await stop.wait()


def _meant(fault: str) -> tuple[str, ...]:
    """The words of a row of the fault table, or the words themselves."""
    from acytoo.testing.conformance.faults import FAULTS

    for row in FAULTS:
        if row.name == fault and "+" not in fault:
            if row.place not in ("", "tls") or any("{" in words for words in row.words):
                raise UsageError(f"{fault} takes more than an endpoint: use acytoo.testing")
            return row.words
    return (fault,)


def _script(words: str, dialect: Dialect) -> Script:
    """What the words stand for; each request it answers is written to stderr."""
    from acytoo.testing.script.syntax import script_of

    answers = script_of(words, dialect)

    def script(received: ReceivedRequest) -> ScriptedResponse:
        click.echo(f"{received.method} {received.target}: {words}", err=True)
        return answers(received)

    return script
