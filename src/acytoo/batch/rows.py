"""The rows of a batch: read from files one by one, never held together.

A row that cannot be read is a row with an `error`, so that the others go on.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec

from acytoo.batch.ids import IdSet, RowId
from acytoo.dialects.json import UNDECODABLE
from acytoo.errors import UsageError
from acytoo.types import JSONObject


class Row(msgspec.Struct):
    """One row of the input.

    `number` is that of its line or record, from 1. `id` is its `id` or `custom_id`, else its number.
    """

    number: int
    id: RowId
    fields: JSONObject = {}
    error: UsageError | None = None

    @property
    def is_openai(self) -> bool:
        """Whether this is a request in OpenAI's Batch format."""
        return "custom_id" in self.fields and "body" in self.fields


RowReader: TypeAlias = Generator[Row, None, None]
"""Rows; closing it closes their file."""


def read_rows(path: str, format: str = "") -> RowReader:
    """Yield the rows of a file, or of standard input if `path` is "-".

    `format` is "jsonl", "csv", "tsv" or "parquet"; by default the file's suffix decides. Raises UsageError now if the
    file cannot be opened.
    """
    kind = format or format_of(path)
    if path == "-":
        stream: IO[bytes] = sys.stdin.buffer if sys.stdin is not None else io.BytesIO()
    else:
        try:
            stream = Path(path).open("rb")  # noqa: SIM115 - it is read as long as rows are needed
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return _reading(stream, kind)


def _reading(stream: IO[bytes], kind: str) -> RowReader:
    with stream:
        yield from unique(_READERS[kind](stream))


def format_of(path: str) -> str:
    """Return the format of a file by its suffix; standard input is JSONL. Raises UsageError for an unknown suffix."""
    if path == "-":
        return "jsonl"
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise UsageError(f"unknown format of {path}: expected one of {', '.join(_FORMATS)}, or use --input-format")
    return _FORMATS[suffix]


def row_of(number: int, fields: object) -> Row:
    """Return the row of a decoded record."""
    if isinstance(fields, str):
        fields = {"prompt": fields}
    if not isinstance(fields, Mapping):
        return _bad(number, 'expected an object, such as {"prompt": "Hello"}')
    name = "custom_id" if "custom_id" in fields else "id"
    id = fields.get(name)
    if id is None:
        id = number
    elif isinstance(id, bool) or not isinstance(id, (int, str)):
        return _bad(number, f"its {name} must be text or a whole number, not {type(id).__name__}")
    return Row(number, id, fields if isinstance(fields, dict) else dict(fields))


def unique(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows; one with the id of an earlier row becomes an error."""
    seen = IdSet()
    for row in rows:
        if row.error is None and not seen.add(row.id):
            yield _bad(row.number, f"the id {row.id!r} is that of an earlier row: ids must be unique")
        else:
            yield row


def _bad(number: int, problem: str) -> Row:
    return Row(number, number, error=UsageError(f"row {number}: {problem}"))


def _read_jsonl(stream: Iterable[bytes]) -> Iterator[Row]:
    decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode
    number = 0
    for line in _without_mark(stream):
        number += 1
        try:
            fields = decode(line)
        except UNDECODABLE as error:
            if line.strip():
                yield _bad(number, f"not JSON: {error}")
            continue
        yield row_of(number, fields)


def _read_csv(stream: IO[bytes], delimiter: str = ",") -> Iterator[Row]:
    csv.field_size_limit(_MAX_FIELD)
    lines = (line.decode("utf-8", "surrogateescape") for line in _without_mark(stream))
    records = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        number += header is not None
        try:
            values = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            if header is None:
                raise UsageError(f"cannot read the CSV header: {error}") from error
            yield _bad(number, f"line {records.line_num}: {error}")
            continue
        if header is None:
            header = values
            if len(set(header)) < len(header):
                raise UsageError(f"two columns have the same name: {', '.join(header)}")
        elif not values:  # an empty line
            number -= 1
        elif len(values) != len(header):
            yield _bad(number, f"line {records.line_num} has {len(values)} columns, the header has {len(header)}")
        elif any("\udc80" <= character <= "\udcff" for value in values for character in value if not value.isascii()):
            yield _bad(number, f"line {records.line_num} is not UTF-8")
        else:
            yield row_of(number, dict(zip(header, values, strict=True)))


def _without_mark(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines, the first one without a byte order mark."""
    lines = iter(stream)
    for line in lines:
        yield line.removeprefix(b"\xef\xbb\xbf")
        break
    yield from lines


def _read_tsv(stream: IO[bytes]) -> Iterator[Row]:
    return _read_csv(stream, "\t")


_MAX_FIELD = 16 * 1024 * 1024
"""Bytes of one CSV field. Without a limit, a quotation mark that is never closed would read the complete file."""

_READERS: dict[str, Callable[[IO[bytes]], Iterator[Row]]] = {
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "tsv": _read_tsv,
}

_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
