"""Writes a reply to standard output as it comes: text, or JSON lines."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

import click
import msgspec

from acytoo.errors import AcytooError, StatusError
from acytoo.types import Item

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


def _written(text: str) -> None:
    """Print at once. A reader that has gone ends the command with 141, as SIGPIPE would."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise click.exceptions.Exit(141) from error


async def print_text(stream: AsyncGenerator[str, None], collected: list[str]) -> None:
    """Print each text at once, and end with a newline; control characters never reach a terminal."""
    terminal = sys.stdout.isatty()
    try:
        async with aclosing(stream):
            async for text in stream:
                collected.append(text)
                _written(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text) if terminal else text)
    finally:
        if collected and not collected[-1].endswith("\n"):
            _written("\n")


async def print_json(stream: AsyncGenerator[Item, None]) -> None:
    """Print each item as a line of JSON with a `type`; an error is the last line, and raised."""
    async with aclosing(stream):
        try:
            async for item in stream:
                _line({"type": "text", "text": item} if isinstance(item, str) else item)
        except AcytooError as error:
            status = error.status if isinstance(error, StatusError) else None
            _line({"type": "error", "error": type(error).__name__, "status": status, "message": error.message})
            raise


def _line(document: object) -> None:
    _written(msgspec.json.encode(document).decode() + "\n")
