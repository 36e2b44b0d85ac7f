"""Items, and the reply that they are collected into: nothing is lost in either direction."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.errors import ReplyTooLargeError
from acytoo.messages import check_messages
from acytoo.types import (
    Finish,
    Item,
    Logprobs,
    OpaquePart,
    Reasoning,
    Refusal,
    Reply,
    ReplySize,
    Start,
    ToolCall,
    Usage,
    collect,
    signature_of,
)

TEXTS = st.text(min_size=1)


@given(st.lists(st.one_of(TEXTS, st.builds(Reasoning, TEXTS, st.integers(0, 2)), st.builds(Refusal, TEXTS))))
def test_texts_of_one_kind_are_joined_in_order(items: list[Item]) -> None:
    reply = collect(items)
    assert reply.text == "".join([item for item in items if isinstance(item, str)])
    assert reply.refusal == "".join([item.text for item in items if isinstance(item, Refusal)])
    reasoning = [item for item in items if isinstance(item, Reasoning)]
    assert [block["text"] for block in reply.reasoning] == [
        "".join([item.text for item in reasoning if item.index == index])
        for index in sorted({item.index for item in reasoning})
    ]


@given(st.lists(st.tuples(st.integers(0, 2), st.text(max_size=3)), max_size=20))
def test_fragments_of_parallel_calls_are_joined_by_their_index(fragments: list[tuple[int, str]]) -> None:
    opening = [ToolCall(index, f"id{index}", f"name{index}") for index in range(3)]
    calls = collect([*opening, *(ToolCall(index, arguments=text) for index, text in fragments)]).tool_calls
    assert [(call["id"], call["type"], call["function"]["name"]) for call in calls] == [
        (f"id{index}", "function", f"name{index}") for index in range(3)
    ]
    for index, call in enumerate(calls):
        assert call["function"]["arguments"] == "".join([text for number, text in fragments if number == index])


def test_collecting_the_items_of_a_reply_gives_the_same_reply() -> None:
    reply = Reply(
        text="Hello",
        tool_calls=[
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {
                "id": "b",
                "type": "function",
                "function": {"name": "g", "arguments": '{"x":1}'},
                "extra_content": {"google": {"thought_signature": "sig"}},
            },
        ],
        reasoning=[{"text": "hm", "signature": "s", "source": "anthropic"}, {"data": "d", "source": "anthropic"}],
        refusal="no",
        logprobs=[{"token": "Hello", "logprob": -1.0}],
        usage=Usage(1, 2, 3, 4, 5),
        finish=Finish("tool_calls"),
        id="i",
        model="m",
        created=7,
    )
    assert collect(reply.items()) == reply


def test_an_empty_reply_has_no_items_and_no_finish() -> None:
    assert collect([]) == Reply()
    assert Reply().items() == []
    assert Reply().finish_reason is None


def test_two_replies_do_not_share_a_list() -> None:
    first = collect([Logprobs([{"token": "a"}])])
    assert collect([]).logprobs == []
    assert first.logprobs == [{"token": "a"}]


def test_a_later_usage_replaces_an_earlier_one() -> None:
    assert collect([Usage(1, 1), "a", Usage(1, 9)]).usage == Usage(1, 9)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(text="Hi"), {"role": "assistant", "content": "Hi"}),
        (Reply(), {"role": "assistant", "content": ""}),
        (Reply(refusal="No."), {"role": "assistant", "content": "", "refusal": "No."}),
        (Reply(reasoning=[{"text": "hm"}]), {"role": "assistant", "content": "", "reasoning": [{"text": "hm"}]}),
        (
            Reply(tool_calls=[{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
        ),
    ],
)
def test_the_message_of_a_reply_can_be_sent_back(reply: Reply, message: dict[str, Any]) -> None:
    assert reply.message == message
    assert check_messages([reply.message]) == [message]


@pytest.mark.parametrize(
    ("event", "json"),
    [
        (Start("i", "m", 7), b'{"type":"start","id":"i","model":"m","created":7}'),
        (Reasoning("hm"), b'{"type":"reasoning","text":"hm"}'),
        (ToolCall(1, "a", "f", "{"), b'{"type":"tool_call","index":1,"id":"a","name":"f","arguments":"{"}'),
        (Refusal("no"), b'{"type":"refusal","text":"no"}'),
        (Usage(3, 4), b'{"type":"usage","input_tokens":3,"output_tokens":4}'),
        (Finish("length"), b'{"type":"finish","reason":"length"}'),
    ],
)
def test_an_event_is_encoded_as_json_with_its_type(event: Item, json: bytes) -> None:
    assert msgspec.json.encode(event) == json


@pytest.mark.parametrize(
    ("call", "signature"),
    [
        ({"extra_content": {"google": {"thought_signature": "s"}}}, ("s", "gemini")),
        ({"extra_content": {"google": {"thought_signature": ""}}}, None),
        ({"extra_content": {"google": {"thought_signature": 5}}}, None),
        ({"extra_content": {"google": "s"}}, None),
        ({"extra_content": {"other": {}}}, None),
        ({"extra_content": ["s"]}, None),
        ({"extra_content": None}, None),
        ({}, None),
    ],
)
def test_a_signature_is_read_from_the_place_where_gemini_puts_it(call: dict[str, Any], signature: object) -> None:
    assert signature_of(call) == signature


MAKERS: dict[str, Callable[[int], Item]] = {
    "short texts": lambda i: f"x{i}",
    "texts of wide characters": lambda i: f"\U0001f600{i}" * 10,
    "calls": lambda i: ToolCall(i, f"call_{i}", f"name{i}", f'{{"a": {i}}}'),
    "calls without names": lambda i: ToolCall(i),
    "pieces of a call": lambda i: ToolCall(0, arguments=f"x{i}"),
    "blocks": lambda i: Reasoning(f"x{i}", i, signature=f"s{i}"),
    "pieces of a block": lambda i: Reasoning(f"x{i}"),
    "parts": lambda i: OpaquePart("gemini/x", {f"a{i}": {"b": [i + 1000] * 3}}, "", i),
    "log-probabilities": lambda i: Logprobs(
        [{"token": f"x{i}", "logprob": i / 7, "top_logprobs": [{"token": f"{i}"}]}]
    ),
    "log-probabilities of nothing": lambda i: Logprobs([{}, {}, {}]),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_size_of_a_reply_is_about_the_memory_that_collecting_it_takes(name: str) -> None:
    tracemalloc.start()
    try:
        items = [MAKERS[name](number) for number in range(5000)]
        reply = collect(items)
        taken = tracemalloc.get_traced_memory()[1]
        del reply
    finally:
        tracemalloc.stop()
    ReplySize(2 * taken).add(items)
    with pytest.raises(ReplyTooLargeError):
        ReplySize(taken // 2).add(items)  # joining them copies the texts
