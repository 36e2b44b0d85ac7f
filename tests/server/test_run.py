"""Serving until a signal, in this process: the test sends the signals."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from acytoo import UsageError, dialects
from acytoo.http import HTTPResponse
from acytoo.server.app import Application
from acytoo.server.config import ServerConfig
from acytoo.server.listener import bind
from acytoo.server.request import IncomingRequest
from acytoo.server.response import json_response
from acytoo.server.router import PathRoute
from acytoo.server.run import listening_errors, loop_factory, run, serve, start
from acytoo.server.worker import VARIABLE
from acytoo.testing import FakeEndpoint, reply
from tests.server.live_server import LIMIT, backend, call, head, read_response, request
from tests.skipping_loop import SkippingLoop, in_skipping_loop, skip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

HEALTH = head("GET /healthz HTTP/1.1")


@pytest.fixture(autouse=True)
def own_garbage_collection() -> Iterator[None]:
    """Restore the thresholds, which serving raises."""
    before = gc.get_threshold()
    gc.collect()
    yield
    gc.set_threshold(*before)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Let the event loop turn until the condition holds. Everything is in this process: many turns are enough."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"it does not {what}")


class Recorder:
    """A server's extension, and the service manager: both note what they are told, in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notes: list[str] = []
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        self.url = ""

    def announce(self, url: str) -> None:
        """Be given the server's URL."""
        self.note("announced")
        self.url = url

    def note(self, what: str) -> None:
        """Note something, after what the service manager was told before."""
        self.notes += [*self.states(), what]

    def states(self) -> list[str]:
        """Return what the service manager was told since the last time."""
        states = []
        try:
            while True:
                states.append(self.manager.recv(100).decode())
        except BlockingIOError:
            return states

    def routes(self) -> Iterable[PathRoute]:
        """Return one path."""

        async def handle(_: IncomingRequest) -> HTTPResponse:
            return json_response("extended")

        return [PathRoute("GET", "/extended", handle)]

    def start(self, url: str) -> None:
        """Begin."""
        self.note(f"start {re.sub('[0-9]+$', 'N', url)}")

    def stop(self) -> None:
        """Begin no more."""
        self.note("stop")

    async def close(self) -> None:
        """End."""
        self.note("close")


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path, monkeypatch)
    yield recorder
    recorder.manager.close()


class Serving:
    """A task that serves, with its recorder."""

    def __init__(self, recorder: Recorder, task: asyncio.Task[None], url: str) -> None:
        self.recorder = recorder
        self.task = task
        self.port = int(url.rpartition(":")[2])

    async def health(self) -> int:
        """Return the status of a health check."""
        return (await call(self.port, HEALTH)).status

    async def ends(self) -> None:
        """Wait for the end."""
        await until(self.task.done, "end")
        await self.task
        self.recorder.notes += self.recorder.states()

    async def is_refused(self) -> bool:
        """Return whether no connection is accepted any more."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False


@asynccontextmanager
async def serving(
    recorder: Recorder, fake: FakeEndpoint, limit: float = LIMIT, **settings: Any
) -> AsyncIterator[Serving]:
    """Serve in a task until a signal ends it."""
    config = ServerConfig({"backend": backend(dialects.OpenAI(), fake.url)}, port=0, **settings)
    application = Application(config, routes=recorder.routes())
    work = serve(config, recorder.announce, application=application, extension=recorder)
    task = asyncio.create_task(work)
    try:
        await until(lambda: bool(recorder.url) or task.done(), "announce its URL")
        async with asyncio.timeout(limit):
            yield Serving(recorder, task, recorder.url)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


def signal_self(number: signal.Signals = signal.SIGTERM) -> None:
    """Send this process a signal, which must not end it."""
    assert signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler)
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_serving_and_everybody_is_told_in_order(number: signal.Signals, recorder: Recorder) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hi")) as fake, serving(recorder, fake) as server:
        assert await server.health() == 200
        assert (await call(server.port, head("GET /extended HTTP/1.1"))).body == b'"extended"'
        recorder.note("served")
        signal_self(number)
        await server.ends()
        assert recorder.notes == [
            "start http://127.0.0.1:N", "announced", "READY=1", "served", "STOPPING=1", "stop", "close",
        ]  # fmt: skip
        assert await server.is_refused()


def signal_handled(number: signal.Signals) -> None:
    """Send a signal to this process, which it would end without a handler."""
    assert signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN)
    signal_self(number)


@pytest.fixture
def heeds_hangups() -> Iterator[None]:
    """Let SIGHUP end this process, which `nohup` lets it ignore."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


async def test_a_server_without_workers_warns_that_it_restarts_none(
    recorder: Recorder, caplog: pytest.LogCaptureFixture, heeds_hangups: None
) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hi")) as fake, serving(recorder, fake) as server:
        signal_handled(signal.SIGUSR2)
        await until(lambda: bool(caplog.records), "report the signal")
        assert [(record.name, record.levelno, record.getMessage()) for record in caplog.records] == [
            (
                "acytoo.server",
                logging.WARNING,
                "SIGUSR2 has no effect: a rolling restart needs several workers, such as workers = 2",
            )
        ]
        assert await server.health() == 200
        signal_handled(signal.SIGHUP)
        await server.ends()
        assert await server.is_refused()


async def test_a_server_that_was_started_to_ignore_hangups_does(recorder: Recorder) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with FakeEndpoint(dialects.OpenAI(), reply("Hi")) as fake, serving(recorder, fake) as server:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal_self(signal.SIGTERM)
            await server.ends()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@in_skipping_loop
async def test_signs_of_life_end_with_the_server(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000000")
    async with (
        FakeEndpoint(dialects.OpenAI(), reply("Hi")) as fake,
        serving(recorder, fake, limit=1e6, idle=1e6) as server,
    ):
        assert await server.health() == 200
        assert recorder.states() == ["READY=1", "WATCHDOG=1"]
        for _ in range(3):
            skip(190)
            assert await server.health() == 200
            assert recorder.states() == []
            skip(10)
            assert await server.health() == 200
            assert recorder.states() == ["WATCHDOG=1"]
        signal_self()
        await server.ends()
        assert recorder.notes[-3:] == ["STOPPING=1", "stop", "close"]
        skip(1000)
        await asyncio.sleep(0.01)
        assert recorder.states() == []


@in_skipping_loop
async def test_requests_are_answered_as_usual_for_the_shutdown_delay_but_health_checks_fail(recorder: Recorder) -> None:
    hello = reply("Hi")
    async with (
        FakeEndpoint(dialects.OpenAI(), hello, hello) as fake,
        serving(recorder, fake, shutdown_delay=1000.0, limit=1e6, idle=1e6) as server,
    ):
        assert await server.health() == 200
        signal_self()
        await until(lambda: "stop" in recorder.notes, "stop")
        for _ in range(2):
            assert await server.health() == 503
            assert (await call(server.port, request())).status == 200
            skip(490)
        assert not server.task.done()
        skip(20)
        await server.ends()
        assert await server.is_refused()


async def test_another_signal_ends_the_shutdown_delay(recorder: Recorder) -> None:
    async with (
        FakeEndpoint(dialects.OpenAI(), reply("Hi")) as fake,
        serving(recorder, fake, shutdown_delay=3600.0) as server,
    ):
        signal_self()
        await until(lambda: "stop" in recorder.notes, "stop")
        assert await server.health() == 503
        signal_self()
        await server.ends()


async def test_another_signal_ends_running_replies(recorder: Recorder) -> None:
    async with (
        FakeEndpoint(dialects.OpenAI(), reply("Hi ", "there").stall(after=2)) as fake,
        serving(recorder, fake, grace=3600.0) as server,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request())
        await reader.readuntil(b"Hi")
        signal_self()
        await until(lambda: "stop" in recorder.notes, "stop")
        for _ in range(20):
            await asyncio.sleep(0)
        assert await server.is_refused()
        assert not server.task.done()
        signal_self()
        await server.ends()
        assert b"0\r\n\r\n" not in await reader.read()
        writer.close()


async def test_a_running_reply_finishes_after_a_signal(recorder: Recorder) -> None:
    async with (
        FakeEndpoint(dialects.OpenAI(), reply("Hi ", "there").wait(0.3, after=2)) as fake,
        serving(recorder, fake, grace=3600.0) as server,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request())
        await fake.received()
        signal_self()
        assert (await read_response(reader)).is_complete
        await server.ends()
        writer.close()


@asynccontextmanager
async def worker(
    recorder: Recorder, fake: FakeEndpoint, limit: float = LIMIT, **settings: Any
) -> AsyncIterator[tuple[Serving, socket.socket]]:
    """Serve as a worker does; the test is its supervisor."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    sockets = await bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    listening = ",".join(str(each.detach()) for each in sockets)
    os.environ[VARIABLE] = f"0:{listening}:{ours.detach()}:0"
    config = ServerConfig({"backend": backend(dialects.OpenAI(), fake.url)}, port=0, **settings)
    task = asyncio.create_task(serve(config, recorder.announce, extension=recorder))
    try:
        async with asyncio.timeout(limit):
            assert await asyncio.get_running_loop().sock_recv(theirs, 10) == b"r"
            yield Serving(recorder, task, f":{port}"), theirs
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        theirs.close()


async def test_a_worker_serves_the_sockets_of_its_supervisor_and_announces_nothing(recorder: Recorder) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hi")) as fake, worker(recorder, fake) as (server, theirs):
        assert await server.health() == 200
        recorder.note("served")
        theirs.close()
        await server.ends()
        assert recorder.notes == ["start http://127.0.0.1:N", "served", "STOPPING=1", "stop", "close"]
        assert await server.is_refused()


@in_skipping_loop
async def test_a_worker_that_is_replaced_drains_without_the_shutdown_delay(recorder: Recorder) -> None:
    async with (
        FakeEndpoint(dialects.OpenAI(), reply("Hi")) as fake,
        worker(recorder, fake, limit=1e6, shutdown_delay=1e6, idle=1e6) as (server, theirs),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HEALTH)
        assert (await read_response(reader)).status == 200
        signal_self(signal.SIGUSR2)
        await until(lambda: "stop" in recorder.notes, "stop")
        skip(-1000)  # a busy machine may need longer than the seconds in which a connection may send one more request
        for _ in range(50):
            await asyncio.sleep(0)
        writer.write(request())
        last = await read_response(reader)
        assert (last.status, last.headers["connection"]) == (200, "close")
        await server.ends()
        assert await asyncio.get_running_loop().sock_recv(theirs, 10) == b""
        writer.close()


@in_skipping_loop
async def test_a_worker_that_is_replaced_waits_five_seconds_for_the_last_requests(recorder: Recorder) -> None:
    async with (
        FakeEndpoint(dialects.OpenAI(), reply("Hi")) as fake,
        worker(recorder, fake, limit=1e6, grace=1e6, idle=1e6) as (server, _),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HEALTH)
        assert (await read_response(reader)).status == 200
        signal_self(signal.SIGUSR2)
        await until(lambda: "stop" in recorder.notes, "stop")
        for _ in range(50):
            await asyncio.sleep(0)
        assert not server.task.done()
        skip(5.01)
        await server.ends()
        assert await reader.read() == b""
        writer.close()


def test_signals_end_serving_on_an_event_loop_that_has_no_handlers_of_them(recorder: Recorder) -> None:
    class WithoutSignals(asyncio.SelectorEventLoop):
        def add_signal_handler(self, *args: object) -> None:
            raise NotImplementedError

    config = ServerConfig({"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")}, port=0)
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    try:
        for number in numbers:

            def announce(_: str, number: signal.Signals = number) -> None:
                asyncio.get_running_loop().call_soon(signal_self, number)

            run(config, announce, WithoutSignals, extension=recorder)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert recorder.notes == [
        *["start http://127.0.0.1:N", "READY=1", "STOPPING=1", "stop", "close"],
        *["start http://127.0.0.1:N", "READY=1", "STOPPING=1", "stop", "close"],
    ]


def test_serving_in_a_loop_of_its_own_has_the_paths_of_the_extension(recorder: Recorder) -> None:
    answers: list[bytes] = []

    def ask(url: str) -> None:
        for path in ("/extended", "/healthz"):
            with urlopen(f"{url}{path}", timeout=LIMIT) as response:
                answers.append(response.read())
        signal_self()

    config = ServerConfig({"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")}, port=0)
    loops: list[type] = []

    def announce(url: str) -> None:
        loops.append(type(asyncio.get_running_loop()))
        threading.Thread(target=ask, args=(url,)).start()

    run(config, announce, SkippingLoop, extension=recorder)
    assert answers[0] == b'"extended"'
    assert loops == [SkippingLoop]
    assert recorder.notes == ["start http://127.0.0.1:N", "READY=1", "STOPPING=1", "stop", "close"]


def test_serving_leaves_garbage_collection_for_rarer_moments() -> None:
    config = ServerConfig({"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")}, port=0)
    before = gc.get_freeze_count()
    thresholds: list[tuple[int, int, int]] = []
    frozen: list[int] = []

    def announce(_: str) -> None:
        asyncio.get_running_loop().call_later(0.05, look)

    def look() -> None:
        thresholds.append(gc.get_threshold())
        frozen.append(gc.get_freeze_count())
        signal_self()

    gc.collect()
    run(config, announce, asyncio.new_event_loop)
    assert thresholds == [(10_000, 10, 10)]
    assert frozen[0] > before


def test_the_event_loop_is_uvloops_if_it_is_installed() -> None:
    uvloop = pytest.importorskip("uvloop")
    assert loop_factory() is uvloop.new_event_loop


def test_the_event_loop_is_asyncios_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is asyncio.new_event_loop


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EADDRINUSE, "in words of the event loop"), "Address already in use"),
        (PermissionError(errno.EACCES, "x"), "Permission denied"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("without a number"), "without a number"),
        (OverflowError("a port is a number"), "a port is a number"),
        (UnicodeError("label too long"), "label too long"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_named_with_the_reason(error: Exception, reason: str) -> None:
    with pytest.raises(UsageError) as caught, listening_errors("example.org", 81):
        raise error
    assert caught.value.message == f"cannot listen on example.org port 81: {reason}"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_an_address_of_ipv6_has_brackets_in_the_url_whether_or_not_it_is_configured_with_them(host: str) -> None:
    config = ServerConfig({"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")}, host=host, port=0)
    try:
        server, url = await start(config)
    except UsageError as error:
        pytest.skip(f"no IPv6 here: {error}")
    try:
        assert re.fullmatch(r"http://\[::1\]:[0-9]+", url)
    finally:
        await server.close()


@contextmanager
def modules_removed(*names: str) -> Iterator[None]:
    """Let modules not be imported yet."""
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    try:
        yield
    finally:
        sys.modules.update(before)


async def test_what_requests_need_is_imported_before_the_first() -> None:
    config = ServerConfig({"backend": backend(dialects.OpenAI(), "http://127.0.0.1:9")}, port=0)
    names = ("difflib", "zstandard", "python_socks.async_.asyncio")
    installed = [name for name in names if name in sys.modules or __import__("importlib.util").util.find_spec(name)]
    with modules_removed(*names):
        server, _ = await start(config)
        assert [name for name in names if name in sys.modules] == installed
        await server.close()
