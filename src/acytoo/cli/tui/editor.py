"""The editor for messages: several lines, history across runs, completion."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings

from acytoo.cli.conversation import COMMANDS, ListModels
from acytoo.cli.options import as_text
from acytoo.cli.state import private_file
from acytoo.errors import UsageError

HISTORY = "history"
_FILE_COMMANDS = ("/image", "/save", "/load")


class Editor:
    """Reads messages from the keyboard."""

    def __init__(self) -> None:
        self._session: Any = PromptSession(
            "> ",
            multiline=True,
            prompt_continuation="… ",
            history=_history(),
            complete_while_typing=False,
            key_bindings=_key_bindings(),
            reserve_space_for_menu=4,
        )

    async def read(self, draft: str, list_models: ListModels) -> str:
        """Return a message, which begins as the draft. Raises EOFError and KeyboardInterrupt."""
        completer = ConversationCompleter(list_models)
        text: str = await self._session.prompt_async(default=draft, completer=completer)
        return as_text(text)


class ConversationCompleter(Completer):  # type: ignore[misc]
    """Completes slash commands, the models of `/model`, and the files of commands that take one.

    The current provider is asked for its models when they are first needed.
    """

    def __init__(self, list_models: ListModels) -> None:
        self._list_models = list_models
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, event: object) -> Iterator[Completion]:
        """Yield the completions of the text before the cursor, other than models."""
        text = document.text_before_cursor
        name, space, argument = text.partition(" ")
        if not name.startswith("/") or "\n" in text:
            return
        if not space:
            for command, entry in COMMANDS.items():
                if command.startswith(name):
                    yield Completion(command, -len(name), display_meta=entry.help)
        elif name in _FILE_COMMANDS:
            yield from self._paths.get_completions(Document(argument), event)

    async def get_completions_async(self, document: Document, event: object) -> AsyncIterator[Completion]:
        """Yield the same, and the models."""
        for completion in self.get_completions(document, event):
            yield completion
        name, space, argument = document.text_before_cursor.partition(" ")
        if name == "/model" and space and "\n" not in argument:
            for model in sorted({*await self._list_models(), *_known_models()}):
                if model.startswith(argument):
                    yield Completion(model, -len(argument))


def _known_models() -> list[str]:
    """Return the addresses of models that are known without asking a server."""
    from acytoo.embedded.weights import KNOWN
    from acytoo.registry import providers

    names = [f"embedded/{name}" for name in KNOWN]
    names += [f"{name}/{provider.environment('model')}" for name, provider in providers().items()]
    return sorted(set(names))


def _history() -> object:
    """Return the history of typed messages, in memory if its file cannot be written."""
    try:
        return FileHistory(str(private_file(HISTORY)))
    except (OSError, UsageError):
        return InMemoryHistory()


def _key_bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")  # type: ignore[untyped-decorator]
    def _(event: Any) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
            buffer.complete_state = None
        elif buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")  # type: ignore[untyped-decorator]
    def _(event: Any) -> None:
        event.current_buffer.newline(copy_margin=False)

    return bindings
