"""Keys and passwords: kept out of every repr, log and error."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit


class Secret:
    """A key or password; only `reveal()` returns it. An empty one is false."""

    __slots__ = ("_value",)

    def __init__(self, value: str | Secret | None = "") -> None:
        self._value: str = value._value if isinstance(value, Secret) else value or ""

    def reveal(self) -> str:
        """Return the secret itself, to be sent and never to be shown."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')" if self._value else "Secret('')"

    def __str__(self) -> str:
        return "***" if self._value else ""


def redact(text: str, secrets: Iterable[Secret | str]) -> str:
    """Replace every secret in the text with `***`, also the start of one that `truncate` cut."""
    values = [secret.reveal() if isinstance(secret, Secret) else secret for secret in secrets]
    for value in sorted(values, key=len, reverse=True):
        if len(value) > 1:
            text = text.replace(value, "***")
            if _CUT in text:
                *before, rest = text.split(_CUT)
                text = _CUT.join([*[_mask_end(part, value) for part in before], rest])
    return text


def split_url(url: Any) -> SplitResult | None:
    """Return the URL's parts, or None if it is invalid: an exception's message could contain a part of its password."""
    try:
        parts: SplitResult = urlsplit(url)
        _ = parts.port
    except (ValueError, TypeError, AttributeError):
        return None
    return parts


def _mask_end(text: str, secret: str) -> str:
    """Mask a secret's prefix at the end of truncated text. A prefix of one character is kept."""
    place = text.find(secret[:2], max(0, len(text) - len(secret)))
    while place >= 0:
        if secret.startswith(text[place:]):
            return text[:place] + "***"
        place = text.find(secret[:2], place + 1)
    return text


_CUT = "…"


def truncate(text: str | bytes, size: int) -> str:
    """Return at most `size` characters, the last of them `…` if the text was longer.

    `redact` takes the `…` as a sign that a secret may have been cut.
    """
    if isinstance(text, bytes):
        text = text[: 4 * size + 4].decode("utf-8", "replace")  # a character has at most four bytes
    return text if len(text) <= size else text[: size - 1] + _CUT


def mask_url(url: str) -> str:
    """Replace the user and password in a URL with `***`, even if it is malformed.

    A `#`, `/` or `?` in the password may be what makes it malformed: then everything before the last `@` is replaced.
    """
    if "://" in url and split_url(url) is not None:
        return re.sub(r"//[^/?#\s]*@", "//***@", url, count=1)
    return re.sub(r"^([\w+.-]*://)?.*@", r"\1***@", url, flags=re.DOTALL)


def secrets_of(url: str, headers: Mapping[str, str]) -> list[Secret]:
    """Return the secrets in a URL and in headers whose names suggest one."""
    found = [Secret(value) for name, value in headers.items() if _SECRET_HEADER.search(name)]
    if "@" in url and (parts := split_url(url)) is not None:
        user, password = parts.username or "", parts.password or ""
        found += [Secret(password or user), Secret(unquote(password or user)), *basic(unquote(user), unquote(password))]
    return found


def basic(user: str, password: str) -> list[Secret]:
    """Return the credentials of HTTP Basic authentication, in each charset they may be sent in."""
    if not (user or password):
        return []
    credentials = f"{user}:{password}"
    return [Secret(b64encode(credentials.encode(name, "replace")).decode()) for name in ("utf-8", "latin-1")]


_SECRET_HEADER = re.compile(r"auth|cookie|key|token|secret|password")
