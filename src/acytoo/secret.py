"""Keys and passwords that no repr, log or error can show."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit


class Secret:
    """A key or password; only `reveal()` gives it away. An empty one is false."""

    __slots__ = ("_value",)

    def __init__(self, value: str | Secret | None = "") -> None:
        self._value: str = value._value if isinstance(value, Secret) else value or ""

    def reveal(self) -> str:
        """The secret itself; call it only where it goes onto the wire."""
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
    """The text with every secret in it replaced by `***`, and what is left of one where `truncate` cut it."""
    values = [secret.reveal() if isinstance(secret, Secret) else secret for secret in secrets]
    for value in sorted(values, key=len, reverse=True):
        if len(value) > 1:
            text = text.replace(value, "***")
            if _CUT in text:
                *before, rest = text.split(_CUT)
                text = _CUT.join([*[_without_end(part, value) for part in before], rest])
    return text


def parts_of(url: Any) -> SplitResult | None:
    """The URL's parts; None where it is none, as the reason may be a piece of the password in it."""
    try:
        parts: SplitResult = urlsplit(url)
        _ = parts.port
    except (ValueError, TypeError, AttributeError):
        return None
    return parts


def _without_end(text: str, secret: str) -> str:
    """The text, with `***` for the part of the secret that it may end with; a single character gives nothing away."""
    place = text.find(secret[:2], max(0, len(text) - len(secret)))
    while place >= 0:
        if secret.startswith(text[place:]):
            return text[:place] + "***"
        place = text.find(secret[:2], place + 1)
    return text


_CUT = "…"


def truncate(words: str | bytes, size: int) -> str:
    """At most so many characters of a server's words; by `…` at their end `redact` knows that they may cut a secret."""
    text = words if isinstance(words, str) else words[: 4 * size + 4].decode("utf-8", "replace")
    return text if len(text) <= size else text[: size - 1] + _CUT


def masked_url(url: str) -> str:
    """The URL without the user and password it may have, fit to be shown even where it is malformed.

    What makes it malformed may be a `#`, `/` or `?` of the password: there, all before the last `@` goes.
    """
    if "://" in url and parts_of(url) is not None:
        return re.sub(r"//[^/?#\s]*@", "//***@", url, count=1)
    return re.sub(r"^([\w+.-]*://)?.*@", r"\1***@", url, flags=re.DOTALL)


def secrets_of(url: str, headers: Mapping[str, str]) -> list[Secret]:
    """The secrets in a URL and in headers that are there to carry some."""
    found = [Secret(value) for name, value in headers.items() if _SECRET_HEADER.search(name)]
    if "@" in url and (parts := parts_of(url)) is not None:
        user, password = parts.username or "", parts.password or ""
        found += [Secret(password or user), Secret(unquote(password or user)), *basic(unquote(user), unquote(password))]
    return found


def basic(user: str, password: str) -> list[Secret]:
    """User and password as HTTP's Basic has them, in each charset they may be sent in."""
    if not (user or password):
        return []
    credentials = f"{user}:{password}"
    return [Secret(b64encode(credentials.encode(name, "replace")).decode()) for name in ("utf-8", "latin-1")]


_SECRET_HEADER = re.compile(r"auth|cookie|key|token|secret|password")
