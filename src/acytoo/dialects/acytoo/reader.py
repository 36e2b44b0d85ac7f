"""Replies of the Acytoo protocol: raw text.

Raw text has no framing and no fields, so an error with status 200 looks like a reply. Servers of this protocol send
them: a JSON document or an HTML page. A body is inspected before it counts as a reply if its content type is JSON or
HTML, or if its length is known in advance. Text that is streamed is never held back.
Source: servers of the protocol, as observed.
"""

from __future__ import annotations

from typing import Any

from acytoo.dialects.base import Reader, not_this_api
from acytoo.dialects.error_bodies import MESSAGE_FIELDS, error_details_of, error_from_event, html_title
from acytoo.dialects.json import UNDECODABLE, decoder
from acytoo.dialects.surrogates import replace_lone_escapes
from acytoo.errors import ProtocolError, TruncatedError
from acytoo.http import ResponseHead
from acytoo.types import Item, JSONObject
from acytoo.wire.text import TextDecoder

_EVENT_FIELDS = ("data:", "event:")

_MAX_HELD = 1_000_000
"""Characters that are held back at most. A page shows at its start that it is one."""

_ERROR_FIELDS = {
    *MESSAGE_FIELDS,
    *("code", "status", "success", "ok", "type", "param", "data", "result", "details", "reason", "object"),
    *("error_code", "errcode", "errno", "status_code", "statuscode", "error_type", "retry_after", "retryafter"),
    *("id", "request_id", "requestid", "trace_id", "traceid", "timestamp", "time", "path", "url", "version"),
}
"""The fields of error documents, in lower case. A document with any other field is a reply that happens to be JSON."""


class StreamReader(Reader):
    """A reader of raw text that recognises errors and pages."""

    def __init__(self, name: str, head: ResponseHead) -> None:
        self._name = name
        content_type = head.content_type
        self._may_be_page = content_type in ("text/html", "application/xhtml+xml")
        self._inspects = self._may_be_page or content_type == "application/json" or "content-length" in head.headers
        self._decoder = TextDecoder(head.charset)
        self._may_be_events = content_type == "text/event-stream"
        self._held: list[str] = []
        self._held_length = 0
        self._first_character = ""
        self._is_empty = True

    def feed(self, chunk: bytes) -> list[Item]:
        """Return the text that this chunk completes, or nothing while the body is inspected."""
        text = self._decode(chunk)
        if self._may_be_events and text:
            text = self._inspect_start(text)
        if not text:
            return []
        if not self._inspects:
            return [text]
        self._held.append(text)
        self._held_length += len(text)
        self._first_character = self._first_character or text.lstrip()[:1]
        if (
            self._first_character in ("", "{", "[", "<")
            and self._held_length <= _MAX_HELD
            and self.pending_error is None
        ):
            return []
        return [text] if (text := self._release()) else []

    def _inspect_start(self, text: str) -> str:
        """Return the text once its first characters show that it is not an event stream of another API, "" before."""
        text = self._take_held() + text
        start = text.lstrip()
        if start.startswith(_EVENT_FIELDS):
            raise not_this_api(self._name, start.encode(), "it is an event stream")
        self._may_be_events = any(field.startswith(start) for field in _EVENT_FIELDS)
        if self._may_be_events:
            self._held.append(text)
            return ""
        return text

    def flush(self) -> list[Item]:
        """Return the held text. Raises StatusError or ProtocolError if it is an error or a page."""
        text = self._release() if self._held else ""
        return [text] if text else []

    def flush_truncated(self) -> list[Item]:
        """Return the held text unless it is a page. A JSON document that was cut reports no error."""
        text = self._take_held()
        is_page = self._may_be_page and html_title(text.encode()) is not None
        return [text] if text and not is_page else []

    def close(self) -> None:
        """Raise TruncatedError for an empty reply or an incomplete character at its end."""
        if self.pending_error is not None:
            raise self.pending_error
        self._decoder.feed(b"", final=True)
        if self._is_empty:
            raise TruncatedError("the server ended the reply without sending anything")

    def _decode(self, chunk: bytes) -> str:
        try:
            text = self._decoder.feed(chunk)
        except ProtocolError as error:
            text = self._decoder.before_error
            if not text and not self._held:
                raise
            self.pending_error = error
        self._is_empty = self._is_empty and not text
        return text

    def _release(self) -> str:
        text = self._take_held()
        self._inspects = False
        self._reject_errors(text.encode())
        return text

    def _take_held(self) -> str:
        text = "".join(self._held)
        self._held.clear()
        return text

    def _reject_errors(self, body: bytes) -> None:
        if self._may_be_page and html_title(body) is not None:
            raise not_this_api(self._name, body)
        try:
            document = decoder(Any).decode(replace_lone_escapes(body))
        except UNDECODABLE:
            return
        if isinstance(document, dict) and _is_error(document):
            raise error_from_event(document)


def _is_error(document: JSONObject) -> bool:
    """Return whether a document reports an error.

    It does if it has only an error's fields, or an `error` object with a message. `message` and `detail` alone may be
    a reply, so beside them something must say that the request failed.
    """
    names = {name.lower() for name in document}
    error = document.get("error")
    if isinstance(error, dict) and any(isinstance(error.get(name), str) for name in MESSAGE_FIELDS):
        return True
    if not names <= _ERROR_FIELDS or names.isdisjoint(MESSAGE_FIELDS) or error_details_of(document) is None:
        return False
    return bool(names & {"error", "msg", "errors", "error_msg", "errmsg"} or _has_failed(document))


def _has_failed(document: JSONObject) -> bool:
    if document.get("success") is False or document.get("ok") is False:
        return True
    numbers = [document.get(name) for name in ("code", "status", "status_code", "statusCode")]
    return any(isinstance(number, int) and number >= 400 for number in numbers) or document.keys() == {"detail"}
