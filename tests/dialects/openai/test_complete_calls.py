"""Calls in a `message` of a stream that had them in deltas before: each is made once, with all its arguments."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.errors import AcytooError
from acytoo.types import collect
from tests.dialects.openai.helpers import calling, choice, events, read

X, Y = '{"x":1}', '{"y":1}'


def call(call_id: str = "", name: str = "", arguments: Any = None, index: int | None = None) -> dict[str, Any]:
    """Return a call or a piece of one, without the fields that are empty."""
    function = ({"name": name} if name else {}) | ({} if arguments is None else {"arguments": arguments})
    fields = {"function": function} | ({"id": call_id} if call_id else {})
    return fields | ({"index": index} if index is not None else {})


CUT, COMPLETE = call("a", "f", '{"x"', 0), call("a", "f", X, 0)
NO_NAME, NO_ID, NO_ARGUMENTS = call("a", "", X, 0), call("", "f", X, 0), call("a", "f", "", 0)
CUT_OFF = "inside the arguments for 'f'"
Calls = list[tuple[str, str, str]]

CASES: list[tuple[dict[str, Any], list[dict[str, Any]], Calls | str]] = [
    # The same id.
    (CUT, [call("a", "f", X)], [("a", "f", X)]),
    (COMPLETE, [call("a", "f", X)], [("a", "f", X)]),
    (NO_NAME, [call("a", "f", X)], [("a", "f", X)]),
    (NO_ID, [call("a", "f", X)], [("a", "f", X)]),
    (NO_ARGUMENTS, [call("a", "f", X)], [("a", "f", X)]),
    (CUT, [call("a", "f")], CUT_OFF),
    (COMPLETE, [call("a", "f")], [("a", "f", X)]),
    (NO_NAME, [call("a", "f")], [("a", "f", X)]),
    (NO_ARGUMENTS, [call("a", "f")], [("a", "f", "{}")]),
    (COMPLETE, [call("a", "f", Y)], [("a", "f", X)]),
    (NO_ARGUMENTS, [call("a", "f", {"y": 1})], [("a", "f", Y)]),
    # No id.
    (CUT, [call("", "f", X)], [("a", "f", X)]),
    (COMPLETE, [call("", "f", X)], [("a", "f", X)]),
    (NO_NAME, [call("", "f", X)], [("a", "f", X)]),
    (NO_ID, [call("", "f", X)], [("new", "f", X)]),
    (CUT, [call("", "", X)], [("a", "f", X)]),
    (NO_NAME, [call("", "", X)], "without a name"),
    # Another id: the same call if it has the same name, and arguments that continue it.
    (CUT, [call("b", "f", X)], [("a", "f", X)]),
    (COMPLETE, [call("b", "f", X)], [("a", "f", X)]),
    (NO_ID, [call("b", "f", X)], [("b", "f", X)]),
    (COMPLETE, [call("b", "g", X)], [("a", "f", X), ("b", "g", X)]),
    (COMPLETE, [call("b", "f", Y)], [("a", "f", X), ("b", "f", Y)]),
    (NO_ARGUMENTS, [call("b", "g", X)], [("a", "f", "{}"), ("b", "g", X)]),
    (CUT, [call("b", "g", X)], CUT_OFF),
    # More than one.
    (CUT, [call("a", "f", X), call("b", "g", "{}")], [("a", "f", X), ("b", "g", "{}")]),
    (COMPLETE, [call("a", "f", X), call("a", "f", X)], [("a", "f", X), ("new", "f", X)]),
    (NO_ID, [call("a", "f", X), call("b", "f", Y)], [("a", "f", X), ("b", "f", Y)]),
]


@pytest.mark.parametrize(("piece", "calls", "expected"), CASES, ids=range(len(CASES)))
def test_a_complete_call_adds_what_its_pieces_lack(
    piece: dict[str, Any], calls: list[Any], expected: Calls | str
) -> None:
    last = {"choices": [{"index": 0, "message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
    body = events(calling(piece), last, "[DONE]")
    if isinstance(expected, str):
        with pytest.raises(AcytooError, match=expected):
            read(body)
        return
    found = [
        (each["id"], each["function"]["name"], each["function"]["arguments"]) for each in collect(read(body)).tool_calls
    ]
    assert [(call_id if call_id in ("a", "b") else "new", *rest) for call_id, *rest in found] == expected


def test_a_piece_without_a_name_and_with_another_id_follows_a_complete_call_as_one_of_its_own() -> None:
    pieces = [calling(COMPLETE), calling(call("b", "", Y, 0)), calling(call("b", "g", "", 0))]
    found = collect(read(events(*pieces, choice({}, "tool_calls"), "[DONE]"))).tool_calls
    assert [(each["id"], each["function"]["name"], each["function"]["arguments"]) for each in found] == [
        ("a", "f", X),
        ("b", "g", Y),
    ]
