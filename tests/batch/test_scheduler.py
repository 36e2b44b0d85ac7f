"""How many requests at once: growth, refusals, slow replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from acytoo import RateLimitError, Reply, UnreachableError
from acytoo.batch.rows import Row
from acytoo.batch.scheduler import Answer, Concurrency, Result, Scheduler


def note(concurrency: Concurrency, seconds: float, count: int) -> None:
    for _ in range(count):
        concurrency.note_first_content(seconds)


def test_it_grows_by_one_with_each_reply_and_by_one_a_round_after_a_refusal() -> None:
    concurrency = Concurrency(40)
    assert concurrency.places == 8
    for _ in range(8):
        concurrency.grow()
    assert concurrency.places == 16
    concurrency.halve()
    for _ in range(8):
        concurrency.grow()
    assert 8.9 < concurrency.places <= 9
    for _ in range(2000):
        concurrency.grow()
    assert concurrency.places == 40


def test_it_is_never_below_one() -> None:
    concurrency = Concurrency(3)
    for _ in range(10):
        concurrency.halve()
    assert concurrency.places == 1


def test_it_halves_when_the_time_to_the_first_content_has_doubled() -> None:
    concurrency = Concurrency(8)
    note(concurrency, 0.3, 40)
    note(concurrency, 0.55, 20)
    assert concurrency.places == 8
    note(concurrency, 1.0, 20)
    assert concurrency.places == 4
    note(concurrency, 1.0, 20)  # half as many did not help: that is the usual time now
    note(concurrency, 1.0, 100)
    assert concurrency.places == 4


def test_fast_replies_may_double() -> None:
    concurrency = Concurrency(8)
    note(concurrency, 0.001, 20)
    note(concurrency, 0.1, 100)
    assert concurrency.places == 8


async def run(scheduler: Scheduler) -> None:
    async with asyncio.timeout(120):
        await scheduler.run()


async def test_the_most_at_once_is_never_exceeded_and_is_reached() -> None:
    now = most = 0
    results: list[Result] = []

    async def ask(row: Row) -> Answer:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return Answer(Reply(), 0.001)

    async def deliver(result: Result) -> None:
        results.append(result)

    await run(Scheduler(iter([Row(n, n) for n in range(500)]), ask, deliver, jobs=20))
    assert most == 20
    assert sorted(result.row.number for result in results) == list(range(500))


async def test_refusals_of_requests_that_were_under_way_count_once() -> None:
    refused = 0

    async def ask(row: Row) -> Answer:
        nonlocal refused
        await asyncio.sleep(0.01)
        if refused < 8:
            refused += 1
            raise RateLimitError("slow down", status=429, retry_after=0.05)
        return Answer(Reply(), 0.01)

    async def deliver(result: Result) -> None:
        assert result.error is None

    scheduler = Scheduler(iter([Row(n, n) for n in range(8)]), ask, deliver, jobs=8)
    await run(scheduler)
    assert refused == 8
    assert 4 < scheduler.concurrency.places < 6  # half of 8, and two rounds


async def test_a_batch_whose_every_request_is_refused_stops() -> None:
    async def ask(row: Row) -> Answer:
        raise RateLimitError("slow down", status=429, retry_after=0.01)

    async def deliver(result: Result) -> None:
        raise AssertionError("nothing is finished")

    scheduler = Scheduler(iter([Row(1, 1)]), ask, deliver, patience=0.1)
    try:
        await run(scheduler)
    except Exception as error:
        assert str(error) == "429: slow down"
    assert scheduler.stop_reason == "RateLimitError: 429: slow down"


async def test_an_outage_pauses_the_batch_and_costs_no_row_its_attempts() -> None:
    works_from = asyncio.get_running_loop().time() + 3.0
    errors = 0

    async def ask(row: Row) -> Answer:
        await asyncio.sleep(0.01)
        if asyncio.get_running_loop().time() < works_from:
            raise UnreachableError("cannot reach the server")
        return Answer(Reply(), 0.01)

    async def deliver(result: Result) -> None:
        nonlocal errors
        errors += result.error is not None

    await run(Scheduler(iter([Row(n, n) for n in range(200)]), ask, deliver, jobs=50, attempts=5))
    assert errors == 0


async def test_stopping_does_not_wait_for_a_row_that_may_never_come() -> None:
    never, waits = asyncio.Event(), asyncio.Event()
    closed = False

    async def rows() -> AsyncIterator[Row]:
        nonlocal closed
        try:
            yield Row(1, 1)
            waits.set()
            await never.wait()
        finally:
            closed = True

    async def ask(row: Row) -> Answer:
        await waits.wait()
        scheduler.stop("interrupted")
        return Answer(Reply(), 0.01)

    delivered: list[Result] = []

    async def deliver(result: Result) -> None:
        delivered.append(result)

    scheduler = Scheduler(rows(), ask, deliver, jobs=3)
    await run(scheduler)
    assert (len(delivered), closed, scheduler.stop_reason) == (1, True, "interrupted")


async def stopped_after(attempted: int, count: int) -> Scheduler:
    """Return a scheduler that one row at a time was stopped in, after so many of the rows."""

    async def ask(row: Row) -> Answer:
        if row.number == attempted:
            scheduler.stop("interrupted")
        return Answer(Reply(), 0.01)

    async def deliver(result: Result) -> None:
        pass

    scheduler = Scheduler(iter([Row(n, n) for n in range(1, count + 1)]), ask, deliver, jobs=1)
    await run(scheduler)
    return scheduler


async def test_a_run_that_is_stopped_at_its_last_row_is_finished() -> None:
    assert (await stopped_after(3, 4)).stop_reason == "interrupted"
    assert (await stopped_after(4, 4)).stop_reason == ""


async def test_a_run_that_is_stopped_before_its_last_row_is_tried_again_is_not_finished() -> None:
    async def ask(row: Row) -> Answer:
        scheduler.stop("interrupted")
        raise UnreachableError("no")

    async def deliver(result: Result) -> None:
        pass

    scheduler = Scheduler(iter([Row(1, 1)]), ask, deliver, jobs=1)
    await run(scheduler)
    assert scheduler.stop_reason == "interrupted"


async def test_an_error_of_the_rows_is_raised() -> None:
    def rows() -> Iterator[Row]:
        yield Row(1, 1)
        raise ValueError("a bad source")

    async def ask(row: Row) -> Answer:
        return Answer(Reply(), 0.01)

    async def deliver(result: Result) -> None:
        pass

    try:
        await run(Scheduler(rows(), ask, deliver))
    except ValueError as error:
        assert str(error) == "a bad source"
    else:
        raise AssertionError("no error")
