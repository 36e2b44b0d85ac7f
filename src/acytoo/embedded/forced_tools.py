"""A tool call that must happen, made certain by a grammar: llama.cpp's own `tool_choice: required` lets a model ramble.

Source: llama.cpp issue 27217, and its generated grammar as observed: free text may come before the call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from acytoo.dialects.server_side import new_id
from acytoo.types import Closable, Finish, FunctionDefinition, Item, Request, ToolCall


class _Called(msgspec.Struct):
    name: str
    arguments: msgspec.Raw


def as_structured(request: Request, functions: list[FunctionDefinition]) -> Request:
    """The request for a JSON object that names one of the functions and its arguments."""
    schemas = [
        {
            "type": "object",
            "properties": {
                "name": {"const": function["name"]},
                "arguments": function.get("parameters") or {"type": "object", "properties": {}},
            },
            "required": ["name", "arguments"],
        }
        for function in functions
    ]
    ours = request.extra if request.extra_for in ("", "openai") else {}
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return msgspec.structs.replace(
        request,
        tools=None,
        tool_choice=None,
        parallel_tool_calls=None,
        response_format={"type": "json_schema", "json_schema": {"name": "call", "schema": schema}},
        extra={**ours, "chat_template_kwargs": {"functions": functions}},
        extra_for="",
    )


async def as_call(batches: Closable[list[Item]]) -> AsyncGenerator[list[Item], None]:
    """The reply with its JSON text as a tool call; one that was cut stays the fragment it is."""
    texts: list[str] = []
    async with aclosing(batches):
        async for batch in batches:
            texts += [item for item in batch if isinstance(item, str)]
            rest = [_finished(item, texts) for item in batch if not isinstance(item, str)]
            if items := [item for part in rest for item in part]:
                yield items


def _finished(item: Item, texts: list[str]) -> list[Item]:
    if not isinstance(item, Finish):
        return [item]
    text = "".join(texts)
    try:
        called = msgspec.json.decode(text, type=_Called)
    except msgspec.DecodeError:
        return [text, item] if text else [item]
    arguments = bytes(called.arguments).decode()
    return [ToolCall(0, new_id("call_"), called.name, arguments), Finish("tool_calls")]
