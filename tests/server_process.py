"""A server of ours in a thread of its own, for clients of every kind."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Self

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.secret import Secret
from acytoo.server.config import ServerConfig
from acytoo.server.run import start


class Served:
    """`with Served(backend) as server`: the server is at `server.url` as long as the context lasts."""

    def __init__(self, backend: AsyncGeneratorProvider, password: str = "", **settings: Any) -> None:
        self._config = ServerConfig({"backend": backend}, Secret(password), port=0, grace=1.0, **settings)
        self.url = ""

    def __enter__(self) -> Self:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), name="served")
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            runner, self.url = await start(self._config)
        finally:
            self._ready.set()
        try:
            await self._stop.wait()
        finally:
            await runner.cleanup()
