"""What a config file sets up: backends, keys and prices, and which upstream each provider is."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping

import msgspec

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.gateway.config import GatewayConfig, Upstream
from acytoo.gateway.keys import KeySet
from acytoo.gateway.limits import plan_of
from acytoo.gateway.prices import QUARTER, Price, Prices, Rates
from acytoo.registry import provider_class
from acytoo.routing.route import Route
from acytoo.secret import Secret
from acytoo.transport.address import Address, address_of


class Leaf:
    """A provider behind the server: which upstream it is, and its model if that is fixed."""

    __slots__ = ("model", "plan", "provider", "upstream")

    def __init__(self, upstream: str, limits: Upstream, provider: AsyncGeneratorProvider) -> None:
        self.upstream = upstream
        self.plan = plan_of(limits, f"upstream:{upstream}")
        self.provider = provider.address_name()
        self.model = provider.model

    def target(self, model: str) -> str:
        """Return the name of the target for a model."""
        model = model or self.model
        return f"{self.upstream}/{model}" if model else self.upstream


class Offer(msgspec.Struct, frozen=True):
    """What an upstream offers for a model: the name of the target, and its rates, None if they are unknown."""

    target: str
    rates: Rates | None


class Setup:
    """What a config file sets up. Requests keep the one with which they began."""

    def __init__(
        self, config: GatewayConfig, backends: Mapping[str, AsyncGeneratorProvider], admin_key: Secret, prices: Prices
    ) -> None:
        self.config = config
        self.backends = backends
        self.admin_key = admin_key
        self.keys = KeySet.of(config)
        self.prices = prices
        self.offer = functools.lru_cache(4096)(self._find_offer)  # callers may invent names of models
        """What an upstream offers for a model in a quarter of an hour since 1970."""
        self.leaves: dict[int, Leaf] = {}
        for name, upstream in config.upstreams.items():
            provider = backends[name]
            self.leaves[id(provider)] = Leaf(name, upstream, provider)
        for name in config.models:
            self._add_targets(backends[name])
        self.dearest_leaves = {name: max(self._leaves_of(each), key=self._price) for name, each in backends.items()}
        """The upstream of each backend whose price is the highest that is known, for an estimate of the cost."""
        self.cached = {name: [name, *self._identities(backends[name])] for name, m in config.models.items() if m.cache}
        """What the replies of a model with a cache depend on, besides the request."""

    def _find_offer(self, leaf: Leaf, model: str, quarter: int) -> Offer:
        target = leaf.target(model)
        return Offer(target, self.prices.rates(leaf.provider, target, model, quarter * QUARTER))

    def _add_targets(self, backend: AsyncGeneratorProvider) -> None:
        if not isinstance(backend, Route):
            return
        for target in backend.targets:
            if target.is_route:
                self._add_targets(target.provider)
            else:
                upstream = target.name.partition("/")[0]
                self.leaves[id(target.provider)] = Leaf(upstream, self.config.upstreams[upstream], target.provider)

    def _identities(self, backend: AsyncGeneratorProvider) -> Iterator[str]:
        """Yield what identifies each provider behind a backend."""
        for provider in _providers_of(backend):
            leaf = self.leaves[id(provider)]
            yield f"{leaf.target('')} {leaf.provider} {provider.url}"

    def _leaves_of(self, backend: AsyncGeneratorProvider) -> list[Leaf]:
        return [self.leaves[id(provider)] for provider in _providers_of(backend)]

    def _price(self, leaf: Leaf) -> int:
        """Return what a request of medium size costs at an upstream now, -1 if that is unknown."""
        rates = self.prices.rates(leaf.provider, leaf.target(""), leaf.model, time.time())
        return -1 if rates is None else rates.cost(1000, 1000)

    def model_names(self) -> set[str]:
        """Return the names of models and targets that the config has, for bounded labels."""
        return {*self.config.models, *[leaf.target("") for leaf in self.leaves.values()], *self.config.upstreams}

    @property
    def providers(self) -> dict[str, str]:
        """The provider of each upstream."""
        return {
            name: provider_class(upstream.provider or name).address_name()
            for name, upstream in self.config.upstreams.items()
        }

    @property
    def addresses(self) -> dict[str, Address]:
        """Where each upstream is, except for those of this process."""
        found = {name: address_of(self.backends[name].url) for name in self.config.upstreams}
        return {name: address for name, address in found.items() if address.port or address.unix_path}


def _providers_of(backend: AsyncGeneratorProvider) -> Iterator[AsyncGeneratorProvider]:
    """Yield the providers behind a backend."""
    if isinstance(backend, Route):
        for target in backend.targets:
            yield from _providers_of(target.provider)
    else:
        yield backend


def prices_of(config: GatewayConfig) -> Prices:
    """Return the prices of a config."""
    fields = Price.__struct_fields__
    return Prices({name: Price(*[getattr(price, f) for f in fields]) for name, price in config.prices.items()})
