"""Guards the hot paths against slow regressions: instructions counted by valgrind, compared with committed counts.

Instructions do not depend on what else the machine does, but on the interpreter and the libraries: the counts are kept
for each minor version of Python, and one that has none is only told. Two runs of different length cancel out what
starting costs.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.guard_work import works
from bench.processes import environment

_COUNTS = Path(__file__).parent / "guard.json"
_LIMIT = 0.05
_FEW, _MORE = 10, 60


def check(*, commit: bool) -> int:
    """0 where every count is within five per cent of the committed one, else 1; `commit` writes them instead."""
    if shutil.which("valgrind") is None:
        sys.stderr.write("guard: valgrind is not installed, nothing was checked\n")
        return 1
    key = f"{platform.python_implementation()} {'.'.join(platform.python_version_tuple()[:2])} {platform.machine()}"
    kept = json.loads(_COUNTS.read_text()) if _COUNTS.exists() else {}
    names = list(works())
    with ThreadPoolExecutor(2) as pool:
        counts = dict(zip(names, pool.map(_count, names), strict=True))
    if commit:
        _COUNTS.write_text(json.dumps({**kept, key: counts}, indent=1, sort_keys=True) + "\n")
        return 0
    if key not in kept:
        sys.stderr.write(f"guard: no counts are committed for {key}; `python -m bench guard --commit` writes them\n")
        return 0
    worse = 0
    for name, count in counts.items():
        before = kept[key].get(name)
        change = count / before - 1 if before else 0.0
        outside = before is None or abs(change) > _LIMIT
        worse += outside
        told = "new: commit it" if before is None else f"{change:+.1%}{'  OUTSIDE ±5 %' if outside else ''}"
        sys.stderr.write(f"{name:32} {count:>12,} {told}\n")
    if worse:
        sys.stderr.write(f"guard: {worse} outside; if that is meant, run `python -m bench guard --commit`\n")
    return 1 if worse else 0


def _count(name: str) -> int:
    """Instructions for each time the work is done."""
    few, more = _instructions(name, _FEW), _instructions(name, _MORE)
    return round((more - few) / (_MORE - _FEW))


def _instructions(name: str, times: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += [sys.executable, "-m", "bench.guard_work", name, str(times)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"guard: {name} failed under valgrind: {done.stderr[-500:]}")
    return int(found[1])
