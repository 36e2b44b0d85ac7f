"""Which of several free targets of a balanced route gets a request.

The problem: a target that has seen the beginning of a conversation still has it in its prompt cache, which makes the
next turn cheaper by an order of magnitude. A balancer that looks only at load loses that.

The strategy: a request's key is its session, or a hash of its tools and its messages up to the first one of the user.
Rendezvous hashing maps a key to the same target in every process, without shared state, and moves only the keys of a
target that is lost. A target that is much busier than the others is passed over: soon for a new key, late for a key of
the last minutes. A request without a key goes to the less busy one of two random targets.

The cost: encoding the tools and the first messages once for each request of a balanced route, and hashing as much of
it as a conversation may have in common with others.
"""

from __future__ import annotations

import math
import random
import threading
import time
from hashlib import blake2b
from typing import Any

import msgspec

from acytoo.routing.target import Target
from acytoo.types import Request

_MAX_KEYS = 10_000

_MAX_HASHED = 1024 * 1024
"""Bytes or characters of a key that are hashed, which takes a millisecond. A request may have 32 times as many."""


class Balance:
    """The choice among the free targets of one route."""

    def __init__(self, affinity: float) -> None:
        self._affinity = affinity
        self._used_at: dict[bytes, float] = {}  # the least recently used key first
        self._lock = threading.Lock()  # for these keys: a route may serve the event loops of several threads

    def __reduce__(self) -> Any:  # a copy, such as one in another process, begins without keys
        return Balance, (self._affinity,)

    def take_over(self, other: Balance) -> None:
        """Continue with the keys of a balance whose place this one takes."""
        self._used_at, self._lock = other._used_at, other._lock

    def choose(self, free: list[Target], request: Request, session: str) -> Target:
        """Return the target for a request. `session` is the caller's own key for requests with a common prefix."""
        key = _affinity_key(request, session) if self._affinity > 0 else b""
        is_recent = self._note_use(key) if key else False
        if len(free) == 1:
            return free[0]
        if not key:
            return _less_busy_of_two(free)
        least = min(target.load for target in free)
        share, more = (2 * least, 4) if is_recent else (1.25 * least, 1)
        near = [target for target in free if target.load <= share + more / target.weight]
        return max(near, key=lambda target: _score(key, target))

    def _note_use(self, key: bytes) -> bool:
        """Return whether a key was used recently, and note that it is used now."""
        now = time.monotonic()
        with self._lock:
            used_at = self._used_at.pop(key, -math.inf)
            self._used_at[key] = now
            oldest = next(iter(self._used_at))
            if len(self._used_at) > _MAX_KEYS or self._used_at[oldest] < now - self._affinity:
                del self._used_at[oldest]
        return used_at >= now - self._affinity


def _affinity_key(request: Request, session: str) -> bytes:
    """Return what requests have in common that share a prompt cache, or b"" if nothing is known of the prompt."""
    cache_key = request.extra.get("prompt_cache_key")
    session = session or (cache_key if isinstance(cache_key, str) else "")
    if session:
        return _hash(_as_bytes(session[:_MAX_HASHED]))
    if not request.messages:
        return b""
    first_user = next((i for i, message in enumerate(request.messages) if message.get("role") == "user"), 0)
    prompt = [request.tools, request.messages[: first_user + 1]]
    try:
        encoded = msgspec.msgpack.encode(prompt)
    except (TypeError, ValueError, OverflowError):  # a lone surrogate, or a value that msgpack does not have
        encoded = _as_bytes(repr(prompt))
    return _hash(encoded[:_MAX_HASHED])


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _score(key: bytes, target: Target) -> float:
    """Return the weighted rendezvous score: the target with the highest one has the key."""
    digest = blake2b(key + b"\0" + _as_bytes(target.name), digest_size=8).digest()
    return -target.weight / math.log((int.from_bytes(digest) + 0.5) / 2**64)


def _less_busy_of_two(targets: list[Target]) -> Target:
    """Return the less busy one of two targets that are chosen at random by their weights."""
    first = random.choices(targets, [target.weight for target in targets])[0]
    others = [target for target in targets if target is not first]
    second = random.choices(others, [target.weight for target in others])[0]
    return first if first.load <= second.load else second
