"""Google's Gemini API."""

from __future__ import annotations

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider


class Gemini(AsyncGeneratorProvider):
    """Google's Gemini API (source: its API reference)."""

    url = "https://generativelanguage.googleapis.com"
    model_prefixes = ("gemini",)
    dialect = dialects.Gemini()
    env = {"url": ("GOOGLE_GEMINI_BASE_URL",), "key": ("GEMINI_API_KEY", "GOOGLE_API_KEY")}
    needs_auth = True
    needs_model = True
