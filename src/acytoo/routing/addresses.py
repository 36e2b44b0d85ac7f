"""Addresses: what selects a provider in one string."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from acytoo import registry
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import UsageError
from acytoo.secret import mask_url

if TYPE_CHECKING:
    from acytoo.routing.route import Route
    from acytoo.routing.target import Target


def provider(address: str, **settings: Any) -> AsyncGeneratorProvider:
    """Return a configured provider by address.

    An address is a provider and a model (`anthropic/claude-…`), a provider (`ollama`), the URL of an Acytoo server, or
    several of them separated by `|`, which is a `Route` that tries them in order. Raises UsageError for an unknown name
    or an invalid setting.
    """
    parts = str(address).split("|")
    if len(parts) == 1:
        return registry.provider(address, **settings)
    from acytoo.routing.route import Route

    return Route(*parts, **settings)


def route_to(address: str, create: Callable[[str], AsyncGeneratorProvider], shown: str) -> Route:
    """Return the route to the targets of an address, each named by its part of it; `create` makes their providers.

    A target with a URL gets another name, because the URL may contain a password. `shown` is the address in an error.
    Raises UsageError.
    """
    from acytoo.routing.route import Route
    from acytoo.routing.target import Target

    targets: list[AsyncGeneratorProvider | Target] = []
    for part in [part.strip() for part in address.split("|")]:
        if not part:
            raise UsageError(f"a target is empty in {shown}: expected PROVIDER[/MODEL]|PROVIDER[/MODEL]")
        provider = create(part)
        targets.append(provider if "://" in part else Target(provider, name=part))
    return Route(*targets)


def mask_targets(address: str) -> str:
    """Return the address of a route without the secrets in its URLs."""
    return "|".join([mask_url(part) if "://" in part else part for part in address.split("|")])
