"""OpenAI's chat requests: the shared shape to a body, and back. The shared shape is this API's, so little changes.

Source: OpenAI's API reference ("Create chat completion"), and the documentation of the compatible servers that want
reasoning text back (DeepSeek, OpenRouter).
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Protocol

from acytoo.dialects.base import Unsupported
from acytoo.dialects.extra_fields import merge_extra
from acytoo.dialects.json import dumps
from acytoo.messages import tool_result
from acytoo.types import OPTIONS, ChatMessage, JSONObject, Request

NAME = "openai"

_MESSAGE_FIELDS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio"})
"""Message fields of this API. Any other field belongs to the shared shape or to another API's client."""

_PART_TYPES = frozenset({"text", "image_url", "input_audio", "file", "refusal"})
"""Content parts of this API."""

_OPTION_NAMES = sorted(OPTIONS)
_option_values = operator.attrgetter(*_OPTION_NAMES)
_NO_OPTIONS = (None,) * len(_OPTION_NAMES)
"""The values of a request that sets no option: one attrgetter call and one comparison then skip them all."""


# Encode: the shared shape to OpenAI's body.


class Variations(Protocol):
    """What differs between compatible servers in their requests; see `OpenAI`."""

    max_tokens_field: str
    stream_usage: bool
    reasoning_field: str


def encode_request(request: Request, extra: JSONObject, unsupported: Unsupported, server: Variations) -> JSONObject:
    """Return the body for a request. Calls `unsupported` for whatever the API cannot express."""
    messages = request.messages
    if request.extra_for and request.extra_for != NAME:
        messages = [_without_foreign_parts(message, unsupported) for message in messages]
    body: JSONObject = {
        "model": request.model,
        "messages": [  # most messages are sent as they are: the check is here, for it is cheaper than a call
            message
            if message.keys() <= _MESSAGE_FIELDS and "tool_calls" not in message
            else _encode_message(message, server.reasoning_field)
            for message in messages
        ],
    }
    if request.stream:
        body["stream"] = True
        if server.stream_usage:
            body["stream_options"] = {"include_usage": True}
    values = _option_values(request)
    if values != _NO_OPTIONS:
        for option, value in zip(_OPTION_NAMES, values, strict=True):
            if value is not None:
                body[server.max_tokens_field if option == "max_tokens" else option] = value
    if request.extra:
        if request.extra.get("n") not in (None, 1):
            unsupported("n above 1")
        merge_extra(body, extra)
    return body


def _encode_message(message: ChatMessage, reasoning_field: str) -> JSONObject:
    """Return a message with tool calls, or with fields of the shared shape that this API does not have."""
    encoded: JSONObject = {field: value for field, value in message.items() if field in _MESSAGE_FIELDS}
    if calls := message.get("tool_calls"):
        encoded["tool_calls"] = [_encode_call(call) for call in calls]
    if message.get("is_error"):
        encoded["content"] = tool_result(message)
    if reasoning_field and message.get("reasoning"):
        encoded[reasoning_field] = "".join([block.get("text", "") for block in message["reasoning"]])
    return encoded


def _encode_call(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the call with its arguments as JSON text, the only form that this API accepts."""
    function = call["function"]
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        return call
    return {**call, "function": {**function, "arguments": dumps(dict(arguments or {})).decode()}}


def _without_foreign_parts(message: ChatMessage, unsupported: Unsupported) -> ChatMessage:
    """Return a message of another API's client without the content parts that only that API knows."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    for part in content:
        if part["type"] not in _PART_TYPES:
            unsupported(f"{part['type']} content")
    return {**message, "content": [part for part in content if part["type"] in _PART_TYPES] or ""}


# Decode: OpenAI's body to the shared shape.


def decode_request(body: JSONObject) -> JSONObject:
    """Return a received body with the shared shape's field names. Does not check the fields' types."""
    shared = dict(body)
    limit = shared.pop("max_completion_tokens", None)
    if limit is not None:
        shared["max_tokens"] = limit
    shared["stream"] = shared.get("stream") or False
    if shared.get("n") in (None, 1):
        shared.pop("n", None)
    if isinstance(shared.get("messages"), list):
        shared["messages"] = [_decode_message(message) for message in shared["messages"]]
    return shared


def _decode_message(message: object) -> object:
    """Return a message with the reasoning text of a compatible server's field as a block of the shared shape.

    What is not an object stays as it is: `check_messages` reports it.
    """
    if not isinstance(message, dict):
        return message
    for field in ("reasoning_content", "reasoning"):
        text = message.get(field)
        if isinstance(text, str):
            rest = {name: value for name, value in message.items() if name != field}
            return {**rest, "reasoning": [{"text": text}]} if text else rest
    return message
