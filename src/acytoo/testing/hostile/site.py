"""A server under test, and bytes to and from it without an HTTP library, which would correct what is broken."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from acytoo.dialects.base import Dialect, Unsupported
from acytoo.errors import UsageError
from acytoo.http import Endpoint, bracketed
from acytoo.secret import Secret
from acytoo.types import Request

QUESTION: list[Any] = [{"role": "user", "content": "Hi"}]


@dataclass
class Response:
    """A response. The status is 0 if there is none."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_complete: bool
    """Whether HTTP's framing shows the end of the body."""


async def read_response(reader: asyncio.StreamReader, limit_s: float = 30.0) -> Response:
    """Read one response. Raises TimeoutError if it is not complete within `limit_s` seconds."""
    async with asyncio.timeout(limit_s):
        try:
            start_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return Response(0, {}, b"", False)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status, body = int(start_line.split()[1]), bytearray()
        try:
            if headers.get("transfer-encoding") == "chunked":
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readexactly(2)
            elif status != 204:  # that one has no body
                body += await reader.readexactly(int(headers["content-length"]))
        except asyncio.IncompleteReadError as cut:
            return Response(status, headers, bytes(body) + cut.partial, False)
        except ConnectionError:
            return Response(status, headers, bytes(body), False)
    return Response(status, headers, bytes(body), True)


@dataclass(frozen=True)
class Site:
    """The address of a server and its password. Heads of requests are written for it."""

    host: str = "127.0.0.1"
    port: int = 80
    password: Secret = field(default_factory=Secret)
    prefix: str = ""
    """The path below which a proxy serves it."""
    tls: ssl.SSLContext | None = field(default=None, compare=False)
    patience_s: float = 10.0
    """Seconds after which something counts as hung."""

    @classmethod
    def at(cls, url: str, password: str = "", patience_s: float = 10.0) -> Site:
        """Return the site at a URL. Raises UsageError if it is invalid."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"invalid URL {url!r}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"invalid URL {url!r}: expected http:// or https://")
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        return cls(
            parts.hostname, port or (443 if tls else 80), Secret(password), parts.path.rstrip("/"), tls, patience_s
        )

    def head(self, first: str, headers: str = "", *, host: str | None = None, password: Secret | None = None) -> bytes:
        """Return a request's head: its first line, a `host`, and more lines, each with its line end.

        It presents the password, so that nothing else can be the reason for a refusal.
        """
        method, space, rest = first.partition(" ")
        if rest.startswith("/"):
            first = f"{method}{space}{self.prefix}{rest}"
        host = bracketed(self.host) if host is None else host
        lines = f"{first}\r\nhost: {host}\r\ncontent-type: application/json\r\n{headers}"
        if secret := self.password if password is None else password:
            lines += f"authorization: Bearer {secret.reveal()}\r\n"
        return f"{lines}\r\n".encode()

    def request(
        self,
        dialect: Dialect,
        body: bytes | None = None,
        headers: str = "",
        *,
        stream: bool = True,
        host: str | None = None,
        password: Secret | None = None,
    ) -> bytes:
        """Return a request in a dialect: a well-formed one, or one with this body."""
        path, fields = example(dialect, stream=stream)
        if body is None:
            body = json.dumps(fields).encode()
        length = f"content-length: {len(body)}\r\n{headers}"
        return self.head(f"POST {path} HTTP/1.1", length, host=host, password=password) + body

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a connection, and abort it in the end."""
        async with asyncio.timeout(self.patience_s):
            reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def ask(self, data: bytes) -> Response:
        """Send bytes and return the first response. Raises TimeoutError."""
        async with self.connect() as (reader, writer):
            writer.write(data)
            return await read_response(reader, self.patience_s)

    async def send(self, data: bytes) -> bytes:
        """Send bytes and return all that follows until the connection is closed. Raises TimeoutError."""
        received = bytearray()
        async with self.connect() as (reader, writer), asyncio.timeout(self.patience_s):
            writer.write(data)
            try:
                while chunk := await reader.read(65536):
                    received += chunk
            except ConnectionError:
                pass  # a reset, after which what was received still counts
        return bytes(received)


def example(dialect: Dialect, *, stream: bool = True) -> tuple[str, dict[str, Any]]:
    """Return the path (with its query) and the body of a well-formed request, as the dialect's own client sends it."""
    asked = Request(QUESTION, "m-1", stream=stream)
    sent = dialect.encode_request(asked, Endpoint(""), Unsupported(dialect.name))
    path = sent.url if "{" in dialect.routes[0] else dialect.routes[0]  # of several routes, the first
    return path, json.loads(sent.body)
