"""The processes of a measurement (upstream, client, gateway and load), and how busy each of them was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psutil

from bench.peers import PEERS, python_of

ROOT = Path(__file__).parent.parent
LOGS = Path(__file__).parent / "logs"
_BUSY = 0.9
"""The share of a core above which the upstream or the load counts as the bottleneck."""
_MAX_RUN = 180
"""Seconds that one client may take."""
_MAX_LOAD = 60
"""Seconds that one load may take."""
_MAX_SHORT = 1000
"""Chunks of a response up to which CPU is counted for each request, above for each chunk."""
_MAX_START = 90
"""Seconds that a process may take until it prints its URL."""


class Refused(Exception):
    """A run whose figures would not be about what it was to measure."""


class Watched:
    """A process whose CPU is counted between two moments."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self._root = psutil.Process(process.pid)
        self.restart()

    def restart(self) -> None:
        """Begin to count now."""
        self._wall, self._cpu = time.perf_counter(), self.cpu()

    def cpu(self) -> float:
        """Return the seconds of CPU that the process and its children have used."""
        total = 0.0
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                total += _cpu(process)
            except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                continue
        return total

    def used(self) -> tuple[float, float]:
        """Return the seconds of CPU since `restart`, and the share of one core."""
        cpu = self.cpu() - self._cpu
        return cpu, cpu / (time.perf_counter() - self._wall)


def _cpu(process: psutil.Process) -> float:
    """Return seconds of CPU. Linux counts a thread's in nanoseconds, psutil's unit is a hundredth of a second."""
    threads = list(Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
    if threads:
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)


def environment(**more: str) -> dict[str, str]:
    """Return a measured process's environment: `bench` importable, no proxy, litellm's price list not downloaded."""
    inherited = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    fixed = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return {**inherited, **fixed, **more}


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a process in a temporary folder; terminate it at the end, kill it after ten seconds."""
    process = subprocess.Popen(command, text=True, cwd=tempfile.gettempdir(), **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def started(command: list[str], env: dict[str, str], *, announced_on: str = "stdout") -> Iterator[Watched]:
    """Run a process that prints its URL in its first line."""
    with tempfile.TemporaryFile("w+") as errors:
        outputs: dict[str, int | IO[str]] = {"stdout": subprocess.DEVNULL, "stderr": errors}
        outputs[announced_on] = subprocess.PIPE
        with running(command, stdin=subprocess.PIPE, env=env, **outputs) as process:
            stream = process.stdout if announced_on == "stdout" else process.stderr
            assert stream is not None
            with _killed_after(_MAX_START, process):
                line = stream.readline().strip()
            if not line:
                errors.seek(0)
                raise Refused(f"{command[1:4]} did not start: {errors.read()[-500:]}")
            yield Watched(process, line)


@contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill the process after that time, which ends every read from its pipes."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def upstream(certificate: Path | None = None) -> Iterator[Watched]:
    """Run the service that clients under measurement talk to."""
    command = [sys.executable, "-m", "bench.upstream"]
    command += ["--certificate", str(certificate)] if certificate else []
    with started(command, environment()) as watched:
        watched.url = f"{'https' if certificate else 'http'}://127.0.0.1:{watched.url}"
        yield watched


def interpreter(caller: str) -> str:
    """Return the interpreter that has the caller's library."""
    return str(python_of(caller)) if caller in PEERS else sys.executable


def run_client(
    caller: str, mode: str, model: str, service: Watched, *, env: dict[str, str] | None = None, **options: Any
) -> dict[str, Any]:
    """Return one client's figures. Raises Refused if the upstream was the bottleneck or the client failed."""
    name, _, loop = caller.partition("+")
    job = {"caller": name, "mode": mode, "url": service.url, "model": model, "uvloop": loop == "uvloop", **options}
    try:
        done = subprocess.run(
            [interpreter(name), "-m", "bench.client", json.dumps(job)],
            env=env or environment(),
            cwd=tempfile.gettempdir(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_MAX_RUN,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{caller}: not done within {_MAX_RUN} s") from error
    if done.returncode:
        raise Refused(f"{caller}: {last_line(done.stderr)}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if result.get("upstream_share", 0.0) > _BUSY:
        raise Refused(f"{caller}: the upstream used {result['upstream_share']:.0%} of a core")
    return result


def pinned(core: int, command: list[str]) -> list[str]:
    """Return the command line that runs a command on one of this process's cores only.

    Gateway sweeps have the gateway on core 0, and the load and the upstream on core 1.
    """
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if len(cores) < 2 or shutil.which("taskset") is None:
        raise Refused("the gateway sweeps need Linux, two cores and taskset")
    return ["taskset", "-c", str(cores[core]), *command]


@dataclass(frozen=True)
class Load:
    """What the load generator sends, and what must arrive.

    `total` responses on `streams` connections. `chunks` are those of each response, 0 for a document; `end` is a text
    near its end. With `interval` (seconds between two chunks) the connections begin within `ramp` seconds.
    """

    request: bytes
    streams: int
    total: int
    chunks: int = 0
    end: str = ""
    interval: float = 0.0
    ramp: float = 0.0


def run_load(program: str, gateway: Watched, service: Watched, load: Load) -> dict[str, Any]:
    """Return one gateway's figures. Raises Refused for a wrong response, or if the load's core was the bottleneck."""
    port = urlsplit(gateway.url).port or 0
    if not load.interval:  # warm up; each paced stream is a warm-up of its own
        _generate(program, port, replace(load, total=max(load.streams, load.total // 10)))
    for watched in (gateway, service):
        watched.restart()
    result = _generate(program, port, load)
    gateway_cpu, _ = gateway.used()
    upstream_cpu, _ = service.used()
    wall = result["wall_s"]
    if (share := (result["cpu_s"] + upstream_cpu) / wall) > _BUSY:
        raise Refused(f"the load and the upstream used {share:.0%} of their core")
    figures = {"wall_s": wall, "load_share": share, "gateway_share": gateway_cpu / wall}
    count = load.total * load.chunks if load.interval or load.chunks > _MAX_SHORT else load.total
    figures["cpu_us"] = gateway_cpu / count * 1e6
    if load.interval:
        if "p99_ms" not in result:
            raise Refused("no chunk arrived after all streams had begun")
        planned = load.ramp * (load.streams - 1) / load.streams + load.interval * load.chunks
        kept_up = min(1.0, planned / wall)
        return {**figures, "p50_ms": result["p50_ms"], "p99_ms": result["p99_ms"], "kept_up": kept_up}
    rates = {"requests_per_s": load.total / wall}
    return {**figures, **rates, "chunks_per_s": load.total * load.chunks / wall} if load.chunks else figures | rates


def _generate(program: str, port: int, load: Load) -> dict[str, Any]:
    """Run the load generator and return what it printed. Raises Refused unless every response was correct."""
    options = {
        "streams": load.streams,
        "total": load.total,
        "chunks": load.chunks,
        "end": load.end,
        "ramp": round(load.ramp * 1000),
        "timeout": _MAX_LOAD,
    }
    command = pinned(1, [program, str(port), *(f"{name}={value}" for name, value in options.items())])
    done = subprocess.run(command, input=load.request, capture_output=True, check=False)
    if done.returncode:
        raise Refused(f"the load generator ended with {done.returncode}: {last_line(done.stderr.decode())}")
    result: dict[str, Any] = json.loads(done.stdout)
    if result["correct"] != load.total:
        raise Refused(f"{result['correct']} of {load.total} responses were correct; {result['failure']}"[:300])
    return result


def last_line(errors: str) -> str:
    """Return the last line of a process's stderr, at most 300 characters."""
    return (errors.strip().splitlines() or ["it failed without a message"])[-1][:300]
