"""How many refused requests of a key have a row in the ledger.

The problem: a refused request costs its caller nothing, and a key that goes on beyond its limit could fill the disk
with rows, after which nobody is served. The strategy: only so many in a minute have one. All of them count in the
metrics and are in the access log. The cost: two numbers for each key.
"""

from __future__ import annotations

import logging

from acytoo.gateway.counters import MINUTE

_LOG = logging.getLogger("acytoo.gateway")

MOST = 600
"""Rows of one key in a minute, in each process: at 200 bytes, 170 MB a day."""


class Refusals:
    """The refused requests of each key in the current minute, which begins with the first one."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[float, int]] = {}
        """By the name of the key: when the minute began, and how many there were."""

    def has_room(self, key: str, now: float) -> bool:
        """Count a request of a key, "" for a caller without one. Return whether it may have a row."""
        start, number = self._keys.get(key, (now, 0))
        if now - start >= MINUTE:
            start, number = now, 0
        self._keys[key] = start, number + 1
        if number == MOST:
            _LOG.warning("key %s: %d requests were refused within a minute: no more have a row", key or "-", MOST)
        return number < MOST
