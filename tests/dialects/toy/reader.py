"""Replies of the toy API: bytes to items."""

from __future__ import annotations

from typing import Any

import msgspec

from acytoo.dialects.error_bodies import error_from_event
from acytoo.dialects.json import UNDECODABLE
from acytoo.dialects.readers import RecordReader, bare_error
from acytoo.types import Finish, Item
from acytoo.wire.ndjson import NDJSONDecoder


class Line(msgspec.Struct):
    """One line of a reply."""

    piece: str | None = None
    finish: str | None = None
    error: Any = None


decode = msgspec.json.Decoder(Line).decode


def items_of(line: Line) -> list[Item]:
    """Return the items of a line. Raises StatusError if it reports an error."""
    if line.error is not None:
        raise error_from_event(line.error)
    items: list[Item] = [line.piece] if line.piece else []
    return [*items, Finish(line.finish)] if line.finish is not None else items


class LineReader(RecordReader):
    """A reader of a streamed reply."""

    ending = "a line with finish"

    def __init__(self, name: str) -> None:
        super().__init__(name, NDJSONDecoder())
        self._finished = False

    @property
    def complete(self) -> bool:
        return self._finished

    def read(self, records: list[bytes], items: list[Item]) -> None:
        for record in records:
            if self._finished:
                break
            try:
                line = decode(record)
            except UNDECODABLE:
                line = self.decode_unusual(record, Line)
            if line == Line() and (error := bare_error(record)) is not None:
                raise error_from_event(error)
            items += items_of(line)
            self._finished = line.finish is not None
