"""A set of the ids of rows that stays small at millions of rows.

The problem: a batch has to know which rows are finished, and a Python set takes a hundred bytes for each id.

The strategy: a whole number below `_DENSE` is one bit. Ids that are row numbers are all of that kind, so a million rows
take 125 KB. Any other id is kept as a digest of 16 bytes: its first two choose one of 65,536 buckets, the other 14 are
stored there, one after the other. That is about 20 bytes for each id. Two ids with the same digest would count as one;
with 128 bits that does not happen (2^-89 for a million ids).

The cost: a hash and a search through a few hundred bytes for each id that is a text.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

RowId: TypeAlias = int | str

_DENSE = 2**27
"""Numbers below this are bits; 16 MiB if all of them are there."""

_SUFFIX = 14


class IdSet:
    """A set of ids. A number and its text, such as 7 and "7", are different ids."""

    __slots__ = ("_bits", "_buckets", "_size")

    def __init__(self) -> None:
        self._bits = bytearray()
        self._buckets: dict[bytes, bytearray] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, id: RowId) -> bool:
        if isinstance(id, int) and 0 <= id < _DENSE:
            place = id >> 3
            return place < len(self._bits) and bool(self._bits[place] >> (id & 7) & 1)
        digest = _digest(id)
        bucket = self._buckets.get(digest[:-_SUFFIX])
        return bucket is not None and _is_in(bucket, digest[-_SUFFIX:])

    def add(self, id: RowId) -> bool:
        """Add an id and return whether it is new."""
        if isinstance(id, int) and 0 <= id < _DENSE:
            place, bit = id >> 3, 1 << (id & 7)
            if place >= len(self._bits):
                self._bits.extend(bytes(max(place + 1 - len(self._bits), len(self._bits) // 8, 64)))
            if self._bits[place] & bit:
                return False
            self._bits[place] |= bit
        else:
            digest = _digest(id)
            bucket = self._buckets.setdefault(digest[:-_SUFFIX], bytearray())
            if _is_in(bucket, digest[-_SUFFIX:]):
                return False
            bucket += digest[-_SUFFIX:]
        self._size += 1
        return True


def _digest(id: RowId) -> bytes:
    data = b"#%d" % id if isinstance(id, int) else b"=" + id.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=2 + _SUFFIX).digest()


def _is_in(bucket: bytearray, suffix: bytes) -> bool:
    place = bucket.find(suffix)
    while place % _SUFFIX:  # a match across two digests, or -1
        if place < 0:
            return False
        place = bucket.find(suffix, place + 1)
    return True


def token_of(id: RowId) -> str:
    """Return an id as 32 hexadecimal digits, for an API that does not accept any text."""
    return _digest(id).hex()


def shard_of(id: RowId, shards: int) -> int:
    """Return the shard of an id, from 0, the same on every machine."""
    return int.from_bytes(_digest(id)[:8], "big") % shards
