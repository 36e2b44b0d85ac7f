"""One call through the server: a client's bytes in, a provider's events, the client's bytes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import TypeVar

import msgspec
from aiohttp import web

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.base import Dialect, Framing, ParsedRequest, Unsupported, Writer
from acytoo.dialects.translate import translate
from acytoo.errors import AcytooError, AuthenticationError
from acytoo.http import ServerRequest
from acytoo.server.config import ServerConfig
from acytoo.server.cors import readable
from acytoo.server.response import StreamedResponse
from acytoo.types import Closable, Request, collect

T = TypeVar("T")


async def relay(
    request: web.Request, incoming: ServerRequest, dialect: Dialect, config: ServerConfig
) -> web.StreamResponse:
    """Answer a call. Raises AcytooError for whatever goes wrong before the first byte of the answer."""
    call, backend, asked = _admitted(incoming, dialect, config)
    spoken = backend.dialect.name if backend.dialect is not None else type(backend).__name__
    unsupported = Unsupported(spoken, drop=config.drop_unsupported)
    writer = dialect.writer(call.request)
    if spoken == dialect.name and backend.can_pass_through(asked):
        body = incoming.body if asked is call.request else dialect.for_model(incoming.body, asked.model)
        async with aclosing(backend.pass_through(body, asked, writer if asked.stream else None)) as chunks:
            if asked.stream:
                records = RecordBuffer(writer.framing)
                return await _Stream(request, writer, config, unsupported).run(chunks, records.feed, records.rest)
            whole = b"".join([chunk async for chunk in chunks])
    else:
        _readable(call)
        async with aclosing(backend.answer(translate(asked, dialect), unsupported=unsupported)) as batches:
            if asked.stream:
                return await _Stream(request, writer, config, unsupported).run(batches, writer.write, writer.end)
            items = [item for batch in [batch async for batch in batches] for item in batch]
        whole = dialect.write_reply(collect(items), call.request)
    return web.Response(body=whole, content_type="application/json", headers=_dropped(unsupported))


def _dropped(unsupported: Unsupported) -> dict[str, str]:
    """The header that tells what was left behind; names of a client's own may have line ends in them, or any script."""
    told = ", ".join(unsupported.dropped)
    return {"x-acytoo-dropped": "".join([c if c.isprintable() and c.isascii() else "?" for c in told])} if told else {}


async def count(incoming: ServerRequest, dialect: Dialect, config: ServerConfig) -> int:
    """How many tokens a call's messages have, counted by its backend. Raises AcytooError."""
    call, backend, asked = _admitted(incoming, dialect, config)
    _readable(call)
    return await backend.count_tokens(translate(asked, dialect))


def _admitted(
    incoming: ServerRequest, dialect: Dialect, config: ServerConfig
) -> tuple[ParsedRequest, AsyncGeneratorProvider, Request]:
    """The call, the backend it asks for, and the request as that backend is to get it."""
    call = dialect.decode_request_lenient(incoming)
    if not config.admits(call.secrets):
        raise AuthenticationError("the password or key is missing or wrong", status=401, code="authentication_error")
    backend, model = config.backend_for(call.request.model)
    asked = call.request if model == call.request.model else msgspec.structs.replace(call.request, model=model)
    return call, backend, asked


def _readable(call: ParsedRequest) -> None:
    """Raises the RequestError for a call that cannot be read, where it is not passed on as it came."""
    if call.refusal is not None:
        raise call.refusal


class _Stream:
    """One streamed answer.

    Its head goes out with the first batch, so that a refusal keeps its status; where the dialect has
    keep-alives and the backend is silent, earlier.
    """

    def __init__(self, request: web.Request, writer: Writer, config: ServerConfig, unsupported: Unsupported) -> None:
        self._writer = writer
        self._ping_after = config.ping_after
        headers = {"content-type": writer.content_type, "cache-control": "no-cache", "x-accel-buffering": "no"}
        headers |= _dropped(unsupported) | readable(request, config)
        self._response = StreamedResponse(request, headers, config.unread)
        self._loop = asyncio.get_running_loop()
        self._wrote_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    async def run(
        self, source: Closable[T], render: Callable[[T], bytes], end: Callable[[], bytes]
    ) -> web.StreamResponse:
        """Write what the backend says, then the end. Raises AcytooError only while nothing is written."""
        response = self._response
        if self._writer.ping:
            self._timer = self._loop.call_later(self._ping_after, self._on_silence)
        try:
            async for said in source:
                if data := render(said):
                    self._wrote_at = self._loop.time()
                    await response.send(data)
            await response.end(end())
        except AcytooError as error:
            if not response.begun:
                raise
            # The fault in the dialect's way; then the connection ends before the body's end, so that it counts as cut.
            last = end() if error.told else self._writer.fail(error)
            await response.cut(last, told=error.told or bool(last))
        finally:
            response.close()
            if self._timer is not None:
                self._timer.cancel()
        return response

    def _on_silence(self) -> None:
        """Send a keep-alive where nothing was written for long enough; look again when the next may be due."""
        now = self._loop.time()
        if now >= self._wrote_at + self._ping_after:
            if not self._response.unsent:
                self._response.flush(self._writer.ping)
            self._wrote_at = now
        self._timer = self._loop.call_at(self._wrote_at + self._ping_after, self._on_silence)


class RecordBuffer:
    """What may go out of a stream that is passed on: no keep-alive and no error is to be written inside a record."""

    def __init__(self, framing: Framing) -> None:
        self._ends = _RECORD_ENDS[framing]
        self._held = bytearray()

    def feed(self, data: bytes) -> bytes:
        """The records that are whole; half a one is held back."""
        held = self._held
        if not self._ends or (not held and data.endswith(self._ends)):
            return data
        searched = max(0, len(held) - 3)
        held += data
        places = [(held.rfind(end, searched), end) for end in self._ends]
        length = max([place + len(end) for place, end in places if place >= 0], default=0)
        whole = bytes(held[:length])
        del held[:length]
        return whole

    def rest(self) -> bytes:
        """What is held back, once nothing comes after it."""
        return bytes(self._held)


_RECORD_ENDS: dict[Framing, tuple[bytes, ...]] = {"text": (), "sse": (b"\n\n", b"\r\n\r\n"), "ndjson": (b"\n",)}
"""What ends a record; text is not made of records."""
