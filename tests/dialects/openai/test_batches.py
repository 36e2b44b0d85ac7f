"""OpenAI's batches: the exact requests of a client, and what it reads of states and results."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo.dialects.openai.batches import OpenAIBatches
from acytoo.errors import RateLimitError, RequestError
from acytoo.http import Endpoint, HTTPRequest
from acytoo.secret import Secret
from acytoo.types import collect
from tests.dialects.openai.helpers import DIALECT

ENDPOINT = Endpoint("https://api.openai.com/v1", Secret("k"))
BATCHES = DIALECT.batches()


def sent(request: HTTPRequest) -> tuple[str, str, bytes]:
    """Return the method, URL and body of a request that has the key."""
    assert request.headers["authorization"] == "Bearer k"
    return request.method, request.url, request.body


def test_a_line_is_a_request_to_the_api_of_the_dialect() -> None:
    line = BATCHES.line("r1", b'{"model":"m"}')
    assert line.endswith(b"}\n")
    assert msgspec.json.decode(line) == {
        "custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"},
    }  # fmt: skip


def test_lines_are_uploaded_as_a_form() -> None:
    request = BATCHES.upload(DIALECT, ENDPOINT, [b"{}\n", b"[]\n"])
    assert request is not None
    method, url, body = sent(request)
    assert (method, url) == ("POST", "https://api.openai.com/v1/files")
    kind, _, boundary = request.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    assert body.decode() == (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="batch.jsonl"\r\n'
        f"Content-Type: application/jsonl\r\n\r\n{{}}\n[]\n\r\n--{boundary}--\r\n"
    )
    assert BATCHES.uploaded(b'{"id":"file-1","object":"file"}') == "file-1"


def test_a_batch_is_created_only_once() -> None:
    request = BATCHES.create(DIALECT, ENDPOINT, [b"{}\n"], "file-1")
    method, url, body = sent(request)
    assert (method, url, request.is_repeatable) == ("POST", "https://api.openai.com/v1/batches", False)
    assert msgspec.json.decode(body) == {
        "input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h",
    }  # fmt: skip


def test_a_batch_is_looked_up_stopped_and_its_results_are_requested() -> None:
    url = "https://api.openai.com/v1"
    assert sent(BATCHES.retrieve(DIALECT, ENDPOINT, "b")) == ("GET", f"{url}/batches/b", b"")
    assert sent(BATCHES.cancel(DIALECT, ENDPOINT, "b")) == ("POST", f"{url}/batches/b/cancel", b"")
    assert sent(BATCHES.recent(DIALECT, ENDPOINT)) == ("GET", f"{url}/batches?limit=100", b"")
    assert sent(BATCHES.result(DIALECT, ENDPOINT, "f")) == ("GET", f"{url}/files/f/content", b"")


@pytest.mark.parametrize(("url", "share"), [("https://api.openai.com/v1", 0.5), ("https://openai.example/v1", 1.0)])
def test_only_openai_itself_is_known_to_charge_half(url: str, share: float) -> None:
    assert OpenAIBatches("/v1/responses").share_of_price(Endpoint(url)) == share


BATCH: dict[str, Any] = {
    "id": "b", "object": "batch", "status": "in_progress", "created_at": 1711471533, "input_file_id": "file-1",
    "output_file_id": None, "error_file_id": None, "request_counts": {"total": 3, "completed": 1, "failed": 0},
}  # fmt: skip


def test_a_batch_that_runs_has_no_results_yet() -> None:
    [state] = BATCHES.states(msgspec.json.encode(BATCH))
    assert (state.id, state.has_ended, state.results, state.failure, state.is_full) == ("b", False, [], "", False)
    assert (state.counts, state.total, state.created, state.source) == ("1 of 3, in_progress", 3, 1711471533, "file-1")


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled", "failed"])
def test_a_batch_that_has_ended_has_its_files_of_results(status: str) -> None:
    ended = {**BATCH, "status": status, "output_file_id": "o", "error_file_id": "e", "request_counts": {}}
    [running, state] = BATCHES.states(msgspec.json.encode({"object": "list", "data": [BATCH, ended]}))
    assert (running.has_ended, state.has_ended, state.results) == (False, True, ["o", "e"])
    assert (state.counts, state.failure) == (
        f"0 of 0, {status}", "the batch has failed" if status == "failed" else "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "is_full"), [("token_limit_exceeded", True), ("batch_limit_exceeded", True), ("invalid_json_line", False)]
)
def test_a_batch_that_failed_has_the_messages_of_its_errors(code: str, is_full: bool) -> None:
    errors = {"object": "list", "data": [{"code": "x", "message": "first"}, {"code": code, "message": "second"}]}
    [state] = BATCHES.states(msgspec.json.encode({**BATCH, "status": "failed", "errors": errors}))
    assert (state.failure, state.is_full) == ("first; second", is_full)


def result(**fields: Any) -> bytes:
    return msgspec.json.encode({"id": "x", "custom_id": "r1", "response": None, "error": None, **fields})


@pytest.mark.parametrize("status", [200, 299])
def test_a_result_is_a_reply(status: int) -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    found = BATCHES.read_result(DIALECT, result(response={"status_code": status, "body": body}))
    assert (found.custom_id, found.error) == ("r1", None)
    assert collect(found.items or []).text == "Hi"


@pytest.mark.parametrize(("status", "kind"), [(300, RequestError), (400, RequestError), (429, RateLimitError)])
def test_a_result_may_be_the_error_of_a_response(status: int, kind: type[RequestError]) -> None:
    body = {"error": {"message": "not so", "type": "t"}}
    found = BATCHES.read_result(DIALECT, result(response={"status_code": status, "body": body}))
    assert (found.custom_id, found.items) == ("r1", None)
    assert found.error is not None
    assert "not so" in str(found.error)
    assert found.error.status == status
    if status != 300:
        assert type(found.error) is kind


@pytest.mark.parametrize("code", ["batch_expired", "batch_cancelled"])
def test_a_request_that_was_not_answered_has_neither_reply_nor_error(code: str) -> None:
    found = BATCHES.read_result(DIALECT, result(error={"code": code, "message": "too late"}))
    assert (found.custom_id, found.items, found.error) == ("r1", None, None)


def test_a_request_that_could_not_be_sent_has_an_error() -> None:
    found = BATCHES.read_result(DIALECT, result(error={"code": "server_error", "message": "not so"}))
    assert (found.custom_id, found.items) == ("r1", None)
    assert "not so" in str(found.error)
