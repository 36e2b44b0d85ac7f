"""What every ledger does, whatever its database."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acytoo.errors import AcytooError, UsageError
from acytoo.gateway.ledger import Ledger, NoLedger, Row, Total, open_ledger
from acytoo.gateway.ledger_sql import COLUMNS, columns_of
from acytoo.gateway.retention import Pruner
from acytoo.gateway.usage import total_of
from acytoo.secret import Secret
from tests.services import Postgres

DAY = 86400.0
NOON = 20_000 * DAY + DAY / 2
"""2024-10-04T12:00Z."""

Open = Callable[[], Awaitable[Ledger]]


@pytest.fixture(params=["sqlite", "postgres"])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Open the same ledger again and again."""
    opened: list[Ledger] = []
    url = f"sqlite:{tmp_path / 'ledger.db'}"
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres_server")
        url = await asyncio.to_thread(server.new_database)

    async def open_() -> Ledger:
        opened.append(await open_ledger(url))
        return opened[-1]

    yield open_
    for ledger in opened:
        await ledger.close()


def row(number: int = 1, **fields: Any) -> Row:
    return Row(**{"request_id": f"r{number}", "attempt": 1, "at": NOON, "key": "bot", "upstream": "openai", **fields})


async def all_rows(ledger: Ledger) -> int:
    return sum(group.requests for group in await ledger.usage(0, 1e11, []))


async def test_a_flushed_row_is_there_when_the_ledger_is_opened_again(reopen: Open) -> None:
    ledger = await reopen()
    written = row(
        dialect="openai", model="fast", target="openai/gpt-5-mini", status=200, outcome="complete", input_tokens=7,
        output_tokens=5, cached_tokens=3, cache_write_tokens=2, reasoning_tokens=1, is_estimated=True, cost=11,
        first_content=0.25, seconds=1.5,
    )  # fmt: skip
    ledger.add([written])
    await ledger.flush()
    names = ["key", "dialect", "model", "target", "upstream", "status", "outcome", "day", "hour"]
    (found,) = await (await reopen()).usage(0, 1e11, names)
    assert found.group == {
        "key": "bot", "dialect": "openai", "model": "fast", "target": "openai/gpt-5-mini", "upstream": "openai",
        "status": "200", "outcome": "complete", "day": "2024-10-04", "hour": "2024-10-04T12:00Z",
    }  # fmt: skip
    assert (found.requests, found.attempts, found.estimated, found.unpriced, found.cost) == (1, 1, 1, 0, 11)
    assert (found.input_tokens, found.output_tokens, found.cached_tokens) == (7, 5, 3)
    assert (found.cache_write_tokens, found.reasoning_tokens) == (2, 1)
    assert (found.first_content, found.seconds) == (0.25, 1.5)


async def test_rows_are_written_without_a_flush(reopen: Open) -> None:
    ledger = await reopen()
    ledger.add([row(1), row(2)])
    reader = await reopen()
    async with asyncio.timeout(120):
        while await all_rows(reader) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_close_writes_what_is_left(reopen: Open) -> None:
    ledger = await reopen()
    ledger.add([row(number) for number in range(5000)])
    await ledger.close()
    assert await all_rows(await reopen()) == 5000


async def test_rows_added_while_others_are_written_are_written_too(reopen: Open) -> None:
    ledger = await reopen()

    async def add(first: int) -> None:
        for number in range(first, first + 500):
            ledger.add([row(number)])
            if number % 20 == 0:
                await ledger.flush()

    await asyncio.gather(*[add(1000 * place) for place in range(8)])
    await ledger.close()
    assert await all_rows(await reopen()) == 4000


async def test_usage_is_grouped_and_ordered(reopen: Open) -> None:
    ledger = await reopen()
    ledger.add([row(1, model="b", cost=5), row(2, model="a", cost=None, input_tokens=3), row(3, model="b", cost=2)])
    ledger.add([row(4, model="a", key="other", at=NOON + DAY)])
    await ledger.flush()
    found = await ledger.usage(0, 1e11, ["model"])
    assert [(group.group["model"], group.requests, group.cost, group.unpriced) for group in found] == [
        ("a", 2, None, 1),
        ("b", 2, 7, 0),
    ]
    by_day = await ledger.usage(0, 1e11, ["day", "key"])
    assert [tuple(group.group.values()) for group in by_day] == [("2024-10-04", "bot"), ("2024-10-05", "other")]


async def test_the_groups_together_are_all_the_usage_however_it_is_grouped(reopen: Open) -> None:
    ledger = await reopen()
    for number in range(300):
        ledger.add(
            [
                row(
                    number, at=NOON + number * 3600, attempt=number % 4, key="abc"[number % 3], model="xy"[number % 2],
                    status=(200, 429)[number % 2], outcome=("complete", "left", "ServerError")[number % 3],
                    input_tokens=number, output_tokens=3 * number, cached_tokens=number // 2,
                    cost=(None, number, 2**44)[number % 3], first_content=(None, number / 7)[number % 2],
                    is_estimated=number % 7 == 0, seconds=number / 3,
                )
            ]
        )  # fmt: skip
    await ledger.flush()
    (expected,) = await ledger.usage(0, 1e11, [])
    for by in (["key"], ["model", "status"], ["outcome", "day"], ["hour"], ["key", "model", "target", "upstream"]):
        total = total_of(await ledger.usage(0, 1e11, by))
        assert total is not None
        assert total.first_content == pytest.approx(expected.first_content)
        assert total.seconds == pytest.approx(expected.seconds)
        means = {"first_content": None, "seconds": None}
        assert msgspec.structs.replace(total, **means) == msgspec.structs.replace(expected, **means)
    unpriced = await ledger.usage(NOON, NOON + 1, ["key"])
    assert total_of(unpriced) == msgspec.structs.replace(unpriced[0], group={})
    assert total_of([]) is None


async def test_usage_ends_before_until_and_can_be_that_of_one_key(reopen: Open) -> None:
    ledger = await reopen()
    ledger.add([row(1, at=NOON), row(2, at=NOON + 1), row(3, at=NOON + 2), row(4, at=NOON + 1, key="other")])
    await ledger.flush()
    assert [group.requests for group in await ledger.usage(NOON + 1, NOON + 2, [])] == [2]
    assert [group.requests for group in await ledger.usage(NOON, NOON + 2, [], "bot")] == [2]
    assert await ledger.usage(NOON, NOON + 2, [], "bot' OR 1=1 --") == []
    assert await ledger.usage(NOON + 9, NOON + 10, []) == []


async def test_a_request_is_counted_once_however_many_attempts_it_took(reopen: Open) -> None:
    ledger = await reopen()
    ledger.add([row(1, attempt=0, upstream="", status=429)])
    ledger.add([row(2, status=500, upstream="first"), row(2, attempt=2, upstream="second")])
    await ledger.flush()
    (found,) = await ledger.usage(0, 1e11, [])
    assert (found.requests, found.attempts) == (2, 2)


async def test_an_unknown_group_is_refused(reopen: Open) -> None:
    with pytest.raises(UsageError, match="cannot group usage by 'request_id; DROP TABLE ledger': use key, dialect"):
        await (await reopen()).usage(0, 1e11, ["request_id; DROP TABLE ledger"])


async def test_totals_are_what_keys_and_upstreams_have_used_since_then(reopen: Open) -> None:
    now = time.time()
    ledger = await reopen()
    ledger.add([row(0, at=now // DAY * DAY - 1, input_tokens=1000)])
    ledger.add([row(1, at=now, attempt=0, upstream="", status=429)])
    ledger.add([row(2, at=now, upstream="a", input_tokens=2, cost=None)])
    ledger.add([row(2, at=now, attempt=2, upstream="b", input_tokens=3, output_tokens=4, cost=9)])
    ledger.add([row(3, at=now, upstream="a", key="other", cost=1)])
    ledger.add([row(4, at=now, attempt=0, upstream="", key="other", status=200, output_tokens=6, cost=0)])
    await ledger.flush()
    assert sorted(await ledger.totals(now), key=lambda total: (total.subject, total.name)) == [
        Total("key", "bot", requests=1, tokens=9, cost=9, last=now),
        Total("key", "other", requests=2, tokens=6, cost=1, last=now),
        Total("upstream", "a", requests=2, tokens=2, cost=1, last=now),
        Total("upstream", "b", requests=1, tokens=7, cost=9, last=now),
    ]


DAYS = [NOON + number * DAY for number in range(3)]


async def test_totals_are_the_sums_of_the_rows_however_they_were_written(reopen: Open) -> None:
    writers = [await reopen() for _ in range(3)]

    async def write(place: int) -> None:
        for number in range(60):
            rows = [
                row(number, at=DAYS[(place + number + n) % 3] + n, upstream="abc"[n % 3], input_tokens=n, cost=number)
                for n in range(7)
            ]
            writers[place].add(rows)
            if number % 5 == place:
                await writers[place].flush()

    await asyncio.gather(*[write(place) for place in range(3)])
    for writer in writers:
        await writer.flush()
    for since in DAYS:
        totals = {(total.subject, total.name): total for total in await writers[0].totals(since)}
        start = since // DAY * DAY
        (key,) = await writers[0].usage(start, 1e11, ["key"])
        found = totals["key", "bot"]
        assert (found.requests, found.tokens, found.cost) == (key.requests, key.input_tokens, key.cost)
        for upstream in await writers[0].usage(start, 1e11, ["upstream"]):
            found = totals["upstream", upstream.group["upstream"]]
            assert (found.requests, found.tokens) == (upstream.attempts, upstream.input_tokens)
            assert found.cost == upstream.cost
    assert await writers[0].prune(DAYS[2], 10**6) > 0
    assert {total.tokens for total in await writers[0].totals(0)} == {
        total.tokens for total in await writers[0].totals(DAYS[2])
    }


async def test_rows_from_a_clock_that_was_ahead_do_not_count_against_a_budget(reopen: Open) -> None:
    ledger = await reopen()
    now = time.time()
    ledger.add([row(1, at=now + 400 * DAY, cost=10**15), row(2, at=now, cost=1)])
    await ledger.flush()
    assert [total.cost for total in await ledger.totals(now)] == [1, 1]


TEXTS = st.text(st.characters(), max_size=20)
NUMBERS = st.integers() | st.just(10**40) | st.just(-(10**40))


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(TEXTS, TEXTS, NUMBERS, st.floats(), NUMBERS | st.none(), st.floats() | st.none())
async def test_no_value_of_a_caller_or_an_upstream_keeps_rows_from_being_written(
    reopen: Open, text: str, other: str, number: int, duration: float, cost: int | None, first: float | None
) -> None:
    ledger = await reopen()
    odd = row(1, model=text, request_id=other, input_tokens=number, seconds=duration, cost=cost, first_content=first)
    before = await all_rows(ledger)
    ledger.add([odd, row(2)])
    try:
        await ledger.flush()
        assert await all_rows(ledger) == before + 2
    finally:
        await ledger.close()


def test_what_no_database_takes_is_changed_and_the_other_values_of_its_column_are_kept() -> None:
    bad = row(2, model="x\0", target="\ud800", input_tokens=-5, cost=10**40, seconds=math.nan, is_estimated=True)
    columns = dict(zip(COLUMNS, columns_of(7, 3, [row(1, cost=None), bad]), strict=True))
    good = row(1)
    assert [*columns["sequence"]] == [3, 4]
    assert [*columns["model"]] == [good.model, "x?"]
    assert [*columns["target"]] == [good.target, "?"]
    assert [*columns["input_tokens"]] == [good.input_tokens, 0]
    assert [*columns["cost"]] == [None, 2**45]
    assert [*columns["seconds"]] == [good.seconds, 0.0]
    assert [*map(type, columns["is_estimated"])] == [int, int]


async def test_a_text_of_any_length_is_stored_up_to_a_limit(reopen: Open) -> None:
    ledger = await reopen()
    ledger.add([row(1, model="x" * 100_000)])
    await ledger.flush()
    (found,) = await ledger.usage(0, 1e11, ["model"])
    assert len(found.group["model"]) == 500


async def test_no_ledger_forgets_its_rows() -> None:
    ledger = await open_ledger("none")
    assert isinstance(ledger, NoLedger)
    ledger.add([row()])
    await ledger.flush()
    assert not ledger.is_full
    assert await ledger.totals(0) == []
    with pytest.raises(UsageError, match=r'there is no ledger: set \[storage\] ledger = "sqlite:FILE"'):
        await ledger.usage(0, math.inf, [])
    await ledger.close()


@pytest.mark.parametrize("url", ["", "sqlite", "sqlite:", "sqlite://file.db", "mysql://root:secret@h/x", "file.db"])
async def test_an_invalid_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageError, match=r"invalid ledger .*: expected 'sqlite:FILE', 'postgresql://…' or 'none'") as e:
        await open_ledger(Secret(url))
    assert "secret" not in str(e.value)


async def test_reading_only_does_not_create_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(AcytooError, match=r"ledger '.*none.db' does not exist"):
        await open_ledger(f"sqlite:{tmp_path / 'none.db'}", read_only=True)
    assert not list(tmp_path.iterdir())  # noqa: ASYNC240


def test_a_row_has_the_fields_of_the_table() -> None:
    assert [field.name for field in msgspec.structs.fields(Row)] == list(COLUMNS[2:])


async def test_pruning_deletes_the_oldest_rows_up_to_a_number_and_keeps_the_others(reopen: Open) -> None:
    ledger = await reopen()
    ledger.add([row(number, at=NOON + number) for number in range(10)])
    await ledger.flush()
    assert [await ledger.prune(NOON + 5, 3) for _ in range(3)] == [3, 2, 0]
    assert await all_rows(ledger) == 5
    (kept,) = await ledger.usage(NOON + 5, 1e11, [])
    assert kept.requests == 5
    ledger.add([row(10, at=NOON + 10)])
    await ledger.flush()
    assert await all_rows(ledger) == 6


TIMES = st.integers(0, 4 * 24).map(lambda hours: 20_000 * DAY + hours * 3600) | st.floats(20_000 * DAY, 20_004 * DAY)
ROWS = st.builds(
    row,
    attempt=st.integers(0, 2),
    at=TIMES,
    key=st.sampled_from("ab"),
    model=st.sampled_from("xy"),
    upstream=st.sampled_from(["", "up"]),
    status=st.sampled_from([200, 429]),
    input_tokens=st.integers(0, 9),
    is_estimated=st.booleans(),
    cost=st.none() | st.integers(0, 9),
    first_content=st.none() | st.just(0.5),
    seconds=st.sampled_from([1.0, 2.0]),
)


def usage_of(rows: list[Row], since: float, until: float, by: list[str], key: str | None) -> dict[Any, Any]:
    """Return what usage has to report of rows, by group, as far as it depends on how rows are summed up."""
    groups: dict[Any, list[Row]] = {}
    for each in rows:
        if since <= each.at < until and key in (None, each.key):
            texts = {"day": str(int(each.at // DAY)), "hour": str(int(each.at // 3600)), "model": each.model}
            groups.setdefault(tuple(texts.get(name) or str(getattr(each, name)) for name in by), []).append(each)
    return {
        group: (
            sum(each.attempt <= 1 for each in found),
            sum(each.attempt >= 1 for each in found),
            sum(each.input_tokens for each in found),
            sum(each.is_estimated for each in found),
            sum(costs) if (costs := [each.cost for each in found if each.cost is not None]) else None,
            sum(each.cost is None and each.input_tokens > 0 for each in found),
            sum(each.first_content is not None for each in found),
            sum(each.seconds for each in found if each.attempt),
        )
        for group, found in groups.items()
    }


def number_of(name: str, text: str) -> str:
    """Return a day or an hour as its number."""
    size = {"day": DAY, "hour": 3600.0}.get(name)
    return text if size is None else str(int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() // size))


BY = st.lists(st.sampled_from(["key", "model", "upstream", "status", "day", "hour"]), unique=True, max_size=3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, max_size=12, unique_by=lambda each: each.at), TIMES, TIMES, BY, st.sampled_from([None, "a"]))
async def test_usage_and_totals_are_those_of_the_rows_that_are_there(
    reopen: Open, rows: list[Row], since: float, until: float, by: list[str], key: str | None
) -> None:
    ledger = await reopen()
    try:
        await ledger.prune(1e11, 10**6)  # of an earlier example
        for start in range(0, len(rows), 5):
            ledger.add(rows[start : start + 5])
            await ledger.flush()
        for most in (0, 3, 10**6):
            deleted = await ledger.prune(since, most)
            rows = sorted(rows, key=lambda each: each.at)[deleted:]
            for first, last in ((since, until), (0.0, 1e11), (until, 1e11)):
                found = {
                    tuple(number_of(*item) for item in group.group.items()): (
                        group.requests, group.attempts, group.input_tokens, group.estimated, group.cost,
                        group.unpriced, group.first_contents, round((group.seconds or 0.0) * group.attempts, 6),
                    )
                    for group in await ledger.usage(first, last, by, key)
                }  # fmt: skip
                assert found == usage_of(rows, first, last, by, key)
            answered = [each for each in rows if each.attempt == 1 or (not each.attempt and each.status < 400)]
            totals = {total.name: total.requests for total in await ledger.totals(0) if total.subject == "key"}
            names = {each.key for each in rows}
            assert totals == {name: sum(each.key == name for each in answered) for name in names}
        assert all(each.at >= since for each in rows)
    finally:
        await ledger.close()


async def test_sums_stay_right_while_several_servers_write_and_delete_rows(reopen: Open) -> None:
    servers = [await reopen() for _ in range(3)]

    async def run(place: int) -> None:
        for number in range(12):
            servers[place].add([row(n, at=DAYS[n % 3] + n, key="abc"[n % 3], input_tokens=n) for n in range(40)])
            await servers[place].flush()
            if number % 2:
                await servers[place].prune(DAYS[1] + 20, 25)

    await asyncio.gather(*[run(place) for place in range(3)])
    while any([await server.prune(DAYS[1] + 20, 25) for server in servers]):
        pass
    by_hour = [await servers[0].usage(0, 1e11, ["hour", "key"]), await servers[0].usage(0, 1e11, ["day", "key"])]
    of_rows, of_days = [{(g.group["key"], g.requests, g.input_tokens) for g in groups} for groups in by_hour]
    assert of_rows == of_days
    left = [n for n in range(40) if DAYS[n % 3] + n >= DAYS[1] + 20]
    assert sum(requests for _, requests, _ in of_days) == 36 * len(left)


async def test_rows_are_written_and_read_while_old_ones_are_deleted(reopen: Open) -> None:
    ledger = await reopen()
    ledger.add([row(number, at=float(number)) for number in range(10_000)])
    await ledger.flush()
    pruner = Pruner(ledger, 30)
    pruner.start()
    now = time.time()
    try:
        for number in range(20):
            ledger.add([row(number, at=now)])
            await ledger.flush()
            assert (await ledger.usage(now - 1, now + 1, []))[0].requests == number + 1
        while await all_rows(ledger) > 20:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    finally:
        await pruner.stop()
    assert await all_rows(ledger) == 20


async def test_absurd_numbers_of_an_upstream_do_not_keep_rows_from_being_written(reopen: Open) -> None:
    ledger = await reopen()
    for _ in range(66):  # their sum needs more than 64 bits
        ledger.add([row(number, input_tokens=10**40, output_tokens=10**40, cost=10**40) for number in range(2000)])
    await ledger.flush()
    total = (await ledger.totals(NOON))[0]
    assert total.tokens >= 2**46 * 131_999
    assert total.cost >= 2**45 * 131_999
