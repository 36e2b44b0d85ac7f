"""The document of `GET /usage`, spans of time, and the plot."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from acytoo.errors import RequestError, UsageError
from acytoo.gateway.ledger import Ledger, Row, UsageRow, open_ledger
from acytoo.gateway.usage import parse_time, usage_document
from acytoo.gateway.usage_plot import plot_usage, stacked_bars, step_of

DAY = 86400.0
MIDNIGHT = 20_000 * DAY
"""2024-10-04T00:00Z."""


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """Three requests of two keys in the last days."""
    ledger = await open_ledger(f"sqlite:{tmp_path / 'ledger.db'}")
    now = time.time()
    common: dict[str, Any] = {"attempt": 1, "upstream": "openai", "status": 200, "outcome": "complete"}
    ledger.add(
        [
            Row(request_id="1", at=now - DAY, key="bot", model="fast", input_tokens=9, cost=1_500_000_000, **common),
            Row(request_id="2", at=now - 8 * DAY, key="bot", model="slow", output_tokens=4, **common),
            Row(request_id="3", at=now - 60, key="alice", model="fast", output_tokens=2, seconds=3.0, **common),
        ]
    )
    await ledger.flush()
    try:
        yield ledger
    finally:
        await ledger.close()


async def test_the_document_has_the_last_week_by_key_and_model(ledger: Ledger) -> None:
    document = await usage_document(ledger, None, {})
    assert document["object"] == "usage"
    assert document["by"] == ["key", "model"]
    assert [(row["key"], row["model"], row["requests"], row["cost_usd"]) for row in document["data"]] == [
        ("alice", "fast", 1, None),
        ("bot", "fast", 1, 1.5),
    ]
    assert document["data"][0] == {
        "key": "alice", "model": "fast", "requests": 1, "attempts": 1, "input_tokens": 0, "output_tokens": 2,
        "cached_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0, "estimated": 0, "unpriced": 1,
        "first_content": None, "seconds": 3.0, "cost_usd": None,
    }  # fmt: skip
    assert (document["total"]["requests"], document["total"]["input_tokens"], document["total"]["cost_usd"]) == (
        2,
        9,
        1.5,
    )
    json.dumps(document, allow_nan=False)


async def test_the_document_of_a_key_has_only_its_own_usage(ledger: Ledger) -> None:
    document = await usage_document(ledger, "alice", {"by": "key", "since": "2w"})
    assert [(row["key"], row["requests"]) for row in document["data"]] == [("alice", 1)]
    assert document["total"]["requests"] == 1
    assert (await usage_document(ledger, "nobody", {}))["total"] is None


async def test_the_query_chooses_groups_and_time(ledger: Ledger) -> None:
    document = await usage_document(ledger, None, {"by": "", "since": "30d", "until": "2d"})
    assert [row["output_tokens"] for row in document["data"]] == [4]
    assert document["total"] == document["data"][0]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"by": "request_id"}, "cannot group usage by 'request_id': use key, dialect, model, target, upstream, "),
        ({"by": "key,key"}, "usage is grouped by 'key' twice"),
        ({"since": "yesterday"}, "invalid time 'yesterday': expected a time ago, such as 7d or 12h, or a date, such "),
        ({"key": "bot"}, "unknown field 'key' of the query: use since, until and by"),
    ],
)
async def test_a_wrong_query_is_refused(ledger: Ledger, query: dict[str, str], message: str) -> None:
    with pytest.raises(RequestError) as raised:
        await usage_document(ledger, "alice", query)
    assert raised.value.status == 400
    assert raised.value.message.startswith(message)


async def test_too_many_groups_are_refused(tmp_path: Path) -> None:
    ledger = await open_ledger(f"sqlite:{tmp_path / 'many.db'}")
    now = time.time()
    ledger.add([Row(request_id="r", attempt=0, at=now - 9, model=f"m{number}") for number in range(10_001)])
    await ledger.flush()
    with pytest.raises(RequestError, match="there are more than 10000 groups: leave out one of key, model, or ask for"):
        await usage_document(ledger, None, {})
    assert (await usage_document(ledger, None, {"by": "key"}))["total"]["requests"] == 10_001
    await ledger.close()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("7d", MIDNIGHT - 7 * DAY),
        (" 12h ", MIDNIGHT - DAY / 2),
        ("30m", MIDNIGHT - 1800),
        ("2w", MIDNIGHT - 14 * DAY),
        ("2024-10-04", MIDNIGHT),
        ("2024-10-04T01:00", MIDNIGHT + 3600),
        ("2024-10-04T01:00:00Z", MIDNIGHT + 3600),
        ("2024-10-04T01:00:00+01:00", MIDNIGHT),
    ],
)
def test_times_are_ago_or_dates_in_utc(text: str, at: float) -> None:
    assert parse_time(text, MIDNIGHT) == at


@pytest.mark.parametrize("text", ["", "7", "7 years", "-7d", "99999d", "2024-13-01", "0001-01-01T00:00+23:59"])
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(UsageError, match="invalid time"):
        parse_time(text, MIDNIGHT)


def usage_row(step: str, model: str, cost: int | None, tokens: int = 0) -> UsageRow:
    group = {"day": step, "model": model}
    return UsageRow(group, 1, 1, tokens, 0, 0, 0, 0, 0, cost, 0, 0, None, None)


def bars_of(svg: str) -> list[float]:
    """Return the heights of the bars, without the legend."""
    root = ElementTree.fromstring(svg)
    bars = [rect for rect in root.iter("{http://www.w3.org/2000/svg}rect") if rect.get("height") != "12"]
    return [float(bar.get("height", "")) for bar in bars]


def test_the_plot_has_a_bar_for_each_day_and_a_piece_for_each_name() -> None:
    rows = [
        usage_row("2024-10-04", "a", 10**9),
        usage_row("2024-10-06", "a", 10**9),
        usage_row("2024-10-06", "b", 10**9),
    ]
    svg = plot_usage(rows, MIDNIGHT, MIDNIGHT + 3 * DAY, "model")
    assert bars_of(svg) == [115.0, 115.0, 115.0]
    for text in ("Cost per day by model", "US dollars", "10-04", "10-05", "10-06", ">a<", ">b<"):
        assert text in svg
    assert "10-07" not in svg


def test_the_plot_has_tokens_if_no_price_is_known() -> None:
    svg = plot_usage([usage_row("2024-10-04", "a", None, tokens=700)], MIDNIGHT, MIDNIGHT + 3 * DAY, "model")
    assert "Tokens per day by model" in svg
    assert len(bars_of(svg)) == 1


def test_a_plot_without_usage_is_valid() -> None:
    assert bars_of(plot_usage([], MIDNIGHT, MIDNIGHT + DAY, "")) == []


def test_names_in_a_plot_are_text_and_the_smallest_are_drawn_together() -> None:
    names = ["<script>alert(1)</script>", "\0\x1b[31m\ud800", "x" * 500, *"abcdefgh"]
    svg = stacked_bars("t", "u", ["1"], {name: [float(len(names) - number)] for number, name in enumerate(names)})
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert texts[-1] == "other"
    assert "x" * 21 + "…" in texts
    assert len(bars_of(svg)) == 7


@pytest.mark.parametrize(("days", "step"), [(0.5, "hour"), (2.0, "hour"), (2.5, "day"), (400.0, "day")])
def test_a_short_time_is_drawn_by_the_hour(days: float, step: str) -> None:
    assert step_of(MIDNIGHT, MIDNIGHT + days * DAY) == step


@pytest.mark.parametrize("days", [0.0, -1.0, 401.0])
def test_a_time_that_cannot_be_drawn_is_refused(days: float) -> None:
    with pytest.raises(UsageError, match="cannot draw this span of time: expected more than nothing, and at most 400"):
        step_of(MIDNIGHT, MIDNIGHT + days * DAY)
