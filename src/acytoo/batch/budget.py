"""What a run of a batch may cost: dollars, tokens, failures. A cap is passed by no more than what is in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import UsageError
from acytoo.gateway.accounting import estimate_input, estimate_output
from acytoo.gateway.prices import NANODOLLARS, Prices
from acytoo.routing.route import Route
from acytoo.routing.target import name_of
from acytoo.types import Reply, Request, Usage

Price: TypeAlias = Callable[[Reply], int | None]
"""Returns what a reply has cost, in nanodollars, or None if that is unknown."""

_FEWEST_FOR_SHARE = 100
"""Finished rows before a share of failures means anything."""


class Caps(msgspec.Struct, frozen=True):
    """When to stop: at so many dollars, tokens or failed rows, or at a share of failed rows."""

    dollars: float | None = None
    tokens: int | None = None
    failures: int | None = None
    failure_share: float | None = None
    first_failures: int | None = None
    """How many rows may fail before the first reply. Then nothing works, such as a model that does not exist."""


class Estimate(msgspec.Struct, frozen=True):
    """What requests are expected to take."""

    tokens: int = 0
    nanodollars: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.tokens + other.tokens, self.nanodollars + other.nanodollars)


_NO_CAPS = Caps()


class Spending:
    """What a run has used so far."""

    def __init__(self, caps: Caps = _NO_CAPS, price: Price | None = None) -> None:
        self.input_tokens = 0
        self.output_tokens = 0
        self.nanodollars = 0
        self.has_unknown_cost = price is None
        self.replies = 0
        self.errors: dict[str, int] = {}
        """How many rows failed, by the class of the error."""
        self._failures = 0
        self._caps = caps
        self._price = price

    @property
    def dollars(self) -> float:
        """The known cost in US dollars."""
        return self.nanodollars / NANODOLLARS

    def note_failure(self, name: str) -> None:
        """Note a row that failed with an error of that class."""
        self.errors[name] = self.errors.get(name, 0) + 1
        self._failures += 1

    def note_reply(self, reply: Reply) -> None:
        """Note a reply, also one that has been refused for its content: it has been paid for."""
        usage = reply.usage
        if usage is None:
            self.has_unknown_cost = True
            return
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        cost = self._price(reply) if self._price is not None else None
        if cost is None:
            self.has_unknown_cost = True
        else:
            self.nanodollars += cost

    def estimate(self, request: Request) -> Estimate:
        """Return what a request is expected to take; `max_tokens` counts completely. Without caps on it, nothing.

        Raises UsageError if there is a cap on the cost and the price is unknown.
        """
        if self._caps.dollars is None and self._caps.tokens is None:
            return Estimate()
        usage = Usage(input_tokens=estimate_input(request, 0), output_tokens=estimate_output(request))
        cost = None
        if self._caps.dollars is not None:
            cost = self._price(Reply(model=request.model, usage=usage)) if self._price is not None else None
            if cost is None:
                raise UsageError(
                    f"the price of {request.model} is unknown, so --max-cost cannot be kept: use --max-tokens"
                )
        return Estimate(usage.input_tokens + usage.output_tokens, cost or 0)

    def excess(self, expected: Estimate) -> str:
        """Return which cap would be passed by what is expected, "" if none would be."""
        caps = self._caps
        if caps.dollars is not None:
            dollars = (self.nanodollars + expected.nanodollars) / NANODOLLARS
            if dollars > caps.dollars:
                return f"the cap of ${caps.dollars:g} would be passed: ${dollars:.4g} are expected with the next row"
        tokens = self.input_tokens + self.output_tokens + expected.tokens
        if caps.tokens is not None and tokens > caps.tokens:
            return f"the cap of {caps.tokens:,} tokens would be passed: {tokens:,} are expected with the next row"
        return ""

    def reason_to_stop(self) -> str:
        """Return which cap has been reached, "" if none has."""
        caps = self._caps
        tokens = self.input_tokens + self.output_tokens
        if caps.dollars is not None:
            if self.has_unknown_cost:
                return "the cost of a reply is unknown, so that the cap on the cost cannot be kept"
            if self.dollars >= caps.dollars:
                return f"the cap of ${caps.dollars:g} has been reached"
        if caps.tokens is not None:
            if tokens == 0 and self.replies:
                return "the replies report no usage, so that the cap on tokens cannot be kept"
            if tokens >= caps.tokens:
                return f"the cap of {caps.tokens:,} tokens has been reached"
        if caps.failures is not None and self._failures >= caps.failures:
            return f"{self._failures:,} rows have failed"
        if caps.first_failures is not None and not self.replies and self._failures >= caps.first_failures:
            return f"the first {self._failures:,} rows have failed"
        if caps.failure_share is not None:
            finished = self.replies + self._failures
            if finished >= _FEWEST_FOR_SHARE and self._failures >= caps.failure_share * finished:
                return f"{self._failures:,} of {finished:,} rows have failed"
        return ""


_UNLISTED = frozenset({"acytoo", "compatible", "embedded", "ollama"})
"""Providers whose prices are in no list. For these the list is not loaded, which takes a third of a second."""


def price_of(provider: AsyncGeneratorProvider, *, must_be_known: bool = False) -> Price | None:
    """Return what knows the cost of a provider's replies, or None if no price of it is listed.

    Raises UsageError or MissingExtraError if the price of a target's model must be known and is not.
    """
    providers = dict(_leaves(provider))
    if must_be_known:
        import_prices()
    elif _UNLISTED.issuperset(each.address_name() for each in providers.values()):
        return None
    prices = Prices()

    def cost(target: AsyncGeneratorProvider, model: str, usage: Usage) -> int | None:
        return prices.cost(target.address_name(), name_of(target), model, usage)

    for name, each in providers.items():
        if must_be_known and each.model and cost(each, each.model, Usage()) is None:
            raise UsageError(f"the price of {name} is unknown, so --max-cost cannot be kept: use --max-tokens")
    alone = provider if len(providers) == 1 and not isinstance(provider, Route) else None

    def price(reply: Reply) -> int | None:
        target = alone
        if target is None and reply.attempts:
            target = providers.get(reply.attempts[-1].target)
        if target is None or reply.usage is None:
            return None
        found = cost(target, target.model or reply.model, reply.usage)
        return cost(target, reply.model, reply.usage) if found is None and reply.model else found

    return price


def import_prices() -> None:
    """Raise MissingExtraError unless the list of prices is installed."""
    from acytoo.errors import MissingExtraError

    try:
        import genai_prices  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a cap on the cost", "gateway") from error


def _leaves(provider: AsyncGeneratorProvider, prefix: str = "") -> Iterator[tuple[str, AsyncGeneratorProvider]]:
    """Yield the providers that answer, by the names of their targets in a reply's attempts."""
    if not isinstance(provider, Route):
        yield prefix.removesuffix(": ") or name_of(provider), provider
        return
    for target in provider.targets:
        yield from _leaves(target.provider, f"{prefix}{target.name}: ")
