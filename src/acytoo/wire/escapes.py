"""Characters that clients written in Python take for line ends, escaped."""

from __future__ import annotations

_ESCAPES = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def without_line_ends(rendered: bytes) -> bytes:
    """The rendered JSON with U+2028, U+2029 and U+0085 as escapes; all else that `str.splitlines` cuts at JSON escapes.

    Source: observed with `ollama` 0.6 and with httpx's `iter_lines`, on which it and older `google-genai` build.
    """
    if rendered.isascii():
        return rendered
    for character, escape in _ESCAPES:
        if character in rendered:
            rendered = rendered.replace(character, escape)
    return rendered
