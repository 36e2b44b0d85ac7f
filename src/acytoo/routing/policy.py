"""What an error means for a route: ask the same target again, another one, or nobody."""

from __future__ import annotations

from typing import Literal, TypeAlias

from acytoo.dialects.error_bodies import CONTEXT_LENGTH_CODES
from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    EmbeddedError,
    MissingExtraError,
    NotFoundError,
    ProtocolError,
    ProxyError,
    RateLimitError,
    RedirectError,
    RequestError,
    ServerError,
    StatusError,
    TLSError,
    UnsupportedError,
    UsageError,
)


class BusyError(ServerError):
    """A request for which there is no room in a queue of this process."""

    is_local = True

    def __init__(self, names: str) -> None:
        super().__init__(f"too many requests are waiting for {names}: try again later", status=503, retry_after=1.0)


Verdict: TypeAlias = Literal["retry", "next", "raise"]

ErrorClasses: TypeAlias = tuple[type[AcytooError], ...]

DEFAULT_NEXT: ErrorClasses = (AuthenticationError, NotFoundError)
"""What may differ between targets by default: a key, and whether there is such a model."""

_ALWAYS_NEXT: ErrorClasses = (
    UnsupportedError,
    TLSError,
    ProxyError,
    RedirectError,
    ProtocolError,
    EmbeddedError,
    MissingExtraError,
)
"""What only another target can change: this one is set up wrongly, or cannot take this request."""

_NOT_SENT: ErrorClasses = (UsageError, MissingExtraError)
"""Errors that are raised before anything is sent, so that they show nothing about the target."""

_NOT_THE_TARGET: ErrorClasses = (RequestError, NotFoundError)
"""Answers that show that a target works. A model that is not found may have been the client's choice."""


LONGEST_REQUESTED_PAUSE = 3600.0
"""The most seconds for which a server can ask. Some send a point in time, such as 1700000000, instead of seconds."""


def verdict(error: AcytooError, next_on: ErrorClasses) -> Verdict:
    """Return what a route does after an error that was raised before the first content."""
    if isinstance(error, StatusError):
        if not CONTEXT_LENGTH_CODES.isdisjoint((error.code, error.type)):
            return "next"
        if not error.retryable and (error.is_local or isinstance(error, (RateLimitError, ServerError))):
            return "next"  # another target may be different
    if isinstance(error, _ALWAYS_NEXT + next_on):
        return "next"
    return "retry" if error.retryable else "raise"


def is_failure_of_target(error: AcytooError) -> bool | None:
    """Return whether an error counts against the health of the target, None if it shows nothing about that."""
    if isinstance(error, _NOT_SENT) or (isinstance(error, StatusError) and error.is_local):
        return None
    return error.retryable or not isinstance(error, (*_NOT_THE_TARGET, RateLimitError))


def wait_of(error: AcytooError) -> float | None:
    """Return for how many seconds the target asks not to be called, None if it does not."""
    return error.retry_after if isinstance(error, StatusError) else None
