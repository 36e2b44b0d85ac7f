"""Tools that only Responses has are functions for other APIs, and calls of those are calls of the tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects.translate import translate
from acytoo.errors import RequestError, UnsupportedError
from acytoo.types import Finish, Item, Request, ToolCall, collect
from tests.dialects.openai_responses.helpers import DIALECT, decode, decode_events, encode, read, write
from tests.dialects.strategies import encode as encode_for

SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}}
FUNCTION = {"type": "function", "name": "shell", "description": "Runs it.", "strict": False, "parameters": SCHEMA}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: PATCH"}
CUSTOM = {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": GRAMMAR}
SPAWN = {"type": "function", "name": "spawn", "description": "Spawns.", "parameters": SCHEMA, "defer_loading": True}
NAMESPACE = {"type": "namespace", "name": "agents", "description": "For agents.", "tools": [SPAWN, {**CUSTOM}]}
DEFAULT = {"type": "namespace", "name": "functions", "description": "", "tools": [{**CUSTOM, "name": "exec"}]}
SEARCH = {"type": "tool_search", "execution": "client", "description": "Finds tools.", "parameters": SCHEMA}
WEB = {"type": "web_search", "external_web_access": False}
HELLO = {"role": "user", "content": "Hello"}

CALLS: list[tuple[dict[str, Any], str, str, dict[str, Any]]] = [
    (FUNCTION, "shell", '{"x": "1"}', {"type": "function_call", "name": "shell", "arguments": '{"x": "1"}'}),
    (
        NAMESPACE,
        "agents__spawn",
        '{"x": "1"}',
        {"type": "function_call", "name": "spawn", "namespace": "agents", "arguments": '{"x": "1"}'},
    ),
    (CUSTOM, "apply_patch", '{"input":"***"}', {"type": "custom_tool_call", "name": "apply_patch", "input": "***"}),
    (
        NAMESPACE,
        "agents__apply_patch",
        '{"input":"*"}',
        {"type": "custom_tool_call", "name": "apply_patch", "namespace": "agents", "input": "*"},
    ),
    (DEFAULT, "exec", '{"input":"ls"}', {"type": "custom_tool_call", "name": "exec", "input": "ls"}),
    (SEARCH, "tool_search", '{"x":"1"}', {"type": "tool_search_call", "execution": "client", "arguments": {"x": "1"}}),
]  # fmt: skip
"""A tool, the function that it becomes, arguments for it, and the item of such a call."""
calls = pytest.mark.parametrize(("tool", "name", "arguments", "item"), CALLS, ids=[case[1] for case in CALLS])


def functions(request: Request) -> dict[str, Any]:
    """Return the functions of the tools, by name."""
    return {tool["function"]["name"]: tool["function"] for tool in request.tools or []}


def without_ids(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("id", "call_id", "status")}


@calls
def test_a_tool_is_a_function_for_every_other_api(
    tool: dict[str, Any], name: str, arguments: str, item: dict[str, Any]
) -> None:
    request = translate(decode({"input": "Hello", "model": "m", "tools": [tool, FUNCTION]}), DIALECT)
    assert name in functions(request)
    for dialect in (dialects.OpenAI(), dialects.Anthropic(), dialects.Gemini(), dialects.Ollama()):
        encode_for(dialect, request)
    assert "defer_loading" not in json.dumps(request.tools)


@calls
def test_a_call_of_the_function_is_a_call_of_the_tool(
    tool: dict[str, Any], name: str, arguments: str, item: dict[str, Any]
) -> None:
    request = decode({"input": "Hello", "model": "m", "tools": [tool, FUNCTION]})
    pieces: list[Item] = [ToolCall(0, "call_1", name), *[ToolCall(0, arguments=char) for char in arguments]]
    pieces.append(Finish("tool_calls"))
    events = decode_events(write(pieces, request))
    added = next(event["item"] for event in events if event["type"] == "response.output_item.added")
    done = next(event["item"] for event in events if event["type"] == "response.output_item.done")
    assert (added["id"], added["status"], done["status"]) == (done["id"], "in_progress", "completed")
    assert without_ids(done) == item
    assert events[-1]["response"]["output"] == [done]
    assert without_ids(json.loads(DIALECT.write_reply(collect(pieces), request))["output"][0]) == item
    assert events[-1]["response"]["tools"] == [tool, FUNCTION]


@calls
def test_a_call_that_is_sent_back_has_the_functions_name(
    tool: dict[str, Any], name: str, arguments: str, item: dict[str, Any]
) -> None:
    output = {"type": item["type"] + "_output", "call_id": "call_1", "output": "done"}
    if item["type"] == "tool_search_call":
        output = {"type": "tool_search_output", "call_id": "call_1", "execution": "client", "tools": [NAMESPACE]}
    body = {"model": "m", "tools": [tool], "input": [HELLO, {**item, "call_id": "call_1"}, output]}
    request = translate(decode(body), DIALECT)
    assert request.extra == {}
    call = request.messages[1]["tool_calls"][0]
    assert (call["id"], call["function"]["name"]) == ("call_1", name)
    assert json.loads(call["function"]["arguments"]) == json.loads(arguments)
    result = request.messages[2]
    assert (result["role"], result["tool_call_id"]) == ("tool", "call_1")
    if item["type"] == "tool_search_call":
        assert result["content"] == '{"tools":["agents__spawn","agents__apply_patch"]}'
        assert {"agents__spawn", "agents__apply_patch", "tool_search"} == functions(request).keys()
    else:
        assert result["content"] == "done"
    encode_for(dialects.OpenAI(), request)


@calls
def test_the_same_api_gets_the_tools_and_their_calls_unchanged(
    tool: dict[str, Any], name: str, arguments: str, item: dict[str, Any]
) -> None:
    choice = {"type": "custom", "name": item["name"]} if item["type"] == "custom_tool_call" else "auto"
    body = {"model": "m", "tools": [tool], "input": [HELLO, {**item, "call_id": "c"}], "tool_choice": choice}
    sent = encode(decode(body))
    assert sent["tools"] == [{**tool, "strict": False} if tool["type"] == "function" else tool]
    assert sent["tool_choice"] == choice
    if item["type"] != "function_call" or "namespace" in item:
        assert sent["input"] == body["input"]


def test_the_description_of_a_namespace_and_a_grammar_reach_the_model() -> None:
    request = decode({"input": "Hello", "tools": [NAMESPACE, CUSTOM]})
    assert functions(request)["agents__spawn"]["description"] == "For agents.\n\nSpawns."
    assert functions(request)["apply_patch"]["description"] == (
        "Patches.\n\nThe input must match this lark grammar:\nstart: PATCH"
    )


def test_tools_inside_the_input_are_tools() -> None:
    items = [{"type": "additional_tools", "role": "developer", "tools": [DEFAULT, NAMESPACE]}, HELLO]
    request = translate(decode({"input": items, "tools": [FUNCTION]}), DIALECT)
    assert list(functions(request)) == ["shell", "exec", "agents__spawn", "agents__apply_patch"]
    assert (request.messages, request.extra) == ([HELLO], {})


def test_a_tool_that_comes_again_is_one_tool() -> None:
    found = {"type": "tool_search_output", "call_id": "c", "execution": "client", "tools": [FUNCTION]}
    assert len(decode({"input": [HELLO, found], "tools": [FUNCTION]}).tools or []) == 1


@pytest.mark.parametrize("described", [{"description": "Finds tools.", "parameters": SCHEMA}, {"parameters": None}, {}])
def test_a_search_by_the_client_is_a_function_with_what_describes_it(described: dict[str, Any]) -> None:
    search = {"type": "tool_search", "execution": "client", **described}
    request = translate(decode({"input": "Hello", "tools": [search]}), DIALECT)
    expected = {name: value for name, value in described.items() if value is not None}
    assert functions(request) == {"tool_search": {"name": "tool_search", **expected}}


def test_a_search_by_the_api_itself_needs_no_tool_for_its_deferred_tools_are_functions() -> None:
    items = [
        {"type": "tool_search_call", "execution": "server", "call_id": None, "arguments": {}},
        {"type": "tool_search_output", "execution": "server", "call_id": None, "tools": [SPAWN]},
        HELLO,
    ]
    request = translate(decode({"input": items, "tools": [{"type": "tool_search"}, SPAWN]}), DIALECT)
    assert (list(functions(request)), request.messages, request.extra) == (["spawn"], [HELLO], {})


def test_a_search_in_the_web_is_dropped_beside_functions_and_otherwise_refused_by_name() -> None:
    assert translate(decode({"input": "Hello", "tools": [FUNCTION, WEB]}), DIALECT).extra == {}
    for fields in ({"tools": [WEB]}, {"tools": [FUNCTION, WEB], "tool_choice": "required"}):
        with pytest.raises(UnsupportedError, match="tools:web_search"):
            encode_for(dialects.OpenAI(), translate(decode({"input": "Hello", "model": "m", **fields}), DIALECT))


@pytest.mark.parametrize("kind", ["file_search", "code_interpreter", "mcp"])
def test_another_tool_of_this_api_alone_is_refused_by_name(kind: str) -> None:
    inside = {"type": "namespace", "name": "n", "tools": [{"type": kind}]}
    for tools in ([FUNCTION, {"type": kind}], [FUNCTION, inside]):
        with pytest.raises(UnsupportedError, match=f"tools:{kind}"):
            encode_for(dialects.OpenAI(), translate(decode({"input": "Hello", "model": "m", "tools": tools}), DIALECT))


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({"type": "custom", "name": "apply_patch"}, "apply_patch"),
        ({"type": "function", "name": "spawn", "namespace": "agents"}, "agents__spawn"),
    ],
)
def test_the_choice_of_a_tool_is_the_choice_of_its_function(choice: dict[str, Any], name: str) -> None:
    body = {"input": "Hello", "tools": [CUSTOM, NAMESPACE], "tool_choice": choice}
    request = translate(decode(body), DIALECT)
    assert request.tool_choice == {"type": "function", "function": {"name": name}}
    assert request.extra == {}
    several = {"type": "allowed_tools", "mode": "required", "tools": [choice]}
    request = translate(decode({**body, "tool_choice": several}), DIALECT)
    assert isinstance(request.tool_choice, dict)
    assert request.tool_choice["allowed_tools"]["tools"] == [{"type": "function", "function": {"name": name}}]
    assert encode(decode({**body, "tool_choice": several}))["tool_choice"] == several


def test_text_in_place_of_arguments_is_the_input_of_a_custom_tool() -> None:
    request = decode({"input": "Hello", "tools": [CUSTOM]})
    done = decode_events(write([ToolCall(0, "c", "apply_patch", "*** Begin"), Finish("tool_calls")], request))[-1]
    assert done["response"]["output"][0]["input"] == "*** Begin"


def test_a_long_name_is_shortened_to_what_other_apis_accept_and_stays_distinct() -> None:
    names = {}
    for number in (1, 2):
        tool = {**SPAWN, "name": "x" * 60 + str(number)}
        request = decode({"input": "Hello", "tools": [{**NAMESPACE, "name": "mcp.server", "tools": [tool]}]})
        [name] = functions(request)
        assert len(name) <= 64
        assert name.replace("_", "").replace("-", "").isalnum()
        names[name] = write([ToolCall(0, "c", name, "{}"), Finish("tool_calls")], request)
        assert collect(read(names[name])).tool_calls[0]["function"]["name"] == tool["name"]
    assert len(names) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"input": "Hello", "tools": [{"type": "custom"}]},
        {"input": [HELLO, {"type": "custom_tool_call", "name": "x"}]},
        {"input": [HELLO, {"type": "custom_tool_call", "call_id": "x"}]},
        {"input": [HELLO, {"type": "custom_tool_call_output", "output": "x"}]},
    ],
)
def test_a_tool_or_a_call_without_a_name_or_an_id_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"has no (name|call_id)"):
        decode(body)
