"""Sending one HTTP request until the head of its response: proxies, redirects, one retry on a stale connection.

Requests hold secrets: a key in a header or in the body, a proxy's password. Error reporters print the local variables
of every frame in a traceback, so the frames of a failed request must not keep any. Local variables with secrets are
deleted before an exception leaves, and the frames of the HTTP client, which hold the same headers and body, are
cleared. That also breaks the reference cycle from the exception through its frames to the request, which would
otherwise stay in memory until the next garbage collection.
"""

from __future__ import annotations

import asyncio
import functools
import traceback
from urllib.parse import urljoin

import aiohttp

from acytoo.errors import RedirectError, UsageError
from acytoo.http import HTTPRequest
from acytoo.secret import basic, truncate
from acytoo.transport._aiohttp import RequestBody, ended_before_response, loop_of
from acytoo.transport.config import Connection, Proxy
from acytoo.transport.errors import is_timeout, map_error, origin, proxy_refused, safe_cause
from acytoo.transport.pool import session_for
from acytoo.transport.timeouts import Deadlines

_MAX_REDIRECTS = 5
_SAME_METHOD = frozenset({307, 308})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


async def open_response(request: HTTPRequest, connection: Connection, deadlines: Deadlines) -> aiohttp.ClientResponse:
    """Send the request and return the response, whatever its status, when its head has arrived.

    A redirect is followed only if it keeps the method and the origin. If a pooled connection turns out to be closed,
    the request is sent once more, on a new connection.

    Raises:
        UnreachableError, TLSError, ProxyError, TimedOutError, ProtocolError: No response.
        RedirectError: The server redirects the request to where it must not be sent.
        UsageError: The URL or the session cannot be used.
    """
    url = request.url
    for _ in range(_MAX_REDIRECTS + 1):
        try:
            response = await _request(request, url, connection, deadlines, reuse=True)
        except _StaleConnectionError:
            response = await _request(request, url, connection, deadlines, reuse=False)
        location = response.headers.get("location") if response.status in _REDIRECTS else None
        if not location:
            return response
        response.close()
        url = _redirect_target(response.status, url, location)
    raise RedirectError(f"{origin(url)} redirects more than {_MAX_REDIRECTS} times", url)


class _StaleConnectionError(Exception):
    """A pooled connection that ended before the first byte of a response."""


async def _request(
    request: HTTPRequest, url: str, connection: Connection, deadlines: Deadlines, *, reuse: bool
) -> aiohttp.ClientResponse:
    """Send the request once. Raises _StaleConnectionError, and as `open_response`."""
    proxy = connection.proxy_for(url)
    if connection.session is None:
        session = await session_for(proxy, reuse=reuse)
    else:
        session = _check_session(connection.session)
    body = RequestBody(request.body, deadlines)
    failure: Exception | None = None
    try:
        response = await _send(session, request, url, body, proxy, connection, deadlines)
    except Exception as error:
        failure = error
        pooled = reuse and not body.on_new_connection and connection.session is None
    finally:
        del body
    if failure is None:
        return _check_response(response, proxy, deadlines)
    try:
        raise _classify(failure, url, proxy, deadlines, pooled=pooled)
    finally:
        traceback.clear_frames(failure.__traceback__)
        del failure, request


async def _send(
    session: aiohttp.ClientSession,
    request: HTTPRequest,
    url: str,
    body: RequestBody,
    proxy: Proxy | None,
    connection: Connection,
    deadlines: Deadlines,
) -> aiohttp.ClientResponse:
    headers = {**request.headers, "accept-encoding": "identity"}
    http_proxy = proxy if proxy is not None and not proxy.is_socks else None
    to_proxy = _proxy_headers(http_proxy)
    if url.startswith("http:"):
        headers.update(to_proxy)
    try:
        return await session.request(
            request.method,
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            auto_decompress=False,
            raise_for_status=False,
            timeout=_connect_timeout(deadlines.start_connecting()),
            ssl=connection.tls(),
            proxy=http_proxy.url if http_proxy else None,
            proxy_headers=to_proxy or None,
        )
    finally:
        del body, headers, to_proxy


def _classify(failure: Exception, url: str, proxy: Proxy | None, deadlines: Deadlines, *, pooled: bool) -> Exception:
    """Return the error to raise for a failure, with its cause set; the failure itself if it is not the network's."""
    if deadlines.expired or is_timeout(failure, proxy):
        timed_out = deadlines.error()
        timed_out.__cause__ = failure
        return timed_out
    if pooled and ended_before_response(failure):
        return _StaleConnectionError()
    error = map_error(failure, url, proxy, connected=deadlines.phase != "connect")
    if error is None:
        return failure
    error.__cause__ = safe_cause(failure)
    return error


def _check_response(
    response: aiohttp.ClientResponse, proxy: Proxy | None, deadlines: Deadlines
) -> aiohttp.ClientResponse:
    """Return the response. Raises TimedOutError if it came too late, ProxyError if it is the proxy's own."""
    if deadlines.expired:  # the head arrived in the same turn of the event loop in which its time ran out
        response.close()
        raise deadlines.error()
    if proxy is not None and not proxy.is_socks and response.status == 407:
        response.close()
        raise proxy_refused(proxy, 407, response.reason or "")
    return response


def _check_session(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Return the caller's own session. Raises UsageError if it cannot be used in this event loop."""
    if session.closed:
        raise UsageError("the session is closed: pass an open one, or none")
    if loop_of(session) not in (None, asyncio.get_running_loop()):
        raise UsageError(
            "the session belongs to another event loop: pass one that was created in this loop, or none "
            "(create_completion has a loop of its own)"
        )
    return session


@functools.lru_cache(maxsize=64)
def _connect_timeout(limit: float | None) -> aiohttp.ClientTimeout:
    """Return the only timeout that the HTTP client enforces: connecting, with name lookup, proxy and TLS."""
    return aiohttp.ClientTimeout(total=None, connect=limit, sock_connect=limit)


def _proxy_headers(proxy: Proxy | None) -> dict[str, str]:
    """Return the headers for an HTTP proxy: sent with CONNECT for an https URL, else with the request itself."""
    if proxy is None or not (proxy.user or proxy.password):
        return {}
    return {"proxy-authorization": f"Basic {basic(proxy.user, proxy.password)[0].reveal()}"}


def _redirect_target(status: int, url: str, location: str) -> str:
    """Return the URL a redirect leads to. Raises RedirectError if a request with credentials must not follow."""
    try:
        target = urljoin(url, location)
        target_origin = origin(target)
    except ValueError as error:
        raise RedirectError(f"{url} redirects to an invalid URL: {truncate(location, 300)!r}") from error
    place = target.partition("?")[0]
    if target_origin != origin(url):
        raise RedirectError(
            f"{origin(url)} redirects to another origin, where key and password are not sent: "
            f"if you trust it, use {place}",
            place,
        )
    if status not in _SAME_METHOD:
        raise RedirectError(f"{url} redirects with {status}, which would turn the POST into a GET of {place}", place)
    return target
