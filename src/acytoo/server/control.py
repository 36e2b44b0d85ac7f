"""Who may call a server, and what it counts: the part that a team's gateway replaces.

A server asks its control who presents a secret and lets it follow each request. This one knows nobody and counts
nothing: the server's password alone decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from acytoo.dialects.base import Dialect, ParsedRequest
from acytoo.secret import Secret
from acytoo.server.router import PathRoute

if TYPE_CHECKING:
    from acytoo.base_provider import AsyncGeneratorProvider
    from acytoo.observation import Observation
    from acytoo.server.request import IncomingRequest
    from acytoo.types import Request


class Caller(msgspec.Struct, frozen=True):
    """Whoever sent a request. `max_body` is how many bytes its bodies may have, None for the server's own limit."""

    name: str = ""
    max_body: int | None = None

    def allows(self, model: str) -> bool:
        """Return whether the caller may ask for the model of that name."""
        return True


ANYONE = Caller()
"""A caller with the server's password, or of a server that needs none."""


class Call:
    """One request to a server, from its head to the end of the response."""

    headers: dict[str, str]
    """Further headers of the response."""

    async def admit(self, parsed: ParsedRequest, dialect: Dialect, size: int) -> None:
        """Begin a chat request whose body has `size` bytes. Raises AcytooError if the caller may not send it."""
        raise NotImplementedError

    def observe(self, backend: AsyncGeneratorProvider, wanted: Request) -> Observation:
        """Return what is filled in while a backend answers."""
        raise NotImplementedError

    def end(self, status: int, error: BaseException | None) -> None:
        """Note the end of the response, status 0 if there was none."""
        raise NotImplementedError


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
