"""Scripted proxies: HTTP (CONNECT and absolute form), SOCKS4, SOCKS4a and SOCKS5, with passwords and refusals."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import struct
from http import HTTPStatus
from urllib.parse import urlsplit

from acytoo.testing.fakes.requests import ReceivedRequest, read_head
from acytoo.testing.fakes.server import Loopback, Peer

_PIECE = 64 * 1024


class _FakeProxy(Loopback):
    """What every proxy here has: where it was asked to go, whom it lets in, and the way from one side to the other."""

    def __init__(self, user: str = "", password: str = "") -> None:
        super().__init__()
        self.user = user
        self.password = password
        self.targets: list[str] = []
        """`host:port` of every connection it was asked for, with the host as it was given: a name or an address."""

    async def _relay(self, peer: Peer, host: str, port: int, first: bytes = b"") -> None:
        """Carry bytes both ways until one side ends."""
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(first)
            ways = [asyncio.create_task(self._up(peer, writer)), asyncio.create_task(self._down(reader, peer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            peer.close()
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def _up(self, peer: Peer, writer: asyncio.StreamWriter) -> None:
        while data := await peer.reader.read(_PIECE):
            writer.write(data)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, peer: Peer) -> None:
        while data := await reader.read(_PIECE):
            await peer.send(data)


class FakeHTTPProxy(_FakeProxy):
    """An HTTP proxy; `refuse` is the status it answers every request with."""

    def __init__(self, user: str = "", password: str = "", *, refuse: int | None = None) -> None:
        super().__init__(user, password)
        self.refuse = refuse
        self.requests: list[ReceivedRequest] = []

    @property
    def url(self) -> str:
        """Where it listens, without credentials."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, peer: Peer) -> None:
        """One tunnel, or one request in absolute form and whatever follows on its connection."""
        request = await read_head(peer.reader)
        if request is None:
            return
        self.requests.append(request)
        self._changed()
        wanted = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if self.user and request.headers.get("proxy-authorization") != wanted:
            await self._answer(peer, 407, 'proxy-authenticate: Basic realm="fake"\r\n')
        elif self.refuse is not None:
            await self._answer(peer, self.refuse)
        elif request.method == "CONNECT":
            self.targets.append(request.target)
            host, _, port = request.target.rpartition(":")
            await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await self._relay(peer, host, int(port))
        else:
            parts = urlsplit(request.target)
            host, number = parts.hostname or "", parts.port or 80
            self.targets.append(f"{host}:{number}")
            await self._relay(peer, host, number, _passed_on(request))

    async def _answer(self, peer: Peer, status: int, headers: str = "") -> None:
        phrase = HTTPStatus(status).phrase
        body = f"the proxy says: {phrase}"
        head = f"HTTP/1.1 {status} {phrase}\r\n{headers}content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        await peer.send((head + body).encode())
        peer.close()


def _passed_on(request: ReceivedRequest) -> bytes:
    """The request's head as the server behind the proxy gets it."""
    parts = urlsplit(request.target)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{name}: {value}" for name, value in request.headers.items() if not name.startswith("proxy-")]
    return "\r\n".join([f"{request.method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


class FakeSOCKSProxy(_FakeProxy):
    """A SOCKS4, SOCKS4a and SOCKS5 proxy (the client chooses); `refuse` refuses every target.

    Source: RFC 1928 and RFC 1929; "SOCKS: A protocol for TCP proxy across firewalls" and its 4A extension.
    """

    def __init__(self, user: str = "", password: str = "", *, refuse: bool = False) -> None:
        super().__init__(user, password)
        self.refuse = refuse
        self.versions: list[int] = []

    @property
    def url(self) -> str:
        """Where it listens, as a SOCKS5 proxy that looks names up itself, without credentials."""
        return f"socks5h://127.0.0.1:{self.port}"

    async def serve(self, peer: Peer) -> None:
        """One handshake and the tunnel it asks for."""
        try:
            version = (await peer.reader.readexactly(1))[0]
            self.versions.append(version)
            if version == 5:
                await self._socks5(peer)
            elif version == 4:
                await self._socks4(peer)
            else:
                peer.close()
        except asyncio.IncompleteReadError:
            peer.close()

    async def _socks5(self, peer: Peer) -> None:
        read = peer.reader.readexactly
        methods = await read((await read(1))[0])
        method = 2 if self.user else 0
        if method not in methods:
            await peer.send(b"\x05\xff")
            peer.close()
            return
        await peer.send(bytes([5, method]))
        if method == 2:
            await read(1)
            user = await read((await read(1))[0])
            password = await read((await read(1))[0])
            right = (user.decode(), password.decode()) == (self.user, self.password)
            await peer.send(b"\x01\x00" if right else b"\x01\x01")
            if not right:
                peer.close()
                return
        _, _, _, kind = await read(4)
        if kind == 3:
            host = (await read((await read(1))[0])).decode()
        else:
            host = str(ipaddress.ip_address(await read(4 if kind == 1 else 16)))
        (port,) = struct.unpack(">H", await read(2))
        self.targets.append(f"{host}:{port}")
        await peer.send(bytes([5, 2 if self.refuse else 0, 0, 1, 0, 0, 0, 0, 0, 0]))
        await self._tunnel(peer, host, port)

    async def _socks4(self, peer: Peer) -> None:
        read, until = peer.reader.readexactly, peer.reader.readuntil
        _, port = struct.unpack(">BH", await read(3))
        address = await read(4)
        user = (await until(b"\0"))[:-1].decode()
        named = address[:3] == b"\0\0\0" and address[3]
        host = (await until(b"\0"))[:-1].decode() if named else str(ipaddress.ip_address(address))
        self.targets.append(f"{host}:{port}")
        granted = not self.refuse and user == self.user
        await peer.send(bytes([0, 90 if granted else 91, 0, 0, 0, 0, 0, 0]))
        if granted:
            await self._tunnel(peer, host, port)
        else:
            peer.close()

    async def _tunnel(self, peer: Peer, host: str, port: int) -> None:
        if self.refuse:
            peer.close()
        else:
            await self._relay(peer, host, port)
