"""One exchange: the body of a response as a document, as chunks, or forwarded as it arrives."""

from __future__ import annotations

import asyncio
import gc
import gzip

import msgspec
import pytest

from acytoo import dialects
from acytoo.errors import ProtocolError, TruncatedError, UnreachableError
from acytoo.http import HTTPRequest
from acytoo.http1.response_parser import ResponseParser
from acytoo.secret import Secret
from acytoo.testing import FakeEndpoint, raw, refused_port
from acytoo.testing.conformance.clock import finishes_within
from acytoo.transport.config import Connection
from acytoo.transport.errors import describe
from acytoo.transport.exchange import Exchange, open_exchange
from acytoo.wire.limits import MAX_REPLY_ELEMENTS
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
    async with FakeEndpoint(dialects.Acytoo(), raw(BEGUN)) as fake, asyncio.timeout(120):
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


async def test_the_error_of_a_body_that_was_cut_has_its_cause() -> None:
    async with FakeEndpoint(dialects.Acytoo(), raw(BEGUN).close()) as fake:
        with await opened(fake) as exchange:
            with pytest.raises(TruncatedError) as caught:
                await exchange.read_all()
            assert isinstance(caught.value.__cause__, ConnectionResetError)
            assert str(caught.value.__cause__) in str(caught.value)


async def test_a_compressed_chunk_with_too_many_values_is_an_error_before_it_is_decoded() -> None:
    body = gzip.compress(b"data: [" + b"0," * MAX_REPLY_ELEMENTS + b"0]\n\n")
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with FakeEndpoint(dialects.Acytoo(), raw(head + body)) as fake:
        with await opened(fake) as exchange, pytest.raises(ProtocolError, match="more than 1000000 values"):
            await exchange.read()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("a\n b"), "a b"),
        (OSError(), "OSError"),
        (OSError("x" * 300), "x" * 300),
        (OSError("x" * 301), "x" * 299 + "…"),
    ],
)
def test_a_failure_is_described_in_one_line_of_limited_length(error: Exception, text: str) -> None:
    assert describe(error) == text


async def test_the_query_of_a_request_is_added_to_that_of_its_url() -> None:
    async with FakeEndpoint(dialects.Acytoo(), raw(BEGUN, b"0\r\n\r\n")) as fake:
        for target, sent in (("/a", "/a?k=l%20m"), ("/a?b=c", "/a?b=c&k=l%20m")):
            with await opened(fake, target, "k=l m") as exchange:
                assert await exchange.read_all() == b"one "
            assert fake.requests[-1].target == sent


async def test_a_request_is_sent_once_a_connection_has_been_established() -> None:
    async with FakeEndpoint(dialects.Acytoo(), raw(BEGUN, b"0\r\n\r\n")) as fake:
        request = HTTPRequest(fake.url, {}, BODY)
        with await open_exchange(request, Connection()):
            assert request.is_sent
    with refused_port() as port:
        request = HTTPRequest(f"http://127.0.0.1:{port}", {}, BODY)
        with pytest.raises(UnreachableError):
            await open_exchange(request, Connection())
    assert not request.is_sent


async def test_a_connection_that_was_closed_is_freed_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        async with FakeEndpoint(dialects.Acytoo(), raw(BEGUN, b"0\r\n\r\n").close()) as fake:
            with await opened(fake) as exchange:
                assert await exchange.read_all() == b"one "
            del exchange
            async with asyncio.timeout(60):
                # The event loop reports the end of a connection in a later turn.
                while any(type(thing) is ResponseParser for thing in gc.get_objects()):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def test_a_server_is_slowed_down_until_its_response_is_read() -> None:
    size = 50_000_000
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size
    async with FakeEndpoint(dialects.Acytoo(), raw(head)) as fake, asyncio.timeout(120):
        with await opened(fake) as exchange:
            sending = asyncio.ensure_future(fake.peers[0].send(b"x" * size))
            assert not await finishes_within(sending, 0.5)
            received = 0
            while chunk := await exchange.read():
                received += len(chunk)
            assert received == size
            await sending


async def test_a_response_of_which_nothing_was_read_leaves_a_connection_that_works() -> None:
    size = 150_000  # more than is received before the server is slowed down
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size
    async with FakeEndpoint(dialects.Acytoo(), raw(head), raw(BEGUN, b"0\r\n\r\n")) as fake:
        with await opened(fake):
            for part in (size - 30_000, 30_000):
                await fake.peers[0].send(b"x" * part)
                for _ in range(20):
                    await asyncio.sleep(0)
        next_one = asyncio.ensure_future(opened(fake))
        assert await finishes_within(next_one, 10.0)
        with next_one.result() as exchange:
            assert await exchange.read_all() == b"one "
        assert fake.connections == 1


@pytest.mark.parametrize("excess", [0, 1])
async def test_a_document_may_have_16_mib(excess: int) -> None:
    size = 16 * 1024 * 1024 + excess
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size
    async with FakeEndpoint(dialects.Acytoo(), raw(head + b"x" * size)) as fake:
        with await opened(fake) as exchange:
            if excess:
                with pytest.raises(ProtocolError, match="larger than 16 MiB"):
                    await exchange.read_all()
            else:
                assert len(await exchange.read_all()) == size
