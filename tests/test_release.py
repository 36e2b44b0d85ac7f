"""What is released: the source distribution, the wheel, its bill of materials, and the workflows that publish them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from acytoo._version import __version__
from tests.processes import environment, run

pytest.importorskip("hatchling", reason="the extra dev has hatchling")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MATERIALS = ROOT / "src/acytoo/web/static/vendor/acytoo.cdx.json"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def build(source: Path, into: Path, *, umask: int = 0o022, timezone: str = "UTC") -> tuple[Path, Path]:
    """Build a folder as the release does. Return the source distribution and the wheel."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(into)],
        cwd=source,
        env=environment({"SOURCE_DATE_EPOCH": "1600000000", "TZ": timezone}),
        umask=umask,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    (distribution,), (wheel,) = into.glob("*.tar.gz"), into.glob("*.whl")
    return distribution, wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution and the wheel of this checkout."""
    return build(ROOT, tmp_path_factory.mktemp("built"))


def tracked(folder: str) -> set[str]:
    """Return the files of a folder that belong to the project, by their paths in the repository."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_source_distribution_has_every_file_of_the_repository_that_the_checks_need(
    built: tuple[Path, Path],
) -> None:
    with tarfile.open(built[0]) as archive:
        members = {member.name.partition("/")[2]: member for member in archive.getmembers()}
    for name in ("check", ".ci/run", ".ci/package", ".gitignore", "pyproject.toml", "CONTRIBUTING.md", "SECURITY.md"):
        assert name in members
    assert members["check"].mode & 0o100, "check is not executable"
    assert tracked("tests") | tracked(".github") <= members.keys()


def test_the_wheel_has_the_package_its_licences_and_its_bill_of_materials_and_nothing_else(
    built: tuple[Path, Path],
) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        names = set(archive.namelist())
        materials = archive.read(f"acytoo-{__version__}.dist-info/sboms/{MATERIALS.name}")
    package = {name for name in names if name.startswith("acytoo/")}
    development = {"src/acytoo/testing/conformance/markdown.py", MATERIALS.relative_to(ROOT).as_posix()}
    assert package == {name.removeprefix("src/") for name in tracked("src/acytoo") - development}
    assert {name.partition(".dist-info/")[2] for name in names - package} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
        "licenses/src/acytoo/web/static/vendor/streaming-markdown.LICENSE",
        f"sboms/{MATERIALS.name}",
    }
    assert materials == MATERIALS.read_bytes()


def test_builds_in_different_folders_times_zones_and_umasks_are_the_same(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    with tarfile.open(built[0]) as archive:
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on; the archive is our own
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(tmp_path / "first")
    (first,) = (tmp_path / "first").iterdir()
    second = tmp_path / "in" / "another" / "folder"
    shutil.copytree(first, second, copy_function=shutil.copy)  # unlike copy2 it keeps no times
    for path in second.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    for source, into, umask, timezone in (
        (first, tmp_path / "one", 0o022, "UTC"),
        (second, tmp_path / "two", 0o077, "Asia/Tokyo"),
    ):
        for expected, found in zip(built, build(source, into, umask=umask, timezone=timezone), strict=True):
            assert found.name == expected.name
            assert hashlib.sha256(found.read_bytes()).digest() == hashlib.sha256(expected.read_bytes()).digest()


def test_the_bill_of_materials_is_valid() -> None:
    validator = pytest.importorskip("cyclonedx.validation.json", reason="the extra dev has cyclonedx-python-lib")
    schema = pytest.importorskip("cyclonedx.schema")
    mistake = validator.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(MATERIALS.read_text())
    assert mistake is None, repr(mistake)


def test_the_bill_of_materials_has_every_vendored_file_with_its_hash() -> None:
    listed = {
        file["name"]: file["hashes"][0]["content"]
        for component in json.loads(MATERIALS.read_text())["components"]
        for file in component["components"]
    }
    files = [path for path in MATERIALS.parent.iterdir() if path != MATERIALS]
    assert listed == {
        path.relative_to(ROOT / "src").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_the_changelog_has_a_dated_heading_for_a_release_and_an_undated_one_before() -> None:
    (heading, *_) = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    if ".dev" in __version__:
        assert heading == "Unreleased"
    else:
        assert re.fullmatch(re.escape(__version__) + r", \d{4}-\d\d-\d\d", heading)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_valid(path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="the extra dev has check-jsonschema")
    done = run([sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)])
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_the_workflows_use_actions_by_their_commit() -> None:
    used = [line for path in WORKFLOWS for line in re.findall(r"uses: (?!\./)(.*)", path.read_text())]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_the_workflow_tests_every_python_that_the_package_claims() -> None:
    tested = re.findall(r'"(3\.\d+)"', (ROOT / ".github/workflows/test.yml").read_text())
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert set(claimed) <= set(tested)
    assert PROJECT["requires-python"] == f">={claimed[0]}"


def test_the_release_is_built_with_exact_versions() -> None:
    lines = (ROOT / ".ci/build-requirements.txt").read_text().replace("\\\n", "").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert pinned
    for line in pinned:
        assert re.fullmatch(r"[\w-]+==[\d.]+( +--hash=sha256:[0-9a-f]{64})+", line)
