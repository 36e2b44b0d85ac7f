"""Prices: what an attempt costs.

The config's own prices win. Else they are those of genai-prices, which ships with its data and is used offline. A price
that neither has is unknown, never 0.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from acytoo.errors import MissingExtraError
from acytoo.types import Usage

_LOG = logging.getLogger("acytoo.gateway")

NANODOLLARS = 1_000_000_000
"""In a dollar. Money is counted in them, as whole numbers."""

_Rate = list[tuple[int, float]]
"""Dollars per million tokens, by the number of input tokens beyond which they apply; the first is 0."""

QUARTER = 900
"""Seconds for which the rates of a model are kept: finding them takes as long as a request through the server."""


class Price(msgspec.Struct, frozen=True):
    """US dollars per million tokens. Cached and cache-written tokens cost as much as others unless set.

    Those that are kept for an hour cost as much as others that are written to a cache.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None


class Prices:
    """The prices of targets: own ones by the name of the target or of its upstream, then those of genai-prices.

    Creating it loads genai-prices, which takes a third of a second.
    """

    def __init__(self, own: Mapping[str, Price] | None = None) -> None:
        self._rates = functools.lru_cache(4096)(self._find_rates)  # callers may invent names of models
        self._own = {target: _own_rates(price) for target, price in (own or {}).items()}
        try:
            self._listed: _ListedPrices | None = _ListedPrices()
        except MissingExtraError as error:
            self._listed = None
            _LOG.info("only the prices in the config are known: %s", error)

    def cost(self, upstream_provider: str, target: str, model: str, usage: Usage) -> int | None:
        """Return the cost in nanodollars, or None if the price is unknown.

        `upstream_provider` is the name of a provider of ours, `model` the name it knows.
        """
        rates = self.rates(upstream_provider, target, model, time.time())
        return None if rates is None else rates.cost_of(usage)

    def rates(self, upstream_provider: str, target: str, model: str, at: float) -> Rates | None:
        """Return the rates at a Unix time, or None if the price is unknown. Arguments are as for `cost`."""
        return self._rates(upstream_provider, target, model, int(at // QUARTER))

    def _find_rates(self, provider: str, target: str, model: str, quarter: int) -> Rates | None:
        rates = self._own.get(target) or self._own.get(target.partition("/")[0])
        if rates is None and provider == "embedded":
            return _FREE  # this machine's own model
        if rates is None and self._listed is not None:
            rates = self._listed.rates(provider, model, quarter)
        return rates


class Rates(msgspec.Struct, frozen=True):
    """The rates of one model."""

    input: _Rate
    output: _Rate
    cached: _Rate
    cache_write: _Rate
    cache_write_1h: _Rate
    request: float = 0.0
    """Nanodollars for the request itself, which some search models cost."""
    others: dict[str, _Rate] = {}
    """Rates of what `Usage.other_counts` has: instead of those of all input or output, or of a million searches."""
    plain: tuple[float, float] | None = None
    """Of input and output, unless they depend on the size of the request; made from the others."""

    def __post_init__(self) -> None:
        if len(self.input) == len(self.output) == 1:
            msgspec.structs.force_setattr(self, "plain", (self.input[0][1], self.output[0][1]))

    def cost_of(self, usage: Usage) -> int:
        """Return the cost in nanodollars."""
        total, output = usage.input_tokens, usage.output_tokens
        cost = self.cost(total, output, usage.cached_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens)
        return cost + self._cost_of_others(usage) if usage.other_counts else cost

    def _cost_of_others(self, usage: Usage) -> int:
        """Return what the tokens cost more or less that have a rate of their own, and what is not counted in tokens."""
        cost, total, output = 0, usage.input_tokens, usage.output_tokens
        for name, number in usage.other_counts.items():
            if (rate := self.others.get(name)) is None:
                continue
            price = _at(rate, total)
            if name.startswith("input_"):
                number, price = min(number, total), price - _at(self.input, total)
            elif name.startswith("output_"):
                number, price = min(number, output), price - _at(self.output, total)
            cost += round(number * price * 1000)
        return cost

    def cost(self, total: int, output: int, cached: int = 0, written: int = 0, for_an_hour: int = 0) -> int:
        """Return the cost in nanodollars: a dollar per million tokens is a thousand nanodollars per token.

        As in `Usage`, `total` includes the cached and the cache-written tokens, and these those that are kept for an
        hour.
        """
        plain = self.plain
        if plain is not None and total >= 0 and output >= 0 and not cached and not written:  # as most requests are
            return round((output * plain[1] + total * plain[0]) * 1000 + self.request)
        total, output = max(0, total), max(0, output)
        cached = max(0, min(cached, total))
        written = max(0, min(written, total - cached))
        for_an_hour = max(0, min(for_an_hour, written))
        dollars_per_million = output * _at(self.output, total)
        dollars_per_million += cached * _at(self.cached, total)
        dollars_per_million += (written - for_an_hour) * _at(self.cache_write, total)
        dollars_per_million += for_an_hour * _at(self.cache_write_1h, total)
        dollars_per_million += (total - cached - written) * _at(self.input, total)
        return round(dollars_per_million * 1000 + self.request)


def _at(rate: _Rate, total: int) -> float:
    """Return the rate for a request with so many input tokens."""
    price = rate[0][1]
    for start, value in rate[1:]:
        if total > start:
            price = value
    return price


_FREE = Rates([(0, 0.0)], [(0, 0.0)], [(0, 0.0)], [(0, 0.0)], [(0, 0.0)])


def _own_rates(price: Price) -> Rates:
    cached = price.input if price.cached is None else price.cached
    written = price.input if price.cache_write is None else price.cache_write
    for_an_hour = written if price.cache_write_1h is None else price.cache_write_1h
    return Rates([(0, price.input)], [(0, price.output)], [(0, cached)], [(0, written)], [(0, for_an_hour)])


class _ListedPrices:
    """The prices of genai-prices. They may depend on the date and on the time of day."""

    def __init__(self) -> None:
        try:
            import genai_prices
        except ImportError as error:
            raise MissingExtraError("a list of prices", "gateway") from error
        self._library = genai_prices
        self.rates("openai", "gpt-5-mini", int(time.time() // QUARTER))  # loads the data

    def rates(self, provider: str, model: str, quarter: int) -> Rates | None:
        """Return the rates of a model in a quarter of an hour since 1970, or None if they are unknown."""
        at = datetime.fromtimestamp(quarter * QUARTER, UTC)
        try:
            usage = self._library.Usage(input_tokens=0)
            found = self._library.calc_price(usage, model, provider_id=provider, genai_request_timestamp=at)
        except LookupError:
            return None
        price = found.model_price
        input_, output = _rate(price.input_mtok), _rate(price.output_mtok)
        if input_ is None or output is None:
            return None
        cached, written = _rate(price.cache_read_mtok) or input_, _rate(price.cache_write_mtok) or input_
        for_an_hour = _rate(price.cache_write_1h_mtok) or written
        request = (_rate(price.requests_kcount) or [(0, 0.0)])[0][1] * 1e6  # dollars per thousand requests
        others = {
            f"{direction}_{modality}_tokens": rate
            for direction in ("input", "output")
            for modality in ("audio", "image", "video")
            if (rate := _rate(getattr(price, f"{direction}_{modality}_mtok"))) is not None
        }
        if (searches := _rate(price.web_searches_kcount)) is not None:
            others["web_searches"] = [(start, dollars * 1000) for start, dollars in searches]
        return Rates(input_, output, cached, written, for_an_hour, request, others)


def _rate(price: Any) -> _Rate | None:
    if price is None:
        return None
    tiers = [(tier.start, float(tier.price)) for tier in getattr(price, "tiers", [])]
    return [(0, float(getattr(price, "base", price))), *tiers]
