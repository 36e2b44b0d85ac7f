"""Parts of a reply that only one API knows, as parts of the answer: images, audio, calls of a server's own tools."""

from __future__ import annotations

from collections.abc import Iterable

from acytoo import dialects
from acytoo.dialects.services import api_of
from acytoo.errors import NoTextError, UsageError
from acytoo.types import Item, OpaquePart, collect


def no_text_error(items: Iterable[Item]) -> NoTextError | None:
    """Return the error for a reply without text whose answer is in other parts, None if it has none at all."""
    parts = [(part, kind) for part in items if isinstance(part, OpaquePart) and (kind := _kind_of(part))]
    if not parts:
        return None
    return NoTextError(list(dict.fromkeys(kind for _, kind in parts)), collect(part for part, _ in parts).turn_parts)


def _kind_of(part: OpaquePart) -> str:
    """Return what a part of the answer is, "" for one that only belongs to the reasoning, the text or a call."""
    if part.part:
        return ""
    api = api_of(part.source)
    try:
        return dialects.by_name(api).kind_of_part(part.fields)
    except UsageError:  # a dialect of the user
        return api
