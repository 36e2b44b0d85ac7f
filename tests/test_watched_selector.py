"""A test that hangs fails by an assertion that shows where."""

from __future__ import annotations

import asyncio
import re
import signal
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.watched_selector import WatchedSelector


async def wait_forever() -> None:
    await asyncio.get_running_loop().create_future()


async def wait_for_a_limit() -> None:
    async with asyncio.timeout(60):
        await wait_forever()


async def ask_again() -> None:
    while True:  # noqa: ASYNC110 - what it asks for never happens
        await asyncio.sleep(0.001)


async def ask_at_once_again() -> None:
    while True:  # noqa: ASYNC110 - what it asks for never happens
        await asyncio.sleep(0)


async def wait_for_a_task() -> None:
    await asyncio.create_task(wait_forever())


@pytest.mark.parametrize("hang", [wait_forever, wait_for_a_limit, ask_again, ask_at_once_again, wait_for_a_task])
def test_an_event_loop_in_which_nothing_happens_any_more_fails_the_test(
    hang: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WatchedSelector, "limit", 0.2)

    async def test() -> None:
        await hang()

    with pytest.raises(AssertionError, match="nothing has happened for") as caught:
        asyncio.run(test())
    assert re.search(rf" in {hang.__name__}$", str(caught.value), re.MULTILINE)


@pytest.mark.skipif(not hasattr(signal, "SIGVTALRM"), reason="the system does not measure its processor's time")
@pytest.mark.parametrize("in_callback", [True, False])
def test_a_step_of_an_event_loop_that_does_not_end_fails_the_test(
    in_callback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WatchedSelector, "limit", 0.2)

    def compute() -> None:
        while True:
            pass

    async def test() -> None:
        if in_callback:
            asyncio.get_running_loop().call_soon(compute)
            await wait_forever()
        compute()

    with pytest.raises(AssertionError, match="nothing has happened" if in_callback else "does not end"):
        asyncio.run(test())


def test_what_follows_an_event_loop_may_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WatchedSelector, "limit", 0.05)
    asyncio.run(asyncio.sleep(0))
    before = time.process_time()
    while time.process_time() < before + 0.2:
        pass


def test_a_timer_that_is_soon_over_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WatchedSelector, "limit", 0.01)
    asyncio.run(asyncio.sleep(0.2))


def test_event_loops_of_other_threads_may_wait_for_the_main_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WatchedSelector, "limit", 0.01)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
