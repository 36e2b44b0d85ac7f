"""Tool calls of the APIs that want arguments as an object and may give a call no id."""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.json import UNDECODABLE, dumps
from acytoo.errors import ProtocolError
from acytoo.types import Finish


def arguments_object(arguments: Any) -> dict[str, Any] | None:
    """A call's arguments as an object, empty where there are none; None for what is not one whole JSON object."""
    if isinstance(arguments, dict):
        return arguments
    if not arguments or not arguments.strip():
        return {}
    try:
        found: dict[str, Any] = msgspec.json.decode(arguments, type=dict[str, Any])
    except (*UNDECODABLE, UnicodeEncodeError):
        return None
    return found


def called_with(name: str, arguments: str, finish: Finish | None) -> dict[str, Any] | None:
    """The arguments a model called with as an object; None where the token limit cut them.

    Raises ProtocolError for others that are not one whole JSON object.
    """
    found = arguments_object(arguments)
    if found is None and (finish is None or finish.reason != "length"):
        raise ProtocolError(f"the model's arguments for {name!r} are not a JSON object")
    return found


def arguments_text(arguments: Any) -> str:
    """A call's arguments as JSON text, however a server or client gave them; U+FFFD for half a character.

    Raises ProtocolError for what is nested too deeply.
    """
    if isinstance(arguments, str):
        return arguments
    try:
        return dumps(arguments or {}, surrogates="replace").decode()
    except RecursionError as error:
        raise ProtocolError("the arguments of a call are nested too deeply") from error


class CallIds:
    """Ids for the calls of one conversation, the same each time it is read; a result finds its call by id or name."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []
        self._count = 0

    def called(self, name: str, given: str | None = "") -> str:
        """The id of the next call."""
        call_id = given or f"call_{self._count}"
        self._count += 1
        self._open.append((call_id, name))
        return call_id

    def answered(self, name: str | None = "", given: str | None = "") -> str:
        """The id of the call that a result answers: the oldest unanswered one that fits, else the oldest."""
        if given:
            self._open = [call for call in self._open if call[0] != given]
            return given
        index = next((i for i, call in enumerate(self._open) if call[1] == name), 0)
        if not self._open:
            return self.called(name or "") and self._open.pop()[0]
        return self._open.pop(index)[0]
