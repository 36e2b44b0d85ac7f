"""One request on its way through a route, and the reply to it."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeAlias, TypeVar, cast

import msgspec

from acytoo.base_provider import OpenReply, ReplyOpener
from acytoo.client import BatchStream, Stream, is_late
from acytoo.errors import AcytooError, ServerError, TimedOutError
from acytoo.routing.policy import BusyError, is_failure_of_target, verdict, wait_of
from acytoo.routing.target import Lease, Target, Waiter, log_failure
from acytoo.types import Attempt, Attempts, Closable, Item, Request, has_content

if TYPE_CHECKING:
    from acytoo.routing.route import Route

T = TypeVar("T")
R = TypeVar("R")

Deliver: TypeAlias = Callable[[Closable[T], Stream[T], Lease, T | None], R]
"""Gets what the opener returned, the reply, its place, and what was read of the reply to see that it begins."""

_LOG = logging.getLogger("acytoo.routing")

_SHORTEST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
"""The bounds in seconds of the pause before the same target is asked again ("full jitter": any time up to it)."""

_SHORTEST_SEARCH = 0.1
"""Seconds after which a target to hedge with is looked for again, if none was free."""


async def open_reply(
    route: Route, request: Request, opener: ReplyOpener[T], deliver: Deliver[T, R], session: str = ""
) -> R:
    """Send a request until a target of a route begins to answer. Return what `deliver` makes of the reply of that one.

    Raises the error of the last attempt that may succeed later, else that of the first one; TimedOutError (phase
    "deadline").
    """
    # One long function, because each coroutine between the caller and the transport costs a step whenever something
    # arrives. The usual request does without a search: the first target works and has no limit, and its connection
    # enforces the deadline.
    started = time.monotonic()
    target = route.targets[0]
    source: Closable[T] | None = None
    stream: Stream[Any] | None = None
    first: Any = None
    search: _Search[T] | None = None
    try:
        if route.takes_first and target.is_unlimited and target.opens_at <= started:
            target.in_flight += 1
            try:
                source = opener(target.provider, target.request_for(request))
                if isinstance(source, BatchStream) and source.begin_within(route.deadline):
                    stream = source
                    first = await stream.__anext__()
                    while type(first) is list and not has_content(first):
                        first = first + await stream.__anext__()
            except StopAsyncIteration:
                pass
            except BaseException as error:
                has_expired = stream is not None and is_late(error)
                stream = None
                search = _Search(route, request, opener, session, started, sent=1)
                await search.end_attempt(Lease(target), source, error, time.monotonic() - started, has_expired)
                if has_expired:
                    raise search.deadline_error() from None
                if not search.may_repeat(error):
                    raise
                source = None
            if stream is not None:
                lease = Lease(target, time.monotonic() - started)
                stream.accept(lease.end)
                return deliver(stream, stream, lease, first)
        search = search or _Search(route, request, opener, session, started, sent=source is not None)
        taken = Lease(target) if source is not None else None
        source, stream, lease, first = await search.begun(taken, source)
        search.close()
        return deliver(source, stream, lease, first)
    except BaseException as error:
        if isinstance(error, AcytooError):
            error.attempts = tuple(search.attempts) if search is not None else ()
        # The traceback of an error refers to this frame: it must not keep itself and a long history in memory.
        if search is not None:
            search.close()
        del request, opener
        raise


def hold_first(source: Closable[T], stream: Stream[T], lease: Lease, first: T | None) -> OpenReply[T]:
    """Return a reply whose first step returns what was read of it."""
    stream.hold(first)
    return OpenReply(source, stream, lease.attempts)


class _Begun(NamedTuple, Generic[T]):
    """A reply that has begun, for those who choose among several."""

    source: Closable[T]
    stream: Stream[T]
    lease: Lease
    first: T | None


class _Search(msgspec.Struct, Generic[T], eq=False):
    """What is known of a request for which there was no place at once, or that has failed at a target."""

    route: Route
    request: Request
    opener: ReplyOpener[T]
    session: str
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
    timeout: asyncio.Timeout | None = None

    def close(self) -> None:
        """Forget the request and the error."""
        self.error = None
        del self.request, self.opener

    @property
    def _is_late(self) -> bool:
        return self.timeout is not None and self.timeout.expired()

    def deadline_error(self) -> TimedOutError:
        """Return the error for a request that has become late."""
        asked = dict.fromkeys(attempt.target for attempt in self.attempts)
        names = ", ".join(asked or [target.name for target in self.route.targets])
        seconds = self.route.deadline
        error = TimedOutError("deadline", seconds, f"no reply began within {seconds:g} s: {names}")
        error.attempts = tuple(self.attempts)
        return error

    def may_repeat(self, error: BaseException | None) -> bool:
        """Return whether another attempt may follow one that failed."""
        return isinstance(error, AcytooError) and verdict(error, self.route.next_on) != "raise"

    async def begun(self, lease: Lease | None, source: Closable[T] | None) -> _Begun[T]:
        """Ask targets until one begins to answer, at first the one at which there is a place already.

        `source`: the reply that was opened there. Raises as `open_reply`.
        """
        try:
            async with asyncio.timeout(self.started + self.route.deadline - time.monotonic()) as self.timeout:
                while True:
                    if lease is None:
                        lease = await self._place()
                    delay = self.route.hedge_after if self.route.hedges else None
                    try:
                        begun = await (self._ask(lease, source) if delay is None else self._hedged(lease, delay))
                        begun.lease.earlier = self.attempts
                        return begun
                    except AcytooError as error:
                        if self._is_late or not self.may_repeat(error):
                            raise
                    lease = source = None
        except TimeoutError as error:
            if isinstance(error, AcytooError) or not self._is_late:
                raise
            raise self.deadline_error() from self.error

    async def _ask(self, lease: Lease, source: Closable[T] | None = None) -> _Begun[T]:
        """Send the request to one target. Return its reply once that has begun, else give the place back."""
        started, target = time.monotonic(), lease.target
        batches = source
        first: Any = None
        try:
            if target.is_route:
                asked = target.request_for(self.request)
                opened = await target.provider.open_reply(asked, self.opener, self.session)
                source, batches = opened.source, opened.batches
                lease.inner = _attempts_of(target, opened.attempts)
            elif source is None:
                source = self.opener(target.provider, target.request_for(self.request))
            batches = batches or source
            try:
                first = await batches.__anext__()
                while type(first) is list and not has_content(first):
                    more: Any = await batches.__anext__()
                    first = first + more
            except StopAsyncIteration:
                pass
        except BaseException as error:
            is_late = self._is_late and isinstance(error, asyncio.CancelledError)
            await self.end_attempt(lease, batches, error, time.monotonic() - started, is_late)
            raise
        seconds = time.monotonic() - started
        if self.route.hedges:
            self.route.note_first_content(seconds)
        if lease.is_trial:
            target.begun(lease)
        stream = batches if isinstance(batches, Stream) else _OtherStream(batches)
        lease.seconds = seconds
        stream.accept(lease.end)
        return _Begun(source, stream, lease, first)

    async def end_attempt(
        self, lease: Lease, batches: Closable[T] | None, error: BaseException, seconds: float, is_late: bool
    ) -> None:
        """Note an attempt without a reply, which has failed or was cancelled, and give its place back.

        `is_late`: whether the deadline has ended it.
        """
        # In this order: a request that waits for the place must not be sent to a target that has failed.
        target = lease.target
        if is_late or isinstance(error, asyncio.CancelledError):
            self.attempts.append(Attempt(target.name, "cancelled", seconds))
            if is_late:
                target.failed(None)
        elif isinstance(error, AcytooError):
            self._note_failure(target, error, seconds)
        lease.release()
        if batches is not None:
            await batches.aclose()

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

    async def _hedged(self, lease: Lease, delay: float) -> _Begun[T]:
        """Send the request to one target and, if that is slower than usual, to a second one. The first reply wins.

        If one of the two fails, another target takes its place at once. If none is free, it is looked for again, after
        twice the time.
        """
        started = time.monotonic()
        tasks = {asyncio.ensure_future(self._ask(lease)): lease.target}
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
                    task = asyncio.ensure_future(self._ask(second))
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
                may_ask = all(self.may_repeat(task.exception()) for task in done)
                if winner is None and not running:
                    winner = done.pop()  # to raise its error
            await _leave([task for task in tasks if task is not winner])
            return winner.result()
        except BaseException:
            # Also the winner, if this is a cancellation while the other one is left; and in spite of a second one.
            await asyncio.shield(_leave([*tasks]))
            raise

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

    async def _place(self) -> Lease:
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

    def _report_end(self, outcome: str, error: AcytooError | None) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(outcome, error)


class RoutedReply(msgspec.Struct, eq=False):
    """The reply to a request that a route sends to one of its targets. The first step sends it."""

    _route: Route
    _request: Request | None
    _opener: ReplyOpener[list[Item]]
    _session: str = ""
    _texts_only: bool = False
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
        self, _: Closable[list[Item]], stream: Stream[list[Item]], lease: Lease, first: list[Item] | None
    ) -> list[Item]:
        self._batches = stream
        if self._texts_only:
            return first or []
        return [Attempts(lease.attempts), *(first or ())]

    def forward(self, deliver: Callable[[list[Item]], bool]) -> Awaitable[None]:
        """Call `deliver` with the batches that arrive, as BatchStream.forward does."""
        return self._batches.forward(deliver) if isinstance(self._batches, BatchStream) else _nothing()

    @property
    def text(self) -> str:
        """The text so far."""
        return cast("str", getattr(self._batches, "text", ""))

    def aclose(self) -> Awaitable[None]:
        """Stop reading, and give the target's place back."""
        if self._batches is not None:
            return self._batches.aclose()
        self._request = None
        return _nothing()


async def _ended() -> list[Item]:
    raise StopAsyncIteration


async def _nothing() -> None:
    """Do nothing."""
