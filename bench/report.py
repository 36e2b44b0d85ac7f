"""The tables and plots of `docs/performance.md`, made from the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.plots import bars, lines
from bench.table import BETTER_HIGHER, ROWS, Measured, measured, medians

DOCS = Path(__file__).parent.parent / "docs"
_PEERS = ("httpx", "g4f", "openai", "any-llm-sdk", "langchain-openai", "litellm")
_UNITS = {
    "cpu_us": "µs",
    "p50_ms": "ms",
    "p99_ms": "ms",
    "memory_mb": "MB",
    "ms": "ms",
    "s": "s",
    "mb": "MB",
    "distributions": "",
    "requests_per_s": "/s",
    "replies_per_s": "/s",
    "chunks_per_s": "/s",
}


def write(results: Path) -> None:
    """Put every table into its place in the document, and the plots beside it."""
    latest = json.loads((results / "latest.json").read_text())
    parts = {
        "machine": _machine(latest),
        "table": _table(latest),
        "peers": _peers(latest),
        "gateways": _gateways(latest),
    }
    growth = results / "growth.json"
    if growth.exists():
        parts["growth"] = _growth(json.loads(growth.read_text()))
    layers = results / "layers.json"
    if layers.exists():
        parts["layers"] = _layers(json.loads(layers.read_text()))
    _plots(latest, json.loads(growth.read_text()) if growth.exists() else None)
    path = DOCS / "performance.md"
    text = path.read_text()
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        if rest:
            text = f"{before}{begin}\n{part}\n{end}{after}"
    path.write_text(text)


def _machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    loads = [load for load in results["loads"].values() if load is not None]
    busy = (
        f"**The machine was busy with other work** (load {min(loads)} to {max(loads)} on {machine['cores']} cores when "
        "the sweeps began, their own share included): ratios of CPU hold roughly, times and rates hardly."
        if loads and max(loads) > 2.5
        else f"Load when the sweeps began: {min(loads)} to {max(loads)}, their own share included."
    )
    return (
        f"{machine['when']}, commit {machine['commit']}, {machine['cores']} shared cores ({machine['processor']}), "
        f"CPython {machine['python']}, {versions}; {_rounds(results)} rounds, one of each peer. {busy}"
    )


def _rounds(results: dict[str, Any]) -> str:
    """How often our own contenders took their turn; not every sweep need have been run as often."""
    found = {len(rounds) for sweep in results["sweeps"].values() for name, rounds in sweep.items() if "acytoo" in name}
    found -= {1}
    return f"{min(found)} to {max(found)}" if len(found) > 1 else str(min(found, default=1))


def _table(results: dict[str, Any]) -> str:
    lines_ = ["| what | Acytoo | baseline | ratio (rounds) | to reach | |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for row in ROWS:
        found = measured(row, results)
        sign = "≥" if row.higher else "≤"
        if found is None:
            why = results["refused"].get(row.sweep, {}).get(row.subject, "not measured")
            lines_.append(f"| {row.what} | | | | {sign} {row.reach} × | {why} |")
            continue
        lines_.append(
            f"| {row.what} | {_number(found.subject, row.figure)} | {_number(found.baseline, row.figure)} | "
            f"**{found.ratio:.2f} ×** ({found.low:.2f}–{found.high:.2f}) | {sign} {row.reach} × | {_verdict(found)} |"
        )
    return "\n".join(lines_)


def _verdict(found: Measured) -> str:
    if found.high > 2 * found.low:
        return "too noisy to tell"
    return "reached" if found.reached else "**not reached**"


def _number(value: float, figure: str) -> str:
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{shown} {_UNITS[figure]}".strip()


_CLIENT_COLUMNS = (
    ("burst, CPU a chunk", "burst", "cpu_us"),
    ("200 paced, CPU a chunk", "paced-200", "cpu_us"),
    ("200 paced, p99 added", "paced-200", "p99_ms"),
    ("200 paced, memory", "paced-200", "memory_mb"),
    ("short, 16 at once", "short-16", "replies_per_s"),
    ("import", "import", "ms"),
)


def _peers(results: dict[str, Any]) -> str:
    names = ["aiohttp", "aiohttp-tuned", "acytoo", *_PEERS]
    pins = {name: " ".join(pin) for name, pin in results["pins"].items()}
    return _matrix(results, names, _CLIENT_COLUMNS, "acytoo", pins)


_GATEWAY_COLUMNS = (
    ("requests/s at 1", "gateway-1", "requests_per_s"),
    ("requests/s at 64", "gateway-64", "requests_per_s"),
    ("CPU a request at 64", "gateway-64", "cpu_us"),
    ("SSE chunks/s, burst", "gateway-burst", "chunks_per_s"),
    ("500 paced, p99 added", "gateway-500", "p99_ms"),
    ("500 paced, CPU a chunk", "gateway-500", "cpu_us"),
)


def _gateways(results: dict[str, Any]) -> str:
    names = ["bare-cross", "acytoo-cross", "bare-through", "acytoo-through", "g4f", "litellm"]
    return _matrix(results, names, _GATEWAY_COLUMNS, "", {n: " ".join(results["pins"].get(n, ())) for n in names})


def _matrix(
    results: dict[str, Any],
    names: list[str],
    columns: tuple[tuple[str, str, str], ...],
    ours: str,
    pins: dict[str, str],
) -> str:
    out = ["| | " + " | ".join(title for title, _, _ in columns) + " |", "| --- |" + " ---: |" * len(columns)]
    found = [medians(results["sweeps"].get(sweep, {}), figure) for _, sweep, figure in columns]
    for name in names:
        if name in results["missing"]:
            out.append(f"| {pins.get(name) or name} | could not be installed: {results['missing'][name]} |")
            continue
        cells = []
        for (_, sweep, figure), values in zip(columns, found, strict=True):
            refused = results["refused"].get(sweep, {}).get(name)
            cells.append(_number(values[name], figure) if name in values else "failed" if refused else "")
        label = f"**{name}**" if name.startswith("acytoo") else pins.get(name) or name
        out.append(f"| {label} | {' | '.join(cells)} |")
    failures = [
        f"- {sweep}, {name}: {' '.join(why.split())[:200]}"
        for sweep, refused in results["refused"].items()
        for name, why in refused.items()
    ]
    named = [line for line in failures if any(f", {name}:" in line for name in names)]
    sweeps = {sweep for _, sweep, _ in columns}
    told = [line for line in named if line[2:].partition(",")[0] in sweeps]
    return "\n".join(out + (["", "Failed or refused:", "", *told] if told else []))


_GROWTH = {
    "chunks": ("chunks in a reply", "ms of CPU for the reply"),
    "size": ("characters in each of 2,000 chunks", "ms of CPU for the reply"),
    "streams": ("streams, two chunks a second each", "ms of CPU a second"),
    "history": ("messages", "ms to check and compose the request"),
    "providers": ("providers known", "ms to find and make one"),
}


def _growth(growth: dict[str, Any]) -> str:
    out = ["| with | from → to | cost from → to | grows as n to the power of |", "| --- | --- | --- | ---: |"]
    for name, (across, up) in _GROWTH.items():
        points = growth[name]["acytoo"]
        (x0, y0), (x1, y1) = points[-2], points[-1]
        out.append(
            f"| {across} | {points[0][0]:,} → {x1:,} | {points[0][1]:.3g} → {y1:.3g} {up} | "
            f"{_power(x0, y0, x1, y1):.2f} |"
        )
    return "\n".join(out)


def _power(x0: float, y0: float, x1: float, y1: float) -> float:
    import math

    return math.log(y1 / y0) / math.log(x1 / x0)


def _layers(layers: dict[str, Any]) -> str:
    out = ["| layer | " + " | ".join(layers) + " |", "| --- |" + " ---: |" * len(layers)]
    names = sorted({name for shares in layers.values() for name in shares}, key=lambda n: -layers["burst"].get(n, 0))
    out += [
        f"| {name} | " + " | ".join(f"{shares.get(name, 0):.0%}" for shares in layers.values()) + " |" for name in names
    ]
    return "\n".join(out)


def _plots(results: dict[str, Any], growth: dict[str, Any] | None) -> None:
    for sweep, figure, title in (
        ("burst", "cpu_us", "CPU for each chunk of a burst"),
        ("paced-200", "cpu_us", "CPU for each chunk of 200 paced streams"),
        ("import", "ms", "Import"),
        ("gateway-64", "cpu_us", "Gateways: CPU for each short streamed request"),
    ):
        values = medians(results["sweeps"].get(sweep, {}), figure)
        if values:
            better = "more is better" if figure in BETTER_HIGHER else "less is better"
            (DOCS / f"performance-{sweep}.svg").write_text(bars(title, f"{_UNITS[figure]}, {better}", values))
    for name, (across, up) in _GROWTH.items() if growth else ():
        assert growth is not None
        series = {who: [(x, y) for x, y in points] for who, points in growth[name].items()}
        (DOCS / f"performance-growth-{name}.svg").write_text(lines(f"Growth: {across}", across, up, series))
