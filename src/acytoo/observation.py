"""What one request to an endpoint took and gave, for whoever has to account for it.

The client and the passage fill it in while they read a reply. Nothing is counted for each chunk: what the reader keeps
anyway is looked at once, at the end. Only of a stream that passes through nobody keeps the text, so its beginning is
kept, and the length of the rest is estimated from that if the server reports no usage.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from acytoo.errors import AcytooError
    from acytoo.types import Finish, Usage

SAMPLE_SIZE = 16 * 1024
"""Bytes of the beginning of a stream from which the length of its text is estimated."""


class Received(msgspec.Struct):
    """What has been received of a reply. `size` is the length of its text, reasoning and calls, in bytes of UTF-8.

    `is_partial`: whether `usage` is what the server reported before the end, so that the output is not all counted.
    """

    usage: Usage | None = None
    finish: Finish | None = None
    size: int = 0
    is_partial: bool = False


_NOTHING = Received()


class Observation:
    """One request to an endpoint. A subclass may refuse it, or act on its end."""

    asks_for_usage: bool = False
    """Whether a stream that passes through is to report its usage, which the caller does not see if it did not ask."""

    # Of objects with slots, each attribute is found at once, also one that still has its first value.
    __slots__ = (
        *("ended_at", "error", "fields", "first_content_at", "has_begun", "is_sent", "names", "outcome", "received"),
        *("started_at", "status"),
    )

    def __init__(self, names: Iterable[str], fields: bytes) -> None:
        self.names = names
        self.fields = fields
        """Further header fields of the request, encoded. They replace those that have one of the names."""
        self.started_at = self.ended_at = time.monotonic()
        self.first_content_at: float | None = None
        self.has_begun = False
        """Whether the request was let through by `begin`."""
        self.is_sent = False
        """Whether the endpoint may have received the request."""
        self.status = 0
        """The status of the response, 0 without one."""
        self.outcome = ""
        """"complete", "cancelled" or "error"; "" before the end."""
        self.error: AcytooError | None = None
        self.received = _NOTHING

    async def begin(self, within: float = math.inf) -> None:
        """Prepare for the request, which is not sent if this raises an AcytooError.

        Raises TimedOutError (phase "deadline") if that takes longer than `within` seconds.
        """

    def note_content(self) -> None:
        """Note the time of the first content."""
        if self.first_content_at is None:
            self.first_content_at = time.monotonic()

    def end(self, outcome: str, received: Received, error: AcytooError | None = None) -> None:
        """Note the end of the reply. Does nothing the second time."""
        if not self.outcome:
            self.ended_at = time.monotonic()
            self.outcome, self.received, self.error = outcome, received, error
