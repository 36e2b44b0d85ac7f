"""The embedded server's life: a thread with its own loop, one for each model, ended at exit."""

from __future__ import annotations

import atexit
import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from acytoo._process import LoopThread, in_forked_child
from acytoo.embedded.provider import Model, load, model_of
from acytoo.errors import EmbeddedError
from acytoo.secret import Secret


class EmbeddedServer:
    """A model behind an Acytoo server on an ephemeral loopback port with a random password."""

    def __init__(self, model: Model) -> None:
        self.password = Secret(secrets.token_urlsafe(24))
        self.url = ""
        self._engine, self._backend = load(model)
        self._thread = LoopThread("acytoo-embedded", self._serving)
        warming = threading.Thread(target=self._engine.warm_up, name="acytoo-warming", daemon=True)
        warming.start()
        try:
            # Imported while the model reads: the server, and what the first request would import otherwise.
            import acytoo.client
            import acytoo.server.run  # noqa: F401

            self._thread.start()
        except Exception as error:
            warming.join()
            self._engine.close()
            raise EmbeddedError(f"the embedded server did not start: {error}") from error
        warming.join()

    def close(self) -> None:
        """Stop the server, then the engine."""
        self._thread.stop(timeout=10)
        self._engine.close()

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        from acytoo.server.config import ServerConfig
        from acytoo.server.run import start

        config = ServerConfig({"embedded": self._backend}, self.password, port=0, grace=0.0)
        runner, self.url = await start(config)
        try:
            yield
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


@in_forked_child
def _after_fork() -> None:
    global _hosts, _lock
    _hosts = {}
    _lock = threading.Lock()
