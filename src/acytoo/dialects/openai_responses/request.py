"""What a request to OpenAI's Responses says, from the shared shape and back: items, tools, options, reasoning.

Source: OpenAI's API reference ("Responses": create, input items) and the types of its Python SDK.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec

from acytoo.dialects.fields import invalid, objects_in, optional_object, optional_objects, require, without_none
from acytoo.dialects.json import UNDECODABLE
from acytoo.errors import UsageError
from acytoo.messages import content_parts, tool_result
from acytoo.types import ChatMessage, ChatMessages, ReasoningBlock, Request, ToolDefinition

NAME = "openai-responses"
ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"

Item = dict[str, Any]
Lose = Callable[[str], None]

_SAME = ("temperature", "top_p", "parallel_tool_calls", "user", "top_logprobs")
"""Options that have the shared shape's own names."""

_FILE_FIELDS = ("file_id", "filename", "file_data", "file_url")


def fields_of(request: Request, unsupported: Lose) -> dict[str, Any]:
    """The body fields that say what the request does, without its `extra`."""
    instructions = instructions_of(request.messages)
    items = _items_of(request.messages[1:] if instructions else request.messages, unsupported)
    fields: dict[str, Any] = {"input": items, **options_of(request, unsupported)}
    if instructions:
        fields["instructions"] = instructions
    if any(item.get("encrypted_content") for item in items) and ENCRYPTED not in fields.get("include", ()):
        fields["include"] = [*fields.get("include", ()), ENCRYPTED]
    return fields


def options_of(request: Request, unsupported: Lose) -> dict[str, Any]:
    """The body fields that stand for the request's options."""
    fields: dict[str, Any] = {}
    for option in _SAME:
        if (value := getattr(request, option)) is not None:
            fields[option] = value
    if request.max_tokens is not None:
        fields["max_output_tokens"] = request.max_tokens
    if request.tools and (
        tools := [flat for tool in request.tools if (flat := _flat_tool(tool, unsupported)) is not None]
    ):
        fields["tools"] = tools
    if request.tool_choice is not None:
        fields["tool_choice"] = _flat_choice(request.tool_choice)
    if request.response_format is not None:
        fields["text"] = {"format": _flat_format(request.response_format)}
    if request.reasoning_effort is not None:
        fields["reasoning"] = {"effort": request.reasoning_effort}
    include = []
    if request.logprobs or request.top_logprobs:
        include.append(LOGPROBS)
    if (request.reasoning_effort or "none") != "none":
        include.append(ENCRYPTED)
    if include:
        fields["include"] = include
    return fields


def add_extra(body: dict[str, Any], extra: dict[str, Any]) -> None:
    """Put the fields that pass through into the body, where they win: lists and objects in both are joined.

    A name like `tools:web_search` is what `shared_of` keeps words of this API alone under.
    """
    for name, value in extra.items():
        field, kept, _ = name.partition(":")
        ours = body.get(field)
        if kept and field != "tools":
            body[field] = value
        elif field in ("include", "tools") and isinstance(ours, list) and isinstance(value, list):
            body[field] = ours + [one for one in value if one not in ours]
        elif isinstance(ours, dict) and isinstance(value, dict):
            body[field] = {**ours, **value}
        else:
            body[field] = value
    asked = extra.get("reasoning")
    if isinstance(asked, dict) and asked and ENCRYPTED not in body.get("include", ()):
        body["include"] = [*body.get("include", ()), ENCRYPTED]


def shared_of(body: dict[str, Any]) -> dict[str, Any]:
    """The body in the shared shape's names; what only this API can say stays beside it, to become `extra`.

    Items, tools and choices of other kinds are kept as `input:<type>`, `tools:<type>`, `tool_choice:<type>`, so that
    translate to another API names them. Raises RequestError (400) saying what is malformed.
    """
    rest = dict(body)
    shared: dict[str, Any] = {"stream": bool(rest.pop("stream", None))}
    messages, strange = _messages_of(rest.pop("input", None))
    shared |= {f"input:{kind}": body["input"] for kind in strange}
    instructions = rest.pop("instructions", None)
    if isinstance(instructions, str) and instructions:
        messages.insert(0, {"role": "system", "content": instructions})
    shared["messages"] = messages
    if (limit := rest.pop("max_output_tokens", None)) is not None:
        rest["max_tokens"] = limit
    for tool in optional_objects(rest.pop("tools", None), "tools"):
        kind = str(tool.get("type"))
        if kind == "function":
            shared.setdefault("tools", []).append(_chat_tool(tool))
        else:
            shared.setdefault(f"tools:{kind}", []).append(tool)
    choice = rest.pop("tool_choice", None)
    if isinstance(choice, dict) and choice.get("type") not in ("function", "allowed_tools"):
        shared[f"tool_choice:{choice.get('type')}"] = choice
    elif choice is not None:
        shared["tool_choice"] = _chat_choice(choice)
    text = optional_object(rest.pop("text", None), "text")
    if (wanted := text.pop("format", None)) is not None:
        shared["response_format"] = _chat_format(optional_object(wanted, "text.format"))
    reasoning = optional_object(rest.pop("reasoning", None), "reasoning")
    if (effort := reasoning.pop("effort", None)) is not None:
        shared["reasoning_effort"] = effort
    include = rest.get("include")
    if (isinstance(include, list) and LOGPROBS in include) or rest.get("top_logprobs"):
        shared["logprobs"] = True
    if rest.get("background") is False:
        del rest["background"]
    return {**rest, **({"text": text} if text else {}), **({"reasoning": reasoning} if reasoning else {}), **shared}


# Messages and items.


def instructions_of(messages: ChatMessages) -> str:
    """The first message's text, where it is a system message of plain text and not the only one; else ""."""
    if len(messages) < 2:
        return ""
    first = messages[0]
    content = first.get("content")
    if first["role"] != "system" or first.get("name") or not isinstance(content, str):
        return ""
    return content


def _items_of(messages: ChatMessages, unsupported: Lose) -> list[Item]:
    items: list[Item] = []
    for message in messages:
        role = message["role"]
        if message.get("name") and role != "tool":
            unsupported("the name of a message")
        if role == "assistant":
            items += _spoken_items(message, unsupported)
        elif role == "tool":
            output = _content_of(tool_result(message), unsupported)
            items.append({"type": "function_call_output", "call_id": message["tool_call_id"], "output": output})
        else:
            items.append({"role": role, "content": _content_of(message["content"], unsupported)})
    return items


def _spoken_items(message: ChatMessage, unsupported: Lose) -> list[Item]:
    """An assistant message as its reasoning, its text, its calls."""
    items = [item for block in message.get("reasoning") or () if (item := reasoning_item(block)) is not None]
    if message.get("audio"):
        unsupported("audio of an assistant message")
    parts = [
        part
        for given in content_parts(message.get("content"))
        if (part := _spoken_part(given, unsupported)) is not None
    ]
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    calls = message.get("tool_calls") or ()
    if parts or not (calls or items):
        parts = parts or [{"type": "output_text", "text": "", "annotations": []}]
        items.append({"type": "message", "role": "assistant", "content": parts})
    for call in calls:
        function = call["function"]
        arguments = function.get("arguments") or "{}"
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        items.append(
            {
                "type": "function_call",
                "call_id": call.get("id") or "",
                "name": function["name"],
                "arguments": arguments,
            }
        )
    return items


def _spoken_part(part: Any, unsupported: Lose) -> Item | None:
    if part["type"] == "text":
        return {"type": "output_text", "text": part["text"], "annotations": []}
    if part["type"] == "refusal":
        return {"type": "refusal", "refusal": part.get("refusal") or ""}
    unsupported(f"{part['type']} content of an assistant message")
    return None


def _content_of(content: Any, unsupported: Lose) -> str | list[Item]:
    if content is None or isinstance(content, str):
        return content or ""
    return [item for part in content if (item := _input_part(part, unsupported)) is not None]


def _input_part(part: Any, unsupported: Lose) -> Item | None:
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
        return {"type": "input_file", **{field: file[field] for field in _FILE_FIELDS if file.get(field)}}
    if kind in ("input_text", "input_image", "input_file"):
        return dict(part)
    unsupported(f"{kind} content")
    return None


def _messages_of(given: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The messages in an `input`, and the types of the items that are none."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}], []
    if not isinstance(given, list) or not given:
        raise invalid("input is missing: give text, or a list like [{'role': 'user', 'content': 'Hello'}]")
    messages: list[dict[str, Any]] = []
    strange: list[str] = []
    turn: dict[str, Any] | None = None
    for number, item in enumerate(given):
        where = f"input[{number}]"
        if not isinstance(item, dict):
            raise invalid(f"{where} must be an item like {{'role': 'user', 'content': 'Hello'}}")
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        if kind in ("reasoning", "function_call") or (kind == "message" and item.get("role") == "assistant"):
            turn = _said(item, kind, where, turn, messages)
        elif kind == "message":
            turn = None
            messages.append({"role": item.get("role"), "content": _chat_content(item.get("content"), where)})
        elif kind == "function_call_output":
            turn = None
            output = _chat_content(item.get("output"), where)
            messages.append({"role": "tool", "tool_call_id": require(item, "call_id", str, where), "content": output})
        elif kind not in strange:
            strange.append(kind)
    for message in messages:
        if message["content"] is None and not (message.get("tool_calls") or message.get("refusal")):
            message["content"] = ""
    return messages, strange


def _said(
    item: Item, kind: str, where: str, turn: dict[str, Any] | None, messages: list[dict[str, Any]]
) -> dict[str, Any]:
    """Add an item to the assistant's turn: its reasoning, text and calls are one message, so that results follow calls.

    A turn that has its text and no calls is over with the next text or reasoning.
    """
    over = turn is not None and (turn["content"] is not None or "refusal" in turn) and "tool_calls" not in turn
    if turn is None or (over and kind != "function_call"):
        turn = {"role": "assistant", "content": None}
        messages.append(turn)
    if kind == "function_call":
        function = {"name": require(item, "name", str, where), "arguments": item.get("arguments") or "{}"}
        call = {"id": require(item, "call_id", str, where), "type": "function", "function": function}
        turn.setdefault("tool_calls", []).append(call)
    elif kind == "reasoning":
        turn.setdefault("reasoning", []).append(reasoning_block(item))
    else:
        content = _chat_content(item.get("content"), where)
        if not isinstance(content, str):
            refusals = [str(part.get("refusal") or "") for part in content if part["type"] == "refusal"]
            if refusals:
                turn["refusal"] = turn.get("refusal", "") + "".join(refusals)
                content = _plain([part for part in content if part["type"] != "refusal"])
        if turn["content"] is None:
            turn["content"] = content or (None if "refusal" in turn else "")
        elif content:
            turn["content"] = [*content_parts(turn["content"]), *content_parts(content)]
    return turn


def _chat_content(content: Any, where: str) -> str | list[Item]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(f"{where} has no content: it must be text or a list of parts")
    for number, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise invalid(f"{where}.content[{number}] must be a part like {{'type': 'input_text', 'text': 'Hello'}}")
        if part["type"] in ("input_text", "output_text", "text") and not isinstance(part.get("text"), str):
            raise invalid(f"{where}.content[{number}] is a text part without text")
    return _plain([_chat_part(part) for part in content])


def _plain(parts: list[Item]) -> str | list[Item]:
    """The parts, or the text where it is the only one: more servers take that."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _chat_part(part: Item) -> Item:
    """The part in the shared shape; one it has no word for (an image by its `file_id`) stays as it is."""
    kind = part["type"]
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": part.get("text") or ""}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = part.get("detail")
        detailed = {"detail": detail} if detail and detail != "auto" else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detailed}}
    if kind == "input_file":
        return {"type": "file", "file": {field: part[field] for field in _FILE_FIELDS if part.get(field)}}
    return part


# Reasoning, and the opaque parts that other APIs need back.

_SEAL = "acytoo:"
_OPAQUE = ("signature", "data", "id", "source")


def reasoning_item(block: ReasoningBlock) -> Item | None:
    """The item that sends a reasoning block back to the API it came from; None for a foreign one, or an empty one.

    OpenAI wants its `encrypted_content` back; servers that encrypt nothing (vLLM, llama.cpp) the text itself.
    """
    if block.get("source") != NAME or not (block.get("data") or block.get("text")):
        return None
    text = block.get("text") or ""
    item: Item = {"type": "reasoning", "summary": []}
    if block.get("id"):
        item["id"] = block["id"]
    if not block.get("data"):
        item["content"] = [{"type": "reasoning_text", "text": text}]
        return item
    if text:
        item["summary"] = [{"type": "summary_text", "text": text}]
    item["encrypted_content"] = block["data"]
    return item


def reasoning_block(item: Item) -> dict[str, Any]:
    """The block in a reasoning item."""
    text = "\n\n".join([piece for _, piece in reasoning_texts(item)])
    return {**({"text": text} if text else {}), **opaque_of(item)}


def reasoning_texts(item: Item) -> list[tuple[int, str]]:
    """The numbered texts of a reasoning item: its summary, or the reasoning itself where there is none."""
    for field in ("summary", "content"):
        parts = enumerate(objects_in(item.get(field)))
        texts = [(place, part["text"]) for place, part in parts if isinstance(part.get("text"), str)]
        if any(text for _, text in texts):
            return texts
    return []


def sealed(opaque: dict[str, str]) -> str:
    """The `encrypted_content` that carries a block's opaque parts through a client of this API, "" for none.

    Another API's parts (Anthropic's signatures) go under our own seal; `opaque_of` takes them out again.
    """
    if opaque.get("source") in (NAME, "", None):
        return opaque.get("data", "")
    if not (opaque.get("signature") or opaque.get("data")):
        return ""
    return _SEAL + base64.b64encode(msgspec.json.encode(opaque)).decode()


def opaque_of(item: Item) -> dict[str, str]:
    """The opaque fields of the block in a reasoning item."""
    data = item.get("encrypted_content") or ""
    if isinstance(data, str) and data.startswith(_SEAL):
        try:
            fields = msgspec.json.decode(base64.b64decode(data[len(_SEAL) :], validate=True), type=dict[str, str])
            return {name: fields[name] for name in _OPAQUE if fields.get(name)}
        except (*UNDECODABLE, ValueError):
            pass
    opaque = {"data": data, "id": item.get("id") or "", "source": NAME}
    return {name: value for name, value in opaque.items() if isinstance(value, str) and value}


# Tools and formats: this API's are flat.


def _flat_tool(tool: ToolDefinition, unsupported: Lose) -> Item | None:
    kind = tool.get("type")
    if kind == "custom" and isinstance(tool.get("custom"), dict):
        unsupported("custom tools")
        return None
    function = tool.get("function")
    if kind != "function" or not isinstance(function, dict):
        return {**tool}
    empty = {"type": "object", "properties": {}}
    return {"type": "function", "parameters": empty, "strict": False, **without_none(function)}


def _chat_tool(tool: Item) -> dict[str, Any]:
    """Strictness that is off says nothing in the shared shape, where it is off unless asked for."""
    function = {k: v for k, v in without_none(tool).items() if k != "type" and not (k == "strict" and v is False)}
    if not isinstance(function.get("name"), str):
        raise invalid("a function in tools has no name")
    return {"type": "function", "function": function}


def _flat_choice(choice: str | dict[str, Any]) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("function"), dict):
        return {"type": "function", "name": choice["function"].get("name")}
    if isinstance(choice, dict) and isinstance(choice.get("allowed_tools"), dict):
        allowed = choice["allowed_tools"]
        return {
            "type": "allowed_tools",
            **allowed,
            "tools": [_flat_choice(tool) for tool in allowed["tools"]],
        }
    return choice


def _chat_choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    if choice.get("type") != "allowed_tools":
        return choice
    tools = [_chat_choice(tool) for tool in optional_objects(choice.get("tools"), "tool_choice.tools")]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode"), "tools": tools}}


def _flat_format(wanted: dict[str, Any]) -> dict[str, Any]:
    schema = wanted.get("json_schema")
    if wanted.get("type") != "json_schema" or not isinstance(schema, dict):
        return wanted
    return {"type": "json_schema", "name": "reply", **without_none(schema)}


def _chat_format(wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted.get("type") != "json_schema":
        return wanted
    return {"type": "json_schema", "json_schema": {k: v for k, v in without_none(wanted).items() if k != "type"}}
