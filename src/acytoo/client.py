"""A client for one endpoint: a dialect over the transport.

The problem: a reply must be complete or an error, and the error must carry the text received before it and no secret.

The strategy: `ReplyStream` alternates between `Exchange.read` (bytes from the socket) and `Reader.feed` (bytes to
items), and yields one list of items for each read. The reader knows whether the reply is complete; the transport knows
whether the body is. Every AcytooError leaves through `redact_error`. A server has its reply forwarded: a function of it
gets each batch as it arrives, and its task is woken only at the end, for an error or when a client is behind.

The cost: one list for each read. Both streams are plain asynchronous iterators, because an async generator around them
costs as much as parsing a short reply (measured).
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

import msgspec

from acytoo.dialects.base import Dialect, Reader, Unsupported, Writer, not_this_api
from acytoo.dialects.json import UNDECODABLE
from acytoo.dialects.quotas import Quota
from acytoo.dialects.services import for_service, service_at, with_service
from acytoo.dialects.surrogates import replace_lone_escapes, replace_surrogates
from acytoo.errors import AcytooError, RateLimitError, ServerError, StatusError, TimedOutError, UsageError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead
from acytoo.observation import SAMPLE_SIZE, Observation, Received
from acytoo.passage import Passage, PassingDocument, PassingStream, RenderedDocument
from acytoo.redactor import Redactor, Searches
from acytoo.secret import Secret, mask_url, redact, secrets_of, shows_secret, user_header
from acytoo.settings import MAX_REPLY, resolve, scheme_of
from acytoo.transport.config import Connection
from acytoo.transport.exchange import Exchange, open_exchange
from acytoo.types import Closable, Item, Request, has_content

if TYPE_CHECKING:
    from acytoo.preparation import Preparation

T = TypeVar("T")

_MAX_ITEMS = 1024
"""The items of a reply that are kept before their texts are joined."""

_TRIM_AFTER = 1024 * 1024
"""The bytes of a reply after which the reader is asked to keep no more of it than the limit."""


class Client(msgspec.Struct, frozen=True, dict=True):
    """A dialect, an endpoint that uses it, and how to connect to that endpoint."""

    dialect: Dialect
    endpoint: Endpoint
    connection: Connection
    extra_headers: Mapping[str, Secret] = {}
    preparation: Preparation | None = None
    """What has to happen to the endpoint before a request, such as a login."""
    max_reply: int = MAX_REPLY
    """How many bytes of a reply are kept."""
    source: Client | None = None
    """The client that this one was prepared from by an earlier call, so that an expired login can be repeated."""

    def stream(self, request: Request, unsupported: Unsupported, observation: Observation | None = None) -> ReplyStream:
        """Return the reply to a request; it is sent by the first step of the iteration.

        Raises UsageError now if the dialect cannot express the request.
        """
        own = for_service(request, self.dialect.name, self.service)
        return ReplyStream(self, request, self.dialect.encode_request(own, self.endpoint, unsupported), observation)

    def pass_through(
        self, body: bytes, request: Request, writer: Writer | None, observation: Observation | None = None
    ) -> PassedReply:
        """Return the answer to a body that is already in this dialect: complete records, as they are received.

        What precedes the first content is held back, so that an error before it can be reported with a status; a
        document is one chunk. `writer` is None unless a stream was requested. If the server then answers with a
        document, `writer` renders it as a stream. The reply is read along, so its end means a complete reply, as for
        `stream`. An error that a record reports is raised in its place. No record shows a secret.
        """
        with_usage = None
        if observation is not None and observation.asks_for_usage and request.stream:
            with_usage = self.dialect.with_usage(body)
        http_request = self.dialect.http_request(request, self.endpoint, with_usage or body)
        return PassedReply(self, request, http_request, writer, observation, with_usage is not None)

    async def count_tokens(self, request: Request) -> int:
        """Return the number of tokens that the endpoint counts in a request."""
        request = for_service(request, self.dialect.name, self.service)
        read = self.dialect.read_count
        return await self._fetched(lambda client: client.dialect.encode_count_request(request, client.endpoint), read)

    async def list_models(self) -> list[str]:
        """Return the names of the endpoint's models."""

        def read(body: bytes) -> list[str]:
            return [name for name in self.dialect.read_models(replace_lone_escapes(body)) if name]

        return await self._fetched(lambda client: client.dialect.encode_models_request(client.endpoint), read)

    async def _fetched(self, request_for: Callable[[Client], HTTPRequest], read: Callable[[bytes], T]) -> T:
        """Return what a response says."""
        body = await self.document(request_for)
        try:
            return read(body)
        except UNDECODABLE as error:
            failure = not_this_api(self.dialect.name, body, str(error))
            failure.__cause__ = error
            del body  # see `redact_error`
            raise redact_error(failure, b"", self.secrets) from failure.__cause__

    async def document(self, request_for: Callable[[Client], HTTPRequest]) -> bytes:
        """Return the response to a request that is not a chat, if it is a document. Raises as `download`."""
        try:
            async with self._response(request_for) as exchange:
                return await exchange.read_all()
        except AcytooError as error:  # the context manager has restored the traceback
            raise redact_error(error, b"", self.secrets) from error.__cause__

    async def download(self, request_for: Callable[[Client], HTTPRequest]) -> AsyncGenerator[bytes, None]:
        """Yield the response to a request that is not a chat, chunk by chunk. Raises StatusError for an error status.

        `request_for` returns the request for a client's address and credentials.
        """
        try:
            async with self._response(request_for) as exchange:
                while chunk := await exchange.read():
                    exchange.deadlines.content_received()
                    yield chunk
        except AcytooError as error:  # the context manager has restored the traceback
            chunk = b""
            raise redact_error(error, b"", self.secrets) from error.__cause__

    @asynccontextmanager
    async def _response(self, request_for: Callable[[Client], HTTPRequest]) -> AsyncGenerator[Exchange, None]:
        client = self
        try:
            client, exchange = await client.open(request_for(client), request_for)
            with exchange:
                if not 200 <= exchange.head.status < 300:
                    raise await _status_error(exchange, client.dialect)
                yield exchange
        except AcytooError as error:
            raise redact_error(error, b"", client.secrets) from error.__cause__

    @cached_property
    def service(self) -> str:
        """The `source` of what only this endpoint knows of its replies."""
        return service_at(self.dialect.name, self.endpoint.url)

    @cached_property
    def needs_resolving(self) -> bool:
        """Whether the endpoint must be prepared, or its URL has a scheme of ours, such as `embedded://`."""
        return self.preparation is not None or scheme_of(self.endpoint.url) is not None

    async def resolved(self) -> Client:
        """Return a client for the prepared endpoint, or for the one behind a URL scheme of ours, which may be started.

        The latter is on this machine, so no proxy is used for it.
        """
        if self.preparation is not None:
            endpoint, is_from_before = await self.preparation.get(self.endpoint, self.fetch)
            headers = {name: Secret(value) for name, value in endpoint.headers.items()} | dict(self.extra_headers)
            return Client(self.dialect, endpoint, self.connection, headers, source=self if is_from_before else None)
        endpoint = await resolve(self.endpoint)
        direct = msgspec.structs.replace(self.connection, proxy=None, trust_env=False)
        return Client(self.dialect, endpoint, direct, self.extra_headers)

    async def open(
        self,
        http_request: HTTPRequest,
        request_for: Callable[[Client], HTTPRequest],
        observation: Observation | None = None,
    ) -> tuple[Client, Exchange]:
        """Send a request once its endpoint is resolved. Return the client that sent it, and the open response.

        `request_for` returns the same request for another client's address and credentials. If the server answers 401
        to the preparation of an earlier call, the endpoint is prepared and the request sent once more.
        """
        client = self
        try:
            if client.needs_resolving:
                client = await client.resolved()
                http_request = request_for(client)
            if observation is not None:
                for name in observation.names:
                    http_request.headers.pop(name, None)
                http_request.own_fields = observation.fields
                if http_request.content_within == math.inf:
                    await observation.begin()
                else:
                    started = time.monotonic()
                    await observation.begin(http_request.content_within)
                    http_request.content_within -= time.monotonic() - started
                observation.has_begun = True
            try:
                exchange = await client.send(http_request)
            finally:
                if observation is not None:
                    observation.is_sent = http_request.is_sent
            if observation is not None:
                observation.status = exchange.head.status
            if exchange.head.status != 401 or client.source is None or client.source.preparation is None:
                return client, exchange
            exchange.close()
            client.source.preparation.forget(client.source.endpoint, client.endpoint)
            client = await client.source.resolved()
            return client, await client.send(request_for(client))
        except AcytooError as error:  # the caller knows only the secrets of the client before this
            raise redact_error(error, b"", client.secrets) from error.__cause__

    async def fetch(self, http_request: HTTPRequest) -> tuple[ResponseHead, bytes]:
        """Send a request and return the complete response. Raises StatusError for an error status."""
        with await self.send(http_request) as exchange:
            if not 200 <= exchange.head.status < 300:
                raise await _status_error(exchange, self.dialect)
            return exchange.head, await exchange.read_all()

    def send(self, http_request: HTTPRequest) -> Coroutine[Any, Any, Exchange]:
        """Send a request and return once the head of the response has been received, whatever its status."""
        if self._has_more_secrets:
            _add_secrets(http_request, self.endpoint, self.extra_headers)
        return open_exchange(http_request, self.connection)

    @cached_property
    def _has_more_secrets(self) -> bool:
        """Whether requests have secrets beside the key and the password."""
        return bool(self.extra_headers or self.endpoint.user or self.endpoint.query)

    @property
    def secrets(self) -> list[Secret]:
        """Everything that no error may show."""
        return all_secrets(self.endpoint, self.connection, self.extra_headers)

    def redactor(self) -> Redactor:
        """Return what replaces the endpoint's secrets in a reply to others."""
        return Redactor(self._searches)

    @cached_property
    def _searches(self) -> Searches:
        return Searches(_secrets_at(self.endpoint, self.extra_headers))

    def __repr__(self) -> str:
        return f"Client({self.dialect.name!r}, {mask_url(self.endpoint.url)!r})"


def _add_secrets(http_request: HTTPRequest, endpoint: Endpoint, extra_headers: Mapping[str, Secret]) -> None:
    """Add the headers of every request, and to one of the endpoint itself the secrets that were in its URL."""
    for name, value in extra_headers.items():
        http_request.headers[name] = value.reveal()
    if (endpoint.user or endpoint.query) and _is_below(http_request.url, endpoint.url.rstrip("/")):
        http_request.query = endpoint.query
        if endpoint.user:
            http_request.headers["authorization"] = user_header(endpoint.user)


def _is_below(url: str, base: str) -> bool:
    """Return whether a URL is one of the endpoint, and not of a host or a path whose name begins with its own."""
    return url.startswith(base) and url[len(base) : len(base) + 1] in ("", "/", "?")


def _secrets_at(endpoint: Endpoint, extra_headers: Mapping[str, Secret]) -> list[Secret]:
    secrets = [endpoint.key, endpoint.password]
    if extra_headers or endpoint.user or endpoint.query:
        secrets += secrets_of(endpoint.user, endpoint.query, extra_headers)
    return secrets


def all_secrets(endpoint: Endpoint, connection: Connection, extra_headers: Mapping[str, Secret]) -> list[Secret]:
    """Return the secrets of an endpoint and of the proxy to it."""
    secrets = _secrets_at(endpoint, extra_headers)
    with suppress(UsageError):  # the proxy in the environment may be invalid
        proxy = connection.proxy_for(endpoint.url)
        secrets += proxy.secrets if proxy is not None else []
    return secrets


OnEnd: TypeAlias = Callable[[str, AcytooError | None], None]
"""Called at the end of a reply with its outcome, as an Observation has it, and its error."""


class Stream(Generic[T]):
    """A reply as batches, which whoever has read its beginning can hand over to others.

    The end of the iteration means that the reply is complete. Whoever iterates must call `aclose`: unlike an async
    generator, a dropped stream is not closed by the event loop.
    """

    __slots__ = ("_held", "_on_end")

    _held: T | None
    """What the next step returns."""
    _on_end: OnEnd | None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Stop reading."""
        raise NotImplementedError

    def hold(self, first: T | None) -> None:
        """Let the next step return `first` again, which has been read."""
        self._held = first

    def accept(self, on_end: OnEnd) -> None:
        """Note that the reply has begun and is kept. Call `on_end` at its end, which may be now."""
        self._on_end = on_end if self._on_end is None else _both(self._on_end, on_end)


def _both(first: OnEnd, second: OnEnd) -> OnEnd:
    def on_end(outcome: str, error: AcytooError | None) -> None:
        first(outcome, error)
        second(outcome, error)

    return on_end


def is_late(error: BaseException) -> bool:
    """Return whether a reply was given up because it did not begin in time: see `BatchStream.begin_within`."""
    return isinstance(error, TimedOutError) and error.phase == "deadline"


class BatchStream(Stream[T]):
    """A reply as batches, one for each read of the socket."""

    __slots__ = ("_client", "_error", "_exchange", "_http_request", "_is_flushed", "_observation", "_reader",
                 "_request")  # fmt: skip

    def __init__(
        self, client: Client, request: Request, http_request: HTTPRequest, observation: Observation | None
    ) -> None:
        self._client = client
        self._request: Request | None = request
        self._http_request: HTTPRequest | None = http_request
        self._observation = observation
        self._exchange: Exchange | None = None
        self._reader: Reader | None = None
        self._is_flushed = False
        self._error: AcytooError | None = None
        """What the next step raises."""
        self._held = None
        self._on_end = None

    def begin_within(self, seconds: float) -> bool:
        """Fail before the first step returns (TimedOutError, phase "deadline") unless `accept` is called in that time.

        Return False if this cannot be promised, because an endpoint has to be prepared first.
        """
        http_request = self._http_request
        if http_request is None or self._client.needs_resolving:
            return False
        http_request.content_within = seconds
        return True

    def accept(self, on_end: OnEnd) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.deadlines.content_due = math.inf
        elif self._error is None:
            on_end("complete", None)
            return
        self._on_end = on_end if self._on_end is None else _both(self._on_end, on_end)

    async def forward(self, deliver: Callable[[T], bool]) -> None:
        """Call `deliver` with the batches that arrive, in the same step of the event loop, until it returns False.

        Return at the latest when only a step of the iteration shows what comes next: at the end and for an error.
        Raises what `deliver` raises.
        """
        exchange = self._exchange
        if exchange is None or self._error is not None or self._held is not None:
            return
        if self._reader is not None:
            self._reader = self._reader.current

        def consume(chunk: bytes) -> bool:
            try:
                batch = self._read(chunk)
            except AcytooError as error:
                self._error = error
                return False
            return (not batch or deliver(batch)) and self._error is None

        await exchange.forward(consume)

    def _read(self, chunk: bytes) -> T:
        """Return the batch that a chunk completes, which may be empty, and keep an error that follows it.

        Raises AcytooError if no batch precedes it.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Stop reading. The connection is closed at once unless the reply has ended."""
        self._held = None
        self._end()

    async def _begin(self) -> Exchange:
        """Send the request, and create the reader of a successful response. Raises StatusError for any other."""
        request, http_request = self._request, self._http_request
        self._request = self._http_request = None
        assert request is not None
        assert http_request is not None
        request_for = _request_for(request, http_request)
        self._client, exchange = await self._client.open(http_request, request_for, self._observation)
        self._exchange = exchange
        del request, http_request, request_for  # a long history need not stay in memory while the reply is read
        dialect = self._client.dialect
        if not 200 <= exchange.head.status < 300:
            raise await _status_error(exchange, dialect)
        self._reader = dialect.reader(exchange.head)
        if self._reader is None:
            raise _forgotten(dialect, "reader")
        return exchange

    def _check_sent(self) -> None:
        """Raise TypeError if the reply is at its end because its dialect has returned no request to send."""
        if self._request is not None:
            self._end()
            raise _forgotten(self._client.dialect, "encode_request or http_request")

    def _fail(self, error: AcytooError) -> None:
        """End with an error. For whoever observes it, a reply that did not begin in time has been cancelled."""
        if is_late(error):
            self._end()
        else:
            self._end("error", error)

    def _end(self, outcome: str = "cancelled", error: AcytooError | None = None) -> None:
        self._request = self._http_request = None
        if self._observation is not None:
            self._observation.end(outcome, self._summary(outcome), error)
            self._observation = None
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None
        on_end = self._on_end
        if on_end is not None:
            self._on_end = None
            on_end(outcome, error)

    def _summary(self, outcome: str) -> Received:
        """Return what has been received at the end, for the observation."""
        raise NotImplementedError


class ReplyStream(BatchStream[list[Item]]):
    """The reply to a request as non-empty batches of items.

    An AcytooError that it raises carries the text so far and no secret.
    """

    __slots__ = ("_caller", "_items", "_received", "_redactor", "_room", "_text", "hides_secrets")

    def __init__(
        self, client: Client, request: Request, http_request: HTTPRequest, observation: Observation | None = None
    ) -> None:
        super().__init__(client, request, http_request, observation)
        self._caller = client
        """The client before its endpoint was resolved: the next turn is encoded for that one."""
        self._items: list[Item] = []  # of which the texts are not in `_text`
        self._text = bytearray()
        self._room = client.max_reply  # for more of the text
        self._received = 0  # bytes since the reader's memory was trimmed
        self.hides_secrets = False
        """Whether to replace the endpoint's long secrets, because the reply goes to others than their owner."""
        self._redactor: Redactor | None = None

    async def __anext__(self) -> list[Item]:
        if (held := self._held) is not None:
            self._held = None
            return held
        batch: list[Item] = []
        chunk = b""
        try:
            if self._http_request is not None:
                await self._begin()
                if self.hides_secrets:
                    self._redactor = self._client.redactor()
            exchange, reader = self._exchange, self._reader
            while not batch:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                if exchange is None or reader is None:
                    self._check_sent()
                    break
                if self._is_flushed:
                    reader.close()
                    break
                if chunk := await exchange.read():
                    batch = self._read(chunk)
                else:
                    self._is_flushed = True
                    batch = reader.flush()
                    if batch is None:
                        raise _forgotten(reader, "flush")
                    self._error = reader.pending_error
                    if self._redactor is not None:
                        batch = self._redactor.redact(batch) + self._redactor.flush()
                    if batch:
                        batch = self._noted(batch)
        except AcytooError as error:
            chunk = b""  # see `redact_error`
            redact_error(error, self._join_texts(), self._client.secrets)
            self._fail(error)
            # The items that are still held back come before the error, which the next step raises.
            batch = self._reader.flush_truncated() if self._reader is not None and not is_late(error) else []
            if self._redactor is not None:
                batch = self._redactor.redact(batch) + self._redactor.flush()
            self._reader = None
            if not batch:
                raise redact_error(error, self._join_texts(), self._client.secrets) from error.__cause__
            batch = self._noted(batch)
            self._error = error
        except BaseException:
            self._end()
            raise
        if not batch:
            self._end("complete")
            raise StopAsyncIteration
        return batch

    def _read(self, chunk: bytes) -> list[Item]:
        exchange, reader = self._exchange, self._reader
        assert exchange is not None
        assert reader is not None
        batch = reader.feed(chunk)
        self._error = reader.pending_error
        self._received += len(chunk)
        if self._received > _TRIM_AFTER:
            self._received = 0
            reader.trim(self._caller.max_reply)
            self._join_texts()
        if reader.received_content:
            exchange.deadlines.content_received()
        if batch and self._redactor is not None:
            batch = self._redactor.redact(batch)
        if batch:
            return self._noted(batch)
        if batch is None:
            raise _forgotten(reader, "feed")
        return batch

    def _noted(self, batch: list[Item]) -> list[Item]:
        """Keep the text of a batch, which an error may need later. Return the batch as the caller gets it."""
        self._items += batch
        if len(self._items) > _MAX_ITEMS:
            self._join_texts()
        if self._observation is not None and self._observation.first_content_at is None and has_content(batch):
            self._observation.note_content()
        return with_service(batch, self._caller.dialect.name, self._caller.service)

    def _join_texts(self) -> bytearray:
        """Join the texts that were kept. Return the text so far, up to the client's `max_reply`.

        Items with a text take several times its memory, but joining a few of them takes longer than reading them.
        """
        texts = [item for item in self._items if type(item) is str]
        self._items.clear()
        text = _in_utf8(texts)
        if len(text) <= self._room:
            self._text += text
        elif self._room >= 0:
            room = self._room
            for piece in texts:
                encoded = _in_utf8([piece])
                if (room := room - len(encoded)) < 0:
                    break
                self._text += encoded
        self._room -= len(text)
        return self._text

    @property
    def text(self) -> str:
        """The text so far, up to the client's `max_reply`."""
        return self._join_texts().decode("utf-8", "surrogatepass")

    @property
    def quotas(self) -> list[Quota]:
        """What the response reports of the caller's limits, while the reply is being read."""
        exchange = self._exchange
        return self._client.dialect.read_quotas(exchange.head, time.time()) if exchange is not None else []

    def _summary(self, outcome: str) -> Received:
        received = self._reader.received() if self._reader is not None else Received()
        self._join_texts()
        received.size = max(received.size, self._client.max_reply - self._room)  # not all readers keep the text
        return received


class PassedReply(BatchStream[bytes]):
    """The answer to a body that is passed through, as complete records or as one document."""

    __slots__ = ("_head", "_hides_usage", "_passage", "_room", "_sample", "_total", "_trim_at", "_writer")

    def __init__(
        self,
        client: Client,
        request: Request,
        http_request: HTTPRequest,
        writer: Writer | None,
        observation: Observation | None,
        hides_usage: bool,
    ) -> None:
        super().__init__(client, request, http_request, observation)
        self._writer = writer
        self._hides_usage = hides_usage  # which was requested for the observation only
        self._passage: Passage | None = None
        self._head = ResponseHead(0, {})
        self._total = 0  # bytes of the response
        self._trim_at = _TRIM_AFTER
        self._sample: list[bytes] = []
        self._room = SAMPLE_SIZE if observation is not None else 0  # for more of the sample

    async def __anext__(self) -> bytes:
        if (held := self._held) is not None:
            self._held = None
            return held
        data = chunk = b""
        try:
            if self._http_request is not None:
                self._passage = self._passage_of(await self._begin())
            exchange, passage, reader = self._exchange, self._passage, self._reader
            while not data and exchange is not None and passage is not None and reader is not None:
                if self._error is not None:
                    raise self._error
                if self._is_flushed:
                    reader.close()
                    data = passage.end()
                    if self._hides_usage:
                        data = self._client.dialect.without_usage(data)
                    self._end("complete")
                    break
                if chunk := await exchange.read():
                    data = self._read(chunk)
                    if not passage.reader.received_content:
                        exchange.deadlines.pause_waiting()
                else:
                    self._is_flushed = True
                    data = passage.flush()
        except AcytooError as error:
            chunk = b""
            passage = self._passage
            redact_error(error, passage.text if passage is not None else b"", self._client.secrets)
            self._fail(error)
            self._error = self._passage = passage = None  # its traceback holds this frame, which holds them
            raise error from error.__cause__
        except BaseException:
            self._end()
            raise
        if not data:
            self._check_sent()
            raise StopAsyncIteration
        return data

    def _read(self, chunk: bytes) -> bytes:
        exchange, passage = self._exchange, self._passage
        assert exchange is not None
        assert passage is not None
        data = passage.read(chunk)
        self._error = passage.failure
        self._total += len(chunk)
        if self._total > self._trim_at:
            self._trim_at = self._total + _TRIM_AFTER
            passage.reader.trim(self._client.max_reply)
        if self._room > 0:
            self._sample.append(chunk)
            self._room -= len(chunk)
        if passage.reader.received_content:
            exchange.deadlines.content_received()
        observation = self._observation
        if data and observation is not None:
            if self._hides_usage and not passage.reader.is_piece:
                data = self._client.dialect.without_usage(data)
            if data and observation.first_content_at is None:
                observation.note_content()
        return data

    def _passage_of(self, exchange: Exchange) -> Passage:
        client, writer, reader = self._client, self._writer, self._reader
        assert reader is not None
        self._head = exchange.head
        if writer is None:
            return PassingDocument(reader, client.dialect.framing, client.redactor())
        if exchange.head.content_type != writer.content_type.partition(";")[0]:
            return RenderedDocument(reader, client.redactor(), writer)
        head = exchange.head
        return PassingStream(
            reader,
            writer.framing,
            client.redactor(),
            lambda: client.secrets,
            lambda: client.dialect.reader(head),
            client.dialect.last_record,
        )

    def _summary(self, outcome: str) -> Received:
        received = self._reader.received() if self._reader is not None else Received()
        if outcome != "complete" or received.usage is None or received.is_partial:
            size = _estimate_size(self._client.dialect, self._head, self._sample, self._total)
            received.size = max(received.size, size)
        return received


def _estimate_size(dialect: Dialect, head: ResponseHead, sample: list[bytes], total: int) -> int:
    """Return about how much text a stream has of which only the first bytes are kept."""
    beginning = b"".join(sample)
    if not beginning:
        return 0
    reader = dialect.reader(head)
    with suppress(AcytooError):
        reader.feed(beginning)
        reader.flush()
    return reader.received().size * total // len(beginning)


def _request_for(request: Request, http_request: HTTPRequest) -> Callable[[Client], HTTPRequest]:
    """Return what creates the request with the same body for another client's address and credentials."""
    return lambda client: client.dialect.http_request(request, client.endpoint, http_request.body)


async def _status_error(exchange: Exchange, dialect: Dialect) -> StatusError:
    """Return the error in a response whose status is one."""
    body, head = await exchange.read_error(), exchange.head
    wait = retry_after(head)
    error = dialect.read_error(head.status, body, wait)
    is_final = wait is None and head.headers.get("x-should-retry") == "false"
    if is_final and isinstance(error, (RateLimitError, ServerError)):
        error.retryable = False  # the SDKs of OpenAI and Anthropic obey this header
    return error


def _forgotten(codec: Dialect | Reader, method: str) -> TypeError:
    """Return the error for a method of somebody's dialect without `return`: the reply would end as if complete."""
    return TypeError(f"{type(codec).__name__}: {method} returned None")


def _in_utf8(texts: list[str]) -> bytes:
    """Return texts as bytes, which an error may need later; separate strings take three times the memory.

    A lone surrogate survives ("surrogatepass").
    """
    return "".join(texts).encode("utf-8", "surrogatepass")


def redact_error(error: AcytooError, text: bytes | bytearray, secrets: list[Secret]) -> AcytooError:
    """Return the error with the text received before it, every secret redacted, and every string printable.

    Errors are raised in the dialects and the transport, and neither knows the secrets; a server may echo one in any
    field. So this is done once, where errors leave, for all their strings. A cause that shows a secret is dropped:
    it belongs to another library and cannot be rewritten. So are the frames of the traceback so far, whose variables
    hold the response as it was received, which error reporters show.
    """
    for name, value in vars(error).items():
        if isinstance(value, str):
            setattr(error, name, replace_surrogates(redact(value, secrets)))
    error.args = tuple(replace_surrogates(redact(arg, secrets)) if isinstance(arg, str) else arg for arg in error.args)
    error.text = text.decode("utf-8", "surrogatepass")
    if _shows_secret(error.__cause__, secrets) or _shows_secret(error.__context__, secrets):
        error.__cause__ = error.__context__ = None
    if any(secrets):
        _drop_tracebacks(error)
    return error


def _drop_tracebacks(error: AcytooError) -> None:
    """Drop the frames of an error and of those that led to it."""
    pending: list[BaseException | None] = [error]
    seen: set[BaseException] = set()
    while pending:
        current = pending.pop()
        if current is not None and current not in seen:
            seen.add(current)
            current.__traceback__ = None
            pending += current.__cause__, current.__context__


async def without_secrets(batches: Closable[list[Item]], secrets: list[Secret]) -> AsyncGenerator[list[Item], None]:
    """Yield a reply that no ReplyStream reads to others than the owner of the secrets, and redact its errors."""
    redactor = Redactor(Searches(secrets))
    try:
        async for batch in batches:
            if shown := redactor.redact(batch):
                yield shown
        if rest := redactor.flush():
            yield rest
    except AcytooError as error:
        if rest := redactor.flush():
            yield rest
        raise redact_error(error, _in_utf8([error.text]), secrets) from error.__cause__
    finally:
        await batches.aclose()


def _shows_secret(error: BaseException | None, secrets: list[Secret]) -> bool:
    """Return whether an error, or one that led to it, shows a secret."""
    if error is None:
        return False
    shown = f"{error} {error!r} {vars(error)!r}"
    return (
        shows_secret(shown, secrets)
        or _shows_secret(error.__cause__, secrets)
        or _shows_secret(error.__context__, secrets)
    )


def retry_after(head: ResponseHead) -> float | None:
    """Return the seconds to wait from `retry-after-ms` or `retry-after` (seconds or a date), or None if absent."""
    try:
        seconds = _parse_retry_after(head)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if seconds is None or not math.isfinite(seconds) else max(0.0, seconds)


def _parse_retry_after(head: ResponseHead) -> float | None:
    if "retry-after-ms" in head.headers:
        return float(head.headers["retry-after-ms"]) / 1000
    value = head.headers.get("retry-after")
    if value is None:
        return None
    if value.strip().replace(".", "", 1).isdigit():
        return float(value)
    # A date is rare, and these modules are slow to import.
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
