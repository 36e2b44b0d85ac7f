"""Requests of OpenAI's Responses: the shared shape to a body, and back; reasoning items for replies too.

This API has a flat list of typed items instead of messages: an assistant's reasoning, text and calls are items of their
own. Tools, tool choices and formats have the shared shape's fields, but without the object around them.

Both directions are in one file, although it is a long one, because they share its tables.

Source: OpenAI's API reference ("Responses": create, input items) and the types of its Python SDK.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from acytoo.dialects.base import Unsupported
from acytoo.dialects.custom_tools import custom_input, custom_names, grammar_of
from acytoo.dialects.fields import invalid, objects_in, optional_object, optional_objects, require, without_none
from acytoo.dialects.json import UNDECODABLE, dumps
from acytoo.dialects.openai_responses.tools import (
    HOSTED_TOOLS,
    TRANSLATED_ITEMS,
    all_tools,
    flat_name,
    function_item,
    tools_in_input,
    types_of,
)
from acytoo.dialects.services import api_of
from acytoo.dialects.tool_calls import arguments_text, result_content, with_unique_ids
from acytoo.errors import UsageError
from acytoo.messages import content_of, content_parts, text_of_file, tool_result, turn_parts
from acytoo.types import (
    ChatMessage,
    ChatMessages,
    ContentPart,
    JSONObject,
    ReasoningBlock,
    Request,
    ToolCallDict,
    ToolDefinition,
    TurnPart,
    plain_turn,
)

NAME = "openai-responses"

FIELD_NAMES = {
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}
"""What this API calls the fields of the shared shape that errors about a request name."""

_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
"""Values of `include`: parts of a reply that the API sends only when asked."""

_SAME_NAMES = ("temperature", "top_p", "parallel_tool_calls", "user", "top_logprobs")
"""Options that have the same name here and in the shared shape."""

_FILE_FIELDS = ("file_id", "filename", "file_data", "file_url")


# Encode: the shared shape to this API's body.


def encode_request(request: Request, extra: JSONObject, unsupported: Unsupported) -> JSONObject:
    """Return the body for a request. Calls `unsupported` for whatever the API cannot express."""
    instructions = encode_instructions(request.messages)
    messages = request.messages[1:] if instructions else request.messages
    custom = custom_names(request) if request.tools else frozenset()
    items = _encode_messages(with_unique_ids(messages), custom, unsupported)
    body: JSONObject = {"model": request.model, "input": items, **encode_options(request, unsupported)}
    if instructions:
        body["instructions"] = instructions
    if any(item.get("encrypted_content") for item in items):
        _include_encrypted(body)
    if request.stream:
        body["stream"] = True
    add_extra(body, extra)
    body.setdefault("store", False)
    return body


def encode_options(request: Request, unsupported: Unsupported) -> JSONObject:
    """Return the body fields for a request's options."""
    fields: JSONObject = {}
    for option in _SAME_NAMES:
        if (value := getattr(request, option)) is not None:
            fields[option] = value
    if request.max_tokens is not None:
        fields["max_output_tokens"] = request.max_tokens
    own = request.extra_for in ("", NAME)
    tools = _encode_tools(request.tools or (), unsupported, own=own)
    if tools:
        fields["tools"] = tools
    if request.tools and not tools:  # the API refuses a choice of no tools
        fields.pop("parallel_tool_calls", None)
    elif request.tool_choice is not None:
        fields["tool_choice"] = _encode_tool_choice(request.tool_choice)
    if request.response_format is not None:
        fields["text"] = {"format": _encode_format(request.response_format)}
    if request.reasoning_effort is not None:
        fields["reasoning"] = {"effort": request.reasoning_effort}
    if request.logprobs or request.top_logprobs:
        fields["include"] = [_LOGPROBS]
    if (request.reasoning_effort or "none") != "none":
        _include_encrypted(fields)
    return fields


def add_extra(body: JSONObject, extra: Mapping[str, Any]) -> None:
    """Merge extra fields into a body. They replace its fields, but `include`, `tools` and objects are joined.

    A name like `tools:web_search` is one under which `decode_request` keeps a field that has a value of this API alone.
    """
    for name, value in extra.items():
        field, colon, _ = name.partition(":")
        present = body.get(field)
        if colon:
            body[field] = value
        elif field in ("include", "tools") and isinstance(present, list) and isinstance(value, list):
            body[field] = present + [element for element in value if element not in present]
        elif isinstance(present, dict) and isinstance(value, dict):
            body[field] = {**present, **value}
        else:
            body[field] = value
    if isinstance(extra.get("reasoning"), dict) and extra["reasoning"]:
        _include_encrypted(body)


def _include_encrypted(body: JSONObject) -> None:
    """Ask for encrypted reasoning, without which reasoning cannot be sent back (`store` is false)."""
    include = body.get("include") or []
    if isinstance(include, list) and _ENCRYPTED not in include:  # another type is left for the server to refuse
        body["include"] = [*include, _ENCRYPTED]


def encode_instructions(messages: ChatMessages) -> str:
    """Return the first message's text if it is a system message of plain text and not the only message, else ""."""
    if len(messages) < 2:
        return ""
    first = messages[0]
    content = first.get("content")
    if first["role"] != "system" or first.get("name") or not isinstance(content, str):
        return ""
    return content


def _encode_messages(
    messages: Sequence[ChatMessage], custom: frozenset[str], unsupported: Unsupported
) -> list[JSONObject]:
    items: list[JSONObject] = []
    custom_calls: set[str] = set()  # their ids: their results have a type of their own
    for message in messages:
        role = message["role"]
        if message.get("name") and role != "tool":
            unsupported.preference("the name of a message")
        if role == "assistant":
            turn = _encode_turn(message, custom, unsupported)
            custom_calls |= {item["call_id"] for item in turn if item.get("type") == "custom_tool_call"}
            items += turn
        elif role == "tool":
            output, call_id = _encode_content(tool_result(message), unsupported), message["tool_call_id"]
            kind = "custom_tool_call_output" if call_id in custom_calls else "function_call_output"
            items.append({"type": kind, "call_id": call_id, "output": output})
        else:
            items.append({"role": role, "content": _encode_content(message["content"], unsupported)})
    return items


def _encode_turn(message: ChatMessage, custom: frozenset[str], unsupported: Unsupported) -> list[JSONObject]:
    """Return the items of an assistant message, in the order in which they were received."""
    if message.get("audio"):
        unsupported("audio of an assistant message")
    items: list[JSONObject] = []
    refusal = message.get("refusal")
    is_complete = True  # whether all reasoning is sent: the API refuses its own tools' items without it
    for part in turn_parts(message):
        kind, index = part["type"], part.get("index", 0)
        own = part.get("fields", {}) if part.get("source") == NAME else {}
        if kind == "reasoning":
            block = message["reasoning"][index]
            reasoning = own if own.get("encrypted_content") or own.get("content") else _encode_reasoning(block)
            is_complete = is_complete and (reasoning is not None or block.get("source") != NAME)
            items += [reasoning] if reasoning else []
        elif kind == "tool_call":
            others = {name: value for name, value in own.items() if name not in _ITEM_FIELDS}
            call = message["tool_calls"][index]
            function = call["function"]
            if own.get("type") == "custom_tool_call" or function["name"] in custom:
                input_ = custom_input(arguments_text(function.get("arguments")))
                named = {"type": "custom_tool_call", "call_id": call.get("id") or "", "name": function["name"]}
                items.append({**others, **named, "input": input_})
            else:
                items.append({**others, **_encode_call(call)})
        elif kind == "text" and own:
            items.append({name: value for name, value in own.items() if name not in _ITEM_FIELDS})
        elif kind in ("text", "content"):
            content = content_parts(part.get("text")) if kind == "text" else content_of(part, message)
            encoded = [_encode_output_part(inner, unsupported) for inner in content]
            parts = [inner for inner in encoded if inner is not None]
            if refusal and kind == "content":
                parts.append({"type": "refusal", "refusal": refusal})
                refusal = ""
            if parts:
                items.append({"type": "message", "role": "assistant", "content": parts})
        elif own and is_complete:
            items.append({**own})
    if refusal or not items:
        text = {"type": "output_text", "text": "", "annotations": []}
        content_part = {"type": "refusal", "refusal": refusal} if refusal else text
        items.append({"type": "message", "role": "assistant", "content": [content_part]})
    return items


_ITEM_FIELDS = frozenset({"id", "status"})
"""Fields of a message or a function call that identify it in the reply. A later request does not need them."""


def output_parts(item: JSONObject) -> list[JSONObject]:
    """Return the parts of a message of a reply. Some servers send its text in their place, or another type of part."""
    content = item.get("content")
    parts = content if isinstance(content, list) else [content]
    return [_output_part(part) for part in parts if part and isinstance(part, str | dict)]


def _output_part(part: str | JSONObject) -> JSONObject:
    if isinstance(part, str):
        return {"type": "output_text", "text": part}
    if part.get("type", "text") != "text" or "text" not in part:
        return part
    text = part["text"]
    return {**part, "type": "output_text", "text": text.get("value") if isinstance(text, dict) else text}


def is_plain_message(item: JSONObject) -> bool:
    """Return whether a message of a reply is its text and nothing else."""
    parts = output_parts(item)
    if any(part.get("type") == "refusal" for part in parts):
        return True  # `refusal` has it
    return not without_none(item).keys() - _MESSAGE_FIELDS and (
        not parts or (len(parts) == 1 and parts[0].get("type") == "output_text" and not parts[0].get("annotations"))
    )


_MESSAGE_FIELDS = frozenset({"type", "id", "status", "role", "content"})
"""Fields of a message that the shared shape has. Another one is `phase`."""


def _encode_output_part(part: Mapping[str, Any], unsupported: Unsupported) -> JSONObject | None:
    """Return a part of an assistant message."""
    if part["type"] == "text":
        return {"type": "output_text", "text": part["text"], "annotations": []}
    if part["type"] == "refusal":
        return {"type": "refusal", "refusal": part.get("refusal") or ""}
    unsupported(f"{part['type']} content of an assistant message")
    return None


def _encode_call(call: ToolCallDict) -> JSONObject:
    function = call["function"]
    arguments: object = function.get("arguments") or "{}"  # an object, if a caller does not send JSON text
    if not isinstance(arguments, str):
        arguments = dumps(arguments).decode()
    call_id = call.get("id") or ""
    return {"type": "function_call", "call_id": call_id, "name": function["name"], "arguments": arguments}


def _encode_content(
    content: str | Sequence[Mapping[str, Any]] | None, unsupported: Unsupported
) -> str | list[JSONObject]:
    """Return the content of a message that is not the assistant's, or of a tool's result."""
    if content is None or isinstance(content, str):
        return content or ""
    return [encoded for part in content if (encoded := _encode_input_part(part, unsupported)) is not None]


def _encode_input_part(part: Mapping[str, Any], unsupported: Unsupported) -> JSONObject | None:
    kind = part["type"]
    if kind == "text":
        return {"type": "input_text", "text": part["text"]}
    if kind == "image_url":
        image = part.get("image_url")
        image = {"url": image} if isinstance(image, str) else image
        if not isinstance(image, dict) or not isinstance(image.get("url"), str):
            raise UsageError("an image_url part must be like {'type': 'image_url', 'image_url': {'url': …}}")
        return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail") or "auto"}
    if kind == "file":
        file = part.get("file")
        if not isinstance(file, dict):
            raise UsageError("a file part must be like {'type': 'file', 'file': {'filename': …, 'file_data': …}}")
        if not file.get("filename") and file.get("file_data"):
            # The API requires a name beside the data. A text without one is sent as text.
            if (text := text_of_file(part)) is not None:
                return {"type": "input_text", "text": text}
            file = {**file, "filename": "document.pdf"}
        return {"type": "input_file", **{field: file[field] for field in _FILE_FIELDS if file.get(field)}}
    if kind in ("input_text", "input_image", "input_file"):  # `decode_part` keeps those that only this API has
        return dict(part)
    unsupported(f"{kind} content")
    return None


def _encode_tools(tools: Sequence[ToolDefinition], unsupported: Unsupported, *, own: bool) -> list[JSONObject]:
    """Return the tools. Those that a service runs itself are passed on if they are this API's `own`."""
    return [encoded for tool in tools if (encoded := _encode_tool(tool, unsupported, own)) is not None]


def _encode_tool(tool: ToolDefinition, unsupported: Unsupported, own: bool) -> JSONObject | None:
    """Return a tool. `strict` is false unless it is set, because the API's own default is true."""
    kind = tool.get("type", "function")
    if kind == "custom" and isinstance(custom := tool.get("custom"), dict):
        if (grammar := grammar_of(custom)) is not None:
            custom = {**custom, "format": {"type": "grammar", **grammar}}
        return {"type": "custom", **custom}
    function = tool.get("function")
    if kind != "function" or not isinstance(function, dict):
        if not own:
            unsupported(f"the tool type {kind!r}")
            return None
        return {**tool}
    no_parameters = {"type": "object", "properties": {}}
    return {"type": "function", "parameters": no_parameters, "strict": False, **without_none(function)}


def _encode_tool_choice(choice: str | JSONObject) -> str | JSONObject:
    for kind in ("function", "custom"):
        if isinstance(choice, dict) and choice.get("type") == kind and isinstance(choice.get(kind), dict):
            return {"type": kind, "name": choice[kind].get("name")}
    if isinstance(choice, dict) and isinstance(choice.get("allowed_tools"), dict):
        allowed = choice["allowed_tools"]
        tools = [_encode_tool_choice(tool) for tool in allowed["tools"]]
        return {"type": "allowed_tools", **allowed, "tools": tools}
    return choice


def _encode_format(response_format: JSONObject) -> JSONObject:
    """Return `text.format`. A schema must have a name here."""
    schema = response_format.get("json_schema")
    if response_format.get("type") != "json_schema" or not isinstance(schema, dict):
        return response_format
    return {"type": "json_schema", "name": "reply", **without_none(schema)}


# Decode: this API's body to the shared shape.


def decode_request(body: JSONObject) -> JSONObject:
    """Return a received body with the shared shape's field names.

    If the shared shape does not have the type of an item, a tool or a tool choice, the complete field is also kept, as
    `input:<type>`, `tools:<type>` or `tool_choice:<type>`. They become `Request.extra`: this API's endpoints get them
    back (see `add_extra`), and translation to another API refuses them by name, unless `tools.py` has translated them.

    Raises RequestError (400) that names what is malformed.
    """
    rest = dict(body)
    shared: JSONObject = {"stream": bool(rest.pop("stream", None))}
    messages, unknown_types = _decode_input(rest.pop("input", None))
    shared |= {f"input:{kind}": body["input"] for kind in unknown_types}
    instructions = rest.pop("instructions", None)
    if isinstance(instructions, str) and instructions:
        messages.insert(0, {"role": "system", "content": instructions})
    shared["messages"] = messages
    if (limit := rest.pop("max_output_tokens", None)) is not None:
        rest["max_tokens"] = limit
    choice = rest.pop("tool_choice", None)
    _decode_tools(rest.pop("tools", None), body.get("input"), choice, shared)
    if isinstance(choice, dict) and choice.get("type") not in ("function", "custom", "allowed_tools"):
        shared[f"tool_choice:{choice.get('type')}"] = choice
    elif choice is not None:
        shared["tool_choice"] = decoded = _decode_tool_choice(choice)
        if isinstance(choice, dict) and choice not in (decoded, _encode_tool_choice(cast(JSONObject, decoded))):
            shared[f"tool_choice:{choice['type']}"] = choice
    text = optional_object(rest.pop("text", None), "text")
    if (format_ := text.pop("format", None)) is not None:
        shared["response_format"] = _decode_format(optional_object(format_, "text.format"))
    reasoning = optional_object(rest.pop("reasoning", None), "reasoning")
    if (effort := reasoning.pop("effort", None)) is not None:
        shared["reasoning_effort"] = effort
    include = rest.get("include")
    if (isinstance(include, list) and _LOGPROBS in include) or rest.get("top_logprobs"):
        shared["logprobs"] = True
    if rest.get("background") is False:
        del rest["background"]
    if text:
        rest["text"] = text
    if reasoning:
        rest["reasoning"] = reasoning
    return {**rest, **shared}


def _decode_input(value: object) -> tuple[list[ChatMessage], Iterable[str]]:
    """Return the messages of `input`, and the types of the items that are not messages."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}], []
    if not isinstance(value, list) or not value:
        raise invalid("input is missing: give text, or a list like [{'role': 'user', 'content': 'Hello'}]")
    messages: list[ChatMessage] = []
    unknown_types: dict[str, None] = {}
    turn: ChatMessage | None = None
    for index, item in enumerate(value):
        where = f"input[{index}]"
        if not isinstance(item, dict):
            raise invalid(f"{where} must be an item like {{'role': 'user', 'content': 'Hello'}}")
        kind = str(item.get("type") or ("message" if "role" in item else "item_reference"))
        if kind in TRANSLATED_ITEMS or (kind == "function_call" and item.get("namespace")):
            unknown_types[kind if kind in TRANSLATED_ITEMS else "namespace"] = None
            item = function_item(item, kind)
            if item is None:
                continue
            kind = item["type"]
        if kind in ("reasoning", "function_call") or (kind == "message" and item.get("role") == "assistant"):
            if turn is None or _is_finished(turn, kind):
                turn = {"role": "assistant", "content": None}
                messages.append(turn)
            _decode_turn_item(item, kind, where, turn)
        elif kind == "message":
            turn = None
            messages.append({"role": item.get("role", ""), "content": _decode_content(item.get("content"), where)})
        elif kind == "function_call_output":
            turn = None
            output = _decode_content(result_content(item.get("output")), where)
            messages.append({"role": "tool", "tool_call_id": require(item, "call_id", str, where), "content": output})
        else:
            unknown_types[kind] = None
    for message in messages:
        if "turn_parts" in message and isinstance(message["content"], str):
            message["content"] = _text_of(message)
        if message["content"] is None and not (message.get("tool_calls") or message.get("refusal")):
            message["content"] = ""
        if isinstance(refusals := message.get("refusal"), list):
            message["refusal"] = "".join(refusals)
    return messages, unknown_types


def _is_finished(turn: ChatMessage, next_kind: str) -> bool:
    """Return whether the assistant's next item begins a new message.

    Reasoning, text and calls are one message, so that results follow their calls. A message that has text and no calls
    ends with the next text or reasoning.
    """
    has_text = turn["content"] is not None or "refusal" in turn
    return has_text and "tool_calls" not in turn and next_kind != "function_call"


def _decode_turn_item(item: JSONObject, kind: str, where: str, turn: ChatMessage) -> None:
    """Add an item to the assistant's message. Only `turn_parts` keep the order of what follows a call."""
    if kind == "function_call":
        turn.setdefault("tool_calls", []).append(_decode_call(item, where))
        if "turn_parts" in turn:
            turn["turn_parts"].append({"type": "tool_call", "index": len(turn["tool_calls"]) - 1})
    elif kind == "reasoning":
        blocks = turn.setdefault("reasoning", [])
        if "tool_calls" in turn and not isinstance(turn["content"], list):
            _parts_of(turn).append({"type": "reasoning", "index": len(blocks)})
        blocks.append(_decode_reasoning(item))
    else:
        content = _decode_content("" if item.get("content") is None else item["content"], where)
        if not isinstance(content, str):
            refusals = [str(part.get("refusal") or "") for part in content if part["type"] == "refusal"]
            if refusals:
                cast(JSONObject, turn).setdefault("refusal", []).extend(refusals)  # joined once all are known
                content = _text_or_parts([part for part in content if part["type"] != "refusal"])
        before = turn["content"]
        follows_call = "tool_calls" in turn and "refusal" not in turn and not isinstance(before, list)
        if follows_call and content and isinstance(content, str):
            _parts_of(turn).append({"type": "text", "text": content})
            turn["content"] = before or ""  # joined once all are known
        elif before is None:
            turn["content"] = content or (None if "refusal" in turn else "")
            if "turn_parts" in turn and content and isinstance(content, str):  # after a refusal
                turn["turn_parts"].append({"type": "text", "text": content})
        elif content:
            turn["content"] = parts = before if isinstance(before, list) else list(content_parts(_text_of(turn)))
            parts += content_parts(content)


def _parts_of(turn: ChatMessage) -> list[TurnPart]:
    """Return the parts of a turn with calls, to which what follows a call is added."""
    if "turn_parts" not in turn:
        blocks, calls = turn.get("reasoning", ()), turn["tool_calls"]
        turn["turn_parts"] = plain_turn(_text_of(turn), len(blocks), len(calls))
    return turn["turn_parts"]


def _text_of(turn: ChatMessage) -> str:
    """Return the text of a turn whose content is not a list."""
    if "turn_parts" in turn:
        return "".join([part["text"] for part in turn["turn_parts"] if part["type"] == "text"])
    return cast("str", turn["content"] or "")


def _decode_call(item: JSONObject, where: str) -> ToolCallDict:
    name = require(item, "name", str, where)
    return {
        "id": require(item, "call_id", str, where),
        "type": "function",
        "function": {"name": name, "arguments": item.get("arguments") or "{}"},
    }


def _decode_content(content: object, where: str) -> str | list[ContentPart]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(f"{where} has no content: it must be text or a list of parts")
    for index, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise invalid(f"{where}.content[{index}] must be a part like {{'type': 'input_text', 'text': 'Hello'}}")
        if part["type"] in ("input_text", "output_text", "text") and not isinstance(part.get("text"), str):
            raise invalid(f"{where}.content[{index}] is a text part without text")
    return _text_or_parts([decode_part(part) for part in content])


def _text_or_parts(parts: list[ContentPart]) -> str | list[ContentPart]:
    """Return the parts, or the text if there is no other part, because more servers accept that."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def decode_part(part: JSONObject) -> ContentPart:
    """Return a part. One that the shared shape does not have, such as an image by its `file_id`, is not changed."""
    kind = part["type"]
    if kind == "input_image" and isinstance(part.get("image_url"), dict):  # as in chat completions
        return {"type": "image_url", "image_url": part["image_url"]}
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": part.get("text") or ""}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image: JSONObject = {"url": part["image_url"]}
        if (detail := part.get("detail")) and detail != "auto":
            image["detail"] = detail
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        return {"type": "file", "file": {field: part[field] for field in _FILE_FIELDS if part.get(field)}}
    return cast(ContentPart, part)


def _decode_tools(tools: object, items: object, choice: object, shared: JSONObject) -> None:
    """Add the tools, those in the input too, as functions. Types that cannot be functions are kept under their names.

    Tools that the API runs itself are kept as `tools:hosted:<type>` if the model may as well call a function.
    """
    own = [_flat(tool) for tool in optional_objects(tools, "tools")]
    if natives := all_tools(own, items):
        shared["tools"] = [{"type": "function", "function": native.function} for native in natives]
    for kind in types_of([*own, *tools_in_input(items)]) - {"function"}:
        is_offer = kind in HOSTED_TOOLS and natives and choice in (None, "auto")
        shared[f"tools:hosted:{kind}" if is_offer else f"tools:{kind}"] = own


def _flat(tool: JSONObject) -> JSONObject:
    """Return a tool, or a choice of one, with its fields beside its type. Some clients have them in `function`."""
    function = tool.get("function")
    return {"type": "function", **function} if isinstance(function, dict) and "name" not in tool else tool


def _decode_tool_choice(choice: object) -> object:
    if not isinstance(choice, dict):
        return choice
    choice = _flat(choice)
    if choice.get("type") in ("function", "custom"):
        name = choice.get("name")
        return {
            "type": "function",
            "function": {"name": flat_name(name, choice.get("namespace")) if isinstance(name, str) else name},
        }
    if choice.get("type") != "allowed_tools":
        return choice
    tools = [_decode_tool_choice(tool) for tool in optional_objects(choice.get("tools"), "tool_choice.tools")]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode"), "tools": tools}}


def _decode_format(format_: JSONObject) -> JSONObject:
    if format_.get("type") != "json_schema":
        return format_
    schema = {name: value for name, value in without_none(format_).items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}


# Reasoning items, in both directions. The reader and the writer use these too.

_SEAL = "acytoo:"
"""What `encrypted_content` begins with if it holds another API's opaque fields."""

_OPAQUE_FIELDS = ("signature", "data", "id", "source")


def _encode_reasoning(block: ReasoningBlock) -> JSONObject | None:
    """Return the item that sends a block back to this API, None for an empty block or another API's.

    OpenAI wants its `encrypted_content` back. Servers that do not encrypt (vLLM, llama.cpp) want the text itself.
    """
    if block.get("source") != NAME or not (block.get("data") or block.get("text")):
        return None
    text = block.get("text") or ""
    item: JSONObject = {"type": "reasoning", "summary": []}
    if block.get("id"):
        item["id"] = block["id"]
    if not block.get("data"):
        item["content"] = [{"type": "reasoning_text", "text": text}]
        return item
    if text:
        item["summary"] = [{"type": "summary_text", "text": text}]
    item["encrypted_content"] = block["data"]
    return item


def _decode_reasoning(item: JSONObject) -> ReasoningBlock:
    text = "\n\n".join([text for _, text in decode_reasoning_texts(item)])
    return cast(ReasoningBlock, {**({"text": text} if text else {}), **decode_opaque(item)})


def decode_reasoning_texts(item: JSONObject) -> list[tuple[int, str]]:
    """Return the (index, text) pairs of a reasoning item's summary, or of the reasoning itself if it has no summary."""
    for field in ("summary", "content"):
        parts = enumerate(objects_in(item.get(field)))
        texts = [(index, part["text"]) for index, part in parts if isinstance(part.get("text"), str)]
        if any(text for _, text in texts):
            return texts
    return []


def encode_opaque(opaque: Mapping[str, str]) -> str:
    """Return the `encrypted_content` that carries a block's opaque fields through a client of this API, or "".

    Another API's fields, such as Anthropic's signatures, are encoded as JSON in base64 after `_SEAL`.
    """
    if api_of(opaque.get("source") or NAME) == NAME:
        return opaque.get("data", "")
    if not (opaque.get("signature") or opaque.get("data")):
        return ""
    return _SEAL + base64.b64encode(msgspec.json.encode(opaque)).decode()


def decode_opaque(item: JSONObject) -> dict[str, str]:
    """Return the opaque fields of a reasoning item that a client sends back, from `encode_opaque` or from the API."""
    data = item.get("encrypted_content")
    if isinstance(data, str) and data.startswith(_SEAL):
        try:
            fields = msgspec.json.decode(base64.b64decode(data[len(_SEAL) :], validate=True), type=dict[str, str])
            return {name: fields[name] for name in _OPAQUE_FIELDS if fields.get(name)}
        except (*UNDECODABLE, ValueError):
            pass  # not ours after all: it is the API's own
    return own_opaque(item)


def own_opaque(item: JSONObject) -> dict[str, str]:
    """Return the opaque fields of a reasoning item in a reply.

    Not even those of a server of ours are opened: only that server, which made them, wants them back.
    """
    opaque = {"data": item.get("encrypted_content"), "id": item.get("id"), "source": NAME}
    return {name: value for name, value in opaque.items() if isinstance(value, str) and value}
