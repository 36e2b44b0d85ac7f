"""The interface of an API's batches: requests that are submitted together and answered within a day. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from acytoo.errors import StatusError
from acytoo.http import Endpoint, HTTPRequest
from acytoo.types import Item, Request

if TYPE_CHECKING:
    from acytoo.dialects.base import Dialect


class BatchState(msgspec.Struct):
    """What an API reports of a batch."""

    id: str
    has_ended: bool
    results: list[str] = []
    """The URLs of the results, or the ids of their files, once it has ended."""
    failure: str = ""
    """Why none of its requests was answered."""
    is_full: bool = False
    """Whether it failed because too much is waiting already, so that it may be submitted again later."""
    counts: str = ""
    """How many requests are finished, for people."""
    total: int = 0
    created: float = 0.0
    """Seconds since 1970."""
    source: str = ""
    """The upload that the batch was created from, to find one whose creation was interrupted; "" if there is none."""


class BatchResult(msgspec.Struct):
    """The result of one request: the items of its reply, or its error; neither if it was not answered in time."""

    custom_id: str
    items: list[Item] | None = None
    error: StatusError | None = None


class BatchAPI:
    """How one API takes batches. `custom_id` identifies a request: at most 64 letters, digits, `-` and `_`."""

    max_requests: int

    def share_of_price(self, endpoint: Endpoint) -> float:
        """Return what a request in a batch costs, as a share of its usual price."""
        return 1.0

    def line(self, custom_id: str, body: bytes) -> bytes:
        """Return one request as a part of a submission, given the body of a request that is not streamed."""
        raise NotImplementedError

    def upload(self, dialect: Dialect, endpoint: Endpoint, lines: list[bytes]) -> HTTPRequest | None:
        """Return the request that uploads a submission before it is created, None if the API needs none."""
        return None

    def uploaded(self, body: bytes) -> str:
        """Return the id in the response to an upload. Raises msgspec.DecodeError."""
        raise NotImplementedError

    def create(self, dialect: Dialect, endpoint: Endpoint, lines: list[bytes], upload: str) -> HTTPRequest:
        """Return the request that creates a batch."""
        raise NotImplementedError

    def retrieve(self, dialect: Dialect, endpoint: Endpoint, id: str) -> HTTPRequest:
        """Return the request for the state of a batch."""
        raise NotImplementedError

    def cancel(self, dialect: Dialect, endpoint: Endpoint, id: str) -> HTTPRequest:
        """Return the request to stop a batch. It ends later, with the results of what has been answered."""
        raise NotImplementedError

    def recent(self, dialect: Dialect, endpoint: Endpoint) -> HTTPRequest:
        """Return the request for the latest batches."""
        raise NotImplementedError

    def states(self, body: bytes) -> list[BatchState]:
        """Return the states in a response to any of these. Raises msgspec.DecodeError."""
        raise NotImplementedError

    def result(self, dialect: Dialect, endpoint: Endpoint, place: str) -> HTTPRequest:
        """Return the request for one of the `results` of a batch."""
        raise NotImplementedError

    def read_result(self, dialect: Dialect, line: bytes) -> BatchResult:
        """Return the result in one line. Raises msgspec.DecodeError, and ProtocolError for another API's reply."""
        raise NotImplementedError


_NO_REQUEST = Request([])


def plain_request(dialect: Dialect, endpoint: Endpoint, url: str, body: bytes = b"", method: str = "") -> HTTPRequest:
    """Return a request with a dialect's own headers, by default a GET, or a POST if there is a body."""
    request = dialect.http_request(_NO_REQUEST, endpoint, body)
    request.url, request.method = url, method or ("POST" if body else "GET")
    return request


def is_at(endpoint: Endpoint, host: str) -> bool:
    """Return whether an endpoint is at that host."""
    return urlsplit(endpoint.url).hostname == host


def chat_url(dialect: Dialect, endpoint: Endpoint) -> str:
    """Return the URL to which a dialect sends chat requests."""
    return dialect.http_request(_NO_REQUEST, endpoint, b"").url
