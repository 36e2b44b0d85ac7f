"""An error in place of a record or of the document of a reply, in the shapes of servers that do not know the API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.errors import AcytooError, RateLimitError, ReplyError, ServerError, StatusError
from tests.dialects.test_finish import STREAMS, read

ERRORS: list[Any] = [
    [{"error": {"message": "No"}}],  # Google's servers
    {"message": "No"},  # Amazon Bedrock
    {"Message": "No"},  # Amazon's gateways
    {"errorType": "Runtime.ExitError", "errorMessage": "No"},  # AWS Lambda
    {"type": "error", "message": "No"},
    {"success": False, "message": "No"},
    {"detail": "No"},  # FastAPI
    {"code": 500, "msg": "No"},
    {"errors": ["No"]},
    {"error_code": 336, "error_msg": "No"},  # Baidu
    {"error": ["No"]},
    {"choices": None, "base_resp": {"status_code": 1013, "status_msg": "No"}},  # MiniMax
    {"choices": None, "usage": {"total_tokens": 0}, "base_resp": {"status_code": 1013, "status_msg": "No"}},
]

RATE_LIMITS: list[dict[str, Any]] = [
    {"code": "Throttling", "message": "No"},  # DashScope
    {"object": "error", "message": "No", "code": 429},  # vLLM
    {"base_resp": {"status_code": 1002, "status_msg": "No"}},
]


def record(dialect: Dialect, document: Any) -> bytes:
    body = json.dumps(document).encode()
    return body + b"\n" if dialect.framing == "ndjson" else b"data: " + body + b"\n\n"


def beginning(name: str) -> bytes:
    """Return the stream of a reply up to its text."""
    body = STREAMS[name][1]("Hi", "REASON")
    end = body.index(b"REASON")
    separator = b"\n" if STREAMS[name][0].framing == "ndjson" else b"\n\n"
    if name in ("openai", "gemini"):
        return body.replace(b'"REASON"', b"null")
    return body[: body.rindex(separator, 0, end) + len(separator)]


def ends(dialect: Dialect) -> bytes:
    return b"data: [DONE]\n\n" if dialect.framing == "sse" else b""


@pytest.mark.parametrize("scans", [False, True])
@pytest.mark.parametrize("document", ERRORS, ids=json.dumps)
@pytest.mark.parametrize("name", STREAMS)
def test_an_error_in_place_of_a_record_is_an_error_after_the_text(name: str, document: Any, scans: bool) -> None:
    dialect = STREAMS[name][0]
    items, error = read(dialect, beginning(name) + record(dialect, document) + ends(dialect), scans=scans)
    assert scans or [item for item in items if isinstance(item, str)] == ["Hi"]
    assert isinstance(error, ServerError)
    assert error.message.removeprefix("500: ") == "No"


@pytest.mark.parametrize("document", ERRORS, ids=json.dumps)
@pytest.mark.parametrize("name", STREAMS)
def test_an_error_in_place_of_a_reply_is_that_error(name: str, document: Any) -> None:
    dialect = STREAMS[name][0]
    for body in (record(dialect, document), json.dumps(document).encode()):
        items, error = read(dialect, body)
        assert items == []
        assert isinstance(error, ServerError)
        assert error.message.removeprefix("500: ") == "No"


@pytest.mark.parametrize("document", RATE_LIMITS, ids=json.dumps)
@pytest.mark.parametrize("name", STREAMS)
def test_a_rate_limit_in_place_of_a_record_or_a_reply_is_one(name: str, document: Any) -> None:
    dialect = STREAMS[name][0]
    for body in (beginning(name) + record(dialect, document), json.dumps(document).encode()):
        assert isinstance(read(dialect, body)[1], RateLimitError)


def test_a_base_resp_without_an_error_changes_nothing() -> None:
    dialect = dialects.OpenAI()
    usage = {"choices": [], "usage": {"total_tokens": 3}, "base_resp": {"status_code": 0, "status_msg": ""}}
    body = STREAMS["openai"][1]("Hi", "stop") + record(dialect, usage)
    items, error = read(dialect, body)
    assert error is None
    assert "Hi" in items


@pytest.mark.parametrize("scans", [False, True])
@pytest.mark.parametrize(("name", "reason"), [("openai", "stop"), ("gemini", "STOP")])
def test_a_message_of_success_in_place_of_a_record_is_no_error(name: str, reason: str, scans: bool) -> None:
    dialect, reply = STREAMS[name]
    success = record(dialect, {"code": 0, "message": "Success", "sid": "x"})  # iFlytek Spark
    items, error = read(dialect, success + reply("Hi", reason) + success, scans=scans)
    assert error is None
    assert scans or "Hi" in items


@pytest.mark.parametrize("name", ["anthropic", "ollama"])
def test_a_record_of_the_reply_whose_message_is_a_text_is_not_an_error_of_the_server(name: str) -> None:
    dialect = STREAMS[name][0]
    document = {"type": "message_start", "message": "Hi"} if name == "anthropic" else {"message": "Hi", "done": False}
    error: AcytooError | None = read(dialect, record(dialect, document))[1]
    assert isinstance(error, ReplyError)
    assert not isinstance(error, StatusError)
