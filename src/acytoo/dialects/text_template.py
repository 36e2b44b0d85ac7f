"""Records that repeat an earlier one except for its text.

The problem: nearly all records of a stream differ in one string, and decoding the rest again and again is most of what
reading a reply costs. The strategy: once a decoded record has turned out to have only a text, the bytes around that
text are kept. A record with the same bytes around a string without escapes is the same document with that string, so
it need not be decoded. The cost: a few hundred bytes for each stream, and a search in its first records.
"""

from __future__ import annotations

_MAX_USELESS = 4
"""How many templates in turn may fit no record: then the server changes something else in each, such as a time."""


class TextTemplate:
    """What precedes and follows the text in the records of a stream."""

    __slots__ = ("_after", "_before", "_end", "_is_used", "_start", "_useless")

    def __init__(self) -> None:
        self._start = self._end = self._useless = 0
        self._before = self._after = b""
        self._is_used = True

    def text_in(self, record: bytes) -> str:
        """Return the text of a record that fits, "" if it has to be decoded."""
        start, end = self._start, self._end
        if start and record[:start] == self._before and record[end:] == self._after:
            try:
                text = record[start:end].decode()
            except UnicodeDecodeError:
                return ""
            if '"' not in text and "\\" not in text and text.isprintable():
                self._is_used = True
                return text
        return ""

    def learn(self, record: bytes, text: str) -> None:
        """Take a record as the template. Its only content that matters is this text, and its other fields do not."""
        if self._useless > _MAX_USELESS or record.find(b"\\") >= 0:
            return
        self._useless = 0 if self._is_used else self._useless + 1
        self._is_used = False
        # Without an escape, the only string that reads like the text is the text.
        parts = record.split(b'"%b"' % text.encode("utf-8", "surrogatepass"))
        if len(parts) == 2:
            self._before, self._after = parts[0] + b'"', b'"' + parts[1]
            self._start, self._end = len(self._before), -len(self._after)

    def forget(self) -> None:
        """Have every record decoded until the next one is learnt."""
        self._start = 0
