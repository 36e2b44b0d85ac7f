"""Limits on what a JSON body may consist of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.errors import ProtocolError
from acytoo.wire.limits import (
    MAX_COST,
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_NAMES,
    MAX_RECORD,
    MAX_REPLY_ELEMENTS,
    check_elements,
    check_record_size,
    json_excess,
    json_excess_of,
)

TOO_MANY = f"has more than {MAX_ELEMENTS} values and fields"
TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep"


def nested(depth: int) -> bytes:
    return b'{"a":[' * (depth // 2) + b"]}" * (depth // 2)


@pytest.mark.parametrize(
    ("body", "excess"),
    [
        (b"[" + b"0," * (MAX_ELEMENTS - 2) + b"0]", ""),
        (b"[" + b"0," * MAX_ELEMENTS + b"0]", TOO_MANY),
        (b"[" + b"[]," * (MAX_ELEMENTS // 2) + b"0]", TOO_MANY),
        (b"[" + b'{"":0},' * (MAX_ELEMENTS // 2) + b"0]", TOO_MANY),
        (b"{" + b'"":0,' * MAX_ELEMENTS + b'"":0}', TOO_MANY),
        (b"{" + b'"":0,' * (MAX_ELEMENTS - 2) + b'"":0}', ""),
        (nested(MAX_DEPTH), ""),
        (nested(MAX_DEPTH + 2), TOO_DEEP),
        (b"[" * 1_000_000, TOO_DEEP),
        (b'["' + b"[{," * 1_000_000 + b'"]', ""),
        (b'["\\"' + b"[{," * 1_000_000 + b'\\\\\\"[[", "' + b"[" * 1_000 + b'"]', ""),
        (b'["\\\\"' + b"[" * 1_000 + b"]", TOO_DEEP),
        (b'["' + b"\\" * 200_000 + b'", "' + b"[" * 1_000 + b'"]', ""),
        (b"[" + b"[]," * 100_000 + nested(MAX_DEPTH) + b"]", TOO_DEEP),
        (b'["' + b"x" * (64 * 1024 - 3) + b'\\"' + b"[" * 1_000 + b'"]', ""),
    ],
    ids=range(15),
)
def test_a_body_has_a_number_of_elements_and_a_depth(body: bytes, excess: str) -> None:
    assert json_excess(body) == excess


@pytest.mark.parametrize("start", [b'["', b'["\\ud800', b'[01, "', b'{"a": 1e308, "a": ["'])
@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH])
def test_long_texts_beside_it_hide_no_depth(start: bytes, depth: int) -> None:
    end = b"]" if start.startswith(b"[") else b"]}"
    body = start + b'x{\\"' * 10_000 + b'", ' + nested(depth) + end
    assert json_excess(body) == ("" if depth + len(end) <= MAX_DEPTH else TOO_DEEP)


def test_a_conversation_of_ten_thousand_turns_with_calls_and_an_image_is_within_the_limits() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": [1, 2, {"b": 3}]}'}}
    turn = [
        {"role": "user", "content": [{"type": "text", "text": 'A "quoted" word, and [brackets]\\'}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "x" * 1_000},
    ]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "AAAA" * 1_000_000}}
    messages = [*turn * 10_000, {"role": "user", "content": [image]}]
    assert json_excess(json.dumps({"model": "m", "messages": messages}).encode()) == ""


VALUES = st.recursive(
    st.none() | st.integers() | st.text('a\\"[{,'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('a\\"[{,', max_size=3), inner),
    max_leaves=30,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def elements_of(value: Any) -> int:
    if not isinstance(value, (dict, list)):
        return 0
    inner = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(len(value) - 1, 0) + sum(map(elements_of, inner))


@given(VALUES, st.integers(0, 200), st.booleans())
def test_strings_and_the_ends_of_slices_do_not_count(value: Any, offset: int, escapes: bool) -> None:
    body = json.dumps(value, ensure_ascii=escapes).encode()
    body = b" " * (64 * 1024 - offset) + body
    elements, depth = elements_of(value), depth_of(value)
    assert json_excess(body, elements, depth) == ""
    if depth:
        assert "values and fields" in json_excess(body, elements - 1, depth)
        assert "levels deep" in json_excess(body, elements, depth - 1)


def names(numbers: range, pattern: str = '"name {}"') -> str:
    return ",".join([f"{pattern.format(number)}: 0" for number in numbers])


@pytest.mark.parametrize("pattern", ['"name {}"', '"\u00e9{:x}"', '"{:x}\\\\"  ', '"{:017b}"'])
def test_different_names_of_fields_are_limited(pattern: str) -> None:
    def with_escapes(number: int) -> str:
        return f"{pattern.format(number)}: 0".replace("0", '\\"') if "b" in pattern else f"{pattern.format(number)}: 0"

    body = "{" + ",".join(map(with_escapes, range(2 * MAX_NAMES + 10))) + "}"
    assert json_excess(body.encode()) == f"has fields with more than {MAX_NAMES} different names"


def test_the_names_of_several_bodies_are_counted_together() -> None:
    step = MAX_NAMES // 2
    bodies = [f"{{{names(range(at, at + step))}}}".encode() for at in range(0, 6 * step, step)]
    assert json_excess_of(bodies) == f"has fields with more than {MAX_NAMES} different names"
    assert json_excess_of(bodies[:1] * 6) == ""
    most = names(range(MAX_NAMES))
    assert json_excess(f"{{{most}}}".encode()) == ""
    assert json_excess(f"{{{most},{names(range(2))}}}".encode()) == ""


TOO_SLOW = "takes too long to decode: send fewer escapes, characters beyond ASCII and blanks"
COSTS = {
    "characters of two bytes": ('["', "é", MAX_COST // 2, '"]'),
    "characters of four bytes": ('["', "😀", MAX_COST // 4, '"]'),
    "escapes": ('["', "\\n", MAX_COST // 4, '"]'),
    "escaped backslashes": ('["', "\\\\", MAX_COST // 8, '"]'),
    "blanks": ("[", " ", MAX_COST, "]"),
    "line ends": ("[", "\r\n", MAX_COST // 2, "]"),
    "tabs": ("[", "\t", MAX_COST, "]"),
}


@pytest.mark.parametrize("name", COSTS)
def test_what_takes_long_to_decode_is_limited(name: str) -> None:
    start, part, number, end = COSTS[name]
    assert json_excess(f"{start}{part * number}{end}".encode()) == ""
    assert json_excess(f"{start}{part * (number + 1)}{end}".encode()) == TOO_SLOW


def test_blanks_in_strings_cost_nothing() -> None:
    assert json_excess(b'["' + b" " * (MAX_COST + 100) + b'"]') == ""


def test_the_costs_and_elements_of_several_bodies_are_counted_together() -> None:
    for half, excess in (
        (b'["' + "é".encode() * (MAX_COST // 4 - 2) + b'"]', TOO_SLOW),
        ("é".encode() * (MAX_COST // 4 - 2), TOO_SLOW),
        (b"[" + b"0," * (MAX_ELEMENTS // 2 - 1) + b"0]", TOO_MANY),
    ):
        assert json_excess_of([half, half]) == ""
        assert json_excess_of([half, half, half]) == excess


def test_a_record_may_be_exactly_as_large_as_the_limit() -> None:
    check_record_size(MAX_RECORD)
    with pytest.raises(ProtocolError, match="larger than 16 MiB"):
        check_record_size(MAX_RECORD + 1)


def test_the_elements_of_a_large_record_of_a_reply_are_limited() -> None:
    check_elements(b"[" + b"0," * (MAX_REPLY_ELEMENTS - 2) + b"0]")
    check_elements(b"[" * 256 * 1024)
    check_elements(b"[" * 300_000)
    with pytest.raises(ProtocolError, match=f"has more than {MAX_REPLY_ELEMENTS} values and fields"):
        check_elements(b"[" + b"0," * MAX_REPLY_ELEMENTS + b"0]")
