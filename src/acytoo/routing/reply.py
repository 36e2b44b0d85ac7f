"""One request on its way through a route, and the reply to it."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import msgspec

from acytoo.base_provider import OpenReply, ReplyOpener
from acytoo.client import BatchStream, Stream
from acytoo.errors import AcytooError, ServerError, TimedOutError
from acytoo.routing.policy import BusyError, is_failure_of_target, verdict, wait_of
from acytoo.routing.target import Lease, Target, Waiter, log_failure
from acytoo.types import Attempt, Attempts, Closable, Item, Request, has_content

if TYPE_CHECKING:
    from acytoo.routing.route import Route

T = TypeVar("T")

_LOG = logging.getLogger("acytoo.routing")

_SHORTEST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
"""The bounds in seconds of the pause before the same target is asked again ("full jitter": any time up to it)."""


class _Failures(msgspec.Struct, eq=False):
    """What the failed attempts of a request mean for the next one."""

    error: AcytooError | None = None
    excluded: set[Target] = set()
    tries: dict[Target, int] = {}
    not_before: dict[Target, float] = {}


class Opening(msgspec.Struct, Generic[T], eq=False):
    """A request on its way through a route, until a target begins to answer it."""

    _route: Route
    _request: Request
    _opener: ReplyOpener[T]
    _session: str
    _started: float
    """The time (`time.monotonic`) from which the deadline counts."""
    attempts: list[Attempt] = []
    """Those that have ended without a reply."""
    _sent: int = 0
    _failures: _Failures | None = None
    _is_late: bool = False

    @property
    def ends_at(self) -> float:
        """The time at which the reply has to have begun."""
        return self._started + self._route.deadline

    async def open(self, hedge: Lease | None = None) -> OpenReply[T]:
        """Send the request until a target begins to answer. Return the reply of that one.

        `hedge`: a place at the only target to ask, and only once, because another one is asked at the same time.
        Raises the error of the last attempt that may succeed later, else that of the first one; TimedOutError (phase
        "deadline").
        """
        # One long function, because each coroutine between the caller and the transport costs a step whenever something
        # arrives.
        route, lease, started = self._route, hedge, self._started
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        cancelling = task.cancelling()
        watch = route.last_watch
        if watch is None or watch.loop() is not loop:
            watch = route.watch(loop)
        reply: OpenReply[T] | None = None
        if hedge is None:
            watch.tasks[self] = task
            if not watch.is_armed:
                watch.arm(self, loop)
        try:
            if hedge is None and route.balance is None:  # the first attempt usually finds a place at once
                for target in route.targets:
                    if target.opens_at <= started and (lease := target.take()) is not None:
                        self._sent = 1
                        break
            while True:
                if lease is None:
                    lease = await self._place()
                    started = time.monotonic()
                delay = route.hedge_after if route.hedges and hedge is None else None
                batches: Closable[T] | None = None
                try:
                    if delay is not None:
                        reply = await self._hedged(lease, delay)
                        break
                    target, attempts = lease.target, None
                    request = target.request_for(self._request)
                    if target.is_route:
                        opened = await target.provider.open_reply(request, self._opener, self._session)
                        source, batches, attempts = opened.source, opened.batches, _attempts_of(target, opened.attempts)
                    else:
                        source = batches = self._opener(target.provider, request)
                    first: Any = None
                    try:
                        first = await batches.__anext__()
                        while type(first) is list and not has_content(first):
                            more: Any = await batches.__anext__()
                            first = first + more
                    except StopAsyncIteration:
                        pass
                    reply = self._begun(lease, source, batches, first, started, attempts)
                    break
                except BaseException as error:
                    if delay is None:
                        # Before the place is given back: a request that waits for it must not be sent to a target that
                        # has failed.
                        self._note_end(lease.target, error, time.monotonic() - started)
                        lease.release()
                        if batches is not None:
                            await batches.aclose()
                    if hedge is not None or self._is_late or not isinstance(error, AcytooError):
                        raise
                    if verdict(error, route.next_on) == "raise":
                        raise
                    lease = None
            if self.attempts and hedge is None:
                reply.attempts[:0] = self.attempts
            return reply
        except AcytooError as error:
            error.attempts = tuple(self.attempts)
            raise
        except asyncio.CancelledError:
            if not self._is_late or hedge is not None:
                raise
            self._is_late = False
            if task.uncancel() > cancelling:
                raise
            raise self._deadline_error() from self._error()
        finally:
            if hedge is None:
                watch.tasks.pop(self, None)
                if self._is_late:  # a legacy provider has ended in another way when it was cancelled
                    task.uncancel()
                # The traceback of an error refers to self: it must not keep itself and a long history in memory.
                if self._failures is not None:
                    self._failures = None
                if reply is None:
                    del self._request, self._opener

    def expire(self, task: asyncio.Task[Any]) -> None:
        """Cancel the task that waits for the reply to begin, and make that a TimedOutError."""
        self._is_late = True
        task.cancel()

    def _deadline_error(self) -> TimedOutError:
        asked = dict.fromkeys(attempt.target for attempt in self.attempts)
        names = ", ".join(asked or [target.name for target in self._route.targets])
        seconds = self._route.deadline
        error = TimedOutError("deadline", seconds, f"no reply began within {seconds:g} s: {names}")
        error.attempts = tuple(self.attempts)
        return error

    def _begun(
        self,
        lease: Lease,
        source: Closable[T],
        batches: Closable[T],
        first: T | None,
        started: float,
        attempts: list[Attempt] | None,
    ) -> OpenReply[T]:
        """Return a reply that has begun with `first`. `attempts` are those that it took if the target is a route."""
        seconds = time.monotonic() - started
        if self._route.hedges:
            self._route.note_first_content(seconds)
        target = lease.target
        if lease.is_trial:
            target.begun(lease)
        stream = batches if isinstance(batches, Stream) else _OtherStream(batches)
        lease.attempts = attempts = attempts or [Attempt(target.name, "answered", seconds)]
        stream.hand_over(first, lease.end)
        return OpenReply(source, stream, attempts)

    def _note_end(self, target: Target, error: BaseException, seconds: float) -> None:
        """Note an attempt without a reply: it has failed, or has been cancelled."""
        if isinstance(error, AcytooError):
            self._note_failure(target, error, seconds)
        elif isinstance(error, asyncio.CancelledError):
            self.attempts.append(Attempt(target.name, "cancelled", seconds))
            if self._is_late:
                target.failed(None)

    def _note_failure(self, target: Target, error: AcytooError, seconds: float) -> None:
        route = self._route
        log_failure(target, error)
        if target.is_route and error.attempts:
            self.attempts += _attempts_of(target, error.attempts)
        else:
            self.attempts.append(Attempt(target.name, type(error).__name__, seconds, str(error)))
        wait = wait_of(error)
        is_failure = is_failure_of_target(error)
        if is_failure:
            target.failed(wait)
        elif is_failure is not None:
            target.answered()
        failures = self._failures = self._failures or _Failures()
        if verdict(error, route.next_on) == "retry":
            tries = failures.tries[target] = failures.tries.get(target, 0) + 1
            backoff = random.uniform(0, min(_LONGEST_BACKOFF, _SHORTEST_BACKOFF * 2 ** (tries - 1)))
            failures.not_before[target] = time.monotonic() + (backoff if wait is None else wait)
            failures.error = error
        else:
            failures.excluded.add(target)
            failures.error = failures.error or error

    def _error(self) -> AcytooError | None:
        """Return the error to raise if there is no further attempt, None before the first failure."""
        return self._failures.error if self._failures is not None else None

    async def _hedged(self, lease: Lease, delay: float) -> OpenReply[T]:
        """Send the request to one target and, if that is slower than usual, to a second one. The first reply wins."""
        tasks = [asyncio.ensure_future(self.open(lease))]
        try:
            await asyncio.wait(tasks, timeout=delay)
            second = self._spare(lease.target) if not tasks[0].done() else None
            if second is not None:
                _LOG.info("target %s has not begun after %.3f s: asking %s too", lease.target.name, delay,
                          second.target.name)  # fmt: skip
                tasks.append(asyncio.ensure_future(self.open(second)))
            running = set(tasks)
            winner: asyncio.Task[OpenReply[T]] | None = None
            while winner is None:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                winner = next((task for task in done if task.exception() is None), None)
                if winner is None and not running:
                    winner = done.pop()  # to raise its error
            await _leave([task for task in tasks if task is not winner])
            return winner.result()
        except BaseException:
            # Also the winner, if this is a cancellation while the other one is left; and in spite of a second one.
            await asyncio.shield(_leave(tasks))
            raise

    def _spare(self, first: Target) -> Lease | None:
        """Return a place at another target that is free now, if the budget allows one more attempt."""
        now = time.monotonic()
        free = [t for t in self._usable() if t is not first and self._opens_at(t) <= now and not t.is_full]
        if not free or self._sent == self._route.max_attempts:
            return None
        return self._take(self._choose(free))

    # Which target is next.

    async def _place(self) -> Lease:
        """Return a place at a target, waiting for one if necessary. Raises AcytooError if there will be none."""
        while True:
            usable = self._usable()
            if not usable or self._sent == self._route.max_attempts:
                assert self._failures is not None
                assert self._failures.error is not None
                raise self._failures.error
            now = time.monotonic()
            open_targets = [target for target in usable if self._opens_at(target) <= now]
            free = [target for target in open_targets if not target.is_full]
            if free:
                lease = self._take(self._choose(free))
            elif open_targets:
                lease = await self._queue(open_targets)
                self._sent += lease is not None
            else:
                await self._wait_until(min(self._opens_at(target) for target in usable))
                continue
            if lease is not None:  # or the places have been taken by another thread, or the target has been paused
                return lease

    def _usable(self) -> tuple[Target, ...]:
        targets, failures = self._route.targets, self._failures
        return targets if failures is None else tuple([t for t in targets if t not in failures.excluded])

    def _opens_at(self, target: Target) -> float:
        failures = self._failures
        if failures is None:
            return target.opens_at
        return max(target.opens_at, failures.not_before.get(target, -math.inf))

    def _choose(self, free: list[Target]) -> Target:
        if self._failures is not None:
            tries = self._failures.tries
            fewest = min(tries.get(target, 0) for target in free)
            free = [target for target in free if tries.get(target, 0) == fewest]
        balance = self._route.balance
        return free[0] if balance is None else balance.choose(free, self._request, self._session)

    def _take(self, target: Target) -> Lease | None:
        lease = target.take()
        self._sent += lease is not None
        return lease

    async def _queue(self, targets: list[Target]) -> Lease | None:
        """Wait for a place at one of the targets. Return None if they have to be looked at again."""
        queues = [target for target in targets if target.has_queue_room]
        if not queues:
            names = ", ".join([target.name for target in targets])
            raise self._error() or BusyError(names)
        waiter: Waiter = asyncio.get_running_loop().create_future()
        for target in queues:
            target.enqueue(waiter)
        try:
            return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and (lease := waiter.result()) is not None:
                lease.release()
            raise
        finally:
            for target in queues:
                target.dequeue(waiter)

    async def _wait_until(self, moment: float) -> None:
        """Wait until a target may be asked. Raises AcytooError at once if that is too late."""
        seconds = max(0.0, moment - time.monotonic())
        if moment >= self.ends_at or seconds > self._route.max_wait:
            names = ", ".join([target.name for target in self._usable()])
            raise self._error() or ServerError(
                f"paused after failures: {names}; try again in {seconds:.0f} s", status=503, retry_after=seconds
            )
        await asyncio.sleep(seconds)


def _attempts_of(route: Target, attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the attempts of a route that is a target, as those of the route around it."""
    return [Attempt(f"{route.name}: {a.target}", a.outcome, a.seconds, a.error) for a in attempts]


async def _leave(tasks: list[asyncio.Task[OpenReply[T]]]) -> None:
    """Cancel tasks and wait for their end. A reply that has begun all the same is closed."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, OpenReply):
            await result.batches.aclose()


class _OtherStream(Stream[T]):
    """A reply that no client reads, such as that of a legacy provider."""

    __slots__ = ("_batches",)

    def __init__(self, batches: Closable[T]) -> None:
        self._batches = batches
        self._held = None
        self._on_end = ()

    async def __anext__(self) -> T:
        if (held := self._held) is not None:
            self._held = None
            return held
        try:
            return await self._batches.__anext__()
        except StopAsyncIteration:
            self._report_end("complete", None)
            raise
        except AcytooError as error:
            self._report_end("error", error)
            raise

    async def aclose(self) -> None:
        self._held = None
        self._report_end("cancelled", None)
        await self._batches.aclose()


class RoutedReply(msgspec.Struct, eq=False):
    """The reply to a request that a route sends to one of its targets. The first step sends it."""

    _route: Route
    _request: Request | None
    _opener: ReplyOpener[list[Item]]
    _session: str = ""
    _batches: Closable[list[Item]] | None = None

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[list[Item]]:
        return self._open() if self._batches is None else self._batches.__anext__()

    async def _open(self) -> list[Item]:
        if self._request is None:
            raise StopAsyncIteration
        opening = self._route.open_reply(self._request, self._opener, self._session)
        self._request = None  # a long history need not stay in memory
        opened = await opening
        self._batches = opened.batches
        try:
            first = await opened.batches.__anext__()
        except StopAsyncIteration:
            first = []
        return [Attempts(opened.attempts), *first]

    def forward(self, deliver: Callable[[list[Item]], bool]) -> Awaitable[None]:
        """Call `deliver` with the batches that arrive, as BatchStream.forward does."""
        return self._batches.forward(deliver) if isinstance(self._batches, BatchStream) else _nothing()

    @property
    def text(self) -> str:
        """The text so far."""
        return cast("str", getattr(self._batches, "text", ""))

    async def aclose(self) -> None:
        """Stop reading, and give the target's place back."""
        self._request = None
        if self._batches is not None:
            await self._batches.aclose()


async def _nothing() -> None:
    """Do nothing."""
