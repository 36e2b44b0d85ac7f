"""Who may call a server, and what it counts: the part that a team's gateway replaces.

A server asks its control who presents a secret and lets it follow each request. This one knows nobody and counts
nothing: the server's password alone decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from acytoo.dialects.base import Dialect, ParsedRequest
from acytoo.secret import Secret
from acytoo.server.router import PathRoute
from acytoo.types import Closable

if TYPE_CHECKING:
    from acytoo.base_provider import AsyncGeneratorProvider
    from acytoo.errors import AcytooError
    from acytoo.observation import Observation
    from acytoo.server.request import IncomingRequest
    from acytoo.types import Request


class Caller(Protocol):
    """Whoever sent a request."""

    @property
    def name(self) -> str:
        """The name in logs."""

    @property
    def max_body(self) -> int | None:
        """How many bytes the caller's request bodies may have, None for the server's own limit."""

    def allows(self, model: str) -> bool:
        """Return whether the caller may ask for the model of that name."""


class _Anyone:
    name = ""
    max_body = None

    def allows(self, model: str) -> bool:
        return True


ANYONE = _Anyone()
"""A caller with the server's password, or of a server that needs none."""


class BackendReply(msgspec.Struct):
    """A backend's reply: bytes of the client's API that pass through, or batches of items."""

    batches: Closable[Any]
    passes_through: bool
    headers: Mapping[str, str]
    """What the response's head says about how the reply was made."""


Ask: TypeAlias = Callable[[], Awaitable[BackendReply]]
"""Asks a backend, and returns its reply when that begins. Raises AcytooError."""


class Call:
    """One request to a server, from its head to the end of the response."""

    __slots__ = ("error", "fields", "route")

    fields: bytes
    """Further header fields of the response, encoded as lines of its head."""
    route: PathRoute | None
    """The route of the request, None until it is found."""
    error: AcytooError | None
    """The error that was reported to the client."""

    async def admit(self, parsed: ParsedRequest, dialect: Dialect, size: int) -> None:
        """Begin a chat request whose body has `size` bytes. Raises AcytooError if the caller may not send it."""

    def observe(self, backend: AsyncGeneratorProvider, wanted: Request) -> Observation | None:
        """Return what is filled in while a backend answers."""
        return None

    def may_share(self, request: Request) -> bool:
        """Return whether several requests like this may have one reply. If so, `share` opens it, as items."""
        return False

    async def share(self, request: Request, ask: Ask) -> BackendReply:
        """Return the reply to the request that a backend gets, from `ask` or from an earlier request like it."""
        return await ask()

    def end(self, error: BaseException | None) -> None:
        """Note the end, after the last byte was written, or with the error that has ended the request before."""


class Control:
    """Who may call a server, and what is counted."""

    def find(self, presented: Sequence[Secret]) -> Caller | None:
        """Return the caller that has one of these secrets. Raises AuthenticationError if it may not call any more."""
        return None

    def begin(self, request: IncomingRequest) -> Call | None:
        """Return what follows a request, None if nothing does."""
        return None

    def routes(self) -> Iterable[PathRoute]:
        """Return further paths that the server answers."""
        return ()
