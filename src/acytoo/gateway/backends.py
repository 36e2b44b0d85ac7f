"""The backends of a server from its config: a route for each model, a provider for each upstream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeAlias

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import MissingExtraError, UsageError
from acytoo.gateway.checks import REDIS_SCHEMES, error_class
from acytoo.gateway.config import GatewayConfig, Model, TargetConfig
from acytoo.gateway.secrets import is_reference, resolve_secret, resolve_url
from acytoo.registry import provider_class
from acytoo.routing.policy import DEFAULT_NEXT
from acytoo.routing.route import Route
from acytoo.routing.target import Target

Backends: TypeAlias = Mapping[str, AsyncGeneratorProvider]
"""The backends of a config by name: the models first, each a Route, then the upstreams."""


class Running(NamedTuple):
    """A config in effect, and its backends."""

    config: GatewayConfig
    backends: Backends


def create_backends(config: GatewayConfig, running: Running | None = None) -> Backends:
    """Return the backends of a config, with the secrets as they are now.

    A target is named `UPSTREAM/MODEL`, or like the model of the file that it is. Models that have the same target with
    the same settings share it, and so its limit and its health. Those of the `running` ones whose settings are the same
    are taken over, with their health, their places and the affinity of their requests. Raises UsageError with the line,
    such as for a secret that is missing.
    """
    return _Builder(config, running).backends()


def check_secrets(config: GatewayConfig) -> None:
    """Raise UsageError, with the line, for a secret that is missing and is not an upstream's."""
    headers = [("tracing", "headers", name) for name in config.tracing.headers]
    storage = [("storage", name) for name in ("counters", "ledger", "cache")]
    references = [config.server.admin_key, *[getattr(config.storage, name) for _, name in storage]]
    references += [config.tracing.endpoint, *config.tracing.headers.values()]
    paths = [("server", "admin_key"), *storage, ("tracing", "endpoint"), *headers]
    for path, reference in zip(paths, references, strict=True):
        if is_reference(reference):
            resolve_secret(reference, config.place(*path))


def check_extras(config: GatewayConfig) -> None:
    """Raise MissingExtraError for an optional dependency that the server would need at its start."""
    storage = config.storage
    places = {name: resolve_url(getattr(storage, name), config.place("storage", name)).reveal() for name in _STORED}
    needed = [(f"{_STORED[name]} in Redis", "redis", "redis") for name, url in places.items() if _is_redis(url)]
    if places["ledger"].startswith("postgres"):
        needed.append(("a ledger in PostgreSQL", "asyncpg", "postgres"))
    if config.metrics.enabled:
        needed.append(("/metrics (or enabled = false in [metrics])", "prometheus_client", "gateway"))
    if config.tracing.endpoint:
        needed.append(("tracing", "opentelemetry", "otel"))
    for what, module, extra in needed:
        if find_spec(module) is None:
            raise MissingExtraError(what, extra)


_STORED = {"counters": "counters", "ledger": "a ledger", "cache": "a cache"}


def _is_redis(url: str) -> bool:
    return url.partition("://")[0] in REDIS_SCHEMES


class _Builder:
    def __init__(self, config: GatewayConfig, running: Running | None) -> None:
        self._config = config
        self._routes: dict[str, Route] = {}
        self._targets: dict[TargetConfig, Target] = {}
        self._old_providers: dict[str, AsyncGeneratorProvider] = {}
        """By the names of their targets, or of their upstreams."""
        self._old_routes: dict[str, tuple[Model, Route]] = {}
        self._old_targets: dict[TargetConfig, Target] = {}
        if running is not None:
            self._note_running(*running)

    def _note_running(self, config: GatewayConfig, backends: Backends) -> None:
        for name, model in config.models.items():
            route = backends[name]
            assert isinstance(route, Route)
            self._old_routes[name] = model, route
            for target_config, target in zip(model.target_configs, route.targets, strict=True):
                self._old_targets[target_config] = target
                self._old_providers[target.name] = target.provider
        self._old_providers |= {name: backends[name] for name in config.upstreams}

    def backends(self) -> Backends:
        upstreams = {name: self._provider(name, "") for name in self._config.upstreams}
        models = {name: self._route(name) for name in self._config.models}
        return {**models, **upstreams}

    def _provider(self, name: str, model: str) -> AsyncGeneratorProvider:
        upstream = self._config.upstreams[name]
        place = self._config.place("upstreams", name)
        cls = provider_class(upstream.provider or name)
        settings = _settings_of(self._config, name)
        try:
            provider = cls(model=model or upstream.model or None, **settings)
        except UsageError as error:
            raise UsageError(f"{self._config.place('upstreams', name, *_refused(cls, settings))}: {error}") from None
        if cls.needs_auth and not provider.has_key:
            raise UsageError(
                f'{place}: {cls.address_name()} needs a key: set {cls.variable("key")}, or write key = "env:NAME"'
            )
        old = self._old_providers.get(f"{name}/{model}" if model else name)
        return old if old is not None and _is_same(old, provider) else provider

    def _route(self, name: str) -> Route:
        if name in self._routes:
            return self._routes[name]
        model = self._config.models[name]
        targets = [
            self._target(target, self._config.place("models", name, "targets", number))
            for number, target in enumerate(model.target_configs)
        ]
        next_on = DEFAULT_NEXT
        if model.next_on is not None:
            next_on = tuple([cls for cls in map(error_class, model.next_on) if cls is not None])
        old_model, old = self._old_routes.get(name, (None, None))
        if old is not None and old_model == model and old.targets == tuple(targets):
            self._routes[name] = old
            return old
        with _at(self._config.place("models", name)):
            route = self._routes[name] = Route(
                *targets,
                strategy="balance" if model.balance else "order",
                attempts=model.attempts,
                deadline=model.deadline,
                max_wait=model.max_wait,
                next_on=next_on,
                affinity=model.affinity,
                hedge=model.hedge,
            )
        if old is not None and old.balance is not None and route.balance is not None:
            route.balance.take_over(old.balance)
        return route

    def _target(self, config: TargetConfig, place: str) -> Target:
        if config not in self._targets:
            name, _, model = config.to.partition("/")
            provider = self._route(name) if name in self._config.models else self._provider(name, model)
            old = self._old_targets.get(config)
            if old is not None and old.provider is provider:
                self._targets[config] = old
                return old
            with _at(place):
                self._targets[config] = Target(
                    provider,
                    name=config.to,
                    weight=config.weight,
                    limit=config.limit,
                    queue=config.queue,
                    failures=config.failures,
                    pause=config.pause,
                )
        return self._targets[config]


def _refused(cls: type[AsyncGeneratorProvider], settings: Mapping[str, Any]) -> list[str]:
    """Return the setting without which a provider can be created, or nothing if it is not one alone."""
    for name in settings:
        with suppress(UsageError):
            cls(**{other: value for other, value in settings.items() if other != name})
            return [name]
    return []


def _settings_of(config: GatewayConfig, name: str) -> dict[str, Any]:
    upstream = config.upstreams[name]
    settings: dict[str, Any] = {"max_reply": config.server.max_reply}
    for field in ("key", "password"):
        if reference := getattr(upstream, field):
            settings[field] = resolve_secret(reference, config.place("upstreams", name, field))
    for field in ("url", "proxy"):
        if url := getattr(upstream, field):
            settings[field] = resolve_url(url, config.place("upstreams", name, field))
    for field in ("timeout", "drop_unsupported", "max_reply"):
        if (value := getattr(upstream, field)) is not None:
            settings[field] = value
    if upstream.ca:
        settings["ca"] = str(config.source.path.parent / upstream.ca)
    if upstream.trust_env:
        settings["trust_env"] = True
    if upstream.extra_headers:
        settings["extra_headers"] = {
            header: resolve_secret(value, config.place("upstreams", name, "extra_headers", header))
            if is_reference(value)
            else value
            for header, value in upstream.extra_headers.items()
        }
    return settings


def _is_same(provider: AsyncGeneratorProvider, other: AsyncGeneratorProvider) -> bool:
    """Return whether two providers ask the same service in the same way."""
    return (
        type(provider) is type(other)
        and (provider.url, provider.model) == (other.url, other.model)
        and provider.settings_with({}) == other.settings_with({})
    )


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Put a place before the message of a UsageError."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None
