"""HTTP/1.1 requests as a scripted server reads them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

if TYPE_CHECKING:
    from acytoo.testing.fakes.server import Peer

MAX_HEAD = 1024 * 1024
"""Bytes a request's head may have."""


@dataclass
class ReceivedRequest:
    """One request, as it came; header names are in lower case, `target` is what follows the method."""

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
        """The target's query, the last of each name."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The body, decoded. Raises msgspec.DecodeError where it is no JSON."""
        return msgspec.json.decode(self.body)


async def read_head(reader: asyncio.StreamReader) -> ReceivedRequest | None:
    """The next request's head, None where the client has left before it was complete."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").strip("\r\n").split("\r\n")
    method, _, rest = first.partition(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return ReceivedRequest(method, rest.rpartition(" ")[0], headers)


async def read_request(reader: asyncio.StreamReader) -> ReceivedRequest | None:
    """The next request with its body, None where the client has left before it was complete."""
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
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return bytes(body)
