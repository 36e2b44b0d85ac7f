"""Ollama's chat requests: the shared shape to a body, and back.

Source: Ollama's API documentation ("Generate a chat completion"), and the types of the `ollama` Python package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acytoo.dialects.base import Unsupported
from acytoo.dialects.custom_tools import as_functions
from acytoo.dialects.extra_fields import flatten_fields, merge_extra
from acytoo.dialects.fields import integer, invalid, objects_in
from acytoo.dialects.tool_calls import CallIds, arguments_object, arguments_text, result_content
from acytoo.errors import UsageError
from acytoo.messages import content_parts, parse_data_url, text_of_file, tool_result
from acytoo.secret import show
from acytoo.types import ChatMessage, ContentPart, JSONObject, Request, ToolCallDict, ToolDefinition

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

FIELD_NAMES = {option: f"options.{name}" for option, name in _OPTIONS.items()} | {"reasoning_effort": "think"}
"""What this API calls the fields of the shared shape that errors about a request name."""

_THINK = {"none": False, "low": "low", "medium": "medium", "high": "high"}
"""The shared shape's reasoning efforts, and the values of `think`."""

_NEAREST = {"minimal": "low", "xhigh": "high", "max": "high"}
"""Efforts of other APIs, and those that are nearest to them."""

_GENERATE_FIELDS = ("suffix", "template", "raw", "context")
"""Fields of `/api/generate` that change what the model reads, and that no chat API has."""

_PARENTS = frozenset({"options"})
"""The nested objects in which extra fields may be."""


# Encode: the shared shape to Ollama's body.


def encode_request(request: Request, extra: JSONObject, unsupported: Unsupported) -> JSONObject:
    """Return the body for a request. Calls `unsupported` for whatever the API cannot express."""
    if request.tools:
        request = as_functions(request, unsupported)
    names: dict[str, str] = {}
    body: JSONObject = {
        "model": request.model,
        "messages": [
            _encode_message(message, names, f"messages[{index}]", unsupported)
            for index, message in enumerate(request.messages)
        ],
        "stream": request.stream,
    }
    if tools := _encode_tools(request, unsupported):
        body["tools"] = tools
    if format_ := _encode_format(request.response_format, unsupported):
        body["format"] = format_
    if (effort := request.reasoning_effort) is not None:
        if effort in _NEAREST:
            unsupported.preference(f"reasoning_effort={effort!r}")
            effort = _NEAREST[effort]
        if effort in _THINK:
            body["think"] = _THINK[effort]
        else:
            unsupported(f"reasoning_effort={effort!r}")
    for option in ("logprobs", "top_logprobs"):
        if (value := getattr(request, option)) is not None:
            body[option] = value
    options = {field: value for option, field in _OPTIONS.items() if (value := getattr(request, option)) is not None}
    if options:
        body["options"] = options
    merge_extra(body, extra, _PARENTS)
    return body


def _encode_message(message: ChatMessage, names: dict[str, str], where: str, unsupported: Unsupported) -> JSONObject:
    """Return one message. `names` maps the ids of the calls so far to their functions' names."""
    role = message["role"]
    texts, images = [], []
    for part in content_parts(tool_result(message)):
        if part["type"] == "refusal":
            texts.append(part["refusal"])
        elif part["type"] == "text":
            texts.append(part["text"])
        elif (text := text_of_file(part)) is not None:
            texts.append(text)
        elif image := _encode_image(part, unsupported):
            images.append(image)
    encoded: JSONObject = {
        "role": "system" if role == "developer" else role,
        "content": "".join(texts) or message.get("refusal") or "",
    }
    if images:
        encoded["images"] = images
    if thinking := "".join([block.get("text", "") for block in message.get("reasoning") or ()]):
        encoded["thinking"] = thinking
    if calls := message.get("tool_calls"):
        encoded["tool_calls"] = [_encode_call(call, names, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls)]
    if role == "tool":
        encoded["tool_call_id"] = message["tool_call_id"]
        # Servers before 0.12 know no ids and match a result to its call by the function's name.
        if name := names.get(message["tool_call_id"]) or message.get("name"):
            encoded["tool_name"] = name
    elif message.get("name"):
        unsupported.preference("the name of a message's author")
    return encoded


def _encode_image(part: Mapping[str, Any], unsupported: Unsupported) -> str | None:
    """Return the base64 data of an image part. Ollama does not fetch the URL of an image."""
    if part["type"] != "image_url":
        unsupported(f"{part['type']} content")
        return None
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    media = parse_data_url(url) if isinstance(url, str) else None
    if media is None or not media[0].startswith("image/"):
        unsupported("an image's URL (only data: URLs with the image itself)")
        return None
    return media[1]


def _encode_call(call: ToolCallDict, names: dict[str, str], where: str) -> JSONObject:
    function = call["function"]
    arguments = arguments_object(function.get("arguments"))
    if arguments is None:
        raise UsageError(f"{where} has arguments that are not a JSON object, which Ollama needs")
    encoded: JSONObject = {"function": {"name": function["name"], "arguments": arguments}}
    if call.get("id"):
        names[call["id"]] = function["name"]
        encoded["id"] = call["id"]
    return encoded


def _encode_tools(request: Request, unsupported: Unsupported) -> list[ToolDefinition]:
    """Return the tools.

    This API has no `tool_choice`: it always behaves like `auto`, and `none` is expressed by sending no tools. Of a
    client's choice a server keeps which tool it is. Ollama's own version of OpenAI's API ignores it.
    """
    chosen = None
    if request.tool_choice not in (None, "auto", "none"):
        unsupported.preference(f"tool_choice={show(request.tool_choice)}")
        if isinstance(request.tool_choice, dict) and isinstance(request.tool_choice.get("function"), dict):
            chosen = request.tool_choice["function"].get("name")
    if request.parallel_tool_calls is False:
        unsupported.preference("parallel_tool_calls=False")
    tools: list[ToolDefinition] = []
    for tool in request.tools or ():
        if tool.get("type", "function") != "function":
            unsupported(f"the tool type {tool['type']!r}")
        elif request.tool_choice != "none" and chosen in (None, tool["function"].get("name")):
            tools.append(tool)
    return tools


def _encode_format(response_format: JSONObject | None, unsupported: Unsupported) -> JSONObject | str | None:
    """Return `format`: a JSON schema, "json", or None for text."""
    response_format = response_format or {}
    kind = response_format.get("type", "text")
    if kind == "json_schema":
        schema: JSONObject | None = (response_format.get("json_schema") or {}).get("schema")
        return schema or "json"
    if kind == "json_object":
        return "json"
    if kind != "text":
        unsupported(f"response_format {kind!r}")
    return None


# Decode: Ollama's body to the shared shape.


def decode_request(body: JSONObject) -> JSONObject:
    """Return a received body with the shared shape's field names. Calls and results without ids get some.

    Raises RequestError (400) if a field has the wrong shape.
    """
    shared = {field: value for field, value in body.items() if field not in ("options", "think", "format")}
    shared.setdefault("stream", True)  # this API streams unless a request has `"stream": false`
    options = body.get("options") or {}
    messages = body.get("messages")
    if not messages and isinstance(body.get("model"), str) and isinstance(messages, list | None):
        messages = []  # a request to load the model
    if not isinstance(options, dict):
        raise invalid("options must be an object")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise invalid("messages must be a list of objects")
    calls = [call for message in messages for call in objects_in(message.get("tool_calls"))]
    ids = CallIds(call.get("id") for call in calls)
    shared["messages"] = [_decode_message(message, ids) for message in messages]
    options = dict(options)
    for option, field in _OPTIONS.items():
        value = options.pop(field, None)
        unlimited = field == "num_predict" and isinstance(value, int) and value < 0
        if value is not None and not unlimited:
            shared[option] = integer(value)  # Ollama reads every number as a float
    flatten_fields(shared, "options", options)
    think = body.get("think")
    if think is not None:
        shared["reasoning_effort"] = ("medium" if think else "none") if isinstance(think, bool) else think
    if response_format := _decode_format(body.get("format")):
        shared["response_format"] = response_format
    return shared


def decode_generate_request(body: JSONObject) -> JSONObject:
    """Return a received body of `/api/generate` with the shared shape's field names.

    Raises RequestError (400) if a field has the wrong shape.
    """
    prompt, system, images = (body.get(field) for field in ("prompt", "system", "images"))
    for field, text in (("prompt", prompt), ("system", system)):
        if not isinstance(text, str | None):
            raise invalid(f"{field} must be text")
    for field in _GENERATE_FIELDS:
        if body.get(field):
            raise invalid(f"{field} of /api/generate is not supported: use /api/chat")
    messages: list[JSONObject] = []
    if prompt or images:
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": prompt or "", "images": images})
    shared = decode_request({**body, "messages": messages})
    for field in ("prompt", "system", "images", *_GENERATE_FIELDS):
        shared.pop(field, None)
    return shared


def loading_reason(body: JSONObject) -> str:
    """Return the `done_reason` for a request without messages: `keep_alive` of 0 unloads the model."""
    keep_alive = body.get("keep_alive")
    return "unload" if keep_alive is not None and str(keep_alive).strip("0.") in ("", "s", "m", "h") else "load"


def _decode_message(message: JSONObject, ids: CallIds) -> ChatMessage:
    role = message.get("role", "")
    content = message.get("content")
    if role == "tool":
        content = result_content(content)
    decoded: ChatMessage = {"role": role, "content": "" if content is None else content}
    images = message.get("images")
    if isinstance(images, list) and images:
        texts: list[ContentPart] = [{"type": "text", "text": content}] if content else []
        decoded["content"] = texts + [_decode_image(image) for image in images]
    if role == "assistant" and isinstance(message.get("thinking"), str) and message["thinking"]:
        decoded["reasoning"] = [{"text": message["thinking"]}]
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        decoded["tool_calls"] = [_decode_call(call, ids) for call in calls]
    if role == "tool":
        name = message.get("tool_name") or message.get("name")
        decoded["tool_call_id"] = ids.for_result(name, message.get("tool_call_id"))
        if name:
            decoded["name"] = name
    return decoded


_IMAGE_TYPES = {
    "iVBOR": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "Qk": "image/bmp",
}
"""The first characters of an image in base64, and its media type. Ollama's clients do not send the type."""


def _decode_image(image: object) -> ContentPart:
    if not isinstance(image, str):
        raise invalid("images must be base64 text")
    if image.startswith("data:"):
        return {"type": "image_url", "image_url": {"url": image}}
    media_type = next((type_ for start, type_ in _IMAGE_TYPES.items() if image.startswith(start)), "image/png")
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{image}"}}


def _decode_call(call: object, ids: CallIds) -> ToolCallDict:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise invalid("every tool call must be like {'function': {'name': …, 'arguments': {}}}")
    name = function["name"]
    return {
        "id": ids.for_call(name, call.get("id")),
        "type": "function",
        "function": {"name": name, "arguments": arguments_text(function.get("arguments"))},
    }


def _decode_format(format_: object) -> JSONObject | None:
    """Return `response_format` for a JSON schema or for "json", None for nothing."""
    if isinstance(format_, dict):
        return {"type": "json_schema", "json_schema": {"name": "response", "schema": format_}}
    return {"type": "json_object"} if format_ else None
