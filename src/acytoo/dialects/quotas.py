"""What is left of a client's limits, which responses report in the headers of their API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

UNITS: tuple[Literal["requests", "tokens"], ...] = ("requests", "tokens")


class Quota(msgspec.Struct, frozen=True, gc=False):
    """What is left of a limit on requests or tokens, which begins again in `resets_in` seconds."""

    unit: Literal["requests", "tokens"]
    limit: int
    remaining: int
    resets_in: float


def number(headers: Mapping[str, str], name: str) -> int | None:
    """Return the whole number in a header, or None."""
    value = headers.get(name, "").partition(".")[0]
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
