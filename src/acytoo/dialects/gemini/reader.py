"""Gemini's replies as a client receives them: streamed or one document, and the errors in them.

Source: Google's Gemini API reference (`GenerateContentResponse`), and its error model (`google.rpc.Status`).
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from acytoo.dialects.error_bodies import error_from_event
from acytoo.dialects.fields import count, object_or_empty, objects_in
from acytoo.dialects.finish import append_finish, check_call, check_finish, shared_reason
from acytoo.dialects.gemini.parts import (
    FINISH_REASONS,
    READ_FIELDS,
    SOURCE,
    Part,
    TurnReader,
    camel_case_fields,
    snake_case,
)
from acytoo.dialects.json import UNDECODABLE, decoder
from acytoo.dialects.lenient import NEEDED, REASON, decode_document
from acytoo.dialects.readers import LONG_TEXT, CumulativeRecordReader, RecordReader, bare_error, text_on_error, unframed
from acytoo.dialects.surrogates import replace_lone_escapes
from acytoo.errors import AuthenticationError, ProtocolError, StatusError, TruncatedError
from acytoo.observation import Received
from acytoo.types import Finish, Item, JSONObject, Logprobs, OpaquePart, Refusal, Start, ToolCall, Usage
from acytoo.wire.sse import SSEDecoder


class _Content(msgspec.Struct, gc=False):
    parts: Annotated[list[Part] | None, NEEDED] = None


class _TokenLogprob(msgspec.Struct, rename="camel", gc=False):
    token: str | None = None
    log_probability: float | None = None


class _TopLogprobs(msgspec.Struct, gc=False):
    candidates: list[_TokenLogprob] | None = None


class _LogprobsResult(msgspec.Struct, rename="camel", gc=False):
    chosen_candidates: list[_TokenLogprob] | None = None
    top_candidates: list[_TopLogprobs] | None = None


class _Candidate(msgspec.Struct, rename="camel", gc=False):
    content: Annotated[_Content | None, NEEDED] = None
    finish_reason: Annotated[str | None, REASON] = None
    finish_message: Any = None  # text
    index: int | None = None
    logprobs_result: _LogprobsResult | None = None
    grounding_metadata: Any = None
    citation_metadata: Any = None
    url_context_metadata: Any = None
    snake_finish_reason: None = snake_case("finish_reason")
    snake_logprobs_result: None = snake_case("logprobs_result")


class _ModalityTokens(msgspec.Struct, rename="camel", gc=False):
    modality: str | None = None
    token_count: int | None = None


class _UsageMetadata(msgspec.Struct, rename="camel", gc=False):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    prompt_tokens_details: list[_ModalityTokens] | None = None
    candidates_tokens_details: list[_ModalityTokens] | None = None


class _PromptFeedback(msgspec.Struct, rename="camel", gc=False):
    block_reason: str | None = None
    block_reason_message: Any = None  # text


class _Response(msgspec.Struct, rename="camel", gc=False):
    """A `GenerateContentResponse`: a complete reply, or one event of a stream."""

    candidates: Annotated[list[_Candidate] | None, NEEDED] = None
    usage_metadata: _UsageMetadata | None = None
    model_version: str | None = None
    response_id: str | None = None
    prompt_feedback: _PromptFeedback | None = None
    error: Any = None  # a `google.rpc.Status`; a proxy in front of the server may send text
    snake_usage_metadata: None = snake_case("usage_metadata")
    snake_model_version: None = snake_case("model_version")
    snake_response_id: None = snake_case("response_id")
    snake_prompt_feedback: None = snake_case("prompt_feedback")


_decode = decoder(_Response).decode
_decode_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode

_NO_REASON = ("FINISH_REASON_UNSPECIFIED", "0")
"""The enumeration's name and number for no finish reason."""

_NUMBERED = {"1": "STOP", "2": "MAX_TOKENS", "3": "SAFETY", "4": "RECITATION", "5": "OTHER"}
"""The numbers in the enumeration, which servers send that encode Google's messages themselves. Later ones differ
between the Gemini API and Vertex AI.
"""

_NO_BLOCK = ("BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED")
"""The names for no block reason, of the Gemini API and of Vertex AI."""

_UNFRAMED_LIMIT = 8192
"""Bytes kept to recognise an error that is not inside an event."""


class _Envelope(msgspec.Struct, gc=False):
    response: msgspec.Raw = msgspec.Raw()


_decode_envelope = decoder(_Envelope).decode


def _wrapped_in(record: bytes) -> bytes | None:
    """Return the response inside `{"response": …}`, None for any other record.

    Code Assist, the API behind the Gemini CLI, has that around each response, and proxies of it pass it on.
    """
    if b'"response"' not in record:
        return None
    try:
        return bytes(_decode_envelope(record).response) or None
    except UNDECODABLE:
        return None


class StreamReader(RecordReader):
    """A reader of a streamed reply, which is complete with a finish reason or when the prompt was blocked.

    Google's servers report an error in mid-stream as plain JSON without `data:`, possibly inside an array. The SSE
    decoder returns such JSON only when a blank line or the end of the body follows. So `feed` also keeps the chunks
    since the last `data:` and searches them for an error document. That costs two substring searches per chunk.
    """

    cumulative_hint = "; or give the provider a dialect with cumulative_texts=True"
    ending = "finishReason"

    def __init__(self, name: str, ends_without_finish: bool = False) -> None:
        super().__init__(name, SSEDecoder(), ends_without_finish)
        self._turn = TurnReader(self._calls.add_complete)
        self._started = False
        self._unframed = b""
        self._first_text = ""
        self._held_text = ""  # a piece that may repeat all of the text before it
        self._usage: _UsageMetadata | None = None
        self._sent_usage: _UsageMetadata | None = None
        self._sources: JSONObject = {}  # those of the content so far
        self._finished = False
        self._number: int | None = None  # the index of the candidate that finished
        self._finish: Finish | None = None
        self.has_content = False  # a text or a call

    @property
    def complete(self) -> bool:
        """Whether a finish reason was read, or the prompt was blocked."""
        return self._finished

    @property
    def is_inside_call(self) -> bool:
        """Whether the last piece of a call is missing."""
        return bool(self._turn.partial_call)

    def received(self) -> Received:
        """Return what has been received, with the usage so far if the reply was cut."""
        received = super().received()
        if received.usage is None and self._usage:
            received.usage, received.is_partial = _decode_usage(self._usage), True
        return received

    def feed(self, chunk: bytes) -> list[Item]:
        """Return the items of every event that this chunk completes."""
        items = super().feed(chunk)
        # Only at the start of a line is it a field's name; a text or a call's arguments may contain `data:` too.
        has_field = chunk[:5] == b"data:" or b"\ndata:" in chunk
        self._unframed = (chunk if has_field else self._unframed + chunk)[-_UNFRAMED_LIMIT:]
        if self.pending_error is None and b'"error"' in self._unframed:
            self.pending_error = self._unframed_error()
            if self.pending_error is not None and not items:
                raise self.pending_error
        return items

    def scan(self, chunk: bytes) -> None:
        """Scan a chunk that is passed through. Raises what `feed` raises."""
        self.feed(chunk)  # an error outside of any event is not among the records

    def _unframed_error(self) -> StatusError | None:
        for document in _possible_errors(self._unframed):
            try:
                response = _decode(document)
            except UNDECODABLE:
                continue
            if response.error is not None:
                return decode_error(response.error)
        return None

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Append the items of some events."""
        for record in records:
            try:
                response = _decode(record)
            except UNDECODABLE:
                record = unframed(record)
                if record in (b"", b"[DONE]"):  # gateways end a stream as OpenAI's API does
                    continue
                response = self.decode_unusual(record, _Response)
            if response.candidates is None and response.error is None:
                if (error := bare_error(record)) is not None:
                    raise decode_error(error)
                if (wrapped := _wrapped_in(record)) is not None:
                    record, response = wrapped, self._decode_wrapped(wrapped)
            self.append(response, record, items)

    def _decode_wrapped(self, record: bytes) -> _Response:
        try:
            response: _Response = _decode(record)
            return response
        except UNDECODABLE:
            return self.decode_unusual(record, _Response)

    def append(self, response: _Response, record: bytes, items: list[Item]) -> None:
        """Append the items of one event, or of a complete reply. Raises the error that it reports."""
        if response.error is not None:
            for candidate in (response.candidates or ())[:1]:
                self._append_candidate(candidate, record, items)
            raise decode_error(response.error)
        if not self._started and (response.response_id or response.model_version):
            self._started = True
            items.append(Start(response.response_id or "", response.model_version or ""))
        reason, message, number = None, None, None
        if response.candidates:
            candidates = response.candidates
            candidate = candidates[0] if len(candidates) == 1 else min(candidates, key=lambda one: one.index or 0)
            self._append_candidate(candidate, record, items)
            if candidate.grounding_metadata or candidate.citation_metadata or candidate.url_context_metadata:
                self._add_sources(candidate)
            if candidate.finish_reason is not None and candidate.finish_reason not in _NO_REASON:
                reason, message = (
                    _NUMBERED.get(candidate.finish_reason, candidate.finish_reason),
                    candidate.finish_message,
                )
                number = candidate.index or 0
        # Every event may have the usage so far: yield only the last, with the finish reason or after it.
        if response.usage_metadata is not None:
            self._update_usage(response.usage_metadata)
        feedback = response.prompt_feedback
        if reason is None and feedback is None and not self._finished:
            return  # as nearly all events
        if reason and (call := self._turn.partial_call):
            if reason != "MAX_TOKENS":
                raise ProtocolError(f"the server ended the reply inside the arguments for {call!r}")
            self._turn.close(items, is_cut=True)
        blocked = feedback.block_reason if feedback is not None and feedback.block_reason not in _NO_BLOCK else None
        if feedback is not None and blocked:
            message = feedback.block_reason_message
        elif reason:
            check_finish("finishReason", reason, FINISH_REASONS, self.has_content, _text(message))
            check_call("finishReason", reason, bool(self._calls))
            if self._finished and number != self._number and not self._scans:
                raise ProtocolError("the server sent several candidates in turn, although one was asked for")
        if self._sources:
            items.append(OpaquePart(SOURCE, self._sources))
            self._sources = {}
        if (reason or blocked or self._finished) and self._usage is not self._sent_usage:
            assert self._usage is not None
            items.append(_decode_usage(self._usage))
            self._sent_usage = self._usage
        if reason or blocked:
            finish = Finish("content_filter", raw=blocked) if blocked else self._decode_finish(reason or "")
            if finish.reason == "content_filter" and not self._finished and (explanation := _text(message)):
                items.append(Refusal(explanation))
            if not self._finished:
                self._finished, self._number = True, number
            self._finish = append_finish(finish, self._finish, items)

    def _update_usage(self, counts: _UsageMetadata) -> None:
        """Keep the usage so far. Counts that are missing or 0 do not undo those of an earlier event."""
        before = self._usage
        if before is not None and not (counts.candidates_token_count and counts.prompt_token_count):
            if not (counts.candidates_token_count or counts.prompt_token_count):
                return
            if not counts.candidates_token_count:
                counts.candidates_token_count = before.candidates_token_count
                counts.candidates_tokens_details = before.candidates_tokens_details
                counts.thoughts_token_count = counts.thoughts_token_count or before.thoughts_token_count
            else:
                counts.prompt_token_count = before.prompt_token_count
                counts.prompt_tokens_details = before.prompt_tokens_details
                counts.cached_content_token_count = before.cached_content_token_count
        self._usage = counts

    def _append_candidate(self, candidate: _Candidate, record: bytes, items: list[Item]) -> None:
        """Append the items of the first candidate, the only one that the shared shape can express."""
        parts = (candidate.content.parts if candidate.content else None) or ()
        if len(parts) == 1 and parts[0].text and not candidate.finish_reason and candidate.logprobs_result is None:
            # Nearly every event of a stream is one text, or one piece of a thought.
            if not parts[0].thought:
                self.has_content = True
                if self._held_text:
                    items.append(self._held_text)
                    self._held_text = ""
                if not self._first_text:
                    self._first_text = parts[0].text
                elif (
                    parts[0].text.startswith(self._first_text)
                    and parts[0].function_call is None
                    and self._repeats_all(parts[0].text, items)
                ):
                    self._held_text = parts[0].text
                    return
            self._turn.read(parts[0], items)
            return
        content: list[Item] = []
        for number, part in enumerate(parts):
            if part.text is None and part.function_call is None and (raw := _raw_part(record, number)):
                self.has_content = True
                self._turn.read_opaque(raw, content)
            else:
                self._turn.read(part, content)
        if not self.has_content:
            self.has_content = any(isinstance(item, (str, ToolCall)) for item in content)
        items += self.unrepeated(content, items) if content and candidate.finish_reason else content
        if candidate.logprobs_result is not None:
            items.append(Logprobs(_decode_logprobs(candidate.logprobs_result)))

    def _add_sources(self, candidate: _Candidate) -> None:
        """Keep what the content is based on. Each event has its own citations, and the last one the grounding."""
        citations = object_or_empty(candidate.citation_metadata)
        before = object_or_empty(self._sources.get("citationMetadata"))
        for name, values in before.items():
            more = citations.get(name)
            if isinstance(values, list) and isinstance(more, list) and more[: len(values)] != values:
                values += more
                citations[name] = values
        fields = {
            "groundingMetadata": candidate.grounding_metadata,
            "citationMetadata": citations,
            "urlContextMetadata": candidate.url_context_metadata,
        }
        self._sources = self._sources | {name: value for name, value in fields.items() if value}

    def _repeats_all(self, text: str, items: list[Item]) -> bool:
        """Return whether a piece is equal to all pieces of the text before it. If no other follows, it repeats them.

        Source: maximhq/bifrost issue 2251.
        """
        if self.forgotten or len(text) == len(self._first_text) or len(text) != self.emitted_text_length(items):
            return False
        return len(text) >= LONG_TEXT and self.emitted_text(items) == text

    def _decode_finish(self, reason: str) -> Finish:
        if reason == "STOP" and self._calls:  # this API has no reason of its own for tool calls
            return Finish("tool_calls")
        return Finish(
            FINISH_REASONS.get(reason) or shared_reason(reason), raw="" if reason in ("STOP", "MAX_TOKENS") else reason
        )


class CumulativeReader(CumulativeRecordReader, StreamReader):
    """A reader of a stream in which each piece of a text has all of it so far (tashfeenahmed/freellmapi#1007)."""


def read_document(name: str, body: bytes, ends_without_finish: bool = False) -> list[Item]:
    """Return the items of a complete reply.

    That is a response, or a list of them: what `streamGenerateContent` returns without `alt=sse`.

    Raises msgspec.DecodeError if the body is not this API's, TruncatedError if it has no finish reason.
    """
    documents = _decode_raw_list(body) if body.lstrip()[:1] == b"[" else [body]
    documents = [_wrapped_in(bytes(document)) or document for document in documents]
    responses = [decode_document(bytes(document), _Response) for document in documents]
    reader = StreamReader(name, ends_without_finish)
    items: list[Item] = []
    with text_on_error(items):
        for response, document in zip(responses, documents, strict=True):
            reader.append(response, bytes(document), items)
    if not reader.complete:
        if not any(response.candidates for response in responses):
            if (error := bare_error(body)) is not None:
                raise decode_error(error)
            if any(one.candidates is not None or one.usage_metadata or one.prompt_feedback for one in responses):
                raise TruncatedError("the reply has no candidates")
            raise msgspec.ValidationError("it has no candidates")
        with text_on_error(items):
            reader.require_end("the reply has no finishReason", items)
    return items


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _raw_part(record: bytes, number: int) -> JSONObject:
    """Return a part of the first candidate with all its fields, {} if it has none that only this API has."""
    try:
        candidates = decoder(Any).decode(replace_lone_escapes(record))["candidates"]
        candidate = min(candidates, key=lambda candidate: candidate.get("index") or 0)
        part: JSONObject = {
            name: camel_case_fields(value) if isinstance(value, dict) else value
            for name, value in camel_case_fields(candidate["content"]["parts"][number]).items()
        }
        is_opaque = not part.get("thought") and any(part[field] is not None for field in part.keys() - READ_FIELDS)
    except (*UNDECODABLE, LookupError, TypeError, ValueError, AttributeError):
        return {}
    return part if is_opaque else {}


def _possible_errors(data: bytes) -> list[bytes]:
    """Return what begins like an error document at the start of a line or as an element of an array.

    The position matters: a text or a call's arguments may contain such a document too.
    """
    documents = []
    position = data.find(b'"error"')
    while position >= 0:
        brace = data.rfind(b"{", 0, position)
        before = data[:brace].rstrip(b"[, \t")
        if brace >= 0 and not data[brace + 1 : position].strip() and before[-1:] in (b"", b"\n", b"\r"):
            documents.append(data[brace:].rstrip(b"]\r\n\t "))
        position = data.find(b'"error"', position + 1)
    return documents


def _decode_usage(counts: _UsageMetadata) -> Usage:
    """Return the usage. Unlike in the shared shape, `candidatesTokenCount` does not include thoughts."""
    thoughts = count(counts.thoughts_token_count)
    return Usage(
        count(counts.prompt_token_count) + count(counts.tool_use_prompt_token_count),
        count(counts.candidates_token_count) + thoughts,
        count(counts.cached_content_token_count),
        reasoning_tokens=thoughts,
        other_counts={
            **_by_modality("input", counts.prompt_tokens_details),
            **_by_modality("output", counts.candidates_tokens_details),
        },
    )


def _by_modality(direction: str, details: list[_ModalityTokens] | None) -> dict[str, int]:
    """Return the tokens of audio, images and videos, which some models charge otherwise for."""
    return {
        f"{direction}_{part.modality.lower()}_tokens": number
        for part in details or ()
        if part.modality in ("AUDIO", "IMAGE", "VIDEO") and (number := count(part.token_count))
    }


def _decode_logprobs(result: _LogprobsResult) -> list[JSONObject]:
    """Return the log-probabilities in OpenAI's shape."""
    top = result.top_candidates or []
    tokens = []
    for index, token in enumerate(result.chosen_candidates or ()):
        alternatives = (top[index].candidates or []) if index < len(top) else []
        tokens.append({**_decode_token(token), "top_logprobs": [_decode_token(other) for other in alternatives]})
    return tokens


def _decode_token(candidate: _TokenLogprob) -> JSONObject:
    token = candidate.token or ""
    return {"token": token, "logprob": candidate.log_probability or 0.0, "bytes": list(token.encode())}


# Errors.


STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP status codes, and the `status` of an error (`google.rpc.Code`)."""

_HTTP_STATUSES = {code: status for status, code in reversed(STATUSES.items())}
"""For an error that has no number, its HTTP status: the lowest of those with the same code."""


TOO_LONG = r"(?:Unable to submit request because the|The) input token count"
"""How an INVALID_ARGUMENT begins for a conversation that is too long, which has no reason of its own.

Sources: "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."
(google-gemini/gemini-cli#6678), and Vertex AI's "Unable to submit request because the input token count is 1251952 but
model only supports up to 1048576." (google-gemini/gemini-cli#19727).
"""


def decode_error(error: object) -> StatusError:
    """Return the error that a document or an event reports, with what its details add."""
    return add_details(error_from_event(error, _HTTP_STATUSES, TOO_LONG), error)


def add_details(error: StatusError, document: object) -> StatusError:
    """Return the error with what the `details` of a `google.rpc.Status` add.

    `ErrorInfo` shows that a 400 is about the key, and `RetryInfo` how many seconds to wait.
    """
    for detail in objects_in(document.get("details")) if isinstance(document, dict) else ():
        if detail.get("reason") == "API_KEY_INVALID":
            code = "API_KEY_INVALID"
            error = AuthenticationError(error.message, status=error.status, code=code, body=error.body)
        delay = detail.get("retryDelay") or detail.get("retry_delay")
        if error.retry_after is None and isinstance(delay, str) and _DURATION.fullmatch(delay):
            error.retry_after = float(delay[:-1])
    return error


_DURATION = re.compile(r"\d+(\.\d+)?s")
