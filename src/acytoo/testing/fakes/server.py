"""A server on 127.0.0.1 that keeps book of every connection and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self, cast

from acytoo._process import LoopThread
from acytoo.testing.fakes.requests import MAX_HEAD

_PIECE = 64 * 1024


class Peer(asyncio.Protocol):
    """One connection, seen from the server: what came is in `reader`, `left` is set when the client has gone."""

    def __init__(self, server: Loopback) -> None:
        self._server = server
        self.reader = asyncio.StreamReader(limit=MAX_HEAD)
        self.left = asyncio.Event()
        self.was_reset = False
        self._handed = 0
        self._closing = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._task: asyncio.Task[None] | None = None

    @property
    def written(self) -> int:
        """Bytes that the network has taken so far; within 64 KiB where the client has left, and over TLS."""
        return self._handed - (0 if self.left.is_set() else self.transport.get_write_buffer_size())

    @property
    def open(self) -> bool:
        """Whether the client is still there and the server has not closed either."""
        return not self.left.is_set() and not self._closing

    # What the server does.

    async def send(self, data: bytes) -> None:
        """Hand data to the network and wait until it has taken it all. Raises ConnectionError if the client leaves."""
        for begin in range(0, len(data), _PIECE):
            piece = data[begin : begin + _PIECE]
            self._handed += len(piece)
            self.transport.write(piece)
            await asyncio.sleep(0)
            await self._flowing.wait()
            if self.left.is_set():
                raise ConnectionResetError("the client has left")

    def close(self) -> None:
        """Close the connection (FIN) when what was sent is out."""
        self._closing = True
        self.transport.close()

    def reset(self) -> None:
        """Tear the connection down (RST)."""
        self._closing = True
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def half_close(self) -> None:
        """Send no more (FIN), keep reading; TLS knows no such thing, there it is a close."""
        if self.transport.can_write_eof():
            with contextlib.suppress(OSError):  # the client has just torn the connection down
                self.transport.write_eof()
        else:
            self.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve it in a task of its own."""
        self.transport = cast(asyncio.Transport, transport)
        if self._server.tls is None:  # asyncio's TLS does not wake a writer that waits for an empty buffer
            self.transport.set_write_buffer_limits(high=0)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.peers.append(self)
        self._server._changed()
        self._task = asyncio.get_running_loop().create_task(self._server._serve(self))

    def data_received(self, data: bytes) -> None:
        """Keep it for the task to read."""
        self.reader.feed_data(data)

    def eof_received(self) -> bool:
        """A client that says it sends no more is gone: HTTP clients do not half-close."""
        self._gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever brought it about."""
        self.was_reset = isinstance(exc, ConnectionError)
        self._gone()

    def pause_writing(self) -> None:
        """The network takes no more for now."""
        self._flowing.clear()

    def resume_writing(self) -> None:
        """The network has taken everything."""
        self._flowing.set()

    def _gone(self) -> None:
        self.left.set()
        self._flowing.set()
        self.reader.feed_eof()
        self._server._changed()


class Loopback:
    """A server on an ephemeral port of 127.0.0.1: `async with` in the running loop, `with` in a thread of its own."""

    scheme = "http"

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.peers: list[Peer] = []
        self.port = 0
        """Where it listens; 0, until it does, takes a free one."""
        self._faults: list[BaseException] = []
        self._news: asyncio.Event | None = None

    async def serve(self, peer: Peer) -> None:
        """Talk to one client; returning leaves the connection as it is."""
        raise NotImplementedError

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return len(self.peers)

    @property
    def written(self) -> int:
        """Bytes that the network has taken from all connections."""
        return sum(peer.written for peer in self.peers)

    async def until(self, condition: Any) -> None:
        """Return when `condition()` is true; it is asked whenever something has happened here."""
        assert self._news is not None
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def connected(self, count: int = 1) -> None:
        """Return when so many connections have been opened."""
        await self.until(lambda: len(self.peers) >= count)

    async def disconnected(self) -> None:
        """Return when there was a client and none is left."""
        await self.until(lambda: self.peers and all(peer.left.is_set() for peer in self.peers))

    # Life and end, in the running loop.

    async def __aenter__(self) -> Self:
        self._news = asyncio.Event()
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
        await self.until(lambda: all(peer.left.is_set() for peer in self.peers))
        await self._server.wait_closed()
        if self._faults:
            raise self._faults[0]

    # Life and end, in a thread.

    def __enter__(self) -> Self:
        self._thread = LoopThread(type(self).__name__, lambda: self, daemon=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()

    def wait_disconnected(self, timeout: float = 10.0) -> None:
        """`disconnected()` for another thread than the server's. Raises TimeoutError."""
        assert self._thread.loop is not None
        asyncio.run_coroutine_threadsafe(self.disconnected(), self._thread.loop).result(timeout)

    # Called by its peers.

    async def _serve(self, peer: Peer) -> None:
        """The server's own faults end the test that scripted them; a client that leaves is no fault."""
        try:
            await self.serve(peer)
        except ConnectionError:
            pass
        except Exception as error:
            self._faults.append(error)
            peer.reset()

    def _changed(self) -> None:
        if self._news is not None:
            self._news.set()


@contextlib.contextmanager
def refused_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which nobody listens, as long as the context lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextlib.asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """A port of 127.0.0.1 that never answers a connect: its queue of waiting connections is full (Linux)."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        while True:
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            try:
                async with asyncio.timeout(0.2):
                    await loop.sock_connect(filler, ("127.0.0.1", port))
            except TimeoutError:
                break
        yield port
