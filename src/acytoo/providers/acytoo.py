"""The Acytoo provider: the contract that this project implements."""

from __future__ import annotations

from typing import Any

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.acytoo.request import headers, payload
from acytoo.types import Messages


class Acytoo(AsyncGeneratorProvider):
    """The Acytoo chat service: JSON in, raw text out. By default it is the embedded model on this machine."""

    url = "embedded://smollm2-135m-instruct"
    dialect = dialects.Acytoo()
    working = True
    supports_message_history = True
    supports_gpt_35_turbo = True


def _create_header() -> dict[str, str]:
    """Return the headers of every request."""
    return headers()


def _create_payload(messages: Messages, temperature: float = 0.5, **kwargs: Any) -> dict[str, Any]:
    """Return the body of a request; `model`, `key` and `password` can be set."""
    return payload(messages, temperature, **kwargs)
