"""What is valid in a config file, but probably not meant."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase

from acytoo.gateway.config import GatewayConfig, Limits
from acytoo.gateway.secrets import did_you_mean
from acytoo.gateway.setup import prices_of
from acytoo.registry import provider_class


def warnings_of(config: GatewayConfig) -> list[str]:
    """Return what is valid, but probably not meant.

    These are keys that have expired or may use no model, patterns of models that match none, prices whose target is
    misspelt, targets without a price that a budget refuses, and limits that a start forgets.
    """
    return [*_of_keys(config), *_of_prices(config), *_of_budgets(config), *_of_lasting_limits(config)]


def _of_keys(config: GatewayConfig) -> Iterator[str]:
    today = datetime.now(UTC).date()
    names = [*config.models, *config.upstreams]
    for name, key in config.keys.items():
        if key.expires is not None and key.expires < today:
            place = config.place("keys", name, "expires")
            yield f"{place}: the key {name!r} expired at the end of {key.expires}"
        if not key.models:
            place = config.place("keys", name, "models")
            yield f"{place}: the key {name!r} may use no model: leave out the field, for all of them"
        for number, pattern in enumerate(key.models):
            if not any(_may_match(pattern, each) for each in names):
                place = config.place("keys", name, "models", number)
                hint = did_you_mean(get_close_matches(pattern, names, 1)) or ": models are NAME or UPSTREAM/MODEL"
                yield f"{place}: the key {name!r} may use {pattern!r}, which no model can be named{hint}"


def _of_prices(config: GatewayConfig) -> Iterator[str]:
    targets = {target.to for model in config.models.values() for target in model.target_configs}
    for name in config.prices.keys() - targets:
        if near := get_close_matches(name, targets - config.prices.keys(), 1, 0.9):
            place = config.place("prices", name)
            yield f"{place}: there is a price of {name!r}, but no such target{did_you_mean(near)}"


def _of_budgets(config: GatewayConfig) -> Iterator[str]:
    """Yield the targets that a request on a budget would be refused at."""
    patterns = [pattern for key in config.keys.values() if key.has_budget for pattern in key.models]
    prices = None
    for model, table in config.models.items():
        is_on_budget = any(fnmatchcase(model, pattern) for pattern in patterns)
        for number, target in enumerate(table.target_configs):
            name, _, asked = target.to.partition("/")
            upstream = config.upstreams.get(name)
            if upstream is None or not (is_on_budget or upstream.has_budget):
                continue
            if prices is None:  # loading them takes a third of a second
                prices = prices_of(config)
            asked = asked or upstream.model
            provider = provider_class(upstream.provider or name).address_name()
            full_name = f"{name}/{asked}" if asked else name
            if prices.rates(provider, full_name, asked, time.time()) is None:
                place = config.place("models", model, "targets", number)
                yield (
                    f"{place}: the price of {full_name!r} is unknown, so a budget refuses its requests: "
                    f'set [prices."{full_name}"]'
                )


def _of_lasting_limits(config: GatewayConfig) -> Iterator[str]:
    """Yield the limits of a day or month of which nothing is known after a start."""
    if config.storage.ledger != "none" or config.storage.counters != "memory":
        return
    tables: dict[str, Mapping[str, Limits]] = {"keys": config.keys, "upstreams": config.upstreams}
    for table, entries in tables.items():
        for name, limits in entries.items():
            for field in Limits.__struct_fields__:
                if field.endswith(("_day", "_month")) and getattr(limits, field) is not None:
                    place = config.place(table, name, field)
                    yield f"{place}: without a ledger, {field} of {name!r} begins again with each start of the server"


def _may_match(pattern: str, name: str) -> bool:
    """Return whether a pattern matches a name, or something that begins with the name and a slash."""
    return fnmatchcase(name, pattern) or any(
        fnmatchcase(f"{name}/", pattern[: place + 1]) for place, part in enumerate(pattern) if part in "*/"
    )
