"""Every code block of README and docs runs as a reader would run it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from acytoo import dialects
from acytoo.testing import FakeEndpoint, reply
from acytoo.types import Finish, Start, Usage
from tests.services import reserve_port

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALLS = re.compile(r"^(python3 -m venv|pip install|git clone)", re.MULTILINE)
PORT = re.compile(r"^(?:.*acytoo serve .*--port|port =) (\d+)", re.MULTILINE)
TIMEOUT_S = 240


class Block(NamedTuple):
    name: str
    language: str
    code: str


def blocks() -> list[Block]:
    """Return every fenced block, except those that install: CI runs these itself, as the README's own commands."""
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


def test_the_programs_type_check_as_their_readers_write_them(tmp_path: Path) -> None:
    programs = [block for block in blocks() if block.language == "python"]
    for block in programs:
        (tmp_path / (re.sub(r"\W", "_", block.name) + ".py")).write_text(block.code)
    command = [sys.executable, "-m", "mypy", "--config-file=", "--check-untyped-defs", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout
    assert f"{len(programs)} source files" in done.stdout


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, str]]:
    """Yield an environment in which the examples' services are scripted servers on loopback."""
    answer = reply(Start("id-1", "m-1", 7), "Hello", " there", Finish("stop"), Usage(9, 2))
    with (
        FakeEndpoint(dialects.OpenAI(), answer) as openai,
        FakeEndpoint(dialects.Anthropic(), answer) as anthropic,
        FakeEndpoint(dialects.Ollama(), answer) as ollama,
    ):
        yield {
            "OPENAI_BASE_URL": openai.url,
            "OPENAI_API_KEY": "test",
            "ANTHROPIC_BASE_URL": anthropic.url,
            "ANTHROPIC_API_KEY": "test",
            "OLLAMA_HOST": ollama.url,
        }


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.name)
def test_a_code_block_runs(block: Block, services: dict[str, str], model_file: Path, tmp_path: Path) -> None:
    code = block.code
    reservation = reserve_port()
    if listens := PORT.search(code):  # another run on this machine, or another block, may have the same port
        code = code.replace(listens[1], str(reservation.getsockname()[1]))
    if block.language == "python":
        command = [sys.executable, "-W", "error", "-c", code]
    else:
        command = ["bash", "-euo", "pipefail", "-c", code]
    environment = {**os.environ, **services, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    out, err = tmp_path / "out", tmp_path / "err"
    with (
        reservation,
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
            status = process.wait(TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    assert status == 0, err.read_text()
    assert out.read_text().strip() or "print" not in block.code, err.read_text()
