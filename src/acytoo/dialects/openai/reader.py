"""OpenAI's replies as a client receives them: chunks of a stream, or one document.

Compatible servers differ from OpenAI in many details: a stream without `[DONE]` or without a finish reason, tool calls
without `index`, arguments as objects, reasoning in a field of their own, errors in several shapes. The tests name the
server of each difference.

Source: OpenAI's API reference ("The chat completion object", "The chat completion chunk object"), and the
documentation of the servers that the tests name.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from acytoo.dialects.citations import Citation, citation
from acytoo.dialects.custom_tools import custom_arguments
from acytoo.dialects.error_bodies import error_from_event, has_error
from acytoo.dialects.fields import count, object_or_empty, objects_in, text_or_empty
from acytoo.dialects.finish import (
    FINISH_REASONS,
    append_finish,
    check_call,
    check_finish,
    narrower_reason,
    shared_reason,
)
from acytoo.dialects.json import UNDECODABLE, decoder
from acytoo.dialects.lenient import NEEDED, REASON, decode_document
from acytoo.dialects.openai.own_fields import OwnFields
from acytoo.dialects.openai.request import NAME
from acytoo.dialects.readers import (
    MAX_FORM_SEARCHES,
    CumulativeRecordReader,
    RecordReader,
    bare_error,
    continuation,
    decode_string,
    reasoning_text,
    text_form,
    text_on_error,
    unframed,
)
from acytoo.dialects.server_side import new_id
from acytoo.dialects.surrogates import replace_lone_escapes
from acytoo.dialects.tool_calls import ReceivedCall, ReceivedCalls, arguments_in, arguments_text
from acytoo.errors import ProtocolError, StatusError, TruncatedError
from acytoo.types import (
    Finish,
    Item,
    JSONObject,
    Logprobs,
    OpaquePart,
    Reasoning,
    Refusal,
    Reply,
    Start,
    ToolCall,
    Usage,
    collect,
    signature_content,
    signature_of,
)
from acytoo.wire.records import split_records
from acytoo.wire.sse import SSEDecoder

T = TypeVar("T", bound=msgspec.Struct)


class _Function(msgspec.Struct, gc=False):
    name: Annotated[str | None, NEEDED] = None
    arguments: Annotated[str | JSONObject | None, NEEDED] = None  # JSON text, but some servers send an object
    parameters: Any = None  # these three: see `arguments_in`
    input: Any = None
    args: Any = None


class _Custom(msgspec.Struct, gc=False):
    name: Annotated[str | None, NEEDED] = None
    input: Annotated[str | None, NEEDED] = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Annotated[_Function | None, NEEDED] = None
    custom: Annotated[_Custom | None, NEEDED] = None  # of a tool that takes text
    name: Annotated[str | None, NEEDED] = None  # without `function`: Cloudflare's Workers AI
    arguments: Annotated[str | JSONObject | None, NEEDED] = None
    parameters: Any = None
    input: Any = None
    args: Any = None
    extra_content: Any = None  # Google
    thought_signature: Any = None  # gateways before Gemini
    thoughtSignature: Any = None
    provider_specific_fields: Any = None  # LiteLLM


_SIGNED_FIELDS = ("thought_signature", "thoughtSignature", "provider_specific_fields")


class _Delta(msgspec.Struct, gc=False):
    content: Annotated[str | list[str | JSONObject] | None, NEEDED] = None  # Mistral sends parts
    reasoning_content: str | list[Any] | JSONObject | None = None  # DeepSeek, vLLM, llama.cpp
    reasoning: str | list[Any] | JSONObject | None = None  # OpenRouter, Groq
    reasoning_details: Any = None  # OpenRouter
    reasoning_text: str | None = None  # GitHub Copilot
    reasoning_opaque: Any = None
    thinking: str | None = None
    thinking_blocks: Any = None  # LiteLLM
    annotations: Any = None
    audio: Any = None
    images: Any = None  # OpenRouter, LiteLLM
    extra_content: Any = None  # Google
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None  # deprecated, before `tool_calls`


class _Choice(msgspec.Struct, gc=False):
    delta: Annotated[_Delta | None, NEEDED] = None
    finish_reason: Annotated[str | None, REASON] = None
    index: int | None = 0
    logprobs: JSONObject | None = None
    message: Annotated[_Delta | None, NEEDED] = None  # in a document, instead of `delta`
    text: Annotated[str | None, NEEDED] = None  # in the shape of /v1/completions, instead of both
    error: Any = None  # OpenRouter
    usage: Any = None  # Moonshot, higress-group/higress#1568
    camel_reason: Annotated[str | None, REASON] = msgspec.field(default=None, name="finishReason")  # llmcord#84: Google
    native_finish_reason: Any = None  # OpenRouter, reVrost/go-openrouter pull request 43


class _Chunk(msgspec.Struct, gc=False):
    choices: Annotated[list[_Choice] | None, NEEDED] = None
    usage: JSONObject | None = None
    id: str | None = None
    model: str | None = None
    created: Any = None
    error: Any = None  # an object or text
    x_groq: Any = None
    base_resp: Any = None  # MiniMax
    citations: Any = None  # Perplexity, xAI
    search_results: Any = None  # Perplexity


SOURCE_FIELDS = ("citations", "search_results")
"""Fields beside `choices` with what a reply is based on. No server wants them back.

Sources: Perplexity's API reference ("Chat Completions"), and xAI's guide "Live Search" ("Returning citations").
"""


_Nothing: TypeAlias = Annotated[list[Any], msgspec.Meta(max_length=0)] | Literal[""] | None


def _only(type_: type[msgspec.Struct], **fields: tuple[Any, ...]) -> Any:
    """Return a struct that decodes if all fields of another one are empty, apart from those that are given.

    The latter have a type, and a default if they may be missing. Who sent a record, and when, does not matter here.
    """
    others = [name for name in type_.__struct_fields__ if name not in fields and name not in _IDENTITY]
    specified: list[Any] = [(name, *field) for name, field in fields.items()]
    empty = [(name, _Nothing, None) for name in others]
    return msgspec.defstruct(f"{type_.__name__}Only", specified + empty, gc=False)


_IDENTITY = ("id", "model", "created")

# Nearly all records have only a text, the finish reason or the usage. That msgspec can decode such a record into one of
# these types proves that nothing else is in it, faster than any look at the fields.

_TextDelta = _only(_Delta, content=(str | None, None))
_TextChoice = _only(_Choice, delta=(_TextDelta,), finish_reason=(str | None, None), index=(int | None, 0))
_TEXT_FIELDS: dict[str, Any] = {"choices": (list[_TextChoice],), "usage": (JSONObject | None, None)}  # type: ignore[valid-type]
_decode_text = decoder(_only(_Chunk, **_TEXT_FIELDS)).decode
_decode_first = decoder(
    _only(_Chunk, **_TEXT_FIELDS, id=(str | None, None), model=(str | None, None), created=(Any, None))
).decode
"""The same with the reply's identity, which is read once."""

_PieceFunction = _only(_Function, arguments=(str,))
_Piece = _only(_ToolCall, index=(int,), function=(_PieceFunction,), id=(_Nothing, None))
_PieceDelta = _only(_Delta, tool_calls=(tuple[_Piece],))  # type: ignore[valid-type]
_PieceChoice = _only(_Choice, delta=(_PieceDelta,), index=(int | None, 0))
_decode_piece = decoder(_only(_Chunk, choices=(tuple[_PieceChoice],))).decode  # type: ignore[valid-type]
"""Decode a piece of a call's arguments."""

_MAX_MISSES = 16
"""How many records may turn out not to have only a text, each of which is decoded twice, before none is expected to."""


_DONE = b"[DONE]"


def _possible_ends(records: list[bytes]) -> list[bytes]:
    """Return the records that may contain an error, the end of the reply or its usage.

    The others have a null finish reason and no `error` field. A quote inside a text is escaped, so a
    text cannot contain these names. The search is from the right, where they usually are.
    """
    return [record for record in records if record.rfind(b'"finish_reason":null') < 0 or record.rfind(b'"error"') >= 0]


def _has_text(record: bytes) -> bool:
    return b'"content":"' in record and b'"content":""' not in record


_CONTENT = re.compile(rb'"(?:content|text|refusal|arguments|\w*reasoning\w*)"\s*:\s*"[^"]')
"""What a chunk has that may follow another one like it."""

_LONG_CHUNK = 1024
"""Bytes above which a chunk is taken for content."""

_PIECE = re.compile(
    rb'"delta":\{(?:"role":"assistant",|"\w+":null,|"tool_calls":\[\],)*'
    rb'"(?:content":"|reasoning\w*":"|tool_calls":\[\{(?:"index":\d+,|"type":"function",)*"function":\{"arguments":")'
)
"""The beginning of a delta up to its text, or its piece of a call's arguments."""

_CALL = re.compile(rb'"(?:tool_calls":\s*\[.*|function_call":\s*\{.*)"name"')
"""The beginning of a call, of which later records may have more pieces."""


def _start_of_event(chunk: bytes) -> bytes:
    """Return how an event begins, up to its piece of a text or a call: the next one hardly ever differs there."""
    piece = _PIECE.match(chunk, chunk.find(b'"delta":{')) if chunk.startswith(b"data: ") else None
    return chunk[: piece.end()] if piece is not None else b""


_OPENING = b'"choices":[{"index":0,"delta":{"role":"assistant","content":""}'
"""What most replies begin with."""

_EMPTY = re.compile(rb'"(?:choices"\s*:\s*\[\s*\]|content"\s*:\s*""|delta"\s*:\s*\{\s*\})')
_PROGRESS = re.compile(
    rb'"(?:\w*reasoning\w*|tool_calls|function_call|audio|prompt_progress)"\s*:\s*(?:"[^"]|\[\s*[^]\s]|\{\s*[^}\s])'
)
"""Fields that are not empty. llama.cpp sends `prompt_progress` while it reads a long prompt."""


class StreamReader(RecordReader):
    """A reader of a streamed reply.

    The reply is complete once a finish reason was read, or `[DONE]` after any content.
    """

    ending = "finish_reason or [DONE] after a reply"
    cumulative_hint = "; or give the provider a dialect with Variations(cumulative_texts=True)"
    names_in_pieces = True  # continuedev/continue pull request 5849

    # Class attributes are cheap for what most replies neither set nor read; reading them is slower.
    _own: OwnFields | None = None  # that were not appended
    _sources: JSONObject | None = None
    _known_sources: JSONObject | None = None  # those that were appended
    _reasoning_field = ""  # the one that the reasoning text is in
    _scanned = b""  # the last chunk of which only the significant records were read
    _start_of_next = b""  # how the next chunk begins if it is like the last one, "" if nobody knows
    _number: int | None = 0  # of the choice that finished
    _reads_messages = False  # the content came as `message`, not as `delta`
    _reads_pieces = False  # …and each of them is a piece of it
    _has_usage = False  # other than zeros
    _misses = 0  # of the expectation of a text

    def __init__(self, name: str, ends_without_finish: bool = False) -> None:
        self._decoder = SSEDecoder()
        super().__init__(name, self._decoder, ends_without_finish)
        self.finished = self._done = False
        self._has_identity = False
        self.has_content = False  # a text, a call or a refusal
        self._started = False  # both of the above
        self._expects_text = True  # the next record has probably only a text
        self._expects_piece = False  # …only a piece of a call
        self._has_thought_tag = False  # the thoughts so far began with a tag
        self._unread: list[bytes] | None = None  # the records that were scanned since a call began
        self._finish: Finish | None = None
        self._by_index: dict[int | None, ReceivedCall] = {}
        self._inputs: dict[int, list[str]] = {}  # the pieces of custom calls, which are emitted together, by number

    @property
    def complete(self) -> bool:
        """Whether a finish reason was read, or `[DONE]` after any content that was not cut inside a call."""
        return self.finished or (self._done and self.has_content and not self.is_inside_call)

    def scan(self, chunk: bytes) -> None:
        """Read the significant records of a chunk that is passed through. Raises as `feed`.

        Nearly all chunks are one record with a piece of a text, in which nothing below is significant.
        """
        start = self._start_of_next
        if (
            start
            and chunk.startswith(start)
            and chunk.find(b"\n") == len(chunk) - 2
            and chunk[-1:] == b"\n"
            and chunk.find(b"\r") < 0
            and chunk.rfind(b'"finish_reason":null') >= 0
            and chunk.find(b'"error"') < 0
            and chunk.find(b'""') < 0
            and chunk != self._scanned
        ):
            self._scanned = chunk
            self.received_content = self.is_piece = True
            if self._unread is not None:
                self._unread.append(chunk)
            return
        self._scans, self.is_piece = True, False
        if self._unread is None and self._calls.last is not None:
            self._unread = []
        records = self._decode_chunk(chunk)
        significant = self._significant(records) if records else records
        if len(significant) < len(records):
            self._keep_calls(records, significant)
        if significant:
            self._read(significant)
        if len(significant) < len(records):
            # Searching a long chunk would cost more than the rest; nobody sends many keep-alives at once.
            self.received_content = (
                len(chunk) > _LONG_CHUNK
                or (chunk.find(b'""') < 0 and chunk.find(b"{}") < 0)
                or not all(map(self.is_keep_alive, records))
            ) and (chunk != self._scanned or _CONTENT.search(chunk) is not None or not self.is_repeated(chunk))
            self._scanned = chunk
        elif not records:
            self.received_content = False
        is_event = len(records) == 1 and self.has_content and self._decoder.is_between_events
        keeps_pieces = self._calls.last is None or self._unread is not None
        self._start_of_next = _start_of_event(chunk) if is_event and keeps_pieces else b""

    def _keep_calls(self, records: list[bytes], significant: list[bytes]) -> None:
        """Keep the records that are not significant if they may have pieces of a call.

        A chunk of texts is only looked at in its last records: a call follows them, and hardly ever precedes them.
        """
        if self._unread is None:
            last = records[-2:][0] if significant else records[-1]  # the very last may be `[DONE]`
            if b'"tool_calls"' not in last and b'"function_call"' not in last:
                return
            begins = [number for number, record in enumerate(records) if _CALL.search(record)]
            if not begins:
                return
            self._unread, records = [], records[begins[0] :]
        read = set(map(id, significant))
        self._unread += [record for record in records if id(record) not in read]

    def trim(self, max_size: int) -> None:
        """Forget the items so far if they are too large, and read the pieces of calls: these take less memory."""
        self._items += self._read_unread()
        super().trim(max_size)

    def _read_unread(self) -> list[Item]:
        """Return the items of the pieces of calls that were only scanned."""
        items: list[Item] = []
        records, self._unread = self._unread, []
        if records:
            self.read([record.removeprefix(b"data: ").strip() for record in records], items)
        return items

    def is_keep_alive(self, record: bytes) -> bool:
        """Return whether a record has an empty text or no choice, and nothing else that shows progress."""
        if super().is_keep_alive(record) or record.find(_OPENING) >= 0:
            return True
        return bool(_EMPTY.search(record) and not _PROGRESS.search(record))

    def shape_of(self, record: bytes) -> bytes:
        """Return the record itself if it reports how much of the prompt has been read, else its shape."""
        return record if b'"prompt_progress"' in record else super().shape_of(record)

    def _significant(self, records: list[bytes]) -> list[bytes]:
        """Return all records up to the first with a text, which makes `[DONE]` a valid end, then the possible ends."""
        if self.has_content:
            return _possible_ends(records)
        head = next((index for index, record in enumerate(records) if _has_text(record)), len(records)) + 1
        return records[:head] + _possible_ends(records[head:])

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Append the items of some records.

        Those that have only a text take the fast path below. The instruction guard (`python -m bench guard`) measures
        it.
        """
        if self._done:
            return
        form = self.form
        for record in records:
            if record == _DONE:
                self._end(items)
                break
            if self._expects_text:
                if record.startswith(form.before) and record.endswith(form.after):
                    try:
                        text = decode_string(record[form.place])
                    except UNDECODABLE:
                        text = ""
                    if text:
                        items.append(text)
                        continue
                try:
                    chunk = _decode_text(record) if self._started else _decode_first(record)
                except UNDECODABLE:
                    self._expects_text = False
                    self._misses += 1
                else:
                    if len(chunk.choices) == 1:
                        choice = chunk.choices[0]
                        text, reason = choice.delta.content, choice.finish_reason
                        if not reason and chunk.usage is None and (text or not self._started):
                            if not self._started:
                                self._start(chunk, items, text)
                            if text:
                                items.append(text)
                                if self._started and self.form_searches < MAX_FORM_SEARCHES:
                                    self.form_searches += 1
                                    form = self.form = text_form(record, b'"content"', text)
                            continue
                        if not text and self._started and reason in FINISH_REASONS:
                            self._finish_reply(reason, choice.index, items)
                            if chunk.usage:
                                self._append_usage(chunk.usage, items)
                            continue
                    elif chunk.usage and not chunk.choices and self._started:
                        self._append_usage(chunk.usage, items)
                        continue
            elif self._expects_piece:
                if (piece := self._piece_in(record)) is not None:
                    items.append(piece)
                    continue
                self._expects_piece = False
            self._read_record(record, items)
            if self._done:
                break

    def _piece_in(self, record: bytes) -> ToolCall | None:
        """Return the piece of a call that is all that a record has, None if it must be looked at more closely."""
        try:
            piece = _decode_piece(record).choices[0].delta.tool_calls[0]
        except UNDECODABLE:
            return None
        call, arguments = self._by_index.get(piece.index), piece.function.arguments
        if call is None or not (call.is_begun and call.fragments) or call.is_quoted:
            return None
        if arguments.lstrip()[:1] in ("", "{"):  # it may repeat all of them
            return None
        call.fragments.append(arguments)
        return ToolCall(call.number, arguments=arguments)

    def _read_record(self, record: bytes, items: list[Item]) -> None:
        """Append the items of a record, whatever it has."""
        try:
            chunk: _Chunk = decoder(_Chunk).decode(record)
        except UNDECODABLE:
            record = unframed(record)
            unusual = self._decode_unusual_chunk(record, items)
            if unusual is None:
                return
            chunk = unusual
        choices = chunk.choices
        # MiniMax counts the tokens of its errors too.
        is_bare = not choices and (chunk.usage is None or chunk.base_resp is not None)
        if is_bare and (error := bare_error(record)) is not None:
            raise error_from_event(error, STATUSES, TOO_LONG)  # the record itself: a status may be beside `error`
        delta = choices[0].delta if choices else None
        has_calls = delta is not None and bool(delta.tool_calls)  # `append` takes them out
        known = len(items)
        self.append(chunk, items)
        if not choices:
            return
        if self.finished or len(items) == known:
            self._read_own_fields(record, chunk, items)
        if self._started and len(items) > known and not self._has_thought_tag and self._misses < _MAX_MISSES:
            self._expects_text = type(items[-1]) is str
        self._expects_piece = has_calls

    def _read_own_fields(self, record: bytes, chunk: _Chunk, items: list[Item]) -> None:
        """Append the usage, or raise the error, that a service has in a place of its own."""
        own = object_or_empty(chunk.x_groq)
        if error := own.get("error"):
            raise error_from_event(error, STATUSES, TOO_LONG)
        if object_or_empty(chunk.base_resp).get("status_code"):
            raise error_from_event(decoder(JSONObject).decode(replace_lone_escapes(record)), STATUSES, TOO_LONG)
        places = (
            [] if chunk.usage is not None else [own.get("usage"), *[choice.usage for choice in chunk.choices or ()]]
        )
        usage = next((usage for place in places if (usage := object_or_empty(place))), None)
        if usage is not None:
            self._append_usage(usage, items)

    def _decode_unusual_chunk(self, record: bytes, items: list[Item]) -> _Chunk | None:
        """Decode a record that msgspec refused. Returns None for an empty one (a keep-alive) and a padded `[DONE]`."""
        if not record:
            return None
        if record == _DONE:
            self._end(items)
            return None
        return self.decode_unusual(record, _Chunk)

    def _end(self, items: list[Item]) -> None:
        if not self.finished:  # nothing else shows whether the last call is complete
            items += self._read_unread()
        self._done = True
        self.close_calls(items)
        if self.has_content:
            self.require_end("the stream ended with [DONE] inside a tool call, without a finish_reason")

    def close_calls(self, items: list[Item]) -> None:
        """Append the calls that were held back, at the end of a reply that may have no finish reason."""
        if self._calls.last is None:
            return
        for number, pieces in self._inputs.items():
            call, text = self._calls.at(number), "".join(pieces)
            assert call is not None
            items += self._calls.add(call, arguments=custom_arguments(text))
            fields = {"type": "custom", "custom": {"name": call.name, "input": text}}
            items.append(OpaquePart(NAME, fields, "tool_call", number))
        self._inputs = {}
        items += self._calls.close()
        self.has_content |= bool(self._calls)

    def append(self, chunk: _Chunk, items: list[Item]) -> None:
        """Append the items of one chunk, or of a complete reply. Raises the error that it reports."""
        if has_error(chunk.error) or (chunk.error is not None and chunk.choices is None):
            raise self._failure(chunk.error, chunk.choices or [], items)
        if not self._started:
            self._start(chunk, items)
        if chunk.citations or chunk.search_results:  # with some servers, every chunk has all so far
            self._sources = {name: value for name in SOURCE_FIELDS if (value := getattr(chunk, name))}
        if chunk.choices:
            self._append_choice(chunk.choices, items)
        if chunk.usage:
            self._append_usage(chunk.usage, items)

    def _append_usage(self, fields: JSONObject, items: list[Item]) -> None:
        """Append the token counts, unless they are only zeros after others: some gateways end a stream with these."""
        usage = _decode_usage(fields)
        if usage != _NO_USAGE:
            self._has_usage = True
        elif self._has_usage:
            return
        items.append(usage)

    def _append_choice(self, choices: list[_Choice], items: list[Item]) -> None:
        """Append the items of the first choice, the only one that the shared shape can express.

        Its index need not be 0: some servers count their chunks in it (microsoft/foundry-local#263).
        """
        for choice in choices:
            if has_error(choice.error):
                raise self._failure(choice.error, choices, items)
        choice = choices[0] if len(choices) == 1 else _first_choice(choices)
        before = len(items)
        if choice.message is not None and (choice.delta is None or _is_empty(choice.delta)):
            self._decode_message(choice.message, items)
        elif choice.text and (choice.delta is None or _is_empty(choice.delta)):
            items.append(choice.text)
        elif choice.delta is not None:
            delta: list[Item] = []
            self._decode_delta(choice.delta, delta)
            items += self.unrepeated(delta, items) if delta and choice.finish_reason else delta
        if choice.logprobs and (tokens := objects_in(choice.logprobs.get("content"))):
            items.append(Logprobs(tokens))
        if any(isinstance(item, (str, ToolCall, Refusal)) for item in items[before:]):
            self.has_content = True
        reason = choice.finish_reason or choice.camel_reason
        if reason == "stop" and choice.native_finish_reason:
            reason = narrower_reason(reason, choice.native_finish_reason)
        if reason and reason not in ("null", "None"):
            self._finish_reply(reason, choice.index, items)

    def _failure(self, error: Any, choices: list[_Choice], items: list[Item]) -> StatusError:
        """Return the error that a chunk reports, and append the text that it has too."""
        for choice in choices[:1]:
            part = choice.delta or (choice.message if not self.has_content else None)
            if part is not None and part.content and isinstance(part.content, str):
                items.append(part.content)
        return error_from_event(error, STATUSES, TOO_LONG)

    def _finish_reply(self, reason: str, number: int | None, items: list[Item]) -> None:
        """Append what ends the reply, because the choice of that number has a finish reason."""
        self.close_calls(items)
        if reason not in _TEXT_ENDS:
            check_finish("finish_reason", reason, (), self.has_content)
            check_call("finish_reason", reason, bool(self._calls) or self._scans)
        if not self.finished:
            self.finished = True
            self._number = number
            self.append_own_fields(items)
        elif number != self._number and not self._scans:
            raise ProtocolError("the server sent several choices in turn, although one was asked for")
        self._finish = append_finish(_decode_finish(reason), self._finish, items)

    def _start(self, chunk: _Chunk, items: list[Item], content: object = None) -> None:
        """Append `Start` once, and note whether the chunk has content. After both, texts take the fast path."""
        if not self._has_identity and (chunk.id or chunk.model):
            self._has_identity = True
            items.append(Start(chunk.id or "", chunk.model or "", count(chunk.created)))
        if content:
            self.has_content = True
        self._started = self._has_identity and self.has_content

    def flush(self) -> list[Item]:
        """Return the last items, with the fields that the next turn must have if there was no finish reason."""
        unread = [] if self.complete else self._read_unread()
        items = unread + super().flush()
        if self.complete:
            self.append_own_fields(items)
        return items

    def append_own_fields(self, items: list[Item]) -> None:
        """Append once what only this service needs back with the turn, see `TURN_FIELDS`, and its `SOURCE_FIELDS`."""
        if self._sources != self._known_sources:
            self._known_sources = self._sources
            items.append(OpaquePart(NAME, self._sources or {}))
        if self._own is not None:
            items += self._own.parts()
            self._own = None

    @property
    def _own_fields(self) -> OwnFields:
        """The object that collects what only this service needs back; most replies need none."""
        if self._own is None:
            self._own = OwnFields()
        return self._own

    def _note_reasoning_field(self, field: str, items: list[Item]) -> None:
        """Append, before the first reasoning text, the field in which this service sends it and wants it back."""
        if not self._reasoning_field:
            self._reasoning_field = field
            items.append(OpaquePart(NAME, {"reasoning_field": field}))

    def _thought_in(self, delta: _Delta) -> str | None:
        """Return the content if it is a thought, as Google's endpoint marks it, None if it is not.

        The Gemini API has `<thought>` and `</thought>` around the thoughts, the latter before the answer; Vertex AI has
        neither (NousResearch/hermes-agent pull request 91008).
        """
        text = delta.content
        if not isinstance(text, str):
            return None
        if object_or_empty(object_or_empty(delta.extra_content).get("google")).get("thought") is True:
            self._has_thought_tag = self._has_thought_tag or text.startswith("<thought>")
            return text.removeprefix("<thought>")
        return None

    def _decode_more_fields(self, delta: _Delta, items: list[Item]) -> None:
        """Append the items of fields that few servers have, and remove a content that is a thought."""
        reasoning = delta.reasoning_text or delta.thinking
        is_repeated = bool(delta.reasoning_content or delta.reasoning)  # MoonshotAI/kimi-code#3928
        if reasoning and not is_repeated:
            self._note_reasoning_field("reasoning_text" if delta.reasoning_text else "thinking", items)
            items.append(Reasoning(reasoning))
        if delta.thinking_blocks is not None:  # they repeat the text of `reasoning_content`
            self._own_fields.add_thinking(objects_in(delta.thinking_blocks), None if self._reasoning_field else items)
        if delta.reasoning_opaque is not None:
            self._own_fields.reasoning_opaque = delta.reasoning_opaque
        if delta.audio is not None:
            self._own_fields.add_audio(object_or_empty(delta.audio), items)
        if images := objects_in(delta.images):
            self.has_content = True
            self._own_fields.images += images
        if (thought := self._thought_in(delta)) is not None:
            items += [Reasoning(thought)] if thought else []
            delta.content = None

    def _decode_delta(self, delta: _Delta, items: list[Item]) -> None:
        if reasoning := delta.reasoning_content or delta.reasoning:
            self._note_reasoning_field("reasoning_content" if delta.reasoning_content else "reasoning", items)
            if type(reasoning) is not str:
                reasoning = _text_in(reasoning)
            if reasoning:
                items.append(Reasoning(reasoning))
        self._decode_more_fields(delta, items)
        if self._has_thought_tag and isinstance(delta.content, str) and delta.content:
            self._has_thought_tag = False
            delta.content = delta.content.removeprefix("</thought>")
        if delta.reasoning_details is not None:  # they repeat the text of the other fields
            self._own_fields.add_details(objects_in(delta.reasoning_details), None if self._reasoning_field else items)
        if delta.annotations is not None:
            self._own_fields.annotations += objects_in(delta.annotations)
        if isinstance(delta.content, str):
            if delta.content:
                items.append(delta.content)
        elif delta.content:
            parts = _decode_parts(delta.content)
            if any(isinstance(part, dict) and isinstance(part.get("thinking"), list) for part in delta.content):
                self._note_reasoning_field("content", items)
            items += [part for part in parts if not (reasoning and isinstance(part, Reasoning))]
        if delta.refusal:
            items.append(Refusal(delta.refusal))
        siblings: set[ReceivedCall] = set()
        calls = self._take_calls(delta)
        for call in calls:
            items += self._decode_call(call, siblings)
        if delta.function_call and not _is_repeated(delta.function_call, calls):
            call_id = new_id("call_") if delta.function_call.name else None  # it never has one
            items += self._decode_call(_ToolCall(id=call_id, function=delta.function_call))

    def _decode_message(self, message: _Delta, items: list[Item]) -> None:
        """Append what a `message` has beyond the content that was read before.

        It is the content of a document. In a stream, some servers repeat everything in the last chunk's `message`
        (abundantbeing/hermes-browser-extension#11), and others send all the content so far, or a piece of it, as the
        `message` of every chunk.
        """
        calls = self._take_calls(message)
        if message.function_call is not None:
            if not _is_repeated(message.function_call, calls):
                calls = [*calls, _ToolCall(function=message.function_call)]
            message.function_call = None
        parts: list[Item] = []
        if self._own is not None:  # what the message has is complete
            self._own.forget(message)
        self._decode_delta(message, parts)
        if not self._items and all(type(item) is Start for item in items):  # nothing to compare with, as in a document
            self._reads_messages = True
            for kind in (OpaquePart, Reasoning, str, Refusal):
                items += [item for item in parts if isinstance(item, kind)]
        else:
            self._append_new(parts, items)
        siblings: set[ReceivedCall] = set()
        for number, call in enumerate(calls):
            self._decode_complete_call(number, call, siblings, items)

    def _append_new(self, parts: list[Item], items: list[Item]) -> None:
        """Append what the items of a `message` have beyond the content that was read before."""
        before, after = Reply() if self._reads_pieces else self.emitted(items), collect(parts)
        if not (before.text or before.reasoning or before.refusal or before.tool_calls):
            self._reads_messages = True
        items += [item for item in parts if isinstance(item, OpaquePart)]
        for read, complete, kind in (
            (reasoning_text(before), reasoning_text(after), Reasoning),
            (before.text, after.text, str),
            (before.refusal, after.refusal, Refusal),
        ):
            if not complete:
                continue
            rest = None if self._reads_pieces else continuation(read, complete)
            if rest is None and self._reads_messages:
                self._reads_pieces = True
                rest = complete
            if rest == complete:
                items += [item for item in parts if isinstance(item, kind)]
            elif rest:
                items.append(rest if kind is str else Reasoning(rest) if kind is Reasoning else Refusal(rest))

    def _take_calls(self, delta: _Delta) -> list[_ToolCall]:
        """Remove the calls from a delta or a message, and return them.

        Gateways before Anthropic's API leave some in the content, where they have its shape.
        """
        calls, delta.tool_calls = delta.tool_calls or [], None
        if isinstance(delta.content, list):
            uses = [part for part in objects_in(delta.content) if part.get("type") == "tool_use"]
            # Not `part not in uses`, which takes the square of a long content.
            delta.content = [
                part for part in delta.content if not (isinstance(part, dict) and part.get("type") == "tool_use")
            ]
            if not calls:
                ids = [text_or_empty(use.get("id")) for use in uses]
                calls = [
                    _ToolCall(id=call_id, name=text_or_empty(use.get("name")), arguments=use.get("input"))
                    for call_id, use in zip(ids, uses, strict=True)
                    if self._calls.by_id(call_id) is None
                ]
        return calls

    def _decode_complete_call(
        self, number: int, piece: _ToolCall, siblings: set[ReceivedCall], items: list[Item]
    ) -> None:
        """Append what a complete call has beyond what was read of it before: the one with its id, or at its place."""
        function = _function_of(piece)
        known = (self._calls.by_id(piece.id) if piece.id else None) or self._calls.at(number)
        if known is not None and known not in siblings and not self._reads_pieces:
            complete = arguments_text(function.arguments) if function.arguments is not None else ""
            rest = continuation(known.arguments, complete)
            is_same = piece.id == known.received_id or (function.name == known.name and rest is not None)
            if is_same or not piece.id:
                items += self._calls.add(known, piece.id or "", function.name or "", rest or None)
                siblings.add(known)
                return
        items += self._decode_call(piece, siblings)

    def _decode_call(self, piece: _ToolCall, siblings: set[ReceivedCall] | None = None) -> list[Item]:
        """Return the items for a piece of a call. `siblings` are the calls of earlier elements of the same list."""
        if piece.custom is not None:
            return self._decode_custom(piece, piece.custom)
        items: list[Item] = []
        function = _function_of(piece)
        arguments = function.arguments
        call_id, name = piece.id or "", function.name or ""
        call = self._call_of(piece.index, call_id, name, arguments, siblings or ())
        if call is None:
            if not (call_id or name or arguments):
                return []
            previous = self._by_index.get(piece.index)
            if previous is not None and (piece.index is not None or previous.is_empty):
                items += self._calls.end(previous)  # else more of it may follow: it has no index, and no `{}` either
            items += self._calls.begin_last()
            call = self._calls.open()
        self._by_index[piece.index] = call
        if siblings is not None:
            siblings.add(call)
        if call.is_partial and call.name and name not in call.name:
            raise ProtocolError(f"the server sent another name inside the arguments for {call.name!r}: {name!r}")
        own, signature = _own_fields(piece)
        if own:
            call.attached.append(OpaquePart(NAME, own, "tool_call", call.number))
        return items + self._calls.add(call, call_id, name, arguments, signature)

    def _decode_custom(self, piece: _ToolCall, custom: _Custom) -> list[Item]:
        """Return the items for a piece of a call of a custom tool: its first piece, before its input is known."""
        known = self._calls.by_id(piece.id) if piece.id else None
        if known is None and not custom.name:
            known = self._by_index.get(piece.index) or self._calls.last
        if known is None:
            known = self._by_index[piece.index] = self._calls.open()
            self._inputs[known.number] = [custom.input or ""]
            return self._calls.add(known, piece.id or "", custom.name or "")
        pieces = self._inputs.get(known.number)
        if pieces is not None and not (custom.name and custom.input == "".join(pieces)):
            pieces.append(custom.input or "")
        return []

    def _call_of(
        self,
        index: int | None,
        call_id: str,
        name: str,
        arguments: str | JSONObject | None,
        siblings: Collection[ReceivedCall],
    ) -> ReceivedCall | None:
        """Return the call that a piece belongs to, None if it begins one.

        The server's `index` cannot be trusted: Gemini's endpoint leaves it out, Ollama sends 0 for every call, and
        gateways before Anthropic begin at 1. Nor can its id: some send a new one with every piece, some the same one
        for every call. A new call has a name, and the arguments before it are not incomplete.
        """
        call = self._by_index.get(index)
        if call_id and index is None and not name:
            call = self._calls.by_id(call_id) or call
        if call is None and call_id:
            call = self._calls.by_id(call_id)
            if call is not None and name and not call.is_partial:
                return None
        if call is None:
            last = self._calls.last
            return last if last is not None and not (call_id or name or last.is_complete) else None
        is_same = (call_id or call.received_id) == call.received_id and call not in siblings
        if name and index is not None and is_same and not (call.is_begun or call.fragments or call.is_empty):
            return call  # a piece of its name
        if name:
            is_other = (call_id or call.received_id) != call.received_id or name not in (call.name or name)
            if index is None:
                is_other = is_other or not call_id or (call.is_complete and arguments != call.arguments)
            is_new = call in siblings or (is_other and not call.is_partial and bool(call.name))
        else:
            is_new = bool(call_id) and bool(call.received_id) and call_id != call.received_id and call.is_complete
        return None if is_new else call


class CumulativeReader(CumulativeRecordReader, StreamReader):
    """A reader of a stream in which each piece of a text has all of it so far, as with DashScope's default."""

    def __init__(self, name: str, ends_without_finish: bool = False) -> None:
        super().__init__(name, ends_without_finish)
        self._calls = ReceivedCalls(is_cumulative=True, names_in_pieces=True)


def read_document(name: str, body: bytes) -> list[Item]:
    """Return the items of a `chat.completion`. A finish reason may be missing if it has any content.

    Raises msgspec.DecodeError if the body is not this API's, TruncatedError if it has neither.
    """
    document = decode_document(body, _Chunk)
    if document.error is None and (not document.choices or document.base_resp is not None):
        if (error := bare_error(body)) is not None:
            raise error_from_event(error, STATUSES, TOO_LONG)
        if not document.choices:
            raise msgspec.ValidationError("it has no choices")
    if (plain := _plain_items(document)) is not None:
        return plain
    reader = StreamReader(name)
    items: list[Item] = []
    with text_on_error(items):
        reader.append(document, items)
        reader.close_calls(items)
        reader.check_calls(items)
    reader.append_own_fields(items)
    if reader.finished or (reader.has_content and not reader.is_inside_call):
        return items
    what = (
        "no finish_reason, and was cut inside a tool call"
        if reader.has_content
        else "neither content nor finish_reason"
    )
    raise TruncatedError(f"the reply has {what}")


def _is_repeated(function: _Function, calls: list[_ToolCall]) -> bool:
    """Return whether a deprecated `function_call` repeats one of the calls beside it, as some servers send both."""
    named = (function.name or "", function.arguments)
    return any((call.function.name or "", call.function.arguments) == named for call in calls if call.function)


def _own_fields(piece: _ToolCall) -> tuple[JSONObject, tuple[str, str] | None]:
    """Return the fields of a call that only the server which sent them needs back, and Google's signature in them.

    Vertex AI has the signature under its own name (earendil-works/pi#6733), LiteLLM in its own field
    (langbot-app/LangBot#2265), and gateways directly in the call (earendil-works/pi#9443, ENTERPILOT/GoModel#893).
    """
    own: JSONObject = {"extra_content": piece.extra_content} if isinstance(piece.extra_content, dict) else {}
    signed = signature_of(own)
    others = {name: getattr(piece, name) for name in _SIGNED_FIELDS if getattr(piece, name)}
    own |= others
    vertex = object_or_empty(own.get("extra_content")).get("vertex")
    for value in (vertex, piece.provider_specific_fields, others):
        for name in ("thought_signature", "thoughtSignature"):
            signature = text_or_empty(object_or_empty(value).get(name))
            signed = signed or signature_of({"extra_content": signature_content(signature)})
    return own, signed


def _first_choice(choices: list[_Choice]) -> _Choice:
    """Return the first choice. Of a document, it has the text or the calls of another if it has none.

    GitHub Copilot divides one reply of Claude among several (zeroclaw-labs/zeroclaw#2136).
    """
    choice = min(choices, key=lambda choice: choice.index or 0)
    if (first := choice.message) is not None:
        for other in [one.message for one in choices if one.message is not None]:
            first.content = first.content or other.content
            first.tool_calls = first.tool_calls or other.tool_calls
    return choice


def _function_of(piece: _ToolCall) -> _Function:
    """Return the function that a piece calls, from wherever the server has put its name and its arguments."""
    function = piece.function = piece.function or _Function(piece.name, piece.arguments)
    if not function.arguments:
        function.arguments = arguments_in(function, piece)
    function.name = function.name or piece.name
    return function


def _plain_items(document: _Chunk) -> list[Item] | None:
    """Return the items of a document that has only a text and its usage, as nearly all have, None for any other.

    The reader of a stream would find the same, but has much more to set up and to look for.
    """
    choices = document.choices
    if document.error or choices is None or len(choices) != 1 or document.citations or document.search_results:
        return None
    choice, message = choices[0], choices[0].message
    if (
        message is None
        or type(message.content) is not str
        or not message.content
        or any(_beside_content(message))
        or choice.finish_reason not in _TEXT_ENDS
        or choice.delta is not None
        or choice.logprobs
        or choice.error
        or choice.native_finish_reason
    ):
        return None
    items: list[Item] = []
    if document.id or document.model:
        items.append(Start(document.id or "", document.model or "", count(document.created)))
    items += (message.content, Finish(choice.finish_reason))
    if document.usage:
        items.append(_decode_usage(document.usage))
    return items


_beside_content = operator.attrgetter(*[name for name in _Delta.__struct_fields__ if name != "content"])

_TEXT_ENDS = frozenset({"stop", "length"})
"""Finish reasons of a text, which the shared shape has too."""


def _is_empty(delta: _Delta) -> bool:
    return not any(getattr(delta, name) for name in delta.__struct_fields__)


def _decode_parts(parts: list[str | JSONObject]) -> list[Item]:
    """Return the items of content parts: Mistral's `thinking`, Databricks' `reasoning`. Some are a text alone."""
    items: list[Item] = []
    for part in parts:
        if isinstance(part, str):
            items += [part] if part else []
            continue
        text = part.get("text")
        if isinstance(text, dict):
            text = text.get("value")
        if isinstance(text, str) and text:
            items.append(Reasoning(text) if part.get("type") in _THOUGHTS else text)
        elif isinstance(part.get("refusal"), str) and part["refusal"]:
            items.append(Refusal(part["refusal"]))
        elif thought := _text_in(part.get("thinking") or part.get("summary") or part.get("content")):
            items.append(Reasoning(thought))
    return items


_THOUGHTS = ("thinking", "reasoning", "reasoning_text")
"""Types of content parts whose text is not a part of the answer."""


def _text_in(value: Any) -> str:
    """Return the text of an object that has one, or of a list of texts and such objects."""
    parts = value if isinstance(value, list) else [value]
    return "".join([text_or_empty(part.get("text") if isinstance(part, dict) else part) for part in parts])


STATUSES = {
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
}
"""The HTTP status of each error code or type that a stream reports: a stream's own status is always 200."""


def _decode_finish(reason: str) -> Finish:
    return Finish(reason) if reason in FINISH_REASONS else Finish(shared_reason(reason), raw=reason)


_NO_USAGE = Usage()


_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _CountDetails(msgspec.Struct, gc=False):
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = 0
    audio_tokens: _Count = 0


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count = 0
    prompt_tokens_details: _CountDetails | None = None
    completion_tokens_details: _CountDetails | None = None
    prompt_cache_hit_tokens: _Count = 0  # DeepSeek
    cached_tokens: _Count = 0  # Moonshot
    # Gateways before Anthropic's API pass on its names.
    cache_read_input_tokens: _Count | msgspec.UnsetType = msgspec.UNSET
    cache_creation_input_tokens: _Count = 0


_NO_DETAILS = _CountDetails()


def _decode_usage(fields: JSONObject) -> Usage:
    """Return the token counts.

    xAI counts reasoning beside `completion_tokens`, as only its total shows (UKGovernmentBEIS/inspect_ai#5528). What
    Anthropic's cache had and keeps is a part of `prompt_tokens`, unless it is more.
    """
    try:
        usage = msgspec.convert(fields, _Usage)
    except msgspec.ValidationError:
        usage = _fit_usage(fields)
    inputs, outputs = usage.prompt_tokens_details or _NO_DETAILS, usage.completion_tokens_details or _NO_DETAILS
    input_tokens, output_tokens, reasoning = usage.prompt_tokens, usage.completion_tokens, outputs.reasoning_tokens
    cached = inputs.cached_tokens or usage.prompt_cache_hit_tokens or usage.cached_tokens
    cache_write = inputs.cache_write_tokens or usage.cache_creation_input_tokens
    if usage.cache_read_input_tokens is not msgspec.UNSET:
        cached = cached or usage.cache_read_input_tokens
        if cached + cache_write > input_tokens:
            input_tokens += cached + cache_write
    if reasoning and usage.total_tokens == input_tokens + output_tokens + reasoning:
        output_tokens += reasoning
    if not (inputs.audio_tokens or outputs.audio_tokens):
        return Usage(input_tokens, output_tokens, cached, cache_write, reasoning)
    audio = {"input_audio_tokens": inputs.audio_tokens, "output_audio_tokens": outputs.audio_tokens}
    others = {name: number for name, number in audio.items() if number}
    return Usage(input_tokens, output_tokens, cached, cache_write, reasoning, 0, others)


def _fit_usage(fields: JSONObject) -> _Usage:
    """Return the usage of a server that sends text for counts, or the names of the Responses API."""
    named = {"prompt_tokens": fields.get("input_tokens"), "completion_tokens": fields.get("output_tokens"), **fields}
    details = [_fit_counts(object_or_empty(fields.get(name)), _CountDetails) for name in _DETAILS]
    return _fit_counts(named, _Usage, **dict(zip(_DETAILS, details, strict=True)))


def _fit_counts(fields: JSONObject, type_: type[T], **others: object) -> T:
    """Return a struct of counts, 0 for what is not one."""
    return type_(**{name: count(fields[name]) for name in type_.__struct_fields__ if name in fields} | others)


_DETAILS = ("prompt_tokens_details", "completion_tokens_details")


_USAGE = re.compile(rb'"usage"\s*:\s*\{')
"""A chunk with the usage. While it is asked for, OpenAI sends a null in each chunk before."""


def without_usage(records: bytes) -> bytes:
    """Return complete chunks without the one that has the usage and no choice."""
    place = records.find(b'"usage"')
    match = _USAGE.search(records, place) if place >= 0 else None
    if match is None:
        return records
    if b"\r" in records:  # the ends of records may differ
        return b"".join([record for record in split_records(records, "sse") if not _is_usage_chunk(record)])
    kept, rest = b"", 0
    while match is not None:
        start = records.rfind(b"\n\n", rest, match.start()) + 2
        start = start if start > 1 else rest
        end = records.find(b"\n\n", match.end()) + 2
        end = end if end > 1 else len(records)
        kept += records[rest : start if _is_usage_chunk(records[start:end]) else end]
        rest = end
        match = _USAGE.search(records, rest)
    return kept + records[rest:]


def _is_usage_chunk(record: bytes) -> bool:
    for line in record.splitlines():
        if line.startswith(b"data:"):
            try:
                chunk = decoder(_Chunk).decode(line[5:])
            except UNDECODABLE:
                return False
            return not chunk.choices and bool(chunk.usage) and not chunk.error
    return False


TOO_LONG = (
    r"(?:Provider returned error: )?(?:"
    r"This (?:model|endpoint)'s maximum (?:context|prompt) length is|"
    r"Requested token count exceeds the model's maximum context length|"
    r"[Ii]nput length \(?[\d,]+\)? exceeds|"
    r"The input \([\d,]+ tokens\) is longer than the model's context length|"
    r"The (?:decoder )?prompt \((?:total )?length [\d,]+\) is "
    r"(?:too long to fit into the model|longer than the maximum)|"
    r"Please reduce the length of the messages or completion|"
    r"prompt token count of [\d,]+ exceeds the limit of|"
    r"Prompt contains [\d,]+ tokens.* too large for model with [\d,]+ maximum context length|"
    r"Prompt has [\d,]+ tokens, but the configured context size is|"
    r"Range of input length should be|"
    r"(?:the )?request(?: \([\d,]+ tokens\))? exceeds the available context size|"
    r"Trying to keep the first [\d,]+ tokens when context the overflows|"
    r"The number of tokens to keep from the initial prompt is greater than the context length|"
    r"Your request exceeded model token limit|"
    r"invalid params, context window exceeds limit|"
    r"Prompt too long|"
    r"prompt too long; exceeded|the input length exceeds the context length"
    r")"
)
"""How the error begins for a conversation that is too long, at services that do not send OpenAI's code for it.

Sources, in this order: DeepSeek, with the code `invalid_request_error` (FoundationAgents/OpenManus#79), vLLM,
OpenRouter (continuedev/continue#10690), xAI; LiteLLM; SGLang and Poolside; Together and SGLang
(sgl-project/sglang#8096); vLLM (vllm-project/vllm#12165); Groq; GitHub Copilot; Mistral; DS4; DashScope; llama.cpp;
LM Studio (lmstudio-ai/lmstudio-bug-tracker#546); Moonshot; MiniMax; Zhipu; Ollama. The tests of pi
(earendil-works/pi, the file `overflow.test.ts`) have their complete texts.
"""


def decode_citation(fields: JSONObject) -> Citation | None:
    """Return the citation in a `url_citation`, None without an address. Both of OpenAI's chat APIs have its fields."""
    return citation(fields.get("url"), fields.get("title"), fields.get("start_index"), fields.get("end_index"))
