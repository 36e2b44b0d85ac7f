"""Event loops that end too early, loops in two threads, and a fork in the middle of a reply."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from acytoo.testing.conformance.environments import endpoint
from acytoo.testing.conformance.faults import WHOLE
from acytoo.testing.conformance.subject import Defect, Subject


@dataclass(frozen=True)
class EventLoopScenario:
    """One row: `run` makes its own event loops, and raises Defect."""

    name: str
    does: str
    required: str
    why: str
    run: Callable[[Subject], None]
    seen: tuple[str, ...] = ()


async def _whole(subject: Subject, url: str) -> str:
    attempt = await subject.attempt(url)
    if attempt.text != WHOLE or attempt.error is not None:
        raise Defect(f"a reply was {attempt.text[:60]!r}, {attempt.error!r}")
    return attempt.text


async def _begun(subject: Subject, url: str) -> Any:
    stream: Any = subject.ask(url)
    await asyncio.wait_for(anext(stream), subject.patience_s)
    return stream


def _run_ends(subject: Subject) -> None:
    """`asyncio.run` ends while the stream is open: it closes its generators."""
    kept: list[Any] = []

    async def main(url: str) -> None:
        kept.append(await _begun(subject, url))

    with endpoint(subject, ("ok+stall:1t",)) as fake:
        asyncio.run(main(fake.url))
        _sees(subject, fake, "asyncio.run() ended")


def _loop_closed(subject: Subject) -> None:
    """The loop is closed without ending its generators."""
    with endpoint(subject, ("ok+stall:1t", "ok")) as fake:
        loop = asyncio.new_event_loop()
        stream = loop.run_until_complete(_begun(subject, fake.url))
        loop.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's own, of a loop that was closed so
            del stream, loop
            gc.collect()
            text = asyncio.run(_whole(subject, fake.url))
            gc.collect()
        if text != WHOLE:
            raise Defect("after a loop that was closed in mid-stream no reply is whole")
        _sees(subject, fake, "the loop was closed and the next one ended")


def _loop_after_loop(subject: Subject) -> None:
    """One provider, three loops one after the other."""
    with endpoint(subject, ("ok",)) as fake:
        for _ in range(3):
            asyncio.run(_whole(subject, fake.url))


def _two_threads(subject: Subject) -> None:
    """Two loops at once, each in its thread."""
    faults: list[BaseException] = []

    async def main(url: str) -> None:
        for _ in range(5):
            await asyncio.gather(*[_whole(subject, url) for _ in range(5)])

    def thread(url: str) -> None:
        try:
            asyncio.run(main(url))
        except BaseException as error:
            faults.append(error)

    with endpoint(subject, ("ok+cut:50",)) as fake:
        threads = [threading.Thread(target=thread, args=(fake.url,)) for _ in range(2)]
        for started in threads:
            started.start()
        for started in threads:
            started.join(60)
    if faults:
        raise Defect(f"two loops in two threads: {faults[0]!r}")
    if any(started.is_alive() for started in threads):
        raise Defect("two loops in two threads hung")


def _fork(subject: Subject) -> None:
    """A child forked in mid-stream asks for a reply of its own; the parent's goes on."""

    async def main(url: str) -> None:
        stream = await _begun(subject, url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            _as_child(subject, url)
        status = await asyncio.to_thread(lambda: os.waitpid(child, 0)[1])
        rest = [text async for text in stream]
        if os.waitstatus_to_exitcode(status) != 0:
            raise Defect("a child forked in mid-stream could not ask for a reply of its own")
        if not WHOLE.endswith("".join(rest)) or not rest:
            raise Defect(f"after a fork the parent's reply went on with {''.join(rest)[:60]!r}")

    with endpoint(subject, ("ok+wait:0.3:1t", "ok")) as fake:
        asyncio.run(main(fake.url))


def _as_child(subject: Subject, url: str) -> None:
    code = 1
    try:
        signal.alarm(20)
        asyncio.events._set_running_loop(None)
        loop = asyncio.new_event_loop()
        text = loop.run_until_complete(_whole(subject, url))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        code = 0 if text == WHOLE else 2
    finally:
        os._exit(code)


def _sees(subject: Subject, fake: Any, after: str) -> None:
    try:
        fake.wait_disconnected(2.0)
    except TimeoutError:
        raise Defect(f"the connection was still open 2 s after {after}") from None


EVENT_LOOP_SCENARIOS: tuple[EventLoopScenario, ...] = (
    EventLoopScenario(
        "run-ends",
        "`asyncio.run` ends while a stream is open",
        "the endpoint sees it, nothing complains",
        "scripts end that way",
        _run_ends,
    ),
    EventLoopScenario(
        "loop-closed",
        "the loop is closed in mid-stream, without ending its generators; then a new one asks",
        "the new reply is whole, the old connection closed",
        "notebooks and test suites do it",
        _loop_closed,
        ("openai/openai-python#1254",),
    ),
    EventLoopScenario(
        "loop-after-loop",
        "three loops, one after the other",
        'every reply whole, no "Event loop is closed"',
        "scripts call `asyncio.run` more than once",
        _loop_after_loop,
        ("encode/httpx#2473", "ollama/ollama-python#391"),
    ),
    EventLoopScenario(
        "two-threads",
        "two loops in two threads",
        "every reply whole",
        "web servers do it",
        _two_threads,
        ("encode/httpx#2058",),
    ),
    EventLoopScenario(
        "fork",
        "forks in mid-stream; parent and child both go on",
        "both replies whole",
        "process pools and servers fork",
        _fork,
    ),
)
"""Every row."""
