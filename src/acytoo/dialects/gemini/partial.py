"""The arguments of a call that arrive in pieces, if a request has `streamFunctionCallArguments`.

Each piece is a value, or a part of a text, and the path to it in the arguments. They are put together when the call
ends: its last piece has no `willContinue`. Only Vertex AI sends them.

Source: Vertex AI's API reference (`FunctionCall`, `PartialArg`), and RFC 9535 for the paths.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from acytoo.errors import ProtocolError
from acytoo.types import JSONObject


class PartialCall:
    """A call whose arguments are not complete yet."""

    def __init__(self, call_id: str, name: str) -> None:
        self.id = call_id
        self.name = name
        self.signature = ""
        self.pieces: list[JSONObject] = []

    def arguments(self) -> JSONObject:
        """Return the arguments so far. Raises ProtocolError if a piece cannot be placed."""
        arguments: JSONObject = {}
        for path, run in itertools.groupby(self.pieces, lambda piece: piece.get("jsonPath")):
            pieces = list(run)
            value = _value(pieces[-1])
            if isinstance(value, str):
                value = "".join([text for piece in pieces if isinstance(text := _value(piece), str)])
            if not isinstance(path, str) or not _put(arguments, path, value):
                raise ProtocolError(
                    f"a piece of the arguments for {self.name!r} has the path {path!r}, which does not fit"
                )
        return arguments


_PATH = re.compile(r"\$(?:\.[^.\[\]*]+|\[\d{1,9}\]|\['[^']*'\]|\[\"[^\"]*\"\])+")
_SEGMENT = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")


def _value(piece: JSONObject) -> Any:
    values = [piece[name] for name in ("stringValue", "numberValue", "boolValue") if piece.get(name) is not None]
    return values[0] if values else None


def _put(arguments: JSONObject, path: str, value: Any) -> bool:
    """Put a value at a path, after the text that is already there. Returns False if the path does not fit."""
    if not _PATH.fullmatch(path):
        return False
    keys: list[Any] = [int(match[2]) if match[2] else match[match.lastindex or 0] for match in _SEGMENT.finditer(path)]
    target: Any = arguments
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        if not isinstance(target, list if isinstance(key, int) else dict):
            return False
        if isinstance(target, dict):
            target.setdefault(key)
        elif key == len(target):
            target.append(None)
        elif key > len(target):
            return False  # the elements of a list arrive in order
        before = target[key]
        if following is None:
            if isinstance(before, (list, dict)):
                return False
            target[key] = before + value if isinstance(before, str) and isinstance(value, str) else value
        elif before is None:
            target[key] = [] if isinstance(following, int) else {}
        target = target[key]
    return True
