"""Tool calls that servers send in odd pieces become calls that can be made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo.errors import ProtocolError
from acytoo.types import ToolCall, Usage, collect
from tests.dialects.openai.helpers import CALLED, DIALECT, STOP, calling, choice, events, read


def piece(index: int | None = None, arguments: object = None, name: str | None = None, **fields: object) -> Any:
    """Return a piece of a call; what is None is left out."""
    function = {"name": name, "arguments": arguments}
    call = {"index": index, **fields, "function": {key: value for key, value in function.items() if value is not None}}
    return {key: value for key, value in call.items() if value is not None}


X, Y = '{"x":1}', '{"y":2}'
CALL_PIECES: dict[str, tuple[list[Any], list[tuple[str, str, str]]]] = {
    # unslothai/unsloth issue 10275.
    "{} before fragments": (
        [piece(0, {}, "f", id="a"), piece(0, '{"x"'), piece(0, ":1}")],
        [("a", "f", X)],
    ),
    "{} as text before fragments": ([piece(0, "{}", "f", id="a"), piece(0, '{"x"'), piece(0, ":1}")], [("a", "f", X)]),
    "{} before an object": ([piece(0, {}, "f", id="a"), piece(0, {"x": 1}, "f", id="a")], [("a", "f", X)]),
    "an object twice": ([piece(0, {"x": 1}, "f", id="a"), piece(0, {"x": 1}, "f", id="a")], [("a", "f", X)]),
    "a text twice": ([piece(0, X, "f", id="a"), piece(0, '{"x": 1}', "f", id="a")], [("a", "f", X)]),
    "fragments, then all of them": (
        [piece(0, "", "f", id="a"), piece(0, '{"x"'), piece(0, ":1}"), piece(0, X)],
        [("a", "f", X)],
    ),
    # vllm-project/vllm issue 19419.
    "no arguments": ([piece(0, "", "f", id="a")], [("a", "f", "{}")]),
    "missing arguments": ([piece(0, None, "f", id="a")], [("a", "f", "{}")]),
    "null as text": ([piece(0, "null", "f", id="a")], [("a", "f", "{}")]),
    "two calls without arguments": (
        [piece(0, "", "f", id="a"), piece(1, {}, "g", id="b")],
        [("a", "f", "{}"), ("b", "g", "{}")],
    ),
    "a late id": ([piece(0, '{"x"', "f"), piece(0, ":1}", id="a")], [("a", "f", X)]),
    "a late name": ([piece(0, "", id="a"), piece(0, '{"x"', "f"), piece(0, ":1}")], [("a", "f", X)]),
    "a name after the arguments": ([piece(0, X, id="a"), piece(0, "", "f")], [("a", "f", X)]),
    "a late index": ([piece(None, "", "f", id="a"), piece(0, '{"x"'), piece(0, ":1}")], [("a", "f", X)]),
    "an index only at first": ([piece(0, "", "f", id="a"), piece(None, '{"x"'), piece(None, ":1}")], [("a", "f", X)]),
    "an index that changes": ([piece(0, "", "f", id="a"), piece(1, '{"x"'), piece(2, ":1}")], [("a", "f", X)]),
    # continuedev/continue pull request 5849: "edit_ex" and "isting_file".
    "a name in pieces": ([piece(0, "", "f", id="a"), piece(0, "", "oo"), piece(0, X)], [("a", "foo", X)]),
    "a name in pieces, the last with the arguments": (
        [piece(0, None, "f", id="a"), piece(0, X, "oo", id="a")],
        [("a", "foo", X)],
    ),
    "a name in pieces, without an id": ([piece(0, "", "f"), piece(0, "", "oo"), piece(0, X)], [("call_", "foo", X)]),
    "a name that grows": ([piece(0, "", "f", id="a"), piece(0, "", "foo", id="a"), piece(0, X)], [("a", "foo", X)]),
    "a name that repeats before the arguments": (
        [piece(0, "", "foo", id="a"), piece(0, "", "foo", id="a"), piece(0, X, "foo")],
        [("a", "foo", X)],
    ),
    "a name in pieces without arguments": ([piece(0, "", "f", id="a"), piece(0, "", "oo")], [("a", "foo", "{}")]),
    "another name after a call without arguments": (
        [piece(0, "{}", "f", id="a"), piece(0, X, "g", id="b")],
        [("a", "f", "{}"), ("b", "g", X)],
    ),
    "another name with another id": (
        [piece(0, "", "f", id="a"), piece(0, X, "g", id="b")],
        [("a", "f", "{}"), ("b", "g", X)],
    ),
    "no object function": ([{"index": 0, "id": "a", "name": "f", "arguments": X}], [("a", "f", X)]),
    "no object function, and arguments as an object": (
        [{"id": "a", "name": "f", "arguments": {"x": 1}}],
        [("a", "f", X)],
    ),
    "parameters in place of arguments": (
        [{"index": 0, "id": "a", "function": {"name": "f", "parameters": {"x": 1}}}],
        [("a", "f", X)],
    ),
    "input in place of arguments": (
        [{"index": 0, "id": "a", "function": {"name": "f", "input": {"x": 1}}}],
        [("a", "f", X)],
    ),
    "input in place of arguments, no object function": (
        [{"id": "a", "type": "tool_use", "name": "f", "input": {"x": 1}}],
        [("a", "f", X)],
    ),
    "parameters, no object function": ([{"id": "a", "name": "f", "parameters": X}], [("a", "f", X)]),
    "args, no object function": ([{"id": "a", "name": "f", "args": {"x": 1}}], [("a", "f", X)]),
    "arguments beside the function": (
        [{"id": "a", "function": {"name": "f"}, "arguments": {"x": 1}}],
        [("a", "f", X)],
    ),
    "input beside empty arguments": (
        [{"id": "a", "function": {"name": "f", "arguments": {}, "input": {"x": 1}}}],
        [("a", "f", X)],
    ),
    "input in pieces": (
        [
            {"index": 0, "id": "a", "function": {"name": "f"}},
            *[{"index": 0, "function": {"input": p}} for p in ('{"x"', ":1}")],
        ],
        [("a", "f", X)],
    ),
    "an id that changes": (
        [piece(0, "", "f", id="a"), piece(0, '{"x"', id="b"), piece(0, ":1}", id="c")],
        [("a", "f", X)],
    ),
    "id and name that repeat": ([piece(0, '{"x"', "f", id="a"), piece(0, ":1}", "f", id="a")], [("a", "f", X)]),
    "an id that changes and a name that repeats": (
        [piece(0, '{"x"', "f", id="a"), piece(0, ":1}", "f", id="b")],
        [("a", "f", X)],
    ),
    "parallel pieces without index": (
        [piece(None, "", "f", id="a"), piece(None, "", "g", id="b"), piece(None, X, id="a"), piece(None, Y, id="b")],
        [("a", "f", X), ("b", "g", Y)],
    ),
    "an id without a call": ([piece(0, X, "f", id="a"), piece(1, "", id="b")], [("a", "f", X)]),
    "one id for two calls": (
        [piece(0, X, "f", id="a"), piece(1, Y, "f", id="a")],
        [("a", "f", X), ("call_", "f", Y)],
    ),
    "one id for two calls without index": (
        [piece(None, X, "f", id="a"), piece(None, Y, "f", id="a")],
        [("a", "f", X), ("call_", "f", Y)],
    ),
    "one id and one index for two calls": (
        [piece(0, X, "f", id="a"), piece(0, Y, "g", id="a")],
        [("a", "f", X), ("call_", "g", Y)],
    ),
}


@pytest.mark.parametrize("end", [(CALLED, "[DONE]"), ("[DONE]",)], ids=["finish_reason", "DONE"])
@pytest.mark.parametrize(("pieces", "calls"), CALL_PIECES.values(), ids=CALL_PIECES)
def test_pieces_of_calls_become_calls_that_can_be_made(
    pieces: list[Any], calls: list[tuple[str, str, str]], end: tuple[Any, ...]
) -> None:
    items = read(events(*[calling(piece) for piece in pieces], *end))
    first = {item.index: item for item in reversed(items) if isinstance(item, ToolCall)}
    assert all(item.id and item.name for item in first.values())
    received = [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in collect(items).tool_calls
    ]
    assert [(call_id if call_id in "ab" else call_id[:5], *rest) for call_id, *rest in received] == calls
    assert len({call_id for call_id, _, _ in received}) == len(calls)


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(0, X, "f", id="a"), piece(0, Y, "f", id="a")],
        [piece(0, X, id="a")],
        [piece(0, '{"x"', "f", id="a"), piece(0, ":1}", "oo")],  # ankit373/hydra issue 957
        [piece(0, '{"x"', "f", id="a"), piece(0, Y, "g", id="b")],
    ],
    ids=[
        "different arguments for one call",
        "arguments without a name",
        "more of a name among the arguments",
        "another call among the arguments",
    ],
)
def test_pieces_that_make_no_sense_are_an_error(pieces: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        read(events(*[calling(piece) for piece in pieces], CALLED))


def odd_lists(first: str) -> dict[str, Any]:
    """Return two calls, the first with these arguments, in values that are not a list of objects."""
    calls = [piece(None, first, "f", id="a"), piece(None, Y, "g", id="b")]
    numbered = dict(zip("01", calls, strict=True))
    return {
        "object": numbered,
        "text": json.dumps([{"index": number, **call} for number, call in enumerate(calls)]),
        "text of an object": json.dumps(numbered),
        "texts": [json.dumps({"index": number, **call}) for number, call in enumerate(calls)],
    }


@pytest.mark.parametrize("reason", ["stop", "tool_calls"])
@pytest.mark.parametrize("shape", odd_lists(""))
def test_calls_that_are_not_in_a_list_are_read(shape: str, reason: str) -> None:
    rest = choice({"tool_calls": {"0": {"function": {"arguments": ":1}"}}}})
    streamed = events(choice({"tool_calls": odd_lists('{"x"')[shape]}), rest, choice({}, reason), "[DONE]")
    message = {"content": None, "tool_calls": odd_lists(X)[shape]}
    document = json.dumps({"choices": [{"message": message, "finish_reason": reason}]}).encode()
    for items in (read(streamed), DIALECT.read_reply(document)):
        calls = collect(items).tool_calls
        assert [(call["id"], call["function"]["arguments"]) for call in calls] == [("a", X), ("b", Y)]


USE = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_that_a_gateway_left_in_the_content_is_one_call(streamed: bool, repeated: bool) -> None:
    message: dict[str, Any] = {"content": [{"type": "text", "text": "Hi"}, USE, {**USE, "id": "b", "input": {}}]}
    if repeated:
        message["tool_calls"] = [piece(0, X, "f", id="a"), piece(1, "{}", "f", id="b")]
    if streamed:
        items = read(events({"choices": [{"delta": message}]}, {"choices": [{"delta": message}]}, CALLED))
    else:
        body = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
        items = DIALECT.read_reply(json.dumps(body).encode())
    calls = [(call["id"], call["function"]["arguments"]) for call in collect(items).tool_calls]
    assert calls == [("a", X), ("b", "{}")]


def test_calls_of_a_document_with_one_id_are_different_calls() -> None:
    calls = [{"id": "a", "function": {"name": "f", "arguments": arguments}} for arguments in (X, Y, "")]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    reply = collect(DIALECT.read_reply(json.dumps(body).encode()))
    assert [call["function"]["arguments"] for call in reply.tool_calls] == [X, Y, "{}"]
    assert len({call["id"] for call in reply.tool_calls}) == 3


def test_the_pieces_of_two_calls_in_turn_are_those_of_their_index() -> None:
    texts = ['{"x', '{"y', '":', '":', "1", "2", "}", "}"]
    chunks = [
        choice({"role": "assistant", "content": ""}),
        calling(piece(0, "", "f", id="a")),
        calling(piece(1, "", "g", id="b")),
        *[
            calling(piece(number % 2, text))
            for number, text in enumerate(['{"x', '{"y', '":', '":', "1", "2", "}", "}"])
        ],
        CALLED,
    ]
    items = read(events(*chunks, "[DONE]"))
    assert [(call["id"], call["function"]) for call in collect(items).tool_calls] == [
        ("a", {"name": "f", "arguments": '{"x":1}'}),
        ("b", {"name": "g", "arguments": '{"y":2}'}),
    ]
    pieces = [(item.index, item.arguments) for item in items if isinstance(item, ToolCall) and item.arguments]
    assert pieces == [(number % 2, text) for number, text in enumerate(texts)]


@pytest.mark.parametrize("fields", [{}, {"name": "f"}, {"id": "a"}, {"id": "a", "name": "f"}])
def test_an_empty_piece_after_a_complete_call_begins_no_other(fields: dict[str, Any]) -> None:
    chunks = [calling(piece(0, '{"x":1}', "f", id="a")), calling(piece(0, "", **fields)), CALLED]
    [call] = collect(read(events(*chunks, "[DONE]"))).tool_calls
    assert (call["id"], call["function"]) == ("a", {"name": "f", "arguments": '{"x":1}'})


def test_the_usage_beside_several_choices_hides_no_text() -> None:
    several = {
        "choices": [{"index": 0, "delta": {"content": " there"}}, {"index": 1, "delta": {"content": "x"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    reply = collect(read(events(choice({"content": "Hi"}), choice({"content": ","}), several, STOP, "[DONE]")))
    assert reply.text == "Hi, there"
    assert reply.usage == Usage(1, 2)
