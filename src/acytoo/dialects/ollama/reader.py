"""Ollama's replies as a client receives them: lines of a stream, or one document.

Source: Ollama's API documentation ("Generate a chat completion", "Streaming"), and the types of the `ollama` Python
package (`ChatResponse`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from acytoo.dialects.error_bodies import error_from_event
from acytoo.dialects.fields import count
from acytoo.dialects.finish import FINISH_REASONS, check_call, check_finish, shared_reason
from acytoo.dialects.json import UNDECODABLE, decoder, is_complete_json
from acytoo.dialects.lenient import NEEDED, REASON, decode_document
from acytoo.dialects.readers import CumulativeRecordReader, RecordReader, bare_error, text_on_error
from acytoo.dialects.tool_calls import arguments_in
from acytoo.errors import ProtocolError, StatusError
from acytoo.types import Finish, Item, JSONObject, Logprobs, Reasoning, Start, Usage
from acytoo.wire.ndjson import NDJSONDecoder


class _Function(msgspec.Struct, gc=False):
    name: Annotated[str | None, NEEDED] = None
    arguments: Any = None  # an object, but some servers send JSON text
    parameters: Any = None  # these three: see `arguments_in`
    input: Any = None
    args: Any = None


class _ToolCall(msgspec.Struct, gc=False):
    function: Annotated[_Function | None, NEEDED] = None
    id: str | None = None  # servers before 0.12 send none
    name: Annotated[str | None, NEEDED] = None  # without `function`
    arguments: Any = None
    parameters: Any = None
    input: Any = None
    args: Any = None


class _Message(msgspec.Struct, gc=False):
    content: Annotated[str | None, NEEDED] = None
    thinking: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Line(msgspec.Struct, gc=False):
    message: Annotated[_Message | None, NEEDED] = None
    response: Annotated[str | None, NEEDED] = None  # the text, in the shape of `/api/generate`
    thinking: str | None = None  # beside `response`
    done: bool | None = None
    model: str | None = None
    created_at: str | None = None
    done_reason: Annotated[str | None, REASON] = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[JSONObject] | None = None
    error: Any = None  # text; a proxy in front of the server may send an object


_decode = decoder(_Line).decode


class StreamReader(RecordReader):
    """A reader of a streamed reply, which is complete once a line has `"done": true`."""

    cumulative_hint = "; or give the provider a dialect with cumulative_texts=True"
    ending = "a line with done: true"

    def __init__(self, name: str, ends_without_finish: bool = False) -> None:
        super().__init__(name, NDJSONDecoder(), ends_without_finish)
        self._has_identity = False
        self._started = False  # an identity and a content were read: a text needs no further check
        self._done = False
        self._usage: Usage | None = None
        self.has_content = False  # a text or a call

    @property
    def complete(self) -> bool:
        """Whether a line with `"done": true` was read."""
        return self._done

    def is_complete_record(self, record: bytes) -> bool:
        """Return whether to read a last line without its line end.

        That is complete JSON, or anything that does not begin like a JSON object. The latter is read because it
        shows that the body is another API's.
        """
        return is_complete_json(record) or record.lstrip()[:1] != b"{"

    def is_keep_alive(self, record: bytes) -> bool:
        """Return True: a line without a text, a thought or a call says nothing."""
        return True

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Append the items of some lines.

        Nearly all lines have text only. They take the fast path below: one decode, one condition, no call.
        The instruction guard (`python -m bench guard`) measures it.
        """
        for record in records:
            if self._done:  # some servers send more lines after the last one
                self._read_late_usage(record, items)
                continue
            try:
                line = _decode(record)
            except UNDECODABLE:
                line = self._decode_unusual_line(record)
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
            elif (line.error is not None or (message is None and not line.done)) and (
                error := bare_error(record)
            ) is not None:
                if message is not None:
                    items += [message.content] if message.content else []
                    del error["message"]  # its words are not those of the error
                raise error_from_event(error, too_long=TOO_LONG)  # the line itself: a status may be beside `error`
            else:
                self.append(line, items)

    def _decode_unusual_line(self, record: bytes) -> _Line:
        """Decode a line that msgspec refused. Raises the error that it is in place of a line, else ProtocolError."""
        try:
            return self.decode_unusual(record, _Line)
        except ProtocolError:
            if (error := _error_in_place_of(record)) is not None:
                raise error from None
            raise

    def append(self, line: _Line, items: list[Item]) -> None:
        """Append the items of one line, or of a complete reply. Raises the error that it reports."""
        if line.error is not None:
            items += [line.message.content] if line.message is not None and line.message.content else []
            raise error_from_event(line.error, too_long=TOO_LONG)
        if not self._has_identity and (line.model or line.created_at):
            self._has_identity = True
            items.append(Start(model=line.model or "", created=_decode_time(line.created_at)))
        message = line.message or (_Message(line.response, line.thinking) if line.response or line.thinking else None)
        if message is not None:
            content: list[Item] = []
            if message.thinking:
                content.append(Reasoning(message.thinking))
            if message.content:
                content.append(message.content)
            for call in message.tool_calls or ():
                function = call.function or _Function(call.name, call.arguments)
                arguments = function.arguments or arguments_in(function, call)  # Ollama never splits a call
                content += self._calls.add_complete(call.id or "", function.name or call.name or "", arguments)
            # Ollama's last line has no content. Servers that imitate it may repeat everything there.
            items += self.unrepeated(content, items) if content and line.done else content
            if message.content or message.tool_calls:
                self.has_content = True
                self._started = self._has_identity
        if line.logprobs:
            items.append(Logprobs([{"top_logprobs": [], **token} for token in line.logprobs]))
        self._update_usage(line)
        if line.done:
            reason = line.done_reason or "stop"
            check_finish("done_reason", reason, (), self.has_content)
            check_call("done_reason", reason, bool(self._calls))
            self._done = True
            if self._usage is not None:
                items.append(self._usage)
            items.append(self._decode_finish(reason))

    def _update_usage(self, line: _Line) -> None:
        """Keep the counts of a line. Zeros do not undo those of an earlier one."""
        if line.prompt_eval_count is not None or line.eval_count is not None:
            usage = Usage(count(line.prompt_eval_count), count(line.eval_count))
            if self._usage is None or usage != _NO_USAGE:
                self._usage = usage

    def _read_late_usage(self, record: bytes, items: list[Item]) -> None:
        """Read the counts of a line after the end, which have been zeros or missing so far."""
        if b'"eval_count"' not in record or (self._usage or _NO_USAGE) != _NO_USAGE:
            return
        try:
            self._update_usage(_decode(record))
        except UNDECODABLE:
            return
        if self._usage is not None:
            items.append(self._usage)

    def _decode_finish(self, reason: str) -> Finish:
        """Return the finish reason.

        `load` and `unload` are not among those that are an end: they answer a request without messages, which a client
        of ours does not send, and a conversation without a user's message, to which the model has not replied
        (can1357/oh-my-pi issue 7465). Source: Ollama's `llm/server.go` (`DoneReason`) and API documentation.
        """
        if reason == "stop" and self._calls:  # this API has no reason of its own for tool calls
            return Finish("tool_calls")
        return Finish(shared_reason(reason), raw="" if reason in FINISH_REASONS else reason)


_NO_USAGE = Usage()


class CumulativeReader(CumulativeRecordReader, StreamReader):
    """A reader of a stream in which each piece of a text has all of it so far, as some gateways send it."""


def read_document(name: str, body: bytes, ends_without_finish: bool = False) -> list[Item]:
    """Return the items of a complete reply, which has the shape of a line.

    Some servers label a stream `application/json`, so a body of several lines is read as a stream.

    Raises msgspec.DecodeError if the body is not this API's, TruncatedError if the reply is not done.
    """
    reader = StreamReader(name, ends_without_finish)
    items: list[Item] = []
    if b"\n" in body and is_complete_json(body.partition(b"\n")[0]):
        items += reader.feed(body) + reader.flush()
        reader.close()
        return items
    try:
        line = decode_document(body, _Line)
    except msgspec.ValidationError:
        if (error := _error_in_place_of(body)) is not None:
            raise error from None
        raise
    if line.message is None and line.error is None and (error := _error_in_place_of(body)) is not None:
        raise error
    with text_on_error(items):
        reader.append(line, items)
    if line.message is None and not line.done:
        raise msgspec.ValidationError("it has no message")
    with text_on_error(items):
        reader.require_end("the reply is not done", items)
    return items


def _error_in_place_of(record: bytes) -> StatusError | None:
    """Return the error that a line or a document reports whose `message` is a text, None if it is part of a reply."""
    if b'"done"' in record or (error := bare_error(record)) is None:
        return None
    return error_from_event(error, too_long=TOO_LONG)


def _decode_time(created_at: str | None) -> int:
    """Return an RFC 3339 time as seconds since 1970, 0 if it is missing or malformed."""
    try:
        return max(0, int(datetime.fromisoformat(created_at or "").timestamp()))
    except (ValueError, OverflowError):
        return 0


TOO_LONG = (
    "the input length exceeds the context length|prompt too long; exceeded|"
    r"request \([\d,]+ tokens\) exceeds the available context size"
)
"""How the error begins for a conversation that is too long. By default Ollama shortens such a conversation.

Sources: Ollama 0.12 with `truncate: false` (nano-step/nano-brain#208); Ollama's cloud; since Ollama 0.34 the error of
llama.cpp, as JSON in the text.
"""
