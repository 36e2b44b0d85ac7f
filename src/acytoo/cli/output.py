"""Write a streamed reply to standard output: as text, or as JSON lines."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import click
import msgspec

from acytoo.cli.exit_codes import error_text, replace_controls
from acytoo.cli.terminal import WaitingSign, WordWrapper, silent_keyboard, width
from acytoo.dialects.finish import FINISH_REASONS, nearest_reason
from acytoo.errors import AcytooError, StatusError
from acytoo.types import Finish, Item, Reasoning, Refusal, ToolCall, collect


async def print_text(stream: AsyncGenerator[Item, None], items: list[Item]) -> None:
    """Print each text as it arrives, and end with a newline. Then print the tool calls. Append all items to `items`.

    A refusal is printed as a text. In a terminal, control characters are replaced, words are not broken at its edge,
    keys typed meanwhile are not shown, and a line shows that a reply is awaited. A pipe or file gets the text as it is.
    """
    is_terminal = sys.stdout.isatty()
    if is_terminal:
        await _print_in_terminal(stream, items)
    else:
        await _print_plain(texts_of(stream, items))
    for line in call_lines(items):
        _write((replace_controls(line) if is_terminal else line) + "\n")


async def texts_of(
    stream: AsyncGenerator[Item, None],
    items: list[Item],
    on_reasoning: Callable[[str], None] = lambda text: None,
) -> AsyncGenerator[str, None]:
    """Yield the texts and refusals of a reply, and append all its items to `items`. Reasoning goes to a function.

    Raises NoTextError at the end of a reply that is an image or the like.
    """
    async with aclosing(stream):
        async for item in stream:
            items.append(item)
            if isinstance(item, (str, Refusal)):
                yield item if isinstance(item, str) else item.text
            elif isinstance(item, Reasoning):
                on_reasoning(item.text)
    if not any(isinstance(item, (str, Refusal, ToolCall)) for item in items):
        from acytoo.dialects.opaque import no_text_error

        if (error := no_text_error(items)) is not None:
            raise error


def reply_text(items: list[Item]) -> str:
    """Return the text of a reply, or of a refusal."""
    return "".join(item if isinstance(item, str) else item.text for item in items if isinstance(item, (str, Refusal)))


def reasoning_text(items: list[Item]) -> str:
    """Return the reasoning of a reply, with an empty line between two blocks."""
    texts: dict[int, str] = {}
    for item in items:
        if isinstance(item, Reasoning):
            texts[item.index] = texts.get(item.index, "") + item.text
    return "\n\n".join(text for text in texts.values() if text)


def call_lines(items: list[Item]) -> list[str]:
    """Return a line for each tool call of a reply."""
    calls = collect([item for item in items if isinstance(item, ToolCall)]).tool_calls
    return [f"{call['function']['name']}({call['function']['arguments']})" for call in calls]


def print_ending(items: list[Item]) -> None:
    """Print on stderr why a complete reply ended before the model was done. If it was, print nothing."""
    finish = next((item for item in items if isinstance(item, Finish)), Finish())
    if note := _ENDINGS.get(nearest_reason(finish, FINISH_REASONS)):
        click.echo(f"({note})", err=True)


_ENDINGS = {
    "length": "the reply reached the limit of tokens: -o max_tokens=N sets another",
    "content_filter": "a content filter ended the reply",
}


async def _print_in_terminal(stream: AsyncGenerator[Item, None], items: list[Item]) -> None:
    wrapper, waiting = WordWrapper(width()), WaitingSign()
    last = "\n"
    with silent_keyboard():
        try:
            async with aclosing(texts_of(stream, items, lambda text: waiting.show_thinking())) as texts:
                async for text in texts:
                    waiting.clear()
                    last = text
                    _write(wrapper.feed(replace_controls(text)))
        finally:
            waiting.clear()
            if not last.endswith("\n"):
                _write("\n")


async def _print_plain(stream: AsyncGenerator[str, None]) -> None:
    last = "\n"
    try:
        async with aclosing(stream):
            async for text in stream:
                last = text
                _write(text)
    finally:
        if not last.endswith("\n"):
            _write("\n")


async def print_json(stream: AsyncGenerator[Item, None], items: list[Item]) -> None:
    """Print each item as a JSON object with a `type`, one per line, and append it to `items`.

    An error is printed as the last line, then raised.
    """
    async with aclosing(stream):
        try:
            async for item in stream:
                items.append(item)
                _write_json({"type": "text", "text": item} if isinstance(item, str) else item)
        except AcytooError as error:
            status, message = (
                (error.status, error.message) if isinstance(error, StatusError) else (None, error_text(error))
            )
            _write_json({"type": "error", "error": type(error).__name__, "status": status, "message": message})
            raise


def _write_json(document: object) -> None:
    """Write a line of JSON as UTF-8, whatever the locale."""
    line = msgspec.json.encode(document) + b"\n"
    if sys.stdout.isatty():
        # JSON escapes C0 control characters. DEL and C1, which terminals also obey, it does not.
        line = re.sub("[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", line.decode()).encode()
    _write(line)


def _write(data: str | bytes) -> None:
    if isinstance(data, str):
        sys.stdout.write(data)
    else:
        sys.stdout.buffer.write(data)
    sys.stdout.flush()
