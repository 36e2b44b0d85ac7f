"""Several workers on one port: real processes, signals, and clients that must not notice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from acytoo import Acytoo, Timeout, dialects
from acytoo.testing import FakeEndpoint, reply
from tests.processes import ACYTOO, LIMIT, run, start
from tests.server.live_server import refused
from tests.services import wait_until
from tests.skipping_loop import in_skipping_loop, skip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]


class Supervised:
    """A running `acytoo serve --workers N` at `url`."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url
        self.port = int(url.rpartition(":")[2])

    def workers(self) -> set[int]:
        """Return the process ids of the workers that run."""
        running = set()
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                if child.status() != psutil.STATUS_ZOMBIE:
                    running.add(child.pid)
        return running

    def end(self, *signals: signal.Signals) -> tuple[int, str]:
        """Send the signals; return the exit code and what else was written to stderr."""
        for number in signals or (signal.SIGTERM,):
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, errors.decode()

    def roll(self) -> None:
        """Replace all workers, and return when the old ones have ended."""
        old = self.workers()
        self.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: len(now := self.workers()) == len(old) and not now & old, "the workers are not replaced")


@contextmanager
def supervised(*options: str, env: dict[str, str] | None = None, workers: int = 2) -> Iterator[Supervised]:
    """Run the command on a free port. Kill it and its workers if the test has not ended it."""
    process = start([ACYTOO, "serve", "--port", "0", "--workers", str(workers), *options], env=env)
    assert process.stderr is not None
    family: list[psutil.Process] = []
    try:
        line = process.stderr.readline().decode()
        assert line.startswith("Acytoo serves http://127.0.0.1:"), line
        family = psutil.Process(process.pid).children()
        yield Supervised(process, line.split()[2])
    finally:
        for each in family:
            if each.is_running():
                each.kill()
        process.kill()
        process.communicate()


@asynccontextmanager
async def upstream() -> AsyncIterator[FakeEndpoint]:
    """A backend that answers every request."""
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello", " world")) as fake:
        yield fake


class Hammer:
    """Clients that send one request after the other, some of them over connections that they keep.

    The end of the context raises what any of them has failed with.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/completions"
        self._is_over = False
        self._clients: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        self._clients = [asyncio.create_task(self._send(keep_alive=keep)) for keep in (True, False) * 3]

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._clients)

    async def _send(self, *, keep_alive: bool) -> None:
        connector = aiohttp.TCPConnector(force_close=not keep_alive)
        async with aiohttp.ClientSession(connector=connector) as session:
            while not self._is_over:
                async with session.post(self._url, json={"messages": MESSAGES}) as response:
                    assert response.status == 200
                    assert await response.text() == "Hello world"


async def test_workers_share_a_port_and_end_with_their_supervisor() -> None:
    async with upstream() as fake:
        with supervised("--to", fake.url, workers=3) as server:
            workers = server.workers()
            assert len(workers) == 3
            async with Hammer(server.url):
                await fake.received(20)
            assert await asyncio.to_thread(server.end) == (0, "")
            assert not [pid for pid in workers if psutil.pid_exists(pid)]


async def test_connections_are_spread_over_the_workers() -> None:
    async with upstream() as fake:
        with supervised("--to", fake.url) as server:
            connections = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(64)]

            def accepted() -> list[int]:
                found = [_connections_of(pid) for pid in server.workers()]
                return [sum(each.laddr.port == server.port and bool(each.raddr) for each in one) for one in found]

            await asyncio.to_thread(wait_until, lambda: sum(accepted()) == 64, "the connections are not accepted")
            assert min(accepted()) > 5
            for _, writer in connections:
                writer.close()


async def test_while_a_worker_cannot_be_replaced_another_one_takes_its_connections(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("p1")
    async with upstream() as fake:
        with supervised("--to", fake.url, "--password-file", str(password)) as server:
            password.unlink()  # no other worker can start
            os.kill(min(server.workers()), signal.SIGKILL)
            body = {"messages": MESSAGES, "password": "p1"}
            connector, timeout = aiohttp.TCPConnector(force_close=True), aiohttp.ClientTimeout(LIMIT)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                for _ in range(30):
                    async with session.post(f"{server.url}/api/completions", json=body) as response:
                        assert await response.text() == "Hello world"
            password.write_text("p1")
            await asyncio.to_thread(wait_until, lambda: len(server.workers()) == 2, "the worker is not replaced")


async def test_a_rolling_restart_fails_no_request() -> None:
    async with upstream() as fake:
        with supervised("--to", fake.url) as server:
            async with Hammer(server.url):
                await fake.received(1)
                for _ in range(2):
                    await asyncio.to_thread(server.roll)
                    await fake.received(len(fake.requests) + 20)
            assert await asyncio.to_thread(server.end) == (0, "")


async def test_a_reply_that_runs_during_a_rolling_restart_is_complete() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("one", "two").wait(8, after=1)) as fake:
        with supervised("--to", fake.url) as server:
            texts = Acytoo(url=server.url).create_async_generator("", MESSAGES)
            assert await anext(texts) == "one"
            old = server.workers()
            server.process.send_signal(signal.SIGUSR2)
            await asyncio.to_thread(
                wait_until, lambda: len(server.workers() - old) == 2, "the new workers do not start"
            )
            assert [text async for text in texts] == ["two"]


@in_skipping_loop
async def test_while_the_last_replies_are_finished_new_clients_are_refused() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hel", "lo").wait(1000, after=1)) as fake:
        with supervised("--to", fake.url, "--grace", "600") as server:
            stream = Acytoo(server.url, timeout=Timeout(None, None, None)).create_async_generator("", MESSAGES)
            assert await anext(stream) == "Hel"
            server.process.send_signal(signal.SIGTERM)
            await refused(server.port)
            assert len(server.workers()) > 0
            skip(1000)
            assert [text async for text in stream] == ["lo"]
            assert await asyncio.to_thread(server.process.wait, LIMIT) == 0


async def test_workers_that_are_stopped_without_their_supervisor_are_replaced_and_clients_wait() -> None:
    async with upstream() as fake:
        with supervised("--to", fake.url) as server:
            old = server.workers()
            for pid in old:
                os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not server.workers() & old, "the workers do not end")
            assert await Acytoo(server.url).create_async("", MESSAGES) == "Hello world"


async def test_a_worker_that_is_killed_is_replaced() -> None:
    async with upstream() as fake:
        with supervised("--to", fake.url) as server:
            killed = min(server.workers())
            os.kill(killed, signal.SIGKILL)
            await asyncio.to_thread(
                wait_until,
                lambda: len(now := server.workers()) == 2 and killed not in now,
                "the worker is not replaced",
            )
            assert (
                "".join([text async for text in Acytoo(url=server.url).create_async_generator("", MESSAGES)])
                == "Hello world"
            )
            code, errors = await asyncio.to_thread(server.end)
            assert code == 0
            assert errors == f"worker {killed} has ended with -9: starting another in 0.5 s\n"


async def test_while_no_worker_is_left_clients_wait_for_the_next() -> None:
    async with upstream() as fake:
        with supervised("--to", fake.url) as server:
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
            texts = Acytoo(url=server.url).create_async_generator("", MESSAGES)
            assert "".join([text async for text in texts]) == "Hello world"


async def test_workers_end_if_their_supervisor_is_killed() -> None:
    async with upstream() as fake:
        with supervised("--to", fake.url) as server:
            workers = server.workers()
            server.process.kill()
            await asyncio.to_thread(
                wait_until, lambda: not any(map(_is_alive, workers)), "the workers go on without a supervisor"
            )


def _connections_of(pid: int) -> list[Any]:
    process = psutil.Process(pid)
    return list(process.net_connections("tcp"))


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_a_second_signal_ends_running_replies_at_once() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("one", "two").stall(after=1)) as fake:
        with supervised("--to", fake.url, "--grace", "600") as server:
            texts = Acytoo(url=server.url).create_async_generator("", MESSAGES)
            assert await anext(texts) == "one"
            server.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(wait_until, lambda: len(server.workers()) == 1, "the idle worker does not end")
            code, _ = await asyncio.to_thread(server.end, signal.SIGTERM)
            assert code == 0
            await texts.aclose()


def test_a_mistake_is_reported_once_and_with_the_exit_code_of_one_worker() -> None:
    command = [ACYTOO, "serve", "--port", "0", "--to", "nobody/nothing"]
    alone, together = run(command), run([*command, "--workers", "4"])
    assert together.returncode == alone.returncode != 0
    assert together.stderr == alone.stderr


def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run([ACYTOO, "serve", "--port", str(port), "--workers", "2", "--to", "http://127.0.0.1:1"])
    assert b"cannot listen on 127.0.0.1 port" in done.stderr
    assert done.returncode == 2


def test_two_supervisors_do_not_share_a_port() -> None:
    with supervised("--to", "http://127.0.0.1:1") as server:
        command = [ACYTOO, "serve", "--port", str(server.port), "--workers", "2", "--to", "http://127.0.0.1:1"]
        done = run(command)
    assert b"cannot listen on 127.0.0.1 port" in done.stderr
    assert done.returncode == 2


class ServiceManager:
    """The socket to which a service reports, as systemd has one."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._socket.settimeout(LIMIT)

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self._path)}

    def until(self, state: str) -> list[str]:
        """Return the states that are reported up to this one."""
        states: list[str] = []
        while not states or states[-1].partition("\n")[0] != state:
            states.append(self._socket.recv(1000).decode())
        return states

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path)
    yield manager
    manager.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_service_manager_learns_when_the_service_is_ready_and_stops(
    manager: ServiceManager, workers: int
) -> None:
    with supervised("--to", "http://127.0.0.1:1", workers=workers, env=manager.environment) as server:
        assert manager.until("READY=1") == ["READY=1"]
        server.process.send_signal(signal.SIGTERM)
        assert manager.until("STOPPING=1") == ["STOPPING=1"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_service_manager_gets_signs_of_life(manager: ServiceManager, workers: int) -> None:
    env = {**manager.environment, "WATCHDOG_USEC": "1000000"}
    with supervised("--to", "http://127.0.0.1:1", workers=workers, env=env):
        begun = time.monotonic()
        for _ in range(5):
            manager.until("WATCHDOG=1")
        assert time.monotonic() - begun > 0.5  # not in a busy loop


async def test_a_worker_that_hangs_is_replaced(manager: ServiceManager) -> None:
    env = {**manager.environment, "WATCHDOG_USEC": "4000000"}
    with supervised("--to", "http://127.0.0.1:1", env=env) as server:
        hanging = min(server.workers())
        os.kill(hanging, signal.SIGSTOP)
        await asyncio.to_thread(
            wait_until, lambda: len(now := server.workers()) == 2 and hanging not in now, "it is not replaced"
        )
        _, errors = await asyncio.to_thread(server.end)
        assert f"worker {hanging} gives no sign of life: killing it" in errors


def test_without_a_terminal_and_a_file_to_reload_a_hangup_stops_the_service() -> None:
    with supervised("--to", "http://127.0.0.1:1") as server:
        assert server.end(signal.SIGHUP) == (0, "")
