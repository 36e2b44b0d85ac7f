"""OpenAI's chat requests: the shared shape to a body, and back. The shared shape is this API's, so little changes.

Source: OpenAI's API reference ("Create chat completion"), and the documentation of the compatible services that
`providers/compatible.py` names: what they call an option, what they refuse, and what they need back with a turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import compress, repeat
from operator import attrgetter, is_not
from typing import Any

import msgspec

from acytoo.dialects.base import Unsupported
from acytoo.dialects.custom_tools import as_functions, custom_input, custom_names
from acytoo.dialects.extra_fields import merge_extra
from acytoo.dialects.fields import invalid, object_or_empty, objects_in
from acytoo.dialects.json import dumps
from acytoo.dialects.think_tags import Tags
from acytoo.dialects.tool_calls import arguments_text
from acytoo.messages import content_parts, text_of_file, tool_result, turn_parts
from acytoo.types import OPTIONS, ChatMessage, JSONObject, Request, plain_turn

NAME = "openai"

_MESSAGE_FIELDS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio"})
"""Message fields of this API. Any other field belongs to the shared shape or to another API's client."""

_STRICT_FIELDS = frozenset({"role", "content", "tool_calls", "tool_call_id"})
"""Message fields that every compatible service accepts."""

TURN_FIELDS = ("reasoning_details", "annotations", "thinking_blocks", "reasoning_opaque", "images")
"""Fields of a reply's message that only the server which sent them needs back.

Sources: "Preserving reasoning blocks" and "Skip parsing costs" (of PDF files) in OpenRouter's documentation; BerriAI's
LiteLLM (BerriAI/litellm issue 8961); GitHub Copilot (anomalyco/opencode pull request 8900).
"""

_CALL_FIELDS = frozenset({"id", "type", "function"})

_DIRECT_ROLES = frozenset({"system", "user", "assistant"})
"""Roles whose messages every service accepts as they are."""

_PART_TYPES = frozenset({"text", "image_url", "input_audio", "file", "refusal"})
"""Content parts of this API."""

_OPTION_NAMES = sorted(OPTIONS)
_option_values = attrgetter(*_OPTION_NAMES)
_NO_OPTIONS = (None,) * len(_OPTION_NAMES)
"""The values of a request that sets no option: one attrgetter call and one comparison then skip them all."""


# Encode: the shared shape to OpenAI's body.


class Variations(msgspec.Struct, frozen=True, kw_only=True):
    """What a compatible server does otherwise than this API's reference, or does not have."""

    path: str = "/chat/completions"
    key_header: str = "authorization"
    """The header with the key, as a bearer token if it is this one. Azure's is "api-key"."""
    option_names: Mapping[str, str] = {}
    """The server's names of options: OpenAI calls `max_tokens` `max_completion_tokens`."""
    refused_options: frozenset[str] = frozenset()
    """Options that the server does not have."""
    stream_usage: bool = True
    """Whether the server accepts `stream_options`, with which a stream ends with its usage."""
    reasoning_field: str = ""
    """The message field in which the server wants a turn's reasoning text back, "" for the one in which it sent it."""
    calls_need_reasoning: bool = False
    """Whether a turn with calls must have that field, even if it has no reasoning."""
    call_id_length: int = 0
    """How many letters and digits the id of a call must have, 0 for any id."""
    custom_tools: bool = False
    """Whether the server has tools that take text. If not, they are sent as functions with the parameter `input`."""
    developer_role: bool = False
    """Whether the server knows the role `developer`. If not, such a message is sent as `system`."""
    one_system_message: bool = False
    """Whether the server accepts only one system message, at the start."""
    alternating_roles: bool = False
    """Whether the server refuses neighbouring messages of one role."""
    media_in_results: bool = False
    """Whether a tool's result may have images."""
    strict_messages: bool = False
    """Whether the server refuses `name` and other fields of a message that it does not know."""
    cumulative_texts: bool = False
    """Whether each piece of a stream has all the text so far. A server of ours then translates what it passes on."""
    ends_without_finish: bool = False
    """Whether the server ends complete replies without a finish reason and `[DONE]`."""
    think_tags: Tags = False
    """Whether a text that begins with `<think>` is reasoning up to `</think>`, or "open" if every text begins with
    reasoning and has only the second tag, because the model's template opens the thought. A server of ours then
    translates too.
    """


def encode_request(
    request: Request,
    extra: JSONObject,
    unsupported: Unsupported,
    server: Variations = Variations(),
    to_google: bool = False,
) -> JSONObject:
    """Return the body for a request. Calls `unsupported` for whatever the API cannot express.

    `to_google` is for Google's endpoint of this API, the only one that knows `extra_content`.
    """
    messages = request.messages
    if request.extra_for and request.extra_for != NAME:
        messages = [_without_foreign_parts(message, unsupported) for message in messages]
        request = _without_foreign_tools(request, unsupported)
    custom: frozenset[str] = frozenset()
    if request.tools:
        if server.custom_tools:
            custom = custom_names(request)
        else:
            request = as_functions(request, unsupported)
    fields = _STRICT_FIELDS if server.strict_messages else _MESSAGE_FIELDS
    encoded: Sequence[Mapping[str, Any]] = messages
    for message in messages:  # most conversations are sent as they are: the check costs less than a call
        if not message.keys() <= fields or "tool_calls" in message or message["role"] not in _DIRECT_ROLES:
            encoded = _MessageEncoder(server, custom, to_google, unsupported).encode_all(messages)
            break
    if server.one_system_message or server.alternating_roles:
        encoded = _system_first(encoded, join=server.one_system_message)
    if server.alternating_roles:
        encoded = _merge_neighbours(encoded)
    body: JSONObject = {"model": request.model, "messages": encoded}
    if request.stream:
        body["stream"] = True
        if server.stream_usage:
            body["stream_options"] = {"include_usage": True}
    values = _option_values(request)
    if values != _NO_OPTIONS:
        names = server.option_names
        # Of many options a few are set. They are found without a step of Python for each.
        for option, value in compress(zip(_OPTION_NAMES, values, strict=True), map(is_not, values, repeat(None))):
            if option not in server.refused_options:
                body[names.get(option, option)] = value
    if request.extra:
        if request.extra.get("n") not in (None, 1):
            unsupported("n above 1")
        merge_extra(body, extra)
        if "stream_options" in body and not body.get("stream"):
            # Of a row that a batch asks for as a document. OpenAI's API reference: "Only set this when you set
            # `stream: true`."
            del body["stream_options"]
    return body


class _MessageEncoder:
    """Encodes the messages that cannot be sent as they are."""

    def __init__(self, server: Variations, custom: frozenset[str], to_google: bool, unsupported: Unsupported) -> None:
        self._server = server
        self._custom = custom
        self._to_google = to_google
        self._unsupported = unsupported
        self._fields = _STRICT_FIELDS if server.strict_messages else _MESSAGE_FIELDS
        self.has_media_in_results = False

    def encode_all(self, messages: Sequence[ChatMessage]) -> list[Mapping[str, Any]]:
        """Return the messages of a conversation in which some cannot be sent as they are."""
        encoded: list[Mapping[str, Any]] = [self.encode(message) for message in messages]
        return _move_media(encoded) if self.has_media_in_results else encoded

    def encode(self, message: ChatMessage) -> JSONObject:
        """Return a message with tool calls, of another role, or with fields that the service does not have."""
        server, role = self._server, message["role"]
        encoded: JSONObject = {field: value for field, value in message.items() if field in self._fields}
        if role == "developer" and not server.developer_role:
            encoded["role"] = "system"
        if message.get("name") and "name" not in encoded and role != "tool":
            self._unsupported.preference("the name of a message's author")
        if "refusal" not in encoded and message.get("refusal") and not message.get("content"):
            encoded["content"] = message["refusal"]
        if role == "tool":
            self._encode_result(message, encoded)
        elif role == "assistant":
            self._encode_turn(message, encoded)
        return encoded

    def _encode_result(self, message: ChatMessage, encoded: JSONObject) -> None:
        encoded["content"] = content = tool_result(message)
        encoded["tool_call_id"] = self._call_id(message["tool_call_id"])
        if not self._server.media_in_results and isinstance(content, list):
            self.has_media_in_results |= any(part["type"] != "text" for part in content)

    def _encode_turn(self, message: ChatMessage, encoded: JSONObject) -> None:
        own: JSONObject = {}
        call_fields: dict[int, Mapping[str, Any]] = {}
        for part in turn_parts(message) if "turn_parts" in message else ():
            if part.get("source") == NAME:
                if part["type"] == "tool_call":
                    call_fields[part["index"]] = part["fields"]
                else:
                    own |= part["fields"]
        calls = message.get("tool_calls")
        if calls:
            encoded["tool_calls"] = [self._encode_call(call, call_fields.get(i, {})) for i, call in enumerate(calls)]
        text = "".join([block.get("text", "") for block in message.get("reasoning") or ()])
        field = self._server.reasoning_field or own.get("reasoning_field")
        if not self._server.strict_messages:
            encoded |= {name: own[name] for name in TURN_FIELDS if own.get(name)}
            if audio := object_or_empty(own.get("audio")).get("id"):
                encoded["audio"] = {"id": audio}
        if "reasoning_details" in encoded:
            return
        if field == "content":  # Mistral
            thought = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
            encoded["content"] = [thought, *content_parts(message.get("content"))]
        elif field and (text or (calls and self._server.calls_need_reasoning)):
            encoded[field] = text

    def _encode_call(self, call: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the call with its arguments as JSON text, the only form that this API accepts."""
        function, call_id = call["function"], call.get("id")
        arguments = function.get("arguments")
        if own.get("type") == "custom" or function["name"] in self._custom:
            text = custom_input(arguments_text(arguments))
            custom = {**own.get("custom", {}), "name": function["name"], "input": text}
            return {"id": self._call_id(call_id or ""), "type": "custom", "custom": custom}
        encoded: JSONObject = {**{name: value for name, value in call.items() if name in _CALL_FIELDS}, **own}
        if self._to_google and "extra_content" in call:
            encoded["extra_content"] = call["extra_content"]
        if call_id:
            encoded["id"] = self._call_id(call_id)
        if not isinstance(arguments, str):
            encoded["function"] = {**function, "arguments": dumps(dict(arguments or {})).decode()}
        elif not arguments.strip():
            encoded["function"] = {**function, "arguments": "{}"}
        return encoded

    def _call_id(self, call_id: str) -> str:
        """Return a call's id, or one derived from it if the service wants letters and digits of a certain length."""
        length = self._server.call_id_length
        if not length or re.fullmatch(f"[a-zA-Z0-9]{{{length}}}", call_id):
            return call_id
        import hashlib  # slow to import, and rarely needed

        return hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def _move_media(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the messages with what is not text in tool results moved to a user message after them.

    OpenAI accepts only text in a message with the role `tool`.
    """
    moved: list[Mapping[str, Any]] = []
    media: list[Mapping[str, Any]] = []
    for message in messages:
        if media and message["role"] != "tool":
            moved.append({"role": "user", "content": media})
            media = []
        if message["role"] == "tool" and isinstance(message["content"], list):
            texts = [part["text"] for part in message["content"] if part["type"] == "text"]
            others = [part for part in message["content"] if part["type"] != "text"]
            if others:
                media += [{"type": "text", "text": f"The result of the call {message['tool_call_id']}:"}, *others]
                text = "".join(texts) or "The result is in the next user message."
                message = {**message, "content": text}
        moved.append(message)
    return [*moved, {"role": "user", "content": media}] if media else moved


def _system_first(messages: Sequence[Mapping[str, Any]], join: bool) -> list[Mapping[str, Any]]:
    """Return the messages with those of the system first, as one message if `join`."""
    system = [message for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    if join and len(system) > 1:
        system = _merge_neighbours(system)
    return [*system, *others]


def _merge_neighbours(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the messages with neighbours of one role merged, except for tool results."""
    groups: list[list[Mapping[str, Any]]] = []
    for message in messages:
        if groups and groups[-1][0]["role"] == message["role"] != "tool":
            groups[-1].append(message)
        else:
            groups.append([message])
    return [group[0] if len(group) == 1 else _merge(group) for group in groups]


def _merge(messages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return several messages of one role as one."""
    merged: JSONObject = {}
    for message in messages:
        merged |= message
    contents = [content for message in messages if (content := message.get("content"))]
    if all(isinstance(content, str) for content in contents):
        merged["content"] = "\n\n".join(contents) or merged.get("content")
    else:
        merged["content"] = [part for content in contents for part in content_parts(content)]
    if calls := [call for message in messages for call in message.get("tool_calls") or ()]:
        merged["tool_calls"] = calls
    return merged


def _without_foreign_parts(message: ChatMessage, unsupported: Unsupported) -> ChatMessage:
    """Return a message of another API's client without the content parts that only that API knows.

    Of files, this API accepts only PDFs, with a name; a text file becomes text.
    """
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts: list[Any] = []
    for part in content:
        if (text := text_of_file(part)) is not None:
            parts.append({"type": "text", "text": text})
        elif part["type"] == "file":
            if (file := _pdf(part.get("file"), unsupported)) is not None:
                parts.append({**part, "file": file})
        elif part["type"] in _PART_TYPES:
            parts.append(part)
        else:
            unsupported(f"{part['type']} content")
    return {**message, "content": parts or ""}


def _pdf(file: Any, unsupported: Unsupported) -> Any:
    """Return a file with a name, which OpenAI's APIs require beside the data. Other APIs' clients send none.

    None: the API does not accept the file, which is of another type or a URL.
    """
    data = file.get("file_data") if isinstance(file, Mapping) else None
    if isinstance(data, str) and data.startswith("data:"):
        media_type = data[5:].partition(";")[0]
        if media_type != "application/pdf":
            return unsupported(f"{media_type} files")
        return {**file, "filename": file.get("filename") or "document.pdf"}
    if data is None and isinstance(file, Mapping) and file.get("file_url"):
        return unsupported("a file's URL")
    return file


def _without_foreign_tools(request: Request, unsupported: Unsupported) -> Request:
    """Return a request of another API's client without the tools that only that API runs itself."""
    tools = request.tools or []
    own = [tool for tool in tools if tool.get("type", "function") in _TOOL_TYPES]
    if len(own) == len(tools):
        return request
    for tool in tools:
        if tool.get("type", "function") not in _TOOL_TYPES:
            unsupported(f"the tool type {tool.get('type')!r}")
    if own:
        return msgspec.structs.replace(request, tools=own)
    return msgspec.structs.replace(request, tools=None, tool_choice=None, parallel_tool_calls=None)


_TOOL_TYPES = ("function", "custom")
"""The types of tools that this API has."""


# Decode: OpenAI's body to the shared shape.


def decode_request(body: JSONObject) -> JSONObject:
    """Return a received body with the shared shape's field names. Does not check the fields' types.

    Of `max_tokens` and `max_completion_tokens`, older servers look at the first and OpenAI's at the second. With both,
    the larger one bounds the reply wherever it comes from.
    """
    shared = dict(body)
    limit = shared.pop("max_completion_tokens", None)
    if limit is not None:
        older = shared.get("max_tokens")
        shared["max_tokens"] = max(limit, older) if type(limit) is type(older) is int else limit
    shared["stream"] = shared.get("stream") or False
    if shared.get("n") in (None, 1):
        shared.pop("n", None)
    if isinstance(reply_format := shared.get("response_format"), dict) and "schema" in reply_format:
        shared["response_format"] = _decode_format(reply_format)
    if isinstance(usage := shared.get("usage"), dict) and usage.keys() == {"include"}:  # OpenRouter's `stream_options`
        del shared["usage"]
        if usage["include"] is True:
            shared["stream_options"] = object_or_empty(shared.get("stream_options")) | {"include_usage": True}
    if isinstance(shared.get("messages"), list):
        shared["messages"] = [_decode_message(message) for message in shared["messages"]]
    return shared


def _decode_format(reply_format: JSONObject) -> JSONObject:
    """Return a format with its schema where this API has it.

    Together, Fireworks and llama.cpp's server have it beside the type, which may be `json_object`. Sources: their
    documentation ("Structured outputs", "JSON mode", and the README of the server).
    """
    schema = reply_format["schema"]
    if not isinstance(schema, dict) or "json_schema" in reply_format:
        return reply_format
    return {"type": "json_schema", "json_schema": {"name": reply_format.get("name") or "reply", "schema": schema}}


def decode_completion_request(body: JSONObject) -> JSONObject:
    """Return a received body of `/v1/completions` with the shared shape's field names: the prompt is a message.

    Raises RequestError (400) for what no chat API can express.
    """
    shared = dict(body)
    prompt = shared.pop("prompt", None)
    prompts = prompt if isinstance(prompt, list) else [prompt]
    if not all(isinstance(one, str) for one in prompts):
        raise invalid("prompt must be text: a chat model takes no tokens")
    if len(prompts) != 1:
        raise invalid(f"prompt has {len(prompts)} texts: send a request for each")
    if shared.pop("suffix", None) not in (None, ""):
        raise invalid("suffix is not supported: a chat model only continues a prompt")
    for field in ("n", "best_of"):
        if shared.pop(field, None) not in (None, 1):
            raise invalid(f"{field} above 1 is not supported: send the request several times")
    echo = shared.pop("echo", None) or False
    if not isinstance(echo, bool):
        raise invalid("echo must be true or false")
    logprobs = shared.pop("logprobs", None)
    if logprobs is not None and logprobs is not False:
        if echo:
            raise invalid("echo with logprobs is not supported: no chat API has log probabilities of the prompt")
        if not isinstance(logprobs, int) or logprobs < 0:
            raise invalid("logprobs must be the number of most likely tokens to return, 0 or more")
        shared |= {"logprobs": True, "top_logprobs": int(logprobs) or None}
    if echo:
        shared["echo"] = True
    return decode_request({**shared, "messages": [{"role": "user", "content": prompts[0]}]})


def _with_content(message: JSONObject) -> JSONObject:
    """Return a tool's result or a turn that has no content with an empty one: a tool may return nothing."""
    is_empty = not any(message.get(name) for name in ("tool_calls", "refusal", "audio"))
    is_turn = message.get("role") == "assistant"
    return {**message, "content": ""} if (is_turn and is_empty) or message.get("role") == "tool" else message


_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text")
_UNUSUAL_FIELDS = frozenset((*TURN_FIELDS, *_REASONING_FIELDS, "function_call"))


def _decode_message(message: Any) -> Any:
    """Return a message with the reasoning text of a compatible server's field as a block of the shared shape.

    What else only such a server knows of a turn becomes an opaque part of it. What is not an object stays as it is:
    `check_messages` reports it.
    """
    if not isinstance(message, dict):
        return message
    content, role = message.get("content"), message.get("role")
    if content is not None and role != "function" and _UNUSUAL_FIELDS.isdisjoint(message):
        return message
    if content is None:
        message = _with_content(message)
    if message.get("function_call") or role == "function":
        raise invalid("function_call and the role function are deprecated: send tool_calls and the role tool")
    own = {name: message[name] for name in TURN_FIELDS if message.get(name)}
    if own and isinstance(message.get("content"), str | None):
        message = _decode_message({name: value for name, value in message.items() if name not in TURN_FIELDS})
        blocks, calls = objects_in(message.get("reasoning")), objects_in(message.get("tool_calls"))
        plain = plain_turn(message.get("content") or "", len(blocks), len(calls))
        return {**message, "turn_parts": [{"type": "opaque", "source": NAME, "fields": own}, *plain]}
    for field in _REASONING_FIELDS:
        text = message.get(field)
        if isinstance(text, str):
            rest = {name: value for name, value in message.items() if name != field}
            return {**rest, "reasoning": [{"text": text}]} if text else rest
    return message
