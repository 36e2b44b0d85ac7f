"""A server's configuration."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TypeAlias

import msgspec

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.dialects.base import Dialect
from acytoo.errors import UsageError
from acytoo.secret import Secret
from acytoo.settings import MAX_REPLY

Backends: TypeAlias = Mapping[str, AsyncGeneratorProvider]
"""Providers by the names that select them; the first is the default."""


class ServerConfig(msgspec.Struct, frozen=True):
    """What a server serves and its limits; times are in seconds, sizes in bytes.

    `max_body`: how large a request body may be, also after decompression.
    `max_bodies`: how much the bodies that are arriving may take together; a further one gets status 503.
    `first_ping_after`: silence after which a stream's head and a keep-alive are sent; a later error keeps no status.
    `max_reply`: how much of a reply is kept, if it is not streamed; a larger one is an error.
    `ping_after`: silence in a stream after which a keep-alive is sent.
    `shutdown_delay`: how long requests are answered as usual after the server was asked to stop, except for health
    checks: time for load balancers to notice.
    `grace`: how long running replies may take to finish after that.
    `idle`: how long a new or kept-alive connection may take to send a complete request head.
    `receive`: how long a request body may take to arrive.
    `unread`: how long a client may leave sent data unread before its connection is closed.
    `max_connections`: how many connections may be open; a further one gets status 503.
    `drop_unsupported`: leave out what the backend's API cannot express instead of rejecting it.
    `has_keys`: whether callers have keys of their own, so that nobody is admitted without one or the password.
    `dialects`: the chat APIs to serve; the first that has a path answers it if the client cannot be identified.
    """

    backends: Backends
    password: Secret = Secret()
    host: str = "127.0.0.1"
    port: int = 8000
    max_body: int = 32 * 1024 * 1024
    max_bodies: int = 512 * 1024 * 1024
    first_ping_after: float = 15.0
    max_reply: int = MAX_REPLY
    ping_after: float = 5.0
    shutdown_delay: float = 0.0
    grace: float = 30.0
    idle: float = 75.0
    receive: float = 120.0
    unread: float = 300.0
    max_connections: int = 10_000
    drop_unsupported: bool = False
    has_keys: bool = False
    dialects: tuple[Dialect, ...] = msgspec.field(default_factory=lambda: dialects.ALL)

    def __post_init__(self) -> None:
        if not self.backends:
            raise UsageError("a server needs at least one backend")
        if not self.grace >= 0:
            raise UsageError(f"invalid grace {self.grace:g}: expected a number of seconds from 0 to inf")
        check_password(self.password)
        if self.is_open and not is_loopback(self.host):
            raise UsageError(
                f"{self.host} can be reached from other machines: set a password "
                "(--password, ACYTOO_SERVE_PASSWORD), or bind to 127.0.0.1"
            )

    @property
    def is_open(self) -> bool:
        """Whether everyone is admitted."""
        return not self.password and not self.has_keys


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that is bound to the host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_password(password: Secret) -> None:
    """Raise UsageError, which does not show it, for a password that HTTP headers do not carry unchanged."""
    text = password.reveal()
    if not text:
        return
    if not text.strip():
        raise UsageError("the password is blank: use one with letters or digits")
    if text != text.strip():
        raise UsageError("the password begins or ends with a blank, which HTTP headers lose: remove it")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise UsageError("the password has a control character or is not valid Unicode: use printable characters")
