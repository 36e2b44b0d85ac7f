"""The rows of the table: what is compared with what, and what is to be reached."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One ratio: `subject` over `baseline` in one figure of a sweep; `higher` where more is better."""

    what: str
    sweep: str
    figure: str
    subject: str
    baseline: str
    reach: float
    higher: bool = False


@dataclass(frozen=True)
class Measured:
    """A row with what came out: medians, their ratio, and the lowest and highest ratio of single rounds."""

    row: Row
    subject: float
    baseline: float
    ratio: float
    low: float
    high: float

    @property
    def reached(self) -> bool:
        """Whether the ratio is what was to be reached."""
        return self.ratio >= self.row.reach if self.row.higher else self.ratio <= self.row.reach


def _paced(streams: int) -> list[Row]:
    sweep, many = f"paced-{streams}", f"{streams:,} paced streams"
    return [
        Row(f"{many}: CPU a chunk", sweep, "cpu_us", "acytoo", "aiohttp", 0.75),
        Row(f"{many}: p50 added", sweep, "p50_ms", "acytoo", "aiohttp", 0.8),
        Row(f"{many}: p99 added", sweep, "p99_ms", "acytoo", "aiohttp", 1.0),
        Row(f"{many}: CPU a chunk, uvloop", sweep, "cpu_us", "acytoo+uvloop", "aiohttp", 0.6),
        Row(f"{many}: CPU a chunk, beside a tuned loop", sweep, "cpu_us", "acytoo", "aiohttp-tuned", 1.0),
    ]


def _gateway(kind: str, what: str) -> list[Row]:
    ours, bare = f"acytoo-{kind}", f"bare-{kind}"
    return [
        Row(f"gateway, {what}: requests/s at 1", "gateway-1", "requests_per_s", ours, bare, 0.8, True),
        Row(f"gateway, {what}: requests/s at 64", "gateway-64", "requests_per_s", ours, bare, 0.8, True),
        Row(f"gateway, {what}: SSE chunks/s in a burst", "gateway-burst", "chunks_per_s", ours, bare, 0.8, True),
        Row(f"gateway, {what}: p99 added at 500 paced streams", "gateway-500", "p99_ms", ours, bare, 1.25),
        Row(f"gateway, {what}: CPU a chunk at 500 paced streams", "gateway-500", "cpu_us", ours, bare, 1.25),
    ]


ROWS = [
    Row("OpenAI SSE burst: CPU a chunk", "burst", "cpu_us", "acytoo", "aiohttp", 0.9),
    Row("raw text burst: CPU a chunk", "burst-raw", "cpu_us", "acytoo-raw", "aiohttp-raw", 1.0),
    Row("`stream()`, tools and usage: CPU a chunk", "burst-tools", "cpu_us", "acytoo-stream", "aiohttp-tools", 1.1),
    *_paced(200),
    *_paced(1000),
    Row("1,000 open streams: memory", "still-1000", "memory_mb", "acytoo", "aiohttp", 1.05),
    Row("1,000 open TLS streams: memory", "still-1000-tls", "memory_mb", "acytoo", "aiohttp", 0.7),
    Row("short streams, 1 at once: replies/s", "short-1", "replies_per_s", "acytoo", "aiohttp", 1.0, True),
    Row("short streams, 16 at once: replies/s", "short-16", "replies_per_s", "acytoo", "aiohttp", 1.0, True),
    Row("`import acytoo`, beside `import asyncio`", "import", "ms", "acytoo", "asyncio", 1.3),
    Row("`acytoo --version`, beside a bare click program", "version", "ms", "acytoo", "click", 2.0),
    Row("`acytoo --help`, beside a bare click program", "help", "ms", "acytoo", "click", 2.0),
    Row('`acytoo "…"` until the first text, beside llama.cpp alone', "embedded", "s", "acytoo", "llama.cpp", 1.3),
    *_gateway("cross", "Anthropic in, OpenAI out"),
    *_gateway("through", "pass-through"),
    Row("base install: MB", "install", "mb", "acytoo", "aiohttp", 1.5),
    Row("base install: distributions", "install", "distributions", "acytoo", "aiohttp", 1.5),
]  # fmt: skip

BETTER_HIGHER = frozenset({"requests_per_s", "chunks_per_s", "replies_per_s"})


def medians(sweep: dict[str, list[dict[str, Any]]], figure: str) -> dict[str, float]:
    """The median of a figure for each contender that has it."""
    found = {}
    for contender, rounds in sweep.items():
        values = [r[figure] for r in rounds if r.get(figure) is not None]
        if values:
            found[contender] = statistics.median(values)
    return found


def measured(row: Row, results: dict[str, Any]) -> Measured | None:
    """The row as measured, None where it was not or was refused."""
    sweep = results["sweeps"].get(row.sweep, {})
    middle = medians(sweep, row.figure)
    if row.subject not in middle or not middle.get(row.baseline):
        return None
    pairs = zip(sweep[row.subject], sweep[row.baseline], strict=False)
    ratios = [a[row.figure] / b[row.figure] for a, b in pairs if a.get(row.figure) and b.get(row.figure)]
    subject, baseline = middle[row.subject], middle[row.baseline]
    return Measured(row, subject, baseline, subject / baseline, min(ratios), max(ratios))
