"""Requests to this API's paths that are in the shape of another API: as messages and tools of this one.

The problem: Cursor asks every model on `/chat/completions`. Those whose name has `claude` get Anthropic's blocks and
tools (automazeio/vibeproxy#411, router-for-me/CLIProxyAPI#1165), OpenAI's newer models the items and tools of Responses
(BerriAI/litellm pull request 34029, icebear0828/codex-proxy#507). The reply has to be a chat completion all the same.
The strategy: those APIs' own decoders read what is theirs. They are imported on use, because few clients need them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acytoo.dialects.fields import invalid, objects_in
from acytoo.dialects.tool_calls import result_content
from acytoo.types import JSONObject

_TURN_BLOCKS = frozenset({"tool_use", "tool_result", "thinking", "redacted_thinking"})
"""Types of Anthropic's blocks that are more than a part of a message's content."""

_PARTS_OF_RESPONSES = frozenset({"input_text", "output_text", "input_image", "input_file"})


def usual_body(body: JSONObject) -> JSONObject | None:
    """Return the body with messages and tools of this API, None if it has no others.

    Raises RequestError (400) for what is malformed, and for parts of a conversation that are not in the body.
    """
    changed: JSONObject = {}
    if "messages" not in body and body.get("input") is not None:
        changed = _from_responses(body)
    elif isinstance(body.get("messages"), list) and any(map(_is_foreign, body["messages"])):
        changed = {**body, "messages": [new for message in body["messages"] for new in _usual_messages(message)]}
    tools, choice = body.get("tools"), body.get("tool_choice")
    if isinstance(tools, list) and any(isinstance(tool, dict) and _is_foreign_tool(tool) for tool in tools):
        changed = changed or {**body}
        changed["tools"] = [_usual_tool(tool) if isinstance(tool, dict) else tool for tool in tools]
    if isinstance(choice, dict) and (usual := _usual_choice(choice)) != choice:
        changed = changed or {**body}
        changed["tool_choice"] = usual
    return changed or None


def is_foreign(body: JSONObject) -> bool:
    """Return whether no server of this API would understand a body that `usual_body` has changed.

    Compatible services have thoughts among the parts of a turn, and some take texts in place of parts.
    """
    if "messages" not in body or any(map(_is_foreign_tool, objects_in(body.get("tools")))):
        return True
    parts = [part for message in objects_in(body["messages"]) for part in objects_in(message.get("content"))]
    return any(_kind(part) in _FOREIGN_PARTS and _kind(part) != "thinking" for part in parts)


def _from_responses(body: JSONObject) -> JSONObject:
    from acytoo.dialects.openai_responses import OpenAIResponses
    from acytoo.dialects.openai_responses.request import decode_request

    for field in ("previous_response_id", "conversation"):
        if body.get(field) is not None:
            raise invalid(f"{field} refers to items that this server does not have: send the items themselves")
    others = {name: value for name, value in body.items() if name not in ("tools", "tool_choice")}
    unneeded = OpenAIResponses.ignorable_fields - {"stream_options", "metadata"}
    decoded = {name: value for name, value in decode_request(others).items() if name not in unneeded}
    for name in decoded:
        if name.startswith("input:"):
            raise invalid(f"the input has an item of the type {name.removeprefix('input:')}, which no chat API has")
    return decoded | {name: body[name] for name in ("tools", "tool_choice") if name in body}


def _is_foreign(message: Any) -> bool:
    """Return whether a message has a content, or a part of one, that this API does not have."""
    content = message.get("content") if isinstance(message, dict) else None
    if content is None or isinstance(content, str):
        return False
    is_result: bool = message.get("role") == "tool"
    if not isinstance(content, list) or (is_result and result_content(content) is not content):
        return is_result
    return any(isinstance(part, str) or (isinstance(part, dict) and _kind(part) in _FOREIGN_PARTS) for part in content)


_FOREIGN_PARTS = _TURN_BLOCKS | _PARTS_OF_RESPONSES | {"image"}


def _kind(part: Mapping[str, Any]) -> str:
    kind = part.get("type")
    return kind if isinstance(kind, str) else ""


def _usual_messages(message: Any) -> list[Any]:
    """Return the messages of this API for one of another."""
    if not _is_foreign(message):
        return [message]
    content = message["content"]
    if message.get("role") == "tool" and (result := result_content(content)) is not content:
        return [{**message, "content": result}]
    parts = [_usual_part(part) for part in content]
    if _TURN_BLOCKS.isdisjoint([_kind(part) for part in objects_in(parts)]):
        return [{**message, "content": parts}]
    from acytoo.dialects.anthropic.request import decode_messages

    decoded: list[Any] = list(decode_messages([{"role": message.get("role"), "content": parts}]))
    calls = [call for call in objects_in(message.get("tool_calls")) if not _has_call(decoded, call.get("id"))]
    if calls and decoded[-1]["role"] == "assistant":  # Mistral has thoughts among the parts, and calls beside them
        decoded[-1] = {**decoded[-1], "tool_calls": [*decoded[-1].get("tool_calls", ()), *calls]}
    return decoded


def _has_call(messages: list[Any], call_id: object) -> bool:
    return any(call["id"] == call_id for message in messages for call in message.get("tool_calls", ()))


def _usual_part(part: Any) -> Any:
    """Return a part of this API, or one of Anthropic's blocks, for a text or a part of another API."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, dict):
        return part
    kind = _kind(part)
    if kind == "thinking" and isinstance(part.get("thinking"), list):  # Mistral
        texts = [text for one in objects_in(part["thinking"]) if isinstance(text := one.get("text"), str)]
        return {**part, "thinking": "".join(texts)}
    if kind in _PARTS_OF_RESPONSES:
        from acytoo.dialects.openai_responses.request import decode_part

        return decode_part(part)
    if kind == "image" and isinstance(part.get("source"), dict):
        from acytoo.dialects.anthropic.request import decode_part as decode_block

        return decode_block(part, kind, "an image in messages")
    return part


def _is_foreign_tool(tool: JSONObject) -> bool:
    kind = tool.get("type")
    if isinstance(tool.get("function"), dict) or isinstance(tool.get("custom"), dict):
        return not kind
    return kind in (None, "function", "custom") and isinstance(tool.get("name"), str)


def _usual_tool(tool: JSONObject) -> JSONObject:
    """Return a tool of this API for one whose fields are beside its type, as in Responses and Anthropic's API."""
    if not _is_foreign_tool(tool):
        return tool
    for kind in ("function", "custom"):
        if isinstance(tool.get(kind), dict):
            return {"type": kind, **tool}
    fields = {name: value for name, value in tool.items() if name in _TOOL_FIELDS and value is not None}
    if tool.get("type") == "custom" and "input_schema" not in tool:
        return {"type": "custom", "custom": {**fields, "format": _usual_format(tool.get("format"))}}
    schema = tool.get("input_schema", tool.get("parameters"))
    return {"type": "function", "function": fields if schema is None else {**fields, "parameters": schema}}


_TOOL_FIELDS = ("name", "description", "strict")


def _usual_format(text_format: Any) -> JSONObject:
    """Return the format of a custom tool, of which this API has the grammar in an object of its own."""
    if not isinstance(text_format, dict):
        return {"type": "text"}
    if text_format.get("type") != "grammar" or "grammar" in text_format:
        return text_format
    return {"type": "grammar", "grammar": {name: value for name, value in text_format.items() if name != "type"}}


def _usual_choice(choice: JSONObject) -> Any:
    kind, name = choice.get("type"), choice.get("name")
    if kind in ("auto", "none") or (kind == "any" and name is None):
        return "required" if kind == "any" else kind
    if kind in ("tool", "function") and isinstance(name, str) and "function" not in choice:
        return {"type": "function", "function": {"name": name}}
    if kind == "custom" and isinstance(name, str) and "custom" not in choice:
        return {"type": "custom", "custom": {"name": name}}
    return choice
