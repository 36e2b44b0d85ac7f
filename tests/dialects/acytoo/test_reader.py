"""The Acytoo protocol's reader: text, and the errors and pages that servers send with status 200."""

from __future__ import annotations

import pytest

from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    TruncatedError,
)
from acytoo.http import ResponseHead
from tests.dialects.acytoo.helpers import BOM, DIALECT, JSON_UTF16, PLAIN, read


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (PLAIN, b"Hello"),
        ({}, b"Hello"),
        (PLAIN, b'{"error": "is what you would see"}'),
        (PLAIN, b"<html><title>Here is your page</title></html>"),
        ({**PLAIN, "content-length": "19"}, b'{"answer": [1, 2]}\n'),
        ({**PLAIN, "content-length": "9"}, b'{"x": "y"'),
        ({"content-type": "application/json"}, b'{"error": "x", "and": "more"}'),
        ({"content-type": "application/json"}, b'["a", "b"]'),
        ({"content-type": "application/json"}, b'{"message": "Hello"}'),
        ({"content-type": "application/json"}, b'{"message": "Hello", "status": 200}'),
        ({"content-type": "application/json"}, b'{"detail": "Hello", "id": 3}'),
        ({"content-type": "application/json"}, b'{"error": {"x": 1}, "y": "z"}'),
        ({"content-type": "application/json"}, b'{"error": null, "code": 500}'),
        ({"content-type": "application/json"}, b"Hello"),
        ({"content-type": "text/html"}, b"<b>Hello</b>"),
        ({"content-type": "text/html"}, b"Hello"),
        ({"content-type": "text/html"}, b"<!-- a note --> <b>Hello</b>"),
        ({"content-type": "text/html"}, b'<?xml version="1.0"?><svg/>'),
        ({"content-type": "text/html"}, b"<!-- " * 1000),
    ],
)
def test_a_reply_that_resembles_an_error_or_a_page_is_text(head: dict[str, str], body: bytes) -> None:
    for chunks in ([body], [body[i : i + 1] for i in range(len(body))]):
        texts = read(chunks, head)
        assert "".join(map(str, texts)) == body.decode()
        assert all(texts)


@pytest.mark.parametrize(
    ("head", "body", "error", "message"),
    [
        ({"content-type": "application/json"}, b'{"msg": "Wrong password"}', ServerError, "Wrong password"),
        ({"content-type": "application/json"}, b'{"error": {"message": "No", "type": "t"}}', ServerError, "No"),
        ({**PLAIN, "content-length": "15"}, b'{"error": "No"}', ServerError, "No"),
        ({"content-type": "application/json"}, b'{"code": 429, "msg": "No", "trace_id": "x"}', RateLimitError, "No"),
        ({"content-type": "application/json"}, b'{"error": {"message": "No"}, "x": 1}', ServerError, "No"),
        ({"content-type": "application/json"}, b'{"error": "No", "requestId": "x", "path": "/"}', ServerError, "No"),
        ({"content-type": "application/json"}, b'{"errors": [{"message": "No"}], "success": false}', ServerError, "No"),
        ({"content-type": "application/json"}, b'{"detail": "No"}', ServerError, "No"),
        ({"content-type": "application/json"}, b'{"message": "No", "statusCode": 401}', AuthenticationError, "No"),
        ({"content-type": "application/json"}, b'{"message": "No", "status": 400}', RequestError, "No"),
        ({"content-type": "application/json"}, b'{"message": "No", "status_code": 429}', RateLimitError, "No"),
        ({"content-type": "application/json"}, b'{"message": "No", "code": 500}', ServerError, "No"),
        ({"content-type": "application/json"}, b'{"errcode": 3, "errmsg": "No"}', ServerError, "No"),
        ({"content-type": "application/json"}, b'{"ok": false, "message": "No"}', ServerError, "No"),
        ({"content-type": "text/html"}, b"<!DOCTYPE html><title>Sign in</title>", ProtocolError, "Sign in"),
        ({"content-type": "text/html"}, b" <html><body>x", ProtocolError, "HTML"),
        ({"content-type": "text/html"}, BOM + b"<!DOCTYPE html><title>Sign in</title>", ProtocolError, "Sign in"),
        ({"content-type": "text/html"}, b"<!-- > --> <!-- -->\n<html><title>Sign in", ProtocolError, "Sign in"),
        ({"content-type": "text/html"}, b'<?xml version="1.0"?><html><title a="b">Sign in', ProtocolError, "Sign in"),
        ({"content-type": "application/xhtml+xml"}, b"<html><title>Sign in", ProtocolError, "Sign in"),
        ({"content-type": "application/json"}, BOM + b'{"error": "No"}', ServerError, "No"),
        ({"content-type": "application/json"}, rb'{"error": "No \ud83d"}', ServerError, "No \ufffd"),
        (JSON_UTF16, '{"error": "No"}'.encode("utf-16"), ServerError, "No"),
        (PLAIN, b"", TruncatedError, "without sending anything"),
        ({"content-type": "application/json"}, b"", TruncatedError, "without sending anything"),
        (PLAIN, b"\xef\xbb\xbf", TruncatedError, "without sending anything"),
        (PLAIN, "Hé".encode()[:-1], TruncatedError, "middle of a character"),
        (PLAIN, b"H\xff", ProtocolError, "not utf-8"),
        ({"content-type": "text/plain; charset=klingon"}, b"Hello", ProtocolError, "klingon"),
    ],
)
def test_an_error_a_page_or_an_incomplete_body_is_raised(
    head: dict[str, str], body: bytes, error: type[AcytooError], message: str
) -> None:
    for chunks in ([body], [body[i : i + 1] for i in range(len(body))]):
        with pytest.raises(error, match=message):
            read(chunks, head)


def test_a_page_longer_than_the_limit_is_recognised_by_its_start() -> None:
    page = b"<!DOCTYPE html><title>Sign in</title>" + b" " * 1_000_001
    with pytest.raises(ProtocolError, match="Sign in"):
        read([page], {"content-type": "text/html"})


def test_held_text_is_returned_if_the_reply_is_truncated() -> None:
    for head in ({"content-type": "text/html"}, {**PLAIN, "content-length": "5000"}):
        reader = DIALECT.reader(ResponseHead(200, head))
        assert reader.feed(b"<think>Let me") + reader.feed(b" see.") == []
        assert (reader.flush_truncated(), reader.flush_truncated()) == (["<think>Let me see."], [])


def test_a_truncated_page_is_not_text() -> None:
    reader = DIALECT.reader(ResponseHead(200, {"content-type": "text/html"}))
    assert reader.feed(b"<html><title>Sign in</title>") + reader.flush_truncated() == []


@pytest.mark.parametrize("charset", ["iso-8859-1", '"utf-16"', "UTF-8", "gb18030"])
def test_text_is_decoded_in_the_charset_of_the_response(charset: str) -> None:
    body = "Café".encode(charset.strip('"'))
    assert "".join(map(str, read([body[:3], body[3:]], {"content-type": f"text/plain; charset={charset}"}))) == "Café"


def test_streamed_text_is_never_held_back() -> None:
    reader = DIALECT.reader(ResponseHead(200, PLAIN))
    assert reader.feed(b"{") == ["{"]
    assert reader.feed(b"<") == ["<"]


def test_a_document_longer_than_the_limit_is_not_held_back() -> None:
    reader = DIALECT.reader(ResponseHead(200, {"content-type": "application/json"}))
    body = b"[" + b"1," * 600_000
    assert "".join([str(item) for i in range(0, len(body), 65536) for item in reader.feed(body[i : i + 65536])])


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b'{"msg": "Wrong password"}', "Wrong password"),
        (400, b'{"error": {"message": "No model"}}', "No model"),
        (500, b"oops", "oops"),
        (503, b"<html><title>Down</title>", "Down"),
    ],
)
def test_an_error_has_the_message_of_its_body(status: int, body: bytes, message: str) -> None:
    error = DIALECT.read_error(status, body)
    assert (error.status, message in error.message) == (status, True)
