"""Settings: one code path for constructor arguments and for the overrides of a call; URL schemes of our own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import msgspec

from acytoo.errors import UsageError
from acytoo.http import Endpoint
from acytoo.http1.head import encode_fields
from acytoo.secret import Secret, split_secrets
from acytoo.transport.address import UNIX_SCHEME
from acytoo.transport.config import Connection, Proxy, Timeout, check_http_url

if TYPE_CHECKING:
    import ssl
    from pathlib import Path


T = TypeVar("T")


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
    extra_headers: dict[str, Secret] = {}
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
            plain["proxy"] = without_frames(_proxy_of, changes["proxy"])
        endpoint = self.endpoint
        key = as_secret(changes.get("key") or changes.get("api_key") or endpoint.key, "key")
        password = as_secret(changes.get("password") or endpoint.password, "password")
        url = as_secret(changes.get("url") or changes.get("base_url") or "", "url")
        place, user, query = without_frames(_split_url, url or Secret(endpoint.url), normalize_url)
        if not url:
            user, query = user or endpoint.user, query or endpoint.query
        return Settings(
            Endpoint(place, key, password, user=user, query=query),
            # Not `structs.replace`, which in msgspec before 0.21 skips the validation.
            Connection(**{**msgspec.structs.asdict(self.connection), **plain}),
            {**self.extra_headers, **without_frames(as_headers, changes.get("extra_headers"))},
            changes.get("drop_unsupported", self.drop_unsupported),
            as_size(changes.get("max_reply", self.max_reply), "max_reply"),
        )


def _split_url(url: Secret, normalize_url: Callable[[str], str]) -> tuple[str, Secret, Secret]:
    """Return the normalized URL without its secret parts, its user and its query."""
    normalized = normalize_url(url.reveal())
    if normalized.partition("://")[0] in ("http", "https", UNIX_SCHEME):
        return split_secrets(normalized)
    return normalized, Secret(), Secret()


def _proxy_of(value: str | Secret | Proxy) -> Proxy:
    return Proxy.of(value.reveal() if isinstance(value, Secret) else value)


def without_frames(function: Callable[..., T], *arguments: object) -> T:
    """Call a function, and drop its frames from the traceback of a UsageError: their variables may hold secrets.

    Error reporters print the variables of every frame.
    """
    try:
        return function(*arguments)
    except UsageError as error:
        problem = error
    del arguments
    problem.__context__ = None
    raise problem.with_traceback(None) from None


def hidden(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are not None, those that may hold a secret as Secrets."""
    changes = {name: value for name, value in settings.items() if value is not None}
    for name in _MAY_BE_SECRET & changes.keys():
        if isinstance(changes[name], str):
            changes[name] = Secret(changes[name])
    headers = changes.get("extra_headers")
    if isinstance(headers, Mapping):
        changes["extra_headers"] = {
            name: Secret(value) if isinstance(value, str) else value for name, value in headers.items()
        }
    return changes


_MAY_BE_SECRET = frozenset({"url", "base_url", "key", "api_key", "password", "proxy"})

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


def as_headers(value: object) -> dict[str, Secret]:
    """Return headers with names in lower case and secret values. Raises UsageError for what cannot be sent."""
    headers = _as_fields(value, "extra_headers")
    for name, header in headers.items():
        if not isinstance(header, (str, Secret)):
            raise UsageError(f"extra_headers[{name!r}] must be a str, not {type(header).__name__}")
        if name.lower() in _FRAMING:
            raise UsageError(f"extra_headers must not set {name!r}: it is computed from the body")
    secrets = {name.lower(): Secret(header) for name, header in headers.items()}
    try:
        encode_fields({name: secret.reveal() for name, secret in secrets.items()})
    except ValueError as error:
        raise UsageError(f"extra_headers cannot be sent: {error}") from None
    return secrets


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
    """Return the normalized form of an HTTP URL, and of one with a scheme of ours. Raises UsageError."""
    scheme = scheme_of(url)
    return scheme + url[len(scheme) :] if scheme is not None else check_http_url(url)


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
    """Return the scheme of a URL that has to be resolved, in lower case, or None for any other URL."""
    scheme, mark, _ = url.partition("://")
    scheme = scheme.lower()
    if not mark or scheme in ("http", "https"):
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
