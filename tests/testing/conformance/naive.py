"""Stands for providers in the older style as often written: a classmethod, its own session, a `decode()` loop."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp

from acytoo import AsyncGeneratorProvider, AsyncResult, Messages


class Naive(AsyncGeneratorProvider):
    """Right as long as nothing goes wrong."""

    url = "http://127.0.0.1"

    @classmethod
    async def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        body = {"key": kwargs.get("key"), "model": model, "messages": messages, "temperature": 0.5, "password": ""}
        async with (
            aiohttp.ClientSession(headers={"authorization": f"Bearer {kwargs.get('key')}"}) as session,
            session.post(f"{cls.url}/api/completions", json=body, proxy=proxy) as response,
        ):
            response.raise_for_status()
            async for chunk in response.content.iter_any():
                yield chunk.decode()


class Rude(Naive):
    """Changes what it is given, tells what it should not, keeps what it should close."""

    @classmethod
    async def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        logging.getLogger("rude").debug("asking with the key %s", kwargs.get("key"))
        messages.append({"role": "user", "content": "again"})  # type: ignore[attr-defined]
        cls.kept = asyncio.ensure_future(asyncio.sleep(60))  # type: ignore[attr-defined]
        session = aiohttp.ClientSession()
        response = await session.post(f"{cls.url}/api/completions", json={"messages": messages})
        yield ""
        try:
            async for chunk in response.content.iter_any():
                yield chunk.decode("utf-8", "replace") * 2
        except BaseException:
            pass


class Shared(Naive):
    """One session for ever, in whatever loop it was made, and the question kept on the class."""

    sessions: list[aiohttp.ClientSession] = []

    @classmethod
    async def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        if not Shared.sessions:
            Shared.sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        Shared.question = messages  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        body = {"messages": Shared.question}  # type: ignore[attr-defined]
        async with Shared.sessions[0].post(f"{cls.url}/api/completions", json=body) as response:
            async for chunk in response.content.iter_any():
                yield chunk.decode()


class Hasty(Naive):
    """Asks before anybody wants to know, in one limit for all, and keeps what it got."""

    kept: list[Any] = []

    @classmethod
    def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        limit = kwargs.get("timeout") or 300
        stream = super().create_async_generator(model, messages, proxy, **kwargs)
        first = asyncio.ensure_future(anext(stream))
        Hasty.kept.append((first, bytearray(20_000)))

        async def texts() -> AsyncResult:
            async with asyncio.timeout(limit):
                yield await first
                async for text in stream:
                    yield text

        return texts()
