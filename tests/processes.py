"""Runs our code in processes of its own, where exit codes, signals and streams can be seen as a user sees them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

ACYTOO = str(Path(sys.executable).with_name("acytoo"))
LIMIT = 120.0
"""Seconds after which a process counts as hung; far more than any of them needs."""


def script(code: str, *options: str) -> list[str]:
    """The command that runs some Python code, by default with everything that could be wrong made an error."""
    return [sys.executable, *(options or ("-X", "dev", "-W", "error")), "-c", textwrap.dedent(code)]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with some variables set."""
    return {**os.environ, **(changes or {})}


def run(
    command: list[str], *, env: Mapping[str, str] | None = None, stdin: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """What came of a command. Raises TimeoutExpired where it hangs."""
    return subprocess.run(
        command, input=stdin, capture_output=True, env=environment(env), cwd=cwd, timeout=LIMIT, check=False
    )


def start(command: list[str], *, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A running command; its three streams are pipes, and it has a process group of its own."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(env), start_new_session=True)
