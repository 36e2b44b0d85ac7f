"""A conversation: its messages, its commands, and Ctrl-C to stop a reply. A `Screen` reads and shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import click

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.cli.attachments import image_part, message_content
from acytoo.cli.exit_codes import error_text, print_error, replace_controls
from acytoo.cli.output import print_ending, reasoning_text, reply_text
from acytoo.cli.terminal import WordWrapper, width
from acytoo.errors import AcytooError, UsageError
from acytoo.types import Item, Usage

if TYPE_CHECKING:
    from acytoo.cli.conversation_log import Recorder


ListModels: TypeAlias = Callable[[], Awaitable[list[str]]]
"""Returns the models that can be asked, as `/model` takes them."""


class Screen(Protocol):
    """What reads messages from the keyboard and shows replies."""

    hint: str
    """How to write a message of several lines."""

    def read(self, runner: asyncio.Runner, draft: str, list_models: ListModels) -> str:
        """Read a message, which begins as the draft. Raises EOFError after Ctrl-D, KeyboardInterrupt after Ctrl-C."""

    async def show(self, stream: AsyncGenerator[Item, None], items: list[Item]) -> None:
        """Show a reply as it arrives, and append its items to `items`."""


class Command(NamedTuple):
    """A slash command: what its argument is called, what it does, and the function that does it."""

    argument: str
    help: str
    run: Callable[[Conversation, str], None]

    @property
    def needs_argument(self) -> bool:
        """Whether the command is an error without its argument."""
        return bool(self.argument) and not self.argument.startswith("[")


class Conversation:
    """A conversation with a provider. Every turn sends all messages so far.

    `model` is the current model as `-m` takes it, and `provider_for` returns the provider of another one.
    `attachments` are content parts of the first message.
    """

    def __init__(
        self,
        provider: AsyncGeneratorProvider,
        messages: list[dict[str, Any]],
        options: dict[str, Any],
        *,
        provider_for: Callable[[str], AsyncGeneratorProvider],
        model: str = "",
        recorder: Recorder | None = None,
        attachments: list[dict[str, Any]] | None = None,
    ) -> None:
        self.model = model
        self._provider = provider
        self._provider_for = provider_for
        self._messages = list(messages)
        self._options = options
        self._recorder = recorder
        self._attachments = list(attachments or [])
        self._failed: dict[str, Any] | None = None
        """The last message, if it got no reply and is not in the conversation."""
        self._draft = ""
        self._to_send: dict[str, Any] | None = None
        self._usages: list[Usage] = []
        self._reasoning = ""
        """The reasoning of the last reply."""
        self._listed: tuple[AsyncGeneratorProvider, list[str]] | None = None
        """The provider that was asked for its models, and their names."""
        self._is_over = False

    def run(self, screen: Screen) -> None:
        """Read messages and show replies until Ctrl-D or /exit."""
        self._hint = screen.hint
        click.echo("Type a message. /help shows the commands, Ctrl-D ends.", err=True)
        with asyncio.Runner() as runner:
            while not self._is_over:
                draft, self._draft = self._draft, ""
                try:
                    message = screen.read(runner, draft, self._list_models)
                except EOFError:
                    click.echo(err=True)
                    return
                except KeyboardInterrupt:
                    click.echo("\n(to end the conversation: Ctrl-D or /exit)", err=True)
                    continue
                if message.strip() and not self._run_command(message.strip()):
                    self._to_send = {"role": "user", "content": self._content(message)}
                if self._to_send is not None:
                    message_to_send, self._to_send = self._to_send, None
                    self._take_turn(runner, screen, message_to_send)

    def _run_command(self, message: str) -> bool:
        """Run a slash command. Return whether the message was one, known or unknown."""
        name, _, argument = message.partition(" ")
        command = COMMANDS.get(name)
        if command is not None:
            if argument and not command.argument:
                print_error(f"{name} takes no argument")
                return True
            if command.needs_argument and not argument.strip():
                print_error(f"{name} needs an argument: {name} {command.argument}")
                return True
            try:
                command.run(self, argument.strip())
            except AcytooError as error:
                print_error(error_text(error))
            return True
        if message.startswith("/") and not any(space in message for space in " \n"):
            click.echo(f"unknown command {replace_controls(message)}; /help shows the commands", err=True)
            return True
        return False

    def _content(self, message: str) -> str | list[dict[str, Any]]:
        attachments, self._attachments = self._attachments, []
        return message_content(message, attachments)

    def _take_turn(self, runner: asyncio.Runner, screen: Screen, message: dict[str, Any]) -> None:
        """Send the message and show the reply.

        The part of an interrupted reply that was received stays in the history. If nothing was received, the message
        is removed again, so that roles alternate.
        """
        self._messages.append(message)
        items: list[Item] = []
        try:
            runner.run(screen.show(self._provider.stream(self._messages, **self._options), items))
        except KeyboardInterrupt:
            click.echo("(stopped)", err=True)
        except AcytooError as error:
            print_error(error_text(error))
        print_ending(items)
        usages = [item for item in items if isinstance(item, Usage)]
        self._usages += usages[-1:]
        self._reasoning = reasoning_text(items)
        if text := reply_text(items):
            self._messages.append({"role": "assistant", "content": text})
            self._failed = None
            if self._recorder is not None:
                self._recorder.record(self.model, self._messages)
        else:
            self._failed = self._messages.pop()

    def _take_back(self) -> dict[str, Any] | None:
        """Remove the last message of the user and all after it. Return it, or None if there is none."""
        if self._failed is not None:
            message, self._failed = self._failed, None
            return message
        for place in range(len(self._messages) - 1, -1, -1):
            if self._messages[place]["role"] == "user":
                message = self._messages[place]
                del self._messages[place:]
                return message
        return None

    def _help(self, argument: str) -> None:
        usages = {name: f"{name} {command.argument}".rstrip() for name, command in COMMANDS.items()}
        width = max(map(len, usages.values()))
        lines = [f"{usages[name]:{width}}  {command.help}" for name, command in COMMANDS.items()]
        ending = "Ctrl-C stops a reply. The part that was received stays in the conversation."
        click.echo("\n".join([f"Type a message and press Enter. {self._hint}", *lines, ending]), err=True)

    def _new(self, argument: str) -> None:
        self._begin([message for message in self._messages if message["role"] == "system"])
        click.echo("(new conversation)", err=True)

    def _begin(self, messages: list[dict[str, Any]]) -> None:
        """Begin another conversation, which has these messages already."""
        self._messages = messages
        self._attachments, self._failed, self._usages, self._reasoning = [], None, [], ""
        if self._recorder is not None:
            self._recorder.number = None

    def _undo(self, argument: str) -> None:
        self._take_back()
        click.echo(f"({sum(message['role'] != 'system' for message in self._messages)} messages left)", err=True)

    def _retry(self, argument: str) -> None:
        self._to_send = self._take_back()
        if self._to_send is None:
            raise UsageError("there is no message to send again")

    def _edit(self, argument: str) -> None:
        message = self._take_back()
        if message is None:
            raise UsageError("there is no message to edit")
        content = message["content"]
        if isinstance(content, list):
            self._attachments = [part for part in content if part["type"] != "text"]
            content = "\n\n".join(part["text"] for part in content if part["type"] == "text")
        self._draft = content

    def _set_model(self, model: str) -> None:
        if model:
            if provider_of(self.model).isidentifier() and not provider_of(model):
                model = f"{provider_of(self.model)}/{model}"
            self._provider, self.model = self._provider_for(model), model
        click.echo(f"(model: {replace_controls(self.model) or 'the default'})", err=True)

    def _set_system(self, text: str) -> None:
        self._messages = [message for message in self._messages if message["role"] != "system"]
        if text:
            self._messages.insert(0, {"role": "system", "content": text})
        click.echo(f"({'system prompt set' if text else 'no system prompt'})", err=True)

    def _save(self, path: str) -> None:
        from acytoo.cli.conversation_file import save

        save(Path(path).expanduser(), self._messages, self.model)
        click.echo(f"({len(self._messages)} messages saved)", err=True)

    def _load(self, path: str) -> None:
        from acytoo.cli.conversation_file import load

        self._begin(load(Path(path).expanduser()))
        click.echo(f"({len(self._messages)} messages loaded)", err=True)

    def _attach_image(self, path: str) -> None:
        self._attachments.append(image_part(path))
        click.echo("(the next message gets the image)", err=True)

    def _print_usage(self, argument: str) -> None:
        if not self._usages:
            click.echo("(no usage reported)", err=True)
            return
        for name, usages in (("last reply", self._usages[-1:]), ("conversation", self._usages)):
            sent = sum(usage.input_tokens for usage in usages)
            received = sum(usage.output_tokens for usage in usages)
            click.echo(f"{name}: {sent:,} tokens sent, {received:,} received", err=True)

    def _print_reasoning(self, argument: str) -> None:
        text = replace_controls(self._reasoning) or "(the last reply has no reasoning)"
        click.echo(WordWrapper(width()).feed(text), err=True)

    async def _list_models(self) -> list[str]:
        """Return the models that the current provider lists, none if it does not. It is asked once."""
        if self._listed is None or self._listed[0] is not self._provider:
            try:
                names = await self._provider.list_models()
            except AcytooError:
                names = []
            own = provider_of(self.model)
            self._listed = self._provider, [f"{own}/{name}" if own.isidentifier() else name for name in names]
        return self._listed[1]

    def _exit(self, argument: str) -> None:
        self._is_over = True


COMMANDS = {
    "/new": Command("", "start a new conversation", Conversation._new),
    "/undo": Command("", "remove the last message and its reply", Conversation._undo),
    "/retry": Command("", "send the last message again", Conversation._retry),
    "/edit": Command("", "edit the last message and send it again", Conversation._edit),
    "/model": Command("[NAME]", "ask another model, as -m takes it; show the current one", Conversation._set_model),
    "/system": Command("[TEXT]", "set the system prompt, or remove it", Conversation._set_system),
    "/image": Command("FILE", "attach an image to the next message", Conversation._attach_image),
    "/save": Command("FILE", "save the conversation as JSON", Conversation._save),
    "/load": Command("FILE", "continue a saved conversation", Conversation._load),
    "/usage": Command("", "show the tokens used", Conversation._print_usage),
    "/reasoning": Command("", "show the reasoning of the last reply", Conversation._print_reasoning),
    "/help": Command("", "show this help", Conversation._help),
    "/exit": Command("", "leave (or Ctrl-D)", Conversation._exit),
    "/quit": Command("", "leave", Conversation._exit),
}
"""The commands in the order of the help."""


def provider_of(address: str) -> str:
    """Return the provider that an address of `-m` names, a URL or a route as it is, and "" for a model alone."""
    from acytoo.registry import providers

    if "://" in address or "|" in address:
        return address
    name = address.partition("/")[0].lower()
    return name if name in providers() else ""
