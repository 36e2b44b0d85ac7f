"""The steps that a fake server performs to answer one request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Send:
    """Write these bytes and wait until the kernel has accepted them."""

    data: bytes


@dataclass(frozen=True)
class Wait:
    """Send nothing for some seconds."""

    seconds: float


@dataclass(frozen=True)
class Stall:
    """Send nothing until the client disconnects."""


@dataclass(frozen=True)
class Reset:
    """Reset the connection (RST)."""


@dataclass(frozen=True)
class Close:
    """Close the connection (FIN)."""


@dataclass(frozen=True)
class HalfClose:
    """Shut down the sending side (FIN), and keep reading until the client disconnects."""


Step: TypeAlias = Send | Wait | Stall | Reset | Close | HalfClose

FINAL_STEPS = (Stall, Reset, Close, HalfClose)
"""Steps that end the exchange."""
