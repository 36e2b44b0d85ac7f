"""An Acytoo server in a thread of its own, for clients of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from acytoo._process import LoopThread
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.secret import Secret
from acytoo.server.config import ServerConfig
from acytoo.server.run import start


class Served:
    """An Acytoo server at `url`, as long as the context lasts: `with Served(backend) as server`."""

    def __init__(self, backend: AsyncGeneratorProvider, password: str = "", **settings: Any) -> None:
        self._config = ServerConfig({"backend": backend}, Secret(password), port=0, grace=1.0, **settings)
        self.url = ""
        self._thread = LoopThread("server", self._serving, daemon=False)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        server, self.url = await start(self._config)
        try:
            yield
        finally:
            await server.close()
