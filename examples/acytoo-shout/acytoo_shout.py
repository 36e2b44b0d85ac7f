"""A provider in the older style, in a package of its own: it repeats what it is told, in capitals."""

from __future__ import annotations

from typing import Any

from acytoo import AsyncGeneratorProvider, AsyncResult, Messages


class Shout(AsyncGeneratorProvider):
    """Where another provider would call its service, this one answers by itself; `model` is what ends each word."""

    url = "shout://nowhere"

    @classmethod
    async def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        """Yield the last message word by word."""
        for word in str(messages[-1]["content"]).split():
            yield word.upper() + model + " "
