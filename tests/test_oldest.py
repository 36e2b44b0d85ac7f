"""The tests of the code that uses our dependencies pass with the oldest versions of them that we allow."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.processes import environment

ROOT = Path(__file__).parent.parent
TESTS = [
    "http1", "transport",
    "wire", "dialects", "test_base_provider.py", "cli/test_command.py",
]  # fmt: skip
"""The tests of the code that calls the dependencies."""
IGNORED = [
    "transport/test_timeouts.py", "transport/test_closing.py", "transport/test_secret_sweep.py",
    "dialects/test_growth.py", "dialects/test_readers.py", "dialects/test_repetition.py", "dialects/test_tool_calls.py",
    "dialects/test_turns.py", "dialects/test_urls.py", "dialects/test_new_dialect.py", "dialects/test_every_dialect.py",
]  # fmt: skip
"""Tests that mostly wait, or that are about our own code alone."""
EXPENSIVE = "not million and not chunks_of_one_byte and not memory and not deeply and not splits and not wrong_usage"
"""The names of expensive tests in the others, as `pytest -k` takes them."""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the oldest versions were never built for it")
def test_the_oldest_allowed_versions_of_the_dependencies_work(tmp_path: Path) -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    oldest = [re.sub(r">=([\d.]+).*", r"==\1", dependency) for dependency in dependencies]
    assert all("==" in version for version in oldest)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(tmp_path)]
    subprocess.run([*pip, *oldest], check=True)
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=few", "-k", EXPENSIVE,
        *[f"--ignore=tests/{name}" for name in IGNORED], *[f"tests/{name}" for name in TESTS],
    ]  # fmt: skip
    process = subprocess.run(
        command, cwd=ROOT, env=environment({"PYTHONPATH": str(tmp_path)}), capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout[-5000:]
