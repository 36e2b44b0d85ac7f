"""The cache in a SQLite file, which survives a restart and which several processes of one machine share.

One thread does all of it, so that the event loop never waits for the disk. Replies that are lost can be had again, so a
commit does not wait for the disk either: `synchronous=NORMAL` with a WAL may lose the last ones, but not the file.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from acytoo._files import create_private
from acytoo.errors import UsageError
from acytoo.gateway.cache import LOG, MOST_BYTES, MOST_ENTRIES

T = TypeVar("T")

_BUSY = 0.5
"""Seconds to wait for the lock of another process."""

_PAUSE = 5.0
"""Seconds without a cache after a failure."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
  key BLOB PRIMARY KEY, at REAL NOT NULL, seconds REAL NOT NULL, size INTEGER NOT NULL, value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS replies_at ON replies (at, size);
"""

_AHEAD = 60.0
"""Seconds that the clocks of two processes may differ. A reply that is dated later is from a clock that was wrong."""

_EXCESS = """
DELETE FROM replies WHERE key IN (
  SELECT key FROM (
    SELECT key, sum(size) OVER latest AS bytes, row_number() OVER latest AS number
    FROM replies WINDOW latest AS (ORDER BY at DESC, rowid DESC ROWS UNBOUNDED PRECEDING)
  ) WHERE bytes > ? OR number > ?
)
"""
"""The oldest make room."""


class SQLiteCache:
    """Replies in a SQLite file, which is created if it does not exist."""

    def __init__(
        self,
        path: Path,
        most_bytes: int = MOST_BYTES,
        most_entries: int = MOST_ENTRIES,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Open the file. `now` is the clock. Raises UsageError if the file cannot be opened."""
        self._path = path.absolute()
        self._now = now
        self._limits = most_bytes, most_entries
        self._connection: sqlite3.Connection | None = None
        self._try_again_at = 0.0
        self._thread = ThreadPoolExecutor(1, "acytoo-cache")
        try:
            self._thread.submit(self._open).result()
        except (sqlite3.Error, OSError) as error:
            self._thread.shutdown()
            raise UsageError(f"cannot open the cache {str(path)!r}: {error}") from error

    async def get(self, key: bytes) -> bytes | None:
        """Return a reply that has not expired."""
        return await self._run(lambda file: self._get(file, key))

    async def put(self, key: bytes, value: bytes, seconds: float) -> None:
        """Keep a reply, unless it is larger than the cache."""
        if len(value) <= self._limits[0]:
            await self._run(lambda file: self._put(file, key, value, seconds))

    async def close(self) -> None:
        """Close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return what the work returns in the thread, None if the file cannot be used."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._try, work)

    # In the thread.

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        if time.monotonic() < self._try_again_at:
            return None
        try:
            return work(self._connection or self._open())
        except (sqlite3.Error, OSError) as error:
            LOG.error("cannot use the cache %s, for %g s requests go without it: %s", self._path, _PAUSE, error)
            self._try_again_at = time.monotonic() + _PAUSE
            self._close()
            return None

    def _open(self) -> sqlite3.Connection:
        with suppress(OSError):  # SQLite reports it
            create_private(self._path)
        file = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None)
        try:
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
                file.execute(f"PRAGMA {pragma}")
            file.executescript(_SCHEMA)
        except sqlite3.Error:
            file.close()
            raise
        self._connection = file
        return file

    def _get(self, file: sqlite3.Connection, key: bytes) -> bytes | None:
        now = self._now()
        query = "SELECT value FROM replies WHERE key = ? AND at + seconds > ? AND at <= ?"
        row = file.execute(query, (key, now, now + _AHEAD)).fetchone()
        return row[0] if row is not None else None

    def _put(self, file: sqlite3.Connection, key: bytes, value: bytes, seconds: float) -> None:
        now = self._now()
        file.execute("BEGIN IMMEDIATE")
        try:
            file.execute(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?)", (key, now, seconds, len(value), value)
            )
            file.execute("DELETE FROM replies WHERE at + seconds <= ? OR at > ?", (now, now + _AHEAD))
            file.execute(_EXCESS, self._limits)
        except BaseException:
            file.execute("ROLLBACK")
            raise
        file.execute("COMMIT")

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
