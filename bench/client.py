"""One client under measurement, in a process of its own: prints what it cost as JSON.

Runs in the environment of whatever it measures, so it needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from bench.callers import CALLERS, Caller

_DIGITS = 19


class Stopwatch:
    """Wall time and CPU between two moments, and the upstream's CPU, which it tells."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._upstream = self._of_upstream()
        self.restart()

    def restart(self) -> None:
        """Begin now, without asking the upstream again: it is asked while nothing is measured."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> dict[str, float]:
        """What was used since the truncate."""
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        return {"wall_s": wall, "cpu_s": cpu, "upstream_share": (self._of_upstream() - self._upstream) / wall}

    def _of_upstream(self) -> float:
        context = ssl._create_unverified_context() if self._url.startswith("https") else None
        with urllib.request.urlopen(f"{self._url}/cpu", context=context) as answer:
            return float(answer.read())


class Counter:
    """Counts texts and characters."""

    def __init__(self) -> None:
        self.texts = 0
        self.characters = 0

    def __call__(self, text: str) -> None:
        self.texts += 1
        self.characters += len(text)


async def burst(call: Caller, arguments: argparse.Namespace) -> dict[str, Any]:
    """CPU for each text of one reply that comes as fast as it is taken; `--repeat` replies after one to warm up."""
    counter = Counter()
    await call(counter)
    counter = Counter()
    watch = Stopwatch(arguments.url)
    for _ in range(arguments.repeat):
        await call(counter)
    used = watch.stop()
    expected = arguments.repeat * arguments.characters
    if counter.characters != expected:
        raise SystemExit(f"{counter.characters} characters came, {expected} were sent")
    chunks = arguments.repeat * arguments.chunks
    return {"cpu_us": used["cpu_s"] / chunks * 1e6, "chunks_per_s": chunks / used["wall_s"], **used}


async def once(call: Caller, arguments: argparse.Namespace) -> dict[str, Any]:
    """CPU of this whole process until its first reply is here: imports, the client, the connection."""
    counter = Counter()
    await call(counter)
    if counter.characters != arguments.characters:
        raise SystemExit(f"{counter.characters} characters came, {arguments.characters} were sent")
    return {"ms": time.process_time() * 1e3}


async def short(call: Caller, arguments: argparse.Namespace) -> dict[str, Any]:
    """Replies a second, and CPU for each, at `--streams` at once."""
    counter = Counter()

    async def some(number: int) -> None:
        for _ in range(number):
            await call(counter)

    async def together(number: int) -> None:
        await asyncio.gather(*[some(number // arguments.streams) for _ in range(arguments.streams)])

    await together(max(arguments.streams, arguments.repeat // 10))
    counter.texts = counter.characters = 0
    watch = Stopwatch(arguments.url)
    await together(arguments.repeat)
    used = watch.stop()
    done = arguments.repeat // arguments.streams * arguments.streams
    if counter.characters != done * arguments.characters:
        raise SystemExit(f"{counter.characters} characters came, {done * arguments.characters} were sent")
    return {"cpu_us": used["cpu_s"] / done * 1e6, "replies_per_s": done / used["wall_s"], **used}


async def paced(call: Caller, arguments: argparse.Namespace) -> dict[str, Any]:
    """CPU and time added for each text of many streams, over a window in which all of them run."""
    late: list[int] = []

    def on_text(text: str) -> None:
        late.append(time.monotonic_ns() - int(text[:_DIGITS]))

    streams: list[asyncio.Task[None]] = []
    begun = [0]

    async def one() -> None:
        first = [True]

        def hear(text: str) -> None:
            if first:
                first.clear()
                begun[0] += 1
            on_text(text)

        await call(hear)

    for _ in range(arguments.streams):
        streams.append(asyncio.ensure_future(one()))
        if len(streams) % 50 == 0:
            await asyncio.sleep(0.02)
    deadline = time.monotonic() + 60
    while begun[0] < arguments.streams:
        for stream in streams:
            if stream.done():
                stream.result()
        if time.monotonic() > deadline:
            raise SystemExit(f"only {begun[0]} of {arguments.streams} streams began within a minute")
        await asyncio.sleep(0.05)
    await asyncio.sleep(arguments.warm)
    watch = Stopwatch(arguments.url)
    await asyncio.sleep(0.1)
    late.clear()
    watch.restart()
    await asyncio.sleep(arguments.window)
    used = watch.stop()
    times = sorted(late)
    memory = resident()
    for stream in streams:
        if stream.done():
            stream.result()
            raise SystemExit("a stream ended before it was to")
    expected = arguments.streams * used["wall_s"] / arguments.interval
    return {
        "cpu_us": used["cpu_s"] / len(times) * 1e6 if times else None,
        "p50_ms": times[len(times) // 2] / 1e6 if times else None,
        "p99_ms": times[len(times) * 99 // 100] / 1e6 if times else None,
        "kept_up": len(times) / expected,
        "memory_mb": memory,
        **used,
    }


async def still(call: Caller, arguments: argparse.Namespace) -> dict[str, Any]:
    """Memory with many streams open that have said something and now are silent."""
    before = resident()
    counter = Counter()
    streams = []
    for _ in range(arguments.streams):
        streams.append(asyncio.ensure_future(call(counter)))
        if len(streams) % 50 == 0:
            await asyncio.sleep(0.05)
    deadline = time.monotonic() + 60
    while counter.texts < arguments.streams:
        if time.monotonic() > deadline or any(stream.done() for stream in streams):
            raise SystemExit(f"only {counter.texts} of {arguments.streams} streams stand")
        await asyncio.sleep(0.05)
    gc.collect()
    await asyncio.sleep(0.5)
    return {"memory_mb": resident(), "before_mb": before}


def resident() -> float:
    """MB of memory that this process holds."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


_MODES: dict[str, Callable[[Caller, argparse.Namespace], Coroutine[Any, Any, dict[str, Any]]]] = {
    "burst": burst,
    "once": once,
    "short": short,
    "paced": paced,
    "still": still,
}


async def measured(arguments: argparse.Namespace) -> None:
    """Print what the mode measures of the caller, and be gone: how long it takes to end streams is not asked."""
    async with CALLERS[arguments.caller](arguments.url, arguments.model, arguments.ca) as call:
        result = await _MODES[arguments.mode](call, arguments)
        print(json.dumps(result), flush=True)
        os._exit(0)


def main() -> None:
    """Measure one caller in one mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("caller", choices=CALLERS)
    parser.add_argument("mode", choices=_MODES)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--ca")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--chunks", type=int, default=0)
    parser.add_argument("--characters", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--warm", type=float, default=0.5)
    parser.add_argument("--window", type=float, default=3.0)
    arguments = parser.parse_args()
    if arguments.uvloop:
        import uvloop

        uvloop.run(measured(arguments))
    else:
        asyncio.run(measured(arguments))


if __name__ == "__main__":
    main()
