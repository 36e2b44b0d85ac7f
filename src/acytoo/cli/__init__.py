"""The command line: each command is imported when it is called."""

from __future__ import annotations

import difflib
import importlib

import click

_COMMANDS = {
    "chat": "acytoo.cli.chat:chat",
    "serve": "acytoo.cli.serve:serve",
    "check": "acytoo.cli.check:check",
    "providers": "acytoo.cli.providers:providers",
    "keys": "acytoo.cli.providers:keys",
    "pull": "acytoo.cli.pull:pull",
    "fake": "acytoo.cli.fake:fake",
    "completion": "acytoo.cli.completion:completion",
}

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
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `chat` before a prompt or an option of its own; without any argument show the help, or read a pipe."""
        if not args and not _stdin_is_terminal():
            args = ["chat"]
        elif args and args[0] not in ("--help", "-h", "--version", *_COMMANDS):
            _refuse_misspelled(args)
            args = ["chat", *args]
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples teach faster than a list of options."""
        formatter.write(_EXAMPLES.replace("\b\n", ""))


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
    from acytoo.cli.exits import run

    run(cli)
