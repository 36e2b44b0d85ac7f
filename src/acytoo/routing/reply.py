"""One request on its way through a route, and the reply to it."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeAlias, TypeVar, cast

import msgspec

from acytoo.base_provider import OpenReply, ReplyOpener
from acytoo.client import BatchStream, Stream
from acytoo.errors import AcytooError, ServerError, TimedOutError
from acytoo.routing.policy import BusyError, is_failure_of_target, verdict, wait_of
from acytoo.routing.target import Lease, Target, Waiter, log_failure
from acytoo.types import Attempt, Attempts, Closable, Item, Request, has_content

if TYPE_CHECKING:
    from acytoo.routing.route import Route
    from acytoo.routing.watch import Watch

T = TypeVar("T")
R = TypeVar("R")

Deliver: TypeAlias = Callable[[Closable[T], Stream[T], list[Attempt], T | None], R]
"""Gets what the opener returned, the reply, the attempts, and what was read of the reply to see that it begins."""

_LOG = logging.getLogger("acytoo.routing")

_SHORTEST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
"""The bounds in seconds of the pause before the same target is asked again ("full jitter": any time up to it)."""

_SHORTEST_SEARCH = 0.1
"""Seconds after which a target to hedge with is looked for again, if none was free."""


async def open_reply(
    route: Route,
    request: Request,
    opener: ReplyOpener[T],
    deliver: Deliver[T, R],
    session: str = "",
    search: _Search[T] | None = None,
    hedge: Lease | None = None,
) -> R:
    """Send a request until a target of a route begins to answer. Return what `deliver` makes of the reply of that one.

    `hedge`: a place at the only target to ask, and only once, because `search` asks another one at the same time.
    Raises the error of the last attempt that may succeed later, else that of the first one; TimedOutError (phase
    "deadline").
    """
    # One long function, because each coroutine between the caller and the transport costs a step whenever something
    # arrives. What only a failure or a choice needs is in `search`, which the usual request does without.
    started, lease = time.monotonic(), hedge
    task = asyncio.current_task()
    assert task is not None
    loop, cancelling = task.get_loop(), task.cancelling()
    watch = route.last_watch
    if watch is None or watch.loop() is not loop:
        watch = route.watch(loop)
    is_timed = hedge is None and task not in watch.tasks  # or the target has asked the route itself, which is due first
    if is_timed:
        watch.tasks[task] = since = loop.time()
        if not watch.is_armed:
            watch.arm(since, loop)
    delay: float | None = None  # after which another target is asked too
    stream: Stream[T] | None = None
    first: Any = None
    try:
        if route.takes_first and hedge is None:
            for target in route.targets:
                if target.opens_at <= started and (lease := target.take()) is not None:
                    break
        while True:
            if lease is None:
                search = search or _Search(route, request, opener, session, watch, task, started)
                lease = await search.place()
                started = time.monotonic()
                delay = route.hedge_after if route.hedges else None
            batches: Closable[T] | None = None
            try:
                if delay is not None:
                    assert search is not None
                    source, stream, attempts, first = await search.hedged(lease, delay)
                    break
                target, attempts = lease.target, []
                if target.is_route:
                    opened = await target.provider.open_reply(target.request_for(request), opener, session)
                    source, batches, attempts = opened.source, opened.batches, _attempts_of(target, opened.attempts)
                else:
                    source = batches = opener(target.provider, target.request_for(request))
                try:
                    first = await batches.__anext__()
                    while type(first) is list and not has_content(first):
                        more: Any = await batches.__anext__()
                        first = first + more
                except StopAsyncIteration:
                    pass
                seconds = time.monotonic() - started
                if route.hedges:
                    route.note_first_content(seconds)
                if lease.is_trial:
                    target.begun(lease)
                stream = batches if isinstance(batches, Stream) else _OtherStream(batches)
                lease.attempts = attempts = attempts or [Attempt(target.name, "answered", seconds)]
                stream.at_end(lease.end)
                break
            except BaseException as error:
                search = search or _Search(route, request, opener, session, watch, task, started, sent=1)
                if delay is None:
                    # Before the place is given back: a request that waits for it must not be sent to a target that has
                    # failed.
                    search.note_end(lease.target, error, time.monotonic() - started)
                    lease.release()
                    if batches is not None:
                        await batches.aclose()
                if hedge is not None or search.is_late or not isinstance(error, AcytooError):
                    raise
                if verdict(error, route.next_on) == "raise":
                    raise
                lease = first = None
        if search is not None and hedge is None:
            attempts[:0] = search.attempts
        return deliver(source, stream, attempts, first)
    except AcytooError as error:
        error.attempts = tuple(search.attempts) if search is not None else ()
        raise
    except asyncio.CancelledError:
        if not is_timed or task in watch.tasks:
            raise
        is_timed = False
        if task.uncancel() > cancelling:
            raise
        assert search is not None
        raise search.deadline_error() from search.error
    finally:
        if is_timed and watch.tasks.pop(task, None) is None:
            task.uncancel()  # a legacy provider has ended in another way when it was cancelled
        # The traceback of an error refers to this frame: it must not keep itself and a long history in memory.
        if search is not None and hedge is None:
            search.close()
        if stream is None:
            del request, opener


def hold_first(source: Closable[T], stream: Stream[T], attempts: list[Attempt], first: T | None) -> OpenReply[T]:
    """Return a reply whose first step returns what was read of it."""
    stream.hold(first)
    return OpenReply(source, stream, attempts)


class _Begun(NamedTuple, Generic[T]):
    """A reply that has begun, for those who choose among several."""

    source: Closable[T]
    stream: Stream[T]
    attempts: list[Attempt]
    first: T | None


class _Search(msgspec.Struct, Generic[T], eq=False):
    """What is known of a request for which there was no place at once, or that has failed at a target."""

    route: Route
    request: Request
    opener: ReplyOpener[T]
    session: str
    watch: Watch
    task: asyncio.Task[Any]
    started: float
    """The time (`time.monotonic`) from which the deadline counts."""
    sent: int = 0
    attempts: list[Attempt] = []
    """Those that have ended without a reply."""
    error: AcytooError | None = None
    """The error to raise if there is no further attempt, None before the first failure."""
    excluded: set[Target] = set()
    tries: dict[Target, int] = {}
    not_before: dict[Target, float] = {}
    is_closed: bool = False

    def close(self) -> None:
        """Forget the request and the error."""
        self.is_closed = True
        self.error = None
        del self.request, self.opener

    @property
    def is_late(self) -> bool:
        """Whether the task was cancelled because its time was over."""
        return self.task not in self.watch.tasks and not self.is_closed

    def deadline_error(self) -> TimedOutError:
        """Return the error for a request that has become late."""
        asked = dict.fromkeys(attempt.target for attempt in self.attempts)
        names = ", ".join(asked or [target.name for target in self.route.targets])
        seconds = self.route.deadline
        error = TimedOutError("deadline", seconds, f"no reply began within {seconds:g} s: {names}")
        error.attempts = tuple(self.attempts)
        return error

    def note_end(self, target: Target, error: BaseException, seconds: float) -> None:
        """Note an attempt without a reply: it has failed, or has been cancelled."""
        if isinstance(error, AcytooError):
            self._note_failure(target, error, seconds)
        elif isinstance(error, asyncio.CancelledError):
            self.attempts.append(Attempt(target.name, "cancelled", seconds))
            if self.is_late:
                target.failed(None)

    def _note_failure(self, target: Target, error: AcytooError, seconds: float) -> None:
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
        if verdict(error, self.route.next_on) == "retry":
            tries = self.tries[target] = self.tries.get(target, 0) + 1
            backoff = random.uniform(0, min(_LONGEST_BACKOFF, _SHORTEST_BACKOFF * 2 ** (tries - 1)))
            self.not_before[target] = time.monotonic() + (backoff if wait is None else wait)
            self.error = error
        else:
            self.excluded.add(target)
            self.error = self.error or error

    async def hedged(self, lease: Lease, delay: float) -> _Begun[T]:
        """Send the request to one target and, if that is slower than usual, to a second one. The first reply wins.

        If one of the two fails, another target takes its place at once. If none is free, it is looked for again, after
        twice the time.
        """
        started = time.monotonic()
        tasks = {asyncio.ensure_future(self._ask_once(lease)): lease.target}
        try:
            done, _ = await asyncio.wait(tasks, timeout=delay)
            may_ask = not done
            running = dict(tasks)
            winner: asyncio.Task[_Begun[T]] | None = None
            while winner is None:
                if may_ask and (second := self._spare(tasks.values())) is not None:
                    names = ", ".join([target.name for target in running.values()])
                    waited = time.monotonic() - started
                    _LOG.info("target %s has not begun after %.3f s: asking %s too", names, waited, second.target.name)
                    task = asyncio.ensure_future(self._ask_once(second))
                    tasks[task] = running[task] = second.target
                    may_ask = False
                delay = max(2 * delay, _SHORTEST_SEARCH)
                done, _ = await asyncio.wait(
                    running,
                    timeout=delay if may_ask and self._others(tasks.values()) else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    continue
                for task in done:
                    del running[task]
                winner = next((task for task in done if task.exception() is None), None)
                may_ask = all(self._may_ask_after(task.exception()) for task in done)
                if winner is None and not running:
                    winner = done.pop()  # to raise its error
            await _leave([task for task in tasks if task is not winner])
            return winner.result()
        except BaseException:
            # Also the winner, if this is a cancellation while the other one is left; and in spite of a second one.
            await asyncio.shield(_leave([*tasks]))
            raise

    def _ask_once(self, hedge: Lease) -> Coroutine[Any, Any, _Begun[T]]:
        return open_reply(self.route, self.request, self.opener, _Begun[T], self.session, self, hedge)

    def _may_ask_after(self, error: BaseException | None) -> bool:
        """Return whether another target may be asked after a failure."""
        return isinstance(error, AcytooError) and verdict(error, self.route.next_on) != "raise"

    def _others(self, asked: Collection[Target]) -> list[Target]:
        """Return the targets that may be asked besides others, none if the budget allows no more attempt."""
        if self.sent == self.route.max_attempts:
            return []
        return [target for target in self._usable() if target not in asked]

    def _spare(self, asked: Collection[Target]) -> Lease | None:
        """Return a place at another target that is free now, if the budget allows one more attempt."""
        now = time.monotonic()
        free = [t for t in self._others(asked) if self._opens_at(t) <= now and not t.is_full]
        return self._take(self._choose(free)) if free else None

    # Which target is next.

    async def place(self) -> Lease:
        """Return a place at a target, waiting for one if necessary. Raises AcytooError if there will be none."""
        while True:
            usable = self._usable()
            if not usable or self.sent == self.route.max_attempts:
                assert self.error is not None
                raise self.error
            now = time.monotonic()
            open_targets = [target for target in usable if self._opens_at(target) <= now]
            free = [target for target in open_targets if not target.is_full]
            if free:
                lease = self._take(self._choose(free))
            elif open_targets:
                lease = await self._queue(open_targets)
                self.sent += lease is not None
            else:
                await self._wait_until(min(self._opens_at(target) for target in usable))
                continue
            if lease is not None:  # or the places have been taken by another thread, or the target has been paused
                return lease

    def _usable(self) -> tuple[Target, ...]:
        return tuple([target for target in self.route.targets if target not in self.excluded])

    def _opens_at(self, target: Target) -> float:
        return max(target.opens_at, self.not_before.get(target, -math.inf))

    def _choose(self, free: list[Target]) -> Target:
        if self.tries:
            fewest = min(self.tries.get(target, 0) for target in free)
            free = [target for target in free if self.tries.get(target, 0) == fewest]
        balance = self.route.balance
        return free[0] if balance is None else balance.choose(free, self.request, self.session)

    def _take(self, target: Target) -> Lease | None:
        lease = target.take()
        self.sent += lease is not None
        return lease

    async def _queue(self, targets: list[Target]) -> Lease | None:
        """Wait for a place at one of the targets. Return None if they have to be looked at again."""
        queues = [target for target in targets if target.has_queue_room]
        if not queues:
            names = ", ".join([target.name for target in targets])
            raise self.error or BusyError(names)
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
        if moment >= self.started + self.route.deadline or seconds > self.route.max_wait:
            names = ", ".join([target.name for target in self._usable()])
            raise self.error or ServerError(
                f"paused after failures: {names}; try again in {seconds:.0f} s", status=503, retry_after=seconds
            )
        await asyncio.sleep(seconds)


def _attempts_of(route: Target, attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the attempts of a route that is a target, as those of the route around it."""
    return [Attempt(f"{route.name}: {a.target}", a.outcome, a.seconds, a.error) for a in attempts]


async def _leave(tasks: list[asyncio.Task[_Begun[T]]]) -> None:
    """Cancel tasks and wait for their end. A reply that has begun all the same is closed."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, _Begun):
            await result.stream.aclose()


class _OtherStream(Stream[T]):
    """A reply that no client reads, such as that of a legacy provider."""

    __slots__ = ("_batches",)

    def __init__(self, batches: Closable[T]) -> None:
        self._batches = batches
        self._held = None
        self._on_end = None

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
        if self._batches is not None:
            return self._batches.__anext__()
        if self._request is None:
            return _ended()
        request, self._request = self._request, None  # a long history need not stay in memory
        return open_reply(self._route, request, self._opener, self._begin, self._session)

    def _begin(
        self, _: Closable[list[Item]], stream: Stream[list[Item]], attempts: list[Attempt], first: list[Item] | None
    ) -> list[Item]:
        self._batches = stream
        return [Attempts(attempts), *(first or ())]

    def forward(self, deliver: Callable[[list[Item]], bool]) -> Awaitable[None]:
        """Call `deliver` with the batches that arrive, as BatchStream.forward does."""
        return self._batches.forward(deliver) if isinstance(self._batches, BatchStream) else _nothing()

    @property
    def text(self) -> str:
        """The text so far."""
        return cast("str", getattr(self._batches, "text", ""))

    def aclose(self) -> Awaitable[None]:
        """Stop reading, and give the target's place back."""
        self._request = None
        return self._batches.aclose() if self._batches is not None else _nothing()


async def _ended() -> list[Item]:
    raise StopAsyncIteration


async def _nothing() -> None:
    """Do nothing."""
