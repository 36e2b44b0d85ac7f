"""OpenAI's chat completions: JSON in, JSON or server-sent events out; the shared shape is this API's.

Source: OpenAI's API reference ("Chat Completions", its streaming chunks), and the fields that compatible
servers add: `reasoning_content` (DeepSeek, vLLM, llama.cpp), `reasoning` (OpenRouter, Groq),
`extra_content.google` (Gemini's compatible endpoint).
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from acytoo.dialects.base import (
    UNDECODABLE,
    Call,
    Dialect,
    Endpoint,
    ErrorAnswer,
    Head,
    Incoming,
    Losses,
    Outgoing,
    Reader,
    Writer,
    decode_body,
    encoded,
    error_words_of,
    join_url,
    not_this_api,
)
from acytoo.dialects.reading import EitherReader, RecordReader, WholeReader
from acytoo.dialects.serving import error_fields, new_id, request_of
from acytoo.errors import AcytooError, TruncatedError, status_error
from acytoo.secret import Secret
from acytoo.types import (
    OPTIONS,
    Event,
    Finish,
    Item,
    Logprobs,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Start,
    ToolCall,
    Usage,
    signature_of,
)
from acytoo.wire.sse import COMMENT, SSEDecoder

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
    harmless = frozenset(
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

    def build(self, request: Request, endpoint: Endpoint, lose: Losses) -> Outgoing:
        """The shared shape is this API's own; only our additions are taken out of the messages."""
        self.check_options(request, lose)
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [self._message(message) for message in request.messages],
        }
        if request.stream:
            body["stream"] = True
            if self.stream_usage:
                body["stream_options"] = {"include_usage": True}
        for option in _ORDER:
            value = getattr(request, option)
            if value is not None:
                body[self.max_tokens_field if option == "max_tokens" else option] = value
        for field, value in self.extra(request).items():
            body.setdefault(field, value)
        headers = {"accept": "*/*", "content-type": "application/json"}
        if endpoint.key:
            bearer = "Bearer " if self.key_header == "authorization" else ""
            headers[self.key_header] = bearer + endpoint.key.reveal()
        return Outgoing(join_url(endpoint.url, self.path), headers, encoded(body))

    def reader(self, head: Head) -> Reader:
        """Server-sent events, or one document: some servers answer either with the other."""
        return EitherReader(WholeReader(self), _StreamReader(self.name))

    def read_reply(self, body: bytes) -> list[Item]:
        """The items of a `chat.completion`."""
        chunk = _decode(body)
        if chunk.error is not None:
            raise _told(chunk.error)
        if not chunk.choices:
            _raise_bare_error(body)
            raise msgspec.ValidationError("it has no choices")
        reader = _StreamReader(self.name)
        items = reader.items(chunk)
        if reader.finished or any(not isinstance(item, (Start, Usage)) for item in items):
            return items
        raise TruncatedError("the reply has neither content nor finish_reason")

    def parse(self, incoming: Incoming) -> Call:
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
        return Call(request_of(body, self.name), bearer_secrets(incoming))

    def writer(self, request: Request) -> Writer:
        """Chunks ending with `[DONE]`; usage where `stream_options.include_usage` asked for it."""
        options = request.extra.get("stream_options")
        return _StreamWriter(request.model, isinstance(options, dict) and bool(options.get("include_usage")))

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
            body["usage"] = _usage_fields(reply.usage)
        return msgspec.json.encode(body)

    def write_error(self, error: AcytooError) -> ErrorAnswer:
        """`{"error": {"message", "type", "param", "code"}}`."""
        status, message, code, extra_headers = error_fields(error)
        body = {"error": {"message": message, "type": code, "param": None, "code": code}}
        return ErrorAnswer(status, {"content-type": "application/json", **extra_headers}, msgspec.json.encode(body))

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        if message.keys() <= _PLAIN:
            return message
        sent = {field: message[field] for field in message if field in _PLAIN}
        if self.reasoning_field and message.get("reasoning"):
            sent[self.reasoning_field] = "".join([b.get("text", "") for b in message["reasoning"]])
        return sent


_ORDER = sorted(OPTIONS)


def bearer_secrets(incoming: Incoming) -> list[Secret]:
    """The secrets in a request's headers: a bearer token, or the key headers of the other APIs' clients."""
    found = []
    scheme, _, token = incoming.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        found.append(Secret(token.strip()))
    found += [
        Secret(incoming.headers[name])
        for name in ("x-api-key", "api-key", "x-goog-api-key")
        if name in incoming.headers
    ]
    return found


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


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    finish_reason: str | None = None
    index: int | None = 0
    logprobs: dict[str, Any] | None = None
    message: _Delta | None = None
    error: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    id: str | None = None
    model: str | None = None
    created: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class _StreamReader(RecordReader):
    """Chunks of a streamed completion; complete with `[DONE]` or a finish reason."""

    ending = "finish_reason or [DONE]"

    def __init__(self, name: str) -> None:
        self._name = name
        super().__init__(SSEDecoder())
        self._started = False
        self._done = False
        self.finished = False
        self._ids: list[str] = []
        self._calls: dict[int | None, int] = {}

    @property
    def complete(self) -> bool:
        """A finish reason came, or `[DONE]`."""
        return self._done or self.finished

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Add the items of some records; one that brings nothing but text, as nearly all do, takes the short way."""
        for record in records:
            try:
                chunk = _decode(record)
            except UNDECODABLE:
                unusual = self._unusual(record)
                if unusual is None:
                    continue
                chunk = unusual
            if self._done:
                break
            choices = chunk.choices
            if choices and len(choices) == 1 and self._started:
                choice = choices[0]
                delta = choice.delta
                if delta is not None:
                    text = delta.content
                    if (
                        type(text) is str
                        and choice.finish_reason is None
                        and chunk.usage is None
                        and choice.logprobs is None
                        and delta.tool_calls is None
                        and delta.reasoning_content is None
                        and delta.reasoning is None
                        and delta.refusal is None
                        and delta.function_call is None
                        and not choice.index
                        and chunk.error is None
                        and choice.error is None
                    ):
                        if text:
                            items.append(text)
                        continue
            if choices is None:
                _raise_bare_error(record)
            items += self.items(chunk)

    def _unusual(self, record: bytes) -> _Chunk | None:
        """A record that msgspec refuses: `[DONE]`, an empty one, or one with half a character."""
        word = record.strip()
        if self._done or not word:
            return None
        if word == b"[DONE]":
            self._done = True
            return None
        try:
            return self._halves.decode(record, _Chunk)
        except UNDECODABLE as error:
            raise not_this_api(self._name, record, str(error)) from error

    def items(self, chunk: _Chunk) -> list[Item]:
        """The items of one chunk, or of a whole completion."""
        if chunk.error:
            raise _told(chunk.error)
        items: list[Item] = []
        if not self._started and (chunk.id or chunk.model):
            self._started = True
            items.append(Start(chunk.id or "", chunk.model or "", _count(chunk.created)))
        for choice in chunk.choices or ():
            if choice.error:
                raise _told(choice.error)
            if choice.index:
                continue
            delta = choice.delta or choice.message
            if delta is not None:
                self._delta(delta, items)
            tokens = choice.logprobs.get("content") if choice.logprobs else None
            if tokens and isinstance(tokens, list):
                items.append(Logprobs(tokens))
            if choice.finish_reason and not self.finished:
                if choice.finish_reason == "error":
                    raise status_error(None, "the server ended the reply with the finish_reason 'error'", code="error")
                self.finished = True
                items.append(_finish(choice.finish_reason))
        if chunk.usage:
            items.append(_usage(chunk.usage))
        return items

    def _delta(self, delta: _Delta, items: list[Item]) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            items.append(Reasoning(thought))
        if isinstance(delta.content, str):
            if delta.content:
                items.append(delta.content)
        elif delta.content:
            items += _parts(delta.content)
        if delta.refusal:
            items.append(Refusal(delta.refusal))
        for call in delta.tool_calls or ():
            items += self._call(call)
        if delta.function_call:
            items += self._call(_ToolCall(function=delta.function_call))

    def _call(self, call: _ToolCall) -> list[Item]:
        """The piece of a tool call, numbered in order of appearance.

        Some servers leave `index` out (Gemini's), or have 0 for every call (Ollama's), or give no id.
        """
        function = call.function or _Function()
        number = self._calls.get(call.index)
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = encoded(arguments).decode()
        if number is None:
            begins = bool(call.id or function.name or arguments)
        elif call.id and call.id != self._ids[number]:
            begins = call.index is None or bool(function.name)
        else:
            begins = call.index is None and not call.id and bool(function.name)
        given = ""
        if begins:
            given = call.id or new_id("call_")
            number = self._calls[call.index] = len(self._ids)
            self._ids.append(given)
        if number is None:
            return []
        signed = signature_of({"extra_content": call.extra_content}) or ("", "")
        return [ToolCall(number, given, function.name or "", arguments or "", *signed)]


def _parts(parts: list[dict[str, Any]]) -> list[Item]:
    """Content parts inside a delta (Mistral's `thinking` and `text`)."""
    items: list[Item] = []
    for part in parts:
        if isinstance(part.get("text"), str) and part["text"]:
            items.append(part["text"])
        elif isinstance(part.get("thinking"), list):
            thoughts = [thought.get("text") for thought in part["thinking"] if isinstance(thought, dict)]
            items += [Reasoning(text) for text in thoughts if text and isinstance(text, str)]
    return items


def _told(error: Any) -> AcytooError:
    """The error that an event tells; `code` is an HTTP status at many compatible servers."""
    message, code = error_words_of({"error": error}) or (str(error), "")
    number = error.get("code") if isinstance(error, dict) else None
    status = number if isinstance(number, int) and 400 <= number < 600 else _STATUS.get(code)
    return status_error(status, message, code=code, body=msgspec.json.encode(error)[:2000].decode("utf-8", "replace"))


def _raise_bare_error(record: bytes) -> None:
    """Raise where the document itself is the error, as vLLM and LMDeploy write it."""
    if b'"error"' in record and (document := msgspec.json.decode(record)).get("object") == "error":
        raise _told(document)


_STATUS = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
}

_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})


def _finish(reason: str) -> Finish:
    if reason in _REASONS:
        return Finish(reason)
    return Finish("tool_calls" if reason == "function_call" else reason, raw=reason)


def _usage(fields: dict[str, Any]) -> Usage:
    """Usage in OpenAI's names; DeepSeek's `prompt_cache_hit_tokens` too."""
    into = fields.get("prompt_tokens_details")
    out = fields.get("completion_tokens_details")
    into = into if isinstance(into, dict) else {}
    out = out if isinstance(out, dict) else {}
    return Usage(
        _count(fields.get("prompt_tokens")),
        _count(fields.get("completion_tokens")),
        _count(into.get("cached_tokens")) or _count(fields.get("prompt_cache_hit_tokens")),
        _count(into.get("cache_write_tokens")),
        _count(out.get("reasoning_tokens")),
    )


def _count(number: Any) -> int:
    """A number of tokens or seconds; 0 for anything that is none."""
    return int(number) if isinstance(number, (int, float)) and 0 <= number < 2**63 else 0


def _usage_fields(usage: Usage) -> dict[str, Any]:
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


class _StreamWriter(Writer):
    """`chat.completion.chunk` events; the frame of a text chunk is rendered once."""

    ping = COMMENT

    def __init__(self, model: str, usage: bool) -> None:
        self._id = new_id("chatcmpl-")
        self._model = model
        self._created = int(time.time())
        self._with_usage = usage
        self._usage: Usage | None = None
        self._calls: set[int] = set()
        self._open = False
        self._frame()

    def _frame(self) -> None:
        head = msgspec.json.encode(
            {
                "id": self._id,
                "object": "chat.completion.chunk",
                "created": self._created,
                "model": self._model,
            }
        )
        self._head = b"data: " + head[:-1] + b',"choices":['
        self._before = self._head + b'{"index":0,"delta":{"content":'
        self._after = b'},"logprobs":null,"finish_reason":null}]}\n\n'

    def write(self, items: list[Item]) -> bytes:
        """Every item as a chunk of its own."""
        out: list[bytes] = []
        encode, before, after = msgspec.json.encode, self._before, self._after
        for item in items:
            if type(item) is str:
                if not self._open:
                    out.append(self._opening())
                out += (before, encode(item), after)
            elif isinstance(item, Start):
                self._id, self._model = item.id or self._id, item.model or self._model
                self._created = item.created or self._created
                self._frame()
                before, after = self._before, self._after
                out.append(self._opening())
            elif isinstance(item, Event):
                if not self._open:
                    out.append(self._opening())
                out.append(self._event(item))
        return b"".join(out)

    def end(self) -> bytes:
        """Usage where asked for, then `[DONE]`."""
        last = b"" if self._open else self._opening()
        if self._with_usage and self._usage:
            last += self._head + b'],"usage":' + msgspec.json.encode(_usage_fields(self._usage)) + b"}\n\n"
        return last + b"data: [DONE]\n\n"

    def fail(self, error: AcytooError) -> bytes:
        """An error event, which the makers' clients raise; no `[DONE]` follows."""
        status, message, code, _ = error_fields(error)
        body = {"error": {"message": message, "type": code, "param": None, "code": status}}
        return b"data: " + msgspec.json.encode(body) + b"\n\n"

    def _opening(self) -> bytes:
        if self._open:
            return b""
        self._open = True
        return self._choice({"role": "assistant", "content": ""})

    def _choice(self, delta: dict[str, Any], reason: str | None = None, logprobs: Any = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._head + msgspec.json.encode(choice) + b"]}\n\n"

    def _event(self, item: Event) -> bytes:
        if isinstance(item, ToolCall):
            return self._choice({"tool_calls": [self._call(item)]})
        if isinstance(item, Reasoning):
            return self._choice({"reasoning_content": item.text}) if item.text else b""
        if isinstance(item, Refusal):
            return self._choice({"refusal": item.text})
        if isinstance(item, Logprobs):
            return self._choice({}, logprobs={"content": item.tokens, "refusal": None})
        if isinstance(item, Finish):
            return self._choice({}, item.reason)
        if isinstance(item, Usage):
            self._usage = item
        return b""

    def _call(self, item: ToolCall) -> dict[str, Any]:
        function: dict[str, Any] = {"arguments": item.arguments}
        call: dict[str, Any] = {"index": item.index, "function": function}
        if item.index not in self._calls:
            self._calls.add(item.index)
            call |= {"id": item.id or new_id("call_"), "type": "function"}
            function["name"] = item.name
        if item.signature:
            call["extra_content"] = {"google": {"thought_signature": item.signature}}
        return call
