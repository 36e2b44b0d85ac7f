"""Settings: one code path for constructor arguments and for the overrides of a call; URL schemes of our own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from acytoo.errors import UsageError
from acytoo.http import Endpoint
from acytoo.secret import Secret
from acytoo.transport.config import Connection, Proxy, Timeout, check_http_url

if TYPE_CHECKING:
    import ssl
    from pathlib import Path


class SettingArguments(TypedDict, total=False):
    """The settings a provider can be created with, and a call can override, beside `url`.

    A new setting is a line here and its use in `Settings.changed`. `base_url` and `api_key` are other names for `url`
    and `key`.
    """

    base_url: str | None
    key: str | Secret | None
    api_key: str | Secret | None
    password: str | Secret | None
    proxy: str | None
    timeout: Timeout | Mapping[str, float | None] | float | None
    ca: str | Path | ssl.SSLContext | None
    trust_env: bool
    extra_headers: Mapping[str, str] | None
    drop_unsupported: bool
    max_reply: int


NAMES = frozenset({"url", *SettingArguments.__annotations__})
"""The names of all settings."""


MAX_REPLY = 64 * 1024 * 1024
"""The bytes that are kept of one reply by default. The longest replies of models have about 1 MiB of text."""


class Settings(msgspec.Struct, frozen=True):
    """The validated settings of a provider, or of one call."""

    endpoint: Endpoint = Endpoint("")
    connection: Connection = Connection()
    extra_headers: dict[str, str] = {}
    drop_unsupported: bool = False
    max_reply: int = MAX_REPLY

    def changed(self, changes: Mapping[str, Any], normalize_url: Callable[[str], str]) -> Settings:
        """Return the settings with those of `NAMES` that are in `changes`.

        An empty URL, key or password changes nothing; `extra_headers` are added. Raises UsageError for an invalid one.
        """
        plain = {name: changes[name] for name in ("trust_env", "ca") if name in changes}
        if "timeout" in changes:
            plain["timeout"] = Timeout.of(changes["timeout"])
        if "proxy" in changes:
            plain["proxy"] = Proxy.of(changes["proxy"])
        url = as_text(changes.get("url") or changes.get("base_url"), "url")
        return Settings(
            Endpoint(
                normalize_url(url or self.endpoint.url),
                as_secret(changes.get("key") or changes.get("api_key") or self.endpoint.key, "key"),
                as_secret(changes.get("password") or self.endpoint.password, "password"),
            ),
            # Not `structs.replace`, which in msgspec before 0.21 skips the validation.
            Connection(**{**msgspec.structs.asdict(self.connection), **plain}),
            {**self.extra_headers, **as_headers(changes.get("extra_headers"))},
            changes.get("drop_unsupported", self.drop_unsupported),
            as_size(changes.get("max_reply", self.max_reply), "max_reply"),
        )


# Checks of single arguments, before anything is sent.


def as_size(value: object, name: str) -> int:
    """Return a number of bytes. Raises UsageError for anything else."""
    if type(value) is not int or value <= 0:
        raise UsageError(f"invalid {name} {value!r}: expected a number of bytes, such as {MAX_REPLY}")
    return value


def as_text(value: object, name: str) -> str:
    """Return a str as it is, and "" for None. Raises UsageError for anything else."""
    if value is None or isinstance(value, str):
        return value or ""
    raise UsageError(f"{name} must be a str, not {type(value).__name__}")


def as_secret(value: object, name: str) -> Secret:
    """Return a key or password. Raises UsageError, which does not show it, for anything but a str or a Secret."""
    return value if isinstance(value, Secret) else Secret(as_text(value, name))


def as_headers(value: object) -> dict[str, str]:
    """Return headers with their names in lower case. Raises UsageError for anything that cannot be sent."""
    headers = _as_fields(value, "extra_headers")
    for name, header in headers.items():
        if not isinstance(header, str):
            raise UsageError(f"extra_headers[{name!r}] must be a str, not {type(header).__name__}")
        if name.lower() in _FRAMING:
            raise UsageError(f"extra_headers must not set {name!r}: it is computed from the body")
    return {name.lower(): header for name, header in headers.items()}


_FRAMING = frozenset({"content-length", "transfer-encoding"})


def as_body_fields(value: object) -> dict[str, Any]:
    """Return the fields that the caller adds to the request's body. Raises UsageError for an argument's own field."""
    fields = _as_fields(value, "extra_body")
    for name in ("model", "messages"):
        if name in fields:
            raise UsageError(f"extra_body has {name!r}: pass {name}=… instead")
    return fields


def _as_fields(value: object, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"{name} must be a dict whose keys are str, like {{'name': …}}")
    return dict(value)


def check_url(url: str) -> str:
    """Return the normalized form of an HTTP URL, and a URL with a scheme of ours as it is. Raises UsageError."""
    return url if scheme_of(url) is not None else check_http_url(url)


# URL schemes of ours: `embedded://` starts a server in this process.

OpenEndpoint = Callable[[Endpoint], Awaitable[Endpoint]]
"""Takes the endpoint with such a URL and returns the HTTP endpoint behind it, which it starts if necessary."""

SCHEMES: dict[str, OpenEndpoint] = {}
"""The registered schemes; `_scheme` adds those of other packages."""

SCHEME_GROUP = "acytoo.schemes"
"""The entry point group in which packages offer a scheme."""


def register_scheme(name: str, open_endpoint: OpenEndpoint) -> None:
    """Let every provider accept URLs with a scheme; `open_endpoint` is called by the first step of each reply."""
    SCHEMES[name] = open_endpoint


def scheme_of(url: str) -> str | None:
    """Return the scheme of a URL that has to be resolved, or None for any other URL."""
    scheme, mark, _ = url.partition("://")
    if not mark or scheme.lower() in ("http", "https"):
        return None
    return scheme if scheme in SCHEMES or _load_scheme(scheme) else None


async def resolve(endpoint: Endpoint) -> Endpoint:
    """Return the HTTP endpoint behind a URL for which `scheme_of` is not None. Raises as its opener does."""
    scheme = scheme_of(endpoint.url)
    assert scheme is not None
    return await SCHEMES[scheme](endpoint)


def _load_scheme(name: str) -> bool:
    """Register the scheme if an installed package offers it. Raises UsageError if that package is broken.

    This reads the metadata of every installed package, which is slow, so it is done only for a URL that is neither
    HTTP's nor registered.
    """
    from importlib.metadata import entry_points

    for entry in entry_points(group=SCHEME_GROUP, name=name):
        try:
            register_scheme(name, entry.load())
        except Exception as error:
            raise UsageError(
                f"the entry point {entry.value} for {name}:// URLs cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        return True
    return False
