"""A server's control with keys, limits and a ledger."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence

from acytoo.errors import AuthenticationError
from acytoo.gateway.cache import MemoryCache
from acytoo.gateway.call import ADMIN, GatewayCall
from acytoo.gateway.counters import Counters
from acytoo.gateway.keys import Key, hash_secret
from acytoo.gateway.ledger import Ledger
from acytoo.gateway.refusals import Refusals
from acytoo.gateway.setup import Setup
from acytoo.gateway.shared_replies import SharedReplies
from acytoo.gateway.summary import Consumer
from acytoo.gateway.tracing import Tracing
from acytoo.secret import Secret
from acytoo.server.auth import is_among
from acytoo.server.control import Caller, Control
from acytoo.server.request import IncomingRequest
from acytoo.server.router import PathRoute


class GatewayControl(Control):
    """The control of a server with a config file."""

    def __init__(
        self,
        setup: Setup,
        counters: Counters,
        ledger: Ledger,
        consumers: Sequence[Consumer] = (),
        tracing: Tracing | None = None,
        replies: SharedReplies | None = None,
    ) -> None:
        self.setup = setup
        self.counters = counters
        self.ledger = ledger
        self.replies = replies or SharedReplies(MemoryCache())
        self.refusals = Refusals()
        self.consumers = [*consumers, *([tracing] if tracing is not None else [])]
        self.tracing = tracing
        self._routes: list[PathRoute] = []
        self._stand_ins: dict[str, Secret] = {}
        self._names: dict[str, str] = {}
        """Which key the hash of a stand-in is for."""

    def find(self, presented: Sequence[Secret]) -> Caller | None:
        """Return the key that is presented. Raises AuthenticationError for one that has expired or is disabled."""
        key = self.setup.keys.find(presented) or self._key_of_stand_in(presented)
        if key is None:
            return ADMIN if is_among(self.setup.admin_key, presented) else None
        if key.expires is not None and key.is_expired(time.time()):
            message = f"the key {key.name!r} expired at the end of {key.expires}: ask for a new one"
            raise AuthenticationError(message, status=401, code="authentication_error")
        if key.is_disabled:
            message = f"the key {key.name!r} is disabled: ask those who run this server"
            raise AuthenticationError(message, status=401, code="authentication_error")
        return key

    def stand_in(self, name: str) -> Secret | None:
        """Return a secret that stands for a key in this process, for what the server does in its name.

        None if there is no such key any more; with the name "", an empty one if there are no keys at all.
        """
        if not name and not self.setup.keys:
            return Secret()
        if all(key.name != name for key in self.setup.keys):
            return None
        secret = self._stand_ins.setdefault(name, Secret(secrets.token_urlsafe(32)))
        self._names[hash_secret(secret.reveal())] = name
        return secret

    def _key_of_stand_in(self, presented: Sequence[Secret]) -> Key | None:
        if not self._names:
            return None
        names = {self._names.get(hash_secret(secret.reveal())) for secret in presented} - {None}
        return next((key for key in self.setup.keys if key.name in names), None)

    def begin(self, request: IncomingRequest) -> GatewayCall:
        """Return what follows a request."""
        for consumer in self.consumers:
            consumer.started()
        return GatewayCall(self, request)

    def add_routes(self, routes: Iterable[PathRoute]) -> None:
        """Add paths that the server answers, before it starts."""
        self._routes += routes

    def routes(self) -> Iterator[PathRoute]:
        """Yield the gateway's own paths."""
        yield from self._routes
