"""Files that a server keeps for its callers: OpenAI's Files API, as far as batches need it.

A file is its bytes and a JSON document beside them, in one folder. Both are written under another name first, so that a
crash leaves no half of one. Bytes without a document are of an upload that a crash has interrupted: the next start
removes them. A caller sees its own files only, and has a share of the room.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from acytoo.dialects.json import UNDECODABLE
from acytoo.errors import NotFoundError, RequestError, ServerError

MAX_BYTES = 4 * 1024**3
"""Bytes that all files of a server may take together."""

MAX_OWNER_BYTES = 1024**3
MAX_OWNER_FILES = 1000
"""Bytes and files that one caller may have, so that it cannot use up what is for all."""


class StoredFile(msgspec.Struct, kw_only=True):
    """A file, as OpenAI's API describes it. `owner` is the name of the caller's key."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    owner: str = ""

    def document(self) -> dict[str, object]:
        """Return the file as its API has it."""
        document = {name: getattr(self, name) for name in self.__struct_fields__ if name != "owner"}
        return {"object": "file", **document, "status": "processed", "expires_at": None}


class FileStore:
    """The files in a folder, which belongs to one server."""

    def __init__(self, folder: Path, *, owner_bytes: int = MAX_OWNER_BYTES, owner_files: int = MAX_OWNER_FILES) -> None:
        """Open the folder, and create it if it does not exist. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self._owner_bytes = owner_bytes
        self._owner_files = owner_files
        self._files = {file.id: file for file in self._read_all()}

    def _read_all(self) -> Iterator[StoredFile]:
        for path in self.folder.glob("file-*.json"):
            try:
                yield msgspec.json.decode(path.read_bytes(), type=StoredFile)
            except (*UNDECODABLE, OSError):
                continue  # not one of ours

    def remove_incomplete(self, kept: Container[str]) -> None:
        """Remove what a server that was killed has left. `kept` are ids of files that are still to be added."""
        for path in [*self.folder.glob("file-*"), *self.folder.glob("batch_*.tmp")]:
            is_orphan = not path.suffix and path.name not in kept and not path.with_suffix(".json").exists()
            if path.suffix == ".tmp" or is_orphan:
                path.unlink(missing_ok=True)

    def path(self, file_id: str) -> Path:
        """Return where the bytes of a file are. The id is one that this store has made."""
        return self.folder / file_id

    def new_id(self) -> str:
        """Return the id of a file that does not exist yet."""
        return f"file-{secrets.token_hex(12)}"

    def save(self, owner: str, filename: str, purpose: str, body: bytes) -> StoredFile:
        """Keep a file. Raises RequestError if there is no room, ServerError if it cannot be written."""
        if sum(file.bytes for file in self._all()) + len(body) > MAX_BYTES:
            raise RequestError("the server's files are full: delete some", status=413, code="storage_full")
        own = self.list(owner, "")
        if len(own) >= self._owner_files:
            problem = f"you have {len(own):,} files, and no more are kept: delete some"
            raise RequestError(problem, status=413, code="storage_full")
        size = sum(file.bytes for file in own)
        if size + len(body) > self._owner_bytes:
            problem = f"your files take {size:,} of {self._owner_bytes:,} bytes, and {len(body):,} more do not fit"
            raise RequestError(f"{problem}: delete some", status=413, code="storage_full")
        file_id = self.new_id()
        write_file(self.path(file_id), body)
        return self._add(file_id, owner, filename, purpose)

    def adopt(self, file_id: str, owner: str, filename: str, purpose: str, source: Path) -> None:
        """Move a file here, under a new id. Doing it again after a crash completes it. Raises OSError, ServerError."""
        if source.exists():
            source.replace(self.path(file_id))
        if file_id not in self._files and self.path(file_id).exists():
            self._add(file_id, owner, filename, purpose)

    def _add(self, file_id: str, owner: str, filename: str, purpose: str) -> StoredFile:
        size = self.path(file_id).stat().st_size
        file = StoredFile(
            id=file_id, bytes=size, created_at=int(time.time()), filename=filename, purpose=purpose, owner=owner
        )
        write_file(self.folder / f"{file_id}.json", msgspec.json.encode(file))
        self._files[file_id] = file
        return file

    def _all(self) -> list[StoredFile]:
        return list(self._files.values())  # in one step, because threads add files

    def get(self, file_id: str, owner: str) -> StoredFile:
        """Return a file of the caller. Raises NotFoundError."""
        file = self._files.get(file_id)
        if file is None or file.owner != owner:
            raise NotFoundError(f"there is no file {file_id!r}", status=404, code="not_found_error")
        return file

    def list(self, owner: str, purpose: str) -> list[StoredFile]:
        """Return the files of a caller, the newest first; with a purpose, only those."""
        files = [file for file in self._all() if file.owner == owner and purpose in ("", file.purpose)]
        return sorted(files, key=lambda file: (file.created_at, file.id), reverse=True)

    def delete(self, file_id: str, owner: str) -> None:
        """Delete a file of the caller. Raises NotFoundError."""
        self.get(file_id, owner)
        del self._files[file_id]
        (self.folder / f"{file_id}.json").unlink(missing_ok=True)
        self.path(file_id).unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Replace a file in one step, which survives a loss of power. Raises ServerError."""
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ServerError(f"the file cannot be kept: {error.strerror}", status=507) from None
