"""Workers that ask for the replies to rows: how many at once, when to wait, and what to ask again.

The problem: nobody knows beforehand how many requests an upstream takes. Too few waste hours, too many are refused, and
a refusal meets hundreds of requests at the same time.

The strategy: N workers are N tasks, each of which loops: take a place, take the next row, ask, deliver. The number of
places adapts as TCP's congestion window does. It grows by one with each reply until the first refusal, then by one with
each round. A 429 or 503, or a time to the first content that has doubled, cuts it in half. One refusal pauses all
workers, and those that were under way at the same time do not count as further ones.

The cost: a worker whose place is free and whose upstream is not paused awaits nothing but the reply.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import msgspec

from acytoo.batch.budget import Spending
from acytoo.batch.limits import Limiter, Reservation
from acytoo.batch.rows import Row
from acytoo.dialects.quotas import Quota
from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    EmbeddedError,
    InvalidReplyError,
    MissingExtraError,
    NoTextError,
    StatusError,
)
from acytoo.routing.policy import LONGEST_REQUESTED_PAUSE, verdict, wait_of
from acytoo.types import Reply

_FIRST_PLACES = 8
"""Requests at once in the beginning."""

_FEWEST_FIRSTS = 20
"""Replies of which the median time to the first content is compared with the usual one."""

_SHORTEST_FIRST = 0.2
"""Seconds to the first content that are never too many."""

_SHORTEST_BACKOFF = 0.5
_LONGEST_BACKOFF = 30.0
_LONGEST_PAUSE = 60.0
_FEWEST_FOR_OUTAGE = 20
"""Failures in a row, without a reply between them, before they are taken for an outage."""


class Answer(msgspec.Struct):
    """A complete reply, how many seconds after the request its first content came, and what else is known of it.

    `data` is its text as JSON, if there is a schema. `quotas` is what the response reports of limits.
    """

    reply: Reply
    first_s: float
    data: Any = None
    quotas: list[Quota] = []


_NOTHING = Reservation()

Ask: TypeAlias = Callable[[Row], Awaitable[Answer]]
"""Sends the request of a row. Raises AcytooError unless the reply is complete."""


class Result(msgspec.Struct):
    """The reply to a row, or the error in its place. `data` is the reply's text as JSON, if there is a schema."""

    row: Row
    reply: Reply | None = None
    data: Any = None
    error: AcytooError | None = None
    attempts: int = 0


Deliver: TypeAlias = Callable[[Result], Awaitable[None]]


class Stopped(Exception):
    """Stops the batch after an error that every other row would meet too; `error` is that one."""

    def __init__(self, error: AcytooError) -> None:
        super().__init__(str(error))
        self.error = error


class Concurrency:
    """The number of requests at once, which adapts to what the upstream takes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.places = float(min(most, _FIRST_PLACES))
        self.in_flight = 0
        self._usual_s: float | None = None
        """The median time to the first content."""
        self._firsts: list[float] = []
        self._has_halved = False  # because of that time, and the next median has to show whether it helped
        self._is_ending = False
        self._grows_fast = True
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait until there is a place, and take it."""
        while self.in_flight + 1 > self.places and not self._is_ending:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._wake()
                raise
        self.in_flight += 1

    def leave(self) -> None:
        """Give a place back."""
        self.in_flight -= 1
        self._wake()

    def grow(self) -> None:
        """Note a reply: one more place, or one more after as many replies as there are places."""
        if self.places < self.most:
            self.places = min(self.most, self.places + (1.0 if self._grows_fast else 1.0 / self.places))

    def note_first_content(self, seconds: float) -> None:
        """Note how long a reply took to begin. If the median has doubled, there are too many requests at once.

        If half as many do not help, they are not the cause: then that time is usual from now on.
        """
        self._firsts.append(seconds)
        if len(self._firsts) < max(_FEWEST_FIRSTS, self.places):
            return
        median = sorted(self._firsts)[len(self._firsts) // 2]
        self._firsts.clear()
        usual = self._usual_s
        is_slow = usual is not None and median > max(2 * usual, _SHORTEST_FIRST)
        if is_slow and not self._has_halved:
            self._has_halved = True
            self.halve()
            return
        if usual is None or is_slow or median < usual:
            self._usual_s = median
        else:
            self._usual_s = usual + 0.1 * (median - usual)
        self._has_halved = False

    def halve(self) -> None:
        """Note that the upstream is overloaded."""
        self._grows_fast = False
        self.places = max(1.0, self.places / 2)

    def wake_all(self) -> None:
        """Let all that wait look again, because no further row begins."""
        self._is_ending = True
        self._wake()

    def _wake(self) -> None:
        free = math.inf if self._is_ending else self.places - self.in_flight
        while self._waiting and free >= 1:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1


class Scheduler:
    """A run of a batch: rows in, results out, in the order in which they are complete."""

    def __init__(
        self,
        rows: Iterator[Row] | AsyncIterator[Row],
        ask: Ask,
        deliver: Deliver,
        *,
        jobs: int = 100,
        attempts: int = 5,
        limiter: Limiter | None = None,
        spending: Spending | None = None,
        patience: float = 600.0,
    ) -> None:
        """Create a scheduler.

        `jobs`: the most requests at once. `limiter` has the upstream's limits, `spending` the caps. `attempts`: how
        many requests a row may take; refusals because of the load do not count. `patience`: seconds after which the
        batch stops if the upstream refuses every request.
        """
        self._rows = rows
        self._ask = ask
        self._deliver = deliver
        self._attempts = attempts
        self._limiter = limiter or Limiter()
        self._spending = spending or Spending()
        self._patience = patience
        self._jobs = jobs
        self.concurrency = Concurrency(jobs)
        self.stop_reason = ""
        """Why the batch has been stopped before its end, "" if it has not."""
        self._fatal: AcytooError | None = None
        self._stopping = asyncio.Event()
        self._reading = asyncio.Lock()
        self._is_exhausted = False
        self._has_left_row = False  # one that was read has no result
        self._resumes_at = -math.inf
        self._paused_at = -math.inf
        self._pauses = 0
        self._failures_in_row = 0
        self._refused_since: float | None = None
        """The time of the first refusal since the upstream has last answered."""
        self._row_reader: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Ask for every row. Returns when all are delivered, or those in flight after `stop`.

        Then there is a `stop_reason`, unless no row was left. Raises the error that stopped the batch, if one did.
        """
        tasks = [asyncio.create_task(self._work()) for _ in range(self._jobs)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            failures = [error for task in done if not task.cancelled() and (error := task.exception()) is not None]
            if failures:
                raise failures[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._fatal is not None:
            raise Stopped(self._fatal)
        if self.stop_reason and not self._has_left_row and not isinstance(self._rows, AsyncIterator):
            row = next(self._rows, None)
            self.stop_reason = self.stop_reason if row is not None else ""

    def stop(self, reason: str) -> None:
        """Begin no further row; those in flight are completed."""
        if not self._stopping.is_set():
            self.stop_reason = reason
            self._stopping.set()
            self.concurrency.wake_all()
            if self._row_reader is not None:
                self._row_reader.cancel()

    async def _work(self) -> None:
        concurrency = self.concurrency
        while True:
            await concurrency.enter()
            try:
                row = await self._next()
                if row is None:
                    return
                result = await self._answer(row) if row.error is None else Result(row, error=row.error)
            finally:
                concurrency.leave()
            if result is None:
                self._has_left_row = True
            else:
                self._note(result)
                await self._deliver(result)

    def _note(self, result: Result) -> None:
        if result.reply is not None:
            self._spending.replies += 1
            self._spending.note_reply(result.reply)
        else:
            self._spending.note_failure(type(result.error).__name__)
        self._check_caps()

    def _check_caps(self) -> None:
        if not self._is_exhausted and (reason := self._spending.reason_to_stop()):
            self.stop(reason)

    async def _next(self) -> Row | None:
        """Return the next row, None at the end or if the batch stops."""
        if self._is_exhausted or self._stopping.is_set():
            return None
        if isinstance(self._rows, AsyncIterator):
            row = await self._next_of(self._rows)
        else:
            row = next(self._rows, None)
        if row is None:
            self._is_exhausted = True
            self.concurrency.wake_all()
        return row

    async def _next_of(self, rows: AsyncIterator[Row]) -> Row | None:
        """Return the next row of an asynchronous iterator, which one worker at a time may ask, or None."""
        async with self._reading:
            if self._is_exhausted or self._stopping.is_set():
                return None
            task = self._row_reader = asyncio.current_task()
            try:
                return await anext(rows, None)
            except asyncio.CancelledError:
                if not self._stopping.is_set() or task is None or task.uncancel() > 0:
                    raise
                return None
            finally:
                self._row_reader = None

    async def _answer(self, row: Row) -> Result | None:
        """Return the result for a row, after several attempts if necessary; None if the batch stops before it."""
        limiter = self._limiter
        attempts = counted = 0
        while True:
            if self._resumes_at > time.monotonic() and not await self._wait_until(self._resumes_at):
                return None
            reservation = _NOTHING
            if limiter.is_active:
                reservation, delay = limiter.reserve(row)
                if delay > 0 and not await self._wait_until(time.monotonic() + delay):
                    return None
            started = time.monotonic()
            attempts += 1
            try:
                answer = await self._ask(row)
            except AcytooError as error:
                if is_fatal(error):
                    self._fail(error)
                    return None
                if verdict(error, ()) != "retry":
                    self._refused_since = None
                    self._note_refused_reply(error)
                    return Result(row, error=error, attempts=attempts)
                self._failures_in_row += 1
                if is_refusal(error) or (self._is_outage and not isinstance(error, InvalidReplyError)):
                    if self._refused(error, started):
                        continue
                    return None
                self._note_refused_reply(error)
                counted += 1
                if counted >= self._attempts:
                    return Result(row, error=error, attempts=attempts)
                # At least half: no row uses up its attempts before those of the others show that it is an outage.
                backoff = random.uniform(0.5, 1.0) * min(_LONGEST_BACKOFF, _SHORTEST_BACKOFF * 2**counted)
                if not await self._wait_until(time.monotonic() + backoff):
                    return None
            else:
                if answer.quotas:
                    limiter.learn(reservation, answer.quotas)
                if limiter.is_active:
                    limiter.settle(reservation, answer.reply.usage)
                self._answered(answer)
                return Result(row, answer.reply, answer.data, attempts=attempts)

    def _note_refused_reply(self, error: AcytooError) -> None:
        """Note a reply that has been refused for its content: it has been paid for."""
        if isinstance(error, (InvalidReplyError, NoTextError)) and error.reply is not None:
            self._spending.note_reply(error.reply)
            self._check_caps()

    def _answered(self, answer: Answer) -> None:
        self._refused_since = None
        self._failures_in_row = self._pauses = 0
        self.concurrency.grow()
        self.concurrency.note_first_content(answer.first_s)

    @property
    def _is_outage(self) -> bool:
        """Whether so many requests in a row have failed that it is the upstream, and not these rows."""
        return self._failures_in_row > max(_FEWEST_FOR_OUTAGE, 2 * self.concurrency.places)

    def _refused(self, error: AcytooError, started: float) -> bool:
        """Pause all workers after a refusal. Return whether the batch goes on.

        Requests that were sent before an earlier refusal was noticed are one with it.
        """
        now = time.monotonic()
        wait = wait_of(error)
        if started >= self._paused_at:
            self._paused_at = now
            self.concurrency.halve()
            if wait is None:
                wait = min(_LONGEST_PAUSE, 2.0**self._pauses) * random.uniform(0.5, 1.0)
            self._pauses += 1
        if wait is not None:
            self._resumes_at = max(self._resumes_at, now + min(wait, LONGEST_REQUESTED_PAUSE))
        if self._refused_since is None:
            self._refused_since = now
        if now - self._refused_since > self._patience:
            self._fail(error)
        return not self._stopping.is_set()

    async def _wait_until(self, moment: float) -> bool:
        """Wait until a time of `time.monotonic`. Return whether the batch goes on."""
        try:
            async with asyncio.timeout(max(0.0, moment - time.monotonic())):
                await self._stopping.wait()
        except TimeoutError:
            return True
        return False

    def _fail(self, error: AcytooError) -> None:
        self._fatal = self._fatal or error
        self.stop(f"{type(error).__name__}: {error}")


def is_refusal(error: AcytooError) -> bool:
    """Return whether the upstream refuses requests because of its load, not because of this one."""
    return isinstance(error, StatusError) and error.status in (429, 503, 529) and error.retryable


def is_fatal(error: AcytooError) -> bool:
    """Return whether every other row would meet this error too: a wrong key, no money left, or no embedded model.

    Source of the codes: OpenAI's list of error codes.
    """
    if isinstance(error, (EmbeddedError, MissingExtraError)):
        return True
    if isinstance(error, AuthenticationError) and error.status in (401, None):
        return True
    return isinstance(error, StatusError) and "insufficient_quota" in (error.code, error.type)
