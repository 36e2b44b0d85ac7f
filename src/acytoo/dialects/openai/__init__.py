"""OpenAI's chat completions: JSON in, JSON or server-sent events out; the shared shape is this API's.

Source: OpenAI's API reference ("Chat Completions", its streaming chunks), and the fields that compatible
servers add: `reasoning_content` (DeepSeek, vLLM, llama.cpp), `reasoning` (OpenRouter, Groq),
`extra_content.google` (Gemini's compatible endpoint).
"""

from __future__ import annotations

import operator
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from acytoo.dialects.base import Capabilities, Dialect, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.error_bodies import error_from_event, openai_error
from acytoo.dialects.extra_fields import merge_extra
from acytoo.dialects.fields import decode_body
from acytoo.dialects.json import dumps
from acytoo.dialects.openai.reader import STATUS, StreamReader, decode
from acytoo.dialects.openai.writer import StreamWriter, usage_fields
from acytoo.dialects.readers import AutoReader, bare_error
from acytoo.dialects.server_side import header_secrets, new_id, request_from_body
from acytoo.errors import AcytooError, TruncatedError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url, json_headers
from acytoo.messages import tool_result
from acytoo.types import (
    OPTIONS,
    ChatMessage,
    Item,
    JSONObject,
    Reply,
    Request,
    Start,
    Usage,
)

_PLAIN = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio"})
"""Message fields that this API knows; others are our own or other clients'."""


class OpenAI(Dialect):
    """OpenAI's chat completions, with the variations compatible servers have.

    `max_tokens_field` is "max_completion_tokens" at OpenAI and Azure, "max_tokens" elsewhere. Where a server
    refuses `stream_options`, `stream_usage=False` leaves it out. `key_header` is "api-key" at Azure.
    `reasoning_field` names the message field that a server wants a turn's reasoning text back in, "" for none.
    """

    name = "openai"
    options = OPTIONS
    routes = ("/v1/chat/completions", "/chat/completions")
    ignorable_fields = frozenset(
        {
            "stream_options",
            "store",
            "metadata",
            "service_tier",
            "prompt_cache_key",
            "prompt_cache_retention",
            "safety_identifier",
            "verbosity",
        }
    )
    no_op_values = {"logit_bias": ({},), "functions": ([],), "modalities": (["text"],)}
    capabilities = Capabilities(reasoning_blocks=False, request_fields={"stream_options": {"include_usage": True}})
    list_routes = ("/v1/models", "/v1/models/{model:.+}")

    def __init__(
        self,
        path: str = "/chat/completions",
        max_tokens_field: str = "max_tokens",
        stream_usage: bool = True,
        key_header: str = "authorization",
        reasoning_field: str = "",
    ) -> None:
        self.path = path
        self.max_tokens_field = max_tokens_field
        self.stream_usage = stream_usage
        self.key_header = key_header
        self.reasoning_field = reasoning_field

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """The shared shape is this API's own; only our additions are taken out of the messages."""
        self.check_options(request, unsupported)
        messages = request.messages
        if request.extra_for and request.extra_for != self.name:
            messages = [_sayable(message, unsupported) for message in messages]
        body: dict[str, Any] = {"model": request.model, "messages": [self._message(message) for message in messages]}
        if request.stream:
            body["stream"] = True
            if self.stream_usage:
                body["stream_options"] = {"include_usage": True}
        values = _options_of(request)
        if values != _NONE_GIVEN:
            for option, value in zip(_ORDER, values, strict=True):
                if value is not None:
                    body[self.max_tokens_field if option == "max_tokens" else option] = value
        if request.extra:
            if request.extra.get("n") not in (None, 1):
                unsupported("n above 1")
            merge_extra(body, self.extra(request))
        return self.http_request(request, endpoint, dumps(body))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """The key as a bearer token, or in the header that this server wants it in."""
        return HTTPRequest(join_url(endpoint.url, self.path), json_headers(endpoint.key, self.key_header), body)

    def reader(self, head: ResponseHead) -> Reader:
        """Server-sent events, or one document: some servers answer either with the other."""
        return AutoReader(self, StreamReader(self.name))

    def read_reply(self, body: bytes) -> list[Item]:
        """The items of a `chat.completion`."""
        chunk = decode(body)
        if chunk.error is None and not chunk.choices:
            if (error := bare_error(body)) is not None:
                raise error_from_event(error, STATUS)
            raise msgspec.ValidationError("it has no choices")
        reader = StreamReader(self.name)
        items = reader.items(chunk)
        if reader.finished or any(not isinstance(item, (Start, Usage)) for item in items):
            return items
        raise TruncatedError("the reply has neither content nor finish_reason")

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """The shared shape as it is; `max_completion_tokens` is `max_tokens`."""
        body = decode_body(incoming)
        limit = body.pop("max_completion_tokens", None)
        if limit is not None:
            body["max_tokens"] = limit
        body["stream"] = body.get("stream") or False
        if body.get("n") in (None, 1):
            body.pop("n", None)
        if isinstance(body.get("messages"), list):
            body["messages"] = [_with_reasoning(message) for message in body["messages"]]
        return ParsedRequest(request_from_body(body, self.name), header_secrets(incoming))

    def writer(self, request: Request) -> Writer:
        """Chunks ending with `[DONE]`; usage where `stream_options.include_usage` asked for it."""
        options = request.extra.get("stream_options")
        return StreamWriter(request.model, isinstance(options, dict) and bool(options.get("include_usage")))

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """A `chat.completion`."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if (reply.tool_calls or reply.refusal) and not reply.text else reply.text,
            "refusal": reply.refusal or None,
        }
        thoughts = "".join([block.get("text", "") for block in reply.reasoning])
        if thoughts:
            message["reasoning_content"] = thoughts
        if reply.tool_calls:
            message["tool_calls"] = reply.tool_calls
        choice = {
            "index": 0,
            "message": message,
            "logprobs": {"content": reply.logprobs, "refusal": None} if reply.logprobs else None,
            "finish_reason": reply.finish_reason or "stop",
        }
        body = {
            "id": reply.id or new_id("chatcmpl-"),
            "object": "chat.completion",
            "created": reply.created or int(time.time()),
            "model": reply.model or request.model,
            "choices": [choice],
        }
        if reply.usage:
            body["usage"] = usage_fields(reply.usage)
        return msgspec.json.encode(body)

    def error_document(self, error: AcytooError) -> dict[str, Any]:
        """Return `{"error": {"message", "type", "param", "code"}}`."""
        return {"error": openai_error(error)}

    def models(self, names: list[str], created: int) -> dict[str, Any]:
        """Return a list of `model` objects."""
        return {"object": "list", "data": [self.model(name, created) for name in names]}

    def model(self, name: str, created: int) -> dict[str, Any]:
        """Return a `model` object."""
        return {"id": name, "object": "model", "created": created, "owned_by": "acytoo"}

    def _message(self, message: ChatMessage) -> Mapping[str, Any]:
        if message.keys() <= _PLAIN and "tool_calls" not in message:
            return message
        sent: JSONObject = {field: value for field, value in message.items() if field in _PLAIN}
        if calls := message.get("tool_calls"):
            sent["tool_calls"] = [_sent_call(call) for call in calls]
        if message.get("is_error"):
            sent["content"] = tool_result(message)
        if self.reasoning_field and message.get("reasoning"):
            sent[self.reasoning_field] = "".join([b.get("text", "") for b in message["reasoning"]])
        return sent


def _sent_call(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """The call with its arguments as JSON text, which is all that this API takes."""
    function = call["function"]
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        return call
    return {**call, "function": {**function, "arguments": dumps(dict(arguments or {})).decode()}}


_PARTS = frozenset({"text", "image_url", "input_audio", "file", "refusal"})


def _sayable(message: ChatMessage, unsupported: Unsupported) -> ChatMessage:
    """A message of another API's client without the parts that only that API knows."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    for part in content:
        if part["type"] not in _PARTS:
            unsupported(f"{part['type']} content")
    return {**message, "content": [part for part in content if part["type"] in _PARTS] or ""}


_ORDER = sorted(OPTIONS)
_options_of = operator.attrgetter(*_ORDER)
_NONE_GIVEN = (None,) * len(_ORDER)


def _with_reasoning(message: Any) -> Any:
    """Reasoning text sent back in a compatible server's field becomes the shared shape's."""
    if not isinstance(message, dict):
        return message
    for field in ("reasoning_content", "reasoning"):
        text = message.get(field)
        if isinstance(text, str):
            rest = {k: v for k, v in message.items() if k != field}
            return {**rest, "reasoning": [{"text": text}]} if text else rest
    return message
