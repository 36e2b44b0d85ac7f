"""The source distribution: whoever gets it can run the tests and the checks."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

sdist = pytest.importorskip("hatchling.builders.sdist", reason="the extra dev has hatchling")
ROOT = Path(__file__).parents[1]


def test_the_source_distribution_has_every_file_of_the_repository_that_the_checks_need(tmp_path: Path) -> None:
    (path,) = sdist.SdistBuilder(str(ROOT)).build(directory=str(tmp_path))
    with tarfile.open(path) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
    for name in ("check", ".ci/run", ".gitignore", "pyproject.toml", "CONTRIBUTING.md", "SECURITY.md"):
        assert name in members
    assert members["check"].mode & 0o100, "check is not executable"
    tests = {file.relative_to(ROOT).as_posix() for file in (ROOT / "tests").rglob("*") if file.is_file()}
    assert {name for name in tests if "__pycache__" not in name} <= members.keys()
