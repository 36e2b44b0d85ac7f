"""Raw text is decoded without splitting a character; invalid bytes are an error that shows them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.errors import ProtocolError, TruncatedError
from acytoo.wire.text import TextDecoder

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT, st.integers(1, 7), st.sampled_from(["utf-8", "utf-16", "utf-32", "gb18030"]))
def test_text_is_the_same_however_the_bytes_are_split(text: str, size: int, charset: str) -> None:
    body, decoder = text.encode(charset), TextDecoder(charset)
    texts = [decoder.feed(body[i : i + size]) for i in range(0, len(body), size)]
    assert "".join([*texts, decoder.feed(b"", final=True)]) == text.removeprefix("\ufeff")


@pytest.mark.parametrize("text", ["你好，世界", "مرحبا بالعالم", "👩‍👩‍👧‍👦🏳️‍🌈", "é", "नमस्ते", "\0"])
def test_text_is_decoded_one_byte_at_a_time(text: str) -> None:
    decoder = TextDecoder()
    assert "".join([decoder.feed(bytes([byte])) for byte in text.encode()] + [decoder.feed(b"", final=True)]) == text


@given(st.text(st.characters(min_codepoint=128, exclude_categories=["Cs"]), min_size=1), st.data())
def test_a_cut_inside_a_character_is_an_error(text: str, data: st.DataObject) -> None:
    body = text.encode()
    place = data.draw(st.integers(1, len(body) - 1).filter(lambda i: body[i] & 0xC0 == 0x80))
    decoder = TextDecoder()
    complete = decoder.feed(body[:place])
    assert text.startswith(complete) or text.removeprefix("\ufeff").startswith(complete)
    with pytest.raises(TruncatedError, match="middle of a character"):
        decoder.feed(b"", final=True)


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-32", "gb18030", "shift_jis", "euc-jp", "big5"])
def test_a_cut_inside_a_character_is_an_error_in_every_charset(charset: str) -> None:
    decoder = TextDecoder(charset)
    decoder.feed("aあ".encode(charset)[:-1])
    with pytest.raises(TruncatedError):
        decoder.feed(b"", final=True)


@pytest.mark.parametrize("body", [b"\xff", b"\xc0\xaf", b"\xed\xa0\xbd", b"ok \x80", b"\xf5\x80\x80\x80", b"\xe4\xbdx"])
def test_bytes_that_are_not_utf8_are_an_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not utf-8"):
        TextDecoder().feed(body, final=True)


def test_a_byte_order_mark_is_removed_only_at_the_start() -> None:
    decoder = TextDecoder()
    assert [decoder.feed(part) for part in (b"\xef", b"\xbb\xbf", b"a\xef\xbb\xbfb")] == ["", "", "a\ufeffb"]
    assert decoder.feed(b"\xef\xbb\xbfc") == "\ufeffc"


@pytest.mark.parametrize(
    "charset",
    [
        *["klingon", "zlib", "base64", "hex", "rot13", "undefined", "a\0b", "é", "utf-7", "UTF_7", "idna", "punycode"],
        *["unicode_escape", "unicode-escape", "raw_unicode_escape", "mbcs", "oem"],
    ],
)
def test_an_unknown_charset_is_an_error(charset: str) -> None:
    with pytest.raises(ProtocolError, match="unknown charset"):
        TextDecoder(charset)


def test_the_text_before_an_invalid_byte_is_kept() -> None:
    decoder = TextDecoder()
    assert decoder.feed("\ufeffé".encode()) == "é"
    with pytest.raises(ProtocolError, match=r"not utf-8: b'\\xff'"):
        decoder.feed("a你".encode() + b"\xff" + b"b")
    assert decoder.before_error == "a你"


def test_a_text_that_never_began_has_nothing_before_its_error() -> None:
    decoder = TextDecoder("utf-16")  # whose bytes have to begin with their order
    with pytest.raises(ProtocolError, match="not utf-16"):
        decoder.feed(b"ab")
    assert decoder.before_error == ""
