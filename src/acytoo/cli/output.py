"""Writes a reply to standard output as it comes: text, or JSON lines."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from acytoo.cli.exit_codes import printable
from acytoo.errors import AcytooError, StatusError
from acytoo.types import Item


def _written(data: str | bytes) -> None:
    """Print at once."""
    if isinstance(data, str):
        sys.stdout.write(data)
    else:
        sys.stdout.buffer.write(data)
    sys.stdout.flush()


async def print_text(stream: AsyncGenerator[str, None], collected: list[str]) -> None:
    """Print each text at once, and end with a newline; control characters never reach a terminal."""
    terminal = sys.stdout.isatty()
    try:
        async with aclosing(stream):
            async for text in stream:
                collected.append(text)
                _written(printable(text) if terminal else text)
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
    """JSON is UTF-8, whatever the locale; of the control characters it escapes all but those from DEL on."""
    line = msgspec.json.encode(document) + b"\n"
    if sys.stdout.isatty():
        line = re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", line.decode()).encode()
    _written(line)
