"""`python -m bench.faults`: run the table of faults against each library's client, write `docs/scoreboard.md`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from acytoo import dialects
from acytoo.testing import FakeEndpoint
from bench import machine
from bench.faults.callers import CALLERS
from bench.faults.table import FAULTS, TEXT
from bench.peers import PEERS, install
from bench.processes import ROOT, environment, interpreter

RESULTS = ROOT / "bench" / "results" / "faults.json"
DOCUMENT = ROOT / "docs" / "scoreboard.md"
LIMIT = 30.0
"""Seconds after which a call counts as hanging."""
TIMEOUT = 5.0
"""Seconds that a library is told to wait, in the column with its documented settings."""


def measured(caller: str, timeout: float | None) -> dict[str, Any]:
    """What the library's caller sees of each fault; `requests` is how many requests the endpoint got for it."""
    raw = caller == "acytoo-raw"
    faults = {name: fault for name, fault in FAULTS.items() if fault.raw or not raw}
    dialect = dialects.acytoo if raw else dialects.openai
    with ExitStack() as stack:
        fakes = {name: stack.enter_context(FakeEndpoint(dialect, fault.answer)) for name, fault in faults.items()}
        urls = json.dumps({name: fake.url for name, fake in fakes.items()})
        command = [interpreter(caller), "-m", "bench.faults.client", caller, str(LIMIT), str(timeout or "-"), urls]
        done = subprocess.run(
            command,
            env=environment(),
            cwd=tempfile.gettempdir(),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT * 10,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"fault"')]
        if len(lines) < len(faults):
            sys.stderr.write(f"{caller}: {len(lines)} of {len(faults)} answers; {done.stderr[-500:]}\n")
        first = {"none": 1}
        return {
            line["fault"]: {**line, "requests": len(fakes[line["fault"]].requests) - first.get(line["fault"], 0)}
            for line in lines
        }


def verdict(name: str, seen: dict[str, Any] | None) -> str:
    """One cell: what the caller was told, and whether that is right."""
    if seen is None:
        return "—"
    fault = FAULTS[name]
    whole = seen["text"] == TEXT
    if seen["end"] == "hangs":
        return f"✗ waits > {LIMIT:g} s"
    if seen["end"] == "error":
        again = f", {seen['requests']} requests" if seen["requests"] > 1 else ""
        return f"{'✓' if fault.wanted == 'error' else '✗'} {seen['error'].rpartition('.')[2]}{again}"
    if fault.wanted == "whole":
        return "✓ whole" if whole else "✗ not the reply"
    if whole:
        return "✓ whole"
    return f"✗ {'half' if seen['text'] else 'empty'} reply as whole"


def document(results: dict[str, Any]) -> str:
    """The table in Markdown."""
    lines = ["# Who notices a fault", "", *_ABOUT, ""]
    for title, key in (("As they come", "default"), (f"With a timeout of {TIMEOUT:g} s and no retries", "documented")):
        found = results[key]
        callers = list(found)
        lines += [f"## {title}", "", "| fault | " + " | ".join(callers) + " |", "| --- |" + " --- |" * len(callers)]
        for name in FAULTS:
            cells = [verdict(name, found[caller].get(name)) for caller in callers]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        wrong = [sum(verdict(name, found[caller].get(name)).startswith("✗") for name in FAULTS) for caller in callers]
        lines += ["| **wrong** | " + " | ".join(f"**{number}**" for number in wrong) + " |", ""]
    pins = ", ".join(f"`{pin}`" for name in PEERS if name in CALLERS for pin in PEERS[name])
    versions = results["machine"]["versions"]
    lines += [
        f"Measured {results['machine']['when']} with Python {results['machine']['python']}; {pins}; "
        f"acytoo {versions['acytoo']} at {results['machine']['commit']}, aiohttp {versions['aiohttp']}.",
        "",
        "Run it again: `python -m bench peers`, then `python -m bench.faults`.",
        "",
    ]
    return "\n".join(lines)


_ABOUT = [
    "Each library's own client, streaming, pointed at an endpoint on this machine that fails on purpose",
    "(`acytoo.testing.FakeEndpoint`, OpenAI's dialect; `acytoo-raw` is our own protocol, raw text).",
    "",
    "- ✓ the caller was told the truth: an exception for a fault, the reply where it is whole.",
    "- ✗ **half reply as whole**: the loop ended as if all was well.",
    f"- ✗ **waits > {LIMIT:g} s**: nothing was said so long. Default limits are longer (ours: 120 s for the first",
    "  byte, 60 s of silence; the OpenAI SDK's: 600 s); in the second table each has one by its documented option.",
    "- *n requests*: the library asked again by itself.",
    "- —: raw text cannot have this fault, as it has no records and no end of its own.",
    "",
    "Ours is listed with whatever it fails.",
]


def main() -> None:
    """Measure, keep, and write the document."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAMES", help="only these libraries, with commas; keeps nothing")
    parser.add_argument("--report", action="store_true", help="only write the document again")
    arguments = parser.parse_args()
    if arguments.report:
        DOCUMENT.write_text(document(json.loads(RESULTS.read_text())))
        return
    callers = [name for name in CALLERS if not arguments.only or name in arguments.only.split(",")]
    results: dict[str, Any] = {"machine": machine.described(), "limit": LIMIT, "missing": {}}
    results |= {"default": {}, "documented": {}}
    for caller in callers:
        if caller in PEERS and (why := install(caller)):
            results["missing"][caller] = why
            continue
        for key, timeout in (("default", None), ("documented", TIMEOUT)):
            results[key][caller] = measured(caller, timeout)
            wrong = [name for name in FAULTS if verdict(name, results[key][caller].get(name)).startswith("✗")]
            sys.stderr.write(f"{caller}, {key}: wrong about {len(wrong)}: {', '.join(wrong)}\n")
    if not arguments.only:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        Path(DOCUMENT).write_text(document(results))


if __name__ == "__main__":
    main()
