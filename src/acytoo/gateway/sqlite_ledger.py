"""The ledger in one SQLite file.

All writes are made by one thread, so that the event loop never waits for the disk. WAL lets queries run beside them,
and several processes share the file. `synchronous=FULL` makes a commit survive a power failure: at two commits a second
that costs nothing. Space of deleted rows is returned to the disk, a part with each batch. After an error the connection
is closed and the next try opens the file again, so that a ledger recovers when the disk has space again, or when
somebody has moved a damaged file away.
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

from acytoo._files import create_private
from acytoo.errors import AcytooError
from acytoo.gateway import ledger_sql
from acytoo.gateway.ledger import AHEAD, BufferedLedger, Row, Total, UsageRow

_BUSY = 2.0
"""Seconds to wait for the lock of another process in one try: few, because `close` waits for the thread."""

_CHECKED_SIZE = 64 * 1024**2
"""Bytes up to which a file is checked completely before the start: that takes a quarter of a second, all of it."""

_TOGETHER = 32
"""Rows in one statement, which is a sixth faster than one statement for each; SQLite before 3.32 takes 999 values."""

_STEPS = 100_000
"""Steps of SQLite after which a query looks whether it is cancelled: a few milliseconds."""

_PAGES = 1000
"""Pages that a batch of deleted rows returns to the disk at most: more than it has, because some may be left over."""

_WHOLE = "CAST({} AS INTEGER)"
"""The whole part of a number that is not negative."""

_names = ", ".join(ledger_sql.COLUMNS)
_marks = ", ".join("?" for _ in ledger_sql.COLUMNS)
_OLD = "rowid IN (SELECT rowid FROM ledger WHERE at < ? ORDER BY at LIMIT ?)"
_PRUNE = (ledger_sql.change_days(f"ledger WHERE {_OLD}", _WHOLE, sign="-"), f"DELETE FROM ledger WHERE {_OLD}")
_PRUNE_DAYS = f"DELETE FROM ledger_days WHERE {ledger_sql.IS_EMPTY} AND day <= ?"
_LAST = "SELECT MAX(sequence) FROM ledger WHERE writer = ?"
_ADD_TO_DAYS = ledger_sql.change_days("ledger WHERE rowid > ?", _WHOLE, differ=["day"])
_dimensions_of = itemgetter(*map(ledger_sql.COLUMNS.index, ledger_sql.DIMENSIONS))


class SQLiteLedger(BufferedLedger):
    """A ledger in a SQLite file, which is created if it does not exist."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(f"ledger {str(path)!r}")
        self._path = path.absolute()
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        """The device and inode of the open file."""
        self._thread = ThreadPoolExecutor(1, "acytoo-ledger")

    async def open(self) -> None:
        """Open or create the file, and check it. Raises AcytooError if it is damaged or cannot be written."""
        try:
            await self._run(self._check)
        except AcytooError:
            self._thread.shutdown()
            raise

    async def totals(self, since: float) -> list[Total]:
        """Return what each key and each upstream has used since a day. A clock that was ahead does not count."""
        days = ledger_sql.day_of(since), ledger_sql.day_of(time.time() + AHEAD)
        return ledger_sql.total_rows(await self._fetch(ledger_sql.TOTALS, *days))

    async def usage(self, since: float, until: float, by: Sequence[str], key: str | None = None) -> list[UsageRow]:
        """Return the sums of the rows from `since` until before `until`, grouped and ordered by `by`."""
        query, arguments = ledger_sql.usage_query(since, until, by, key, _WHOLE)
        async with self._queries:
            return ledger_sql.usage_rows(by, await self._fetch(query, *arguments))

    async def prune(self, before: float, most: int) -> int:
        """Delete at most so many rows from before a Unix time, the oldest first, and return how many were deleted."""
        deleted: int = await self._run(self._delete, before, most)
        return deleted

    async def _write(self, place: int, rows: Sequence[Row]) -> None:
        await self._run(self._insert, place, rows)

    async def _close(self) -> None:
        await self._run(self._disconnect)
        self._thread.shutdown()

    async def _fetch(self, query: str, *arguments: Any) -> list[Any]:
        is_cancelled = threading.Event()
        try:
            return await asyncio.to_thread(self._select, query, arguments, is_cancelled.is_set)
        finally:
            is_cancelled.set()

    async def _run(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    # In the thread.

    def _check(self) -> None:
        if self._read_only:
            self._select(ledger_sql.SELECT_VERSION, ())
            return
        connection = self._connect()
        with self._errors():
            table = "" if self._path.stat().st_size <= _CHECKED_SIZE else "ledger_days"
            if (found := connection.execute(f"PRAGMA quick_check({table or 1})").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)

    def _connect(self) -> sqlite3.Connection:
        """Return the open connection, or open the file. The tables are created, or their version checked."""
        if self._connection is not None and self._file == _identity(self._path):
            return self._connection
        self._disconnect()
        with self._errors():
            with suppress(OSError):  # SQLite reports it
                create_private(self._path)
            self._connection = connection = sqlite3.connect(
                self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has an effect on a new file only
            _use_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in ledger_sql.CREATE:
                connection.execute(statement)
            ledger_sql.check_version(connection.execute(ledger_sql.SELECT_VERSION).fetchone()[0])
            connection.execute("COMMIT")
            self._file = _identity(self._path)
        return connection

    def _insert(self, place: int, rows: Sequence[Row]) -> None:
        connection = self._connect()
        values = [*zip(*ledger_sql.columns_of(self._writer, place, rows), strict=True)]
        with self._errors():
            connection.execute("BEGIN IMMEDIATE")
            last = connection.execute(_LAST, (self._writer,)).fetchone()[0]
            if last is not None and last >= place:  # written before, but the commit was not acknowledged
                values = values[last + 1 - place :]
            # SQLite would sort the rows for their sums, which takes it a quarter of the time for all that is done here.
            groups: defaultdict[tuple[Any, ...], list[Sequence[Any]]] = defaultdict(list)
            for row in values:
                groups[_dimensions_of(row)].append(row)
            for group in groups.values():
                _add(connection, group)
            connection.execute("COMMIT")

    def _delete(self, before: float, most: int) -> int:
        connection = self._connect()
        with self._errors():
            connection.execute("BEGIN IMMEDIATE")
            for statement in _PRUNE:
                deleted = connection.execute(statement, (before, most)).rowcount
            connection.execute(_PRUNE_DAYS, (ledger_sql.day_of(before),))
            connection.execute("COMMIT")
            connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")  # `execute` stops after the first page
        return deleted

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _select(
        self, query: str, arguments: Sequence[Any], is_cancelled: Callable[[], bool] | None = None
    ) -> list[Any]:
        """Return the records of a query, on a connection of its own that cannot write.

        SQLite ends it when it is cancelled: who asks and leaves, again and again, would else take all threads.
        """
        if not self._path.exists():
            raise AcytooError(f"{self._name} does not exist")
        with self._errors(is_writer=False):
            uri = f"{self._path.as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, timeout=_BUSY, isolation_level=None, uri=True)) as connection:
                connection.set_progress_handler(is_cancelled, _STEPS)
                ledger_sql.check_version(connection.execute(ledger_sql.SELECT_VERSION).fetchone()[0])
                named = {str(number): value for number, value in enumerate(arguments, 1)}
                return connection.execute(query, named).fetchall()

    @contextmanager
    def _errors(self, *, is_writer: bool = True) -> Iterator[None]:
        """Raise the errors of SQLite as AcytooError with the file's name and advice. The writer is disconnected."""
        try:
            yield
        except (sqlite3.Error, AcytooError) as error:
            if is_writer:
                self._disconnect()
            raise AcytooError(f"{self._name}: {error}{_advice(error)}") from error


def _add(connection: sqlite3.Connection, values: Sequence[Sequence[Any]]) -> None:
    """Add rows that differ in none of the dimensions, and their sums."""
    added = last = 0
    while left := len(values) - added:
        number = min(_TOGETHER, 1 << left.bit_length() - 1)  # a power of two: few statements to prepare
        arguments: list[Any] = []
        for row in values[added : added + number]:
            arguments += row
        last = connection.execute(_insert(number), arguments).lastrowid or 0
        added += number
    # These rows have the highest numbers: nobody else writes during the transaction.
    connection.execute(_ADD_TO_DAYS, (last - added,))


@functools.cache
def _insert(number: int) -> str:
    """Return the statement that adds so many rows."""
    return f"INSERT INTO ledger ({_names}) VALUES " + ", ".join([f"({_marks})"] * number)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL. SQLite does not wait for a lock here while other processes do the same."""
    until = time.monotonic() + _BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what identifies a file, None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _advice(error: Exception) -> str:
    """Return what to do about an error of SQLite."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (type(error) is sqlite3.DatabaseError and not code):
        return ": the file is damaged; move it away, or put a backup in its place"
    return {
        sqlite3.SQLITE_FULL: ": make space on its disk",
        sqlite3.SQLITE_BUSY: ": another process holds a lock on it",
        sqlite3.SQLITE_READONLY: ": make the file and its folder writable",
        sqlite3.SQLITE_CANTOPEN: ": its folder must exist and be writable",
    }.get(code, "")
