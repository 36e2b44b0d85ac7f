"""Readers of response bodies: one document, a stream of records, or a body that has to be inspected first."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from acytoo.dialects.base import Dialect, Reader, not_this_api
from acytoo.dialects.error_bodies import (
    BASE_RESP,
    MESSAGE_FIELDS,
    OUTCOMES,
    PROBLEM,
    error_details_of,
    error_from_event,
)
from acytoo.dialects.json import UNDECODABLE, closed_json, decoder, end_of_value, is_complete_json
from acytoo.dialects.lenient import decode_lenient
from acytoo.dialects.surrogates import SurrogateJoiner, replace_lone_escapes
from acytoo.dialects.tool_calls import ReceivedCalls, increment, is_invented
from acytoo.errors import AcytooError, ProtocolError, ReplyTooLargeError, StatusError, TruncatedError
from acytoo.observation import Received
from acytoo.secret import truncate
from acytoo.types import (
    Finish,
    Item,
    Logprobs,
    Reasoning,
    Refusal,
    Reply,
    Start,
    ToolCall,
    ToolCallDict,
    Usage,
    collect,
    size_of,
)
from acytoo.wire.limits import check_elements, json_excess
from acytoo.wire.sse import SSEDecoder, sse

T = TypeVar("T")

MAX_DOCUMENT = 64 * 1024 * 1024
"""The largest reply that is one document, in bytes."""

BOM = b"\xef\xbb\xbf"


_MAX_ERROR = 64 * 1024
"""Bytes of a document that is inspected before it has ended."""

_CUT_SAMPLE = 64 * 1024
"""Bytes of a document that was cut from which the length of its text is estimated: more would block the event loop."""

_ERROR_START = re.compile(rb'\s*\[?\s*\{\s*"error"\s*:')


class DocumentReader(Reader):
    """A reader of one JSON document, which is decoded when the body has ended.

    Some gateways send the records of a stream as bare lines, without the `data:` of server-sent events. Such a body
    begins like a document too, so it is read as one, and a reader of `new_stream` then reads its lines.
    Source: QuantumNous/new-api issue 6797.
    """

    def __init__(self, dialect: Dialect, new_stream: Callable[[], Reader] | None = None) -> None:
        self._dialect = dialect
        self._new_stream = new_stream
        self._lines: Reader | None = None
        self._body = bytearray()
        self._items: list[Item] = []

    def feed(self, chunk: bytes) -> list[Item]:
        """Buffer the chunk and return no items.

        Raises ProtocolError if the document is too large, StatusError if it is an error.
        """
        self._body += chunk
        self.received_content = not chunk.isspace()  # OpenRouter and Vercel send blanks while the model works
        if len(self._body) > MAX_DOCUMENT:
            raise ProtocolError(f"the reply is one document of more than {MAX_DOCUMENT // 2**20} MiB")
        is_short = len(self._body) <= _MAX_ERROR
        if is_short and chunk.rstrip()[-1:] in (b"}", b"]") and _ERROR_START.match(self._body):
            self._reject_error(bytes(self._body))
        return []

    def _reject_error(self, body: bytes) -> None:
        """Raise the error that a document is, if it is complete: a stream that ends with one may be cut after it."""
        if is_complete_json(body.strip()):
            try:
                self._dialect.read_reply(body)
            except StatusError:
                raise
            except (AcytooError, *UNDECODABLE):
                pass  # as `flush` will report

    def flush(self) -> list[Item]:
        """Return the items of the document, or only its text if it is not complete: an error follows that.

        Raises TruncatedError or ProtocolError if it is not a document.
        """
        body = bytes(self._body).removeprefix(BOM).strip()
        if not body:
            raise TruncatedError("the server ended the reply without sending anything")
        check_elements(body)
        if self._new_stream is not None and (lines := _bare_lines(body)):
            reader = self._lines = self._new_stream()
            items = reader.feed(b"".join([sse(line) for line in lines]))
            self.pending_error = reader.pending_error
            return items if self.pending_error is not None else items + reader.flush()
        if body.endswith(_DONE) and is_complete_json(document := _without_done(body)):
            body = document
        try:
            self._items = self._read(body)
            return self._items
        except AcytooError as error:
            if not error.text:
                raise
            self.pending_error = error
            return [error.text]
        except (msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
            raise _listed_error(body) or not_this_api(self._dialect.name, body, str(error)) from error
        except msgspec.DecodeError as error:
            if what := _after_document(body):
                raise ProtocolError(f"the reply is a JSON document {what}") from error
            if body[:1] in (b"{", b"["):
                raise TruncatedError("the reply is a JSON document that was cut") from error
            raise not_this_api(self._dialect.name, body, str(error)) from error

    def _read(self, body: bytes) -> list[Item]:
        """Return the items of a document, or of the one that a gateway has put into a field of its own.

        If the document reports an error, the field counts only if it has a reply.
        """
        try:
            return self._dialect.read_reply(body)
        except (StatusError, msgspec.ValidationError) as error:
            for inner in _wrapped_documents(body):
                try:
                    return self._dialect.read_reply(inner)
                except AcytooError:
                    if not isinstance(error, StatusError):
                        raise
                except UNDECODABLE:
                    pass
            raise

    def close(self) -> None:
        """Raise the pending error, or TruncatedError if the body was a stream in bare lines that is not complete."""
        if self.pending_error is not None:
            raise self.pending_error
        if self._lines is not None:
            self._lines.close()

    def received(self) -> Received:
        """Return what the document has; of one that was cut, what its first part has, and its length in proportion."""
        if self._lines is not None:
            return self._lines.received()
        if self._items or not self._body:
            return _received(self._items)
        beginning = bytes(self._body[:_CUT_SAMPLE])
        received = self._received_before_cut(closed_json(beginning.removeprefix(BOM)))
        received.size = received.size * len(self._body) // len(beginning)
        received.is_partial = True
        return received

    def _received_before_cut(self, document: bytes) -> Received:
        try:
            return _received(self._dialect.read_reply(document))
        except AcytooError as error:
            return _received([error.text])
        except UNDECODABLE:
            return Received()


_ENVELOPES = ("result", "data", "response")
"""Fields into which gateways put a document: Cloudflare's API ("Response envelope" in its documentation), new-api."""


def _wrapped_documents(body: bytes) -> list[bytes]:
    try:
        fields = decoder(dict[str, msgspec.Raw]).decode(body)
    except UNDECODABLE:
        return []
    values = [bytes(fields[name]) for name in _ENVELOPES if name in fields]
    return [value for value in values if value.startswith(b"{")]


_DONE = b"[DONE]"


def _without_done(body: bytes) -> bytes:
    """Return a body without the end of a stream, which gateways put after a document too."""
    return body.removesuffix(_DONE).rstrip().removesuffix(b"data:").rstrip()


def _after_document(body: bytes) -> str:
    """Return what is wrong with a body that has more after its first document, "" if that was cut."""
    text = body.decode("utf-8", "replace")
    end = end_of_value(text)
    rest = text[end:].strip()
    if not end or text[:1] not in ("{", "[") or not rest:
        return ""
    return "that was sent twice" if rest == text[:end] else f"with something after it: {truncate(rest, 100)!r}"


def _bare_lines(body: bytes) -> list[bytes]:
    """Return the lines of a body that has a JSON document on each; empty for any other body.

    The last line may be cut. A document in several lines has none that is complete by itself.
    """
    first, line_end, rest = body.partition(b"\n")
    if not line_end or not rest.lstrip().startswith((b"{", b"[DONE]")) or not is_complete_json(first):
        return []
    *lines, last = [line for line in body.splitlines() if line.strip()]
    return [*lines, last] if is_complete_json(last) else lines


class AutoReader(Reader):
    """A reader that chooses by the first characters: `{`, `[` or `<` begin a document, anything else a stream.

    The content type cannot decide, because many servers send a wrong one.
    """

    def __init__(self, dialect: Dialect, new_stream: Callable[[], Reader]) -> None:
        """`new_stream` creates the reader of a stream."""
        self._dialect = dialect
        self._new_stream = new_stream
        self._reader: Reader | None = None
        self._start = b""
        self._stray = b""

    def feed(self, chunk: bytes) -> list[Item]:
        """Return the items that this chunk completes, none while the kind of body is unknown."""
        if self._reader is None and (chunk := self._choose(chunk)) == b"":
            self.received_content = False
            return []
        assert self._reader is not None
        items = self._reader.feed(chunk)
        self.received_content = self._reader.received_content
        self.pending_error = self._reader.pending_error
        return items

    def scan(self, chunk: bytes) -> None:
        """Read a chunk that is passed through. Raises as `feed`."""
        if self._reader is None and (chunk := self._choose(chunk)) == b"":
            self.received_content = False
            return
        assert self._reader is not None
        self._reader.scan(chunk)
        self.received_content = self._reader.received_content
        self.pending_error = self._reader.pending_error

    @property
    def current(self) -> Reader:
        """The chosen reader, unless `close` has to explain what the body began with."""
        return self if self._reader is None or self._stray else self._reader

    def trim(self, max_size: int) -> None:
        """Trim what the chosen reader keeps."""
        if self._reader is not None:
            self._reader.trim(max_size)

    def _choose(self, chunk: bytes) -> bytes:
        """Choose the reader. Return all bytes so far once it is chosen, b"" before."""
        chunk = self._start = self._start + chunk
        start = chunk.removeprefix(BOM).lstrip()
        is_short = len(start) <= _MAX_FIELD and len(chunk) < 1024
        if is_short and (BOM.startswith(chunk) or any(field.startswith(start) for field in _FIELDS)):
            return b""
        if start[:1] in (b"{", b"[", b"<"):
            self._reader = DocumentReader(self._dialect, self._new_stream)
        else:
            self._reader = self._new_stream()
            if not start.startswith(_FIELDS) and b"data:" not in start:
                self._stray = start
        self._start = b""
        return chunk

    def flush(self) -> list[Item]:
        """Return the last items after the body has ended."""
        if self._reader is None:
            return []
        items = self._reader.flush()
        self.pending_error = self._reader.pending_error
        return items

    def close(self) -> None:
        """Raise TruncatedError if the reply is not complete, ProtocolError if it did not begin as one."""
        try:
            (self._reader or self._new_stream()).close()
        except TruncatedError as error:
            if self._stray:
                raise not_this_api(self._dialect.name, self._stray, str(error)) from error
            raise

    def received(self) -> Received:
        """Return what the chosen reader has received."""
        return self._reader.received() if self._reader is not None else Received()


_FIELDS = (b"data:", b"event:", b"retry:", b"id:", b":")
"""The beginnings of an event stream."""

_MAX_FIELD = max(map(len, _FIELDS))


def _received(items: Sequence[Item]) -> Received:
    usage: Usage | None = None
    finish: Finish | None = None
    size = 0
    for item in items:  # whose types are compared, because isinstance takes ten times as long for a struct
        if type(item) is str:
            size += len(item) if item.isascii() else len(item.encode("utf-8", "surrogatepass"))
        elif type(item) is Start:
            pass
        elif type(item) is Finish:
            finish = item
        elif type(item) is Usage:
            usage = item
        elif type(item) is Reasoning or type(item) is Refusal:
            size += len(item.text.encode("utf-8", "surrogatepass"))
        elif type(item) is ToolCall:
            size += len(item.name) + len(item.arguments.encode("utf-8", "surrogatepass"))
    return Received(usage, finish, size)


decode_string = decoder(str).decode
"""Decode a JSON string with its quotes."""


class Decoder(Protocol):
    """A decoder of chunks to records."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the records that this chunk completes."""

    def close(self) -> list[bytes]:
        """Return the last record if its terminator is missing."""


def bare_error(record: bytes) -> dict[str, Any] | None:
    """Return the document of a record that is itself an error, None for any other record.

    Such records come from vLLM, LMDeploy, servers built on FastAPI (`{"detail": …}`) and gateways. Call it only for
    records that have no field of a reply.
    """
    if _MAY_BE_ERROR.search(record) is None or json_excess(record, max_depth=len(record)):
        return None
    try:
        document = decoder(Any).decode(replace_lone_escapes(record))
    except UNDECODABLE:  # a field that the reader skipped is invalid; its own fields were fine
        return None
    if isinstance(document, dict) and isinstance(document.get("message"), dict) and not document.get("error"):
        return None  # a message of the reply
    if isinstance(document, dict) and document.get("code") in (0, "0"):
        return None  # `{"code": 0, "message": "Success"}`: iFlytek Spark's documentation, and many gateways
    return document if error_details_of(document) is not None else None


_MAY_BE_ERROR = re.compile(f'"(?:{"|".join((*MESSAGE_FIELDS, BASE_RESP, PROBLEM, *OUTCOMES))})"'.encode())


def _listed_error(body: bytes) -> StatusError | None:
    """Return the error in a list of them in place of an object, as Google's servers send it; None for other bodies."""
    error = bare_error(body) if body[:1] == b"[" else None
    return None if error is None else error_from_event(error)


def unframed(record: bytes) -> bytes:
    """Return a server-sent record that is not JSON without what is around it, b"" if nothing is left.

    That is white space, `data:` once more (paiml/aprender pull request 2015), a comment that was sent as data
    (anomalyco/opencode issue 50871: Vertex AI), or the quotes around `[DONE]`.
    """
    record = record.strip()
    while record.startswith(b"data:"):
        record = record[5:].lstrip()
    record = _DONE if record.strip(b'"').upper() == _DONE else record
    return b"" if record[:1] == b":" or record == b"null" else record


def _text_of(record: bytes) -> str:
    """Return the text that a record is, "" if it is any other JSON or none."""
    if record[:1] != b'"':
        return ""
    try:
        text: str = decoder(str).decode(replace_lone_escapes(record))
    except UNDECODABLE:
        return ""
    return text.strip()


_NAMES_OF_REPLIES = re.compile(
    "answer|block|choice|chunk|completion|content|delta|error|fail|message|output|response|text|token|tool|^data$",
    re.IGNORECASE,
)
"""What is in the names of events that may have a part of a reply, or its failure."""

_NO_BLANK_LINES = "its `data:` lines have no blank line between them"


def _joined_records(record: bytes) -> list[bytes]:
    """Return the lines of a record if a complete JSON document begins it: several records without blank lines.

    Server-sent events join the `data:` lines up to the next blank line, so a stream without any is one record.
    """
    first, line_end, _ = record.partition(b"\n")
    return record.split(b"\n") if line_end and is_complete_json(first) else [record]


def _without_cut(record: bytes) -> bytes:
    """Return the error that a gateway sent inside a record that it had begun (Wei-Shaw/sub2api#1471), or the record."""
    *cut, last = record.split(b"\n")
    return last if cut and not is_complete_json(record) and bare_error(last) is not None else record


class text_on_error:
    """Give an error that a document reports the text of the items that precede it."""

    __slots__ = ("_items",)

    def __init__(self, items: list[Item]) -> None:
        self._items = items

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, AcytooError):
            error.text = "".join([item for item in self._items if isinstance(item, str)])


class TextForm(msgspec.Struct, gc=False):
    """What the records of a stream have around their texts.

    Most servers send the same around each text. A record that has it around a JSON string can have nothing else in it,
    so it need not be decoded.
    """

    before: bytes
    after: bytes
    place: slice
    """The place of the text with its quotes."""


NO_FORM = TextForm(b"\n", b"", slice(0))  # no record begins with a line end


def text_form(record: bytes, name: bytes, text: str) -> TextForm:
    """Return what a record has around its text, the value of the field of that name (with its quotes).

    That is NO_FORM if the place of the text is not certain: if a string is escaped or another field has that name.
    """
    rest = record.partition(name)[2].partition(b'"')[2]
    raw, _, end = rest.partition(b'"')
    if raw != text.encode("utf-8", "surrogatepass") or name in end or b"\\" in record:
        return NO_FORM
    start = len(record) - len(rest)
    return TextForm(record[:start], record[start + len(raw) :], slice(start - 1, -len(end)))


class RecordReader(Reader):
    """A reader of a stream of records. A subclass decodes them and knows what completes a reply (`ending`)."""

    ending: ClassVar[str]
    forgotten: int = 0
    """The length of the text at the beginning of the reply that is not kept."""
    has_content: bool = False
    """Whether a text, a refusal or a call was read."""
    _first_unread: bytes = b""
    """The beginning of the stream's first record, if no record has had an item so far."""
    cumulative_hint: ClassVar[str] = ""
    """How to read a server that sends all the text so far in each piece, if this reader can."""
    names_in_pieces: ClassVar[bool] = False
    """Whether the name of a call may arrive in pieces."""

    # Class attributes are cheap for what most replies neither set nor read; reading them is slower.
    _surrogates: SurrogateJoiner | None = None  # once a record was refused
    _length: _TextLength | None = None  # of all items before those of the present call of `read`
    _read_length: _TextLength | None = None  # of these
    _checks = 0
    _limit = 0
    _sized = _kept_size = _arguments_size = 0  # of the items, in bytes, since the last `trim`
    form_searches = 0

    def __init__(self, name: str, decoder: Decoder, ends_without_finish: bool = False) -> None:
        """`ends_without_finish`: whether a reply with content is complete at the end of its body."""
        self._name = name
        self._ends_without_finish = ends_without_finish
        self._is_cut = False  # inside a record
        self._scans = False
        self._decode_chunk = decoder.feed
        self._rest = decoder.close
        self._name_of = decoder.name_of if isinstance(decoder, SSEDecoder) else None
        self._calls = ReceivedCalls(names_in_pieces=self.names_in_pieces)
        # All items so far. One list, because the garbage collector would visit a list for each batch again and again:
        # with a thousand streams, it stopped the event loop for tens of milliseconds.
        self._items: list[Item] = []
        self._joined = 0  # how many of them have been joined
        self._counts: dict[int, int] = {}  # of records without content, by their hashes
        self.form = NO_FORM  # of a record that has only a text

    @property
    def complete(self) -> bool:
        """Whether the record that completes a reply has been read."""
        raise NotImplementedError

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Append the items of some records. Raises as `feed`."""
        raise NotImplementedError

    def feed(self, chunk: bytes) -> list[Item]:
        """Return the items of every record that this chunk completes."""
        return self._read(self._decode_chunk(chunk))

    def decode_unusual(self, record: bytes, type_: type[T]) -> T:
        """Decode a record that msgspec refused, because of a lone surrogate or a wrong type in a field.

        Raises StatusError if it is a list with an error, or a text after the reply has begun, which can only be an
        error's, and ProtocolError if it is not JSON, or has a wrong type in a field that is needed.
        """
        if record[:1] not in (b"{", b"[") and self.is_aside(record):
            return type_()
        record = _without_cut(record)
        if (error := _listed_error(record)) is not None:
            raise error
        if self.has_content and (text := _text_of(record)):
            raise error_from_event(text)
        try:
            decoded = decode_lenient(record, type_)
        except UNDECODABLE as failure:
            why = _NO_BLANK_LINES if len(_joined_records(record)) > 1 else str(failure)
            raise not_this_api(self._name, record, why) from failure
        if self._surrogates is None:
            self._surrogates = SurrogateJoiner()
        return decoded

    def event_name(self, record: bytes) -> str:
        """Return the name of the event that has just had this record as its data, "" if it has none."""
        return self._name_of(record).decode("latin-1") if self._name_of is not None else ""

    def is_aside(self, record: bytes) -> bool:
        """Return whether a record is that of an event whose name no API has: what a gateway adds to a stream.

        Clients have to ignore such events (anomalyco/opencode#43765). Names that may be those of a part of the reply
        are not among them.
        """
        name = self.event_name(record)
        return bool(name) and _NAMES_OF_REPLIES.search(name) is None

    def scan(self, chunk: bytes) -> None:
        """Read a chunk that is passed through. Raises as `feed`."""
        self._scans = True
        self._read(self._decode_chunk(chunk))

    def is_keep_alive(self, record: bytes) -> bool:
        """Return whether a record without items shows only that the connection is open."""
        return not unframed(record)

    def flush(self) -> list[Item]:
        """Return the items of a last record whose terminator is missing. An incomplete record has none."""
        records = self._rest()
        if records and len(lines := _joined_records(records[-1])) > 1:
            records = [*records[:-1], *lines]
        complete = [record for record in map(_without_cut, records) if self.is_complete_record(record)]
        self._is_cut = len(complete) < len(records)
        items = self._read(complete) if complete else []
        if not self.complete:
            if not self._may_end():
                return items
            items = items + self._held_items()
        return items + self._surrogates.flush() if self._surrogates is not None else items

    def _held_items(self) -> list[Item]:
        """Return the complete calls that were held back, at the end of a body that has no other end."""
        try:
            items = self._calls.close()
        except ProtocolError as error:
            self.pending_error = error
            return []
        self._items += items
        return items

    def close(self) -> None:
        """Raise the pending error, or TruncatedError if the reply is not complete."""
        if self.pending_error is not None:
            raise self.pending_error
        if not self._scans and (repetition := _repetition(self._items, self.cumulative_hint)):
            raise ProtocolError(repetition)
        if not self._scans:
            self.check_calls(self._items)
        self.require_end(f"the stream ended without {self.ending}")

    def check_calls(self, items: Sequence[Item]) -> None:
        """Raise TruncatedError if a call has no end although the reply has one. `items` are those of the reply.

        Only the limit of tokens may cut a call. Servers report a call in place of that limit (vllm-project/vllm#53269,
        NousResearch/hermes-agent#7693).
        """
        if self._calls.last is None or not (name := self._calls.open_name):
            return
        finish = next((item for item in reversed(items) if type(item) is Finish), None)
        if finish is not None and finish.reason in ("stop", "tool_calls"):
            reason = finish.raw or finish.reason
            raise TruncatedError(f"the server ended the reply with {reason!r} inside the arguments for {name!r}")

    def require_end(self, message: str, document: Sequence[Item] = ()) -> None:
        """Raise TruncatedError with the message unless the reply is complete at the end of its body.

        `document` has its items if it is one document.
        """
        if not self.complete and not self._may_end(document):
            if self._first_unread and not (self._items or document):
                message = f"{message}: it began with {truncate(self._first_unread, 200)!r}"
            may_be_lax = self.has_content and not self._ends_without_finish and not self.is_inside_call
            raise TruncatedError(f"{message}; {_ENDS_WITHOUT_FINISH}" if may_be_lax else message)

    @property
    def is_inside_call(self) -> bool:
        """Whether a call is not complete, so that the body was cut if it ends here."""
        return self._calls.is_cut

    def _may_end(self, document: Sequence[Item] = ()) -> bool:
        """Whether the end of the body ends the reply: not inside a record or a call."""
        if not (self._ends_without_finish and self.has_content) or self._is_cut:
            return False
        if self.is_inside_call:
            return False
        if self._scans or self.forgotten or self._calls.last is not None:
            return True
        reply = self.emitted([*document])
        return bool(reply.text or reply.refusal)

    def is_complete_record(self, record: bytes) -> bool:
        """Return whether a last record without its terminator is complete."""
        return is_complete_json(record)

    def _read(self, records: list[bytes]) -> list[Item]:
        items: list[Item] = []
        try:
            self.read(records, items)
        except AcytooError as error:
            if not items:
                raise
            self.pending_error = error
        if self._surrogates is not None:
            try:
                items = self._surrogates.join(items)
            except RecursionError as error:
                raise ProtocolError("the reply has JSON that is nested too deeply") from error
        if not (items or self._items or self._first_unread) and records:
            self._first_unread = next(filter(unframed, records), b"")[:_MAX_SHOWN]
        self.received_content = bool(items and type(items[-1]) not in _SILENT) or self._shows_progress(records, items)
        self._items += items
        if len(self._items) > self._joined + _MAX_ITEMS:
            if repetition := _repetition(self._items[self._joined :], self.cumulative_hint):
                self.pending_error = ProtocolError(repetition)
            self._join_items()
        return items

    def received(self) -> Received:
        """Return what has been received; what was forgotten counts as one byte for each character."""
        received = _received(self._items)
        received.size += self.forgotten
        return received

    def _shows_progress(self, records: list[bytes], items: list[Item]) -> bool:
        """Return whether records without content show that the model works.

        They may be a part of something that is held back, or report how much of a long prompt has been read. But what
        a server repeats often is what it sends while nothing happens.
        """
        if any(type(item) not in _SILENT for item in items):
            return True
        new = [record for record in records if not self.is_keep_alive(record)]
        return any(not self.is_repeated(self.shape_of(record)) for record in new)

    def is_repeated(self, record: bytes) -> bool:
        """Count a record, and return whether it has been repeated often."""
        counts, key = self._counts, hash(record)
        if len(counts) >= _MAX_COUNTED:
            counts.clear()
        counts[key] = counts.get(key, 0) + 1
        return counts[key] > _MAX_REPEATED

    def shape_of(self, record: bytes) -> bytes:
        """Return what is the same in a record that is repeated: all but digits, which may be a count or a time."""
        return record.translate(None, b"0123456789")

    def trim(self, max_size: int) -> None:
        """Forget the items so far if they are too large.

        Arguments are needed completely, so for them this raises ReplyTooLargeError. So does `emitted` from then on.
        """
        self._join_items()
        self._kept_size += sum([size_of(item) for item in self._items[self._sized :]])
        self._sized = len(self._items)
        if self._kept_size <= max_size:
            return
        self._arguments_size += sum([len(item.arguments) for item in self._items if isinstance(item, ToolCall)])
        if self._arguments_size > max_size:
            raise ReplyTooLargeError(max_size)
        self.forgotten = self.emitted_text_length([])
        self._limit = max_size
        self._items.clear()
        self._joined = self._kept_size = self._sized = self._length_so_far.measured = 0

    def _join_items(self) -> None:
        """Join the pieces among the items that are new since the last call."""
        self._length_so_far.measure()
        self._items[self._joined :] = _with_joined_pieces(self._items[self._joined :])
        self._joined = self._length_so_far.measured = len(self._items)

    def emitted(self, items: list[Item]) -> Reply:
        """Return all items so far as a reply; `items` are those of the present call of `read`.

        Only for the unusual record that may repeat some of it.
        """
        if self.forgotten:
            raise ReplyTooLargeError(self._limit)
        self._join_items()
        return collect([*self._items, *items])

    def emitted_text(self, items: list[Item], start: int = 0) -> str:
        """Return all texts so far, joined, from a place in them; `items` as in `emitted`."""
        left = self.emitted_text_length(items) - start
        pieces: list[str] = []
        for item in itertools.chain(reversed(items), reversed(self._items)):
            if left <= 0:
                break
            if type(item) is str:
                pieces.append(item)
                left -= len(item)
        return "".join(reversed(pieces))[-left if left < 0 else 0 :]

    def emitted_text_length(self, items: list[Item]) -> int:
        """Return the length of `emitted_text`."""
        if self._read_length is None or self._read_length.items is not items:
            self._read_length = _TextLength(items)
        return self._length_so_far.measure() + self._read_length.measure()

    @property
    def _length_so_far(self) -> _TextLength:
        if self._length is None:
            self._length = _TextLength(self._items)
        return self._length

    def unrepeated(self, last: list[Item], items: list[Item]) -> list[Item]:
        """Return the items of the last record of a reply without those that only repeat all that precede it.

        A short text is a repetition only if it precedes in several pieces: a model may say something twice.
        """
        if self.forgotten:  # an equal length must do
            is_repeated = len(collect(last).text) == self.emitted_text_length(items)
            return [item for item in last if isinstance(item, ToolCall)] if is_repeated else last
        self._checks += 1
        if self._checks > _MAX_CHECKS:
            return last
        pieces = sum(type(item) is str for item in (*self._items, *items))
        before, after = self.emitted(items), collect(last)
        repeated: set[type] = set()
        if after.text == before.text and (pieces > 1 or len(after.text) >= LONG_TEXT):
            repeated |= {str, Logprobs}
        if reasoning_text(after) == reasoning_text(before):
            repeated.add(Reasoning)
        if after.refusal == before.refusal:
            repeated.add(Refusal)
        if _are_equal(before.tool_calls, after.tool_calls):
            repeated.add(ToolCall)
        arguments = {index: call["function"]["arguments"] for index, call in enumerate(before.tool_calls)}
        return [
            item
            for item in last
            if not (type(item) in repeated and not getattr(item, "signature", ""))
            and not (isinstance(item, ToolCall) and item.arguments and item.arguments == arguments.get(item.index))
        ]


def _are_equal(calls: Sequence[ToolCallDict], others: Sequence[ToolCallDict]) -> bool:
    """Return whether calls are the same, with the same ids where the server has sent any."""
    return len(calls) == len(others) and all(
        one["function"] == other["function"]
        and (one["id"] == other["id"] or is_invented(one["id"]) or is_invented(other["id"]))
        for one, other in zip(calls, others, strict=True)
    )


class CumulativeRecordReader(RecordReader):
    """What replaces methods of a dialect's reader if each piece of a text has all of it so far.

    Such a stream costs the square of its length, so this need not be fast: it reads one record at a time.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._texts: dict[type, str] = {}

    def _read(self, records: list[bytes]) -> list[Item]:
        items: list[Item] = []
        has_content = False
        for record in records:
            try:
                items += super()._read([record])
            except AcytooError as error:
                if not items:
                    raise
                self.pending_error = error
            has_content = has_content or self.received_content
            if self.pending_error is not None:
                break
        self.received_content = has_content
        return items

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Append the items of a record, with only what their texts add to those before them."""
        complete: list[Item] = []
        super().read(records, complete)
        texts: dict[type, str] = {}  # a record may have one text in several parts
        for item in complete:
            kind = type(item)
            if not isinstance(item, str | Reasoning | Refusal):
                items.append(item)
                continue
            before = texts.get(kind, "")
            text = texts[kind] = before + (item if isinstance(item, str) else item.text)
            known = self._texts.get(kind, "")
            if known.startswith(text):  # this part, or a repetition of the last record
                new = ""
            else:
                new = increment(known, text)
                self._texts[kind] = text
            if isinstance(item, str):
                items += [new] if new else []
            elif new or getattr(item, "signature", ""):
                items.append(msgspec.structs.replace(item, text=new))
        for kind, text in texts.items():
            increment(self._texts[kind], text)  # raises an error if the record has only a part of it

    def unrepeated(self, last: list[Item], items: list[Item]) -> list[Item]:
        """Return the items of the last record: `read` leaves out whatever they repeat."""
        return last


_CUMULATIVE = (
    "each piece of the reply repeats all that precede it: the server sends cumulative texts where this API has "
    "increments; look for its option (DashScope's is incremental_output)"
)


_DOUBLED = "the server sent everything in this reply twice"


def _repetition(items: Sequence[Item], cumulative_hint: str) -> str:
    """Return what is wrong with a reply that repeats itself throughout, "" if it does not."""
    if _begins_varied(items):
        return _DOUBLED if _is_replayed(items) else ""
    return _CUMULATIVE + cumulative_hint if _is_cumulative(items) else _DOUBLED if _is_doubled(items) else ""


def _begins_varied(items: Sequence[Item]) -> bool:
    """Return whether the first two pieces are texts of which the second does not begin with the first.

    Nearly every reply begins like this, and it cannot be cumulative or in pairs. Every reply is checked at its end, so
    this must not cost much.
    """
    first = ""
    for item in items:
        if type(item) is str:
            if first:
                return not item.startswith(first)
            first = item
        elif type(item) not in _SILENT:
            return False
    return False


def _is_doubled(items: Sequence[Item]) -> bool:
    """Return whether every piece of a reply came twice in a row, or the complete text again after its end.

    As with cumulative texts, the first pieces do not show it.
    """
    return (_are_pairs(items[:_FIRST_ITEMS]) and _are_pairs(items)) or _is_replayed(items)


def _is_replayed(items: Sequence[Item]) -> bool:
    """Return whether the complete text came again after the end. The last item of nearly every reply excludes it."""
    for item in reversed(items):
        if type(item) is Finish:
            return False
        if type(item) is str:
            break
    end = next((index for index, item in enumerate(items) if type(item) is Finish), len(items))
    before, after = ("".join([item for item in part if type(item) is str]) for part in (items[:end], items[end:]))
    return before == after and len(before) >= LONG_TEXT


def _are_pairs(items: Sequence[Item]) -> bool:
    """Return whether all pieces of texts and arguments are in pairs, enough of them to be no chance."""
    pieces = (piece for item in items if (piece := _text_piece(item))[1])
    firsts: list[str] = []
    for first, second in itertools.zip_longest(pieces, pieces):
        if first != second and (second is not None or len(items) < _FIRST_ITEMS):
            return False
        if len(firsts) == 1 and first[1] == firsts[0]:
            return False  # four equal pieces: a reply of equal ones, which this must not slow down
        firsts.append(first[1])
    return len(set(firsts)) >= _MIN_PAIRS and len("".join(firsts)) >= _MIN_DOUBLED


_FIRST_ITEMS = 24
"""The items that are looked at first. In a longer reply, an odd last piece may be the first of a pair."""


def _text_piece(item: Item) -> tuple[tuple[type, int], str]:
    """Return the text of an item, "" if it has none, and what it is a piece of."""
    if type(item) is str:
        return (str, 0), item
    if type(item) is Reasoning:
        return (Reasoning, item.index), item.text
    return ((ToolCall, item.index), item.arguments) if type(item) is ToolCall else ((type(item), 0), "")


_MIN_PAIRS = 4
"""How many different pieces must come twice in a row, if all do, for a reply to be doubled."""

_MIN_DOUBLED = 12
"""The characters that such pieces must have: a model may spell "aabbccdd" in pairs of letters."""


def _is_cumulative(items: Sequence[Item]) -> bool:
    """Return whether all pieces of the texts or calls of a reply begin with those before them, and grow.

    It is an error and not repaired, because the first pieces do not show it: "ha" and "haha" may be one honest text.
    Nearly every reply shows that it is not cumulative with its second piece.
    Source: QwenLM/qwen-code pull request 3896.
    """
    if not _may_grow(items):
        return False
    last: dict[tuple[type, int], str] = {}
    growths = 0
    for item in items:
        key, piece = _text_piece(item)
        if piece:
            before = last.get(key, "")
            if not piece.startswith(before):
                return False
            growths += 0 < len(before) < len(piece)
            last[key] = piece
    return growths >= _MIN_GROWTHS and all(len(set(piece)) > _MIN_CHARACTERS for piece in last.values())


def _may_grow(items: Sequence[Item]) -> bool:
    """Return whether the last text is longer than the first, or there is at most one.

    Every reply is checked at its end, so this must not cost much.
    """
    last = next((item for item in reversed(items) if type(item) is str), "")
    first = next((item for item in items if type(item) is str), "")
    return first is last or (len(last) > len(first) and last.startswith(first))


_MIN_GROWTHS = 3
"""How often a piece must be longer than the one before, if each begins with that, to be cumulative."""

_MIN_CHARACTERS = 3
"""A text of so few different characters may grow like this by itself, such as a line of dashes or laughter."""

_ENDS_WITHOUT_FINISH = (
    "if this server ends complete replies like that, give the provider a dialect with ends_without_finish=True"
)

_SILENT = (Start, Usage)
"""The items that are no content."""

_MAX_SHOWN = 300
"""Bytes of a record that an error shows."""

_MAX_COUNTED = 64
"""How many different records without content are counted."""

_MAX_REPEATED = 16
"""How often such a record may be sent."""

_MAX_ITEMS = 2048
"""The items that a reader keeps before it joins their texts, which takes less memory."""

MAX_FORM_SEARCHES = 4
"""How often the form of a text is looked for: some servers send something new with each (OpenAI's `obfuscation`)."""

_MAX_CHECKS = 16
"""How many last records of a reply are compared with all that precedes them. Some servers mark every record as one."""

LONG_TEXT = 8
"""The characters of a text that a model is unlikely to repeat in one piece."""


class _TextLength:
    """The length of the texts in a growing list, which looks at each item once."""

    __slots__ = ("items", "length", "measured")

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.measured = self.length = 0

    def measure(self) -> int:
        new = self.items[self.measured :]
        self.measured = len(self.items)
        self.length += sum([len(item) for item in new if type(item) is str])
        return self.length


def _with_joined_pieces(items: list[Item]) -> list[Item]:
    """Return the items with neighbouring pieces of one text, block or call as one."""
    joined: list[Item] = []
    for (kind, index), run in itertools.groupby(items, _piece_of):
        pieces: list[Any] = list(run)
        if kind is str:
            joined.append("".join(pieces))
        elif kind is ToolCall:
            joined.append(ToolCall(index, arguments="".join([piece.arguments for piece in pieces])))
        elif kind is Reasoning:
            joined.append(Reasoning("".join([piece.text for piece in pieces]), index))
        else:
            joined += pieces
    return joined


def _piece_of(item: Item) -> tuple[type | None, int]:
    """Return what an item is another piece of, (None, 0) if it is more than a piece."""
    if type(item) is str:
        return str, 0
    if type(item) is ToolCall and not (item.id or item.name or item.signature):
        return ToolCall, item.index
    if type(item) is Reasoning and not (item.signature or item.data or item.id or item.source):
        return Reasoning, item.index
    return None, 0


def reasoning_text(reply: Reply) -> str:
    """Return the text of all reasoning blocks."""
    return "".join([block.get("text", "") for block in reply.reasoning])


def continuation(before: str, complete: str) -> str | None:
    """Return what a complete text adds to the part of it that was read before, None if it does not begin with that.

    White space around the text may differ.
    """
    if complete.startswith(before):
        return complete[len(before) :]
    if complete.strip() == before.strip():
        return ""
    begin, rest = before.lstrip(), complete.lstrip()
    return rest[len(begin) :] if rest.startswith(begin) else None
