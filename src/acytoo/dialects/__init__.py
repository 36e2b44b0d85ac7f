"""The chat APIs: one pure codec each, `acytoo`, `openai`, … are their plain instances."""

from __future__ import annotations

from acytoo.dialects.acytoo import Acytoo
from acytoo.dialects.base import Dialect, Endpoint, Head, Incoming, Losses, Outgoing, Reader, Writer
from acytoo.dialects.openai import OpenAI

acytoo = Acytoo()
openai = OpenAI()

ALL: tuple[Dialect, ...] = (acytoo, openai)
"""One plain instance of each."""

__all__ = [
    "ALL",
    "Acytoo",
    "Dialect",
    "Endpoint",
    "Head",
    "Incoming",
    "Losses",
    "OpenAI",
    "Outgoing",
    "Reader",
    "Writer",
    "acytoo",
    "openai",
]
