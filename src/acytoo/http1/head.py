"""The head of a message: limits on what is received, and encoding with checks of what is sent."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Container, Iterable, Mapping
from itertools import chain

MAX_HEAD = 64 * 1024
"""Bytes of names and values that the head of a message may have; some real servers send tens of kilobytes."""

MAX_TRAILERS = 16 * 1024
"""Bytes of names and values that may follow a chunked body."""

MAX_FIELDS = 256
"""Header fields that a message may have, trailers included."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class HTTPError(Exception):
    """Bytes that are not a message of HTTP/1.1, or exceed a limit."""


@functools.lru_cache(maxsize=256)
def field_name(name: bytes) -> str:
    """Return the name of a received field in lower case. Peers send few different ones."""
    return name.decode("latin-1").lower()


def add_fields(fields: dict[str, str], received: Collection[tuple[bytes, bytes]], single: Container[str]) -> None:
    """Add received fields to those of a head. Bytes of values that are not UTF-8 become lone surrogates.

    Raises HTTPError if there is a second field of a name in `single`.
    """
    if not fields:  # nearly all heads arrive at once, and have each field once
        try:
            new = {field_name(name): value.rstrip().decode() for name, value in received}
        except UnicodeDecodeError:
            new = {}
        if len(new) == len(received):
            fields.update(new)
            return
    for name, value in received:
        key, text = field_name(name), value.rstrip().decode("utf-8", "surrogateescape")
        if key in fields:
            if key in single:
                raise HTTPError(f"two {key} headers")
            # Fields of one name are one list (RFC 9110, section 5.3), but see RFC 6265, section 5.4, for cookies.
            text = fields[key] + ("; " if key == "cookie" else ", ") + text
        fields[key] = text


def size_of_fields(received: Iterable[tuple[bytes, bytes]]) -> int:
    """Return how many bytes the names and values of received fields have."""
    return sum(map(len, chain.from_iterable(received)))


def encode_head(first_line: str, fields: Collection[tuple[str, str]]) -> bytes:
    """Return the bytes of a head, with the empty line at its end.

    Raises ValueError for a name or value that would break out of its field, or that HTTP cannot carry. The error does
    not show the value, which may be a secret.
    """
    names, values = tuple([name for name, _ in fields]), tuple([value for _, value in fields])
    return _encode(f"{first_line}\r\n", names, values) + b"\r\n"


def encode_fields(fields: Mapping[str, str]) -> bytes:
    """Return the bytes of further fields of a head, to be put before its empty line. Raises as `encode_head`."""
    return _encode("", tuple(fields), tuple(fields.values()))


def _encode(first_line: str, names: tuple[str, ...], values: tuple[str, ...]) -> bytes:
    """Return the bytes of a first line, if there is one, and of fields after it."""
    head = first_line + _template(names) % values
    ends = len(names) + bool(first_line)
    # One look at the complete head is cheaper than one at each value.
    if head.count("\n") != ends or head.count("\r") != ends or "\0" in head:
        raise ValueError(f"{_field_with_line_end(names, values)} contains a line end or NUL")
    try:
        return head.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a header contains a lone surrogate, which cannot be encoded") from None


@functools.lru_cache(maxsize=256)
def _template(names: tuple[str, ...]) -> str:
    """Return the fields with these names, to be formatted with their values. Raises ValueError for an invalid name."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"invalid header name {name!r}")
    return "".join([f"{name.replace('%', '%%')}: %s\r\n" for name in names])


def _field_with_line_end(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return the name of the field that cannot be sent, without its value."""
    for name, value in zip(names, values, strict=True):
        if re.search(r"[\0\r\n]", value):
            return f"the header {name!r}"
    return "the request target"
