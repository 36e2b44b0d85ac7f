"""The HTTP server: listening, the set of connections, stopping."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence

from acytoo.dialects import by_name
from acytoo.dialects.fields import invalid
from acytoo.errors import ServerError, one_line
from acytoo.http import HTTPResponse
from acytoo.http1.buffer import ReceiveBuffer
from acytoo.http1.head import HTTPError
from acytoo.server.config import ServerConfig
from acytoo.server.connection import ServerConnection
from acytoo.server.listener import Listener
from acytoo.server.request import IncomingRequest

_ACCESS_LOG = logging.getLogger("acytoo.access")

_MAX_REFUSED = 100
"""Connections above the limit that get a response; others are closed without one."""

_LAST_REQUEST_WITHIN = 5.0
"""Seconds in which a connection may send another request after the server was asked to drain."""

_CANCEL_TIMEOUT = 1.0
"""Seconds that cancelled requests get to release their backends. Later ones are left to the event loop's end."""


class HTTPServer:
    """A server on the running event loop; `handler` returns the response to a request, or None if it has sent one."""

    def __init__(
        self,
        handler: Callable[[IncomingRequest], Awaitable[HTTPResponse | None]],
        config: ServerConfig,
        *,
        access_log: bool = False,
    ) -> None:
        self.handler = handler
        self.config = config
        self.access_log = access_log
        self.loop = asyncio.get_running_loop()
        self.buffer = ReceiveBuffer()
        self.is_closing = False
        self.is_stopping = False
        """Whether each response announces the end of its connection. `is_closing`: idle connections are closed."""
        self.connections: set[ServerConnection] = set()
        self._emptied: asyncio.Future[None] | None = None
        self.listener: Listener | None = None

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Accept connections. Return the address. Raises what `create_server` raises."""
        if not 0 <= port < 65536:  # uvloop would take another one
            raise OverflowError("a port is a number from 0 to 65535")
        listener = Listener(lambda: ServerConnection(self))
        address = await listener.listen(host, port)
        self.listener = listener
        return address

    def listen_on(self, sockets: Sequence[socket.socket]) -> tuple[str, int]:
        """Accept connections from sockets that listen, which other processes have too. Return the address."""
        self.listener = Listener(lambda: ServerConnection(self))
        self.listener.add(sockets)
        address, port = sockets[0].getsockname()[:2]
        return address, port

    async def drain(self) -> None:
        """Stop accepting connections, and answer those that exist until each has ended.

        A client may be sending a request on a connection just when the server closes it, and cannot know whether it
        was received. So each connection may send one more for a while, and its response announces the end.
        """
        if self.listener is not None:
            self.is_stopping = True
            await self.listener.close()
            await self._wait_until_empty(_LAST_REQUEST_WITHIN)

    async def close(self) -> None:
        """Stop accepting connections, let running replies finish for `config.grace` seconds, then close everything."""
        if self.listener is None or self.is_closing:
            return
        self.is_stopping = True
        try:
            await self.listener.close()
            self.is_closing = True
            for _ in range(4):  # asyncio takes some turns to read a request that has already arrived
                await asyncio.sleep(0)
            for connection in list(self.connections):
                connection.finish()
            await self._wait_until_empty(self.config.grace)
        finally:
            tasks = [task for connection in self.connections if (task := connection.finish()) is not None]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_CANCEL_TIMEOUT)
            for connection in list(self.connections):
                connection.abort()
            await self._wait_until_empty(_CANCEL_TIMEOUT)

    def add(self, connection: ServerConnection) -> HTTPResponse | None:
        """Count a connection. Return the response that refuses it if there are too many."""
        self.connections.add(connection)
        excess = len(self.connections) - self.config.max_connections
        if self.is_closing or excess > _MAX_REFUSED:
            connection.abort()
        elif excess > 0:
            error = ServerError("too many connections: try again later", status=503, code="overloaded_error")
            return by_name("openai").write_error(error)
        return None

    def remove(self, connection: ServerConnection) -> None:
        """Forget a connection that has ended."""
        self.connections.discard(connection)
        if not self.connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def describe(self, error: HTTPError) -> HTTPResponse:
        """Return the response to a message that is not HTTP. Most clients read OpenAI's format."""
        return by_name("openai").write_error(invalid(f"invalid HTTP request: {error}"))

    def log_access(self, request: IncomingRequest, size: int, seconds: float) -> None:
        """Log client address, request line, status, bytes, seconds and user agent. The query may hold a key."""
        transport = request.connection.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        _ACCESS_LOG.info(
            '%s "%s %s" %s %s %.3f "%s"',
            peer[0] if peer else "-",
            request.method,
            _quoted(request.raw_path),
            request.status,
            size,
            seconds,
            one_line(_quoted(request.headers.get("user-agent", "-"))),
        )

    async def _wait_until_empty(self, seconds: float) -> None:
        if self.connections:
            self._emptied = self.loop.create_future()
            await asyncio.wait({self._emptied}, timeout=seconds)


def _quoted(text: str) -> str:
    """Return a text that ends at its quote in the log, not at one of its own."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
