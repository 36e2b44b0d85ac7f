"""Validate messages and options in the shared shape before anything is sent, and read their content."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, TypeGuard

import msgspec

from acytoo.errors import UsageError
from acytoo.secret import show
from acytoo.types import ChatMessage, ChatMessages, ContentPart, Messages, Request, TurnPart, plain_turn

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_SPEAKERS = ("user", "assistant", "system", "developer")

# Conversations of agents have hundreds of calls. For each of them, a union with `|` would be made again, and `Mapping`
# would be asked whether a dict is one.
_OBJECT = (dict, Mapping)
_LIST = (list, tuple)
_OPTIONAL_LIST = (list, tuple, NoneType)
_OPTIONAL_TEXT = (str, NoneType)
_OPTIONAL_OBJECT = (dict, Mapping, NoneType)
_ARGUMENTS = (str, dict, Mapping, NoneType)


def check_messages(messages: Messages) -> ChatMessages:
    """Return the messages as a new list of dicts; the caller's list and messages are not modified.

    Raises UsageError that names the first invalid message.
    """
    if type(messages) is not list and (
        isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence)
    ):
        raise UsageError(
            f"messages must be a list like [{{'role': 'user', 'content': 'Hello'}}], not {type(messages).__name__}"
        )
    if not messages:
        raise UsageError("messages is empty: give at least one, like {'role': 'user', 'content': 'Hello'}")
    return [
        message if _is_plain(message) else _check_message(message, f"messages[{index}]")
        for index, message in enumerate(messages)
    ]


def _is_plain(message: Any) -> TypeGuard[ChatMessage]:
    """Return whether a message is just a role and a text. Nearly all are, and need no further checks."""
    if type(message) is not dict or type(message.get("content")) is not str:
        return False
    if len(message) == 2:
        return message.get("role") in _SPEAKERS
    return len(message) == 3 and message.get("role") == "tool" and type(message.get("tool_call_id")) is str


def _check_message(message: Any, where: str) -> ChatMessage:
    if not isinstance(message, _OBJECT):
        raise UsageError(
            f"{where} must be a dict like {{'role': 'user', 'content': 'Hello'}}, not {type(message).__name__}"
        )
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise UsageError(f"{where} has the role {show(role)}; it must be one of {', '.join(sorted(ROLES))}")
    content = message.get("content")
    if content is None:
        if role != "assistant" or not (message.get("tool_calls") or message.get("refusal")):
            raise UsageError(f"{where} ({role}) has no content")
    elif isinstance(content, _LIST):
        for number, part in enumerate(content):
            if not isinstance(part, _OBJECT) or not isinstance(part.get("type"), str):
                raise UsageError(f"{where}.content[{number}] must be a part like {{'type': 'text', 'text': 'Hello'}}")
            if part["type"] in ("text", "refusal") and not isinstance(part.get(part["type"]), str):
                raise UsageError(f"{where}.content[{number}] is a {part['type']} part without text")
    elif not isinstance(content, str):
        raise UsageError(f"{where} has content of type {type(content).__name__}; it must be text or a list of parts")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise UsageError(f"{where} (tool) has no tool_call_id")
    for field in ("tool_calls", "reasoning"):
        if not isinstance(message.get(field), _OPTIONAL_LIST):
            raise UsageError(f"{where}.{field} must be a list")
    for number, block in enumerate(message.get("reasoning") or ()):
        if not isinstance(block, _OBJECT) or not isinstance(block.get("text", ""), str):
            raise UsageError(f"{where}.reasoning[{number}] must be a block like {{'text': …}}")
    _check_turn_parts(message.get("turn_parts"), where)
    calls = [_call_of_function(call) for call in message.get("tool_calls") or ()]
    for number, call in enumerate(calls):
        function = call.get("function") if isinstance(call, _OBJECT) else None
        if (
            not isinstance(function, _OBJECT)
            or not isinstance(function.get("name"), str)
            or not isinstance(call.get("id"), _OPTIONAL_TEXT)
            or not isinstance(function.get("arguments"), _ARGUMENTS)
        ):
            raise UsageError(
                f"{where}.tool_calls[{number}] must be like "
                "{'id': …, 'type': 'function', 'function': {'name': …, 'arguments': '{}'}}"
            )
    if any(new is not old for new, old in zip(calls, message.get("tool_calls") or (), strict=True)):
        return {**message, "tool_calls": calls}  # type: ignore[typeddict-item]
    plain: ChatMessage = message if type(message) is dict else dict(message)  # type: ignore[assignment]
    return plain


def _call_of_function(call: Any) -> Any:
    """Return a call of a custom tool, which takes text, as the call of a function with the parameter `input`."""
    custom = call.get("custom") if isinstance(call, _OBJECT) and call.get("type") == "custom" else None
    if not isinstance(custom, _OBJECT) or not isinstance(custom.get("input"), _OPTIONAL_TEXT):
        return call
    rest = {name: value for name, value in call.items() if name != "custom"}
    function = {"name": custom.get("name"), "arguments": {"input": custom.get("input") or ""}}
    return {**rest, "type": "function", "function": function}


def _check_turn_parts(parts: object, where: str) -> None:
    if parts is None:
        return
    if not isinstance(parts, _LIST) or not all(
        isinstance(part, _OBJECT)
        and isinstance(part.get("type"), str)
        and isinstance(part.get("text", ""), str)
        and type(part.get("index", 0)) is int
        and isinstance(part.get("fields", {}), _OBJECT)
        for part in parts
    ):
        raise UsageError(f"{where}.turn_parts must be a list of parts like {{'type': 'text', 'text': …}}")


def check_options(request: Request) -> None:
    """Check the request's options. Raises UsageError that names the invalid one.

    Options that request nothing become None: servers reject an empty list, and tool settings without tools.
    """
    _check_tools(request.tools)
    _check_choice(request.tool_choice)
    _check_format(request.response_format)
    request.tools = request.tools or None
    request.stop = request.stop or None
    if request.tools is None and not (request.extra and any(field.startswith("tools") for field in request.extra)):
        request.parallel_tool_calls = None
        if request.tool_choice in ("auto", "none"):
            request.tool_choice = None


_EXPECTED = {
    "model": "text",
    "stream": "true or false",
    "stop": "text or a list of texts",
    "tools": "a list of objects",
    "tool_choice": "text or an object",
    "response_format": "an object",
    "reasoning_effort": "text",
    "user": "text",
    "parallel_tool_calls": "true or false",
    "logprobs": "true or false",
    "top_k": "a whole number",
    "max_tokens": "a whole number",
    "seed": "a whole number",
    "top_logprobs": "a whole number",
}
"""What the value of a field of `Request` must be; that of any other is a number."""


def wrong_type(fields: Mapping[str, object], names: Mapping[str, str] = {}) -> str:
    """Return what is wrong with fields of which one has a type that `Request` does not have.

    `names` are those of an API for some of them.
    """
    for field, value in fields.items():
        try:
            msgspec.convert({"messages": [], field: value}, Request)
        except (msgspec.ValidationError, UnicodeEncodeError):
            name, expected = names.get(field, field), _EXPECTED.get(field, "a number")
            return f"invalid {name} {show(value, 60)}: expected {expected}"
    raise AssertionError("every field has the right type")


def _check_tools(tools: Sequence[Mapping[str, object]] | None) -> None:
    """Check functions. Other types of tools belong to one API each, and its server checks them."""
    for number, tool in enumerate(tools or ()):
        function = tool.get("function")
        if not isinstance(tool.get("type", "function"), str):
            raise UsageError(f"tools[{number}].type must be text, like 'function'")
        if tool.get("type", "function") == "function" and (
            not isinstance(function, _OBJECT)
            or not isinstance(function.get("name"), str)
            or not isinstance(function.get("description"), _OPTIONAL_TEXT)
            or not isinstance(function.get("parameters"), _OPTIONAL_OBJECT)
        ):
            raise UsageError(
                f"tools[{number}] must be like {{'type': 'function', 'function': {{'name': …, 'parameters': {{…}}}}}}"
            )


def _check_choice(choice: str | Mapping[str, object] | None) -> None:
    """Check choices of functions. Choices of other tools belong to one API each, and its server checks them."""
    if choice is None or isinstance(choice, str):
        return
    chosen: Any = [choice]
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        chosen = allowed.get("tools") if isinstance(allowed, Mapping) else None
    if (
        not isinstance(choice.get("type"), str)
        or not isinstance(chosen, list)
        or not all(
            isinstance(tool, Mapping) and (tool.get("type") != "function" or _has_function_name(tool))
            for tool in chosen
        )
    ):
        raise UsageError(
            "tool_choice must be auto, required, none, like {'type': 'function', 'function': {'name': …}}, "
            "or like {'type': 'allowed_tools', 'allowed_tools': {'mode': …, 'tools': [{'type': 'function', …}]}}"
        )


def _has_function_name(tool: Mapping[str, object]) -> bool:
    function = tool.get("function")
    return isinstance(function, Mapping) and isinstance(function.get("name"), str)


def _check_format(response_format: Mapping[str, object] | None) -> None:
    if response_format is None:
        return
    holder = response_format.get("json_schema")
    if not isinstance(response_format.get("type"), str) or (
        response_format["type"] == "json_schema"
        and not (isinstance(holder, Mapping) and isinstance(holder.get("schema"), Mapping | None))
    ):
        raise UsageError(
            "response_format must be like {'type': 'json_schema', 'json_schema': {'name': …, 'schema': {…}}} "
            "or {'type': 'json_object'}"
        )


def content_parts(content: str | Sequence[ContentPart] | None) -> Sequence[ContentPart]:
    """Return content, which may be text or parts, as parts."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


def turn_parts(message: ChatMessage) -> Sequence[TurnPart]:
    """Return the parts of an assistant's turn in their order.

    Without `turn_parts`, or if they do not fit the message's other fields (it was edited), these are its reasoning, its
    content ("content", which may be a list of parts) and its calls.
    """
    blocks, calls = len(message.get("reasoning") or ()), len(message.get("tool_calls") or ())
    parts, content = message.get("turn_parts"), message.get("content")
    if parts:
        text, count = (content or "", 0) if isinstance(content, str | None) else ("", len(content))
        counts = {"reasoning": blocks, "tool_call": calls, "content": count}
        if text == "".join([part.get("text", "") for part in parts if part["type"] == "text"]) and all(
            sorted([part.get("index", -1) for part in parts if part["type"] == kind]) == list(range(number))
            for kind, number in counts.items()
        ):
            return parts
    plain = plain_turn("", blocks, calls)
    return [*plain[:blocks], {"type": "content"}, *plain[blocks:]]


def content_of(part: TurnPart, message: ChatMessage) -> Sequence[ContentPart]:
    """Return what of a message's content a "content" part of its turn stands for: one part, or all without an index."""
    content = content_parts(message.get("content"))
    return [content[part["index"]]] if "index" in part else content


def prompt_of(messages: Messages) -> str:
    """Return a conversation as one text, for APIs that take a prompt: each message with its role, then the next role.

    A single message of the user is returned as it is. Parts that are not text are left out.
    """
    texts = [(message["role"], content_text(message.get("content"), lambda part: None)) for message in messages]
    if len(texts) == 1 and texts[0][0] == "user":
        return texts[0][1]
    return "\n\n".join([f"{role.capitalize()}: {text}" for role, text in texts if text] + ["Assistant:"])


def tool_result(message: ChatMessage) -> str | list[ContentPart] | None:
    """Return the content of a tool's result, prefixed with "Error: " if the tool failed.

    For APIs that have no field for a failure.
    """
    content = message.get("content")
    if not message.get("is_error"):
        return content
    if content is None or isinstance(content, str):
        return f"Error: {content or ''}"
    return [{"type": "text", "text": "Error: "}, *content]


def content_text(content: str | Sequence[ContentPart] | None, unsupported: Callable[[str], None]) -> str:
    """Return the text of content, refusals too; `unsupported` is called for every part that is not text."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for part in content:
        if part["type"] == "text":
            texts.append(part["text"])
        elif part["type"] == "refusal":
            texts.append(part["refusal"])
        elif (text := text_of_file(part)) is not None:
            texts.append(text)
        else:
            unsupported(f"{part['type']} content")
    return "".join(texts)


def text_of_file(part: Mapping[str, Any]) -> str | None:
    """Return the text of a file part, after its name; None for a part that is not a file with text in UTF-8.

    For APIs that accept no text files, and to which the text can be sent instead.
    """
    file = part.get("file") if part["type"] == "file" else None
    data = file.get("file_data") if isinstance(file, Mapping) else None
    if not isinstance(file, Mapping) or not isinstance(data, str) or not data.startswith("data:text/"):
        return None
    try:
        text = base64.b64decode(data.partition(";base64,")[2], validate=True).decode()
    except ValueError:
        return None
    name = file.get("filename")
    return f"{name}:\n{text}" if isinstance(name, str) and name else text


def parse_data_url(url: str) -> tuple[str, str] | None:
    """Return the media type and the base64 data of a `data:` URL, or None for any other URL. Raises UsageError."""
    if not url.startswith("data:"):
        return None
    head, comma, data = url[5:].partition(",")
    if not comma or not head.endswith(";base64"):
        raise UsageError("a data: URL must be base64, like data:image/png;base64,…")
    return head.removesuffix(";base64") or "application/octet-stream", data
