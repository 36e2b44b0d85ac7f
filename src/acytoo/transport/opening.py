"""One HTTP request until the head of its response: limits, proxies, redirects, and a second try where it is safe."""

from __future__ import annotations

import asyncio
import base64
import functools
import traceback
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from acytoo.dialects.base import Outgoing
from acytoo.errors import RedirectError, TimedOutError, UsageError
from acytoo.transport.faults import opening_fault, origin, proxy_refused, shown_cause
from acytoo.transport.options import Connection, Proxy, Timeout
from acytoo.transport.sessions import fresh_connection, session_for

_MAX_REDIRECTS = 5
_SAME_METHOD = frozenset({307, 308})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


async def open_response(outgoing: Outgoing, connection: Connection, started: float) -> aiohttp.ClientResponse:
    """Send the request, return when the response's head is here, whatever its status; `started` in the loop's time.

    A redirect is followed only where it keeps method and origin; others raise RedirectError.
    Raises UnreachableError, TLSError, ProxyError, TimedOutError, ProtocolError, UsageError (a URL that is none).
    """
    url = outgoing.url
    for _ in range(_MAX_REDIRECTS + 1):
        response = await _send(outgoing, url, connection, started)
        location = response.headers.get("location") if response.status in _REDIRECTS else None
        if not location:
            return response
        response.close()
        url = _followed(response.status, url, location)
    raise RedirectError(f"{origin(url)} redirects more than {_MAX_REDIRECTS} times", url)


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
    proxy = connection.proxy_for(url)
    session = connection.session or await session_for(proxy, reuse=reuse)
    if session.closed:
        raise UsageError("the session given is closed: give an open one, or none")
    headers = {**outgoing.headers, "accept-encoding": "identity"}
    http_proxy = proxy if proxy is not None and not proxy.is_socks else None
    to_proxy = _proxy_headers(http_proxy)
    if url.startswith("http:"):
        headers.update(to_proxy)
    limits = _Limits(connection.timeout, started)
    fresh = fresh_connection.set(False)
    failed: Exception | None = None
    try:
        response = await session.request(
            outgoing.method,
            url,
            data=_Body(outgoing.body, limits),
            headers=headers,
            allow_redirects=False,
            auto_decompress=False,
            timeout=_connecting(limits.to_connect),
            ssl=connection.tls(),
            proxy=http_proxy.url if http_proxy else None,
            proxy_headers=to_proxy or None,
        )
    except Exception as error:
        failed = error
        pooled = reuse and not fresh_connection.get() and connection.session is None
    finally:
        limits.end()
        fresh_connection.reset(fresh)
    if failed is None:
        if limits.expired:  # its head and the end of the time for it came in one turn of the loop
            response.close()
            raise limits.error()
        if http_proxy is not None and response.status == 407:
            response.close()
            raise proxy_refused(http_proxy, 407, response.reason or "")
        return response
    try:
        if limits.expired or isinstance(failed, TimeoutError) or "Timeout" in type(failed).__name__:
            raise limits.error() from failed
        if pooled and _is_stale(failed):
            raise _StaleConnectionError
        fault = opening_fault(failed, url, proxy, connected=limits.connected)
        if fault is None:
            raise failed
        raise fault from shown_cause(failed)
    finally:  # an error must not be held by the frames that it holds: with them, its request's body would stay
        traceback.clear_frames(failed.__traceback__)
        del failed, outgoing
        fault = None


def _is_stale(error: Exception) -> bool:
    """Whether the connection ended before a byte of the answer, as one does that the server had closed already."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)
    return isinstance(error, (ConnectionError, aiohttp.ClientOSError))


class _Limits:
    """The limit that holds until the head is here: first to connect, then until the first byte, always the total.

    The HTTP client looks after the first; a connection that stands is given up when a timer of ours runs out.
    """

    def __init__(self, timeout: Timeout, started: float) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._ends = None if timeout.total is None else started + timeout.total
        self._timer: asyncio.TimerHandle | None = None
        self.connected = False
        self.expired = False

    @property
    def to_connect(self) -> float | None:
        """Seconds that connecting may take."""
        connect = self._timeout.connect
        if self._ends is None:
            return connect
        left = max(0.001, self._ends - self._loop.time())
        return left if connect is None else min(connect, left)

    def sending(self, transport: asyncio.WriteTransport | None) -> None:
        """The connection stands; again where a session of the caller's sends a request anew."""
        self.end()
        self.connected = True
        first_byte = self._timeout.first_byte
        due = None if first_byte is None else self._loop.time() + first_byte
        if self._ends is not None:
            due = self._ends if due is None else min(due, self._ends)
        if due is not None:
            self._timer = self._loop.call_at(due, self._expire, transport)

    def end(self) -> None:
        """No limit holds any more."""
        if self._timer is not None:
            self._timer.cancel()

    def error(self) -> TimedOutError:
        """The limit that ran out."""
        if self._ends is not None and self._loop.time() >= self._ends:
            return TimedOutError("total", self._timeout.total or 0)
        if self.connected:
            return TimedOutError("first_byte", self._timeout.first_byte or 0)
        return TimedOutError("connect", self._timeout.connect or 0)

    def _expire(self, transport: asyncio.WriteTransport | None) -> None:
        self.expired = True
        if transport is not None:
            transport.abort()


@functools.lru_cache(maxsize=64)
def _connecting(limit: float | None) -> aiohttp.ClientTimeout:
    """Only the time to connect is the library's to limit, names, proxies and TLS included."""
    return aiohttp.ClientTimeout(total=None, connect=limit, sock_connect=limit)


class _Body(aiohttp.Payload):
    """The request's body, however large; it tells when it is being sent, which is when the connection stands."""

    _autoclose = True

    def __init__(self, data: bytes, limits: _Limits) -> None:
        super().__init__(data)
        self._size = len(data)
        self._data = data
        self._limits = limits

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self._data.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it."""
        self._limits.sending(writer.transport)
        await writer.write(self._data)


def _proxy_headers(proxy: Proxy | None) -> dict[str, str]:
    """What an HTTP proxy wants to know: with the tunnel's request under TLS, else with our own."""
    if proxy is None or not (proxy.user or proxy.password):
        return {}
    credentials = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
    return {"proxy-authorization": f"Basic {credentials}"}


def _followed(status: int, url: str, location: str) -> str:
    """Where a redirect leads to. Raises RedirectError where a request with credentials must not follow."""
    try:
        target = urljoin(url, location)
        leads_to = origin(target)
    except ValueError as error:
        raise RedirectError(f"{url} redirects to what is no URL: {location[:300]!r}") from error
    place = target.partition("?")[0]
    if leads_to != origin(url):
        raise RedirectError(
            f"{origin(url)} redirects to another origin, where key and password are not sent: "
            f"if you trust it, use {place}",
            place,
        )
    if status not in _SAME_METHOD:
        raise RedirectError(f"{url} redirects with {status}, which would turn the POST into a GET of {place}", place)
    return target
