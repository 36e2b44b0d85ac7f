"""JSON beyond msgspec: lone surrogates, values that JSON cannot hold, records without an end."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.dialects.json import display_json, dumps, is_complete_json
from acytoo.errors import UsageError


def nested(depth: int) -> list[Any]:
    """Return a list that is nested this deeply."""
    document: list[Any] = []
    for _ in range(depth):
        document = [document]
    return document


@pytest.mark.parametrize("document", ["\ud83d", {"\ude00": 1}, ["a\ud83db"], object(), {1j: 2}, nested(100_000)])
def test_a_document_that_is_not_json_is_a_usage_error(document: Any) -> None:
    with pytest.raises(UsageError, match="cannot be written as JSON"):
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
