"""What a server's answer says of a fault, in the server's own words."""

from __future__ import annotations

import codecs
import re
from typing import Any

import msgspec

from acytoo.secret import beginning
from acytoo.wire.halves import rendered, whole_text, without_halves

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
    return beginning(b" ".join(title[1].split()), 200) if title else ""


def in_utf8(body: bytes) -> bytes:
    """The body in UTF-8 without a byte order mark; UTF-16 is known by its mark."""
    if len(body) > 2 and body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace").encode()
    return body.removeprefix(codecs.BOM_UTF8)


def error_words(body: bytes) -> tuple[str, str]:
    """The (message, code) of an error body: JSON in any of the shapes seen, plain text, or an HTML page's title."""
    title = html_title(body)
    if title is not None:
        return (f"HTML page: {title}" if title else "an HTML page without a title"), ""
    body = in_utf8(body)
    try:
        document = msgspec.json.decode(without_halves(body))
    except UNDECODABLE:
        return beginning(b" ".join(body.split()), 500) or "no message", ""
    return error_words_of(document) or (beginning(body, 500), "")


NO_WORDS = "an error without words"


def error_words_of(document: Any) -> tuple[str, str] | None:
    """The (message, code) in a decoded error document, None where it tells none.

    Shapes seen: `{"error": {"message", "type" or "code" or "status"}}` (OpenAI, Anthropic, Gemini), `{"error": "…"}`
    (Ollama), `{"msg"}` (Acytoo servers), `{"message"}`, `{"detail"}` (FastAPI), and a list around any of them.
    """
    inner = code = None
    while True:
        if isinstance(document, list) and document:
            document = document[0]
        if not isinstance(document, dict):
            fields: dict[str, Any] = {}
            break
        fields = document
        document = fields.get("error")
        if not isinstance(document, dict):
            break
        inner = document
        if code is None:
            code = _code_of(inner, ("type", "status", "code"))
    if code is None:
        code = _code_of(fields, ("code", "type"))
    for field in ("msg", "message", "detail", "error", "error_description"):
        value = fields.get(field)
        if isinstance(value, str) and value:
            return whole_text(value), code
        if isinstance(value, (list, dict)) and value:
            return shown(value), code
    return None if inner is None else (shown(inner) if inner else NO_WORDS, code)


def _code_of(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    word: str = next((fields[name] for name in names if isinstance(fields.get(name), str)), "")
    return whole_text(word)


def told_words(error: Any) -> tuple[str, str]:
    """The (message, code) of what a document has as its `error`."""
    return error_words_of({"error": error}) or (shown(error) if error else NO_WORDS, "")


def shown(document: Any) -> str:
    """A document as JSON for people to read; whatever is in it, this raises nothing."""
    try:
        return rendered(document).decode()
    except RecursionError:
        return "JSON that is nested too deeply"
