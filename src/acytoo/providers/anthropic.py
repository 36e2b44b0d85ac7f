"""Anthropic's Messages API."""

from __future__ import annotations

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider


class Anthropic(AsyncGeneratorProvider):
    """Anthropic's Messages API (source: its API reference)."""

    url = "https://api.anthropic.com"
    model_prefixes = ("claude",)
    dialect = dialects.Anthropic()
    env = {"url": ("ANTHROPIC_BASE_URL",), "key": ("ANTHROPIC_API_KEY",)}
    needs_auth = True
    needs_model = True
