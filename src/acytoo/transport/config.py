"""Connection settings: timeouts, proxy, TLS. They are validated before anything is sent."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from acytoo.errors import UsageError
from acytoo.http import bracketed
from acytoo.secret import Secret, basic, mask_url, split_url
from acytoo.transport.address import UNIX_SCHEME

if TYPE_CHECKING:
    import ssl


class Timeout(msgspec.Struct, frozen=True):
    """Timeouts in seconds; None means no limit.

    `connect`: until the connection is established. `first_byte`: from then until the reply begins. `idle`: between two
    pieces of it, only while we wait for one. `total`: the complete call, by default unlimited.

    Only content counts: comments, blank lines and events that servers send to keep a connection open do not. The
    defaults allow for models that reason for minutes without a word; the kernel's keep-alive finds a dead peer.
    """

    connect: float | None = 10.0
    first_byte: float | None = 600.0
    idle: float | None = 300.0
    total: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            _check_seconds(getattr(self, name), name)

    @classmethod
    def of(cls, value: Timeout | Mapping[str, float | None] | float | None) -> Timeout:
        """Return the timeouts for a setting. One number sets connect, first byte and idle; a mapping sets some."""
        if value is None:
            return cls()
        if isinstance(value, Timeout):
            return value
        if isinstance(value, Mapping):
            for name in value:
                if name not in cls.__struct_fields__:
                    raise UsageError(f"unknown timeout {name!r}: expected {', '.join(cls.__struct_fields__)}")
            return cls(**value)
        _check_seconds(value, "timeout")
        return cls(connect=value, first_byte=value, idle=value)


_LONGEST = 1e9
"""Seconds, about 30 years; event loops cannot wait much longer."""


def _check_seconds(value: Any, name: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LONGEST:
        raise UsageError(f"invalid {name}: expected a number of seconds above 0, or None for no limit")


class Proxy(msgspec.Struct, frozen=True):
    """A proxy. `url` contains no credentials, so that it can appear in messages."""

    url: str
    user: Secret = Secret()
    password: Secret = Secret()

    @property
    def is_socks(self) -> bool:
        """Whether this is a SOCKS proxy, not an HTTP proxy."""
        return self.url.startswith("socks")

    @property
    def secrets(self) -> list[Secret]:
        """The password, and the credentials as they are encoded in a header."""
        return [self.password, *basic(self.user.reveal(), self.password.reveal())]

    def __repr__(self) -> str:
        return f"Proxy({self.url!r})"

    @classmethod
    def of(cls, value: str | Proxy) -> Proxy:
        """Parse a URL like `http://user:password@host:port` or `socks5h://host:port`. Raises UsageError."""
        if isinstance(value, Proxy):
            return value
        parts = split_url(value)
        if parts is None:
            raise UsageError(
                f"invalid proxy: expected a URL like http://host:port or socks5://host:port{escaping_hint(value)}"
            )
        host = parts.hostname
        if parts.scheme not in _PROXY_SCHEMES or not host:
            raise UsageError(
                "invalid proxy: expected a URL like http://host:port or socks5://host:port, "
                f"with one of the schemes {', '.join(_PROXY_SCHEMES)}"
            )
        port = parts.port or (1080 if parts.scheme.startswith("socks") else 443 if parts.scheme == "https" else 80)
        return cls(
            urlunsplit((parts.scheme, f"{bracketed(host)}:{port}", "", "", "")),
            Secret(unquote(parts.username or "")),
            Secret(unquote(parts.password or "")),
        )


_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


class Connection(msgspec.Struct, frozen=True):
    """The connection settings of one call. `ca` is a file or folder of trusted certificates, or an SSLContext."""

    timeout: Timeout = Timeout()
    proxy: Proxy | None = None
    trust_env: bool = False
    ca: str | os.PathLike[str] | ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        if self.ca is not None:
            _check_ca(self.ca)

    def proxy_for(self, url: str) -> Proxy | None:
        """Return the proxy for a URL: the configured one, else the environment's if `trust_env` is set."""
        if self.proxy is not None or not self.trust_env:
            return self.proxy
        from urllib.request import getproxies, proxy_bypass

        parts = urlsplit(url)
        if parts.hostname is None or proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        proxies = getproxies()
        value = proxies.get(parts.scheme) or proxies.get("all")
        return Proxy.of(value if "://" in value else f"http://{value}") if value else None

    def tls(self) -> ssl.SSLContext:
        """Return the context for TLS connections; it verifies certificates unless the caller's own does not."""
        if self.ca is None:
            return default_context()
        return _context(str(self.ca)) if isinstance(self.ca, (str, os.PathLike)) else self.ca


def _check_ca(ca: Any) -> None:
    import ssl

    if isinstance(ca, (str, os.PathLike)):
        _context(str(ca))
    elif not isinstance(ca, ssl.SSLContext):
        raise UsageError(f"invalid ca: expected a file, a folder or an ssl.SSLContext, not {type(ca).__name__}")


@functools.lru_cache(maxsize=16)
def _context(path: str) -> ssl.SSLContext:
    import ssl
    from pathlib import Path

    location = Path(path).expanduser()
    try:
        if location.is_dir():
            context = ssl.create_default_context(capath=str(location))
        else:
            context = ssl.create_default_context(cafile=str(location))
    except (OSError, ValueError) as error:  # a ValueError is about a path with NUL or a lone surrogate
        raise UsageError(f"ca: cannot read certificates from {path!r}: {error}") from error
    context.set_alpn_protocols(_ALPN)
    return context


@functools.cache
def default_context() -> ssl.SSLContext:
    """Return the context that trusts this system's authorities. Loading them takes tens of milliseconds."""
    import ssl

    context = ssl.create_default_context()
    context.set_alpn_protocols(_ALPN)
    return context


_ALPN = ["http/1.1"]


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def check_http_url(url: str) -> str:
    """Return a normalized http or https URL. Raises UsageError."""
    if not url or not url.strip():
        raise UsageError("the URL is empty: expected one like https://host/…")
    url = url.strip()
    shown = mask_url(url)
    parts = split_url(url)
    if parts is None:
        raise UsageError(f"invalid URL {shown!r}: bad host or port{escaping_hint(url)}")
    if parts.scheme not in ("http", "https", UNIX_SCHEME):
        if "://" not in url:
            raise UsageError(f"invalid URL {shown!r}: no scheme, did you mean http://{shown} or https://{shown}?")
        raise UsageError(
            f"invalid URL {shown!r}: unknown scheme {parts.scheme!r}, expected http, https, http+unix or embedded"
        )
    if not parts.hostname:
        raise UsageError(f"invalid URL {shown!r}: no host")
    if _LONE_SURROGATE.search(url):
        raise UsageError(f"invalid URL {shown!r}: it has a lone surrogate, which cannot be encoded")
    return parts.scheme + url.partition("#")[0][len(parts.scheme) :]


def escaping_hint(url: Any) -> str:
    """Return a hint if it is probably the password that makes a URL invalid."""
    return " (in a password, write %23, %2F and %3F for #, / and ?)" if isinstance(url, str) and "@" in url else ""
