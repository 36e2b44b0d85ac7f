"""The bench's verdicts compare the two contenders of one round, and count only paced figures that kept up.

Its load generator counts only correct responses.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench import native
from bench.gateways import native_upstream, request_for
from bench.processes import Load, Refused, pinned, run_load
from bench.record import Record, Samples
from bench.table import Row

ROW = Row("short", "short-1", "replies_per_s", "acytoo", "aiohttp", 1.0)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A record whose files do not exist yet."""
    return Record("trial", tmp_path)


def samples(ours: list[float | None], theirs: list[float | None], **more: float) -> Samples:
    """Return a sweep with these figures by round; None is a refused round."""
    rounds = {"acytoo": ours, "aiohttp": theirs}
    return Samples(
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
def test_the_verdict_is_about_the_median_ratio_and_counts_rounds_that_disagree(
    ours: list[float | None], theirs: list[float | None], verdict: str
) -> None:
    comparison = samples(ours, theirs).summarize("short-1").compare(ROW)
    assert comparison is not None
    assert comparison.verdict == verdict


def test_a_refused_round_does_not_shift_the_pairs_of_the_others() -> None:
    comparison = samples([None, 30], [10, 20]).summarize("short-1").compare(ROW)
    assert comparison is not None
    assert comparison.ratios == [1.5]


def test_a_contender_that_did_not_keep_up_has_no_ratio() -> None:
    assert samples([11], [10], kept_up=0.9).summarize("short-1").compare(ROW) is None


def test_a_contender_of_which_every_round_was_refused_is_summarized() -> None:
    summary = samples([None], [10]).summarize("short-1")
    assert summary.contenders["acytoo"] == {"rounds": 1}
    assert summary.compare(ROW) is None


def test_rounds_of_another_commit_are_dropped_when_a_sweep_begins(record: Record) -> None:
    record.samples["short-1"] = samples([11], [10])
    record.samples["short-1"].machine["commit"] = "another"
    assert record.begin("short-1", ["acytoo"]).contenders == {}


def test_rounds_of_the_same_commit_are_kept_when_another_contender_is_measured(record: Record) -> None:
    record.begin("short-1", ["aiohttp"]).add("aiohttp", {"replies_per_s": 10.0})
    record.save("short-1")
    record = Record("trial", record.path.parent)
    record.begin("short-1", ["acytoo"]).add("acytoo", {"replies_per_s": 12.0})
    record.save("short-1")
    comparison = record.sweeps["short-1"].compare(ROW)
    assert comparison is not None
    assert comparison.ratios == [1.2]


def test_only_the_summary_is_in_the_committed_file(record: Record) -> None:
    for value in (7.0, 9.0, 8.0):
        record.begin("short-1", []).add("acytoo", {"replies_per_s": value, "wall_s": 1.0})
    record.save("short-1")
    assert json.loads(record.path.read_text())["sweeps"]["short-1"]["contenders"] == {
        "acytoo": {"rounds": 3, "replies_per_s": 8.0}
    }
    assert Record("trial", record.path.parent).sweeps["short-1"].median("acytoo", "replies_per_s") == 8.0


def test_a_sweep_whose_samples_are_gone_keeps_its_summary(record: Record) -> None:
    record.begin("short-1", []).add("acytoo", {"replies_per_s": 7.0})
    record.save("short-1")
    record.raw_path.unlink()
    again = Record("trial", record.path.parent)
    again.begin("short-16", []).add("acytoo", {"replies_per_s": 9.0})
    again.save("short-16")
    kept = Record("trial", record.path.parent)
    assert [kept.sweeps[name].median("acytoo", "replies_per_s") for name in ("short-1", "short-16")] == [7.0, 9.0]


@pytest.fixture
def generate() -> Callable[..., dict[str, Any]]:
    """Load the upstream directly, without a gateway, with streams of three chunks."""
    try:
        pinned(1, [])
        program = native.program("loadgen")
    except Refused as error:
        pytest.skip(str(error))

    def run(chunks: int = 3, end: str = "[DONE]", total: int = 20, **options: Any) -> dict[str, Any]:
        with native_upstream() as service:
            prompt = f"N=3;I={options.get('interval', 0) * 1e6:.0f};"
            request = request_for("acytoo-through", service, prompt, stream=True)
            return run_load(program, service, service, Load(request, 2, total, chunks, end, **options))

    return run


def test_a_load_of_complete_streams_has_their_delays(generate: Callable[..., dict[str, Any]]) -> None:
    figures = generate(total=80, interval=0.01, ramp=0.02)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert figures["cpu_us"] > 0


@pytest.mark.parametrize("chunks", [2, 4])
def test_a_stream_with_another_number_of_chunks_is_refused(
    generate: Callable[..., dict[str, Any]], chunks: int
) -> None:
    with pytest.raises(Refused, match=f"3 of {chunks} chunks arrived"):
        generate(chunks=chunks)


def test_a_stream_without_its_end_is_refused(generate: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(Refused, match="a response has no end"):
        generate(end="message_stop")
