"""The ledger: one row for every attempt, kept in memory until a database has it.

A request must not wait for the database, and the event loop must not either. So rows are added to a list, and a task
writes the list half a second later, in one transaction. Each row has a place in the sequence of its writer, which is
its primary key: a row whose commit was not acknowledged is written again and is still there only once. If the database
is away, the rows stay in the list, and `is_full` reports when there are so many that no more should be caused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from acytoo.errors import AcytooError, UsageError
from acytoo.secret import Secret, mask_url, show

_LOG = logging.getLogger("acytoo.gateway")

FLUSH_INTERVAL = 0.5
"""Seconds from the first row in memory to the start of its writing."""

MOST_ROWS = 100_000
"""Rows in memory at which `is_full` becomes true."""

BATCH = 2_000
"""Rows in one transaction."""

AHEAD = 60.0
"""Seconds that the clocks of two writers may differ. Totals leave out days that are further in the future."""

_LONGEST_PAUSE = 5.0
"""Seconds between two tries while the database is away."""

_LOG_EVERY = 60.0
"""Seconds between two reports that the database is away."""

_QUERIES = 2
"""Queries of usage at the same time: each has a connection or a thread of its own, and any key may ask for its usage.

Budgets that are restored do not wait for them.
"""

_CLOSE_WITHIN = 8.0
"""Seconds that `close` tries; containers are killed ten seconds after SIGTERM."""


class Row(msgspec.Struct, gc=False):
    """One attempt to answer a request.

    `attempt` counts from 1; it is 0 in the row of a request for which no upstream was asked. `at` is the Unix time at
    which the attempt began. `model` is the name that the caller asked for, `target` the `UPSTREAM/MODEL` that was
    asked, `status` the HTTP status of the upstream (of our refusal, if no upstream was asked), 0 if there was none.
    Token counts are as in `Usage`. `cost` is in nanodollars, None if the price is unknown. `first_content` and
    `seconds` are durations.
    """

    request_id: str
    attempt: int
    at: float
    key: str = ""
    dialect: str = ""
    model: str = ""
    target: str = ""
    upstream: str = ""
    status: int = 0
    outcome: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    is_estimated: bool = False
    cost: int | None = None
    first_content: float | None = None
    seconds: float = 0.0


class Total(msgspec.Struct, frozen=True):
    """What a key or an upstream has used.

    `subject` is "key" or "upstream", `cost` is in nanodollars, `last` the Unix time of the last row.
    """

    subject: str
    name: str
    requests: int
    tokens: int
    cost: int
    last: float


class UsageRow(msgspec.Struct, frozen=True):
    """The sums of one group of rows.

    A request is counted in the group of its first attempt, or of its refusal. `attempts` counts what was sent to
    upstreams, `estimated` the attempts without reported token counts, `unpriced` those with tokens but no known
    price; `cost`, in nanodollars, leaves them out, and is None if there is no other. `first_content` and `seconds`
    are means, the first one over `first_contents` attempts, the second one over all.
    """

    group: dict[str, str]
    requests: int
    attempts: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated: int
    cost: int | None
    unpriced: int
    first_contents: int
    first_content: float | None
    seconds: float | None


class Ledger(Protocol):
    """Where rows are written, and read as sums."""

    @property
    def is_full(self) -> bool:
        """Whether so many rows wait for the database that no request should add one."""

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows until they are written. Never waits and never raises."""

    async def flush(self) -> None:
        """Write every row added so far. Raises AcytooError if the database does not take them."""

    async def close(self) -> None:
        """Write what is left and close the database. Never raises."""

    async def totals(self, since: float) -> list[Total]:
        """Return what each key and each upstream has used from the day (UTC) of a Unix time until today."""

    async def usage(self, since: float, until: float, by: Sequence[str], key: str | None = None) -> list[UsageRow]:
        """Return the sums of the rows from `since` until before `until`, grouped and ordered by `by`.

        With a key, only its rows are counted. Raises UsageError for a group that is not in `GROUPS`, and if there are
        more than 10,000 groups.
        """

    async def prune(self, before: float, most: int) -> int:
        """Delete at most so many rows from before a Unix time, the oldest first, and return how many were deleted."""


GROUPS = ("key", "dialect", "model", "target", "upstream", "status", "outcome", "day", "hour")
"""What `Ledger.usage` can group by. Days and hours are UTC's."""


class NoLedger:
    """A ledger that keeps nothing."""

    is_full = False

    def add(self, rows: Sequence[Row]) -> None:
        """Forget the rows."""

    async def flush(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def totals(self, since: float) -> list[Total]:
        """Return nothing."""
        return []

    async def usage(self, since: float, until: float, by: Sequence[str], key: str | None = None) -> list[UsageRow]:
        """Raise UsageError."""
        raise UsageError('there is no ledger: set [storage] ledger = "sqlite:FILE"')

    async def prune(self, before: float, most: int) -> int:
        """Do nothing."""
        return 0


async def open_ledger(url: str | Secret, *, read_only: bool = False) -> Ledger:
    """Return the ledger at a URL: `sqlite:FILE`, `postgresql://…` or `none`.

    Creates the file or the tables, unless `read_only`. Raises UsageError for another URL, AcytooError if the database
    cannot be used.
    """
    text = url.reveal() if isinstance(url, Secret) else url
    scheme, colon, rest = text.partition(":")
    ledger: BufferedLedger
    if text == "none":
        return NoLedger()
    if scheme == "sqlite" and rest and not (rest.startswith("//") and not rest.startswith("///")):
        from acytoo.gateway.sqlite_ledger import SQLiteLedger

        ledger = SQLiteLedger(Path(rest.removeprefix("//")), read_only=read_only)
    elif scheme in ("postgresql", "postgres") and rest.startswith("//"):
        from acytoo.gateway.postgres_ledger import PostgresLedger

        ledger = PostgresLedger(Secret(text), read_only=read_only)
    else:
        shown = mask_url(text) if colon else text
        raise UsageError(f"invalid ledger {show(shown)}: expected 'sqlite:FILE', 'postgresql://…' or 'none'")
    await ledger.open()
    return ledger


class BufferedLedger:
    """Rows in memory, and the task that writes them: what the databases share.

    A subclass has `_write`, and methods to open, close and query its database. It belongs to one event loop.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._writer = secrets.randbits(62)
        """Random, and so unique among the processes that write to the same database."""
        self._rows: list[Row] = []
        self._written = 0
        """How many rows of this writer are written: the place of the first row in memory."""
        self._lock = asyncio.Lock()
        self._queries = asyncio.Semaphore(_QUERIES)
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._reported_at = float("-inf")
        self._is_closed = False

    @property
    def is_full(self) -> bool:
        """Whether so many rows wait for the database that no request should add one."""
        return len(self._rows) >= MOST_ROWS

    def add(self, rows: Sequence[Row]) -> None:
        """Keep rows until they are written. Rows are also kept if the ledger is full: they have been caused."""
        self._rows += rows
        if self._timer is None and self._task is None and self._rows and not self._is_closed:
            self._schedule(FLUSH_INTERVAL)

    async def open(self) -> None:
        """Open the database. Raises AcytooError."""
        raise NotImplementedError

    async def flush(self) -> None:
        """Write every row added so far. Raises AcytooError if the database does not take them."""
        async with self._lock:
            end = self._written + len(self._rows)
            while self._written < end:
                batch = self._rows[: min(BATCH, end - self._written)]
                await self._write(self._written, batch)
                del self._rows[: len(batch)]
                self._written += len(batch)
        if self._failures:
            _LOG.warning("%s takes rows again", self._name)
            self._failures, self._reported_at = 0, float("-inf")

    async def close(self) -> None:
        """Write what is left, for up to eight seconds, and close the database. Never raises."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        error: Exception | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN):
                if self._task is not None:
                    await self._task
                while self._rows:
                    try:
                        await self.flush()
                    except Exception as failure:
                        error = failure
                        await asyncio.sleep(0.2)
        if self._rows:
            _LOG.error("%s: %d rows are lost: %s", self._name, len(self._rows), error or "the database is too slow")
        await self._close()

    async def totals(self, since: float) -> list[Total]:
        """Return what each key and each upstream has used from the day (UTC) of a Unix time until today."""
        raise NotImplementedError

    async def usage(self, since: float, until: float, by: Sequence[str], key: str | None = None) -> list[UsageRow]:
        """Return the sums of the rows from `since` until before `until`, grouped and ordered by `by`."""
        raise NotImplementedError

    async def prune(self, before: float, most: int) -> int:
        """Delete at most so many rows from before a Unix time, the oldest first, and return how many were deleted."""
        raise NotImplementedError

    def _schedule(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._start_task)

    def _start_task(self) -> None:
        self._timer = None
        self._task = asyncio.create_task(self._flush_or_retry())

    async def _flush_or_retry(self) -> None:
        """Write the rows; after a failure, and for rows added meanwhile, schedule the next try."""
        delay = FLUSH_INTERVAL
        try:
            await self.flush()
        except Exception as error:
            self._failures += 1
            delay = min(FLUSH_INTERVAL * 2 ** min(self._failures, 10), _LONGEST_PAUSE)
            self._report(error)
        finally:
            self._task = None
            if self._rows and not self._is_closed:
                self._schedule(delay)

    def _report(self, error: Exception) -> None:
        """Log a failure, unless one was logged in the last minute."""
        now = asyncio.get_running_loop().time()
        if now - self._reported_at >= _LOG_EVERY:
            self._reported_at = now
            reason = error if isinstance(error, AcytooError) else f"{self._name}: {type(error).__name__}: {error}"
            _LOG.error("%s; %d rows are kept in memory, trying again", reason, len(self._rows))

    async def _write(self, place: int, rows: Sequence[Row]) -> None:
        """Write rows, the first of which has this place in the writer's sequence; those written before are ignored."""
        raise NotImplementedError

    async def _close(self) -> None:
        raise NotImplementedError
