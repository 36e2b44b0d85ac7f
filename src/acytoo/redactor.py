"""Replace a backend's secrets in its replies, for servers whose clients must not see them.

The problem: a backend may repeat the operator's key in a reply, and a piece of a stream may end inside it. Replies have
thousands of pieces, and practically none has a key.

The strategy: only long secrets are searched, because a short one may be a word of the reply. Texts are searched for the
first characters of each secret, together with the last ones that have left. Only what has these is looked at closely:
a text that ends with the beginning of a secret waits for the next piece. Texts that take turns, such as the arguments
of two calls, are looked at one by one. Bytes that pass through are not decoded, so they are searched for two inner
parts of each secret, one of which is in every string that has more than half of it; `record_redactor` finds the others.
The cost: one search for each secret and batch of items, two for each secret and chunk of bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from acytoo.secret import Secret
from acytoo.types import Event, Finish, Item, Logprobs, Reasoning, Refusal, ToolCall

PROBE = 4
"""Characters of a secret that are searched for. One less may leave before a secret is noticed."""

_LONG = 20
"""Characters of a secret that cannot be a word of a reply. Keys of real services have 30 and more."""

_MAX_HELD = 100
"""Items that are held back while a text that ends with the beginning of a secret is not continued."""

_TEXTS: dict[type, str] = {Reasoning: "text", Refusal: "text", ToolCall: "arguments"}
"""The field of an event that is a piece of a longer text."""

_MASK = "***"


class Searches:
    """The long ones of some secrets, and what is searched for to find them. All replies of an endpoint share it.

    Not a tuple: error reporters print what is in one.
    """

    __slots__ = ("byte_probes", "encoded_probes", "forms", "probes", "secrets")

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self.secrets = [value for secret in secrets if len(value := secret.reveal()) >= _LONG]
        self.probes = [secret[:PROBE] for secret in self.secrets]
        """The beginnings of the secrets."""
        self.encoded_probes = [msgspec.json.encode(probe)[1:-1] for probe in self.probes]
        """The same in JSON."""
        self.forms = tuple([form for secret in self.secrets for form in _forms(secret)])
        """The secrets as JSON writes them."""
        self.byte_probes = list(dict.fromkeys(probe for form in self.forms for probe, _ in _inner_parts(form)))
        """Inner parts of these."""


class Redactor:
    """What replaces secrets in one reply, which is either items or bytes."""

    __slots__ = ("_before", "_held", "searches")

    def __init__(self, searches: Searches) -> None:
        self.searches = searches
        self._before: dict[Hashable, str] = {_TEXT: ""}
        """The last characters of each text that have left."""
        self._held: list[Item] = []
        """A text that ends with the beginning of a secret, and what followed it."""

    def redact(self, items: list[Item]) -> list[Item]:
        """Return the items without secrets, perhaps none yet. One in several pieces in a row is found too."""
        if not self.searches.secrets:
            return items
        text = self._before[_TEXT]
        has_events = False
        for item in items:
            if type(item) is str:
                text += item
            else:
                has_events = True
        if self._held or (has_events and self._is_suspicious(items)):
            return self._redact_closely(items)
        for probe in self.searches.probes:
            if probe in text:
                return self._redact_closely(items)
        self._before[_TEXT] = text[1 - PROBE :]
        return items

    def flush(self) -> list[Item]:
        """Return the items that were held back, after the last ones. Half of a secret is replaced like all of it."""
        return self._redact_closely([Finish()])[:-1] if self._held else []

    def redact_bytes(self, data: bytes) -> bytes:
        """Return complete records or a document without secrets, and without parts of at least half of one."""
        for probe in self.searches.byte_probes:
            if probe in data:
                spans = [span for form in self.searches.forms for span in _spans_in_bytes(data, form)]
                masked: bytes = _masked(data, spans, _MASK.encode())
                return masked
        return data

    def _is_suspicious(self, items: list[Item]) -> bool:
        """Return whether a field of an event may have a secret, or end with the beginning of one.

        If none has, the events leave as they are, so the last characters of their texts are kept for the next ones.
        """
        try:
            encoded = msgspec.json.encode(items)
        except (UnicodeEncodeError, RecursionError):  # for a lone surrogate, and for many levels
            return True
        if any(probe in encoded for probe in self.searches.encoded_probes):
            return True
        texts = self._joined([item for item in items if type(item) in _TEXTS])
        if any(probe in text for text in texts.values() for probe in self.searches.probes):
            return True
        for name, text in texts.items():
            self._before[name] = text[1 - PROBE :]
        return False

    def _joined(self, items: list[Item]) -> dict[Hashable, str]:
        """Return the texts that the items continue, each after its last characters that have left."""
        texts: dict[Hashable, str] = {}
        for item in items:
            if (name := _text_of(item)) is not None:
                texts[name] = texts.get(name, self._before.get(name, "")) + _piece(item)
        return texts

    def _redact_closely(self, items: list[Item]) -> list[Item]:
        items = [*self._held, *items]
        self._held = []
        is_last = len(items) > _MAX_HELD or any(type(item) is Finish for item in items)
        texts = {name: self._searched(text, is_last) for name, text in self._joined(items).items()}
        places = {name: len(self._before.get(name, "")) for name in texts}
        left = dict(places)
        has_secret = any(text.spans for text in texts.values())
        leaving: list[Item] = []
        for item in items:
            name = _text_of(item)
            if name is None:
                if type(item) is Logprobs and has_secret:
                    continue  # these spell the text
                piece, rest = "", ""
            else:
                text, place = texts[name], places[name]
                stop = places[name] = place + len(_piece(item))
                is_first = place == len(self._before.get(name, ""))
                until = stop if not self._held and stop <= text.begun else max(place, min(stop, text.begun))
                piece = _masked_part(text.text, text.spans, place, until, is_first)
                rest = text.text[until:stop]
            if self._held:
                if shown := self._rewritten(item, piece + rest):
                    self._held.append(shown)
                continue
            if name is not None:
                left[name] = until
            if shown := self._rewritten(item, piece):
                leaving.append(shown)
            if rest:
                self._held.append(_bare(item, rest))
        for name, text in texts.items():
            self._before[name] = text.text[max(text.end, left[name] + 1 - PROBE) : left[name]]
        return leaving

    def _searched(self, text: str, is_last: bool) -> _Searched:
        """Return where a text has secrets, and where a beginning of one ends it that must wait for the next piece."""
        spans = _merged([span for secret in self.searches.secrets for span in _spans_in_text(text, secret)])
        end = max([stop for _, stop in spans], default=0)
        begun, length = self._beginning(text, end)
        if begun < len(text) and is_last:
            if 2 * (len(text) - begun) >= length:
                spans.append((begun, len(text)))
            begun = len(text)
        return _Searched(text, spans, end, begun)

    def _beginning(self, text: str, start: int) -> tuple[int, int]:
        """Return where a beginning of a secret ends the text, and the length of that secret; else the text's end."""
        found = len(text), 0
        for secret in self.searches.secrets:
            place = text.find(secret[:PROBE], max(start, len(text) - len(secret) + 1))
            while place >= 0 and not secret.startswith(text[place:]):
                place = text.find(secret[:PROBE], place + 1)
            if 0 <= place < found[0]:
                found = place, len(secret)
        return found

    def _rewritten(self, item: Item, piece: str) -> Item | None:
        """Return the item with another piece of text and no secret in any other field. None if nothing is left."""
        if isinstance(item, str):
            return piece or None
        name = _TEXTS.get(type(item), "")
        values = {field: self._shallow(getattr(item, field)) for field in item.__struct_fields__}
        if name:
            was_empty = not values[name]
            values[name] = piece
            if not (piece or was_empty or any(values[field] for field in values if field not in (name, "index"))):
                return None
        return type(item)(**values)

    def _shallow(self, value: Any) -> Any:
        """Return the value of a field without secrets; nothing of one that is nested too deeply to be searched."""
        try:
            return self._without_secrets(value)
        except RecursionError:
            return type(value)()

    def _without_secrets(self, value: Any) -> Any:
        if isinstance(value, str):
            return _masked(
                value, [span for secret in self.searches.secrets for span in _spans_in_text(value, secret)], _MASK
            )
        if isinstance(value, list):
            return [self._without_secrets(item) for item in value]
        if isinstance(value, dict):
            return {self._without_secrets(name): self._without_secrets(item) for name, item in value.items()}
        return value


class _Searched(NamedTuple):
    """One of the texts of a reply, and where it has secrets."""

    text: str
    spans: list[tuple[int, int]]
    end: int
    """Where the last secret ends."""
    begun: int
    """Where the beginning of a secret begins that ends the text."""


_TEXT = ""


def _text_of(item: Item) -> Hashable | None:
    """Return which text an item continues: the reply's own, that of an event's kind and number, or None."""
    if isinstance(item, str):
        return _TEXT
    kind = type(item)
    return (kind, getattr(item, "index", 0)) if kind in _TEXTS else None


def _piece(item: Item) -> str:
    """Return the piece of text that an item is."""
    if isinstance(item, str):
        return item
    name = _TEXTS.get(type(item))
    return getattr(item, name) if name else ""


def _bare(item: Item, piece: str) -> Item:
    """Return an item that continues another one, with a piece of text only."""
    if isinstance(item, str):
        return piece
    values: dict[str, Any] = {_TEXTS[type(item)]: piece}
    if not isinstance(item, Refusal):
        values["index"] = getattr(item, "index", 0)
    continued: Event = type(item)(**values)
    return continued


def _forms(secret: str) -> set[bytes]:
    """Return a secret as JSON writes it; some servers escape slashes."""
    form = msgspec.json.encode(secret.encode("utf-8", "replace").decode())[1:-1]
    return {form, form.replace(b"/", b"\\/")}


def _inner_parts(form: bytes) -> list[tuple[bytes, int]]:
    """Return two parts with their places. If the form is cut in two, the larger piece has one of them."""
    quarter, half = len(form) // 4, len(form) // 2
    return [(form[quarter:half], quarter), (form[half : half + quarter], half)]


def _spans_in_bytes(data: bytes, form: bytes) -> list[tuple[int, int]]:
    """Return where the data has a secret, or a part of it of at least half its length."""
    spans = []
    for probe, offset in _inner_parts(form):
        place = data.find(probe)
        while place >= 0:
            begin, end = place, place + len(probe)
            while place - begin < offset and begin and data[begin - 1] == form[offset - (place - begin) - 1]:
                begin -= 1
            while offset + end - place < len(form) and data[end : end + 1] == form[offset + end - place :][:1]:
                end += 1
            if 2 * (end - begin) >= len(form):
                spans.append((begin, end))
            place = data.find(probe, end)
    return spans


def _spans_in_text(text: str, secret: str) -> list[tuple[int, int]]:
    spans = []
    place = text.find(secret)
    while place >= 0:
        spans.append((place, place + len(secret)))
        place = text.find(secret, place + len(secret))
    return spans


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans in order, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


def _masked(data: Any, spans: list[tuple[int, int]], mask: Any) -> Any:
    """Return a text or bytes with the mask in place of the spans."""
    if not spans:
        return data
    pieces, end = [], 0
    for start, stop in _merged(spans):
        pieces += [data[end:start], mask]
        end = stop
    return data[:0].join([*pieces, data[end:]])


def _masked_part(text: str, spans: list[tuple[int, int]], start: int, stop: int, is_first: bool) -> str:
    """Return a part of the text with masks. A span that began earlier has its mask there, unless this is the first."""
    pieces, end = [], start
    for number in range(bisect_right(spans, start, key=itemgetter(1)), len(spans)):
        begin, after = spans[number]
        if begin >= stop:
            break
        pieces.append(text[end : max(begin, end)])
        if begin >= start or is_first:
            pieces.append(_MASK)
        end = min(after, stop)
    return "".join([*pieces, text[end:stop]])
