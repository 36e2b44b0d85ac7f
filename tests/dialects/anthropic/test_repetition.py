"""Streams of Anthropic's API in which a proxy or a server repeats the message, a block, or the start of one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo.errors import ProtocolError, ReplyError
from acytoo.types import Reply, collect
from tests.dialects.anthropic.helpers import DIALECT
from tests.dialects.strategies import read_items

START = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}}}
PAY = {"type": "tool_use", "id": "a", "name": "pay", "input": {}}
SUM = ['{"sum"', ":1}"]


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index: int, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def text(index: int, *pieces: str) -> list[dict[str, Any]]:
    deltas = [piece(index, type="text_delta", text=each) for each in pieces]
    return [begin(index, type="text", text=""), *deltas, stop(index)]


def call(index: int, *pieces: str, **fields: Any) -> list[dict[str, Any]]:
    deltas = [piece(index, type="input_json_delta", partial_json=each) for each in pieces]
    return [begin(index, **PAY | fields), *deltas, stop(index)]


def thought(index: int, signature: str) -> list[dict[str, Any]]:
    deltas = [
        piece(index, type="thinking_delta", thinking="Hm"),
        piece(index, type="signature_delta", signature=signature),
    ]
    return [begin(index, type="thinking", thinking=""), *deltas, stop(index)]


def reply(*events: dict[str, Any], reason: str = "end_turn") -> Reply:
    """Return the reply of a stream, and assert that any split of its bytes gives the same."""
    end = [{"type": "message_delta", "delta": {"stop_reason": reason}}, {"type": "message_stop"}]
    body = b"".join([b"data: " + json.dumps(event).encode() + b"\n\n" for event in [*events, *end]])
    replies = [collect(read_items(DIALECT, chunks)) for chunks in ([body], [body[i : i + 1] for i in range(len(body))])]
    assert replies[0].message["content"] == replies[1].message["content"]
    return replies[0]


HELLO, WORLD = text(0, "Hello ", "world"), call(1, *SUM)

REPEATED: dict[str, list[dict[str, Any]]] = {
    # maximhq/bifrost issue 4556.
    "the start of the message": [START, START, *HELLO, *WORLD],
    "the start of the message, with another id": [START, START | {"message": {"id": "x"}}, *HELLO, *WORLD],
    "the start of the message before each block": [START, *HELLO, START, *WORLD],
    "the starts of the blocks": [START, HELLO[0], *HELLO, WORLD[0], *WORLD],
    "the start of a block that has text": [
        *[START, begin(0, type="text", text="Hello "), begin(0, type="text", text="Hello ")],
        *[piece(0, type="text_delta", text="world"), stop(0), *WORLD],
    ],
    "the start of a call inside it": [START, *HELLO, *WORLD[:2], WORLD[0], *WORLD[2:]],
    # BerriAI/litellm issue 37273.
    "the ends of the blocks": [START, *HELLO, HELLO[-1], *WORLD, WORLD[-1]],
    "the blocks": [START, *HELLO, *HELLO, *WORLD, *WORLD],
    "the blocks, cut otherwise": [START, *HELLO, *text(0, "Hel", "lo world"), *WORLD, *call(1, '{"sum":1}')],
    "the call, at another index": [START, *HELLO, *WORLD, *call(2, *SUM)],
    "the call, with its input at once": [START, *HELLO, *WORLD, *call(1, input={"sum": 1})],
    "the message": [START, *HELLO, *WORLD, START, *HELLO, *WORLD],
    "the message, from the middle of its text": [START, *HELLO[:2], START, *HELLO, *WORLD],
    "the message, from the middle of its call": [START, *HELLO, *WORLD[:2], START, *HELLO, *WORLD],
    "the message, with its short first text": [START, *HELLO[:2], HELLO[-1], START, *HELLO, *WORLD],
    "the content of its start": [
        {"type": "message_start", "message": {"id": "m", "content": [{"type": "text", "text": "Hello world"}]}},
        *[*HELLO, *WORLD],
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", REPEATED)
def test_what_is_repeated_is_read_once(name: str) -> None:
    found = reply(*REPEATED[name], reason="tool_use")
    assert found.text == "Hello world"
    assert [(c["id"], c["function"]) for c in found.tool_calls] == [("a", {"name": "pay", "arguments": '{"sum":1}'})]


def test_a_block_whose_end_and_stop_reason_are_missing_is_not_lost_in_a_repetition() -> None:
    assert reply(START, *text(0, "One, "), *text(0, "two and ", "three")[:-1]).text == "One, two and three"


def test_a_repeated_message_has_its_thoughts_once() -> None:
    found = reply(START, *thought(0, "s1"), *text(1, "Hello"), START, *thought(0, "s1"), *text(1, "Hello"))
    assert [block["text"] for block in found.reasoning] == ["Hm"]
    assert found.text == "Hello"


SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
SEARCHED = [begin(0, **SEARCH), stop(0), begin(1, **FOUND), stop(1)]
ANSWER = text(2, "Hello")


@pytest.mark.parametrize(
    "events",
    [
        [START, *SEARCHED, START, *SEARCHED, *ANSWER],
        [START, *SEARCHED, *SEARCHED, *ANSWER],
        [START, *SEARCHED, *ANSWER, {"type": "message", "content": [SEARCH, FOUND, {"type": "text", "text": "Hello"}]}],
    ],
    ids=["the start of the message", "the blocks", "the complete message at the end"],
)
def test_blocks_that_only_this_api_has_are_read_once(events: list[dict[str, Any]]) -> None:
    found = reply(*events)
    assert [part.get("fields", part.get("text")) for part in found.turn_parts] == [SEARCH, FOUND, "Hello"]


# anthropics/anthropic-sdk-typescript issue 879: one index for two blocks.
HONEST: dict[str, tuple[list[dict[str, Any]], str]] = {
    "two texts": ([*text(0, "One, "), *text(0, "two and ", "three")], "One, two and three"),
    "a short text twice": ([*text(0, "ha"), *text(0, "ha")], "haha"),
    "a longer text that begins like the first": ([*text(0, "Hello"), *text(0, "Hello ", "world")], "HelloHello world"),
    "a text, a call and a text": ([*text(0, "Hello "), *call(0, *SUM), *text(0, "world")], "Hello world"),
}


@pytest.mark.parametrize("name", HONEST)
def test_another_block_with_the_same_index_is_read(name: str) -> None:
    events, expected = HONEST[name]
    assert reply(START, *events).text == expected


def test_two_calls_with_one_index_are_two_calls() -> None:
    found = reply(START, *call(0, *SUM), *call(0, *SUM, id="b"), reason="tool_use")
    assert [c["id"] for c in found.tool_calls] == ["a", "b"]


def test_another_message_after_a_part_of_the_first_is_an_error_after_its_text() -> None:
    other = {"type": "message_start", "message": {"id": "msg_2"}}
    with pytest.raises(ProtocolError, match="began its message again") as caught:
        reply(START, *text(0, "Hello "), other, *text(0, "Goodbye"))
    assert isinstance(caught.value, ReplyError)


def test_other_arguments_for_a_repeated_call_are_an_error() -> None:
    with pytest.raises(ProtocolError, match="two different sets of arguments"):
        reply(START, *call(0, *SUM), *call(0, '{"sum":2}'), reason="tool_use")


def test_arguments_of_a_call_that_has_not_begun_are_an_error() -> None:
    with pytest.raises(ProtocolError, match="has not begun"):
        reply(START, *text(0, "Hello"), *call(1, *SUM)[1:])


def test_two_calls_with_one_id_in_a_document_are_one_call_if_they_are_equal() -> None:
    for second, count in ((PAY, 1), (PAY | {"input": {"sum": 1}}, 2)):
        document = {"type": "message", "id": "m", "content": [PAY, second], "stop_reason": "tool_use"}
        assert len(collect(DIALECT.read_reply(json.dumps(document).encode())).tool_calls) == count
