"""The command line: each command is imported when it is called."""

from __future__ import annotations

import contextlib
import difflib
import importlib
from collections.abc import Iterator
from typing import Any

import click

_COMMANDS = {
    "chat": ("acytoo.cli.chat:chat", "Stream the reply to a prompt, or hold a conversation."),
    "serve": ("acytoo.cli.serve:serve", "Serve the built-in model, or any provider, to every client."),
    "check": ("acytoo.cli.check:check", "Ask an endpoint for a few tokens: does it work?"),
    "providers": ("acytoo.cli.providers:providers", "List the providers, and whether their keys are there."),
    "keys": ("acytoo.cli.providers:keys", "Keep keys in the system's keyring."),
    "pull": ("acytoo.cli.pull:pull", "Fetch the built-in model's weights."),
    "fake": ("acytoo.cli.fake:fake", "Serve a chat API that fails as told, to test clients."),
    "completion": ("acytoo.cli.completion:completion", "Print the completion script for a shell."),
}
"""Where each command is, and what is said of it in the list: its module is imported only to run it."""

_EXAMPLES = """
\b
Examples:
  acytoo "Hello, how are you?"          a streamed reply from the built-in model
  cat notes.txt | acytoo "Summarise:"   the pipe follows the prompt
  acytoo chat                           a conversation; Ctrl-C stops a reply, Ctrl-D ends
  acytoo -m openai/gpt-5-mini "Hi"      another provider; its key from OPENAI_API_KEY
  acytoo serve                          a server for every chat client, on port 8000
"""


class Commands(click.Group):
    """Commands by name; anything else is a prompt, and `acytoo chat` is meant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order they are shown."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `chat` before a prompt or an option of its own; without any argument show the help, or read a pipe.

        A shell that asks what could come next (resilient parsing) is told the commands.
        """
        if not args and not ctx.resilient_parsing and not _stdin_is_terminal():
            args = ["chat"]
        elif args and args[0] not in ("--help", "-h", "--version", *_COMMANDS):
            _refuse_misspelled(args)
            args = ["chat", *args]
        return super().parse_args(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the arguments; `--help` and `--version` are answered here."""
        with _reader_may_go():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _reader_may_go():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, none of them imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in _COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples teach faster than a list of options."""
        formatter.write(_EXAMPLES.replace("\b\n", ""))


@contextlib.contextmanager
def _reader_may_go() -> Iterator[None]:
    """A reader of our output that has gone ends us with 141, as SIGPIPE would; click's own answer is 1."""
    try:
        yield
    except BrokenPipeError as error:
        raise click.exceptions.Exit(141) from error


def _refuse_misspelled(args: list[str]) -> None:
    near = difflib.get_close_matches(args[0], _COMMANDS, 1, 0.75)
    if len(args) == 1 and near:
        raise click.UsageError(
            f"no command is called {args[0]!r}; did you mean {near[0]!r}? As a prompt: acytoo chat {args[0]}"
        )


def _stdin_is_terminal() -> bool:
    import sys

    return sys.stdin is None or sys.stdin.isatty()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="acytoo", message="acytoo %(version)s")
def cli() -> None:
    """Stream replies from any chat API, or from the model built in; serve them to any client."""


def main() -> None:
    """The `acytoo` command. Exits with 0, 1 (it failed), 2 (wrong usage), 130 (interrupted) or 141 (broken pipe)."""
    from acytoo.cli.exit_codes import run

    run(cli)
