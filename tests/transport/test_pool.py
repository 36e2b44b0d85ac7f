"""Each event loop has a pool of connections, which are closed with the loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from acytoo import Acytoo, dialects
from acytoo.errors import TruncatedError, UnreachableError
from acytoo.http import HTTPRequest
from acytoo.testing import FakeEndpoint, FakeSOCKSProxy, ScriptedResponse, hang_up, raw, reply, silent
from acytoo.testing.conformance.clock import occurs_within
from acytoo.transport.config import Connection
from acytoo.transport.exchange import open_exchange
from tests.helpers import failure, texts
from tests.recording_loop import RecordingLoop
from tests.skipping_loop import in_skipping_loop, skip


async def test_two_calls_share_a_connection() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        assert await texts(Acytoo(fake.url)) == ["Hi"]
        assert await texts(Acytoo(fake.url)) == ["Hi"]
        assert len(fake.requests) == 2
        assert fake.connections == 1


async def test_concurrent_calls_are_not_limited() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("a", "b").wait(0.3, after=1)) as fake:
        replies = await asyncio.gather(*[texts(Acytoo(fake.url)) for _ in range(150)])
        assert {"".join(reply) for reply in replies} == {"ab"}
        assert fake.connections == 150


async def test_a_connection_closed_while_idle_is_not_reused() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("1"), reply("2")) as fake:
        assert await texts(Acytoo(fake.url)) == ["1"]
        fake.peers[0].close()
        await fake.disconnected()
        assert await texts(Acytoo(fake.url)) == ["2"]
        assert fake.connections == 2


@pytest.mark.parametrize("end", [hang_up(), raw().reset()], ids=["closed", "reset"])
async def test_a_request_on_a_stale_connection_is_retried_once(end: ScriptedResponse) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("first"), end, reply("again")) as fake:
        assert await texts(Acytoo(fake.url)) == ["first"]
        assert await texts(Acytoo(fake.url)) == ["again"]
        assert [request.peer for request in fake.requests] == [fake.peers[0], fake.peers[0], fake.peers[1]]
        assert fake.requests[1].body == fake.requests[2].body


@pytest.mark.parametrize("end", [hang_up(), raw().reset()], ids=["closed", "reset"])
async def test_a_request_on_a_new_connection_is_not_retried(end: ScriptedResponse) -> None:
    async with FakeEndpoint(dialects.Acytoo(), end) as fake:
        assert type(await failure(Acytoo(fake.url))) is UnreachableError
        assert len(fake.requests) == 1


@pytest.mark.parametrize("seconds", [5.0, 31.0])
@in_skipping_loop
async def test_a_request_whose_connection_ends_long_after_it_was_sent_is_not_sent_again(seconds: float) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("first"), silent(), reply("again")) as fake:
        assert await texts(Acytoo(fake.url)) == ["first"]
        call = asyncio.create_task(texts(Acytoo(fake.url, timeout=600)))
        await fake.received(2)
        skip(seconds)
        fake.peers[0].close()
        if seconds < 30:
            assert await call == ["again"]
        else:
            with pytest.raises(UnreachableError, match="before a response arrived"):
                await call
            assert len(fake.requests) == 2


async def test_a_retry_is_not_retried() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("first"), hang_up()) as fake:
        assert await texts(Acytoo(fake.url)) == ["first"]
        assert type(await failure(Acytoo(fake.url))) is UnreachableError
        assert len(fake.requests) == 3


async def test_a_request_on_a_new_socks_connection_is_not_retried() -> None:
    async with FakeEndpoint(dialects.Acytoo(), hang_up()) as fake, FakeSOCKSProxy() as proxy:
        assert type(await failure(Acytoo(fake.url, proxy=proxy.url))) is UnreachableError
        assert len(fake.requests) == 1


async def test_a_surplus_response_is_not_taken_for_the_next_one() -> None:
    surplus = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\nnobody"
    async with FakeEndpoint(dialects.Acytoo(), reply("1"), reply("2")) as fake:
        assert await texts(Acytoo(fake.url)) == ["1"]
        await fake.peers[0].send(surplus)
        await asyncio.sleep(0.1)
        assert await texts(Acytoo(fake.url)) == ["2"]
        assert fake.connections == 2


async def test_many_socks_proxies_keep_few_connections_open() -> None:
    async with (
        FakeEndpoint(dialects.Acytoo(), reply("a", "b").wait(0.1, after=1)) as fake,
        FakeSOCKSProxy() as proxy,
    ):
        asked = [texts(Acytoo(fake.url, proxy=f"socks5://user{n}:x@127.0.0.1:{proxy.port}")) for n in range(150)]
        assert await asyncio.gather(*asked) == [["a", "b"]] * 150
        await fake.until(lambda: sum(peer.is_open for peer in fake.peers) <= 100)


@pytest.mark.parametrize(
    "end",
    [raw(b"HTTP/1.1 200 OK\r\ncontent-ty").close(), reply("begun").close(after=1)],
    ids=["in its head", "in its body"],
)
async def test_a_response_that_has_begun_is_never_requested_again(end: ScriptedResponse) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("first"), end) as fake:
        assert await texts(Acytoo(fake.url)) == ["first"]
        assert type(await failure(Acytoo(fake.url))) in (UnreachableError, TruncatedError)
        assert len(fake.requests) == 2


async def test_cookies_of_one_call_are_not_sent_with_the_next() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi").header("set-cookie", "who=me")) as fake:
        assert await texts(Acytoo(fake.url)) == ["Hi"]
        assert await texts(Acytoo(fake.url)) == ["Hi"]
        assert "cookie" not in fake.requests[1].headers


@in_skipping_loop
async def test_each_connection_is_closed_half_a_minute_after_its_last_use() -> None:
    async with (
        FakeEndpoint(dialects.Acytoo(), reply("1")) as one,
        FakeEndpoint(dialects.Acytoo(), reply("2")) as two,
    ):
        assert await texts(Acytoo(one.url)) == ["1"]
        skip(20)
        assert await texts(Acytoo(two.url)) == ["2"]
        skip(11)
        assert await occurs_within(one.disconnected(), 5.0)
        assert two.peers[0].is_open
        skip(20)
        assert await occurs_within(two.disconnected(), 5.0)


def test_no_timer_remains_of_a_loop_that_has_ended() -> None:
    loop = RecordingLoop()
    with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(texts(Acytoo(fake.url))) == ["Hi"]
    assert (bool(loop.timers), loop.pending()) == (True, 0)


def test_consecutive_event_loops_each_open_and_close_a_connection() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        for _ in range(3):
            assert asyncio.run(texts(Acytoo(fake.url))) == ["Hi"]
            fake.wait_disconnected()
        assert fake.connections == 3


def test_a_loop_that_ends_with_a_response_half_read_closes_its_connection() -> None:
    async def begin(url: str) -> None:
        held.append(await open_exchange(HTTPRequest(url, {}, b"{}"), Connection()))

    async def main() -> None:
        async with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "world").stall(after=1)) as fake:
            ending = threading.Thread(target=lambda: asyncio.run(begin(fake.url)), daemon=True)
            ending.start()
            assert await occurs_within(fake.disconnected(), 5.0)
            await asyncio.to_thread(ending.join, 10)
            assert not ending.is_alive()

    held: list[Any] = []
    asyncio.run(main())


def test_event_loops_in_two_threads_share_nothing() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("a", "b").wait(0.2, after=1)) as fake:
        seen: list[list[str]] = []

        async def twice() -> list[str]:
            return await texts(Acytoo(fake.url)) + await texts(Acytoo(fake.url))

        threads = [threading.Thread(target=lambda: seen.append(asyncio.run(twice()))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ["".join(reply) for reply in seen] == ["abab", "abab"]
        assert fake.connections == 2
        fake.wait_disconnected()


def test_a_socks_proxys_connection_is_closed_with_its_loop() -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake, FakeSOCKSProxy() as proxy:
        assert asyncio.run(texts(Acytoo(fake.url, proxy=proxy.url))) == ["Hi"]
        fake.wait_disconnected()
        proxy.wait_disconnected()


ENDINGS = {
    "asyncio.run": "asyncio.run(ask())",
    "two asyncio.runs": "asyncio.run(ask()); asyncio.run(ask())",
    "a loop closed by hand, its generators ended": """
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(ask())
keep.append(loop)
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
""",
    "a loop ended in mid-stream": "asyncio.run(begin())",
    "a generator dropped and never closed": "asyncio.run(drop())",
    "a plain iterator": "print(''.join(provider.create_completion('', messages)))",
    "a plain iterator left early": "print(next(provider.create_completion('', messages)))",
}

LOOPS_NOT_ENDED = {
    "a loop closed without ending its generators": """
loop = asyncio.new_event_loop()
loop.run_until_complete(ask())
loop.close()
""",
    "such a loop and another": """
loop = asyncio.new_event_loop()
loop.run_until_complete(ask())
loop.close()
asyncio.run(ask())
""",
    "a loop closed in mid-stream": """
loop = asyncio.new_event_loop()
loop.run_until_complete(begin())
loop.close()
""",
}
"""Python itself closes the sockets of these, which only `-W error` would report."""

SCRIPT = """
import asyncio, sys
from acytoo import Acytoo

provider = Acytoo(sys.argv[1])
messages = [{"role": "user", "content": "Hi"}]
keep = []

async def ask():
    print(await provider.create_async("", messages))

async def begin():
    stream = provider.create_async_generator("", messages)
    keep.append(stream)
    print(await anext(stream))

async def drop():
    print(await anext(provider.create_async_generator("", messages)))
    await asyncio.sleep(0.01)
"""


def _run(program: str, folder: Path, *options: str) -> None:
    """Run a program against an endpoint: it must print the reply and nothing else, exit with 0 and disconnect."""
    script = folder / "program.py"
    script.write_text(SCRIPT + program)
    with FakeEndpoint(dialects.Acytoo(), reply("Hel", "lo").wait(0.05, after=1)) as fake:
        command = [sys.executable, *options, str(script), fake.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.stderr == ""
        assert done.returncode == 0
        assert done.stdout.startswith("Hel")
        fake.wait_disconnected()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_ends_without_anything_left_open(ending: str, tmp_path: Path) -> None:
    _run(ENDINGS[ending], tmp_path, "-W", "error")


@pytest.mark.parametrize("ending", LOOPS_NOT_ENDED)
def test_a_loop_that_does_not_shut_down_its_generators_leaves_no_unclosed_connection(
    ending: str, tmp_path: Path
) -> None:
    _run(LOOPS_NOT_ENDED[ending], tmp_path)
