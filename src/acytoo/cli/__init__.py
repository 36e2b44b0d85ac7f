"""The `acytoo` command: find the command to run, or take the arguments as a prompt.

Every module in `commands/` is one command. These modules import only click and light modules of ours at the top, and
everything else inside their functions, so that `acytoo --help` starts as fast as a bare click program.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from typing import Any

import click

from acytoo._version import __version__
from acytoo.cli import commands

_OWN_OPTIONS = ("--help", "-h", "--version")

_EXAMPLES = """
Examples:
  acytoo "Hello, how are you?"          stream a reply from the built-in model
  cat notes.txt | acytoo "Summarise:"   append piped text to the prompt
  acytoo -f notes.txt "Summarise:"      append a file; -a attaches an image
  acytoo chat                           hold a conversation; Ctrl-C stops a reply, Ctrl-D ends
  acytoo -m openai/gpt-5-mini "Hi"      use another provider, with the key in OPENAI_API_KEY
  acytoo serve                          start a server for any chat client, on port 8000

The built-in model needs no account, but it is tiny and often wrong. For good replies
use another: -m ollama/llama3.2 on this machine, or -m PROVIDER/MODEL with a key.
"""


class CommandGroup(click.Group):
    """The commands of `commands/` by name. Any other first argument is a prompt for `chat`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in alphabetical order."""
        return _command_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command: the object that is named like its module."""
        if cmd_name not in _command_names():
            return None
        command: click.Command = getattr(importlib.import_module(f"{commands.__name__}.{cmd_name}"), cmd_name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert `chat` before a prompt, before an option of `chat`, and if there are no arguments but a pipe.

        Without arguments in a terminal, click shows the help. Shell completion (resilient parsing) without arguments
        completes command names.
        """
        if not args and not ctx.resilient_parsing and not _stdin_is_terminal():
            args = ["chat"]
        elif args and args[0] not in (*_OWN_OPTIONS, *_command_names()):
            _reject_misspelled_command(args)
            args = ["chat", *args]
        return super().parse_args(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments. `--help` and `--version` print here, not in `invoke`."""
        with _exit_on_broken_pipe():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _exit_on_broken_pipe():
            return super().invoke(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, without click's re-wrapping."""
        formatter.write(_EXAMPLES)


@functools.cache
def _command_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))


@contextlib.contextmanager
def _exit_on_broken_pipe() -> Iterator[None]:
    """Exit with 141 if the reader of our output is gone, as a process killed by SIGPIPE does. Click exits with 1."""
    try:
        yield
    except BrokenPipeError as error:
        raise click.exceptions.Exit(141) from error


def _reject_misspelled_command(args: list[str]) -> None:
    near = difflib.get_close_matches(args[0], _command_names(), 1, 0.75)
    if len(args) == 1 and near:
        raise click.UsageError(
            f"unknown command {args[0]!r}: did you mean {near[0]!r}? To send it as a prompt: acytoo chat {args[0]}"
        )


def _stdin_is_terminal() -> bool:
    return sys.stdin is None or sys.stdin.isatty()


# Commands inherit `help_option_names` from this group.
@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="acytoo %(version)s")
def cli() -> None:
    """Stream replies from any chat API or from the built-in model, and serve them to any chat client."""


def main() -> None:
    """Run the `acytoo` command and exit: 0 success, 1 failure, 2 wrong usage, 130 interrupted, 141 broken pipe."""
    from acytoo.cli.exit_codes import run

    run(cli)
