"""A request that the server received: its head at once, its body when it is asked for."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from acytoo.http import ServerRequest

if TYPE_CHECKING:
    from acytoo.server.connection import ServerConnection
    from acytoo.server.control import Call, Caller


class BodyTooLargeError(Exception):
    """A request's body is larger than the limit."""


class BudgetError(Exception):
    """All bodies that are arriving take too much memory together."""


class Budget:
    """The bytes that bodies may take together while they arrive.

    With `drops_oldest`, a body that does not fit replaces those that have been arriving for longest.
    """

    __slots__ = ("_drops_oldest", "arriving", "size", "used")

    def __init__(self, size: int, *, drops_oldest: bool = False) -> None:
        self.size = size
        self.used = 0
        self._drops_oldest = drops_oldest
        self.arriving: dict[IncomingRequest, None] = {}
        """The requests whose bodies have something of it, in their order."""

    def has_room(self, size: int, request: IncomingRequest) -> bool:
        """Return whether so many more bytes of a request's body fit, after dropping others if that is allowed."""
        while self.used + size > self.size:
            others = (other for other in self.arriving if other is not request and not other.is_complete)
            oldest = next(others, None) if self._drops_oldest else None
            if oldest is None:
                return False
            oldest.release()
            oldest.connection.drop_body(oldest, BudgetError())
        return True


class IncomingRequest:
    """A request on a connection. Header names are in lower case; `model` is the variable part of its route."""

    __slots__ = (
        "_budget", "_query_string", "_taken", "call", "caller", "can_continue", "connection", "headers", "host",
        "is_complete", "keep_alive", "limit", "method", "model", "path", "pieces", "raw_path", "size", "status",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        connection: ServerConnection,
        method: str,
        target: str,
        version: str,
        headers: dict[str, str],
        keep_alive: bool,
    ) -> None:
        self.connection = connection
        self.method = method
        self.version = version
        self.headers = headers
        self.keep_alive = keep_alive
        """Whether the client allows another request on the connection."""
        self.host = headers.get("host", "")
        if target[0] != "/" and "://" in target:  # with scheme and host, as proxies receive it
            self.host, slash, rest = target.partition("://")[2].partition("/")
            target = slash + rest or "/"
        self.raw_path, _, self._query_string = target.partition("?")
        self.path = unquote(self.raw_path) if "%" in self.raw_path else self.raw_path
        self.model = ""
        self.limit: int | None = None
        """Bytes that the body may have, None until it is asked for."""
        self.pieces: list[bytes] = []
        self.size = self._taken = 0
        self._budget: Budget | None = None
        self.is_complete = False
        """Whether the body has been received."""
        self.caller: Caller | None = None
        """Who sent it, None until that is known."""
        self.call: Call | None = None
        """What follows it, None if nothing does."""
        self.status = 0
        """The status that was sent, 0 before."""
        self.can_continue = False
        """Whether the response ended so that another may follow it."""

    @property
    def query(self) -> dict[str, str]:
        """The fields of the query; of several with one name, the first."""
        return _parse_query(self._query_string) if self._query_string else {}

    def received(self, body: bytes = b"") -> ServerRequest:
        """Return the request as data, for the dialects."""
        return ServerRequest(self.path, self.headers, body, self.query)

    async def body(self, limit: int, timeout: float, budget: Budget) -> bytes:
        """Return the complete body, which may take `timeout` seconds to arrive. The client may wait for this call.

        Until `release` is called it counts against the budget, unless it has arrived already. Raises BodyTooLargeError,
        BudgetError, TimeoutError, and HTTPError if its framing is broken.
        """
        if not self.is_complete:
            self._budget = budget
            budget.arriving[self] = None
            await self.connection.receive_body(self, limit, timeout)
        elif self.size > limit:
            raise BodyTooLargeError
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)

    def take(self, size: int) -> bool:
        """Count bytes of the body against the budget. Return whether they fit in it."""
        budget = self._budget
        if budget is None or not budget.has_room(size, self):
            return False
        budget.used += size
        self._taken += size
        return True

    def release(self) -> None:
        """Return what the body has taken of the budget."""
        if self._budget is not None:
            self._budget.used -= self._taken
            self._budget.arriving.pop(self, None)
            self._budget = None


@functools.lru_cache(maxsize=16)
def _parse_query(query: str) -> dict[str, str]:
    return dict(reversed(parse_qsl(query, keep_blank_values=True)))
