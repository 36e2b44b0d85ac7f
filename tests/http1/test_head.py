"""Heads are encoded so that no value can break out of its field."""

from __future__ import annotations

import pytest

from acytoo.http1.head import encode_fields, encode_head


def test_a_head_ends_with_an_empty_line() -> None:
    assert encode_head("GET / HTTP/1.1", [("host", "x"), ("x-a", "")]) == b"GET / HTTP/1.1\r\nhost: x\r\nx-a: \r\n\r\n"


def test_text_beyond_latin_1_is_sent_as_utf8() -> None:
    assert encode_head("GET / HTTP/1.1", [("x-name", "é你")]).endswith("x-name: é你\r\n\r\n".encode())


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b", "\r\n", "a\r\n\r\nGET / HTTP/1.1\r\n"])
def test_a_value_with_a_line_end_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match=r"the header 'x-b' contains a line end or NUL") as caught:
        encode_head("GET / HTTP/1.1", [("x-a", "1"), ("x-b", f"secret{value}"), ("x-c", "1")])
    assert "secret" not in str(caught.value)


def test_a_pair_of_values_cannot_cancel_each_other_out() -> None:
    with pytest.raises(ValueError, match="x-a"):
        encode_head("GET / HTTP/1.1", [("x-a", "1\n"), ("x-b", "1\r")])


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "é", "a\0"])
def test_a_name_that_is_not_a_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="invalid header name"):
        encode_head("GET / HTTP/1.1", [(name, "1")])


def test_a_first_line_with_a_line_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^the request target "):
        encode_head("GET /\r\nx: y HTTP/1.1", [])


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        encode_head("GET / HTTP/1.1", [("x-a", "\ud800")])


def test_further_fields_have_no_line_before_or_after_them() -> None:
    assert encode_fields({"x-a": "1", "x-b": "2"}) == b"x-a: 1\r\nx-b: 2\r\n"
    assert encode_fields({}) == b""


def test_a_further_field_with_a_line_end_is_refused() -> None:
    with pytest.raises(ValueError, match="x-b"):
        encode_fields({"x-a": "1", "x-b": "2\r\nx-c: 3"})
