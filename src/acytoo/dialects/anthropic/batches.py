"""Anthropic's message batches: one request with many in it, and a file of results.

It is a file of its own because it is neither a chat request nor a reply. Source: Anthropic's API reference ("Message
Batches") and its guide "Batch processing".
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from acytoo.dialects.batches import BatchAPI, BatchResult, BatchState, chat_url, is_at, plain_request
from acytoo.dialects.fields import count, object_or_empty, objects_in, text_or_empty
from acytoo.dialects.json import decoder
from acytoo.http import Endpoint, HTTPRequest, join_url

if TYPE_CHECKING:
    from acytoo.dialects.base import Dialect

_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status of each type of error, which a result does not have. Source: the guide "Errors"."""


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


class AnthropicBatches(BatchAPI):
    """Batches of messages."""

    max_requests = 100_000

    def share_of_price(self, endpoint: Endpoint) -> float:
        """Return a half for Anthropic itself. Source: the guide "Batch processing"."""
        return 0.5 if is_at(endpoint, "api.anthropic.com") else 1.0

    def line(self, custom_id: str, body: bytes) -> bytes:
        """Return one of the `requests`."""
        return msgspec.json.encode({"custom_id": custom_id, "params": msgspec.Raw(body)})

    def create(self, dialect: Dialect, endpoint: Endpoint, lines: list[bytes], upload: str) -> HTTPRequest:
        """Return the creation of a batch, with all its requests."""
        body = b'{"requests":[' + b",".join(lines) + b"]}"
        request = plain_request(dialect, endpoint, _url(dialect, endpoint), body)
        request.is_repeatable = False
        return request

    def retrieve(self, dialect: Dialect, endpoint: Endpoint, id: str) -> HTTPRequest:
        """Return the request for a batch."""
        return plain_request(dialect, endpoint, _url(dialect, endpoint, f"/{id}"))

    def cancel(self, dialect: Dialect, endpoint: Endpoint, id: str) -> HTTPRequest:
        """Return the request to stop a batch."""
        return plain_request(dialect, endpoint, _url(dialect, endpoint, f"/{id}/cancel"), method="POST")

    def recent(self, dialect: Dialect, endpoint: Endpoint) -> HTTPRequest:
        """Return the request for the latest hundred batches."""
        return plain_request(dialect, endpoint, _url(dialect, endpoint) + "?limit=100")

    def states(self, body: bytes) -> list[BatchState]:
        """Return the states of a batch or of a list of them."""
        document = decoder(dict).decode(body)
        batches = objects_in(document["data"]) if "data" in document else [document]
        return [_state(batch) for batch in batches]

    def result(self, dialect: Dialect, endpoint: Endpoint, place: str) -> HTTPRequest:
        """Return the request for the results.

        They are requested at the endpoint itself, not at the `results_url`: that may be another host's, which must not
        get the key.
        """
        return plain_request(dialect, endpoint, _url(dialect, endpoint, f"/{place}/results"))

    def read_result(self, dialect: Dialect, line: bytes) -> BatchResult:
        """Return the result in a line. One that is `canceled` or `expired` was not answered."""
        found = msgspec.json.decode(line, type=_Line)
        result = found.result
        if result.type == "succeeded":
            return BatchResult(found.custom_id, dialect.read_reply(bytes(result.message)))
        if result.type != "errored":
            return BatchResult(found.custom_id)
        body = bytes(result.error)
        kind = text_or_empty(object_or_empty(object_or_empty(decoder(Any).decode(body)).get("error")).get("type"))
        return BatchResult(found.custom_id, error=dialect.read_error(_STATUSES.get(kind), body))


def _url(dialect: Dialect, endpoint: Endpoint, path: str = "") -> str:
    return join_url(chat_url(dialect, endpoint), f"/batches{path}")


def _state(batch: dict[str, object]) -> BatchState:
    id = text_or_empty(batch.get("id"))
    has_ended = batch.get("processing_status") == "ended"
    counts = {name: count(value) for name, value in object_or_empty(batch.get("request_counts")).items()}
    shown = ", ".join([f"{number} {name}" for name, number in counts.items() if number])
    try:
        created = datetime.fromisoformat(text_or_empty(batch.get("created_at"))).timestamp()
    except (ValueError, OverflowError):
        created = 0.0
    places = [id] if has_ended else []
    return BatchState(id, has_ended, places, counts=shown, total=sum(counts.values()), created=created)
