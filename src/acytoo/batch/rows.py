"""The rows of a batch: read from files one by one, never held together.

A row that cannot be read is a row with an `error`, so that the others go on.
"""

from __future__ import annotations

import asyncio
import codecs
import csv
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from acytoo.batch.ids import IdSet, RowId
from acytoo.dialects.json import UNDECODABLE
from acytoo.errors import MissingExtraError, UsageError
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


class Rows:
    """The rows of an open file. Closing it closes the file."""

    def __init__(self, stream: IO[bytes], rows: Iterator[Row], size: int) -> None:
        self._stream = stream
        self._rows = rows
        self._size = size

    def __iter__(self) -> Rows:
        return self

    def __next__(self) -> Row:
        return next(self._rows)

    @property
    def fraction(self) -> float | None:
        """How much of the file has been read, from 0 to 1, or None if that is unknown."""
        if not self._size:
            return None
        return 1.0 if self._stream.closed else min(1.0, self._stream.tell() / self._size)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read_rows(path: str, format: str = "", columns: Iterable[str] = ()) -> Rows:
    """Return the rows of a file, or of standard input if `path` is "-".

    `format` is "jsonl", "csv", "tsv" or "parquet"; by default the file's suffix decides. Raises UsageError now if the
    file cannot be opened or is UTF-16, or if a format with named columns has not all of `columns`.
    """
    kind = format or format_of(path)
    try:
        # Not `sys.stdin.buffer`: a thread that waits in it would stop the interpreter from ending.
        stream = open(0, "rb", closefd=False) if path == "-" else Path(path).open("rb")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        if path != "-" and stream.peek(2).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UsageError(f"{path} is UTF-16: convert it to UTF-8, such as with iconv -f UTF-16 -t UTF-8")
        rows = unique(_READERS[kind](stream, frozenset(columns)))
    except BaseException:
        stream.close()
        raise
    has_position = path != "-" and kind != "parquet"
    return Rows(stream, rows, os.fstat(stream.fileno()).st_size if has_position else 0)


def is_pipe(path: str) -> bool:
    """Return whether reading the rows may wait for another process."""
    return path == "-" and not stat.S_ISREG(os.fstat(0).st_mode)


class ThreadedRows:
    """Rows that a thread reads, because they come from a pipe; the event loop never waits for it.

    The thread is left alone when the rows are closed: nothing can interrupt its read.
    """

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._read: deque[Row | None] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> ThreadedRows:
        return self

    async def __anext__(self) -> Row:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            threading.Thread(target=self._run, name="acytoo-rows", daemon=True).start()
        while not self._read:
            waiter = self._waiter = self._loop.create_future()
            if not self._read:  # otherwise the thread may not have seen the waiter
                await waiter
        row = self._read.popleft()
        if row is None:
            self._read.append(None)
            raise StopAsyncIteration
        if len(self._read) == _READ_AHEAD // 2:
            with self._changed:
                self._changed.notify()
        return row

    def close(self) -> None:
        """Read no further."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        try:
            for row in self._rows:
                if not self._put(row):
                    return
        finally:
            self._put(None)

    def _put(self, row: Row | None) -> bool:
        """Hand a row over once there is room. Return whether more are wanted."""
        with self._changed:
            while len(self._read) >= _READ_AHEAD and not self._is_closed:
                self._changed.wait()
            self._read.append(row)
            waiter, self._waiter = self._waiter, None
        if waiter is not None and self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(_wake, waiter)
        return not self._is_closed


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


_READ_AHEAD = 1000
"""Rows that a thread reads before they are needed."""


def format_of(path: str) -> str:
    """Return the format of a file by its suffix; standard input is JSONL. Raises UsageError for an unknown suffix."""
    if path == "-":
        return "jsonl"
    suffix = Path(path).suffix.lower()
    if suffix in _COMPRESSED:
        raise UsageError(f"{path} is compressed: pipe what it contains into `acytoo batch -`")
    if suffix not in _FORMATS and Path(path).is_dir():
        raise UsageError(f"cannot read {path}: it is a folder; give a file of prompts")
    if suffix not in _FORMATS:
        raise UsageError(f"unknown format of {path}: expected one of {', '.join(_FORMATS)}, or use --input-format")
    return _FORMATS[suffix]


def check_output_format(path: Path) -> None:
    """Raise UsageError for a suffix whose format is read, and never written."""
    suffix = path.suffix.lower()
    if suffix in _COMPRESSED or _FORMATS.get(suffix) in ("csv", "tsv"):
        raise UsageError(f"cannot write {path} as {suffix}: replies are written as JSONL, or as a table to .parquet")


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


def _read_jsonl(stream: Iterable[bytes], columns: frozenset[str]) -> Iterator[Row]:
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


def _read_csv(stream: IO[bytes], columns: frozenset[str], delimiter: str = ",") -> Iterator[Row]:
    csv.field_size_limit(_MAX_FIELD)
    lines = (line.decode("utf-8", "surrogateescape") for line in _without_mark(stream))
    records = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = next(records, [])
    except csv.Error as error:
        raise UsageError(f"cannot read the CSV header: {error}") from error
    if len(set(header)) < len(header):
        raise UsageError(f"two columns have the same name: {', '.join(header)}")
    _check_columns(header, columns)
    return _csv_rows(records, header)


def _csv_rows(records: Any, header: list[str]) -> Iterator[Row]:
    number = 0
    while True:
        number += 1
        try:
            values = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            yield _bad(number, f"line {records.line_num}: {error}")
            continue
        if not values:  # an empty line
            number -= 1
        elif len(values) != len(header):
            yield _bad(number, f"line {records.line_num} has {len(values)} columns, the header has {len(header)}")
        elif any("\udc80" <= character <= "\udcff" for value in values for character in value if not value.isascii()):
            yield _bad(number, f"line {records.line_num} is not UTF-8")
        else:
            yield row_of(number, dict(zip(header, values, strict=True)))


def _check_columns(header: Iterable[str], columns: frozenset[str]) -> None:
    """Raise UsageError now if every row would lack a column."""
    header = list(header)
    for column in sorted(columns.difference(header)):
        hint = "; --prompt makes a prompt of other columns" if column == "prompt" and header else ""
        raise UsageError(f"no column {column!r}: the input has {', '.join(header) or 'no columns'}{hint}")


def _without_mark(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines, the first one without a byte order mark."""
    lines = iter(stream)
    for line in lines:
        yield line.removeprefix(b"\xef\xbb\xbf")
        break
    yield from lines


def _read_tsv(stream: IO[bytes], columns: frozenset[str]) -> Iterator[Row]:
    return _read_csv(stream, columns, "\t")


def import_parquet() -> Any:
    """Import pyarrow with its Parquet library. Raises MissingExtraError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Parquet", "parquet") from error
    return pyarrow


def _read_parquet(stream: IO[bytes], columns: frozenset[str]) -> Iterator[Row]:
    pyarrow = import_parquet()
    try:
        file = pyarrow.parquet.ParquetFile(stream)
    except pyarrow.ArrowException as error:
        raise UsageError(f"cannot read the Parquet file: {error}") from error
    _check_columns(file.schema_arrow.names, columns)
    return _parquet_rows(file, pyarrow.ArrowException)


def _parquet_rows(file: Any, failure: type[Exception]) -> Iterator[Row]:
    number = 0
    try:
        for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
            for fields in batch.to_pylist():
                number += 1
                yield row_of(number, fields)
    except failure as error:
        raise UsageError(f"cannot read the Parquet file: {error}") from error


_PARQUET_ROWS = 200
"""Rows that are decoded at a time."""


_MAX_FIELD = 16 * 1024 * 1024
"""Bytes of one CSV field. Without a limit, a quotation mark that is never closed would read the complete file."""

_READERS: dict[str, Callable[[IO[bytes], frozenset[str]], Iterator[Row]]] = {
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "tsv": _read_tsv,
    "parquet": _read_parquet,
}
"""Each format's reader. It checks the columns at once, if the format has a header."""

_COMPRESSED = frozenset({".gz", ".zst", ".bz2", ".xz", ".zip"})

_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
