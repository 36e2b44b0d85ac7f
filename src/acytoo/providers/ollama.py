"""Ollama."""

from __future__ import annotations

from urllib.parse import urlsplit

from acytoo import dialects
from acytoo.base import AsyncGeneratorProvider


class Ollama(AsyncGeneratorProvider):
    """A local Ollama (source: its API documentation); `OLLAMA_HOST` may lack scheme and port, as Ollama allows."""

    url = "http://127.0.0.1:11434"
    dialect = dialects.ollama
    env = {"url": ("OLLAMA_HOST",), "key": ("OLLAMA_API_KEY",)}
    needs_model = True

    @classmethod
    def full_url(cls, url: str) -> str:
        """The URL with what Ollama's own clients add: `http://`, port 11434, and this machine for 0.0.0.0."""
        if "://" not in url:
            url = f"http://{url}"
            if urlsplit(url).port is None:
                url = f"{url.rstrip('/')}:11434"
        return url.replace("//0.0.0.0", "//127.0.0.1", 1)
