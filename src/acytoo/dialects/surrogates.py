"""Lone surrogates in streamed JSON: characters outside the BMP that a server cut in two.

Some servers cut text by UTF-16 units. A character such as an emoji then arrives as `"\\ud83d"` at the end of one record
and `"\\ude00"` at the beginning of a later one. Each is valid JSON but not valid UTF-8, so msgspec refuses it. A reader
decodes such a record with the standard library, and from then on joins the texts of its items. Nearly all streams have
no such record, and for them this costs nothing: it is msgspec's refusal that detects the first one.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from acytoo.types import Event, Finish, Item, Reasoning, Refusal, ToolCall

_FIELDS: dict[type, str] = {Reasoning: "text", Refusal: "text", ToolCall: "arguments"}
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}()|.)", re.DOTALL
)


class SurrogateJoiner:
    """A joiner of surrogate pairs that are split over records.

    A reader has one once it has decoded a record that msgspec refused. From then on it passes all its items through
    `join`, and appends those of `flush` when the reply is complete. A lone surrogate becomes U+FFFD.
    Source: elizaOS/eliza issue 30904, elie222/rakazo issue 416 (servers that cut text by UTF-16 units).
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[tuple[type, int], Item] = {}

    def join(self, items: list[Item]) -> list[Item]:
        """Return the items with complete characters. A high surrogate at the end of a text waits for the next text."""
        joined: list[Item] = []
        for item in items:
            if isinstance(item, Finish):
                joined += self.flush()
            field = _FIELDS.get(type(item), "")
            if field or isinstance(item, str):
                key = (type(item), getattr(item, "index", 0) if field else 0)
                text = _text(self._held.pop(key, ""), field) + _text(item, field)
                if "\ud800" <= text[-1:] <= "\udbff":
                    self._held[key] = _with_text(item, field, text[-1])
                    text = text[:-1]
                    if not text and (not field or not _has_other_fields(item, field)):
                        continue
                item = _with_text(item, field, text)
            joined.append(_without_surrogates(item))
        return joined

    def flush(self) -> list[Item]:
        """Return an item with U+FFFD for every surrogate that is still waiting."""
        held, self._held = self._held, {}
        return [_without_surrogates(item) for item in held.values()]


def replace_lone_escapes(document: bytes) -> bytes:
    """Return the JSON document with U+FFFD for every escaped lone surrogate."""
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match.group(1) is not None else match.group(), document)


def _text(item: Item, field: str) -> str:
    return item if isinstance(item, str) else getattr(item, field)


def _with_text(item: Item, field: str, text: str) -> Item:
    return text if isinstance(item, str) else msgspec.structs.replace(item, **{field: text})


def _has_other_fields(item: Item, field: str) -> bool:
    return any(getattr(item, name) for name in item.__struct_fields__ if name not in (field, "index"))  # type: ignore[union-attr]


def replace_surrogates(text: str) -> str:
    """Return the text with U+FFFD for every lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text  # without that codec, which cannot be imported if the text reports too many open files


def _without_surrogates(value: Any) -> Any:
    """Return the value with U+FFFD for every lone surrogate in any of its texts."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    if isinstance(value, Event):
        return type(value)(*[_without_surrogates(getattr(value, name)) for name in value.__struct_fields__])
    return value
