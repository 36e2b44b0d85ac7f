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
began = time.process_time()
from acytoo import provider
provider("service7/m", url="http://127.0.0.1:1/v1")
print((time.process_time() - began) * 1e3)
"""


def measure(progress: Callable[[str], None]) -> dict[str, Any]:
    """Pairs of how much there was and what it cost, for each way to grow; medians of rounds taken in turn."""
    found: dict[str, Any] = {}
    with upstream() as service:

        def burst(caller: str, chunks: int, size: int) -> float:
            repeat = max(3, 60_000 // chunks)
            options = {"chunks": chunks, "characters": chunks * size, "repeat": repeat}
            model = f"burst-{chunks}-{size}"
            return float(run_client(caller, "burst", model, service, **options)["cpu_s"]) / repeat * 1e3

        def paced(caller: str, streams: int) -> float:
            figures = run_client(caller, "paced", "paced-500", service, streams=streams, interval=0.5, window=3)
            return float(figures["cpu_s"] / figures["wall_s"] * 1e3)

        for name, points, cost in (
            ("chunks", (100, 1_000, 10_000, 100_000), lambda caller, n: burst(caller, n, 6)),
            ("size", (10, 100, 1_000, 10_000), lambda caller, n: burst(caller, 2_000, n)),
            ("streams", (50, 200, 500, 1_000, 2_000), paced),
        ):
            progress(f"growth: {name}\n")
            found[name] = _grown(_CALLERS, points, cost)
    progress("growth: history\n")
    found["history"] = _grown(("acytoo",), (1, 10, 100, 1_000, 10_000), lambda _, n: _history(n))
    progress("growth: providers\n")
    found["providers"] = _grown(("acytoo",), (10, 100, 1_000), lambda _, n: _providers(n))
    return found


def _grown(
    callers: tuple[str, ...], points: tuple[int, ...], cost: Callable[[str, int], float]
) -> dict[str, list[tuple[int, float]]]:
    """What each caller's work costs at each point."""
    taken: dict[tuple[str, int], list[float]] = {}
    for _ in range(_ROUNDS):
        for point in points:
            for caller in callers:
                taken.setdefault((caller, point), []).append(cost(caller, point))
    return {caller: [(point, median(taken[caller, point])) for point in points] for caller in callers}


def _history(number: int) -> float:
    """Milliseconds to check and compose a request with so many messages."""
    from acytoo.providers.compatible import Compatible

    provider = Compatible("http://127.0.0.1:1/v1", key="bench")
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": "Hello, how are you today?"} for i in range(number)]
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        times = max(20, 2_000 // number)
        for _ in range(times):
            provider.create_async_generator(model="m", messages=messages)
        best = min(best, (time.process_time() - began) / times)
    return best * 1e3


def _providers(number: int) -> float:
    """Milliseconds of CPU to find and make one of so many installed providers, in a program that has just begun.

    They are installed as other people's are: a package with an entry point for each, each in a module of its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        about = Path(folder) / "many-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: many\nVersion: 1.0\n")
        listed = "".join(f"service{i} = many.service{i}:Service\n" for i in range(number))
        (about / "entry_points.txt").write_text(f"[acytoo.providers]\n{listed}")
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
