"""JSON beyond what msgspec does: lone surrogates, records without an end, text for messages.

Python strings and JSON escapes can hold a lone surrogate (one unit of a UTF-16 pair). UTF-8 cannot, so msgspec refuses
both. In a request to an API that is the caller's error. Everywhere else the surrogate is replaced with U+FFFD.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Any, Literal

import msgspec

from acytoo.dialects.surrogates import replace_lone_escapes
from acytoo.errors import UsageError

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the expected JSON."""


@functools.cache
def decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder for a type; making one takes longer than decoding a short request."""
    return msgspec.json.Decoder(type_, float_hook=_finite)


def _finite(text: str) -> float:
    """Return an untyped number. msgspec itself takes up to 40 microseconds for one such as 1e308, a hundred times this.

    A body may have hundreds of thousands of them. Source: observed with msgspec 0.22.
    """
    number = float(text)
    if math.isinf(number):
        raise ValueError("Number out of range")
    return number


def dumps(document: Any, surrogates: Literal["error", "replace"] = "error") -> bytes:
    """Encode a document as JSON.

    Raises UsageError for values that JSON cannot hold. With `surrogates="replace"` a lone surrogate becomes U+FFFD,
    and only nesting that is too deep raises (RecursionError).
    """
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError as error:
        if surrogates == "replace":
            import json  # slow to import, and rarely needed

            return msgspec.json.encode(msgspec.json.decode(replace_lone_escapes(json.dumps(document).encode())))
        raise UsageError(
            "the request has a text with a lone surrogate, which no JSON in UTF-8 can hold: "
            "decode its bytes with errors='replace'"
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        if surrogates == "replace":
            raise
        raise UsageError(f"the request cannot be written as JSON: {error}") from error


def display_json(document: Any) -> str:
    """Return a document as JSON for an error message. Never raises for decoded JSON."""
    try:
        return dumps(document, surrogates="replace").decode()
    except RecursionError:
        return "JSON that is nested too deeply"


def is_complete_json(record: bytes) -> bool:
    """Return whether a last record without its line end is complete: JSON, or OpenAI's `[DONE]`."""
    try:
        decoder(Any).decode(replace_lone_escapes(record))
    except UNDECODABLE:
        return record.strip() == b"[DONE]"
    return True


_TOKEN = re.compile(rb'"(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*+("?)|[][{},:]|[^][{},:"\s]+')
"""A string, which is not closed if the group is empty; a bracket, comma or colon; a number or another literal."""


def end_of_value(text: str) -> int:
    """Return where the JSON value ends that a text begins with, 0 if it has no end."""
    import json  # slow to import, and rarely needed

    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return 0


def closed_json(body: bytes) -> bytes:
    """Return the part of a JSON document that was received before it was cut, as a document that is complete.

    A string that was cut is closed, a number that may have been cut and a key without a value are left out.
    """
    closers: list[bytes] = []
    end, tail, is_key = 0, b"", False  # `end`: of the last complete value, or of the bracket that opens one
    for match in _TOKEN.finditer(body):
        token = match[0]
        first = token[:1]
        if first == b'"' and not match[1]:
            if not is_key:
                end, tail = match.start(), token.decode("utf-8", "ignore").encode() + b'"'
            break
        if first in b"{[":
            closers.append(b"}" if first == b"{" else b"]")
        elif first in b"}]":
            if not closers:
                break
            closers.pop()
        if first in b",:" or (first == b'"' and is_key):
            is_key = first == b"," and closers[-1:] == [b"}"]
            continue
        is_key = first == b"{"
        if first in b'{[}]"' or match.end() < len(body):
            end = match.end()
    return body[:end] + tail + b"".join(reversed(closers))
