"""Raw text: bytes to str, no character ever split or lost."""

from __future__ import annotations

import codecs

from acytoo.errors import ProtocolError, TruncatedError

_CUT = frozenset({"unexpected end of data", "truncated data", "incomplete multibyte sequence"})
"""What Python's decoders call a character of which the rest is missing."""


class TextDecoder:
    """Incremental decoding in the charset the response names."""

    __slots__ = ("_charset", "_decode", "_started", "before_fault")

    def __init__(self, charset: str = "utf-8") -> None:
        try:
            "a".encode(charset)  # refuses what is not a charset, like "zlib"
            self._decode = codecs.getincrementaldecoder(charset)("strict").decode
        except (LookupError, ValueError) as error:
            raise ProtocolError(f"the response names an unknown charset, {charset!r}") from error
        self._charset = charset
        self._started = False
        self.before_fault = ""
        """The text that stood before the bytes for which `feed` raised."""

    def feed(self, chunk: bytes, final: bool = False) -> str:
        """The text that the chunk completes, without a byte order mark before the first character.

        Raises ProtocolError for bytes that are not in the charset, TruncatedError where the last character is cut.
        """
        try:
            text = self._decode(chunk, final)
        except UnicodeDecodeError as error:
            if final and error.reason in _CUT:
                raise TruncatedError("the reply ends in the middle of a character") from error
            self.before_fault = self._begun(error.object[: error.start].decode(self._charset, "ignore"))
            raise ProtocolError(
                f"the reply has bytes that are not {self._charset}: {error.object[error.start : error.end]!r}"
            ) from error
        except UnicodeError as error:
            raise ProtocolError(f"the reply has bytes that are not {self._charset}: {error}") from error
        return self._begun(text)

    def _begun(self, text: str) -> str:
        if text and not self._started:
            self._started = True
            return text.removeprefix("\ufeff")
        return text
