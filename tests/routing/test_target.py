"""A target's places and health: limits, queues, pauses, and how it comes back."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from acytoo import Acytoo, Target
from acytoo.routing.target import Lease, Waiter


def target(**settings: float) -> Target:
    return Target(Acytoo("http://127.0.0.1:9"), **settings)  # type: ignore[arg-type]


def place_at(target: Target) -> Lease:
    """Return a place at a target that is not full."""
    lease = target.take()
    assert lease is not None
    return lease


def waiter() -> Waiter:
    return asyncio.get_running_loop().create_future()


def test_the_default_name_is_the_providers_with_its_model() -> None:
    assert Target(Acytoo("http://127.0.0.1:9")).name == "acytoo"
    assert Target(Acytoo("http://127.0.0.1:9", model="m/1")).name == "acytoo/m/1"


def test_a_target_is_full_at_its_limit_and_free_after_a_release() -> None:
    t = target(limit=2)
    first, _ = place_at(t), t.take()
    assert t.is_full
    first.release()
    assert not t.is_full
    first.release()
    assert t.in_flight == 1, "a place is given back once"


async def test_those_that_wait_get_places_in_the_order_in_which_they_came() -> None:
    t = target(limit=1)
    place: Lease | None = place_at(t)
    waiters = [waiter() for _ in range(3)]
    for w in waiters:
        t.enqueue(w)
    for w in waiters:
        assert place is not None
        assert not w.done()
        place.release()
        assert w.done()
        place = w.result()
    assert t.in_flight == 1


async def test_nobody_overtakes_those_that_wait() -> None:
    t = target(limit=2)
    t.take()
    t.take()
    t.enqueue(waiter())
    assert t.is_full
    t2 = target(limit=1)
    place = place_at(t2)
    gone = waiter()
    t2.enqueue(gone)
    gone.cancel()
    place.release()
    assert not t2.is_full, "one that has left is passed over"


async def test_a_place_for_one_that_leaves_at_the_same_moment_goes_to_the_next() -> None:
    t = target(limit=1)
    place = place_at(t)
    first, second = waiter(), waiter()
    t.enqueue(first)
    t.enqueue(second)
    place.release()
    assert first.done()
    lease = first.result()
    assert lease is not None
    lease.release()
    assert second.done()


async def test_a_waiter_of_another_event_loop_gets_its_place_there() -> None:
    t = target(limit=1)
    place = place_at(t)

    entered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def run() -> Lease | None:
        async def main() -> Lease | None:
            w = waiter()
            t.enqueue(w)
            loop.call_soon_threadsafe(entered.set)
            async with asyncio.timeout(120):
                return await w

        return asyncio.run(main())

    thread = asyncio.create_task(asyncio.to_thread(run))
    await entered.wait()
    place.release()
    assert isinstance(await thread, Lease)


def test_several_threads_never_have_more_places_than_there_are() -> None:
    t = target(limit=1)
    start = threading.Barrier(4)
    most = 0

    def run() -> None:
        nonlocal most
        start.wait(120)
        for _ in range(60_000):
            if (lease := t.take()) is not None:
                most = max(most, t.in_flight)
                lease.release()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(run) for _ in range(4)]:
                future.result()
    finally:
        sys.setswitchinterval(interval)
    assert most == 1
    assert t.in_flight == 0


async def test_a_place_that_was_given_back_just_before_somebody_waits_is_theirs() -> None:
    t = target(limit=1)
    place = place_at(t)
    assert t.take() is None
    place.release()  # by another thread, say
    late = waiter()
    t.enqueue(late)
    assert isinstance(late.result(), Lease)


async def test_a_waiter_whose_event_loop_is_closed_is_passed_over() -> None:
    t = target(limit=1)
    place = place_at(t)

    def enqueue() -> None:
        async def main() -> None:
            t.enqueue(waiter())

        asyncio.run(main())

    await asyncio.to_thread(enqueue)
    live = waiter()
    t.enqueue(live)
    place.release()
    assert live.done()


def test_failures_in_a_row_pause_a_target_and_a_complete_reply_ends_the_row() -> None:
    t = target(failures=3, pause=60)
    t.failed(None)
    t.failed(None)
    t.answered()
    t.failed(None)
    t.failed(None)
    assert t.opens_at < time.monotonic()
    t.failed(None)
    assert 40 < t.opens_at - time.monotonic() < 75


def test_each_further_pause_is_twice_as_long_up_to_two_minutes() -> None:
    t = target(failures=1, pause=10)
    for expected in (10, 20, 40, 80, 120, 120):
        t.opens_at = 0
        t.failed(None)
        assert expected * 0.79 < t.opens_at - time.monotonic() < expected * 1.21


def test_requests_that_fail_together_pause_a_target_once() -> None:
    t = target(failures=3, pause=10)
    for _ in range(30):
        t.failed(None)
    assert 7 < t.opens_at - time.monotonic() < 13


def test_a_target_that_asks_to_wait_is_paused_for_exactly_that_time() -> None:
    t = target(failures=5)
    before = time.monotonic()
    t.failed(7.0)
    assert before + 7 <= t.opens_at <= time.monotonic() + 7


def test_after_a_pause_each_answer_lets_one_more_request_in() -> None:
    t = target(failures=1)
    t.failed(None)
    for number in (1, 2, 3, 4):
        leases = []
        while not t.is_full:
            leases.append(place_at(t))
        assert len(leases) == number
        for lease in leases[1:]:
            lease.release()
        t.begun(leases[0])
        t.answered()
        leases[0].release()
    assert t.in_flight == 0


def test_a_trial_that_fails_pauses_the_target_again() -> None:
    t = target(failures=3)
    for _ in range(3):
        t.failed(None)
    t.opens_at = 0
    lease = place_at(t)
    assert t.is_full
    lease.release()
    t.failed(None)
    assert t.opens_at > time.monotonic()


def test_requests_from_before_the_pause_do_not_keep_a_trial_out() -> None:
    t = target(failures=1)
    for _ in range(10):
        t.take()
    t.failed(None)
    t.opens_at = 0
    assert not t.is_full


async def test_those_that_wait_choose_again_when_their_target_is_paused() -> None:
    t = target(failures=1, limit=1)
    t.take()
    w = waiter()
    t.enqueue(w)
    t.failed(None)
    assert w.done()
    assert w.result() is None


@pytest.mark.parametrize(("weight", "load"), [(1.0, 3.0), (2.0, 1.5)])
async def test_the_load_counts_requests_in_flight_and_waiting_in_relation_to_the_weight(
    weight: float, load: float
) -> None:
    t = target(weight=weight, limit=1)
    t.take()
    t.enqueue(waiter())
    assert t.load == load


def test_a_target_that_asks_to_wait_for_no_time_is_paused_as_after_other_failures() -> None:
    t = target(failures=2, pause=60)
    t.failed(0.0)
    assert t.opens_at < time.monotonic()
    t.failed(0.0)
    assert t.opens_at > time.monotonic() + 40


def test_no_target_is_paused_for_more_than_an_hour() -> None:
    t = target()
    t.failed(1_700_000_000.0)
    assert time.monotonic() + 3590 < t.opens_at <= time.monotonic() + 3600
