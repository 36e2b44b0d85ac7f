"""One chat request through the server: decode it, send it to a backend, encode the backend's reply.

If client and backend use the same API, the bytes of request and reply pass through unchanged. Otherwise both are
translated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any

import msgspec

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.client import BatchStream, ReplyStream, without_secrets
from acytoo.dialects.base import Dialect, ParsedRequest, Turn, Unsupported, Writer
from acytoo.dialects.opaque import TranslatedAnswer
from acytoo.dialects.services import is_host_of
from acytoo.dialects.translate import translate
from acytoo.errors import AcytooError
from acytoo.http import HTTPResponse
from acytoo.passage import is_reported
from acytoo.server.backends import select_backend
from acytoo.server.config import ServerConfig
from acytoo.server.control import BackendReply, Call
from acytoo.server.cors import cors_headers
from acytoo.server.errors import public_error
from acytoo.server.request import IncomingRequest
from acytoo.server.response import StreamedResponse
from acytoo.types import Attempt, Closable, Item, ReplySize, Request, collect

_HINT = "leave it out, or start the server with --drop-unsupported (drop_unsupported = true in a config file)"


async def relay(
    request: IncomingRequest, turn: Turn, parsed: ParsedRequest, dialect: Dialect, config: ServerConfig
) -> HTTPResponse | None:
    """Answer a chat request; return the response unless it is streamed.

    Raises AcytooError for whatever fails before the first byte of the response.
    """
    call = request.call
    if call is not None:
        await call.admit(parsed, dialect, len(turn.request.body))
    backend, wanted = _select(parsed, config)
    exchange = _Exchange(turn, parsed, dialect, config, call)
    if wanted.stream:
        await _Stream(request, exchange, config).run(exchange.open(backend, wanted))
        return None
    reply = await exchange.open(backend, wanted)
    size = ReplySize(config.max_reply)
    parts: list[Any] = []
    try:
        async for batch in reply.batches:
            received = (batch,) if reply.passes_through else batch
            size.add(received)
            parts += received
    finally:
        await reply.batches.aclose()
    if reply.passes_through:
        document = b"".join(parts)
    else:
        answer = TranslatedAnswer(dialect)
        if not answer.add(parts) and (no_text := answer.error()) is not None:
            raise no_text
        document = dialect.write_reply(collect(turn.without_id(parts)), parsed.request)
    headers = {"content-type": "application/json", **reply.headers}
    return HTTPResponse(200, headers, turn.watch(document))


class _Exchange:
    """One request of a client: how it is sent to a backend, and how the reply becomes the client's."""

    def __init__(
        self, turn: Turn, parsed: ParsedRequest, dialect: Dialect, config: ServerConfig, call: Call | None
    ) -> None:
        self._turn = turn
        self._parsed = parsed
        self._dialect = dialect
        self._call = call
        self._config = config
        self._opened: dict[Closable[Any], tuple[AsyncGeneratorProvider, Unsupported | None]] = {}
        """The backends of the replies that were opened, and what was dropped from the request for them.

        None: it passes through unchanged.
        """
        self._passes_through = self._is_shared = False

    @property
    def answer(self) -> TranslatedAnswer | None:
        """What notes the answer in the reply, None if that passes through."""
        return None if self._passes_through else TranslatedAnswer(self._dialect)

    @cached_property
    def writer(self) -> Writer:
        """The writer of a streamed response."""
        return self._dialect.writer(self._parsed.request)

    @cached_property
    def _size(self) -> ReplySize:
        return ReplySize(self._config.max_reply)

    def open(self, backend: AsyncGeneratorProvider, wanted: Request) -> Awaitable[BackendReply]:
        """Send the request to the backend. Raises AcytooError.

        Each `async def` on the way to the backend's reply costs a step whenever something arrives.
        """
        if self._parsed.reply is not None:
            return _known(self._parsed.reply)
        call = self._call
        if call is not None and call.may_share(wanted) and (request := self._translated(wanted)) is not None:
            self._is_shared = True
            return call.share(request, partial(self._ask, backend, wanted))
        return self._ask(backend, wanted)

    def _translated(self, wanted: Request) -> Request | None:
        """Return the request without what matters to its API only, None if it can only pass through."""
        if self._parsed.refusal is not None:
            return None
        try:
            return translate(self._turn.with_history(wanted), self._dialect)
        except AcytooError:
            return None

    async def _ask(self, backend: AsyncGeneratorProvider, wanted: Request) -> BackendReply:
        opened = await backend.open_reply(wanted, self._open_at)
        source, unsupported = self._opened[opened.source]
        self._passes_through = unsupported is None
        if self._passes_through:  # a reply that is translated has an id of its own
            self._turn.stored_by = id(source)
        headers = attempt_headers(opened.attempts)
        if unsupported is not None and (dropped := unsupported.dropped):
            headers = {**headers, "x-acytoo-dropped": _dropped_header(dropped)}
        return BackendReply(opened.batches, unsupported is None, headers)

    def _open_at(self, backend: AsyncGeneratorProvider, wanted: Request) -> Closable[Any]:
        """Begin the reply of one backend: a ReplyOpener."""
        dialect, received = self._dialect, self._turn.request
        api = backend.dialect.name if backend.dialect is not None else type(backend).__name__
        unsupported: Unsupported | None = None
        observation = self._call.observe(backend, wanted) if self._call is not None else None
        is_same_api = api == dialect.name and not dialect.is_legacy and is_host_of(backend.url, dialect.own_host)
        if (
            is_same_api
            and not self._is_shared
            and not self._parsed.is_foreign
            and backend.can_pass_through(wanted)
            and self._turn.has_history(id(backend))
        ):
            is_unchanged = wanted.model == self._parsed.request.model
            body = received.body if is_unchanged else dialect.for_model(received.body, wanted.model)
            writer = self.writer if wanted.stream else None
            reply: Closable[Any] = backend.pass_through(body, wanted, writer, observation)
        else:
            _require_decoded(self._parsed)
            unsupported = Unsupported(
                api,
                drop=self._config.drop_unsupported,
                hint=_HINT,
                drop_preferences=True,
                required=dialect.required_options,
                defaults=dialect.default_options,
            )
            translated = translate(self._turn.with_history(wanted), dialect, unsupported)
            reply = backend.answer(translated, unsupported=unsupported, observation=observation)
            if isinstance(reply, ReplyStream):
                reply.hides_secrets = True
            elif backend.dialect is None:
                reply = without_secrets(reply, backend.secrets)
        self._opened[reply] = backend, unsupported
        return reply

    # The parts of a streamed response.

    @property
    def encode(self) -> Callable[[Any], bytes]:
        """What returns the bytes of a batch of the backend's reply."""
        if self._passes_through:
            return self._turn.watch
        return self._encode_limited if self.writer.keeps_reply else self.writer.write

    def _encode_limited(self, batch: list[Item]) -> bytes:
        """Return the bytes of a batch. An API with a memory keeps its reply."""
        self._size.add(batch)
        return self.writer.write(self._turn.without_id(batch))

    def end(self) -> bytes:
        """Return the bytes that end the response."""
        return b"" if self._passes_through else self._turn.watch(self.writer.end())


async def count_tokens(
    request: IncomingRequest, turn: Turn, parsed: ParsedRequest, dialect: Dialect, config: ServerConfig
) -> int:
    """Return how many tokens a request has, counted by its backend. Raises AcytooError."""
    if request.call is not None:
        await request.call.admit(parsed, dialect, len(turn.request.body))
    backend, wanted = _select(parsed, config)
    _require_decoded(parsed)
    counts = backend.token_count_dialect or backend.dialect
    if counts is None or counts.name != dialect.name:
        return await backend.count_tokens(translate(turn.with_history(wanted), dialect))
    has_history = backend.dialect is counts and turn.has_history(id(backend))
    return await backend.count_tokens(wanted if has_history else turn.with_history(wanted))


def _select(parsed: ParsedRequest, config: ServerConfig) -> tuple[AsyncGeneratorProvider, Request]:
    """Return the backend that a request selects, and the request for that backend."""
    request = parsed.request
    backend, model = select_backend(config.backends, request.model)
    return backend, request if model == request.model else msgspec.structs.replace(request, model=model)


def _require_decoded(parsed: ParsedRequest) -> None:
    """Raise the RequestError of a request that could not be decoded: it can only be passed through."""
    if parsed.refusal is not None:
        raise parsed.refusal


async def _known(items: list[Item]) -> BackendReply:
    """Return a reply that no backend is asked for."""

    async def batches() -> AsyncGenerator[list[Item], None]:
        yield items

    return BackendReply(batches(), False, {})


def attempt_headers(attempts: Sequence[Attempt]) -> Mapping[str, str]:
    """Return the headers that name the target of a route, how many requests it took and, of several, each one."""
    if not attempts:
        return {}
    headers = _target_headers(attempts[-1].target)
    if len(attempts) == 1:
        return headers
    trace = ", ".join([_trace(attempt) for attempt in attempts[-_MAX_TRACED:]])
    return {**headers, "x-acytoo-attempts": str(len(attempts)), "x-acytoo-trace": trace}


@lru_cache(256)
def _target_headers(target: str) -> Mapping[str, str]:
    """Return the headers of a reply that took one attempt."""
    return {"x-acytoo-target": _printable(target), "x-acytoo-attempts": "1"}


def _trace(attempt: Attempt) -> str:
    """Return an attempt as a member of a list of RFC 9651."""
    target = _printable(attempt.target[:200]).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{target}";outcome={attempt.outcome};seconds={attempt.seconds:.3f}'


def _dropped_header(dropped: list[str]) -> str:
    """Return a list of what was dropped, as far as it fits. A client's own fields may have any names."""
    names = ", ".join(dropped)
    return _printable(names if len(names) <= _MAX_HEADER else names[: _MAX_HEADER - 3] + "...")


_MAX_TRACED = 8
"""Attempts in a header, the last ones."""
_MAX_HEADER = 4096
"""Characters of a header; many clients and proxies refuse a head of more than 8 KiB."""


def _printable(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join([c if c.isprintable() and c.isascii() else "?" for c in text])


class _Stream:
    """One streamed response.

    Its head is sent with the first batch, so that an error before it keeps its status. If the API has keep-alives and
    the backend is silent for too long, the head is sent earlier, with a keep-alive. Most refusals arrive before that.
    """

    def __init__(self, request: IncomingRequest, exchange: _Exchange, config: ServerConfig) -> None:
        self._request = request
        self._exchange = exchange
        self._writer = exchange.writer
        self._first_ping_after, self._ping_after = config.first_ping_after, config.ping_after
        # x-accel-buffering: nginx buffers a response unless this header turns it off.
        self._headers = {
            "content-type": exchange.writer.content_type, "cache-control": "no-cache", "x-accel-buffering": "no"
        }  # fmt: skip
        self._headers |= cors_headers(request, config)
        self._response = StreamedResponse(request, self._headers)
        self._encode: Callable[[Any], bytes] = exchange.writer.write
        self._answer: TranslatedAnswer | None = None  # until the client got a part of it
        self._loop = asyncio.get_running_loop()
        self._written_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, opening: Awaitable[BackendReply]) -> None:
        """Send what the backend sends, then the end. Raises AcytooError only while nothing has been sent."""
        response, exchange = self._response, self._exchange
        reply: BackendReply | None = None
        if self._writer.ping:
            self._schedule_check(min(self._first_ping_after, self._ping_after))
        try:
            reply = await opening
            self._headers |= reply.headers  # too late if a keep-alive has sent the head
            batches, self._encode, self._answer = reply.batches, exchange.encode, exchange.answer
            async for batch in batches:
                if not self._write(batch):
                    await response.drain()
                if isinstance(batches, BatchStream):
                    await batches.forward(self._write)
                    await response.drain()
            if self._answer is not None and (no_text := self._answer.error()) is not None:
                raise no_text
            await response.end(exchange.end())
        except AcytooError as error:
            if not response.started:
                raise
            # A reply that passes through may have sent its end already, unless the backend has reported the error:
            # then only a cut shows that something failed.
            may_have_ended = reply is not None and reply.passes_through and not is_reported(error)
            await self._fail(error, cut=may_have_ended or not self._writer.error_ends_reply)
        finally:
            response.close()
            if self._timer is not None:
                self._timer.cancel()
            if reply is not None:
                await reply.batches.aclose()

    def _write(self, batch: Any) -> bool:
        """Write a batch of the reply. Return whether the client keeps up."""
        if self._answer is not None and self._answer.add(batch):
            self._answer = None
        if data := self._encode(batch):
            self._written_at = self._loop.time()
            return self._response.write(data)
        return True

    async def _fail(self, error: AcytooError, *, cut: bool) -> None:
        """Report an error as the API does, then cut the body or end it.

        A cut is what clients notice that do not read the error. Those on Node.js discard what they have not read by
        then, so they get time for it.
        """
        if self._request.call is not None:
            self._request.call.error = error
        response, last = self._response, self._writer.fail(public_error(error, self._request))
        if self._writer.fails_alone:
            await response.let_read()
        if not cut:
            await response.end(last)
            return
        if last:
            await response.report(last)
        await response.abort(reported=bool(last))

    def _on_silence(self) -> None:
        """Send a keep-alive if nothing was written for long enough, and schedule the next check.

        One timer is moved along instead of being replaced at each write: a write only has to note its time.
        """
        left = self._written_at - self._loop.time()
        left += self._ping_after if self._response.started else self._first_ping_after
        if left <= 0:
            if not self._response.unsent:  # a client that does not read gets no pile of keep-alives
                self._response.flush(self._writer.ping)
            self._written_at = self._loop.time()
            left = self._ping_after
        self._schedule_check(left)

    def _schedule_check(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._on_silence)
