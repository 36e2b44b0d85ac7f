"""The chat APIs: one pure codec each. `by_name("openai")` returns a plain instance, `ALL` has all of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from acytoo.dialects.base import Dialect, Reader, Unsupported, Writer
from acytoo.errors import UsageError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest

if TYPE_CHECKING:
    from acytoo.dialects.acytoo import Acytoo as Acytoo
    from acytoo.dialects.anthropic import Anthropic as Anthropic
    from acytoo.dialects.gemini import Gemini as Gemini
    from acytoo.dialects.ollama import Ollama as Ollama
    from acytoo.dialects.openai import OpenAI as OpenAI
    from acytoo.dialects.openai_responses import OpenAIResponses as OpenAIResponses

    ALL: tuple[Dialect, ...]
    """One plain instance of each."""

_CLASSES = {
    "acytoo": "Acytoo",
    "openai": "OpenAI",
    "openai_responses": "OpenAIResponses",
    "anthropic": "Anthropic",
    "ollama": "Ollama",
    "gemini": "Gemini",
}
"""Each API's folder and its class. A new dialect adds one line here."""

__all__ = [
    "ALL",
    "Dialect",
    "Endpoint",
    "HTTPRequest",
    "Reader",
    "ResponseHead",
    "ServerRequest",
    "Unsupported",
    "Writer",
    "by_name",
    *_CLASSES.values(),
]


_INSTANCES: dict[str, Dialect] = {}


def by_name(name: str) -> Dialect:
    """Return the plain instance of the dialect with this name, such as `openai-responses`.

    Raises UsageError for an unknown name.
    """
    folder = name.replace("-", "_")
    if folder not in _CLASSES:
        raise UsageError(f"unknown dialect {name!r}: expected one of {', '.join(_CLASSES)}".replace("_", "-"))
    if folder not in _INSTANCES:
        _INSTANCES.setdefault(folder, __getattr__(_CLASSES[folder])())  # the first of two threads creates it for both
    return _INSTANCES[folder]


def __getattr__(name: str) -> Any:
    """Import a codec on first use, so that a caller of one API pays for one. The result is kept."""
    if name == "ALL":
        return globals().setdefault(name, tuple(by_name(folder) for folder in _CLASSES))
    for folder, cls in _CLASSES.items():
        if name == cls:
            return globals().setdefault(name, getattr(importlib.import_module(f"{__name__}.{folder}"), cls))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
