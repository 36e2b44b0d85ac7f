"""The bench's verdicts: by pairs of rounds, and only of what kept up."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.record import Record, Taken
from bench.table import Row, measured

ROW = Row("short", "short-1", "replies_per_s", "acytoo", "aiohttp", 1.0, higher=True)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A file of results that is not there yet."""
    return Record("trial", tmp_path)


def taken(ours: list[float | None], theirs: list[float | None], **more: float) -> Taken:
    """A sweep with these figures, round by round; None is a round that was refused."""
    rounds = {"acytoo": ours, "aiohttp": theirs}
    return Taken(
        {}, {name: [None if v is None else {"replies_per_s": v, **more} for v in rounds[name]] for name in rounds}
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([11, 12, 13], [10, 10, 10], "reached"),
        ([9, 8, 7], [10, 10, 10], "**not reached**"),
        ([11, 9, 12], [10, 10, 10], "reached (2 of 3 rounds)"),
        ([9, 9, 12], [10, 10, 10], "**not reached** (1 of 3 rounds)"),
        ([20, 10, 10], [21, 9, 9], "reached (2 of 3 rounds)"),
    ],
)
def test_a_verdict_is_the_median_pairs_and_tells_of_rounds_that_differ(
    ours: list[float | None], theirs: list[float | None], verdict: str, record: Record
) -> None:
    record.sweeps["short-1"] = taken(ours, theirs)
    found = measured(ROW, record)
    assert found is not None
    assert found.verdict == verdict


def test_a_refused_round_leaves_the_others_with_their_own_partners(record: Record) -> None:
    record.sweeps["short-1"] = taken([None, 30], [10, 20])
    found = measured(ROW, record)
    assert found is not None
    assert found.ratios == [1.5]


def test_a_contender_that_did_not_keep_up_has_no_figure(record: Record) -> None:
    record.sweeps["short-1"] = taken([11], [10], kept_up=0.9)
    assert measured(ROW, record) is None


def test_rounds_of_another_commit_are_not_kept_beside_new_ones(record: Record) -> None:
    record.sweeps["short-1"] = taken([11], [10])
    record.sweeps["short-1"].machine["commit"] = "another"
    begun = record.begin("short-1", ["acytoo"])
    assert begun.contenders == {}


def test_what_is_kept_is_read_again_as_it_was(record: Record) -> None:
    record.begin("short-1", ["acytoo"]).add("acytoo", {"replies_per_s": 7.0})
    record.keep()
    assert Record("trial", record.path.parent).sweeps["short-1"].values("acytoo", "replies_per_s") == [7.0]
