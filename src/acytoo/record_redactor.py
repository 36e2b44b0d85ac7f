"""Replace a backend's secrets in a stream whose records pass through, also one that is in pieces in several records.

The problem: a model may repeat a key token by token, so that every record has a few characters of it. Decoding every
record to find them would cost more than passing it on.

The strategy: a secret in several records begins with a string that ends with its first characters, or that is a piece
from its beginning. Records that have neither leave at once. From one that has, records are held back while their
strings continue the secret, and released unchanged if that was less than half of it. Records of other texts may come in
between: a few of them are held back too. A backend that floods us with records that begin like a secret must not fill
the memory or stop everybody: what is held back has a limit, and the work grows as the bytes do. The cost: one search of
each chunk with a regular expression, which takes as long as finding a word in it.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

from acytoo.redactor import PROBE, Redactor
from acytoo.wire.records import Framing, split_records

_MASK = b"***"

_STRING = re.compile(rb'"((?:[^"\\]|\\.)*+)(?:"(\s*:)?|\\?\Z)', re.DOTALL)
"""The characters of a string in a JSON document, and what follows one that is the name of a field.

One that does not end matches too, or the search would begin again at each quote in it.
"""


class _Piece:
    """A string of a run, or a part of one: where it is in the records that are held back, and what to replace it with.

    Runs share the pieces before it, because copying those for each string would be quadratic.
    """

    __slots__ = ("before", "mask", "start", "stop")

    def __init__(self, start: int, stop: int, mask: bytes, *before: _Piece) -> None:
        self.start = start
        self.stop = stop
        self.mask = mask
        self.before = before


class _Run(NamedTuple):
    """Strings in consecutive records that are a part of a secret when they are joined."""

    form: bytes
    start: int
    """Where in the form the part begins."""
    stop: int
    text: bytes
    """Which text of the stream the last string belongs to: see `_text_of`."""
    piece: _Piece
    """The last string."""
    waited: int = 0
    """Records of other texts since the last string."""

    @property
    def is_complete(self) -> bool:
        return self.stop == len(self.form)

    @property
    def is_large(self) -> bool:
        return 2 * (self.stop - self.start) >= len(self.form)


class RecordRedactor:
    """What replaces the secrets in one stream of records."""

    __slots__ = ("_beginning", "_framing", "_held", "_pieces", "_redactor", "_runs", "_strings")

    def __init__(self, redactor: Redactor, framing: Framing) -> None:
        self._redactor = redactor
        self._framing = framing
        self._beginning = _beginnings(redactor.searches.forms)
        self._held = bytearray()
        self._runs: list[_Run] = []
        """The runs that the next record may continue."""
        self._strings: set[bytes] = set()
        """The strings of the records that are held back."""
        self._pieces: set[_Piece] = set()
        """What of the records that are held back will be replaced, and what with."""

    def redact(self, data: bytes) -> bytes:
        """Return complete records without secrets, perhaps none yet."""
        if not self._held and (self._beginning is None or self._beginning.search(data) is None):
            return self._redactor.redact_bytes(data)
        leaving: list[bytes] = []
        for record in split_records(data, self._framing):
            self._read(record)
            self._held += record
            if len(self._held) > _MAX_HELD:
                self._end_runs()
            if not self._runs:
                leaving.append(self._release())
        return self._redactor.redact_bytes(b"".join(leaving))

    def flush(self) -> bytes:
        """Return the records that were held back, after the last ones."""
        if not self._held:
            return b""
        self._end_runs()
        return self._redactor.redact_bytes(self._release())

    def _end_runs(self) -> None:
        self._finish(self._runs)
        self._runs = []

    def _read(self, record: bytes) -> None:
        """Continue the runs with the strings of a record, and begin those that begin in it."""
        runs: dict[tuple[bytes, int, int, bytes], _Run] = {}
        text = _text_of(record)
        own = [run for run in self._runs if run.text == text]
        others = [run for run in self._runs if run.text != text]
        continued: set[_Run] = set()
        is_new = False
        for match in itertools.islice(_STRING.finditer(record), _MAX_STRINGS):
            string, span = match[1], (len(self._held) + match.start(1), len(self._held) + match.end(1))
            if not string or match[2]:
                continue
            found: list[_Run] = []
            for run in (*own, *others):
                if found and run.text != text:
                    break  # of texts that take turns, each continues its own runs
                if longer := _continued(run, string, span):
                    continued.add(run)
                    found.append(longer._replace(text=text))
            for form in self._redactor.searches.forms:
                found += _begun(form, string, span, text)
            for run in found:
                if (same := runs.get(run[:4])) is not None:  # in another field of this record
                    run.piece.before += (same.piece,)
                runs[run[:4]] = run
            is_new = is_new or string not in self._strings
            self._strings.add(string)
        if not runs and not is_new:
            return  # it has no text, perhaps an empty one, or is a comment of server-sent events
        waiting = [run._replace(waited=run.waited + 1) for run in others if run not in continued]
        ended = [run for run in own if run not in continued]
        for run in waiting:
            if run.waited < _MAX_WAITED:
                runs.setdefault(run[:4], run)
            else:
                ended.append(run)
        self._finish([*ended, *(run for run in runs.values() if run.is_complete)])
        self._runs = [run for run in runs.values() if not run.is_complete][:_MAX_RUNS]

    def _finish(self, runs: Sequence[_Run]) -> None:
        """Note what has to be replaced of runs that end."""
        pending = [run.piece for run in runs if run.is_large]
        while pending:
            piece = pending.pop()
            if piece not in self._pieces:
                self._pieces.add(piece)
                pending += piece.before

    def _release(self) -> bytes:
        """Return the records that were held back, without what is a part of a secret, and forget them."""
        parts: list[bytes | bytearray] = []
        end = 0
        for piece in sorted(self._pieces, key=lambda piece: (piece.start, -piece.stop, piece.mask)):
            if piece.start >= end:  # a run may be a part of another, which has its mask already
                parts += [self._held[end : piece.start], piece.mask]
                end = piece.stop
        data = b"".join([*parts, self._held[end:]])
        self._held, self._pieces, self._strings = bytearray(), set(), set()
        return data


_MAX_HELD = 256 * 1024
"""Bytes that are held back at most. What is known by then is replaced."""

_MAX_STRINGS = 2_000
"""Strings of one record that are looked at, names of fields included. A token with 20 alternatives has up to 200."""

_MAX_RUNS = 64
"""How many ways to continue a secret are followed; a secret of equal characters has many."""

_MAX_WAITED = 8
"""Records of other texts, such as other choices, for which a run is held back."""

_PLACE = re.compile(rb'"([^"\\]+)"\s*:\s*(?:"|([0-9]+))')
"""A field with a string or a whole number."""


def _text_of(record: bytes) -> bytes:
    """Return what distinguishes the texts of a stream: the names of a record's strings, and its numbers of places."""
    fields = _PLACE.findall(record)
    return b" ".join([name + number for name, number in fields if not number or name.endswith(b"index")])


def _continued(run: _Run, string: bytes, span: tuple[int, int]) -> _Run | None:
    """Return a run with another string, None if that does not continue it."""
    rest = run.form[run.stop :]
    if rest.startswith(string):
        return run._replace(stop=run.stop + len(string), waited=0, piece=_Piece(*span, b"", run.piece))
    if string.startswith(rest):
        end = span[0] + len(rest)
        return run._replace(stop=len(run.form), piece=_Piece(span[0], end, b"", run.piece))
    return None


def _begun(form: bytes, string: bytes, span: tuple[int, int], text: bytes) -> list[_Run]:
    """Return the runs that begin with a string: a piece from the first characters, or the end of a longer text."""
    runs = [
        _Run(form, place, place + len(string), text, _Piece(*span, _MASK))
        for place in range(PROBE)
        if form.startswith(string, place) and place + len(string) < len(form)
    ]
    place = string.find(form[:PROBE], max(1, len(string) - len(form) + 1))
    while place >= 0 and not form.startswith(string[place:]):
        place = string.find(form[:PROBE], place + 1)
    if place >= 0:
        runs.append(_Run(form, 0, len(string) - place, text, _Piece(span[0] + place, span[1], _MASK)))
    return runs


@functools.lru_cache(maxsize=64)
def _beginnings(forms: tuple[bytes, ...]) -> re.Pattern[bytes] | None:
    """Return a pattern for records in which one of several secrets may begin."""
    if not forms:
        return None
    pieces = []
    for form in forms:
        pieces.append(re.escape(form[:PROBE]))
        for place in range(PROBE):
            first, *others = [re.escape(form[at : at + 1]) for at in range(place, place + PROBE)]
            piece = b""
            for character in reversed(others):
                piece = b'(?:"|' + character + piece + b")"
            pieces.append(b'"' + first + piece)
    return re.compile(b"|".join(dict.fromkeys(pieces)))
