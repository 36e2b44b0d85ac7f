"""OpenAI's `custom` tools, which take text instead of JSON, and their calls: functions for every other API.

Such a tool becomes a function with one text parameter, `input`. In the shared shape its calls are calls of that
function, whichever API they come from. An API that has custom tools gets and sends them as such.

Source: OpenAI's API reference ("Function calling", custom tools and their grammars).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from acytoo.dialects.base import Unsupported
from acytoo.dialects.json import dumps
from acytoo.dialects.surrogates import replace_lone_escapes
from acytoo.dialects.tool_calls import arguments_object
from acytoo.types import JSONObject, Request, ToolDefinition


def custom_arguments(text: object) -> str:
    """Return the arguments of a call of a custom tool."""
    return dumps({"input": text if isinstance(text, str) else ""}, surrogates="replace").decode()


def custom_input(arguments: str) -> str:
    """Return the text in the arguments of such a call: all of them if a model has left out the JSON.

    If a token limit has cut them, this is the text so far.
    """
    decoded = arguments_object(arguments)
    if decoded is None and (cut := _CUT_INPUT.fullmatch(arguments)) is not None:
        whole = b'{"input":"%b"}' % cut[1].encode("utf-8", "replace")
        decoded = arguments_object(replace_lone_escapes(whole).decode())
    text = (decoded or {}).get("input")
    return text if isinstance(text, str) else arguments


_CUT_INPUT = re.compile(
    r'\s*\{\s*"input"\s*:\s*"((?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+)(?:\\(?:u[0-9a-fA-F]{0,3})?|"\s*)?'
)
"""Such arguments that end in the text, in an escape of it, or right after it."""


def custom_names(request: Request) -> frozenset[str]:
    """Return the names of a request's custom tools."""
    tools = [_definition(tool) for tool in request.tools or () if tool.get("type") == "custom"]
    return frozenset([tool["name"] for tool in tools if tool is not None])


def as_functions(request: Request, unsupported: Unsupported) -> Request:
    """Return the request with functions in place of custom tools, for an API without them; the same one if none is.

    A grammar cannot be enforced there: that is reported as a preference which is not met, because the model gets it as
    part of the description.
    """
    if not any(tool.get("type") == "custom" for tool in request.tools or ()):
        return request
    tools: list[Any] = []
    for tool in request.tools or ():
        if tool.get("type") != "custom":
            tools.append(tool)
            continue
        if (definition := _definition(tool)) is None:
            unsupported("a custom tool without a name")
            continue
        if grammar_of(definition) is not None:
            unsupported.preference("the grammar of a custom tool")
        tools.append({"type": "function", "function": custom_function(definition)})
    return msgspec.structs.replace(request, tools=tools, tool_choice=_choice_of_functions(request.tool_choice))


def custom_function(definition: Mapping[str, Any]) -> JSONObject:
    """Return the function for a custom tool. A grammar becomes part of its description."""
    texts = [str(definition.get("description") or "")]
    if (grammar := grammar_of(definition)) is not None:
        texts.append(f"The input must match this {grammar.get('syntax')} grammar:\n{grammar.get('definition')}")
    description = "\n\n".join([text for text in texts if text])
    return {
        "name": definition["name"],
        **({"description": description} if description else {}),
        "parameters": {
            "type": "object",
            "properties": {"input": {"type": "string"}},
            "required": ["input"],
            "additionalProperties": False,
        },
    }


def grammar_of(definition: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the grammar of a custom tool, None if it takes any text.

    Chat completions have its syntax and definition in an object of their own, Responses beside the format's type.
    """
    format_ = definition.get("format")
    if not isinstance(format_, Mapping) or format_.get("type") != "grammar":
        return None
    grammar = format_.get("grammar")
    return grammar if isinstance(grammar, Mapping) else format_


def _definition(tool: ToolDefinition) -> Mapping[str, Any] | None:
    """Return the fields of a custom tool, None if it has no name. Those of Responses are beside its type."""
    fields = cast(JSONObject, tool)
    definition = fields.get("custom", fields)
    return definition if isinstance(definition, Mapping) and isinstance(definition.get("name"), str) else None


def _choice_of_functions(choice: Any) -> Any:
    """Return a tool choice with functions in place of custom tools."""
    if not isinstance(choice, Mapping):
        return choice
    custom, allowed = choice.get("custom", choice), choice.get("allowed_tools")
    if choice.get("type") == "custom" and isinstance(custom, Mapping) and isinstance(custom.get("name"), str):
        return {"type": "function", "function": {"name": custom["name"]}}
    if isinstance(allowed, Mapping) and isinstance(allowed.get("tools"), list):
        tools = [_choice_of_functions(tool) for tool in allowed["tools"]]
        return {**choice, "allowed_tools": {**allowed, "tools": tools}}
    return choice
