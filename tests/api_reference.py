"""Writes docs/api.md from the docstrings of the public names: `python -m tests.api_reference > docs/api.md`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import acytoo
from acytoo import AcytooError
from acytoo.types import Event

HEADER = """# API reference

Generated from the docstrings by `python -m tests.api_reference > docs/api.md`. Import every name from `acytoo`.

| to | use |
| --- | --- |
| get a provider by its name | [`provider`](#provider) |
| stream text in asyncio | [`create_async_generator`](#asyncgeneratorprovidercreate_async_generator) |
| stream text and [events](#events-and-replies) | [`stream`](#asyncgeneratorproviderstream) |
| get a complete [`Reply`](#reply) | [`reply`](#asyncgeneratorproviderreply) |
| get a complete text | [`create_async`](#asyncgeneratorprovidercreate_async) |
| iterate without asyncio | [`create_completion`](#asyncgeneratorprovidercreate_completion) |
| ask several providers as one | [`Route`](#route), [`Target`](#target) |
| find out whether a provider works | [`check`](#asyncgeneratorprovidercheck) |
"""
LINE = 82
"""Characters of a line of code that the site shows without scrolling."""

SECTIONS = ("Providers", "Requests and settings", "Events and replies", "Errors")


def page() -> str:
    """Return the page: one section for each kind of public name, in the order of the alphabet."""
    found: dict[str, list[str]] = {section: [] for section in SECTIONS}
    for name in sorted(acytoo.__all__, key=str.lower):
        value = getattr(acytoo, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            found[section_of(value)].append("\n".join(entry(name, value)))
    return HEADER + "".join(f"\n## {section}\n\n" + "\n".join(entries) for section, entries in found.items())


def section_of(value: Any) -> str:
    """Return the section of a public class or function."""
    if not inspect.isclass(value) or issubclass(value, acytoo.AsyncGeneratorProvider):
        return "Providers"
    if issubclass(value, AcytooError):
        return "Errors"
    return "Events and replies" if issubclass(value, Event) or value.__name__ == "Reply" else "Requests and settings"


def entry(name: str, value: Any) -> Iterator[str]:
    """Yield the lines for one name: its signature, its docstring, and the same for its own public methods."""
    yield f"### `{name}`\n"
    if inspect.isfunction(value) or not issubclass(value, BaseException):
        yield f"```text\n{name}{signature(value, len(name))}\n```\n"
    yield text(value)
    if not inspect.isclass(value):
        return
    for attribute, member in vars(value).items():
        function = getattr(member, "__func__", getattr(member, "function", member))
        if attribute.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        yield f"#### `{name}.{attribute}`\n\n```text\n{attribute}{signature(function, len(attribute))}\n```\n"
        yield text(function)


def signature(value: Any, indent: int) -> str:
    """Return a signature with short type names, one parameter to a line if it is long with the name before it."""
    try:
        shown = str(inspect.signature(value))
    except (TypeError, ValueError):
        return "(…)"
    shown = re.sub(r"(: |-> )'([^']*)'", r"\1\2", shown)  # annotations are strings: drop their quotes
    shown = re.sub(r"(?:[a-z_]+\.)+(?=[A-Z])", "", shown)
    shown = re.sub(r"<\w+\.?\w* object at 0x\w+>", "…", shown)
    if indent + len(shown) <= LINE:
        return shown
    inner, _, returns = shown[1:].rpartition(")")
    parameters = re.split(r", (?=[*\w]+(?::| =|=|,|$)|/|\*)", inner)
    return "(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + ")" + returns


def text(value: Any) -> str:
    """Return a docstring as Markdown, ending with a blank line."""
    return inspect.cleandoc(value.__doc__ or "") + "\n"


if __name__ == "__main__":
    print(page(), end="")
