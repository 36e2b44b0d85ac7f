"""Failures of the network and of proxies as errors of ours."""

from __future__ import annotations

from acytoo.errors import ProxyError
from acytoo.secret import truncate
from acytoo.transport.config import Proxy


def proxy_refused(proxy: Proxy, status: int, message: str) -> ProxyError:
    """Return the error for a proxy's own HTTP response."""
    refused = ProxyError(f"{label(proxy)} refused: {status} {message}".rstrip())
    refused.status = status
    return refused


def label(proxy: Proxy) -> str:
    """Return how messages name a proxy: without its credentials."""
    return f"the proxy {proxy.url}"


def describe(error: BaseException) -> str:
    """Return an exception's message on one line, or its class name if it has none."""
    text = " ".join(str(error).split())
    return truncate(text, 300) or type(error).__name__
