"""Stands for providers in the older style as often written: a classmethod, its own session, a `decode()` loop."""

from __future__ import annotations

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
        import asyncio
        import logging

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
