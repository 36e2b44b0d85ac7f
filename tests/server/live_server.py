"""Our server over a scripted backend in the test's own event loop, and callers that send it plain bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects import Dialect
from acytoo.secret import Secret
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, ScriptedResponse, reply
from acytoo.testing.fakes.endpoint import Script
from acytoo.testing.hostile import site
from acytoo.testing.hostile.site import Response as Response
from acytoo.testing.hostile.site import example as example
from acytoo.types import Finish, Start

LIMIT = 60.0
"""Seconds after which something counts as hung: far more than any test needs, and less than a server's `idle`."""


def backend(dialect: Dialect, url: str, **settings: Any) -> AsyncGeneratorProvider:
    """Return a provider of that dialect without anything of its own."""
    made: type[AsyncGeneratorProvider] = type("Backend", (AsyncGeneratorProvider,), {"dialect": dialect})
    return made(url, model="m-1", **settings)


@dataclass
class LiveServer:
    """The server, and the endpoint behind it."""

    url: str
    fake: FakeEndpoint

    async def taken(self, count: int) -> None:
        """Wait until the network has taken so many bytes from the backend."""
        while self.fake.written < count:  # noqa: ASYNC110 - a write is no event
            await asyncio.sleep(0.01)

    @property
    def port(self) -> int:
        """Where the server listens."""
        return urlsplit(self.url).port or 0


@asynccontextmanager
async def live_server(
    *scripts: Script,
    dialect: Dialect = dialects.OpenAI(),
    password: str = "",
    provider: dict[str, Any] | None = None,
    on_connect: ScriptedResponse | None = None,
    **settings: Any,
) -> AsyncIterator[LiveServer]:
    """Run a server over a backend of the dialect that answers as scripted.

    Assert that no task is left afterwards, and that no callback of the event loop has raised: one that does ends the
    caller, which might wait forever for what it should have done.
    """
    before = asyncio.all_tasks()
    caller = asyncio.current_task()
    raised: list[dict[str, Any]] = []

    def end(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        raised.append(context)
        if caller is not None and len(raised) == 1:
            caller.cancel()

    asyncio.get_running_loop().set_exception_handler(end)
    async with FakeEndpoint(dialect, *scripts, on_connect=on_connect) as fake:
        config = ServerConfig(
            {"backend": backend(dialect, **{"url": fake.url, **(provider or {})})},
            Secret(password),
            port=0,
            grace=0.1,
            **settings,
        )
        server, url = await start(config)
        try:
            yield LiveServer(url, fake)
        except asyncio.CancelledError:
            assert raised == []
            raise
        finally:
            await server.close()
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    for _ in range(20):
        if not left:
            break
        await asyncio.wait(left, timeout=0.25)
        left = {task for task in left if not task.done()}
    assert not left, f"tasks are left: {left}"
    assert raised == []


def endless(texts: int) -> ScriptedResponse:
    """Return a reply of so many texts of 10 kB each: more than all buffers together hold."""
    return reply(Start("id-1", "m-1", 7), *["x" * 10_000] * texts, Finish("stop"))


def request(
    dialect: Dialect | str = "openai", *, stream: bool = True, headers: str = "", body: bytes | None = None
) -> bytes:
    """Return a well-formed request for a streamed or complete reply; `headers` are more lines of the head."""
    path, fields = example(dialects.by_name(dialect) if isinstance(dialect, str) else dialect, stream=stream)
    if body is None:
        body = json.dumps(fields).encode()
    return head(f"POST {path} HTTP/1.1", f"content-length: {len(body)}\r\n{headers}") + body


def head(first: str, headers: str = "") -> bytes:
    """Return a request's head: its first line, a `host`, and more lines, each with its line end."""
    return f"{first}\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{headers}\r\n".encode("latin-1")


async def raw_call(port: int, data: bytes) -> bytes:
    """Send the bytes and return everything until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(LIMIT):
            try:
                return await reader.read()
            except ConnectionError:
                return b"(reset)"
    finally:
        writer.close()


async def read_response(reader: asyncio.StreamReader) -> Response:
    """Read one response."""
    return await site.read_response(reader, LIMIT)


async def call(port: int, data: bytes) -> Response:
    """Send one request on a connection of its own and return the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await read_response(reader)
    finally:
        writer.close()


async def refused(port: int) -> None:
    """Open connections until one is refused."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:  # it came between the last one that was accepted and the end
                continue
            writer.close()
