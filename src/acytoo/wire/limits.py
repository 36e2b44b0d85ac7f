"""Limits on what a peer can make us keep in memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import msgspec

from acytoo.errors import ProtocolError

MAX_RECORD = 16 * 1024 * 1024
"""The maximum size of one record in bytes. The largest seen are generated images in base64."""


def check_record_size(size: int) -> None:
    """Raise ProtocolError if one record is larger than `MAX_RECORD`."""
    if size > MAX_RECORD:
        raise ProtocolError(
            f"a record of the reply is larger than {MAX_RECORD // 2**20} MiB: this is not a chat reply, check the URL"
        )


MAX_ELEMENTS = 250_000
"""The maximum number of values and fields in a JSON body. A conversation of 10,000 turns with tool calls has 200,000.

They cost far more than their bytes: a list takes two bytes in JSON and 56 in memory.
"""

MAX_REPLY_ELEMENTS = 1_000_000
"""The maximum number of values and fields in a large record or a document of a reply.

A token with 20 alternatives has up to 180.
"""

_LARGE = 256 * 1024
"""Bytes of a record below which nothing in it is counted."""

MAX_NAMES = 50_000
"""The maximum number of different names of fields in a JSON body, counted from the field of that number on.

The names of a conversation are always the same few. A new one costs five times as much as one that is known.
"""

MAX_DEPTH = 200
"""The maximum nesting of lists and objects in a JSON body. Schemas of tools, the deepest seen, have 30."""

MAX_COST = 8 * 1024 * 1024
"""What characters may cost that take longer to decode than ASCII: their bytes, `_ESCAPE_COST` for an escape.

White space outside of strings counts too. The longest context of a model, a million tokens, has half of it in Chinese.
"""

_ESCAPE_COST = 4

_SLICE = 64 * 1024
"""Bytes that are inspected at once: between two slices other threads can run."""

_STEPS = [0] * 256
_STEPS[ord("{")] = _STEPS[ord("[")] = 1
_STEPS[ord("}")] = _STEPS[ord("]")] = -1
_ASCII = bytes(range(128))
_BLANKS = (b" ", b"\n", b"\r", b"\t")
_CHEAP = bytes(byte for byte in _ASCII if byte not in b"{[,:\\ \n\r\t")
_NO_BRACKETS = bytes(byte for byte in range(256) if not _STEPS[byte])
_NO_OPENINGS = bytes(byte for byte in range(256) if _STEPS[byte] != 1)

_USUAL = 32
"""Bytes for each opening bracket of a conversation, at least. What has more takes longer to decode than to inspect."""

_decode = msgspec.json.Decoder(float_hook=len).decode
"""Without the numbers that are no integers: one such as 1e308 would take 40 microseconds."""


def json_excess(body: bytes, max_elements: int = MAX_ELEMENTS, max_depth: int = MAX_DEPTH) -> str:
    """Return what makes a JSON body too costly to decode, "" if nothing does. The body need not be valid."""
    return json_excess_of([body], max_elements, max_depth)


def json_excess_of(bodies: Sequence[bytes], max_elements: int = MAX_ELEMENTS, max_depth: int = MAX_DEPTH) -> str:
    """Return what makes JSON bodies together too costly to decode, "" if nothing does. They need not be valid."""
    # A value takes two bytes, a field with another name six. So short bodies, as most are, are at most nested too deep.
    size = sum(map(len, bodies))
    is_short = size + len(bodies) < 2 * max_elements and size < 6 * MAX_NAMES
    counts = _Counts()
    for body in bodies:
        bound = _short_bounds_of(body) if is_short else _bounds_of(body)
        if (
            counts.elements + bound.elements <= max_elements
            and counts.fields + bound.fields <= MAX_NAMES
            and counts.cost + bound.cost <= MAX_COST
            and (bound.openings <= max_depth or _is_shallow(body, bound, max_depth))
        ):
            counts.elements += bound.elements
            counts.fields += bound.fields
            counts.cost += bound.cost
        elif excess := _excess_of(body, counts, max_elements, max_depth):
            return excess
    return ""


class _Counts:
    """What JSON bodies have."""

    __slots__ = ("cost", "elements", "fields", "names", "openings")

    def __init__(self) -> None:
        self.openings = self.elements = self.fields = self.cost = 0
        self.names: set[bytes] = set()


def _short_bounds_of(body: bytes) -> _Counts:
    """Return how many levels a short body has at most."""
    bound = _Counts()
    bound.openings = len(body.translate(None, _NO_OPENINGS))
    return bound


def _bounds_of(body: bytes) -> _Counts:
    """Return what a body has at most: as if nothing of it were in strings."""
    bound = _Counts()
    for start in range(0, len(body), _SLICE):
        piece = body[start : start + _SLICE].translate(None, _CHEAP)
        colons = piece.count(b":")
        bound.openings += piece.count(b"{") + piece.count(b"[")
        bound.elements += piece.count(b",")
        bound.fields += colons
        bound.cost += len(piece) - colons + (_ESCAPE_COST - 1) * piece.count(b"\\")
    bound.elements += bound.openings
    return bound


def _is_shallow(body: bytes, bound: _Counts, max_depth: int) -> bool:
    """Return whether decoding a body shows that it is not nested too deep: faster than to find its strings.

    `bound`: what it has at most.
    """
    if bound.openings > len(body) // _USUAL:
        return False
    try:
        containers: list[Any] = [[_decode(body)]]
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    for _ in range(max_depth + 1):
        containers = [
            value
            for container in containers
            for value in (container.values() if type(container) is dict else container)
            if type(value) is dict or type(value) is list
        ]
        if not containers:
            return True
    return False


def _excess_of(body: bytes, counts: _Counts, max_elements: int, max_depth: int) -> str:
    """Return what is too much in a body together with what those before it have, "" if nothing is. Count it.

    The structure is what remains without the strings. It is found with operations on slices that run in C.
    """
    depth = 0
    in_string = False
    is_ascii = body.isascii()
    escape = b""
    for start in range(0, len(body), _SLICE):
        piece = escape + body[start : start + _SLICE]
        backslashes = len(piece) - len(piece.rstrip(b"\\"))
        escape = b"\\" if backslashes % 2 else b""  # what it escapes is in the next slice
        # Two escapes become two control characters, which no string has, so that names stay different.
        parts = piece.replace(b"\\\\", b"\0").replace(b'\\"', b"\1").split(b'"')
        structure = b"".join(parts[in_string::2])
        counts.cost += sum([structure.count(blank) for blank in _BLANKS]) + _ESCAPE_COST * piece.count(b"\\")
        if not is_ascii:
            counts.cost += len(piece.translate(None, _ASCII))
        if counts.cost > MAX_COST:
            return "takes too long to decode: send fewer escapes, characters beyond ASCII and blanks"
        counts.elements += structure.count(b",") + structure.count(b"{") + structure.count(b"[")
        if counts.elements > max_elements:
            return f"has more than {max_elements} values and fields"
        counts.fields += structure.count(b":")
        if counts.fields > MAX_NAMES:
            following = zip(parts[1 - in_string :: 2], parts[2 - in_string :: 2], strict=False)
            counts.names.update([string for string, after in following if after.lstrip()[:1] == b":"])
            if len(counts.names) > MAX_NAMES:
                return f"has fields with more than {MAX_NAMES} different names"
        in_string ^= len(parts) % 2 == 0
        steps = map(_STEPS.__getitem__, structure.translate(None, _NO_BRACKETS))
        depths = list(accumulate(steps, initial=depth))
        if max(depths) > max_depth:
            return f"is nested more than {max_depth} levels deep"
        depth = depths[-1]
    return ""


def check_elements(body: bytes) -> None:
    """Raise ProtocolError if a document, or a record and what arrived with it, has too many values to be decoded."""
    if len(body) > _LARGE and (excess := json_excess(body, MAX_REPLY_ELEMENTS, max_depth=len(body))):
        raise ProtocolError(f"a record of the reply {excess}: this is not a chat reply, check the URL")
