"""Packages of the npm registry, at exact versions with their hashes: what the page vendors and what the tests use."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.services import missing

VENDOR = Path(__file__).parents[2] / "src/acytoo/web/static/vendor"
(VENDORED,) = json.loads((VENDOR / "acytoo.cdx.json").read_text())["components"]

STREAMING_MARKDOWN = "{name}@{version}".format_map(VENDORED)
AXE = "axe-core@4.14.1"

SHA512 = {
    STREAMING_MARKDOWN: VENDORED["externalReferences"][0]["hashes"][0]["content"],
    AXE: (
        "1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b73"
        "4f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5"
    ),
}
"""Hashes of the packages' tarballs; a vendored one has its own in the bill of materials."""


def npm_file(package: str, name: str, folder: Path) -> bytes:
    """Return a file of a package's tarball, after its hash is checked. Skip the test without npm or the registry."""
    npm = shutil.which("npm")
    if npm is None:
        missing("npm", "npm")
        raise AssertionError
    packed = subprocess.run([npm, "pack", package], cwd=folder, capture_output=True, check=False, timeout=300)
    if packed.returncode:
        missing(f"the npm registry ({packed.stderr.decode(errors='replace')[-200:]})", "npm")
    tarball = (folder / packed.stdout.decode().split()[-1]).read_bytes()
    assert hashlib.sha512(tarball).hexdigest() == SHA512[package]
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        file = archive.extractfile(f"package/{name}")
        if file is None:
            pytest.fail(f"{package} has no {name}")
        return file.read()
