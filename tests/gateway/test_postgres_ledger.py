"""The faults that a ledger in PostgreSQL survives, with a real server that is killed, paused and locked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self

import asyncpg
import pytest

from acytoo.errors import AcytooError, UnreachableError
from acytoo.gateway.ledger import FLUSH_INTERVAL, Ledger, Row, open_ledger
from acytoo.secret import Secret
from acytoo.testing import refused_port
from tests.services import Postgres

_SSL_REQUEST = (80877103).to_bytes(4, "big")


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.new_database()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Ledger]:
    ledger = await open_ledger(Secret(url))
    try:
        yield ledger
    finally:
        await ledger.close()


def rows(count: int) -> list[Row]:
    return [Row(request_id=f"r{number}", attempt=1, at=float(number)) for number in range(count)]


async def stored(server: Postgres, url: str) -> list[int]:
    """Return the numbers of the rows in a database."""
    query = "SELECT at FROM ledger ORDER BY at"
    return [int(line) for line in (await asyncio.to_thread(server.query, query, url.rpartition("/")[2])).split()]


async def until(condition: Callable[[], object]) -> None:
    """Return once the condition holds; the event loop keeps running, or this would not end."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_rows_wait_while_the_server_is_down(
    postgres_server: Postgres, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(url) as ledger:
        ledger.add(rows(2))
        await ledger.flush()
        await asyncio.to_thread(postgres_server.kill)
        try:
            ledger.add(rows(4)[2:])
            await until(lambda: caplog.messages)
            ledger.add(rows(5)[4:])
        finally:
            await asyncio.to_thread(postgres_server.start)
        await until(lambda: caplog.messages[-1].endswith("takes rows again"))
    assert await stored(postgres_server, url) == [0, 1, 2, 3, 4]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "2 rows are kept in memory, trying again" in caplog.messages[0]
    assert postgres_server.password not in caplog.text


async def test_the_event_loop_and_callers_do_not_wait_for_a_slow_server(postgres_server: Postgres, url: str) -> None:
    async with opened(url) as ledger:
        async with locked(url):
            ledger.add(rows(3))
            flushed = asyncio.create_task(ledger.flush())
            await asyncio.sleep(2 * FLUSH_INTERVAL)
            ledger.add(rows(5)[3:])
            assert not flushed.done()
        await flushed
    assert await stored(postgres_server, url) == [0, 1, 2, 3, 4]


async def test_a_cancelled_flush_loses_nothing_and_repeats_nothing(postgres_server: Postgres, url: str) -> None:
    async with opened(url) as ledger:
        async with locked(url):
            ledger.add(rows(3))
            flushed = asyncio.create_task(ledger.flush())
            await asyncio.sleep(2 * FLUSH_INTERVAL)
            flushed.cancel()
            await asyncio.gather(flushed, return_exceptions=True)
        await ledger.flush()
    assert await stored(postgres_server, url) == [0, 1, 2]


async def test_rows_whose_commit_was_not_acknowledged_are_there_once(postgres_server: Postgres, url: str) -> None:
    async with Proxy(postgres_server.port) as proxy:
        async with opened(url.replace(f":{postgres_server.port}/", f":{proxy.port}/")) as ledger:
            proxy.loses_answers = True
            ledger.add([Row(request_id="r", attempt=1, at=float(number), key="bot") for number in range(3)])
            with pytest.raises(AcytooError):
                await ledger.flush()
            assert await stored(postgres_server, url) == [0, 1, 2]
            proxy.loses_answers = False
            await ledger.flush()
            assert [total.requests for total in await ledger.totals(0)] == [3]
    assert await stored(postgres_server, url) == [0, 1, 2]


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """Keep everybody from writing to the ledger's table."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


class Proxy:
    """A proxy that can lose the connection while an answer of the server is on its way."""

    def __init__(self, target: int) -> None:
        self.loses_answers = False
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._requests(reader, server_writer), self._answers(server_reader, writer))

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward what the server sends, but not the tag of an INSERT that it has committed."""
        while data := await reader.read(65536):
            if self.loses_answers and b"INSERT 0" in data:
                break
            writer.write(data)
        writer.close()


async def test_a_lost_connection_is_opened_again(postgres_server: Postgres, url: str) -> None:
    async with opened(url) as ledger:
        ledger.add(rows(1))
        await ledger.flush()
        name = url.rpartition("/")[2]
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        await asyncio.to_thread(postgres_server.query, end)
        ledger.add(rows(2)[1:])
        while True:
            try:
                await ledger.flush()
                break
            except AcytooError:
                await asyncio.sleep(0)
    assert await stored(postgres_server, url) == [0, 1]


async def test_rows_wait_while_the_database_is_read_only(postgres_server: Postgres, url: str) -> None:
    name = url.rpartition("/")[2]
    async with opened(url) as ledger:
        for value in ("on", "off"):
            change = f"ALTER DATABASE {name} SET default_transaction_read_only = {value}"
            end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            await asyncio.to_thread(postgres_server.query, f"{change}; {end}")
            ledger.add(rows(1))
            message = ""
            while value == "on" and "read-only transaction" not in message:  # at first the connection is lost
                with pytest.raises(AcytooError) as failure:
                    await ledger.flush()
                message = str(failure.value)
    assert await stored(postgres_server, url) == [0, 0]


async def test_replicas_that_start_together_create_the_tables_once(postgres_server: Postgres, url: str) -> None:
    async def replica() -> None:
        async with opened(url) as ledger:
            ledger.add(rows(3))

    await asyncio.gather(*[replica() for _ in range(8)])
    assert await stored(postgres_server, url) == sorted([0, 1, 2] * 8)


async def test_a_server_that_is_not_there_is_reported_at_the_start() -> None:
    message = r"ledger postgresql://\*\*\*@127.0.0.1:\d+/x: .*Connect call failed"
    with refused_port() as port, pytest.raises(UnreachableError, match=message):
        await open_ledger(f"postgresql://root:secret-password@127.0.0.1:{port}/x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: url.replace("password-of", "other-of"), "password authentication failed"),
        (lambda url: url.rpartition("/")[0] + "/none", 'database "none" does not exist'),
        (lambda url: url + "?sslmode=nonsense", "sslmode"),
    ],
    ids=["password", "database", "option"],
)
async def test_a_wrong_url_is_reported_without_its_password(
    url: str, change: Callable[[str], str], message: str
) -> None:
    with pytest.raises(AcytooError, match=message) as raised:
        await open_ledger(Secret(change(url)))
    assert "of-the-tests" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("parameter", ["channel_binding=require", "connect_timeout=3"])
async def test_a_parameter_of_the_url_that_the_server_does_not_know_is_to_be_left_out(url: str, parameter: str) -> None:
    with pytest.raises(AcytooError, match=f"{parameter.partition('=')[0]}.*: leave it out of the URL$"):
        await open_ledger(Secret(f"{url}?{parameter}"))


async def test_a_connection_asks_for_no_setting_that_pgbouncer_refuses() -> None:
    known = {"user", "database", "client_encoding", "datestyle", "timezone", "standard_conforming_strings",
             "application_name"}  # fmt: skip
    received: list[set[str]] = []

    async def pooler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not received:
            size = int.from_bytes(await reader.readexactly(4), "big")
            message = await reader.readexactly(size - 4)
            if message[:4] == _SSL_REQUEST:
                writer.write(b"N")
            else:
                received.append({name.decode() for name in message[4:].split(b"\0")[:-2:2]})
        writer.close()

    server = await asyncio.start_server(pooler, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(AcytooError):
            await open_ledger(Secret(f"postgresql://me@127.0.0.1:{port}/db"))
    assert received[0] >= {"user", "database", "application_name"}
    assert received[0] <= known


async def test_a_server_that_does_not_answer_cannot_hold_up_the_end(
    postgres_server: Postgres, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = await open_ledger(Secret(url))
    async with locked(url):
        ledger.add(rows(3))
        await asyncio.sleep(2 * FLUSH_INTERVAL)  # it is being written
        ledger.add(rows(5)[3:])
        await ledger.close()
    assert "5 rows are lost: the database is too slow" in caplog.messages[-1]
    assert await stored(postgres_server, url) == []


async def user_with(server: Postgres, url: str, name: str, rights: str) -> str:
    """Create a user who has these rights on the ledger, and return the URL of the ledger for that user."""
    sql = (
        f"CREATE ROLE {name} LOGIN PASSWORD 'a-password'; REVOKE CREATE ON SCHEMA public FROM PUBLIC; "
        f"GRANT SELECT ON ledger_version TO {name}; GRANT {rights} ON ledger TO {name}; "
        f"GRANT SELECT, INSERT, UPDATE ON ledger_days TO {name}"
    )
    await asyncio.to_thread(server.query, sql, url.rpartition("/")[2])
    return url.replace(f"{server.user}:{server.password}", f"{name}:a-password")


async def test_a_user_who_may_not_create_tables_can_use_those_that_exist(postgres_server: Postgres, url: str) -> None:
    async with opened(url):
        pass
    async with opened(await user_with(postgres_server, url, "clerk", "SELECT, INSERT")) as own:
        own.add(rows(2))
    assert await stored(postgres_server, url) == [0, 1]


@pytest.mark.parametrize("missing", ["SELECT", "INSERT"])
async def test_a_user_who_may_not_read_or_write_rows_is_refused(
    missing: str, postgres_server: Postgres, url: str
) -> None:
    async with opened(url):
        pass
    rights = {"SELECT", "INSERT"} - {missing}
    own = await user_with(postgres_server, url, f"no_{missing.lower()}", rights.pop())
    with pytest.raises(AcytooError, match=r"permission denied|may not INSERT"):
        async with opened(own) as ledger:
            await ledger.usage(0, 1, [])


async def test_a_ledger_of_another_version_is_refused(postgres_server: Postgres, url: str) -> None:
    async with opened(url):
        pass
    await asyncio.to_thread(postgres_server.query, "UPDATE ledger_version SET version = 99", url.rpartition("/")[2])
    for read_only in (False, True):
        with pytest.raises(AcytooError, match="its tables have version 99, this acytoo needs version 3: use the ac"):
            await open_ledger(Secret(url), read_only=read_only)


async def test_reading_only_creates_no_tables(url: str) -> None:
    with pytest.raises(AcytooError, match='relation "ledger_version" does not exist'):
        await open_ledger(Secret(url), read_only=True)


async def test_queries_of_usage_take_few_connections_however_many_are_asked(
    postgres_server: Postgres, url: str
) -> None:
    async with opened(url):
        pass
    own = await user_with(postgres_server, url, "reader", "SELECT, INSERT")
    await asyncio.to_thread(postgres_server.query, "ALTER ROLE reader CONNECTION LIMIT 10")
    async with opened(own) as ledger:
        assert await asyncio.gather(*[ledger.usage(0, 1e12, ["key"]) for _ in range(100)]) == [[]] * 100


async def test_budgets_are_restored_while_callers_ask_for_their_usage(url: str) -> None:
    async with opened(url) as ledger:
        other = await asyncpg.connect(url)
        try:
            async with asyncio.timeout(60), other.transaction():
                await other.execute("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")
                asked = [asyncio.create_task(ledger.usage(0, 1e12, ["hour"])) for _ in range(40)]
                await asyncio.sleep(0)
                assert await ledger.totals(0) == []
                for task in asked:
                    task.cancel()
                await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await other.close()
