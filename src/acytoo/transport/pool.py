"""One pooled HTTP session per event loop, closed by itself when the loop ends."""

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
from acytoo.transport.buffers import read_less_at_once
from acytoo.transport.config import Proxy
from acytoo.transport.request import Body, Request


class _Connector(aiohttp.TCPConnector):
    """Tells whether a connection is new, so that only a request on a stale one is ever sent again; reads in small."""

    async def _create_connection(self, req: aiohttp.ClientRequest, *args: Any, **kwargs: Any) -> Any:
        if isinstance(req.body, Body):
            req.body.on_new_connection = True
        protocol = await super()._create_connection(req, *args, **kwargs)
        read_less_at_once(protocol.transport)
        return protocol


_MAX_SOCKS = 16
"""SOCKS proxies whose sessions a loop keeps: who goes through thousands of them needs no session of each."""


class _LoopSessions:
    """The sessions of one event loop: one for HTTP, one more for each SOCKS proxy, one that never reuses."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.sessions: dict[Proxy | str, aiohttp.ClientSession] = {}
        self._keeper: AsyncGenerator[None, None] | None = None

    async def add(self, key: Proxy | str) -> aiohttp.ClientSession:
        if self._keeper is None:
            self._keeper = self._closing_with_the_loop()
            await anext(self._keeper)
        if isinstance(key, Proxy):
            await self._close_spare_ones()
        session = self.sessions[key] = _new_session(key)
        return session

    async def _close_spare_ones(self) -> None:
        """Make room for one more SOCKS proxy, where others have nothing under way; those used last stay."""
        proxies = [key for key in self.sessions if isinstance(key, Proxy)]
        for key in proxies:
            if len(proxies) < _MAX_SOCKS:
                break
            if not getattr(self.sessions[key].connector, "_acquired", True):
                proxies = proxies[1:]
                await self.sessions.pop(key).close()

    async def _closing_with_the_loop(self) -> AsyncGenerator[None, None]:
        """The loop closes its async generators when it ends; this one closes the sessions."""
        try:
            yield
        finally:
            for session in self.sessions.values():
                await session.close()
            self.sessions.clear()
            self._keeper = None
            with _lock:
                _open.pop(self.loop, None)

    def drop(self) -> None:
        """Close what a loop left behind that was closed without ending its async generators."""
        for session in self.sessions.values():
            connector = session.connector
            session.detach()
            if connector is not None:
                connector._close()
        self.sessions.clear()


_open: dict[asyncio.AbstractEventLoop, _LoopSessions] = {}
_lock = threading.Lock()


async def session_for(proxy: Proxy | None, *, reuse: bool = True) -> aiohttp.ClientSession:
    """The running loop's session. Raises MissingExtraError for a SOCKS proxy without the `socks` extra."""
    loop = asyncio.get_running_loop()
    key: Proxy | str = proxy if proxy is not None and proxy.is_socks else "pooled" if reuse else "fresh"
    found = _open.get(loop)
    if found is None:
        _drop_closed_loops()
        with _lock:
            found = _open.setdefault(loop, _LoopSessions(loop))
    session = found.sessions.get(key)
    if session is None or session.closed:
        return await found.add(key)
    if type(key) is Proxy:
        found.sessions[key] = found.sessions.pop(key)  # used last
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
    elif key == "fresh":
        connector = _Connector(limit=0, force_close=True)
    else:
        connector = _Connector(limit=0)
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
    # socks4a and socks5h leave the name to the proxy, socks4 and socks5 look it up here (as curl does).
    made: aiohttp.BaseConnector = connector(
        host=parts.hostname or "",
        port=parts.port or 1080,
        proxy_type=types.SOCKS4 if parts.scheme.startswith("socks4") else types.SOCKS5,
        username=proxy.user or None,
        password=proxy.password or None,
        rdns=parts.scheme in ("socks4a", "socks5h"),
        limit=0,
        force_close=True,
    )
    return made


@functools.cache
def _socks() -> tuple[Any, Any]:
    """A connector that is ours as well as SOCKS's, and the kinds of proxy. Raises ImportError without the extra."""
    from aiohttp_socks import ProxyConnector, ProxyType

    return type("_SocksConnector", (_Connector, ProxyConnector), {}), ProxyType
