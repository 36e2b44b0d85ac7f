"""A request as llama.cpp can take it: what it would answer with a fault of its own, or pass over, is told here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from acytoo.dialects.tool_calls import arguments_object
from acytoo.errors import UsageError
from acytoo.messages import parts_of
from acytoo.types import ChatMessage, FunctionDefinition, Request, ToolCallDict

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_WORDS = ("description", "title")
"""What a schema says to people alone."""


def taken(request: Request) -> Request:
    """The request itself where nothing in it needs mending. Raises UsageError for what the engine cannot do."""
    messages = [_message(message, f"messages[{index}]") for index, message in enumerate(request.messages)]
    mended = any(new is not old for new, old in zip(messages, request.messages, strict=True))
    for number, tool in enumerate(request.tools or ()):
        if tool.get("type", "function") != "function":
            raise UsageError(f"tools[{number}] is of type {tool['type']!r}: the embedded model calls functions alone")
    _check_grammars(request)
    request = msgspec.structs.replace(request, messages=messages) if mended else request
    choice = request.tool_choice
    return _among_allowed(request, choice) if _kind(choice) == "allowed_tools" else request


def functions_of(request: Request) -> list[FunctionDefinition]:
    """The functions that the model may call."""
    return [tool["function"] for tool in request.tools or ()]


def must_call(request: Request) -> list[FunctionDefinition]:
    """The functions of which one must be called; none where the model is free to answer.

    The request is one that was `taken`. Raises UsageError where there is no such function.
    """
    choice, functions = request.tool_choice, functions_of(request)
    if choice in (None, "auto", "none"):
        return []
    if isinstance(choice, dict) and _kind(choice) in ("function", None):
        return _named(functions, [_name(choice)])
    if choice != "required":
        raise UsageError(f"tool_choice {choice!r} must be auto, required, none, a function or allowed_tools")
    if not functions:
        raise UsageError("tool_choice wants a tool to be called, but there are no tools")
    return functions


def _among_allowed(request: Request, choice: Any) -> Request:
    """The request with no tools but those allowed, in the mode that is wanted among them."""
    allowed = choice.get("allowed_tools")
    tools = allowed.get("tools") if isinstance(allowed, Mapping) else None
    if not isinstance(tools, list) or not tools or not all(isinstance(tool, Mapping) for tool in tools):
        raise UsageError(
            "tool_choice.allowed_tools must be like {'mode': 'required', 'tools': [{'type': 'function', …}]}"
        )
    functions = _named(functions_of(request), [_name(tool) for tool in tools])
    return msgspec.structs.replace(
        request,
        tools=[{"type": "function", "function": function} for function in functions],
        tool_choice=allowed.get("mode") or "auto",
    )


def _named(functions: list[FunctionDefinition], names: list[Any]) -> list[FunctionDefinition]:
    known = [function["name"] for function in functions]
    for name in names:
        if name not in known:
            raise UsageError(f"tool_choice names the function {name!r}, which is not among the tools")
    return [function for function in functions if function["name"] in names]


def _kind(choice: Any) -> Any:
    return choice.get("type") if isinstance(choice, Mapping) else None


def _name(choice: Mapping[str, Any]) -> Any:
    function = choice.get("function")
    return (function if isinstance(function, Mapping) else choice).get("name")


def _message(message: ChatMessage, where: str) -> ChatMessage:
    if not isinstance(message.get("content"), str):
        for part in parts_of(message.get("content")):
            if part["type"] != "text":
                raise UsageError(f"{where} has {part['type']} content: the embedded model reads text alone")
    calls = message.get("tool_calls")
    if not calls:
        return message
    mended = [_call(call, f"{where}.tool_calls[{number}]") for number, call in enumerate(calls)]
    return message if mended == calls else {**message, "tool_calls": mended}


def _call(call: ToolCallDict, where: str) -> ToolCallDict:
    """The call with its arguments as an object's JSON, which is empty where a client gave none."""
    function = call["function"]
    arguments = function.get("arguments")
    if arguments_object(arguments) is None:
        raise UsageError(f"{where} has arguments that are not a JSON object")
    if isinstance(arguments, Mapping) or (arguments and arguments.strip()):
        return call
    return {**call, "function": {**function, "arguments": "{}"}}


def _check_grammars(request: Request) -> None:
    """Raises UsageError for control characters: llama.cpp writes a grammar that it cannot read to stderr as it is."""
    extra = request.extra
    held = (request.response_format or {}).get("json_schema")
    for where, given in (
        ("grammar", extra.get("grammar")),
        ("json_schema", extra.get("json_schema")),
        ("response_format", [held, (request.response_format or {}).get("schema")]),
        ("tools", [[function["name"], function.get("parameters")] for function in functions_of(request)]),
    ):
        if any(_CONTROLS.search(text) or "\r" in text.replace("\r\n", "") for text in _texts(given)):
            raise UsageError(
                f"{where} has control characters in it, which no grammar may have: escape or leave them out"
            )


def _texts(given: Any) -> Iterator[str]:
    """Every text in a document that could become a part of a grammar, names of fields too."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, Mapping):
        for name, value in given.items():
            yield str(name)
            if not (name in _WORDS and isinstance(value, str)):
                yield from _texts(value)
    elif isinstance(given, (list, tuple)):
        for value in given:
            yield from _texts(value)
