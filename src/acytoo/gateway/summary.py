"""What is known about a request after its response, for everyone who observes requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec

from acytoo.gateway.ledger import Row
from acytoo.types import Finish, Request


class Asked(NamedTuple):
    """The request of one attempt, and why its reply ended: None if there was no end."""

    request: Request
    finish: Finish | None


class Summary(msgspec.Struct):
    """One HTTP request and its response.

    `key`: the name of the caller's key. `path`: the route's template, "" for an unknown path. `model`: the name asked
    for. `status`: 0 if the client left before a status was sent. `started_at`: Unix seconds. `first_content`: seconds
    until the first content was sent, None if there was none. `sent`: bytes. `error`: the class of the error, or "".
    `traceparent`: the header that was passed upstream, "" without tracing. `asked`: the requests of the attempts, by
    their numbers; none without tracing.
    """

    request_id: str
    key: str
    dialect: str
    path: str
    method: str
    model: str
    status: int
    rows: list[Row]
    started_at: float
    seconds: float
    first_content: float | None
    sent: int
    peer: str
    user_agent: str
    error: str
    traceparent: str = ""
    asked: Mapping[int, Asked] = {}


class Consumer(Protocol):
    """Something that is informed of every request."""

    def started(self) -> None:
        """Note that a request has begun to be answered."""

    def ended(self, summary: Summary) -> None:
        """Take what is known about a request after its response."""
