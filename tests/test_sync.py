"""The plain iterator: in a script, a thread, a running loop; it ends where its reader ends."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from acytoo import Acytoo, AsyncGeneratorProvider, Messages, dialects
from acytoo.errors import TruncatedError, UsageError
from acytoo.testing import FakeEndpoint, raw, reply
from tests.helpers import MESSAGES
from tests.processes import run, script


@pytest.fixture
def fake() -> Iterator[FakeEndpoint]:
    """An endpoint in a thread of its own, which a test that blocks cannot hold up."""
    with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "wörld").wait(0.1, after=1)) as endpoint:
        yield endpoint


def test_it_yields_the_reply_in_a_script(fake: FakeEndpoint) -> None:
    assert list(Acytoo(fake.url).create_completion("", MESSAGES)) == ["Hello ", "wörld"]


def test_it_works_on_the_class(fake: FakeEndpoint) -> None:
    here: type[Acytoo] = type("Here", (Acytoo,), {"url": fake.url})
    assert "".join(here.create_completion("", MESSAGES)) == "Hello wörld"


def test_it_works_in_threads_at_once(fake: FakeEndpoint) -> None:
    seen: list[str] = []

    def ask() -> None:
        seen.append("".join(Acytoo(fake.url).create_completion("", MESSAGES)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["Hello wörld"] * 8


async def test_it_works_inside_a_running_loop(fake: FakeEndpoint) -> None:
    assert "".join(Acytoo(fake.url).create_completion("", MESSAGES)) == "Hello wörld"


async def test_it_works_in_an_executor_of_a_running_loop(fake: FakeEndpoint) -> None:
    iterator = Acytoo(fake.url).create_completion("", MESSAGES)
    assert await asyncio.to_thread("".join, iterator) == "Hello wörld"


def test_text_comes_as_it_is_sent_and_leaving_early_closes_the_connection() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("first", "second").stall(after=1)) as fake:
        for text in Acytoo(fake.url).create_completion("", MESSAGES):
            assert text == "first"
            break
        fake.wait_disconnected()


def test_closing_it_closes_the_connection() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("first", "second").stall(after=1)) as fake:
        iterator = Acytoo(fake.url).create_completion("", MESSAGES)
        assert next(iterator) == "first"
        iterator.close()  # type: ignore[attr-defined]
        fake.wait_disconnected()
        assert list(iterator) == []


def test_errors_come_through_with_their_text() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("first", "second").close(after=1)) as fake:
        iterator = Acytoo(fake.url).create_completion("", MESSAGES)
        assert next(iterator) == "first"
        with pytest.raises(TruncatedError) as caught:
            next(iterator)
        assert caught.value.text == "first"


def test_what_is_wrong_with_the_call_is_told_at_once() -> None:
    with pytest.raises(UsageError, match="messages is empty"):
        Acytoo("http://127.0.0.1:9").create_completion("", [])


def test_one_iterator_never_read_does_not_hold_up_another(fake: FakeEndpoint) -> None:
    provider = Acytoo(fake.url)
    unread = provider.create_completion("", MESSAGES)
    begun = provider.create_completion("", MESSAGES)
    assert next(begun) == "Hello "
    assert "".join(provider.create_completion("", MESSAGES)) == "Hello wörld"
    assert "".join(itertools.chain(begun, unread)) == "wörldHello wörld"


PROGRAM = """
import sys
from acytoo import Acytoo

iterator = Acytoo({url!r}).create_completion("", [{{"role": "user", "content": "Hi"}}])
print(next(iterator), flush=True)
{then}
"""


@pytest.mark.parametrize("then", ["", "iterator.close()", "del iterator", "sys.exit(0)"])
def test_a_program_that_ends_in_mid_stream_does_not_hang_or_complain(then: str) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("first", "second").stall(after=1)) as fake:
        done = run(script(PROGRAM.format(url=fake.url, then=then), "-W", "error"))
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"first", b"")
        fake.wait_disconnected()


def test_an_interrupt_while_waiting_closes_the_connection() -> None:
    then = """
import os, signal, threading
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    next(iterator)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with FakeEndpoint(dialects.Acytoo(), reply("first", "second").stall(after=1)) as fake:
        done = run(script(PROGRAM.format(url=fake.url, then=then), "-W", "error"))
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, [b"first", b"interrupted"], b"")
        fake.wait_disconnected()


@pytest.mark.parametrize(
    ("scheme", "answered"),
    [("socks5h", b""), ("socks5h", b"\x05\x00"), ("socks4", b"")],
    ids=["in the handshake with a proxy", "asking a proxy", "in the older handshake"],
)
def test_an_interrupt_while_connecting_is_just_an_interrupt(scheme: str, answered: bytes) -> None:
    program = """
import os, signal, threading
from acytoo import Acytoo

iterator = Acytoo("https://127.0.0.1:9", proxy={url!r}).create_completion("", [{{"role": "user", "content": "Hi"}}])
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    next(iterator)
except KeyboardInterrupt as interrupt:
    print(repr(interrupt.__context__), list(iterator))
"""
    with FakeEndpoint(dialects.Acytoo(), on_connect=raw(answered).stall()) as proxy:
        done = run(script(program.format(url=f"{scheme}://127.0.0.1:{proxy.port}"), "-W", "error"))
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"None []", b"")
        proxy.wait_disconnected()


COLLECTED = """
import gc
from acytoo import Acytoo, AsyncGeneratorProvider

MESSAGES = [{{"role": "user", "content": "Hi"}}]

class Held:
    def __init__(self):
        self.me = self
        self.iterator = Acytoo({url!r}).create_completion("", MESSAGES)

class Collecting(AsyncGeneratorProvider):
    async def create_async_generator(self, model, messages, proxy=None, **options):
        gc.collect()
        yield "collected"

gc.disable()
held = Held()
print(next(held.iterator), flush=True)
del held
print(*Collecting().create_completion("", MESSAGES), flush=True)
"""


def test_one_that_the_collector_drops_in_the_loops_own_thread_is_closed_and_holds_up_nobody() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("first", "second").stall(after=1)) as fake:
        done = run(script(COLLECTED.format(url=fake.url) + "input()", "-W", "error"), stdin=b"\n")
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, [b"first", b"collected"], b"")
        fake.wait_disconnected()


class Older(AsyncGeneratorProvider):
    """A class in the older style that does what its test wants."""

    @classmethod
    async def create_async_generator(  # type: ignore[override]
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncIterator[str]:
        yield "begun"
        if model == "nested":
            list(Older.create_completion("", messages))
        if model == "exit":
            raise SystemExit(3)


def test_an_exit_that_a_provider_asks_for_is_its_callers_and_ends_no_other_reply(fake: FakeEndpoint) -> None:
    other = Acytoo(fake.url).create_completion("", MESSAGES)
    assert next(other) == "Hello "
    with pytest.raises(SystemExit, match="3"):
        list(Older.create_completion("exit", MESSAGES))
    assert list(other) == ["wörld"]


def test_reading_one_in_the_loop_that_fills_it_is_refused_rather_than_waited_for() -> None:
    with pytest.raises(UsageError, match="async generator"):
        list(Older.create_completion("nested", MESSAGES))


NO_DESCRIPTORS = """
import os, resource, sys
import acytoo.sync, acytoo.client
from acytoo import Acytoo

provider = Acytoo({url!r})
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    os.close(held.pop())
iterator = provider.create_completion("", [{{"role": "user", "content": "Hi"}}])
try:
    next(iterator)
except OSError as error:
    print(error.errno == 24, flush=True)
for descriptor in held:
    os.close(descriptor)
print("".join(iterator).encode())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_without_descriptors_for_a_loop_it_fails_at_once_and_works_when_there_are_some_again(
    fake: FakeEndpoint,
) -> None:
    done = run(script(NO_DESCRIPTORS.format(url=fake.url), "-X", "utf8"))
    assert (done.returncode, done.stdout.split(b"\n")[:2]) == (0, [b"True", str("Hello wörld".encode()).encode()])
