"""Exceptions of the HTTP client, mapped to ours."""

from __future__ import annotations

import functools
import socket
import ssl
from urllib.parse import urlsplit

import aiohttp

from acytoo.errors import AcytooError, ProtocolError, ProxyError, TLSError, UnreachableError, UsageError
from acytoo.secret import truncate
from acytoo.transport.config import Proxy


def map_error(error: Exception, url: str, proxy: Proxy | None, *, connected: bool) -> AcytooError | None:
    """Return our error for a failure before the response's head; None if it is not a failure of the network."""
    host = origin(url)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return proxy_refused(proxy, error.status, error.message)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return ProxyError(f"cannot reach {_label(proxy)} ({describe(error.os_error)})")
    if proxy is not None and proxy.is_socks and isinstance(error, _socks_errors()):
        return ProxyError(f"{_label(proxy)} refused or cannot be reached ({describe(error)})")
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError, ssl.CertificateError)):
        return TLSError(f"no TLS connection to {host}: {describe(error)}")
    if isinstance(error, aiohttp.InvalidURL):
        return UsageError(f"invalid URL {url!r}")
    if proxy is not None and proxy.is_socks and isinstance(error.__cause__, socket.gaierror):
        return UnreachableError(
            f"cannot resolve the host of {host} on this machine ({describe(error)}): "
            "with socks4a or socks5h the proxy resolves it"
        )
    if isinstance(error, (aiohttp.ClientError, OSError, EOFError)) and proxy is not None and not connected:
        return ProxyError(f"{_label(proxy)} dropped the connection to {host} ({describe(error)})")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UnreachableError(f"cannot resolve the host of {host} ({describe(error.os_error)})")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UnreachableError(f"cannot reach {host} ({describe(error.os_error)})")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return UnreachableError(f"{host} closed the connection before it sent a response")
    if isinstance(error, aiohttp.ClientResponseError):
        return ProtocolError(f"{host} does not answer in HTTP: {describe(error)}")
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return UnreachableError(f"the connection to {host} was lost before a response arrived ({describe(error)})")
    if isinstance(error, ValueError):
        return UsageError(f"the request cannot be sent: {describe(error)}")
    return None


def is_timeout(error: Exception, proxy: Proxy | None) -> bool:
    """Return whether the HTTP client, or a SOCKS proxy's client, gave up on connecting."""
    return isinstance(error, TimeoutError) or (
        proxy is not None and proxy.is_socks and isinstance(error, _socks_errors()[:1])
    )


@functools.cache
def _socks_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the SOCKS client, its timeout first: not every version derives it from TimeoutError."""
    try:
        from aiohttp_socks import ProxyConnectionError, ProxyTimeoutError
        from aiohttp_socks import ProxyError as SOCKSError
    except ImportError:  # with a session of the caller's own, the extra may be missing
        return ()

    return ProxyTimeoutError, ProxyConnectionError, SOCKSError


def proxy_refused(proxy: Proxy | None, status: int, message: str) -> ProxyError:
    """Return the error for a proxy's own HTTP response."""
    refused = ProxyError(f"{_label(proxy)} refused: {status} {message}")
    refused.status = status
    return refused


def safe_cause(error: Exception) -> BaseException | None:
    """Return what may be the `__cause__` of our error: a response's error refers to the request and its secrets."""
    return error.__cause__ if isinstance(error, aiohttp.ClientResponseError) else error


def describe(error: BaseException) -> str:
    """Return an exception's message on one line, or its class name if it has none."""
    text = " ".join(str(error).split())
    return truncate(text, 300) or type(error).__name__


def origin(url: str) -> str:
    """Return a URL's scheme, host and port. Raises ValueError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _label(proxy: Proxy | None) -> str:
    return f"the proxy {proxy.url}" if proxy else "the proxy"
