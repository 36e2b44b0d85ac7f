"""Guards the hot paths against slow regressions: instructions counted by valgrind, compared with committed counts.

Instructions do not depend on what else the machine does, but on the interpreter and the libraries: the counts are kept
for each version of Python and of msgspec. Where there are none for the versions at hand, the code for which counts were
last committed is taken from the history and counted anew, beside today's. One process does all the work, told piece by
piece; counting is on only while it works.
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
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from bench.guard_work import works

_ROOT = Path(__file__).parent.parent
_COUNTS = Path(__file__).parent / "guard.json"
LIMIT = 0.05
"""The share by which a count may differ."""

KEY = f"CPython {platform.python_version()} {platform.machine()}, msgspec {version('msgspec')}"
"""What the counts depend on, besides our own code."""

_ENOUGH = 20_000_000
"""Instructions that are counted at least, so that telling the process what to do counts for nothing."""


def obstacle() -> str:
    """Why nothing can be compared here, "" where it can."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    if KEY not in _kept() and not _last_committed():
        return f"no counts are committed for {KEY}, and there is no history to take the code from for which some are"
    return ""


def commit() -> None:
    """Write the counts of this machine's versions; those of others were of other code."""
    _COUNTS.write_text(json.dumps({KEY: counted(list(works()))}, indent=1, sort_keys=True) + "\n")


def changes() -> dict[str, float]:
    """For each piece of work by how much its count differs from the committed one.

    1.0 for a piece that has no count yet, -1.0 for one that is counted no more.
    """
    before = _kept().get(KEY) or _counted_at(_last_committed())
    now = counted(list(works()))
    gone = {name: -1.0 for name in before if name not in now}
    return {name: count / before[name] - 1 if name in before else 1.0 for name, count in now.items()} | gone


def _last_committed() -> str:
    """The commit that last changed the counts, "" where git or the history is missing."""
    command = ["git", "log", "-1", "--format=%H", "--", str(_COUNTS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT)
    except OSError:
        return ""
    return done.stdout.strip()


def _counted_at(revision: str) -> dict[str, int]:
    """What the code of a commit takes here."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", revision, "src", "bench"], capture_output=True, check=True, cwd=_ROOT
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
        names = json.loads((Path(folder) / "bench" / _COUNTS.name).read_text())
        return counted(sorted(set().union(*names.values())), Path(folder))


def _kept() -> dict[str, dict[str, int]]:
    kept: dict[str, dict[str, int]] = json.loads(_COUNTS.read_text()) if _COUNTS.exists() else {}
    return kept


def counted(names: list[str], root: Path = _ROOT) -> dict[str, int]:
    """Instructions for each time a piece of work of the code in that folder is done."""
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
            return {name: _count(process, name, Path(folder)) for name in names}
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            process.stdout.close()


def _count(process: subprocess.Popen[str], name: str, folder: Path) -> int:
    once = _instructions(process, name, 1, folder)
    times = max(1, _ENOUGH // once)
    return round(_instructions(process, name, times, folder) / times)


def _instructions(process: subprocess.Popen[str], name: str, times: int, folder: Path) -> int:
    """What doing it so many times takes; the process answers a line with a line."""
    assert process.stdin is not None and process.stdout is not None
    for line, counting in ((f"0 {name}", "off"), (f"{times} {name}", "on")):
        _control(process.pid, f"--instr={counting}")
        process.stdin.write(line + "\n")
        process.stdin.flush()
        if not process.stdout.readline():
            raise SystemExit(f"guard: {name} failed under valgrind")
    before = set(folder.glob("out.*"))
    _control(process.pid, "--dump")
    dump = max(set(folder.glob("out.*")) - before, key=lambda path: int(path.suffix[1:]), default=None)
    if dump is None:
        raise SystemExit(f"guard: valgrind wrote no count of {name}")
    found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"guard: {dump.name} tells no count")
    return int(found[1])


def _control(pid: int, what: str) -> None:
    subprocess.run(["callgrind_control", what, str(pid)], capture_output=True, check=True, timeout=60)
