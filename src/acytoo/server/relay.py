"""One chat request through the server: decode it, send it to a backend, encode the backend's reply.

If client and backend use the same API, the bytes of request and reply pass through unchanged. Otherwise both are
translated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

import msgspec

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.client import DeliveredError
from acytoo.dialects.base import Dialect, Framing, ParsedRequest, Turn, Unsupported, Writer
from acytoo.dialects.translate import translate
from acytoo.errors import AcytooError
from acytoo.http import HTTPResponse
from acytoo.server.backends import select_backend
from acytoo.server.config import ServerConfig
from acytoo.server.cors import cors_headers
from acytoo.server.errors import public_error
from acytoo.server.request import IncomingRequest
from acytoo.server.response import StreamedResponse
from acytoo.types import Closable, Item, Request, collect

T = TypeVar("T")

_HINT = "leave it out, or start the server with --drop-unsupported"


async def relay(
    request: IncomingRequest, turn: Turn, parsed: ParsedRequest, dialect: Dialect, config: ServerConfig
) -> HTTPResponse | None:
    """Answer a chat request; return the response unless it is streamed.

    Raises AcytooError for whatever fails before the first byte of the response.
    """
    backend, wanted = _select(parsed, config)
    api = backend.dialect.name if backend.dialect is not None else type(backend).__name__
    unsupported = Unsupported(api, drop=config.drop_unsupported, hint=_HINT)
    writer = dialect.writer(parsed.request)
    if api == dialect.name and not dialect.is_legacy and backend.can_pass_through(wanted):
        body = turn.request.body
        if wanted is not parsed.request:
            body = dialect.for_model(body, wanted.model)
        async with aclosing(backend.pass_through(body, wanted, writer if wanted.stream else None)) as chunks:
            if wanted.stream:
                records = RecordBuffer(writer.framing)
                await _Stream(request, writer, config, unsupported).run(
                    chunks,
                    lambda data: turn.watch(records.feed(data)),
                    lambda: turn.watch(records.flush()),
                    passes_through=True,
                )
                return None
            document = b"".join([chunk async for chunk in chunks])
    else:
        _require_decoded(parsed)
        source = (
            backend.answer(translate(turn.with_history(wanted), dialect), unsupported=unsupported)
            if parsed.reply is None
            else _batches(parsed.reply)
        )
        async with aclosing(source) as batches:
            if wanted.stream:
                await _Stream(request, writer, config, unsupported).run(
                    batches, writer.write, lambda: turn.watch(writer.end()), passes_through=False
                )
                return None
            items = [item for batch in [batch async for batch in batches] for item in batch]
        document = dialect.write_reply(collect(items), parsed.request)
    headers = {"content-type": "application/json", **_dropped_header(unsupported)}
    return HTTPResponse(200, headers, turn.watch(document))


async def count_tokens(parsed: ParsedRequest, dialect: Dialect, config: ServerConfig) -> int:
    """Return how many tokens a request has, counted by its backend. Raises AcytooError."""
    backend, wanted = _select(parsed, config)
    _require_decoded(parsed)
    return await backend.count_tokens(translate(wanted, dialect))


def _select(parsed: ParsedRequest, config: ServerConfig) -> tuple[AsyncGeneratorProvider, Request]:
    """Return the backend that a request selects, and the request for that backend."""
    request = parsed.request
    backend, model = select_backend(config.backends, request.model)
    return backend, request if model == request.model else msgspec.structs.replace(request, model=model)


def _require_decoded(parsed: ParsedRequest) -> None:
    """Raise the RequestError of a request that could not be decoded: it can only be passed through."""
    if parsed.refusal is not None:
        raise parsed.refusal


async def _batches(items: list[Item]) -> AsyncGenerator[list[Item], None]:
    """Yield a reply that no backend is asked for."""
    yield items


def _dropped_header(unsupported: Unsupported) -> dict[str, str]:
    """Return the header that lists what was dropped. A client's own field names may hold line ends or any script."""
    names = ", ".join(unsupported.dropped)
    return (
        {"x-acytoo-dropped": "".join([c if c.isprintable() and c.isascii() else "?" for c in names])} if names else {}
    )


class _Stream:
    """One streamed response.

    Its head is sent with the first batch, so that an error before it keeps its status. If the API has keep-alives and
    the backend is silent for too long, the head is sent earlier, with a keep-alive.
    """

    def __init__(
        self, request: IncomingRequest, writer: Writer, config: ServerConfig, unsupported: Unsupported
    ) -> None:
        self._request = request
        self._writer = writer
        self._ping_after = config.ping_after
        # x-accel-buffering: nginx buffers a response unless this header turns it off.
        headers = {"content-type": writer.content_type, "cache-control": "no-cache", "x-accel-buffering": "no"}
        headers |= _dropped_header(unsupported) | cors_headers(request, config)
        self._response = StreamedResponse(request, headers)
        self._loop = asyncio.get_running_loop()
        self._written_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    async def run(
        self, source: Closable[T], encode: Callable[[T], bytes], end: Callable[[], bytes], *, passes_through: bool
    ) -> None:
        """Send what the backend sends, then the end. Raises AcytooError only while nothing has been sent."""
        response = self._response
        if self._writer.ping:
            self._timer = self._loop.call_later(self._ping_after, self._on_silence)
        try:
            async for batch in source:
                if data := encode(batch):
                    self._written_at = self._loop.time()
                    await response.send(data)
            await response.end(end())
        except DeliveredError as delivered:
            if not response.started:
                raise delivered.error from delivered.error.__cause__
            if rest := end():
                await response.send(rest)
            # The backend's own record may be one that only we recognise as an error.
            await self._fail(delivered.error, cut=not self._writer.error_ends_reply)
        except AcytooError as error:
            if not response.started:
                raise
            # A reply that passes through may have sent its end already: then only a cut shows that something failed.
            await self._fail(error, cut=passes_through or not self._writer.error_ends_reply)
        finally:
            response.close()
            if self._timer is not None:
                self._timer.cancel()

    async def _fail(self, error: AcytooError, *, cut: bool) -> None:
        """Report an error as the API does, then cut the body or end it.

        A cut is what clients notice that do not read the error. Those on Node.js discard what they have not read by
        then, so they get time for it.
        """
        response, last = self._response, self._writer.fail(public_error(error, self._request))
        if self._writer.fails_alone:
            await response.let_read()
        if not cut:
            await response.end(last)
            return
        if last:
            await response.let_read(last)
        await response.abort(reported=bool(last))

    def _on_silence(self) -> None:
        """Send a keep-alive if nothing was written for long enough, and schedule the next check.

        One timer is moved along instead of being replaced at each write: a write only has to note its time.
        """
        now = self._loop.time()
        if now >= self._written_at + self._ping_after:
            if not self._response.unsent:  # a client that does not read gets no pile of keep-alives
                self._response.flush(self._writer.ping)
            self._written_at = now
        self._timer = self._loop.call_at(self._written_at + self._ping_after, self._on_silence)


class RecordBuffer:
    """A buffer that releases complete records of a stream that passes through.

    A keep-alive or an error may be inserted at any time, and must not end up inside a record.
    """

    def __init__(self, framing: Framing) -> None:
        self._ends = _RECORD_ENDS[framing]
        self._incomplete = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Return the complete records, and keep an incomplete last one."""
        buffer = self._incomplete
        if not self._ends or (not buffer and data.endswith(self._ends)):
            return data
        searched = max(0, len(buffer) - 3)  # an end of up to four bytes may begin in what was searched before
        buffer += data
        ends = [(buffer.rfind(end, searched), end) for end in self._ends]
        length = max([index + len(end) for index, end in ends if index >= 0], default=0)
        complete = bytes(buffer[:length])
        del buffer[:length]
        return complete

    def flush(self) -> bytes:
        """Return what is left at the end of the stream."""
        return bytes(self._incomplete)


_RECORD_ENDS: dict[Framing, tuple[bytes, ...]] = {"text": (), "sse": (b"\n\n", b"\r\n\r\n"), "ndjson": (b"\n",)}
"""What ends a record. Text is not divided into records, so nothing is held back."""
