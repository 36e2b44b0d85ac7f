"""The embedded server's life: a thread with its own loop, one for each model, ended at exit."""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import threading
from pathlib import Path

from acytoo.embedded.provider import Model, load, model_of
from acytoo.errors import EmbeddedError
from acytoo.secret import Secret


class EmbeddedServer:
    """A model behind an Acytoo server on an ephemeral loopback port with a random password."""

    def __init__(self, model: Model) -> None:
        self.password = Secret(secrets.token_urlsafe(24))
        self.url = ""
        self._engine, self._backend = load(model)
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="acytoo-embedded", daemon=True)
        warming = threading.Thread(target=self._engine.warm_up, name="acytoo-warming", daemon=True)
        warming.start()
        self._thread.start()
        self._ready.wait()
        warming.join()
        if self._failure is not None:
            self._engine.close()
            raise EmbeddedError(f"the embedded server did not start: {self._failure}") from self._failure

    def close(self) -> None:
        """End the server, then the engine."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=10)
        self._engine.close()

    def _run(self) -> None:
        try:
            # While the model reads: what serving takes, and what the first request would import.

            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        from acytoo.server.config import ServerConfig
        from acytoo.server.run import start

        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        config = ServerConfig({"embedded": self._backend}, self.password, port=0, grace=0.0)
        runner, self.url = await start(config)
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            await runner.cleanup()


_hosts: dict[Path, EmbeddedServer] = {}
_lock = threading.Lock()


def running_host(url: str) -> EmbeddedServer:
    """The host for the model, started where this process has none yet; blocks while it loads."""
    with _lock:
        model = model_of(url)
        host = _hosts.get(model.path)
        if host is None:
            host = _hosts[model.path] = EmbeddedServer(model)
        return host


def close_hosts() -> None:
    """End every embedded server of this process."""
    with _lock:
        while _hosts:
            _hosts.popitem()[1].close()


atexit.register(close_hosts)


def _after_fork() -> None:
    """A forked child has none of the threads: it starts its own."""
    global _hosts, _lock
    _hosts = {}
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
