"""Gemini's replies as they are received: streamed or whole, and the errors they tell.

Source: Google's Gemini API reference (`GenerateContentResponse`), and its error model (`google.rpc.Status`).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from acytoo.dialects.error_bodies import error_from_event
from acytoo.dialects.gemini.parts import FILTERED, Part, TurnReader
from acytoo.dialects.json import UNDECODABLE
from acytoo.dialects.readers import RecordReader, bare_error
from acytoo.dialects.server_side import new_id
from acytoo.errors import AuthenticationError, StatusError
from acytoo.types import Finish, Item, Logprobs, Start, Usage
from acytoo.wire.sse import SSEDecoder


class _Content(msgspec.Struct, gc=False):
    parts: list[Part] | None = None


class _TokenLogprob(msgspec.Struct, rename="camel", gc=False):
    token: str | None = None
    log_probability: float | None = None


class _TopLogprobs(msgspec.Struct, gc=False):
    candidates: list[_TokenLogprob] | None = None


class _LogprobsResult(msgspec.Struct, rename="camel", gc=False):
    chosen_candidates: list[_TokenLogprob] | None = None
    top_candidates: list[_TopLogprobs] | None = None


class _Candidate(msgspec.Struct, rename="camel", gc=False):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None
    logprobs_result: _LogprobsResult | None = None


class _Usage(msgspec.Struct, rename="camel", gc=False):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


class _Feedback(msgspec.Struct, rename="camel", gc=False):
    block_reason: str | None = None


class Chunk(msgspec.Struct, rename="camel", gc=False):
    candidates: list[_Candidate] | None = None
    usage_metadata: _Usage | None = None
    model_version: str | None = None
    response_id: str | None = None
    prompt_feedback: _Feedback | None = None
    error: Any = None


decode = msgspec.json.Decoder(Chunk).decode
decode_list = msgspec.json.Decoder(list[Chunk]).decode

_LOOSE = 8192
"""Bytes kept to recognise an error that stands outside of any event."""


class StreamReader(RecordReader):
    """Events of a streamed response; complete with a finish reason, or a prompt that was blocked.

    A fault in mid-stream may stand there as plain JSON, without `data:`; it is recognised as well.
    """

    ending = "finishReason"

    def __init__(self, name: str) -> None:
        super().__init__(name, SSEDecoder())
        self._turn = TurnReader(lambda name, given: given or new_id("call_"))
        self._started = False
        self._loose = b""
        self._usage: _Usage | None = None
        self.finished = False

    @property
    def complete(self) -> bool:
        """A finish reason came, or the prompt was blocked."""
        return self.finished

    def feed(self, chunk: bytes) -> list[Item]:
        """The items of every event that this chunk completes."""
        items = super().feed(chunk)
        self._loose = (chunk if b"data:" in chunk else self._loose + chunk)[-_LOOSE:]
        if self.pending_error is None and b'"error"' in self._loose:
            self.pending_error = self._loose_fault()
            if self.pending_error is not None and not items:
                raise self.pending_error
        return items

    def _loose_fault(self) -> StatusError | None:
        for document in _loose_errors(self._loose):
            try:
                chunk = decode(document)
            except UNDECODABLE:
                continue
            if chunk.error is not None:
                return error_from_document(chunk.error)
        return None

    def read(self, records: list[bytes], items: list[Item]) -> None:
        """Add the items of some events."""
        for record in records:
            try:
                chunk = decode(record)
            except UNDECODABLE:
                if record.strip() in (b"", b"[DONE]"):
                    continue
                chunk = self.decode_unusual(record, Chunk)
            if chunk.candidates is None and chunk.error is None and (error := bare_error(record)) is not None:
                raise error_from_document(error)
            items += self.items(chunk)

    def items(self, chunk: Chunk) -> list[Item]:
        """The items of one event, or of a whole response."""
        if chunk.error is not None:
            raise error_from_document(chunk.error)
        items: list[Item] = []
        if not self._started and (chunk.response_id or chunk.model_version):
            self._started = True
            items.append(Start(chunk.response_id or "", chunk.model_version or ""))
        reason = ""
        for candidate in chunk.candidates or ():
            if candidate.index:
                continue
            for part in (candidate.content.parts if candidate.content else None) or ():
                self._turn.read(part, items)
            if candidate.logprobs_result is not None:
                items.append(Logprobs(_logprobs(candidate.logprobs_result)))
            reason = candidate.finish_reason or ""
        if chunk.usage_metadata is not None:
            self._usage = chunk.usage_metadata
        blocked = chunk.prompt_feedback.block_reason if chunk.prompt_feedback else None
        finish = Finish("content_filter", raw=blocked) if blocked else self._finish(reason) if reason else None
        if finish is not None or self.finished:
            if self._usage is not None:
                items.append(_usage(self._usage))
                self._usage = None
            if finish is not None and not self.finished:
                self.finished = True
                items.append(finish)
        return items

    def _finish(self, reason: str) -> Finish:
        if reason == "STOP":
            return Finish("tool_calls" if self._turn.calls else "stop")
        if reason == "MAX_TOKENS":
            return Finish("length")
        return Finish("content_filter" if reason in FILTERED else reason, raw=reason)


def _loose_errors(data: bytes) -> list[bytes]:
    """Whatever begins like an error's document at the start of a line, or as an element of an array."""
    found = []
    place = data.find(b'"error"')
    while place >= 0:
        brace = data.rfind(b"{", 0, place)
        before = data[:brace].rstrip(b"[, \t")
        if brace >= 0 and not data[brace + 1 : place].strip() and before[-1:] in (b"", b"\n", b"\r"):
            found.append(data[brace:].rstrip(b"]\r\n\t "))
        place = data.find(b'"error"', place + 1)
    return found


def _usage(counts: _Usage) -> Usage:
    thoughts = counts.thoughts_token_count or 0
    return Usage(
        (counts.prompt_token_count or 0) + (counts.tool_use_prompt_token_count or 0),
        (counts.candidates_token_count or 0) + thoughts,
        counts.cached_content_token_count or 0,
        reasoning_tokens=thoughts,
    )


def _logprobs(result: _LogprobsResult) -> list[dict[str, Any]]:
    """Log-probabilities in OpenAI's shape."""
    top = result.top_candidates or []
    tokens = []
    for index, token in enumerate(result.chosen_candidates or ()):
        others = (top[index].candidates or []) if index < len(top) else []
        tokens.append({**_token(token), "top_logprobs": [_token(other) for other in others]})
    return tokens


def _token(candidate: _TokenLogprob) -> dict[str, Any]:
    token = candidate.token or ""
    return {"token": token, "logprob": candidate.log_probability or 0.0, "bytes": list(token.encode())}


def error_from_document(error: Any) -> StatusError:
    """Return the error that a document or an event reports, with what its details add."""
    return detailed(error_from_event(error), error)


def detailed(error: StatusError, told: Any) -> StatusError:
    details = told.get("details") if isinstance(told, dict) else None
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        if detail.get("reason") == "API_KEY_INVALID":
            code = "API_KEY_INVALID"
            error = AuthenticationError(error.message, status=error.status, code=code, body=error.body)
        delay = detail.get("retryDelay")
        if error.retry_after is None and isinstance(delay, str) and _SECONDS.fullmatch(delay):
            error.retry_after = float(delay[:-1])
    return error


_SECONDS = re.compile(r"\d+(\.\d+)?s")
