"""One request to one endpoint: its reply as batches of items, whole or an error."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Self

import msgspec

from acytoo.dialects.base import Dialect, Reader, Writer, not_this_api
from acytoo.dialects.json import UNDECODABLE
from acytoo.dialects.surrogates import replace_surrogates
from acytoo.errors import AcytooError, StatusError, UsageError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead
from acytoo.secret import Secret, masked_url, redact, secrets_of
from acytoo.transport.config import Connection
from acytoo.transport.exchange import MAX_ERROR_BODY, Exchange, open_exchange
from acytoo.types import Item


class Target(msgspec.Struct, frozen=True):
    """Where to and how: the dialect that reads the answer, the endpoint, the connection."""

    dialect: Dialect
    endpoint: Endpoint
    connection: Connection
    extra_headers: Mapping[str, str] = {}

    @property
    def secrets(self) -> list[Secret]:
        """What no error may show."""
        found = [self.endpoint.key, self.endpoint.password, *secrets_of(self.endpoint.url, self.extra_headers)]
        with suppress(UsageError):  # the environment's proxy may be none
            proxy = self.connection.proxy_for(self.endpoint.url)
            found += proxy.secrets if proxy is not None else []
        return found

    def __repr__(self) -> str:
        return f"Target({self.dialect.name!r}, {masked_url(self.endpoint.url)!r})"


class ReplyStream:
    """The reply to a request in batches, what each read of the socket brought, none empty; their end is its end.

    Any fault raises an AcytooError that carries the text so far and no secret. It is no async generator, which would
    cost as much as reading a short reply does: whoever iterates over it closes it.
    """

    __slots__ = ("_exchange", "_failure", "_flushed", "_outgoing", "_reader", "_said", "_target")

    def __init__(self, outgoing: HTTPRequest, target: Target) -> None:
        self._outgoing: HTTPRequest | None = outgoing
        self._target = target
        self._exchange: Exchange | None = None
        self._reader: Reader | None = None
        self._flushed = False
        self._failure: AcytooError | None = None
        self._said = bytearray()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Item]:
        batch: list[Item] = []
        try:
            if self._outgoing is not None:
                await self._begin()
            elif self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            exchange, reader = self._exchange, self._reader
            while not batch and exchange is not None and reader is not None:
                if reader.pending_error is not None:
                    raise reader.pending_error
                if self._flushed:
                    reader.close()
                    break
                if chunk := await exchange.read():
                    batch = reader.feed(chunk)
                else:
                    self._flushed = True
                    batch = reader.flush()
        except AcytooError as error:
            self._end()
            batch = self._reader.flush_truncated() if self._reader is not None else []
            self._reader = None
            if not batch:
                raise finished(error, self._said, self._target.secrets) from error.__cause__
            self._failure = error
        except BaseException:
            self._end()
            raise
        if not batch:
            self._end()
            raise StopAsyncIteration
        self._said += text_of(batch)
        return batch

    async def aclose(self) -> None:
        """Read no more: a connection on which the reply has not ended is closed at once."""
        self._end()

    async def _begin(self) -> None:
        outgoing, self._outgoing = self._outgoing, None
        assert outgoing is not None
        self._exchange = await open_exchange(outgoing, self._target.connection)
        del outgoing  # for as long as the reply takes, nobody needs what asked for it
        self._reader = await reader_of(self._exchange, self._target.dialect)

    def _end(self) -> None:
        self._outgoing = None
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None


async def pass_through(outgoing: HTTPRequest, target: Target, writer: Writer | None) -> AsyncGenerator[bytes, None]:
    """Yield the body's chunks as they come, reading along: the end is a complete reply, as for `ReplyStream`.

    An error with `told` set has been yielded already, in the API's own way. Where a stream was asked for (there is
    a `writer`) and the server answers with one document, the stream is rendered.
    """
    said = bytearray()
    try:
        exchange = await open_exchange(outgoing, target.connection)
        del outgoing
        with exchange:
            reader = await reader_of(exchange, target.dialect)
            renders = writer is not None and exchange.head.content_type != writer.content_type.partition(";")[0]
            while chunk := await exchange.read():
                batch: list[Item] = []
                try:
                    if renders:
                        batch = reader.feed(chunk)
                    else:
                        reader.scan(chunk)
                    fault = reader.pending_error
                except AcytooError as error:
                    fault = error
                said += text_of(batch)
                if not renders:
                    yield chunk
                elif writer is not None and batch:
                    yield writer.write(batch)
                if fault is not None:
                    fault.told = not renders and isinstance(fault, StatusError)
                    try:
                        raise fault
                    finally:
                        fault = None  # an error must not be held by a frame that it holds
            batch = reader.flush()
            reader.close()
            if renders and writer is not None:
                yield writer.write(batch) + writer.end()
    except AcytooError as error:
        raise finished(error, said, target.secrets) from error.__cause__


async def counted(outgoing: HTTPRequest, target: Target, dialect: Dialect) -> AsyncGenerator[int, None]:
    """Yield the number of tokens that the endpoint counts."""
    try:
        with await open_exchange(outgoing, target.connection) as exchange:
            if not 200 <= exchange.head.status < 300:
                raise await refusal(exchange, dialect)
            body = await exchange.read_up_to(MAX_ERROR_BODY)
            try:
                tokens = dialect.read_count(body)
            except UNDECODABLE as error:
                raise not_this_api(dialect.name, body, str(error)) from error
            yield tokens
    except AcytooError as error:
        raise finished(error, b"", target.secrets) from error.__cause__


async def reader_of(exchange: Exchange, dialect: Dialect) -> Reader:
    """The reader for a successful response. Raises the StatusError that any other tells."""
    head = exchange.head
    if 200 <= head.status < 300:
        return dialect.reader(head)
    raise await refusal(exchange, dialect)


async def refusal(exchange: Exchange, dialect: Dialect) -> StatusError:
    """The error that a response tells."""
    body = await exchange.read_up_to(MAX_ERROR_BODY)
    return dialect.read_error(exchange.head.status, body, retry_after(exchange.head))


def text_of(batch: list[Item]) -> bytes:
    """The text of a batch: all that is kept of it, for an error; a text by itself would take three times the room."""
    return "".join([item for item in batch if type(item) is str]).encode("utf-8", "surrogatepass")


def finished(error: AcytooError, said: bytes | bytearray, secrets: list[Secret]) -> AcytooError:
    """The error with the text that came before it, every secret taken out of its words, and they can be printed."""
    for name, value in vars(error).items():
        if isinstance(value, str):
            setattr(error, name, replace_surrogates(redact(value, secrets)))
    error.args = tuple(replace_surrogates(redact(arg, secrets)) if isinstance(arg, str) else arg for arg in error.args)
    error.text = said.decode("utf-8", "surrogatepass")
    if _tells(error.__cause__, secrets) or _tells(error.__context__, secrets):
        error.__cause__ = error.__context__ = None
    return error


def _tells(error: BaseException | None, secrets: list[Secret]) -> bool:
    """Whether an error, or one that led to it, would show a secret."""
    if error is None:
        return False
    words = f"{error} {error!r}"
    return redact(words, secrets) != words or _tells(error.__cause__, secrets) or _tells(error.__context__, secrets)


def retry_after(head: ResponseHead) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds or a date), None where not told."""
    try:
        seconds = _told_to_wait(head)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if seconds is None or not math.isfinite(seconds) else max(0.0, seconds)


def _told_to_wait(head: ResponseHead) -> float | None:
    if "retry-after-ms" in head.headers:
        return float(head.headers["retry-after-ms"]) / 1000
    value = head.headers.get("retry-after")
    if value is None:
        return None
    if value.strip().replace(".", "", 1).isdigit():
        return float(value)
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
