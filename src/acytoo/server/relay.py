"""One call through the server: a client's bytes in, a provider's events, the client's bytes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from aiohttp import web

from acytoo.base import AsyncGeneratorProvider
from acytoo.dialects.base import Dialect, Incoming, Losses, Writer, crossing
from acytoo.errors import AcytooError, AuthenticationError
from acytoo.server.config import ServerConfig
from acytoo.types import Item, Request, collect


async def relay(request: web.Request, incoming: Incoming, dialect: Dialect, config: ServerConfig) -> web.StreamResponse:
    """Answer a call. Raises AcytooError for whatever goes wrong before the first byte of the answer."""
    call = dialect.parse(incoming)
    if not config.admits(call.secrets):
        raise AuthenticationError("the password or key is missing or wrong", status=401, code="authentication_error")
    backend, model = config.backend_for(call.request.model)
    asked = msgspec.structs.replace(call.request, model=model)
    spoken = backend.dialect.name if backend.dialect is not None else ""
    if spoken != dialect.name:
        asked = crossing(asked, dialect)
    losses = Losses(spoken or type(backend).__name__, drop=config.drop_unsupported)
    batches = _answer(backend, asked, losses)
    headers = {"x-acytoo-dropped": ", ".join(losses.dropped)} if losses.dropped else {}
    async with aclosing(batches):
        if not call.request.stream:
            items = [item for batch in [batch async for batch in batches] for item in batch]
            body = dialect.write_reply(collect(items), call.request)
            return web.Response(body=body, content_type="application/json", headers=headers)
        return await _Stream(request, dialect.writer(call.request), config.ping_after, headers).run(batches)


def _answer(backend: AsyncGeneratorProvider, asked: Request, losses: Losses) -> AsyncGenerator[list[Item], None]:
    if not asked.model:
        asked.model = getattr(backend, "model", "") or backend.default_model
    return backend.answer(asked, losses=losses)


class _Stream:
    """One streamed answer.

    Its head goes out with the first batch, so that a refusal keeps its status; where the dialect has
    keep-alives and the backend is silent, earlier.
    """

    def __init__(self, request: web.Request, writer: Writer, ping_after: float, headers: dict[str, str]) -> None:
        self._request = request
        self._writer = writer
        self._ping_after = ping_after
        self._response = web.StreamResponse(
            headers={
                "content-type": writer.content_type,
                "cache-control": "no-cache",
                "x-accel-buffering": "no",
                **headers,
            }
        )
        self._loop = asyncio.get_running_loop()
        self._wrote_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._ping: asyncio.Task[None] | None = None

    async def run(self, batches: AsyncGenerator[list[Item], None]) -> web.StreamResponse:
        """Write what the backend says. Raises AcytooError only while nothing is written."""
        write = self._writer.write
        if self._writer.ping:
            self._timer = self._loop.call_later(self._ping_after, self._on_silence)
        try:
            async for batch in batches:
                if data := write(batch):
                    await self._send(data)
            await self._start()
            await self._response.write_eof(self._writer.end())
        except AcytooError as error:
            if not self._response.prepared and self._ping is None:
                raise
            await self._fail(error)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._ping is not None:
                self._ping.cancel()
        return self._response

    async def _send(self, data: bytes) -> None:
        if not self._response.prepared:
            await self._start()
        self._wrote_at = self._loop.time()
        await self._response.write(data)

    async def _start(self) -> None:
        if self._ping is not None:
            await self._ping
        if not self._response.prepared:
            await self._response.prepare(self._request)
            if opening := self._writer.start():
                await self._response.write(opening)

    def _on_silence(self) -> None:
        """Send a keep-alive where nothing was written for long enough; look again when the next may be due."""
        due = self._wrote_at + self._ping_after
        if self._loop.time() >= due and (self._ping is None or self._ping.done()):
            self._ping = self._loop.create_task(self._keep_alive())
            due = self._loop.time() + self._ping_after
        self._timer = self._loop.call_at(due, self._on_silence)

    async def _keep_alive(self) -> None:
        try:
            if not self._response.prepared:
                await self._response.prepare(self._request)
                if opening := self._writer.start():
                    await self._response.write(opening)
            self._wrote_at = self._loop.time()
            await self._response.write(self._writer.ping)
        except (ConnectionError, OSError):
            pass

    async def _fail(self, error: AcytooError) -> None:
        """Tell the fault in the dialect's way, then end the connection before the body's end: it counts as cut."""
        if self._ping is not None:
            await self._ping
        transport = self._request.transport
        if data := self._writer.fail(error):
            await self._response.write(data)
            if transport is not None:
                transport.close()
        elif transport is not None:
            transport.abort()
