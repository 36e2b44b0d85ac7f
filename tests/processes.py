"""Run code in a process of its own, to see its exit code, signals and output as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

ACYTOO = str(Path(sys.executable).with_name("acytoo"))
LIMIT = 300.0
"""Seconds after which a process counts as hung; far more than any process here needs."""


def script(code: str, *options: str) -> list[str]:
    """Return the command that runs Python code, by default in development mode with warnings as errors."""
    return [sys.executable, *(options or ("-X", "dev", "-W", "error")), "-c", textwrap.dedent(code)]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment with some variables changed."""
    return {**os.environ, **(changes or {})}


def run(
    command: list[str], *, env: Mapping[str, str] | None = None, stdin: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end. Raises TimeoutExpired if it hangs."""
    return subprocess.run(
        command, input=stdin, capture_output=True, env=environment(env), cwd=cwd, timeout=LIMIT, check=False
    )


def start(command: list[str], *, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a command with pipes for its three streams, in a process group of its own.

    They have no buffers: `communicate` would miss what a `readline` before it has read ahead.
    """
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(env), start_new_session=True
    )
