"""What a server's answer says of a fault, in the server's own words."""

from __future__ import annotations

import codecs
import re
from typing import Any, NamedTuple

import msgspec

from acytoo.dialects.surrogates import rendered, replace_lone_escapes, replace_surrogates
from acytoo.secret import truncate

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the JSON wanted."""

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
    text = replace_surrogates(message) if isinstance(message, str) else shown(message)
    code = said.get("code") or said.get("status") or said.get("type") or ""
    return ErrorWords(text, code, said.get("type", ""), said.get("param", ""))


def error_words_in(error: Any) -> ErrorWords:
    """The words of what a document has as its `error`."""
    return error_words_of({"error": error}) or ErrorWords(shown(error) if error else NO_WORDS)


def shown(document: Any) -> str:
    """A document as JSON for people to read; whatever is in it, this raises nothing."""
    try:
        return rendered(document).decode()
    except RecursionError:
        return "JSON that is nested too deeply"
