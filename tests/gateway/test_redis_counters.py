"""Counters in a real Redis: the same sums as in memory, several processes, a Redis that is lost."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acytoo.errors import ServerError, UnreachableError, UsageError
from acytoo.gateway.config import Limits
from acytoo.gateway.counters import Claim, Claims, Exceeded, Hold, Level, bounds
from acytoo.gateway.limits import amounts_of, plan_of, used_by
from acytoo.gateway.redis_cache import RedisCache
from acytoo.gateway.redis_counters import RedisCounters, RedisHold
from tests.gateway.counters_model import START, Clock, Step, follow, settle, settle_now, steps
from tests.gateway.summaries import row
from tests.processes import script
from tests.services import Redis

REQUEST = Claim("key:a:requests", "day", 100, 1)
PLACE = Claim("key:a:concurrent", "flight", 1, 1)
MONEY = Claim("key:a:money", "month", 1000, 10)

_prefixes = count()
real_redis = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=60
)


@asynccontextmanager
async def connected(server: Redis | Address, **options: Any) -> AsyncIterator[RedisCounters]:
    """Counters in a Redis, closed at the end."""
    counters = RedisCounters(server.url, **options)
    try:
        yield counters
    finally:
        await counters.close()


async def reserve(counters: RedisCounters, *claims: Claim) -> Hold:
    """Reserve what has to fit."""
    held = await counters.reserve(claims)
    assert isinstance(held, Hold)
    return held


async def used(counters: RedisCounters, claim: Claim) -> int:
    """Return what is used of a claim's counter, and leave it as it is."""
    held = await reserve(counters, claim)
    await settle(counters, held, {claim.counter: 0})
    return held.levels[0].used - claim.amount


async def until_counted(counters: RedisCounters) -> Hold:
    """Reserve until the counters can be reached again."""
    while True:
        try:
            held = await reserve(counters, REQUEST)
        except ServerError:
            held = RedisHold(Claims.of([]), ())
        if held.levels:
            return held
        await asyncio.sleep(0.05)


@real_redis
@given(steps)
async def test_any_interleaving_of_reserving_and_settling_keeps_the_sums_right(
    redis_server: Redis, interleaving: list[Step]
) -> None:
    clock = Clock()
    async with connected(redis_server, now=clock, prefix=f"test-{next(_prefixes)}") as counters:

        async def wait(seconds: float) -> None:
            clock.now += seconds
            await counters.renew()

        await follow(counters, interleaving, wait)


@real_redis
@given(st.datetimes(datetime(1999, 12, 1), datetime(2101, 3, 1)), st.sampled_from(["day", "month"]))
async def test_days_and_months_end_when_those_of_utc_do(redis_server: Redis, at: datetime, window: Any) -> None:
    now = at.replace(tzinfo=UTC, microsecond=0).timestamp()
    async with connected(redis_server, now=lambda: now, prefix=f"test-{next(_prefixes)}") as counters:
        held = await reserve(counters, REQUEST._replace(window=window))
    assert held.levels[0].resets_in == bounds(window, now)[1] - now


async def test_200_that_race_for_100_places_get_exactly_100(redis_server: Redis) -> None:
    async with connected(redis_server) as counters:
        results = await asyncio.gather(*[counters.reserve([REQUEST, MONEY]) for _ in range(200)])
    assert sum(isinstance(result, Hold) for result in results) == 100


RACER = """
    import asyncio, json, sys
    from acytoo.gateway.counters import Claim, Claims, Hold
    from acytoo.gateway.redis_counters import RedisCounters

    async def main(url, claims):
        counters = RedisCounters(url, lease=5.0)
        claims = [Claim(*claim) for claim in json.loads(claims)]
        print("ready", flush=True)
        sys.stdin.readline()
        results = await asyncio.gather(*[counters.reserve(claims) for _ in range(50)])
        print(sum(isinstance(result, Hold) for result in results), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            pass
        await counters.close()

    asyncio.run(main(*sys.argv[1:]))
"""


class Racer:
    """A process that tries to reserve the same claims 50 times at once, and then keeps them."""

    def __init__(self, server: Redis, *claims: Claim) -> None:
        self.process = subprocess.Popen(
            [*script(RACER), server.url, json.dumps(claims)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def line(self) -> str:
        """Return the next line that the process prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def go(self) -> None:
        """Let it reserve."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self, number: signal.Signals | None = None) -> None:
        """Let it close its counters, or end it with a signal."""
        if number is not None:
            self.process.send_signal(number)
        self.process.communicate()


@pytest.fixture
def racers(redis_server: Redis) -> Iterator[list[Racer]]:
    """Four processes, ready to race for 100 requests, in flight at once."""
    racing = [Racer(redis_server, REQUEST, PLACE._replace(limit=100)) for _ in range(4)]
    for racer in racing:
        assert racer.line() == "ready"
    yield racing
    for racer in racing:
        racer.end(signal.SIGKILL)


def test_four_processes_that_race_for_100_places_get_exactly_100(racers: list[Racer]) -> None:
    for racer in racers:
        racer.go()
    assert sum(int(racer.line()) for racer in racers) == 100


async def test_the_places_of_a_killed_replica_come_back_and_those_of_a_living_one_stay(
    redis_server: Redis, racers: list[Racer]
) -> None:
    killed, living = racers[:2]
    for racer in (killed, living):
        racer.go()
    assert [killed.line(), living.line()] == ["50", "50"]
    killed.end(signal.SIGKILL)
    async with connected(redis_server) as counters:
        assert isinstance(await counters.reserve([PLACE._replace(limit=100)]), Exceeded)
        place = PLACE._replace(limit=200)
        async with asyncio.timeout(120):  # the leases of one process need not all end at the same time
            while (taken := await used(counters, place)) > 50:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert taken == 50
        await asyncio.sleep(2)  # the first leases of the living one ended about now
        assert await used(counters, place) == 50


async def test_a_caller_that_is_cancelled_while_it_reserves_leaves_nothing_counted(redis_server: Redis) -> None:
    async with connected(redis_server) as counters:
        for turns in range(12):
            task = asyncio.create_task(counters.reserve([REQUEST, MONEY, PLACE]))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            [result] = await asyncio.gather(task, return_exceptions=True)
            if isinstance(result, Hold):  # it was faster
                await settle(counters, result, {REQUEST.counter: 0, MONEY.counter: 0})
    async with connected(redis_server) as counters:
        assert [await used(counters, claim) for claim in (REQUEST, MONEY, PLACE)] == [0, 0, 0]


async def test_a_caller_that_is_cancelled_while_redis_is_lost_leaves_no_traceback_in_the_log(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(redis_server) as counters:
        await reserve(counters, REQUEST)
        redis_server.pause()
        task = asyncio.create_task(counters.reserve([MONEY]))
        for _ in range(12):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        redis_server.kill()
    gc.collect()
    assert [record.name for record in caplog.records] == ["acytoo.gateway"]


async def test_what_is_being_settled_when_the_counters_are_closed_is_settled(redis_server: Redis) -> None:
    async with connected(redis_server) as counters:
        held = await reserve(counters, MONEY, PLACE)
        settle_now(counters, held, {MONEY.counter: 3})
    async with connected(redis_server) as counters:
        assert [await used(counters, claim) for claim in (MONEY, PLACE)] == [3, 0]


async def test_while_redis_is_lost_requests_pass_uncounted_and_budgets_refuse(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(redis_server) as counters:
        redis_server.kill()
        for _ in range(5):
            held = await reserve(counters, REQUEST, PLACE)
            assert held.levels == ()
            await settle(counters, held, {})
            with pytest.raises(ServerError, match="the limits cannot be checked") as failure:
                await counters.reserve([REQUEST, MONEY])
            assert failure.value.status == 503
            assert failure.value.retry_after == 1
        assert len(caplog.records) == 1
        assert redis_server.password not in caplog.text
        assert f"redis://127.0.0.1:{redis_server.port}/0" in caplog.text


async def test_each_choice_for_a_lost_redis_holds_for_its_limits(redis_server: Redis) -> None:
    redis_server.kill()
    async with connected(redis_server, on_failure="closed", budgets_on_failure="open") as counters:
        assert isinstance(await counters.reserve([MONEY]), Hold)
        with pytest.raises(ServerError):
            await counters.reserve([REQUEST])


async def test_a_redis_that_was_killed_counts_again_once_it_is_back(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with connected(redis_server) as counters:
        before = await reserve(counters, REQUEST, PLACE)
        redis_server.kill()
        await reserve(counters, REQUEST)
        redis_server.start()
        assert (await until_counted(counters)).levels[0].used == 1  # it was not persistent
        await settle(counters, before, {REQUEST.counter: 0})  # counted in what was lost
        assert await used(counters, REQUEST) == 1
        assert "can be reached again" in caplog.records[-1].message


KNOWN = 10**6
"""What is known from elsewhere: more than the tests reserve."""


async def restored(counters: RedisCounters, known: int = KNOWN) -> None:
    """Reserve until it has been restored what is known from elsewhere."""
    async with asyncio.timeout(120):
        levels: Sequence[Level] = ()
        while not levels or levels[0].used < known:
            await asyncio.sleep(0.01)
            levels = (await reserve(counters, REQUEST._replace(limit=2 * known))).levels


async def test_what_redis_has_lost_is_restored_from_elsewhere(redis_server: Redis) -> None:
    calls = 0

    async def restore() -> None:
        nonlocal calls
        calls += 1
        await counters.restore(REQUEST.counter, REQUEST.window, KNOWN)

    async with connected(redis_server, on_empty=restore) as counters:
        for number in (1, 2):  # at the first request ever, and after a loss
            await restored(counters)
            await restored(counters)
            assert calls == number
            redis_server.kill()
            redis_server.start()


@pytest.mark.parametrize("number", [1, 20])
async def test_what_redis_has_forgotten_since_its_last_snapshot_is_restored(redis_server: Redis, number: int) -> None:
    known = KNOWN

    async def restore() -> None:
        await counters.restore(REQUEST.counter, REQUEST.window, known)

    async with connected(redis_server, on_empty=restore) as counters:
        await restored(counters)
        redis_server.save()
        for _ in range(number):
            await reserve(counters, REQUEST._replace(limit=9 * KNOWN))
        known = 2 * KNOWN
        redis_server.kill()
        redis_server.start()
        await restored(counters, known)


@pytest.mark.parametrize("may_ask", [True, False], ids=["allowed INFO", "forbidden INFO"])
async def test_a_process_that_was_idle_notices_that_redis_has_an_older_snapshot_again(
    redis_server: Redis, may_ask: bool
) -> None:
    known = KNOWN

    async def restore() -> None:
        await idle.restore(REQUEST.counter, REQUEST.window, known)

    if not may_ask:
        redis_server.kill()
        redis_server.options = ("--rename-command", "INFO", "")
        redis_server.start()
    async with connected(redis_server, on_empty=restore) as idle:
        await restored(idle)
        async with connected(redis_server) as busy:
            for _ in range(20):
                await reserve(busy, REQUEST._replace(limit=9 * KNOWN))
            redis_server.save()
            await reserve(busy, REQUEST._replace(limit=9 * KNOWN))
        known = 2 * KNOWN
        redis_server.kill()
        redis_server.start()
        await restored(idle, known)


class Address:
    """An address whose new connections lead to one server after another, as that of a service with failover."""

    def __init__(self, target: Redis) -> None:
        self.target = target
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = self.target.url.replace(str(self.target.port), str(port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target.port)
        except ConnectionRefusedError:
            writer.close()
            return
        await asyncio.gather(_forward(reader, to_server), _forward(from_server, writer))


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@pytest.fixture
def replica(redis_server: Redis, tmp_path: Path) -> Iterator[Redis]:
    """A replica of the server that has all data of it."""
    server = Redis(tmp_path)
    try:
        server.start()
        server.follow(redis_server)
        yield server
    finally:
        server.close()


async def test_counters_follow_their_address_when_the_server_becomes_a_replica(
    redis_server: Redis, replica: Redis
) -> None:
    async with Address(redis_server) as address, connected(address) as counters:
        await reserve(counters, MONEY)
        held = await reserve(counters, MONEY)
        redis_server.wait_for_replica()
        replica.lead()
        redis_server.follow(replica)
        address.target = replica
        await settle(counters, held, {MONEY.counter: 4})
        await until_counted(counters)
        await counters.renew()
        assert await used(counters, MONEY) == 14


async def test_what_a_replica_has_missed_before_it_was_promoted_is_restored(
    redis_server: Redis, replica: Redis
) -> None:
    known = KNOWN

    async def restore() -> None:
        await counters.restore(REQUEST.counter, REQUEST.window, known)

    async with Address(redis_server) as address, connected(address, on_empty=restore) as counters:
        await restored(counters)
        redis_server.wait_for_replica()
        replica.lead()
        known = 2 * KNOWN
        redis_server.kill()
        address.target = replica
        await restored(counters, known)


async def test_a_redis_that_loads_its_data_counts_as_lost_until_it_has_them(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(redis_server) as counters, redis.asyncio.from_url(redis_server.url) as client:
        await reserve(counters, MONEY)
        await client.mset({f"other:{number}": b"x" * 2000 for number in range(5000)})
        redis_server.save()
        redis_server.kill()
        redis_server.options = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
        loading = asyncio.create_task(asyncio.to_thread(redis_server.start))
        await asyncio.to_thread(redis_server.wait_until_loading)
        with pytest.raises(ServerError):
            await counters.reserve([MONEY])
        assert "BusyLoadingError" in caplog.text
        redis_server.configure("key-load-delay", "0")
        await loading
        await until_counted(counters)
        assert await used(counters, MONEY) == MONEY.amount


@pytest.mark.parametrize(
    ("options", "is_reported"),
    [
        (("--maxmemory", "50mb", "--maxmemory-policy", "volatile-lru"), True),
        (("--maxmemory", "50mb", "--maxmemory-policy", "noeviction"), False),
        (("--maxmemory-policy", "volatile-lru"), False),
    ],
)
async def test_a_redis_that_may_forget_counts_is_reported_once(
    redis_server: Redis, caplog: pytest.LogCaptureFixture, options: tuple[str, ...], is_reported: bool
) -> None:
    redis_server.kill()
    redis_server.options = options
    redis_server.start()
    async with connected(redis_server) as counters:
        await asyncio.gather(*[reserve(counters, REQUEST) for _ in range(20)])
    assert len(caplog.messages) == is_reported
    assert all(
        message.startswith(f"the counters at redis://127.0.0.1:{redis_server.port}/0 may be forgotten")
        and message.endswith("set maxmemory-policy to noeviction there, not volatile-lru")
        for message in caplog.messages
    )


async def test_each_process_restores_what_it_knows(redis_server: Redis) -> None:
    async def restore() -> None:
        await first.restore(REQUEST.counter, REQUEST.window, KNOWN)

    async def restore_less() -> None:
        await second.restore(REQUEST.counter, REQUEST.window, KNOWN // 2)

    async with (
        connected(redis_server, on_empty=restore) as first,
        connected(redis_server, on_empty=restore_less) as second,
    ):
        await reserve(second, REQUEST._replace(limit=KNOWN))
        await restored(first)
        await restored(second)


async def test_what_cannot_be_restored_at_once_is_restored_later(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    async def restore() -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise UnreachableError("the ledger is away")
        await counters.restore(REQUEST.counter, REQUEST.window, KNOWN)

    async with connected(redis_server, on_empty=restore) as counters:
        await restored(counters)
    assert calls == 3
    (message,) = caplog.messages
    assert message.endswith("trying again: the ledger is away")


async def lost(server: Redis, counters: RedisCounters) -> None:
    """Let Redis lose its data, and the counters notice that."""
    server.kill()
    server.start()
    while not (await reserve(counters, MINUTE)).levels:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


MINUTE = Claim("key:b:requests", "minute", 10**6, 1)


async def test_no_request_passes_a_limit_before_it_is_restored(redis_server: Redis) -> None:
    calls, may_go_on = 0, asyncio.Event()
    may_go_on.set()

    async def restore() -> None:
        nonlocal calls
        calls += 1
        await may_go_on.wait()
        await counters.restore(REQUEST.counter, REQUEST.window, REQUEST.limit)

    async with connected(redis_server, on_empty=restore) as counters:
        for number in (1, 2):
            tasks = [asyncio.create_task(counters.reserve([REQUEST])) for _ in range(50)]
            await reserve(counters, MINUTE)  # does not wait
            may_go_on.set()
            assert [type(held) for held in await asyncio.gather(*tasks)] == [Exceeded] * 50
            assert calls == number
            may_go_on.clear()
            await lost(redis_server, counters)
        may_go_on.set()


async def test_what_is_in_progress_when_redis_loses_its_data_is_counted_again_and_settled(redis_server: Redis) -> None:
    async def restore() -> None:
        await counters.restore(MONEY.counter, MONEY.window, 50)

    async with connected(redis_server, on_empty=restore, lease=60.0) as counters:
        place = PLACE._replace(limit=2)
        assert (await reserve(counters, MONEY, REQUEST)).levels[0].used == 60
        held = await reserve(counters, MONEY, place)
        await lost(redis_server, counters)
        assert [level.used for level in (await reserve(counters, MONEY, REQUEST, place)).levels] == [80, 2, 2]
        await settle(counters, held, {MONEY.counter: 4})
        assert [await used(counters, claim) for claim in (MONEY, REQUEST, place)] == [74, 2, 1]


async def test_the_end_of_a_request_shows_that_redis_has_lost_its_data_too(redis_server: Redis) -> None:
    known = 0

    async def restore() -> None:
        await counters.restore(MONEY.counter, MONEY.window, known)

    async with connected(redis_server, on_empty=restore, lease=60.0) as counters:
        place = PLACE._replace(limit=3)
        first, second, third = [await reserve(counters, MONEY, place) for _ in range(3)]
        redis_server.kill()
        redis_server.start()
        known = 4  # the row of the first one
        await settle(counters, first, {MONEY.counter: 4})
        async with connected(redis_server, lease=60.0) as other, asyncio.timeout(120):
            while await used(other, MONEY) != 4 + 10 + 10:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await settle(counters, second, {MONEY.counter: 5})
            assert [await used(other, claim) for claim in (MONEY, place)] == [4 + 5 + 10, 1]
            await settle(counters, third, {MONEY.counter: 6})
            assert [await used(other, claim) for claim in (MONEY, place)] == [4 + 5 + 6, 0]


async def test_a_place_that_was_renewed_after_a_loss_is_free_again_at_its_end(redis_server: Redis) -> None:
    async with connected(redis_server, lease=60.0) as counters:
        held = await reserve(counters, PLACE)
        await lost(redis_server, counters)
        await counters.renew()
        assert isinstance(await counters.reserve([PLACE]), Exceeded)
        await settle(counters, held, {})
        assert await used(counters, PLACE) == 0


async def test_while_neither_redis_nor_the_ledger_knows_what_is_used_budgets_refuse_and_requests_count_from_zero(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    is_away = True

    async def restore() -> None:
        if is_away:
            raise UnreachableError("the ledger is away")
        await counters.restore(MONEY.counter, MONEY.window, MONEY.limit)

    async with connected(redis_server, on_empty=restore) as counters:
        for number in range(1, 4):
            with pytest.raises(ServerError, match="have lost their data, and the ledger cannot be read") as failure:
                await counters.reserve([REQUEST, MONEY])
            assert failure.value.status == 503
            assert (await reserve(counters, REQUEST)).levels[0].used == number
        assert len(caplog.records) == 1
        is_away = False
        async with asyncio.timeout(120):
            while True:
                with suppress(ServerError):
                    assert isinstance(await counters.reserve([MONEY]), Exceeded)
                    break
                await asyncio.sleep(0.05)


async def test_an_error_that_nobody_expects_while_counters_are_restored_keeps_no_request_waiting(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async def restore() -> None:
        raise ValueError("unexpected")

    async with connected(redis_server, on_empty=restore) as counters:
        with pytest.raises(ServerError, match="the ledger cannot be read"):
            await counters.reserve([MONEY])
        assert (await reserve(counters, REQUEST)).levels[0].used == 1
    assert caplog.messages[0].endswith("trying again: ValueError('unexpected')")


async def test_no_request_waits_long_for_a_ledger_that_does_not_answer(redis_server: Redis) -> None:
    may_go_on = asyncio.Event()
    async with connected(redis_server, on_empty=may_go_on.wait) as counters:
        with pytest.raises(ServerError, match="the ledger cannot be read"):
            await counters.reserve([MONEY])
        assert (await reserve(counters, REQUEST)).levels[0].used == 1
        may_go_on.set()


async def test_counters_are_closed_although_the_ledger_does_not_answer(redis_server: Redis) -> None:
    is_restoring = asyncio.Event()

    async def restore() -> None:
        is_restoring.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(120):
        async with connected(redis_server, on_empty=restore) as counters:
            held = await reserve(counters, REQUEST)
            task = asyncio.create_task(counters.reserve([REQUEST, MONEY, PLACE]))
            await is_restoring.wait()
            counters.settle(held, [0] * len(held.claims.amounts))
        with pytest.raises(ServerError, match="the ledger cannot be read"):
            await task
    async with connected(redis_server) as counters:
        assert [await used(counters, claim) for claim in (REQUEST, MONEY, PLACE)] == [0, 0, 0]


async def test_a_caller_that_is_cancelled_while_counters_are_restored_leaves_nothing_counted(
    redis_server: Redis,
) -> None:
    is_restoring, may_go_on = asyncio.Event(), asyncio.Event()

    async def restore() -> None:
        is_restoring.set()
        await may_go_on.wait()

    async with connected(redis_server, on_empty=restore) as counters:
        task = asyncio.create_task(counters.reserve([REQUEST, MONEY, PLACE]))
        await is_restoring.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        may_go_on.set()
    async with connected(redis_server) as counters:
        assert [await used(counters, claim) for claim in (REQUEST, MONEY, PLACE)] == [0, 0, 0]


async def test_what_is_lost_while_it_is_restored_is_restored_later(persistent_redis_server: Redis) -> None:
    is_lost = asyncio.Event()

    async def restore() -> None:
        if not is_lost.is_set():
            persistent_redis_server.kill()
        await counters.restore(REQUEST.counter, REQUEST.window, KNOWN)
        is_lost.set()

    async with connected(persistent_redis_server, on_empty=restore) as counters:
        await reserve(counters, REQUEST)
        await is_lost.wait()
        persistent_redis_server.start()
        await restored(counters)


async def test_a_restart_between_two_requests_is_not_noticed(persistent_redis_server: Redis) -> None:
    async with connected(persistent_redis_server) as counters:
        await reserve(counters, MONEY)
        persistent_redis_server.kill()
        persistent_redis_server.start()
        assert (await reserve(counters, MONEY)).levels[0].used == 20


async def test_what_ends_while_redis_is_lost_is_settled_once_it_is_back(persistent_redis_server: Redis) -> None:
    async with connected(persistent_redis_server, lease=60.0) as counters:
        held = await reserve(counters, MONEY, PLACE)
        persistent_redis_server.kill()
        await settle(counters, held, {MONEY.counter: 4})
        persistent_redis_server.start()
        await until_counted(counters)
        await counters.renew()
        assert [await used(counters, claim) for claim in (MONEY, PLACE)] == [4, 0]


async def test_an_absurd_number_of_an_upstream_counts_and_disturbs_no_other_request(redis_server: Redis) -> None:
    plan = plan_of(Limits(tokens_per_day=10**15, budget_per_month=1e6, concurrent=5), "key:a")
    assert plan is not None
    _, tokens, money, _ = used_by([row(input_tokens=3 * 2**63, output_tokens=2**62, cost=10**25)])
    async with connected(redis_server) as counters:
        held = [await counters.reserve(Claims(plan, amounts_of(10, 10))) for _ in range(5)]
        for each in held:
            assert isinstance(each, Hold)
            await settle(counters, each, {"key:a:tokens": tokens, "key:a:money": money})
        refused = await counters.reserve(Claims(plan, amounts_of(1, 1)))
        assert isinstance(refused, Exceeded)
        assert [level.remaining for level in refused.levels] == [0, 0, 5]


@pytest.mark.parametrize(
    ("refuse", "accept"),
    [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),  # a replica is read-only
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
    ],
)
async def test_a_redis_that_refuses_to_write_counts_as_lost_and_loses_no_count(
    refuse: str, accept: str, redis_server: Redis
) -> None:
    admin: Any = redis.asyncio.Redis.from_url(redis_server.url)
    async with connected(redis_server) as counters, admin:
        held = await reserve(counters, MONEY)
        await admin.execute_command(refuse)
        with pytest.raises(ServerError, match="the limits cannot be checked"):
            await counters.reserve([MONEY])
        await settle(counters, held, {MONEY.counter: 4})
        await admin.execute_command(accept)
        await until_counted(counters)
        await counters.renew()
        assert await used(counters, MONEY) == 4


async def test_scripts_that_redis_has_forgotten_are_sent_again(redis_server: Redis) -> None:
    admin: Any = redis.asyncio.Redis.from_url(redis_server.url)
    async with connected(redis_server) as counters, admin:
        held = await reserve(counters, MONEY, PLACE)
        await admin.script_flush()
        await counters.renew()
        await admin.script_flush()
        await settle(counters, held, {MONEY.counter: 4})
        await admin.script_flush()
        assert [await used(counters, claim) for claim in (MONEY, PLACE)] == [4, 0]


async def test_a_reservation_whose_answer_is_late_is_given_back(redis_server: Redis) -> None:
    async with connected(redis_server) as counters:
        await reserve(counters, REQUEST)
        redis_server.pause()  # it reads what was sent when it goes on
        with pytest.raises(ServerError):
            await counters.reserve([MONEY, PLACE])
        redis_server.resume()
        await until_counted(counters)
        await counters.renew()
        assert [await used(counters, claim) for claim in (MONEY, PLACE)] == [0, 0]


async def test_places_survive_a_clock_of_redis_that_jumps(redis_server: Redis) -> None:
    clock = Clock()
    async with connected(redis_server, now=clock) as counters, connected(redis_server, now=clock) as other:
        await reserve(counters, PLACE)
        for jump in (86400.0, -2 * 86400.0):
            clock.now += jump
            await counters.renew()
            assert isinstance(await other.reserve([PLACE]), Exceeded)


async def test_a_clock_of_redis_that_jumps_back_locks_nobody_out(redis_server: Redis) -> None:
    clock = Clock()
    async with connected(redis_server, now=clock) as counters, connected(redis_server, now=clock) as silent:
        claims = [Claim("a:requests", "minute", 1, 1), Claim("a:requests", "day", 1, 1), Claim("b", "month", 1, 1)]
        clock.now += 400 * 86400
        await reserve(counters, *claims)
        await reserve(silent, PLACE)
        clock.now -= 400 * 86400
        await reserve(counters, *claims)
        await reserve(counters, PLACE)


async def test_what_a_ledger_has_is_restored_once_however_often_it_is_reported(redis_server: Redis) -> None:
    async with connected(redis_server) as counters, connected(redis_server) as other:
        for each in (counters, other):
            await each.restore(MONEY.counter, MONEY.window, 70)
        assert await used(counters, MONEY) == 70
        await reserve(counters, MONEY)
        await other.restore(MONEY.counter, MONEY.window, 70)
        assert await used(counters, MONEY) == 80
        await other.restore(MONEY.counter, MONEY.window, 90)
        assert await used(counters, MONEY) == 90


@pytest.mark.parametrize("window", ["day", "month"])
async def test_what_was_used_of_a_day_or_month_that_has_ended_meanwhile_is_not_restored(
    redis_server: Redis, window: Any
) -> None:
    midnight = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    now = midnight - 1
    claim = MONEY._replace(window=window)
    async with connected(redis_server, now=lambda: now, prefix=f"test-{next(_prefixes)}") as counters:
        asked_at, now = now, midnight + 1
        await counters.restore(claim.counter, window, 70, asked_at)
        assert await used(counters, claim) == 0
        await counters.restore(claim.counter, window, 70, now)
        assert await used(counters, claim) == 70


async def test_no_claims_cost_no_round_trip(redis_server: Redis) -> None:
    redis_server.kill()
    async with connected(redis_server, on_failure="closed") as counters:
        settle_now(counters, await reserve(counters), {})


@pytest.mark.parametrize(
    "url", ["http://:secret@127.0.0.1:1/", "redis://:secret@127.0.0.1:x/", "redis://:secret@[::1/"]
)
def test_an_invalid_url_is_an_error_that_does_not_show_it(url: str) -> None:
    with pytest.raises(UsageError, match="invalid URL for the counters") as failure:
        RedisCounters(url)
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://:secret@127.0.0.1:1/0?foo=secret", "unknown parameter 'foo': leave it out"),
        ("redis://:secret@127.0.0.1:1/0?ssl_cert_reqs=none", "unknown parameter 'ssl_cert_reqs': leave it out"),
        ("rediss://:secret@127.0.0.1:1/0?ssl_cert_reqs=CERT_NONE", r"Invalid SSL .*: \*\*\*"),
    ],
)
@pytest.mark.parametrize(("kind", "what"), [(RedisCounters, "counters"), (RedisCache, "cache")])
def test_a_parameter_that_a_url_cannot_have_is_an_error_at_the_start(
    kind: type[RedisCounters | RedisCache], what: str, url: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=f"invalid URL for the {what}: {reason}$") as failure:
        kind(url)
    assert "secret" not in str(failure.value)


async def test_valkey_has_a_url_of_its_own(redis_server: Redis) -> None:
    async with connected(redis_server) as counters:
        await reserve(counters, MONEY)
    counters = RedisCounters(redis_server.url.replace("redis://", "valkey://"))
    assert await used(counters, MONEY) == 10
    await counters.close()


async def test_a_wrong_password_counts_as_a_lost_redis_and_is_not_logged(
    redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    counters = RedisCounters(redis_server.url.replace(redis_server.password, "another-password"))
    assert (await reserve(counters, REQUEST)).levels == ()
    await counters.close()
    assert "AuthenticationError" in caplog.text
    assert "another-password" not in caplog.text


def test_the_start_of_the_model_is_at_the_end_of_a_month() -> None:
    assert bounds("month", START)[1] == START + 180
