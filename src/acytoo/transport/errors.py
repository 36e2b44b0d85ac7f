"""What the HTTP client raises, as what it means to the caller."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

import aiohttp

from acytoo.errors import AcytooError, ProtocolError, ProxyError, TLSError, UnreachableError, UsageError
from acytoo.secret import truncate
from acytoo.transport.config import Proxy


def opening_fault(error: Exception, url: str, proxy: Proxy | None, *, connected: bool) -> AcytooError | None:
    """What a failure before the response's head means; None where it is none of the network's."""
    host = origin(url)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return proxy_refused(proxy, error.status, error.message)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return ProxyError(f"{_named(proxy)} cannot be reached ({words(error.os_error)})")
    if type(error).__module__.startswith(("aiohttp_socks", "python_socks")):
        return ProxyError(f"{_named(proxy)} refused or cannot be reached ({words(error)})")
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError, ssl.CertificateError)):
        return TLSError(f"no TLS connection to {host}: {words(error)}")
    if isinstance(error, aiohttp.InvalidURL):
        return UsageError(f"{url!r} is not a URL")
    if proxy is not None and proxy.is_socks and isinstance(error.__cause__, socket.gaierror):
        return UnreachableError(
            f"the host of {host} is not known here ({words(error)}): socks4a and socks5h ask the proxy"
        )
    if isinstance(error, (aiohttp.ClientError, OSError, EOFError)) and proxy is not None and not connected:
        return ProxyError(f"{_named(proxy)} let the connection to {host} drop ({words(error)})")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UnreachableError(f"the host of {host} is not known ({words(error.os_error)})")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UnreachableError(f"{host} cannot be reached ({words(error.os_error)})")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return UnreachableError(f"{host} closed the connection before it gave an answer")
    if isinstance(error, aiohttp.ClientResponseError):
        return ProtocolError(f"{host} does not answer in HTTP: {words(error)}")
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return UnreachableError(f"the connection to {host} was lost before an answer ({words(error)})")
    if isinstance(error, ValueError):
        return UsageError(f"the request cannot be sent: {words(error)}")
    return None


def proxy_refused(proxy: Proxy | None, status: int, message: str) -> ProxyError:
    """The error for a proxy's own answer."""
    refused = ProxyError(f"{_named(proxy)} refused: {status} {message}")
    refused.status = status
    return refused


def shown_cause(error: Exception) -> BaseException | None:
    """The error itself as a cause to be shown; a response's error is not, it holds the request and so its secrets."""
    return error.__cause__ if isinstance(error, aiohttp.ClientResponseError) else error


def words(error: BaseException) -> str:
    """An exception in a few words; its class where it has none."""
    text = " ".join(str(error).split())
    return truncate(text, 300) or type(error).__name__


def origin(url: str) -> str:
    """Scheme, host and port of a URL. Raises ValueError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _named(proxy: Proxy | None) -> str:
    return f"the proxy {proxy.url}" if proxy else "the proxy"
