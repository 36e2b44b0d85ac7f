"""What the tests over sockets have in common: a question, and ways to collect the answer or the error."""

from __future__ import annotations

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
"""The contract's example, as it stands."""


async def texts(provider: Acytoo | type[Acytoo], **options: Any) -> list[str]:
    """Every text of one reply."""
    return [text async for text in provider.create_async_generator("", MESSAGES, **options)]


async def failure(provider: Acytoo | type[Acytoo], **options: Any) -> AcytooError:
    """The error that asking ends in; a reply that is whole is a failed test."""
    seen: list[str] = []
    try:
        async for text in provider.create_async_generator("", MESSAGES, **options):
            seen.append(text)  # noqa: PERF401 - what came before the error counts
    except AcytooError as error:
        assert error.text == "".join(seen)
        return error
    raise AssertionError(f"no error; the reply was {seen!r}")
