"""A record that has only a piece of a call takes a shorter way, and yet adds what it would add on the long one."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from acytoo.errors import AcytooError
from acytoo.types import Item
from tests.dialects.openai.helpers import CALLED, calling, choice, events, read

PIECES = ["", "{", '{"x"', ": 1}", "}", " ", " {}", '{"x": 1}', ' {"x": 1}', '{"y": 2}', "null", '"{', r'\"x\": 1}"']
STARTS: dict[str, list[Any]] = {
    "one call": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}],
    "begun": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}],
    "complete": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x": 1}'}}],
    "empty": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {}}}],
    "no name": [{"index": 0, "id": "a", "function": {"arguments": '{"x"'}}],
    "before another": [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "id": "b", "function": {"name": "g", "arguments": '{"x"'}},
    ],
}

PLAIN_AND_ODD: tuple[dict[str, Any], ...] = ({}, {"logprobs": {"content": None}})


def outcome(chunks: list[Any]) -> list[Item] | str:
    try:
        return read(events(*chunks, CALLED, "[DONE]"))
    except AcytooError as error:
        return str(error)


@pytest.mark.parametrize("start", STARTS)
def test_a_piece_of_a_call_is_the_same_whatever_is_beside_it(start: str) -> None:
    first = [calling(call) for call in STARTS[start]]
    for pieces in itertools.product(PIECES, repeat=3):
        calls = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
        alone, beside = (
            outcome([*first, *[choice({"tool_calls": [call]}, **fields) for call in calls]]) for fields in PLAIN_AND_ODD
        )
        assert alone == beside, pieces
