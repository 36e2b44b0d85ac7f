"""Results of tools that are any JSON value, and other odd forms of a turn, in the requests of each API's clients."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.base import Unsupported
from acytoo.dialects.translate import translate
from acytoo.http import Endpoint, ServerRequest
from acytoo.types import Request

USER = {"role": "user", "content": "Hi"}


def chat(result: Any) -> dict[str, Any]:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {"messages": [USER, called, {"role": "tool", "tool_call_id": "a", "content": result}]}


def messages(result: Any, **call: Any) -> dict[str, Any]:
    called = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}} | call]}
    block = {"type": "tool_result", "tool_use_id": "a", "content": result}
    return {"max_tokens": 9, "messages": [USER, called, {"role": "user", "content": [block]}]}


def responses(result: Any) -> dict[str, Any]:
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    return {"input": [USER, call, {"type": "function_call_output", "call_id": "a", "output": result}]}


def ollama(result: Any) -> dict[str, Any]:
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    return {"messages": [USER, called, {"role": "tool", "tool_name": "f", "content": result}]}


def gemini(result: Any) -> dict[str, Any]:
    response = {"functionResponse": {"name": "f", "response": result}}
    called = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
    return {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, called, {"role": "user", "parts": [response]}]}


OPENAI, ANTHROPIC, RESPONSES = dialects.OpenAI(), dialects.Anthropic(), dialects.OpenAIResponses()
OLLAMA, GEMINI = dialects.Ollama(), dialects.Gemini()

CLIENTS: dict[Dialect, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    OPENAI: ("/v1/chat/completions", chat),
    ANTHROPIC: ("/v1/messages", messages),
    RESPONSES: ("/v1/responses", responses),
    OLLAMA: ("/api/chat", ollama),
    GEMINI: ("/v1beta/models/m:generateContent", gemini),
}


def decode(dialect: Dialect, body: dict[str, Any]) -> Request:
    encoded = json.dumps({"model": "m", **body}).encode()
    return dialect.decode_request(ServerRequest(CLIENTS[dialect][0], {}, encoded)).request


@pytest.mark.parametrize("dialect", CLIENTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("result", [None, {"x": [1]}, 5, False, ["a"], [{"x": 1}]], ids=repr)
def test_a_result_that_is_any_json_value_is_a_result(dialect: Dialect, result: Any) -> None:
    # NousResearch/hermes-agent pull request 81546, InsForge/InsForge#1787, SAP/ai-sdk-js pull request 2188.
    message = decode(dialect, CLIENTS[dialect][1](result)).messages[-1]
    text = "" if result is None else json.dumps(result, separators=(",", ":"))
    assert message["role"] == "tool"
    assert message["content"] in (text, json.dumps(result))


@pytest.mark.parametrize("given", ['{"x":1}', "", None], ids=repr)
def test_the_input_of_anthropics_call_may_be_json_text_or_missing(given: str | None) -> None:
    calls = decode(ANTHROPIC, messages("1", input=given)).messages[1]["tool_calls"]
    assert json.loads(calls[0]["function"]["arguments"]) == ({"x": 1} if given else {})


@pytest.mark.parametrize("dialect", [ANTHROPIC, RESPONSES], ids=lambda dialect: dialect.name)
def test_a_turn_whose_content_is_null_is_empty(dialect: Dialect) -> None:
    turns = [USER, {"role": "assistant", "content": None}, USER]
    body = {"input": turns} if dialect is RESPONSES else {"messages": turns, "max_tokens": 9}
    assert [message["content"] for message in decode(dialect, body).messages] == ["Hi", "", "Hi"]


def test_a_tool_that_a_search_has_found_is_a_text_for_other_apis() -> None:
    # Claude Code (raine/claude-code-proxy pull request 56).
    request = decode(ANTHROPIC, messages([{"type": "tool_reference", "tool_name": "g"}]))
    translated = translate(request, ANTHROPIC, Unsupported("openai"))
    assert translated.messages[-1]["content"] == "The tool g is available."


def test_tools_and_choices_of_chat_completions_are_those_of_responses() -> None:
    function = {"name": "f", "parameters": {"type": "object"}}
    nested = {"type": "function", "function": function}
    body = {"input": "Hi", "tools": [nested], "tool_choice": {"type": "function", "function": {"name": "f"}}}
    request = decode(RESPONSES, body)
    assert request.tools == [nested]
    assert request.tool_choice == {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(("dialect", "field"), [(OPENAI, "reasoning_effort"), (OLLAMA, "think")])
def test_an_effort_that_is_empty_is_none(dialect: Dialect, field: str) -> None:
    assert decode(dialect, {"messages": [USER], field: ""}).reasoning_effort is None


@pytest.mark.parametrize(
    ("reasoning", "rest"),
    [
        ({"effort": "high"}, None),
        ({"effort": "high", "enabled": True, "exclude": False}, None),
        ({"effort": "high", "exclude": True}, {"exclude": True}),
        ({"effort": "high", "max_tokens": 9}, {"max_tokens": 9}),
    ],
)
def test_what_openrouters_reasoning_has_beside_an_effort_is_reported(reasoning: Any, rest: Any) -> None:
    unsupported = Unsupported("anthropic")
    translated = translate(decode(OPENAI, {"messages": [USER], "reasoning": reasoning}), OPENAI, unsupported)
    assert translated.reasoning_effort == "high"
    assert unsupported.dropped == (["reasoning"] if rest else [])


CUT = '{"x": "to be contin'


def chat_calls(arguments: str) -> dict[str, Any]:
    body = chat("invalid arguments")
    body["messages"][1]["tool_calls"][0]["function"]["arguments"] = arguments
    return body


def responses_calls(arguments: str) -> dict[str, Any]:
    body = responses("invalid arguments")
    body["input"][1]["arguments"] = arguments
    return body


@pytest.mark.parametrize("target", CLIENTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("client", "body"), [(OPENAI, chat_calls), (RESPONSES, responses_calls)], ids=["chat", "items"]
)
@pytest.mark.parametrize("arguments", [CUT, "[1]", json.dumps(CUT)], ids=["cut", "list", "text"])
def test_a_call_with_arguments_that_are_not_an_object_does_not_end_the_conversation(
    client: Dialect, body: Callable[[str], dict[str, Any]], target: Dialect, arguments: str
) -> None:
    # local-inference-lab/vllm#684, vercel/ai#19274.
    request = decode(client, body(arguments))
    unsupported = Unsupported(target.name)
    translated = translate(request, client, unsupported)
    sent = target.encode_request(translated, Endpoint("http://127.0.0.1"), unsupported).body
    assert b"INVALID_JSON" in sent
    call = translated.messages[1]["tool_calls"][0]["function"]
    assert json.loads(str(call["arguments"])) == {"INVALID_JSON": arguments}


def test_arguments_that_are_objects_are_sent_as_they_are() -> None:
    request = decode(OPENAI, chat_calls('{ "x": 1 }'))
    assert translate(request, OPENAI, Unsupported("anthropic")).messages == request.messages


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


def some_allowed(mode: object, *names: str) -> dict[str, Any]:
    chosen = [{"type": "function", "function": {"name": name}} for name in names]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": chosen}}
    return {"messages": [USER], "tools": [tool(name) for name in "fgh"], "tool_choice": choice}


@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize("target", CLIENTS, ids=lambda dialect: dialect.name)
def test_a_choice_among_some_tools_offers_only_those_if_the_api_has_none(target: Dialect, mode: str) -> None:
    request = decode(OPENAI, some_allowed(mode, "h", "f"))
    translated = translate(request, OPENAI, Unsupported(target.name))
    if mode in target.allowed_modes:
        assert (translated.tools, translated.tool_choice) == (request.tools, request.tool_choice)
    else:
        assert (translated.tools, translated.tool_choice) == ([tool("f"), tool("h")], mode)
    unsupported = Unsupported(target.name, drop_preferences=True)
    target.encode_request(translated, Endpoint("http://127.0.0.1"), unsupported)
    # This API has no choice of tools at all.
    assert unsupported.dropped == (["tool_choice='required'"] if target is OLLAMA and mode == "required" else [])


@pytest.mark.parametrize("body", [some_allowed("auto", "x"), some_allowed("any", "f"), some_allowed("auto")])
def test_a_choice_that_cannot_be_expressed_like_that_stays(body: dict[str, Any]) -> None:
    request = decode(OPENAI, body)
    assert translate(request, OPENAI, Unsupported("anthropic")).tool_choice == request.tool_choice


def test_several_functions_that_gemini_allows_are_all_that_other_apis_get() -> None:
    names = {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}
    functions = [{"functionDeclarations": [{"name": name} for name in "fgh"]}]
    body = gemini({}) | {"tools": functions, "toolConfig": {"functionCallingConfig": names}}
    translated = translate(decode(GEMINI, body), GEMINI, Unsupported("anthropic"))
    assert [one["function"]["name"] for one in translated.tools or ()] == ["f", "g"]
    assert translated.tool_choice == "required"


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_a_schema_beside_the_type_of_a_format_is_the_formats(kind: str) -> None:
    schema = {"type": "object", "properties": {}}
    request = decode(OPENAI, {"messages": [USER], "response_format": {"type": kind, "schema": schema}})
    for target in CLIENTS:
        sent = target.encode_request(request, Endpoint("http://127.0.0.1"), Unsupported(target.name)).body
        assert json.dumps(schema, separators=(",", ":")).encode() in sent
    named = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert decode(OPENAI, {"messages": [USER], "response_format": named}).response_format == named


@pytest.mark.parametrize(("stop", "texts"), [("", None), ([""], None), (["", "x"], ["x"]), ("x", ["x"])])
def test_a_reply_does_not_stop_at_a_text_that_is_empty(stop: object, texts: object) -> None:
    assert decode(OPENAI, {"messages": [USER], "stop": stop}).stop == texts
