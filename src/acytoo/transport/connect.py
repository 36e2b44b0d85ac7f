"""Establish a connection: directly, through an HTTP proxy, through a SOCKS proxy, or to a Unix socket; with TLS or not.

Names are resolved and addresses are tried by asyncio, several at once if the first is slow (happy eyeballs, RFC 8305).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from acytoo.errors import MissingExtraError, ProxyError, TLSError, UnreachableError, UsageError
from acytoo.http1.head import encode_head
from acytoo.secret import basic
from acytoo.transport.address import Address
from acytoo.transport.config import Connection, Proxy, default_context
from acytoo.transport.connection import HTTPConnection
from acytoo.transport.errors import describe, label, proxy_refused
from acytoo.transport.pool import Pool

T = TypeVar("T")

_NEXT_ADDRESS_AFTER = 0.25
"""Seconds after which the next address of a host is tried as well: the value that RFC 8305 recommends."""


async def establish(
    pool: Pool, key: object, address: Address, proxy: Proxy | None, settings: Connection
) -> HTTPConnection:
    """Return a new connection to an address.

    Raises UnreachableError, TLSError, ProxyError, MissingExtraError, or UsageError for a name that cannot be one.
    """
    context = settings.tls() if address.uses_tls else None
    server_name = address.host if address.uses_tls else None
    connection = pool.new_connection(key)
    try:
        if address.unix_path is not None:
            await _connect_unix(pool.loop, connection, address.unix_path)
        elif proxy is None:
            await _to_server(address, _open(pool.loop, connection, address.host, address.port, context, server_name))
        elif proxy.is_socks:
            sock = await _connect_socks(proxy, address)
            opened = pool.loop.create_connection(
                lambda: connection, sock=sock, ssl=context, server_hostname=server_name
            )
            await _to_server(address, opened, proxy)
        elif context is None:
            await _to_proxy(pool.loop, connection, proxy)
        else:
            await _connect_through_tunnel(pool, connection, address, proxy, context)
    except BaseException:
        pool.discard(connection)
        raise
    return connection


def proxy_fields(proxy: Proxy) -> list[tuple[str, str]]:
    """Return the header with the credentials for an HTTP proxy, if it has any."""
    if not (proxy.user or proxy.password):
        return []
    return [("proxy-authorization", f"Basic {basic(proxy.user.reveal(), proxy.password.reveal())[0].reveal()}")]


def _open(
    loop: asyncio.AbstractEventLoop,
    connection: HTTPConnection,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    server_name: str | None,
) -> Awaitable[object]:
    options: dict[str, Any] = {}
    # uvloop's method has no such argument; it tries one address after the other.
    if isinstance(loop, asyncio.BaseEventLoop) and not _is_ip_address(host):
        options["happy_eyeballs_delay"] = _NEXT_ADDRESS_AFTER
    return loop.create_connection(lambda: connection, host, port, ssl=context, server_hostname=server_name, **options)


async def _to_server(address: Address, opening: Awaitable[T], proxy: Proxy | None = None) -> T:
    """Await a connection to the server itself, behind a proxy that has agreed, and turn its failure into ours."""
    place = address.origin
    try:
        return await opening
    except (ssl.SSLError, ssl.CertificateError) as error:
        raise TLSError(f"no TLS connection to {place}: {describe(error)}") from error
    except TimeoutError:
        raise
    except (OSError, EOFError, UnicodeError) as error:
        if proxy is not None:
            raise ProxyError(f"{label(proxy)} dropped the connection to {place} ({describe(error)})") from error
        if isinstance(error, UnicodeError):  # a label of the host name is empty or too long
            raise UsageError(f"invalid URL: the host of {place} is not a valid name") from error
        task = "resolve the host of" if isinstance(error, socket.gaierror) else "reach"
        raise UnreachableError(f"cannot {task} {place} ({describe(error)})") from error


async def _to_proxy(loop: asyncio.AbstractEventLoop, connection: HTTPConnection, proxy: Proxy) -> None:
    parts = urlsplit(proxy.url)
    host = parts.hostname or ""
    is_tls = parts.scheme == "https"
    try:
        await _open(
            loop, connection, host, parts.port or 0, default_context() if is_tls else None, host if is_tls else None
        )
    except TimeoutError:
        raise
    except (OSError, UnicodeError) as error:
        raise ProxyError(f"cannot reach {label(proxy)} ({describe(error)})") from error


async def _connect_through_tunnel(
    pool: Pool, connection: HTTPConnection, address: Address, proxy: Proxy, context: ssl.SSLContext
) -> None:
    """Ask the proxy for a tunnel, then begin TLS in it, which the proxy cannot read."""
    tunnel = pool.new_connection(None)
    try:
        await _to_proxy(pool.loop, tunnel, proxy)
        _send_connect(tunnel, address, proxy)
        await _read_connect_response(tunnel, address, proxy)
        started = pool.loop.start_tls(tunnel.transport, connection, context, server_hostname=address.host)
        transport = await _to_server(address, started, proxy)
    except BaseException:
        if hasattr(tunnel, "transport"):
            tunnel.transport.abort()
        raise
    finally:
        tunnel.parser.close()
        pool.discard(tunnel)
    if transport is None:
        raise ProxyError(f"{label(proxy)} dropped the connection to {address.origin}")
    connection.connection_made(transport)


def _send_connect(tunnel: HTTPConnection, address: Address, proxy: Proxy) -> None:
    # In a frame of its own: no frame of a traceback may hold the credentials.
    target = address.host_and_port
    tunnel.send(encode_head(f"CONNECT {target} HTTP/1.1", [("host", target), *proxy_fields(proxy)]), b"")


async def _read_connect_response(tunnel: HTTPConnection, address: Address, proxy: Proxy) -> None:
    parser = tunnel.parser
    while parser.head is None:
        if tunnel.error is not None:
            place = address.origin
            raise ProxyError(f"{label(proxy)} dropped the connection to {place} ({describe(tunnel.error)})")
        await tunnel.wait()
    if not 200 <= parser.head.status < 300:
        raise proxy_refused(proxy, parser.head.status, parser.reason)


async def _connect_unix(loop: asyncio.AbstractEventLoop, connection: HTTPConnection, path: str) -> None:
    if not hasattr(loop, "create_unix_connection"):
        raise UsageError("this system has no Unix sockets: use an http URL")
    try:
        await loop.create_unix_connection(lambda: connection, path)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise UnreachableError(f"cannot reach the Unix socket {path} ({describe(error)})") from error


async def _connect_socks(proxy: Proxy, address: Address) -> socket.socket:
    """Return a socket that the SOCKS proxy has connected to the address."""
    try:
        from python_socks import ProxyConnectionError, ProxyTimeoutError, ProxyType
        from python_socks import ProxyError as SOCKSError
        from python_socks.async_.asyncio import Proxy as SOCKSProxy
    except ImportError as error:
        raise MissingExtraError(f"the proxy {proxy.url}", "socks") from error

    parts = urlsplit(proxy.url)
    host = address.host
    # As in curl: with socks4a and socks5h the proxy resolves the host name, with socks4 and socks5 we do.
    proxy_resolves = parts.scheme in ("socks4a", "socks5h")
    is_version_4 = parts.scheme.startswith("socks4")
    if not proxy_resolves:
        host = await _resolve(address, family=socket.AF_INET if is_version_4 else 0)
    client = SOCKSProxy(
        proxy_type=ProxyType.SOCKS4 if is_version_4 else ProxyType.SOCKS5,
        host=parts.hostname or "",
        port=parts.port or 1080,
        username=proxy.user.reveal() or None,
        password=proxy.password.reveal() or None,
        rdns=proxy_resolves,
    )
    try:
        connected: socket.socket = await client.connect(dest_host=host, dest_port=address.port, timeout=_FOREVER)
    except ProxyTimeoutError as error:  # not every version derives it from TimeoutError
        raise TimeoutError from error
    except (ProxyConnectionError, SOCKSError, OSError, EOFError) as error:
        raise ProxyError(f"{label(proxy)} refused or cannot be reached ({describe(error)})") from error
    return connected


_FOREVER = 1e9
"""Seconds: our own timeout holds instead of the SOCKS client's."""


async def _resolve(address: Address, family: int) -> str:
    """Return an IP address of the host, resolved on this machine."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, family=family, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise UnreachableError(
            f"cannot resolve the host of {address.origin} on this machine ({describe(error)}): "
            "with socks4a or socks5h the proxy resolves it"
        ) from error
    return str(found[0][4][0])


def _is_ip_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
