"""The plain iterator: in a script, a thread, a running loop; it ends where its reader ends."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator

import pytest

from acytoo import Acytoo, dialects
from acytoo.errors import TruncatedError, UsageError
from acytoo.testing import FakeEndpoint, reply
from tests.asking import MESSAGES
from tests.processes import run, script


@pytest.fixture
def fake() -> Iterator[FakeEndpoint]:
    """An endpoint in a thread of its own, which a test that blocks cannot hold up."""
    with FakeEndpoint(dialects.acytoo, reply("Hello ", "wörld").wait(0.1, after=1)) as endpoint:
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
    with FakeEndpoint(dialects.acytoo, reply("first", "second").stall(after=1)) as fake:
        for text in Acytoo(fake.url).create_completion("", MESSAGES):
            assert text == "first"
            break
        fake.wait_disconnected()


def test_closing_it_closes_the_connection() -> None:
    with FakeEndpoint(dialects.acytoo, reply("first", "second").stall(after=1)) as fake:
        iterator = Acytoo(fake.url).create_completion("", MESSAGES)
        assert next(iterator) == "first"
        iterator.close()  # type: ignore[attr-defined]
        fake.wait_disconnected()
        assert list(iterator) == []


def test_errors_come_through_with_their_text() -> None:
    with FakeEndpoint(dialects.acytoo, reply("first", "second").close(after=1)) as fake:
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
    with FakeEndpoint(dialects.acytoo, reply("first", "second").stall(after=1)) as fake:
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
    with FakeEndpoint(dialects.acytoo, reply("first", "second").stall(after=1)) as fake:
        done = run(script(PROGRAM.format(url=fake.url, then=then), "-W", "error"))
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, [b"first", b"interrupted"], b"")
        fake.wait_disconnected()
