"""What a server's answer says of a fault, in the server's own words."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from acytoo.dialects.json import UNDECODABLE, display_json
from acytoo.dialects.surrogates import replace_lone_escapes, replace_surrogates
from acytoo.errors import (
    AcytooError,
    ProxyError,
    RedirectError,
    ReplyError,
    StatusError,
    TimedOutError,
    UnreachableError,
    UsageError,
    status_error,
)
from acytoo.secret import truncate

_BEFORE_PAGE = re.compile(rb"(?:\s|<!--.*?-->|<\?.*?\?>)*", re.DOTALL)
_TITLE = re.compile(rb"<title[^>]*>([^<]*)", re.IGNORECASE)


def html_title(body: bytes) -> str | None:
    """The title of an HTML page ("" where it has none), None where the body is not one."""
    page = in_utf8(body[:65536])
    before = _BEFORE_PAGE.match(page)
    page = page[before.end() :] if before else page
    if not page[:14].lower().startswith((b"<!doctype html", b"<html", b"<head")):
        return None
    title = _TITLE.search(page)
    return truncate(b" ".join(title[1].split()), 200) if title else ""


def in_utf8(body: bytes) -> bytes:
    """The body in UTF-8 without a byte order mark; UTF-16 is known by its mark."""
    if len(body) > 2 and body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace").encode()
    return body.removeprefix(codecs.BOM_UTF8)


class ErrorWords(NamedTuple):
    """What a server says of an error: `code` is its narrowest word for the kind, `type` a broader one."""

    message: str
    code: str = ""
    type: str = ""
    param: str = ""


def error_words(body: bytes) -> ErrorWords:
    """The words of an error body: JSON in any of the shapes seen, plain text, or an HTML page's title."""
    title = html_title(body)
    if title is not None:
        return ErrorWords(f"HTML page: {title}" if title else "an HTML page without a title")
    body = in_utf8(body)
    try:
        document = msgspec.json.decode(replace_lone_escapes(body))
    except UNDECODABLE:
        return ErrorWords(truncate(b" ".join(body.split()), 500) or "no message")
    return error_words_of(document) or ErrorWords(truncate(body, 500))


NO_WORDS = "an error without words"


def error_words_of(document: Any) -> ErrorWords | None:
    """The words in a decoded error document, None where it tells none.

    Shapes seen: `{"error": {"message", "type", "code", "param", "status"}}` (some of them: OpenAI, Anthropic, Gemini),
    `{"error": "…"}` (Ollama), `{"msg"}` (Acytoo servers), `{"message"}`, `{"detail"}` (FastAPI); a list around any.
    """
    inner: dict[str, Any] | None = None
    while True:
        if isinstance(document, list) and document:
            document = document[0]
        if not isinstance(document, dict):
            break
        if not isinstance(document.get("error"), dict):
            for field in ("msg", "message", "detail", "error", "error_description"):
                if isinstance(document.get(field), (str, list, dict)) and document[field]:
                    return _words_beside(document[field], document)
            break
        inner = document = document["error"]
    return None if inner is None else _words_beside(inner or NO_WORDS, inner)


def _words_beside(message: Any, document: dict[str, Any]) -> ErrorWords:
    names = ("code", "status", "type", "param")
    said = {name: replace_surrogates(document[name]) for name in names if isinstance(document.get(name), str)}
    text = replace_surrogates(message) if isinstance(message, str) else display_json(message)
    code = said.get("code") or said.get("status") or said.get("type") or ""
    return ErrorWords(text, code, said.get("type", ""), said.get("param", ""))


def error_words_in(error: Any) -> ErrorWords:
    """The words of what a document has as its `error`."""
    return error_words_of({"error": error}) or ErrorWords(display_json(error) if error else NO_WORDS)


def error_from_event(error: Any, statuses: Mapping[str, int] = {}) -> StatusError:
    """Return the error that a stream's event or a document's `error` field reports.

    The status is a numeric `status` or `code` in it, as many servers send, else what `statuses` has for its code or
    its type.
    """
    words = error_words_in(error)
    fields = error if isinstance(error, dict) else {}
    numbers = [n for n in (fields.get("status"), fields.get("code")) if isinstance(n, int) and 400 <= n < 600]
    status = numbers[0] if numbers else statuses.get(words.code) or statuses.get(words.type)
    return status_error(status, **words._asdict(), body=truncate(display_json(error), 2000))


def error_fields(error: AcytooError) -> tuple[int, str, str, dict[str, str]]:
    """The (status, message, code, headers) a server answers an error with: its status says whose fault it was."""
    headers: dict[str, str] = {}
    code = ""
    if isinstance(error, StatusError):
        status = error.status if error.status and error.status >= 400 else 502
        code = error.code
        wait = whole_seconds(error)
        if wait is not None:
            headers["retry-after"] = str(wait)
    elif isinstance(error, UsageError):
        status = 400
    elif isinstance(error, TimedOutError):
        status = 504
    elif isinstance(error, (UnreachableError, ProxyError, RedirectError, ReplyError)):
        status = 502
    else:
        status = 500
    return status, error.message, code or _CODES.get(status, "server_error"), headers


def openai_error(error: AcytooError) -> dict[str, Any]:
    """The error as OpenAI's APIs tell it: `{"message", "type", "param", "code"}`, in the server's own words."""
    _, message, code, _ = error_fields(error)
    told = error if isinstance(error, StatusError) else StatusError(message)
    return {"message": message, "type": told.type or code, "param": told.param or None, "code": code}


_CODES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    502: "upstream_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def whole_seconds(error: AcytooError) -> int | None:
    """How long to wait, rounded up to what `Retry-After` can say; None where the error does not tell."""
    wait = getattr(error, "retry_after", None)
    return math.ceil(wait) if wait is not None and math.isfinite(wait) else None
