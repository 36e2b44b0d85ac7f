"""The head of a message: limits on what is received, and encoding with checks of what is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_HEAD = 64 * 1024
"""Bytes of names and values that the head of a message may have; some real servers send tens of kilobytes."""

MAX_TRAILERS = 16 * 1024
"""Bytes of names and values that may follow a chunked body."""

MAX_FIELDS = 256
"""Header fields that a message may have, trailers included."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN = re.compile(r"[\0\r\n]")


class HTTPError(Exception):
    """Bytes that are not a message of HTTP/1.1, or exceed a limit."""


def encode_head(first_line: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """Return the bytes of a head, with the empty line at its end.

    Raises ValueError for a name or value that would break out of its field, or that HTTP cannot carry. The error does
    not show the value, which may be a secret.
    """
    lines = [first_line]
    for name, value in fields:
        if not _NAME.fullmatch(name):
            raise ValueError(f"invalid header name {name!r}")
        if _FORBIDDEN.search(value):
            raise ValueError(f"the value of the header {name!r} contains a line end or NUL")
        lines.append(f"{name}: {value}")
    if _FORBIDDEN.search(first_line):
        raise ValueError("the first line contains a line end or NUL")
    try:
        return "\r\n".join([*lines, "", ""]).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("a header contains a lone surrogate") from error
