"""No repr, format or log line shows a secret."""

from __future__ import annotations

import json
import logging
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest

from acytoo.http import Endpoint
from acytoo.secret import Secret, redact


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret("s3cret")),
        str(Secret("s3cret")),
        f"{Secret('s3cret')}",
        f"{Secret('s3cret')!r:>20}",
        "%s" % Secret("s3cret"),  # noqa: UP031
        repr([Secret("s3cret")]),
        repr(Endpoint("http://h", Secret("s3cret"), Secret("s3cret"))),
        repr(ValueError(Secret("s3cret"))),
    ],
)
def test_no_representation_contains_the_secret(shown: str) -> None:
    assert "s3cret" not in shown


def test_a_logged_secret_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("x").warning("key is %s and %r", Secret("s3cret"), Secret("s3cret"))
    assert caplog.messages == ["key is *** and Secret('***')"]


def test_reveal_returns_the_secret() -> None:
    assert Secret("s3cret").reveal() == "s3cret"


@pytest.mark.parametrize("nothing", ["", None, Secret("")])
def test_an_empty_secret_is_false_and_looks_empty(nothing: str | Secret | None) -> None:
    secret = Secret(nothing)
    assert (bool(secret), str(secret), repr(secret), secret.reveal()) == (False, "", "Secret('')", "")


def test_a_secret_of_a_secret_is_the_same_secret() -> None:
    assert Secret(Secret("a")) == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_a_secret_does_not_equal_its_text() -> None:
    assert Secret("a") != "a"


@pytest.mark.parametrize(
    ("text", "secrets", "redacted"),
    [
        ("key sk-1 is bad, sk-1!", [Secret("sk-1")], "key *** is bad, ***!"),
        ("key sk-1 is bad", ["sk-1"], "key *** is bad"),
        ("nothing here", [Secret("sk-1"), Secret("")], "nothing here"),
        ("abc abcdef", [Secret("abc"), Secret("abcdef")], "*** ***"),
        ("a cat", [Secret("a")], "a cat"),
        ("", [Secret("sk-1")], ""),
        ("key sk-0123… is bad", [Secret("sk-012345")], "key ***… is bad"),
        ("sk sk-sk-0…", [Secret("sk-sk-01")], "sk ***…"),
        ("ask… and s… and sk", [Secret("sk-1")], "a***… and s… and sk"),
    ],
)
def test_redact_replaces_every_secret(text: str, secrets: list[Secret | str], redacted: str) -> None:
    assert redact(text, secrets) == redacted


ESCAPED = {
    "a \\u escape": (r"key \u0073k-1/\u00e9 is bad", "key *** is bad"),
    "capital digits": (r"key sk-1\u002F\u00E9 is bad", "key *** is bad"),
    "an escaped slash": ("key sk-1\\/é is bad", "key *** is bad"),
    "JSON in JSON": (r"{\"key\": \"sk-1\\/\\u00e9\"}", r"{\"key\": \"***\"}"),
    "every character": ("".join([f"\\u{ord(c):04x}" for c in "sk-1/é"]), "***"),
    "a URL": ("/v1?key=sk-1%2F%C3%a9&alt=sse", "/v1?key=***&alt=sse"),
    "a Python string": (r"b'sk-1/\xe9'", "b'***'"),
    "after a line end": (r"no\nsk-1\/é", r"no\n***"),
    "cut by truncate": (r"key sk-\u0031… is bad", "key ***… is bad"),
    "another one": (r"key \u0073k-2/\u00e9 is bad", r"key \u0073k-2/\u00e9 is bad"),
}


@pytest.mark.parametrize("name", ESCAPED)
def test_redact_replaces_a_secret_that_is_escaped(name: str) -> None:
    text, redacted = ESCAPED[name]
    assert redact(text, [Secret("sk-1/é")]) == redacted


ENCODERS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "Python": repr,
    "a URL": lambda text: quote(text, safe="*"),
}


@pytest.mark.parametrize("secret", ["nkey", "u0073", 'a"b', "a\\b", "a\\nb", "key😀", "12"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_redact_finds_any_secret_in_any_encoding_of_a_text(secret: str, encoder: str) -> None:
    encode = ENCODERS[encoder]
    assert redact(encode(f"a line\n{secret} 'and' \"more\""), [secret]) == encode("a line\n*** 'and' \"more\"")


def test_overlapping_secrets_leave_nothing() -> None:
    assert redact("me:abcdef", ["me:abc", "abcdef"]) == "***"


BINARY: dict[str, Callable[[bytes], str]] = {
    "base64": lambda data: b64encode(data).decode(),
    "URL-safe base64": lambda data: urlsafe_b64encode(data).decode(),
    "base64 in JSON": lambda data: b64encode(data).decode().replace("/", "\\/"),
    "base64 in a URL": lambda data: quote(b64encode(data).decode(), safe=""),
    "hex": lambda data: data.hex(),
    "capital hex": lambda data: data.hex().upper(),
}


@pytest.mark.parametrize("before", ["", "u", "me", "me:", "Bearer "])
@pytest.mark.parametrize("after", ["", "\n", "ab", "abc"])
@pytest.mark.parametrize("encoder", BINARY)
def test_redact_finds_a_secret_in_base64_and_hex(encoder: str, before: str, after: str) -> None:
    secret = "sk-0123?>~\u00e9\u00ff789"
    encode = BINARY[encoder]
    shown = redact(f"no: {encode((before + secret + after).encode())} is bad", [secret])
    assert "***" in shown
    assert shown.startswith("no: ")
    assert shown.endswith(" is bad")
    assert len(shown) <= len("no: *** is bad") + 3 * (len(before) + len(after)) + 12
    plain = f"no: {encode(b'another text that is not the secret')} is bad"
    assert redact(plain, [secret]) == plain
