"""Requests of the Acytoo protocol: the five fields and their headers.

Source: the public clients of the Acytoo chat service; the AI SDK's `TextStreamChatTransport` and its `UIMessage`.
"""

from __future__ import annotations

from typing import Any

from acytoo.dialects.base import Unsupported
from acytoo.dialects.fields import invalid, require
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
    kept = message.keys() - {"reasoning", "turn_parts", "is_error"}
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
    if "messages" not in body and isinstance(body.get("prompt"), str):  # the AI SDK's `useCompletion`
        body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
    elif isinstance(body.get("messages"), list):
        body["messages"] = [
            _decode_message(message, f"messages[{index}]") for index, message in enumerate(body["messages"])
        ]
    return {**body, "stream": True}


_WEB_FIELDS = frozenset({"id", "createdAt", "metadata", "parts"})
"""Message fields of web clients that are not for the model."""

_WEB_MARKS = frozenset({"step-start", "source-url", "source-document"})
"""Types of parts that are not for the model, besides every `data-…`: they show progress and sources to the user."""


def _decode_message(message: Any, where: str) -> Any:
    """Return a message with `content`. The AI SDK's web clients (`UIMessage`) send `parts` instead.

    Raises RequestError for a part that cannot be translated: the model must not miss a part of the conversation.
    """
    if not isinstance(message, dict):
        return message
    fields = {name: value for name, value in message.items() if name not in _WEB_FIELDS}
    if fields.pop("experimental_attachments", None):
        raise invalid(f"{where}.experimental_attachments is not supported: send files as parts")
    parts = message.get("parts")
    if not isinstance(parts, list) or ("content" in message and not any(_is_more_than_text(part) for part in parts)):
        return fields
    content: list[JSONObject] = []
    reasoning: list[JSONObject] = []
    for index, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        place = f"{where}.parts[{index}]"
        if not isinstance(kind, str):
            raise invalid(f"{place} must be a part like {{'type': 'text', 'text': 'Hello'}}")
        if kind == "text":
            content.append({"type": "text", "text": require(part, "text", str, place)})
        elif kind == "reasoning":
            reasoning.append({"text": require(part, "text", str, place)})
        elif kind == "file":
            content.append(_decode_file(part, place))
        elif kind not in _WEB_MARKS and not kind.startswith("data-"):
            raise invalid(f"{place} has the type {kind!r}, which this protocol cannot express: send text and files")
    if all(part["type"] == "text" for part in content):
        fields["content"] = "".join([part["text"] for part in content])
    else:
        fields["content"] = content
    return fields | ({"reasoning": reasoning} if reasoning else {})


def _is_more_than_text(part: object) -> bool:
    """Return whether a part has something for the model that the text beside the parts does not have."""
    kind = part.get("type") if isinstance(part, dict) else None
    return isinstance(kind, str) and kind.startswith(("file", "tool-", "dynamic-tool"))


def _decode_file(part: JSONObject, where: str) -> JSONObject:
    """Return an image or a file of a web client, which has its data in a `data:` URL, or a URL to fetch it from."""
    url, media_type = require(part, "url", str, where), require(part, "mediaType", str, where)
    if media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    file: JSONObject = {"file_data" if url.startswith("data:") else "file_url": url}
    if isinstance(part.get("filename"), str):
        file["filename"] = part["filename"]
    return {"type": "file", "file": file}
