"""Limits that several workers and replicas share: real processes, HTTP and Redis."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import redis.asyncio

from acytoo.dialects import OpenAI
from acytoo.gateway.keys import hash_secret
from acytoo.testing import FakeEndpoint, reply
from tests.processes import ACYTOO, LIMIT, run, start
from tests.services import Postgres, Redis

BODY = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}


class Replica:
    """A running `acytoo serve --config`."""

    def __init__(
        self, folder: Path, upstream: str, *, workers: int, redis: Redis, limits: str, ledger: str = "none"
    ) -> None:
        folder.mkdir()
        self.config = folder / "acytoo.toml"
        self.config.write_text(f"""
            [server]
            port = 0
            workers = {workers}
            [storage]
            counters = "env:COUNTERS"
            ledger = "env:LEDGER"
            [upstreams.up]
            provider = "compatible"
            url = "{upstream}"
            [models.fast]
            targets = ["up/m1"]
            [keys.ci]
            hash = "{hash_secret("sk-ci")}"
            {limits}
        """)
        self.process = start(
            [ACYTOO, "serve", "--config", str(self.config)],
            env={"COUNTERS": redis.url, "LEDGER": ledger, "TMPDIR": str(folder)},
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline().decode()
        assert line.startswith("Acytoo serves "), line + self.process.stderr.read().decode()
        self.url = line.split()[2]

    def close(self) -> None:
        """Kill all its processes, unless that was done."""
        if self.process.poll() is not None:
            return
        for each in (*psutil.Process(self.process.pid).children(), self.process):
            each.kill()
        self.process.communicate()


@contextmanager
def replicas(
    count: int, folder: Path, upstream: str, redis: Redis, limits: str, workers: int = 1, ledger: str = "none"
) -> Iterator[list[Replica]]:
    """Start replicas, and kill them at the end."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                closing(
                    Replica(folder / str(number), upstream, workers=workers, redis=redis, limits=limits, ledger=ledger)
                )
            )
            for number in range(count)
        ]


async def statuses(urls: list[str], key: str = "sk-ci") -> Counter[int]:
    """Send a request to each URL at the same time, and return how often each status was received."""

    async def ask(url: str) -> int:
        async with session.post(f"{url}/v1/chat/completions", json=BODY) as response:
            await response.read()
            return response.status

    headers = {"authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(LIMIT)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        return Counter(await asyncio.gather(*[ask(url) for url in urls]))


async def until_status(status: int, url: str, key: str = "sk-ci") -> None:
    """Send requests until one has that status."""
    for _ in range(round(LIMIT / 0.2)):
        if await statuses([url], key) == {status: 1}:
            return
        await asyncio.sleep(0.2)
    pytest.fail(f"no request has status {status}")


async def test_200_that_race_for_100_places_of_four_workers_get_exactly_100(
    tmp_path: Path, redis_server: Redis
) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake:
        with replicas(1, tmp_path, fake.url, redis_server, "requests_per_day = 100", workers=4) as [server]:
            assert await statuses([server.url] * 200) == {200: 100, 429: 100}
            assert len(fake.requests) == 100
            async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics") as response:
                metrics = await response.text()
    counts = re.findall(r'acytoo_requests_total\{.*status="(\d+)".*\} (\d+)', metrics)
    assert sorted((int(status), int(count)) for status, count in counts) == [(200, 100), (429, 100)]


async def test_200_that_race_for_100_places_of_two_replicas_get_exactly_100(
    tmp_path: Path, redis_server: Redis
) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake:
        with replicas(2, tmp_path, fake.url, redis_server, "requests_per_day = 100") as servers:
            assert await statuses([server.url for server in servers] * 100) == {200: 100, 429: 100}
            assert len(fake.requests) == 100


async def test_places_in_flight_are_shared_and_free_again_after_a_reply(tmp_path: Path, redis_server: Redis) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi").stall(at_byte=1), reply("Hi")) as fake:
        with replicas(2, tmp_path, fake.url, redis_server, "concurrent = 1") as servers:
            waiting = asyncio.create_task(statuses([servers[0].url]))
            await fake.received()
            assert await statuses([servers[1].url]) == {429: 1}
            waiting.cancel()  # the client leaves
            await asyncio.wait({waiting})
            await until_status(200, servers[1].url)
            assert len(fake.requests) == 2


async def test_the_places_of_a_replica_that_is_killed_come_back(tmp_path: Path, redis_server: Redis) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi").stall(at_byte=1), reply("Hi")) as fake:
        with replicas(2, tmp_path, fake.url, redis_server, "concurrent = 1") as servers:
            waiting = asyncio.create_task(statuses([servers[0].url]))
            await fake.received()
            servers[0].close()
            await asyncio.wait({waiting})
            assert isinstance(waiting.exception(), aiohttp.ClientError)
            assert await statuses([servers[1].url]) == {429: 1}
            await until_status(200, servers[1].url)


async def test_a_replica_that_is_killed_under_load_leaves_the_other_and_the_counts_as_they_were(
    tmp_path: Path, redis_server: Redis, postgres_server: Postgres
) -> None:
    ledger = await asyncio.to_thread(postgres_server.new_database)
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake:
        with replicas(2, tmp_path, fake.url, redis_server, "requests_per_day = 200", ledger=ledger) as servers:
            living = asyncio.create_task(statuses([servers[0].url] * 100))
            doomed = asyncio.create_task(statuses([servers[1].url] * 99))
            await fake.received(20)
            await asyncio.to_thread(servers[1].close)
            await asyncio.wait({doomed})
            assert await living == {200: 100}
            received = len(fake.requests)
            async with aiohttp.ClientSession(headers={"authorization": "Bearer sk-ci"}) as session:
                async with session.post(f"{servers[0].url}/v1/chat/completions", json=BODY) as response:
                    counted = 199 - int(response.headers["x-ratelimit-remaining-requests"])
                assert received <= counted <= 199  # and what the killed one had reserved and not sent
                await until_rows(session, servers[0].url, 101)


async def until_rows(session: aiohttp.ClientSession, url: str, least: int) -> None:
    """Return once the ledger has so many requests."""
    async with asyncio.timeout(LIMIT):
        while True:
            async with session.get(f"{url}/usage?by=") as response:
                total = (await response.json())["total"]
            if total is not None and total["requests"] >= least:
                return


async def test_while_redis_is_lost_requests_pass_and_budgets_refuse(tmp_path: Path, redis_server: Redis) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake:
        limits = """
            requests_per_day = 15
            [keys.dear]
            hash = "sha256:{}"
            budget_per_day = 5
            [prices."up/m1"]
            input = 1
            output = 1
        """.format(hash_secret("sk-dear").partition(":")[2])
        with replicas(1, tmp_path, fake.url, redis_server, limits) as [server]:
            assert await statuses([server.url] * 10) == {200: 10}
            redis_server.kill()
            assert await statuses([server.url] * 20) == {200: 20}
            assert await statuses([server.url] * 20, "sk-dear") == {503: 20}
            redis_server.start()
            await until_status(200, server.url, "sk-dear")
            assert (await statuses([server.url] * 20))[429] > 0


async def test_all_workers_read_the_config_file_again_on_a_hangup(tmp_path: Path, redis_server: Redis) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake:
        with replicas(1, tmp_path, fake.url, redis_server, "", workers=2) as [server]:
            server.config.write_text(server.config.read_text().replace(hash_secret("sk-ci"), hash_secret("sk-new")))
            server.process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(LIMIT):
                while await statuses([server.url] * 20, "sk-new") != {200: 20}:
                    pass


def test_a_mistake_in_the_config_file_is_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "acytoo.toml"
    path.write_text('[server]\nport = 0\nworkers = 3\n[upstreams.up]\nprovider = "openai"\nkey = "env:MISSING"\n')
    done = run([ACYTOO, "serve", "--config", str(path)])
    assert done.returncode == 2
    assert done.stderr.count(b"MISSING") == 1


async def test_a_rolling_restart_and_changes_of_the_file_under_load_fail_no_request_and_lose_no_count(
    tmp_path: Path, redis_server: Redis
) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake:
        with replicas(1, tmp_path, fake.url, redis_server, "requests_per_day = 1000000", workers=2) as [server]:
            found: Counter[int] = Counter()
            stop = asyncio.Event()

            async def ask() -> None:
                while not stop.is_set():
                    found.update(await statuses([server.url]))

            asking = [asyncio.create_task(ask()) for _ in range(4)]
            old = _workers(server)
            server.process.send_signal(signal.SIGUSR2)
            async with asyncio.timeout(LIMIT):
                while len(now := _workers(server)) != 2 or now & old:
                    # In one step: a worker that reads half of the file does not start, and ends the rolling restart.
                    changed = server.config.with_suffix(".new")
                    changed.write_text(server.config.read_text() + "\n")
                    changed.replace(server.config)
                    await asyncio.sleep(0.2)
            stop.set()
            await asyncio.gather(*asking)
            assert set(found) == {200}
            assert len(fake.requests) == found[200]
    client: Any = redis.asyncio.Redis.from_url(redis_server.url)
    async with client:
        counted = await client.hget("acytoo:key:ci:requests:day", "used")
    assert int(counted) == found[200]


def _workers(server: Replica) -> set[int]:
    """Return the process ids of the workers that run."""
    running = set()
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if child.status() != psutil.STATUS_ZOMBIE:
                running.add(child.pid)
    return running
