"""What pages in browsers may do: other sites' pages call a server with a password, and no other one."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from acytoo.server.config import ServerConfig, is_loopback


def cross_site_reason(request: web.Request) -> str:
    """Why a request comes from another site's page ("" where it does not).

    A page elsewhere can make a browser call a server on its own machine: by a cross-origin POST, which
    carries another `Origin`, or by a name rebound to 127.0.0.1, which shows in `Host`.
    """
    host = _name(f"//{request.host}")
    if not (is_loopback(host) or _is_address(host)):
        return f"the host {host!r} is not this machine; give the server a password to serve other names"
    origin = request.headers.get("origin")
    if origin and origin != "null" and origin.partition("://")[2] != request.host:
        return f"pages of {origin} may not call this server; give it a password to allow that"
    if origin == "null":
        return "pages without an origin may not call this server; give it a password to allow that"
    return ""


def _name(url: str) -> str:
    """The host's name, "" where there is none that can be read."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host


def is_preflight(request: web.Request, config: ServerConfig) -> bool:
    """Whether a browser asks, as it does before most calls, what another site's page may send."""
    return (
        bool(config.password)
        and request.method == "OPTIONS"
        and request.headers.keys() >= {"origin", "access-control-request-method"}
    )


def preflight_answer(request: web.Request) -> web.Response:
    """Whatever it wants to send: what admits is the password, not where a page comes from."""
    asked = request.headers.get("access-control-request-headers", "")
    headers = {"access-control-allow-methods": "GET, POST", "access-control-max-age": "86400"}
    return web.Response(status=204, headers=headers | ({"access-control-allow-headers": asked} if asked else {}))


def readable(request: web.Request, config: ServerConfig) -> dict[str, str]:
    """The headers that let a page of another site read an answer; there are no cookies that `*` could give away."""
    if not (config.password and "origin" in request.headers):
        return {}
    return {"access-control-allow-origin": "*", "access-control-expose-headers": "*"}
