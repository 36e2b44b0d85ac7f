"""Ollama's chat API: JSON in, JSON or newline-delimited JSON out.

Source: Ollama's API documentation ("Generate a chat completion", "Streaming", "Tool calling", "Thinking"), and the
types of the `ollama` Python package. Its clients decode every line, so no blank line may keep a stream alive.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from acytoo.dialects.base import Capabilities, Dialect, ParsedRequest, Reader, Unsupported, Writer
from acytoo.dialects.error_bodies import error_fields, error_from_event
from acytoo.dialects.fields import decode_body
from acytoo.dialects.json import UNDECODABLE, dumps, is_complete_json
from acytoo.dialects.ollama.request import sent_body, shared_body
from acytoo.dialects.readers import RecordReader, WholeReader, bare_error
from acytoo.dialects.server_side import bearer_secrets, new_id, request_of
from acytoo.dialects.tool_calls import arguments_text, called_with
from acytoo.errors import AcytooError, ProtocolError, TruncatedError
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest, join_url, json_headers
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
    ToolCallDict,
    Usage,
    collect,
)
from acytoo.wire.escapes import without_line_ends
from acytoo.wire.ndjson import NDJSONDecoder

_RUNNER_OPTIONS = (
    *("numa", "num_ctx", "num_batch", "num_gpu", "main_gpu", "low_vram", "f16_kv", "logits_all", "vocab_only"),
    *("use_mmap", "use_mlock", "embedding_only", "num_thread", "num_keep"),
)
"""How a model is loaded: nothing that another API would have to obey."""

_VERSION = "0.12.0"
"""The version of Ollama that our answers are modelled on; its clients compare it."""

_DETAILS = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}


class Ollama(Dialect):
    """Ollama's chat API. The endpoint's URL is the server's root, the key is sent as a bearer token where given."""

    name = "ollama"
    options = OPTIONS - {"user"}
    routes = ("/api/chat",)
    ignorable_fields = frozenset({"keep_alive", "truncate", "shift", *(f"options.{name}" for name in _RUNNER_OPTIONS)})
    capabilities = Capabilities(
        frozenset({"model", "created"}),
        frozenset({"input_tokens", "output_tokens"}),
        frozenset({"text", "reasoning", "tool_calls", "logprobs"}),
        reasoning_blocks=False,
    )
    list_routes = ("/api/tags", "/api/ps")
    fixed_documents = {
        ("GET", "/api/version"): {"version": _VERSION},
        ("POST", "/api/show"): {
            "details": _DETAILS,
            "model_info": {},
            "capabilities": ["completion", "tools"],
            "parameters": "",
        },
    }

    def encode_request(self, request: Request, endpoint: Endpoint, unsupported: Unsupported) -> HTTPRequest:
        """The body with the options where this API has them."""
        self.check_options(request, unsupported)
        return self.http_request(request, endpoint, dumps(sent_body(request, self.extra(request), unsupported)))

    def http_request(self, request: Request, endpoint: Endpoint, body: bytes) -> HTTPRequest:
        """The key, where a proxy in front of the server wants one, as a bearer token."""
        return HTTPRequest(join_url(endpoint.url, "/api/chat"), json_headers(endpoint.key), body)

    def reader(self, head: ResponseHead) -> Reader:
        """Lines, or one document where the server says JSON; a page is no reply, its reader says so."""
        if head.content_type in ("application/json", "text/html"):
            return WholeReader(self)
        return _StreamReader(self.name)

    def read_reply(self, body: bytes) -> list[Item]:
        """The items of a whole reply, which has the shape of a line; some servers give lines the type of a document."""
        reader = _StreamReader(self.name)
        if b"\n" in body and is_complete_json(body.partition(b"\n")[0]):
            items = reader.feed(body) + reader.flush()
            reader.close()
            return items
        line = _decode(body)
        items = reader.items(line)
        if line.done:
            return items
        if line.message is None:
            raise msgspec.ValidationError("it has no message")
        raise TruncatedError("the reply is not done")

    def decode_request(self, incoming: ServerRequest) -> ParsedRequest:
        """A stream unless `stream` is false."""
        body = shared_body(decode_body(incoming))
        return ParsedRequest(request_of(body, self.name), bearer_secrets(incoming))

    def writer(self, request: Request) -> Writer:
        """Lines ending with one that is `done`."""
        return _StreamWriter(request.model)

    def write_reply(self, reply: Reply, request: Request) -> bytes:
        """One document; its durations are counted from `reply.created`, the only time a whole reply knows."""
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or reply.refusal}
        thoughts = "".join([block.get("text", "") for block in reply.reasoning])
        if thoughts:
            message["thinking"] = thoughts
        if calls := _written_calls(reply.tool_calls, reply.finish):
            message["tool_calls"] = calls
        now = time.time()
        took = max(1, int((now - reply.created) * 1e9)) if reply.created else 1
        body: dict[str, Any] = {
            "model": reply.model or request.model,
            "created_at": _rfc3339(reply.created or now),
            "message": message,
        }
        if reply.logprobs:
            body["logprobs"] = reply.logprobs
        return msgspec.json.encode(body | _last_fields(reply.finish, reply.usage, took, took))

    def error_document(self, error: AcytooError) -> dict[str, Any]:
        """Return `{"error": "…"}`."""
        return {"error": error.message}

    def is_client(self, request: ServerRequest) -> bool:
        """Return whether the path is under `/api/`, as all of this API's are."""
        return request.path.startswith("/api/")

    def models(self, names: list[str], created: int) -> dict[str, Any]:
        """Return the list of models."""
        return {"models": [self.model(name, created) for name in names]}

    def model(self, name: str, created: int) -> dict[str, Any]:
        """Return one entry of the list."""
        modified = datetime.fromtimestamp(created, UTC).isoformat()
        return {"name": name, "model": name, "modified_at": modified, "size": 0, "digest": "", "details": _DETAILS}


# Replies, as they are received.


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None
    id: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Line(msgspec.Struct, gc=False):
    message: _Message | None = None
    done: bool | None = None
    model: str | None = None
    created_at: str | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[dict[str, Any]] | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Line).decode


class _StreamReader(RecordReader):
    """Lines of a streamed reply; complete with the one that is `done`."""

    ending = "a line that is done"

    def __init__(self, name: str) -> None:
        super().__init__(name, NDJSONDecoder())
        self._started = False
        self._done = False
        self._calls = 0

    @property
    def complete(self) -> bool:
        """A line said `done`."""
        return self._done

    def is_whole(self, record: bytes) -> bool:
        """JSON; what does not even begin as JSON is read too, as a sign of another API."""
        return is_complete_json(record) or record.lstrip()[:1] != b"{"

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Add the items of some lines; one that brings nothing but text, as nearly all do, takes the short way."""
        for record in records:
            if self._done:
                break
            try:
                line = _decode(record)
            except UNDECODABLE:
                line = self.decode_unusual(record, _Line)
            message = line.message
            if (
                message is not None
                and message.content
                and self._started
                and not line.done
                and message.thinking is None
                and message.tool_calls is None
                and line.logprobs is None
                and line.error is None
            ):
                items.append(message.content)
            elif message is None and line.error is None and not line.done and (error := bare_error(record)) is not None:
                raise error_from_event(error)
            else:
                items += self.items(line)

    def items(self, line: _Line) -> list[Item]:
        """The items of one line, or of a whole reply."""
        if line.error is not None:
            raise error_from_event(line.error)
        items: list[Item] = []
        if not self._started and (line.model or line.created_at):
            self._started = True
            items.append(Start(model=line.model or "", created=_seconds(line.created_at)))
        message = line.message
        if message is not None:
            if message.thinking:
                items.append(Reasoning(message.thinking))
            if message.content:
                items.append(message.content)
            items += [self._call(call) for call in message.tool_calls or ()]
        if line.logprobs:
            items.append(Logprobs([{"top_logprobs": [], **token} for token in line.logprobs]))
        if line.done:
            self._done = True
            if line.prompt_eval_count is not None or line.eval_count is not None:
                items.append(Usage(line.prompt_eval_count or 0, line.eval_count or 0))
            items.append(self._finish(line.done_reason or "stop"))
        return items

    def _call(self, call: _ToolCall) -> ToolCall:
        """Every call comes whole."""
        function = call.function or _Function()
        self._calls += 1
        arguments = arguments_text(function.arguments)
        return ToolCall(self._calls - 1, call.id or new_id("call_"), function.name or "", arguments)

    def _finish(self, reason: str) -> Finish:
        if reason == "stop" and self._calls:
            return Finish("tool_calls")
        return Finish(reason, raw="" if reason in _REASONS else reason)


_REASONS = frozenset({"stop", "length", "content_filter", "tool_calls"})


def _seconds(created_at: str | None) -> int:
    try:
        return max(0, int(datetime.fromisoformat(created_at or "").timestamp()))
    except (ValueError, OverflowError):
        return 0


# Replies, as they are sent.


def _rfc3339(seconds: float) -> str:
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.now(UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _last_fields(finish: Finish | None, usage: Usage | None, total: int, evaluating: int) -> dict[str, Any]:
    """What the last line says beside its message; durations in nanoseconds."""
    reason = finish.reason if finish else "stop"
    counts = {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens} if usage else {}
    return {
        "done": True,
        "done_reason": "stop" if reason == "tool_calls" else reason,
        "total_duration": total,
        "load_duration": 0,
        "prompt_eval_duration": max(1, total - evaluating),
        "eval_duration": evaluating,
        **counts,
    }


def _written_calls(calls: list[ToolCallDict], finish: Finish | None) -> list[dict[str, Any]]:
    """The calls with their arguments as objects; one that the token limit cut is left out.

    Raises ProtocolError for a call whose arguments are not JSON otherwise.
    """
    written = []
    for index, call in enumerate(calls):
        function = call["function"]
        arguments = called_with(function["name"], function["arguments"], finish)
        if arguments is not None:
            named = {"index": index, "name": function["name"], "arguments": arguments}
            written.append({"id": call["id"] or new_id("call_"), "function": named})
    return written


class _StreamWriter(Writer):
    """A line for each piece; the frame of a text line is rendered once. Calls are said whole, before the last line."""

    content_type = "application/x-ndjson"
    framing = "ndjson"

    def __init__(self, model: str) -> None:
        self._model = model
        self._created = time.time()
        self._begun = time.perf_counter_ns()
        self._first: int | None = None
        self._calls: list[Item] = []
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._frame()

    def _frame(self) -> None:
        head = {"model": self._model, "created_at": _rfc3339(self._created)}
        self._head = msgspec.json.encode(head)[:-1]
        self._before = self._head + b',"message":{"role":"assistant","content":'
        self._after = b'},"done":false}\n'
        self.ping = self._before + b'""' + self._after

    def write(self, items: list[Item]) -> bytes:
        """Every item as a line of its own, but for what belongs to the last lines."""
        out: list[bytes] = []
        encode, before, after = msgspec.json.encode, self._before, self._after
        if self._first is None and items:
            self._first = time.perf_counter_ns()
        for item in items:
            if type(item) is str:
                out += (before, encode(item), after)
            elif isinstance(item, Start):
                self._model = item.model or self._model
                self._created = item.created or self._created
                self._frame()
                before = self._before
            elif isinstance(item, Event):
                out.append(self._event(item))
        return without_line_ends(b"".join(out))

    def end(self) -> bytes:
        """The calls, then the line that is `done`; an error where a call's arguments are not JSON."""
        out = b""
        try:
            calls = _written_calls(collect(self._calls).tool_calls, self._finish)
        except ProtocolError as error:
            return self.fail(error)
        if calls:
            out = self._line({"role": "assistant", "content": "", "tool_calls": calls}, {"done": False})
        now = time.perf_counter_ns()
        evaluating = max(1, now - (self._first or now))
        last = _last_fields(self._finish, self._usage, max(1, now - self._begun), evaluating)
        return without_line_ends(out + self._line({"role": "assistant", "content": ""}, last))

    def fail(self, error: AcytooError) -> bytes:
        """`{"error": "…"}`, which the makers' clients raise; no `done` follows."""
        return without_line_ends(msgspec.json.encode({"error": error_fields(error)[1]})) + b"\n"

    def _line(self, message: dict[str, Any], fields: dict[str, Any]) -> bytes:
        rest = msgspec.json.encode({"message": message, **fields})
        return self._head + b"," + rest[1:] + b"\n"

    def _event(self, item: Event) -> bytes:
        if isinstance(item, ToolCall):
            self._calls.append(item)
        elif isinstance(item, Reasoning):
            if item.text:
                message = {"role": "assistant", "content": "", "thinking": item.text}
                return self._line(message, {"done": False})
        elif isinstance(item, Refusal):
            return self._line({"role": "assistant", "content": item.text}, {"done": False})
        elif isinstance(item, Logprobs):
            return self._line({"role": "assistant", "content": ""}, {"done": False, "logprobs": item.tokens})
        elif isinstance(item, Finish):
            self._finish = item
        elif isinstance(item, Usage):
            self._usage = item
        return b""
