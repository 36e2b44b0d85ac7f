"""Anthropic's messages, tools and content blocks: from the shared shape and back.

Source: Anthropic's API reference ("Create a Message") and the parameter types of its Python SDK (2.12).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from acytoo.dialects.base import Unsupported
from acytoo.dialects.fields import invalid, require
from acytoo.dialects.json import UNDECODABLE
from acytoo.errors import UsageError
from acytoo.messages import content_parts, parse_data_url
from acytoo.types import Message, signature_of

SOURCE = "anthropic"
"""The `source` of reasoning whose opaque parts are Anthropic's."""

Block = dict[str, Any]

KEPT = ("cache_control", "citations", "context", "transformations")
"""Fields of a content block that stay on the part: other APIs have no word for them."""

TOOL_FIELDS = ("cache_control", "defer_loading", "allowed_callers", "eager_input_streaming", "input_examples")

_NATIVE = frozenset(
    {
        "compaction",
        "container_upload",
        "document",
        "image",
        "mcp_tool_use",
        "search_result",
        "server_tool_use",
        "tool_reference",
    }
)
"""Blocks without a counterpart in the shared shape, beside every `…_tool_result`; they are parts as they are."""


# From the shared shape.


def system_of(
    messages: Sequence[Message], inline: bool, unsupported: Unsupported
) -> tuple[str | list[Block], list[Message]]:
    """What goes into `system`, and the messages left.

    `inline` leaves system messages after the first turn where they are, which only some models accept.
    """
    said: list[Message] = []
    rest: list[Message] = []
    for message in messages:
        if message["role"] in ("system", "developer") and not (inline and rest):
            said.append(message)
        else:
            rest.append(message)
    if len(said) == 1 and isinstance(said[0].get("content"), str):
        return said[0]["content"], rest
    return [block for message in said for block in _system_blocks(message, unsupported)], rest


def turns_of(messages: Sequence[Message], unsupported: Unsupported) -> list[Block]:
    """Anthropic's messages: tool results are the user's, neighbours of one role become one turn.

    An assistant message with nothing that this API can say is left out: it refuses empty ones.
    """
    turns: list[Block] = []
    for number, message in enumerate(messages):
        role = {"tool": "user", "developer": "system"}.get(message["role"], message["role"])
        if message.get("name") and message["role"] != "tool":
            unsupported("the name of a message")
        content: str | list[Block] = message["content"] if _is_plain(message) else _blocks(message, number, unsupported)
        if role == "assistant" and not content:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] = _as_blocks(turns[-1]["content"]) + _as_blocks(content)
        else:
            turns.append({"role": role, "content": content})
    return turns


def _is_plain(message: Message) -> bool:
    return (
        message["role"] != "tool"
        and isinstance(message.get("content"), str)
        and not any(message.get(field) for field in ("tool_calls", "reasoning", "refusal", "audio"))
    )


def _as_blocks(content: str | list[Block]) -> list[Block]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


def _system_blocks(message: Message, unsupported: Unsupported) -> list[Block]:
    blocks = []
    for part in content_parts(message.get("content")):
        if part["type"] == "text":
            blocks += _text_block(part)
        else:
            unsupported(f"{part['type']} content in a system message")
    return blocks


def _blocks(message: Message, number: int, unsupported: Unsupported) -> list[Block]:
    role, content = message["role"], message.get("content")
    if role in ("system", "developer"):
        return _system_blocks(message, unsupported)
    if role == "tool":
        return [_tool_result(message, unsupported)]
    blocks = [block for thought in message.get("reasoning") or () for block in thought_blocks(thought)]
    blocks += _content(content, unsupported)
    if message.get("audio"):
        unsupported("audio content")
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        blocks.append({"type": "text", "text": message["refusal"]})
    for index, call in enumerate(message.get("tool_calls") or ()):
        blocks.append(_tool_use(call, f"messages[{number}].tool_calls[{index}]"))
    return blocks


def thought_blocks(thought: Mapping[str, Any], unsigned: bool = False) -> list[Block]:
    """A reasoning block, where it is Anthropic's own; `unsigned` lets any other's text through as well."""
    own = thought.get("source") == SOURCE
    if own and thought.get("data"):
        return [{"type": "redacted_thinking", "data": thought["data"]}]
    signature = thought.get("signature", "") if own else ""
    text = thought.get("text", "")
    if signature or (unsigned and text):
        return [{"type": "thinking", "thinking": text, "signature": signature}]
    return []


def _content(content: str | Sequence[Mapping[str, Any]] | None, unsupported: Unsupported) -> list[Block]:
    return [block for part in content_parts(content) for block in _part(part, unsupported)]


def _part(part: Mapping[str, Any], unsupported: Unsupported) -> list[Block]:
    kind = part["type"]
    if kind == "text":
        return _text_block(part)
    if kind == "refusal":
        return _text_block({"text": part.get("refusal", "")})
    if kind == "image_url":
        image = part.get("image_url")
        url = image if isinstance(image, str) else _inner(image, "url")
        if url is None:
            raise UsageError("an image_url part must be like {'type': 'image_url', 'image_url': {'url': …}}")
        return [{"type": "image", "source": _source(url), **_kept(part)}]
    if kind == "file":
        return _document(part, unsupported)
    if kind in _NATIVE or kind.endswith("_tool_result"):
        return [dict(part)]
    unsupported(f"{kind} content")
    return []


def _text_block(part: Mapping[str, Any]) -> list[Block]:
    return [{"type": "text", "text": part["text"], **_kept(part)}] if part["text"] else []


def _kept(part: Mapping[str, Any]) -> Block:
    return {field: part[field] for field in KEPT if part.get(field) is not None}


def _inner(value: Any, field: str) -> str | None:
    found = value.get(field) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else None


def _source(url: str) -> Block:
    found = parse_data_url(url)
    if found is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": found[0], "data": found[1]}


def _document(part: Mapping[str, Any], unsupported: Unsupported) -> list[Block]:
    """A file: its data, its URL (`file_url`, as in OpenAI's responses API) or its id at the service."""
    file = part.get("file")
    kept = _kept(part)
    if title := _inner(file, "filename"):
        kept = {"title": title, **kept}
    if file_id := _inner(file, "file_id"):
        return [{"type": "document", "source": {"type": "file", "file_id": file_id}, **kept}]
    if url := _inner(file, "file_url"):
        return [{"type": "document", "source": {"type": "url", "url": url}, **kept}]
    found = parse_data_url(_inner(file, "file_data") or "")
    if found is None:
        raise UsageError(
            "a file part must be like {'type': 'file', 'file': {'file_data': 'data:application/pdf;base64,…'}}"
        )
    media, data = found
    if media.startswith("image/"):
        return [{"type": "image", "source": {"type": "base64", "media_type": media, "data": data}, **_kept(part)}]
    if media.startswith("text/"):
        try:
            text = base64.b64decode(data, validate=True).decode()
        except ValueError as error:
            raise UsageError(f"the data of a {media} file must be UTF-8 in base64: {error}") from error
        return [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}, **kept}]
    if media == "application/pdf":
        return [{"type": "document", "source": {"type": "base64", "media_type": media, "data": data}, **kept}]
    unsupported(f"{media} files")
    return []


def _tool_use(call: Mapping[str, Any], where: str) -> Block:
    function = call["function"]
    arguments = function.get("arguments") or "{}"
    try:
        given = msgspec.json.decode(arguments) if isinstance(arguments, str) else arguments
    except UNDECODABLE as error:
        raise UsageError(f"{where}.function.arguments is not JSON, which the {SOURCE} API needs: {error}") from error
    if not isinstance(given, Mapping):
        raise UsageError(f"{where}.function.arguments must be a JSON object for the {SOURCE} API")
    block: Block = {"type": "tool_use", "id": _tool_id(call.get("id")), "name": function["name"], "input": given}
    return block | _kept(call)


def _tool_id(given: Any) -> str:
    """The id with what Anthropic refuses in one replaced; observed: it must match `^[a-zA-Z0-9_-]+$`."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", given) if isinstance(given, str) else ""


def _tool_result(message: Message, unsupported: Unsupported) -> Block:
    content = message.get("content")
    block: Block = {
        "type": "tool_result",
        "tool_use_id": _tool_id(message["tool_call_id"]),
        "content": content if isinstance(content, str) else _content(content, unsupported),
    }
    if message.get("is_error") is not None:
        block["is_error"] = message["is_error"]
    return block | _kept(message)


def tools_of(tools: Sequence[Mapping[str, Any]], unsupported: Unsupported) -> list[Block]:
    """Anthropic's tool definitions; its own server tools (`web_search_20250305`, …) pass as they are."""
    made = []
    for number, tool in enumerate(tools):
        kind, function = tool.get("type", "function"), tool.get("function")
        if kind == "function" and isinstance(function, Mapping) and isinstance(function.get("name"), str):
            made.append(_tool(tool, function))
        elif kind == "function":
            raise UsageError(f"tools[{number}] must be like {{'type': 'function', 'function': {{'name': …}}}}")
        elif kind == "mcp_toolset" or re.search(r"_\d{8}$", str(kind)):
            made.append(dict(tool))
        else:
            unsupported(f"{kind} tools")
    return made


def _tool(tool: Mapping[str, Any], function: Mapping[str, Any]) -> Block:
    made: Block = {"name": function["name"]}
    if function.get("description"):
        made["description"] = function["description"]
    made["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    if function.get("strict") is not None:
        made["strict"] = function["strict"]
    return made | {field: tool[field] for field in TOOL_FIELDS if tool.get(field) is not None}


def tool_choice_of(
    choice: str | Mapping[str, Any] | None, parallel: bool | None, unsupported: Unsupported
) -> Block | None:
    """Anthropic's `tool_choice`, which also says whether several calls at once are allowed."""
    made: Block | None = None
    if isinstance(choice, str):
        words = {"auto": "auto", "required": "any", "none": "none"}
        if choice not in words:
            raise UsageError(f"tool_choice {choice!r} must be auto, required, none or a function")
        made = {"type": words[choice]}
    elif choice is not None:
        name = _inner(choice.get("function"), "name")
        if choice.get("type") == "function" and name is not None:
            made = {"type": "tool", "name": name}
        else:
            unsupported(f"tool_choice of type {choice.get('type')!r}")
    if parallel is not None:
        made = made or {"type": "auto"}
        if made["type"] != "none":
            made["disable_parallel_tool_use"] = not parallel
    return made


# To the shared shape.

T = TypeVar("T")


def shared_system(system: Any) -> list[dict[str, Any]]:
    """The system message of Anthropic's `system`, none where it is empty."""
    if not system:
        return []
    return [{"role": "system", "content": _shared_content(system, "system")}]


def shared_messages(turns: Any) -> list[dict[str, Any]]:
    """The messages of Anthropic's turns.

    Tool results become messages of their own, before what else the user said. A turn that goes on thinking after
    it spoke becomes several messages, so that the order is kept: neighbours of one role are one turn there.
    """
    if not isinstance(turns, list):
        raise invalid("messages is missing or not a list")
    messages: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        where = f"messages[{number}]"
        if not isinstance(turn, dict):
            raise invalid(f"{where} is not an object")
        role, content = require(turn, "role", str, where), turn.get("content")
        if role not in ("user", "assistant", "system"):
            raise invalid(f"{where}.role is {role!r}; it must be user, assistant or system")
        if not isinstance(content, list):
            messages.append({"role": role, "content": _shared_content(content, where)})
        elif role == "user":
            messages += _shared_user(content, where)
        elif role == "assistant":
            messages += _shared_assistant(content, where)
        else:
            messages.append({"role": role, "content": _shared_content(content, where)})
    return messages


def _each(blocks: list[Any], where: str) -> list[tuple[Block, str, str]]:
    """Every block with its type, and where it stands."""
    found = []
    for number, block in enumerate(blocks):
        place = f"{where}.content[{number}]"
        if not isinstance(block, dict):
            raise invalid(f"{place} is not an object")
        found.append((block, require(block, "type", str, place), place))
    return found


def _shared_user(blocks: list[Any], where: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    rest: list[Any] = []
    for block, kind, place in _each(blocks, where):
        if kind == "tool_result":
            results.append(_shared_result(block, place))
        else:
            rest.append(block)
    if rest or not results:
        results.append({"role": "user", "content": _shared_content(rest, where)})
    return results


def _shared_result(block: Block, where: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "tool",
        "tool_call_id": require(block, "tool_use_id", str, where),
        "content": _shared_content(block.get("content") or "", where),
    }
    if block.get("is_error") is not None:
        message["is_error"] = block["is_error"]
    return message | _kept(block)


def _shared_assistant(blocks: list[Any], where: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    thoughts: list[Block] = []
    said: list[Block] = []
    calls: list[Block] = []

    def close() -> None:
        message: dict[str, Any] = {"role": "assistant", "content": _shared_content(said, where) or None}
        if thoughts:
            message["reasoning"] = list(thoughts)
        if calls:
            message["tool_calls"] = list(calls)
        elif message["content"] is None:
            message["content"] = ""
        messages.append(message)
        thoughts.clear()
        said.clear()

    for block, kind, place in _each(blocks, where):
        if kind in ("thinking", "redacted_thinking"):
            if said and not calls:
                close()
            thoughts += _shared_thought(block, kind, place)
        elif kind == "tool_use":
            calls.append(_shared_call(block, place))
        else:
            said.append(block)
    close()
    return messages


def _shared_thought(block: Block, kind: str, where: str) -> list[Block]:
    if kind == "redacted_thinking":
        return [{"data": require(block, "data", str, where), "source": SOURCE}]
    text, signature = require(block, "thinking", str, where), block.get("signature")
    thought = {"text": text} if text else {}
    if signature:
        thought |= {"signature": signature, "source": SOURCE}
    return [thought] if thought else []


def _shared_call(block: Block, where: str) -> Block:
    arguments = msgspec.json.encode(require(block, "input", dict, where)).decode()
    function = {"name": require(block, "name", str, where), "arguments": arguments}
    call: Block = {"id": require(block, "id", str, where), "type": "function", "function": function, **_kept(block)}
    if isinstance(block.get("extra_content"), dict) and signature_of(block):
        call["extra_content"] = block["extra_content"]
    return call


def _shared_content(content: Any, where: str) -> str | list[Block]:
    """Text or parts; one plain text block is text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(f"{where}.content is missing or neither text nor a list")
    parts = [_shared_part(block, kind, place) for block, kind, place in _each(content, where)]
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        text: str = parts[0]["text"]
        return text
    return parts


def _shared_part(block: Block, kind: str, where: str) -> Block:
    if kind == "text":
        return {"type": "text", "text": require(block, "text", str, where), **_kept(block)}
    if kind == "image":
        source = require(block, "source", dict, where)
        url = _shared_source(source, f"{where}.source")
        return {"type": "image_url", "image_url": {"url": url}, **_kept(block)} if url else block
    if kind == "document":
        return _shared_document(block, where)
    return block


def _shared_source(source: Block, where: str) -> str | None:
    if source.get("type") == "url":
        return require(source, "url", str, where)
    if source.get("type") == "base64":
        return f"data:{require(source, 'media_type', str, where)};base64,{require(source, 'data', str, where)}"
    return None


def _shared_document(block: Block, where: str) -> Block:
    """A `file` part; a document of content blocks stays as it is."""
    source = require(block, "source", dict, where)
    where += ".source"
    kind = source.get("type")
    file: Block = {}
    if kind == "file":
        file["file_id"] = require(source, "file_id", str, where)
    elif kind == "text":
        data = base64.b64encode(require(source, "data", str, where).encode()).decode()
        file["file_data"] = f"data:text/plain;base64,{data}"
    elif url := _shared_source(source, where):
        file["file_url" if kind == "url" else "file_data"] = url
    else:
        return block
    if isinstance(block.get("title"), str) and block["title"]:
        file["filename"] = block["title"]
    return {"type": "file", "file": file, **_kept(block)}


def shared_tools(tools: Any) -> list[dict[str, Any]]:
    """The tool definitions in OpenAI's chat shape; Anthropic's own tools stay as they are."""
    if not isinstance(tools, list):
        raise invalid("tools is not a list")
    made = []
    for number, tool in enumerate(tools):
        where = f"tools[{number}]"
        if not isinstance(tool, dict):
            raise invalid(f"{where} is not an object")
        if tool.get("type") not in (None, "custom"):
            made.append(tool)
            continue
        function: Block = {"name": require(tool, "name", str, where)}
        if tool.get("description"):
            function["description"] = require(tool, "description", str, where)
        function["parameters"] = require(tool, "input_schema", dict, where)
        if tool.get("strict") is not None:
            function["strict"] = tool["strict"]
        kept = {field: tool[field] for field in TOOL_FIELDS if tool.get(field) is not None}
        made.append({"type": "function", "function": function, **kept})
    return made


def shared_tool_choice(choice: Any) -> tuple[str | dict[str, Any] | None, bool | None]:
    """The `tool_choice` and `parallel_tool_calls` of the shared shape."""
    if not isinstance(choice, dict):
        raise invalid("tool_choice is not an object")
    disabled = choice.get("disable_parallel_tool_use")
    parallel = None if disabled is None else not disabled
    kind = choice.get("type")
    if kind == "tool":
        return {"type": "function", "function": {"name": require(choice, "name", str, "tool_choice")}}, parallel
    words = {"auto": "auto", "any": "required", "none": "none"}
    if not isinstance(kind, str) or kind not in words:
        raise invalid(f"tool_choice.type is {kind!r}; it must be auto, any, none or tool")
    return words[kind], parallel
