"""Keys and passwords: kept out of every repr, log and error."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit


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

    A secret is found as it is, and as JSON, Python and URLs may escape it, also JSON inside JSON; one of eight or more
    characters also in base64 and hex. A secret of one character is kept.
    """
    values = [secret.reveal() if isinstance(secret, Secret) else secret for secret in secrets]
    values += [form for value in values if len(value) >= _SHORT for form in _encoded(value)]
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


def _encoded(value: str) -> Iterator[str]:
    """Yield a value in hex and in base64, without the characters that depend on what surrounds it."""
    data = value.encode("utf-8", "surrogatepass")
    yield from (data.hex(), data.hex().upper())
    for offset in range(3):
        whole = b64encode(bytes(offset) + data)
        form = whole[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6].decode()
        yield form
        if "+" in form or "/" in form:
            yield form.replace("+", "-").replace("/", "_")


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
        return parts if parts.port != 0 else None  # nothing can be reached at it
    except (ValueError, TypeError, AttributeError):
        return None


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
    """Replace the user, password and query in a URL with `***`, even if it is malformed.

    A `#`, `/` or `?` in the password may be what makes it malformed: then everything before the last `@` is replaced.
    """
    if "://" in url and split_url(url) is not None:
        url = re.sub(r"//[^/?#\s]*@", "//***@", url, count=1)
    else:
        url = re.sub(r"^([\w+.-]*://)?.*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"\?[^#]+", "?***", url, count=1)


def split_secrets(url: str) -> tuple[str, Secret, Secret]:
    """Return a valid HTTP URL without its secret parts, its user and password (`user:password`), and its query."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not (at or parts.query):
        return url, Secret(), Secret()
    return parts._replace(netloc=host, query="").geturl(), Secret(user), Secret(parts.query)


def secrets_of(user: Secret, query: Secret, headers: Mapping[str, Secret]) -> list[Secret]:
    """Return the secrets in the parts of a URL and in headers: all values but those that are known to be none."""
    found: list[Secret] = []
    if user:
        name, _, password = user.reveal().partition(":")
        found += [Secret(password or name), Secret(unquote(password or name)), *basic(unquote(name), unquote(password))]
    for name, value in parse_qsl(query.reveal()):
        if is_secret_name(name) or (len(value) >= _SHORT and name not in _PUBLIC_FIELDS):
            found.append(Secret(value))
    for name, header in headers.items():
        text = header.reveal()
        if is_secret_name(name):
            found.append(header)
        if is_secret_name(name) or name not in _PUBLIC_HEADERS:  # a token after its scheme, a cookie's value
            found += [Secret(part) for part in (text, *re.split(r"[\s;,=]+", text)) if len(part) >= _SHORT]
    return found


def user_header(user: Secret) -> str:
    """Return the `authorization` header for the user and password of a URL."""
    name, _, password = user.reveal().partition(":")
    return f"Basic {basic(unquote(name), unquote(password))[0].reveal()}"


def basic(user: str, password: str) -> list[Secret]:
    """Return the credentials of HTTP Basic authentication, in each charset they may be sent in."""
    if not (user or password):
        return []
    credentials = f"{user}:{password}"
    return [Secret(b64encode(credentials.encode(name, "replace")).decode()) for name in ("utf-8", "latin-1")]


def is_secret_name(name: str) -> bool:
    """Return whether a header or a field of a query with that name is probably secret."""
    return _SECRET_NAME.search(name) is not None


_SECRET_NAME = re.compile(r"auth|cookie|key|token|secret|passw|credential|session|signature|^sig$", re.IGNORECASE)

_SHORT = 8
"""Characters of a value that may be a secret although its name does not say so."""

_PUBLIC_FIELDS = frozenset({"alt", "api-version", "beta", "deployment", "model", "version"})
_PUBLIC_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "accept-language", "anthropic-beta", "anthropic-version", "content-type",
        "http-referer", "openai-beta", "origin", "referer", "user-agent", "x-title",
    }
)  # fmt: skip
