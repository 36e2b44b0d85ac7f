"""The tables and plots of `docs/performance.md`, made from the results."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bench.contenders import CLIENTS, GATEWAYS, PEER_GATEWAYS
from bench.peers import UNAVAILABLE
from bench.plots import bars, lines
from bench.record import RESULTS, Record, Taken
from bench.table import BETTER_HIGHER, KEPT_UP, ROWS, TUNED, Row, measured

DOCS = Path(__file__).parent.parent / "docs"
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


def write() -> None:
    """Put every table into its place in the documents, and the plots beside them."""
    record = Record("latest")
    parts = {
        "machine": _machines(record),
        "table": _table(ROWS, record, "to reach"),
        "tuned": _table(TUNED, record, ""),
        "peers": _peers(record),
        "gateways": _gateways(record),
        "ahead": _ahead(record),
        "short": _short(record),
    }
    for name, made in (("growth", _growth), ("layers", _layers)):
        path = RESULTS / f"{name}.json"
        if path.exists():
            found = json.loads(path.read_text())
            machine = found.pop("machine")
            parts[name] = f"{made(found)}\n\n{_on(machine)}"
            if name == "growth":
                _growth_plots(found)
    _plots(record)
    for document in (DOCS / "performance.md", DOCS.parent / "README.md"):
        text = document.read_text()
        for name, part in parts.items():
            begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            if rest:
                text = f"{before}{begin}\n{part}\n{end}{after}"
        document.write_text(text)


def _machines(record: Record) -> str:
    """Where and when, once for each machine and commit that sweeps were taken on."""
    found: dict[str, list[str]] = {}
    for name, taken in record.sweeps.items():
        found.setdefault(_same(taken.machine), []).append(name)
    if len(found) == 1:
        return f"{next(iter(found))} {_busy(record)} {_rounds(record)}"
    listed = [f"- {', '.join(names)}: {machine}" for machine, names in found.items()]
    return "\n".join([*listed, "", f"{_busy(record)} {_rounds(record)}"])


def _same(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    return (
        f"{machine['when'][:10]}, commit {machine['commit']}, {machine['cores']} shared cores "
        f"({machine['processor']}), "
        f"CPython {machine['python']}, {versions}."
    )


def _on(machine: dict[str, Any]) -> str:
    return f"Taken on {_same(machine)} Others used {machine['busy'] or 0:.1%} of the processors when it began."


def _busy(record: Record) -> str:
    shares = [taken.machine["busy"] or 0.0 for taken in record.sweeps.values()]
    return f"Others used {min(shares):.1%} to {max(shares):.1%} of the processors when the sweeps began."


def _rounds(record: Record) -> str:
    """How often they took their turns; not every sweep need have been run as often."""

    def times(peers: bool) -> str:
        found = {
            len(rounds)
            for name, taken in record.sweeps.items()
            for contender, rounds in taken.contenders.items()
            if name != "install" and (contender in record.pins or contender == "nginx") == peers
        }
        return f"{min(found)} to {max(found)}" if len(found) > 1 else str(min(found, default=0))

    return f"Rounds: {times(False)}; of the peers: {times(True)}."


def _table(rows: list[Row], record: Record, reach: str) -> str:
    last = f" {reach} | |" if reach else ""
    out = [
        f"| what | Acytoo | baseline | ratio (rounds) |{last}",
        "| --- | ---: | ---: | ---: |" + " ---: | --- |" * bool(reach),
    ]
    for row in rows:
        found = measured(row, record)
        wanted = f" {'≥' if row.higher else '≤'} {row.reach} × |" if reach else ""
        if found is None:
            taken = record.sweeps.get(row.sweep)
            out.append(f"| {row.what} | | | {_why_not(row, taken)} |{wanted}{' |' * bool(reach)}")
            continue
        ratios = f"**{found.ratio:.2f} ×** ({min(found.ratios):.2f}–{max(found.ratios):.2f})"
        verdict = f" {found.verdict} |" if reach else ""
        out.append(
            f"| {row.what} | {_number(found.subject, row.figure)} | {_number(found.baseline, row.figure)} | "
            f"{ratios} |{wanted}{verdict}"
        )
    return "\n".join(out)


def _why_not(row: Row, taken: Taken | None) -> str:
    if taken is None:
        return "not measured"
    for name in (row.subject, row.baseline):
        if name in taken.refused:
            return f"{name}: {taken.refused[name][:120]}"
        if taken.kept_up(name) < KEPT_UP:
            return f"{name} kept up with {taken.kept_up(name):.0%} only"
    return "not measured"


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
    ("CPU until the first reply", "once", "ms"),
    ("installed", "install", "mb"),
    ("distributions", "install", "distributions"),
)


def _peers(record: Record) -> str:
    return _matrix(record, ["aiohttp", "aiohttp-tuned", "acytoo", *CLIENTS], _CLIENT_COLUMNS)


_GATEWAY_COLUMNS = (
    ("requests/s at 1", "gateway-1", "requests_per_s"),
    ("requests/s at 64", "gateway-64", "requests_per_s"),
    ("CPU a request at 64", "gateway-64", "cpu_us"),
    ("SSE chunks/s, burst", "gateway-burst", "chunks_per_s"),
    ("500 paced, p99 added", "gateway-500", "p99_ms"),
    ("500 paced, CPU a chunk", "gateway-500", "cpu_us"),
)
_PEER_GATEWAYS = [*PEER_GATEWAYS, *UNAVAILABLE]


def _gateways(record: Record) -> str:
    return _matrix(record, [*GATEWAYS, *_PEER_GATEWAYS], _GATEWAY_COLUMNS)


def _ahead(record: Record) -> str:
    """How often we are as good as each peer's gateway, where it takes and asks in the same API."""
    columns = [column for column in _GATEWAY_COLUMNS if column[2] != "cpu_us"]
    out = ["| Acytoo beside | " + " | ".join(title for title, _, _ in columns) + " |"]
    out.append("| --- |" + " ---: |" * len(columns))
    for peer in _PEER_GATEWAYS:
        cells = []
        for _, sweep, figure in columns:
            higher = figure in BETTER_HIGHER
            found = measured(Row("", sweep, figure, "acytoo-through", peer, 1.0, higher), record)
            behind = found is not None and found.verdict != "reached"
            cells.append("" if found is None else f"{'**behind:** ' * behind}{found.ratio:.3g} ×")
        out.append(f"| {_label(peer, record)} | {' | '.join(cells)} |")
    return "\n".join(out)


_SHORT = (
    ("CPU for each chunk of a burst", "burst", "cpu_us"),
    ("200 paced streams: added to a chunk, p99", "paced-200", "p99_ms"),
    ("200 paced streams: memory", "paced-200", "memory_mb"),
    ("replies of ten chunks, 16 at once", "short-16", "replies_per_s"),
    ("import", "import", "ms"),
    ("a whole program until its first reply: CPU", "once", "ms"),
    ("installed", "install", "mb"),
)


def _short(record: Record) -> str:
    """The README's table."""
    names = ["acytoo", "aiohttp", "openai", "pydantic-ai", "litellm"]
    titles = ["**Acytoo**", "aiohttp by hand", "openai", "pydantic-ai", "litellm"]
    out = ["| | " + " | ".join(titles) + " |", "| --- |" + " ---: |" * len(names)]
    for title, sweep, figure in _SHORT:
        taken = record.sweeps.get(sweep)
        middle = taken.medians(figure) if taken else {}
        cells = [_number(middle[name], figure) if name in middle else "" for name in names]
        out.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(out)


def _label(name: str, record: Record) -> str:
    return f"**{name}**" if name.startswith("acytoo") else " ".join(record.pins.get(name, [name]))


def _matrix(record: Record, names: list[str], columns: tuple[tuple[str, str, str], ...]) -> str:
    out = ["| | " + " | ".join(title for title, _, _ in columns) + " |", "| --- |" + " ---: |" * len(columns)]
    told: dict[str, None] = {}
    for name in names:
        cells = []
        for _, sweep, figure in columns:
            taken = record.sweeps.get(sweep, Taken({}))
            middle = taken.medians(figure)
            if name in middle:
                late = "" if taken.kept_up(name) >= KEPT_UP else f" ({taken.kept_up(name):.0%} came)"
                cells.append(_number(middle[name], figure) + late)
            else:
                cells.append("failed" if name in taken.refused else "")
            if name in taken.refused:
                told[f"- {sweep}, {name}: {' '.join(taken.refused[name].split())[:200]}"] = None
        if name in record.missing and not any(cells):
            told[f"- {name} could not be measured: {record.missing[name]}"] = None
        out.append(f"| {_label(name, record)} | {' | '.join(cells)} |")
    return "\n".join(out + (["", "Failed, refused or missing:", "", *told] if told else []))


_GROWTH = {
    "chunks": ("chunks in a reply", "ms of CPU for the reply"),
    "size": ("characters in each of 2,000 chunks", "ms of CPU for the reply"),
    "streams": ("streams, two chunks a second each", "ms of CPU a second"),
    "history": ("messages", "ms to check and compose the request"),
    "providers": ("providers known", "ms to find and make one"),
}


def _growth(growth: dict[str, Any]) -> str:
    out = ["| with | from → to | cost from → to | grows as n to the power of | |", "| --- | --- | --- | ---: | --- |"]
    for name, (across, up) in _GROWTH.items():
        points = [(x, y) for x, y in growth[name]["acytoo"]]
        power = _power(points)
        out.append(
            f"| {across} | {points[0][0]:,} → {points[-1][0]:,} | {points[0][1]:.3g} → {points[-1][1]:.3g} {up} | "
            f"{power:.2f} | {'linear or better' if power <= 1.05 else '**worse than linear**'} |"
        )
    return "\n".join(out)


def _power(points: list[tuple[float, float]]) -> float:
    """The steepest power between one point and the last that is ten times as far; what is fixed hides it below."""
    x1, y1 = points[-1]
    x0, y0 = max((p for p in points if p[0] * 10 <= x1), key=lambda point: point[0])
    return math.log(y1 / y0) / math.log(x1 / x0)


def _layers(layers: dict[str, Any]) -> str:
    out = ["| layer | " + " | ".join(layers) + " |", "| --- |" + " ---: |" * len(layers)]
    names = sorted({name for shares in layers.values() for name in shares}, key=lambda n: -layers["burst"].get(n, 0))
    out += [
        f"| {name} | " + " | ".join(f"{shares.get(name, 0):.0%}" for shares in layers.values()) + " |" for name in names
    ]
    return "\n".join(out)


def _plots(record: Record) -> None:
    for sweep, figure, title in (
        ("burst", "cpu_us", "CPU for each chunk of a burst"),
        ("paced-200", "cpu_us", "CPU for each chunk of 200 paced streams"),
        ("import", "ms", "Import"),
        ("gateway-64", "cpu_us", "Gateways: CPU for each short streamed request"),
    ):
        values = record.sweeps[sweep].medians(figure) if sweep in record.sweeps else {}
        if values:
            better = "more is better" if figure in BETTER_HIGHER else "less is better"
            (DOCS / f"performance-{sweep}.svg").write_text(bars(title, f"{_UNITS[figure]}, {better}", values))


def _growth_plots(growth: dict[str, Any]) -> None:
    for name, (across, up) in _GROWTH.items():
        series = {who: [(x, y) for x, y in points] for who, points in growth[name].items()}
        (DOCS / f"performance-growth-{name}.svg").write_text(lines(f"Growth: {across}", across, up, series))
