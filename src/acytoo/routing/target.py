"""A target of a route: which provider, how many requests it may have, and whether it works.

The problem: a target that fails must not be asked again and again, one that has recovered must not be flooded, and
nobody wants to pay for requests that only check.

The strategy is passive. A target that fails several times in a row, or asks to wait with `Retry-After`, is paused.
After the pause it takes one request. Each one that begins to be answered lets one more in at the same time, so that
their number doubles with each round, until there is no such limit any more. A request that finds a target full waits
in its queue, first come, first served.

The cost: a request that finds its target free changes a few attributes. Futures exist only for those that wait, and a
lock is taken only if there is a limit: a target may serve the event loops of several threads.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import AcytooError, StatusError, UsageError, one_line
from acytoo.routing.policy import LONGEST_REQUESTED_PAUSE, is_failure_of_target, wait_of
from acytoo.types import Attempt, Request

_LOG = logging.getLogger("acytoo.routing")

_LONGEST_PAUSE = 120.0
_FULL_TRUST = 64
"""Answers after which a target counts as recovered."""

Waiter: TypeAlias = "asyncio.Future[Lease | None]"


class Lease(msgspec.Struct, eq=False):
    """The place of one request at a target, to be released exactly once.

    `is_trial`: whether the request has to show first that the target works again.
    """

    target: Target
    seconds: float = 0.0
    """The time until the reply to the request began."""
    earlier: Sequence[Attempt] = ()
    """The attempts at other targets."""
    inner: Sequence[Attempt] = ()
    """The attempts of a target that is a route."""
    is_trial: bool = False
    is_released: bool = False

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts of the request, once its reply has begun. Few callers look at them."""
        return [*self.earlier, *(self.inner or [Attempt(self.target.name, "answered", self.seconds)])]

    def end(self, outcome: str, error: AcytooError | None) -> None:
        """Note the end of a reply that has begun, and give the place back: an OnEnd, called once."""
        target = self.target
        if error is not None:
            error.attempts = tuple(self.attempts)
            if is_failure_of_target(error):
                target.failed(wait_of(error))
            log_failure(target, error, " after its reply had begun")
        elif target.failures_in_a_row and outcome == "complete":
            target.answered()
        if target.is_unlimited and not self.is_trial:  # as `take_back` does, without the call
            target.in_flight -= 1
        else:
            target.take_back(self)

    def release(self) -> None:
        """Give the place back. Does nothing the second time."""
        if not self.is_released:
            self.is_released = True
            self.target.take_back(self)


class Target:
    """A provider as a part of routes, with its share of the requests and its health.

    The same Target in several routes has one limit and one health.
    """

    def __init__(
        self,
        provider: AsyncGeneratorProvider,
        *,
        name: str = "",
        weight: float = 1.0,
        limit: int | None = None,
        queue: int = 1000,
        failures: int = 5,
        pause: float = 10.0,
    ) -> None:
        """Create a target.

        `name`: in logs, attempts and response headers; by default the provider's name and model. `weight`: its share
        of the requests of a balanced route. `limit`: how many requests it may have at once. `queue`: how many may wait
        for it. `failures`: how many in a row pause it. `pause`: seconds of the first pause; each further one is twice
        as long, up to two minutes. Raises UsageError for an invalid value.
        """
        if not isinstance(provider, AsyncGeneratorProvider):
            raise UsageError(f"invalid target {provider!r}: expected a provider, such as acytoo.provider('openai/…')")
        if not is_number(weight) or not 1e-6 <= weight <= 1e6:
            raise UsageError(f"invalid weight {weight!r}: expected a number from 0.000001 to 1000000")
        if limit is not None and not is_count(limit, 1):
            raise UsageError(f"invalid limit {limit!r}: expected a whole number above 0, or None")
        if not is_count(queue, 0):
            raise UsageError(f"invalid queue {queue!r}: expected a whole number from 0")
        if not is_count(failures, 1):
            raise UsageError(f"invalid failures {failures!r}: expected a whole number above 0")
        if not is_number(pause) or not 0 < pause < math.inf:
            raise UsageError(f"invalid pause {pause!r}: expected a number of seconds above 0")
        if not isinstance(name, str):
            raise UsageError(f"invalid name {name!r}: expected text")
        self.provider = provider
        self.name = name or name_of(provider)
        self.is_route = type(provider).open_reply is not AsyncGeneratorProvider.open_reply
        self.weight = weight
        self.in_flight = 0
        self.opens_at = -math.inf
        """The time (`time.monotonic`) from which the target may be asked."""
        self.failures_in_a_row = 0
        self.is_unlimited = limit is None
        """Whether neither `limit` nor trials restrict the requests in flight, so that places need no lock."""
        self._limit = math.inf if limit is None else limit
        self._queue_size = queue
        self._queue: deque[Waiter] = deque()
        self._lock = threading.RLock()  # for its places and its queue; reentrant, because giving one may take it back
        self._max_failures = failures
        self._first_pause = pause
        self._pause = 0.0
        self._trials = 0
        self._max_trials = math.inf

    def __repr__(self) -> str:
        return f"Target({self.name!r})"

    def __reduce__(self) -> Any:  # a copy, such as one in another process, has its own places and its own health
        limit = None if self._limit == math.inf else int(self._limit)
        settings: dict[str, Any] = {"weight": self.weight, "limit": limit, "queue": self._queue_size}
        settings |= {"name": self.name, "failures": self._max_failures, "pause": self._first_pause}
        return functools.partial(type(self), **settings), (self.provider,)

    @property
    def load(self) -> float:
        """The requests in flight in relation to the weight, this one included."""
        return (self.in_flight + len(self._queue) + 1) / self.weight

    @property
    def is_full(self) -> bool:
        """Whether a request would have to wait for others to end."""
        return bool(self._queue) or not self._has_room

    @property
    def has_queue_room(self) -> bool:
        """Whether one more request may wait."""
        return len(self._queue) < self._queue_size

    @property
    def _has_room(self) -> bool:
        return self.in_flight < self._limit and self._trials < self._max_trials

    def request_for(self, request: Request) -> Request:
        """Return the request for this target: a provider with a model of its own is asked for that one."""
        model = self.provider.model
        return request if model == request.model or not model else msgspec.structs.replace(request, model=model)

    # Places.

    def take(self) -> Lease | None:
        """Return a place for a request, or None if it would have to wait for others to end."""
        if self.is_unlimited:
            self.in_flight += 1
            return Lease(self)
        with self._lock:
            return None if self.is_full else self._grant()

    def _grant(self) -> Lease:
        self.in_flight += 1
        is_trial = self._max_trials < math.inf
        self._trials += is_trial
        return Lease(self, is_trial=is_trial)

    def take_back(self, lease: Lease) -> None:
        """Take a place back, and give it to whoever has waited longest."""
        if self.is_unlimited and not lease.is_trial:
            self.in_flight -= 1
            return
        with self._lock:
            self.in_flight -= 1
            self._end_trial(lease)
            self._admit()

    def enqueue(self, waiter: Waiter) -> None:
        """Let a request wait for a place: the result is a Lease, or None if the target has been paused meanwhile."""
        with self._lock:
            self._queue.append(waiter)
            self._admit()  # another thread may have given a place back meanwhile

    def dequeue(self, waiter: Waiter) -> None:
        """Let a request wait no longer. A place that it was given meanwhile is given back."""
        with self._lock, suppress(ValueError):
            self._queue.remove(waiter)

    def _admit(self) -> None:
        while self._queue and self._has_room:
            waiter = self._queue.popleft()
            if not waiter.done():
                _resolve(waiter, self._grant())

    def _dismiss(self) -> None:
        """Let all that wait choose again."""
        while self._queue:
            _resolve(self._queue.popleft(), None)

    def _end_trial(self, lease: Lease) -> None:
        if lease.is_trial:
            lease.is_trial = False
            self._trials -= 1

    # Health.

    def begun(self, lease: Lease) -> None:
        """Note that the reply to a request has begun."""
        with self._lock:
            if self._max_trials < math.inf:
                self._end_trial(lease)
                self._max_trials = self._max_trials + 1 if self._max_trials < _FULL_TRUST else math.inf
                self.is_unlimited = self._limit == self._max_trials == math.inf
                self._admit()

    def answered(self) -> None:
        """Note a complete reply, or another sign that the target works, such as the refusal of a bad request."""
        self.failures_in_a_row = 0
        self._pause = 0.0

    def failed(self, retry_after: float | None) -> None:
        """Note a failure. It pauses the target if it is one too many, or for as long as the target asks (seconds)."""
        self.failures_in_a_row += 1
        if retry_after:  # 0 says nothing about how long the failure will last
            self._close(min(retry_after, LONGEST_REQUESTED_PAUSE))
        elif self.failures_in_a_row >= self._max_failures and time.monotonic() >= self.opens_at:
            # Not for the other requests in flight: their failures would make it the longest pause at once.
            self._pause = min(_LONGEST_PAUSE, self._pause * 2 or self._first_pause)
            # Replicas that lost the same target do not probe it at the same moment.
            self._close(self._pause * random.uniform(0.8, 1.2))

    def _close(self, seconds: float) -> None:
        with self._lock:
            self.opens_at = max(self.opens_at, time.monotonic() + seconds)
            self._max_trials = 1
            self.is_unlimited = False
            self._dismiss()


def log_failure(target: Target, error: AcytooError, when: str = "") -> None:
    """Log a failure, unless it belongs to normal operation, such as a limit of ours that has been reached."""
    if isinstance(error, StatusError) and error.is_local:
        return
    # Not the error itself: a handler that keeps records would keep its traceback, and with that the request.
    message = one_line(f"target {target.name} failed{when}: {type(error).__name__}: {error}")
    _LOG.warning("%s", message)


def is_number(value: object) -> bool:
    """Return whether a value is a number."""
    return isinstance(value, int | float)


def is_count(value: object, least: int) -> bool:
    """Return whether a value is a whole number that is not too small."""
    return isinstance(value, int) and value >= least


def name_of(provider: AsyncGeneratorProvider) -> str:
    """Return the default name of a target: the provider's name, and its model if it has one."""
    name = provider.address_name()
    return f"{name}/{provider.model}" if provider.model else name


def _resolve(waiter: Waiter, lease: Lease | None) -> None:
    """Give a waiting request its result. It may belong to the event loop of another thread."""
    loop = waiter.get_loop()
    if loop is _running_loop():
        _set_result(waiter, lease)
        return
    try:
        loop.call_soon_threadsafe(_set_result, waiter, lease)
    except RuntimeError:  # that loop is closed
        if lease is not None:
            lease.release()


def _set_result(waiter: Waiter, lease: Lease | None) -> None:
    if not waiter.done():
        waiter.set_result(lease)
    elif lease is not None:
        lease.release()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
