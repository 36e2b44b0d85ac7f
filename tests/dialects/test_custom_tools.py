"""Custom tools, which take text instead of JSON, in front of APIs that have functions only, and their calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.base import Unsupported
from acytoo.dialects.openai import Variations
from acytoo.dialects.translate import translate
from acytoo.errors import RequestError, UnsupportedError
from acytoo.http import Endpoint, ServerRequest
from acytoo.messages import check_messages
from acytoo.types import Finish, Item, Request, ToolCall, Usage, collect

CHAT = dialects.OpenAI()
WITH_CUSTOM = [dialects.OpenAI(Variations(custom_tools=True)), dialects.OpenAIResponses()]
WITHOUT = [dialects.OpenAI(), dialects.Anthropic(), dialects.Gemini(), dialects.Ollama()]
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
TOOL: Any = {"type": "custom", "custom": {"name": "sh", "description": "Runs it."}}
PARAMETERS = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
FUNCTION: Any = {"type": "function", "function": {"name": "sh", "description": "Runs it.", "parameters": PARAMETERS}}
CALL = {"id": "call_1", "type": "custom", "custom": {"name": "sh", "input": 'echo "é"\n'}}
HISTORY: list[Any] = [
    {"role": "user", "content": "List."},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "a b"},
]

each_without = pytest.mark.parametrize("target", WITHOUT, ids=lambda dialect: dialect.name)
each_with = pytest.mark.parametrize("target", WITH_CUSTOM, ids=lambda dialect: dialect.name)


def received(**fields: Any) -> Request:
    """Return the request that a server of chat completions decodes for another API."""
    body = {"model": "m", "messages": HISTORY[:1], **fields}
    parsed = CHAT.decode_request(ServerRequest("/v1/chat/completions", {}, json.dumps(body).encode()))
    return translate(parsed.request, CHAT)


def encode(target: Dialect, request: Request, *, drop: bool = False) -> Any:
    sent = target.encode_request(request, Endpoint("http://h"), Unsupported(target.name, drop=drop))
    return json.loads(sent.body)


@each_without
def test_a_custom_tool_is_a_function_with_a_text_parameter_where_there_are_none(target: Dialect) -> None:
    choice = {"type": "custom", "custom": {"name": "sh"}} if target.name != "ollama" else "auto"
    for request in (
        received(tools=[TOOL], tool_choice=choice),
        Request(HISTORY[:1], "m", tools=[TOOL], tool_choice=choice),
    ):
        as_function = {"type": "function", "function": {"name": "sh"}} if target.name != "ollama" else "auto"
        plain = Request(HISTORY[:1], request.model, request.stream, tools=[FUNCTION], tool_choice=as_function)
        assert encode(target, request) == encode(target, plain)


@each_with
def test_a_custom_tool_stays_one_where_the_api_has_them(target: Dialect) -> None:
    definition = {**TOOL["custom"], "format": GRAMMAR}
    sent = encode(target, received(tools=[{"type": "custom", "custom": definition}]))
    (tool,) = sent["tools"]
    assert tool["type"] == "custom"
    assert tool.get("custom", tool)["name"] == "sh"
    assert "start: /a/" in json.dumps(tool.get("custom", tool)["format"])


@each_without
def test_a_grammar_is_refused_by_name_or_becomes_part_of_the_description(target: Dialect) -> None:
    request = received(tools=[{"type": "custom", "custom": {"name": "sh", "format": GRAMMAR}}])
    with pytest.raises(UnsupportedError, match="grammar of a custom tool"):
        encode(target, request)
    assert "start: /a/" in json.dumps(encode(target, request, drop=True))


def test_allowed_tools_may_be_custom_ones() -> None:
    allowed = [{"type": "custom", "custom": {"name": "sh"}}, {"type": "function", "function": {"name": "f"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": allowed}}
    other = {"type": "function", "function": {"name": "f"}}
    sent = encode(dialects.Gemini(), received(tools=[TOOL, other], tool_choice=choice))
    assert sent["toolConfig"]["functionCallingConfig"] == {"mode": "ANY", "allowedFunctionNames": ["sh", "f"]}


@each_without
@pytest.mark.parametrize("definition", [None, {}, {"name": 5}, "sh"])
def test_a_custom_tool_without_a_name_is_refused(target: Dialect, definition: Any) -> None:
    with pytest.raises((RequestError, UnsupportedError), match="custom"):
        encode(target, received(tools=[{"type": "custom", "custom": definition}]))


@each_without
@pytest.mark.parametrize("tools", [[TOOL], None], ids=["with the tool", "without"])
def test_calls_of_a_history_are_calls_of_functions_where_there_are_no_custom_tools(target: Dialect, tools: Any) -> None:
    function = {"name": "sh", "arguments": {"input": 'echo "é"\n'}}
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "function": function}]}
    message["tool_calls"][0]["type"] = "function"  # type: ignore[index]
    plain = received(messages=[HISTORY[0], message, HISTORY[2]], tools=tools and [FUNCTION])
    assert encode(target, received(messages=HISTORY, tools=tools)) == encode(target, plain)


def test_calls_of_a_history_stay_calls_of_custom_tools_where_the_api_has_them() -> None:
    chat, responses = (encode(target, received(messages=HISTORY, tools=[TOOL])) for target in WITH_CUSTOM)
    assert chat["messages"][1:] == HISTORY[1:]
    assert responses["input"][1:] == [
        {"type": "custom_tool_call", "call_id": "call_1", "name": "sh", "input": 'echo "é"\n'},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "a b"},
    ]


def test_the_messages_of_a_caller_are_not_changed() -> None:
    history = json.loads(json.dumps(HISTORY))
    check_messages(history)
    assert history == HISTORY


PIECES: list[Item] = [
    "Now.",
    ToolCall(0, "call_1", "sh"),
    ToolCall(0, arguments='{"inp'),
    ToolCall(1, "call_2", "f", '{"a":'),
    ToolCall(0, arguments='ut":"ec'),
    ToolCall(1, arguments="1}"),
    ToolCall(0, arguments='ho \\"é\\"\\n"}'),
    Finish("tool_calls"),
    Usage(1, 2),
]
SECOND = {"id": "call_2", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
FIRST = {**CALL, "custom": {"name": "sh", "input": 'echo "é"\n'}}


def written(items: list[Item], request: Request) -> tuple[list[Any], str]:
    """Return the calls of a stream as the official SDKs put them together, and the stream's finish reason."""
    writer = CHAT.writer(request)
    calls: dict[int, Any] = {}
    reason = ""
    for line in (b"".join([writer.write([item]) for item in items]) + writer.end()).split(b"\n\n"):
        if not line or b"[DONE]" in line:
            continue
        for choice in json.loads(line.removeprefix(b"data: "))["choices"]:
            assert not reason
            reason = choice["finish_reason"] or ""
            for piece in choice["delta"].get("tool_calls", ()):
                call = calls.setdefault(piece.pop("index"), {})
                for kind, field in (("custom", "input"), ("function", "arguments")):
                    if kind in piece:
                        part = piece.pop(kind)
                        known = call.setdefault(kind, {"name": part.get("name"), field: ""})
                        known[field] += part[field]
                call |= piece
    return [calls[index] for index in sorted(calls)], reason


def test_a_call_of_a_custom_tool_comes_back_as_one() -> None:
    request = received(tools=[TOOL, {"type": "function", "function": {"name": "f"}}])
    assert written(PIECES, request) == ([FIRST, SECOND], "tool_calls")
    document = json.loads(CHAT.write_reply(collect(PIECES), request))
    assert document["choices"][0]["message"]["tool_calls"] == [FIRST, SECOND]


def test_a_stream_without_a_finish_reason_has_the_input_too() -> None:
    assert written(PIECES[:-2], received(tools=[TOOL])) == ([FIRST, SECOND], "tool_calls")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"ls -l', "ls -l"),
        ('{"input": "a\\n\\', "a\n"),
        ('{"input": "a\\ud83d', "a\ufffd"),
        ('{"input": "a\\ud83d\\udc4b\\u00', "a👋"),
        ('{"input":"ls"', "ls"),
        ('{"input":"', ""),
        ('{"inp', '{"inp'),
        ('{"input":"a\nb"}', '{"input":"a\nb"}'),
        ('{"input":"a" "b"}', '{"input":"a" "b"}'),
        ("{ ls; }", "{ ls; }"),
        ('{"input": "a"}', "a"),
        ('{"other": "a"}', '{"other": "a"}'),
    ],
)
def test_arguments_that_a_limit_has_cut_are_the_text_so_far(arguments: str, text: str) -> None:
    items: list[Item] = [ToolCall(0, "call_1", "sh", arguments), Finish("length")]
    (call,), reason = written(items, received(tools=[TOOL]))
    assert (call["custom"]["input"], reason) == (text, "length")


def test_text_in_place_of_arguments_is_the_input() -> None:
    items: list[Item] = [ToolCall(0, "call_1", "sh", "ls -l"), Finish("tool_calls")]
    (call,), _ = written(items, received(tools=[TOOL]))
    assert call["custom"] == {"name": "sh", "input": "ls -l"}


def test_a_call_of_a_custom_tool_keeps_its_signature_on_its_way_to_the_client_and_back() -> None:
    items: list[Item] = [ToolCall(0, "call_1", "sh", '{"input":"ls"}', "c2ln", "gemini"), Finish("tool_calls")]
    request = received(tools=[TOOL])
    (streamed,), _ = written(items, request)
    (complete,) = json.loads(CHAT.write_reply(collect(items), request))["choices"][0]["message"]["tool_calls"]
    assert streamed == complete
    turn = {"role": "assistant", "content": None, "tool_calls": [streamed]}
    sent = encode(dialects.Gemini(), received(messages=[HISTORY[0], turn, HISTORY[2]], tools=[TOOL]))
    (part,) = sent["contents"][1]["parts"]
    assert (part["functionCall"]["args"], part["thoughtSignature"]) == ({"input": "ls"}, "c2ln")


def test_a_reply_that_is_kept_for_its_end_counts_towards_the_limit_of_the_server() -> None:
    assert CHAT.writer(received(tools=[TOOL])).keeps_reply
    assert not CHAT.writer(received(tools=[FUNCTION])).keeps_reply
