"""One HTTP request and its streamed response, within its limits; every fault as one of our errors."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import aiohttp

from acytoo.dialects.base import Head, Outgoing
from acytoo.errors import (
    AcytooError,
    ProtocolError,
    ProxyError,
    RedirectError,
    TimedOutError,
    TLSError,
    TruncatedError,
    UnreachableError,
    UsageError,
)
from acytoo.transport.options import Connection, Proxy, Timeout
from acytoo.transport.sessions import fresh_connection, session_for

MAX_ERROR_BODY = 64 * 1024
"""Bytes of an error's body that are read; the rest is left."""

_MAX_REDIRECTS = 5
_SAME_METHOD = frozenset({307, 308})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Exchange:
    """A response whose head has come. Closing it before its end closes the connection at once."""

    def __init__(self, response: aiohttp.ClientResponse, timeout: Timeout, started: float) -> None:
        self.head = Head(response.status, {k.lower(): v for k, v in response.headers.items()})
        self._response = response
        self._read = response.content.readany
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._deadline = None if timeout.total is None else started + timeout.total
        self._waiting_since: float | None = None
        self._limit = timeout.first_byte
        self._phase = "first_byte"
        self._expired: TimedOutError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inflate = _inflater(self.head)
        self._lost = _lost(response)
        if self._lost is not None:
            self._lost.add_done_callback(self._end_without_sign)
        self._watch()

    async def read(self) -> bytes:
        """What has arrived, at least a byte; b"" at the end.

        Raises TimedOutError, and TruncatedError where the body does not end as HTTP says it must.
        """
        while True:
            self._waiting_since = self._loop.time()
            try:
                chunk = await self._read()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise self._fault(error) from error
            finally:
                self._waiting_since = None
            if self._phase == "first_byte":
                self._phase, self._limit = "idle", self._timeout.idle
                self._rewatch()
            if not chunk and self._lost is not None and self._lost.done() and (cut := self._lost.exception()):
                raise self._fault(cut) from cut
            if self._inflate is None:
                return chunk
            plain: bytes = self._inflate(chunk)
            if plain or not chunk:
                return plain

    async def read_up_to(self, size: int) -> bytes:
        """The first bytes of the body, at most `size`; whatever goes wrong after that, they are returned."""
        body = bytearray()
        try:
            while len(body) < size and (chunk := await self.read()):
                body += chunk
        except AcytooError:
            pass
        return bytes(body[:size])

    def close(self) -> None:
        """Give the connection back where the body has ended, else close it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lost is not None:
            self._lost.remove_done_callback(self._end_without_sign)
        self._response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end_without_sign(self, lost: asyncio.Future[None]) -> None:
        """aiohttp closes a connection whose framing is broken without a word to whoever reads the body."""
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(lost.exception() or aiohttp.ClientPayloadError("its HTTP framing is broken"))

    def _fault(self, error: BaseException) -> AcytooError:
        if self._expired is not None:
            return self._expired
        return TruncatedError(f"the connection was lost before the reply was complete ({_words(error)})")

    def _rewatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._watch()

    def _watch(self) -> None:
        """One timer a stream, armed anew only when it runs out: a chunk costs no timer."""
        now = self._loop.time()
        due = [] if self._deadline is None else [self._deadline]
        if self._limit is not None:
            due.append((self._waiting_since or now) + self._limit)
        self._timer = self._loop.call_at(min(due), self._check) if due else None

    def _check(self) -> None:
        now = self._loop.time()
        since = self._waiting_since
        if self._deadline is not None and now >= self._deadline:
            self._expire(TimedOutError("total", self._timeout.total or 0))
        elif since is not None and self._limit is not None and now - since >= self._limit:
            self._expire(TimedOutError(self._phase, self._limit))
        else:
            self._watch()

    def _expire(self, error: TimedOutError) -> None:
        self._expired = error
        self._response.content.set_exception(aiohttp.ServerTimeoutError("expired"))
        self._response.close()


def _lost(response: aiohttp.ClientResponse) -> asyncio.Future[None] | None:
    """Done when the response's connection is lost, with how; None where the whole body is here already."""
    connection = response.connection
    return connection.protocol.closed if connection is not None and connection.protocol is not None else None


async def open_exchange(outgoing: Outgoing, connection: Connection) -> Exchange:
    """Send the request, return when the response's head is here, whatever its status.

    A redirect is followed only where it keeps method and origin; others raise RedirectError.
    Raises UnreachableError, TLSError, ProxyError, TimedOutError, ProtocolError, UsageError (a URL that is none).
    """
    started = asyncio.get_running_loop().time()
    url = outgoing.url
    for _ in range(_MAX_REDIRECTS + 1):
        response = await _send(outgoing, url, connection, started)
        if response.status not in _REDIRECTS or "location" not in response.headers:
            return Exchange(response, connection.timeout, started)
        target = urljoin(url, response.headers["location"])
        status = response.status
        response.close()
        _refuse_redirect(status, url, target)
        url = target
    raise RedirectError(f"{_origin(url)} redirects more than {_MAX_REDIRECTS} times", url)


async def _send(outgoing: Outgoing, url: str, connection: Connection, started: float) -> aiohttp.ClientResponse:
    """One request; once more, on a connection of its own, where the pooled one turned out to be closed."""
    try:
        return await _request(outgoing, url, connection, started, reuse=True)
    except _StaleConnectionError:
        return await _request(outgoing, url, connection, started, reuse=False)


class _StaleConnectionError(Exception):
    """A connection from the pool ended before the first byte of an answer."""


async def _request(
    outgoing: Outgoing, url: str, connection: Connection, started: float, *, reuse: bool
) -> aiohttp.ClientResponse:
    timeout = connection.timeout
    proxy = connection.proxy_for(url)
    session = connection.session or await session_for(proxy, reuse=reuse)
    fresh = fresh_connection.set(False)
    waits = [limit for limit in (timeout.first_byte, timeout.connect) if limit is not None]
    until_head = sum(waits) if timeout.first_byte is not None else None
    if timeout.total is not None:
        until_head = min(until_head or timeout.total, timeout.total)
    http_proxy = proxy if proxy is not None and not proxy.is_socks else None
    try:
        async with asyncio.timeout(until_head):
            return await session.request(
                outgoing.method,
                url,
                data=outgoing.body,
                headers={**outgoing.headers, "accept-encoding": "identity"},
                allow_redirects=False,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=timeout.connect),
                ssl=connection.tls(),
                proxy=http_proxy.url if http_proxy else None,
                proxy_auth=aiohttp.BasicAuth(http_proxy.user, http_proxy.password)
                if http_proxy and http_proxy.user
                else None,
            )
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        stale = isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionError, aiohttp.ClientOSError))
        if stale and reuse and not fresh_connection.get() and connection.session is None:
            raise _StaleConnectionError from error
        raise _open_fault(error, url, proxy, timeout, until_head) from error
    except Exception as error:
        if type(error).__module__.startswith(("aiohttp_socks", "python_socks")):
            raise _socks_fault(error, proxy, timeout) from error
        raise
    finally:
        fresh_connection.reset(fresh)


def _open_fault(
    error: Exception, url: str, proxy: Proxy | None, timeout: Timeout, until_head: float | None
) -> AcytooError:
    """What a failure before the response's head means to the caller."""
    host = _origin(url)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TimedOutError("connect", timeout.connect or 0)
    if isinstance(error, (TimeoutError, aiohttp.ServerTimeoutError)):
        if until_head is not None and until_head == timeout.total:
            return TimedOutError("total", until_head)
        return TimedOutError("first_byte", timeout.first_byte or until_head or 0)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        refused = ProxyError(f"the proxy {proxy.url if proxy else ''} refused: {error.status} {error.message}")
        refused.status = error.status
        return refused
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return ProxyError(f"the proxy {proxy.url if proxy else ''} cannot be reached ({_words(error.os_error)})")
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError, ssl.CertificateError)):
        return TLSError(f"no TLS connection to {host}: {_words(error)}")
    if isinstance(error, aiohttp.InvalidURL):
        return UsageError(f"{url!r} is not a URL")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UnreachableError(f"the host of {host} is not known ({_words(error.os_error)})")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UnreachableError(f"{host} cannot be reached ({_words(error.os_error)})")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return UnreachableError(f"{host} closed the connection before it gave an answer")
    if isinstance(error, aiohttp.ClientResponseError):
        return ProtocolError(f"{host} does not answer in HTTP: {_words(error)}")
    if isinstance(error, ValueError) and not isinstance(error, (aiohttp.ClientError, OSError)):
        return UsageError(f"the request cannot be sent: {_words(error)}")
    return UnreachableError(f"the connection to {host} was lost before an answer ({_words(error)})")


def _socks_fault(error: Exception, proxy: Proxy | None, timeout: Timeout) -> AcytooError:
    if "Timeout" in type(error).__name__:
        return TimedOutError("connect", timeout.connect or 0)
    return ProxyError(f"the proxy {proxy.url if proxy else ''} refused or cannot be reached ({_words(error)})")


def _refuse_redirect(status: int, url: str, target: str) -> None:
    place = target.partition("?")[0]
    if _origin(target) != _origin(url):
        raise RedirectError(
            f"{_origin(url)} redirects to another origin, where key and password are not sent: "
            f"if you trust it, use {place}",
            place,
        )
    if status not in _SAME_METHOD:
        raise RedirectError(f"{url} redirects with {status}, which would turn the POST into a GET of {place}", place)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _words(error: BaseException) -> str:
    """An exception in a few words; its class where it has none."""
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__


def _inflater(head: Head) -> Any:
    """Decompress chunk by chunk, where the server compresses although it was not asked to."""
    coding = head.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return None
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise ProtocolError(f"the reply is compressed ({coding}) although that was not asked for")
    return _Inflater()


class _Inflater:
    """gzip or deflate, whichever its header says. Raises TruncatedError where the compressed data is cut."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def __call__(self, chunk: bytes) -> bytes:
        if not chunk:
            if not self._inflate.eof:
                raise TruncatedError("the compressed reply was cut")
            return b""
        try:
            plain = self._inflate.decompress(chunk, _MAX_INFLATED)
        except zlib.error as error:
            raise ProtocolError(f"the compressed reply is damaged ({error})") from error
        if self._inflate.unconsumed_tail:
            raise ProtocolError("the compressed reply grows beyond all measure")
        return plain


_MAX_INFLATED = 16 * 1024 * 1024
