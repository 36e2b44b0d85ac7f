"""Where a request goes: the parts of its URL, as sockets, TLS and HTTP need them."""

from __future__ import annotations

import functools
from urllib.parse import quote, unquote, urlsplit

import msgspec

from acytoo.errors import UsageError
from acytoo.http import bracketed
from acytoo.secret import mask_url

UNIX_SCHEME = "http+unix"
"""`http+unix://%2Frun%2Fchat.sock/v1`: HTTP over a Unix socket, whose path is the percent-encoded host."""

_DEFAULT_PORTS = {"http": 80, "https": 443, UNIX_SCHEME: 80}

UNRESERVED = "%/:=&?~#+!$,;'@()*[]|"
"""What the target of a request keeps as it is, beside letters, digits and `-._`."""


class Address(msgspec.Struct, frozen=True):
    """The parts of a URL. `host` and `port` are connected to, `authority` is the `host` header.

    `target` is the request's path and query. Credentials in the URL are left out: `client` sends those of an endpoint
    as a header, and those of a redirect are a server's, not the caller's.
    """

    scheme: str
    host: str
    port: int
    authority: str
    target: str

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "https"

    @property
    def origin(self) -> str:
        """The scheme, host and port, as messages show them."""
        return f"{self.scheme}://{self.host_and_port}" if self.port else f"{self.scheme}://{self.host}"

    @property
    def host_and_port(self) -> str:
        """The host and the port, also if that is the scheme's own."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def unix_path(self) -> str | None:
        """The path of the Unix socket, None for a network address."""
        return self.host if self.scheme == UNIX_SCHEME else None

    def __repr__(self) -> str:
        return f"Address({self.scheme}://{self.authority})"


@functools.lru_cache(maxsize=256)
def address_of(url: str) -> Address:
    """Return the parts of a URL. Raises UsageError if its host is not a name, ValueError if its port is no number."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    target = quote(parts.path or "/", safe=UNRESERVED) + (
        f"?{quote(parts.query, safe=UNRESERVED)}" if parts.query else ""
    )
    if parts.scheme == UNIX_SCHEME:
        return Address(parts.scheme, unquote(parts.netloc.rpartition("@")[2]), 0, "localhost", target)
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError as error:
            raise UsageError(f"invalid URL {mask_url(url)!r}: its host is not a valid name") from error
    default = _DEFAULT_PORTS.get(parts.scheme, 0)
    port = parts.port or default
    authority = bracketed(host) if port == default else f"{bracketed(host)}:{port}"
    return Address(parts.scheme, host, port, authority, target)
