"""The faults that a ledger in a SQLite file survives, and those that it reports."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from acytoo.errors import AcytooError
from acytoo.gateway.ledger import MOST_ROWS, Ledger, Row, open_ledger
from acytoo.gateway.ledger_sql import COLUMNS
from acytoo.gateway.sqlite_ledger import SQLiteLedger
from tests import processes
from tests.gateway.disks import fill
from tests.services import wait_until

WRITER = """
    import asyncio, itertools, signal, sys
    from acytoo.gateway.ledger import Row, open_ledger

    async def main():
        ledger = await open_ledger(sys.argv[1])
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        for number in itertools.count() if len(sys.argv) < 3 else range(int(sys.argv[2])):
            ledger.add([Row(request_id=f"r{number}", attempt=1, at=float(number))])
            print(number, flush=True)
            await asyncio.sleep(0.0005)
            if stopped.is_set():
                break
        await ledger.close()

    asyncio.run(main())
"""
"""Adds rows, as fast as a server does, and prints the number of each."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Ledger]:
    ledger = await open_ledger(f"sqlite:{path}")
    try:
        yield ledger
    finally:
        await ledger.close()


def rows(count: int) -> list[Row]:
    return [Row(request_id=f"r{number}", attempt=1, at=float(number)) for number in range(count)]


def stored(path: Path) -> list[int]:
    """Return the numbers of the rows in a file, after a check of the file."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return sorted(int(at) for (at,) in connection.execute("SELECT at FROM ledger"))


def count(path: Path) -> int:
    """Return how many rows a file has, 0 while it has no table."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            found: int = connection.execute("SELECT COUNT(*) FROM ledger").fetchone()[0]
            return found
    except sqlite3.OperationalError:
        return 0


def start_writer(path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a process that adds rows, and whose output nobody has to read while it runs."""
    with path.with_suffix(f".{len(list(path.parent.iterdir()))}.out").open("wb") as output:
        return subprocess.Popen([*processes.script(WRITER), f"sqlite:{path}", *arguments], stdout=output)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's write lock, as another process does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")


def test_a_killed_process_leaves_a_file_with_all_rows_but_those_in_memory(path: Path) -> None:
    process = start_writer(path)
    try:
        wait_until(lambda: count(path) > 500, "no rows in the file", process)
        seen = count(path)
    finally:
        process.kill()
        process.wait()
    kept = stored(path)
    assert kept == list(range(len(kept)))
    assert len(kept) >= seen


def test_a_process_that_closes_its_ledger_loses_nothing(path: Path) -> None:
    process = start_writer(path)
    try:
        wait_until(lambda: count(path) > 100, "no rows in the file", process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(processes.LIMIT) == 0
    finally:
        process.kill()
    (output,) = path.parent.glob("*.out")
    assert stored(path) == [int(number) for number in output.read_text().split()]


def test_processes_that_start_together_share_a_new_file(path: Path) -> None:
    writers = [start_writer(path, "300") for _ in range(4)]
    try:
        assert [process.wait(processes.LIMIT) for process in writers] == [0, 0, 0, 0]
    finally:
        for process in writers:
            process.kill()
    assert stored(path) == sorted([*range(300)] * 4)


@pytest.mark.skipif(os.name == "nt", reason="needs permissions of POSIX")
async def test_other_users_cannot_read_a_new_file(path: Path) -> None:
    async with opened(path) as ledger:
        ledger.add(rows(1))
        await ledger.flush()
        assert permissions(path.parent) == {"ledger.db": 0o600, "ledger.db-shm": 0o600, "ledger.db-wal": 0o600}


async def test_the_permissions_of_a_file_stay_as_they_are(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT, 0o640))
    async with opened(path):
        assert permissions(path.parent)["ledger.db"] == 0o640


def permissions(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


async def test_rows_whose_commit_was_not_acknowledged_are_there_once_and_counted_once(path: Path) -> None:
    async with opened(path) as ledger:
        ledger.add([Row(request_id="r", attempt=1, at=0.0, key="bot", input_tokens=7)])
        written = asyncio.ensure_future(ledger.flush())
        await asyncio.sleep(0)  # the thread has the batch
        written.cancel()
        await asyncio.gather(written, return_exceptions=True)
        ledger.add([Row(request_id="r", attempt=1, at=1.0, key="bot", input_tokens=2)])
        await ledger.flush()
        (total,) = await ledger.totals(0)
    assert stored(path) == [0, 1]
    assert (total.requests, total.tokens) == (2, 9)


async def test_a_ledger_of_a_busy_month_is_opened_without_reading_its_rows(path: Path) -> None:
    """The rows of a large file are not read: damage there is reported by what meets it."""
    text = "x" * 500
    async with opened(path) as ledger:
        ledger.add([Row(text, 1, float(number), "", text, text, text, outcome=text) for number in range(30_000)])
    assert path.stat().st_size > 64 * 1024**2  # noqa: ASYNC240
    with closing(sqlite3.connect(path)) as connection:
        page, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    with path.open("r+b") as file:
        file.seek(page // 2 * size)
        file.write(os.urandom(size))
    async with opened(path) as ledger:
        assert [total.requests for total in await ledger.totals(0)] == []
        with pytest.raises(AcytooError, match="the file is damaged; move it away"):
            await ledger.usage(0, 1e12, ["hour"])  # which no sums of days have


async def test_rows_wait_while_another_process_holds_a_lock(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(path) as ledger:
        with locked(path):
            ledger.add(rows(3))
            while not caplog.messages:  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # the event loop runs, or this would not end
            assert [record.levelno for record in caplog.records] == [logging.ERROR]
            assert caplog.messages[0].endswith(
                "database is locked: another process holds a lock on it; 3 rows are kept in memory, trying again"
            )
            ledger.add(rows(5)[3:])
        await ledger.flush()
    assert stored(path) == [0, 1, 2, 3, 4]
    assert caplog.messages[1:] == [f"ledger '{path}' takes rows again"]


async def test_rows_that_cannot_be_written_at_the_end_are_reported(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as ledger:
        ledger.add(rows(7))
        with locked(path):
            await ledger.close()
    assert caplog.messages[-1].startswith(f"ledger '{path}': 7 rows are lost: ")
    assert "another process holds a lock on it" in caplog.messages[-1]
    assert stored(path) == []


async def test_a_full_ledger_keeps_what_is_added_and_is_not_full_once_it_is_written(path: Path) -> None:
    async with opened(path) as ledger:
        with locked(path):
            ledger.add(rows(MOST_ROWS - 1))
            assert not ledger.is_full
            ledger.add(rows(2))
            assert ledger.is_full
        await ledger.flush()
        assert not ledger.is_full
    assert count(path) == MOST_ROWS + 1


async def test_rows_wait_until_a_full_disk_has_space(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = small_disk / "ledger.db"
    filler = small_disk / "filler"
    async with opened(path) as ledger:
        ledger.add(rows(10))
        await ledger.flush()
        fill(filler)
        ledger.add(rows(3000)[10:])
        with pytest.raises(AcytooError, match=r"database or disk is full: make space on its disk|disk I/O error"):
            await ledger.flush()
        assert count(path) == 10
        filler.unlink()
        await ledger.flush()
    assert stored(path) == [*range(3000)]


async def test_a_full_disk_is_reported_at_the_start(small_disk: Path) -> None:
    fill(small_disk / "filler")
    with pytest.raises(AcytooError, match=r"^ledger '.*ledger.db': .*(full|I/O error|open)"):
        await open_ledger(f"sqlite:{small_disk / 'ledger.db'}")


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 1000)  # noqa: ASYNC240
    with pytest.raises(
        AcytooError, match=r"file is not a database: the file is damaged; move it away, or put a backup in its place$"
    ):
        await open_ledger(f"sqlite:{path}")
    assert path.read_bytes() == b"not a database at all" * 1000  # noqa: ASYNC240


async def test_a_damaged_file_is_refused_at_the_start(path: Path) -> None:
    await write(path, 2000)
    damage(path)
    with pytest.raises(AcytooError, match=r"the file is damaged; move it away, or put a backup in its place$"):
        await open_ledger(f"sqlite:{path}")


async def test_a_file_that_is_damaged_while_in_use_can_be_moved_away(path: Path) -> None:
    await write(path, 60_000)  # more than SQLite keeps in memory
    async with opened(path) as ledger:
        damage(path)
        ledger.add(rows(5000))
        with pytest.raises(AcytooError, match="the file is damaged; move it away"):
            await ledger.flush()
        for name in path.parent.glob("ledger.db*"):
            name.rename(name.with_name(f"damaged-{name.name}"))
        await ledger.flush()
    assert stored(path) == [*range(5000)]


async def write(path: Path, number: int) -> None:
    async with opened(path) as ledger:
        ledger.add(rows(number))
        await ledger.flush()


def damage(path: Path) -> None:
    """Overwrite every page but the first."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))


async def test_a_file_that_is_moved_or_deleted_is_created_again(path: Path) -> None:
    async with opened(path) as ledger:
        ledger.add(rows(2))
        await ledger.flush()
        for name in path.parent.glob("ledger.db*"):
            name.unlink()
        ledger.add(rows(5)[2:])
        await ledger.flush()
    assert stored(path) == [2, 3, 4]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("missing/ledger.db", "unable to open database file: its folder must exist and be writable"),
        ("", "unable to open database file: its folder must exist and be writable"),
    ],
)
async def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, place: str, message: str) -> None:
    with pytest.raises(AcytooError, match=f"{message}$"):
        await open_ledger(f"sqlite:{tmp_path / place}")


async def test_a_ledger_of_another_version_is_refused(path: Path) -> None:
    await write(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE ledger_version SET version = 99")
        connection.commit()
    for read_only in (False, True):
        with pytest.raises(AcytooError, match="its tables have version 99, this acytoo needs version 3: use the ac"):
            await open_ledger(f"sqlite:{path}", read_only=read_only)


async def test_a_ledger_can_be_read_while_it_is_written_and_after(path: Path) -> None:
    async with opened(path) as ledger:
        ledger.add(rows(3))
        await ledger.flush()
        reader = await open_ledger(f"sqlite:{path}", read_only=True)
        assert [group.requests for group in await reader.usage(0, 10, [])] == [3]
    assert [group.requests for group in await reader.usage(0, 10, [])] == [3]
    await reader.close()


async def test_the_space_of_deleted_rows_is_returned_to_the_disk(path: Path) -> None:
    await write(path, 20_000)
    before = path.stat().st_size  # noqa: ASYNC240
    async with opened(path) as ledger:
        for _ in range(10):
            assert await ledger.prune(1e11, 2000) == 2000
    assert path.stat().st_size < before / 20  # noqa: ASYNC240


async def test_a_query_that_nobody_waits_for_any_more_is_given_up(path: Path) -> None:
    async with opened(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        columns = ", ".join(f"1 AS {name}" for name in COLUMNS)
        connection.execute("DROP TABLE ledger")
        connection.execute(
            f"CREATE VIEW ledger AS WITH RECURSIVE endless(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM endless)"
            f" SELECT {columns} FROM endless"
        )
        connection.commit()
    ledger = SQLiteLedger(path, read_only=True)
    await ledger.open()
    has_started = threading.Event()
    threads = ThreadPoolExecutor(1, initializer=has_started.set)
    asyncio.get_running_loop().set_default_executor(threads)
    query = asyncio.create_task(ledger.usage(0, 3600, []))
    while not has_started.is_set():  # noqa: ASYNC110 - it is set by a thread
        await asyncio.sleep(0.01)
    query.cancel()
    with pytest.raises(asyncio.CancelledError):
        await query
    await asyncio.to_thread(str)  # which has to wait for the only thread
    await ledger.close()
