"""One HTTP request until the head of its response: proxies, redirects, and a second try where it is safe."""

from __future__ import annotations

import asyncio
import functools
import traceback
from urllib.parse import urljoin

import aiohttp

from acytoo.errors import RedirectError, UsageError
from acytoo.http import HTTPRequest
from acytoo.secret import basic, truncate
from acytoo.transport.config import Connection, Proxy
from acytoo.transport.errors import opening_fault, origin, proxy_refused, shown_cause
from acytoo.transport.pool import session_for
from acytoo.transport.request import Body
from acytoo.transport.timeouts import Deadlines

_MAX_REDIRECTS = 5
_SAME_METHOD = frozenset({307, 308})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


async def open_response(outgoing: HTTPRequest, connection: Connection, limits: Deadlines) -> aiohttp.ClientResponse:
    """Send the request, return when the response's head is here, whatever its status.

    A redirect is followed only where it keeps method and origin; others raise RedirectError. The request is sent
    once more, on a connection of its own, where the pooled one turned out to be closed.
    Raises UnreachableError, TLSError, ProxyError, TimedOutError, ProtocolError, UsageError (a URL that is none).
    """
    url = outgoing.url
    for _ in range(_MAX_REDIRECTS + 1):
        try:
            response = await _request(outgoing, url, connection, limits, reuse=True)
        except _StaleConnectionError:
            response = await _request(outgoing, url, connection, limits, reuse=False)
        location = response.headers.get("location") if response.status in _REDIRECTS else None
        if not location:
            return response
        response.close()
        url = _followed(response.status, url, location)
    raise RedirectError(f"{origin(url)} redirects more than {_MAX_REDIRECTS} times", url)


class _StaleConnectionError(Exception):
    """A connection from the pool ended before the first byte of an answer."""


async def _request(
    outgoing: HTTPRequest, url: str, connection: Connection, limits: Deadlines, *, reuse: bool
) -> aiohttp.ClientResponse:
    proxy = connection.proxy_for(url)
    if connection.session is None:
        session = await session_for(proxy, reuse=reuse)
    else:
        session = _usable(connection.session)
    headers = {**outgoing.headers, "accept-encoding": "identity"}
    http_proxy = proxy if proxy is not None and not proxy.is_socks else None
    to_proxy = _proxy_headers(http_proxy)
    if url.startswith("http:"):
        headers.update(to_proxy)
    body = Body(outgoing.body, limits)
    failed: Exception | None = None
    try:
        response = await session.request(
            outgoing.method,
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            auto_decompress=False,
            raise_for_status=False,
            timeout=_connecting(limits.connecting()),
            ssl=connection.tls(),
            proxy=http_proxy.url if http_proxy else None,
            proxy_headers=to_proxy or None,
        )
    except Exception as error:
        failed = error
        pooled = reuse and not body.on_new_connection and connection.session is None
    finally:
        del body, headers, to_proxy  # their secrets must not be shown with what is raised here
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
        fault = opening_fault(failed, url, proxy, connected=limits.phase != "connect")
        if fault is None:
            raise failed
        raise fault from shown_cause(failed)
    finally:  # an error must not be held by the frames that it holds: with them, its request's body would stay
        traceback.clear_frames(failed.__traceback__)
        del failed, outgoing
        fault = None


def _usable(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """The caller's own session. Raises UsageError where it cannot be used here."""
    if session.closed:
        raise UsageError("the session given is closed: give an open one, or none")
    if getattr(session, "_loop", None) not in (None, asyncio.get_running_loop()):
        raise UsageError(
            "the session given belongs to another event loop: give one that was made in this, or none "
            "(create_completion has a loop of its own)"
        )
    return session


def _is_stale(error: Exception) -> bool:
    """Whether the connection ended before a byte of the answer, as one does that the server had closed already."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)
    return isinstance(error, (ConnectionError, aiohttp.ClientOSError))


@functools.lru_cache(maxsize=64)
def _connecting(limit: float | None) -> aiohttp.ClientTimeout:
    """Only the time to connect is the library's to limit, names, proxies and TLS included."""
    return aiohttp.ClientTimeout(total=None, connect=limit, sock_connect=limit)


def _proxy_headers(proxy: Proxy | None) -> dict[str, str]:
    """What an HTTP proxy wants to know: with the tunnel's request under TLS, else with our own."""
    if proxy is None or not (proxy.user or proxy.password):
        return {}
    return {"proxy-authorization": f"Basic {basic(proxy.user, proxy.password)[0].reveal()}"}


def _followed(status: int, url: str, location: str) -> str:
    """Where a redirect leads to. Raises RedirectError where a request with credentials must not follow."""
    try:
        target = urljoin(url, location)
        leads_to = origin(target)
    except ValueError as error:
        raise RedirectError(f"{url} redirects to what is no URL: {truncate(location, 300)!r}") from error
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
