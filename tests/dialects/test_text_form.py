"""Records that have the same around their texts are not decoded, and read as if they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.dialects.anthropic.reader import StreamReader as AnthropicReader
from acytoo.dialects.openai.reader import StreamReader as OpenAIReader
from acytoo.dialects.readers import NO_FORM, RecordReader, TextForm, text_form
from acytoo.errors import AcytooError
from acytoo.types import Item


def openai_event(delta: dict[str, Any], **choice: Any) -> dict[str, Any]:
    """Return a chunk with one choice."""
    choice = {"index": 0, "delta": delta, "finish_reason": None} | choice
    return {"id": "c", "model": "m", "choices": [choice]}


def anthropic_event(delta: dict[str, Any], **event: Any) -> dict[str, Any]:
    """Return a delta of the first block."""
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"} | delta} | event


START = {"type": "message_start", "message": {"id": "m", "model": "m", "content": [], "usage": {"input_tokens": 1}}}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}

# A record that has more than a text before and after it, given the text.
OPENAI = {
    "text": lambda text: openai_event({"content": text}),
    "refusal after": lambda text: openai_event({"content": text, "refusal": "no"}),
    "reasoning before": lambda text: openai_event({"reasoning": "why", "content": text}),
    "name in another field": lambda text: {"x": {"content": "a"}, **openai_event({"content": text})},
    "name in a later field": lambda text: {**openai_event({"content": text}), "x": {"content": "a"}},
    "finish": lambda text: openai_event({"content": text}, finish_reason="stop"),
    "escaped": lambda text: {**openai_event({"content": text}), "x": '"content":"a"'},
    "usage": lambda text: {**openai_event({"content": text}), "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    "call": lambda text: openai_event(
        {"content": text, "tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}]}
    ),
    "error": lambda text: {**openai_event({"content": text}), "error": {"message": "x"}},
}
ANTHROPIC = {
    "text": lambda text: anthropic_event({"text": text}),
    "another block": lambda text: anthropic_event({"text": text}, index=1),
    "citation": lambda text: anthropic_event({"type": "citations_delta", "citation": {"text": text}}),
    "thinking": lambda text: anthropic_event({"type": "thinking_delta", "thinking": text, "text": "a"}),
    "name in another field": lambda text: {"x": {"text": "a"}, **anthropic_event({"text": text})},
    "name in a later field": lambda text: {**anthropic_event({"text": text}), "x": {"text": "a"}},
    "ping": lambda text: {"type": "ping", "text": text},
    "stop": lambda text: {"type": "content_block_stop", "index": 0, "text": text},
    "error": lambda text: {"type": "error", "error": {"type": "api_error", "message": text}},
    "end": lambda text: {"type": "message_delta", "delta": {"stop_reason": "end_turn", "text": text}},
}
READERS: dict[str, tuple[Callable[[str], RecordReader], dict[str, Any], list[dict[str, Any]]]] = {
    "openai": (OpenAIReader, OPENAI, []),
    "anthropic": (AnthropicReader, ANTHROPIC, [START, BLOCK]),
}


def read(reader: RecordReader, chunks: list[bytes]) -> tuple[list[Item], str]:
    """Return the items of a stream, and its error."""
    items: list[Item] = []
    try:
        for chunk in chunks:
            items += reader.feed(chunk)
            if reader.pending_error is not None:
                raise reader.pending_error
        items += reader.flush()
        reader.close()
    except AcytooError as error:
        return items, f"{type(error).__name__} {error}"
    return items, ""


def render(records: list[dict[str, Any]], vary: bool, **options: Any) -> list[bytes]:
    """Return the events of a stream. `vary`: with another number of blanks in each record, so that no two are alike."""
    return [
        b"data: %b\n\n" % json.dumps(record, **options).encode().replace(b"{", b"{" + b" " * number * vary, 1)
        for number, record in enumerate(records, 1)
    ]


TEXTS = st.one_of(
    st.sampled_from(["", "a", "a", " b", "\n", '"', "\\", '","refusal":"x', "é", "𝄞", "\x00", "\ud83d", "\ude00"]),
    st.text(max_size=5),
)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("options", [{}, {"separators": (",", ":")}, {"ensure_ascii": False}], ids=str)
@given(data=st.data())
def test_records_of_one_form_are_read_as_records_of_which_no_two_are_alike(
    name: str, options: dict[str, Any], data: st.DataObject
) -> None:
    reader, forms, beginning = READERS[name]
    kinds = st.sampled_from(["text"] * 20 + sorted(forms))
    parts = data.draw(st.lists(st.tuples(kinds, TEXTS), max_size=12))
    if not options.get("ensure_ascii", True):
        parts = [(kind, text.encode(errors="replace").decode()) for kind, text in parts]
    records = [*beginning, *[forms[kind](text) for kind, text in parts]]
    alike, different = render(records, False, **options), render(records, True, **options)
    if data.draw(st.booleans()):
        alike = [b"".join(alike)]
    items, error = read(reader("x"), alike)
    expected, expected_error = read(reader("x"), different)
    assert items == expected
    assert error.split()[:1] == expected_error.split()[:1]


PLAIN = b'{"a":1,"content":"ab"}'


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (b'{"content":"ab","x":"\\u0061"}', "ab"),
        (b'{"content":"\\u0061b"}', "ab"),
        (b'{"content":"ab","x":{"content":"ab"}}', "ab"),
        (b'{"x":{"content":"a"},"content":"ab"}', "ab"),
        (b'{"content" : "ab","x":["content"]}', "ab"),
        (b'{"x":["content"],"content":"ab"}', "ab"),
        (b'{"content":null,"x":"ab"}', "a"),
        (b'{"x":"ab"}', "ab"),
        (b'{"content":"\xff"}', "\udcff"),
    ],
)
def test_a_form_is_not_noted_if_the_place_of_the_text_is_not_certain(record: bytes, text: str) -> None:
    assert text_form(record, b'"content"', text) is NO_FORM


@pytest.mark.parametrize("separator", [b":", b": ", b" : "])
def test_a_form_has_the_place_of_the_text_with_its_quotes(separator: bytes) -> None:
    record = PLAIN.replace(b":", separator)
    form = text_form(record, b'"content"', "ab")
    before, _, after = record.partition(b"ab")
    assert form == TextForm(before, after, slice(len(before) - 1, -1))
    assert record[form.place] == b'"ab"'


def test_a_record_in_which_the_bytes_before_and_after_a_text_overlap_has_no_string_at_its_place() -> None:
    form = text_form(PLAIN, b'"content"', "ab")
    record = form.before + form.after[1:]
    assert record.startswith(form.before)
    assert record.endswith(form.after)
    assert record[form.place] == b'"'


def test_no_record_has_no_form() -> None:
    assert not b"".startswith(NO_FORM.before)
    assert not b'{"content":"a"}'.startswith(NO_FORM.before)
