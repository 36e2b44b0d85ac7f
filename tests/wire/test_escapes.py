"""A client that uses `str.splitlines` does not split our records."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.wire.escapes import escape_line_ends

BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


@given(st.text(st.sampled_from(BREAKS) | st.characters(exclude_categories=["Cs"])))
def test_escaped_json_is_one_line_and_decodes_to_the_same_value(text: str) -> None:
    rendered = escape_line_ends(msgspec.json.encode({text: text}))
    assert len(rendered.decode().splitlines()) == 1
    assert msgspec.json.decode(rendered) == {text: text}


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_a_line_end_beyond_ascii_is_escaped_everywhere(character: str) -> None:
    text = f"a{character}é{character}"
    assert escape_line_ends(msgspec.json.encode(text)) == f'"a\\u{ord(character):04x}é\\u{ord(character):04x}"'.encode()
