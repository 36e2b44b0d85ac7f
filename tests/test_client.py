"""Replies that are forwarded: batches that are delivered in the step of the event loop that receives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest

from acytoo import AsyncGeneratorProvider, Route, Target, dialects
from acytoo.client import BatchStream
from acytoo.dialects.base import Dialect, Reader, Unsupported
from acytoo.errors import AcytooError, TimedOutError, TruncatedError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead
from acytoo.providers.compatible import Compatible
from acytoo.routing.reply import RoutedReply
from acytoo.testing import FakeEndpoint, reply, status
from acytoo.types import Closable, Item, Request
from tests.helpers import MESSAGES

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"data: [DONE]\n\n"
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": true}'


def event(text: str, finish: str | None = None) -> bytes:
    """Return a chunk of a chat completion."""
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    document = msgspec.json.encode({"id": "1", "model": "m", "choices": [choice]})
    return b"data: %b\n\n" % document


class Service:
    """A server of one reply, whose pieces are sent when a test says so."""

    def __init__(self) -> None:
        self.url = ""
        self._writer: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin a reply once a request has arrived."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        self._writer.set_result(writer)

    async def send(self, data: bytes, *, is_last: bool = False) -> None:
        """Send a piece of the reply."""
        writer = await self._writer
        writer.write(b"%x\r\n%b\r\n" % (len(data), data) + (b"0\r\n\r\n" if is_last else b""))
        await writer.drain()

    async def leave(self) -> None:
        """Close the connection."""
        (await self._writer).close()


@asynccontextmanager
async def service() -> AsyncIterator[Service]:
    """Run a service."""
    running = Service()
    server = await asyncio.start_server(running.accept, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield running
    finally:
        server.close()
        if running._writer.done():
            running._writer.result().transport.abort()


def answered(url: str, **settings: Any) -> BatchStream[Any]:
    """Return a reply as items."""
    provider = Compatible(url, model="m", **settings)
    reply = provider.answer(Request(MESSAGES, "m"))
    assert isinstance(reply, BatchStream)
    return reply


def passed(url: str, **settings: Any) -> BatchStream[Any]:
    """Return a reply as bytes that pass through."""
    provider = Compatible(url, model="m", **settings)
    request = Request(MESSAGES, "m", stream=True)
    reply = provider.pass_through(BODY, request, dialects.by_name("openai").writer(request))
    assert isinstance(reply, BatchStream)
    return reply


def routed(url: str, **settings: Any) -> RoutedReply:
    """Return a reply of a route in a route, as items."""
    inner = Route(Compatible(url, model="m", **settings))
    reply = Route(Target(inner, name="inner")).answer(Request(MESSAGES, "m"))
    assert isinstance(reply, RoutedReply)
    return reply


async def first_batch(server: Service, reply: Closable[Any]) -> Any:
    """Begin the reply and return its first batch."""
    first = asyncio.ensure_future(reply.__anext__())
    await server.send(event("one"))
    return await first


def collecting(take: Callable[[Any], None]) -> Callable[[Any], bool]:
    """Return what takes each batch, and goes on."""

    def deliver(batch: Any) -> bool:
        take(batch)
        return True

    return deliver


def shown(batches: list[Any]) -> str:
    """Return the batches as one text."""
    return "".join([batch.decode() if isinstance(batch, bytes) else str(batch) for batch in batches])


every = pytest.mark.parametrize("ask", [answered, passed, routed])


@every
async def test_batches_are_delivered_while_a_reply_is_forwarded(ask: Any) -> None:
    async with service() as server, aclosing(ask(server.url)) as reply:
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        assert "one" in shown([await first_batch(server, reply)])
        forwarding = asyncio.ensure_future(reply.forward(collecting(arrived.put_nowait)))
        for text in ("two", "three", "four"):
            await server.send(event(text))
            assert text in shown([await arrived.get()])
        await server.send(event("", "stop") + END, is_last=True)
        await forwarding
        assert [batch async for batch in reply] == []


@every
async def test_a_step_of_the_iteration_goes_on_where_delivery_was_stopped(ask: Any) -> None:
    async with service() as server, aclosing(ask(server.url)) as reply:
        batches = [await first_batch(server, reply)]

        def stop(batch: Any) -> bool:
            batches.append(batch)
            return False

        forwarding = asyncio.ensure_future(reply.forward(stop))
        await server.send(event("two"))
        await forwarding
        await server.send(event("three") + event("", "stop") + END, is_last=True)
        batches += [batch async for batch in reply]
        text = shown(batches)
        assert text.index("one") < text.index("two") < text.index("three")


@every
async def test_an_error_of_the_delivery_leaves_the_forwarding(ask: Any) -> None:
    def fail(batch: Any) -> bool:
        raise KeyError("disconnected")

    async with service() as server, aclosing(ask(server.url)) as reply:
        await first_batch(server, reply)
        forwarding = asyncio.ensure_future(reply.forward(fail))
        await server.send(event("two"))
        with pytest.raises(KeyError, match="disconnected"):
            await forwarding


@every
async def test_a_forwarded_reply_that_is_cut_is_an_error_of_the_next_step(ask: Any) -> None:
    async with service() as server, aclosing(ask(server.url)) as reply:
        await first_batch(server, reply)
        delivered: list[Any] = []
        forwarding = asyncio.ensure_future(reply.forward(collecting(delivered.append)))
        await server.send(event("two"))
        await server.leave()
        await forwarding
        assert "two" in shown(delivered)
        with pytest.raises(TruncatedError):
            await anext(reply)


@every
async def test_an_error_in_a_forwarded_reply_is_raised_by_the_next_step(ask: Any) -> None:
    async with service() as server, aclosing(ask(server.url)) as reply:
        await first_batch(server, reply)
        forwarding = asyncio.ensure_future(reply.forward(lambda batch: True))
        await server.send(b'data: {"error": {"message": "out of memory", "code": 500}}\n\n')
        await forwarding
        with pytest.raises(Exception, match="out of memory"):
            await anext(reply)


@every
async def test_the_idle_timeout_holds_while_a_reply_is_forwarded(ask: Any) -> None:
    async with service() as server, aclosing(ask(server.url, timeout={"idle": 0.2})) as reply:
        await first_batch(server, reply)
        forwarding = asyncio.ensure_future(reply.forward(lambda batch: True))
        await server.send(event("two"))
        await forwarding
        with pytest.raises(TimedOutError, match=r"0\.2 s"):
            await anext(reply)


async def test_keep_alives_do_not_end_the_wait_for_content_of_a_forwarded_reply() -> None:
    async with service() as server, aclosing(passed(server.url, timeout={"idle": 0.2})) as reply:
        await first_batch(server, reply)
        forwarding = asyncio.ensure_future(reply.forward(lambda batch: True))
        while not forwarding.done():
            await server.send(b": ping\n\n")
            await asyncio.sleep(0.02)
        with pytest.raises(TimedOutError, match=r"0\.2 s"):
            await anext(reply)


def ends_of(reply: BatchStream[Any], first: Any) -> list[tuple[str, AcytooError | None]]:
    """Hand a reply over after its first batch, and return the list to which its end is added."""
    ends: list[tuple[str, AcytooError | None]] = []
    reply.hold(first)
    reply.accept(lambda outcome, error: ends.append((outcome, error)))
    return ends


both = pytest.mark.parametrize("ask", [answered, passed])


@both
async def test_a_reply_that_is_handed_over_begins_with_its_first_batch_and_reports_its_end_once(ask: Any) -> None:
    async with service() as server, aclosing(ask(server.url)) as reply:
        first = await first_batch(server, reply)
        ends = ends_of(reply, first)
        delivered: list[Any] = []
        await reply.forward(collecting(delivered.append))
        assert not delivered, "only a step returns the first batch"
        assert await anext(reply) == first
        await server.send(event("two") + event("", "stop") + END, is_last=True)
        assert "one" not in shown([batch async for batch in reply])
        await reply.aclose()
        assert ends == [("complete", None)]


@both
async def test_leaving_a_reply_that_was_handed_over_is_its_end(ask: Any) -> None:
    async with service() as server, aclosing(ask(server.url)) as reply:
        ends = ends_of(reply, await first_batch(server, reply))
        await reply.aclose()
        await reply.aclose()
        assert ends == [("cancelled", None)]
        assert [batch async for batch in reply] == []


@both
async def test_each_one_that_handed_a_reply_over_gets_its_end(ask: Any) -> None:
    async with service() as server, aclosing(ask(server.url)) as reply:
        first = await first_batch(server, reply)
        inner = ends_of(reply, first)
        outer = ends_of(reply, await anext(reply))
        await server.leave()
        with pytest.raises(TruncatedError) as caught:
            [batch async for batch in reply]
        assert inner == outer == [("error", caught.value)]


@both
async def test_the_error_that_ends_a_reply_is_reported_without_secrets(ask: Any) -> None:
    key = "sk-do-not-show-1234567890"
    async with service() as server, aclosing(ask(server.url, key=key)) as reply:
        reported: list[str] = []
        reply.hold(await first_batch(server, reply))
        reply.accept(lambda _, error: reported.append(str(error)))
        await server.send(b'data: {"error": {"message": "wrong key %b", "code": 500}}\n\n' % key.encode())
        with pytest.raises(Exception, match="wrong key"):
            [batch async for batch in reply]
        assert "wrong key" in reported[0]
        assert key not in reported[0]


async def test_a_document_that_is_handed_over_has_ended() -> None:
    document = b'{"choices": [{"index": 0, "message": {"content": "one"}, "finish_reason": "stop"}]}'
    async with FakeEndpoint(dialects.OpenAI(), status(200, body=document.decode())) as fake:
        request = Request(MESSAGES, "m", stream=False)
        reply = Compatible(fake.url, model="m").pass_through(BODY, request, None)
        assert isinstance(reply, BatchStream)
        ends = ends_of(reply, await anext(reply))
        assert ends == [("complete", None)]
        assert [batch async for batch in reply] == [document]
        await reply.aclose()
        assert len(ends) == 1


class WithoutRequest(dialects.OpenAI):
    """A dialect whose author has forgotten to return the request."""

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        super().encode_request(request, endpoint, unsupported)
        return None  # type: ignore[return-value]

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        super().http_request(request, endpoint, body)
        return None  # type: ignore[return-value]


class WithoutReader(dialects.OpenAI):
    """A dialect whose author has forgotten to return the reader."""

    def reader(self, head: ResponseHead) -> Reader:
        super().reader(head)
        return None  # type: ignore[return-value]


class WithoutItems(dialects.OpenAI):
    """A dialect whose reader does not return what it has read."""

    def reader(self, head: ResponseHead) -> Reader:
        class Forgetful(Reader):
            def feed(self, chunk: bytes) -> list[Item]:
                return None  # type: ignore[return-value]

        return Forgetful()


class WithoutLastItems(dialects.OpenAI):
    """A dialect whose reader returns nothing at the end."""

    def reader(self, head: ResponseHead) -> Reader:
        class Forgetful(Reader):
            def feed(self, chunk: bytes) -> list[Item]:
                return []

            def flush(self) -> list[Item]:
                return None  # type: ignore[return-value]

        return Forgetful()


def provider_of(codec: Dialect, url: str) -> AsyncGeneratorProvider:
    """Return a provider that speaks the dialect."""

    class Provider(AsyncGeneratorProvider):
        dialect = codec

    return Provider(url, model="m")


@pytest.mark.parametrize(
    "codec",
    [WithoutRequest(), WithoutReader(), WithoutItems(), WithoutLastItems()],
    ids=lambda codec: type(codec).__name__,
)
async def test_a_dialect_that_forgets_to_return_something_makes_no_complete_reply(codec: Dialect) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hello")) as fake:
        with pytest.raises(TypeError, match=f"{type(codec).__name__}|Forgetful.*returned None"):
            await provider_of(codec, fake.url).reply(MESSAGES)


@pytest.mark.parametrize("codec", [WithoutRequest(), WithoutReader()], ids=lambda codec: type(codec).__name__)
async def test_nor_is_a_reply_complete_that_passes_through_such_a_dialect(codec: Dialect) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hello")) as fake:
        answer = provider_of(codec, fake.url).pass_through(BODY, Request([], stream=True), None)
        with pytest.raises(TypeError, match=f"{type(codec).__name__}.*returned None"):
            async with aclosing(answer) as chunks:
                async for _ in chunks:
                    pass
