"""The shared parts for tool calls: arguments as an object and in pieces, ids."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.dialects.base import Unsupported
from acytoo.dialects.tool_calls import ArgumentPieces, CallIds, ReceivedCalls, arguments_object, with_unique_ids
from acytoo.http import Endpoint, ServerRequest
from acytoo.secret import Secret
from acytoo.types import Request
from tests.dialects.strategies import split_at


@pytest.mark.parametrize(
    ("arguments", "decoded"),
    [
        ('{"x": 1}', {"x": 1}),
        ({"x": 1}, {"x": 1}),
        (MappingProxyType({"x": 1}), {"x": 1}),
        (None, {}),
        (" ", {}),
        ("[1]", None),
        (r'"{\"x\": 1}"', {"x": 1}),  # vllm-project/vllm pull request 54964
        (r'"\"{\\\"x\\\": 1}\""', None),
        ('"x"', None),
        ('"', None),
        ("{", None),
        ('{"x": "\ud83d"}', None),
    ],
)
def test_arguments_are_an_object_whether_they_are_text_or_a_mapping(arguments: Any, decoded: object) -> None:
    assert arguments_object(arguments) == decoded


def ollama_call(**fields: Any) -> dict[str, Any]:
    return {"function": {"name": "f", "arguments": {}}, **fields}


SOME_IDS: dict[str, tuple[str, Any]] = {
    "ollama": (
        "/api/chat",
        {
            "messages": [
                {"role": "assistant", "content": "", "tool_calls": [ollama_call(), ollama_call(id="call_0")]},
                {"role": "tool", "tool_name": "f", "content": "first"},
                {"role": "tool", "tool_call_id": "call_0", "content": "second"},
                {"role": "assistant", "content": "", "tool_calls": [ollama_call(id="call_1"), ollama_call()]},
                {"role": "tool", "tool_call_id": "call_1", "content": "third"},
                {"role": "tool", "tool_name": "f", "content": "fourth"},
            ]
        },
    ),
    "gemini": (
        "/v1beta/models/m:generateContent",
        {
            "contents": [
                {
                    "role": "model",
                    "parts": [
                        {"functionCall": {"name": "f", "args": {}}},
                        {"function_call": {"name": "f", "args": {}, "id": "call_0"}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [
                        {"functionResponse": {"name": "f", "response": {"output": "first"}}},
                        {"functionResponse": {"name": "f", "response": {"output": "second"}, "id": "call_0"}},
                    ],
                },
                {
                    "role": "model",
                    "parts": [
                        {"functionCall": {"name": "f", "args": {}, "id": "call_1"}},
                        {"functionCall": {"name": "f", "args": {}}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [
                        {"functionResponse": {"name": "f", "response": {"output": "third"}, "id": "call_1"}},
                        {"functionResponse": {"name": "f", "response": {"output": "fourth"}}},
                    ],
                },
            ]
        },
    ),
}
"""Conversations in which only some calls have ids, which are like those that we give."""


@pytest.mark.parametrize("name", SOME_IDS)
def test_a_call_without_an_id_gets_one_that_no_other_call_of_the_conversation_has(name: str) -> None:
    path, body = SOME_IDS[name]
    incoming = ServerRequest(path, {}, msgspec.json.encode({"model": "m", **body}), {"model": "m"})
    messages = dialects.by_name(name).decode_request(incoming).request.messages
    calls = [call["id"] for message in messages for call in message.get("tool_calls", [])]
    results = {message["tool_call_id"]: message["content"] for message in messages if message["role"] == "tool"}
    assert len(set(calls)) == 4
    assert [results[call_id] for call_id in calls] == ["first", "second", "third", "fourth"]


# Arguments in pieces.

OBJECTS = st.dictionaries(
    st.text('a"\\{}'),
    st.recursive(st.text('a"\\{}[]'), lambda inner: st.lists(inner) | st.dictionaries(st.text("b}"), inner)),
)


@given(OBJECTS, st.sampled_from(["", " ", "\n", "x", "}", "{}"]), st.lists(st.integers(0, 200)), st.booleans())
def test_pieces_know_whether_they_are_a_complete_object_however_they_are_split(
    value: dict[str, Any], rest: str, places: list[int], asks_often: bool
) -> None:
    text = json.dumps(value) + rest
    pieces = ArgumentPieces()
    for piece in split_at(text.encode(), places):
        pieces.append(piece.decode())
        if asks_often:
            assert pieces.object == (arguments_object(pieces.text) if pieces.text.strip() else None)
    assert pieces.text == text
    assert pieces.object == arguments_object(text)
    assert pieces.is_complete == (
        arguments_object(text) is not None and bool(pieces) and pieces[-1].rstrip().endswith("}")
    )


@pytest.mark.parametrize("text", ["[{}]", "{]", '"{}', '"{}"x', '"a"', "{}{}", "\\{}", "{a}", "1}", "", " "])
def test_pieces_that_are_not_an_object_are_not_complete(text: str) -> None:
    assert ArgumentPieces([text]).object is None
    assert not ArgumentPieces(text).is_complete


@given(OBJECTS, st.lists(st.integers(0, 200)))
def test_pieces_of_an_object_that_was_encoded_twice_are_complete_at_its_last_quote(
    value: dict[str, Any], places: list[int]
) -> None:
    pieces = ArgumentPieces()
    for piece in split_at(json.dumps(json.dumps(value)).encode(), places):
        assert pieces.object is None
        pieces.append(piece.decode())
    assert pieces.object == value


@pytest.mark.parametrize("piece", ["x" * 100, '\\"' * 50, '"' * 100], ids=["text", "escaped quotes", "quotes"])
def test_many_pieces_of_a_quoted_text_are_looked_at_once(piece: str) -> None:
    calls = ReceivedCalls()
    call = calls.open()
    calls.add(call, "a", "f", '"')
    for _ in range(50_000):
        calls.add(call, arguments=piece)
        assert not call.is_complete  # this would take hours if each question parsed all of them


def test_results_without_ids_belong_to_the_oldest_open_calls_preferring_their_name() -> None:
    ids = CallIds()
    assert [ids.for_call(name) for name in ("f", "g", "f", "h")] == ["call_0", "call_1", "call_2", "call_3"]
    assert ids.for_result("", "call_3") == "call_3"
    assert [ids.for_result(name) for name in ("g", "f", "h", "f")] == ["call_1", "call_0", "call_2", "call_4"]
    assert ids.for_result("f", "own") == "own"


def test_a_result_with_an_unknown_id_belongs_to_the_oldest_open_call_without_one() -> None:
    ids = CallIds(["a", "b"])
    calls = [("f", "a"), ("f", ""), ("g", ""), ("f", ""), ("f", "b")]
    assert [ids.for_call(name, own) for name, own in calls] == ["a", "call_1", "call_2", "call_3", "b"]
    assert ids.for_result("f", "b") == "b"
    assert [ids.for_result(name, "lost") for name in ("g", "", "f")] == ["call_2", "call_1", "call_3"]
    assert ids.for_result("f", "other") == "other"  # the only open call has an id of its own
    assert ids.for_result("f") == "a"


def test_results_with_unknown_ids_are_matched_in_one_step_each() -> None:
    ids = CallIds()
    for _ in range(100_000):
        ids.for_call("f")
    for number in range(100_000):  # this would take hours if each looked at all calls
        assert ids.for_result("f", f"lost_{number}") == f"call_{number}"


def turn(*ids: str) -> dict[str, Any]:
    function = {"name": "f", "arguments": "{}"}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": one, "function": function} for one in ids]}


def results(*ids: str) -> list[dict[str, Any]]:
    return [{"role": "tool", "tool_call_id": one, "content": "1"} for one in ids]


def ids_in(messages: Any) -> list[str]:
    ids: list[str] = []
    for message in messages:
        ids += [call["id"] for call in message.get("tool_calls", ())]
        ids += [message["tool_call_id"]] if "tool_call_id" in message else []
    return ids


UNIQUE: dict[str, tuple[list[Any], list[str]]] = {
    "different ids": ([turn("a", "b"), *results("b", "a")], ["a", "b", "b", "a"]),
    "an id again in a later turn": (
        [turn("a"), *results("a"), turn("a"), *results("a"), turn("a"), *results("a")],
        ["a", "a", "a_2", "a_2", "a_3", "a_3"],
    ),
    "a new id that is known": ([turn("a_2"), turn("a"), *results("a_2"), turn("a")], ["a_2", "a", "a_2", "a_3"]),
    "an id twice in one turn": ([turn("a", "a"), *results("a", "a")], ["a", "a_2", "a", "a_2"]),
    "a turn in several messages": ([turn("a"), *results("a"), turn("a"), turn("b"), *results("a", "b")],
                                   ["a", "a", "a_2", "b", "a_2", "b"]),
    "two results of one call": ([turn("a"), *results("a", "a")], ["a", "a", "a"]),
    "a result without a call": (results("a:b"), ["a:b"]),
    "calls without ids": ([turn("", ""), *results("")], ["", "", ""]),
}  # fmt: skip


@pytest.mark.parametrize("name", UNIQUE)
def test_a_call_whose_id_an_earlier_one_has_gets_another_and_so_does_its_result(name: str) -> None:
    messages, ids = UNIQUE[name]
    before = json.dumps(messages)
    assert ids_in(with_unique_ids(messages)) == ids
    assert json.dumps(messages) == before


@pytest.mark.parametrize("dialect", [dialects.Anthropic(), dialects.OpenAIResponses()], ids=lambda one: one.name)
def test_no_id_of_a_call_is_sent_twice_to_an_api_that_refuses_it(dialect: dialects.Dialect) -> None:
    """Anthropic's API takes fewer characters, so that other ids become equal."""
    user: dict[str, Any] = {"role": "user", "content": "Hello"}
    messages: Any = [user, turn("f:0", "f_0"), *results("f:0", "f_0"), turn("f:0"), *results("f:0")]
    request = Request(messages, model="m")
    encoded = dialect.encode_request(request, Endpoint("http://a.example", Secret("")), Unsupported(dialect.name))
    body = json.loads(encoded.body)
    items = body.get("input") or [block for turn in body["messages"] for block in turn["content"]]
    sent = [item for item in items if isinstance(item, dict) and item.get("type")]
    calls = [item.get("call_id") or item["id"] for item in sent if item["type"] in ("function_call", "tool_use")]
    answers = [
        item.get("call_id") or item["tool_use_id"] for item in sent if item["type"] not in ("function_call", "tool_use")
    ]
    assert len(set(calls)) == 3
    assert calls == answers
