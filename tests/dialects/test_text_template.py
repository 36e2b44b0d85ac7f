"""Records that are not decoded because they repeat an earlier one: they have the text that decoding gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.dialects.openai.reader import StreamReader
from acytoo.dialects.text_template import TextTemplate
from acytoo.types import Item


def record(text: str, **more: Any) -> bytes:
    """Return a chunk with a text."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return json.dumps({"id": "c", "model": "m", "choices": [choice]} | more, ensure_ascii=False).encode()


def learnt(text: str = "Hello") -> TextTemplate:
    """Return a template that has seen one record."""
    template = TextTemplate()
    template.learn(record(text), text)
    return template


def test_a_record_with_another_text_fits() -> None:
    assert learnt().text_in(record("Ünïcode 😀")) == "Ünïcode 😀"


@pytest.mark.parametrize(
    "other",
    [
        record("a", id="d"),
        record("a", usage={"total_tokens": 1}),
        record(""),
        record('a "quote"'),
        record("a \\ and a \n"),
        record("a\t"),
        record("a")[:-1],
        record("Hello").replace(b'"Hello"', b'"a","refusal":"b"'),
        record("Hello").replace(b"Hello", b"a\x01"),
        record("Hello").replace(b"Hello", b"a\xff"),
        record("Hello").replace(b"Hello", b"\xed\xa0\x80"),
        record("Hello").replace(b'"Hello"', b"null"),
        record("Hello").replace(b'"Hello"', b'"'),
    ],
)
def test_a_record_that_differs_in_more_or_has_an_escape_is_decoded(other: bytes) -> None:
    assert learnt().text_in(other) == ""


@pytest.mark.parametrize("text", ["c", "index", ",", ":", "m", "content", "delta"])
def test_a_text_that_the_record_has_elsewhere_too_teaches_nothing(text: str) -> None:
    template = learnt(text)
    texts = [template.text_in(record(other)) for other in ("x", text, "Hello")]
    assert texts in ([""] * 3, ["x", text, "Hello"])
    assert record(text).count(b'"%b"' % text.encode()) > 1 or texts[0] == "x"


def test_a_record_with_an_escape_teaches_nothing() -> None:
    template = TextTemplate()
    template.learn(b'{"a":"\\u0061","b":"a"}', "a")
    assert template.text_in(b'{"a":"\\u0061","b":"x"}') == ""


def test_a_template_that_is_forgotten_fits_nothing() -> None:
    template = learnt()
    template.forget()
    assert template.text_in(record("a")) == ""


def test_a_stream_whose_records_all_differ_is_soon_not_learnt_any_more() -> None:
    template = TextTemplate()
    for number in range(10):
        template.learn(record("Hello", created=number), "Hello")
    assert template.text_in(record("a", created=9)) == ""


def test_a_template_that_fits_now_and_then_is_learnt_again_and_again() -> None:
    template = TextTemplate()
    for number in range(10):
        template.learn(record("Hello", created=number), "Hello")
        assert template.text_in(record("a", created=number)) == "a"


_TEXTS = st.lists(
    st.one_of(st.text(max_size=6), st.sampled_from(["Hello", '"', "\\", "\n", '\\"', '"}', "c"])), max_size=12
)


@given(_TEXTS, st.booleans(), st.booleans())
def test_a_stream_has_the_items_of_its_records_read_one_by_one(
    texts: list[str], ascii_only: bool, counts: bool
) -> None:
    records = []
    for number, text in enumerate(texts):
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        document = {"id": "c", "model": "m", "created": number // 3 if counts else 0, "choices": [choice]}
        records.append(json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
    together: list[Item] = []
    StreamReader("openai").read(records, together)
    alone: list[Item] = []
    for one in records:
        items: list[Item] = []
        StreamReader("openai").read([one], items)
        alone += [item for item in items if isinstance(item, str)]
    assert [item for item in together if isinstance(item, str)] == alone
