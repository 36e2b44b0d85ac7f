"""Writes a reply to standard output as it comes: text, or JSON lines."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from acytoo.errors import AcytooError, StatusError
from acytoo.types import Item

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


async def print_text(stream: AsyncGenerator[str, None], collected: list[str]) -> None:
    """Print each text at once, and end with a newline; control characters never reach a terminal."""
    write, flush = sys.stdout.write, sys.stdout.flush
    terminal = sys.stdout.isatty()
    try:
        async with aclosing(stream):
            async for text in stream:
                collected.append(text)
                write(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text) if terminal else text)
                flush()
    finally:
        if collected and not collected[-1].endswith("\n"):
            write("\n")
            flush()


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
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    sys.stdout.flush()
