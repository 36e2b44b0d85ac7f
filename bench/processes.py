"""The processes of a measurement (upstream, client, gateway and load), and how busy each of them was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil

from bench.peers import PEERS, python_of

ROOT = Path(__file__).parent.parent
LOGS = Path(__file__).parent / "logs"
_BUSY = 0.9
"""The share of a core above which the upstream or the load counts as the bottleneck."""
_MAX_RUN = 180
"""Seconds that one client, or one load, may take."""
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
    """Run the service that everything under measurement talks to."""
    command = [sys.executable, "-m", "bench.upstream"]
    command += ["--certificate", str(certificate)] if certificate else []
    with started(command, environment()) as watched:
        watched.url = f"{'https' if certificate else 'http'}://127.0.0.1:{watched.url}"
        yield watched


def interpreter(caller: str) -> str:
    """Return the interpreter that has the caller's library."""
    return str(python_of(caller)) if caller in PEERS else sys.executable


def run_client(caller: str, mode: str, model: str, service: Watched, **options: Any) -> dict[str, Any]:
    """Return one client's figures. Raises Refused if the upstream was the bottleneck or the client failed."""
    name, _, loop = caller.partition("+")
    job = {"caller": name, "mode": mode, "url": service.url, "model": model, "uvloop": loop == "uvloop", **options}
    try:
        done = subprocess.run(
            [interpreter(name), "-m", "bench.client", json.dumps(job)],
            env=environment(),
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


def run_load(gateway: Watched, service: Watched, job: dict[str, Any]) -> dict[str, Any]:
    """Return one gateway's figures; `job` has the fields of `load.Job` without the port.

    Raises Refused if the upstream or the load was the bottleneck, or if the load failed.
    """
    job = {"port": int(gateway.url.rpartition(":")[2]), **job}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load", json.dumps(job)],
        env=environment(),
        cwd=tempfile.gettempdir(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stderr is not None
    used = (0.0, 0.0), (0.0, 0.0)
    errors = ""
    with _killed_after(_MAX_RUN, process):
        for line in process.stderr:
            if line == "window\n":
                for watched in (gateway, service):
                    watched.restart()
                process.stdin.write("go\n")
                process.stdin.flush()
            elif line == "over\n":
                used = gateway.used(), service.used()
                break
            else:
                errors += line
        out, more = process.communicate()
    if process.returncode < 0:
        raise Refused(f"not done within {_MAX_RUN} s")
    if process.returncode:
        raise Refused(last_line(errors + more))
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    (gateway_cpu, gateway_share), (_, upstream_share) = used
    load_share = result["cpu_s"] / result["wall_s"]
    for name, share in (("upstream", upstream_share), ("load", load_share)):
        if share > _BUSY:
            raise Refused(f"the {name} used {share:.0%} of a core")
    shares = {"gateway_share": gateway_share, "upstream_share": upstream_share, "load_share": load_share}
    count = result["chunks"] if job["mode"] == "paced" else job["requests"]
    return {**result, **shares, "cpu_us": gateway_cpu / count * 1e6}


def last_line(errors: str) -> str:
    """Return the last line of a process's stderr, at most 300 characters."""
    return (errors.strip().splitlines() or ["it failed without a message"])[-1][:300]
