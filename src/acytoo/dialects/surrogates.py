"""Characters cut into their two UTF-16 halves, joined again."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from acytoo.types import Event, Finish, Item, Reasoning, Refusal, ToolCall

T = TypeVar("T")

_FIELDS: dict[type, str] = {Reasoning: "text", Refusal: "text", ToolCall: "arguments"}
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}()|.)", re.DOTALL
)


class SurrogateJoiner:
    """Joins a character of which one record's JSON text ends with `\\ud83d` and a later one's begins with `\\ude00`.

    A reader calls `decode` for a record that msgspec refused; once that succeeded (`seen`), it passes all its items
    through `join`, and adds those of `flush` where the reply is complete. A half left alone becomes U+FFFD.
    Source: elizaOS/eliza issue 30904, elie222/rakazo issue 416 (servers that cut text by UTF-16 units).
    """

    __slots__ = ("_held", "seen")

    def __init__(self) -> None:
        self.seen = False
        self._held: dict[tuple[type, int], Item] = {}

    def decode(self, record: bytes, wanted: type[T]) -> T:
        """The record with its halves as they are. Raises msgspec.DecodeError where it is wrong in another way."""
        try:
            document = json.loads(record.decode())
        except ValueError as error:
            raise msgspec.DecodeError(str(error)) from error
        try:
            decoded = msgspec.convert(document, wanted)
        except UnicodeEncodeError as error:
            raise msgspec.DecodeError(f"half a character where it cannot stand: {error}") from error
        self.seen = True
        return decoded

    def join(self, items: list[Item]) -> list[Item]:
        """The items with whole characters only; a half at the end of a text is held until its like comes."""
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
                    if not text and (not field or not _says_more(item, field)):
                        continue
                item = _with_text(item, field, text)
            joined.append(_whole(item))
        return joined

    def flush(self) -> list[Item]:
        """U+FFFD for every half whose other did not come."""
        held, self._held = self._held, {}
        return [_whole(item) for item in held.values()]


def replace_lone_escapes(document: bytes) -> bytes:
    """The JSON document with U+FFFD for every escaped half that stands alone."""
    return _ESCAPE.sub(lambda found: rb"\ufffd" if found.group(1) is not None else found.group(), document)


def _text(item: Item, field: str) -> str:
    return item if isinstance(item, str) else getattr(item, field)


def _with_text(item: Item, field: str, text: str) -> Item:
    return text if isinstance(item, str) else msgspec.structs.replace(item, **{field: text})


def _says_more(item: Item, field: str) -> bool:
    return any(getattr(item, name) for name in item.__struct_fields__ if name not in (field, "index"))  # type: ignore[union-attr]


def replace_surrogates(text: str) -> str:
    """The text with U+FFFD for every half in it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _whole(value: Any) -> Any:
    """The value with U+FFFD for every half in any text of it."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(name): _whole(item) for name, item in value.items()}
    if isinstance(value, Event):
        return type(value)(*[_whole(getattr(value, name)) for name in value.__struct_fields__])
    return value
