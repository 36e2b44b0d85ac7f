"""Legacy (gpt4free-style) providers with the usual bugs: a session of their own, and a `decode()` loop."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
from typing import Any

import aiohttp

from acytoo import AsyncGeneratorProvider, AsyncResult, Messages


class Naive(AsyncGeneratorProvider):
    """A provider that works as long as nothing goes wrong."""

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


class Careless(Naive):
    """A provider that changes its arguments, logs the key, and does not close its session."""

    @classmethod
    async def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        logging.getLogger("careless").debug("calling with the key %s", kwargs.get("key"))
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
    """A provider with one session for all event loops, and the request in a class attribute."""

    sessions: list[aiohttp.ClientSession] = []

    @classmethod
    async def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        if not Shared.sessions:
            Shared.sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        Shared.messages = messages  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        body = {"messages": Shared.messages}  # type: ignore[attr-defined]
        async with Shared.sessions[0].post(f"{cls.url}/api/completions", json=body) as response:
            async for chunk in response.content.iter_any():
                yield chunk.decode()


class Stale(Naive):
    """A provider that reuses its connection without checking whether the server has closed it."""

    connections: dict[str, http.client.HTTPConnection] = {}

    @classmethod
    async def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        host = cls.url.removeprefix("http://")
        connection = Stale.connections.setdefault(host, http.client.HTTPConnection(host))
        await asyncio.to_thread(connection.request, "POST", "/api/completions", json.dumps({"messages": messages}))
        response = await asyncio.to_thread(connection.getresponse)
        yield (await asyncio.to_thread(response.read)).decode()


class Eager(Naive):
    """A provider that sends the request too early, has one timeout for everything, and keeps what it received."""

    kept: list[Any] = []

    @classmethod
    def create_async_generator(
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncResult:
        limit = kwargs.get("timeout") or 300
        stream = super().create_async_generator(model, messages, proxy, **kwargs)
        first = asyncio.ensure_future(anext(stream))
        Eager.kept.append((first, bytearray(20_000)))

        async def texts() -> AsyncResult:
            async with asyncio.timeout(limit):
                yield await first
                async for text in stream:
                    yield text

        return texts()
