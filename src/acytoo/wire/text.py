"""Raw text: bytes to `str`, without splitting or losing a character."""

from __future__ import annotations

import codecs

from acytoo.errors import ProtocolError, TruncatedError

_CUT = frozenset({"unexpected end of data", "truncated data", "incomplete multibyte sequence"})
"""The reasons that Python's decoders give for an incomplete character at the end of the data."""


_NOT_CHARSETS = frozenset(
    {"idna", "mbcs", "oem", "palmos", "punycode", "raw_unicode_escape", "undefined", "unicode_escape", "utf_7"}
)
"""Python's text encodings that are no charset of a document. They have escapes, which also decode to lone surrogates.

Source: "Python Specific Encodings" in the documentation of `codecs`. The HTML standard forbids UTF-7.
"""


class TextDecoder:
    """An incremental decoder for the charset that the response declares."""

    __slots__ = ("_charset", "_decode", "_started", "before_error")

    def __init__(self, charset: str = "utf-8") -> None:
        try:
            "a".encode(charset)  # rejects codecs that are not charsets, like "zlib"
            codec = codecs.lookup(charset)
            if codec.name.replace("-", "_") in _NOT_CHARSETS:
                raise LookupError(f"{codec.name} is not a charset")
            self._decode = codecs.getincrementaldecoder(charset)("strict").decode
        except (LookupError, ValueError) as error:
            raise ProtocolError(f"the response declares an unknown charset {charset!r}") from error
        self._charset = charset
        self._started = False
        self.before_error = ""
        """The text before the bytes for which `feed` raised."""

    def feed(self, chunk: bytes, final: bool = False) -> str:
        """Return the text that the chunk completes, without a byte order mark before the first character.

        Raises ProtocolError for bytes that are invalid in the charset, TruncatedError if the last character is cut.
        """
        try:
            text = self._decode(chunk, final)
        except UnicodeDecodeError as error:
            if final and error.reason in _CUT:
                raise TruncatedError("the reply ends in the middle of a character") from error
            self.before_error = self._without_bom(error.object[: error.start].decode(self._charset, "ignore"))
            raise ProtocolError(
                f"the reply contains bytes that are not {self._charset}: {error.object[error.start : error.end]!r}"
            ) from error
        except UnicodeError as error:
            raise ProtocolError(f"the reply contains bytes that are not {self._charset}: {error}") from error
        return self._without_bom(text)

    def _without_bom(self, text: str) -> str:
        if text and not self._started:
            self._started = True
            return text.removeprefix("\ufeff")
        return text
