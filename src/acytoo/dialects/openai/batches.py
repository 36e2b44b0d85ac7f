"""OpenAI's Batch API: a file of requests, uploaded and then answered, with two files of results.

It is a file of its own because it is neither a chat request nor a reply. Source: OpenAI's guide "Batch API" and the API
reference ("Files", "Batch", "The request input object", "The request output object").
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from acytoo.dialects.batches import BatchAPI, BatchResult, BatchState, is_at, plain_request
from acytoo.dialects.error_bodies import error_from_event
from acytoo.dialects.fields import count, object_or_empty, objects_in, text_or_empty
from acytoo.dialects.json import decoder
from acytoo.http import Endpoint, HTTPRequest, join_url

if TYPE_CHECKING:
    from acytoo.dialects.base import Dialect

_ENDED = frozenset({"completed", "expired", "cancelled", "failed"})

_UNANSWERED = frozenset({"batch_expired", "batch_cancelled"})
"""Codes of the errors of requests that were not answered, of which nothing has to be paid."""

_FULL = frozenset({"token_limit_exceeded", "batch_limit_exceeded"})
"""Codes of a batch that was not begun because others wait."""


class _Response(msgspec.Struct):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class OpenAIBatches(BatchAPI):
    """Batches of requests for one of OpenAI's chat APIs, such as `/v1/chat/completions`."""

    max_requests = 50_000

    def __init__(self, url: str) -> None:
        self.url = url

    def share_of_price(self, endpoint: Endpoint) -> float:
        """Return a half for OpenAI itself. Source: the guide "Batch API"."""
        return 0.5 if is_at(endpoint, "api.openai.com") else 1.0

    def line(self, custom_id: str, body: bytes) -> bytes:
        """Return a line of the input file."""
        document = {"custom_id": custom_id, "method": "POST", "url": self.url, "body": msgspec.Raw(body)}
        return msgspec.json.encode(document) + b"\n"

    def upload(self, dialect: Dialect, endpoint: Endpoint, lines: list[bytes]) -> HTTPRequest:
        """Return the upload of the input file, as a form with two fields."""
        boundary = secrets.token_hex(16)
        begin = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="batch.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        body = b"".join([begin.encode(), *lines, f"\r\n--{boundary}--\r\n".encode()])
        request = plain_request(dialect, endpoint, join_url(endpoint.url, "/files"), body)
        request.headers["content-type"] = f"multipart/form-data; boundary={boundary}"
        return request

    def uploaded(self, body: bytes) -> str:
        """Return the id of the file."""
        return text_or_empty(decoder(dict).decode(body).get("id"))

    def create(self, dialect: Dialect, endpoint: Endpoint, lines: list[bytes], upload: str) -> HTTPRequest:
        """Return the creation of a batch from the uploaded file."""
        document = {"input_file_id": upload, "endpoint": self.url, "completion_window": "24h"}
        request = plain_request(dialect, endpoint, join_url(endpoint.url, "/batches"), msgspec.json.encode(document))
        request.is_repeatable = False
        return request

    def retrieve(self, dialect: Dialect, endpoint: Endpoint, id: str) -> HTTPRequest:
        """Return the request for a batch."""
        return plain_request(dialect, endpoint, join_url(endpoint.url, f"/batches/{id}"))

    def cancel(self, dialect: Dialect, endpoint: Endpoint, id: str) -> HTTPRequest:
        """Return the request to stop a batch, which takes up to ten minutes."""
        return plain_request(dialect, endpoint, join_url(endpoint.url, f"/batches/{id}/cancel"), method="POST")

    def recent(self, dialect: Dialect, endpoint: Endpoint) -> HTTPRequest:
        """Return the request for the latest hundred batches."""
        return plain_request(dialect, endpoint, join_url(endpoint.url, "/batches") + "?limit=100")

    def states(self, body: bytes) -> list[BatchState]:
        """Return the states of a batch or of a list of them."""
        document = decoder(dict).decode(body)
        batches = objects_in(document.get("data")) if document.get("object") == "list" else [document]
        return [_state(batch) for batch in batches]

    def result(self, dialect: Dialect, endpoint: Endpoint, place: str) -> HTTPRequest:
        """Return the request for the content of a file of results."""
        return plain_request(dialect, endpoint, join_url(endpoint.url, f"/files/{place}/content"))

    def read_result(self, dialect: Dialect, line: bytes) -> BatchResult:
        """Return the result in a line of the output file or of the error file."""
        found = msgspec.json.decode(line, type=_Line)
        if found.response is None:
            error = object_or_empty(decoder(Any).decode(found.error))
            if error.get("code") in _UNANSWERED:
                return BatchResult(found.custom_id)
            return BatchResult(found.custom_id, error=error_from_event({"error": error}))
        body = bytes(found.response.body)
        if 200 <= found.response.status_code < 300:
            return BatchResult(found.custom_id, dialect.read_reply(body))
        return BatchResult(found.custom_id, error=dialect.read_error(found.response.status_code, body))


def _state(batch: dict[str, object]) -> BatchState:
    status = text_or_empty(batch.get("status"))
    files = [text_or_empty(batch.get(name)) for name in ("output_file_id", "error_file_id")]
    errors = objects_in(object_or_empty(batch.get("errors")).get("data"))
    messages = [text_or_empty(error.get("message")) for error in errors]
    counts = object_or_empty(batch.get("request_counts"))
    return BatchState(
        text_or_empty(batch.get("id")),
        status in _ENDED,
        [file for file in files if file],
        ("; ".join(messages) or "the batch has failed") if status == "failed" else "",
        any(error.get("code") in _FULL for error in errors),
        f"{counts.get('completed', 0)} of {counts.get('total', 0)}, {status}",
        count(counts.get("total")),
        count(batch.get("created_at")),
        text_or_empty(batch.get("input_file_id")),
    )
