"""A conversation in the terminal: history, several lines, Ctrl-C stops a reply but not the program."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.cli.exit_codes import complain
from acytoo.cli.output import print_text
from acytoo.errors import AcytooError

_HELP = '''Write a message and press Enter. """ begins and ends a message of several lines.
/new forgets the conversation, /undo takes the last turn back, /help shows this, /exit or Ctrl-D ends.
Ctrl-C stops a reply; what was said until then stays in the conversation.'''


class Conversation:
    """Messages so far, and the loop that adds to them."""

    def __init__(
        self, provider: AsyncGeneratorProvider, messages: list[dict[str, Any]], options: dict[str, Any]
    ) -> None:
        self._provider = provider
        self._beginning = messages
        self._messages = list(messages)
        self._options = options

    def run(self) -> None:
        """Until Ctrl-D or /exit."""
        _use_line_editing()
        click.echo("A conversation: /help for help, Ctrl-D to end.", err=True)
        with asyncio.Runner() as runner:
            while True:
                try:
                    message = _read_message()
                except EOFError:
                    click.echo(err=True)
                    return
                except KeyboardInterrupt:
                    click.echo("\n(Ctrl-D or /exit ends the conversation)", err=True)
                    continue
                if message.strip() in ("/exit", "/quit"):
                    return
                if message.strip() and not self._command(message.strip()):
                    self._turn(runner, message)

    def _command(self, message: str) -> bool:
        if message == "/new":
            self._messages = list(self._beginning)
            click.echo("(a new conversation)", err=True)
        elif message == "/undo":
            while len(self._messages) > len(self._beginning) and self._messages.pop()["role"] != "user":
                pass
            click.echo(f"({len(self._messages) - len(self._beginning)} messages left)", err=True)
        elif message.startswith("/") and " " not in message:
            click.echo(_HELP, err=True)
        else:
            return False
        return True

    def _turn(self, runner: asyncio.Runner, message: str) -> None:
        """One reply. What came of it stays in the history; a turn that brought nothing is taken back."""
        self._messages.append({"role": "user", "content": message})
        texts: list[str] = []
        try:
            stream = self._provider.create_async_generator(self._provider.model, self._messages, **self._options)
            runner.run(print_text(stream, texts))
        except KeyboardInterrupt:
            click.echo("(stopped)", err=True)
        except AcytooError as error:
            complain(str(error))
        if texts:
            self._messages.append({"role": "assistant", "content": "".join(texts)})
        else:
            self._messages.pop()


def _read_message() -> str:
    line = _asked("> ")
    if not line.lstrip().startswith('"""'):
        return line
    lines = [line.lstrip()[3:]]
    while not lines[-1].rstrip().endswith('"""'):
        lines.append(_asked("… "))
    lines[-1] = lines[-1].rstrip()[:-3]
    return "\n".join(lines).strip("\n")


def _asked(prompt: str) -> str:
    """A line from the keyboard; the prompt never goes into a file that takes the replies."""
    if sys.stdout.isatty():
        return input(prompt)
    click.echo(prompt, nl=False, err=True)
    return input()


def _use_line_editing() -> None:
    """Arrow keys and history, where the platform has readline."""
    try:
        import readline
    except ImportError:
        return
    readline.set_auto_history(True)
