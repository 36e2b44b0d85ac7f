"""`python -m bench.faults`: run the table of faults against each library's client, write `docs/scoreboard.md`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from acytoo import dialects
from acytoo.testing import FakeEndpoint, ReceivedRequest, ScriptedResponse, status
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
    dialect = dialects.Acytoo() if raw else dialects.OpenAI()
    with ExitStack() as stack:
        fakes = {
            name: stack.enter_context(FakeEndpoint(dialect, only_chat(fault.answer))) for name, fault in faults.items()
        }
        urls = {name: fake.url for name, fake in fakes.items()}
        found = asked(caller, timeout, urls)
        for name in urls.keys() - found.keys():  # its process hangs: each of the rest alone, in one of its own
            fakes[name].requests.clear()
            found |= asked(caller, timeout, {name: urls[name]}) or {name: {"end": "hangs", "text": "", "seconds": None}}
        return {name: {**found[name], "requests": posts(fakes[name]) - (name == "none")} for name in faults}


def only_chat(answer: ScriptedResponse) -> Callable[[ReceivedRequest], ScriptedResponse]:
    """The fault for calls; a list of models, which some libraries ask for first, is always had."""
    models = status(200, body={"object": "list", "data": [{"id": "m-1", "object": "model"}]})
    return lambda received: answer if received.method == "POST" else models


def posts(fake: FakeEndpoint) -> int:
    """How many calls came."""
    return sum(received.method == "POST" for received in fake.requests)


def asked(caller: str, timeout: float | None, urls: dict[str, str]) -> dict[str, Any]:
    """What a process that asks at all URLs has said, be it all or some."""
    command = [interpreter(caller), "-m", "bench.faults.client", caller, str(LIMIT), str(timeout or "-")]
    try:
        done = subprocess.run(
            [*command, json.dumps(urls)],
            env=environment(),
            cwd=tempfile.gettempdir(),
            capture_output=True,
            check=False,
            timeout=LIMIT * 3,
        )
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired as error:
        output, errors = error.stdout or b"", error.stderr or b""
    said = [json.loads(line) for line in output.decode().splitlines() if line.startswith('{"fault"')]
    if len(said) < len(urls):
        sys.stderr.write(f"{caller}: {len(said)} of {len(urls)} answers; {errors.decode()[-300:]}\n")
    return {line["fault"]: line for line in said}


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
        callers = [caller for caller in CALLERS if caller in found]
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


_SETTINGS = {"default": None, "documented": TIMEOUT}

_ABOUT = [
    "Each library's own client, streaming, pointed at an endpoint on this machine that fails on purpose",
    "(`acytoo.testing.FakeEndpoint`, OpenAI's dialect; `acytoo-raw` is our own protocol, raw text).",
    "",
    "- ✓ the caller was told the truth: an exception for a fault, the reply where it is whole.",
    "- ✗ **half reply as whole**: the loop ended as if all was well.",
    f"- ✗ **waits > {LIMIT:g} s**: nothing was said so long. Default limits are longer (ours: 120 s for the first",
    "  byte, 60 s of silence; the OpenAI SDK's: 600 s); in the second table each has one by its documented option.",
    "- Every library is read by the loop that its documentation shows. Where its chunks have a `finish_reason`, a",
    "  caller who looks for it could find out that a reply without one was cut; no exception says so.",
    "- g4f's template documents no limit for a call; what it does with `timeout` is in the second table.",
    "- A list of models, which some libraries ask for first, is always answered in good order.",
    "- *n requests*: the library asked again by itself.",
    "- —: raw text cannot have this fault, as it has no records and no end of its own.",
    "",
    "Ours is listed with whatever it fails.",
]


def main() -> None:
    """Measure, keep, and write the document."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAMES", help="only these libraries, with commas")
    parser.add_argument("--report", action="store_true", help="only write the document again")
    arguments = parser.parse_args()
    if arguments.report:
        DOCUMENT.write_text(document(json.loads(RESULTS.read_text())))
        return
    callers = [name for name in CALLERS if not arguments.only or name in arguments.only.split(",")]
    results: dict[str, Any] = {"machine": machine.described(), "limit": LIMIT, "missing": {}}
    results |= {key: {} for key in _SETTINGS}
    if arguments.only and RESULTS.exists():
        kept = json.loads(RESULTS.read_text())
        results |= {key: kept[key] for key in _SETTINGS}
    for caller in callers:
        if caller in PEERS and (why := install(caller)):
            results["missing"][caller] = why
            continue
        with ThreadPoolExecutor(2) as both:
            runs = {key: both.submit(measured, caller, timeout) for key, timeout in _SETTINGS.items()}
        for key, run in runs.items():
            results[key][caller] = run.result()
            wrong = [name for name in FAULTS if verdict(name, results[key][caller].get(name)).startswith("✗")]
            sys.stderr.write(f"{caller}, {key}: wrong about {len(wrong)}: {', '.join(wrong)}\n")
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        Path(DOCUMENT).write_text(document(results))


if __name__ == "__main__":
    main()
