"""A gateway while its server runs: counters, ledger and observers, opened before the first request and closed last."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import UsageError
from acytoo.gateway.access_log import AccessLog
from acytoo.gateway.admin import admin_routes
from acytoo.gateway.cache import open_cache
from acytoo.gateway.config import GatewayConfig, ServerTable
from acytoo.gateway.control import GatewayControl
from acytoo.gateway.counters import Counters, MemoryCounters
from acytoo.gateway.ledger import Ledger, open_ledger
from acytoo.gateway.metrics import Metrics
from acytoo.gateway.reload import Reloader
from acytoo.gateway.retention import Pruner
from acytoo.gateway.secrets import is_reference, resolve_secret, resolve_url
from acytoo.gateway.setup import Setup, prices_of
from acytoo.gateway.shared_replies import SharedReplies
from acytoo.gateway.summary import Consumer
from acytoo.gateway.tracing import Tracing
from acytoo.gateway.usage import used_amounts
from acytoo.secret import Secret
from acytoo.server.app import Application
from acytoo.server.config import ServerConfig
from acytoo.server.extension import Extension
from acytoo.server.run import serve

_LOG = logging.getLogger("acytoo.gateway")

_SHARED_FIELDS = frozenset(ServerConfig.__struct_fields__) & frozenset(ServerTable.__struct_fields__)
"""The settings of a server that its config file has under the same name."""


class Gateway:
    """What a server with a config file needs besides its HTTP side."""

    def __init__(self, path: Path) -> None:
        """Read a config file. Raises UsageError."""
        self._reloader = Reloader(path, self._replace)
        self._application: Application | None = None
        self._control: GatewayControl | None = None
        self._has_reloaded = asyncio.Event()
        self._metrics: Metrics | None = None
        self._log: AccessLog | None = None
        self._tracing: Tracing | None = None
        self._prices = prices_of(self.config)
        self.server_config = _server_config(self.config, self._reloader.backends)

    @property
    def config(self) -> GatewayConfig:
        """The config in effect."""
        return self._reloader.config

    @property
    def ledger(self) -> Ledger:
        """The ledger of the running gateway."""
        assert self._control is not None
        return self._control.ledger

    def stand_in(self, key: str) -> Secret | None:
        """Return a secret that stands for a key in this process, None if there is no such key any more."""
        assert self._control is not None
        return self._control.stand_in(key)

    async def reloaded(self) -> None:
        """Read the file again now, and wait until its config is in effect. One with a mistake never is."""
        self._has_reloaded.clear()
        self._reloader.request()
        await self._has_reloaded.wait()

    @asynccontextmanager
    async def running(self, extension: Extension | None = None) -> AsyncIterator[Application]:
        """Open everything, and yield the application. Raises AcytooError for what cannot be opened."""
        async with AsyncExitStack() as stack:
            storage = self.config.storage
            ledger = await open_ledger(resolve_url(storage.ledger, self.config.place("storage", "ledger")))
            stack.push_async_callback(ledger.close)
            if storage.retention_days is not None:
                pruner = Pruner(ledger, storage.retention_days)
                stack.push_async_callback(pruner.stop)
                pruner.start()
            counters = _open_counters(self.config, ledger)
            stack.push_async_callback(counters.close)
            await _restore(counters, ledger)
            consumers = self._consumers(stack)
            setup = self._setup(self.config, self._reloader.backends)
            cache = resolve_url(storage.cache, self.config.place("storage", "cache"))
            replies = SharedReplies(open_cache(cache, storage.cache_bytes, storage.cache_entries))
            stack.push_async_callback(replies.close)
            control = self._control = GatewayControl(setup, counters, ledger, consumers, self._tracing, replies)
            control.add_routes(admin_routes(control, self._metrics))
            routes = extension.routes() if extension is not None else ()
            self._application = Application(self.server_config, control, routes)
            self._reloader.start()
            stack.callback(self._reloader.stop)
            yield self._application

    def _consumers(self, stack: AsyncExitStack) -> list[Consumer]:
        config, consumers = self.config, list[Consumer]()
        if config.metrics.enabled:
            self._metrics = Metrics()
            consumers.append(self._metrics)
        if config.log.requests:
            log = AccessLog(config.log.requests)
            stack.push_async_callback(asyncio.to_thread, log.close)
            self._log = log
            consumers.append(log)
        if config.tracing.endpoint:
            headers = {
                name: _header(value, config.place("tracing", "headers", name))
                for name, value in config.tracing.headers.items()
            }
            endpoint = resolve_url(config.tracing.endpoint, config.place("tracing", "endpoint"))
            self._tracing = Tracing(endpoint.reveal(), {}, headers=headers, sample=config.tracing.sample)
            stack.push_async_callback(asyncio.to_thread, self._tracing.close)
        return consumers

    def _setup(self, config: GatewayConfig, backends: Mapping[str, AsyncGeneratorProvider]) -> Setup:
        admin_key = Secret()
        if config.server.admin_key:
            admin_key = resolve_secret(config.server.admin_key, config.place("server", "admin_key"))
        setup = Setup(config, backends, admin_key, self._prices)
        models = frozenset(setup.model_names())
        if self._metrics is not None:
            self._metrics.models = models
        if self._tracing is not None:
            self._tracing.providers, self._tracing.models = setup.providers, models
            self._tracing.addresses = setup.addresses
        return setup

    def _replace(self, config: GatewayConfig, backends: Mapping[str, AsyncGeneratorProvider]) -> None:
        """Use a new config from the next request on."""
        assert self._application is not None
        assert self._control is not None
        self._prices = prices_of(config)
        server_config = _server_config(config, backends)
        self._control.setup = self._setup(config, backends)
        self._application.replace(server_config)
        if self._log is not None:
            try:
                self._log.reopen()
            except UsageError as error:
                _LOG.error("%s; lines go on to the file that is open", error)
        self._has_reloaded.set()


def _server_config(config: GatewayConfig, backends: Mapping[str, AsyncGeneratorProvider]) -> ServerConfig:
    values = {name: getattr(config.server, name) for name in _SHARED_FIELDS}
    return ServerConfig(backends, has_keys=bool(config.keys), **values)


def _header(value: str, place: str) -> Secret:
    return resolve_secret(value, place) if is_reference(value) else Secret(value)


def _open_counters(config: GatewayConfig, ledger: Ledger) -> Counters:
    storage = config.storage
    if storage.counters == "memory":
        return MemoryCounters()
    from acytoo.gateway.redis_counters import RedisCounters

    url = resolve_url(storage.counters, config.place("storage", "counters"))

    async def restore() -> None:
        await ledger.flush()
        await _restore(counters, ledger)

    counters = RedisCounters(
        url, on_failure=storage.on_failure, budgets_on_failure=storage.budgets_on_failure, on_empty=restore
    )
    return counters


async def _restore(counters: Counters, ledger: Ledger) -> None:
    """Count what the ledger has of the current day and month."""
    now = time.time()
    for (counter, window), used in (await used_amounts(ledger, now)).items():
        await counters.restore(counter, window, used, now)


async def serve_gateway(gateway: Gateway, announce: Callable[[str], None], extension: Extension | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with gateway.running(extension) as application:
        await serve(gateway.server_config, announce, application=application, extension=extension)
