"""The tables and plots of `docs/performance.md` and of the README, made from the committed summaries."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bench.peers import CLIENTS, FAST_GATEWAYS, PEER_GATEWAYS
from bench.plots import bars, lines
from bench.record import MIN_KEPT_UP, RESULTS, Record, Summary
from bench.table import BATCH_ROWS, BATCH_SWEEPS, GATEWAY_FIGURES, GATEWAYS, HIGHER_IS_BETTER, ROWS, TUNED, Row

Column = tuple[str, str, str]
"""A title, a sweep, a figure."""

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
    "rows_per_s": "/s",
    "cpu_ms": "ms",
}


def write() -> None:
    """Write every table between its markers, and the plots beside the document."""
    record = Record("latest")
    parts = {
        "machine": _machines(record),
        "table": _comparisons(ROWS, record),
        "tuned": _comparisons(TUNED, record),
        "peers": _matrix(record, ["aiohttp", "aiohttp-tuned", "acytoo", *CLIENTS], _CLIENT_COLUMNS),
        "gateways": _matrix(record, [*GATEWAYS, *FAST_GATEWAYS, *PEER_GATEWAYS], GATEWAY_FIGURES),
        "ahead": _beside_peers(record),
        "short": _readme_table(record, *_README_CLIENTS),
        "short-gateways": _readme_table(record, *_README_GATEWAYS),
    }
    _plot(record)
    parts |= _batches(Record("batch"))
    for name, render in (("growth", _growth), ("layers", _layers)):
        result = json.loads((RESULTS / f"{name}.json").read_text())
        machine = result.pop("machine")
        busy = f"Others used {machine['busy'] or 0:.1%} of the processors when it began."
        parts[name] = f"{render(result)}\n\nTaken on {_machine(machine)} {busy}"
    for document in (DOCS / "performance.md", DOCS / "batch.md", DOCS.parent / "README.md"):
        text = document.read_text()
        for name, part in parts.items():
            begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
            before, _, rest = text.partition(begin)
            if rest:
                text = f"{before}{begin}\n{part}\n{end}{rest.partition(end)[2]}"
        document.write_text(text)


def _markdown(titles: list[str], rows: list[list[str]], alignments: str = "") -> str:
    """Return a table; `alignments` has a letter a column, "l" or "r", by default "lrr…r"."""
    alignments = alignments or "l" + "r" * (len(titles) - 1)
    rules = ["---:" if letter == "r" else "---" for letter in alignments]
    head, *body = [f"| {' | '.join(cells)} |" for cells in [titles, rules, *rows]]
    return "\n".join([head.replace("|  |", "| |"), *body])


def _machines(record: Record) -> str:
    """Return where and when the sweeps ran, once for each machine and commit."""
    machines: dict[str, list[str]] = {}
    for name, sweep in record.sweeps.items():
        machines.setdefault(_machine(sweep.machine), []).append(name)
    # A size does not depend on what else the machine does.
    shares = [sweep.machine["busy"] or 0.0 for name, sweep in record.sweeps.items() if name != "install"]
    busy = f"Others used {min(shares):.1%} to {max(shares):.1%} of the processors when the sweeps began."
    rounds = f"Rounds: {_rounds(record, peers=False)}; of the peers: {_rounds(record, peers=True)}."
    if len(machines) == 1:
        return f"{next(iter(machines))} {busy} {rounds}"
    listed = [f"- {', '.join(names)}: {machine}" for machine, names in machines.items()]
    return "\n".join([*listed, "", f"{busy} {rounds}"])


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    prefix = f" in {machine['prefix']}" if "prefix" in machine else ""
    return (
        f"{machine['when'][:10]}, commit {machine['commit']}, {machine['cores']} shared cores "
        f"({machine['processor']}), CPython {machine['python']}{prefix}, {versions}."
    )


def _rounds(record: Record, *, peers: bool) -> str:
    """Return the number of rounds, or its range if sweeps differ."""
    numbers = {
        int(figures["rounds"])
        for name, sweep in record.sweeps.items()
        for contender, figures in sweep.contenders.items()
        if name != "install" and (contender in record.pins or contender == "nginx") == peers
    }
    return f"{min(numbers)} to {max(numbers)}" if len(numbers) > 1 else str(min(numbers, default=0))


def _comparisons(rows: list[Row], record: Record) -> str:
    """Return the table of these rows; those with a target have it and the verdict in two more columns."""
    with_targets = any(row.target is not None for row in rows)
    titles = ["what", "Acytoo", "baseline", "ratio (rounds)"] + (["to reach", ""] if with_targets else [])
    lines = []
    for row in rows:
        sweep = record.sweeps.get(row.sweep)
        result = sweep.compare(row) if sweep else None
        if result is None:
            cells = ["", "", _why_missing(row, sweep)]
        else:
            ratio = f"**{result.ratio:.2f} ×** ({min(result.ratios):.2f}–{max(result.ratios):.2f})"
            cells = [_number(result.subject, row.figure), _number(result.baseline, row.figure), ratio]
        if with_targets:
            cells.append(f"{'≥' if row.figure in HIGHER_IS_BETTER else '≤'} {row.target} ×")
            cells.append(result.verdict if result else "")
        lines.append([row.title, *cells])
    return _markdown(titles, lines, "lrrrrl" if with_targets else "")


def _why_missing(row: Row, sweep: Summary | None) -> str:
    for name in (row.subject, row.baseline):
        if sweep and name in sweep.refused:
            return f"{name}: {sweep.refused[name][:120]}"
        if sweep and sweep.kept_up(name) < MIN_KEPT_UP:
            return f"{name} kept up with {sweep.kept_up(name):.0%} only"
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


def _beside_peers(record: Record) -> str:
    """Return our pass-through gateway's ratios to each peer's, which takes and sends the same API."""
    columns = [column for column in GATEWAY_FIGURES if column[2] != "cpu_us"]
    rows = []
    for peer in [*FAST_GATEWAYS, *PEER_GATEWAYS]:
        cells = []
        for _, name, figure in columns:
            sweep = record.sweeps.get(name)
            result = sweep.compare(Row("", name, figure, "acytoo-through+uvloop", peer, 1.0)) if sweep else None
            behind = result is not None and result.verdict != "reached"
            cells.append("" if result is None else f"{'**behind:** ' * behind}{result.ratio:.3g} ×")
        rows.append([_label(peer, record), *cells])
    return _markdown(["Acytoo beside", *(title for title, _, _ in columns)], rows)


_README_CLIENTS = (
    {
        "acytoo": "**Acytoo**",
        "aiohttp": "aiohttp by hand",
        "openai": "openai",
        "pydantic-ai": "pydantic-ai",
        "litellm": "litellm",
    },
    (
        ("CPU for each chunk of a burst", "burst", "cpu_us"),
        ("200 paced streams: added to a chunk, p99", "paced-200", "p99_ms"),
        ("200 paced streams: memory", "paced-200", "memory_mb"),
        ("replies of ten chunks, 16 at once", "short-16", "replies_per_s"),
        ("import", "import", "ms"),
        ("a complete program until its first reply: CPU", "once", "ms"),
        ("installed", "install", "mb"),
    ),
)
_README_GATEWAYS = (
    {
        "acytoo-through+uvloop": "**Acytoo**",
        "tensorzero": "TensorZero",
        "ferrogw": "ferrogw",
        "portkey": "Portkey",
        "litellm": "LiteLLM",
    },
    (
        ("short requests, 64 at once", "gateway-64", "requests_per_s"),
        ("streamed replies of 22 chunks, 64 at once", "gateway-64-streamed", "requests_per_s"),
        ("a coding agent's request of 136 kB: CPU", "gateway-agent", "cpu_us"),
        ("50 paced streams: CPU for each chunk", "gateway-50", "cpu_us"),
    ),
)


def _readme_table(record: Record, names: dict[str, str], rows: tuple[Column, ...]) -> str:
    """Return the medians of the contenders that were measured: a row for each title, sweep and figure."""
    shown = [name for name in names if any(_cell(record, name, sweep, figure) for _, sweep, figure in rows)]
    cells = [[title, *(_cell(record, name, sweep, figure) for name in shown)] for title, sweep, figure in rows]
    return _markdown(["", *[names[name] for name in shown]], cells)


def _cell(record: Record, name: str, sweep: str, figure: str) -> str:
    """Return a median with its unit, "" if there is none."""
    value = record.sweeps[sweep].median(name, figure) if sweep in record.sweeps else None
    return "" if value is None else _number(value, figure)


def _label(name: str, record: Record) -> str:
    return f"**{name}**" if name.startswith("acytoo") else " ".join(record.pins.get(name, [name]))


def _matrix(record: Record, names: list[str], columns: tuple[Column, ...]) -> str:
    """Return the medians of these contenders, and below the reasons of what is missing."""
    rows = []
    reasons: dict[str, None] = {}
    for name in names:
        cells = []
        for _, sweep_name, figure in columns:
            sweep = record.sweeps.get(sweep_name, Summary({}))
            cell = _cell(record, name, sweep_name, figure)
            if cell and sweep.kept_up(name) < MIN_KEPT_UP:
                cell += f" ({sweep.kept_up(name):.0%} arrived)"
            if name in sweep.refused:
                cell = cell or "failed"
                reasons[f"- {sweep_name}, {name}: {' '.join(sweep.refused[name].split())[:200]}"] = None
            cells.append(cell)
        if name in record.missing and not any(cells):
            reasons[f"- {name} could not be measured: {record.missing[name]}"] = None
        rows.append([_label(name, record), *cells])
    table = _markdown(["", *(title for title, _, _ in columns)], rows)
    return "\n".join([table, *(["", "Failed, refused or missing:", "", *reasons] if reasons else [])])


_BATCH_FIGURES = ("rows_per_s", "cpu_ms", "memory_mb")


def _batches(record: Record) -> dict[str, str]:
    """Return the parts about batches, and write their plot. Without results there are none."""
    if not record.sweeps:
        return {}
    places = [
        (f"batch-{count}-{jobs}", name, f"{count:,}", str(jobs), _label(name, record).split()[0])
        for (count, jobs), peers in BATCH_SWEEPS.items()
        for name in ["acytoo", *peers]
    ]
    places += [
        ("batch-memory", name, name.removesuffix(" rows"), "500", "**acytoo**")
        for name in ("10,000 rows", "1,000,000 rows")
    ]
    places += [
        ("batch-ray", name, "40,000", f"100 × {name[0]}", f"**acytoo** on Ray, {name}")
        for name in ("1 worker", "2 workers")
    ]
    rows = [
        [*titles, *[_cell(record, name, sweep, figure) for figure in _BATCH_FIGURES]]
        for sweep, name, *titles in places
        if sweep in record.sweeps
    ]
    plots = [
        (f"Batches: CPU for each of {count:,} rows, {jobs} at once", record.sweeps[sweep].medians("cpu_ms"))
        for (count, jobs), peers in BATCH_SWEEPS.items()
        if peers and (sweep := f"batch-{count}-{jobs}") in record.sweeps
    ]
    plot = []
    if plots:
        title, values = plots[-1]
        (DOCS / "batch-cpu.svg").write_text(bars(title, "ms, less is better", values))
        plot = ["", f"![{title}](batch-cpu.svg)"]
    refused = [
        f"- {sweep}, {name}: {' '.join(reason.split())[:200]}"
        for sweep, summary in record.sweeps.items()
        for name, reason in summary.refused.items()
    ]
    table = _markdown(["rows", "at once", "", "rows/s", "CPU a row", "peak memory"], rows, "rrlrrr")
    return {
        "batch": "\n".join([table, *(["", "Failed or refused:", "", *refused] if refused else []), *plot]),
        "batch-targets": _comparisons([row for row in BATCH_ROWS if row.sweep in record.sweeps], record),
        "batch-machine": _machines(record),
    }


_GROWTH = {
    "chunks": ("chunks in a reply", "ms of CPU for the reply"),
    "size": ("characters in each of 2,000 chunks", "ms of CPU for the reply"),
    "streams": ("streams, two chunks a second each", "ms of CPU a second"),
    "history": ("messages", "ms to check and compose the request"),
    "providers": ("providers known", "ms to find and make one"),
}


def _growth(growth: dict[str, dict[str, list[tuple[float, float]]]]) -> str:
    """Return the table, and write a plot for each way to grow."""
    rows = []
    for name, (across, up) in _GROWTH.items():
        (DOCS / f"performance-growth-{name}.svg").write_text(lines(f"Growth: {across}", across, up, growth[name]))
        points = growth[name]["acytoo"]
        (x0, y0), (x1, y1) = points[0], points[-1]
        power = _power(points)
        verdict = "linear or better" if power <= 1.05 else "**worse than linear**"
        rows.append([across, f"{x0:,} → {x1:,}", f"{y0:.3g} → {y1:.3g} {up}", f"{power:.2f}", verdict])
    return _markdown(["with", "from → to", "cost from → to", "grows as n to the power of", ""], rows, "lllrl")


def _power(points: list[tuple[float, float]]) -> float:
    """Return the exponent between the last point and the one a tenth of it away; below, fixed costs hide growth."""
    x1, y1 = points[-1]
    x0, y0 = max((point for point in points if point[0] * 10 <= x1), key=lambda point: point[0])
    return math.log(y1 / y0) / math.log(x1 / x0)


def _layers(layers: dict[str, dict[str, float]]) -> str:
    names = sorted({name for shares in layers.values() for name in shares}, key=lambda n: -layers["burst"].get(n, 0))
    rows = [[name, *(f"{shares.get(name, 0):.0%}" for shares in layers.values())] for name in names]
    return _markdown(["layer", *layers], rows)


def _plot(record: Record) -> None:
    for sweep, figure, title in (
        ("burst", "cpu_us", "CPU for each chunk of a burst"),
        ("paced-200", "cpu_us", "CPU for each chunk of 200 paced streams"),
        ("import", "ms", "Import"),
        ("gateway-64", "cpu_us", "Gateways: CPU for each short request"),
    ):
        if values := record.sweeps[sweep].medians(figure) if sweep in record.sweeps else {}:
            (DOCS / f"performance-{sweep}.svg").write_text(bars(title, f"{_UNITS[figure]}, less is better", values))
