"""Escapes for characters that clients written in Python treat as line ends."""

from __future__ import annotations

_ESCAPES = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def escape_line_ends(document: bytes) -> bytes:
    """Escape U+2028, U+2029 and U+0085 in encoded JSON. JSON itself escapes all else at which `str.splitlines` splits.

    Source: observed with `ollama` 0.6 and older `google-genai`, which use httpx's `iter_lines`.
    """
    if document.isascii():
        return document
    for character, escape in _ESCAPES:
        if character in document:
            document = document.replace(character, escape)
    return document
