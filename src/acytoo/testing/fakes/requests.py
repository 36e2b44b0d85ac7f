"""Parse the HTTP/1.1 requests that a fake server receives."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from acytoo.dialects.base import Dialect
from acytoo.errors import AcytooError
from acytoo.http import ServerRequest
from acytoo.testing.fakes.server import Peer
from acytoo.types import Request


@dataclass
class ReceivedRequest:
    """One request as received. Header names are in lower case; `target` is the second word of the request line."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    peer: Peer | None = field(default=None, repr=False)

    @property
    def path(self) -> str:
        """The target without scheme, host and query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The target's query; of a repeated name, the last value."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The decoded body. Raises msgspec.DecodeError if it is not JSON."""
        return msgspec.json.decode(self.body)

    def decode(self, dialect: Dialect) -> Request:
        """Return the chat request. A malformed one counts as an empty request for a stream."""
        try:
            return dialect.decode_request(ServerRequest(self.path, self.headers, self.body, self.query)).request
        except AcytooError:
            return Request([{"role": "user", "content": ""}])


async def read_head(reader: asyncio.StreamReader) -> ReceivedRequest | None:
    """Return the next request's head, or None if the client disconnects before it is complete."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    request_line, *lines = head.decode("latin-1").strip("\r\n").split("\r\n")
    method, _, rest = request_line.partition(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return ReceivedRequest(method, rest.rpartition(" ")[0], headers)


async def read_request(reader: asyncio.StreamReader) -> ReceivedRequest | None:
    """Return the next request with its body, or None if the client disconnects before it is complete."""
    request = await read_head(reader)
    if request is None:
        return None
    try:
        if "chunked" in request.headers.get("transfer-encoding", "").lower():
            request.body = await _read_chunks(reader)
        else:
            request.body = await reader.readexactly(int(request.headers.get("content-length", "0")))
    except asyncio.IncompleteReadError:
        return None
    return request


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":  # trailers
        pass
    return bytes(body)
