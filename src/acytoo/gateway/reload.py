"""A config file that is read again when it changes, or on SIGHUP.

The problem: a file may be read while an editor writes it, reading it may take long (a keyring, a slow disk), and a
server must never run with half of a change. The strategy: a thread looks at the file's size and time once a second,
reads it, checks it and creates the backends. Only a result without a mistake is handed to the event loop, in one call.
The requests that run keep the backends they have. The cost: one `stat` a second.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import msgspec

from acytoo.errors import UsageError
from acytoo.gateway.backends import Backends, Running, check_secrets, create_backends
from acytoo.gateway.config import GatewayConfig, LogTable, MetricsTable, StorageTable, TracingTable, load
from acytoo.gateway.config_warnings import warnings_of

_LOG = logging.getLogger("acytoo.server")

OnReload: TypeAlias = Callable[[GatewayConfig, Backends], None]

FIXED = {
    "server": ("host", "port", "workers"),
    "storage": StorageTable.__struct_fields__,
    "metrics": MetricsTable.__struct_fields__,
    "tracing": TracingTable.__struct_fields__,
    "log": LogTable.__struct_fields__,
}
"""What a running server cannot change."""

_TIME_TO_STOP = 5.0
"""Seconds that the thread gets to end; it may be waiting for a keyring."""

_Signature: TypeAlias = tuple[int, int, int] | None


class FileWatch:
    """A file that is looked at from time to time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._last = self._look()

    def has_changed(self) -> bool:
        """Look at the file. Return whether there is a change that was not returned before and is complete.

        A new file has been put in the place of the old one at once. One that is written in place, or removed, is
        complete if nothing has changed since the last look.
        """
        now, last = self._look(), self._last
        self._last = now
        is_replaced = now is not None and self._known is not None and now[0] != self._known[0]
        if now == self._known or not (is_replaced or now == last):
            return False
        self._known = now
        return True

    def _look(self) -> _Signature:
        """Return what shows that the file has changed, None if it cannot be found."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


class Reloader:
    """The config of a running server and its backends, which follow its file.

    `config` is the one in effect: what a server cannot change while it runs has the values of the start.
    """

    def __init__(self, path: Path, on_reload: OnReload, interval: float = 1.0) -> None:
        """Read a config file and create its backends. Raises UsageError as `load` and `create_backends` do.

        `on_reload` is called in the event loop of `start` with each new config and its backends. What has not changed
        is the same object as before, with its health and its places. `interval`: seconds between two looks at the file.
        """
        self._path = path
        self._watch = FileWatch(path)  # before the file is read: a later change is noticed
        self.config = load(path)
        check_secrets(self.config)
        self.backends = create_backends(self.config)
        self._on_reload = on_reload
        self._interval = interval
        self._is_requested = self._is_stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="acytoo-reload", daemon=True)

    def start(self) -> None:
        """Follow the file and SIGHUP. Called in the event loop."""
        self._loop = asyncio.get_running_loop()
        if hasattr(signal, "SIGHUP"):
            # Only the main thread can handle signals.
            with suppress(NotImplementedError, ValueError, RuntimeError):
                self._loop.add_signal_handler(signal.SIGHUP, self.request)
        self._thread.start()

    def request(self) -> None:
        """Read the file now, also if it has not changed: the secrets it names may have."""
        self._is_requested = True
        self._wake.set()

    def stop(self) -> None:
        """Stop following. `on_reload` is not called any more."""
        self._is_stopping = True
        self._wake.set()
        if hasattr(signal, "SIGHUP"):
            with suppress(NotImplementedError, ValueError, RuntimeError):
                self._loop.remove_signal_handler(signal.SIGHUP)
        self._thread.join(_TIME_TO_STOP)

    def _run(self) -> None:
        while True:
            self._wake.wait(self._interval)
            self._wake.clear()
            if self._is_stopping:
                return
            is_requested, self._is_requested = self._is_requested, False
            if self._watch.has_changed() or is_requested:
                try:
                    self._reload()
                except UsageError as error:
                    _LOG.error("%s; the server goes on with the config it has", error)
                except Exception:
                    _LOG.exception("cannot reload %s", self._path)

    def _reload(self) -> None:
        loaded = load(self._path)
        if self.config.keys and not loaded.keys:  # the file may be half written
            raise UsageError(
                f"{self._path}: no keys any more, so everybody would be let in: restart the server for that"
            )
        check_secrets(loaded)
        config = _with_fixed_values(loaded, self.config)
        backends = create_backends(config, Running(self.config, self.backends))
        for warning in warnings_of(config):
            _LOG.warning("%s", warning)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._hand_over, config, backends)

    def _hand_over(self, config: GatewayConfig, backends: Backends) -> None:
        if self._is_stopping:
            return
        try:
            self._on_reload(config, backends)
        except Exception as error:
            _LOG.error("%s: %s; the server goes on with the config it has", self._path, error, exc_info=True)
        else:
            self.config, self.backends = config, backends
            _LOG.info("reloaded %s", self._path)


def _with_fixed_values(config: GatewayConfig, running: GatewayConfig) -> GatewayConfig:
    """Return a config with what the server cannot change as it is; log what the file wants to change of it."""
    tables = {}
    for table, fields in FIXED.items():
        old, new = getattr(running, table), getattr(config, table)
        values = {field: getattr(old, field) for field in fields}
        for field, value in values.items():
            if value != getattr(new, field):
                place = config.place(table, field)
                _LOG.warning("%s: [%s] %s has changed, which takes effect at the next start", place, table, field)
        tables[table] = msgspec.structs.replace(new, **values)
    return msgspec.structs.replace(config, **tables)
