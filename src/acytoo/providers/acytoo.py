"""The Acytoo provider: the contract this project is named after."""

from __future__ import annotations

from typing import Any

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.acytoo import headers, payload
from acytoo.types import Messages


class Acytoo(AsyncGeneratorProvider):
    """Acytoo chat service: JSON in, raw text out; by default the embedded model behind it, on this machine."""

    url = "embedded://smollm2-135m-instruct"
    dialect = dialects.Acytoo()
    working = True
    supports_message_history = True
    supports_gpt_35_turbo = True


def _create_header() -> dict[str, str]:
    """The headers of every request."""
    return headers()


def _create_payload(messages: Messages, temperature: float = 0.5, **kwargs: Any) -> dict[str, Any]:
    """The body of a request; `model`, `key` and `password` can be set."""
    return payload(messages, temperature, **kwargs)
