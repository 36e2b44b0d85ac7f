"""Errors in response bodies: read any server's error, describe ours to a client."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from acytoo.dialects.fields import count, object_or_empty, text_or_empty
from acytoo.dialects.json import UNDECODABLE, decoder, display_json
from acytoo.dialects.surrogates import replace_lone_escapes, replace_surrogates
from acytoo.errors import (
    AcytooError,
    NoTextError,
    ProxyError,
    RedirectError,
    ReplyError,
    ReplyTooLargeError,
    RequestError,
    StatusError,
    TimedOutError,
    UnreachableError,
    UsageError,
    status_error,
)
from acytoo.secret import truncate
from acytoo.types import JSONObject
from acytoo.wire.limits import json_excess

_BEFORE_PAGE = re.compile(rb"(?:\s|<!--.*?-->|<\?.*?\?>)*", re.DOTALL)
# Without the `<`, each of many unclosed `<title` would be searched up to the end.
_TITLE = re.compile(rb"<title[^<>]*>([^<]*)", re.IGNORECASE)


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
    """Read an error body: JSON in any of the known shapes, plain text, or an HTML page, of which the title is used.

    A body of server-sent events, which gateways copy from a stream, is read as the first of its events with an error.
    """
    title = html_title(body)
    if title is not None:
        return ErrorDetails(f"HTML page: {title}" if title else "an HTML page without a title")
    body = in_utf8(body)
    documents = _documents_in(body)
    for document in documents:
        if details := error_details_of(document):
            return details
    return ErrorDetails(truncate(body if documents else b" ".join(body.split()), 500) or "no message")


def _documents_in(body: bytes) -> list[object]:
    """Return the JSON documents in a body: the body itself, or the data of its server-sent events."""
    candidates = [body]
    is_event = False
    if body.lstrip().startswith(_EVENT_FIELDS):
        is_event = _ERROR_EVENT.search(body) is not None  # whose data may be text
        candidates = [line[5:] for line in body.splitlines() if line.startswith(b"data:")]
    documents = []
    for candidate in candidates:
        if json_excess(candidate, max_depth=len(candidate)):
            continue
        try:
            document = decoder(Any).decode(replace_lone_escapes(candidate))
        except UNDECODABLE:
            if not is_event:
                continue
            document = candidate.decode("utf-8", "replace").strip()
        documents.append({"error": document} if isinstance(document, str) else document)
    return documents


_EVENT_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""What a line of a server-sent event begins with. Any of them may be the first."""

_EVENT_STARTS = tuple(field.decode() for field in _EVENT_FIELDS)

_ERROR_EVENT = re.compile(rb"^\s*event: ?error *$", re.MULTILINE)

NO_MESSAGE = "an error without a message"

MESSAGE_FIELDS = (
    "faultstring",  # beside a `detail` that is an object
    "msg",
    "message",
    "Message",
    "detail",
    "error",
    "error_description",
    "error_message",
    "errorMessage",
    "error_msg",
    "errmsg",
    "errors",
    "fault",
    "exception",
    "err",
)
"""Fields that hold an error's message."""

OUTCOMES = ("status", "success")
"""Fields that may report a failure without a message."""

_FAILURES = ("failed", "failure", "error")

PROBLEM = "title"
"""The field of a problem (RFC 9457) that says what it is, if there is no `detail`. Replies may have a title too."""

BASE_RESP = "base_resp"
"""The field in which MiniMax reports whether a request succeeded, with HTTP status 200 in any case."""

_CODES_OF_BASE_RESP = {
    1001: "timeout_error",
    1002: "rate_limit_exceeded",
    1004: "invalid_api_key",
    1008: "insufficient_quota",
    2013: "invalid_request_error",
}
"""What a `status_code` is called in OpenAI's API. Source: "Error codes" in MiniMax's documentation."""

_NESTED_FIELDS = ("innererror", "inner_error", "details", "errors", "cause", "error_description")
"""Fields of an error that may hold more specific errors (Azure, Google, gateways)."""

_VIOLATIONS = ("fieldViolations", "violations")
"""Fields of a `google.rpc.Status` detail that list what was wrong, each with a `description`."""

_KIND_FIELDS = ("error_code", "error_type", "errorType", "__type")
"""Other names of a code or a type: Databricks', Hugging Face TGI's and Amazon's, which has a namespace before `#`."""

_MAX_DEPTH = 6
"""How many errors inside one another are read."""


def error_details_of(document: Any, depth: int = 0) -> ErrorDetails | None:
    """Return the details in a decoded error document, None if it reports no error.

    Known shapes: `{"error": {"message", "type", "code", "param", "status"}}` (some of them: OpenAI, Anthropic, Gemini),
    `{"error": "…"}` (Ollama), `{"msg"}` (Acytoo servers), `{"message"}`, `{"detail"}` (FastAPI), `{"errors": […]}`
    (Cloudflare), `{"fault": {"faultstring"}}` (Apigee), `{"title", "status"}` (RFC 9457), `{"base_resp":
    {"status_code", "status_msg"}}` (MiniMax), `{"status": "failed", "reason"}`, `{"success": false}`; a list around
    any. The messages of errors inside the error are part of its message.
    """
    inner: JSONObject | None = None
    while True:
        if isinstance(document, list) and document:
            document = document[0]
        if not isinstance(document, dict):
            break
        if not isinstance(document.get("error"), dict):
            if number := object_or_empty(document.get(BASE_RESP)).get("status_code"):
                message = text_or_empty(document[BASE_RESP].get("status_msg"))
                code = _CODES_OF_BASE_RESP.get(count(number), text_or_empty(number))
                return ErrorDetails(replace_surrogates(message) or NO_MESSAGE, code)
            for field in MESSAGE_FIELDS:
                if isinstance(document.get(field), (str, list, dict)) and document[field]:
                    return _details(document[field], document, depth)
            if isinstance(document.get(PROBLEM), str) and _number_in(document) is not None:
                return _details(document[PROBLEM], document, depth)
            if document.get("status") in _FAILURES or document.get("success") is False:
                return _details(text_or_empty(document.get("reason")) or NO_MESSAGE, document, depth)
            break
        inner = document = document["error"]
    return None if inner is None else _details(inner or NO_MESSAGE, inner, depth)


def _details(message: Any, document: JSONObject, depth: int) -> ErrorDetails:
    """Return the details of a document, whose message may be text, JSON text, or anything else."""
    names = ("code", "status", "type", "param", *_KIND_FIELDS)
    texts = {name: replace_surrogates(document[name]) for name in names if isinstance(document.get(name), str)}
    metadata = document.get("metadata")
    nested = [document[field] for field in _NESTED_FIELDS if document.get(field) and document[field] is not message]
    nested += [metadata["raw"]] if isinstance(metadata, dict) and metadata.get("raw") else []  # OpenRouter
    errors = [] if message is document else _errors_in(message, depth)
    if not errors:
        text = replace_surrogates(message) if isinstance(message, str) else display_json(message)
        errors = [ErrorDetails(text)]
    for value in nested:
        errors += _errors_in(value, depth)
    kind = next((texts[name].rpartition("#")[2] for name in _KIND_FIELDS if texts.get(name)), "")
    code = texts.get("code") or texts.get("status") or texts.get("type") or kind
    return ErrorDetails(
        _joined([error.message for error in errors]),
        code or next((error.code for error in errors if error.code), ""),
        texts.get("type") or kind or next((error.type for error in errors if error.type), ""),
        texts.get("param") or next((error.param for error in errors if error.param), ""),
    )


def _errors_in(value: object, depth: int) -> list[ErrorDetails]:
    """Return the errors in a value inside an error. Texts may be a JSON document, or the events of a stream."""
    if depth >= _MAX_DEPTH:
        return []
    if isinstance(value, str):
        may_have_documents = value.lstrip().startswith(("{", "[", *_EVENT_STARTS))
        documents = _documents_in(replace_surrogates(value).encode()) if may_have_documents else []
        errors = [error for document in documents for error in _errors_in(document, depth + 1)]
        return errors or [ErrorDetails(replace_surrogates(value))]
    if isinstance(value, list):
        return [error for element in value[:10] for error in _errors_in(element, depth + 1)]
    if not isinstance(value, dict):
        return []
    if (details := error_details_of(value, depth + 1)) is not None:
        place = value.get("loc")  # FastAPI: where in the request
        return [details._replace(message=f"{display_json(place)} {details.message}") if place else details]
    if isinstance(value.get("description"), str):
        field = value.get("field")  # Google: where in the request
        return [ErrorDetails(f"{field}: {value['description']}" if isinstance(field, str) else value["description"])]
    return [error for field in _VIOLATIONS for error in _errors_in(value.get(field), depth + 1)]


def _joined(messages: list[str]) -> str:
    """Return a message followed by the more specific ones that it does not contain."""
    text, *others = messages
    for index, other in enumerate(others):
        other = other.strip()
        if other and other not in text:
            text = f"{text.rstrip().removesuffix('.')}{'; ' if index else ': '}{other}"
    return text


def has_error(error: object) -> bool:
    """Return whether the `error` field of a reply reports one. Some servers send it with empty fields in each."""
    return any(map(bool, error.values())) if isinstance(error, dict) else bool(error)


def error_details_in(error: Any) -> ErrorDetails:
    """Return the details of the value of a document's `error` field."""
    return error_details_of({"error": error}) or ErrorDetails(display_json(error) if error else NO_MESSAGE)


def error_from_event(error: Any, statuses: Mapping[str, int] = {}, too_long: str | None = None) -> StatusError:
    """Return the error that a stream's event or a document reports, given the document or its `error` field.

    The status is a number in it, as many servers send, else what `statuses` has for its code or its type, else what
    that code or type means in another API: gateways mix them. `too_long`: see `with_context_code`.
    """
    details = error_details_in(error)
    status = _number_in(error) or statuses.get(details.code) or statuses.get(details.type)
    if status is None:
        status = _status_of_code(details.code) or _status_of_code(details.type)
    if status is None and too_long is not None and re.match(too_long, details.message):
        status = 400
    body = truncate(display_json(error), 2000)
    reported = status_error(status, **details._asdict(), retry_after=_wait_in(error), body=body)
    return with_context_code(reported, too_long)


def with_context_code(error: StatusError, too_long: str | None) -> StatusError:
    """Return the error, with OpenAI's code if it refuses a conversation that is too long for the model.

    An API without a code for that has the same beginning of the message each time: `too_long`.
    """
    if too_long is not None and isinstance(error, RequestError) and re.match(too_long, error.message):
        error.code = _CONTEXT_LENGTH_EXCEEDED
    return error


def _wait_in(error: object) -> float | None:
    """Return the seconds to wait that an error in a stream has, where no header can have them.

    `retry_after` is ours and that of other gateways, `metadata.retry_after_seconds` OpenRouter's.
    """
    while isinstance(error, dict):
        for fields in (error, object_or_empty(error.get("metadata"))):
            for field in ("retry_after", "retry_after_seconds"):
                value = fields.get(field)
                if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _LONGEST_WAIT:
                    return float(value)
        error = error.get("error")
    return None


_LONGEST_WAIT = 1e9
"""Seconds."""


def _number_in(error: object) -> int | None:
    """Return the HTTP status in an error or in the error inside it."""
    while isinstance(error, dict):
        for field in ("status", "code", "status_code", "statusCode", "error_code", "http_code"):
            value = error.get(field)
            if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
                value = int(value)
            if isinstance(value, int) and 400 <= value < 600:
                return value
        error = error.get("error")
    return None


def _status_of_code(code: str) -> int | None:
    """Return the HTTP status of a code or a type. Some services put a narrower one after a dot."""
    return STATUSES_OF_CODES.get(_plain(code)) or STATUSES_OF_CODES.get(_plain(code.partition(".")[0]))


def _plain(code: str) -> str:
    """Return a code in lower case without its separators: `RateLimitError` is `rate_limit_error`."""
    return "".join([character for character in code.lower() if character.isalnum()])


STATUSES_OF_CODES = {
    **dict.fromkeys(("ratelimit", "ratelimited", "ratelimiterror", "ratelimitexceeded", "ratelimitreached"), 429),
    **dict.fromkeys(("toomanyrequests", "resourceexhausted", "insufficientquota", "quotaexceeded"), 429),
    **dict.fromkeys(("throttling", "throttled", "throttlingexception", "limitrequests", "usagelimitreached"), 429),
    **dict.fromkeys(("ratelimitreachederror", "exceededcurrentquotaerror", "engineoverloadederror"), 429),
    **dict.fromkeys(("toomanyrequestserror", "servicetiercapacityexceeded"), 429),
    **dict.fromkeys(("datainspectionfailed", "contentfilter", "contentpolicyviolation", "moderationblocked"), 400),
    **dict.fromkeys(("exceedcontextsizeerror", "invalidparameter", "toolusefailed"), 400),
    **dict.fromkeys(("invalidauthenticationerror",), 401),
    **dict.fromkeys(("insufficientbalance", "insufficientcredits"), 402),
    **dict.fromkeys(("permissiondeniederror", "accessdenied", "insufficientuserquota"), 403),
    **dict.fromkeys(("resourcenotfounderror", "resourcedoesnotexist"), 404),
    **dict.fromkeys(("serveroverloaded", "serveroverload"), 503),
    **dict.fromkeys(("requestlimitexceeded", "toomanyrequestsexception", "servicequotaexceededexception"), 429),
    **dict.fromkeys(("1113", "1302", "1303", "1304", "1305", "1308", "1310", "1312", "1313"), 429),
    **dict.fromkeys(("validationexception", "validationerror", "badrequest"), 400),
    **dict.fromkeys(("accessdeniedexception",), 403),
    **dict.fromkeys(("serviceunavailableexception", "temporarilyunavailable"), 503),
    **dict.fromkeys(("invalidrequesterror", "invalidargument", "contextlengthexceeded", "badrequesterror"), 400),
    **dict.fromkeys(("authenticationerror", "invalidapikey", "unauthenticated", "unauthorized"), 401),
    **dict.fromkeys(("permissionerror", "permissiondenied", "forbidden"), 403),
    **dict.fromkeys(("notfounderror", "notfound", "modelnotfound"), 404),
    **dict.fromkeys(("overloadederror", "overloaded", "unavailable", "serviceunavailable", "slowdown"), 503),
    **dict.fromkeys(("deadlineexceeded", "timeouterror", "gatewaytimeout"), 504),
}
"""The HTTP status of the codes and types of many APIs, in the form of `_plain`.

The numbers are Zhipu's. Sources: "Error codes" in its documentation (docs.bigmodel.cn), and the error codes in those of
Moonshot, DashScope (QwenLM/qwen-code pull request 3246), Volcengine, Cerebras, Mistral, Groq, DeepSeek, Databricks and
new-api, beside those of the APIs that are dialects.
"""

_CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"

CONTEXT_LENGTH_CODES = frozenset({_CONTEXT_LENGTH_EXCEEDED, "exceed_context_size_error"})
"""Codes and types of the error that the conversation is too long for the model.

Sources: OpenAI's list of error codes, which Azure, Groq and others use; llama.cpp's server.
"""


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
        if (wait or 0) > _LONGEST_RETRY_AFTER or (status == 429 and not error.retryable):
            headers["x-should-retry"] = "false"
    elif isinstance(error, UsageError):
        status = 400
    elif isinstance(error, TimedOutError):
        status = 504
    elif isinstance(error, NoTextError):
        # The model has answered, and would be paid for the same answer again. Not all clients obey the header (AI SDK
        # does not), but none tries again after this status.
        status = 422
        headers["x-should-retry"] = "false"
    elif isinstance(error, (UnreachableError, ProxyError, RedirectError, ReplyError)):
        status = 502
        if isinstance(error, ReplyTooLargeError):
            headers["x-should-retry"] = "false"
    else:
        status = 500
    code = code or _CODES.get(status) or ("invalid_request_error" if status < 500 else "server_error")
    return status, replace_surrogates(error.message), code, headers


_LONGEST_RETRY_AFTER = 120
"""Seconds for which OpenAI's SDK waits at most before it tries again. Anthropic's would wait for weeks without a word.

Both obey `x-should-retry` (`_should_retry` in `_base_client.py` of each).
"""


def openai_error(error: AcytooError) -> JSONObject:
    """Return the error in the shape of OpenAI's APIs: `{"message", "type", "param", "code"}`."""
    _, message, code, _ = describe_error(error)
    status = error if isinstance(error, StatusError) else StatusError(message)
    return {"message": message, "type": status.type or code, "param": status.param or None, "code": code}


_CODES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    502: "upstream_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def in_stream(error: AcytooError) -> JSONObject:
    """Return what a stream adds to an error's fields because its head began with 200: the status and the wait.

    No SDK reads the wait, but all that show the error's body show it, and our own client reads it.
    """
    seconds = retry_after_seconds(error)
    return {"status": describe_error(error)[0]} | ({} if seconds is None else {"retry_after": seconds})


def retry_after_seconds(error: AcytooError) -> int | None:
    """Return the seconds to wait, rounded up to a whole number for `Retry-After`; None if the error has none."""
    wait = getattr(error, "retry_after", None)
    return math.ceil(wait) if wait is not None and math.isfinite(wait) else None
