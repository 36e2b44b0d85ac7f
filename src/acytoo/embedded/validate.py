"""Validate requests before llama.cpp sees them: report what it would reject obscurely or silently ignore."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from acytoo.dialects.json import dumps
from acytoo.dialects.tool_calls import arguments_object
from acytoo.embedded.constraints import check_constraints
from acytoo.embedded.fields import CONTEXT_TOKENS, check_fields, check_list, check_number
from acytoo.errors import UsageError
from acytoo.messages import check_options, content_parts
from acytoo.types import OPTIONS, ChatMessage, FunctionDefinition, JSONObject, Request, ToolCallDict

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_MAX_PROMPT = 64 * CONTEXT_TOKENS
"""Bytes of all messages and tools. A longer prompt has too many tokens, but counting them could take minutes."""
_MAX_RUN = 1_000
"""Bytes of a run of one character. The time to split it into tokens grows with its square: minutes for 500,000."""
_ANNOTATIONS = ("description", "title")
"""Schema keywords whose text never becomes part of a grammar."""


def with_extra_options(request: Request) -> Request:
    """Return the request with its options in their own fields, also those that the caller has put into `extra_body`."""
    if request.extra_for or not (named := OPTIONS & request.extra.keys()):
        return request
    extra, options = dict(request.extra), {}
    for name in sorted(named):
        value = extra.pop(name)
        if name == "stop" and isinstance(value, str):
            value = [value]
        try:
            options[name] = getattr(msgspec.convert({"messages": [], name: value}, Request), name)
        except msgspec.ValidationError as error:
            raise UsageError(f"invalid extra_body[{name!r}]: {error}") from error
    request = msgspec.structs.replace(request, extra=extra, **options)
    check_options(request)
    return request


def normalize(request: Request) -> Request:
    """Return the request in the form that llama.cpp understands, the same object if nothing had to be changed.

    Raises:
        UsageError: The engine cannot answer the request.
    """
    _check_prompt_size(request)
    _check_options(request)
    messages = [_normalize_message(message, f"messages[{index}]") for index, message in enumerate(request.messages)]
    is_changed = any(new is not old for new, old in zip(messages, request.messages, strict=True))
    for index, tool in enumerate(request.tools or ()):
        if tool.get("type", "function") != "function":
            raise UsageError(f"tools[{index}] has type {tool['type']!r}: the embedded model supports only functions")
    extra = request.extra if request.extra_for in ("", "openai") else {}
    known = check_fields(extra)
    check_constraints(request)
    _check_grammars(request)
    if is_changed or known is not extra:
        request = msgspec.structs.replace(request, messages=messages, extra=known if extra else request.extra)
    choice = request.tool_choice
    if isinstance(choice, dict) and _type_of(choice) == "allowed_tools":
        return _apply_allowed_tools(request, choice)
    return request


def _check_prompt_size(request: Request) -> None:
    prompt = dumps([request.messages, request.tools])
    size = len(prompt)
    if any(prompt.count(prompt[at : at + 1], at, at + _MAX_RUN) == _MAX_RUN for at in range(0, size, _MAX_RUN)):
        raise UsageError(
            f"the prompt repeats a character more than {_MAX_RUN:,} times in a row, and the embedded model takes very "
            "long to split that into tokens: shorten it"
        )
    if size > _MAX_PROMPT:
        raise UsageError(
            f"the prompt has {size:,} bytes, but the model reads at most {CONTEXT_TOKENS:,} tokens: "
            "shorten it, leave out earlier messages, or use a model of another provider"
        )


def _check_options(request: Request) -> None:
    check_number("top_logprobs", request.top_logprobs, 0, 20)
    if request.stop is not None:
        check_list("stop", request.stop, 64, 1000)


def forced_functions(request: Request) -> list[FunctionDefinition]:
    """Return the functions of which one must be called, none if the model is free. The request must be normalized.

    Raises:
        UsageError: `tool_choice` is invalid, or names no tool of the request.
    """
    choice, functions = request.tool_choice, _functions_of(request)
    if choice in (None, "auto", "none"):
        return []
    if isinstance(choice, dict) and _type_of(choice) in ("function", None):
        return _select_functions(functions, [_function_name(choice)])
    if choice != "required":
        raise UsageError(f"invalid tool_choice {choice!r}: must be auto, required, none, a function or allowed_tools")
    if not functions:
        raise UsageError("tool_choice 'required' needs tools: the request has none")
    return functions


def _functions_of(request: Request) -> list[FunctionDefinition]:
    return [tool["function"] for tool in request.tools or ()]


def _apply_allowed_tools(request: Request, choice: JSONObject) -> Request:
    """Return the request with only the allowed tools, and with the mode of `allowed_tools` as tool choice."""
    allowed = choice.get("allowed_tools")
    tools = allowed.get("tools") if isinstance(allowed, dict) else None
    if (
        not isinstance(allowed, dict)
        or not isinstance(tools, list)
        or not tools
        or not all(isinstance(tool, Mapping) for tool in tools)
    ):
        raise UsageError(
            "invalid tool_choice.allowed_tools: must be like {'mode': 'required', 'tools': [{'type': 'function', …}]}"
        )
    functions = _select_functions(_functions_of(request), [_function_name(tool) for tool in tools])
    return msgspec.structs.replace(
        request,
        tools=[{"type": "function", "function": function} for function in functions],
        tool_choice=allowed.get("mode") or "auto",
    )


def _select_functions(functions: list[FunctionDefinition], names: list[object]) -> list[FunctionDefinition]:
    known = [function["name"] for function in functions]
    for name in names:
        if name not in known:
            raise UsageError(f"invalid tool_choice: function {name!r} is not among the tools")
    return [function for function in functions if function["name"] in names]


def _type_of(choice: object) -> object:
    return choice.get("type") if isinstance(choice, Mapping) else None


def _function_name(choice: Mapping[str, object]) -> object:
    function = choice.get("function")
    return (function if isinstance(function, Mapping) else choice).get("name")


def _normalize_message(message: ChatMessage, where: str) -> ChatMessage:
    if not isinstance(message.get("content"), str):
        for part in content_parts(message.get("content")):
            if part["type"] != "text":
                raise UsageError(f"{where} has {part['type']} content: the embedded model reads only text")
    calls = message.get("tool_calls")
    if not calls:
        return message
    normalized = [_normalize_call(call, f"{where}.tool_calls[{index}]") for index, call in enumerate(calls)]
    return message if normalized == calls else {**message, "tool_calls": normalized}


def _normalize_call(call: ToolCallDict, where: str) -> ToolCallDict:
    """Return the call with `{}` for missing or empty arguments, which llama.cpp rejects."""
    function = call["function"]
    arguments = function.get("arguments")
    if arguments_object(arguments) is None:
        raise UsageError(f"invalid {where}: its arguments are not a JSON object")
    if isinstance(arguments, Mapping) or (arguments and arguments.strip()):
        return call
    return {**call, "function": {**function, "arguments": "{}"}}


def _check_grammars(request: Request) -> None:
    """Reject control characters in everything that llama.cpp compiles to a grammar.

    llama.cpp prints a grammar that it cannot parse to stderr, unescaped. A client could control the terminal of the
    user who runs the server.
    """
    extra = request.extra
    response_format = request.response_format or {}
    for name, source in (
        ("grammar", extra.get("grammar")),
        ("json_schema", extra.get("json_schema")),
        ("response_format", [response_format.get("json_schema"), response_format.get("schema")]),
        ("tools", [[function["name"], function.get("parameters")] for function in _functions_of(request)]),
    ):
        if any(_CONTROLS.search(text) or "\r" in text.replace("\r\n", "") for text in _grammar_texts(source)):
            raise UsageError(f"{name} contains control characters, which a grammar cannot have: escape or remove them")


def _grammar_texts(source: object) -> Iterator[str]:
    """Yield every text of a grammar or JSON schema that could become part of a grammar, property names included."""
    if isinstance(source, str):
        yield source
    elif isinstance(source, Mapping):
        for name, value in source.items():
            yield str(name)
            if not (name in _ANNOTATIONS and isinstance(value, str)):
                yield from _grammar_texts(value)
    elif isinstance(source, (list, tuple)):
        for value in source:
            yield from _grammar_texts(value)
