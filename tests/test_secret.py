"""No repr, format or log line shows a secret."""

from __future__ import annotations

import json
import logging
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest

from acytoo.http import Endpoint
from acytoo.secret import (
    Secret,
    basic,
    is_secret_name,
    mask_url,
    redact,
    secrets_of,
    show,
    shows_secret,
    split_secrets,
    split_url,
    truncate,
    user_header,
)


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
    "at the beginning": (r"sk-1\/é", "***"),
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


def test_a_value_of_eight_characters_is_found_in_hex() -> None:
    assert redact(b"eight chr"[:8].hex(), [Secret("eight ch")]) == "***"
    assert redact(b"seven c".hex(), [Secret("seven c")]) == b"seven c".hex()


def test_a_secret_with_a_lone_surrogate_is_redacted() -> None:
    assert redact("a \udc80-secret-key b", [Secret("\udc80-secret-key")]) == "a *** b"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("…", "…"),
        ("… key sk-0…", "… key ***…"),
        ("sk-0…", "***…"),
        ("sk-0……", "***……"),
        ("sk-0…sk-0…", "***…***…"),
        ("sksk-0…", "sk***…"),
        ("sksksk-0…", "sksk***…"),
        ("sksk…", "sk***…"),
    ],
)
def test_the_beginning_of_a_secret_is_found_before_every_cut(text: str, redacted: str) -> None:
    assert redact(text, [Secret("sk-012345")]) == redacted


def test_a_beginning_that_repeats_itself_is_found_at_the_cut() -> None:
    assert redact("aabaab…", [Secret("aabaacaab")]) == "aab***…"
    assert redact("aaa…", [Secret("aabaacaab")]) == "a***…"


def test_a_secret_that_contains_the_sign_of_a_cut_is_found_at_a_cut() -> None:
    assert redact("a……", [Secret("a…bcd")]) == "***…"


def test_base64_of_a_secret_alone_is_replaced_completely() -> None:
    assert redact(b64encode(b"0123456789ab").decode(), [Secret("0123456789ab")]) == "***"


def test_a_secret_of_one_character_beside_backslashes_is_kept() -> None:
    assert redact(r"a\u0061 b", [Secret("\\a")]) == r"a\u0061 b"


def test_shows_secret_is_whether_redact_changes_the_text() -> None:
    assert shows_secret("key sk-1", [Secret("sk-1")])
    assert not shows_secret("key sk-2", [Secret("sk-1")])


@pytest.mark.parametrize("url", ["http://h:x/", "http://h:99999/", "http://[h/", 5, b"\xff"])
def test_an_invalid_url_has_no_parts(url: object) -> None:
    assert split_url(url) is None


def test_a_valid_url_has_parts() -> None:
    parts = split_url("https://h:1/p?q")
    assert parts is not None
    assert (parts.scheme, parts.netloc, parts.path, parts.query) == ("https", "h:1", "/p", "q")


@pytest.mark.parametrize(
    ("text", "size", "truncated"),
    [
        ("12345", 5, "12345"),
        ("123456", 5, "1234…"),
        ("ü2345", 5, "ü2345"),
        (b"12345", 5, "12345"),
        ("ü23456".encode(), 5, "ü234…"),
        ("😀😀😀".encode(), 3, "😀😀😀"),
        ("😀😀😀😀".encode(), 3, "😀😀…"),
        (b"\xff2345", 5, "\ufffd2345"),
    ],
)
def test_truncate_marks_a_text_that_is_too_long(text: str | bytes, size: int, truncated: str) -> None:
    assert truncate(text, size) == truncated


def test_a_long_value_is_shown_in_part_and_a_deep_one_by_its_type() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert show("12345", 7) == "'12345'"
    assert show("123456", 7) == "'12345…"
    assert len(show("x" * 1000)) == 200
    assert show(deep) == "a list that is nested too deeply"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("http://h/p", "http://h/p"),
        ("http://u:p@h/p?k=v&l=w#f", "http://***@h/p?***#f"),
        ("http://u:p@h/p?a=http://x@y?k=v", "http://***@h/p?***"),
        ("http://u:p@h/a//b@c", "http://***@h/a//b@c"),
        ("http://h/?a#b?c", "http://h/?***#b?c"),
        ("u:p@h:1", "***@h:1"),
        ("http://u:p/@w@h:x/", "http://***@h:x/"),
        ("ht+tp://u:p\n@h:x", "ht+tp://***@h:x"),
        ("http://h:x/", "http://h:x/"),
        ("http://u:p@h:99999/v1?k=v", "http://***@h:99999/v1?***"),
        ("http://[::1/v1?k=v", "http://[::1/v1?***"),
    ],
)
def test_mask_url_hides_the_secret_parts(url: str, masked: str) -> None:
    assert mask_url(url) == masked


@pytest.mark.parametrize(
    ("url", "plain", "user", "query"),
    [
        ("http://h/p", "http://h/p", "", ""),
        ("HTTP://h/p", "HTTP://h/p", "", ""),
        ("http://u:p@h/p", "http://h/p", "u:p", ""),
        ("http://h/p?k=v", "http://h/p", "", "k=v"),
        ("http://u@w:p@h:1/p?k=v#f", "http://h:1/p#f", "u@w:p", "k=v"),
    ],
)
def test_a_url_is_split_into_itself_and_its_secrets(url: str, plain: str, user: str, query: str) -> None:
    assert split_secrets(url) == (plain, Secret(user), Secret(query))


def encoded(text: str, charset: str = "utf-8") -> str:
    return b64encode(text.encode(charset)).decode()


@pytest.mark.parametrize(
    ("user", "secrets"),
    [
        ("", []),
        ("me:pa%20ss", ["pa%20ss", "pa ss", encoded("me:pa ss"), encoded("me:pa ss")]),
        ("token%21", ["token%21", "token!", encoded("token!:"), encoded("token!:")]),
        (":pass", ["pass", "pass", encoded(":pass"), encoded(":pass")]),
        ("a:b:c", ["b:c", "b:c", encoded("a:b:c"), encoded("a:b:c")]),
    ],
)
def test_the_user_of_a_url_is_secret_in_every_form(user: str, secrets: list[str]) -> None:
    assert [secret.reveal() for secret in secrets_of(Secret(user), Secret(), {})] == secrets


@pytest.mark.parametrize(
    ("query", "secrets"),
    [
        ("key=1", ["1"]),
        ("sig=1&design=2", ["1"]),
        ("x=1234567", []),
        ("x=12345678", ["12345678"]),
        ("model=12345678", []),
        ("api-version=2024-10-21&token=a%20b", ["a b"]),
    ],
)
def test_a_query_has_secrets_by_name_or_length(query: str, secrets: list[str]) -> None:
    assert [secret.reveal() for secret in secrets_of(Secret(), Secret(query), {})] == secrets


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("x-key", "short", ["short"]),
        ("authorization", "Bearer 12345678", ["Bearer 12345678", "Bearer 12345678", "12345678"]),
        ("cookie", "a=12345678;b=23456789", ["a=12345678;b=23456789"] * 2 + ["12345678", "23456789"]),
        ("x-other", "1234567", []),
        ("x-other", "12345678", ["12345678", "12345678"]),
        ("accept", "application/json", []),
    ],
)
def test_a_header_has_secrets_by_name_or_length(name: str, value: str, secrets: list[str]) -> None:
    assert [secret.reveal() for secret in secrets_of(Secret(), Secret(), {name: Secret(value)})] == secrets


@pytest.mark.parametrize(
    ("user", "credentials"),
    [("me:p%40ss", "me:p@ss"), ("me", "me:"), (":pass", ":pass"), ("a:b:c", "a:b:c"), ("m%C3%A9:x", "mé:x")],
)
def test_the_user_of_a_url_becomes_basic_authentication(user: str, credentials: str) -> None:
    assert user_header(Secret(user)) == f"Basic {encoded(credentials)}"


def test_basic_credentials_are_known_in_both_charsets() -> None:
    assert basic("", "") == []
    assert basic("é", "€") == [Secret(encoded("é:€")), Secret(encoded("é:?", "latin-1"))]


@pytest.mark.parametrize("name", ["x-api-key", "Authorization", "Set-Cookie", "sig", "AccessToken", "passwd"])
def test_a_name_of_a_secret_is_recognized(name: str) -> None:
    assert is_secret_name(name) is True


@pytest.mark.parametrize("name", ["model", "signed", "design", ""])
def test_another_name_is_not_taken_for_a_secret(name: str) -> None:
    assert is_secret_name(name) is False
