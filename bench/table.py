"""The rows of the tables: what is compared with what, and the target."""

from __future__ import annotations

from dataclasses import dataclass

from bench.peers import PEER_GATEWAYS

GATEWAYS = ["bare-cross", "acytoo-cross", "bare-cross-tuned", "bare-through", "acytoo-through", "bare-through-tuned"]
HIGHER_IS_BETTER = frozenset({"requests_per_s", "chunks_per_s", "replies_per_s"})


@dataclass(frozen=True)
class Row:
    """A ratio, `subject` over `baseline`, of one figure of a sweep; `target` is None if nothing is to be reached."""

    title: str
    sweep: str
    figure: str
    subject: str
    baseline: str
    target: float | None

    def reaches(self, ratio: float) -> bool:
        """Whether the ratio is on the right side of the target."""
        assert self.target is not None
        return ratio >= self.target if self.figure in HIGHER_IS_BETTER else ratio <= self.target


def _paced(streams: int) -> list[Row]:
    sweep, title = f"paced-{streams}", f"{streams:,} paced streams"
    return [
        Row(f"{title}: CPU a chunk", sweep, "cpu_us", "acytoo", "aiohttp", 0.75),
        Row(f"{title}: p50 added", sweep, "p50_ms", "acytoo", "aiohttp", 0.8),
        Row(f"{title}: p99 added", sweep, "p99_ms", "acytoo", "aiohttp", 1.0),
        Row(f"{title}: CPU a chunk, uvloop", sweep, "cpu_us", "acytoo+uvloop", "aiohttp", 0.6),
    ]


def _paced_tuned(streams: int) -> list[Row]:
    sweep, title = f"paced-{streams}", f"{streams:,} paced streams"
    figures = (("CPU a chunk", "cpu_us"), ("p50 added", "p50_ms"), ("p99 added", "p99_ms"), ("memory", "memory_mb"))
    return [
        Row(f"{title}: {what}{loop.replace('+', ', ')}", sweep, figure, f"acytoo{loop}", f"aiohttp-tuned{loop}", None)
        for loop in ("", "+uvloop")
        for what, figure in figures
    ]


_GATEWAY_FIGURES = (
    ("requests/s at 1", "gateway-1", "requests_per_s"),
    ("requests/s at 64", "gateway-64", "requests_per_s"),
    ("SSE chunks/s in a burst", "gateway-burst", "chunks_per_s"),
    ("p99 added at 500 paced streams", "gateway-500", "p99_ms"),
)


def _gateways(suffix: str, targets: tuple[float | None, float | None]) -> list[Row]:
    """Return the rows beside a bare gateway; the targets are those of rates and of delays."""
    rate, delay = targets
    return [
        Row(f"gateway, {title}: {what}", sweep, figure, f"acytoo-{kind}", f"bare-{kind}{suffix}",
            rate if figure in HIGHER_IS_BETTER else delay)
        for kind, title in (("cross", "Anthropic in, OpenAI out"), ("through", "pass-through"))
        for what, sweep, figure in _GATEWAY_FIGURES
    ]  # fmt: skip


ROWS = [
    Row("OpenAI SSE burst: CPU a chunk", "burst", "cpu_us", "acytoo", "aiohttp", 0.9),
    Row("raw text burst: CPU a chunk", "burst-raw", "cpu_us", "acytoo-raw", "aiohttp-raw", 1.0),
    Row("`stream()`, tools and usage: CPU a chunk", "burst-tools", "cpu_us", "acytoo-stream", "aiohttp-tools", 1.1),
    *_paced(200),
    *_paced(1000),
    Row("1,000 open streams, silent: memory", "still-1000", "memory_mb", "acytoo", "aiohttp", 1.05),
    Row("1,000 open streams, paced: memory", "paced-1000", "memory_mb", "acytoo", "aiohttp", 1.05),
    Row("1,000 open TLS streams, silent: memory", "still-1000-tls", "memory_mb", "acytoo", "aiohttp", 0.7),
    Row("short streams, 1 at once: replies/s", "short-1", "replies_per_s", "acytoo", "aiohttp", 1.0),
    Row("short streams, 16 at once: replies/s", "short-16", "replies_per_s", "acytoo", "aiohttp", 1.0),
    Row("`import acytoo`, beside `import asyncio`", "import", "ms", "acytoo", "asyncio", 1.3),
    Row("`acytoo --version`, beside a bare click program", "version", "ms", "acytoo", "click", 2.0),
    Row("`acytoo --help`, beside a bare click program", "help", "ms", "acytoo", "click", 2.0),
    Row('`acytoo "…"` until the first text, beside llama.cpp alone', "embedded", "s", "acytoo", "llama.cpp", 1.3),
    *_gateways("", (0.8, 1.25)),
    Row("base install: MB", "install", "mb", "acytoo", "aiohttp", 1.5),
    Row("base install: distributions", "install", "distributions", "acytoo", "aiohttp", 1.5),
]
TUNED = [
    Row("OpenAI SSE burst: CPU a chunk", "burst", "cpu_us", "acytoo", "aiohttp-tuned", None),
    *_paced_tuned(200),
    *_paced_tuned(1000),
    Row("short streams, 1 at once: replies/s", "short-1", "replies_per_s", "acytoo", "aiohttp-tuned", None),
    Row("short streams, 16 at once: replies/s", "short-16", "replies_per_s", "acytoo", "aiohttp-tuned", None),
    *_gateways("-tuned", (None, None)),
    Row('`acytoo "…"` until the first text, beside llama.cpp on every core', "embedded", "s", "acytoo",
        "llama.cpp, every core", None),
]  # fmt: skip
"""Rows beside a baseline that is tuned as we are."""

PEER_ROWS = [
    Row("", sweep, figure, "acytoo-through", peer, 1.0)
    for peer in PEER_GATEWAYS
    for _, sweep, figure in _GATEWAY_FIGURES
]
"""Our gateway beside each peer's."""
