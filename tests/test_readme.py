"""Every code block of README and docs runs, as a reader would run it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALLS = re.compile(r"^(python3 -m venv|pip install|git clone)", re.MULTILINE)
LIMIT_S = 240


class Block(NamedTuple):
    name: str
    language: str
    code: str


def blocks() -> list[Block]:
    """Every fenced block; those that install are run by CI itself, as the README's own commands."""
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for match in FENCE.finditer(path.read_text()):
            line = path.read_text()[: match.start()].count("\n") + 1
            found.append(Block(f"{path.relative_to(ROOT)}:{line}", match.group(1), match.group(2)))
    return [block for block in found if block.language in ("python", "sh") and not INSTALLS.search(block.code)]


def test_readme_has_its_two_commands_and_code_in_python_and_shell() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(re.findall(r"^.*pip install .*$", readme, re.MULTILINE)) == 2
    assert {block.language for block in blocks()} == {"python", "sh"}


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.name)
def test_a_code_block_runs(block: Block, model_file: Path, tmp_path: Path) -> None:
    if block.language == "python":
        command = [sys.executable, "-W", "error", "-c", block.code]
    else:
        command = ["bash", "-euo", "pipefail", "-c", block.code]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    out, err = tmp_path / "out", tmp_path / "err"
    with (
        out.open("wb") as stdout,
        err.open("wb") as stderr,
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        ) as process,
    ):
        try:
            code = process.wait(LIMIT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    assert code == 0, err.read_text()
    assert out.read_text().strip() or "print" not in block.code, err.read_text()
