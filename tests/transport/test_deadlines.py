"""Timeouts of one exchange, at the exact moments at which they expire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from acytoo.transport.config import Timeout
from acytoo.transport.timeouts import Deadlines


class SettableLoop(asyncio.SelectorEventLoop):
    """An event loop that is never run, whose clock is set."""

    now = 100.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def loop() -> Iterator[SettableLoop]:
    loop = SettableLoop()
    yield loop
    loop.close()


def test_a_silence_as_long_as_the_limit_expires_after_a_second_look(loop: SettableLoop) -> None:
    deadlines = Deadlines(Timeout(connect=1, first_byte=5, idle=3), loop)
    assert deadlines.start_sending() == 103  # an idle wait could begin now
    loop.now = 104.5
    assert deadlines.check() == 105
    loop.now = 105
    assert deadlines.check() == pytest.approx(105.01)
    assert deadlines.expired is None
    loop.now = 105.01
    deadlines.check()
    assert str(deadlines.expired) == str(deadlines.error())
    assert deadlines.phase == "first_byte"
    assert deadlines.expired is not None


def test_the_first_look_at_a_silence_never_ends_it(loop: SettableLoop) -> None:
    deadlines = Deadlines(Timeout(first_byte=5), loop)
    deadlines.start_sending()
    loop.now = 110
    deadlines.check()
    assert deadlines.expired is None
    deadlines.check()
    assert deadlines.expired is not None


@pytest.mark.parametrize("is_waiting_on", [True, False])
def test_after_content_the_idle_limit_counts_while_the_reader_waits(loop: SettableLoop, is_waiting_on: bool) -> None:
    deadlines = Deadlines(Timeout(first_byte=50, idle=3), loop)
    if is_waiting_on:
        deadlines.is_waiting_on = True
    deadlines.start_sending()
    loop.now = 120
    deadlines.content_received()
    assert deadlines.phase == "idle"
    loop.now = 130
    deadlines.check()
    deadlines.check()
    assert (deadlines.expired is not None) is is_waiting_on


def test_a_pause_of_the_reader_is_not_silence(loop: SettableLoop) -> None:
    deadlines = Deadlines(Timeout(first_byte=5, idle=3), loop)
    deadlines.start_sending()
    loop.now = 104
    deadlines.pause_waiting()
    loop.now = 150
    deadlines.start_waiting()
    deadlines.check()
    deadlines.check()
    assert deadlines.expired is None
    loop.now = 151
    deadlines.check()
    deadlines.check()
    assert deadlines.expired is not None


@pytest.mark.parametrize(
    ("connect", "total", "seconds"),
    [(None, None, None), (5, None, 5), (None, 7, 4), (3, 7, 3), (5, 7, 4), (5, 1, 0.001)],
)
def test_connecting_may_take_what_is_left(
    loop: SettableLoop, connect: float | None, total: float | None, seconds: float | None
) -> None:
    deadlines = Deadlines(Timeout(connect=connect, total=total), loop)
    loop.now = 103
    assert deadlines.start_connecting() == seconds


def test_the_total_timeout_needs_no_second_look(loop: SettableLoop) -> None:
    deadlines = Deadlines(Timeout(first_byte=None, idle=None, total=7), loop)
    assert deadlines.start_sending() == 107
    loop.now = 107
    deadlines.check()
    assert deadlines.expired is not None
    assert "total" in str(deadlines.expired)
