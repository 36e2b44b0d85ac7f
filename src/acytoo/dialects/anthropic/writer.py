"""Anthropic's replies as a server sends them: a stream of content blocks, one message, and errors.

Source: Anthropic's API reference ("Streaming Messages", "Errors"), and how its official SDKs treat an error in
mid-stream.
"""

from __future__ import annotations

import msgspec

from acytoo.dialects.anthropic.reader import FINISH_REASONS, STATUSES, STATUSES_OF_TYPES
from acytoo.dialects.anthropic.request import SOURCE, container_in, encode_reasoning
from acytoo.dialects.base import Writer
from acytoo.dialects.error_bodies import describe_error, in_stream
from acytoo.dialects.finish import nearest_reason
from acytoo.dialects.server_side import new_id
from acytoo.dialects.services import api_of, without_hosts
from acytoo.dialects.tool_calls import ArgumentPieces, parse_arguments
from acytoo.errors import AcytooError, ProtocolError
from acytoo.types import (
    Event,
    Finish,
    Item,
    JSONObject,
    OpaquePart,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Start,
    ToolCall,
    ToolCallDict,
    Usage,
    plain_turn,
    signature_content,
)
from acytoo.wire.sse import sse


def _event(type_: str, **fields: object) -> bytes:
    return sse(msgspec.json.encode({"type": type_, **fields}), type_)


class _CallBlock(msgspec.Struct):
    """A tool call being written: the index of its block, its name, and its arguments so far."""

    index: int
    name: str
    arguments: ArgumentPieces
    is_open: bool = True


_TEXT_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":'
)
"""What precedes the JSON text of a delta."""


class StreamWriter(Writer):
    """A writer of content blocks, one after another.

    The block of a tool call stays open beside others only while its arguments are incomplete: servers may mix the
    fragments of parallel calls. Finish and usage are kept for the end, because one event has both.
    """

    ping = _event("ping")

    def __init__(self, model: str) -> None:
        self._id = new_id("msg_")
        self._model = model
        self._started = False
        self._next_index = 0
        self._open_index = -1
        self._reasoning_index = -1
        self._text_prefix = b""
        self._calls: dict[int, _CallBlock] = {}
        self._continued: dict[int, _CallBlock] = {}  # the open ones of which a piece was written since the last check
        self._batch: list[Item] = []  # of which `_fields` has the fields of the calls
        self._fields: dict[int, JSONObject] = {}
        self._finish: Finish | None = None
        self._usage = Usage()
        self._container: JSONObject = {}
        self._has_refusal = False

    def write(self, items: list[Item]) -> bytes:
        """Return an event for each item, except for those that `end` writes.

        A text costs one encode and no call: what surrounds it is rendered once for each block.
        """
        out: list[bytes] = []
        encode = msgspec.json.encode
        for item in items:
            if type(item) is str:
                if not self._text_prefix:
                    self._open_text(out)
                out += (self._text_prefix, encode(item), b"}}\n\n")
            elif isinstance(item, Event):
                self._write_event(item, items, out)
        return b"".join(out)

    def end(self) -> bytes:
        """Return the events that end a complete reply, or an error if a call's arguments are not a JSON object."""
        out: list[bytes] = []
        try:
            for call in self._calls.values():
                parse_arguments(call.name, call.arguments.text, self._finish)
        except ProtocolError as error:
            return self.fail(error)
        self._start(out)
        self._close(out, all_calls=True)
        reason, sequence = _encode_finish(self._finish, self._has_refusal, bool(self._calls))
        delta = {"stop_reason": reason, "stop_sequence": sequence, **self._container}
        out.append(_event("message_delta", delta=delta, usage=_encode_usage(self._usage)))
        out.append(_event("message_stop"))
        return b"".join(out)

    def fail(self, error: AcytooError) -> bytes:
        """Return an `error` event, for which the official SDKs raise an error. No `message_stop` follows it."""
        document, more = error_document(error), in_stream(error)
        if more["status"] == STATUSES_OF_TYPES.get(document["error"]["type"]):
            del more["status"]  # the type implies it
        document["error"] |= more
        return sse(msgspec.json.encode(document), "error")

    def _write_event(self, item: Event, batch: list[Item], out: list[bytes]) -> None:
        if isinstance(item, Start):
            self._id, self._model = item.id or self._id, item.model or self._model
            self._start(out)
        elif isinstance(item, ToolCall):
            self._write_call(item, batch, out)
        elif isinstance(item, Reasoning):
            self._write_reasoning(item, out)
        elif isinstance(item, OpaquePart):
            self._write_opaque(item, out)
        elif isinstance(item, Refusal):
            self._has_refusal = True
            out.append(self.write([item.text]) if item.text else b"")
        elif isinstance(item, Usage):
            self._usage = item
        elif isinstance(item, Finish):
            self._finish = item
            self._close(out)

    def _start(self, out: list[bytes]) -> None:
        if not self._started:
            self._started = True
            out.append(_event("message_start", message=_empty_message(self._id, self._model)))

    def _open(self, block: JSONObject, out: list[bytes]) -> int:
        self._start(out)
        self._close(out)
        index, self._next_index = self._next_index, self._next_index + 1
        out.append(_event("content_block_start", index=index, content_block=block))
        return index

    def _close(self, out: list[bytes], all_calls: bool = False) -> None:
        """End the text or thinking block, and the blocks of complete calls."""
        if all_calls:
            closing = [call for call in self._calls.values() if call.is_open]
        else:
            closing = [call for call in self._continued.values() if call.is_open and call.arguments.is_complete]
        self._continued.clear()
        for call in closing:
            call.is_open = False
        indexes = [call.index for call in closing]
        if self._open_index >= 0:
            indexes.append(self._open_index)
            self._open_index, self._reasoning_index, self._text_prefix = -1, -1, b""
        out += [_event("content_block_stop", index=index) for index in sorted(indexes)]

    def _open_text(self, out: list[bytes]) -> None:
        self._open_index = self._open({"type": "text", "text": ""}, out)
        self._text_prefix = _TEXT_DELTA % self._open_index

    def _write_reasoning(self, item: Reasoning, out: list[bytes]) -> None:
        """Append text of any source, and signatures and redacted blocks that are Anthropic's own."""
        is_own = api_of(item.source) == SOURCE
        if is_own and item.data:
            index = self._open({"type": "redacted_thinking", "data": item.data}, out)
            out.append(_event("content_block_stop", index=index))
            return
        signature = item.signature if is_own else ""
        if not (item.text or signature):
            return
        if self._reasoning_index != item.index:
            self._open_index = self._open({"type": "thinking", "thinking": "", "signature": ""}, out)
            self._reasoning_index = item.index
        if item.text:
            self._delta(self._open_index, out, type="thinking_delta", thinking=item.text)
        if signature:
            self._delta(self._open_index, out, type="signature_delta", signature=signature)

    def _write_opaque(self, item: OpaquePart, out: list[bytes]) -> None:
        """Append a block that only this API has, or the citations of the open text. Other APIs' parts are left out."""
        if item.part == "text":
            if api_of(item.source) == SOURCE and self._text_prefix:
                for citation in item.fields.get("citations") or ():
                    self._delta(self._open_index, out, type="citations_delta", citation=citation)
            self._close(out)
        elif api_of(item.source) == SOURCE and container_in(item.fields) is not None:
            self._container = item.fields
        elif api_of(item.source) == SOURCE and not item.part:
            index = self._open(item.fields, out)
            out.append(_event("content_block_stop", index=index))

    def _write_call(self, item: ToolCall, batch: list[Item], out: list[bytes]) -> None:
        """Append a piece of a call. What only this API has of it is in the same batch, as it came in one record."""
        call = self._calls.get(item.index)
        if call is None:
            block: JSONObject = {"type": "tool_use", "id": item.id or new_id("toolu_"), "name": item.name, "input": {}}
            # Anthropic signs no calls. Its clients send unknown fields of a block back, so Gemini's signature survives.
            if item.signature and item.source == "gemini":
                block["extra_content"] = signature_content(item.signature)
            block |= self._call_fields(batch).get(item.index, {})
            call = self._calls[item.index] = _CallBlock(self._open(block, out), item.name, ArgumentPieces())
        if item.arguments:
            call.arguments.append(item.arguments)
            self._continued[item.index] = call
            self._delta(call.index, out, type="input_json_delta", partial_json=item.arguments)

    def _call_fields(self, batch: list[Item]) -> dict[int, JSONObject]:
        """Return what only this API has of the calls in a batch, by their indices."""
        if self._batch is not batch:
            self._batch, self._fields = batch, {}
            for item in batch:
                if isinstance(item, OpaquePart) and item.part == "tool_call" and api_of(item.source) == SOURCE:
                    self._fields[item.index] = {**self._fields.get(item.index, {}), **item.fields}
        return self._fields

    def _delta(self, index: int, out: list[bytes], **delta: object) -> None:
        out.append(_event("content_block_delta", index=index, delta=delta))


def reply_document(reply: Reply, request: Request) -> JSONObject:
    """Return a complete reply as one message. Raises ProtocolError if a call's arguments are not a JSON object."""
    content = _encode_content(reply)
    reason, sequence = _encode_finish(reply.finish, bool(reply.refusal), bool(reply.tool_calls))
    id_, model = reply.id or new_id("msg_"), reply.model or request.model
    message = _message(id_, model, content, reason, sequence, reply.usage or Usage())
    for part in reversed(reply.turn_parts):
        fields = part.get("fields", {})
        if api_of(part.get("source", "")) == SOURCE and container_in(fields) is not None:
            return message | fields
    return message


def _encode_content(reply: Reply) -> list[JSONObject]:
    """Return the blocks of a reply in their order, its refusal as text before the calls."""
    if not (reply.turn_parts or reply.reasoning or reply.tool_calls or reply.refusal):
        return [{"type": "text", "text": reply.text}] if reply.text else []
    content: list[JSONObject] = []
    refusal, blocks = reply.refusal, without_hosts(reply.reasoning)
    for part in without_hosts(reply.turn_parts or plain_turn(reply.text, len(blocks), len(reply.tool_calls))):
        kind, index = part["type"], part.get("index", 0)
        own = part.get("fields", {}) if part.get("source") == SOURCE else {}
        if kind == "tool_call":
            if refusal:
                content.append({"type": "text", "text": refusal})
                refusal = ""
            content.append(_encode_call(reply.tool_calls[index], reply.finish) | own)
        elif kind == "reasoning":
            content += encode_reasoning(blocks[index], unsigned=True)
        elif kind == "text":
            if part["text"]:
                content.append({"type": "text", "text": part["text"]} | own)
        elif own and container_in(own) is None:
            content.append(own)
    return [*content, {"type": "text", "text": refusal}] if refusal else content


THREAD_UNSUPPORTED = "thread_unsupported_request"
"""The `error_code` of a refused `thread`: Anthropic keeps the conversation there, and a client sends only what is new.

Source: the tool runner of Anthropic's Python SDK (2.14, `lib/threads`), which then continues without a thread.
"""


def error_document(error: AcytooError) -> JSONObject:
    """Return `{"type": "error", "error": {"type", "message"}}`, which is also the data of an `error` event."""
    status, message, code, _ = describe_error(error)
    kind = STATUSES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    fields: JSONObject = {"type": kind, "message": message}
    if code == THREAD_UNSUPPORTED:
        fields["details"] = {"error_code": code, "unsupported": ["thread"]}
    return {"type": "error", "error": fields}


def _empty_message(id_: str, model: str) -> JSONObject:
    """Return the message that a stream starts with. Its usage follows at the end."""
    return _message(id_, model, [], None, None, Usage())


def _message(
    id_: str, model: str, content: list[JSONObject], reason: str | None, sequence: str | None, usage: Usage
) -> JSONObject:
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": _encode_usage(usage),
    }


def _encode_call(call: ToolCallDict, finish: Finish | None) -> JSONObject:
    """Return a complete call, without its arguments if the token limit cut them. Raises as `parse_arguments`."""
    function = call["function"]
    arguments = parse_arguments(function["name"], function["arguments"], finish) or {}
    block: JSONObject = {
        "type": "tool_use",
        "id": call["id"] or new_id("toolu_"),
        "name": function["name"],
        "input": arguments,
    }
    if call.get("extra_content"):
        block["extra_content"] = call["extra_content"]
    return block


_DEFAULT_REASONS = {shared: reason for reason, shared in reversed(FINISH_REASONS.items())}
"""The stop reason for each of the shared shape's finish reasons."""


def _encode_finish(finish: Finish | None, has_refusal: bool, has_calls: bool) -> tuple[str, str | None]:
    """Return the (stop_reason, stop_sequence) of a complete reply.

    The stop reason of a reply with calls is `tool_use`. Other APIs have another one: OpenAI's is `stop` if the request
    forced a function, and some have none.
    """
    if has_refusal:
        return "refusal", None
    if finish is None:
        return ("tool_use" if has_calls else "end_turn"), None
    if finish.stop_sequence:
        return "stop_sequence", finish.stop_sequence
    if finish.raw in FINISH_REASONS:
        return finish.raw, None
    if has_calls and finish.reason == "stop":
        return "tool_use", None
    return _DEFAULT_REASONS[nearest_reason(finish, _DEFAULT_REASONS)], None


def _encode_usage(usage: Usage) -> JSONObject:
    """Return the usage. Unlike in the shared shape, `input_tokens` does not include cached tokens."""
    fields: JSONObject = {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.cache_write_1h_tokens:
        fields["cache_creation"] = {
            "ephemeral_5m_input_tokens": max(0, usage.cache_write_tokens - usage.cache_write_1h_tokens),
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        }
    if usage.reasoning_tokens:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return fields
