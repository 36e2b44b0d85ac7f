"""Each timeout ends the call and names itself in the error; a healthy reply triggers none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from acytoo import Acytoo, Timeout, dialects
from acytoo.dialects import ALL, Dialect, by_name
from acytoo.errors import AcytooError, RateLimitError, TimedOutError, UsageError
from acytoo.http import ResponseHead
from acytoo.testing import FakeEndpoint, FakeSOCKSProxy, ScriptedResponse, black_hole, raw, reply, silent
from acytoo.transport.timeouts import Deadlines
from acytoo.types import Finish, Item, Request, Start
from tests.helpers import MESSAGES, failure, texts
from tests.server.live_server import LIMIT, backend
from tests.skipping_loop import in_skipping_loop, skip
from tests.transport.test_connection import serving


def timed_out(error: object, phase: str, limit: float) -> None:
    assert type(error) is TimedOutError
    assert (error.phase, error.limit) == (phase, limit)
    assert error.retryable
    assert phase in str(error)


async def test_a_connection_that_is_never_established_ends_at_the_connect_timeout() -> None:
    async with black_hole() as port:
        timed_out(await failure(Acytoo(f"http://127.0.0.1:{port}", timeout={"connect": 0.3})), "connect", 0.3)


async def test_a_tls_handshake_that_never_ends_counts_as_connecting() -> None:
    async with FakeEndpoint(dialects.Acytoo(), on_connect=silent()) as fake:
        url = fake.url.replace("http:", "https:")
        timed_out(await failure(Acytoo(url, timeout={"connect": 0.3})), "connect", 0.3)
        await fake.disconnected()


async def test_a_proxy_that_never_answers_counts_as_connecting() -> None:
    async with black_hole() as port:
        provider = Acytoo("http://127.0.0.1:9", proxy=f"http://127.0.0.1:{port}", timeout={"connect": 0.3})
        timed_out(await failure(provider), "connect", 0.3)


async def test_a_socks_proxy_that_never_answers_counts_as_connecting() -> None:
    async with FakeEndpoint(dialects.Acytoo(), on_connect=silent()) as mute:
        provider = Acytoo("http://127.0.0.1:9", proxy=f"socks5://127.0.0.1:{mute.port}", timeout={"connect": 0.3})
        timed_out(await failure(provider), "connect", 0.3)
        await mute.disconnected()


@pytest.mark.parametrize(
    "answer",
    [silent(), reply("Hi").stall(at_byte=5), reply("Hi").stall(after=0), reply("Hi").slow_head(every_s=0.1)],
    ids=["nothing", "half a head", "a head alone", "a head byte by byte"],
)
async def test_a_reply_that_does_not_begin_ends_at_the_first_byte_timeout(answer: object) -> None:
    async with FakeEndpoint(dialects.Acytoo(), answer) as fake:  # type: ignore[arg-type]
        timed_out(await failure(Acytoo(fake.url, timeout={"first_byte": 0.4})), "first_byte", 0.4)
        await fake.disconnected()


async def test_a_reply_that_stalls_ends_at_the_idle_timeout_with_its_text() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "world").stall(after=1)) as fake:
        error = await failure(Acytoo(fake.url, timeout={"idle": 0.3}))
        timed_out(error, "idle", 0.3)
        assert error.text == "Hello "
        await fake.disconnected()


BLANKS = {
    "openai": [b": OPENROUTER PROCESSING\n\n", b'data: {"id": "", "choices": []}\n\n', b"\n",
               b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": null}]}\n\n'],
    "openai-responses": [b": ping\n\n", b'event: keepalive\ndata: {"type":"keepalive","sequence_number":466}\n\n'],
    "anthropic": [b": ping\n\n", b'event: ping\ndata: {"type": "ping"}\n\n'],
    "gemini": [b": ping\n\n", b"\r\n\r\n"],
    "ollama": [b"\n", b'{"message": {"role": "assistant", "content": ""}, "done": false}\n'],
}  # fmt: skip
"""What servers send while nothing happens: comments, blank lines, events without content."""

EVERY_BLANK = pytest.mark.parametrize(
    ("dialect", "blank"), [(name, blank) for name, blanks in BLANKS.items() for blank in blanks]
)


def then_only(dialect: Dialect, begin: list[Item], blank: bytes) -> ScriptedResponse:
    """Return a stream that begins with these items and then repeats the bytes for far longer than any limit."""
    kind = dialect.writer(Request([]))
    start = kind.write(begin) if begin else b""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind.content_type}\r\n\r\n".encode()
    steps = raw(head + start, *[blank] * 500)
    for number in range(500):
        steps = steps.wait(0.02, at_byte=len(head + start) + number * len(blank))
    return steps


async def ask(dialect: str, url: str, timeout: dict[str, float], *, pass_through: bool) -> AcytooError:
    """Return the error of a streamed call, or of one that a server passes through."""
    provider = backend(by_name(dialect), url, timeout=timeout)
    request = Request([dict(_USER)], "m", stream=True)  # type: ignore[list-item]
    try:
        if pass_through:
            chunks = provider.pass_through(b"{}", request, by_name(dialect).writer(request))
            async with aclosing(chunks):
                async for _ in chunks:
                    await asyncio.sleep(0.01)
        else:
            async for _ in provider.stream([_USER]):
                pass
    except AcytooError as error:
        return error
    raise AssertionError("no error")


@EVERY_BLANK
@pytest.mark.parametrize("pass_through", [False, True], ids=["read", "passed through"])
async def test_keep_alives_do_not_replace_the_first_byte(dialect: str, blank: bytes, pass_through: bool) -> None:
    async with FakeEndpoint(by_name(dialect), then_only(by_name(dialect), [], blank)) as fake:
        error = await ask(dialect, fake.url, {"first_byte": 0.2, "idle": 30}, pass_through=pass_through)
        timed_out(error, "first_byte", 0.2)


@EVERY_BLANK
@pytest.mark.parametrize("pass_through", [False, True], ids=["read", "passed through"])
async def test_keep_alives_do_not_end_a_silence(dialect: str, blank: bytes, pass_through: bool) -> None:
    begin: list[Item] = [Start("id-1", "m"), "Hello"]
    async with FakeEndpoint(by_name(dialect), then_only(by_name(dialect), begin, blank)) as fake:
        error = await ask(dialect, fake.url, {"first_byte": 30, "idle": 0.2}, pass_through=pass_through)
        timed_out(error, "idle", 0.2)


REPEATED = {
    "openai": [
        "{}",
        '{"object": "ping"}',
        '{"choices": [{"index": 0, "delta": {"content": null}}]}',
        '{"choices": [{"index": 0, "delta": {"reasoning_content": ""}}]}',
        '{"choices": [], "usage": {"prompt_tokens": 1}}',
    ],
    "openai-responses": [
        '{"type": "response.in_progress", "sequence_number": 4, "response": {"id": "x"}}',
        '{"type": "response.unknown"}',
    ],
    "anthropic": [
        '{"type": "unknown"}',
        '{"type": "message_delta", "delta": {}, "usage": {"output_tokens": 1}}',
        '{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ""}}',
    ],
    "gemini": [
        "{}",
        '{"candidates": [{"content": {"parts": [{"text": ""}]}}]}',
        '{"usageMetadata": {"promptTokenCount": 1}}',
    ],
}
"""Records without content that are no keep-alives of their API: that they are repeated shows that nothing happens."""


@pytest.mark.parametrize(
    ("dialect", "record"), [(name, record) for name, records in REPEATED.items() for record in records]
)
@pytest.mark.parametrize("begin", [[], [Start("id-1", "m"), "Hello"]], ids=["at once", "after a text"])
@pytest.mark.parametrize("pass_through", [False, True], ids=["read", "passed through"])
async def test_a_record_without_content_that_is_repeated_does_not_end_a_silence(
    dialect: str, record: str, begin: list[Item], pass_through: bool
) -> None:
    repeated = then_only(by_name(dialect), begin, f"data: {record}\n\n".encode())
    async with FakeEndpoint(by_name(dialect), repeated) as fake:
        error = await ask(dialect, fake.url, {"first_byte": 0.2, "idle": 0.2}, pass_through=pass_through)
        assert isinstance(error, TimedOutError)


class Clock(asyncio.SelectorEventLoop):
    """An event loop that only shows a time."""

    now = 100.0

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize("paused_at", [0.5, 0.51])
def test_a_silence_ends_in_time_although_the_reader_is_busy_at_that_moment(paused_at: float) -> None:
    clock = Clock()
    deadlines = Deadlines(Timeout(first_byte=0.5, idle=0.5), clock)
    due = deadlines.start_sending()
    while deadlines.expired is None:
        clock.now = due
        is_busy = due >= 100 + paused_at
        if is_busy:
            deadlines.pause_waiting()  # for a keep-alive
        due = deadlines.check()
        if is_busy:
            deadlines.start_waiting()
    assert clock.now == pytest.approx(100.51)
    clock.close()


PROGRESS = {
    "openai": [
        b'data: {"choices": [{"delta": {"content": "", "tool_calls": [{"index": 7, "function": {}}]}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "", "reasoning_details": [{"type": "reasoning.encrypted"}]}}]}\n\n',
        b'data: {"choices": [], "prompt_progress": {"total": 9, "processed": 3}}\n\n',
        b'data: {"choices": [{"delta": {"content": " "}}]}\n\n',
    ],
    "openai-responses": [b'data: {"type": "response.web_search_call.searching"}\n\n'],
    "anthropic": [
        b'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {}}}\n\n'
    ],
    "gemini": [b'data: {"candidates": [{"content": {"parts": [{"text": " "}]}}]}\n\n'],
    "ollama": [b'{"model": "m", "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": false}\n'],
}
"""What shows that a model works, although some of it has no text."""


@pytest.mark.parametrize(("dialect", "event"), [(name, event) for name, events in PROGRESS.items() for event in events])
@pytest.mark.parametrize("scans", [False, True], ids=["read", "passed through"])
def test_progress_without_a_text_is_content(dialect: str, event: bytes, scans: bool) -> None:
    kind = by_name(dialect).writer(Request([]))
    reader = by_name(dialect).reader(ResponseHead(200, {"content-type": kind.content_type}))
    read = reader.scan if scans else reader.feed
    read(kind.write([Start("id-1", "m"), "Hello"]))
    for chunk in (event, event * 2):
        read(chunk)
        assert reader.received_content
    for blank in BLANKS[dialect]:
        read(blank)
        assert not reader.received_content
        read(blank + event)
        assert reader.received_content


def test_blanks_before_a_document_are_not_content() -> None:
    reader = by_name("openai").reader(ResponseHead(200, {"content-type": "application/json"}))
    for chunk, is_content in ((b"\n \n", False), (b'{"choices": ', True), (b"  \n", False), (b"[", True)):
        reader.feed(chunk)
        assert reader.received_content == is_content


async def test_time_that_a_slow_client_takes_after_a_keep_alive_is_not_silence() -> None:
    openai = by_name("openai")
    request = Request([dict(_USER)], "m", stream=True)  # type: ignore[list-item]
    writer = openai.writer(request)
    first = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + writer.write([Start("id-1", "m"), "a"])
    blank, last = b": ping\n\n", writer.write(["b", Finish("stop")]) + writer.end()
    answer = raw(first, blank, last).wait(0.1, at_byte=len(first)).wait(0.1, at_byte=len(first + blank)).close()
    async with FakeEndpoint(openai, answer) as fake:
        provider = backend(openai, fake.url, timeout={"idle": 0.5})
        seen = b""
        async with aclosing(provider.pass_through(b"{}", request, openai.writer(request))) as chunks:
            async for chunk in chunks:
                seen += chunk
                await asyncio.sleep(0.8)
        assert seen.endswith(last)


async def test_the_body_of_an_error_that_stalls_is_waited_for_briefly() -> None:
    head = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 1000\r\n\r\n"

    async def read_error(dialect: Dialect) -> None:
        async with FakeEndpoint(dialect, raw(head + b"slow down").stall()) as fake:
            error = await ask(dialect.name, fake.url, {}, pass_through=False)
            assert isinstance(error, RateLimitError)
            assert (error.message, error.retry_after) == ("slow down", 7)
            await fake.disconnected()

    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*[read_error(dialect) for dialect in ALL])


@in_skipping_loop
async def test_a_reply_that_is_too_slow_ends_at_the_total_timeout_with_its_text() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "world").stall(after=1)) as fake:
        stream = Acytoo(fake.url, timeout={"total": 1000}).create_async_generator("", MESSAGES)
        assert await anext(stream) == "Hello "
        skip(1000)
        with pytest.raises(TimedOutError) as caught:
            await anext(stream)
        timed_out(caught.value, "total", 1000)
        assert caught.value.text == "Hello "
        await fake.disconnected()


async def test_the_total_timeout_holds_before_the_first_byte_too() -> None:
    async with FakeEndpoint(dialects.Acytoo(), silent()) as fake:
        timed_out(await failure(Acytoo(fake.url, timeout={"total": 0.3})), "total", 0.3)
        await fake.disconnected()


async def test_the_total_timeout_holds_while_connecting_too() -> None:
    async with black_hole() as port:
        timed_out(await failure(Acytoo(f"http://127.0.0.1:{port}", timeout={"total": 0.3})), "total", 0.3)


async def test_a_slow_connect_does_not_count_towards_the_first_byte_timeout() -> None:
    async with (
        FakeEndpoint(dialects.Acytoo(), reply("Hi").wait(0.5, at_byte=0)) as fake,
        FakeSOCKSProxy() as proxy,
    ):
        provider = Acytoo(fake.url, proxy=proxy.url, timeout={"connect": 5, "first_byte": 5})
        assert await texts(provider) == ["Hi"]


class Service:
    """A server whose replies are sent text by text, when a test sends one and once there is a request."""

    def __init__(self) -> None:
        self.connections = 0
        self._writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin a reply for each request."""
        self.connections += 1
        while await reader.readuntil(b"\r\n\r\n{"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")
            self._writers.put_nowait(writer)

    async def send(self, *texts: str, is_last: bool = False, silence: float = 0, busy: float = 0) -> None:
        """Send texts of a reply after so many seconds of silence, and block the event loop for so many after them."""
        writer = await self._writers.get()
        skip(silence)
        for text in texts:
            writer.write(b"%x\r\n%b\r\n" % (len(text), text.encode()))
        if is_last:
            writer.write(b"0\r\n\r\n")
        else:
            self._writers.put_nowait(writer)
        skip(busy)


async def next_text(stream: AsyncIterator[str], sending: Coroutine[Any, Any, None]) -> str:
    """Return the next text of a reply, which is sent while the reader waits for it."""
    text: str
    text, _ = await asyncio.gather(anext(stream), sending)
    return text


@in_skipping_loop
async def test_a_reply_longer_than_every_timeout_but_never_idle_is_complete() -> None:
    service = Service()
    async with serving(service.answer) as url:
        stream = Acytoo(url, timeout=1000).create_async_generator("", MESSAGES)
        for text in "steady":
            assert await next_text(stream, service.send(text, is_last=text == "y", silence=600)) == text
        assert [text async for text in stream] == []


async def test_a_reader_slower_than_the_idle_limit_is_no_silent_server() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("a", "b", "c").wait(0.05, after=1).wait(0.05, after=2)) as fake:
        seen = []
        async for text in Acytoo(fake.url, timeout={"idle": 0.3}).create_async_generator("", [_USER]):
            seen.append(text)
            await asyncio.sleep(0.5)
    assert "".join(seen) == "abc"


async def test_no_limit_can_be_asked_for() -> None:
    limits = dict.fromkeys(("connect", "first_byte", "idle", "total"))
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        assert await texts(Acytoo(fake.url, timeout=limits)) == ["Hi"]


async def test_a_timeout_can_be_set_for_one_call() -> None:
    async with FakeEndpoint(dialects.Acytoo(), silent()) as fake:
        timed_out(await failure(Acytoo(fake.url), timeout={"first_byte": 0.3}), "first_byte", 0.3)


async def test_a_timeout_shorter_than_that_of_the_call_before_holds_on_the_same_connection() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi"), silent()) as fake:
        assert await texts(Acytoo(fake.url)) == ["Hi"]
        timed_out(await failure(Acytoo(fake.url), timeout={"first_byte": 0.3}), "first_byte", 0.3)
        assert fake.connections == 1


@in_skipping_loop
async def test_a_timeout_ends_with_its_call_and_not_the_next_one_on_the_connection() -> None:
    service = Service()
    async with serving(service.answer) as url:
        for timeout, silence in ((1000, 0), (2000, 1500)):
            stream = Acytoo(url, timeout=timeout).create_async_generator("", MESSAGES)
            assert await next_text(stream, service.send("a")) == "a"
            assert await next_text(stream, service.send("b", is_last=True, silence=silence)) == "b"
            assert [text async for text in stream] == []
    assert service.connections == 1


@pytest.mark.parametrize("wrong", [0, -1, "10", True, {"read": 3}, {"idle": -2}, {"idle": "x"}, float("nan"), [3]])
def test_an_invalid_timeout_is_rejected(wrong: object) -> None:
    with pytest.raises(UsageError):
        Acytoo("http://127.0.0.1", timeout=wrong)  # type: ignore[arg-type]


def test_one_number_sets_the_connect_first_byte_and_idle_timeouts() -> None:
    assert Timeout.of(3) == Timeout(connect=3, first_byte=3, idle=3, total=None)


_USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize("limit", ["idle", "total"])
@in_skipping_loop
async def test_data_that_arrived_while_the_event_loop_was_busy_is_returned_before_a_timeout(limit: str) -> None:
    service = Service()
    async with serving(service.answer) as url:
        stream = Acytoo(url, timeout={limit: 1000}).create_async_generator("", MESSAGES)
        assert await next_text(stream, service.send("Hello ")) == "Hello "
        assert await next_text(stream, service.send("world", busy=1500)) == "world"
        with pytest.raises(TimedOutError) as caught:
            await next_text(stream, service.send(silence=1500))
        assert caught.value.text == "Hello world"


@in_skipping_loop
async def test_a_busy_event_loop_does_not_count_as_idle() -> None:
    service = Service()
    async with serving(service.answer) as url:
        stream = Acytoo(url, timeout={"idle": 1000}).create_async_generator("", MESSAGES)
        assert await next_text(stream, service.send("Hello ")) == "Hello "
        assert await next_text(stream, service.send("world", busy=1500)) == "world"
        assert await next_text(stream, service.send("!", is_last=True, silence=500)) == "!"
        assert [text async for text in stream] == []
