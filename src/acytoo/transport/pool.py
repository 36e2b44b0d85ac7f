"""A pool of HTTP sessions for each event loop, closed when the loop ends."""

from __future__ import annotations

import asyncio
import atexit
import functools
import threading
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

from acytoo._process import in_forked_child, leak
from acytoo.errors import MissingExtraError
from acytoo.transport._aiohttp import CAN_REUSE, Connector, Request, abandon, is_idle
from acytoo.transport.config import Proxy

_MAX_SOCKS = 16
"""SOCKS proxies whose sessions an event loop keeps; a program may go through thousands of them."""


class _LoopSessions:
    """The sessions of one event loop: a pooled one, one that never reuses a connection, and one per SOCKS proxy."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.sessions: dict[Proxy | str, aiohttp.ClientSession] = {}
        self._closer: AsyncGenerator[None, None] | None = None

    async def add(self, key: Proxy | str) -> aiohttp.ClientSession:
        if self._closer is None:
            self._closer = self._close_with_loop()
            await anext(self._closer)
        if isinstance(key, Proxy):
            await self._close_idle_proxies()
        session = self.sessions[key] = _new_session(key)
        return session

    async def _close_idle_proxies(self) -> None:
        """Make room for one more SOCKS proxy: close idle sessions of others, least recently used first."""
        proxies = [key for key in self.sessions if isinstance(key, Proxy)]
        for key in proxies:
            if len(proxies) < _MAX_SOCKS:
                break
            if is_idle(self.sessions[key]):
                proxies = proxies[1:]
                await self.sessions.pop(key).close()

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        """Close the sessions when the loop ends: `shutdown_asyncgens` closes this generator."""
        try:
            yield
        finally:
            for session in self.sessions.values():
                await session.close()
            self.sessions.clear()
            self._closer = None
            with _lock:
                _open.pop(self.loop, None)

    def drop(self) -> None:
        """Close the sessions of a loop that was closed without shutting down its async generators."""
        for session in self.sessions.values():
            abandon(session)
        self.sessions.clear()


_open: dict[asyncio.AbstractEventLoop, _LoopSessions] = {}
_lock = threading.Lock()


async def session_for(proxy: Proxy | None, *, reuse: bool = True) -> aiohttp.ClientSession:
    """Return the running loop's session. Raises MissingExtraError for a SOCKS proxy without the `socks` extra."""
    loop = asyncio.get_running_loop()
    key: Proxy | str = proxy if proxy is not None and proxy.is_socks else "pooled" if reuse else "fresh"
    pool = _open.get(loop)
    if pool is None:
        _drop_closed_loops()
        with _lock:
            pool = _open.setdefault(loop, _LoopSessions(loop))
    session = pool.sessions.get(key)
    if session is None or session.closed:
        return await pool.add(key)
    if type(key) is Proxy:
        pool.sessions[key] = pool.sessions.pop(key)  # most recently used last
    return session


def _drop_closed_loops() -> None:
    with _lock:
        for loop in [loop for loop in _open if loop.is_closed()]:
            _open.pop(loop).drop()


atexit.register(_drop_closed_loops)


@in_forked_child
def _after_fork() -> None:
    """Leave the parent's sessions alone: destroying one would reach into the parent's event loop."""
    global _open, _lock
    if _open:
        leak(_open)
    _open = {}
    _lock = threading.Lock()


def _new_session(key: Proxy | str) -> aiohttp.ClientSession:
    connector: aiohttp.BaseConnector
    if isinstance(key, Proxy):
        connector = _socks_connector(key)
    else:
        connector = Connector(limit=0, force_close=key == "fresh" or not CAN_REUSE)
    return aiohttp.ClientSession(
        connector=connector, request_class=Request, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    )


def _socks_connector(proxy: Proxy) -> aiohttp.BaseConnector:
    try:
        connector, types = _socks()
    except ImportError as error:
        raise MissingExtraError(f"the proxy {proxy.url}", "socks") from error
    from urllib.parse import urlsplit

    parts = urlsplit(proxy.url)
    # As in curl: with socks4a and socks5h the proxy resolves the host name, with socks4 and socks5 we do.
    socks: aiohttp.BaseConnector = connector(
        host=parts.hostname or "",
        port=parts.port or 1080,
        proxy_type=types.SOCKS4 if parts.scheme.startswith("socks4") else types.SOCKS5,
        username=proxy.user or None,
        password=proxy.password or None,
        rdns=parts.scheme in ("socks4a", "socks5h"),
        limit=0,
        force_close=True,
    )
    return socks


@functools.cache
def _socks() -> tuple[Any, Any]:
    """Return a SOCKS connector class derived from ours too, and the proxy types. Raises ImportError."""
    from aiohttp_socks import ProxyConnector, ProxyType

    return type("_SocksConnector", (Connector, ProxyConnector), {}), ProxyType
