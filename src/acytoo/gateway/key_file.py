"""Keys added to, changed in and removed from a config file; all its other bytes stay as they are.

The problem: the file belongs to a person, with comments, an order and perhaps version control, and a server reads it at
any moment. The strategy: the text of one table is appended or cut out, or some of its lines are changed. The result
must decode to the old tables and that one change, or nothing is written. A new file takes the place of the old one at
once.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from acytoo.errors import UsageError
from acytoo.gateway.config import decode_text, parse, parse_document
from acytoo.gateway.source import nearest
from acytoo.gateway.toml_lines import lines_of, span_of_table
from acytoo.gateway.toml_writer import write_table, write_value

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def key_table(name: str, fields: Mapping[str, Any]) -> str:
    """Return the table of a key as TOML text."""
    return write_table(("keys", name), fields)


def add_key(path: Path, name: str, fields: Mapping[str, Any]) -> None:
    """Append the table of a key to a config file. Raises UsageError if the result is invalid."""

    def added(text: str, document: dict[str, Any]) -> str:
        if name in document["keys"]:
            raise UsageError(f"{path}: there is a key {name!r} already: revoke it first, or use another name")
        document["keys"][name] = dict(fields)
        newline = "\r\n" if "\r\n" in text else "\n"
        gap = newline if text.endswith("\n") else newline * 2
        return text + gap + key_table(name, fields).replace("\n", newline)

    _change(path, added)


def remove_key(path: Path, name: str) -> None:
    """Remove the table of a key from a config file.

    Raises UsageError if there is no such key, if it is the only one, or if the result is invalid.
    """

    def removed(text: str, document: dict[str, Any]) -> str:
        _check_has_key(text, path, document, name)
        if len(document["keys"]) == 1:
            # Without keys a server on a loopback address would ask nobody for one.
            raise UsageError(
                f"{path}: {name!r} is the only key, and without one the server would admit everybody: make another "
                "one first (acytoo keys new), or stop the server"
            )
        del document["keys"][name]
        start, end = span_of_table(text, ("keys", name)) or (0, 0)
        before = re.sub(r"(?<=\n)\r?\n\Z", "", text[:start])  # the blank line that `add_key` writes
        return before + text[end:]

    _change(path, removed)


def change_key(path: Path, name: str, changes: Mapping[str, Any]) -> None:
    """Set fields of a key in a config file, which have a line each; None removes one.

    Raises UsageError if there is no such key, if it has no table of its own, or if the result is invalid.
    """

    def changed(text: str, document: dict[str, Any]) -> str:
        _check_has_key(text, path, document, name)
        key, lines, numbers = document["keys"][name], text.split("\n"), lines_of(text)
        hash_at = numbers.get(("keys", name, "hash"), 1) - 1
        end = "\r" if lines[hash_at].endswith("\r") else ""
        removed, added = set(), []
        for field, value in changes.items():
            number = numbers.get(("keys", name, field))
            if value is None:
                key.pop(field, None)
                removed.add(number)
                continue
            key[field] = value
            entry = f"{field} = {write_value(value)}"
            if number is None:
                added.append(entry + end)
            else:
                match = _VALUE.fullmatch(lines[number - 1])
                lines[number - 1] = entry + (match[1] if match is not None else end)
        kept = [line for number, line in enumerate(lines[: hash_at + 1], 1) if number not in removed]
        rest = [line for number, line in enumerate(lines[hash_at + 1 :], hash_at + 2) if number not in removed]
        return "\n".join([*kept, *added, *rest])

    _change(path, changed)


_VALUE = re.compile(r"""\s*\w+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s#]+)(.*)""", re.DOTALL)
"""A field with a value on one line, and what follows it."""


def _check_has_key(text: str, path: Path, document: dict[str, Any], name: str) -> None:
    parse(text, path)  # its error has the lines of the file as it is
    if name not in document["keys"]:
        raise UsageError(f"{path}: there is no key {name!r}{nearest(name, document['keys'])}")


def _change(path: Path, change: Callable[[str, dict[str, Any]], str]) -> None:
    """Replace a config file by what `change` returns of its text; it changes the decoded document accordingly."""
    file = path.resolve()  # a link stays a link
    try:
        with _locked(file):
            _replace(file, _changed(file.read_bytes(), path, change))
    except OSError as error:
        raise UsageError(f"cannot change {path}: {error.strerror}") from None


def _changed(data: bytes, path: Path, change: Callable[[str, dict[str, Any]], str]) -> bytes:
    text = decode_text(data, path)
    document = {"keys": {}, **parse_document(text, path)}
    if not isinstance(document["keys"], dict):
        raise UsageError(f"{path}: keys must be a table")
    changed = change(text, document)
    if {"keys": {}, **parse_document(changed, path)} != document:
        raise UsageError(f"{path}: the key is not a table of its own, such as [keys.NAME]: change the file by hand")
    parse(changed, path)
    bom = data[: len(BOM_UTF8)] if data.startswith(BOM_UTF8) else b""
    return bom + changed.encode()


def _replace(path: Path, data: bytes) -> None:
    """Put a new file in the place of the old one, with its permissions. A crash leaves one of the two."""
    old = path.stat()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    new_path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as new:
            new.write(data)
            new.flush()
            new_path.chmod(stat.S_IMODE(old.st_mode))
            if hasattr(os, "chown"):
                with suppress(PermissionError):  # only root may give a file away
                    os.chown(new_path, old.st_uid, old.st_gid)
            os.fsync(new.fileno())
        new_path.replace(path)
    except BaseException:
        new_path.unlink(missing_ok=True)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep out others who change a file with this function. On Windows, nobody is kept out."""
    if fcntl is None:
        yield
        return
    while True:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):  # else it was replaced while this waited
                yield
                return
