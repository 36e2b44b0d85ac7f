"""The Acytoo protocol: five fields in, raw text out, and what its servers do besides."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo.dialects import Acytoo
from acytoo.dialects.acytoo.request import headers, payload
from acytoo.dialects.base import ParsedRequest, Unsupported
from acytoo.errors import (
    AcytooError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    TruncatedError,
    UnsupportedError,
    status_error,
)
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.secret import Secret
from acytoo.types import Finish, Item, Reasoning, Reply, Request, Start, Usage

DIALECT = Acytoo()
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
PLAIN = {"content-type": "text/plain; charset=utf-8"}
JSON_UTF16 = {"content-type": "application/json; charset=utf-16"}
BOM = b"\xef\xbb\xbf"


def read(chunks: list[bytes], head: dict[str, str] = PLAIN) -> list[Item]:
    """The items of a response body."""
    reader = DIALECT.reader(ResponseHead(200, head))
    items = [item for chunk in chunks for item in reader.feed(chunk)] + reader.flush()
    reader.close()
    return items


def built(request: Request, dialect: Acytoo = DIALECT, drop: bool = False) -> dict[str, Any]:
    outgoing = dialect.encode_request(request, Endpoint("http://h"), Unsupported("acytoo", drop=drop))
    body: dict[str, Any] = msgspec.json.decode(outgoing.body)
    return body


def parsed(body: object) -> ParsedRequest:
    return DIALECT.decode_request(ServerRequest("/api/completions", {}, msgspec.json.encode(body)))


def test_the_headers_are_these() -> None:
    assert headers() == {"accept": "*/*", "content-type": "application/json"}


def test_the_payload_with_defaults_is_exactly_this() -> None:
    assert list(payload(HELLO).items()) == [
        ("key", ""),
        ("model", "gpt-3.5-turbo"),
        ("messages", HELLO),
        ("temperature", 0.5),
        ("password", ""),
    ]


def test_model_key_and_password_are_really_sent() -> None:
    endpoint = Endpoint("http://h", Secret("k"), Secret("p"))
    outgoing = DIALECT.encode_request(Request(HELLO, "m", temperature=1), endpoint, Unsupported("acytoo"))
    assert (outgoing.method, outgoing.url, outgoing.headers) == ("POST", "http://h/api/completions", headers())
    assert msgspec.json.decode(outgoing.body) == payload(HELLO, 1, model="m", key="k", password="p")


@pytest.mark.parametrize("temperature", [0, 0.0])
def test_a_temperature_of_zero_is_sent_as_zero(temperature: float) -> None:
    assert built(Request(HELLO, temperature=temperature))["temperature"] == 0


def test_servers_vary_in_path_content_type_and_the_empty_key() -> None:
    dialect = Acytoo(path="/api/chat", content_type="text/plain", omit_empty_key=True)
    outgoing = dialect.encode_request(Request(HELLO), Endpoint("http://h/?a=1"), Unsupported("acytoo"))
    assert outgoing.url == "http://h/api/chat?a=1"
    assert outgoing.headers["content-type"] == "text/plain"
    assert b'"key"' not in outgoing.body
    with_key = dialect.encode_request(Request(HELLO), Endpoint("http://h", Secret("k")), Unsupported("acytoo"))
    assert b'"key":"k"' in with_key.body


@pytest.mark.parametrize(
    ("request_", "feature"),
    [
        (Request(HELLO, max_tokens=5), "max_tokens"),
        (Request(HELLO, tools=[]), "tools"),
        (Request([{"role": "tool", "tool_call_id": "a", "content": "x"}]), "tool calls"),
        (Request([{"role": "user", "content": [{"type": "image_url"}]}]), "image_url content"),
        (Request(HELLO, extra={"min_p": 1}, extra_for="openai"), "min_p"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name_or_dropped(request_: Request, feature: str) -> None:
    with pytest.raises(UnsupportedError, match=feature):
        built(request_)
    assert built(request_, drop=True).keys() == {"key", "model", "messages", "temperature", "password"}


def test_text_parts_become_text_and_reasoning_stays_at_home() -> None:
    parts: Any = {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}
    turn: Any = {"role": "assistant", "content": "Hi", "reasoning": [{"text": "hm"}]}
    assert built(Request([parts, turn]))["messages"] == [*HELLO, {"role": "assistant", "content": "Hi"}]
    assert "reasoning" in turn


def test_extra_fields_of_the_user_are_sent() -> None:
    assert built(Request(HELLO, extra={"site": 1}))["site"] == 1


# The reply, client's half.


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
        ({"content-type": "application/json"}, b"Hello"),
        ({"content-type": "text/html"}, b"<b>Hello</b>"),
        ({"content-type": "text/html"}, b"Hello"),
        ({"content-type": "text/html"}, b"<!-- a note --> <b>Hello</b>"),
        ({"content-type": "text/html"}, b'<?xml version="1.0"?><svg/>'),
        ({"content-type": "text/html"}, b"<!-- " * 1000),
    ],
)
def test_a_reply_that_looks_like_something_else_still_passes(head: dict[str, str], body: bytes) -> None:
    for chunks in ([body], [body[i : i + 1] for i in range(len(body))]):
        texts = read(chunks, head)
        assert "".join(map(str, texts)) == body.decode()
        assert all(texts)


@pytest.mark.parametrize(
    ("head", "body", "error", "words"),
    [
        ({"content-type": "application/json"}, b'{"msg": "Wrong password"}', ServerError, "Wrong password"),
        ({"content-type": "application/json"}, b'{"error": {"message": "No", "type": "t"}}', ServerError, "No"),
        ({**PLAIN, "content-length": "15"}, b'{"error": "No"}', ServerError, "No"),
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
def test_what_is_no_reply_is_raised(head: dict[str, str], body: bytes, error: type[AcytooError], words: str) -> None:
    for chunks in ([body], [body[i : i + 1] for i in range(len(body))]):
        with pytest.raises(error, match=words):
            read(chunks, head)


def test_a_page_too_long_to_be_held_is_known_by_its_start() -> None:
    page = b"<!DOCTYPE html><title>Sign in</title>" + b" " * 1_000_001
    with pytest.raises(ProtocolError, match="Sign in"):
        read([page], {"content-type": "text/html"})


def test_text_that_is_held_is_not_lost_with_the_rest_of_the_reply() -> None:
    for head in ({"content-type": "text/html"}, {**PLAIN, "content-length": "5000"}):
        reader = DIALECT.reader(ResponseHead(200, head))
        assert reader.feed(b"<think>Let me") + reader.feed(b" see.") == []
        assert (reader.flush_truncated(), reader.flush_truncated()) == (["<think>Let me see."], [])


def test_half_a_page_is_no_text_either() -> None:
    reader = DIALECT.reader(ResponseHead(200, {"content-type": "text/html"}))
    assert reader.feed(b"<html><title>Sign in</title>") + reader.flush_truncated() == []


@pytest.mark.parametrize("charset", ["iso-8859-1", '"utf-16"', "UTF-8", "gb18030"])
def test_the_charset_is_the_responses_own(charset: str) -> None:
    body = "Café".encode(charset.strip('"'))
    assert "".join(map(str, read([body[:3], body[3:]], {"content-type": f"text/plain; charset={charset}"}))) == "Café"


def test_text_that_streams_is_never_held_back() -> None:
    reader = DIALECT.reader(ResponseHead(200, PLAIN))
    assert reader.feed(b"{") == ["{"]
    assert reader.feed(b"<") == ["<"]


def test_a_long_document_is_not_held_for_ever() -> None:
    reader = DIALECT.reader(ResponseHead(200, {"content-type": "application/json"}))
    body = b"[" + b"1," * 600_000
    assert "".join([str(item) for i in range(0, len(body), 65536) for item in reader.feed(body[i : i + 65536])])


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b'{"msg": "Wrong password"}', "Wrong password"),
        (400, b'{"error": {"message": "No model"}}', "No model"),
        (500, b"oops", "oops"),
        (503, b"<html><title>Down</title>", "Down"),
    ],
)
def test_an_error_body_gives_its_words(status: int, body: bytes, words: str) -> None:
    error = DIALECT.read_error(status, body)
    assert (error.status, words in error.message) == (status, True)


# The server's half.


def test_key_and_password_are_secrets_and_no_part_of_the_request() -> None:
    call = parsed({"key": "k", "password": "p", "messages": HELLO, "temperature": 0.5, "model": "m"})
    assert [secret.reveal() for secret in call.secrets] == ["k", "p"]
    assert call.request == Request(HELLO, "m", temperature=0.5, extra_for="acytoo")


@pytest.mark.parametrize("odd", [None, 5, ["k"], {"k": 1}])
def test_a_key_that_is_no_text_is_no_key(odd: object) -> None:
    call = parsed({"key": odd, "password": odd, "messages": HELLO})
    assert (call.secrets, call.request.extra) == ([], {})


def test_no_model_means_the_default_one() -> None:
    assert parsed({"messages": HELLO}).request.model == ""


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "Hello"},
        {"role": "user", "content": "Hello", "createdAt": "2024-01-01T00:00:00Z", "id": "x"},
        {
            "role": "user",
            "parts": [{"type": "text", "text": "Hel"}, {"type": "step-start"}, {"type": "text", "text": "lo"}],
        },
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
    ],
)
def test_messages_may_come_in_any_web_clients_shape(message: dict[str, Any]) -> None:
    request = parsed({"messages": [message]}).request
    assert built(request)["messages"][0]["content"] == "Hello"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ([], "request body"),
        ({}, "messages is missing"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\]"),
        ({"messages": [{"role": "user", "parts": 5}]}, r"messages\[0\]"),
        ({"messages": HELLO, "temperature": "hot"}, r"\$\.temperature"),
    ],
)
def test_a_malformed_body_is_refused_naming_the_place(body: object, place: str) -> None:
    with pytest.raises(RequestError, match=place):
        parsed(body)


def test_only_text_is_written() -> None:
    writer = DIALECT.writer(Request(HELLO))
    assert writer.content_type == "text/plain; charset=utf-8"
    items: list[Item] = [Start("i", "m"), Reasoning("hm"), "Hel", "lo é", Usage(1, 2), Finish()]
    assert writer.write(items) + writer.end() == "Hello é".encode()


def test_a_fault_in_mid_stream_has_no_words_and_no_ping_disturbs_the_text() -> None:
    writer = DIALECT.writer(Request(HELLO))
    assert (writer.fail(TruncatedError("x")), writer.ping) == (b"", b"")


def test_a_whole_reply_is_its_text() -> None:
    assert DIALECT.write_reply(Reply("Hé", finish=Finish()), Request(HELLO)) == "Hé".encode()


def test_an_error_says_whose_fault_it_was_in_both_shapes() -> None:
    answer = DIALECT.write_error(status_error(429, "Slow down", retry_after=2.5))
    assert (answer.status, answer.headers["retry-after"]) == (429, "3")
    body = msgspec.json.decode(answer.body)
    assert (body["msg"], body["error"]["message"]) == ("Slow down", "Slow down")
    back = DIALECT.read_error(answer.status, answer.body, 2.5)
    assert isinstance(back, RateLimitError)
    assert (back.message, back.retry_after) == ("Slow down", 2.5)
