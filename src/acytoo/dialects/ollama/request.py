"""Ollama's chat requests: the shared shape to its body, and back.

Source: Ollama's API documentation ("Generate a chat completion"), and the types of the `ollama` Python package.
"""

from __future__ import annotations

from typing import Any

from acytoo.dialects.base import Unsupported
from acytoo.dialects.extra_fields import keep_nested, put_extra
from acytoo.dialects.fields import invalid
from acytoo.dialects.tool_calls import CallIds, arguments_object, arguments_text
from acytoo.errors import UsageError
from acytoo.messages import data_url, parts_of, result_of
from acytoo.types import ChatMessage, Request, ToolCallDict, Tools

_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_tokens": "num_predict",
    "stop": "stop",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
"""The shared shape's sampling options, and their names inside `options`."""

_THINK = {"none": False, "low": "low", "medium": "medium", "high": "high"}

_PARENTS = frozenset({"options"})


def sent_body(request: Request, extra: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """The body that asks for a reply: options go into `options`, a schema into `format`, the effort into `think`."""
    names: dict[str, str] = {}
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [_sent_message(m, names, f"messages[{i}]", unsupported) for i, m in enumerate(request.messages)],
        "stream": request.stream,
    }
    if tools := _sent_tools(request, unsupported):
        body["tools"] = tools
    if wanted := _sent_format(request.response_format, unsupported):
        body["format"] = wanted
    if request.reasoning_effort is not None:
        if request.reasoning_effort in _THINK:
            body["think"] = _THINK[request.reasoning_effort]
        else:
            unsupported(f"reasoning_effort={request.reasoning_effort!r}")
    for option in ("logprobs", "top_logprobs"):
        if (value := getattr(request, option)) is not None:
            body[option] = value
    given = {field: value for option, field in _OPTIONS.items() if (value := getattr(request, option)) is not None}
    if given:
        body["options"] = given
    put_extra(body, extra, _PARENTS)
    return body


def shared_body(body: dict[str, Any]) -> dict[str, Any]:
    """A received body with the shared shape's names; calls and results without ids get some.

    Raises RequestError (400) for what has the wrong shape.
    """
    shared = {field: value for field, value in body.items() if field not in ("options", "think", "format")}
    shared.setdefault("stream", True)
    options = body.get("options") or {}
    messages = body.get("messages")
    if not isinstance(options, dict):
        raise invalid("options must be an object")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise invalid("messages must be a list of objects")
    ids = CallIds()
    shared["messages"] = [_read_message(message, ids) for message in messages]
    options = dict(options)
    for option, field in _OPTIONS.items():
        value = options.pop(field, None)
        unlimited = field == "num_predict" and isinstance(value, int) and value < 0
        if value is not None and not unlimited:
            shared[option] = value
    keep_nested(shared, "options", options)
    think, wanted = body.get("think"), body.get("format")
    if think is not None:
        shared["reasoning_effort"] = ("medium" if think else "none") if isinstance(think, bool) else think
    if isinstance(wanted, dict):
        shared["response_format"] = {"type": "json_schema", "json_schema": {"name": "response", "schema": wanted}}
    elif wanted:
        shared["response_format"] = {"type": "json_object"}
    return shared


def _sent_message(message: ChatMessage, names: dict[str, str], where: str, unsupported: Unsupported) -> dict[str, Any]:
    role = message["role"]
    texts, images = [], []
    for part in parts_of(result_of(message)):
        if part["type"] == "text":
            texts.append(part["text"])
        elif image := _image(part, unsupported):
            images.append(image)
    sent: dict[str, Any] = {
        "role": "system" if role == "developer" else role,
        "content": "".join(texts) or message.get("refusal") or "",
    }
    if images:
        sent["images"] = images
    if thoughts := "".join([block.get("text", "") for block in message.get("reasoning") or ()]):
        sent["thinking"] = thoughts
    if calls := message.get("tool_calls"):
        sent["tool_calls"] = [_sent_call(call, names, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls)]
    if role == "tool":
        sent["tool_call_id"] = message["tool_call_id"]
        if name := names.get(message["tool_call_id"]) or message.get("name"):
            sent["tool_name"] = name
    elif message.get("name"):
        unsupported("the name of a message's author")
    return sent


def _image(part: Any, unsupported: Unsupported) -> str | None:
    """The base64 data of an image part; an image's URL cannot be sent."""
    if part["type"] != "image_url":
        unsupported(f"{part['type']} content")
        return None
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    found = data_url(url) if isinstance(url, str) else None
    if found is None or not found[0].startswith("image/"):
        unsupported("an image's URL (only data: URLs with the image itself)")
        return None
    return found[1]


def _sent_call(call: ToolCallDict, names: dict[str, str], where: str) -> dict[str, Any]:
    function = call["function"]
    arguments = arguments_object(function.get("arguments"))
    if arguments is None:
        raise UsageError(f"{where} has arguments that are not a JSON object, which Ollama needs")
    sent: dict[str, Any] = {"function": {"name": function["name"], "arguments": arguments}}
    if call.get("id"):
        names[call["id"]] = function["name"]
        sent["id"] = call["id"]
    return sent


def _sent_tools(request: Request, unsupported: Unsupported) -> Tools:
    """The tools; having none to choose from is how this API says `none`, and `auto` is what it always does."""
    if request.tool_choice not in (None, "auto", "none"):
        unsupported(f"tool_choice={request.tool_choice!r}")
    if request.parallel_tool_calls is False:
        unsupported("parallel_tool_calls=False")
    tools = []
    for tool in request.tools or ():
        if tool.get("type", "function") != "function":
            unsupported(f"the tool type {tool['type']!r}")
        elif request.tool_choice != "none":
            tools.append(tool)
    return tools


def _sent_format(wanted: dict[str, Any] | None, unsupported: Unsupported) -> Any:
    kind = (wanted or {}).get("type", "text")
    if kind == "json_schema":
        return ((wanted or {}).get("json_schema") or {}).get("schema") or "json"
    if kind == "json_object":
        return "json"
    if kind != "text":
        unsupported(f"response_format {kind!r}")
    return None


def _read_message(message: dict[str, Any], ids: CallIds) -> dict[str, Any]:
    role = message.get("role")
    content = message.get("content")
    read: dict[str, Any] = {"role": role, "content": "" if content is None else content}
    images = message.get("images")
    if isinstance(images, list) and images:
        texts = [{"type": "text", "text": content}] if content else []
        read["content"] = texts + [{"type": "image_url", "image_url": {"url": _image_url(image)}} for image in images]
    if role == "assistant" and isinstance(message.get("thinking"), str) and message["thinking"]:
        read["reasoning"] = [{"text": message["thinking"]}]
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        read["tool_calls"] = [_read_call(call, ids) for call in calls]
    if role == "tool":
        name = message.get("tool_name") or message.get("name")
        read["tool_call_id"] = ids.answered(name, message.get("tool_call_id"))
        if name:
            read["name"] = name
    return read


def _read_call(call: Any, ids: CallIds) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise invalid("every tool call must be like {'function': {'name': …, 'arguments': {}}}")
    name = function["name"]
    return {
        "id": ids.called(name, call.get("id")),
        "type": "function",
        "function": {"name": name, "arguments": arguments_text(function.get("arguments"))},
    }


_MAGIC = {"iVBOR": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp", "Qk": "image/bmp"}
"""How images of each type begin, in base64."""


def _image_url(image: Any) -> str:
    if not isinstance(image, str):
        raise invalid("images must be base64 text")
    kind = next((kind for magic, kind in _MAGIC.items() if image.startswith(magic)), "image/png")
    return f"data:{kind};base64,{image}"
