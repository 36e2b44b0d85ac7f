"""Send one HTTP request and wait for the head of its response: redirects, one retry on a stale connection.

Requests hold secrets: a key in a header or in the body, a proxy's password. Error reporters print the local variables
of every frame in a traceback, so the frames of a failed request must not keep any: bytes with secrets are made in
functions that return before anything is awaited, and a request has a repr without its headers and body.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Hashable
from urllib.parse import quote, urljoin

from acytoo._version import __version__
from acytoo.errors import ProtocolError, RedirectError, UnreachableError, UsageError
from acytoo.http import HTTPRequest, ResponseHead
from acytoo.http1.head import HTTPError, encode_head
from acytoo.secret import Secret, truncate
from acytoo.transport.address import UNRESERVED, Address, address_of
from acytoo.transport.config import Connection, Proxy
from acytoo.transport.connect import establish, proxy_fields
from acytoo.transport.connection import HTTPConnection
from acytoo.transport.errors import describe, proxy_refused
from acytoo.transport.pool import Pool, pool_of
from acytoo.transport.timeouts import Deadlines

_MAX_REDIRECTS = 5
_SAME_METHOD = frozenset({307, 308})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_STALE_WITHIN = 30.0
"""Seconds in which a request on a stale connection fails. A server that ends a connection later has the request."""

_USER_AGENT = f"acytoo/{__version__}"


async def open_response(
    request: HTTPRequest, settings: Connection, deadlines: Deadlines
) -> tuple[HTTPConnection, ResponseHead]:
    """Send the request; return the connection and the head of the response, whatever its status.

    A redirect is followed only if it keeps the method and the origin. If a pooled connection turns out to be closed,
    the request is sent once more, on a new connection.

    Raises:
        UnreachableError, TLSError, ProxyError, TimedOutError, ProtocolError: No response.
        RedirectError: The server redirects the request to where it must not be sent.
        UsageError: The URL or a header cannot be used.
    """
    url = request.url
    for _ in range(_MAX_REDIRECTS + 1):
        exchanged = await _request(request, url, settings, deadlines, reuse=request.is_repeatable)
        if exchanged is None:
            exchanged = await _request(request, url, settings, deadlines, reuse=False)
            assert exchanged is not None
        connection, head = exchanged
        location = head.headers.get("location") if head.status in _REDIRECTS else None
        if not location:
            return exchanged
        connection.release()
        url = _redirect_target(head.status, url, location)
    raise RedirectError(f"{address_of(url).origin} redirects more than {_MAX_REDIRECTS} times", url)


async def _request(
    request: HTTPRequest, url: str, settings: Connection, deadlines: Deadlines, *, reuse: bool
) -> tuple[HTTPConnection, ResponseHead] | None:
    """Send the request once; return None if a pooled connection was stale: it ended soon, without a response."""
    proxy = settings.proxy_for(url)
    address = address_of(url)
    # A redirect brings a query of its own.
    message = _Message(request, request.query if url == request.url else Secret(), address, proxy)
    key = (address.scheme, address.host, address.port, proxy, settings.ca)
    pool = pool_of(deadlines.loop)
    connection = pool.take(key) if reuse else None
    is_pooled = connection is not None
    if connection is None:
        connection = await _connect(pool, key, address, proxy, settings, deadlines)
    try:
        if pool.is_busy:
            # All requests that are ready are then written together, and their responses arrive together: 16 at once
            # cost a tenth less each.
            await asyncio.sleep(0)
        request.is_sent = True
        connection.send(message.head, message.body)
        connection.enforce(deadlines)
        head = await _head(connection, url, deadlines, is_pooled=is_pooled)
        if deadlines.expired:  # the head arrived in the same turn of the event loop in which its time ran out
            raise deadlines.take_error()
        if head is not None and head.status == 407 and proxy is not None and not proxy.is_socks:
            raise proxy_refused(proxy, 407, connection.parser.reason)
    except BaseException:
        connection.close()
        raise
    if head is None:
        connection.close()
        return None
    return connection, head


class _Message:
    """The bytes of a request. It has no repr of its own: they contain secrets."""

    __slots__ = ("body", "head")

    def __init__(self, request: HTTPRequest, query: Secret, address: Address, proxy: Proxy | None) -> None:
        """Encode the head. Raises UsageError for a header that cannot be sent."""
        self.body = request.body
        head = _encode_head(request.method, address, query, proxy, tuple(request.headers.items())) + request.own_fields
        if self.body or request.method != "GET":
            self.head = b"%bcontent-length: %d\r\n\r\n" % (head, len(self.body))
        else:
            self.head = head + b"\r\n"


@functools.lru_cache(maxsize=16)
def _encode_head(
    method: str, address: Address, query: Secret, proxy: Proxy | None, headers: tuple[tuple[str, str], ...]
) -> bytes:
    """Encode a head without its content length and the empty line at its end. Raises UsageError.

    A client sends the same head with each call, and encoding it costs as much as parsing a short reply's.
    """
    target = address.target
    if query:
        target += ("&" if "?" in target else "?") + quote(query.reveal(), safe=UNRESERVED)
    fields = {"host": address.authority, "user-agent": _USER_AGENT, **dict(headers)}
    fields["accept-encoding"] = "identity"
    fields.pop("content-length", None)
    if proxy is not None and not proxy.is_socks and address.scheme == "http":
        target = f"http://{address.authority}{target}"
        fields.update(proxy_fields(proxy))
    try:
        return encode_head(f"{method} {target} HTTP/1.1", fields.items())[:-2]
    except ValueError as error:
        raise UsageError(f"the request cannot be sent: {error}") from None


async def _connect(
    pool: Pool, key: Hashable, address: Address, proxy: Proxy | None, settings: Connection, deadlines: Deadlines
) -> HTTPConnection:
    """Return a new connection. Raises TimedOutError, and as `establish`."""
    await pool.start()
    try:
        async with asyncio.timeout(deadlines.start_connecting()):
            return await establish(pool, key, address, proxy, settings)
    except TimeoutError as error:
        raise deadlines.error() from error


async def _head(connection: HTTPConnection, url: str, deadlines: Deadlines, *, is_pooled: bool) -> ResponseHead | None:
    """Return the head of the response, None if a pooled connection was stale: it ended soon, before its first byte."""
    parser = connection.parser
    while parser.head is None:
        error = connection.error
        if error is None:
            await connection.wait()
        elif deadlines.expired is not None:
            raise deadlines.take_error()
        elif isinstance(error, HTTPError):
            raise ProtocolError(f"{address_of(url).origin} does not answer in HTTP: {describe(error)}") from error
        elif is_pooled and not parser.has_begun and deadlines.waited() < _STALE_WITHIN:
            return None
        else:
            raise UnreachableError(
                f"the connection to {address_of(url).origin} was lost before a response arrived ({describe(error)})"
            ) from error
    return parser.head


def _redirect_target(status: int, url: str, location: str) -> str:
    """Return the URL a redirect leads to. Raises RedirectError if a request with credentials must not follow."""
    try:
        target = urljoin(url, location)
        target_origin = address_of(target).origin
    except ValueError as error:
        raise RedirectError(f"{url} redirects to an invalid URL: {truncate(location, 300)!r}") from error
    place = target.partition("?")[0]
    if target_origin != address_of(url).origin:
        raise RedirectError(
            f"{address_of(url).origin} redirects to another origin, where key and password are not sent: "
            f"if you trust it, use {place}",
            place,
        )
    if status not in _SAME_METHOD:
        raise RedirectError(f"{url} redirects with {status}, which would turn the POST into a GET of {place}", place)
    return target
