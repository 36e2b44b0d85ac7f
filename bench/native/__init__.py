"""The load generator and the upstream of the gateway sweeps, in C, so that neither is what limits a gateway."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.processes import Refused


@functools.cache
def program(name: str) -> str:
    """Compile a program of this folder with the system's gcc; return its path. Raises Refused if that fails."""
    gcc = shutil.which("gcc")
    if gcc is None:
        raise Refused("the gateway sweeps need gcc, which is not installed")
    path = Path(_folder().name) / name
    source = Path(__file__).with_name(f"{name}.c")
    done = subprocess.run([gcc, "-O2", "-o", str(path), str(source)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"gcc cannot compile {source.name} (it needs Linux): {done.stderr[:300]}")
    return str(path)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="acytoo-bench-")
