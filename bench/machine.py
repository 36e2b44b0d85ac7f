"""What a result was measured on: versions, processor, load."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_NAMED = ("acytoo", "aiohttp", "msgspec", "click", "uvloop", "orjson", "xllamacpp")
_QUIET = 0.1


def described() -> dict[str, Any]:
    """Everything one has to know to compare with another run."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": {name: _version(name) for name in _NAMED},
        "commit": _commit(),
        "busy": busy(),
    }


def busy() -> float | None:
    """The share of all processors that others use, or the host keeps from this machine, over a second."""
    try:
        before = _ticks()
        time.sleep(1)
        used, stolen, total = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    except OSError:
        return None
    return round((used + stolen) / total, 3) if total else None


def _ticks() -> tuple[int, int, int]:
    """Ticks in use, stolen, and in all, since the machine began; Linux alone tells them."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = numbers[3] + numbers[4]
    return sum(numbers) - idle - numbers[7], numbers[7], sum(numbers)


def warn_if_busy() -> None:
    """Say so where the machine is busy with something else: the ratios may hold, the figures don't."""
    now = busy()
    if now is not None and now > _QUIET:
        sys.stderr.write(f"! others use {now:.0%} of the machine: trust no figure of this run but perhaps ratios\n")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit that is measured, marked where the work tree has changes beside results, which every run writes."""
    described = _git("describe", "--always", "--abbrev=7").stdout.strip()
    changes = _git("diff", "--quiet", "HEAD", "--", ":/", ":(exclude,top)bench/results")
    return f"{described}-dirty" if described and changes.returncode else described


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
