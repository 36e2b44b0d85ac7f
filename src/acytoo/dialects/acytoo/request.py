"""Requests of the Acytoo protocol: the five fields and their headers.

Source: the public clients of the Acytoo chat service.
"""

from __future__ import annotations

from typing import Any

from acytoo.dialects.base import Unsupported
from acytoo.http import Endpoint
from acytoo.messages import content_text, tool_result
from acytoo.types import ChatMessage, JSONObject, Messages, Request

DEFAULT_MODEL = "gpt-3.5-turbo"
DEFAULT_TEMPERATURE = 0.5


def headers(content_type: str = "application/json") -> dict[str, str]:
    """Return the protocol's request headers."""
    return {"accept": "*/*", "content-type": content_type}


def payload(
    messages: Messages,
    temperature: float = DEFAULT_TEMPERATURE,
    *,
    model: str = DEFAULT_MODEL,
    key: str = "",
    password: str = "",
    **extra: Any,
) -> JSONObject:
    """Return the protocol's request body. `extra` fields follow the five that it has."""
    return {
        "key": key,
        "model": model or DEFAULT_MODEL,
        "messages": messages,
        "temperature": temperature,
        "password": password,
        **extra,
    }


# Client side.


def encode_request(request: Request, endpoint: Endpoint, unsupported: Unsupported) -> JSONObject:
    """Encode a request with its credentials. Calls `unsupported` for whatever the protocol cannot express."""
    return payload(
        [_encode_message(message, unsupported) for message in request.messages],
        DEFAULT_TEMPERATURE if request.temperature is None else request.temperature,
        model=request.model,
        key=endpoint.key.reveal(),
        password=endpoint.password.reveal(),
    )


def _encode_message(message: ChatMessage, unsupported: Unsupported) -> JSONObject:
    """Return a message as servers of this protocol accept it: text content, no tools, no reasoning."""
    content = message.get("content")
    kept = message.keys() - {"reasoning", "is_error"}
    if message["role"] == "tool" or message.get("tool_calls"):
        unsupported("tool calls")
        kept -= {"tool_calls", "tool_call_id"}
    fields: JSONObject = {**message}
    if isinstance(content, str) and len(kept) == len(message):
        return fields
    encoded = {name: value for name, value in fields.items() if name in kept}
    encoded["content"] = content_text(tool_result(message), unsupported)
    return encoded


# Server side.


def decode_request(body: JSONObject) -> JSONObject:
    """Decode a body, without its credentials, to the shared shape's fields. The reply is always a stream."""
    if isinstance(body.get("messages"), list):
        body["messages"] = [_decode_message(message) for message in body["messages"]]
    return {**body, "stream": True}


def _decode_message(message: Any) -> Any:
    """Return a message with `content`. Web clients send `parts` instead; only the text parts are for the model."""
    if isinstance(message, dict) and "content" not in message and isinstance(message.get("parts"), list):
        texts = [p["text"] for p in message["parts"] if isinstance(p, dict) and isinstance(p.get("text"), str)]
        message = {name: value for name, value in message.items() if name != "parts"} | {"content": "".join(texts)}
    return message
