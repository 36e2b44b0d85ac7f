"""Old rows of a ledger that are deleted while a server runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acytoo.dialects import OpenAI
from acytoo.errors import AcytooError
from acytoo.gateway.ledger import BATCH, NoLedger, Row, open_ledger
from acytoo.gateway.retention import Pruner, oldest_kept
from acytoo.testing import FakeEndpoint, reply
from tests.gateway.served import served

DAY = 86400.0


class _Ledger(NoLedger):
    """A ledger that answers each deletion with the next of some numbers, or raises an error."""

    def __init__(self, answers: Sequence[int | AcytooError]) -> None:
        self.answers = [*answers]
        self.is_done = asyncio.Event()

    async def prune(self, before: float, most: int) -> int:
        answer = self.answers.pop(0)
        if not self.answers:
            self.is_done.set()
        if isinstance(answer, AcytooError):
            raise answer
        return answer


async def run(answers: Sequence[int | AcytooError]) -> _Ledger:
    """Run a pruner, with hardly a pause between its rounds, until all answers have been given."""
    ledger = _Ledger([*answers, 0])
    pruner = Pruner(ledger, 30, 0.001)
    pruner.start()
    async with asyncio.timeout(120):
        await ledger.is_done.wait()
    ledger.answers = [0] * 1000
    await pruner.stop()
    return ledger


async def test_batches_are_deleted_until_there_are_no_old_rows(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        await run([BATCH, BATCH, 7])
    assert caplog.messages == [f"deleted {2 * BATCH + 7} rows of the ledger that were older than 30 days"]


async def test_a_failure_is_logged_and_the_next_round_tries_again(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        await run([BATCH, AcytooError("disk full"), 7])
    assert caplog.messages == [
        "cannot delete old rows: disk full",
        f"deleted {BATCH} rows of the ledger that were older than 30 days",
        "deleted 7 rows of the ledger that were older than 30 days",
    ]


async def test_a_clock_that_jumps_deletes_nothing_until_the_next_round(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, jump = time.time, [0.0]
    monkeypatch.setattr("time.time", lambda: real() + jump[0])
    ledger = _Ledger([0] * 1000)
    pruner = Pruner(ledger, 30, 3600)
    jump[0] = 400 * DAY
    pruner.start()
    await asyncio.sleep(0)
    await pruner.stop()
    assert len(ledger.answers) == 1000
    assert caplog.messages == ["the clock has jumped: no old rows of the ledger are deleted until the next round"]


@pytest.mark.parametrize(
    ("now", "days", "kept"),
    [
        ("2027-03-31T12:00", 1, "2027-03-01T00:00"),
        ("2027-03-01T12:00", 1, "2027-02-01T00:00"),
        ("2027-03-31T12:00", 40, "2027-02-19T12:00"),
        ("2027-03-31T12:00", 10**6, "-"),
    ],
)
def test_rows_of_the_month_are_kept_for_budgets(now: str, days: int, kept: str) -> None:
    at = oldest_kept(_time(now), days)
    assert at == _time(kept) if kept != "-" else at < 0


def _time(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


async def test_a_server_deletes_rows_that_are_older_than_its_retention(tmp_path: Path) -> None:
    ledger = await open_ledger(f"sqlite:{tmp_path / 'acytoo.db'}")
    now = time.time()
    ledger.add([Row(request_id="old", attempt=1, at=now - 80 * DAY), Row(request_id="new", attempt=1, at=now)])
    await ledger.flush()
    storage = "[storage]\nretention_days = 40\n"
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake, served(tmp_path, fake.url, storage):
        async with asyncio.timeout(120):
            while (await ledger.usage(0, now + 1, []))[0].requests > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert [group.requests for group in await ledger.usage(now, now + 1, [])] == [1]
    await ledger.close()
