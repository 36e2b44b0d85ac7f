"""The scoreboard of faults: which libraries report what goes wrong in an HTTP response."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from acytoo import dialects
from acytoo.testing import (
    FakeEndpoint,
    ReceivedRequest,
    ScriptedResponse,
    garbage,
    hang_up,
    json_error,
    page,
    reply,
    silent,
    status,
)
from acytoo.types import Finish, Start, Usage
from bench import machine
from bench.peers import PEERS, install
from bench.processes import LOGS, environment, interpreter
from bench.record import RESULTS, write_json

DOCUMENT = LOGS / "scoreboard.md"
LIMIT = 30.0
"""Seconds after which a call counts as hanging."""
TIMEOUT = 5.0
"""Seconds in the libraries' documented timeout settings."""

_NO_RETRIES: dict[str, Any] = {"timeout": TIMEOUT, "max_retries": 0}
OPTIONS: dict[str, dict[str, Any]] = {
    "acytoo": {"timeout": TIMEOUT},
    "acytoo-raw": {"timeout": TIMEOUT},
    "openai": _NO_RETRIES,
    "litellm": {"timeout": TIMEOUT, "stream_timeout": TIMEOUT, "num_retries": 0},
    "any-llm-sdk": _NO_RETRIES,
    "g4f": {"timeout": TIMEOUT},
    "langchain-openai": _NO_RETRIES,
}
"""Each library's documented options for a timeout and no retries. g4f documents none; any-llm passes them on."""

TEXTS = [f"word {number} " for number in range(20)] + ["é 世界 👩‍👩‍👧"]
TEXT = "".join(TEXTS)
_COMPLETE = reply(Start("id-1", "m-1", 7), *TEXTS, Usage(9, 20), Finish("stop"))
_HALF = reply(Start("id-1", "m-1", 7), *TEXTS[:8])


@dataclass(frozen=True)
class Fault:
    """A response; `is_error`: whether a caller must get an error; `raw`: whether raw text can have the fault."""

    response: ScriptedResponse
    is_error: bool = True
    raw: bool = True


FAULTS: dict[str, Fault] = {
    "none": Fault(_COMPLETE, is_error=False),
    "one byte at a time": Fault(_COMPLETE.cut_bytes(1), is_error=False),
    "gzip": Fault(_COMPLETE.gzip(), is_error=False),
    "closed before the response": Fault(hang_up()),
    "not HTTP": Fault(garbage()),
    "silent from the start": Fault(silent()),
    "silent in mid-stream": Fault(_COMPLETE.stall(after=8)),
    "reset in mid-stream": Fault(_COMPLETE.reset(after=8)),
    "closed in mid-stream, chunked": Fault(_COMPLETE.close(after=8)),
    "closed in mid-stream, with a length": Fault(_COMPLETE.with_length().close(after=8)),
    "closed in mid-stream, no length": Fault(_COMPLETE.until_close().close(after=8), raw=False),
    "ends cleanly, no finish": Fault(_HALF.without_end(), raw=False),
    "ends inside a record": Fault(_COMPLETE.end(after_bytes=900), raw=False),
    "error event in mid-stream": Fault(_COMPLETE.fail("the model has failed", after=8)),
    "gzip cut": Fault(_COMPLETE.gzip().close(after_bytes=150)),
    "200 with a JSON error": Fault(json_error("overloaded")),
    "200 with an HTML page": Fault(page()),
    "200 with an empty body": Fault(status(200, body="")),
    "400": Fault(status(400, "wrong field")),
    "401": Fault(status(401, "wrong key")),
    "429, wait 1 s": Fault(status(429, "slow down", retry_after=1)),
    "500, HTML": Fault(page("Oops", 500)),
    "503": Fault(status(503, "overloaded")),
}


def measure(caller: str, options: dict[str, Any]) -> dict[str, str]:
    """Return the outcome of each fault for the library's caller."""
    raw = caller == "acytoo-raw"
    faults = {name: fault for name, fault in FAULTS.items() if fault.raw or not raw}
    dialect = dialects.Acytoo() if raw else dialects.OpenAI()
    with ExitStack() as stack:
        fakes = {
            name: stack.enter_context(FakeEndpoint(dialect, _chat_only(fault.response)))
            for name, fault in faults.items()
        }
        urls = {name: fake.url for name, fake in fakes.items()}
        results = _observe(caller, options, urls)
        for name in urls.keys() - results.keys():  # the process hangs: call each of the others in one of its own
            fakes[name].requests.clear()
            results |= _observe(caller, options, {name: urls[name]}) or {name: {"end": "hangs"}}
        # The first call, which loads the library, went to the endpoint without a fault.
        return {name: _outcome(results[name], _posts(fakes[name]) - (name == "none")) for name in faults}


def _chat_only(response: ScriptedResponse) -> Callable[[ReceivedRequest], ScriptedResponse]:
    """Answer calls with the fault. A list of models, which some libraries request first, is always available."""
    models = status(200, body={"object": "list", "data": [{"id": "m-1", "object": "model"}]})
    return lambda received: response if received.method == "POST" else models


def _posts(fake: FakeEndpoint) -> int:
    return sum(received.method == "POST" for received in fake.requests)


def _observe(caller: str, options: dict[str, Any], urls: dict[str, str]) -> dict[str, Any]:
    """Return what a process that calls all URLs printed, which may be only some of them."""
    command = [interpreter(caller), "-m", "bench.faults_client", caller, str(LIMIT), json.dumps(options)]
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
    results = [json.loads(line) for line in output.decode().splitlines() if line.startswith('{"fault"')]
    if len(results) < len(urls):
        sys.stderr.write(f"{caller}: {len(results)} of {len(urls)} results; {errors.decode()[-300:]}\n")
    return {result["fault"]: result for result in results}


def _outcome(result: dict[str, str], requests: int) -> str:
    """Return the text of a cell: the reply that the caller got, its error, or that it waits."""
    if result["end"] == "hangs":
        return f"waits > {LIMIT:g} s"
    if result["end"] == "error":
        return result["error"].rpartition(".")[2] + (f", {requests} requests" if requests > 1 else "")
    if result["text"] == TEXT:
        return "complete"
    return f"{'half' if result['text'] else 'empty'} reply as complete"


def _cell(name: str, outcome: str | None) -> str:
    if outcome is None:
        return "—"
    wrong = "waits >" in outcome or "reply as complete" in outcome
    if not FAULTS[name].is_error:
        wrong = outcome != "complete"
    return f"{'✗' if wrong else '✓'} {outcome}"


def render(results: dict[str, Any]) -> str:
    """Return the document."""
    lines = [_ABOUT]
    for title, key in (("Defaults", "default"), (f"With a timeout of {TIMEOUT:g} s and no retries", "documented")):
        outcomes = results[key]
        callers = [caller for caller in OPTIONS if any(caller in row for row in outcomes.values())]
        lines += [f"## {title}", "", f"| fault | {' | '.join(callers)} |", "| --- |" + " --- |" * len(callers)]
        wrong = dict.fromkeys(callers, 0)
        for name in FAULTS:
            cells = {caller: _cell(name, outcomes.get(name, {}).get(caller)) for caller in callers}
            lines.append(f"| {name} | {' | '.join(cells.values())} |")
            for caller in callers:
                wrong[caller] += cells[caller].startswith("✗")
        lines += ["| **wrong** | " + " | ".join(f"**{number}**" for number in wrong.values()) + " |", ""]
    versions = results["machine"]["versions"]
    lines += [
        f"Measured {results['machine']['when']} with Python {results['machine']['python']}; "
        f"{', '.join(f'`{pin}`' for pins in results['pins'].values() for pin in pins)}; "
        f"acytoo {versions['acytoo']} at {results['machine']['commit']}, httptools {versions['httptools']}.",
        "",
        "To run it again: `python -m bench peers`, then `python -m bench faults`.",
        "",
    ]
    return "\n".join(lines)


_ABOUT = f"""# Who notices a fault

Each library's own client, streaming, called an endpoint on this machine that fails on purpose
(`acytoo.testing.FakeEndpoint`, OpenAI's dialect; `acytoo-raw` is our own protocol, raw text).

- ✓ the caller knows the truth: an error for a fault, the reply if it is complete.
- ✗ **half reply as complete**: the loop ended as if nothing had gone wrong.
- ✗ **waits > {LIMIT:g} s**: no text and no error for so long. Default timeouts are longer (ours: 120 s for the first
  byte, 60 s of silence; the OpenAI SDK's: 600 s). In the second table each library has its documented timeout.
- Every library is read with the loop that its documentation shows. If its chunks have a `finish_reason`, a
  caller who checks it can find out that a reply without one was cut; no exception reports it.
- g4f's template documents no timeout for a call; the second table shows what it does with `timeout`.
- A list of models, which some libraries request first, is always available.
- *n requests*: the library retried by itself.
- —: raw text cannot have this fault, because it has no records and no end marker.

Our own failures are listed too.
"""


def run(only: list[str], progress: Callable[[str], None]) -> None:
    """Measure these libraries, or all, then write the results and the document."""
    path = RESULTS / "faults.json"
    before = json.loads(path.read_text()) if only and path.exists() else {}
    results: dict[str, Any] = {"machine": machine.description(), "pins": before.get("pins", {})}
    results |= {key: {name: dict(before.get(key, {}).get(name, {})) for name in FAULTS} for key in _SETTINGS}
    for caller in only or list(OPTIONS):
        if caller in PEERS and (reason := install(caller)):
            progress(f"{caller} is missing: {reason}\n")
            continue
        if caller in PEERS:
            results["pins"][caller] = list(PEERS[caller])
        with ThreadPoolExecutor(2) as pool:
            runs = {key: pool.submit(measure, caller, choose(caller)) for key, choose in _SETTINGS.items()}
        for key, job in runs.items():
            outcomes = job.result()
            for name, outcome in outcomes.items():
                results[key][name][caller] = outcome
            wrong = [name for name, outcome in outcomes.items() if _cell(name, outcome).startswith("✗")]
            progress(f"{caller}, {key}: wrong about {len(wrong)}: {', '.join(wrong)}\n")
        write_json(path, results)
        DOCUMENT.write_text(render(results))


_SETTINGS: dict[str, Callable[[str], dict[str, Any]]] = {
    "default": lambda caller: {},
    "documented": lambda caller: OPTIONS[caller],
}
