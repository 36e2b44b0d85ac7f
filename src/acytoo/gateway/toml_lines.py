"""The line of each key in a TOML file, for error messages: tomllib does not report it.

The scanner runs only over text that tomllib has parsed, so it may assume valid TOML. It reads keys, brackets and
strings, and skips every other value.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""The keys that lead to a value; an int is the place in an array."""

_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_KEY_PART = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'|[\w-]+')
_STRING = re.compile(
    r"""
    \"{3} (?: \\. | [^"\\] | "{1,2}(?!") )* "{3,5}
    | '{3} (?: [^'] | '{1,2}(?!') )* '{3,5}
    | " (?: \\. | [^"\\] )* "
    | ' [^']* '
    """,
    re.DOTALL | re.VERBOSE,
)
_OTHER = re.compile(r"[^,\]}#\n]*")


def lines_of(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of every key, table and array element of a valid TOML text."""
    scanner = _Scanner(text)
    scanner.read_document()
    return scanner.lines


def span_of_table(text: str, path: KeyPath) -> tuple[int, int] | None:
    """Return where the lines of a table begin and end, from its header to its last value; None without a header."""
    scanner = _Scanner(text)
    scanner.read_document()
    if path not in scanner.spans:
        return None
    start, end = scanner.spans[path]
    newline = text.find("\n", end)
    return text.rfind("\n", 0, start) + 1, newline + 1 or len(text)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.spans: dict[KeyPath, tuple[int, int]] = {}
        self._text = text
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._place = 0
        self._tables: dict[KeyPath, int] = {}  # how many elements an array of tables has

    def read_document(self) -> None:
        table: KeyPath = ()
        header = 0
        while self._next_is_not(""):
            if self._skip("[["):
                start = self._place
                name = self._read_key()
                number = self._tables[name] = self._tables.get(name, -1) + 1
                table = (*name, number)
                self._note(name, start)
                self._note(table, start)
                self._skip("]]")
                header = start
            elif self._skip("["):
                start = self._place
                table = self._read_key()
                self._note(table, start)
                self._skip("]")
                header = start
            else:
                self._read_pair(table)
            self.spans[table] = header, self._place

    def _read_pair(self, table: KeyPath) -> None:
        start = self._place
        path = table + self._read_key()
        self._note(path, start)
        self._skip("=")
        self._read_value(path)

    def _read_key(self) -> KeyPath:
        parts: list[str] = []
        while True:
            self._skip_blank()
            match = _KEY_PART.match(self._text, self._place)
            assert match is not None
            self._place = match.end()
            part = match.group()
            parts.append(tomllib.loads(f"key = {part}")["key"] if part[0] in "\"'" else part)
            self._skip_blank()
            if not self._skip("."):
                return tuple(parts)

    def _read_value(self, path: KeyPath) -> None:
        self._skip_blank()
        if self._skip("["):
            number = 0
            while self._next_is_not("]"):
                self._note((*path, number), self._place)
                self._read_value((*path, number))
                number += 1
                self._next_is_not("")
                self._skip(",")
            self._skip("]")
        elif self._skip("{"):
            while self._next_is_not("}"):
                self._read_pair(path)
                self._next_is_not("")
                self._skip(",")
            self._skip("}")
        else:
            match = _STRING.match(self._text, self._place) or _OTHER.match(self._text, self._place)
            assert match is not None
            self._place = match.end()

    def _next_is_not(self, end: str) -> bool:
        """Skip blanks; return whether something other than `end` follows."""
        self._skip_blank()
        return self._place < len(self._text) and not (end and self._text.startswith(end, self._place))

    def _skip_blank(self) -> None:
        match = _BLANK.match(self._text, self._place)
        assert match is not None
        self._place = match.end()

    def _skip(self, token: str) -> bool:
        found = self._text.startswith(token, self._place)
        self._place += len(token) if found else 0
        return found

    def _note(self, path: KeyPath, start: int) -> None:
        line = bisect_right(self._newlines, start - 1) + 1
        for size in range(len(path), 0, -1):  # the tables of a dotted key begin with their first key
            self.lines.setdefault(path[:size], line)
