"""JSON beyond msgspec: lone surrogates, values that JSON cannot hold, records without an end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import acytoo.dialects.json
from acytoo.dialects.json import closed_json, decoder, display_json, dumps, is_complete_json
from acytoo.errors import UsageError


def nested(depth: int) -> list[Any]:
    """Return a list that is nested this deeply."""
    document: list[Any] = []
    for _ in range(depth):
        document = [document]
    return document


@pytest.mark.parametrize("document", ["\ud83d", {"\ude00": 1}, ["a\ud83db"], object(), {1j: 2}, nested(100_000)])
def test_a_document_that_is_not_json_is_a_usage_error(document: Any) -> None:
    with pytest.raises(UsageError, match=r"cannot be written as JSON|a lone surrogate"):
        dumps(document)


@pytest.mark.parametrize(
    ("document", "encoded"),
    [
        ({"a": ["Ä", 1, None, True]}, '{"a":["Ä",1,null,true]}'),
        ("\ud83d", '"\ufffd"'),
        ({"\ude00": "a\ud83db"}, '{"\ufffd":"a\ufffdb"}'),
        ("\ud83d\ude00", '"😀"'),
        (["\\ud83d", "\ud83d"], '["\\\\ud83d","\ufffd"]'),
    ],
)
def test_a_lone_surrogate_becomes_a_replacement_character_on_request(document: Any, encoded: str) -> None:
    assert dumps(document, surrogates="replace").decode() == encoded
    assert display_json(document) == encoded


def test_a_document_that_is_nested_too_deeply_can_be_displayed() -> None:
    with pytest.raises(RecursionError):
        dumps(nested(100_000), surrogates="replace")
    assert display_json(nested(100_000)) == "JSON that is nested too deeply"


@pytest.mark.parametrize(
    ("record", "complete"),
    [
        (b'{"a":1}', True),
        (b" [] ", True),
        (b"5", True),
        (rb'"\ud83d"', True),
        (b"[DONE]", True),
        (b" [DONE]\r", True),
        (b"", False),
        (b'{"a":1', False),
        (b'"a', False),
        (b'"\xff"', False),
        (b"[DONE", False),
        (b"[" * 100_000, False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_last_record_is_complete_if_it_is_json_or_the_end_marker(record: bytes, complete: bool) -> None:
    assert is_complete_json(record) is complete


@pytest.mark.parametrize(
    "number", ["1e308", "1.7976931348623157e308", "5e-324", "0.1", "-1.5e30", "9007199254740993.0"]
)
def test_numbers_are_decoded_by_python(number: str) -> None:
    assert decoder(Any).decode(number) == float(number)


def test_a_number_beyond_all_floats_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError, match="out of range"):
        decoder(Any).decode("[1e400]")


@pytest.mark.parametrize(
    ("body", "closed"),
    [
        (b'{"a":"hel', b'{"a":"hel"}'),
        (b'{"a":"\xc3\xa9\xc3', b'{"a":"\xc3\xa9"}'),
        (b'{"a":"hel\\', b'{"a":"hel"}'),
        (b'{"a":"hel\\u00', b'{"a":"hel"}'),
        (b'{"a":"hel","b', b'{"a":"hel"}'),
        (b'{"a":[1,{"b": "c"', b'{"a":[1,{"b": "c"}]}'),
        (b'{"a": 12', b"{}"),
        (b'{"a": 12,', b'{"a": 12}'),
        (b'{"a": tr', b"{}"),
        (b"", b""),
        (b"<html", b""),
        (b"]}", b""),
    ],
)
def test_a_document_that_was_cut_is_closed(body: bytes, closed: bytes) -> None:
    assert closed_json(body) == closed


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)


@given(st.lists(VALUES) | st.dictionaries(st.text(), VALUES), st.booleans(), st.integers(0, 2), st.data())
def test_every_beginning_of_a_document_is_closed_to_a_document(
    document: object, is_ascii: bool, indent: int, data: st.DataObject
) -> None:
    body = json.dumps(document, ensure_ascii=is_ascii, indent=indent or None).encode("utf-8", "replace")
    size = data.draw(st.integers(1, len(body)))
    closed = json.loads(closed_json(body[:size]))
    assert type(closed) is type(document)
    assert json.loads(closed_json(body)) == json.loads(body)


def test_no_dialect_decodes_untyped_numbers_with_msgspec_alone_because_some_take_it_forty_microseconds() -> None:
    folder = Path(acytoo.dialects.json.__file__).parent
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted(folder.rglob("*.py"))
        if path.name != "json.py"
        for line in path.read_text().splitlines()
        if re.search(r"json\.decode\((?!.*type=(dict\[str, (msgspec\.Raw|str)\]|str|_\w+( \| list\[_\w+\])?)\))", line)
        or re.search(r"json\.Decoder\((?!list\[msgspec\.Raw\])", line)
    ]
    assert found == ["__init__.py: body: JSONObject = msgspec.json.decode(reply_request.body)"]  # one of our own
