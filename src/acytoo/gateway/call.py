"""One request to a gateway, and its attempts at upstreams: admitted, observed, and accounted for at the end.

A request is admitted by its key: what it may ask for, and whether its limits have room for an estimate. Each attempt at
an upstream reserves a place in that one's limits. At the end, what the attempts took replaces the estimates, and rows
for the ledger and a summary for metrics, traces and the log are made of it. Nothing is done for each chunk.
"""

from __future__ import annotations

import asyncio
import difflib
import math
import re
import time
from typing import TYPE_CHECKING

import msgspec

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.base import Dialect, ParsedRequest
from acytoo.dialects.server_side import new_id
from acytoo.errors import (
    AuthenticationError,
    NotFoundError,
    RequestError,
    ServerError,
    StatusError,
    TimedOutError,
)
from acytoo.gateway.accounting import estimate_input, estimate_output, outcome_of, tokens_of
from acytoo.gateway.cache import is_deterministic, key_of
from acytoo.gateway.counters import Claims, Exceeded, Hold
from acytoo.gateway.keys import Key
from acytoo.gateway.ledger import Row
from acytoo.gateway.limits import COUNTED, UNUSED, amounts_of, refusal, used_by
from acytoo.gateway.prices import QUARTER
from acytoo.gateway.setup import Leaf
from acytoo.gateway.shared_replies import Hit
from acytoo.gateway.summary import Asked, Summary
from acytoo.http1.head import encode_fields
from acytoo.observation import Observation
from acytoo.secret import truncate
from acytoo.server.auth import address_of
from acytoo.server.backends import split_model
from acytoo.server.connection import DisconnectedError
from acytoo.server.control import Ask, BackendReply, Call
from acytoo.server.request import IncomingRequest
from acytoo.types import Request

if TYPE_CHECKING:
    from acytoo.gateway.control import GatewayControl

_LARGE = 256 * 1024
"""Bytes of a body whose hash is computed in a thread: the event loop would stand still for too long."""

_LONGEST_AGENT = 500
"""Characters of a `user-agent` in the log and in traces: thousands of lines may wait for a reader that has stalled."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""The identifiers of callers that are kept; others are replaced."""


class Admin:
    """Whoever presents the admin key: may read everything and ask for no model."""

    name = "admin"
    max_body = None

    def allows(self, model: str) -> bool:
        """Return False."""
        return False


ADMIN = Admin()


class GatewayCall(Call):
    """One request to a gateway."""

    # Of objects with slots, each attribute is found at once, also one that still has its first value.
    __slots__ = (
        *("_address", "_at", "_attempts", "_control", "_dialect", "_hit", "_hold", "_incoming", "_request", "_sent"),
        *("_started", "_task", "_traceparent", "counters", "key_has_budget", "model", "quarter", "request_id"),
        *("setup", "size", "upstream_fields", "upstream_names"),
    )

    def __init__(self, control: GatewayControl, request: IncomingRequest) -> None:
        self._control = control
        self.counters = control.counters
        self._request = request
        self._at = time.time()
        self.quarter = int(self._at // QUARTER)
        self._started = time.monotonic()
        self._sent = request.connection.sent
        self._address = address_of(request) if control.consumers else ""
        given = request.headers.get("x-request-id", "")
        self.request_id = given if given and _REQUEST_ID.fullmatch(given) else new_id("req_")
        self.fields = self.upstream_fields = f"x-request-id: {self.request_id}\r\n".encode()
        self.upstream_names: tuple[str, ...] = ("x-request-id",)
        self._traceparent = ""
        if control.tracing is not None:
            passed = control.tracing.headers_for(request.headers)
            self._traceparent = passed["traceparent"]
            self.upstream_names += tuple(passed)
            self.upstream_fields += encode_fields(passed)
        self._attempts: list[GatewayAttempt] = []
        self.route = self.error = None
        self.key_has_budget = False
        """Whether the caller's key has one, so that the price of each attempt has to be known."""
        self._dialect = self.model = ""
        self.size = 0
        self._incoming: int | None = None
        self._hold: Hold | None = None
        self._hit: Hit | None = None
        self._task: asyncio.Task[None] | None = None
        """What asks an upstream for this request and for others; it may outlast the request."""

    async def admit(self, parsed: ParsedRequest, dialect: Dialect, size: int) -> None:
        """Check what the key may ask for, and reserve an estimate. Raises AcytooError."""
        # The file may have been read again while the body arrived; the server selects the backend from the new one.
        caller = self._request.caller
        setup = self.setup = self._control.setup
        self._dialect, self.size = dialect.name, size
        model = self.model = parsed.request.model or next(iter(setup.backends))
        name, _, rest = model.partition("/")
        if caller is ADMIN:
            raise AuthenticationError("the admin key may not ask models: use another key", status=403)
        if name not in setup.backends or (caller is not None and not caller.allows(model)):
            raise _unknown_model(model, [one for one in setup.backends if caller is None or caller.allows(one)])
        if extra := parsed.request.extra:
            for field, effect in dialect.unmetered_fields.items():
                if extra.get(field):
                    message = f"{field} {effect}, which this server could not count: leave it out"
                    raise RequestError(message, status=400, code="invalid_request_error")
        if self._control.ledger.is_full:
            raise ServerError("usage cannot be recorded at the moment: try again later", status=503, retry_after=5)
        if isinstance(caller, Key) and (plan := caller.plan) is not None:
            tokens = money = 0
            if plan.needs_tokens:
                incoming, outgoing = self.estimated_input(parsed.request), estimate_output(parsed.request)
                tokens = incoming + outgoing
                if plan.has_budget:
                    self.key_has_budget = True
                    leaf = setup.dearest_leaves[name]
                    rates = setup.offer(leaf, leaf.model or rest, self.quarter).rates
                    money = rates.cost(incoming, outgoing) if rates is not None else 0
            counters, amounts = self.counters, amounts_of(tokens, money)
            held = counters.reserve_now(plan, amounts) or await counters.reserve(Claims(plan, amounts))
            self.fields += held.quota_fields(dialect, self._at)
            if isinstance(held, Exceeded):
                raise refusal(held)
            self._hold = held

    def estimated_input(self, request: Request) -> int:
        """Return about how many tokens the request has."""
        if self._incoming is None:
            self._incoming = estimate_input(request, self.size)
        return self._incoming

    def observe(self, backend: AsyncGeneratorProvider, wanted: Request) -> GatewayAttempt:
        """Return what is filled in while an upstream answers."""
        attempt = GatewayAttempt(self, self.setup.leaves[id(backend)], wanted)
        self._attempts.append(attempt)
        return attempt

    def may_share(self, request: Request) -> bool:
        """Return whether the model has a cache, and the request asks for a deterministic reply."""
        cached = self.setup.cached
        return bool(cached) and self.model.partition("/")[0] in cached and is_deterministic(request)

    async def share(self, request: Request, ask: Ask) -> BackendReply:
        """Return the reply to a request for a model that has a cache. Raises AcytooError."""
        name, _ = split_model(self.setup.backends, self.model)
        scope = self.setup.cached[name]
        key = await asyncio.to_thread(key_of, scope, request) if self.size > _LARGE else key_of(scope, request)
        seconds = self.setup.config.models[name].cache
        reply = await self._control.replies.open(key, seconds, ask, self._note_task, has_budget=self.key_has_budget)
        self._hit = reply.batches if isinstance(reply.batches, Hit) else None
        return reply

    def _note_task(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def end(self, error: BaseException | None) -> None:
        """Settle what was reserved, and report the request.

        If what asks an upstream for it goes on for others, that happens when it has ended: then its usage is known.
        """
        request = self._request
        connection, task = request.connection, self._task
        was_stopped = isinstance(error, asyncio.CancelledError) and connection.is_server_stopping
        seconds = time.monotonic() - self._started
        sent = connection.sent - self._sent
        ending = _Ending(request.status, sent, seconds, error, was_stopped and connection.has_client)
        if task is None or task.done():
            self._finish(ending)
        else:
            task.add_done_callback(lambda _: self._finish(ending))

    def _finish(self, ending: _Ending) -> None:
        control, error, caller = self._control, ending.error, self._request.caller
        key = caller.name if isinstance(caller, Key) else ""
        cancelled = "cancelled"  # such as the slower one of two attempts
        if error is not None:
            cancelled = "stopped" if ending.was_stopped else "left"
        rows: list[Row] = []
        used = UNUSED
        for attempt in self._attempts:
            if attempt.has_begun:  # it was not refused here, such as by a limit of its upstream
                rows.append(self._row_of(attempt, len(rows) + 1, key, cancelled))
                used = used_by(rows[-1:])
                if attempt.hold is not None:
                    self.counters.settle(attempt.hold, used)
        name = type(self.error).__name__ if self.error is not None else ""
        if self._hit is not None:
            rows = [self._row_of_hit(self._hit, key, ending, name)]
        if len(rows) > 1 or self._hit is not None:
            used = used_by(rows)
        if self._hold is not None:
            self.counters.settle(self._hold, used if rows or self._is_chat else COUNTED)
        is_refused = not rows and self.error is not None and caller is not None and self._is_chat
        if is_refused and control.refusals.has_room(key, self._started):
            rows = [self._row(key, status=ending.status, outcome=name, cost=0, seconds=ending.seconds)]
        if rows:
            control.ledger.add(rows)
        if control.consumers:
            self._report(rows, ending, key, name if error is None else name or _name_of(error))
        # These refer to this call again, the error by its traceback. Such a cycle keeps all that a request has in
        # memory until the garbage collector finds it, and to find those of all requests costs a tenth of each.
        del self._request, self._attempts
        self.error = None

    @property
    def _is_chat(self) -> bool:
        """Whether an API's path was found, and not the one to count tokens."""
        route = self.route
        return route is not None and route.dialect is not None and route.path not in route.dialect.count_routes

    def _row_of_hit(self, hit: Hit, key: str, ending: _Ending, error: str) -> Row:
        """Return the row of a reply for which no upstream was asked, with what the upstream once reported."""
        usage = hit.usage
        return self._row(
            key,
            status=ending.status,
            outcome="cached" if hit.is_complete else error or "left",
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost=0,
            seconds=ending.seconds,
        )

    def _report(self, rows: list[Row], ending: _Ending, key: str, error: str) -> None:
        request, route = self._request, self.route
        agent = request.headers.get("user-agent", "")
        first: float | None = None
        for source in self._attempts if self._hit is None else [self._hit]:
            if first is None:
                first = source.first_content_at
        summary = Summary(
            self.request_id,
            key,
            self._dialect,
            route.template if route is not None else "",
            request.method,
            self.model,
            ending.status,
            rows,
            self._at,
            ending.seconds,
            None if first is None else first - self._started,
            ending.sent,
            self._address,
            agent if len(agent) <= _LONGEST_AGENT else truncate(agent, _LONGEST_AGENT),
            error,
            self._traceparent,
            self._asked() if self._control.tracing is not None else {},
        )
        for consumer in self._control.consumers:
            consumer.ended(summary)

    def _asked(self) -> dict[int, Asked]:
        """Return the requests of the attempts that have a row."""
        begun = [attempt for attempt in self._attempts if attempt.has_begun]
        return {number: Asked(attempt.wanted, attempt.received.finish) for number, attempt in enumerate(begun, 1)}

    def _row(self, key: str, **fields: object) -> Row:
        """Return the row of a request for which no upstream was asked."""
        defaults = {
            "request_id": self.request_id,
            "attempt": 0,
            "at": self._at,
            "key": key,
            "dialect": self._dialect or (self.route.dialect.name if self.route and self.route.dialect else ""),
            "model": self.model,
        }
        return Row(**{**defaults, **fields})  # type: ignore[arg-type]

    def _row_of(self, attempt: GatewayAttempt, number: int, key: str, cancelled: str) -> Row:
        """Return the row of an attempt that has ended."""
        leaf, wanted = attempt.leaf, attempt.wanted
        usage, is_estimated = tokens_of(attempt, wanted, self.size)
        offer = attempt.offer
        cost: int | None = 0
        if usage.input_tokens or usage.output_tokens:
            cost = offer.rates.cost_of(usage) if offer.rates is not None else None
        started, first = attempt.started_at, attempt.first_content_at
        # In the order of its fields: with their names this would take seven times as long, for every request.
        return Row(
            self.request_id, number, self._at + started - self._started, key, self._dialect, self.model, offer.target,
            leaf.upstream, attempt.status, outcome_of(attempt, cancelled), usage.input_tokens, usage.output_tokens,
            usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens, is_estimated, cost,
            None if first is None else first - started, attempt.ended_at - started,
        )  # fmt: skip


class _Ending(msgspec.Struct):
    """The end of a request as its client sees it; `error` is there if it was given up: the client has left, or the
    server `was_stopped`.
    """

    status: int
    sent: int
    seconds: float
    error: BaseException | None
    was_stopped: bool


class GatewayAttempt(Observation):
    """One request to an upstream."""

    __slots__ = ("call", "hold", "leaf", "offer", "wanted")

    asks_for_usage = True

    def __init__(self, call: GatewayCall, leaf: Leaf, wanted: Request) -> None:
        Observation.__init__(self, call.upstream_names, call.upstream_fields)  # super() takes an eighth of all this
        self.call = call
        self.leaf = leaf
        self.wanted = wanted
        self.offer = call.setup.offer(leaf, wanted.model or leaf.model, call.quarter)
        self.hold: Hold | None = None

    async def begin(self, within: float = math.inf) -> None:
        """Reserve a place in the limits of the upstream. Raises AcytooError if there is none, or not in time."""
        call, plan = self.call, self.leaf.plan
        try:
            rates = self.offer.rates
            if rates is None and (call.key_has_budget or (plan is not None and plan.has_budget)):
                raise self._unpriced()
            if plan is not None and self.hold is None:
                tokens = money = 0
                if plan.needs_tokens:
                    incoming, outgoing = call.estimated_input(self.wanted), estimate_output(self.wanted)
                    tokens = incoming + outgoing
                    money = rates.cost(incoming, outgoing) if rates is not None else 0
                counters, amounts = call.counters, amounts_of(tokens, money)
                held = counters.reserve_now(plan, amounts) or await self._reserved(Claims(plan, amounts), within)
                if isinstance(held, Exceeded):
                    raise refusal(held)
                self.hold = held
        except StatusError as error:  # must not close the upstream to requests for which there is a place
            error.is_local = True
            raise

    async def _reserved(self, claims: Claims, within: float) -> Hold | Exceeded:
        """Return what the counters reserve in that time."""
        try:
            async with asyncio.timeout(None if within == math.inf else within):
                return await self.call.counters.reserve(claims)
        except TimeoutError:
            raise TimedOutError("deadline", 0, "the limits were not checked before the deadline") from None

    def _unpriced(self) -> AuthenticationError:
        """Return the error for a target of unknown price, where a budget needs it."""
        target = self.offer.target
        message = f'the price of {target!r} is unknown, so that no budget can be kept: set [prices."{target}"]'
        return AuthenticationError(message, status=403, code="price_unknown")


def _name_of(error: BaseException) -> str:
    """Return the class of what ended a request. One is cancelled when its client leaves, or when the server stops."""
    return DisconnectedError.__name__ if isinstance(error, asyncio.CancelledError) else type(error).__name__


def _unknown_model(model: str, names: list[str]) -> NotFoundError:
    """Return the error for a model that does not exist, or that the key may not use: it must not show which."""
    near = difflib.get_close_matches(model, names, 1)
    known = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    hint = f"did you mean {near[0]!r}?" if near else f"this key may use {known}" if names else "this key may use none"
    return NotFoundError(
        f"unknown model {model!r}, or this key may not use it: {hint}", status=404, code="model_not_found"
    )
