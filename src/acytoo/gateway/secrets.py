"""Secrets in a config file: references to where they are, never the secrets themselves."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from urllib.parse import parse_qsl

from acytoo.credentials import stored_key
from acytoo.errors import UsageError
from acytoo.secret import Secret, is_secret_name, split_url
from acytoo.settings import without_frames

_KINDS = ("env", "file", "keyring")


def is_reference(text: str) -> bool:
    """Return whether the text names a place of a secret: `env:NAME`, `file:PATH` or `keyring:NAME`."""
    kind, colon, name = text.partition(":")
    return kind in _KINDS and bool(colon) and bool(name.strip())


def check_reference(reference: str, where: str) -> None:
    """Raise UsageError, which does not show it, for a secret in clear."""
    if not is_reference(reference):
        raise UsageError(
            f"{where}: expected where the secret is, not the secret itself: write env:NAME for an environment "
            "variable, file:PATH or keyring:NAME"
        )


def check_url(url: str, where: str) -> None:
    """Raise UsageError, which does not show it, for a URL that has a password in clear. It may be a reference."""
    if is_reference(url):
        return
    parts = split_url(url)
    if parts is None or not parts.scheme:
        raise UsageError(f"{where}: expected a URL, or env:NAME for an environment variable that contains it")
    if parts.password or any(is_secret_name(name) for name, _ in parse_qsl(parts.query)):
        raise UsageError(
            f"{where}: the URL contains a secret: write env:NAME, and put the URL into that environment variable"
        )


def resolve_secret(reference: str, where: str) -> Secret:
    """Return the secret behind `env:NAME`, `file:PATH` or `keyring:NAME`.

    `where` is the place of the reference, such as `acytoo.toml:12`. Raises UsageError that begins with it, if the
    secret is missing or the reference is a secret in clear.
    """
    return without_frames(_resolve, reference, where)


def resolve_url(url: str, where: str) -> Secret:
    """Return the URL, or the one behind a reference to it. Raises UsageError as `resolve_secret` does."""
    return resolve_secret(url, where) if is_reference(url) else Secret(url)


def _resolve(reference: str, where: str) -> Secret:
    check_reference(reference, where)
    kind, _, name = reference.partition(":")
    name = name.strip()
    if kind == "env":
        text = _environment(name, where)
    elif kind == "file":
        text = _file(name, where)
    else:
        text = stored_key(name)
        if not text:
            raise UsageError(f"{where}: the keyring has no {name!r}: run acytoo credentials set {name}")
    text = text.strip()
    if not text:
        raise UsageError(f"{where}: {reference} is empty")
    if not text.isprintable():
        raise UsageError(f"{where}: {reference} has more than one line, or a control character")
    return Secret(text)


def _environment(name: str, where: str) -> str:
    text = os.environ.get(name)
    if text is None:
        near = difflib.get_close_matches(name, os.environ, 1, 0.8)
        raise UsageError(f"{where}: the environment variable {name} is not set{did_you_mean(near)}")
    return text


def _file(path: str, where: str) -> str:
    try:
        return Path(path).read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{where}: cannot read {path}: {reason}") from None


def did_you_mean(near: list[str]) -> str:
    """Return the end of an error message that names the nearest name, if there is one."""
    return f": did you mean {near[0]!r}?" if near else ""
