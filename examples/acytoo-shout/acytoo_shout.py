"""A legacy (gpt4free-style) provider in a package of its own: it repeats the last message in capitals."""

from __future__ import annotations

from typing import Any

from acytoo import AsyncGeneratorProvider, AsyncResult, Messages


class Shout(AsyncGeneratorProvider):
    """A provider that answers by itself instead of calling a service; `model` is appended to each word."""

    url = "shout://nowhere"

    @classmethod
    async def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        """Yield the last message word by word."""
        for word in str(messages[-1]["content"]).split():
            yield word.upper() + model + " "
