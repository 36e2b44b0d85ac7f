"""Requests from one API to another: strip what only the source API understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from acytoo import dialects
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.dialects.fields import invalid
from acytoo.dialects.tool_calls import with_objects
from acytoo.types import Request


def translate(request: Request, source: Dialect, unsupported: Unsupported | None = None) -> Request:
    """Strip the fields that only the source API understands.

    Ignorable ones are dropped; those without which the reply may be another are noted. The others stay in
    `extra`, so that the target dialect rejects them by name. `user` is dropped too: it is a label for the source's
    service, and often too long for others (Claude Code's is). So is the wish not to think if it is not an effort: a
    model that does not reason would refuse it.

    Raises RequestError (400) for a field that carries a part of the conversation: it must never be dropped.
    """
    if unsupported is None or unsupported.dialect != source.name or source.own_host:
        request = source.plain_options(_with_plain_parts(source, request))
    if unsupported is not None:
        _check_files(source, request, unsupported.dialect)
    removed = list(request.extra.items())
    if request.reasoning_effort == "none" and source.thinking_is_switch:
        request = msgspec.structs.replace(request, reasoning_effort=None)
    # Nearly all messages are just a role and a text.
    if request.tools or not all(len(m) == 2 and type(m.get("content")) is str for m in request.messages):
        if source.vendor_fields:
            messages = _without(source.vendor_fields, request.messages, removed)
            tools = _without(source.vendor_fields, request.tools or [], removed)
            request = msgspec.structs.replace(request, messages=messages, tools=tools or None)
        request = _with_plain_texts(_with_objects(request))
    if unsupported is not None and isinstance(request.tool_choice, dict):
        request = _with_allowed_tools(request, unsupported.dialect)
    if not removed and request.user is None:
        return request
    extra = {
        name: value
        for name, value in removed
        if not source.is_ignorable(name) and value is not None and not _is_no_op(source, name, value)
    }
    if unsupported is not None:
        for name, _ in removed:
            if name in source.reported_fields:
                unsupported.note(name)
    for name in extra:
        if (error := source.conversation_error(name)) is not None:
            raise error
    return msgspec.structs.replace(request, extra=extra, user=None)


def _check_files(source: Dialect, request: Request, target: str) -> None:
    """Raise RequestError (400) for a file by its id, unless the target's API is of the service that has the file."""
    for index, message in enumerate(request.messages):
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            file = part.get("file") if part["type"] == "file" else None
            if (
                isinstance(file, Mapping)
                and file.get("file_id")
                and not file.get("file_data")
                and source.file_service != _file_service(target)
            ):
                raise invalid(
                    f"messages[{index}] has a file by its id, which only a service of the {source.name} API knows: "
                    "send the file's data"
                )


def _file_service(target: str) -> str:
    return next((dialect.file_service for dialect in dialects.ALL if dialect.name == target), "")


def _with_allowed_tools(request: Request, target: str) -> Request:
    """Return the request with only the tools that the model may call, for an API that can only choose among all."""
    choice = request.tool_choice
    allowed = choice.get("allowed_tools") if isinstance(choice, dict) else None
    if not isinstance(allowed, Mapping) or not request.tools:
        return request
    mode, chosen = allowed.get("mode"), allowed.get("tools")
    modes: frozenset[object] = next((one.allowed_modes for one in dialects.ALL if one.name == target), frozenset())
    if mode in modes or mode not in ("auto", "required") or not isinstance(chosen, list):
        return request
    names = {_name_of(tool) for tool in chosen}
    tools = [tool for tool in request.tools if _name_of(tool) in names]
    if not tools or None in names or len(tools) < len(names):
        return request
    return msgspec.structs.replace(request, tools=tools, tool_choice=mode)


def _name_of(tool: Any) -> str | None:
    """Return the name of a function or of a custom tool, None for any other tool."""
    fields = tool.get(tool.get("type", "function")) if isinstance(tool, Mapping) else None
    name = fields.get("name") if isinstance(fields, Mapping) else None
    return name if isinstance(name, str) else None


def _with_plain_parts(source: Dialect, request: Request) -> Request:
    """Return the request with parts that every API has in place of those that only the source has."""
    changed: dict[int, Any] = {}
    for index, message in enumerate(request.messages):
        content = message.get("content")
        if isinstance(content, list):
            plain = [source.plain_parts(part) for part in content]
            if any(parts is not None for parts in plain):
                pairs = zip(content, plain, strict=True)
                parts = [new for part, parts in pairs for new in ([part] if parts is None else parts)]
                changed[index] = {**message, "content": parts or ""}
    if not changed:
        return request
    messages: list[Any] = [changed.get(index, message) for index, message in enumerate(request.messages)]
    return msgspec.structs.replace(request, messages=messages)


def _with_plain_texts(request: Request) -> Request:
    """Return the request with the text in place of a content that is a list of one text: more services accept that."""
    if not any(_is_one_text(message.get("content")) for message in request.messages):
        return request
    messages: list[Any] = [
        {**message, "content": message["content"][0]["text"]} if _is_one_text(message.get("content")) else message  # type: ignore[index]
        for message in request.messages
    ]
    return msgspec.structs.replace(request, messages=messages)


def _with_objects(request: Request) -> Request:
    """Return the request with arguments that are objects in all calls of earlier turns."""
    changed: dict[int, Any] = {}
    for index, message in enumerate(request.messages):
        if (calls := message.get("tool_calls")) and (objects := with_objects(calls)) is not calls:
            changed[index] = {**message, "tool_calls": objects}
    if not changed:
        return request
    messages = [changed.get(index, message) for index, message in enumerate(request.messages)]
    return msgspec.structs.replace(request, messages=messages)


def _is_one_text(content: object) -> bool:
    return isinstance(content, list) and len(content) == 1 and content[0].keys() == {"type", "text"}


def _is_no_op(source: Dialect, name: str, value: object) -> bool:
    """Return whether a field asks for the default, in the source's API or in any other whose field a client sent."""
    if value is False or value in ("", []):  # `{}` may ask for something: `web_search_options`
        return True
    return any(value in dialect.no_op_values.get(name, ()) for dialect in (source, *dialects.ALL))


def _without(fields: frozenset[str], values: list[Any], removed: list[tuple[str, Any]]) -> list[Any]:
    """Return objects, and those in their lists, without some fields, which are added to `removed`.

    What has none of them is not copied.
    """
    stripped = values
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            continue
        kept = value
        if not fields.isdisjoint(value):
            removed += [(name, value[name]) for name in value.keys() & fields]
            kept = {name: field for name, field in value.items() if name not in fields}
        for name, field in kept.items():
            if isinstance(field, list) and (inner := _without(fields, field, removed)) is not field:
                kept = {**kept, name: inner}
        if kept is not value:
            if stripped is values:
                stripped = values.copy()
            stripped[index] = kept
    return stripped
