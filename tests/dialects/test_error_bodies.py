"""Errors in response bodies: any server's error is read, and the status of ours shows whose fault it was."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from acytoo.dialects import Dialect, by_name
from acytoo.dialects.error_bodies import (
    ErrorDetails,
    describe_error,
    error_details_of,
    error_from_event,
    html_title,
    openai_error,
    read_error_body,
)
from acytoo.errors import (
    AcytooError,
    EmbeddedError,
    MissingExtraError,
    ProtocolError,
    ProxyError,
    RateLimitError,
    RedirectError,
    RequestError,
    TimedOutError,
    TLSError,
    TruncatedError,
    UnreachableError,
    UnsupportedError,
    UsageError,
    status_error,
)
from acytoo.http import ResponseHead


@pytest.mark.parametrize(
    ("body", "title"),
    [
        (b"<html><head><title>Bad gateway</title>", "Bad gateway"),
        (b"<html><title <p><title>Bad gateway</title>", "Bad gateway"),
        (b"\n<!-- x --><?xml version='1.0'?><!DOCTYPE HTML><TITLE lang=en>\n Sign\n in </TITLE>", "Sign in"),
        ("\ufeff<html><title>Ä</title>".encode("utf-16-le"), "Ä"),
        ("\ufeff<html><title>Ä</title>".encode(), "Ä"),
        (b"<html>", ""),
        (b"<p>text", None),
        (b'{"error":"<html>"}', None),
        (b"", None),
    ],
)
def test_an_html_page_is_recognized_by_its_beginning(body: bytes, title: str | None) -> None:
    assert html_title(body) == title


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (
            b'{"error":{"message":"m","type":"t","code":"c","param":"p"}}',
            ErrorDetails("m", code="c", type="t", param="p"),
        ),
        (b'{"type":"error","error":{"type":"t","message":"m"}}', ErrorDetails("m", code="t", type="t")),
        (b'{"error":{"code":400,"message":"m","status":"s"}}', ErrorDetails("m", code="s")),
        (b'[{"error":{"code":400,"message":"m","status":"s"}}]', ErrorDetails("m", code="s")),
        (b'{"error":"m"}', ErrorDetails("m")),
        (b'{"msg":"m","code":"c"}', ErrorDetails("m", code="c")),
        (b'{"message":"m"}', ErrorDetails("m")),
        (b'{"detail":[{"loc":["body"]}]}', ErrorDetails('[{"loc":["body"]}]')),
        (b'{"error":{}}', ErrorDetails("an error without a message")),
        (rb'{"error":"\ud83d"}', ErrorDetails("\ufffd")),
        ('\ufeff{"error":"Ä"}'.encode("utf-16-le"), ErrorDetails("Ä")),
        (b"<html><title>Bad gateway</title>", ErrorDetails("HTML page: Bad gateway")),
        (b"<html>", ErrorDetails("an HTML page without a title")),
        (b" upstream\n is down ", ErrorDetails("upstream is down")),
        (b'{"x":1}', ErrorDetails('{"x":1}')),
        (b"", ErrorDetails("no message")),
    ],
)
def test_the_error_body_of_any_server_is_read(body: bytes, details: ErrorDetails) -> None:
    assert read_error_body(body) == details


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"message": "No", "metadata": {"raw": "slow down"}}, "No: slow down"),
        ({"message": "No.", "metadata": {"raw": '{"error":{"message":"bad schema"}}'}}, "No: bad schema"),
        ({"code": 429, "metadata": {"raw": "slow down"}}, '{"code":429,"metadata":{"raw":"slow down"}}'),
        ({"message": "No", "innererror": {"code": "x", "message": "filtered"}}, "No: filtered"),
        ({"message": "No", "innererror": {"code": "x"}}, "No"),
        ({"message": "No", "details": [{"message": "a"}, {"message": "b"}, {"message": "a"}]}, "No: a; b"),
        ({"message": "No", "details": "because"}, "No: because"),
        ({"message": "No, because", "details": ["because"]}, "No, because"),
        (
            {"message": "No", "details": [{"@type": "x", "fieldViolations": [{"field": "f", "description": "d"}]}]},
            "No: f: d",
        ),
        ({"message": "No", "details": [{"@type": "x", "reason": "r"}, {"retryDelay": "3s"}]}, "No"),
        ({"message": "No", "cause": {"message": "a", "cause": {"message": "b"}}}, "No: a: b"),
        ({"message": '{"error":{"message":"inner"}}'}, "inner"),
        ({"message": '{"x":1}'}, '{"x":1}'),
        ({"message": 'event: error\ndata: {"error":{"message":"inner"}}\n\n'}, "inner"),
        ({"message": 'id: 3\nevent: error\ndata: {"error":{"message":"inner"}}\n\n'}, "inner"),
        ({"message": "id: 3 is unknown"}, "id: 3 is unknown"),
        ('{"error":{"message":"inner"}}', "inner"),
        ({"message": "No", "metadata": {"raw": "\ud83d"}}, "No: \ufffd"),
        ({"message": "data: x"}, "data: x"),
    ],
)
def test_the_messages_of_errors_inside_an_error_are_in_its_message(error: Any, message: str) -> None:
    assert error_from_event(error).message == message


def test_the_code_of_an_error_inside_an_error_is_kept() -> None:
    inner = {"message": "m", "type": "invalid_request_error", "param": "p"}
    raw = msgspec.json.encode({"error": inner}).decode()
    details = error_details_of({"error": {"message": "No", "code": 400, "metadata": {"raw": raw}}})
    assert details == ErrorDetails("No: m", "invalid_request_error", "invalid_request_error", "p")


def test_errors_nested_too_deeply_are_left_out() -> None:
    error: dict[str, Any] = {"message": "19"}
    for level in range(18, -1, -1):
        error = {"message": str(level), "cause": error}
    message = error_from_event(error).message
    assert message.startswith("0: 1: 2")
    assert "19" not in message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'event: error\ndata: {"type":"error","error":{"type":"t","message":"m"}}\n\n', "m"),
        (b'data: {"id":"c"}\n\ndata:{"error":"m"}\n\ndata: [DONE]\n\n', "m"),
        (b"event: error\ndata: it broke\n\n", "it broke"),
        (b'{"fault":{"faultstring":"it broke","detail":{"errorcode":"x"}}}', "it broke"),
        (b'{"type":"about:blank","title":"it broke","status":503}', "it broke"),
        (b'{"title":"A story","status":"draft"}', '{"title":"A story","status":"draft"}'),
        (b'{"exception":"it broke"}', "it broke"),
        (b'{"err":{"message":"it broke"}}', "it broke"),
        (b"id: 3\nevent: error\ndata: it broke\n\n", "it broke"),
        (b'id: 3\nevent: error\ndata: {"message":"it broke"}\n\n', "it broke"),
        (b': waiting\n\nretry: 5\ndata: {"error":"it broke"}\n\n', "it broke"),
        (b"id: none was given", "id: none was given"),
        (b"event:error\ndata:it broke\n\n", "it broke"),
        (b'event: error\ndata: "it broke"\n\n', "it broke"),
        (b'"it broke"', "it broke"),
        (b'"{\\"error\\": {\\"message\\": \\"it broke\\"}}"', "it broke"),
        (b'{"error":"data: must be a string"}', "data: must be a string"),
        (b'{"success":false,"errors":[{"code":7003,"message":"m"},{"message":"n"}],"messages":[]}', "m: n"),
        (b'{"detail":[{"loc":["body","x"],"msg":"Field required"}]}', '["body","x"] Field required'),
        (b"data: nothing", "data: nothing"),
    ],
)
def test_the_message_is_found_in_events_and_lists(body: bytes, message: str) -> None:
    assert read_error_body(body).message == message


@pytest.mark.parametrize(
    "error",
    [
        {"message": "m", "code": "429"},
        {"message": "m", "type": "RateLimitError"},
        {"message": "m", "type": "rate_limit_error"},
        {"message": "m", "code": "rate-limited"},
        {"message": "m", "status": "RESOURCE_EXHAUSTED"},
        {"message": "m", "type": "requests", "code": "rate_limit_exceeded"},
        {"error": {"message": "m"}, "status": 429},
        {"error": {"message": "m", "type": "throttled"}, "type": "error"},
        {"error": "m", "status_code": 429},
        {"error": "m", "code": "too_many_requests"},
        {"error": {"message": "m", "metadata": {"raw": '{"error":{"code":"rate_limit_exceeded"}}'}}},
    ],
)
def test_a_rate_limit_is_one_whatever_api_its_code_is_from(error: Any) -> None:
    assert isinstance(error_from_event(error), RateLimitError)


@pytest.mark.parametrize(
    "document", [{}, [], None, "error", {"error": None}, {"error": ""}, {"message": 5}, {"x": "y"}]
)
def test_a_document_without_an_error_has_no_details(document: Any) -> None:
    assert error_details_of(document) is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "m", "status": 503, "code": 400}, 503),
        ({"message": "m", "code": 400}, 400),
        ({"message": "m", "code": "slow_down"}, 429),
        ({"message": "m", "type": "slow_down", "code": "unknown"}, 429),
        ({"message": "m", "code": 5}, None),
        ({"message": "m"}, None),
        ("m", None),
    ],
)
def test_the_error_of_an_event_has_the_number_in_it_or_the_status_of_its_code(error: Any, status: int | None) -> None:
    raised = error_from_event(error, {"slow_down": 429})
    assert (raised.status, raised.message) == (status, "m")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("Throttling.AllocationQuota", 429),  # QwenLM/qwen-code pull request 3246: DashScope
        ("Throttling.RateQuota", 429),
        ("RateLimitExceeded.EndpointRPMExceeded", 429),  # Volcengine
        ("rate_limit_reached_error", 429),  # Moonshot
        ("engine_overloaded_error", 429),
        ("too_many_requests_error", 429),  # Cerebras
        ("service_tier_capacity_exceeded", 429),  # Mistral
        ("data_inspection_failed", 400),  # DashScope
        ("content_filter", 400),  # Azure
        ("exceed_context_size_error", 400),  # llama.cpp
        ("insufficient_balance", 402),  # DeepSeek
        ("RESOURCE_DOES_NOT_EXIST", 404),  # Databricks
        ("AccessDenied.Unpurchased", 403),  # DashScope
        ("InternalError.Timeout", None),
    ],
)
@pytest.mark.parametrize("field", ["code", "type"])
def test_the_status_of_an_event_is_that_of_its_code_in_any_service(field: str, code: str, status: int | None) -> None:
    assert error_from_event({"message": "m", field: code}).status == status


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        ({"retry_after": 3}, 3),
        ({"retry_after_seconds": 2.5}, 2.5),
        ({"metadata": {"retry_after_seconds": 4}}, 4),
        ({"metadata": {"retry_after": 5}}, 5),
        ({"error": {"retry_after": 6}}, 6),
        ({"error": {"error": {"metadata": {"retry_after": 7}}}}, 7),
        ({"retry_after": 0}, 0),
        ({"retry_after": True}, None),
        ({"retry_after": "8"}, None),
        ({"retry_after": -1}, None),
        ({"retry_after": 1e9}, None),
        ({"retry_after": -1, "error": {"retry_after": 9}}, 9),
        ({"metadata": "x"}, None),
        ("x", None),
    ],
)
def test_the_error_of_an_event_has_the_time_to_wait_that_is_in_it(error: Any, wait: float | None) -> None:
    assert error_from_event(error).retry_after == wait


@pytest.mark.parametrize("error", [None, "", {}, []])
def test_the_error_of_an_event_without_a_message_has_a_message(error: Any) -> None:
    assert error_from_event(error).message == "an error without a message"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (status_error(400, "x"), 400, "invalid_request_error"),
        (status_error(401, "x"), 401, "authentication_error"),
        (status_error(403, "x"), 403, "permission_error"),
        (status_error(404, "x"), 404, "not_found_error"),
        (status_error(413, "x"), 413, "request_too_large"),
        (status_error(422, "x"), 422, "invalid_request_error"),
        (status_error(429, "x"), 429, "rate_limit_error"),
        (status_error(429, "x", code="their_code"), 429, "their_code"),
        (status_error(500, "x"), 500, "server_error"),
        (status_error(503, "x"), 503, "overloaded_error"),
        (status_error(418, "x"), 418, "invalid_request_error"),
        (status_error(409, "x"), 409, "invalid_request_error"),
        (status_error(599, "x"), 599, "server_error"),
        (status_error(None, "x"), 502, "upstream_error"),
        (status_error(302, "x"), 502, "upstream_error"),
        (UsageError("x"), 400, "invalid_request_error"),
        (UnsupportedError("tools", "acytoo"), 400, "invalid_request_error"),
        (TimedOutError("idle", 5), 504, "timeout_error"),
        (UnreachableError("x"), 502, "upstream_error"),
        (TLSError("x"), 502, "upstream_error"),
        (ProxyError("x"), 502, "upstream_error"),
        (RedirectError("x"), 502, "upstream_error"),
        (TruncatedError("x"), 502, "upstream_error"),
        (ProtocolError("x"), 502, "upstream_error"),
        (EmbeddedError("x"), 500, "server_error"),
        (MissingExtraError("x", "local"), 500, "server_error"),
        (AcytooError("x"), 500, "server_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_the_status_shows_whose_fault_it_was(error: AcytooError, status: int, code: str) -> None:
    assert describe_error(error)[::2] == (status, code)
    assert describe_error(error)[1] == error.message


@pytest.mark.parametrize(
    ("seconds", "header"),
    [(2, "2"), (0.5, "1"), (1234567.0, "1234567"), (float("inf"), None), (0, "0"), (3600.0, "3600"), (None, None)],
)
def test_the_time_to_wait_is_rounded_up_to_whole_seconds(seconds: float | None, header: str | None) -> None:
    assert describe_error(status_error(429, "x", retry_after=seconds))[3].get("retry-after") == header


def test_an_error_for_openais_clients_has_all_four_fields() -> None:
    error = status_error(400, "m", code="c", type="t", param="p")
    assert openai_error(error) == {"message": "m", "type": "t", "param": "p", "code": "c"}
    assert openai_error(UsageError("m")) == {
        "message": "m",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_request_error",
    }


TOO_LONG = [
    ("anthropic", "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
    ("anthropic", "invalid_request_error", "input length and `max_tokens` exceed context limit: 9 + 9 > 10, decrease"),
    ("gemini", "INVALID_ARGUMENT", "The input token count (12) exceeds the maximum number of tokens allowed (10)."),
    ("gemini", "INVALID_ARGUMENT", "Unable to submit request because the input token count is 12 but model only"),
    ("openai", "invalid_request_error", "This model's maximum context length is 10 tokens. However, you requested 12"),
    ("openai", "invalid_request_error", "This endpoint's maximum context length is 10 tokens. However, you requested"),
    ("anthropic", "invalid_request_error", "Input is too long for requested model."),
    ("ollama", "", "the input length exceeds the context length"),
    ("ollama", "", "prompt too long; exceeded max context length by 100918 tokens"),
    (
        "openai-responses",
        "invalid_request_error",
        "Input length 12 exceeds the maximum allowed input length of 10 tokens.",
    ),
    *[
        ("openai", "invalid_request_error", message)
        for message in (
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens",
            "Requested token count exceeds the model's maximum context length of 131072 tokens.",
            "Input length (265330) exceeds model's maximum context length (262144).",
            "Provider returned error: Input length 131393 exceeds the maximum allowed input length of 131040 tokens.",
            "The input (516368 tokens) is longer than the model's context length (262144 tokens).",
            "The prompt (total length 25938) is too long to fit into the model (context length 4096).",
            "The decoder prompt (length 9000) is longer than the maximum model length of 4096.",
            "Please reduce the length of the messages or completion.",
            "prompt token count of 200000 exceeds the limit of 128000",
            "Prompt contains 300000 tokens and 0 images too large for model with 262144 maximum context length",
            "Prompt has 5,958,968 tokens, but the configured context size is 256,000 tokens",
            "Range of input length should be [1, 129024]",
            "the request exceeds the available context size, try increasing it",
            "request (2622 tokens) exceeds the available context size (512 tokens), try increasing it",
            "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded with",
            "Your request exceeded model token limit: 262144 (requested: 300000)",
            "invalid params, context window exceeds limit",
            "Prompt too long",
        )
    ],
]
"""The API, the type it sends for every bad request, and the message for a conversation that is too long."""


def document_of(dialect: Dialect, kind: str, message: str) -> dict[str, Any]:
    """Return the error document of an API."""
    if dialect.name == "ollama":
        return {"error": message}
    if dialect.name == "openai-responses":
        return {"type": "error", "code": kind, "message": message}
    fields = {"code": 400, "status": kind} if dialect.name == "gemini" else {"type": kind}
    return {"type": "error", "error": {**fields, "message": message}}


@pytest.mark.parametrize(("name", "kind", "message"), TOO_LONG)
def test_a_conversation_that_is_too_long_has_the_code_of_openai(name: str, kind: str, message: str) -> None:
    dialect = by_name(name)
    document = msgspec.json.encode(document_of(dialect, kind, message))
    error = dialect.read_error(400, document)
    assert (type(error), error.code, error.message) == (RequestError, "context_length_exceeded", message)
    reader = dialect.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    with pytest.raises(RequestError, match=re.escape(message)) as caught:
        reader.feed(document + b"\n" if dialect.framing == "ndjson" else b"event: error\ndata: " + document + b"\n\n")
        raise reader.pending_error or AssertionError
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(("name", "kind", "message"), TOO_LONG)
def test_another_error_with_such_words_keeps_its_code(name: str, kind: str, message: str) -> None:
    dialect = by_name(name)
    for status, text in ((500, message), (429, message), (400, f"messages.0: the text {message!r} is not allowed")):
        error = dialect.read_error(status, msgspec.json.encode(document_of(dialect, kind, text)))
        assert error.code == kind


def test_the_error_of_llama_cpp_inside_that_of_ollama_has_its_code() -> None:
    # Ollama 0.34 and later
    message = "request (2622 tokens) exceeds the available context size (512 tokens), try increasing it"
    inner = msgspec.json.encode({"error": {"code": 400, "message": message, "type": "exceed_context_size_error"}})
    error = by_name("ollama").read_error(400, msgspec.json.encode({"error": inner.decode()}))
    assert (error.code, error.message) == ("context_length_exceeded", message)
