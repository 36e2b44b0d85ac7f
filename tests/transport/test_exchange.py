"""One exchange: the body of a response as a document, as chunks, or forwarded as it arrives."""

from __future__ import annotations

import asyncio

import msgspec

from acytoo import dialects
from acytoo.http import HTTPRequest
from acytoo.secret import Secret
from acytoo.testing import FakeEndpoint, raw
from acytoo.transport.config import Connection
from acytoo.transport.exchange import Exchange, open_exchange
from tests.helpers import MESSAGES

BODY = msgspec.json.encode({"messages": MESSAGES})
BEGUN = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\none \r\n"


async def opened(fake: FakeEndpoint, target: str = "/", query: str = "") -> Exchange:
    """Return an exchange whose response has begun."""
    return await open_exchange(HTTPRequest(fake.url + target, {}, BODY, query=Secret(query)), Connection())


async def test_the_pieces_of_a_document_are_joined_in_their_order() -> None:
    async with FakeEndpoint(dialects.Acytoo(), raw(BEGUN, b"4\r\ntwo \r\n", b"5\r\nthree\r\n0\r\n\r\n")) as fake:
        with await opened(fake) as exchange:
            assert await exchange.read_all() == b"one two three"


async def test_every_chunk_is_forwarded_until_the_end_which_can_be_read() -> None:
    async with FakeEndpoint(dialects.Acytoo(), raw(BEGUN)) as fake, asyncio.timeout(10):
        with await opened(fake) as exchange:
            assert await exchange.read() == b"one "
            chunks: asyncio.Queue[bytes] = asyncio.Queue()

            def deliver(chunk: bytes) -> bool:
                chunks.put_nowait(chunk)
                return True

            forwarding = asyncio.ensure_future(exchange.forward(deliver))
            for text in (b"two", b"six"):
                await fake.peers[0].send(b"3\r\n%b\r\n" % text)
                assert await chunks.get() == text
            await fake.peers[0].send(b"3\r\nend\r\n0\r\n\r\n")
            await forwarding
            assert (chunks.get_nowait(), chunks.empty()) == (b"end", True)
            assert await exchange.read() == b""


async def test_the_query_of_a_request_is_added_to_that_of_its_url() -> None:
    async with FakeEndpoint(dialects.Acytoo(), raw(BEGUN, b"0\r\n\r\n")) as fake:
        for target, sent in (("/a", "/a?k=l%20m"), ("/a?b=c", "/a?b=c&k=l%20m")):
            with await opened(fake, target, "k=l m") as exchange:
                assert await exchange.read_all() == b"one "
            assert fake.requests[-1].target == sent
