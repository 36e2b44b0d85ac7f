"""The machine that a result was measured on: versions, processor, load."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("acytoo", "httptools", "aiohttp", "msgspec", "click", "uvloop", "orjson", "xllamacpp")
_BUSY = 0.1


def description() -> dict[str, Any]:
    """Return what is needed to compare with another run."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "python": platform.python_version(),
        "prefix": sys.base_prefix,  # tells whose build it is: a system's is faster than one made without a profile
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
        "busy": busy(),
    }


def busy() -> float | None:
    """Return the share of all processors that other work, or the host, takes in a second; None if it is unknown."""
    try:
        before = _ticks()
        time.sleep(1)
        used, total = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    except OSError:
        return None
    return round(used / total, 3) if total else None


def _ticks() -> tuple[int, int]:
    """Return the ticks that were not idle (stolen ones are among them), and all ticks, since boot. Linux only."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)


def warn_if_busy() -> None:
    """Warn if the machine is busy with other work: ratios may hold, absolute figures do not."""
    now = busy()
    if now is not None and now > _BUSY:
        sys.stderr.write(f"! other work uses {now:.0%} of the processors: trust only the ratios of this run, if any\n")


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
    """Return the commit, marked as dirty if the work tree has changes other than results, which every run writes."""
    commit = _git("describe", "--always", "--abbrev=7").stdout.strip()
    changes = _git("diff", "--quiet", "HEAD", "--", ":/", ":(exclude,top)bench/results", ":(exclude,top)bench/logs")
    return f"{commit}-dirty" if commit and changes.returncode else commit


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
