"""Errors in response bodies: read any server's error, describe ours to a client."""

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
from acytoo.types import JSONObject

_BEFORE_PAGE = re.compile(rb"(?:\s|<!--.*?-->|<\?.*?\?>)*", re.DOTALL)
_TITLE = re.compile(rb"<title[^>]*>([^<]*)", re.IGNORECASE)


def html_title(body: bytes) -> str | None:
    """Return the title of an HTML page ("" if it has none), None if the body is not a page."""
    page = in_utf8(body[:65536])
    before = _BEFORE_PAGE.match(page)
    page = page[before.end() :] if before else page
    if not page[:14].lower().startswith((b"<!doctype html", b"<html", b"<head")):
        return None
    title = _TITLE.search(page)
    return truncate(b" ".join(title[1].split()), 200) if title else ""


def in_utf8(body: bytes) -> bytes:
    """Return the body in UTF-8 without a byte order mark. A mark shows that it is UTF-16."""
    if len(body) > 2 and body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace").encode()
    return body.removeprefix(codecs.BOM_UTF8)


class ErrorDetails(NamedTuple):
    """The fields of a server's error. `code` is the narrowest kind that it names, `type` a broader one."""

    message: str
    code: str = ""
    type: str = ""
    param: str = ""


def read_error_body(body: bytes) -> ErrorDetails:
    """Read an error body: JSON in any of the known shapes, plain text, or an HTML page, of which the title is used."""
    title = html_title(body)
    if title is not None:
        return ErrorDetails(f"HTML page: {title}" if title else "an HTML page without a title")
    body = in_utf8(body)
    try:
        document = msgspec.json.decode(replace_lone_escapes(body))
    except UNDECODABLE:
        return ErrorDetails(truncate(b" ".join(body.split()), 500) or "no message")
    return error_details_of(document) or ErrorDetails(truncate(body, 500))


NO_MESSAGE = "an error without a message"


def error_details_of(document: Any) -> ErrorDetails | None:
    """Return the details in a decoded error document, None if it reports no error.

    Known shapes: `{"error": {"message", "type", "code", "param", "status"}}` (some of them: OpenAI, Anthropic, Gemini),
    `{"error": "…"}` (Ollama), `{"msg"}` (Acytoo servers), `{"message"}`, `{"detail"}` (FastAPI); a list around any.
    """
    inner: JSONObject | None = None
    while True:
        if isinstance(document, list) and document:
            document = document[0]
        if not isinstance(document, dict):
            break
        if not isinstance(document.get("error"), dict):
            for field in ("msg", "message", "detail", "error", "error_description"):
                if isinstance(document.get(field), (str, list, dict)) and document[field]:
                    return _details(document[field], document)
            break
        inner = document = document["error"]
    return None if inner is None else _details(inner or NO_MESSAGE, inner)


def _details(message: Any, document: JSONObject) -> ErrorDetails:
    names = ("code", "status", "type", "param")
    texts = {name: replace_surrogates(document[name]) for name in names if isinstance(document.get(name), str)}
    text = replace_surrogates(message) if isinstance(message, str) else display_json(message)
    code = texts.get("code") or texts.get("status") or texts.get("type") or ""
    return ErrorDetails(text, code, texts.get("type", ""), texts.get("param", ""))


def error_details_in(error: Any) -> ErrorDetails:
    """Return the details of the value of a document's `error` field."""
    return error_details_of({"error": error}) or ErrorDetails(display_json(error) if error else NO_MESSAGE)


def error_from_event(error: Any, statuses: Mapping[str, int] = {}) -> StatusError:
    """Return the error that a stream's event or a document's `error` field reports.

    The status is a numeric `status` or `code` in it, as many servers send, else what `statuses` has for its code or
    its type.
    """
    details = error_details_in(error)
    fields = error if isinstance(error, dict) else {}
    numbers = [n for n in (fields.get("status"), fields.get("code")) if isinstance(n, int) and 400 <= n < 600]
    status = numbers[0] if numbers else statuses.get(details.code) or statuses.get(details.type)
    return status_error(status, **details._asdict(), body=truncate(display_json(error), 2000))


def describe_error(error: AcytooError) -> tuple[int, str, str, dict[str, str]]:
    """Return the (status, message, code, headers) that a server responds with to an error.

    The status shows whose fault it was: 4xx the caller's, 502 and 504 the backend's, 500 ours.
    """
    headers: dict[str, str] = {}
    code = ""
    if isinstance(error, StatusError):
        status = error.status if error.status and error.status >= 400 else 502
        code = error.code
        wait = retry_after_seconds(error)
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


def openai_error(error: AcytooError) -> JSONObject:
    """Return the error in the shape of OpenAI's APIs: `{"message", "type", "param", "code"}`."""
    _, message, code, _ = describe_error(error)
    status = error if isinstance(error, StatusError) else StatusError(message)
    return {"message": message, "type": status.type or code, "param": status.param or None, "code": code}


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


def retry_after_seconds(error: AcytooError) -> int | None:
    """Return the seconds to wait, rounded up to a whole number for `Retry-After`; None if the error has none."""
    wait = getattr(error, "retry_after", None)
    return math.ceil(wait) if wait is not None and math.isfinite(wait) else None
