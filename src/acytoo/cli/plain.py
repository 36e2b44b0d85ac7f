"""A conversation on a terminal without the extra `tui`: lines from `input()`, replies as plain text."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import nullcontext

import click

from acytoo.cli.conversation import ListModels
from acytoo.cli.options import as_text
from acytoo.cli.output import print_text
from acytoo.cli.terminal import marked_pastes
from acytoo.types import Item


class PlainScreen:
    """Reads lines, and prints text as it arrives."""

    hint = '""" starts and ends a message of several lines.'

    def __init__(self) -> None:
        self._reads_marked_pastes = _enable_line_editing()

    def read(self, runner: asyncio.Runner, draft: str, list_models: ListModels) -> str:
        """Read a message. A draft is edited in the editor of the user first.

        Raises:
            EOFError: Ctrl-D was pressed.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if draft:
            edited = click.edit(draft)
            if edited is not None:
                return edited.strip("\n")
        return _read_message()

    async def show(self, stream: AsyncGenerator[Item, None], items: list[Item]) -> None:
        """Print a reply as it arrives, and append its items to `items`."""
        with marked_pastes() if self._reads_marked_pastes else nullcontext():
            await print_text(stream, items)


def _read_message() -> str:
    line = _read_line("> ")
    if not line.lstrip().startswith('"""'):
        return line
    lines = [line.lstrip()[3:]]
    while not lines[-1].rstrip().endswith('"""'):
        lines.append(_read_line("… "))
    lines[-1] = lines[-1].rstrip()[:-3]
    return "\n".join(lines).strip("\n")


def _read_line(prompt: str) -> str:
    """Read a line from the keyboard. If standard output is a file, the prompt goes to stderr."""
    if sys.stdout.isatty():
        return as_text(input(prompt))
    click.echo(prompt, nl=False, err=True)
    return as_text(input())


def _enable_line_editing() -> bool:
    """Enable arrow keys and history if the platform has readline. Return whether that knows the marks of a paste."""
    try:
        import readline
    except ImportError:
        return False
    readline.set_auto_history(True)
    return "libedit" not in (readline.__doc__ or "")
