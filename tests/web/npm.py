"""Packages of the npm registry, at exact versions with their hashes: what the page vendors and what the tests use."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.services import missing

INTEGRITY = {
    "streaming-markdown@0.2.15": (
        "sha512-eSWjdvLSTznl2+FIzuxw1TRXwhjZiY1RfSygGCMpcNY8CrsaUM2zHtxe/JFcPoXCQxeO3TSJ72QMDIN5B/Ui1w=="
    ),
    "axe-core@4.14.1": (
        "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
    ),
}


def npm_file(package: str, name: str, folder: Path) -> bytes:
    """Return a file of a package's tarball, after its hash is checked. Skip the test without npm or the registry."""
    npm = shutil.which("npm")
    if npm is None:
        missing("npm", "npm")
        raise AssertionError
    packed = subprocess.run([npm, "pack", package], cwd=folder, capture_output=True, check=False, timeout=120)
    if packed.returncode:
        missing(f"the npm registry ({packed.stderr.decode(errors='replace')[-200:]})", "npm")
    tarball = (folder / packed.stdout.decode().split()[-1]).read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    assert found == INTEGRITY[package]
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        file = archive.extractfile(f"package/{name}")
        if file is None:
            pytest.fail(f"{package} has no {name}")
        return file.read()
