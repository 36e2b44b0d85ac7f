"""Ollama's own API."""

from __future__ import annotations

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider


class Ollama(AsyncGeneratorProvider):
    """A local Ollama (source: its API documentation). `OLLAMA_HOST` may lack scheme and port, as Ollama allows."""

    url = "http://127.0.0.1:11434"
    model_prefixes = ("llama", "qwen", "gemma", "phi", "gpt-oss")
    dialect = dialects.Ollama()
    env = {"url": ("OLLAMA_HOST",), "key": ("OLLAMA_API_KEY",)}
    needs_model = True

    @classmethod
    def full_url(cls, url: str) -> str:
        """Return the URL completed as Ollama's own clients do: `http://`, port 11434, and this machine for 0.0.0.0."""
        scheme, mark, rest = url.rpartition("://")
        place, slash, path = rest.partition("/")
        host, colon, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
        if not colon:
            host, port = place, "" if mark else "11434"
        host = "127.0.0.1" if host in ("", "0.0.0.0") else host
        return f"{scheme or 'http'}://{host}{':' if port else ''}{port}{slash}{path}"
