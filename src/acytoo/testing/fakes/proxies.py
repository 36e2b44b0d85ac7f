"""Fake proxies: HTTP (CONNECT and absolute form), SOCKS4, SOCKS4a and SOCKS5, with passwords and refusals."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import struct
from http import HTTPStatus
from urllib.parse import urlsplit

from acytoo.testing.fakes.requests import ReceivedRequest, read_head
from acytoo.testing.fakes.server import FakeServer, Peer

_READ_SIZE = 64 * 1024


class _FakeProxy(FakeServer):
    """A proxy that records its targets, checks a user and password, and relays bytes."""

    def __init__(self, user: str = "", password: str = "") -> None:
        super().__init__()
        self.user = user
        self.password = password
        self.targets: list[str] = []
        """`host:port` of every requested connection, with the host as requested: a name or an address."""

    @property
    def url(self) -> str:
        """The proxy's URL without credentials."""
        raise NotImplementedError

    async def _relay(self, peer: Peer, host: str, port: int, request: bytes = b"") -> None:
        """Connect to the target, send it `request`, then relay bytes both ways until one side ends."""
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(request)
            tasks = [asyncio.create_task(self._upload(peer, writer)), asyncio.create_task(self._download(reader, peer))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            peer.close()
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def _upload(self, peer: Peer, writer: asyncio.StreamWriter) -> None:
        while data := await peer.reader.read(_READ_SIZE):
            writer.write(data)
            await writer.drain()

    async def _download(self, reader: asyncio.StreamReader, peer: Peer) -> None:
        while data := await reader.read(_READ_SIZE):
            await peer.send(data)


class FakeHTTPProxy(_FakeProxy):
    """An HTTP proxy. `refuse` is the status with which it answers every request."""

    def __init__(self, user: str = "", password: str = "", *, refuse: int | None = None) -> None:
        super().__init__(user, password)
        self.refuse = refuse
        self.requests: list[ReceivedRequest] = []

    @property
    def url(self) -> str:
        """The proxy's URL without credentials."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, peer: Peer) -> None:
        """Serve a CONNECT tunnel, or relay a request in absolute form and whatever follows it."""
        request = await read_head(peer.reader)
        if request is None:
            return
        self.requests.append(request)
        self._notify()
        expected = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if self.user and request.headers.get("proxy-authorization") != expected:
            await self._respond(peer, 407, 'proxy-authenticate: Basic realm="fake"\r\n')
        elif self.refuse is not None:
            await self._respond(peer, self.refuse)
        elif request.method == "CONNECT":
            self.targets.append(request.target)
            host, _, port = request.target.rpartition(":")
            await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await self._relay(peer, host, int(port))
        else:
            parts = urlsplit(request.target)
            host, target_port = parts.hostname or "", parts.port or 80
            self.targets.append(f"{host}:{target_port}")
            await self._relay(peer, host, target_port, _origin_form(request))

    async def _respond(self, peer: Peer, status: int, headers: str = "") -> None:
        phrase = HTTPStatus(status).phrase
        body = f"proxy error: {phrase}"
        head = f"HTTP/1.1 {status} {phrase}\r\n{headers}content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        await peer.send((head + body).encode())
        peer.close()


def _origin_form(request: ReceivedRequest) -> bytes:
    """Return the request's head as the proxy sends it to the server: in origin form, without proxy headers."""
    parts = urlsplit(request.target)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{name}: {value}" for name, value in request.headers.items() if not name.startswith("proxy-")]
    return "\r\n".join([f"{request.method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


class FakeSOCKSProxy(_FakeProxy):
    """A SOCKS4, SOCKS4a and SOCKS5 proxy: the client chooses the version. With `refuse`, it refuses every target.

    Source: RFC 1928 and RFC 1929; "SOCKS: A protocol for TCP proxy across firewalls" and its 4A extension.
    """

    def __init__(self, user: str = "", password: str = "", *, refuse: bool = False) -> None:
        super().__init__(user, password)
        self.refuse = refuse
        self.versions: list[int] = []

    @property
    def url(self) -> str:
        """The proxy's URL without credentials, for a SOCKS5 client that lets the proxy resolve names."""
        return f"socks5h://127.0.0.1:{self.port}"

    async def serve(self, peer: Peer) -> None:
        """Serve one handshake and its tunnel."""
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
        method = 2 if self.user else 0  # username and password, or no authentication
        if method not in methods:
            await peer.send(b"\x05\xff")
            peer.close()
            return
        await peer.send(bytes([5, method]))
        if method == 2:
            await read(1)
            user = await read((await read(1))[0])
            password = await read((await read(1))[0])
            accepted = (user.decode(), password.decode()) == (self.user, self.password)
            await peer.send(b"\x01\x00" if accepted else b"\x01\x01")
            if not accepted:
                peer.close()
                return
        _, _, _, address_type = await read(4)
        if address_type == 3:  # a name; 1 is IPv4, 4 is IPv6
            host = (await read((await read(1))[0])).decode()
        else:
            host = str(ipaddress.ip_address(await read(4 if address_type == 1 else 16)))
        (port,) = struct.unpack(">H", await read(2))
        self.targets.append(f"{host}:{port}")
        await peer.send(bytes([5, 2 if self.refuse else 0, 0, 1, 0, 0, 0, 0, 0, 0]))
        await self._tunnel(peer, host, port)

    async def _socks4(self, peer: Peer) -> None:
        read, until = peer.reader.readexactly, peer.reader.readuntil
        _, port = struct.unpack(">BH", await read(3))
        address = await read(4)
        user = (await until(b"\0"))[:-1].decode()
        # SOCKS4a: the invalid address 0.0.0.x with x != 0 means that a name follows.
        has_name = address[:3] == b"\0\0\0" and address[3]
        host = (await until(b"\0"))[:-1].decode() if has_name else str(ipaddress.ip_address(address))
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
