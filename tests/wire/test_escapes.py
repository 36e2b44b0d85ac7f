"""A client that uses `str.splitlines` does not split our records."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from acytoo.wire.escapes import escape_line_ends

BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


@given(st.text(st.sampled_from(BREAKS) | st.characters(exclude_categories=["Cs"])))
def test_escaped_json_is_one_line_and_decodes_to_the_same_value(text: str) -> None:
    rendered = escape_line_ends(msgspec.json.encode({text: text}))
    assert len(rendered.decode().splitlines()) == 1
    assert msgspec.json.decode(rendered) == {text: text}
