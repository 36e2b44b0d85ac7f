"""A conversation in the terminal: history, commands, and Ctrl-C to stop a reply."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.cli.exit_codes import error_text, print_error, replace_controls
from acytoo.cli.options import as_text
from acytoo.cli.output import print_text
from acytoo.errors import AcytooError

_HELP = '''Type a message and press Enter. """ starts and ends a message of several lines.
/new    start a new conversation
/undo   remove the last message and its reply
/help   show this help
/exit   leave (or Ctrl-D)
Ctrl-C stops a reply. The part that was received stays in the conversation.'''


class Conversation:
    """A conversation with a provider. Every turn sends all messages so far."""

    def __init__(
        self, provider: AsyncGeneratorProvider, messages: list[dict[str, Any]], options: dict[str, Any]
    ) -> None:
        self._provider = provider
        self._initial_messages = messages
        self._messages = list(messages)
        self._options = options

    def run(self) -> None:
        """Read messages and print replies until Ctrl-D or /exit."""
        _enable_line_editing()
        click.echo("Type a message. /help shows the commands, Ctrl-D ends.", err=True)
        with asyncio.Runner() as runner:
            while True:
                try:
                    message = _read_message()
                except EOFError:
                    click.echo(err=True)
                    return
                except KeyboardInterrupt:
                    click.echo("\n(to end the conversation: Ctrl-D or /exit)", err=True)
                    continue
                if message.strip() in ("/exit", "/quit"):
                    return
                if message.strip() and not self._run_command(message.strip()):
                    self._take_turn(runner, message)

    def _run_command(self, message: str) -> bool:
        """Run a slash command. Return whether the message was one, known or unknown."""
        if message == "/new":
            self._messages = list(self._initial_messages)
            click.echo("(new conversation)", err=True)
        elif message == "/undo":
            while len(self._messages) > len(self._initial_messages) and self._messages.pop()["role"] != "user":
                pass
            click.echo(f"({len(self._messages) - len(self._initial_messages)} messages left)", err=True)
        elif message == "/help":
            click.echo(_HELP, err=True)
        elif message.startswith("/") and " " not in message:
            click.echo(f"unknown command {replace_controls(message)}; /help shows the commands", err=True)
        else:
            return False
        return True

    def _take_turn(self, runner: asyncio.Runner, message: str) -> None:
        """Send the message and print the reply.

        The part of an interrupted reply that was received stays in the history. If nothing was received, the message
        is removed again, so that roles alternate.
        """
        self._messages.append({"role": "user", "content": message})
        texts: list[str] = []
        try:
            runner.run(print_text(self._provider.stream(self._messages, **self._options), texts))
        except KeyboardInterrupt:
            click.echo("(stopped)", err=True)
        except AcytooError as error:
            print_error(error_text(error))
        if texts:
            self._messages.append({"role": "assistant", "content": "".join(texts)})
        else:
            self._messages.pop()


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


def _enable_line_editing() -> None:
    """Enable arrow keys and history if the platform has readline."""
    try:
        import readline
    except ImportError:
        return
    readline.set_auto_history(True)
