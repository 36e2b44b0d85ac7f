"""`python -m bench`: run the measurements, make the table and the plots, install the peers, guard the hot paths."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def run(arguments: argparse.Namespace) -> None:
    """Measure, and keep what came out of it."""
    from bench import machine
    from bench.peers import PEERS, installed
    from bench.processes import Refused
    from bench.sweeps import Bench, Sizes, with_services

    sizes = Sizes(rounds=2, scale=0.02, window=1.0) if arguments.quick else Sizes(rounds=arguments.rounds)
    machine.warn_if_busy()
    results: dict[str, Any] = {
        "machine": machine.described(),
        "quick": arguments.quick,
        "rounds": sizes.rounds,
        "pins": PEERS,
        "sweeps": {},
        "refused": {},
        "loads": {},
    }
    path = RESULTS / f"{arguments.name}.json"
    if arguments.add and path.exists():
        kept = json.loads(path.read_text())
        results |= {name: kept[name] for name in ("sweeps", "refused", "loads")}
    missing = {name: why for name, why in installed().items() if why}
    results["missing"] = missing if arguments.peers or arguments.peers_only else {}

    def use(bench: Bench) -> None:
        sweeps = [sweep for sweep in bench.sweeps() if not arguments.only or sweep.name in arguments.only.split(",")]
        for number, sweep in enumerate(sweeps, 1):
            wanted = sweep.peers if arguments.peers or arguments.peers_only else []
            peers = [peer for peer in wanted if peer not in missing]
            rounds = 1 if sweep.name == "install" or arguments.peers_only else sizes.rounds
            found: dict[str, list[dict[str, Any]]] = {}
            if arguments.peers_only:
                sweep.contenders.clear()
                found = results["sweeps"].get(sweep.name, {})
            results["loads"][sweep.name] = machine.load()
            for turn in range(rounds):
                for contender in [*sweep.contenders, *(peers if turn < arguments.peer_rounds else [])]:
                    _progress(f"{number}/{len(sweeps)} {sweep.name}: round {turn + 1} of {rounds}, {contender}")
                    try:
                        figures = sweep.measure(contender)
                        found.setdefault(contender, []).append(figures)
                    except Refused as why:
                        results["refused"].setdefault(sweep.name, {})[contender] = str(why)
                        _progress(f"refused: {sweep.name}, {contender}: {why}\n")
            results["sweeps"][sweep.name] = found
            _progress(f"{sweep.name}: {_in_short(found)}\n")
            if not arguments.quick:
                _keep(results, arguments.name)

    with_services(sizes, use)
    results["machine"]["load_after"] = machine.load()
    if not arguments.quick:
        sys.stderr.write(f"kept in {_keep(results, arguments.name)}\n")


def peers(arguments: argparse.Namespace) -> None:
    """Install every peer."""
    from bench.peers import PEERS, install

    for name in PEERS:
        why = install(name)
        sys.stderr.write(f"{name}: {why or 'ready'}\n")


def report(arguments: argparse.Namespace) -> None:
    """Write the tables and the plots into the documentation."""
    from bench.report import write

    write(RESULTS)


def grow(arguments: argparse.Namespace) -> None:
    """Measure how cost grows."""
    from bench.growth import measure

    path = RESULTS / "growth.json"
    path.write_text(json.dumps(measure(_progress), indent=1) + "\n")
    sys.stderr.write(f"kept in {path}\n")


def guard(arguments: argparse.Namespace) -> None:
    """Compare instruction counts of the hot paths with the committed ones."""
    from bench.guard import LIMIT, changes, commit, obstacle

    if arguments.commit:
        commit()
        return
    if why := obstacle():
        raise SystemExit(f"guard: {why}")
    found = changes()
    for name, change in found.items():
        sys.stderr.write(f"{name:32} {change:+.1%}{'  OUTSIDE' if abs(change) > LIMIT else ''}\n")
    if any(abs(change) > LIMIT for change in found.values()):
        raise SystemExit("guard: where that is meant, run `python -m bench guard --commit`")


def layers(arguments: argparse.Namespace) -> None:
    """Show where the time of a chunk goes."""
    from bench.layers import measure

    path = RESULTS / "layers.json"
    path.write_text(json.dumps(measure(_progress), indent=1) + "\n")
    sys.stderr.write(f"kept in {path}\n")


def _progress(line: str) -> None:
    end = "" if not line.endswith("\n") and sys.stderr.isatty() else "\n"
    sys.stderr.write(("\r\033[K" if sys.stderr.isatty() else "") + line.rstrip("\n") + end)
    sys.stderr.flush()


def _in_short(found: dict[str, list[dict[str, Any]]]) -> str:
    said = []
    for contender, rounds in found.items():
        if not rounds:
            continue
        figures = {name: statistics.median([r[name] for r in rounds if r.get(name) is not None]) for name in rounds[0]}
        shown = [f"{name} {value:.4g}" for name, value in figures.items() if name not in ("wall_s", "cpu_s", "bytes")]
        said.append(f"\n    {contender}: {', '.join(shown)}")
    return "".join(said)


def _keep(results: dict[str, Any], name: str) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name or time.strftime('%Y-%m-%d-%H%M')}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def main() -> None:
    """Do what was asked."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run", help="measure the table's rows")
    command.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; keeps nothing")
    command.add_argument("--only", default="", metavar="NAMES", help="only these sweeps, with commas")
    command.add_argument("--rounds", type=int, default=5)
    command.add_argument("--peers", action="store_true", help="the peers too")
    command.add_argument("--peers-only", action="store_true", help="the peers alone, beside what is kept: with --add")
    command.add_argument("--add", action="store_true", help="keep the other sweeps of an earlier run")
    command.add_argument("--peer-rounds", type=int, default=1)
    command.add_argument("--name", default="latest", help="of the file of results")
    command.set_defaults(do=run)
    commands.add_parser("peers", help="install the peers, each in its own environment").set_defaults(do=peers)
    commands.add_parser("report", help="write tables and plots into docs/").set_defaults(do=report)
    commands.add_parser("growth", help="measure how cost grows").set_defaults(do=grow)
    commands.add_parser("layers", help="measure where the time of a chunk goes").set_defaults(do=layers)
    command = commands.add_parser("guard", help="compare instruction counts with the committed ones")
    command.add_argument("--commit", action="store_true", help="write them instead")
    command.set_defaults(do=guard)
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    main()
