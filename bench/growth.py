"""How cost grows: with chunks, their size, streams, history and the number of providers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from bench.processes import run_client, upstream

_ROUNDS = 3


def measure(progress: Callable[[str], None]) -> dict[str, Any]:
    """Pairs of how much there was and what it cost, for each way to grow; medians of some rounds."""
    found: dict[str, Any] = {}
    with upstream() as service:
        for caller in ("acytoo", "aiohttp"):

            def burst(chunks: int, size: int, caller: str = caller) -> float:
                repeat = max(2, 20_000 // chunks)
                options = {"chunks": chunks, "characters": chunks * size, "repeat": repeat}
                cpu = [
                    run_client(caller, "burst", f"burst-{chunks}-{size}", service, **options)["cpu_s"] / repeat
                    for _ in range(_ROUNDS)
                ]
                return float(sorted(cpu)[_ROUNDS // 2] * 1e3)

            progress(f"growth: chunks, {caller}\n")
            found.setdefault("chunks", {})[caller] = [(n, burst(n, 6)) for n in (100, 1_000, 10_000, 100_000)]
            progress(f"growth: size of a chunk, {caller}\n")
            found.setdefault("size", {})[caller] = [(s, burst(2_000, s)) for s in (10, 100, 1_000, 10_000)]
            progress(f"growth: streams, {caller}\n")
            streams = []
            for number in (50, 200, 500, 1_000, 2_000):
                figures = [
                    run_client(caller, "paced", "paced-500", service, streams=number, interval=0.5, window=3)
                    for _ in range(_ROUNDS)
                ]
                streams.append((number, sorted(f["cpu_s"] / f["wall_s"] for f in figures)[_ROUNDS // 2] * 1e3))
            found.setdefault("streams", {})[caller] = streams
    progress("growth: history, providers\n")
    found["history"] = {"acytoo": [(n, _history(n)) for n in (1, 10, 100, 1_000, 10_000)]}
    found["providers"] = {"acytoo": [(n, _providers(n)) for n in (10, 100, 1_000, 10_000)]}
    return found


def _history(number: int) -> float:
    """Milliseconds to check and compose a request with so many messages."""
    from acytoo.providers.compatible import Compatible

    provider = Compatible("http://127.0.0.1:1/v1", key="bench")
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": "Hello, how are you today?"} for i in range(number)]
    return _quickest(lambda: provider.create_async_generator(model="m", messages=messages), max(20, 2_000 // number))


def _providers(number: int) -> float:
    """Milliseconds to find and make one of so many providers."""
    from acytoo import registry
    from acytoo.providers.compatible import Compatible

    many = {f"service{i}": type(f"Service{i}", (Compatible,), {}) for i in range(number)}
    with patch.object(registry, "providers", lambda: many):
        return _quickest(lambda: registry.provider("service7/m", url="http://127.0.0.1:1/v1"), 500)


def _quickest(work: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - began)
    return best / times * 1e3
