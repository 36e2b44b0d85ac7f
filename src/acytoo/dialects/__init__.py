"""The chat APIs: one pure codec each; `acytoo`, `openai`, … are their plain instances."""

from __future__ import annotations

from acytoo.dialects.acytoo import Acytoo
from acytoo.dialects.anthropic import Anthropic
from acytoo.dialects.base import Dialect, Endpoint, Head, Incoming, Losses, Outgoing, Reader, Writer
from acytoo.dialects.gemini import Gemini
from acytoo.dialects.ollama import Ollama
from acytoo.dialects.openai import OpenAI
from acytoo.dialects.responses import Responses

# A submodule's name and an instance's may be the same word: the instance is what `dialects.NAME` means.
acytoo = Acytoo()
openai = OpenAI()
openai_responses = Responses()
anthropic = Anthropic()
ollama = Ollama()
gemini = Gemini()

ALL: tuple[Dialect, ...] = (acytoo, openai, openai_responses, anthropic, ollama, gemini)
"""One plain instance of each."""

__all__ = [
    "ALL",
    "Acytoo",
    "Anthropic",
    "Dialect",
    "Endpoint",
    "Gemini",
    "Head",
    "Incoming",
    "Losses",
    "Ollama",
    "OpenAI",
    "Outgoing",
    "Reader",
    "Responses",
    "Writer",
    "acytoo",
    "anthropic",
    "gemini",
    "ollama",
    "openai",
    "openai_responses",
]
