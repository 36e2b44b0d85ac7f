"""The shared parts for tool calls: arguments as an object, ids where an API has none."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from acytoo import dialects
from acytoo.dialects.tool_calls import arguments_object
from acytoo.http import ServerRequest


@pytest.mark.parametrize(
    ("arguments", "decoded"),
    [
        ('{"x": 1}', {"x": 1}),
        ({"x": 1}, {"x": 1}),
        (MappingProxyType({"x": 1}), {"x": 1}),
        (None, {}),
        (" ", {}),
        ("[1]", None),
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
