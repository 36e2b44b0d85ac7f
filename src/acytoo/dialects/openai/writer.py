"""OpenAI's replies as a server sends them: chunks of a stream, or one document.

Source: OpenAI's API reference ("The chat completion object", "The chat completion chunk object"), and the types of its
Python SDK.
"""

from __future__ import annotations

import functools
import itertools
import time
from typing import Any

import msgspec

from acytoo.dialects.base import Writer
from acytoo.dialects.citations import Citation, cited_in
from acytoo.dialects.custom_tools import custom_input, custom_names
from acytoo.dialects.error_bodies import describe_error, in_stream, openai_error
from acytoo.dialects.fields import objects_in, text_or_empty
from acytoo.dialects.finish import FINISH_REASONS, nearest_reason
from acytoo.dialects.openai.reader import SOURCE_FIELDS
from acytoo.dialects.openai.request import NAME, TURN_FIELDS
from acytoo.dialects.server_side import new_id
from acytoo.dialects.services import api_of, without_hosts
from acytoo.errors import AcytooError
from acytoo.types import (
    Event,
    Finish,
    Item,
    JSONObject,
    Logprobs,
    OpaquePart,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Start,
    ToolCall,
    Usage,
    signature_content,
)
from acytoo.wire.sse import COMMENT

_BEFORE_TEXT = b'{"index":0,"delta":{"content":'
_AFTER_TEXT = b'},"logprobs":null,"finish_reason":null}]}\n\n'


_OWN_FIELDS = (*TURN_FIELDS, "audio")
"""Fields of a message or a delta that other APIs have no place for. The words of the audio are the text."""

_CUSTOM = frozenset({"type", "custom"})
"""What makes a call one of a custom tool. The request's own tools decide about it here."""


class StreamWriter(Writer):
    """A writer of one `chat.completion.chunk` event per item."""

    ping = COMMENT

    def __init__(self, request: Request) -> None:
        options = request.extra.get("stream_options")
        self._id = new_id("chatcmpl-")
        self._model = request.model
        self._created = int(time.time())
        self._include_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self._usage: Usage | None = None
        self._calls: set[int] = set()
        self._custom = custom_names(request) if request.tools else frozenset()
        self.keeps_reply = bool(self._custom)
        self._inputs: dict[int, list[str]] = {}  # the arguments of calls of custom tools, which are text once complete
        self._signed: set[int] = set()
        self._reasoning_field = "reasoning_content"
        self._open = False
        self._finish: Finish | None = None

    @functools.cached_property
    def _head(self) -> bytes:
        """Return the bytes that every chunk begins with. `write` deletes them when `Start` changes them."""
        head = msgspec.json.encode(
            {
                "id": self._id,
                "object": "chat.completion.chunk",
                "created": self._created,
                "model": self._model,
            }
        )
        return b"data: " + head[:-1] + b',"choices":['

    def write(self, items: list[Item]) -> bytes:
        """Return a chunk for each item.

        A text costs one encode and no call: the frame around it is rendered once.
        """
        out: list[bytes] = []
        encode, before = msgspec.json.encode, self._head + _BEFORE_TEXT
        for item in items:
            if type(item) is str:
                if not self._open:
                    out.append(self._opening())
                out += (before, encode(item), _AFTER_TEXT)
            elif isinstance(item, Start):
                self._id, self._model = item.id or self._id, item.model or self._model
                self._created = item.created or self._created
                del self._head
                before = self._head + _BEFORE_TEXT
                out.append(self._opening())
            elif isinstance(item, Event):
                if not self._open:
                    out.append(self._opening())
                out.append(self._encode_event(item))
        return b"".join(out)

    def end(self) -> bytes:
        """Return the finish reason, the usage if the client asked for it, then `[DONE]`.

        Some backends send a reason in each record, and a client stops reading at the first.
        """
        reason = _encode_finish(self._finish, bool(self._calls or self._inputs))
        last = self._write_last(reason, encode_usage(self._usage) if self._include_usage and self._usage else None)
        return self._opening() + self._write_inputs() + last + b"data: [DONE]\n\n"

    def fail(self, error: AcytooError) -> bytes:
        """Return an error event, for which the official SDKs raise. No `[DONE]` follows.

        Its `code` is the HTTP status, as OpenRouter and vLLM send it: the response itself began with 200.
        """
        fields = openai_error(error) | {"code": describe_error(error)[0]} | in_stream(error)
        return b"data: " + msgspec.json.encode({"error": fields}) + b"\n\n"

    def _write_last(self, reason: str, usage: JSONObject | None) -> bytes:
        """Return the chunk with the finish reason, and the one with the usage."""
        chunk = self._chunk({}, reason)
        return chunk if usage is None else chunk + self._head + b'],"usage":' + msgspec.json.encode(usage) + b"}\n\n"

    def _opening(self) -> bytes:
        """Return the first chunk, which has the role and no text."""
        if self._open:
            return b""
        self._open = True
        return self._chunk({"role": "assistant", "content": ""})

    def _chunk(self, delta: JSONObject, reason: str | None = None, logprobs: JSONObject | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._head + msgspec.json.encode(choice) + b"]}\n\n"

    def _encode_event(self, item: Event) -> bytes:
        if isinstance(item, ToolCall):
            if self._custom and (item.name in self._custom or item.index in self._inputs):
                return self._encode_custom(item)
            return self._chunk({"tool_calls": [self._encode_call(item)]})
        if isinstance(item, Reasoning):
            return self._chunk(_encode_reasoning(item.text, self._reasoning_field)) if item.text else b""
        if isinstance(item, OpaquePart):
            return self._encode_own_part(item) if api_of(item.source) == NAME else self._cite(item)
        if isinstance(item, Refusal):
            return self._chunk({"refusal": item.text})
        if isinstance(item, Logprobs):
            return self._chunk({}, logprobs={"content": item.tokens, "refusal": None})
        if isinstance(item, Finish):
            self._finish = item
        if isinstance(item, Usage):
            self._usage = item
        return b""

    def _encode_custom(self, item: ToolCall) -> bytes:
        """Keep a piece of a call of a custom tool. Return the chunk with all else: the first piece has id and name."""
        call: JSONObject = {"index": item.index}
        if item.index not in self._inputs:
            call |= _custom_call(item.id or new_id("call_"), item.name, "")
        self._inputs.setdefault(item.index, []).append(item.arguments)
        self._sign(item, call)
        return self._chunk({"tool_calls": [call]}) if len(call) > 1 else b""

    def _write_inputs(self) -> bytes:
        """Return the chunks with the text of the calls of custom tools."""
        inputs, self._inputs = self._inputs, {}
        out = b""
        for index, pieces in inputs.items():
            custom = {"input": custom_input("".join(pieces))}
            out += self._chunk({"tool_calls": [{"index": index, "custom": custom}]})
        return out

    def _encode_own_part(self, item: OpaquePart) -> bytes:
        """Return the chunk with what a compatible server has beyond this API."""
        if item.part == "tool_call":
            # The official SDKs concatenate texts, so a signature must not be sent twice.
            written = _CUSTOM | {"extra_content"} if item.index in self._signed else _CUSTOM
            own = {name: value for name, value in item.fields.items() if name not in written}
            return self._chunk({"tool_calls": [{"index": item.index, **own}]}) if own else b""
        self._reasoning_field = item.fields.get("reasoning_field") or self._reasoning_field
        fields = {name: item.fields[name] for name in _OWN_FIELDS if item.fields.get(name)}
        chunk = self._chunk(fields) if fields else b""
        if sources := {name: item.fields[name] for name in SOURCE_FIELDS if item.fields.get(name)}:
            chunk += self._chunk({}).removesuffix(b"}\n\n") + b"," + msgspec.json.encode(sources)[1:] + b"\n\n"
        return chunk

    def _cite(self, item: OpaquePart) -> bytes:
        """Return the chunk with the citations in a part of another API."""
        annotations = _annotations(self.citations.new_in(item.source, item.fields))
        return self._chunk({"annotations": annotations}) if annotations else b""

    def _encode_call(self, item: ToolCall) -> JSONObject:
        function: JSONObject = {"arguments": item.arguments}
        call: JSONObject = {"index": item.index, "function": function}
        if item.index not in self._calls:
            self._calls.add(item.index)
            call |= {"id": item.id or new_id("call_"), "type": "function"}
            function["name"] = item.name
        self._sign(item, call)
        return call

    def _sign(self, item: ToolCall, call: JSONObject) -> None:
        if item.signature:
            self._signed.add(item.index)
            call["extra_content"] = signature_content(item.signature)


def encode_citation(citation: Citation) -> JSONObject:
    """Return the fields of a `url_citation`, which are the same in both of OpenAI's chat APIs."""
    return {"url": citation.url, "title": citation.title, "start_index": citation.start, "end_index": citation.end}


def _annotations(citations: list[Citation]) -> list[JSONObject]:
    return [{"type": "url_citation", "url_citation": encode_citation(one)} for one in citations]


def _custom_call(call_id: str, name: str, text: str) -> JSONObject:
    return {"id": call_id, "type": "custom", "custom": {"name": name, "input": text}}


def _encode_reasoning(text: str, field: str) -> JSONObject:
    """Return the fields of a delta or message with reasoning text, in the field in which the server sent it."""
    if field == "content":  # Mistral
        return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}
    return {field: text}


class CompletionWriter(StreamWriter):
    """A writer of one `text_completion` event per text, for `/v1/completions`. It has only texts."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._echo = _echo(request)
        self._offset = 0  # of the next token in the text

    @functools.cached_property
    def _head(self) -> bytes:
        head = {"id": self._id, "object": "text_completion", "created": self._created, "model": self._model}
        return b"data: " + msgspec.json.encode(head)[:-1] + b',"choices":['

    def write(self, items: list[Item]) -> bytes:
        """Return a chunk for each text. A refusal is text."""
        out: list[bytes] = []
        text = ""
        for item, following in itertools.zip_longest(items, items[1:]):
            if isinstance(item, str) and isinstance(following, Logprobs):
                text = item  # one chunk has both
            elif isinstance(item, str):
                out.append(self._text(item))
            elif isinstance(item, Logprobs):
                out.append(self._text(text, logprobs=item.tokens))
                text = ""
            elif isinstance(item, Start):
                self._id, self._model = item.id or self._id, item.model or self._model
                self._created = item.created or self._created
                self.__dict__.pop("_head", None)
            elif isinstance(item, Refusal):
                out.append(self._text(item.text))
            elif isinstance(item, Finish):
                self._finish = item
            elif isinstance(item, Usage):
                self._usage = item
        return b"".join(out)

    def _opening(self) -> bytes:
        return b""

    def _chunk(self, delta: JSONObject, reason: str | None = None, logprobs: JSONObject | None = None) -> bytes:
        return self._text("", reason)

    def _text(self, text: str, reason: str | None = None, logprobs: list[JSONObject] | None = None) -> bytes:
        text, self._echo = self._echo + text, ""
        choice = _completion_choice(text, reason, logprobs, self._offset)
        self._offset += sum([len(text_or_empty(token.get("token"))) for token in logprobs or ()])
        return self._head + msgspec.json.encode(choice) + b"]}\n\n"


def _echo(request: Request) -> str:
    """Return the prompt if the reply begins with it."""
    content = request.messages[0].get("content") if request.extra.get("echo") else ""
    return content if isinstance(content, str) else ""


def completion_document(reply: Reply, request: Request) -> JSONObject:
    """Return a complete reply as a `text_completion`."""
    document = reply_document(reply, request)
    text = _echo(request) + reply.text + reply.refusal
    choice = _completion_choice(text, _encode_finish(reply.finish, False), reply.logprobs)
    return {**document, "object": "text_completion", "choices": [choice]}


def _completion_choice(
    text: str, reason: str | None, tokens: list[JSONObject] | None = None, offset: int = 0
) -> JSONObject:
    """Return the only choice. `tokens` are in the shape of chat completions, the first at this offset in the text."""
    logprobs: JSONObject | None = None
    if tokens:
        names = [text_or_empty(token.get("token")) for token in tokens]
        logprobs = {
            "tokens": names,
            "token_logprobs": [token.get("logprob") for token in tokens],
            "top_logprobs": [_most_likely(token) for token in tokens],
            "text_offset": list(itertools.accumulate([len(name) for name in names[:-1]], initial=offset)),
        }
    return {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": reason}


def _most_likely(token: JSONObject) -> JSONObject:
    """Return the log probabilities of the most likely tokens at the place of this one."""
    return {text_or_empty(top.get("token")): top.get("logprob") for top in objects_in(token.get("top_logprobs"))}


def reply_document(reply: Reply, request: Request) -> JSONObject:
    """Return a complete reply as a `chat.completion`."""
    message: JSONObject = {
        "role": "assistant",
        "content": None if (reply.tool_calls or reply.refusal) and not reply.text else reply.text,
        "refusal": reply.refusal or None,
    }
    own: JSONObject = {}
    calls: list[Any] = [*reply.tool_calls]
    custom = custom_names(request) if request.tools else frozenset()
    for index, call in enumerate(reply.tool_calls if custom else ()):
        function = call["function"]
        if function["name"] in custom:
            signed = {"extra_content": call["extra_content"]} if "extra_content" in call else {}
            text = custom_input(function["arguments"])
            calls[index] = {**_custom_call(call["id"], function["name"], text), **signed}
    for part in without_hosts(reply.turn_parts):
        if part.get("source") == NAME:
            if part["type"] == "tool_call":
                own_fields = {name: value for name, value in part["fields"].items() if name not in _CUSTOM}
                calls[part["index"]] = {**calls[part["index"]], **own_fields}
            else:
                own |= part["fields"]
    if cited := cited_in(reply.turn_parts, NAME):
        own["annotations"] = _annotations(cited)
    if reasoning := "".join([block.get("text", "") for block in reply.reasoning]):
        thought = _encode_reasoning(reasoning, own.get("reasoning_field") or "reasoning_content")
        if "content" in thought and reply.text:
            thought["content"].append({"type": "text", "text": reply.text})
        message |= thought
    message |= {name: own[name] for name in _OWN_FIELDS if own.get(name)}
    if calls:
        message["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": reply.logprobs, "refusal": None} if reply.logprobs else None,
        "finish_reason": _encode_finish(reply.finish, bool(calls)),
    }
    document = {
        "id": reply.id or new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": reply.created or int(time.time()),
        "model": reply.model or request.model,
        "choices": [choice],
        "system_fingerprint": None,  # it must be there for OpenRouter's SDKs
        **{name: own[name] for name in SOURCE_FIELDS if own.get(name)},
    }
    if reply.usage:
        document["usage"] = encode_usage(reply.usage)
    return document


def _encode_finish(finish: Finish | None, has_calls: bool) -> str:
    """Return the finish reason: of a reply with calls, one on which clients make them (BerriAI/litellm#35753)."""
    reason = "stop" if finish is None else nearest_reason(finish, FINISH_REASONS)
    return "tool_calls" if has_calls and reason == "stop" else reason


def encode_usage(usage: Usage) -> JSONObject:
    """Return the usage of a chunk or a document."""
    details: dict[str, int] = {"cached_tokens": usage.cached_tokens}
    if usage.cache_write_tokens:
        details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
