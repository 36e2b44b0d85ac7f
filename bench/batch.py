"""What a row of a batch costs: rows a second, CPU and peak memory, beside other libraries.

Every contender is a process of its own that reads the same prompts, asks the same upstream, and writes a line for each
reply. The upstream begins a reply after a log-normal time, as chat services do. A stream has a chunk every 6 ms from
then on; a document comes when the stream would have ended. All ask for documents, as they do by default.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from bench.native import program
from bench.peers import python_of
from bench.processes import ROOT, Refused, Watched, environment, last_line, started
from bench.sweeps import Sweep
from bench.table import BATCH_SWEEPS

_MEDIAN_US = 100_000
_SPREAD = 0.5
"""The median time until a reply begins, and the standard deviation of its logarithm."""

_CHUNKS = 16
_INTERVAL_US = 6250

_MOST_S = 3600.0
"""Seconds after which a contender is stopped."""

_SAMPLE_S = 0.2
"""Seconds between two looks at a process."""

_BUSY = 0.9
"""The share of a core above which the upstream counts as the bottleneck."""

_SPEED_UP = 10
"""How much faster the upstream is with fewer than 500 requests at once, and for the memory of a million rows.

Contenders would only wait for it otherwise.
"""


def _prompts(speed: int) -> list[str]:
    """Return a thousand lines, each with the delay after which the upstream replies."""
    chance = random.Random(1)
    delays = [_MEDIAN_US / speed * chance.lognormvariate(0, _SPREAD) for _ in range(1000)]
    prompts = [f"N={_CHUNKS};I={_INTERVAL_US // speed};D={round(delay)}; What is the answer?" for delay in delays]
    return [json.dumps({"prompt": prompt}) + "\n" for prompt in prompts]


_OPENAI = """
import asyncio, json, sys
from openai import AsyncOpenAI
url, rows, out, jobs = sys.argv[1:]

async def main():
    client = AsyncOpenAI(base_url=url + "/v1", api_key="k", max_retries=2)
    free = asyncio.Semaphore(int(jobs))
    with open(out, "w") as file:
        async def ask(number, prompt):
            async with free:
                reply = await client.chat.completions.create(
                    model="gpt-bench", messages=[{"role": "user", "content": prompt}])
            file.write(json.dumps({"id": number, "text": reply.choices[0].message.content}) + "\\n")
        await asyncio.gather(*[ask(n, json.loads(line)["prompt"]) for n, line in enumerate(open(rows))])

asyncio.run(main())
"""

_LITELLM = """
import json, sys
import litellm
url, rows, out, jobs = sys.argv[1:]
messages = [[{"role": "user", "content": json.loads(line)["prompt"]}] for line in open(rows)]
replies = litellm.batch_completion(model="openai/gpt-bench", messages=messages, api_base=url + "/v1", api_key="k",
                                   max_workers=int(jobs))
with open(out, "w") as file:
    for number, reply in enumerate(replies):
        file.write(json.dumps({"id": number, "text": reply.choices[0].message.content}) + "\\n")
"""

_ASYNC_BATCH_LLM = """
import asyncio, json, sys
from async_batch_llm import llm, process_stream
url, rows, out, jobs = sys.argv[1:]
model = llm("openai-compatible:gpt-bench", base_url=url + "/v1", api_key="k", max_connections=int(jobs))

async def main():
    prompts = (json.loads(line)["prompt"] for line in open(rows))
    with open(out, "w") as file:
        async for result in process_stream(model, prompts, concurrency=int(jobs)):
            file.write(json.dumps({"id": result.item_id, "text": result.output}) + "\\n")

asyncio.run(main())
"""

_RAY = """
import json, sys
import ray
from ray.data.llm import HttpRequestProcessorConfig, build_processor
url, rows, out, jobs = sys.argv[1:]
ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
ray.data.DataContext.get_current().enable_progress_bars = False
config = HttpRequestProcessorConfig(url=url + "/v1/chat/completions", headers={"Authorization": "Bearer k"},
                                    batch_size=int(jobs), concurrency=1)
asked = build_processor(
    config,
    preprocess=lambda row: {
        "payload": {"model": "gpt-bench", "messages": [{"role": "user", "content": row["prompt"]}]}
    },
    postprocess=lambda row: {"text": row["http_response"]["choices"][0]["message"]["content"]},
)
with open(out, "w") as file:
    for row in asked(ray.data.read_json(rows)).iter_rows():
        file.write(json.dumps({"text": row["text"]}) + "\\n")
"""

_SCRIPTS = {"openai": _OPENAI, "litellm": _LITELLM, "async-batch-llm": _ASYNC_BATCH_LLM, "ray": _RAY}
_CLI = "from acytoo.cli import main; main()"


def sweeps(service: Watched, scale: float) -> list[Sweep]:
    """Return the sweeps of batches; a scale below 1 has fewer rows, and its figures do not count."""

    def rows(number: int) -> int:
        return max(20, int(number * scale))

    def beside(count: int, jobs: int, peers: list[str]) -> Sweep:
        speed = 1 if jobs >= 500 else _SPEED_UP
        return Sweep(
            f"batch-{count}-{jobs}", ["acytoo"], lambda name: _measure(service, name, rows(count), jobs, speed), peers
        )

    sizes = {"10,000 rows": 10_000, "1,000,000 rows": 1_000_000}
    workers = {"1 worker": 1, "2 workers": 2}
    return [
        *[beside(count, jobs, peers) for (count, jobs), peers in BATCH_SWEEPS.items()],
        Sweep("batch-memory", [*sizes], lambda name: _measure(service, "acytoo", rows(sizes[name]), 500, _SPEED_UP)),
        Sweep("batch-ray", [*workers], lambda name: _on_ray(service, workers[name], rows(40_000), 100)),
    ]


def running_upstream() -> Any:
    """Run the upstream of the batches."""
    return started([program("upstream")], environment())


def _measure(service: Watched, contender: str, count: int, jobs: int, speed: int = 1) -> dict[str, Any]:
    def command(rows: Path, out: Path) -> list[str]:
        if contender == "acytoo":
            program = str(Path(sys.executable).with_name("acytoo"))
            return [program, "batch", str(rows), "-o", str(out), "-j", str(jobs), *_model(service)]
        return [str(python_of(contender)), "-c", _SCRIPTS[contender], service.url, str(rows), str(out), str(jobs)]

    return _run(service, command, count, speed, has_workers=contender == "ray")


def _on_ray(service: Watched, workers: int, count: int, jobs: int) -> dict[str, Any]:
    """Measure our engine on Ray, with so many requests at once for each worker."""

    def command(rows: Path, out: Path) -> list[str]:
        options = ["--engine", "ray", "--workers", str(workers), "-j", str(jobs * workers)]
        return [str(python_of("ray")), "-c", _CLI, "batch", str(rows), "-o", str(out), *options, *_model(service)]

    return _run(service, command, count, 1, has_workers=True)


def _model(service: Watched) -> list[str]:
    return ["-m", "compatible/gpt-bench", "--url", f"{service.url}/v1"]


def _run(
    service: Watched, command: Callable[[Path, Path], list[str]], count: int, speed: int, *, has_workers: bool
) -> dict[str, Any]:
    """Run one contender. Raises Refused unless it writes every reply, or if the upstream was the bottleneck."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        rows, out = Path(folder) / "rows.jsonl", Path(folder) / "out.jsonl"
        with rows.open("w") as file:
            file.writelines(itertools.islice(itertools.cycle(_prompts(speed)), count))
        env = environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "src")]))
        service.restart()
        began = time.perf_counter()
        process = subprocess.Popen(command(rows, out), stdout=subprocess.DEVNULL, stderr=errors, env=env, cwd=folder)
        watch = (_TreeWatch if has_workers else _Watch)(process.pid)
        limit = threading.Timer(_MOST_S, process.kill)
        limit.start()
        _, status, usage = os.wait4(process.pid, 0)
        limit.cancel()
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu, memory = watch.stop(usage)
        written = _lines_of(out) if out.exists() else 0
        if process.returncode or written != count:
            errors.seek(0)
            reason = last_line(errors.read())
            raise Refused(f"ended with {process.returncode} after {written:,} of {count:,} replies: {reason}")
    if (share := service.used()[1]) > _BUSY:
        raise Refused(f"the upstream used {share:.0%} of a core")
    return {"wall_s": seconds, "rows_per_s": count / seconds, "cpu_ms": cpu / count * 1000, "memory_mb": memory / 1e6}


def _lines_of(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


class _Watch:
    """A thread that looks again and again at a process without workers: its peak of memory.

    That of the program alone: the `ru_maxrss` of a process is at least the memory of the one that started it, because
    it begins as a copy.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self, usage: resource.struct_rusage) -> tuple[float, int]:
        """Return the seconds of CPU, and the most bytes of memory that were held at once up to the last look."""
        self._is_done.set()
        self._thread.join()
        return self._cpu(usage), self._peak

    def _run(self) -> None:
        while not self._is_done.wait(_SAMPLE_S):
            self._look()

    def _look(self) -> None:
        with suppress(OSError, IndexError):  # it has ended
            status = Path(f"/proc/{self._pid}/status").read_text()
            self._peak = int(status.split("VmHWM:")[1].split()[0]) * 1024

    def _cpu(self, usage: resource.struct_rusage) -> float:
        return usage.ru_utime + usage.ru_stime


class _TreeWatch(_Watch):
    """The CPU and the memory (proportional set size) of a process and all its children, which Ray does not wait for."""

    def __init__(self, pid: int) -> None:
        self._known = {pid: psutil.Process(pid)}
        self._seconds: dict[int, float] = {}
        super().__init__(pid)

    def _look(self) -> None:
        memory = 0
        try:
            self._known |= {each.pid: each for each in self._known[self._pid].children(recursive=True)}
        except psutil.NoSuchProcess:
            return
        for pid, process in self._known.items():
            try:
                times = process.cpu_times()
                self._seconds[pid] = times.user + times.system
                memory += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        self._peak = max(self._peak, memory)

    def _cpu(self, usage: resource.struct_rusage) -> float:
        return sum(self._seconds.values())
