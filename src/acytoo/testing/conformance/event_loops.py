"""Scenarios of event loops: one that ends early, several in sequence or in threads, and a fork in mid-stream."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from acytoo.testing.conformance.environments import endpoint
from acytoo.testing.conformance.subject import Subject, Violation
from acytoo.testing.fakes.endpoint import FakeEndpoint
from acytoo.testing.script.directives import COMPLETE_REPLY


@dataclass(frozen=True)
class EventLoopScenario:
    """One row of the table: `run` creates its own event loops and raises Violation."""

    name: str
    description: str
    required: str
    why: str
    run: Callable[[Subject], None]
    reports: tuple[str, ...] = ()


async def _check_reply(subject: Subject, url: str) -> None:
    outcome = await subject.consume(url)
    if outcome.text != COMPLETE_REPLY or outcome.error is not None:
        raise Violation(f"a reply was {outcome.text[:60]!r}, {outcome.error!r}")


async def _started_stream(subject: Subject, url: str) -> AsyncGenerator[str, None]:
    stream = subject.stream(url)
    await asyncio.wait_for(anext(stream), subject.patience_s)
    return stream


def _check_disconnected(fake: FakeEndpoint, after: str) -> None:
    for _ in range(400):  # short waits: if the process does not run for seconds, one of them passes
        if fake.peers and all(peer.client_left.is_set() for peer in fake.peers):
            return
        time.sleep(0.005)
    raise Violation(f"the connection was still open 2 s after {after}")


def _run_ends(subject: Subject) -> None:
    """End `asyncio.run` while a stream is open; asyncio closes its generators then."""
    streams: list[AsyncGenerator[str, None]] = []  # keeps the generator alive until the loop has ended

    async def main(url: str) -> None:
        streams.append(await _started_stream(subject, url))

    with endpoint(subject, ("ok+stall:1t",)) as fake:
        asyncio.run(main(fake.url))
        _check_disconnected(fake, "asyncio.run() ended")


def _loop_closed(subject: Subject) -> None:
    """Close a loop without closing its generators, then make a call in a new loop."""
    with endpoint(subject, ("ok+stall:1t", "ok")) as fake:
        loop = asyncio.new_event_loop()
        stream = loop.run_until_complete(_started_stream(subject, fake.url))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's and uvloop's own warnings about a loop that is closed like this
            loop.close()
            del stream, loop
            gc.collect()
            asyncio.run(_check_reply(subject, fake.url))
            gc.collect()
        _check_disconnected(fake, "the loop was closed and the next one ended")


def _loop_after_loop(subject: Subject) -> None:
    with endpoint(subject, ("ok",)) as fake:
        for _ in range(3):
            asyncio.run(_check_reply(subject, fake.url))


def _two_threads(subject: Subject) -> None:
    errors: list[BaseException] = []

    async def main(url: str) -> None:
        for _ in range(5):
            await asyncio.gather(*[_check_reply(subject, url) for _ in range(5)])

    def run(url: str) -> None:
        try:
            asyncio.run(main(url))
        except BaseException as error:
            errors.append(error)

    with endpoint(subject, ("ok+cut:50",)) as fake:
        threads = [threading.Thread(target=run, args=(fake.url,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    if errors:
        raise Violation(f"two loops in two threads: {errors[0]!r}")
    if any(thread.is_alive() for thread in threads):
        raise Violation("two loops in two threads hung")


def _fork(subject: Subject) -> None:
    """Fork in mid-stream: the child makes a call of its own, and the parent reads on."""

    async def main(url: str) -> None:
        stream = await _started_stream(subject, url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork in a process with threads
            child = os.fork()
        if not child:
            _run_child(subject, url)
        status = await asyncio.to_thread(lambda: os.waitpid(child, 0)[1])
        rest = "".join([text async for text in stream])
        if os.waitstatus_to_exitcode(status) != 0:
            raise Violation("a child forked in mid-stream could not make a call of its own")
        if not COMPLETE_REPLY.endswith(rest) or not rest:
            raise Violation(f"after a fork, the rest of the parent's reply was {rest[:60]!r}")

    with endpoint(subject, ("ok+wait:0.3:1t", "ok")) as fake:
        asyncio.run(main(fake.url))


def _run_child(subject: Subject, url: str) -> None:
    """Make a call in a new loop, then exit with 0 if it succeeded, without cleaning up the parent's state."""
    code = 1
    try:
        signal.alarm(20)  # kills a child that hangs
        asyncio.events._set_running_loop(None)  # the parent's loop: asyncio has no public way to leave it
        loop = asyncio.new_event_loop()
        loop.run_until_complete(_check_reply(subject, url))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        code = 0
    finally:
        os._exit(code)


EVENT_LOOP_SCENARIOS: tuple[EventLoopScenario, ...] = (
    EventLoopScenario(
        "run-ends",
        "`asyncio.run` ends while a stream is open",
        "the endpoint sees the disconnect, and there are no warnings",
        "scripts end like this",
        _run_ends,
    ),
    EventLoopScenario(
        "loop-closed",
        "a loop is closed in mid-stream without closing its generators; then a call is made in a new loop",
        "the new reply is complete, and the old connection is closed",
        "notebooks and test suites do this",
        _loop_closed,
        ("openai/openai-python#1254",),
    ),
    EventLoopScenario(
        "loop-after-loop",
        "three loops run, one after the other",
        'every reply is complete, without "Event loop is closed"',
        "scripts call `asyncio.run` more than once",
        _loop_after_loop,
        ("encode/httpx#2473", "ollama/ollama-python#391"),
    ),
    EventLoopScenario(
        "two-threads",
        "two loops run in two threads",
        "every reply is complete",
        "web servers do this",
        _two_threads,
        ("encode/httpx#2058",),
    ),
    EventLoopScenario(
        "fork",
        "the process forks in mid-stream; parent and child both go on",
        "both replies are complete",
        "process pools and servers fork",
        _fork,
    ),
)
"""The scenarios that create event loops of their own."""
