"""Tools that only Responses has, as functions of the shared shape, and the calls of those functions mapped back.

Codex groups its functions in namespaces, has tools that take text instead of JSON (`custom`) and looks tools up with
`tool_search`. It sends some of them in items of the input. Every one of them becomes a function, so that any model can
call it. The same tools give the same names in each request, so calls of earlier turns keep theirs.

Source: the types of OpenAI's Python SDK (3.57, `types/responses`), and Codex (`codex-rs/tools`, `codex-rs/protocol`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias, cast

import msgspec

from acytoo.dialects.custom_tools import custom_arguments, custom_function, custom_input, grammar_of
from acytoo.dialects.fields import invalid, objects_in, without_none
from acytoo.dialects.server_side import new_id
from acytoo.dialects.tool_calls import arguments_object, arguments_text
from acytoo.types import FunctionDefinition, JSONObject

Kind: TypeAlias = Literal["function", "custom", "tool_search"]

TRANSLATED_TOOLS = frozenset({"namespace", "custom", "tool_search"})
"""Types of tools that become functions, besides functions."""

GRAMMAR = "custom:grammar"
"""What stands for the grammars of custom tools among their types: functions have none, so nothing enforces them."""

HOSTED_TOOLS = frozenset({"web_search", "web_search_2025_08_26", "web_search_preview", "image_generation"})
"""Types of tools that the API runs itself and that Codex always offers beside its own. A model can do without them."""

TRANSLATED_ITEMS = frozenset(
    {"additional_tools", "custom_tool_call", "custom_tool_call_output", "tool_search_call", "tool_search_output"}
)
"""Types of input items about such tools."""

TOOL_SEARCH = "tool_search"
"""The name of the function that a `tool_search` becomes. There is at most one."""

_DEFAULT_NAMESPACE = "functions"
"""The namespace of functions without one."""

_MAX_NAME = 64
"""The longest name of a function that OpenAI and Anthropic accept."""

_UNNEEDED_FIELDS = frozenset({"type", "defer_loading", "allowed_callers"})


class NativeTool(NamedTuple):
    """A tool as this API has it, and the function that it became."""

    kind: Kind
    name: str
    namespace: str
    function: FunctionDefinition


def flat_name(name: str, namespace: object = None) -> str:
    """Return the name of the function that a tool becomes: `namespace__name`, as Codex itself joins them."""
    if not isinstance(namespace, str) or namespace in ("", _DEFAULT_NAMESPACE):
        return name
    joined = re.sub(r"[^a-zA-Z0-9_-]", "_", f"{namespace.rstrip('_')}__{name.lstrip('_')}")
    if len(joined) <= _MAX_NAME:
        return joined
    import hashlib  # slow to import, and rarely needed

    return f"{joined[: _MAX_NAME - 9]}_{hashlib.sha256(joined.encode()).hexdigest()[:8]}"


def types_of(tools: Iterable[JSONObject]) -> set[str]:
    """Return the types of tools, of namespaces and of the tools in them, and `GRAMMAR` if a custom tool has one."""
    tools = list(tools)
    flat = [tool for tool, _, _ in _flattened(tools)]
    has_grammar = any(tool.get("type") == "custom" and grammar_of(tool) is not None for tool in flat)
    return {str(tool.get("type")) for tool in (*tools, *flat)} | ({GRAMMAR} if has_grammar else set())


def native_tools(tools: Iterable[JSONObject]) -> list[NativeTool]:
    """Return the tools that can be functions. Raises RequestError (400) for one without a name."""
    natives = [_native_tool(*flattened) for flattened in _flattened(tools)]
    return [native for native in natives if native is not None]


def all_tools(tools: Iterable[JSONObject], items: object) -> list[NativeTool]:
    """Return the tools of a request and of its input items, those with known names left out.

    A search finds the same tool again, and Codex repeats its `additional_tools`.
    """
    natives = native_tools(tools)
    names = {native.function["name"] for native in natives}
    for native in native_tools(tools_in_input(items)):
        if native.function["name"] not in names:
            names.add(native.function["name"])
            natives.append(native)
    return natives


def _flattened(tools: Iterable[JSONObject]) -> Iterable[tuple[JSONObject, str, str]]:
    """Yield each tool, its namespace, and the namespace's description with the first tool in it."""
    for tool in tools:
        if tool.get("type") != "namespace":
            yield tool, "", ""
            continue
        introduction = str(tool.get("description") or "")
        for inner in objects_in(tool.get("tools")):
            yield inner, str(tool.get("name") or ""), introduction
            introduction = ""


def _native_tool(tool: JSONObject, namespace: str, introduction: str) -> NativeTool | None:
    kind = tool.get("type")
    if kind == "tool_search":
        # Without `execution: client` the API itself searches the deferred tools. All of those are functions already.
        return _tool_search(tool) if tool.get("execution") == "client" else None
    if kind not in ("function", "custom"):
        return None
    name = tool.get("name")
    if not isinstance(name, str):
        raise invalid(f"a {kind} in tools has no name")
    if kind == "custom":
        fields = custom_function(tool)
    else:
        fields = {field: value for field, value in without_none(tool).items() if field not in _UNNEEDED_FIELDS}
        if fields.get("strict") is False:  # the shared shape's default
            del fields["strict"]
    if introduction:
        fields["description"] = f"{introduction}\n\n{fields.get('description') or ''}".strip()
    function = cast(FunctionDefinition, {**fields, "name": flat_name(name, namespace)})
    return NativeTool(kind, name, namespace, function)


def _tool_search(tool: JSONObject) -> NativeTool:
    function: FunctionDefinition = {"name": TOOL_SEARCH}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    if isinstance(tool.get("parameters"), dict):
        function["parameters"] = tool["parameters"]
    return NativeTool("tool_search", TOOL_SEARCH, "", function)


def own_tools(extra: JSONObject) -> dict[str, NativeTool]:
    """Return the tools of a decoded request by their functions' names, {} if all of them are functions already."""
    tools: list[JSONObject] = next((value for name, value in extra.items() if name.startswith("tools:")), [])
    items: list[JSONObject] = next((value for name, value in extra.items() if name.startswith("input:")), [])
    return {native.function["name"]: native for native in reversed(all_tools(tools, items))}


def tools_in_input(items: object) -> list[JSONObject]:
    """Return the tools that input items bring: those of `additional_tools`, and those that a search has found."""
    tools: list[JSONObject] = []
    for item in objects_in(items):
        if item.get("type") in ("additional_tools", "tool_search_output"):
            tools += objects_in(item.get("tools"))
    return tools


def function_item(item: JSONObject, kind: str) -> JSONObject | None:
    """Return the item that calls the function instead of the tool, or is its result. None if it is about no call.

    Raises RequestError (400) if a call has no id or no name.
    """
    call_id = item.get("call_id")
    if kind == "additional_tools" or (kind.startswith("tool_search") and item.get("execution") != "client"):
        return None  # `tools_in_input` has the tools
    if not isinstance(call_id, str):
        raise invalid(f"a {kind} in the input has no call_id")
    if kind == "custom_tool_call_output":
        return {"type": "function_call_output", "call_id": call_id, "output": item.get("output")}
    if kind == "tool_search_output":
        return {"type": "function_call_output", "call_id": call_id, "output": _found_tools(item)}
    if kind == "tool_search_call":
        query = arguments_text(item.get("arguments"))
        return {"type": "function_call", "call_id": call_id, "name": TOOL_SEARCH, "arguments": query}
    name = item.get("name")
    if not isinstance(name, str):
        raise invalid(f"a {kind} in the input has no name")
    arguments = item.get("arguments") if kind == "function_call" else custom_arguments(item.get("input"))
    name = flat_name(name, item.get("namespace"))
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def _found_tools(item: JSONObject) -> str:
    """Return the result of a tool search as text: the names under which the model can call what was found."""
    names = [native.function["name"] for native in native_tools(objects_in(item.get("tools")))]
    return msgspec.json.encode({"tools": names}).decode()


# Replies: calls of functions become calls of tools.


def call_item(native: NativeTool | None, name: str, call_id: str) -> JSONObject:
    """Return the item that a call begins with: of the function `name`, or of the tool that it stands for."""
    if native is None:
        native = NativeTool("function", name, "", {"name": name})
    kind, prefix = _CALL_ITEMS[native.kind]
    item: JSONObject = {"type": kind, "id": new_id(prefix), "call_id": call_id}
    if native.kind == "tool_search":
        return item | {"execution": "client", "arguments": {}, "status": "in_progress"}
    item["name"] = native.name
    if native.namespace not in ("", _DEFAULT_NAMESPACE):
        item["namespace"] = native.namespace
    item["input" if native.kind == "custom" else "arguments"] = ""
    return item | {"status": "in_progress"}


_CALL_ITEMS: dict[Kind, tuple[str, str]] = {
    "function": ("function_call", "fc_"),
    "custom": ("custom_tool_call", "ctc_"),
    "tool_search": ("tool_search_call", "tsc_"),
}
"""The item that calls a tool of each kind, and what its id begins with."""


def complete_call(item: JSONObject, arguments: str) -> list[tuple[str, JSONObject]]:
    """Complete the item of a call; return the (type, fields) of the events before its end."""
    if item["type"] == "function_call":
        item["arguments"] = arguments
        return [("response.function_call_arguments.done", {"arguments": arguments})]
    if item["type"] == "tool_search_call":
        item["arguments"] = arguments_object(arguments) or {}
        return []
    item["input"] = text = custom_input(arguments)
    return [
        ("response.custom_tool_call_input.delta", {"delta": text}),
        ("response.custom_tool_call_input.done", {"input": text}),
    ]
