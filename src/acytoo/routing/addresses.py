"""Addresses: what selects a provider in one string."""

from __future__ import annotations

from typing import Any

from acytoo import registry
from acytoo.base_provider import AsyncGeneratorProvider


def provider(address: str, **settings: Any) -> AsyncGeneratorProvider:
    """Return a configured provider by address.

    An address is a provider and a model (`anthropic/claude-…`), a provider (`ollama`), the URL of an Acytoo server, or
    several of them separated by `|`, which is a `Route` that tries them in order. Raises UsageError for an unknown name
    or an invalid setting.
    """
    if "|" not in address:
        return registry.provider(address, **settings)
    from acytoo.routing.route import Route

    return Route(*address.split("|"), **settings)
