"""The server behind `embedded://`: one per model and process, started on first use and stopped at exit.

The problem: a script that only knows a model's name must get its first text fast, from any number of event loops and
threads, and must still exit cleanly, also after Ctrl-C or in a forked child.

The strategy: the ordinary Acytoo server runs in a daemon thread with its own event loop, and callers reach it over HTTP
on a loopback port like any other server. So a caller's event loop may end at any time, and the embedded model passes
through the same code as a remote one. While the model computes the beginning of every prompt, which needs no Python,
the server and the HTTP client are imported. A forked child has none of these threads and starts a server of its own.

The cost: one thread, one loopback connection per request, and the model's memory in each process that uses it.
"""

from __future__ import annotations

import atexit
import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from acytoo._process import LoopThread, in_forked_child
from acytoo.embedded.provider import Model, load_engine, resolve_model
from acytoo.errors import EmbeddedError
from acytoo.secret import Secret


class EmbeddedServer:
    """A model behind an Acytoo server on a free loopback port, with a random password."""

    def __init__(self, model: Model) -> None:
        self.password = Secret(secrets.token_urlsafe(24))
        self.url = ""
        self._engine, self._backend = load_engine(model)
        self._thread = LoopThread("acytoo-embedded", self._lifespan)
        warm_up = threading.Thread(target=self._engine.warm_up, name="acytoo-warm-up", daemon=True)
        warm_up.start()
        try:
            # Imported during the warm-up: the server, and what the first request would import otherwise.
            import acytoo.client
            import acytoo.server.run  # noqa: F401

            self._thread.start()
        except Exception as error:
            warm_up.join()
            self._engine.close()
            raise EmbeddedError(f"cannot start the embedded server: {error}") from error
        warm_up.join()

    def close(self) -> None:
        """Stop the server, then the engine."""
        self._thread.stop(timeout=10)
        self._engine.close()

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        from acytoo.server.config import ServerConfig
        from acytoo.server.run import start

        config = ServerConfig({"embedded": self._backend}, self.password, port=0, grace=0.0)
        server, self.url = await start(config)
        try:
            yield
        finally:
            await server.close()


_servers: dict[Path, EmbeddedServer] = {}
_lock = threading.Lock()


def get_server(url: str) -> EmbeddedServer:
    """Return this process's server for a model, starting it if necessary. Blocks while the model loads."""
    with _lock:
        model = resolve_model(url)
        server = _servers.get(model.path)
        if server is None:
            server = _servers[model.path] = EmbeddedServer(model)
        return server


@atexit.register
def _close_servers() -> None:
    with _lock:
        while _servers:
            _servers.popitem()[1].close()


@in_forked_child
def _reset_servers() -> None:
    global _servers, _lock
    _servers = {}
    _lock = threading.Lock()
