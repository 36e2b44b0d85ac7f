"""What a provider is configured with, and how a call changes that for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from acytoo import arguments
from acytoo.endpoints import scheme_of
from acytoo.http import Endpoint
from acytoo.transport.config import Connection, Proxy, Timeout, checked_url

NAMES = frozenset(
    {
        "url",
        "base_url",
        "key",
        "api_key",
        "password",
        "proxy",
        "timeout",
        "ca",
        "trust_env",
        "session",
        "extra_headers",
        "drop_unsupported",
    }
)
"""What a call may change."""


class Settings(msgspec.Struct, frozen=True):
    """What a provider instance is configured with, everything checked."""

    endpoint: Endpoint
    connection: Connection
    extra_headers: dict[str, str] = {}
    drop_unsupported: bool = False

    def changed(self, changes: dict[str, Any], full_url: Callable[[str], str]) -> Settings:
        """The settings with some of `NAMES` changed; `full_url` adds what users of the API leave out of a URL.

        Raises UsageError for anything malformed.
        """
        if not changes:
            return self
        endpoint, connection = self.endpoint, self.connection
        if "timeout" in changes:
            connection = msgspec.structs.replace(connection, timeout=Timeout.of(changes["timeout"]))
        if "proxy" in changes:
            connection = msgspec.structs.replace(connection, proxy=Proxy.of(changes["proxy"]))
        plain = {name: changes[name] for name in ("trust_env", "ca", "session") if name in changes}
        connection = msgspec.structs.replace(connection, **plain)
        url = full_url(arguments.text(changes.get("url") or changes.get("base_url"), "url") or endpoint.url)
        return Settings(
            Endpoint(
                check_url(url),
                arguments.secret(changes.get("key") or changes.get("api_key") or endpoint.key, "key"),
                arguments.secret(changes.get("password") or endpoint.password, "password"),
            ),
            connection,
            {**self.extra_headers, **arguments.headers(changes.get("extra_headers"))},
            changes.get("drop_unsupported", self.drop_unsupported),
        )


def check_url(url: str) -> str:
    """The URL in its plain form, where it is HTTP's or has a scheme of our own. Raises UsageError."""
    return url if scheme_of(url) is not None else checked_url(url)
