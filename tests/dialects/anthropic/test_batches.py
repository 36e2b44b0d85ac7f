"""Anthropic's batches: the exact requests of a client, and what it reads of states and results."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo.dialects import Anthropic
from acytoo.errors import AuthenticationError, NotFoundError, RateLimitError, RequestError, ServerError, StatusError
from acytoo.http import Endpoint, HTTPRequest
from acytoo.secret import Secret
from acytoo.types import collect

DIALECT = Anthropic()
BATCHES = DIALECT.batches()
ENDPOINT = Endpoint("https://api.anthropic.com", Secret("k"))
URL = "https://api.anthropic.com/v1/messages/batches"


def sent(request: HTTPRequest) -> tuple[str, str, bytes]:
    """Return the method, URL and body of a request that has the key."""
    assert request.headers["x-api-key"] == "k"
    return request.method, request.url, request.body


def test_a_batch_is_created_only_once_with_all_its_requests() -> None:
    lines = [BATCHES.line("r1", b'{"model":"m"}'), BATCHES.line("r2", b"{}")]
    assert BATCHES.upload(DIALECT, ENDPOINT, lines) is None
    request = BATCHES.create(DIALECT, ENDPOINT, lines, "")
    method, url, body = sent(request)
    assert (method, url, request.is_repeatable) == ("POST", URL, False)
    assert msgspec.json.decode(body) == {
        "requests": [{"custom_id": "r1", "params": {"model": "m"}}, {"custom_id": "r2", "params": {}}]
    }


def test_a_batch_is_looked_up_stopped_and_its_results_are_requested() -> None:
    assert sent(BATCHES.retrieve(DIALECT, ENDPOINT, "b")) == ("GET", f"{URL}/b", b"")
    assert sent(BATCHES.cancel(DIALECT, ENDPOINT, "b")) == ("POST", f"{URL}/b/cancel", b"")
    assert sent(BATCHES.recent(DIALECT, ENDPOINT)) == ("GET", f"{URL}?limit=100", b"")
    assert sent(BATCHES.result(DIALECT, ENDPOINT, "b")) == ("GET", f"{URL}/b/results", b"")


@pytest.mark.parametrize(
    ("url", "share"), [("https://api.anthropic.com/v1", 0.5), ("https://anthropic.example/v1", 1.0)]
)
def test_only_anthropic_itself_is_known_to_charge_half(url: str, share: float) -> None:
    assert BATCHES.share_of_price(Endpoint(url)) == share


BATCH: dict[str, Any] = {
    "id": "b", "type": "message_batch", "processing_status": "in_progress", "created_at": "2024-09-24T18:37:24+00:00",
    "request_counts": {"processing": 2, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
}  # fmt: skip


def test_a_batch_that_runs_has_no_results_yet() -> None:
    [state] = BATCHES.states(msgspec.json.encode(BATCH))
    assert (state.id, state.has_ended, state.results, state.failure, state.is_full) == ("b", False, [], "", False)
    assert (state.counts, state.total, state.created) == ("2 processing, 1 succeeded", 3, 1727203044.0)


def test_a_batch_that_has_ended_has_its_results() -> None:
    ended = {**BATCH, "processing_status": "ended", "created_at": "soon"}
    [running, state] = BATCHES.states(msgspec.json.encode({"data": [BATCH, ended]}))
    assert (running.has_ended, state.has_ended, state.results, state.created) == (False, True, ["b"], 0.0)


def result(**fields: Any) -> bytes:
    return msgspec.json.encode({"custom_id": "r1", "result": fields})


def test_a_result_is_a_reply() -> None:
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hi"}], "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    found = BATCHES.read_result(DIALECT, result(type="succeeded", message=message))
    assert (found.custom_id, found.error) == ("r1", None)
    assert collect(found.items or []).text == "Hi"


@pytest.mark.parametrize(
    ("kind", "expected", "status"),
    [
        ("invalid_request_error", RequestError, 400),
        ("authentication_error", AuthenticationError, 401),
        ("not_found_error", NotFoundError, 404),
        ("rate_limit_error", RateLimitError, 429),
        ("overloaded_error", ServerError, 529),
    ],
)
def test_a_result_may_be_an_error(kind: str, expected: type[StatusError], status: int) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "not so"}}
    found = BATCHES.read_result(DIALECT, result(type="errored", error=error))
    assert (found.custom_id, found.items) == ("r1", None)
    assert type(found.error) is expected
    assert (found.error.status, "not so" in str(found.error)) == (status, True)


@pytest.mark.parametrize("kind", ["canceled", "expired"])
def test_a_request_that_was_not_answered_has_neither_reply_nor_error(kind: str) -> None:
    found = BATCHES.read_result(DIALECT, result(type=kind))
    assert (found.custom_id, found.items, found.error) == ("r1", None, None)
