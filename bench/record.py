"""Results: the raw samples of each round, and the summary of each sweep that is committed.

A run writes every sample to `results/raw/NAME.json`, which git ignores, and a summary of each sweep to
`results/NAME.json`: the machine, each contender's medians, and the ratio of each round for every row of the tables.
A ratio compares two samples of one round, so it cannot be computed from the medians. Reports read only summaries.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import machine
from bench.peers import PEERS, missing
from bench.table import BATCH_ROWS, PEER_ROWS, ROWS, TUNED, Row

RESULTS = Path(__file__).parent / "results"
MIN_KEPT_UP = 0.98
"""The share of the texts sent that must arrive in time for a paced figure to count."""

_UNSUMMARIZED = frozenset({"wall_s", "cpu_s", "bytes", "kept_up"})
Figures = dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """A measured row: the medians, and the ratio of each round that has both contenders."""

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
        """Whether the median reaches the target, and in how many rounds if they do not agree."""
        reached = [self.row.reaches(ratio) for ratio in self.ratios]
        text = "reached" if self.row.reaches(self.ratio) else "**not reached**"
        return text if all(reached) or not any(reached) else f"{text} ({reached.count(True)} of {len(reached)} rounds)"


@dataclass
class Summary:
    """What is committed of one sweep.

    `contenders` has each one's medians, its number of rounds and, if counted, the lowest share that arrived in time
    (`kept_up`). A key of `ratios` is "figure: subject / baseline". `refused` has the reason of the last refused round.
    """

    machine: dict[str, Any]
    contenders: dict[str, Figures] = field(default_factory=dict)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def median(self, contender: str, figure: str) -> float | None:
        """Return a contender's median, or None if it has none."""
        return self.contenders.get(contender, {}).get(figure)

    def medians(self, figure: str) -> dict[str, float]:
        """Return the median of every contender that has one."""
        return {name: figures[figure] for name, figures in self.contenders.items() if figure in figures}

    def kept_up(self, contender: str) -> float:
        """Return the lowest share of texts that arrived in time, 1.0 if that was not counted."""
        return self.contenders.get(contender, {}).get("kept_up", 1.0)

    def compare(self, row: Row) -> Comparison | None:
        """Return the measured row, or None if it was not measured or one of the two did not keep up."""
        ratios = self.ratios.get(_key(row))
        subject, baseline = self.median(row.subject, row.figure), self.median(row.baseline, row.figure)
        if not ratios or subject is None or baseline is None:
            return None
        if min(self.kept_up(row.subject), self.kept_up(row.baseline)) < MIN_KEPT_UP:
            return None
        return Comparison(row, subject, baseline, ratios)

    def __str__(self) -> str:
        lines = []
        for name, figures in self.contenders.items():
            shown = ", ".join(f"{figure} {value:.4g}" for figure, value in figures.items() if figure != "rounds")
            lines.append(f"\n    {name}: {shown or self.refused.get(name, 'nothing')}")
        return "".join(lines)


@dataclass
class Samples:
    """One sweep's figures by contender and round, None for a refused round."""

    machine: dict[str, Any]
    contenders: dict[str, list[Figures | None]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def add(self, contender: str, figures: Figures | None) -> None:
        """Add a contender's next round."""
        self.contenders.setdefault(contender, []).append(figures)

    def values(self, contender: str, figure: str) -> list[float | None]:
        """Return the figure of each round, None if it is missing."""
        return [None if figures is None else figures.get(figure) for figures in self.contenders.get(contender, ())]

    def summarize(self, sweep: str) -> Summary:
        """Return the medians, and the ratios of the rows about this sweep, both to nine digits."""
        summary = Summary(self.machine, refused=self.refused)
        for contender, rounds in self.contenders.items():
            medians: Figures = {"rounds": len(rounds)}
            for figure in dict.fromkeys(figure for figures in rounds if figures for figure in figures):
                values = [value for value in self.values(contender, figure) if value is not None]
                if figure == "kept_up":
                    medians[figure] = _rounded(min(values))
                elif values and figure not in _UNSUMMARIZED:
                    medians[figure] = _rounded(statistics.median(values))
            summary.contenders[contender] = medians
        for row in (*ROWS, *TUNED, *PEER_ROWS, *BATCH_ROWS):
            pairs = zip(self.values(row.subject, row.figure), self.values(row.baseline, row.figure), strict=False)
            ratios = [_rounded(ours / theirs) for ours, theirs in pairs if ours is not None and theirs]
            if row.sweep == sweep and ratios:
                summary.ratios[_key(row)] = ratios
        return summary


class Record:
    """All sweeps of a run: summaries, and the raw samples that are still on this machine."""

    def __init__(self, name: str, folder: Path = RESULTS) -> None:
        self.path = folder / f"{name}.json"
        self.raw_path = folder / "raw" / f"{name}.json"
        summaries = json.loads(self.path.read_text()) if self.path.exists() else {"sweeps": {}}
        samples = json.loads(self.raw_path.read_text()) if self.raw_path.exists() else {}
        self.sweeps = {sweep: Summary(**fields) for sweep, fields in summaries["sweeps"].items()}
        self.samples = {sweep: Samples(**fields) for sweep, fields in samples.items()}
        self.pins: dict[str, list[str]] = summaries.get("pins", {})
        self.missing: dict[str, str] = summaries.get("missing", {})

    def begin(self, sweep: str, contenders: list[str]) -> Samples:
        """Start these contenders' rounds again. Samples of others are kept if they are of the same commit."""
        now = machine.description()
        before = self.samples.get(sweep)
        samples = Samples(now)
        if before is not None and before.machine["commit"] == now["commit"]:
            samples.machine = before.machine
            samples.contenders = {name: r for name, r in before.contenders.items() if name not in contenders}
            samples.refused = {name: why for name, why in before.refused.items() if name not in contenders}
        self.samples[sweep] = samples
        return samples

    def save(self, sweep: str) -> None:
        """Write the samples, and the summaries with this sweep's new one."""
        self.sweeps[sweep] = self.samples[sweep].summarize(sweep)
        self.raw_path.parent.mkdir(parents=True, exist_ok=True)
        self.raw_path.write_text(json.dumps({name: asdict(samples) for name, samples in self.samples.items()}))
        sweeps = {name: asdict(summary) for name, summary in self.sweeps.items()}
        write_json(self.path, {"pins": PEERS, "missing": missing(), "sweeps": sweeps})


def save_with_machine(name: str, result: dict[str, Any]) -> Path:
    """Write another command's result and the machine's description; return the path."""
    path = RESULTS / f"{name}.json"
    write_json(path, {"machine": machine.description(), **result})
    return path


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write JSON that reads well in a diff: objects of objects or lists are spread out, the others are one line."""
    path.write_text(_spread(document, "") + "\n")


def _spread(value: dict[str, Any], indent: str) -> str:
    members = []
    for key, member in value.items():
        spread = isinstance(member, dict) and member and all(isinstance(part, dict | list) for part in member.values())
        text = _spread(member, indent + " ") if spread else json.dumps(member, ensure_ascii=False)
        members.append(f"\n{indent} {json.dumps(key, ensure_ascii=False)}: {text}")
    return f"{{{','.join(members)}\n{indent}}}"


def _rounded(value: float) -> float:
    return float(f"{value:.9g}")


def _key(row: Row) -> str:
    return f"{row.figure}: {row.subject} / {row.baseline}"
