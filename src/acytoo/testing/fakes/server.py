"""A server on 127.0.0.1 that records every connection and leaves nothing behind.

A client's disconnect has to be seen at once, and the bytes that the kernel has accepted have to be counted, so `Peer`
is an asyncio protocol of its own: `asyncio.start_server` reports neither while a handler is waiting or writing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self, cast

from acytoo._process import LoopThread
from acytoo._reset import reset

MAX_HEAD = 1024 * 1024
"""Bytes that the head of a request may have."""

_WRITE_SIZE = 64 * 1024


class Peer(asyncio.Protocol):
    """A server's side of one connection: `reader` has the received bytes, `client_left` is set on a disconnect."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self.reader = asyncio.StreamReader(limit=MAX_HEAD)
        self.client_left = asyncio.Event()
        self._written = 0
        self._closing = False
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._task: asyncio.Task[None] | None = None

    @property
    def written(self) -> int:
        """Bytes that the kernel has accepted. Off by up to 64 KiB over TLS or after the client has disconnected."""
        return self._written - (0 if self.client_left.is_set() else self.transport.get_write_buffer_size())

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed the connection."""
        return not self.client_left.is_set() and not self._closing

    # Called by the server.

    async def send(self, data: bytes) -> None:
        """Write data and wait until the kernel has accepted it. Raises ConnectionResetError after a disconnect."""
        for begin in range(0, len(data), _WRITE_SIZE):
            part = data[begin : begin + _WRITE_SIZE]
            self._written += len(part)
            self.transport.write(part)
            await asyncio.sleep(0)
            await self._can_write.wait()
            if self.client_left.is_set():
                raise ConnectionResetError("the client has disconnected")

    def close(self) -> None:
        """Close the connection (FIN) when all written data is sent."""
        self._closing = True
        self.transport.close()

    def reset(self) -> None:
        """Reset the connection (RST)."""
        self._closing = True
        reset(self.transport)

    def half_close(self) -> None:
        """Shut down the sending side (FIN) and keep reading. TLS cannot do that: there it closes the connection."""
        if self.transport.can_write_eof():
            with contextlib.suppress(OSError):  # the client has just reset the connection
                self.transport.write_eof()
        else:
            self.close()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start a task that serves the connection."""
        self.transport = cast(asyncio.Transport, transport)
        # With a high-water mark of 0, `send` waits until the buffer is empty. asyncio's TLS transport would not
        # wake it then.
        if self._server.tls is None:
            self.transport.set_write_buffer_limits(high=0)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.peers.append(self)
        self._server._notify()
        self._task = asyncio.get_running_loop().create_task(self._server._serve(self))

    def data_received(self, data: bytes) -> None:
        """Buffer the data for the task."""
        self.reader.feed_data(data)

    def eof_received(self) -> bool:
        """Count a client that shuts down its sending side as disconnected: HTTP clients do not half-close."""
        self._on_disconnect()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the end of the connection, whichever side caused it."""
        self._on_disconnect()

    def pause_writing(self) -> None:
        """Make `send` wait: the write buffer is not empty."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """Wake `send`: the write buffer is empty."""
        self._can_write.set()

    def _on_disconnect(self) -> None:
        self.client_left.set()
        self._can_write.set()
        self.reader.feed_eof()
        self._server._notify()


class FakeServer:
    """A server on a port of 127.0.0.1: `async with` serves in the running loop, `with` in a thread of its own."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.peers: list[Peer] = []
        self.port = 0
        """The port to listen on; 0 is replaced by a free one when the server starts."""
        self._errors: list[BaseException] = []
        self._changed: asyncio.Event | None = None

    async def serve(self, peer: Peer) -> None:
        """Serve one connection. Returning leaves it open."""
        raise NotImplementedError

    @property
    def connections(self) -> int:
        """The number of connections opened so far."""
        return len(self.peers)

    @property
    def written(self) -> int:
        """Bytes that the kernel has accepted on all connections."""
        return sum(peer.written for peer in self.peers)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition()` is true. It is checked whenever a connection or request changes."""
        assert self._changed is not None
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def connected(self, count: int = 1) -> None:
        """Wait until this many connections have been opened."""
        await self.until(lambda: len(self.peers) >= count)

    async def disconnected(self) -> None:
        """Wait until there has been a client and all have disconnected."""
        await self.until(lambda: self.peers and all(peer.client_left.is_set() for peer in self.peers))

    # Start and stop, in the running loop.

    async def __aenter__(self) -> Self:
        self._changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Peer(self), "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = [peer._task for peer in self.peers if peer._task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in self.peers:
            peer.reset()
        await self.until(lambda: all(peer.client_left.is_set() for peer in self.peers))
        await self._server.wait_closed()
        if self._errors:
            raise self._errors[0]

    # Start and stop, in a thread.

    def __enter__(self) -> Self:
        self._thread = LoopThread(type(self).__name__, lambda: self, daemon=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()

    def wait_disconnected(self, timeout: float = 60.0) -> None:
        """Call `disconnected()` from another thread than the server's. Raises TimeoutError."""
        assert self._thread.loop is not None
        asyncio.run_coroutine_threadsafe(self.disconnected(), self._thread.loop).result(timeout)

    # Called by the connections.

    async def _serve(self, peer: Peer) -> None:
        """Keep an unexpected error, to raise it when the server stops: the test that scripted it must fail.

        A client that disconnects is expected.
        """
        try:
            await self.serve(peer)
        except ConnectionError:
            pass
        except Exception as error:
            self._errors.append(error)
            peer.reset()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()


@contextlib.contextmanager
def refused_port() -> Iterator[int]:
    """Yield a port of 127.0.0.1 that refuses connections as long as the context lasts."""
    with socket.socket() as bound:  # bound but not listener
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """Yield a port of 127.0.0.1 that never answers a connect.

    Linux drops a SYN if the listener socket's backlog is full, so connections are opened until one gets no answer.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        while True:
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            try:
                async with asyncio.timeout(0.2):
                    await loop.sock_connect(filler, ("127.0.0.1", port))
            except TimeoutError:
                break
        yield port
