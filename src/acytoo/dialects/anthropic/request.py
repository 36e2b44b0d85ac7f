"""Anthropic's requests: the shared shape to a body, and back.

Source: Anthropic's API reference ("Create a Message") and the parameter types of its Python SDK (2.12).
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import msgspec

from acytoo.dialects.base import Unsupported
from acytoo.dialects.custom_tools import as_functions
from acytoo.dialects.extra_fields import merge_extra
from acytoo.dialects.fields import invalid, require
from acytoo.dialects.tool_calls import arguments_object, result_content, with_unique_ids
from acytoo.errors import UsageError
from acytoo.messages import content_of, content_parts, parse_data_url, turn_parts
from acytoo.types import (
    ChatMessage,
    ContentPart,
    FunctionDefinition,
    JSONObject,
    ReasoningBlock,
    Request,
    ToolCallDict,
    ToolDefinition,
    TurnPart,
    signature_of,
)

SOURCE = "anthropic"
"""The `source` of reasoning blocks whose opaque fields are Anthropic's."""

EffortStyle: TypeAlias = Literal["effort", "budget"]
"""How a request has its reasoning effort: in `output_config.effort`, or as `thinking.budget_tokens`."""

UnsignedThinking: TypeAlias = Literal["refused", "accepted", "needed"]
"""Whether a server accepts thinking without a signature, and needs some in every turn with calls."""

_Part: TypeAlias = Mapping[str, Any]
"""A content part. Each type has other fields, and blocks that only this API has are parts too."""

PART_FIELDS = ("cache_control", "citations", "context", "transformations")
"""Fields of a content block that stay on the part, because the shared shape has none for them."""

TOOL_FIELDS = ("cache_control", "defer_loading", "allowed_callers", "eager_input_streaming", "input_examples")
"""Fields of a tool that stay on the shared shape's tool."""

_OPTIONS = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "stop": "stop_sequences"}
FIELD_NAMES = {**_OPTIONS, "user": "metadata.user_id", "reasoning_effort": "output_config.effort"}
"""What this API calls the fields of the shared shape that errors about a request name."""
"""The shared shape's options that need no translation, and their fields."""

_TOOL_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
"""Tool choices, and the types of `tool_choice`."""

_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 65536}
"""Thinking tokens for each effort. The API does not define them."""

_MIN_BUDGET = 1024
"""The least `budget_tokens` that the API accepts."""

_NATIVE_BLOCKS = frozenset(
    {
        "compaction",
        "container_upload",
        "document",
        "fallback",
        "image",
        "mcp_tool_use",
        "mid_conv_system",
        "search_result",
        "server_tool_use",
        "tool_reference",
    }
)
"""Blocks that the shared shape has no part for, besides every `…_tool_result`. They are parts unchanged."""


# Encode: the shared shape to Anthropic's body.


def encode_request(
    request: Request,
    extra: JSONObject,
    unsupported: Unsupported,
    default_max_tokens: int,
    effort_as: EffortStyle,
    unsigned: UnsignedThinking,
) -> JSONObject:
    """Return the body for a request. Calls `unsupported` for whatever the API cannot express."""
    if request.tools:
        request = as_functions(request, unsupported)
    system, turns = _split_system(request.messages, request.extra_for == SOURCE)
    if not turns:
        raise UsageError("Anthropic needs a message that is not a system message")
    body: JSONObject = {"model": request.model}
    system_content = _encode_system(system, unsupported)
    body["messages"] = _encode_messages(with_unique_ids(turns, _encode_id), unsupported, unsigned)
    if system_content:
        body["system"] = system_content
    # Extra fields replace what an effort would add: an effort beside the user's own `thinking` may be invalid.
    effort = None if extra.keys() & {"thinking", "output_config"} else request.reasoning_effort
    thinking = _encode_effort(effort, request.max_tokens, effort_as, unsupported)
    if output_format := _encode_format(request.response_format, unsupported):
        thinking["output_config"] = {**thinking.get("output_config", {}), "format": output_format}
    body["max_tokens"] = request.max_tokens
    if request.max_tokens is None:
        # The API requires a limit, and counts thinking towards it.
        body["max_tokens"] = default_max_tokens + thinking.get("thinking", {}).get("budget_tokens", 0)
    body |= thinking
    for option, field in _OPTIONS.items():
        if (value := getattr(request, option)) is not None:
            body[field] = value
    if request.tools and (tools := _encode_tools(request.tools, unsupported)):
        body["tools"] = tools
    parallel = request.parallel_tool_calls if request.tools else None
    none_left = bool(request.tools) and "tools" not in body  # the API refuses a choice of no tools
    if not none_left and (choice := _encode_tool_choice(request.tool_choice, parallel, unsupported)):
        body["tool_choice"] = choice
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    if request.stream:
        body["stream"] = True
    if container_id := _pending_container(request.messages):
        body["container"] = container_id
    merge_extra(body, {name: value for name, value in extra.items() if name != "betas"})  # `betas` are a header
    return body


def container_in(fields: Mapping[str, Any]) -> JSONObject | None:
    """Return the container that is kept as a part of a turn, None if the fields are those of a block."""
    container = fields.get("container")
    return container if "type" not in fields and isinstance(container, dict) else None


def _pending_container(messages: Sequence[ChatMessage]) -> str:
    """Return the id of the container whose code may wait for the results, "" if a new turn begins or there is none.

    The API refuses the results of calls that code has made without it (UKGovernmentBEIS/inspect_ai pull request 4603).
    """
    after = list(itertools.takewhile(lambda message: message["role"] != "assistant", reversed(messages)))
    if len(after) == len(messages) or (after and all(message["role"] != "tool" for message in after)):
        return ""
    parts = [part for message in messages for part in message.get("turn_parts") or () if part.get("source") == SOURCE]
    containers = [container for part in parts if (container := container_in(part.get("fields", {}))) is not None]
    return str(containers[-1].get("id", "")) if containers else ""


def _split_system(
    messages: Sequence[ChatMessage], keep_later: bool
) -> tuple[Sequence[ChatMessage], Sequence[ChatMessage]]:
    """Return the (messages of `system`, other messages).

    `keep_later` leaves system messages after the first turn at their position, which only some models accept.
    """
    system: list[ChatMessage] = []
    turns: list[ChatMessage] = []
    for message in messages:
        if message["role"] in ("system", "developer") and not (keep_later and turns):
            system.append(message)
        else:
            turns.append(message)
    return system, turns


def _encode_system(messages: Sequence[ChatMessage], unsupported: Unsupported) -> str | list[JSONObject]:
    """Return `system`: the text of a single message, else blocks."""
    if len(messages) == 1 and isinstance(content := messages[0].get("content"), str):
        return content
    return [block for message in messages for block in _encode_system_blocks(message, unsupported)]


def _encode_messages(
    messages: Sequence[ChatMessage], unsupported: Unsupported, unsigned: UnsignedThinking
) -> list[JSONObject]:
    """Return the turns. Tool results are the user's, and consecutive messages of one role become one turn.

    An assistant message without anything that this API can express is left out, because the API rejects empty ones. So
    are its texts if all of them are blank, and white space at the end of the text that the model is to continue.
    Sources: LibreChat-AI/agents pull request 124, tailcallhq/forgecode issue 1872.
    """
    turns: list[JSONObject] = []
    for index, message in enumerate(messages):
        role = {"tool": "user", "developer": "system"}.get(message["role"], message["role"])
        if message.get("name") and message["role"] != "tool":
            unsupported.preference("the name of a message")
        content = _encode_message(message, f"messages[{index}]", unsupported, unsigned)
        if role == "assistant" and not (content := _without_blanks(content)):
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] = blocks = _as_blocks(turns[-1]["content"])
            blocks += _as_blocks(content)
        else:
            turns.append({"role": role, "content": content})
    if turns and turns[-1]["role"] == "assistant":
        turns[-1]["content"] = _without_trailing_space(turns[-1]["content"])
    return turns


def _without_blanks(content: str | list[JSONObject]) -> str | list[JSONObject]:
    """Return the content of an assistant's turn without its texts if all of them are blank."""
    if isinstance(content, str):
        return "" if content.isspace() else content
    texts = [block["text"] for block in content if block.get("type") == "text"]
    if texts and not any(isinstance(text, str) and text.strip() for text in texts):
        return [block for block in content if block.get("type") != "text"]
    return content


def _without_trailing_space(content: str | list[JSONObject]) -> str | list[JSONObject]:
    if isinstance(content, str):
        return content.rstrip()
    last = content[-1]
    if last.get("type") != "text":
        return content
    text = last["text"].rstrip()
    return [*content[:-1], {**last, "text": text}] if text else _without_trailing_space(content[:-1])


def _as_blocks(content: str | list[JSONObject]) -> list[JSONObject]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


def _encode_message(
    message: ChatMessage, where: str, unsupported: Unsupported, unsigned: UnsignedThinking
) -> str | list[JSONObject]:
    """Return the content of a message's turn: text if the message has nothing else."""
    role, content = message["role"], message.get("content")
    if role == "tool":
        return [_encode_result(message, unsupported)]
    plain = isinstance(content, str) and not message.keys() & _TURN_FIELDS
    if plain or role != "assistant":
        if isinstance(content, str):
            return content
        return _encode_content(content, unsupported) if role == "user" else _encode_system_blocks(message, unsupported)
    blocks = _encode_turn(message, where, unsupported, unsigned)
    if message.get("audio"):
        unsupported("audio content")
    if not blocks or (isinstance(content, str) and len(blocks) == 1 and blocks[0] == {"type": "text", "text": content}):
        return content if isinstance(content, str) else blocks
    return blocks


_TURN_FIELDS = frozenset({"tool_calls", "reasoning", "refusal", "audio", "turn_parts"})
"""Fields of an assistant's message other than its text."""


def _encode_turn(
    message: ChatMessage, where: str, unsupported: Unsupported, unsigned: UnsignedThinking
) -> list[JSONObject]:
    """Return the blocks of an assistant's turn, in the order in which they were received."""
    blocks: list[JSONObject] = []
    refusal = message.get("refusal")
    for part in turn_parts(message):
        kind, index = part["type"], part.get("index", 0)
        own = part.get("fields", {}) if part.get("source") == SOURCE else {}
        if kind == "tool_call":
            if refusal:
                blocks.append({"type": "text", "text": refusal})
                refusal = ""
            blocks.append(_encode_call(message["tool_calls"][index], f"{where}.tool_calls[{index}]") | own)
        elif kind == "reasoning":
            block = message["reasoning"][index]
            blocks += encode_reasoning(block, unsigned=unsigned != "refused" and block.get("source") == SOURCE)
        elif kind == "text":
            blocks += [block | own for block in _encode_content(part.get("text"), unsupported)]
        elif kind == "content":
            blocks += _encode_content(content_of(part, message), unsupported)
        elif own and container_in(own) is None:
            blocks.append({**own})
    if refusal:
        blocks.append({"type": "text", "text": refusal})
    if unsigned == "needed" and message.get("tool_calls") and not any("thinking" in block["type"] for block in blocks):
        text = "".join([block.get("text", "") for block in message.get("reasoning") or ()])
        blocks.insert(0, {"type": "thinking", "thinking": text, "signature": ""})
    return blocks


def _encode_system_blocks(message: ChatMessage, unsupported: Unsupported) -> list[JSONObject]:
    blocks = []
    for part in content_parts(message.get("content")):
        if part["type"] == "text":
            blocks += _encode_text(part)
        else:
            unsupported(f"{part['type']} content in a system message")
    return blocks


def encode_reasoning(block: ReasoningBlock, *, unsigned: bool = False) -> list[JSONObject]:
    """Return a reasoning block if Anthropic made it; with `unsigned`, also the text of any other."""
    is_own = block.get("source") == SOURCE
    if is_own and block.get("data"):
        return [{"type": "redacted_thinking", "data": block["data"]}]
    signature = block.get("signature", "") if is_own else ""
    text = block.get("text", "")
    if signature or (unsigned and text):
        return [{"type": "thinking", "thinking": text, "signature": signature}]
    return []


def _encode_content(content: str | Sequence[ContentPart] | None, unsupported: Unsupported) -> list[JSONObject]:
    return [block for part in content_parts(content) for block in _encode_part(part, unsupported)]


def _encode_part(part: _Part, unsupported: Unsupported) -> list[JSONObject]:
    kind = part["type"]
    if kind == "text":
        return _encode_text(part)
    if kind == "refusal":
        return _encode_text({"text": part.get("refusal", "")})
    if kind == "image_url":
        image = part.get("image_url")
        url = image if isinstance(image, str) else _text_field(image, "url")
        if url is None:
            raise UsageError("an image_url part must be like {'type': 'image_url', 'image_url': {'url': …}}")
        return [{"type": "image", "source": _encode_source(url), **_part_fields(part)}]
    if kind == "file":
        return _encode_file(part, unsupported)
    if kind in _NATIVE_BLOCKS or kind.endswith("_tool_result"):
        return [dict(part)]
    unsupported(f"{kind} content")
    return []


def _encode_text(part: _Part) -> list[JSONObject]:
    """Return a text block, none for an empty text, which the API rejects."""
    return [{"type": "text", "text": part["text"], **_part_fields(part)}] if part["text"] else []


def _part_fields(part: Mapping[str, object]) -> JSONObject:
    """Return the fields of a part, call or result that only this API has."""
    if part.keys().isdisjoint(PART_FIELDS):  # as of most parts
        return {}
    return {field: part[field] for field in PART_FIELDS if part.get(field) is not None}


def _text_field(value: object, field: str) -> str | None:
    text = value.get(field) if isinstance(value, Mapping) else None
    return text if isinstance(text, str) else None


def _encode_source(url: str) -> JSONObject:
    media = parse_data_url(url)
    if media is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": media[0], "data": media[1]}


def _encode_file(part: _Part, unsupported: Unsupported) -> list[JSONObject]:
    """Return the block of a file: its data, its URL (`file_url`, as in OpenAI's Responses API) or its id."""
    file = part.get("file")
    fields = _part_fields(part)
    if title := _text_field(file, "filename"):
        fields = {"title": title, **fields}
    if file_id := _text_field(file, "file_id"):
        return [{"type": "document", "source": {"type": "file", "file_id": file_id}, **fields}]
    if url := _text_field(file, "file_url"):
        return [{"type": "document", "source": {"type": "url", "url": url}, **fields}]
    media = parse_data_url(_text_field(file, "file_data") or "")
    if media is None:
        raise UsageError(
            "a file part must be like {'type': 'file', 'file': {'file_data': 'data:application/pdf;base64,…'}}"
        )
    media_type, data = media
    source = {"type": "base64", "media_type": media_type, "data": data}
    if media_type.startswith("image/"):
        return [{"type": "image", "source": source, **_part_fields(part)}]
    if media_type.startswith("text/"):
        try:
            text = base64.b64decode(data, validate=True).decode()
        except ValueError as error:
            raise UsageError(f"the data of a {media_type} file must be UTF-8 text in base64: {error}") from error
        # The API has one media type for text.
        return [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}, **fields}]
    if media_type == "application/pdf":
        return [{"type": "document", "source": source, **fields}]
    unsupported(f"{media_type} files")
    return []


def _encode_call(call: ToolCallDict, where: str) -> JSONObject:
    function = call["function"]
    arguments = arguments_object(function.get("arguments"))
    if arguments is None:
        raise UsageError(f"{where}.function.arguments is not a JSON object, which Anthropic's API needs")
    block = {"type": "tool_use", "id": call.get("id") or "", "name": function["name"], "input": arguments}
    return block | _part_fields(call)


def _encode_id(call_id: str) -> str:
    """Return the id of a call with "_" for each character that the API rejects.

    Observed: an id must match `^[a-zA-Z0-9_-]+$`.
    """
    return re.sub(r"[^a-zA-Z0-9_-]", "_", call_id)


def _encode_result(message: ChatMessage, unsupported: Unsupported) -> JSONObject:
    content = message.get("content")
    block: JSONObject = {
        "type": "tool_result",
        "tool_use_id": message["tool_call_id"],
        "content": content if isinstance(content, str) else _encode_content(content, unsupported),
    }
    if message.get("is_error") is not None:
        block["is_error"] = message["is_error"]
    return block | _part_fields(message)


def _encode_tools(tools: Sequence[ToolDefinition], unsupported: Unsupported) -> list[JSONObject]:
    """Return the tools. Anthropic's own server tools (`web_search_20250305`, …) are passed on unchanged."""
    encoded: list[JSONObject] = []
    for index, tool in enumerate(tools):
        kind, function = tool.get("type", "function"), tool.get("function")
        if kind == "function" and isinstance(function, Mapping) and isinstance(function.get("name"), str):
            encoded.append(_encode_function(tool, function))
        elif kind == "function":
            raise UsageError(f"tools[{index}] must be like {{'type': 'function', 'function': {{'name': …}}}}")
        elif kind == "mcp_toolset" or re.search(r"_\d{8}$", kind):
            encoded.append({**tool})
        else:
            unsupported(f"{kind} tools")
    return encoded


def _encode_function(tool: Mapping[str, object], function: FunctionDefinition) -> JSONObject:
    encoded: JSONObject = {"name": function["name"]}
    if function.get("description"):
        encoded["description"] = function["description"]
    encoded["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    if function.get("strict") is not None:
        encoded["strict"] = function["strict"]
    return encoded | {field: tool[field] for field in TOOL_FIELDS if tool.get(field) is not None}


def _encode_tool_choice(
    choice: str | JSONObject | None, parallel: bool | None, unsupported: Unsupported
) -> JSONObject | None:
    """Return `tool_choice`, which also has whether the model may make several calls at once."""
    encoded: JSONObject | None = None
    if isinstance(choice, str):
        if choice not in _TOOL_CHOICES:
            raise UsageError(f"tool_choice is {choice!r}; it must be auto, required, none or a function")
        encoded = {"type": _TOOL_CHOICES[choice]}
    elif choice is not None:
        name = _text_field(choice.get("function"), "name")
        if choice.get("type") == "function" and name is not None:
            encoded = {"type": "tool", "name": name}
        else:
            unsupported(f"tool_choice of type {choice.get('type')!r}")
    if parallel is not None:
        encoded = encoded or {"type": "auto"}
        if encoded["type"] != "none":
            encoded["disable_parallel_tool_use"] = not parallel
    return encoded


def _encode_effort(
    effort: str | None, max_tokens: int | None, effort_as: EffortStyle, unsupported: Unsupported
) -> JSONObject:
    """Return the fields `thinking` and `output_config` for an effort, without those that it does not need."""
    if effort is None:
        return {}
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if effort not in _BUDGETS:
        unsupported(f"reasoning_effort {effort!r}")
    elif effort_as == "budget":
        budget = min(_BUDGETS[effort], _BUDGETS["max"] if max_tokens is None else max_tokens - 1)
        if budget >= _MIN_BUDGET:
            return {"thinking": {"type": "enabled", "budget_tokens": budget}}
        unsupported(f"reasoning_effort with max_tokens of {_MIN_BUDGET} or less")
    else:
        level = "low" if effort == "minimal" else effort
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": level}}
    return {}


def _encode_format(response_format: JSONObject | None, unsupported: Unsupported) -> JSONObject | None:
    """Return `output_config.format`, None for text.

    It has no field for a schema's name or `strict`: a schema is always strict.
    """
    kind = (response_format or {}).get("type", "text")
    if response_format is None or kind == "text":
        return None
    named_schema = response_format.get("json_schema")
    if kind == "json_schema" and isinstance(named_schema, dict) and isinstance(named_schema.get("schema"), dict):
        return {"type": "json_schema", "schema": named_schema["schema"]}
    if kind == "json_object":  # the prompt asks for JSON too: OpenAI refuses a request whose prompt does not
        unsupported.preference("response_format of type 'json_object'")
    else:
        unsupported(f"response_format of type {kind!r}")
    return None


# Decode: Anthropic's body to the shared shape.


def decode_request(body: JSONObject, effort_as: EffortStyle) -> JSONObject:
    """Return a received body with the shared shape's field names. `max_tokens` may be missing, as for a token count.

    Fields of this API only are kept. Raises RequestError (400) if a field has the wrong shape.
    """
    body = dict(body)
    shared: JSONObject = {"stream": body.pop("stream", None) or False}
    shared["messages"] = _decode_system(body.pop("system", None)) + decode_messages(body.pop("messages", None))
    if (tools := body.pop("tools", None)) is not None:
        shared["tools"] = _decode_tools(tools)
    if (choice := body.pop("tool_choice", None)) is not None:
        shared["tool_choice"], shared["parallel_tool_calls"] = _decode_tool_choice(choice)
    if isinstance(body.get("metadata"), dict):
        metadata = dict(body.pop("metadata"))
        shared["user"] = metadata.pop("user_id", None)
        if metadata:
            body["metadata"] = metadata
    shared["stop"] = body.pop("stop_sequences", None)
    _decode_output_options(body, shared, effort_as)
    return body | shared


def _decode_system(system: object) -> list[ChatMessage]:
    """Return the message of `system`, an empty list if that is empty."""
    if not system:
        return []
    return [{"role": "system", "content": _decode_content(system, "system")}]


def decode_messages(turns: object) -> list[ChatMessage]:
    """Return the messages of the turns. A turn can become several: they are one turn again when encoded."""
    if not isinstance(turns, list):
        raise invalid("messages is missing or not a list")
    messages: list[ChatMessage] = []
    for index, turn in enumerate(turns):
        where = f"messages[{index}]"
        if not isinstance(turn, dict):
            raise invalid(f"{where} is not an object")
        role, content = require(turn, "role", str, where), turn.get("content")
        if role not in ("user", "assistant", "system"):
            raise invalid(f"{where}.role is {role!r}; it must be user, assistant or system")
        where += ".content"
        if isinstance(content, list) and role == "user":
            messages += _decode_user(content, where)
        elif isinstance(content, list) and role == "assistant":
            messages += _decode_assistant(content, where)
        else:
            content = "" if content is None and role == "assistant" else content
            messages.append({"role": role, "content": _decode_content(content, where)})
    return messages


def _typed_blocks(blocks: list[object], where: str) -> list[tuple[JSONObject, str, str]]:
    """Return each block with its type and its place."""
    typed = []
    for index, block in enumerate(blocks):
        place = f"{where}[{index}]"
        if not isinstance(block, dict):
            raise invalid(f"{place} is not an object")
        typed.append((block, require(block, "type", str, place), place))
    return typed


def _decode_user(blocks: list[object], where: str) -> list[ChatMessage]:
    """Return a message for each tool result, and one after them for the other blocks."""
    messages: list[ChatMessage] = []
    parts: list[ContentPart] = []
    for block, kind, place in _typed_blocks(blocks, where):
        if kind == "tool_result":
            messages.append(_decode_result(block, place))
        else:
            parts.append(decode_part(block, kind, place))
    if parts or not messages:
        messages.append({"role": "user", "content": _text_or_parts(parts)})
    return messages


def _decode_result(block: JSONObject, where: str) -> ChatMessage:
    message: JSONObject = {
        "role": "tool",
        "tool_call_id": require(block, "tool_use_id", str, where),
        "content": _decode_content(result_content(block.get("content")), f"{where}.content"),
    }
    if block.get("is_error") is not None:
        message["is_error"] = block["is_error"]
    return cast(ChatMessage, message | _part_fields(block))


def _decode_assistant(blocks: list[object], where: str) -> list[ChatMessage]:
    """Return the messages of an assistant's turn.

    A message has its reasoning before its text. A turn that thinks again after its text becomes several messages,
    so that the order is kept; `turn_parts` keeps the order of reasoning, texts, calls and other blocks.
    """
    messages: list[ChatMessage] = []
    reasoning: list[ReasoningBlock] = []
    parts: list[ContentPart] = []
    calls: list[ToolCallDict] = []
    turn: list[TurnPart] = []
    for block, kind, place in _typed_blocks(blocks, where):
        if kind in ("thinking", "redacted_thinking"):
            if parts and not calls:
                messages.append(_assistant_message(reasoning, parts, calls))
                reasoning, parts, turn = [], [], []
            if decoded := _decode_reasoning(block, kind, place):
                turn.append({"type": "reasoning", "index": len(reasoning)})
                reasoning += decoded
        elif kind == "tool_use":
            turn.append({"type": "tool_call", "index": len(calls)})
            if block.get("caller", _DIRECT) != _DIRECT:
                turn[-1] |= {"source": SOURCE, "fields": {"caller": block["caller"]}}
            calls.append(_decode_call(block, place))
        else:
            parts.append(decode_part(block, kind, place))
            turn.append({"type": "text", "text": parts[-1].get("text", "")})
            if fields := _part_fields(parts[-1]):
                turn[-1] |= {"source": SOURCE, "fields": fields}
    message = _assistant_message(reasoning, parts, calls)
    kinds = [part["type"] for part in turn]
    has_callers = any(part["type"] == "tool_call" and "source" in part for part in turn)
    if kinds != sorted(kinds, key=_KINDS.index) or has_callers:
        message["turn_parts"] = turn
        if all(part["type"] == "text" for part in parts):
            message["content"] = "".join([part["text"] for part in parts]) or None
        else:
            places = itertools.count()
            message["turn_parts"] = [
                {"type": "content", "index": next(places)} if part["type"] == "text" else part for part in turn
            ]
    return [*messages, message]


_DIRECT = {"type": "direct"}
"""The `caller` of a call that the model makes itself. That of one made by code is sent back."""

_KINDS = ("reasoning", "text", "tool_call")
"""The parts of a turn, in the order in which a message has them without `turn_parts`."""


def _assistant_message(
    reasoning: list[ReasoningBlock], parts: list[ContentPart], calls: list[ToolCallDict]
) -> ChatMessage:
    message: ChatMessage = {"role": "assistant", "content": _text_or_parts(parts) or None}
    if reasoning:
        message["reasoning"] = reasoning
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    return message


def _decode_reasoning(block: JSONObject, kind: str, where: str) -> list[ReasoningBlock]:
    if kind == "redacted_thinking":
        return [{"data": require(block, "data", str, where), "source": SOURCE}]
    text, signature = require(block, "thinking", str, where), block.get("signature")
    decoded: ReasoningBlock = {"text": text} if text else {}
    if signature:
        decoded["signature"], decoded["source"] = signature, SOURCE
    return [decoded] if decoded else []


def _decode_call(block: JSONObject, where: str) -> ToolCallDict:
    arguments = arguments_object(given) if isinstance(given := block.get("input"), str | None) else None
    encoded = msgspec.json.encode(require(block, "input", dict, where) if arguments is None else arguments)
    function = {"name": require(block, "name", str, where), "arguments": encoded.decode()}
    call = {"id": require(block, "id", str, where), "type": "function", "function": function, **_part_fields(block)}
    if isinstance(block.get("extra_content"), dict) and signature_of(block):
        call["extra_content"] = block["extra_content"]
    return cast(ToolCallDict, call)


def _decode_content(content: object, where: str) -> str | list[ContentPart]:
    """Return text or parts. `where` is the place of the content."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(f"{where} is missing or neither text nor a list")
    return _text_or_parts([decode_part(block, kind, place) for block, kind, place in _typed_blocks(content, where)])


def _text_or_parts(parts: list[ContentPart]) -> str | list[ContentPart]:
    """Return the text if the only part is a text without other fields, else the parts."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts


def decode_part(block: JSONObject, kind: str, where: str) -> ContentPart:
    """Return the part for a block, or the block itself if only this API has it. `where` is its place."""
    part = block
    if kind == "text":
        text = require(block, "text", str, where)
        part = {"type": "text", "text": text, **_part_fields(block)} if len(block) > 2 else block
    elif kind == "image":
        source = require(block, "source", dict, where)
        if url := _decode_source(source, f"{where}.source"):
            part = {"type": "image_url", "image_url": {"url": url}, **_part_fields(block)}
    elif kind == "document":
        part = _decode_document(block, where)
    return cast(ContentPart, part)


def _decode_source(source: JSONObject, where: str) -> str | None:
    """Return the URL of a source, None if it has another type."""
    if source.get("type") == "url":
        return require(source, "url", str, where)
    if source.get("type") == "base64":
        return f"data:{require(source, 'media_type', str, where)};base64,{require(source, 'data', str, where)}"
    return None


def _decode_document(block: JSONObject, where: str) -> JSONObject:
    """Return a `file` part, or the block itself if it is a document of content blocks."""
    source = require(block, "source", dict, where)
    where += ".source"
    kind = source.get("type")
    file: JSONObject = {}
    if kind == "file":
        file["file_id"] = require(source, "file_id", str, where)
    elif kind == "text":
        data = base64.b64encode(require(source, "data", str, where).encode()).decode()
        file["file_data"] = f"data:text/plain;base64,{data}"
    elif url := _decode_source(source, where):
        file["file_url" if kind == "url" else "file_data"] = url
    else:
        return block
    if isinstance(block.get("title"), str) and block["title"]:
        file["filename"] = block["title"]
    return {"type": "file", "file": file, **_part_fields(block)}


def plain_parts(part: ContentPart) -> list[ContentPart] | None:
    """Return parts that every API has for a block with text of its own shape; None for any other part.

    `fallback` has none, and the model does not read it: it marks where another model continued a turn.
    """
    block: Mapping[str, Any] = part
    kind = block["type"]
    if kind == "file" and block.get("context"):
        return [*_texts([block["context"]]), cast(ContentPart, {k: v for k, v in block.items() if k != "context"})]
    if kind == "document" and block["source"].get("type") == "content":
        heading = [block.get("title"), block.get("context")]
        return [*_texts(heading), *content_parts(_decode_content(block["source"].get("content"), "document.source"))]
    if kind == "search_result":
        heading = [block.get("title"), block.get("source")]
        return [*_texts(heading), *content_parts(_decode_content(block.get("content"), "search_result.content"))]
    if kind == "compaction" and block.get("content"):
        return _texts([block["content"]])
    if kind == "mid_conv_system":
        return [*content_parts(_decode_content(block.get("content"), "mid_conv_system.content"))]
    if kind == "tool_reference":  # Claude Code, raine/claude-code-proxy pull request 56: the tool is in `tools` too
        return _texts([f"The tool {block.get('tool_name')} is available."])
    if kind == "fallback":
        return []
    return None


def _texts(values: list[object]) -> list[ContentPart]:
    """Return one part of the values that are text, none if there are none."""
    text = "\n".join([value for value in values if isinstance(value, str) and value])
    return [{"type": "text", "text": text}] if text else []


def _decode_tools(tools: object) -> list[ToolDefinition]:
    """Return the tools. Anthropic's own are kept unchanged."""
    if not isinstance(tools, list):
        raise invalid("tools is not a list")
    decoded: list[ToolDefinition] = []
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise invalid(f"{where} is not an object")
        is_function = tool.get("type") in (None, "custom")
        decoded.append(_decode_function(tool, where) if is_function else cast(ToolDefinition, tool))
    return decoded


def _decode_function(tool: JSONObject, where: str) -> ToolDefinition:
    function: FunctionDefinition = {"name": require(tool, "name", str, where)}
    if tool.get("description"):
        function["description"] = require(tool, "description", str, where)
    function["parameters"] = require(tool, "input_schema", dict, where)
    if tool.get("strict") is not None:
        function["strict"] = tool["strict"]
    fields = {field: tool[field] for field in TOOL_FIELDS if tool.get(field) is not None}
    return cast(ToolDefinition, {"type": "function", "function": function, **fields})


def _decode_tool_choice(choice: object) -> tuple[str | JSONObject, bool | None]:
    """Return the (tool_choice, parallel_tool_calls) of the shared shape."""
    if not isinstance(choice, dict):
        raise invalid("tool_choice is not an object")
    disabled = choice.get("disable_parallel_tool_use")
    parallel = None if disabled is None else not disabled
    kind = choice.get("type")
    if kind == "tool":
        return {"type": "function", "function": {"name": require(choice, "name", str, "tool_choice")}}, parallel
    choices = {type_: shared for shared, type_ in _TOOL_CHOICES.items()}
    if not isinstance(kind, str) or kind not in choices:
        raise invalid(f"tool_choice.type is {kind!r}; it must be auto, any, none or tool")
    return choices[kind], parallel


def _decode_output_options(body: JSONObject, shared: JSONObject, effort_as: EffortStyle) -> None:
    """Move the effort and the format from `thinking` and `output_config` to the shared shape.

    Both fields stay in the body too if the effort and the format do not express all that they have. Disabled thinking
    is one such case: it counts as no effort, like a request without `thinking`.
    """
    shared["reasoning_effort"] = None
    if not body.keys() & {"thinking", "output_config", "output_format"}:
        return
    for field in ("thinking", "output_config"):
        if not isinstance(body.get(field), dict | None):
            raise invalid(f"{field} is not an object")
    fields = {field: value for field in ("thinking", "output_config") if (value := body.pop(field, None))}
    thinking, config = fields.get("thinking", {}), fields.get("output_config", {})
    legacy_format = body.pop("output_format", None)
    output_format = config.get("format") or legacy_format
    if output_format is not None:
        shared["response_format"] = _decode_format(output_format)
    shared["reasoning_effort"] = effort = _decode_effort(thinking, config)
    # To find out whether something would be lost, encode what was decoded and compare.
    max_tokens = body.get("max_tokens")
    drop = Unsupported(SOURCE, drop=True)
    encoded = _encode_effort(
        effort if isinstance(effort, str) else None,
        max_tokens if isinstance(max_tokens, int) else None,
        effort_as,
        drop,
    )
    if config.get("format"):
        format_again = _encode_format(shared["response_format"], drop)
        encoded["output_config"] = {**encoded.get("output_config", {}), "format": format_again}
    if encoded != fields:
        body |= fields


def _decode_effort(thinking: JSONObject, config: JSONObject) -> object:
    """Return the effort, or the one that a budget is nearest to. It is checked with the other options."""
    effort, budget = config.get("effort"), thinking.get("budget_tokens")
    if effort is None and isinstance(budget, int) and thinking.get("type") == "enabled":
        return next((name for name in ("low", "medium") if budget <= _BUDGETS[name]), "high")
    return effort


def _decode_format(output_format: object) -> JSONObject:
    if isinstance(output_format, dict) and output_format.get("type") == "json_schema":
        schema = output_format.get("schema")
        if isinstance(schema, dict):
            return {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}
    raise invalid("output_config.format must be like {'type': 'json_schema', 'schema': {…}}")
