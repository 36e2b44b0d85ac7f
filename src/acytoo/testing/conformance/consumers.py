"""Scenarios of what consumers do: leave early, be cancelled, read slowly, make many calls at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from acytoo.errors import AcytooError, ReplyError
from acytoo.testing.conformance.clock import cancel_and_wait, finishes_within, occurs_within
from acytoo.testing.conformance.environments import Environment, endpoint
from acytoo.testing.conformance.leaks import open_sockets
from acytoo.testing.conformance.subject import Subject, Violation, question
from acytoo.testing.fakes.server import FakeServer, black_hole
from acytoo.testing.script.directives import COMPLETE_REPLY, REPLY_TEXTS
from acytoo.types import ChatMessages, Request


@dataclass(frozen=True)
class ConsumerScenario:
    """One row of the table: `run` raises Violation. What it leaves behind is checked afterwards."""

    name: str
    description: str
    required: str
    why: str
    run: Callable[[Subject], Coroutine[Any, Any, None]]
    reports: tuple[str, ...] = ()


async def consume(subject: Subject, url: str, messages: ChatMessages | None = None, **settings: object) -> str:
    """Return the joined texts of a stream."""
    stream = subject.stream(url, messages, **settings)
    return "".join([text async for text in stream])


async def _first_text(subject: Subject, stream: AsyncGenerator[str, None]) -> str:
    """Return the first text. Raises Violation if there is none."""
    task = asyncio.ensure_future(anext(stream))
    if not await finishes_within(task, subject.patience_s):
        await cancel_and_wait(task)
        raise Violation("hung: it did not yield the first text before the rest had arrived")
    if task.cancelled():
        raise Violation("cancelled itself before the first text")
    if (error := task.exception()) is not None:
        raise Violation(f"yielded no first text: {type(error).__name__} {error}")
    return task.result()


async def _check_closed(subject: Subject, server: FakeServer, after: str) -> None:
    """Raise Violation unless the server soon sees that its client has disconnected."""
    if not await occurs_within(server.disconnected(), subject.promptly_s):
        raise Violation(f"the connection was still open {subject.promptly_s:g} s after {after}")


async def _cancel_and_check(subject: Subject, task: asyncio.Future[Any], phase: str) -> None:
    """Cancel a task. Raises Violation unless it ends as cancelled."""
    task.cancel()
    if not await finishes_within(task, subject.patience_s):
        raise Violation(f"a task cancelled {phase} continued")
    if not task.cancelled():
        error = task.exception()
        if error is not None:
            raise Violation(f"cancelled {phase}, it raised {type(error).__name__} in place of CancelledError")
        raise Violation(f"a task cancelled {phase} ignored its cancellation")


async def _wait_for_server(subject: Subject, waiting: Coroutine[Any, Any, Any], task: asyncio.Future[Any]) -> None:
    """Wait until the server has received something. Raises Violation if it does not."""
    if not await occurs_within(waiting, subject.patience_s):
        await cancel_and_wait(task)
        raise Violation("hung before it sent a request")


# The consumer leaves.


async def _closes_early(subject: Subject) -> None:
    async with endpoint(subject, ("ok+stall:1t",)) as fake:
        stream = subject.stream(fake.url)
        text = await _first_text(subject, stream)
        await stream.aclose()
        if text != REPLY_TEXTS[0]:
            raise Violation(f"the first text was {text[:40]!r}; expected {REPLY_TEXTS[0]!r}")
        await _check_closed(subject, fake, "aclose()")


async def _closes_early_behind_proxy(subject: Subject) -> None:
    for environment in (Environment.HTTP_PROXY, Environment.HTTP_PROXY_TLS, Environment.SOCKS_PROXY):
        async with environment.start(subject, ("ok+stall:1t",)) as running:
            stream = subject.stream(running.url, **running.settings)
            await _first_text(subject, stream)
            await stream.aclose()
            for server in running.servers:
                await _check_closed(subject, server, f"aclose() ({environment.value})")


async def _drops_generator(subject: Subject) -> None:
    async with endpoint(subject, ("ok+stall:1t",)) as fake:
        stream = subject.stream(fake.url)
        await _first_text(subject, stream)
        del stream
        gc.collect()
        await _check_closed(subject, fake, "the generator was dropped")


async def _never_starts(subject: Subject) -> None:
    async with endpoint(subject, ("ok",)) as fake:
        stream = subject.stream(fake.url)
        await stream.aclose()
        del stream
        if await occurs_within(fake.connected(), subject.promptly_s):
            raise Violation("connected although no text was requested")


async def _raises(subject: Subject) -> None:
    async with endpoint(subject, ("ok+stall:1t",)) as fake:
        with contextlib.suppress(ZeroDivisionError):
            async with contextlib.aclosing(subject.stream(fake.url)) as stream:
                async for _ in stream:
                    raise ZeroDivisionError
        await _check_closed(subject, fake, "an exception of the consumer")


_PHASES = {
    "while it waited for the head": "silent",
    "inside the head": "ok+stall:9w",
    "while it waited for the first byte": "ok+stall:0",
    "in mid-stream": "ok+stall:1t",
    "inside an error's body": "status:500:text+length:99+stall",
}


async def _cancelled_in_each_phase(subject: Subject) -> None:
    for phase, script in _PHASES.items():
        for call, description in ((consume, phase), (_complete, f"{phase} of create_async")):
            async with endpoint(subject, (script,)) as fake:
                task = asyncio.ensure_future(call(subject, fake.url))
                await _wait_for_server(subject, fake.received(), task)
                await asyncio.sleep(0.02)
                if task.done() and script.startswith("status"):
                    task.exception()  # a provider need not wait for the rest of an error's body
                else:
                    await _cancel_and_check(subject, task, description)
                await _check_closed(subject, fake, f"it was cancelled {description}")


async def _complete(subject: Subject, url: str) -> str:
    return await subject.complete(url)


async def _cancelled_connecting(subject: Subject) -> None:
    async with black_hole() as port:
        task = asyncio.ensure_future(consume(subject, f"http://127.0.0.1:{port}"))
        await asyncio.sleep(0.05)
        await _cancel_and_check(subject, task, "while it connected")
    async with Environment.TLS_SILENT.start(subject, ()) as running:
        task = asyncio.ensure_future(consume(subject, running.url))
        await _wait_for_server(subject, running.servers[0].connected(), task)
        await _cancel_and_check(subject, task, "in the TLS handshake")
        await _check_closed(subject, running.servers[0], "it was cancelled in the TLS handshake")


async def _cancelled_at_each_await(subject: Subject) -> None:
    async with endpoint(subject, ("ok+cut:40",)) as fake:
        for turns in range(200):
            task = asyncio.ensure_future(consume(subject, fake.url))
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.done():
                break
            task.cancel()
            if not await finishes_within(task, subject.patience_s):
                raise Violation(f"a task cancelled after {turns} iterations of the event loop continued")
            if not task.cancelled() and (error := task.exception()) is not None:
                raise Violation(
                    f"cancelled after {turns} iterations of the event loop, it raised {type(error).__name__}"
                )
        text = await consume(subject, fake.url)
        if text != COMPLETE_REPLY:
            raise Violation(f"after many cancelled calls, a reply was {text[:60]!r}")


async def _own_timeout(subject: Subject) -> None:
    async with endpoint(subject, ("ok+stall:1t",)) as fake:
        try:
            async with asyncio.timeout(0.2):
                await consume(subject, fake.url)
        except TimeoutError as error:
            if type(error) is not TimeoutError:
                raise Violation(f"the caller's own timeout was raised as {type(error).__name__}") from None
        await _check_closed(subject, fake, "the caller's own timeout")


# The consumer reads slowly.


async def _slow(subject: Subject) -> None:
    async with endpoint(subject, ("ok+wait:0.02:1t+wait:0.02:2t+wait:0.02:3t",)) as fake:
        texts = []
        async for text in subject.stream(fake.url, timeout=0.4):
            texts.append(text)
            await asyncio.sleep(0.6)
        if "".join(texts) != COMPLETE_REPLY:
            raise Violation(f"a slow consumer got {''.join(texts)[:60]!r}")


async def _never_reads(subject: Subject) -> None:
    async with endpoint(subject, ("long:1000",)) as fake:
        stream = subject.stream(fake.url)
        await _first_text(subject, stream)
        before = -1
        for _ in range(100):
            if before == fake.written:
                break
            before = fake.written
            await asyncio.sleep(0.1)
        if fake.written > 32_000_000:
            raise Violation(f"buffered {fake.written / 1e6:.0f} MB that its consumer did not read")
        await stream.aclose()
        await _check_closed(subject, fake, "aclose()")


async def _inflates(subject: Subject) -> None:
    if subject.dialect.writer(Request([])).keeps_reply:
        return  # the endpoint in this process takes more memory than any provider
    async with endpoint(subject, ("long:1000+gzip",)) as fake:
        size = 0
        tracemalloc.start()
        try:
            async for text in subject.stream(fake.url, max_reply=_MAX_REPLY):
                size += len(text)
        except ReplyError:
            size = _LONG_REPLY  # nobody needs such a reply
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        if size != _LONG_REPLY:
            raise Violation(f"accepted {size / 1e6:.0f} MB as a complete reply of {_LONG_REPLY / 1e6:.0f} MB")
        if peak > _LONG_REPLY:
            raise Violation(f"took {peak / 1e6:.0f} MB of memory")


async def _collects_too_much(subject: Subject) -> None:
    async with endpoint(subject, ("long:100", "ok")) as fake:
        settings: dict[str, Any] = {"max_reply": _MAX_REPLY, "timeout": subject.patience_s}
        if not hasattr(subject.make(fake.url, **settings), "create_async"):
            return  # only its consumer can collect its replies
        try:
            text = await subject.complete(fake.url, **settings)
        except AcytooError as error:
            if len(error.text) > _MAX_REPLY:
                raise Violation(f"kept {len(error.text) / 1e6:.0f} MB of a reply that is too large") from error
        else:
            raise Violation(f"returned {len(text) / 1e6:.0f} MB in spite of max_reply={_MAX_REPLY / 1e6:.0f} MB")
        if (text := await subject.complete(fake.url, **settings)) != COMPLETE_REPLY:
            raise Violation(f"after a reply that was too large, the next one was {text[:60]!r}")


_LONG_REPLY = 1000 * 64 * 1024
_MAX_REPLY = 4 * 1024 * 1024


# Many calls.


async def _closes_then_calls(subject: Subject) -> None:
    async with endpoint(subject, ("ok+stall:1t", "ok")) as fake:
        stream = subject.stream(fake.url)
        await _first_text(subject, stream)
        await stream.aclose()
        text = await consume(subject, fake.url)
        if text != COMPLETE_REPLY:
            raise Violation(f"after a stream that was closed early, the next reply was {text[:60]!r}")


async def _many_faults(subject: Subject) -> None:
    scripts = ("ok", "ok+reset:1t", "status:429", "ok+gzip+end:1t", "hang-up", "page", "ok+stall:1t")
    async with endpoint(subject, scripts * 40) as fake:
        memory: list[int] = []
        sockets: list[int] = []
        tracemalloc.start()
        try:
            for _ in range(4):
                for _ in range(8 * len(scripts)):
                    stream = subject.stream(fake.url)
                    with contextlib.suppress(Exception):
                        async with contextlib.aclosing(stream):
                            async for _text in stream:
                                if len(fake.requests) % len(scripts) == 0:
                                    break  # the script that stalls
                    del stream
                    fake.peers[:] = [peer for peer in fake.peers if not peer.client_left.is_set()]
                await asyncio.sleep(0.02)
                gc.collect()
                # The endpoint keeps every request: about 4 kB each, with its headers.
                endpoint_memory = sum(len(request.body) + 4000 for request in fake.requests)
                memory.append(tracemalloc.get_traced_memory()[0] - endpoint_memory)
                sockets.append(open_sockets())
        finally:
            tracemalloc.stop()
        # The first round fills caches and pools, so growth is measured from the second.
        calls = 16 * len(scripts)
        if memory[-1] - memory[1] > 500_000:
            raise Violation(f"{calls} calls with faults left {(memory[-1] - memory[1]) / 1000:.0f} kB allocated")
        if sockets[-1] - sockets[1] > 8:
            raise Violation(f"{calls} calls with faults left {sockets[-1] - sockets[1]} sockets open")


async def _crowd(subject: Subject) -> None:
    async with endpoint(subject, ("named",)) as fake:
        names = [f"number {index}" for index in range(subject.crowd)]
        calls = [consume(subject, fake.url, question(name), timeout=60) for name in names]
        task = asyncio.ensure_future(asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 120))
        await finishes_within(task, max(subject.patience_s, subject.crowd / 20))
        if not task.done():
            await cancel_and_wait(task)
            raise Violation(f"hung with {subject.crowd} calls at once")
        results = task.result()
    wrong = [result for name, result in zip(names, results, strict=True) if result != f"for {name}"]
    if wrong:
        raise Violation(f"{len(wrong)} of {len(names)} concurrent calls got a wrong reply: {wrong[0]!r:.100}")


CONSUMER_SCENARIOS: tuple[ConsumerScenario, ...] = (
    ConsumerScenario(
        "closes-early",
        "closes the stream after the first text",
        "the endpoint sees the disconnect at once",
        "the service generates and bills text that nobody reads",
        _closes_early,
        ("BerriAI/litellm#30244", "aio-libs/aiohttp#6462"),
    ),
    ConsumerScenario(
        "closes-early-behind-proxy",
        "closes the stream after the first text, behind an HTTP or a SOCKS proxy",
        "the proxy and the endpoint see the disconnect at once",
        "the service generates and bills text that nobody reads",
        _closes_early_behind_proxy,
    ),
    ConsumerScenario(
        "drops-generator",
        "leaves the loop and drops the generator",
        "the endpoint sees the disconnect at once",
        "a `break` is the usual way to leave a loop",
        _drops_generator,
        ("huggingface/huggingface_hub#3252", "openai/openai-python#584"),
    ),
    ConsumerScenario(
        "never-starts",
        "closes the stream before its first text",
        "no connection is opened",
        "creating a generator is not a request",
        _never_starts,
    ),
    ConsumerScenario(
        "raises",
        "raises an exception of its own inside the loop",
        "the exception propagates, and the connection closes",
        "consumers have bugs too",
        _raises,
    ),
    ConsumerScenario(
        "cancelled-in-each-phase",
        "is cancelled before the head, inside it, before the first byte, in mid-stream, and inside an error's body",
        "`CancelledError`, and the endpoint sees the disconnect at once",
        "a user who presses stop expects it to stop",
        _cancelled_in_each_phase,
        ("BerriAI/litellm#31499", "BerriAI/litellm#37140"),
    ),
    ConsumerScenario(
        "cancelled-connecting",
        "is cancelled while connecting, and in the TLS handshake",
        "`CancelledError` at once",
        "a user who presses stop expects it to stop",
        _cancelled_connecting,
    ),
    ConsumerScenario(
        "cancelled-at-each-await",
        "is cancelled after 0, 1, 2, … iterations of the event loop",
        "`CancelledError` or the complete reply; nothing is left behind; the next reply is complete",
        "a cancellation can arrive at any await",
        _cancelled_at_each_await,
    ),
    ConsumerScenario(
        "own-timeout",
        "has its own timeout around the call",
        "a plain `TimeoutError`",
        "a swallowed cancellation breaks `asyncio.timeout`",
        _own_timeout,
    ),
    ConsumerScenario(
        "slow",
        "spends more time on each text than the idle timeout",
        "the complete reply",
        "a slow consumer is not a silent server",
        _slow,
    ),
    ConsumerScenario(
        "never-reads",
        "reads one text of a 64 MB reply, then no more",
        "the server is slowed down, and little is buffered",
        "memory is limited",
        _never_reads,
    ),
    ConsumerScenario(
        "inflates",
        "iterates over a 64 MB reply that arrives as 0.1 MB of gzip, with `max_reply` at 4 MB",
        "the complete reply or `ReplyError`; less memory than the reply has bytes",
        "a backend can send a thousand times more than it pays for",
        _inflates,
    ),
    ConsumerScenario(
        "collects-too-much",
        "asks for the complete text of a 6 MB reply (`create_async`, if there is one), with `max_reply` at 4 MB",
        "`AcytooError` with at most so much text; the next reply is complete",
        "a reply without end would fill the memory",
        _collects_too_much,
    ),
    ConsumerScenario(
        "closes-then-calls",
        "closes one stream early, then makes another call",
        "the next reply is complete and has nothing of the first",
        "connections are reused",
        _closes_then_calls,
    ),
    ConsumerScenario(
        "many-faults",
        "makes hundreds of calls with changing faults",
        "memory and sockets do not grow",
        "services run for months",
        _many_faults,
        ("Soju06/codex-lb#2045",),
    ),
    ConsumerScenario(
        "crowd",
        "makes many calls at once",
        "each call gets its own complete reply",
        "connection pools can mix up replies, and their limits can deadlock",
        _crowd,
    ),
)
"""The scenarios within one event loop; those with several are in `event_loops`."""
