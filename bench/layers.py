"""Where the time goes: our client under the profiler, each function's own time attributed to its layer."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
from collections.abc import Callable
from pathlib import Path

import acytoo
from bench.callers import CALLERS, Target
from bench.client import Counter
from bench.processes import upstream

_OURS = str(Path(acytoo.__file__).parent)
_LAYERS = (
    (f"{_OURS}/wire", "wire"),
    (f"{_OURS}/dialects", "dialects"),
    (f"{_OURS}/http1", "http1"),
    (f"{_OURS}/transport", "transport"),
    (_OURS, "base"),
    (str(Path(asyncio.__file__).parent), "asyncio"),
    ("selectors.py", "asyncio"),
    (str(Path(__file__).parent), "the caller's own loop"),
)
_BUILT_IN = (
    ("socket", "the kernel: reading and writing"),
    ("msgspec", "dialects"),
    ("httptools", "http1"),
    ("split", "wire"),
    ("_asyncio", "asyncio"),
    ("_contextvars", "asyncio"),
)


def measure(progress: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Return the share of each layer, for a burst, for short streams and for paced ones."""
    with upstream() as service:
        shares = {}
        for name, model, times, streams in (
            ("burst", "burst-20000-6", 5, 1),
            ("short streams", "burst-10-6", 1_500, 1),
            ("paced streams", "paced-40", 1, 100),
        ):
            progress(f"layers: {name}\n")
            shares[name] = asyncio.run(_profile(service.url, model, times, streams))
    return shares


async def _profile(url: str, model: str, times: int, streams: int) -> dict[str, float]:
    async with CALLERS["acytoo"](Target(url, model)) as call:
        counter = Counter()
        profile = cProfile.Profile()
        if model.startswith("paced"):
            tasks = [asyncio.ensure_future(call(counter)) for _ in range(streams)]
            await asyncio.sleep(1)
            profile.enable()
            await asyncio.sleep(4)
            profile.disable()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        else:
            await call(counter)
            profile.enable()
            for _ in range(times):
                await call(counter)
            profile.disable()
    return _shares(profile)


def _shares(profile: cProfile.Profile) -> dict[str, float]:
    """Return each layer's share of own time. Waiting in the selector does not count."""
    own: dict[str, float] = {}
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (path, _, function), (_, _, seconds, _, _) in stats.items():
        if "poll" in function:
            continue
        layer = _layer(path, function)
        own[layer] = own.get(layer, 0.0) + seconds
    total = sum(own.values())
    return {layer: seconds / total for layer, seconds in own.items()}


def _layer(path: str, function: str) -> str:
    if path == "~":
        return next((layer for part, layer in _BUILT_IN if part in function), "other built-ins")
    return next((layer for part, layer in _LAYERS if part in path), "the rest of Python")
