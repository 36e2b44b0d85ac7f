"""Requests to the path of chat completions in the shape of Anthropic's API or of Responses, as Cursor sends them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from acytoo import dialects
from acytoo.dialects.base import ParsedRequest
from acytoo.errors import RequestError
from acytoo.http import ServerRequest
from acytoo.testing import reply
from tests.server.live_server import call, live_server, request

OPENAI = dialects.OpenAI()
PNG = "iVBORw0KGgo="
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
USER = {"role": "user", "content": "Hi"}
F_CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
CALLING = {"role": "assistant", "content": "Wait", "tool_calls": [F_CALL]}
SCHEMA = {"type": "object", "properties": {}}


def decode(body: dict[str, Any]) -> ParsedRequest:
    encoded = json.dumps({"model": "m", **body}).encode()
    return OPENAI.decode_request(ServerRequest("/v1/chat/completions", {}, encoded))


def decoded(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return msgspec.to_builtins(decode({"messages": [*messages]}).request.messages)  # type: ignore[no-any-return]


TOOL_USE = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "1"}]}

MESSAGES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "Anthropic's call": (
        {"role": "assistant", "content": [{"type": "text", "text": "Wait"}, TOOL_USE]},
        [CALLING],
    ),
    "Anthropic's results, and a text": (
        {
            "role": "user",
            "content": [RESULT, {**RESULT, "tool_use_id": "b", "content": "2"}, {"type": "text", "text": "Go on"}],
        },
        [
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            {"role": "user", "content": "Go on"},
        ],
    ),
    "Anthropic's thought": (
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "Hi"}],
        },
        [
            {
                "role": "assistant",
                "content": "Hi",
                "reasoning": [{"text": "hm", "signature": "s", "source": "anthropic"}],
            }
        ],
    ),
    "Mistral's thought, and a call": (
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
                {"type": "text", "text": "Wait"},
            ],
            "tool_calls": [F_CALL],
        },
        [{**CALLING, "reasoning": [{"text": "hm"}]}],
    ),
    "a call in the content and in tool_calls": (
        {"role": "assistant", "content": [{"type": "text", "text": "Wait"}, TOOL_USE], "tool_calls": [F_CALL]},
        [CALLING],
    ),
    "Anthropic's image": (
        {
            "role": "user",
            "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}],
        },
        [{"role": "user", "content": [IMAGE]}],
    ),
    "parts of Responses": (
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_image", "image_url": IMAGE["image_url"]}],
        },
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}, IMAGE]}],
    ),
    "an output of Responses": (
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hi", "annotations": []}]},
        [{"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}],
    ),
    "texts in place of parts": (
        {"role": "user", "content": ["Hi", IMAGE]},
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}, IMAGE]}],
    ),
    "parts of this API": ({"role": "user", "content": [IMAGE]}, [{"role": "user", "content": [IMAGE]}]),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_in_another_shape_is_one_of_this_api(name: str) -> None:
    message, expected = MESSAGES[name]
    assert decoded(message) == expected


RESULTS = [(None, ""), ({"x": [1]}, '{"x":[1]}'), (5, "5"), (True, "true"), ([], []), ([{"x": 1}], '[{"x":1}]')]


@pytest.mark.parametrize(("content", "text"), [*RESULTS, (["a", "b"], '["a","b"]')])
def test_a_result_that_is_any_json_value_is_that_value_as_text(content: object, text: object) -> None:
    result = {"role": "tool", "tool_call_id": "a", "content": content}
    assert decoded(USER, CALLING, result)[-1] == {**result, "content": text}


def test_a_turn_without_content_and_calls_is_empty() -> None:
    assert decoded(USER, {"role": "assistant", "content": None}, USER)[1] == {"role": "assistant", "content": ""}
    assert decoded(USER, {"role": "assistant", "content": None, "tool_calls": [F_CALL]})[1]["content"] is None


FUNCTION = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}

TOOLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Anthropic": ({"name": "f", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}, FUNCTION),
    "Anthropic, with a type": ({"type": "custom", "name": "f", "input_schema": SCHEMA}, FUNCTION),
    "Responses": ({"type": "function", "name": "f", "parameters": SCHEMA, "strict": None}, FUNCTION),
    "without a type": ({"function": {"name": "f", "parameters": SCHEMA}}, FUNCTION),
    "a custom tool of Responses": (
        {"type": "custom", "name": "f", "format": {"type": "grammar", "syntax": "lark", "definition": "s: /a/"}},
        {
            "type": "custom",
            "custom": {
                "name": "f",
                "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "s: /a/"}},
            },
        },
    ),
    "a custom tool of Responses that takes any text": (
        {"type": "custom", "name": "f"},
        {"type": "custom", "custom": {"name": "f", "format": {"type": "text"}}},
    ),
}


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_with_its_fields_beside_its_type_is_one_of_this_api(name: str) -> None:
    tool, expected = TOOLS[name]
    parsed = decode({"messages": [USER], "tools": [tool, FUNCTION]})
    assert parsed.request.tools == [expected, FUNCTION]
    assert parsed.is_foreign


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "custom", "name": "f"}, {"type": "custom", "custom": {"name": "f"}}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_a_choice_of_another_api_is_one_of_this_api(choice: object, expected: object) -> None:
    assert decode({"messages": [USER], "tools": [FUNCTION], "tool_choice": choice}).request.tool_choice == expected


RESPONSES: dict[str, Any] = {
    "model": "m",
    "input": [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"x":1}'},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
    "reasoning": {"effort": "high", "summary": "auto"},
    "max_output_tokens": 9,
    "include": ["reasoning.encrypted_content"],
    "store": False,
    "stream_options": {"include_usage": True},
}


def test_a_body_of_responses_is_a_request_for_a_chat_completion() -> None:
    parsed = decode(RESPONSES)
    assert parsed.is_foreign
    assert [message["role"] for message in parsed.request.messages] == ["system", "user", "assistant", "tool"]
    assert parsed.request.tools == [FUNCTION]
    assert (parsed.request.reasoning_effort, parsed.request.max_tokens) == ("high", 9)
    assert parsed.request.extra == {"stream_options": {"include_usage": True}}


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "item"])
def test_a_reference_in_such_a_body_is_never_left_out(field: str) -> None:
    items = [*RESPONSES["input"], {"type": "item_reference", "id": "x"}] if field == "item" else RESPONSES["input"]
    with pytest.raises(RequestError, match="item_reference" if field == "item" else field):
        decode({**RESPONSES, "input": items} | ({} if field == "item" else {field: "x"}))


@pytest.mark.parametrize("body", [RESPONSES, {"model": "m", "messages": [MESSAGES["Anthropic's call"][0], USER]}])
async def test_it_does_not_pass_through_but_is_translated_for_a_server_of_the_same_api(body: dict[str, Any]) -> None:
    async with live_server(reply("Hello"), dialect=OPENAI) as server:
        answer = await call(server.port, request(OPENAI, stream=False, body=json.dumps(body).encode()))
        received = json.loads(server.fake.requests[0].body)
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "Hello"
    assert "input" not in received
    assert F_CALL in [call for message in received["messages"] for call in message.get("tool_calls", ())]


async def test_a_thought_among_the_parts_passes_through_to_a_server_of_the_same_api() -> None:
    body = json.dumps({"model": "m", "messages": [USER, MESSAGES["Mistral's thought, and a call"][0]]}).encode()
    async with live_server(reply("Hello"), dialect=OPENAI) as server:
        await call(server.port, request(OPENAI, stream=False, body=body))
        assert json.loads(server.fake.requests[0].body)["messages"] == json.loads(body)["messages"]
