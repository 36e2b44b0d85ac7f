"""URL schemes that are not HTTP's but lead to it: `embedded://` starts a server in this process."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable

from acytoo.http import Endpoint

_SCHEMES = {"embedded": "acytoo.embedded:open_endpoint"}
"""By name, because what they lead to is built on the providers that ask here."""


def scheme_of(url: str) -> str | None:
    """The scheme of a URL that has to be resolved, None for any other."""
    scheme = url.partition("://")[0]
    return scheme if scheme in _SCHEMES and "://" in url else None


async def resolve(endpoint: Endpoint) -> Endpoint:
    """The HTTP endpoint behind such a URL, started where it is not running yet. Raises EmbeddedError."""
    module, _, name = _SCHEMES[endpoint.url.partition("://")[0]].partition(":")
    opener: Callable[[Endpoint], Awaitable[Endpoint]] = getattr(importlib.import_module(module), name)
    return await opener(endpoint)
