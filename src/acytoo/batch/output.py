"""The output of a batch, which is also its checkpoint.

The problem: a process can be killed at any instant, and no reply may be lost, doubled or paid for twice.

The strategy: a finished row is one complete line, written with one system call, in a file that is only appended to. On
start, the ids of its complete lines are read, and a torn last line is cut off. What is not there has not been done. A
small file beside it has the fingerprint of the input and the options, so that the output of another batch is not
continued by mistake. A lock keeps a second process out.

The cost: one write for each row, `fsync` now and then, and a scan of the output at the start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from acytoo.batch.ids import IdSet, RowId
from acytoo.dialects.fields import count, object_or_empty
from acytoo.errors import OutputError, UsageError
from acytoo.types import JSONObject

_READ_SIZE = 1024 * 1024


class Fingerprint(msgspec.Struct, forbid_unknown_fields=False):
    """What a batch was started with: its input, and the options that change its replies."""

    input: str
    options: dict[str, str]
    version: int = 1


class Line(msgspec.Struct):
    """What has to be known of a line of the output or of the errors."""

    id: RowId | None = None
    custom_id: str | None = None
    row: int | None = None
    line: int | None = None
    error: Any = None
    retryable: bool = False
    usage: Any = None
    response: Any = None

    @property
    def row_id(self) -> RowId | None:
        """The id of the row; in OpenAI's format `id` is that of the request."""
        return self.id if self.custom_id is None else self.custom_id

    @property
    def token_counts(self) -> tuple[int, int]:
        """The tokens of the request and of the reply; in OpenAI's format those of the response's body."""
        response = object_or_empty(self.response)
        usage = object_or_empty(self.usage) or object_or_empty(object_or_empty(response.get("body")).get("usage"))
        names = (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"))
        first, second = [next((count(usage[name]) for name in pair if name in usage), 0) for pair in names]
        return first, second


class AppendedFile:
    """A file of lines that grows by whole lines only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        self._size = os.fstat(self._fd).st_size
        self._is_synced = True

    def append(self, line: bytes) -> None:
        """Write a line. Raises OutputError if there is no room for all of it; then nothing of it stays."""
        try:
            written = os.write(self._fd, line)
            while written < len(line):  # the disk is full, or a signal came
                written += os.write(self._fd, line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from error
        self._size += len(line)
        self._is_synced = False

    def sync(self) -> None:
        """Have what has been written survive a loss of power. Raises OutputError."""
        if self._is_synced:
            return
        self._is_synced = True
        try:
            os.fsync(self._fd)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise OutputError(f"cannot write {self.path}: {error.strerror}") from error

    def lock(self) -> None:
        """Keep other processes from writing. Raises UsageError if one does."""
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another process is writing {self.path}: wait for it, or use another output") from error
        except OSError:  # a file system without locks
            pass

    def clear(self) -> None:
        """Remove everything in the file."""
        os.ftruncate(self._fd, 0)
        self._size = 0

    def cut_torn_line(self) -> int:
        """Remove what follows the last newline. Return how many bytes that were."""
        end = self._size
        while end > 0:
            begin = max(0, end - _READ_SIZE)
            os.lseek(self._fd, begin, os.SEEK_SET)  # Windows has no pread; writes are appended anyway
            place = os.read(self._fd, end - begin).rfind(b"\n")
            if place >= 0:
                end = begin + place + 1
                break
            end = begin
        torn = self._size - end
        if torn:
            os.ftruncate(self._fd, end)
            self._size = end
        return torn

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in the file."""
        return self._size == 0

    def close(self) -> None:
        """Close the file, after syncing it."""
        if self._fd >= 0:
            try:
                self.sync()
            finally:
                os.close(self._fd)
                self._fd = -1


_NO_SYNC = {22, 95}
"""EINVAL and EOPNOTSUPP: the file is a pipe or a device."""


class Output:
    """The replies and the errors of a batch, in two files, and which rows are finished."""

    def __init__(self, replies: AppendedFile, errors: AppendedFile) -> None:
        self.done = IdSet()
        """Rows that have a reply."""
        self.failed = IdSet()
        """Rows that had an error and no reply when the output was opened, or have got an error since."""
        self._recovered = 0  # of those, rows that have a reply now
        self._invalid = IdSet()
        """Numbers of rows that could not be read."""
        self._replies = replies
        self._errors = errors

    @classmethod
    def open(
        cls, path: Path, fingerprint: Fingerprint, *, overwrite: bool = False, accept_changes: bool = False
    ) -> Output:
        """Open the output of a batch, to begin or to continue it.

        Raises UsageError if it cannot be written, if another process writes it, or if it is that of another batch.
        """
        is_other = path.exists() and not (path.is_file() or path.is_dir())  # opening a folder fails with a reason
        if is_other or str(path) == "-":  # as standard output
            raise UsageError(f"cannot write {path}: the output is the checkpoint, so it must be a file")
        replies = AppendedFile(path)
        try:
            replies.lock()
            errors = AppendedFile(errors_path(path))
        except BaseException:
            replies.close()
            raise
        output = cls(replies, errors)
        try:
            output._begin(path, fingerprint, overwrite, accept_changes)
        except BaseException:
            output.close()
            raise
        return output

    def _begin(self, path: Path, fingerprint: Fingerprint, overwrite: bool, accept_changes: bool) -> None:
        known = None if overwrite else read_fingerprint(path)
        if overwrite:
            self._replies.clear()
            self._errors.clear()
        elif known is None and not self._replies.is_empty:
            raise UsageError(
                f"{path} exists and is not the output of a batch ({fingerprint_path(path).name} is missing): "
                "use another output, or --overwrite"
            )
        elif known is not None and not accept_changes and (change := _change(known, fingerprint)):
            raise UsageError(
                f"{path} is the output of another batch: {change}. Use another output, --overwrite to begin again, "
                "or --accept-changes to continue it all the same"
            )
        _write_fingerprint(path, fingerprint)
        self._replies.cut_torn_line()
        self._errors.cut_torn_line()
        for line in read_lines(path):
            if line.row_id is not None:
                self.done.add(line.row_id)
        for line in read_lines(errors_path(path)):
            if line.row_id is None:
                self._invalid.add(line.row or line.line or 0)
            elif line.row_id not in self.done:
                self.failed.add(line.row_id)

    def write_reply(self, id: RowId, line: bytes) -> None:
        """Append the line of a reply. Raises OutputError."""
        self._replies.append(line)
        self.done.add(id)
        self._recovered += id in self.failed

    def write_error(self, id: RowId, line: bytes) -> None:
        """Append the line of an error. Raises OutputError."""
        self._errors.append(line)
        self.failed.add(id)

    def write_invalid(self, number: int, line: bytes) -> None:
        """Append the line of a row that could not be read, unless an earlier run has. Raises OutputError."""
        if self._invalid.add(number):
            self._errors.append(line)

    @property
    def has_failed_rows(self) -> bool:
        """Whether a row that could be read has an error in place of a reply."""
        return len(self.failed) > self._recovered

    @property
    def errors(self) -> int:
        """How many rows have an error in place of a reply."""
        return len(self.failed) - self._recovered + len(self._invalid)

    def sync(self) -> None:
        """Have what has been written survive a loss of power. Raises OutputError."""
        self._errors.sync()
        self._replies.sync()

    def close(self) -> None:
        """Close the files."""
        try:
            self._errors.close()
        finally:
            self._replies.close()


def errors_path(path: Path) -> Path:
    """Return the file with the errors: `replies.errors.jsonl` beside `replies.jsonl`."""
    return path.with_name(f"{path.stem}.errors.jsonl")


def fingerprint_path(path: Path) -> Path:
    """Return the file with the fingerprint: `replies.batch.json` beside `replies.jsonl`."""
    return path.with_name(f"{path.stem}.batch.json")


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of an output or of its errors. Raises UsageError for one that a batch cannot have written."""
    decode = msgspec.json.Decoder(Line).decode
    try:
        with path.open("rb") as file:
            for number, data in enumerate(file, 1):
                if data.endswith(b"\n"):  # another process may be writing it
                    try:
                        yield decode(data)
                    except (msgspec.DecodeError, UnicodeDecodeError) as error:
                        raise UsageError(f"{path}, line {number} is not that of a batch: {error}") from error
    except FileNotFoundError:
        return


def file_fingerprint(path: Path) -> str:
    """Return the digest of a file's content. Raises UsageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def is_being_written(path: Path) -> bool:
    """Return whether a process is writing an output."""
    if sys.platform == "win32":
        return False
    import fcntl

    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
    return False


def read_fingerprint(path: Path) -> Fingerprint | None:
    """Return the fingerprint of an output, None if there is none. Raises UsageError if it cannot be read."""
    place = fingerprint_path(path)
    try:
        return msgspec.json.decode(place.read_bytes(), type=Fingerprint)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {place}: {error}; --overwrite begins again") from error


def _write_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Replace the file in one step: it is the old one or the new one, whenever the process is killed."""
    place = fingerprint_path(path)
    temporary = place.with_name(place.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(fingerprint)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror}") from error


def _change(known: Fingerprint, new: Fingerprint) -> str:
    """Return what differs from the batch that the output belongs to, "" if nothing does."""
    if known.input != new.input:
        return "its input was another one"
    for name in sorted(known.options.keys() | new.options.keys()):
        old, now = known.options.get(name, "not set"), new.options.get(name, "not set")
        if old != now:
            return f"its {name} was {_short(old)}, now it is {_short(now)}"
    return ""


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def options_fingerprint(options: Mapping[str, object]) -> dict[str, str]:
    """Return options as text, long ones as a digest. They contain no secret."""
    texts: JSONObject = {}
    for name, value in options.items():
        if value is None or value in ("", {}, []):
            continue
        text = value if isinstance(value, str) else msgspec.json.encode(value, order="sorted").decode()
        texts[name] = text if len(text) <= 200 else hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return texts
