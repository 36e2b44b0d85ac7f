"""Timeouts of one exchange, at the exact moments at which they expire."""

from __future__ import annotations

import asyncio
import math
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


@pytest.mark.parametrize(("connect", "total", "seconds"), [(None, None, 4), (3, None, 3), (5, None, 4), (5, 6, 3)])
def test_connecting_may_take_what_is_left_until_the_reply_has_to_be_accepted(
    loop: SettableLoop, connect: float | None, total: float | None, seconds: float
) -> None:
    deadlines = Deadlines(Timeout(connect=connect, total=total), loop, content_within=7)
    loop.now = 103
    assert deadlines.start_connecting() == seconds


@pytest.mark.parametrize("has_progress", [True, False])
def test_a_reply_that_is_not_accepted_in_time_is_given_up_whatever_arrives(
    loop: SettableLoop, has_progress: bool
) -> None:
    deadlines = Deadlines(Timeout(first_byte=50, idle=30), loop, content_within=7)
    assert deadlines.start_sending() == 107
    loop.now = 106
    if has_progress:
        deadlines.content_received()
    assert deadlines.check() == 107
    loop.now = 107
    deadlines.check()
    assert deadlines.expired is not None
    assert deadlines.expired.phase == "deadline"


def test_a_reply_that_was_accepted_has_its_other_limits_only(loop: SettableLoop) -> None:
    deadlines = Deadlines(Timeout(first_byte=50, idle=30), loop, content_within=7)
    deadlines.start_sending()
    deadlines.content_received()
    deadlines.content_due = math.inf
    loop.now = 120
    assert deadlines.check() == 150
    assert deadlines.expired is None


def test_the_total_timeout_needs_no_second_look(loop: SettableLoop) -> None:
    deadlines = Deadlines(Timeout(first_byte=None, idle=None, total=7), loop)
    assert deadlines.start_sending() == 107
    loop.now = 107
    deadlines.check()
    assert deadlines.expired is not None
    assert "total" in str(deadlines.expired)
