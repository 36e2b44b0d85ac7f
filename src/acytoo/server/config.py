"""What a server is given: its backend, its limits, who may call it."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from ipaddress import ip_address

import msgspec

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.base import Dialect
from acytoo.dialects.fields import invalid
from acytoo.errors import UsageError
from acytoo.secret import Secret


class ServerConfig(msgspec.Struct, frozen=True):
    """`backends` by name, the first is the default; times are in seconds, sizes in bytes.

    `ping_after`: silence after which a stream's head and a keep-alive go out, and again after each such time.
    `grace`: how long running replies may take to finish once the server is told to end.
    `idle`: how long a connection may be open, or kept open, before the head of a request is complete.
    `receive`: how long the body of a request may take to come.
    `dialects`: the chat APIs that are served; the first that has a path answers unmarked clients on it.
    `unread`: how long a client may leave what was sent to it unread before its connection is closed.
    """

    backends: dict[str, AsyncGeneratorProvider]
    password: Secret = Secret()
    host: str = "127.0.0.1"
    port: int = 8000
    max_body: int = 32 * 1024 * 1024
    ping_after: float = 5.0
    grace: float = 30.0
    idle: float = 75.0
    receive: float = 120.0
    unread: float = 300.0
    drop_unsupported: bool = False
    dialects: tuple[Dialect, ...] = msgspec.field(default_factory=lambda: dialects.ALL)

    def __post_init__(self) -> None:
        if not self.backends:
            raise UsageError("a server needs a backend")
        if not self.grace >= 0:
            raise UsageError(f"the grace is a number of seconds from 0 to inf, not {self.grace:g}")
        if not self.password and not is_loopback(self.host):
            raise UsageError(
                f"{self.host} can be reached from outside: give the server a password "
                "(--password, ACYTOO_SERVE_PASSWORD), or bind it to 127.0.0.1"
            )

    def admits(self, secrets: Iterable[Secret]) -> bool:
        """Whether one of the secrets a caller presented is the server's; always where it has none."""
        if not self.password:
            return True
        wanted = self.password.reveal().encode()
        return any(hmac.compare_digest(secret.reveal().encode("utf-8", "replace"), wanted) for secret in secrets)

    def route(self, model: str) -> tuple[str, str]:
        """The name of the backend a model name asks for, and the model's name there ("" is the backend's own).

        `NAME` and `NAME/MODEL` ask for the backend of that name; any other model goes to the default as it is.
        """
        name, _, rest = model.partition("/")
        return (name, rest) if name in self.backends else (next(iter(self.backends)), model)

    def backend_for(self, model: str) -> tuple[AsyncGeneratorProvider, str]:
        """The backend a model name asks for, and the model to ask it for. Raises RequestError where that is missing."""
        name, asked = self.route(model)
        backend = self.backends[name]
        asked = asked or backend.model
        if backend.needs_model and not asked:
            raise invalid(f"the backend {name!r} has no model of its own: ask for {name}/MODEL")
        return backend, asked


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to the host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
