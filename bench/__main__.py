"""`python -m bench`: measure, write the tables and plots, guard the hot paths."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.record import Record
    from bench.sweeps import Sweep


def run(arguments: argparse.Namespace) -> None:
    """Measure the sweeps of the tables and save the results."""
    from bench import machine
    from bench.record import Record
    from bench.sweeps import Bench, Sizes, with_services

    sizes = Sizes(rounds=2, scale=0.02, window=1.0) if arguments.quick else Sizes(rounds=arguments.rounds)
    machine.warn_if_busy()
    record = Record(arguments.name)

    def measure(bench: Bench) -> None:
        _measure(bench.sweeps(), record, arguments, sizes.rounds)

    with_services(sizes, measure)
    if not arguments.quick:
        _progress(f"saved in {record.path}\n")


def _measure(sweeps: list[Sweep], record: Record, arguments: argparse.Namespace, rounds: int) -> None:
    """Measure each of the sweeps that are asked for, round after round, and save it."""
    from bench.peers import missing
    from bench.processes import Refused

    unavailable = missing()
    sweeps = [sweep for sweep in sweeps if not arguments.only or sweep.name in arguments.only]
    for position, sweep in enumerate(sweeps):
        ours = [] if arguments.peers_only else sweep.contenders
        with_peers = arguments.peers or arguments.peers_only
        peers = [peer for peer in sweep.peers if peer not in unavailable] if with_peers else []
        samples = record.begin(sweep.name, [*ours, *peers])
        for number in range(1 if sweep.name == "install" else rounds):
            order = [*ours, *(peers if number < arguments.peer_rounds else [])]
            for name in order if number % 2 == 0 else order[::-1]:
                done = (position + number / rounds) / len(sweeps)
                _progress(f"{_bar(done)} {sweep.name}, round {number + 1} of {rounds}: {name}")
                try:
                    samples.add(name, sweep.measure(name))
                except Refused as error:
                    samples.add(name, None)
                    samples.refused[name] = str(error)
                    _progress(f"refused: {sweep.name}, {name}: {error}\n")
        _progress(f"{sweep.name}: {samples.summarize(sweep.name)}\n")
        if not arguments.quick:
            record.save(sweep.name)


def install_peers(arguments: argparse.Namespace) -> None:
    """Install every peer."""
    from bench.peers import PEERS, install, missing

    for name in PEERS:
        _progress(f"{name}: {install(name) or 'ready'}\n")
    for name, reason in missing().items():
        if name not in PEERS:
            _progress(f"{name}: {reason}\n")


def report(arguments: argparse.Namespace) -> None:
    """Write the tables and the plots into the documents."""
    from bench.report import write

    write()


def growth(arguments: argparse.Namespace) -> None:
    """Measure how cost grows."""
    from bench.growth import measure
    from bench.record import save_with_machine

    _progress(f"saved in {save_with_machine('growth', measure(_progress))}\n")


def layers(arguments: argparse.Namespace) -> None:
    """Measure the share of each layer in the time of a chunk."""
    from bench.layers import measure
    from bench.record import save_with_machine

    _progress(f"saved in {save_with_machine('layers', measure(_progress))}\n")


def guard(arguments: argparse.Namespace) -> None:
    """Compare instruction counts of the hot paths with the committed ones."""
    from bench.guard import LIMIT, changes, commit, obstacle

    if arguments.commit:
        commit()
        return
    if reason := obstacle():
        raise SystemExit(f"guard: {reason}")
    differences = changes()
    for name, change in differences.items():
        _progress(f"{name:32} {change:+.1%}{'  OUTSIDE' if abs(change) > LIMIT else ''}\n")
    if any(abs(change) > LIMIT for change in differences.values()):
        raise SystemExit("guard: counts changed; if that is intended, run `python -m bench guard --commit`")


def faults(arguments: argparse.Namespace) -> None:
    """Measure which libraries report a fault, and write the scoreboard."""
    from bench.faults import run

    run(arguments.only, _progress)


def soak(arguments: argparse.Namespace) -> None:
    """Send faulty traffic for minutes and exit with 1 if anything is left over."""
    from bench.soak import DOCUMENT, problems, render, soak

    result = asyncio.run(soak(arguments.minutes, arguments.callers, arguments.seed))
    print(render(result))
    if arguments.save:
        DOCUMENT.write_text(render(result))
    sys.exit(1 if problems(result) else 0)


def batch(arguments: argparse.Namespace) -> None:
    """Measure batches, and write their table and plot."""
    from bench.batch import running_upstream, sweeps
    from bench.machine import warn_if_busy
    from bench.record import Record
    from bench.report import write

    warn_if_busy()
    record = Record("batch")
    with running_upstream() as service:
        _measure(sweeps(service, 0.02 if arguments.quick else 1.0), record, arguments, arguments.rounds)
    if not arguments.quick:
        write()
        _progress(f"saved in {record.path}\n")


def fuzz(arguments: argparse.Namespace) -> None:
    """Fuzz the HTTP parsers, the wire codecs and the dialects until libFuzzer's options end it.

    The target `documents` needs no libFuzzer: it tries every hostile value at every place of the recorded documents.
    """
    if arguments.target == "documents":
        from bench.fuzz_documents import fuzz_documents

        sys.exit(1 if fuzz_documents(_progress) else 0)
    from bench.fuzz import fuzz

    fuzz(arguments.target, [*arguments.options, *arguments.corpora])


def mutate(arguments: argparse.Namespace) -> None:
    """Change the code of parts in one place at a time, and exit with 1 if the tests notice less than 95 % of one."""
    from bench.mutation import mutate, try_survivors_again

    if arguments.again is None:
        enough = mutate(arguments.parts, arguments.sample, arguments.seed)
    else:
        enough = min([try_survivors_again(part, arguments.again) for part in arguments.parts])
    sys.exit(0 if enough else 1)


def _bar(share: float) -> str:
    filled = int(share * 20)
    return f"[{'#' * filled}{'.' * (20 - filled)}] {share:4.0%}"


def _progress(line: str) -> None:
    end = "" if not line.endswith("\n") and sys.stderr.isatty() else "\n"
    sys.stderr.write(("\r\033[K" if sys.stderr.isatty() else "") + line.rstrip("\n") + end)
    sys.stderr.flush()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _names(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(required=True)
    parsers = {}
    for name, command in {
        "run": run,
        "peers": install_peers,
        "report": report,
        "growth": growth,
        "layers": layers,
        "guard": guard,
        "faults": faults,
        "soak": soak,
        "batch": batch,
        "fuzz": fuzz,
        "mutate": mutate,
    }.items():
        text = (command.__doc__ or "").replace("%", "%%")
        parsers[name] = commands.add_parser(name, help=text, description=command.__doc__)
        parsers[name].set_defaults(command=command)
    for name, rounds, peer_rounds in (("run", 5, 3), ("batch", 1, 1)):
        option = parsers[name].add_argument
        option("--quick", action="store_true", help="use tiny sizes, to see that it works; save nothing")
        option("--only", type=_names, default=[], metavar="NAMES", help="only these sweeps, separated by commas")
        option("--rounds", type=int, default=rounds)
        option("--peers", action="store_true", help="measure the peers too")
        option("--peers-only", action="store_true", help="measure only the peers and keep our samples of this commit")
        option("--peer-rounds", type=int, default=peer_rounds)
    parsers["run"].add_argument("--name", default="latest", help="name of the results file")
    parsers["guard"].add_argument("--commit", action="store_true", help="write the counts instead")
    parsers["faults"].add_argument("--only", type=_names, default=[], metavar="NAMES", help="only these libraries")
    option = parsers["soak"].add_argument
    option("--minutes", type=float, default=5.0)
    option("--callers", type=int, default=40)
    option("--seed", type=int, default=1)
    option("--save", action="store_true", help="write bench/logs/soak.md")
    option = parsers["mutate"].add_argument
    option(
        "--again", nargs="*", metavar="TESTS", help="only those that survived the last time, with these or all tests"
    )
    option("parts", nargs="+", help="files or folders of src/acytoo, such as secret or wire; another name prints all")
    option("--sample", type=int, default=0, metavar="N", help="only N of its mutants, chosen at random")
    option("--seed", type=int, default=1)
    parsers["fuzz"].add_argument("--target", default="", help="only this one, such as documents or http-response")
    parsers["fuzz"].add_argument(
        "corpora", nargs="*", metavar="CORPUS", help="folders; libFuzzer's options are passed on"
    )
    arguments, options = parser.parse_known_args()
    arguments.options = options
    if options and arguments.command is not fuzz:
        parser.error(f"unrecognized arguments: {' '.join(options)}")
    arguments.command(arguments)


if __name__ == "__main__":
    main()
