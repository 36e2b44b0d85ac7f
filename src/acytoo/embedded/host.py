"""The embedded server's life: a thread with its own loop, one for each model, ended at exit."""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

from acytoo import dialects
from acytoo.base import AsyncGeneratorProvider
from acytoo.embedded.engine import Engine
from acytoo.embedded.weights import KNOWN, fetch
from acytoo.errors import EmbeddedError, UsageError
from acytoo.secret import Secret


class EngineProvider(AsyncGeneratorProvider):
    """The engine as a provider: whatever model is asked for, it is the one that is loaded."""

    name = "embedded"
    dialect = dialects.openai
    counting = dialects.anthropic


class Host:
    """A model behind an Acytoo server on an ephemeral loopback port with a random password."""

    def __init__(self, model: Path) -> None:
        self.password = Secret(secrets.token_urlsafe(24))
        self.url = ""
        self._engine = Engine(model)
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="acytoo-embedded", daemon=True)
        self._thread.start()
        self._ready.wait()
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
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        from acytoo.server.config import ServerConfig
        from acytoo.server.run import start

        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        backend = EngineProvider(self._engine.url, key=self._engine.key)
        config = ServerConfig({"embedded": backend}, self.password, port=0, grace=0.0)
        runner, self.url = await start(config)
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            await runner.cleanup()


_hosts: dict[Path, Host] = {}
_lock = threading.Lock()


def model_path(url: str) -> Path:
    """The file behind an `embedded://` URL; a named model's weights are fetched. Raises UsageError, EmbeddedError."""
    parts = urlsplit(url)
    if parts.netloc and not parts.path.strip("/"):
        weights = KNOWN.get(parts.netloc)
        if weights is None:
            raise UsageError(
                f"no embedded model is called {parts.netloc!r}; known are {', '.join(KNOWN)}, "
                "and any file as embedded:///path/model.gguf"
            )
        return fetch(weights)
    return Path(unquote(f"/{parts.netloc}{parts.path}" if parts.netloc else parts.path)).resolve()


def running_host(url: str) -> Host:
    """The host for the model, started where this process has none yet; blocks while it loads."""
    with _lock:
        path = model_path(url)
        host = _hosts.get(path)
        if host is None:
            host = _hosts[path] = Host(path)
        return host


def engine_provider(url: str) -> EngineProvider:
    """The engine alone, without a server in between; it ends with the process. Blocks while it loads."""
    path = model_path(url)
    engine = Engine(path)
    atexit.register(engine.close)
    return EngineProvider(engine.url, key=engine.key, model=urlsplit(url).netloc or path.stem)


def close_hosts() -> None:
    """End every embedded server of this process."""
    with _lock:
        while _hosts:
            _hosts.popitem()[1].close()


atexit.register(close_hosts)


def _after_fork() -> None:
    """A forked child has none of the threads: it starts its own, and leaves its parent's alone for ever."""
    global _hosts, _lock
    _parents.append(_hosts)
    _hosts = {}
    _lock = threading.Lock()


_parents: list[dict[Path, Host]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
