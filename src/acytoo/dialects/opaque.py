"""Parts of a reply that only one API knows, as parts of the answer: images, audio, calls of a server's own tools."""

from __future__ import annotations

from collections.abc import Iterable

from acytoo import dialects
from acytoo.dialects.base import Dialect
from acytoo.dialects.services import api_of
from acytoo.errors import NoTextError, UsageError
from acytoo.secret import truncate
from acytoo.types import Item, OpaquePart, Refusal, ToolCall, collect


def no_text_error(items: Iterable[Item], hint: str | None = None) -> NoTextError | None:
    """Return the error for a reply without text whose answer is in other parts, None if it has none at all."""
    parts = [(part, kind) for part in items if isinstance(part, OpaquePart) and (kind := _kind_of(part))]
    if not parts:
        return None
    kinds = list(dict.fromkeys(kind for _, kind in parts))
    turn_parts = collect(part for part, _ in parts).turn_parts
    return NoTextError(kinds, turn_parts) if hint is None else NoTextError(kinds, turn_parts, hint)


class TranslatedAnswer:
    """What a client gets of the answer in a reply that is translated to its API.

    An API without a field for a part leaves it out. If nothing else was in the reply, the client would take an empty
    reply for a complete one.
    """

    __slots__ = ("_api", "_is_empty", "_kinds")

    def __init__(self, api: Dialect) -> None:
        self._api = api
        self._is_empty = True
        self._kinds: dict[str, None] = {}  # of the parts that are left out

    def add(self, items: Iterable[Item]) -> bool:
        """Note items. Return whether the client gets any part of the answer, after which no more have to be noted."""
        for item in items:
            if isinstance(item, str):
                kind, is_written = "text", True
            elif isinstance(item, Refusal):
                kind, is_written = item.text, True
            elif isinstance(item, ToolCall):
                kind, is_written = "tool call", "tool_calls" in self._api.capabilities.items
            elif isinstance(item, OpaquePart):
                is_own = self._api.capabilities.own_parts and api_of(item.source) == self._api.name
                kind, is_written = _kind_of(item), is_own
            else:
                continue
            if kind and is_written:
                self._is_empty = False
                return True
            if kind and len(self._kinds) < _MAX_KINDS:
                self._kinds[truncate(kind, _LONGEST_KIND)] = None
        return False

    def error(self) -> NoTextError | None:
        """Return the error if the client gets nothing of the complete reply, else None."""
        if not self._is_empty or not self._kinds:
            return None
        return NoTextError([*self._kinds], [], f", which the {self._api.name} API has no field for")


_MAX_KINDS, _LONGEST_KIND = 10, 100
"""How many kinds an error names, and their characters: a server chooses them."""


def _kind_of(part: OpaquePart) -> str:
    """Return what a part of the answer is, "" for one that only belongs to the reasoning, the text or a call."""
    if part.part:
        return ""
    api = api_of(part.source)
    try:
        return dialects.by_name(api).kind_of_part(part.fields)
    except UsageError:  # a dialect of the user
        return api
