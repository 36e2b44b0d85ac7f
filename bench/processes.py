"""The processes of a measurement: upstream, client, gateway and load, and how busy each of them was."""

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
from typing import Any

import psutil

from bench.peers import PEERS, python_of

ROOT = Path(__file__).parent.parent
_BUSY = 0.9
"""Share of a core above which upstream or load count as the bottleneck."""
_LONGEST = 180
"""Seconds that one client, or one load, may take."""
_LONGEST_START = 90
"""Seconds until a process has to say where it serves."""


class Refused(Exception):
    """A run that says nothing about what it was to measure."""


class Watched:
    """A process whose use of the processor is known between two moments."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self._family = psutil.Process(process.pid)
        self.restart()

    def restart(self) -> None:
        """Count from now on."""
        self._wall, self._cpu = time.perf_counter(), self.cpu()

    def cpu(self) -> float:
        """Seconds of CPU that the process and its children have used."""
        total = 0.0
        for process in (self._family, *self._family.children(recursive=True)):
            try:
                total += _cpu_of(process)
            except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                continue
        return total

    def used(self) -> tuple[float, float]:
        """Seconds of CPU, and share of one core, since `restart`."""
        cpu = self.cpu() - self._cpu
        return cpu, cpu / (time.perf_counter() - self._wall)


def _cpu_of(process: psutil.Process) -> float:
    """Seconds of CPU; Linux counts those of a thread in nanoseconds, where psutil's are of a hundredth."""
    threads = list(Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
    if threads:
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)


def environment(**more: str) -> dict[str, str]:
    """The environment of a measured process: `bench` can be imported, no proxy, no prices looked up by litellm."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    ours = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return {**kept, **ours, **more}


@contextmanager
def started(command: list[str], env: dict[str, str], *, announced_on: str = "stdout") -> Iterator[Watched]:
    """A process that says where it serves in its first line; ended at the end."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if announced_on == "stdout" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if announced_on == "stderr" else errors,
            text=True,
            env=env,
            cwd=tempfile.gettempdir(),
        )
        try:
            stream = process.stdout if announced_on == "stdout" else process.stderr
            assert stream is not None
            with _ended_after(_LONGEST_START, process):
                line = stream.readline().strip()
            if not line:
                errors.seek(0)
                raise Refused(f"{command[1:4]} did not start: {errors.read()[-500:]}")
            yield Watched(process, line)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _ended_after(seconds: float, process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever waits for the process' words waits no longer than that."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def upstream(certificate: Path | None = None) -> Iterator[Watched]:
    """The service that everything under measurement talks to."""
    command = [sys.executable, "-m", "bench.upstream"]
    command += ["--certificate", str(certificate)] if certificate else []
    with started(command, environment()) as watched:
        watched.url = f"{'https' if certificate else 'http'}://127.0.0.1:{watched.url}"
        yield watched


def interpreter(caller: str) -> str:
    """The interpreter whose environment has what the caller needs."""
    return str(python_of(caller)) if caller in PEERS else sys.executable


def run_client(caller: str, mode: str, model: str, service: Watched, **options: Any) -> dict[str, Any]:
    """One client's figures. Raises Refused where the upstream was the bottleneck, or the client failed."""
    name, _, loop = caller.partition("+")
    command = [interpreter(name), "-m", "bench.client", name, mode, service.url, model]
    command += ["--uvloop"] if loop == "uvloop" else []
    for option, value in options.items():
        if value is not None:
            command += [f"--{option}", str(value)]
    try:
        done = subprocess.run(
            command,
            env=environment(),
            cwd=tempfile.gettempdir(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{caller}: not done within {_LONGEST} s") from error
    if done.returncode:
        raise Refused(f"{caller}: {(done.stderr.strip().splitlines() or ['it failed'])[-1][:300]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if result.get("upstream_share", 0.0) > _BUSY:
        raise Refused(f"{caller}: the upstream used {result['upstream_share']:.0%} of a core")
    return result


def run_load(
    mode: str,
    gateway: Watched,
    service: Watched,
    path: str,
    body: str,
    headers: dict[str, str],
    **options: Any,
) -> dict[str, Any]:
    """One gateway's figures. Raises Refused where upstream or load were the bottleneck."""
    command = [sys.executable, "-m", "bench.load", mode, gateway.url.rpartition(":")[2], path, body]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    process = subprocess.Popen(
        command,
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
    with _ended_after(_LONGEST, process):
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
        raise Refused(f"not done within {_LONGEST} s")
    if process.returncode:
        raise Refused(((errors + more).strip().splitlines() or ["the load failed"])[-1][:300])
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    (gateway_cpu, gateway_share), (_, upstream_share) = used
    load_share = result["cpu_s"] / result["wall_s"]
    result |= {"gateway_share": gateway_share, "upstream_share": upstream_share, "load_share": load_share}
    count = result["chunks"] if mode == "paced" else options["requests"]
    result["cpu_us"] = gateway_cpu / count * 1e6
    for what, share in (("upstream", upstream_share), ("load", load_share)):
        if share > _BUSY:
            raise Refused(f"the {what} used {share:.0%} of a core")
    return result
