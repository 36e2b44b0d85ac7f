"""What must be true of a config file beyond the types of its values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from acytoo import errors
from acytoo.errors import AcytooError, UsageError
from acytoo.gateway.secrets import check_reference, check_url, is_reference
from acytoo.gateway.source import nearest, shown
from acytoo.gateway.toml_lines import KeyPath
from acytoo.registry import provider_class
from acytoo.secret import is_secret_name
from acytoo.server.config import is_loopback

if TYPE_CHECKING:
    from acytoo.gateway.config import GatewayConfig, Upstream

_HASH = re.compile("sha256:[0-9a-f]{64}")

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.:-]*", re.ASCII)
"""Models may be named like those of Ollama, `llama3.2:3b`. A `/` would separate the name of an upstream."""

REDIS_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")
_LEDGERS = ("postgresql", "postgres")


def check(config: GatewayConfig) -> None:
    """Raise UsageError for the first thing in the file that cannot work, with its line."""
    for part in (
        _check_server,
        _check_storage,
        _check_log,
        _check_tracing,
        _check_names,
        _check_upstreams,
        _check_models,
        _check_keys,
        _check_prices,
        _check_files,
    ):
        part(config)


def error_class(name: str) -> type[AcytooError] | None:
    """Return the error class with a name, None if there is no such class."""
    value = getattr(errors, name, None)
    return value if isinstance(value, type) and issubclass(value, AcytooError) else None


def check_key_name(name: str) -> None:
    """Raise UsageError for a name that a key cannot have."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"invalid name {name!r}: expected letters, digits and . _ -")


def _error_names() -> list[str]:
    return [name for name in vars(errors) if error_class(name) is not None]


def _check_server(config: GatewayConfig) -> None:
    server = config.server
    if server.admin_key:
        check_reference(server.admin_key, _label(config, ("server", "admin_key")))
    if port := re.fullmatch(r"([^:]+|\[.*\]):(\d+)", server.host):
        message = f'expected a host without its port: write host = "{port[1]}" and port = {port[2]}'
        raise _error(config, ("server", "host"), message)
    if not (is_loopback(server.host) or config.keys):
        raise _error(
            config,
            ("server", "host"),
            f"{server.host} can be reached from other machines: add a key (acytoo keys new NAME), or use 127.0.0.1",
        )
    has_limits = any(table.has_any for table in (*config.keys.values(), *config.upstreams.values()))
    if server.workers > 1 and config.storage.counters == "memory" and has_limits:
        raise _error(
            config,
            ("server", "workers"),
            'several workers can only share limits in Redis: set counters = "redis://…" in [storage], or workers = 1',
        )


def _check_storage(config: GatewayConfig) -> None:
    storage = config.storage
    _check_place(config, ("storage", "counters"), storage.counters, REDIS_SCHEMES, memory=True)
    _check_place(config, ("storage", "ledger"), storage.ledger, _LEDGERS, sqlite=True, none=True)
    _check_place(config, ("storage", "cache"), storage.cache, REDIS_SCHEMES, memory=True, sqlite=True)


def _check_place(config: GatewayConfig, path: KeyPath, value: str, schemes: tuple[str, ...], **also: bool) -> None:
    """Check what is `memory`, `none`, `sqlite:PATH`, a URL or a reference to one."""
    kind, _, rest = value.partition(":")
    if kind in also and bool(rest) is (kind == "sqlite"):
        return
    if not (is_reference(value) or value.partition("://")[0] in schemes):
        forms = [f"{name}:PATH" if name == "sqlite" else name for name in also]
        urls = [f"{scheme}://…" for scheme in schemes]
        raise _error(config, path, f"expected {', '.join([*forms, *urls])} or env:NAME")
    check_url(value, _label(config, path))


def _check_log(config: GatewayConfig) -> None:
    log = config.log.requests
    if log not in ("", "stdout", "stderr") and not (log.startswith("file:") and is_reference(log)):
        raise _error(config, ("log", "requests"), "expected stderr, stdout or file:PATH")


def _check_names(config: GatewayConfig) -> None:
    for table, names, pattern in (
        ("upstreams", config.upstreams, _NAME),
        ("keys", config.keys, _NAME),
        ("models", config.models, _MODEL_NAME),
    ):
        for name in names:
            if not pattern.fullmatch(name):
                why = ": the part before a / names an upstream, so nobody could ask for it" if "/" in name else ""
                raise UsageError(
                    f"{config.place(table, name)}: invalid name {name!r}{why}: expected letters, digits and "
                    f"{'. _ - :' if pattern is _MODEL_NAME else '. _ -'}"
                )
    taken: dict[str, KeyPath] = {}
    for path in [("models", name) for name in config.models] + [("upstreams", name) for name in config.upstreams]:
        other = taken.setdefault(path[1].casefold(), path)
        if other != path:
            later, earlier = sorted((other, path), key=lambda each: -config.source.lines.get(each, 0))
            raise UsageError(
                f"{config.place(*later)}: the name {later[1]!r} is too much like {shown(earlier)} in "
                f"{config.place(*earlier)}: rename one of them"
            )


def _check_upstreams(config: GatewayConfig) -> None:
    if not config.upstreams:
        raise UsageError(f"{config.source.path}: no upstreams: add a table such as [upstreams.openai]")
    for name, upstream in config.upstreams.items():
        path = ("upstreams", name)
        try:
            provider_class(upstream.provider or name)
        except UsageError as error:
            hint = "" if upstream.provider else f'; or set provider = "…" in {shown(path)}'
            raise UsageError(f"{config.place(*path, 'provider')}: {error}{hint}") from None
        _check_secrets(config, path, upstream)


def _check_secrets(config: GatewayConfig, path: KeyPath, upstream: Upstream) -> None:
    for field in ("key", "password"):
        if reference := getattr(upstream, field):
            check_reference(reference, _label(config, (*path, field)))
    for field in ("url", "proxy"):
        if url := getattr(upstream, field):
            check_url(url, _label(config, (*path, field)))
    for header, value in upstream.extra_headers.items():
        if is_secret_name(header):
            check_reference(value, _label(config, (*path, "extra_headers", header)))


def _check_models(config: GatewayConfig) -> None:
    for name, model in config.models.items():
        seen: set[str] = set()
        for number, target in enumerate(model.target_configs):
            path = ("models", name, "targets", number)
            if target.to in seen:
                raise _error(config, path, f"{target.to!r} is a target twice: leave one out")
            seen.add(target.to)
            _check_target(config, path, target.to)
            if target.weight != 1 and not model.balance:
                raise _error(config, (*path, "weight"), "weight has an effect only with balance = true in the model")
        for error_name in model.next_on or ():
            if error_class(error_name) is None:
                message = f"unknown error class {error_name!r}{nearest(error_name, _error_names())}"
                raise _error(config, ("models", name, "next_on"), message)
    for name in config.models:
        _check_cycle(config, name, ())


def _check_target(config: GatewayConfig, path: KeyPath, address: str) -> None:
    name, slash, model = address.partition("/")
    if name in config.models and slash:
        raise _error(config, path, f"{name!r} is a model of this file, which has no models of its own: write {name!r}")
    if name not in config.models and name not in config.upstreams:
        known = [*config.upstreams, *config.models]
        raise _error(
            config, path, f"the target {address!r} can never be reached: no upstream {name!r}{nearest(name, known)}"
        )
    upstream = config.upstreams.get(name)
    if upstream is None or model or upstream.model:
        return
    if slash or provider_class(upstream.provider or name).needs_model:
        raise _error(config, path, f"the target {address!r} names no model: write {name}/MODEL")


def _check_cycle(config: GatewayConfig, name: str, users: tuple[str, ...]) -> None:
    if name in users:
        cycle = (*users[users.index(name) :], name)
        raise _error(config, ("models", users[-1], "targets"), f"models that need one another: {' -> '.join(cycle)}")
    for target in config.models[name].target_configs:
        if target.to in config.models:
            _check_cycle(config, target.to, (*users, name))


def _check_keys(config: GatewayConfig) -> None:
    users: dict[str, KeyPath] = {}
    for name, key in config.keys.items():
        for field in ("hash", "previous_hash"):
            path = ("keys", name, field)
            if (value := getattr(key, field)) is None:
                continue
            if not _HASH.fullmatch(value):
                raise _error(
                    config,
                    path,
                    "expected sha256: and 64 hexadecimal digits, not the key itself: acytoo keys new prints a new key "
                    "and its hash",
                )
            other = users.setdefault(value, path)
            if other != path:
                raise _error(config, path, f"the same hash as {shown(other)}: make a key for each with acytoo keys new")
        if (key.previous_hash is None) != (key.previous_expires is None):
            raise UsageError(
                f"{config.place('keys', name)}: {shown(('keys', name))} needs both previous_hash and previous_expires, "
                "or none of them: acytoo keys rotate writes them"
            )


def _check_files(config: GatewayConfig) -> None:
    if config.storage.files and config.server.workers > 1:
        place = config.place("storage", "files")
        raise UsageError(f"{place}: batches run in one process: leave out [server] workers, or files")


def _check_prices(config: GatewayConfig) -> None:
    for target in config.prices:
        name = target.partition("/")[0]
        if name not in config.upstreams:
            message = f"unknown upstream {name!r}{nearest(name, config.upstreams)}"
            if name in config.models:
                message = f"{name!r} is a model of this file, but prices are those of its targets, UPSTREAM/MODEL"
            raise UsageError(f"{config.place('prices', target)}: {message}")


def _check_tracing(config: GatewayConfig) -> None:
    tracing = config.tracing
    if tracing.endpoint:
        if not (is_reference(tracing.endpoint) or tracing.endpoint.startswith(("http://", "https://"))):
            raise _error(config, ("tracing", "endpoint"), "expected http://…, https://… or env:NAME")
        check_url(tracing.endpoint, _label(config, ("tracing", "endpoint")))
    for header, value in tracing.headers.items():
        if is_secret_name(header):
            check_reference(value, _label(config, ("tracing", "headers", header)))


def _label(config: GatewayConfig, path: KeyPath) -> str:
    return f"{config.place(*path)}: {shown(path)}"


def _error(config: GatewayConfig, path: KeyPath, message: str) -> UsageError:
    return UsageError(f"{_label(config, path)}: {message}")
