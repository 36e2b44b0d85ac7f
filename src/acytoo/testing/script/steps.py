"""What a scripted server does with one request, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Send:
    """Hand these bytes to the network, and wait until it has taken them."""

    data: bytes


@dataclass(frozen=True)
class Wait:
    """Be silent for some seconds."""

    seconds: float


@dataclass(frozen=True)
class Stall:
    """Be silent until the client leaves."""


@dataclass(frozen=True)
class Reset:
    """Tear the connection down (RST)."""


@dataclass(frozen=True)
class Close:
    """Close the connection (FIN)."""


@dataclass(frozen=True)
class HalfClose:
    """Say that nothing more will be sent (FIN), and keep reading until the client leaves."""


Step: TypeAlias = Send | Wait | Stall | Reset | Close | HalfClose

LAST = (Stall, Reset, Close, HalfClose)
"""Steps after which nothing more is done."""
