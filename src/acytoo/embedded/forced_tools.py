"""Forced tool calls: request a JSON object that names a function, and turn it into a tool call.

llama.cpp's own `tool_choice: required` does not force a call, because its generated grammar lets free text precede it:
https://github.com/ggml-org/llama.cpp/issues/27217. A JSON schema leaves the model no choice. The cost: the call is
delivered at once at its end, because a fragment of the object is not yet a call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from acytoo.dialects.server_side import new_id
from acytoo.embedded.constraints import move_schema
from acytoo.types import Closable, Finish, FunctionDefinition, Item, JSONObject, Request, ToolCall


class _Call(msgspec.Struct):
    name: str
    arguments: msgspec.Raw


def request_call(request: Request, functions: list[FunctionDefinition]) -> Request:
    """Return the request with its tools replaced by a JSON schema: the name and arguments of one of the functions."""
    paths = ["#"] if len(functions) == 1 else [f"#/anyOf/{index}" for index in range(len(functions))]
    schemas = [_call_schema(function, path) for function, path in zip(functions, paths, strict=True)]
    extra = request.extra if request.extra_for in ("", "openai") else {}
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return msgspec.structs.replace(
        request,
        tools=None,
        tool_choice=None,
        parallel_tool_calls=None,
        response_format={"type": "json_schema", "json_schema": {"name": "call", "schema": schema}},
        # The chat template shows the functions to the model.
        extra={**extra, "chat_template_kwargs": {**extra.get("chat_template_kwargs", {}), "functions": functions}},
        extra_for="",
    )


def _call_schema(function: FunctionDefinition, path: str) -> JSONObject:
    """Return the schema of a call, which will be at a path of the complete schema."""
    parameters = function.get("parameters") or {"type": "object", "properties": {}, "additionalProperties": False}
    return {
        "type": "object",
        "properties": {
            "name": {"const": function["name"]},
            "arguments": move_schema(parameters, f"{path}/properties/arguments"),
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


async def convert_reply(batches: Closable[list[Item]]) -> AsyncGenerator[list[Item], None]:
    """Yield the reply to `request_call` with its JSON text as a tool call. Truncated JSON stays text."""
    texts: list[str] = []
    async with aclosing(batches):
        async for batch in batches:
            texts += [item for item in batch if isinstance(item, str)]
            events = [item for item in batch if not isinstance(item, str)]
            if items := [item for event in events for item in _convert_event(event, texts)]:
                yield items


def _convert_event(event: Item, texts: list[str]) -> list[Item]:
    if not isinstance(event, Finish):
        return [event]
    text = "".join(texts)
    try:
        call = msgspec.json.decode(text, type=_Call)
    except msgspec.DecodeError:
        return [text, event] if text else [event]
    arguments = bytes(call.arguments).decode()
    return [ToolCall(0, new_id("call_"), call.name, arguments), Finish("tool_calls")]
