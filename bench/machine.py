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
_QUIET = 0.5


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
        "load_before": load(),
    }


def load() -> float | None:
    """How many processes wanted to run, on average over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def warn_if_busy() -> None:
    """Say so where the machine is busy with something else: the ratios may hold, the figures don't."""
    now = load()
    if now is not None and now > _QUIET:
        sys.stderr.write(f"! the machine is busy: load {now}; trust no figure of this run but perhaps ratios\n")


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
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()
