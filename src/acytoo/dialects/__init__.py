"""The chat APIs: one pure codec each; `acytoo`, `openai`, … are their plain instances."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from acytoo.dialects.base import Dialect, Endpoint, Head, Incoming, Losses, Outgoing, Reader, Writer

if TYPE_CHECKING:
    from acytoo.dialects.apis.acytoo import Acytoo as Acytoo
    from acytoo.dialects.apis.anthropic import Anthropic as Anthropic
    from acytoo.dialects.apis.gemini import Gemini as Gemini
    from acytoo.dialects.apis.ollama import Ollama as Ollama
    from acytoo.dialects.apis.openai import OpenAI as OpenAI
    from acytoo.dialects.apis.openai_responses import Responses as Responses

    acytoo: Acytoo
    anthropic: Anthropic
    gemini: Gemini
    ollama: Ollama
    openai: OpenAI
    openai_responses: Responses

    ALL: tuple[Dialect, ...]
    """One plain instance of each."""

_APIS = {
    "acytoo": "Acytoo",
    "openai": "OpenAI",
    "openai_responses": "Responses",
    "anthropic": "Anthropic",
    "ollama": "Ollama",
    "gemini": "Gemini",
}
"""Each API's module, which its plain instance is named after, and its class."""

__all__ = [
    "ALL",
    "Dialect",
    "Endpoint",
    "Head",
    "Incoming",
    "Losses",
    "Outgoing",
    "Reader",
    "Writer",
    *_APIS,
    *_APIS.values(),
]


def __getattr__(name: str) -> object:
    """A codec is imported when first used, so that who speaks one API pays for one."""
    return globals().setdefault(name, _made(name))  # the first of two threads makes it for both


def _made(name: str) -> object:
    here = sys.modules[__name__]
    if name == "ALL":
        return tuple(getattr(here, api) for api in _APIS)
    if name in _APIS:
        return getattr(here, _APIS[name])()
    for api, codec in _APIS.items():
        if name == codec:
            return getattr(importlib.import_module(f"{__name__}.apis.{api}"), codec)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
