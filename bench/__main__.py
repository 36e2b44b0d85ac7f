"""`python -m bench`: run the measurements, make the table and the plots, install the peers, guard the hot paths."""

from __future__ import annotations

import argparse
import sys


def run(arguments: argparse.Namespace) -> None:
    """Measure, and keep what came out of it."""
    from bench import machine
    from bench.peers import missing
    from bench.processes import Refused
    from bench.record import Record
    from bench.sweeps import Bench, Sizes, with_services

    sizes = Sizes(rounds=2, scale=0.02, window=1.0) if arguments.quick else Sizes(rounds=arguments.rounds)
    machine.warn_if_busy()
    record = Record(arguments.name)
    lacking = missing()

    def use(bench: Bench) -> None:
        wanted = [sweep for sweep in bench.sweeps() if not arguments.only or sweep.name in arguments.only.split(",")]
        for sweep in wanted:
            ours = [] if arguments.peers_only else sweep.contenders
            theirs = [peer for peer in sweep.peers if peer not in lacking] if arguments.peers else []
            rounds = 1 if sweep.name == "install" else sizes.rounds
            taken = record.begin(sweep.name, [*ours, *theirs])
            for number in range(rounds):
                order = [*ours, *(theirs if number < arguments.peer_rounds else [])]
                for name in order if number % 2 == 0 else order[::-1]:
                    done = (wanted.index(sweep) + number / rounds) / len(wanted)
                    _progress(f"{_bar(done)} {sweep.name}, round {number + 1} of {rounds}: {name}")
                    try:
                        taken.add(name, sweep.measure(name))
                    except Refused as why:
                        taken.add(name, None)
                        taken.refused[name] = str(why)
                        _progress(f"refused: {sweep.name}, {name}: {why}\n")
            _progress(f"{sweep.name}: {taken.in_short()}\n")
            if not arguments.quick:
                record.keep()

    with_services(sizes, use)
    if not arguments.quick:
        sys.stderr.write(f"kept in {record.path}\n")


def _bar(share: float) -> str:
    filled = int(share * 20)
    return f"[{'#' * filled}{'.' * (20 - filled)}] {share:4.0%}"


def peers(arguments: argparse.Namespace) -> None:
    """Install every peer."""
    from bench.peers import PEERS, install, missing

    for name in PEERS:
        why = install(name)
        sys.stderr.write(f"{name}: {why or 'ready'}\n")
    for name, why in missing().items():
        if name not in PEERS:
            sys.stderr.write(f"{name}: {why}\n")


def report(arguments: argparse.Namespace) -> None:
    """Write the tables and the plots into the documentation."""
    from bench.report import write

    write()


def grow(arguments: argparse.Namespace) -> None:
    """Measure how cost grows."""
    from bench.growth import measure
    from bench.record import keep_with_machine

    sys.stderr.write(f"kept in {keep_with_machine('growth', measure(_progress))}\n")


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
    from bench.record import keep_with_machine

    sys.stderr.write(f"kept in {keep_with_machine('layers', measure(_progress))}\n")


def _progress(line: str) -> None:
    end = "" if not line.endswith("\n") and sys.stderr.isatty() else "\n"
    sys.stderr.write(("\r\033[K" if sys.stderr.isatty() else "") + line.rstrip("\n") + end)
    sys.stderr.flush()


def main() -> None:
    """Do what was asked."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run", help="measure the table's rows")
    command.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; keeps nothing")
    command.add_argument("--only", default="", metavar="NAMES", help="only these sweeps, with commas")
    command.add_argument("--rounds", type=int, default=5)
    command.add_argument("--peers", action="store_true", help="the peers too")
    command.add_argument("--peers-only", action="store_true", help="the peers alone, beside what is kept")
    command.add_argument("--peer-rounds", type=int, default=3)
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
    if getattr(arguments, "peers_only", False):
        arguments.peers = True
    arguments.do(arguments)


if __name__ == "__main__":
    main()
