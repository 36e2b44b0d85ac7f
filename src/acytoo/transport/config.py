"""How to connect: limits, proxy, TLS, the caller's own session; checked before anything is sent."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from acytoo.errors import UsageError
from acytoo.secret import Secret, basic, mask_url, split_url

if TYPE_CHECKING:
    import ssl

    import aiohttp


class Timeout(msgspec.Struct, frozen=True):
    """Limits in seconds; None is no limit.

    `connect`: until the connection stands. `first_byte`: from then until the reply begins. `idle`: silence between
    two chunks, while we wait for one. `total`: the whole call, unlimited unless asked for.
    """

    connect: float | None = 10.0
    first_byte: float | None = 120.0
    idle: float | None = 60.0
    total: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            _check_seconds(getattr(self, name), name)

    @classmethod
    def of(cls, value: Timeout | Mapping[str, float | None] | float | None) -> Timeout:
        """The limits a user means: one number is for each of connect, first byte and idle; a dict names some."""
        if value is None:
            return cls()
        if isinstance(value, Timeout):
            return value
        if isinstance(value, Mapping):
            for name in value:
                if name not in cls.__struct_fields__:
                    raise UsageError(f"timeout has no limit {name!r}; it has {', '.join(cls.__struct_fields__)}")
            return cls(**value)
        _check_seconds(value, "timeout")
        return cls(connect=value, first_byte=value, idle=value)


_LONGEST = 1e9
"""Seconds, some 30 years: what every event loop can count."""


def _check_seconds(value: Any, name: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LONGEST:
        raise UsageError(f"{name} must be a number of seconds above 0, or None for no limit")


class Proxy(msgspec.Struct, frozen=True):
    """A proxy; `url` has no credentials in it, they are apart so that no message can show them."""

    url: str
    user: str = ""
    password: str = ""

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS, not HTTP."""
        return self.url.startswith("socks")

    @property
    def secrets(self) -> list[Secret]:
        """The password, and the credentials as HTTP has them."""
        return [Secret(self.password), *basic(self.user, self.password)]

    def __repr__(self) -> str:
        return f"Proxy({self.url!r})"

    @classmethod
    def of(cls, value: str | Proxy) -> Proxy:
        """The proxy of a URL like `http://user:password@host:port` or `socks5h://host:port`. Raises UsageError."""
        if isinstance(value, Proxy):
            return value
        parts = split_url(value)
        if parts is None:
            raise UsageError(f"proxy is not a URL like http://host:port or socks5://host:port{escaping(value)}")
        host = parts.hostname
        if parts.scheme not in _PROXY_SCHEMES or not host:
            raise UsageError(
                f"proxy must be a URL like http://host:port or socks5://host:port; "
                f"known are {', '.join(_PROXY_SCHEMES)}"
            )
        port = parts.port or (1080 if parts.scheme.startswith("socks") else 443 if parts.scheme == "https" else 80)
        bare = f"[{host}]" if ":" in host else host
        return cls(
            urlunsplit((parts.scheme, f"{bare}:{port}", "", "", "")),
            unquote(parts.username or ""),
            unquote(parts.password or ""),
        )


_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


class Connection(msgspec.Struct, frozen=True):
    """How one call connects; `ca` is a file or folder of certificates to trust, or a context of the caller's."""

    timeout: Timeout = Timeout()
    proxy: Proxy | None = None
    trust_env: bool = False
    ca: str | Path | ssl.SSLContext | None = None
    session: aiohttp.ClientSession | None = None

    def __post_init__(self) -> None:
        if self.ca is not None:
            _check_ca(self.ca)
        if self.session is not None and not hasattr(self.session, "closed"):
            raise UsageError(f"session must be an aiohttp.ClientSession, not {type(self.session).__name__}")

    def proxy_for(self, url: str) -> Proxy | None:
        """The proxy for this URL: the one given, else the environment's where `trust_env` is set."""
        if self.proxy is not None or not self.trust_env:
            return self.proxy
        from urllib.request import getproxies, proxy_bypass

        parts = urlsplit(url)
        if parts.hostname is None or proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        found = getproxies()
        value = found.get(parts.scheme) or found.get("all")
        return Proxy.of(value if "://" in value else f"http://{value}") if value else None

    def tls(self) -> ssl.SSLContext | bool:
        """What aiohttp takes as `ssl`: True is its own verified context."""
        if self.ca is None:
            return True
        return _context(str(self.ca)) if isinstance(self.ca, (str, Path)) else self.ca


def _check_ca(ca: Any) -> None:
    import ssl

    if isinstance(ca, (str, Path)):
        _context(str(ca))
    elif not isinstance(ca, ssl.SSLContext):
        raise UsageError(f"ca must be a file, a folder or an ssl.SSLContext, not {type(ca).__name__}")


@functools.lru_cache(maxsize=16)
def _context(path: str) -> ssl.SSLContext:
    import ssl

    where = Path(path).expanduser()
    try:
        if where.is_dir():
            return ssl.create_default_context(capath=str(where))
        return ssl.create_default_context(cafile=str(where))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"ca: no certificates could be read from {path}: {error}") from error


def checked_url(url: str) -> str:
    """The URL in its plain form, where it is one we can talk to. Raises UsageError saying what is missing."""
    if not url or not url.strip():
        raise UsageError("url is empty: give one like https://host/…")
    url = url.strip()
    shown = mask_url(url)
    parts = split_url(url)
    if parts is None:
        raise UsageError(f"url {shown!r} is not a URL: its host or its port is none{escaping(url)}")
    if parts.scheme not in ("http", "https"):
        if "://" not in url:
            raise UsageError(f"url {shown!r} has no scheme: did you mean http://{shown} or https://{shown}?")
        raise UsageError(f"url {shown!r} has the scheme {parts.scheme!r}; http, https and embedded are known")
    if not parts.hostname:
        raise UsageError(f"url {shown!r} names no host")
    return parts.scheme + url.partition("#")[0][len(parts.scheme) :]


def escaping(url: Any) -> str:
    """What to do where a URL's password is probably what makes it none."""
    return " (in a password, #, / and ? are written %23, %2F and %3F)" if isinstance(url, str) and "@" in url else ""
