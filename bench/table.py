"""The rows of the tables: what is compared with what, what is to be reached, and what came out."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from bench.record import Record

KEPT_UP = 0.98
"""The share of what was sent that has to come within the time, for a paced figure to count."""


@dataclass(frozen=True)
class Row:
    """One ratio: `subject` over `baseline` in one figure of a sweep; `higher` where more is better."""

    what: str
    sweep: str
    figure: str
    subject: str
    baseline: str
    reach: float | None
    higher: bool = False


@dataclass(frozen=True)
class Measured:
    """A row with what came out: medians, and the ratio of each round in which both took their turn."""

    row: Row
    subject: float
    baseline: float
    ratios: list[float]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        """Whether the median is what was to be reached; in how many rounds, where they do not agree."""
        if self.row.reach is None:
            return ""
        good = [self._reaches(ratio) for ratio in self.ratios]
        word = "reached" if self._reaches(self.ratio) else "**not reached**"
        return word if all(good) or not any(good) else f"{word} ({good.count(True)} of {len(good)} rounds)"

    def _reaches(self, ratio: float) -> bool:
        assert self.row.reach is not None
        return ratio >= self.row.reach if self.row.higher else ratio <= self.row.reach


def _paced(streams: int) -> list[Row]:
    sweep, many = f"paced-{streams}", f"{streams:,} paced streams"
    return [
        Row(f"{many}: CPU a chunk", sweep, "cpu_us", "acytoo", "aiohttp", 0.75),
        Row(f"{many}: p50 added", sweep, "p50_ms", "acytoo", "aiohttp", 0.8),
        Row(f"{many}: p99 added", sweep, "p99_ms", "acytoo", "aiohttp", 1.0),
        Row(f"{many}: CPU a chunk, uvloop", sweep, "cpu_us", "acytoo+uvloop", "aiohttp", 0.6),
    ]


def _gateway(kind: str, what: str) -> list[Row]:
    ours, bare = f"acytoo-{kind}", f"bare-{kind}"
    return [
        Row(f"gateway, {what}: requests/s at 1", "gateway-1", "requests_per_s", ours, bare, 0.8, True),
        Row(f"gateway, {what}: requests/s at 64", "gateway-64", "requests_per_s", ours, bare, 0.8, True),
        Row(f"gateway, {what}: SSE chunks/s in a burst", "gateway-burst", "chunks_per_s", ours, bare, 0.8, True),
        Row(f"gateway, {what}: p99 added at 500 paced streams", "gateway-500", "p99_ms", ours, bare, 1.25),
    ]


ROWS = [
    Row("OpenAI SSE burst: CPU a chunk", "burst", "cpu_us", "acytoo", "aiohttp", 0.9),
    Row("raw text burst: CPU a chunk", "burst-raw", "cpu_us", "acytoo-raw", "aiohttp-raw", 1.0),
    Row("`stream()`, tools and usage: CPU a chunk", "burst-tools", "cpu_us", "acytoo-stream", "aiohttp-tools", 1.1),
    *_paced(200),
    *_paced(1000),
    Row("1,000 open streams, silent: memory", "still-1000", "memory_mb", "acytoo", "aiohttp", 1.05),
    Row("1,000 open streams, paced: memory", "paced-1000", "memory_mb", "acytoo", "aiohttp", 1.05),
    Row("1,000 open TLS streams, silent: memory", "still-1000-tls", "memory_mb", "acytoo", "aiohttp", 0.7),
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


def _beside_tuned(streams: int) -> list[Row]:
    sweep, many = f"paced-{streams}", f"{streams:,} paced streams"
    figures = (("CPU a chunk", "cpu_us"), ("p50 added", "p50_ms"), ("p99 added", "p99_ms"), ("memory", "memory_mb"))
    return [
        Row(f"{many}: {what}{loop.replace('+', ', ')}", sweep, figure, f"acytoo{loop}", f"aiohttp-tuned{loop}", None)
        for loop in ("", "+uvloop")
        for what, figure in figures
    ]


TUNED = [
    Row("OpenAI SSE burst: CPU a chunk", "burst", "cpu_us", "acytoo", "aiohttp-tuned", None),
    *_beside_tuned(200),
    *_beside_tuned(1000),
    Row("short streams, 1 at once: replies/s", "short-1", "replies_per_s", "acytoo", "aiohttp-tuned", None, True),
    Row("short streams, 16 at once: replies/s", "short-16", "replies_per_s", "acytoo", "aiohttp-tuned", None, True),
    *[
        Row(what, sweep, figure, f"acytoo-{kind}", f"bare-{kind}-tuned", None, figure != "p99_ms")
        for kind, named in (("cross", "Anthropic in, OpenAI out"), ("through", "pass-through"))
        for what, sweep, figure in (
            (f"gateway, {named}: requests/s at 1", "gateway-1", "requests_per_s"),
            (f"gateway, {named}: requests/s at 64", "gateway-64", "requests_per_s"),
            (f"gateway, {named}: SSE chunks/s in a burst", "gateway-burst", "chunks_per_s"),
            (f"gateway, {named}: p99 added at 500 paced streams", "gateway-500", "p99_ms"),
        )
    ],
    Row('`acytoo "…"` until the first text, beside llama.cpp on every core', "embedded", "s", "acytoo",
        "llama.cpp, every core", None),
]  # fmt: skip
"""What is compared with a baseline that was tuned as we are; nothing was to be reached there."""

BETTER_HIGHER = frozenset({"requests_per_s", "chunks_per_s", "replies_per_s"})


def measured(row: Row, record: Record) -> Measured | None:
    """The row as measured, None where it was not, or one of the two did not keep up."""
    sweep = record.sweeps.get(row.sweep)
    if sweep is None or min(sweep.kept_up(row.subject), sweep.kept_up(row.baseline)) < KEPT_UP:
        return None
    pairs = zip(sweep.values(row.subject, row.figure), sweep.values(row.baseline, row.figure), strict=False)
    ratios = [ours / theirs for ours, theirs in pairs if ours is not None and theirs]
    if not ratios:
        return None
    middle = sweep.medians(row.figure)
    return Measured(row, middle[row.subject], middle[row.baseline], ratios)
