"""A field that nobody needs never decides over a reply, whatever a server puts into it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.dialects.base import Dialect
from acytoo.dialects.lenient import NEEDED, decode_document, decode_lenient
from acytoo.types import collect
from tests.dialects.strategies import encode_document, encode_stream, read_document, read_items, sample

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("5"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)

NEEDED_FIELDS = {
    "openai": "choices delta message content tool_calls function name arguments finish_reason index",
    "openai-responses": "type item part response output status delta text content call_id name arguments error "
    "item_id output_index content_index",
    "anthropic": "type message delta content_block content text partial_json name input stop_reason index",
    "ollama": "message content tool_calls function name arguments done done_reason",
    "gemini": "candidates content parts text thought functionCall name args finishReason index",
}
"""The fields that carry the text, the calls and the finish reason. Every other one is optional.

An event of Responses has two identifiers of its item, `item_id` and `output_index`.
"""

MORE_FIELDS = {
    "openai": "refusal reasoning reasoning_content logprobs usage function_call extra_content audio annotations",
    "openai-responses": "logprobs usage annotations summary_index sequence_number refusal incomplete_details",
    "anthropic": "usage stop_sequence stop_details signature extra_content container context_management",
    "ollama": "thinking logprobs images tool_name context prompt_eval_count eval_count created_at",
    "gemini": "thoughtSignature logprobsResult usageMetadata promptFeedback citationMetadata safetyRatings",
}
"""Optional fields that the sample does not have; each is added to every object."""

WITH_FIELDS = [dialect for dialect in dialects.ALL if dialect.name in NEEDED_FIELDS]
every_with_fields = pytest.mark.parametrize("dialect", WITH_FIELDS, ids=lambda dialect: dialect.name)


def objects(value: Any, name: str = "") -> Iterator[dict[str, Any]]:
    """Yield every object of a document, except for those inside a call's arguments, which are data."""
    if name in ("arguments", "args", "input"):
        return
    if isinstance(value, dict):
        yield value
        for field, inner in list(value.items()):
            yield from objects(inner, field)
    elif isinstance(value, list):
        for inner in value:
            yield from objects(inner)


def with_odd_fields(dialect: Dialect, document: Any, data: st.DataObject) -> None:
    """Put any JSON value into some of the optional fields of a document."""
    optional = [
        (target, field)
        for target in objects(document)
        for field in {*target, *MORE_FIELDS[dialect.name].split()}
        if field not in NEEDED_FIELDS[dialect.name].split()
    ]
    for target, field in data.draw(st.lists(st.sampled_from(sorted(optional, key=lambda pair: pair[1])), max_size=3)):
        target[field] = data.draw(JSON, label=field)


def essence(items: list[Any]) -> Any:
    """Return the text, the calls and the finish reason of a reply."""
    reply = collect(items)
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in reply.tool_calls]
    return reply.text, calls, reply.finish_reason


def test_every_dialect_with_fields_has_a_row() -> None:
    assert {dialect.name for dialect in dialects.ALL} - NEEDED_FIELDS.keys() == {"acytoo"}
    assert NEEDED_FIELDS.keys() == MORE_FIELDS.keys()


@every_with_fields
@given(st.data())
@settings(deadline=None)
def test_any_value_in_any_optional_field_of_a_stream_changes_nothing(dialect: Dialect, data: st.DataObject) -> None:
    items = sample(dialect)
    lines = []
    for line in encode_stream(dialect, items, 1).splitlines(keepends=True):
        prefix = b"data: " if line.startswith(b"data: ") else b""
        if line.removeprefix(prefix).startswith(b"{"):
            document = json.loads(line.removeprefix(prefix))
            with_odd_fields(dialect, document, data)
            line = prefix + json.dumps(document).encode() + b"\n"
        lines.append(line)
    assert essence(read_items(dialect, lines)) == essence(items)


@every_with_fields
@given(st.data())
@settings(deadline=None)
def test_any_value_in_any_optional_field_of_a_document_changes_nothing(dialect: Dialect, data: st.DataObject) -> None:
    items = sample(dialect)
    document = json.loads(encode_document(dialect, collect(items)))
    with_odd_fields(dialect, document, data)
    assert essence(read_document(dialect, [json.dumps(document).encode()])) == essence(items)


class Inner(msgspec.Struct):
    text: Annotated[str | None, NEEDED] = None
    flag: bool | None = None


class Outer(msgspec.Struct, rename="camel"):
    the_id: str | None = None
    the_count: int | None = None
    the_inner: Annotated[list[Inner] | None, NEEDED] = None


@pytest.mark.parametrize(
    ("document", "fitted"),
    [
        ({"theId": 0}, Outer("0")),
        ({"theId": 1.5}, Outer("1.5")),
        ({"theId": True}, Outer()),
        ({"theId": {"a": 1}, "theCount": 3}, Outer(None, 3)),
        ({"theCount": "12"}, Outer(None, 12)),
        ({"theCount": 12.9}, Outer(None, 12)),
        ({"theCount": "twelve"}, Outer()),
        ({"theCount": float("nan")}, Outer()),
        ({"theInner": False, "theId": 5}, Outer("5")),
        ({"theInner": {"text": "a"}}, Outer(None, None, [Inner("a")])),
        ({"theInner": [{"text": "a", "flag": "true"}]}, Outer(None, None, [Inner("a", True)])),
        ({"theInner": [{"text": "a", "flag": "perhaps"}, None]}, Outer(None, None, [Inner("a")])),
        ({"theInner": [{"text": []}]}, Outer(None, None, [Inner()])),
        ({"theInner": {"1": {"text": "b"}, "0": {"text": "a"}}}, Outer(None, None, [Inner("a"), Inner("b")])),
        ({"theInner": '[{"text": "a"}]'}, Outer(None, None, [Inner("a")])),
        ({"theInner": ' {"0": {"text": "a"}}'}, Outer(None, None, [Inner("a")])),
        ({"theInner": ['{"text": "a"}']}, Outer(None, None, [Inner("a")])),
    ],
)
def test_a_value_of_another_type_is_converted_or_left_out(document: Any, fitted: Outer) -> None:
    body = json.dumps(document).encode()
    assert decode_lenient(body, Outer) == decode_document(body, Outer) == fitted


@pytest.mark.parametrize(
    "document",
    [
        [],
        5,
        {"theInner": 5},
        {"theInner": "a"},
        {"theInner": ["a"]},
        {"theInner": [{"text": 0}]},
        {"theInner": "[{"},
        {"theInner": "[" * 100_000},
        {"theInner": "[" + "0," * 300_000 + "0]"},
        {"theInner": '{"text": 0}'},
        {"theInner": {"0": "a"}},
    ],
    ids=range(11),
)
def test_a_needed_value_of_another_type_is_refused(document: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_document(json.dumps(document).encode(), Outer)


def test_lone_surrogates_are_kept_in_a_record_and_replaced_in_a_document() -> None:
    body = rb'{"theId": "\ud83d"}'
    assert decode_lenient(body, Outer) == Outer("\ud83d")
    assert decode_document(body, Outer) == Outer("\ufffd")


@pytest.mark.parametrize("body", [b"", b"{", b'{"theId": 5', b'{"theId": "\xff"}'])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        decode_document(body, Outer)
