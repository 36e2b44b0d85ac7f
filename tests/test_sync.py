"""The synchronous iterator: in a script, a thread, a running loop; and how it is closed."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from acytoo import Acytoo, AsyncGeneratorProvider, Messages, dialects
from acytoo.errors import TruncatedError, UsageError
from acytoo.testing import FakeEndpoint, reply
from tests.helpers import MESSAGES
from tests.processes import LIMIT, run, script, start


@pytest.fixture
def fake() -> Iterator[FakeEndpoint]:
    """Run an endpoint in a thread of its own, so that a blocking test cannot stop it."""
    with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "wörld").wait(0.1, after=1)) as endpoint:
        yield endpoint


def test_it_yields_the_reply_in_a_script(fake: FakeEndpoint) -> None:
    assert list(Acytoo(fake.url).create_completion("", MESSAGES)) == ["Hello ", "wörld"]


def test_it_works_on_the_class(fake: FakeEndpoint) -> None:
    provider: type[Acytoo] = type("Mine", (Acytoo,), {"url": fake.url})
    assert "".join(provider.create_completion("", MESSAGES)) == "Hello wörld"


def test_it_works_in_several_threads_at_once(fake: FakeEndpoint) -> None:
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


def test_text_arrives_as_it_is_sent_and_leaving_early_closes_the_connection() -> None:
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


def test_an_error_is_raised_with_the_text_so_far() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("first", "second").close(after=1)) as fake:
        iterator = Acytoo(fake.url).create_completion("", MESSAGES)
        assert next(iterator) == "first"
        with pytest.raises(TruncatedError) as caught:
            next(iterator)
        assert caught.value.text == "first"


def test_an_invalid_call_raises_at_once() -> None:
    with pytest.raises(UsageError, match="messages is empty"):
        Acytoo("http://127.0.0.1:9").create_completion("", [])


def test_an_iterator_that_is_never_read_does_not_block_another(fake: FakeEndpoint) -> None:
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
def test_a_program_that_ends_in_mid_stream_exits_without_hanging_or_warnings(then: str) -> None:
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
    ("scheme", "answers"),
    [("socks5h", [b""]), ("socks5h", [b"\x05\x00", b""]), ("socks4", [b""])],
    ids=["in the SOCKS5 handshake", "in the SOCKS5 request", "in the SOCKS4 request"],
)
def test_an_interrupt_while_connecting_raises_only_keyboard_interrupt(scheme: str, answers: list[bytes]) -> None:
    program = """
from acytoo import Acytoo

iterator = Acytoo("https://127.0.0.1:9", proxy={url!r}).create_completion("", [{{"role": "user", "content": "Hi"}}])
try:
    next(iterator)
except KeyboardInterrupt as interrupt:
    print(repr(interrupt.__context__), list(iterator))
"""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(LIMIT)
        url = f"{scheme}://127.0.0.1:{proxy.getsockname()[1]}"
        with start(script(program.format(url=url), "-W", "error")) as process, proxy.accept()[0] as client:
            client.settimeout(LIMIT)
            for answer in answers:
                assert client.recv(1000)
                client.sendall(answer)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=LIMIT)
            assert (process.returncode, output.strip(), errors) == (0, b"None []", b"")
            assert client.recv(1000) == b""


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


def test_an_iterator_collected_in_the_loops_own_thread_is_closed_without_a_deadlock() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("first", "second").stall(after=1)) as fake:
        done = run(script(COLLECTED.format(url=fake.url) + "input()", "-W", "error"), stdin=b"\n")
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, [b"first", b"collected"], b"")
        fake.wait_disconnected()


class Legacy(AsyncGeneratorProvider):
    """A legacy class that raises SystemExit, or iterates synchronously in its own loop, if the model asks for it."""

    @classmethod
    async def create_async_generator(  # type: ignore[override]
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncIterator[str]:
        yield "begun"
        if model == "nested":
            list(Legacy.create_completion("", messages))
        if model == "exit":
            raise SystemExit(3)


def test_a_system_exit_in_a_provider_is_raised_in_its_caller_and_ends_no_other_reply(fake: FakeEndpoint) -> None:
    other = Acytoo(fake.url).create_completion("", MESSAGES)
    assert next(other) == "Hello "
    with pytest.raises(SystemExit, match="3"):
        list(Legacy.create_completion("exit", MESSAGES))
    assert list(other) == ["wörld"]


def test_iterating_in_the_loop_that_runs_the_generator_is_refused_instead_of_blocking() -> None:
    with pytest.raises(UsageError, match="async generator"):
        list(Legacy.create_completion("nested", MESSAGES))


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
def test_without_file_descriptors_it_fails_at_once_and_works_once_there_are_some(
    fake: FakeEndpoint,
) -> None:
    done = run(script(NO_DESCRIPTORS.format(url=fake.url), "-X", "utf8"))
    assert (done.returncode, done.stdout.split(b"\n")[:2]) == (0, [b"True", str("Hello wörld".encode()).encode()])
