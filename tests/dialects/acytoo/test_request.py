"""Requests of the Acytoo protocol: the five fields, and what its clients send besides."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from acytoo.dialects import Acytoo
from acytoo.dialects.acytoo.request import headers, payload
from acytoo.dialects.base import Unsupported
from acytoo.dialects.translate import translate
from acytoo.errors import (
    RequestError,
    UnsupportedError,
)
from acytoo.http import Endpoint
from acytoo.secret import Secret
from acytoo.types import Request
from tests.dialects.acytoo.helpers import DIALECT, HELLO, decode, encode

# Encode.


def test_the_headers_are_those_of_the_public_clients() -> None:
    assert headers() == {"accept": "*/*", "content-type": "application/json"}


def test_the_default_payload_has_five_fields_in_this_order() -> None:
    assert list(payload(HELLO).items()) == [
        ("key", ""),
        ("model", "gpt-3.5-turbo"),
        ("messages", HELLO),
        ("temperature", 0.5),
        ("password", ""),
    ]


def test_model_key_and_password_are_sent() -> None:
    endpoint = Endpoint("http://h", Secret("k"), Secret("p"))
    http_request = DIALECT.encode_request(Request(HELLO, "m", temperature=1), endpoint, Unsupported("acytoo"))
    assert (http_request.method, http_request.url, http_request.headers) == (
        "POST",
        "http://h/api/completions",
        headers(),
    )
    assert msgspec.json.decode(http_request.body) == {
        "key": "k",
        "model": "m",
        "messages": HELLO,
        "temperature": 1,
        "password": "p",
    }


def test_a_body_that_is_sent_again_has_the_credentials_of_the_endpoint_and_is_otherwise_unchanged() -> None:
    body = b'{"key":"old","messages":[{"n":1e400}],"temperature":0.50,"password":"old"}'
    endpoint = Endpoint("http://h", Secret("k"), Secret("p"))
    sent = DIALECT.http_request(Request(HELLO), endpoint, body)
    assert sent.url == "http://h/api/completions"
    assert sent.body == b'{"key":"k","messages":[{"n":1e400}],"temperature":0.50,"password":"p"}'
    without_key = Acytoo(omit_empty_key=True).http_request(Request(HELLO), Endpoint("http://h"), body)
    assert without_key.body == b'{"messages":[{"n":1e400}],"temperature":0.50,"password":""}'


def test_the_default_model_is_sent_if_a_request_names_none() -> None:
    assert encode(Request(HELLO, ""))["model"] == "gpt-3.5-turbo"


@pytest.mark.parametrize("temperature", [0, 0.0])
def test_a_temperature_of_zero_is_sent_as_zero(temperature: float) -> None:
    assert encode(Request(HELLO, temperature=temperature))["temperature"] == 0


def test_path_content_type_and_the_empty_key_can_be_configured() -> None:
    dialect = Acytoo(path="/api/chat", content_type="text/plain", omit_empty_key=True)
    http_request = dialect.encode_request(Request(HELLO), Endpoint("http://h/?a=1"), Unsupported("acytoo"))
    assert http_request.url == "http://h/api/chat?a=1"
    assert http_request.headers["content-type"] == "text/plain"
    assert b'"key"' not in http_request.body
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
def test_what_the_protocol_cannot_express_is_refused_by_name_or_dropped(request_: Request, feature: str) -> None:
    with pytest.raises(UnsupportedError, match=feature):
        encode(request_)
    assert encode(request_, drop=True).keys() == {"key", "model", "messages", "temperature", "password"}


def test_tool_calls_that_are_dropped_leave_a_message_of_text() -> None:
    call: Any = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn: Any = {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}
    assert encode(Request([turn]), drop=True)["messages"] == [{"role": "assistant", "content": "Let me see."}]


def test_text_parts_become_text_and_reasoning_is_not_sent() -> None:
    parts: Any = {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}
    turn: Any = {"role": "assistant", "content": "Hi", "reasoning": [{"text": "hm"}]}
    assert encode(Request([parts, turn]))["messages"] == [*HELLO, {"role": "assistant", "content": "Hi"}]
    assert "reasoning" in turn


def test_extra_fields_are_sent() -> None:
    assert encode(Request(HELLO, extra={"site": 1}))["site"] == 1


# Decode.


def test_key_and_password_are_secrets_and_not_part_of_the_request() -> None:
    body = {"key": "k", "password": "p\u00e4", "messages": HELLO, "temperature": 0.5, "model": "m"}
    assert [secret.reveal() for secret in DIALECT.body_secrets(json.dumps(body).encode())] == ["k", "p\u00e4"]
    parsed = decode(body)
    assert parsed.request == Request(HELLO, "m", temperature=0.5, extra_for="acytoo")


@pytest.mark.parametrize("value", [None, 5, ["k"], {"k": 1}])
def test_a_key_that_is_not_text_is_ignored(value: object) -> None:
    body = {"key": value, "password": value, "messages": HELLO}
    assert DIALECT.body_secrets(json.dumps(body).encode()) == []
    assert decode(body).request.extra == {}


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'{"key": "k"', b'{"key": "\\ud800"}', b'{"key": "\xff"}'])
def test_a_body_that_is_not_valid_has_no_secrets(body: bytes) -> None:
    assert DIALECT.body_secrets(body) == []


def test_a_request_without_model_has_an_empty_one() -> None:
    assert decode({"messages": HELLO}).request.model == ""


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
def test_messages_are_accepted_in_the_shapes_of_web_clients(message: dict[str, Any]) -> None:
    request = decode({"messages": [message]}).request
    assert encode(request)["messages"][0]["content"] == "Hello"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "request body"),
        ({}, "messages is missing"),
        ({"messages": ["Hello"]}, r"messages\[0\].* not str"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\]"),
        ({"messages": [{"role": "user", "parts": 5}]}, r"messages\[0\]"),
        ({"messages": HELLO, "temperature": "hot"}, "invalid temperature 'hot': expected a number$"),
    ],
)
def test_the_error_for_a_malformed_body_names_the_field(body: object, field: str) -> None:
    with pytest.raises(RequestError, match=field):
        decode(body)


# Web clients: the AI SDK's `UIMessage`.

IMAGE = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,iVBORw0K"}


def decode_parts(*parts: object, role: str = "user", **fields: object) -> Any:
    """Return the decoded message of a web client."""
    return decode({"messages": [{"id": "m1", "role": role, "parts": parts, **fields}]}).request.messages[0]


def test_the_fields_of_a_text_stream_transport_are_ignored() -> None:
    body = {"id": "c1", "trigger": "submit-message", "messageId": "m1", "messages": HELLO}
    assert translate(decode(body).request, DIALECT).extra == {}


def test_a_prompt_of_a_web_client_is_the_message() -> None:
    # Source: the AI SDK, `callCompletionApi`, whose body is the prompt and the caller's own fields.
    request = decode({"prompt": "Hello"}).request
    assert (request.messages, request.extra) == ([{"role": "user", "content": "Hello"}], {})


def test_reasoning_of_a_web_client_is_no_part_of_the_text() -> None:
    message = decode_parts({"type": "reasoning", "text": "Hm"}, {"type": "text", "text": "Hi"}, role="assistant")
    assert message == {"role": "assistant", "content": "Hi", "reasoning": [{"text": "Hm"}]}


def test_an_image_of_a_web_client_is_an_image() -> None:
    message = decode_parts({"type": "text", "text": "What is this?"}, IMAGE)
    assert message["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": IMAGE["url"]}},
    ]


@pytest.mark.parametrize(
    ("url", "field"), [("data:application/pdf;base64,JVBE", "file_data"), ("https://h/a.pdf", "file_url")]
)
def test_a_file_of_a_web_client_is_a_file(url: str, field: str) -> None:
    part = {"type": "file", "mediaType": "application/pdf", "filename": "a.pdf", "url": url}
    assert decode_parts(part)["content"] == [{"type": "file", "file": {field: url, "filename": "a.pdf"}}]


def test_an_image_beside_a_text_content_is_not_lost() -> None:
    message = decode_parts({"type": "text", "text": "What?"}, IMAGE, content="What?")
    assert [part["type"] for part in message["content"]] == ["text", "image_url"]


def test_the_content_beside_parts_of_text_is_the_message() -> None:
    parts = ({"type": "reasoning", "text": "Hm"}, {"type": "text", "text": "Hel"})
    assert decode_parts(*parts, content="Hello") == {"role": "user", "content": "Hello"}


@pytest.mark.parametrize("kind", ["tool-weather", "dynamic-tool"])
def test_a_tool_call_beside_a_text_content_is_refused(kind: str) -> None:
    with pytest.raises(RequestError, match=rf"parts\[1\] has the type '{kind}'"):
        decode_parts({"type": "text", "text": "Hi"}, {"type": kind}, role="assistant", content="Hi")


@pytest.mark.parametrize("kind", ["step-start", "source-url", "source-document", "data-weather"])
def test_marks_for_the_user_are_not_for_the_model(kind: str) -> None:
    assert decode_parts({"type": kind, "text": "no"}, {"type": "text", "text": "Hi"})["content"] == "Hi"


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": "tool-weather", "toolCallId": "c", "state": "output-available"}, "tool-weather"),
        ({"type": "dynamic-tool", "toolName": "x"}, "dynamic-tool"),
        ({"type": "hologram"}, "hologram"),
        ({"type": "file", "mediaType": "image/png"}, r"parts\[0\]\.url"),
        ({"type": "text"}, r"parts\[0\]\.text"),
        ("text", r"parts\[0\]"),
    ],
)
def test_a_part_that_cannot_be_translated_is_refused(part: object, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        decode_parts(part)


def test_attachments_of_an_older_web_client_are_refused() -> None:
    with pytest.raises(RequestError, match="experimental_attachments"):
        decode_parts({"type": "text", "text": "x"}, content="x", experimental_attachments=[{"url": "data:,x"}])
