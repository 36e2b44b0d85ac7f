"""The keys of a server's clients.

A key is random, so one round of SHA-256 protects it: there is no password to guess. Only the hash is stored. A request
is looked up by its hash, which shows nothing about how much of a wrong key was right.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase

import msgspec

from acytoo.gateway.config import GatewayConfig, KeyConfig, Limits
from acytoo.gateway.counters import Plan
from acytoo.gateway.limits import plan_of
from acytoo.secret import Secret

PREFIX = "sk-acytoo-"
"""How a key begins: scanners for leaked secrets can recognise it, and SDKs that check for `sk-` accept it."""


class Key(msgspec.Struct, frozen=True):
    """A client's key, without its secret.

    `models` are patterns (`*`, `?`, `[…]`) of the names it may ask for. `expires` is the last day, in UTC, on which it
    is valid. A key that is being rotated has two secrets, and so is there twice.
    """

    name: str
    hash: str
    models: tuple[str, ...] = ("*",)
    limits: Limits = Limits()
    expires: date | None = None
    max_body: int | None = None
    is_disabled: bool = False
    plan: Plan | None = None
    """The limits as counters; made from `limits`."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "plan", plan_of(self.limits, f"key:{self.name}"))

    def allows(self, model: str) -> bool:
        """Return whether the key may ask for a model."""
        return "*" in self.models or any(fnmatchcase(model, pattern) for pattern in self.models)

    def is_expired(self, now: float) -> bool:
        """Return whether the key is not valid any more at a Unix time."""
        return self.expires is not None and datetime.fromtimestamp(now, UTC).date() > self.expires


class KeySet:
    """All keys of a server."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.hash: key for key in keys}

    @classmethod
    def of(cls, config: GatewayConfig) -> KeySet:
        """Return the keys of a config."""
        return cls(key for name, table in config.keys.items() for key in _keys_of(name, table))

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys.values())

    def find(self, presented: Sequence[Secret]) -> Key | None:
        """Return the key that a request presents, also an expired one, or None."""
        # Looked up by the hash of what is presented, so the time that it takes shows nothing about a key.
        for secret in presented:
            if (key := self._keys.get(_known_hash(secret.reveal()))) is not None:
                return key
        return None


def _keys_of(name: str, table: KeyConfig) -> Iterator[Key]:
    """Yield the key of a table, and then the one with the secret that it had before."""
    # A KeyConfig is also its Limits.
    key = Key(name, table.hash, table.models, table, table.expires, table.max_body, table.disabled)
    yield key
    if table.previous_hash is not None and table.previous_expires is not None:
        expires = min(table.previous_expires, table.expires or table.previous_expires)
        yield msgspec.structs.replace(key, hash=table.previous_hash, expires=expires)


def new_secret() -> str:
    """Return a new random key of 256 bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Return what is stored of a key: `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


_known_hash = functools.lru_cache(1024)(hash_secret)
"""Callers present the same key with each request. Looking up its hash is ten times as fast as computing it.

The last 1,024 secrets that were presented, wrong ones too, are therefore in this process's memory.
"""
