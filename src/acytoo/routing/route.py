"""A route: one provider in front of several targets.

The problem: a target that cannot be reached, is overloaded or fails must be replaced without the caller noticing, but
two replies must never be spliced together, and a failing target must not be asked by everybody again and again.

The strategy: a reply can be replaced until its first content (text, reasoning, tool call, refusal) has been received.
What precedes it is held back. From then on the reply belongs to its target, and an error is the caller's. All retries
happen here, with one budget and one deadline. `policy` decides by the error's class and code, `Target` knows its health
and its room, `Balance` chooses among several.

The cost: for a healthy first target a few objects for each reply, and nothing for each read of the socket: the caller
gets the target's own stream, which reports its end. Tasks exist only for hedging.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any, Literal, TypeAlias, TypeVar

from acytoo import registry
from acytoo.base_provider import AsyncGeneratorProvider, OpenReply, ReplyOpener
from acytoo.dialects.base import Unsupported
from acytoo.errors import AcytooError, UnsupportedError, UsageError
from acytoo.observation import Observation
from acytoo.routing.policy import DEFAULT_NEXT, ErrorClasses
from acytoo.routing.reply import Deliver, RoutedReply, hold_first, open_reply
from acytoo.routing.selection import Balance
from acytoo.routing.target import Target, is_count, is_number, name_of
from acytoo.settings import Settings
from acytoo.types import Closable, Item, Messages, Request

T = TypeVar("T")

Strategy: TypeAlias = Literal["order", "balance"]

SHARED_SETTINGS = frozenset({"timeout", "proxy", "ca", "trust_env", "drop_unsupported", "max_reply"})
"""The settings that several services can have in common."""

_SAMPLES = 100
"""Replies of which the time to the first content is kept, for hedging."""

_FEWEST_SAMPLES = 20


class Route(AsyncGeneratorProvider):
    """A provider that answers with the first of several targets that can.

    A reply that fails before its first content is requested again, from the next target or after a pause from the same
    one. A reply that fails later is an error, with its text so far: two replies are never mixed.
    """

    name = "route"

    def __init__(
        self,
        *targets: str | AsyncGeneratorProvider | Target,
        strategy: Strategy = "order",
        attempts: int | None = None,
        deadline: float = 1800.0,
        max_wait: float = 30.0,
        next_on: Iterable[type[AcytooError]] = DEFAULT_NEXT,
        affinity: float = 300.0,
        hedge: bool = False,
        **settings: Any,
    ) -> None:
        """Create a route of addresses, providers or Targets.

        `strategy`: "order" asks the first target that works, "balance" spreads the requests by weight and load.
        `attempts`: how many requests one call may send, by default two for each target and at least three. `deadline`:
        seconds in which the content must begin, over all attempts and pauses. `max_wait`: the longest pause in seconds
        before an attempt. `next_on`: errors that are never repeated at the same target, after which the next one is
        asked. `affinity`: for how many seconds a balanced route keeps requests with the same beginning at one target; 0
        turns it off. `hedge`: ask a second target if the first has not begun after the time in which 95 % of the
        replies did. `settings` (`timeout`, `proxy`, `ca`, `trust_env`, `drop_unsupported`, `max_reply`) are those of
        the providers that are created from addresses. Raises UsageError for an invalid value.
        """
        for setting in settings.keys() - SHARED_SETTINGS:
            raise UsageError(
                f"a route has no {setting}, because its targets are different services: set it on their providers"
            )
        self.targets = _targets(targets, settings)
        if strategy not in ("order", "balance"):
            raise UsageError(f"invalid strategy {strategy!r}: expected 'order' or 'balance'")
        if attempts is not None and not is_count(attempts, 1):
            raise UsageError(f"invalid attempts {attempts!r}: expected a whole number above 0")
        for setting, seconds in {"deadline": deadline, "max_wait": max_wait, "affinity": affinity}.items():
            if not is_number(seconds) or not 0 <= seconds < math.inf or (setting == "deadline" and seconds == 0):
                raise UsageError(f"invalid {setting} {seconds!r}: expected a number of seconds")
        self.max_attempts = attempts or max(3, 2 * len(self.targets))
        self.deadline = deadline
        self.max_wait = max_wait
        self.next_on = _error_classes(next_on)
        self.balance = Balance(affinity) if strategy == "balance" else None
        self._first_content_s: deque[float] = deque(maxlen=_SAMPLES)
        self.hedges = hedge and len(self.targets) > 1
        self.takes_first = self.balance is None and not self.hedges and not self.targets[0].is_route
        """Whether a request goes to the first target without a search, if that works."""
        self.url = self.model = ""
        models = [target.provider.model for target in self.targets]
        self.first_model = models[0] if all(models) else ""
        """The first target's model if each one has its own; a request for it need not be copied for that target."""
        # A reply is collected up to the largest limit of a target: any of them may be the one that answers.
        self._settings = Settings(max_reply=max(target.provider.max_reply for target in self.targets))
        self.needs_model = any(target.provider.needs_model and not target.provider.model for target in self.targets)

    def __repr__(self) -> str:
        return f"Route({', '.join([repr(target.name) for target in self.targets])})"

    @property
    def hedge_after(self) -> float | None:
        """The seconds in which 95 % of the last replies began, or None if a second target is not to be asked."""
        samples = self._first_content_s
        if len(samples) < _FEWEST_SAMPLES:
            return None
        return sorted(samples)[math.ceil(len(samples) * 0.95) - 1]

    def note_first_content(self, seconds: float) -> None:
        """Note how long a reply took to begin."""
        self._first_content_s.append(seconds)

    # The interface of a provider.

    def begin(
        self, model: str, messages: Messages, kwargs: dict[str, object], *, texts_only: bool = False
    ) -> Closable[list[Item]]:
        """Return the reply to a call; `session` is the caller's key for requests that share a prompt cache."""
        session: Any = kwargs.pop("session", "")
        if session and not isinstance(session, str):
            raise UsageError(f"session must be a str, not {type(session).__name__}")
        options, changes, extra_body = self._split(kwargs)
        opener = self._opener_with(changes) if changes else _answer
        request = self._request(model, messages, options, extra_body)
        if not request.model:
            request.model = self.first_model
        return RoutedReply(self, request, opener, session, texts_only)

    def _opener_with(self, changes: dict[str, object]) -> ReplyOpener[list[Item]]:
        """Return what begins a reply with changed settings. Raises UsageError if they cannot be changed."""
        for name in changes.keys() - SHARED_SETTINGS:
            raise UsageError(f"{name} cannot be set for a call on a route: set it on the provider of its target")
        self._settings.changed(changes, lambda url: url)  # raises UsageError now

        def open_at(provider: AsyncGeneratorProvider, request: Request) -> Closable[list[Item]]:
            return provider.answer(request, provider.settings_with(changes))

        return open_at

    def answer(
        self,
        request: Request,
        settings: Settings | None = None,
        unsupported: Unsupported | None = None,
        observation: Observation | None = None,
    ) -> Closable[list[Item]]:
        """Return the reply of the target that answers. Raises while iterating only."""

        def open_at(provider: AsyncGeneratorProvider, request: Request) -> Closable[list[Item]]:
            return provider.answer(request, None, unsupported, observation)

        return RoutedReply(self, request, open_at)

    def open_reply(
        self, request: Request, opener: ReplyOpener[T], session: str = ""
    ) -> Coroutine[Any, Any, OpenReply[T]]:
        """Return the reply of the first target that begins to answer. Raises the error of the last attempt."""
        deliver: Deliver[T, OpenReply[T]] = hold_first
        return open_reply(self, request, opener, deliver, session)

    async def count_tokens(self, request: Request) -> int:
        """Return how many tokens the first target counts that can count. Raises UnsupportedError if none can."""
        error: AcytooError | None = None
        for target in self.targets:
            try:
                return await target.provider.count_tokens(target.request_for(request))
            except AcytooError as other:
                if isinstance(error, UnsupportedError) or error is None:
                    error = other
        assert error is not None
        raise error


def _answer(provider: AsyncGeneratorProvider, request: Request) -> Closable[list[Item]]:
    return provider.answer(request)


def _error_classes(value: object) -> ErrorClasses:
    """Return the classes of `next_on`. Raises UsageError."""
    if not isinstance(value, Iterable):
        raise UsageError(f"invalid next_on {value!r}: expected a list of subclasses of AcytooError")
    classes = tuple(value)
    for cls in classes:
        if not isinstance(cls, type) or not issubclass(cls, AcytooError):
            raise UsageError(f"invalid next_on {cls!r}: expected subclasses of AcytooError")
    return classes


def _targets(values: tuple[str | AsyncGeneratorProvider | Target, ...], settings: dict[str, Any]) -> tuple[Target, ...]:
    """Return the targets of a route. Raises UsageError."""
    if not values:
        raise UsageError("a route needs at least one target, such as Route('openai/gpt-5-mini', 'ollama/llama3.2')")
    if settings and not any(isinstance(value, str) for value in values):
        raise UsageError(f"{', '.join(settings)}: a route applies settings only to targets that are addresses")
    targets: dict[str, Target] = {}
    for value in values:
        if isinstance(value, str):
            if not value.strip():
                raise UsageError("a target of the route is empty: expected an address, such as openai/gpt-5-mini")
            value = registry.provider(value.strip(), **settings)
        target = value if isinstance(value, Target) else Target(value, name=_free_name(value, targets))
        if target.name in targets:
            raise UsageError(f"the route has {target.name!r} twice: leave one out, or give it a name of its own")
        targets[target.name] = target
    return tuple(targets.values())


def _free_name(provider: AsyncGeneratorProvider, targets: dict[str, Target]) -> str:
    """Return a name for a target: the default one, with a number if a target at another URL has that.

    Not the URL, which may contain a password: names are in logs and in the responses of a server.
    """
    if not isinstance(provider, AsyncGeneratorProvider):
        return ""  # Target refuses it
    name = default = name_of(provider)
    number = 1
    while name in targets and targets[name].provider.url != provider.url:
        number += 1
        name = f"{default}-{number}"
    return name
