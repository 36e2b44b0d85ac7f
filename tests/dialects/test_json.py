"""JSON beyond msgspec: lone surrogates, values that JSON cannot hold, records without an end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

import acytoo.dialects.json
from acytoo.dialects.json import decoder, display_json, dumps, is_complete_json
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


def test_no_dialect_decodes_untyped_numbers_with_msgspec_alone_because_some_take_it_forty_microseconds() -> None:
    folder = Path(acytoo.dialects.json.__file__).parent
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted(folder.rglob("*.py"))
        if path.name != "json.py"
        for line in path.read_text().splitlines()
        if re.search(r"json\.decode\((?!.*type=(dict\[str, (msgspec\.Raw|str)\]|str|_\w+)\))", line)
        or re.search(r"json\.Decoder\((?!list\[msgspec\.Raw\])", line)
    ]
    assert found == ["__init__.py: body: JSONObject = msgspec.json.decode(reply_request.body)"]  # one of our own
