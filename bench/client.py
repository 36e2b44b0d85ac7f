"""One client under measurement, in a process of its own: `python -m bench.client JOB`, the result is printed as JSON.

It runs in the environment of the library that it measures, so it needs only the standard library.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.callers import CALLERS, NO_RETRIES, Caller, Target

_TIME_DIGITS = 19


@dataclass(frozen=True)
class Job:
    """What to measure. `chunks` and `characters` are those of one reply, `repeat` is a number of replies."""

    caller: str
    mode: str
    url: str
    model: str
    ca: str | None = None
    uvloop: bool = False
    chunks: int = 0
    characters: int = 0
    repeat: int = 1
    streams: int = 1
    interval: float = 1.0
    window: float = 3.0


class Stopwatch:
    """Wall time and CPU between two moments, and the upstream's CPU, which it reports itself."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._upstream = self._upstream_cpu()
        self.restart()

    def restart(self) -> None:
        """Begin now. The upstream is not called, so that nothing else runs in the window."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> dict[str, float]:
        """Return what was used since the start."""
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        return {"wall_s": wall, "cpu_s": cpu, "upstream_share": (self._upstream_cpu() - self._upstream) / wall}

    def _upstream_cpu(self) -> float:
        context = ssl._create_unverified_context() if self._url.startswith("https") else None
        with urllib.request.urlopen(f"{self._url}/cpu", context=context) as response:
            return float(response.read())


class Counter:
    """A callback that counts texts and characters."""

    def __init__(self) -> None:
        self.texts = 0
        self.characters = 0

    def __call__(self, text: str) -> None:
        self.texts += 1
        self.characters += len(text)

    def expect(self, characters: int) -> None:
        """Exit if a different number of characters arrived."""
        if self.characters != characters:
            raise SystemExit(f"{self.characters} characters arrived, {characters} were sent")


async def burst(call: Caller, job: Job) -> dict[str, Any]:
    """Measure CPU for each text of replies that arrive as fast as they are read; a first reply is the warm-up."""
    await call(Counter())
    counter = Counter()
    watch = Stopwatch(job.url)
    for _ in range(job.repeat):
        await call(counter)
    used = watch.stop()
    counter.expect(job.repeat * job.characters)
    chunks = job.repeat * job.chunks
    return {"cpu_us": used["cpu_s"] / chunks * 1e6, "chunks_per_s": chunks / used["wall_s"], **used}


async def once(call: Caller, job: Job) -> dict[str, Any]:
    """Measure the CPU of this process until its first reply is complete: imports, client, connection."""
    counter = Counter()
    await call(counter)
    counter.expect(job.characters)
    return {"ms": time.process_time() * 1e3}


async def short(call: Caller, job: Job) -> dict[str, Any]:
    """Measure replies a second, and CPU for each, with `streams` at once."""
    counter = Counter()

    async def several(number: int) -> None:
        for _ in range(number):
            await call(counter)

    async def together(number: int) -> None:
        await asyncio.gather(*[several(number // job.streams) for _ in range(job.streams)])

    await together(max(job.streams, job.repeat // 10))
    counter.texts = counter.characters = 0
    watch = Stopwatch(job.url)
    await together(job.repeat)
    used = watch.stop()
    replies = job.repeat // job.streams * job.streams
    counter.expect(replies * job.characters)
    return {"cpu_us": used["cpu_s"] / replies * 1e6, "replies_per_s": replies / used["wall_s"], **used}


async def paced(call: Caller, job: Job) -> dict[str, Any]:
    """Measure CPU and added time for each text of many streams, in a window in which all of them run."""
    delays: list[int] = []
    begun = 0

    async def one() -> None:
        first = True

        def on_text(text: str) -> None:
            nonlocal begun, first
            if first:
                first = False
                begun += 1
            delays.append(time.monotonic_ns() - int(text[:_TIME_DIGITS]))

        await call(on_text)

    streams = await _open(one, job.streams)
    await _until(lambda: begun, streams)
    await asyncio.sleep(0.5)
    watch = Stopwatch(job.url)
    await asyncio.sleep(0.1)
    delays.clear()
    watch.restart()
    await asyncio.sleep(job.window)
    used = watch.stop()
    times = sorted(delays)
    memory = resident_mb()
    for stream in streams:
        if stream.done():
            stream.result()
            raise SystemExit("a stream ended during the measurement")
    return {
        "cpu_us": used["cpu_s"] / len(times) * 1e6 if times else None,
        "p50_ms": times[len(times) // 2] / 1e6 if times else None,
        "p99_ms": times[len(times) * 99 // 100] / 1e6 if times else None,
        "kept_up": len(times) / (job.streams * used["wall_s"] / job.interval),
        "memory_mb": memory,
        **used,
    }


async def still(call: Caller, job: Job) -> dict[str, Any]:
    """Measure memory with many open streams, each silent after its first text."""
    before = resident_mb()
    counter = Counter()
    streams = await _open(lambda: call(counter), job.streams)
    await _until(lambda: counter.texts, streams)
    gc.collect()
    await asyncio.sleep(0.5)
    return {"memory_mb": resident_mb(), "before_mb": before}


async def _open(start: Callable[[], Any], number: int) -> list[asyncio.Task[None]]:
    """Start the streams, fifty at a time, so that no accept queue overflows."""
    streams: list[asyncio.Task[None]] = []
    for _ in range(number):
        streams.append(asyncio.ensure_future(start()))
        if len(streams) % 50 == 0:
            await asyncio.sleep(0.02)
    return streams


async def _until(begun: Callable[[], int], streams: list[asyncio.Task[None]]) -> None:
    """Wait until every stream has a text; exit if one ends, or after a minute."""
    deadline = time.monotonic() + 60
    while begun() < len(streams):
        for stream in streams:
            if stream.done():
                stream.result()
        if time.monotonic() > deadline:
            raise SystemExit(f"only {begun()} of {len(streams)} streams began within a minute")
        await asyncio.sleep(0.05)


def resident_mb() -> float:
    """Return the MB of memory that this process holds; its peak if there is no /proc."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


_MODES: dict[str, Callable[[Caller, Job], Coroutine[Any, Any, dict[str, Any]]]] = {
    "burst": burst,
    "once": once,
    "short": short,
    "paced": paced,
    "still": still,
}


async def measure(job: Job) -> None:
    """Print the result and exit at once: the time to close streams is not part of the measurement."""
    target = Target(job.url, job.model, job.ca, NO_RETRIES.get(job.caller, {}))
    async with CALLERS[job.caller](target) as call:
        print(json.dumps(await _MODES[job.mode](call, job)), flush=True)
        os._exit(0)


def main() -> None:
    """Run one job."""
    job = Job(**json.loads(sys.argv[1]))
    if job.uvloop:
        import uvloop

        uvloop.run(measure(job))
    else:
        asyncio.run(measure(job))


if __name__ == "__main__":
    main()
