"""How consumers behave, and what a provider must make of it: leave, be cancelled, dawdle, fork, come in crowds."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from acytoo.testing.conformance.clock import ended, happens, stopped
from acytoo.testing.conformance.environments import ENVIRONMENTS, direct, endpoint, silent_tls
from acytoo.testing.conformance.faults import WHOLE
from acytoo.testing.conformance.leaks import open_sockets
from acytoo.testing.conformance.subject import Defect, Subject, question
from acytoo.testing.fakes.server import Loopback, black_hole
from acytoo.testing.script.syntax import TEXTS


@dataclass(frozen=True)
class ConsumerScenario:
    """One row: `run` raises Defect; what it leaves behind is looked at afterwards."""

    name: str
    does: str
    required: str
    why: str
    run: Callable[[Subject], Coroutine[Any, Any, None]]
    seen: tuple[str, ...] = ()


async def _closed(subject: Subject, server: Loopback, after: str) -> None:
    if not await happens(server.disconnected(), subject.promptly_s):
        raise Defect(f"the connection was still open {subject.promptly_s:g} s after {after}")


async def _first(subject: Subject, stream: Any) -> str:
    """The first text. Raises Defect where none comes."""
    task = asyncio.ensure_future(anext(stream))
    if not await ended(task, subject.patience_s):
        await stopped(task)
        raise Defect("hung: the first text did not come while the rest was still to come")
    if task.cancelled() or (error := task.exception()) is not None:
        raise Defect(f"no first text: {type(error).__name__} {error}")
    text: str = task.result()
    return text


async def _cancelled(subject: Subject, task: asyncio.Future[Any], where: str) -> None:
    """Cancel a task; it must end, as cancelled."""
    task.cancel()
    if not await ended(task, subject.patience_s):
        raise Defect(f"a task cancelled {where} went on")
    if not task.cancelled():
        error = task.exception()
        if error is not None:
            raise Defect(f"cancelled {where}, it raised {type(error).__name__}, not CancelledError")
        raise Defect(f"a task cancelled {where} went on as if nothing were")


# The consumer leaves.


async def _leaves_early(subject: Subject) -> None:
    async with endpoint(subject, ("ok+stall:1t",)) as fake:
        stream: Any = subject.ask(fake.url)
        text = await _first(subject, stream)
        await stream.aclose()
        if text != TEXTS[0]:
            raise Defect(f"the first text was {text[:40]!r}; {TEXTS[0]!r} was right")
        await _closed(subject, fake, "aclose()")


async def _leaves_behind_proxies(subject: Subject) -> None:
    for place in ("HTTP proxy", "HTTP proxy, TLS", "SOCKS proxy"):
        async with ENVIRONMENTS[place](subject, ("ok+stall:1t",)) as scene:
            stream: Any = subject.ask(scene.url, **scene.settings)
            await _first(subject, stream)
            await stream.aclose()
            for server in scene.servers:
                await _closed(subject, server, f"aclose(), with the {place} in between")


async def _dropped(subject: Subject) -> None:
    async with endpoint(subject, ("ok+stall:1t",)) as fake:
        stream: Any = subject.ask(fake.url)
        await _first(subject, stream)
        del stream
        gc.collect()
        await _closed(subject, fake, "the generator was dropped")


async def _never_begun(subject: Subject) -> None:
    async with endpoint(subject, ("ok",)) as fake:
        stream: Any = subject.ask(fake.url)
        await stream.aclose()
        del stream
        if await happens(fake.connected(), subject.promptly_s):
            raise Defect("connected although nobody ever asked for a text")


async def _raises(subject: Subject) -> None:
    async with endpoint(subject, ("ok+stall:1t",)) as fake:
        with contextlib.suppress(ZeroDivisionError):
            async with contextlib.aclosing(subject.ask(fake.url)) as stream:  # type: ignore[type-var]
                async for _ in stream:
                    raise ZeroDivisionError
        await _closed(subject, fake, "an exception in the consumer's own code")


_PHASES = {
    "waiting for the head": "silent",
    "in the head": "ok+stall:9w",
    "waiting for the first byte": "ok+stall:0",
    "in mid-stream": "ok+stall:1t",
    "in an error's body": "status:500:text+length:99+stall",
}


async def _cancelled_in_each_phase(subject: Subject) -> None:
    for phase, words in _PHASES.items():
        for asks, where in ((streamed, phase), (_collected, f"{phase} of a whole reply")):
            async with endpoint(subject, (words,)) as fake:
                task = asyncio.ensure_future(asks(fake.url, subject))
                await _arrived(subject, fake.received(), task)
                await asyncio.sleep(0.02)
                if task.done() and words.startswith("status"):
                    task.exception()  # it did not wait for the rest of the error
                else:
                    await _cancelled(subject, task, where)
                await _closed(subject, fake, f"it was cancelled {where}")


async def _cancelled_connecting(subject: Subject) -> None:
    async with black_hole() as port:
        task = asyncio.ensure_future(streamed(f"http://127.0.0.1:{port}", subject))
        await asyncio.sleep(0.05)
        await _cancelled(subject, task, "connecting")
    async with silent_tls(subject, ()) as scene:
        task = asyncio.ensure_future(streamed(scene.url, subject))
        await _arrived(subject, scene.servers[0].connected(), task)
        await _cancelled(subject, task, "in the TLS handshake")
        await _closed(subject, scene.servers[0], "it was cancelled in the TLS handshake")


async def _cancelled_at_each_await(subject: Subject) -> None:
    async with endpoint(subject, ("ok+cut:40",)) as fake:
        for turns in range(200):
            task = asyncio.ensure_future(streamed(fake.url, subject))
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.done():
                break
            task.cancel()
            if not await ended(task, subject.patience_s):
                raise Defect(f"a task cancelled after {turns} turns of the event loop went on")
            if not task.cancelled() and (error := task.exception()) is not None:
                raise Defect(f"cancelled after {turns} turns of the event loop, it raised {type(error).__name__}")
        text = await streamed(fake.url, subject)
        if text != WHOLE:
            raise Defect(f"after many cancelled ones a reply was {text[:60]!r}")


async def _own_timeout(subject: Subject) -> None:
    async with endpoint(subject, ("ok+stall:1t",)) as fake:
        try:
            async with asyncio.timeout(0.2):
                await streamed(fake.url, subject)
        except TimeoutError as error:
            if type(error) is not TimeoutError:
                raise Defect(f"the caller's own timeout surfaced as {type(error).__name__}") from None
        await _closed(subject, fake, "the caller's own timeout")


async def streamed(url: str, subject: Subject, messages: Any = None, **settings: Any) -> str:
    stream: AsyncIterator[str] = subject.ask(url, messages, **settings)
    return "".join([text async for text in stream])


async def _collected(url: str, subject: Subject) -> str:
    return await subject.whole(url)


async def _arrived(subject: Subject, waiting: Any, task: asyncio.Future[Any]) -> None:
    if not await happens(waiting, subject.patience_s):
        await stopped(task)
        raise Defect("hung before it asked the endpoint")


# The consumer dawdles.


async def _slow(subject: Subject) -> None:
    async with endpoint(subject, ("ok+wait:0.02:1t+wait:0.02:2t+wait:0.02:3t",)) as fake:
        texts = []
        async for text in subject.ask(fake.url, timeout=0.4):
            texts.append(text)
            await asyncio.sleep(0.6)
        if "".join(texts) != WHOLE:
            raise Defect(f"a slow reader got {''.join(texts)[:60]!r}")


async def _never_reads(subject: Subject) -> None:
    async with endpoint(subject, ("long:1000",)) as fake:
        stream: Any = subject.ask(fake.url)
        await _first(subject, stream)
        before = -1
        for _ in range(100):
            if before == fake.written:
                break
            before = fake.written
            await asyncio.sleep(0.1)
        if fake.written > 32_000_000:
            raise Defect(f"took {fake.written / 1e6:.0f} MB from the network that nobody reads")
        await stream.aclose()
        await _closed(subject, fake, "aclose()")


# Many at once, again and again.


async def _crowd(subject: Subject) -> None:
    async with endpoint(subject, ("named",)) as fake:
        names = [f"number {index}" for index in range(subject.crowd)]
        asked = [streamed(fake.url, subject, question(name), timeout=60) for name in names]
        task = asyncio.ensure_future(asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 120))
        await ended(task, max(subject.patience_s, subject.crowd / 20))
        if not task.done():
            await stopped(task)
            raise Defect(f"hung with {subject.crowd} replies at once")
        results = task.result()
    wrong = [found for name, found in zip(names, results, strict=True) if found != f"for {name}"]
    if wrong:
        raise Defect(f"{len(wrong)} of {len(names)} at once were not their own whole reply: {wrong[0]!r:.100}")


async def _again_and_again(subject: Subject) -> None:
    words = ("ok", "ok+reset:1t", "status:429", "ok+gzip+end:1t", "hang-up", "page", "ok+stall:1t")
    async with endpoint(subject, words * 40) as fake:
        held: list[int] = []
        sockets: list[int] = []
        tracemalloc.start()
        try:
            for _ in range(4):
                for _ in range(8 * len(words)):
                    stream: Any = subject.ask(fake.url)
                    with contextlib.suppress(Exception):
                        async with contextlib.aclosing(stream):
                            async for _text in stream:
                                if len(fake.requests) % len(words) == 0:
                                    break
                    del stream
                    fake.peers[:] = [peer for peer in fake.peers if not peer.left.is_set()]
                await asyncio.sleep(0.02)
                gc.collect()
                fakes_own = sum(len(request.body) + 4000 for request in fake.requests)
                held.append(tracemalloc.get_traced_memory()[0] - fakes_own)
                sockets.append(open_sockets())
        finally:
            tracemalloc.stop()
        if held[-1] - held[1] > 500_000:
            raise Defect(f"{16 * len(words)} faulty replies left {(held[-1] - held[1]) / 1000:.0f} kB behind")
        if sockets[-1] - sockets[1] > 8:
            raise Defect(f"{16 * len(words)} faulty replies left {sockets[-1] - sockets[1]} sockets open")


async def _nothing_between(subject: Subject) -> None:
    async with direct(subject, ("ok+stall:1t", "ok")) as scene:
        stream: Any = subject.ask(scene.url)
        await _first(subject, stream)
        await stream.aclose()
        text = await streamed(scene.url, subject)
        if text != WHOLE:
            raise Defect(f"after a reply that was left the next was {text[:60]!r}")


CONSUMER_SCENARIOS: tuple[ConsumerScenario, ...] = (
    ConsumerScenario(
        "leaves-early",
        "closes the stream after the first text",
        "the endpoint sees it at once",
        "what nobody reads is still generated, and paid",
        _leaves_early,
        ("BerriAI/litellm#30244", "aio-libs/aiohttp#6462"),
    ),
    ConsumerScenario(
        "leaves-behind-proxies",
        "closes the stream after the first text, with an HTTP or a SOCKS proxy in between",
        "proxy and endpoint see it at once",
        "as above",
        _leaves_behind_proxies,
    ),
    ConsumerScenario(
        "drops-it",
        "leaves the loop and drops the generator",
        "the endpoint sees it at once",
        "a `break` is how people leave",
        _dropped,
        ("huggingface/huggingface_hub#3252", "openai/openai-python#584"),
    ),
    ConsumerScenario(
        "never-begins",
        "closes the stream before its first text",
        "nothing is sent",
        "a generator that was made is no request",
        _never_begun,
    ),
    ConsumerScenario(
        "raises",
        "raises an exception of its own in the loop",
        "it passes through, the connection closes",
        "consumers have faults too",
        _raises,
    ),
    ConsumerScenario(
        "cancelled-in-each-phase",
        "is cancelled before the head, in it, before the first byte, in mid-stream, in an error",
        "`CancelledError`, and the endpoint sees it at once",
        "a user who presses stop means now",
        _cancelled_in_each_phase,
        ("BerriAI/litellm#31499", "BerriAI/litellm#37140"),
    ),
    ConsumerScenario(
        "cancelled-connecting",
        "is cancelled while it connects, or in the TLS handshake",
        "`CancelledError`, at once",
        "as above",
        _cancelled_connecting,
    ),
    ConsumerScenario(
        "cancelled-at-each-await",
        "is cancelled after 0, 1, 2, … turns of the event loop",
        "`CancelledError` or the whole reply, nothing left behind, the next reply whole",
        "cancellation comes at any await",
        _cancelled_at_each_await,
    ),
    ConsumerScenario(
        "own-timeout",
        "has a timeout of its own around the call",
        "its plain `TimeoutError`",
        "a cancellation that is swallowed breaks `asyncio.timeout`",
        _own_timeout,
    ),
    ConsumerScenario(
        "slow",
        "takes longer over each text than the idle limit",
        "the whole reply",
        "a slow reader is no silent server",
        _slow,
    ),
    ConsumerScenario(
        "never-reads",
        "reads one text of 64 MB, then no more",
        "the server is slowed, little is held",
        "memory is finite",
        _never_reads,
    ),
    ConsumerScenario(
        "leaves-then-asks",
        "leaves one reply, asks for the next",
        "the next is whole, with nothing of the first",
        "connections are used again",
        _nothing_between,
    ),
    ConsumerScenario(
        "again-and-again",
        "asks through fault after fault",
        "memory and sockets where they were",
        "services run for months",
        _again_and_again,
        ("Soju06/codex-lb#2045",),
    ),
    ConsumerScenario(
        "crowd", "asks for many replies at once", "each its own, whole", "pools mix up, and limits deadlock", _crowd
    ),
)
"""Every row that happens in one event loop; `lifetimes` has the others."""
