"""Guard the hot paths: instructions counted by valgrind are compared with committed counts.

Instruction counts do not depend on what else the machine does, but they depend on the interpreter and the libraries.
So they are committed with the versions of Python and msgspec. If none are committed for the installed versions, the
guard takes the commit that last changed the counts from git and counts that code too. One process does all the work,
piece by piece on command.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

from bench.guard_work import tasks

_ROOT = Path(__file__).parent.parent
_COUNTS = Path(__file__).parent / "guard.json"
LIMIT = 0.05
"""The share by which a count may differ."""

KEY = f"CPython {platform.python_version()} {platform.machine()}, msgspec {version('msgspec')}"
"""The versions that the counts depend on, besides our own code."""

_MIN_INSTRUCTIONS = 20_000_000
"""The fewest instructions to count, so that the cost of the commands is negligible."""


def obstacle() -> str:
    """Return why counts cannot be compared here, "" if they can."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    if KEY not in _committed() and not _last_committed():
        return f"no counts are committed for {KEY}, and git has no commit with counts to compare with"
    return ""


def commit() -> None:
    """Write the counts for the installed versions. Those for other versions are dropped: they were of other code."""
    _COUNTS.write_text(json.dumps({KEY: count(list(tasks()))}, indent=1, sort_keys=True) + "\n")


def changes() -> dict[str, float]:
    """Return by how much each task's count differs from the committed one.

    1.0 for a task that has no committed count, -1.0 for a committed one that does not exist any more.
    """
    before = _committed().get(KEY) or _count_at(_last_committed())
    now = count(list(tasks()))
    removed = {name: -1.0 for name in before if name not in now}
    return {name: number / before[name] - 1 if name in before else 1.0 for name, number in now.items()} | removed


def _last_committed() -> str:
    """Return the commit that last changed the counts, "" if git or the history is missing."""
    command = ["git", "log", "-1", "--format=%H", "--", str(_COUNTS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT)
    except OSError:
        return ""
    return done.stdout.strip()


def _count_at(revision: str) -> dict[str, int]:
    """Count a commit's code with the installed versions."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", "--format=zip", revision, "src", "bench"], capture_output=True, check=True, cwd=_ROOT
        )
        with zipfile.ZipFile(io.BytesIO(archive.stdout)) as files:
            files.extractall(folder)
        names = json.loads((Path(folder) / "bench" / _COUNTS.name).read_text())
        return count(sorted(set().union(*names.values())), Path(folder))


def _committed() -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = json.loads(_COUNTS.read_text()) if _COUNTS.exists() else {}
    return counts


def count(names: list[str], root: Path = _ROOT) -> dict[str, int]:
    """Return the instructions that each task of the code in that folder takes once."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=out", sys.executable]
        process = subprocess.Popen(
            [*command, "-m", "bench.guard_work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "PYTHONHASHSEED": "0"},
            cwd=folder,
            text=True,
        )
        try:
            for name in names:
                _run(process, name, 0)  # a warm-up, which is a hundred times faster while nothing is counted
            _control(process.pid, "--instr=on")
            return {name: _count_task(process, name, Path(folder)) for name in names}
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            process.stdout.close()


def _count_task(process: subprocess.Popen[str], name: str, folder: Path) -> int:
    # Each dump takes a quarter of a second, so an earlier count shows how often to run the task.
    earlier = next((counts[name] for counts in _committed().values() if name in counts), 0)
    times = max(1, _MIN_INSTRUCTIONS // (earlier or _instructions(process, name, 1, folder)))
    return round(_instructions(process, name, times, folder) / times)


def _instructions(process: subprocess.Popen[str], name: str, times: int, folder: Path) -> int:
    """Return the instructions that so many runs take."""
    _run(process, name, times)
    before = set(folder.glob("out.*"))
    _control(process.pid, "--dump")  # sets the count to zero
    dump = max(set(folder.glob("out.*")) - before, key=lambda path: int(path.suffix[1:]), default=None)
    if dump is None:
        raise SystemExit(f"guard: valgrind wrote no count of {name}")
    totals = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
    if totals is None:
        raise SystemExit(f"guard: {dump.name} has no total")
    return int(totals[1])


def _run(process: subprocess.Popen[str], name: str, times: int) -> None:
    """Let the process run a task so many times. It answers each line with a line; 0 is a warm-up."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{times} {name}\n")
    process.stdin.flush()
    if not process.stdout.readline():
        raise SystemExit(f"guard: {name} failed under valgrind")


def _control(pid: int, option: str) -> None:
    subprocess.run(["callgrind_control", option, str(pid)], capture_output=True, check=True, timeout=60)
