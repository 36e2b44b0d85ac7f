"""What was measured, as it is kept: for each sweep its machine, and each contender's figures round by round."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import machine
from bench.peers import PEERS, missing

RESULTS = Path(__file__).parent / "results"
Figures = dict[str, Any]


@dataclass
class Taken:
    """One sweep: figures by contender and round, None where a round was refused, and why the last one was."""

    machine: dict[str, Any]
    contenders: dict[str, list[Figures | None]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def add(self, contender: str, figures: Figures | None) -> None:
        """One more round of it."""
        self.contenders.setdefault(contender, []).append(figures)

    def values(self, contender: str, figure: str) -> list[float | None]:
        """The figure in each round, None where there is none."""
        return [None if r is None else r.get(figure) for r in self.contenders.get(contender, ())]

    def medians(self, figure: str) -> dict[str, float]:
        """The median of a figure for each contender that has it."""
        found = {}
        for contender in self.contenders:
            if values := [value for value in self.values(contender, figure) if value is not None]:
                found[contender] = statistics.median(values)
        return found

    def kept_up(self, contender: str) -> float:
        """The smallest share of what was sent that came within the time; 1.0 where that was not counted."""
        return min((value for value in self.values(contender, "kept_up") if value is not None), default=1.0)

    def in_short(self) -> str:
        """Every median, a line for each contender."""
        hidden = ("wall_s", "cpu_s", "bytes")
        lines = []
        for contender, rounds in self.contenders.items():
            names = dict.fromkeys(name for figures in rounds if figures for name in figures if name not in hidden)
            shown = [f"{name} {middle[contender]:.4g}" for name in names if contender in (middle := self.medians(name))]
            lines.append(f"\n    {contender}: {', '.join(shown) or self.refused.get(contender, 'nothing')}")
        return "".join(lines)


class Record:
    """All sweeps of one file of results."""

    def __init__(self, name: str, folder: Path = RESULTS) -> None:
        self.path = folder / f"{name}.json"
        kept = json.loads(self.path.read_text()) if self.path.exists() else {"sweeps": {}}
        self.sweeps = {sweep: Taken(**fields) for sweep, fields in kept["sweeps"].items()}
        self.pins: dict[str, list[str]] = kept.get("pins", {})
        self.missing: dict[str, str] = kept.get("missing", {})

    def begin(self, sweep: str, contenders: list[str]) -> Taken:
        """Take these contenders' rounds anew; the others' are kept only while they are of the same commit."""
        now = machine.described()
        before = self.sweeps.get(sweep)
        taken = Taken(now)
        if before is not None and before.machine["commit"] == now["commit"]:
            taken.machine = before.machine
            taken.contenders = {name: r for name, r in before.contenders.items() if name not in contenders}
            taken.refused = {name: why for name, why in before.refused.items() if name not in contenders}
        self.sweeps[sweep] = taken
        return taken

    def keep(self) -> None:
        """Write the file."""
        document = {
            "pins": {name: list(pins) for name, pins in PEERS.items()},
            "missing": missing(),
            "sweeps": {name: vars(taken) for name, taken in self.sweeps.items()},
        }
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps(document, indent=1) + "\n")


def keep_with_machine(name: str, found: dict[str, Any]) -> Path:
    """Write what another command measured, beside where and when it did."""
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine.described(), **found}, indent=1) + "\n")
    return path
