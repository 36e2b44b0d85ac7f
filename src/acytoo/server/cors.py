"""Cross-site requests: rejected unless the server has a password; with one, answered with CORS headers.

A page on another site can make a browser call a server on its own machine. It can send a cross-origin POST, which
carries another `Origin`, or rebind a name of its own to 127.0.0.1 (DNS rebinding), which shows in `Host`. A server
without a password would answer it. A server with a password needs no such check: whoever presents the password may
call from any page.
"""

from __future__ import annotations

import functools
import re
from ipaddress import IPv4Address, IPv6Address

from acytoo.http import HTTPResponse
from acytoo.secret import truncate
from acytoo.server.config import ServerConfig
from acytoo.server.request import IncomingRequest


def cross_site_reason(request: IncomingRequest) -> str:
    """Return why a request counts as coming from another site's page, "" if it does not."""
    if not _is_own(request.host):
        host = truncate(request.host, 100)
        return f"the host {host!r} is not this machine: set a password (--password) to serve it under other names"
    origin = request.headers.get("origin")
    if origin == "null":
        return "pages without an origin may not call this server: set a password (--password) to allow it"
    if origin and origin.partition("://")[2] != request.host:
        origin = truncate(origin, 100)
        return f"pages of {origin!r} may not call this server: set a password (--password) to allow it"
    return ""


_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9a-zA-Z.-]+))(?::[0-9]{1,5})?")
"""A `Host` header: an IPv6 address in brackets, or anything else, and a port."""


@functools.lru_cache(maxsize=64)
def _is_own(host: str) -> bool:
    """Return whether a `Host` header names this machine in a way that a page of another site cannot cause.

    `localhost` does, and so does an address, which DNS rebinding cannot fake. What some parser could read as another
    host does not.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    ipv6, name = match.groups()
    try:
        IPv6Address(ipv6) if ipv6 else IPv4Address(name)
    except ValueError:
        return not ipv6 and name.lower() == "localhost"
    return True


def is_preflight(request: IncomingRequest, config: ServerConfig) -> bool:
    """Return whether this is a CORS preflight, which browsers send before most cross-origin requests."""
    return (
        request.method == "OPTIONS"
        and not config.is_open
        and request.headers.keys() >= {"origin", "access-control-request-method"}
    )


def preflight_response(request: IncomingRequest) -> HTTPResponse:
    """Allow every header that the page asks to send: the password protects the server, not the page's origin."""
    headers = {"access-control-allow-methods": "GET, POST", "access-control-max-age": "86400"}
    requested = request.headers.get("access-control-request-headers", "")
    if requested and requested.isascii():
        headers["access-control-allow-headers"] = requested
    return HTTPResponse(204, headers, b"")


def cors_headers(request: IncomingRequest, config: ServerConfig) -> dict[str, str]:
    """Return the headers that let another site's page read a response. The server has no cookies `*` could expose."""
    if "origin" not in request.headers or config.is_open:
        return {}
    return {"access-control-allow-origin": "*", "access-control-expose-headers": "*"}
