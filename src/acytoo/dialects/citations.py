"""The addresses that a reply is based on, from one API to another.

Each API has them in a place and a form of its own, which a reader keeps as an opaque part. Only the address, the title
and the place in the text are common. Chat completions, Responses and Gemini can express them. Anthropic's citations
cannot be made here: its clients send them back, and its service refuses any that it has not signed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from acytoo import dialects
from acytoo.dialects.fields import count, text_or_empty
from acytoo.dialects.services import api_of
from acytoo.errors import UsageError
from acytoo.types import TurnPart


class Citation(NamedTuple):
    """An address that a text is based on. `start` and `end` are its place in characters, both 0 if not known."""

    url: str
    title: str = ""
    start: int = 0
    end: int = 0


def citation(url: object, title: object = "", start: object = 0, end: object = 0) -> Citation | None:
    """Return the citation of an address, None for anything else."""
    if not isinstance(url, str) or not url:
        return None
    return Citation(url, text_or_empty(title), count(start), count(end))


class Citations:
    """Those of one reply from another API, each once."""

    def __init__(self) -> None:
        self._known: set[Citation] = set()

    def new_in(self, source: str, fields: Any) -> list[Citation]:
        """Return the citations of a part from this source that no part before had."""
        try:
            found = dialects.by_name(api_of(source)).citations_in(fields)
        except UsageError:  # a dialect of the user
            return []
        new = [one for one in dict.fromkeys(found) if one not in self._known]
        self._known.update(new)
        return new


def cited_in(parts: Iterable[TurnPart], api: str) -> list[Citation]:
    """Return the citations in the parts of other APIs than this one."""
    citations = Citations()
    foreign = [part for part in parts if "source" in part and api_of(part["source"]) != api]
    return [one for part in foreign for one in citations.new_in(part["source"], part.get("fields", {}))]
