"""The rows of the tables: what is compared with what, and the target."""

from __future__ import annotations

from dataclasses import dataclass

from bench.peers import FAST_GATEWAYS, PEER_GATEWAYS

GATEWAYS = [
    "acytoo-through+uvloop",
    "bare-through+uvloop",
    "acytoo-cross+uvloop",
    "bare-cross+uvloop",
    "acytoo-team+uvloop",
    "acytoo-through",
    "bare-through",
    "bare-cross",
]
"""Ours, and the bare ones; on uvloop, or on asyncio without a suffix."""

HIGHER_IS_BETTER = frozenset({"requests_per_s", "chunks_per_s", "replies_per_s", "rows_per_s"})


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


_KINDS = (("through", "pass-through"), ("cross", "Anthropic in, OpenAI out"))


def _gateways() -> list[Row]:
    """Return the rows of the gateways, ours on uvloop beside the fast peers and the bare gateway on uvloop."""
    rows = []
    for kind, title in _KINDS:
        ours, bare = f"acytoo-{kind}+uvloop", f"bare-{kind}+uvloop"
        at_64 = f"gateway, {title}: requests/s at 64, beside"
        rows += [
            Row(f"{at_64} TensorZero", "gateway-64", "requests_per_s", ours, "tensorzero", 1.6),
            Row(f"{at_64} ferrogw", "gateway-64", "requests_per_s", ours, "ferrogw", 1.6),
            Row(f"{at_64} bare aiohttp", "gateway-64", "requests_per_s", ours, bare, 1.0),
            Row(f"gateway, {title}: CPU a request at 64", "gateway-64", "cpu_us", ours, bare, 1.1),
        ]
        for peer, name in (("TensorZero", "tensorzero"), ("ferrogw", "ferrogw")):
            beside = f"gateway, {title}: a coding agent's request, CPU, beside {peer}"
            rows.append(Row(beside, "gateway-agent", "cpu_us", ours, name, 0.6))
        if kind == "through":
            beside = f"gateway, {title}: requests/s at 1, beside TensorZero"
            rows.append(Row(beside, "gateway-1", "requests_per_s", ours, "tensorzero", 1.2))
        for streams in (50, 500):
            sweep, what = f"gateway-{streams}", f"gateway, {title}: {streams} paced streams"
            rows += [
                Row(f"{what}, CPU a chunk", sweep, "cpu_us", ours, bare, 0.75),
                Row(f"{what}, p99 added", sweep, "p99_ms", ours, bare, 1.0),
            ]
    team, plain = "acytoo-team+uvloop", "acytoo-through+uvloop"
    beside = "gateway with keys, limits, ledger and metrics: requests/s at"
    return [
        *rows,
        Row(f"{beside} 64, beside without", "gateway-64", "requests_per_s", team, plain, 0.75),
        Row(f"{beside} 1, beside without", "gateway-1", "requests_per_s", team, plain, 0.75),
        Row(f"{beside} 8, of coding agents, beside without", "gateway-agent", "requests_per_s", team, plain, 0.75),
        Row("the same, 50 paced streams: CPU a chunk", "gateway-50", "cpu_us", team, plain, 1.0),
    ]


GATEWAY_FIGURES = (
    ("requests/s at 1", "gateway-1", "requests_per_s"),
    ("requests/s at 64", "gateway-64", "requests_per_s"),
    ("CPU a request at 64", "gateway-64", "cpu_us"),
    ("streamed replies/s at 64", "gateway-64-streamed", "requests_per_s"),
    ("requests/s of coding agents", "gateway-agent", "requests_per_s"),
    ("CPU a request of a coding agent", "gateway-agent", "cpu_us"),
    ("SSE chunks/s, burst", "gateway-burst", "chunks_per_s"),
    ("CPU a chunk, burst", "gateway-burst", "cpu_us"),
    ("50 paced, p99 added", "gateway-50", "p99_ms"),
    ("50 paced, CPU a chunk", "gateway-50", "cpu_us"),
    ("500 paced, p99 added", "gateway-500", "p99_ms"),
    ("500 paced, CPU a chunk", "gateway-500", "cpu_us"),
)
"""What is compared of gateways: a title, a sweep, a figure."""


ROWS = [
    Row("OpenAI SSE burst: CPU a chunk", "burst", "cpu_us", "acytoo", "aiohttp", 0.9),
    Row("raw text burst: CPU a chunk", "burst-raw", "cpu_us", "acytoo-raw", "aiohttp-raw", 1.0),
    Row("`stream()`, tools and usage: CPU a chunk", "burst-tools", "cpu_us", "acytoo-stream", "aiohttp-tools", 1.1),
    *_paced(200),
    *_paced(1000),
    Row("1,000 open streams, silent: memory", "still-1000", "memory_mb", "acytoo", "aiohttp", 1.05),
    Row("1,000 open streams, paced: memory", "paced-1000", "memory_mb", "acytoo", "aiohttp", 1.05),
    Row("1,000 open TLS streams, silent: memory", "still-1000-tls", "memory_mb", "acytoo", "aiohttp", 0.7),
    Row("short streams, 1 at once: replies/s", "short-1", "replies_per_s", "acytoo", "aiohttp", 1.8),
    Row("short streams, 16 at once: replies/s", "short-16", "replies_per_s", "acytoo", "aiohttp", 1.8),
    Row("`import acytoo`, beside `import asyncio`", "import", "ms", "acytoo", "asyncio", 1.3),
    Row("imports of a first call, beside those of Acytoo on aiohttp", "import", "ms", "acytoo-call",
        "acytoo-call-on-aiohttp", 0.3),
    Row("a program until its first reply: CPU, beside Acytoo on aiohttp", "once", "ms", "acytoo",
        "acytoo-on-aiohttp", 0.4),
    Row("`acytoo --version`, beside a bare click program", "version", "ms", "acytoo", "click", 2.0),
    Row("`acytoo --help`, beside a bare click program", "help", "ms", "acytoo", "click", 2.0),
    Row('`acytoo "…"` until the first text, beside llama.cpp alone', "embedded", "s", "acytoo", "llama.cpp", 1.3),
    *_gateways(),
    Row("base install: MB", "install", "mb", "acytoo", "aiohttp", 1.5),
    Row("base install: distributions", "install", "distributions", "acytoo", "aiohttp", 1.5),
]  # fmt: skip
TUNED = [
    Row("OpenAI SSE burst: CPU a chunk", "burst", "cpu_us", "acytoo", "aiohttp-tuned", None),
    *_paced_tuned(200),
    *_paced_tuned(1000),
    Row("short streams, 1 at once: replies/s", "short-1", "replies_per_s", "acytoo", "aiohttp-tuned", None),
    Row("short streams, 16 at once: replies/s", "short-16", "replies_per_s", "acytoo", "aiohttp-tuned", None),
    *[
        Row(f"gateway, {title}: {what}, asyncio", sweep, figure, f"acytoo-{kind}", f"bare-{kind}", None)
        for kind, title in _KINDS[:1]
        for what, sweep, figure in GATEWAY_FIGURES
    ],
    Row('`acytoo "…"` until the first text, beside llama.cpp on every core', "embedded", "s", "acytoo",
        "llama.cpp, every core", None),
]  # fmt: skip
"""Rows beside a baseline that is tuned as we are, and of our gateway on asyncio. They have no target."""

PEER_ROWS = [
    Row("", sweep, figure, "acytoo-through+uvloop", peer, 1.0)
    for peer in [*FAST_GATEWAYS, *PEER_GATEWAYS]
    for _, sweep, figure in GATEWAY_FIGURES
]
"""Our gateway beside each peer's."""

_LOOPS = ["openai", "async-batch-llm"]
BATCH_SWEEPS = {
    (1_000, 1): [],
    (1_000, 50): [*_LOOPS, "litellm"],
    (10_000, 50): ["litellm", "ray"],
    (10_000, 500): _LOOPS,
    (100_000, 50): _LOOPS,
    (100_000, 500): [],
}
"""How many rows and requests at once batches are measured with, and beside which peers.

All of it takes half an hour. litellm and Ray Data's HTTP processor would take hours for 100,000 rows: the first has a
thread for each request, the second sends the requests of a batch one after another.
"""

BATCH_ROWS = [
    *[
        Row(
            f"{rows:,} rows, {jobs} at once: CPU a row, beside {peer}",
            f"batch-{rows}-{jobs}",
            "cpu_ms",
            "acytoo",
            peer,
            0.2,
        )
        for (rows, jobs), peers in BATCH_SWEEPS.items()
        for peer in peers
    ],
    Row(
        "1,000,000 rows: peak memory, beside 10,000", "batch-memory", "memory_mb", "1,000,000 rows", "10,000 rows", 1.1
    ),
    Row("2 workers on Ray: rows/s, beside 1", "batch-ray", "rows_per_s", "2 workers", "1 worker", 1.7),
]
