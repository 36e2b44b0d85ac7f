"""Limits on what a peer can make us keep in memory."""

from __future__ import annotations

from itertools import accumulate

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

MAX_DEPTH = 200
"""The maximum nesting of lists and objects in a JSON body. Schemas of tools, the deepest seen, have 30."""

_SLICE = 64 * 1024
"""Bytes that are inspected at once: between two slices other threads can run."""

_STEPS = [0] * 256
_STEPS[ord("{")] = _STEPS[ord("[")] = 1
_STEPS[ord("}")] = _STEPS[ord("]")] = -1
_NO_BRACKETS = bytes(byte for byte in range(256) if not _STEPS[byte])


def json_excess(body: bytes, max_elements: int = MAX_ELEMENTS, max_depth: int = MAX_DEPTH) -> str:
    """Return what makes a JSON body too costly to decode, "" if nothing does. The body need not be valid.

    The structure is what remains without the strings. It is found with operations on slices that run in C.
    """
    openings = body.count(b"{") + body.count(b"[")
    if openings <= max_depth and openings + body.count(b",") <= max_elements:
        return ""
    elements = depth = 0
    in_string = False
    escape = b""
    for start in range(0, len(body), _SLICE):
        piece = escape + body[start : start + _SLICE]
        backslashes = len(piece) - len(piece.rstrip(b"\\"))
        escape = b"\\" if backslashes % 2 else b""  # what it escapes is in the next slice
        parts = piece[: len(piece) - len(escape)].replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        structure = b"".join(parts[in_string::2])
        in_string ^= len(parts) % 2 == 0
        elements += structure.count(b",") + structure.count(b"{") + structure.count(b"[")
        if elements > max_elements:
            return f"has more than {max_elements} values and fields"
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
