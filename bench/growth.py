"""How cost grows: with chunks, their size, streams, history and the number of providers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench.processes import environment, run_client, upstream

_ROUNDS = 3
_CALLERS = ("aiohttp", "acytoo")
_PROVIDERS = """
import sys, time
sys.path.insert(0, sys.argv[1])
started = time.process_time()
from acytoo import provider
provider("service7/m", url="http://127.0.0.1:1/v1")
print((time.process_time() - started) * 1e3)
"""


def measure(progress: Callable[[str], None]) -> dict[str, Any]:
    """Return (size, cost) points for each way to grow: medians of rounds in which the callers take turns."""
    result: dict[str, Any] = {}
    with upstream() as service:

        def burst(caller: str, chunks: int, size: int) -> float:
            repeat = max(3, 60_000 // chunks)
            options: dict[str, Any] = {"chunks": chunks, "characters": chunks * size, "repeat": repeat}
            model = f"burst-{chunks}-{size}"
            return float(run_client(caller, "burst", model, service, **options)["cpu_s"]) / repeat * 1e3

        def paced(caller: str, streams: int) -> float:
            figures = run_client(caller, "paced", "paced-500", service, streams=streams, interval=0.5, window=3)
            return float(figures["cpu_s"] / figures["wall_s"] * 1e3)

        for name, sizes, cost in (
            ("chunks", (100, 1_000, 10_000, 100_000), lambda caller, n: burst(caller, n, 6)),
            ("size", (10, 100, 1_000, 10_000), lambda caller, n: burst(caller, 2_000, n)),
            ("streams", (50, 200, 500, 1_000, 2_000), paced),
        ):
            progress(f"growth: {name}\n")
            result[name] = _points(_CALLERS, sizes, cost)
    progress("growth: history\n")
    result["history"] = _points(("acytoo",), (1, 10, 100, 1_000, 10_000), lambda _, n: _history(n))
    progress("growth: providers\n")
    result["providers"] = _points(("acytoo",), (10, 100, 1_000), lambda _, n: _providers(n))
    return result


def _points(
    callers: tuple[str, ...], sizes: tuple[int, ...], cost: Callable[[str, int], float]
) -> dict[str, list[tuple[int, float]]]:
    """Return what each caller's work costs at each size."""
    costs: dict[tuple[str, int], list[float]] = {}
    for _ in range(_ROUNDS):
        for size in sizes:
            for caller in callers:
                costs.setdefault((caller, size), []).append(cost(caller, size))
    return {caller: [(size, median(costs[caller, size])) for size in sizes] for caller in callers}


def _history(number: int) -> float:
    """Return the milliseconds to validate and build a request with so many messages."""
    from acytoo.providers.compatible import Compatible

    provider = Compatible("http://127.0.0.1:1/v1", key="bench")
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": "Hello, how are you today?"} for i in range(number)]
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        times = max(20, 2_000 // number)
        for _ in range(times):
            provider.create_async_generator(model="m", messages=messages)
        best = min(best, (time.process_time() - started) / times)
    return best * 1e3


def _providers(number: int) -> float:
    """Return the milliseconds of CPU to find and create one of so many installed providers in a fresh process.

    They are installed as third-party providers are: a package with an entry point and a module for each.
    """
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder) / "many-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: many\nVersion: 1.0\n")
        entries = "".join(f"service{i} = many.service{i}:Service\n" for i in range(number))
        (metadata / "entry_points.txt").write_text(f"[acytoo.providers]\n{entries}")
        package = Path(folder) / "many"
        package.mkdir()
        (package / "__init__.py").write_text("")
        for i in range(number):
            (package / f"service{i}.py").write_text(
                "from acytoo import AsyncGeneratorProvider, dialects\n\n\n"
                "class Service(AsyncGeneratorProvider):\n    dialect = dialects.OpenAI()\n"
                f"    url = {json.dumps(f'http://127.0.0.1:{i + 1}/v1')}\n"
            )
        command = [sys.executable, "-c", _PROVIDERS, folder]
        subprocess.run(command, env=environment(), check=True, capture_output=True)  # writes the bytecode
        done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
        return float(done.stdout)
