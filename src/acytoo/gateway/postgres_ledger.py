"""The ledger in PostgreSQL, for several replicas.

One connection writes, for one batch at a time, and every other query has its own. A statement that takes too long
is given up and its connection closed. Whether such a batch was committed is not known, so it is sent again: the primary
key keeps its rows from being there twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from acytoo.errors import AcytooError, MissingExtraError, UnreachableError
from acytoo.gateway import ledger_sql
from acytoo.gateway.ledger import AHEAD, BufferedLedger, Row, Total, UsageRow
from acytoo.secret import Secret, mask_url, redact, split_url

if TYPE_CHECKING:
    import asyncpg

_CONNECT_WITHIN = 10.0
_STATEMENT_WITHIN = 30.0

_LOCK = 0x4163_7974_6F6F
"""The advisory lock under which tables are created: replicas start at the same time."""

_WHOLE = "FLOOR({})::bigint"
"""The whole part of a number that is not negative."""

_ARRAYS = {"TEXT": "text[]", "BIGINT": "bigint[]", "DOUBLE PRECISION": "float8[]"}
_arrays = ", ".join(f"${number}::{_ARRAYS[name]}" for number, name in enumerate(ledger_sql.COLUMN_TYPES, 1))
_INSERT = (
    f"WITH added AS (INSERT INTO ledger ({', '.join(ledger_sql.COLUMNS)}) SELECT * FROM unnest({_arrays})"
    " ON CONFLICT (writer, sequence) DO NOTHING RETURNING *) "
) + ledger_sql.change_days("added WHERE TRUE", _WHOLE)
# Replicas that delete at the same time do not wait for one another.
_PRUNE = (
    "WITH deleted AS (DELETE FROM ledger WHERE ctid = ANY(ARRAY("
    "SELECT ctid FROM ledger WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING *), "
    f"changed AS ({ledger_sql.change_days('deleted WHERE TRUE', _WHOLE, sign='-')}) "
    "SELECT COUNT(*) FROM deleted"
)
_PRUNE_DAYS = (
    "DELETE FROM ledger_days WHERE ctid = ANY(ARRAY("
    f"SELECT ctid FROM ledger_days WHERE {ledger_sql.IS_EMPTY} AND day <= $1 FOR UPDATE SKIP LOCKED))"
)


class PostgresLedger(BufferedLedger):
    """A ledger in a PostgreSQL database, whose tables are created if they do not exist."""

    def __init__(self, url: Secret, *, read_only: bool = False) -> None:
        self._url = url
        parts = split_url(url.reveal())
        self._secrets = [url, Secret(parts.password or "" if parts is not None else "")]
        self._parameters = [name for name, _ in parse_qsl(parts.query)] if parts is not None else []
        super().__init__(f"ledger {mask_url(url.reveal())}")
        self._read_only = read_only
        self._connection: asyncpg.Connection[Any] | None = None

    async def open(self) -> None:
        """Connect, and create the tables or check their version. Raises UnreachableError or AcytooError."""
        if not self._read_only:
            async with self._errors(is_writer=True):
                await self._connected()
            return
        async with self._errors():
            connection = await self._connect()
            try:
                ledger_sql.check_version(await connection.fetchval(ledger_sql.SELECT_VERSION))
            finally:
                await _disconnect(connection)

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
        ((deleted,),) = await self._fetch(_PRUNE, before, most)
        await self._fetch(_PRUNE_DAYS, ledger_sql.day_of(before))
        return int(deleted)

    async def _write(self, place: int, rows: Sequence[Row]) -> None:
        columns = ledger_sql.columns_of(self._writer, place, rows)
        async with self._errors(is_writer=True):
            connection = await self._connected()
            await connection.execute(_INSERT, *columns)

    async def _close(self) -> None:
        if self._connection is not None:
            await _disconnect(self._connection)
            self._connection = None

    async def _connected(self) -> asyncpg.Connection[Any]:
        """Return the writer's connection, or open it. The tables are created, or their version checked.

        A user who may only read and write needs tables that exist: even `CREATE TABLE IF NOT EXISTS` would be refused.
        """
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self._connection = connection = await self._connect()
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            if await connection.fetchval("SELECT to_regclass('ledger_version') IS NULL"):
                for statement in ledger_sql.CREATE:
                    await connection.execute(statement)
            ledger_sql.check_version(await connection.fetchval(ledger_sql.SELECT_VERSION))
            for table, right in (("ledger", "INSERT"), ("ledger_days", "INSERT"), ("ledger_days", "UPDATE")):
                if not await connection.fetchval("SELECT has_table_privilege($1, $2)", table, right):
                    raise AcytooError(f"this user may not {right} the table {table}: GRANT it")
        return connection

    async def _fetch(self, query: str, *arguments: Any) -> list[Any]:
        async with self._errors():
            connection = await self._connect()
            try:
                records: list[Any] = await connection.fetch(query, *arguments)
                return records
            finally:
                await _disconnect(connection)

    async def _connect(self) -> asyncpg.Connection[Any]:
        try:
            import asyncpg
        except ImportError as error:
            raise MissingExtraError("a ledger in PostgreSQL", "postgres") from error
        try:
            return await asyncpg.connect(
                self._url.reveal(),
                timeout=_CONNECT_WITHIN,
                command_timeout=_STATEMENT_WITHIN,
                statement_cache_size=0,  # PgBouncer shares a connection between clients
                server_settings={"application_name": "acytoo"},  # PgBouncer refuses settings that it does not know
            )
        except (asyncpg.UndefinedObjectError, asyncpg.ProtocolViolationError) as error:
            # Of libpq's parameters asyncpg knows some, and sends others to the server: the `channel_binding` of Neon.
            if any(name in str(error) for name in self._parameters):
                raise AcytooError(f"{error}: leave it out of the URL") from None
            raise

    @asynccontextmanager
    async def _errors(self, *, is_writer: bool = False) -> AsyncIterator[None]:
        """Raise the errors of PostgreSQL and of the network as AcytooError, without the password."""
        try:
            yield
        except (MissingExtraError, asyncio.CancelledError):
            raise
        except Exception as error:
            if is_writer:
                await self._close()
            reason = redact(str(error) or type(error).__name__, self._secrets)
            kind = UnreachableError if isinstance(error, OSError) else AcytooError
            raise kind(f"{self._name}: {reason}") from None  # asyncpg's errors may quote the URL


async def _disconnect(connection: asyncpg.Connection[Any]) -> None:
    """Close a connection without waiting for a server that does not answer."""
    try:
        await connection.close(timeout=1)
    except Exception:
        connection.terminate()
