"""Keys and passwords: kept out of every repr, log and error."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
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
    """Replace every secret in the text with `***`, also the start of one that `truncate` cut.

    A secret is found as it is, and as JSON, Python and URLs may escape it, also JSON inside JSON. A secret of one
    character is kept.
    """
    values = [secret.reveal() if isinstance(secret, Secret) else secret for secret in secrets]
    spans = [span for value in values if len(value) > 1 for span in _spans(text, value)]
    if "\\" in text or "%" in text:
        spans += _escaped_spans(text, values)
    if not spans:
        return text
    pieces, end = [], 0
    for start, stop in sorted(spans):
        if start >= end:
            pieces += [text[end:start], "***"]
        end = max(end, stop)
    return "".join([*pieces, text[end:]])


def shows_secret(text: str, secrets: Iterable[Secret | str]) -> bool:
    """Return whether `redact` changes the text."""
    return redact(text, secrets) != text


def _spans(text: str, value: str) -> Iterator[tuple[int, int]]:
    """Yield where a value is in a text, and where a beginning of it of at least two characters precedes a cut."""
    place = text.find(value)
    while place >= 0:
        yield place, place + len(value)
        place = text.find(value, place + len(value))
    cut = text.find(_CUT)
    while cut >= 0:
        place = text.find(value[:2], max(0, cut - len(value)), cut)
        while place >= 0:
            if value.startswith(text[place:cut]):
                yield place, cut
                break
            place = text.find(value[:2], place + 1, cut)
        cut = text.find(_CUT, cut + 1)


def _escaped_spans(text: str, values: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield where the text has a value in which some characters are escaped."""
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    end = 0
    for match in [*_ESCAPE.finditer(text), None]:
        start = match.start() if match is not None else len(text)
        pieces.append(text[end:start])
        starts += range(end, start)
        ends += range(end + 1, start + 1)
        if match is not None:
            decoded, end = _decoded(match), match.end()
            pieces.append(decoded)
            starts += [start] * len(decoded)
            ends += [end] * len(decoded)
    plain = "".join(pieces)
    for value in values:
        # Any number of backslashes counts as one escape, so none is left.
        if len(bare := value.replace("\\", "")) > 1:
            for start, stop in _spans(plain, bare):
                yield starts[start], ends[stop - 1]
        if "\\" in value:
            for escaped in (value.replace("\\", "\\\\"), value.replace("\\", "\\\\\\\\")):
                yield from _spans(text, escaped)


_ESCAPE = re.compile(
    r"\\+(?:u(d[89ab][0-9a-f]{2})\\+u(d[c-f][0-9a-f]{2})|u([0-9a-f]{4})|x([0-9a-f]{2})|(.))"
    r"|(%[0-7][0-9a-f]|%[c-f][0-9a-f](?:%[89ab][0-9a-f])+)",
    re.IGNORECASE | re.DOTALL,
)
"""One escaped character: a pair of surrogates, `\\u0073`, `\\x73`, `\\/`; or percent-encoded."""

_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def _decoded(match: re.Match[str]) -> str:
    high, low, unit, byte, character, percent = match.groups()
    if high:
        return bytes.fromhex(high + low).decode("utf-16-be")
    if unit or byte:
        return chr(int(unit or byte, 16))
    return unquote(percent).replace("\\", "") if percent else _CONTROLS.get(character, character)


def split_url(url: Any) -> SplitResult | None:
    """Return the URL's parts, or None if it is invalid: an exception's message could contain a part of its password."""
    try:
        parts: SplitResult = urlsplit(url)
        _ = parts.port
    except (ValueError, TypeError, AttributeError):
        return None
    return parts


_CUT = "…"


def truncate(text: str | bytes, size: int) -> str:
    """Return at most `size` characters, the last of them `…` if the text was longer.

    `redact` takes the `…` as a sign that a secret may have been cut.
    """
    if isinstance(text, bytes):
        text = text[: 4 * size + 4].decode("utf-8", "replace")  # a character has at most four bytes
    return text if len(text) <= size else text[: size - 1] + _CUT


def show(value: object, size: int = 200) -> str:
    """Return a caller's value for an error message, however long or deep it is."""
    try:
        return truncate(repr(value), size)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply"


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
