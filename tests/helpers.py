"""Helpers for tests over sockets: messages, and functions that collect a reply or an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from acytoo import Acytoo, AcytooError

MESSAGES: list[Any] = [{"role": "user", "content": "Hello, how are you?"}]

CONTRACT = """
import asyncio
from acytoo import Acytoo

async def main():
    provider = Acytoo()
    messages = [{"role": "user", "content": "Hello, how are you?"}]
    async for text in provider.create_async_generator(model="gpt-3.5-turbo", messages=messages):
        print(text, end="", flush=True)

asyncio.run(main())
"""
"""The example in the contract, verbatim."""


_LIMIT = 120.0
"""Seconds after which a test fails instead of waiting forever; no call in a test takes a tenth of it."""


@asynccontextmanager
async def _limited() -> AsyncIterator[None]:
    limit = asyncio.timeout(_LIMIT)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if limit.expired():
            raise AssertionError(f"the call has not ended after {_LIMIT:.0f} seconds") from error
        raise


async def texts(provider: Acytoo | type[Acytoo], **options: Any) -> list[str]:
    """Return every text of one reply. Raises AssertionError if it does not end."""
    async with _limited():
        return [text async for text in provider.create_async_generator("", MESSAGES, **options)]


async def failure(provider: Acytoo | type[Acytoo], **options: Any) -> AcytooError:
    """Return the error that a call raises. Raises AssertionError if the reply is complete or does not end."""
    seen: list[str] = []
    try:
        async with _limited():
            async for text in provider.create_async_generator("", MESSAGES, **options):
                seen.append(text)  # noqa: PERF401 - the texts before the error are checked
    except AcytooError as error:
        assert error.text == "".join(seen)
        return error
    raise AssertionError(f"no error; the reply was {seen!r}")
