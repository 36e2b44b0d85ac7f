"""Tool calls for APIs that have arguments as an object and may have no call ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from acytoo.dialects.json import UNDECODABLE, dumps
from acytoo.errors import ProtocolError
from acytoo.types import Finish, JSONObject


def arguments_object(arguments: Any) -> JSONObject | None:
    """Return a call's arguments as an object, {} if there are none, None if they are not one JSON object."""
    if isinstance(arguments, Mapping):
        return dict(arguments)
    if not arguments or not arguments.strip():
        return {}
    try:
        decoded: JSONObject = msgspec.json.decode(arguments, type=JSONObject)
    except (*UNDECODABLE, UnicodeEncodeError):
        return None
    return decoded


def parse_arguments(name: str, arguments: str, finish: Finish | None) -> JSONObject | None:
    """Return the arguments of a model's call as an object, None if the token limit cut them.

    Raises ProtocolError if they are not one JSON object for any other reason.
    """
    decoded = arguments_object(arguments)
    if decoded is None and (finish is None or finish.reason != "length"):
        raise ProtocolError(f"the model's arguments for {name!r} are not a JSON object")
    return decoded


def arguments_text(arguments: Any) -> str:
    """Return a call's arguments as JSON text, whether they are text or an object. A lone surrogate becomes U+FFFD.

    Raises ProtocolError if they are nested too deeply.
    """
    if isinstance(arguments, str):
        return arguments
    try:
        return dumps(arguments or {}, surrogates="replace").decode()
    except RecursionError as error:
        raise ProtocolError("the arguments of a call are nested too deeply") from error


class CallIds:
    """Call ids of one conversation, for APIs that have none: the same ids each time the conversation is decoded."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []
        self._count = 0

    def for_call(self, name: str, own_id: str | None = "") -> str:
        """Return the id of the next call: its own, else a new one."""
        call_id = own_id or f"call_{self._count}"
        self._count += 1
        self._open.append((call_id, name))
        return call_id

    def for_result(self, name: str | None = "", own_id: str | None = "") -> str:
        """Return the id of a result's call: its own, else that of the oldest open call, preferring this name."""
        if own_id:
            self._open = [call for call in self._open if call[0] != own_id]
            return own_id
        index = next((i for i, call in enumerate(self._open) if call[1] == name), 0)
        if not self._open:
            return self.for_call(name or "") and self._open.pop()[0]
        return self._open.pop(index)[0]
