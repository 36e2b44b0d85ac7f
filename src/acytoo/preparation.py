"""A request before the first one, such as a login: once for an instance of a provider, again when it expired."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from acytoo.dialects.base import Fetch
from acytoo.http import Endpoint
from acytoo.secret import Secret

Prepare: TypeAlias = Callable[[Endpoint, Fetch], Awaitable[Endpoint]]


class Preparation:
    """The prepared endpoints of one provider. Calls of one event loop that need the same endpoint prepare it once."""

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        self._prepared: dict[_Key, Endpoint] = {}
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def get(self, endpoint: Endpoint, fetch: Fetch) -> tuple[Endpoint, bool]:
        """Return the prepared endpoint, and whether it was prepared before. Raises as the hook does."""
        key = _key(endpoint)
        if key in self._prepared:
            return self._prepared[key], True
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if key in self._prepared:
                return self._prepared[key], True
            prepared: object = await self._prepare(endpoint, fetch)
            if not isinstance(prepared, Endpoint):
                raise TypeError(f"prepare must return an Endpoint, not {type(prepared).__name__}")
            if prepared.url == endpoint.url and not (prepared.user or prepared.query):
                prepared = msgspec.structs.replace(prepared, user=endpoint.user, query=endpoint.query)
            self._prepared[key] = prepared
            return prepared, False

    def forget(self, endpoint: Endpoint, prepared: Endpoint) -> None:
        """Prepare the endpoint again at the next call, unless another call has done so already."""
        if self._prepared.get(_key(endpoint)) is prepared:
            del self._prepared[_key(endpoint)]


_Key: TypeAlias = tuple[str, Secret, Secret, Secret, Secret]


def _key(endpoint: Endpoint) -> _Key:
    return endpoint.url, endpoint.key, endpoint.password, endpoint.user, endpoint.query
