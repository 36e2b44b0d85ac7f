"""What a server does besides answering chats: further paths, and work that begins and ends with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from acytoo.server.router import PathRoute


class Extension(Protocol):
    """Further paths of a server, and work of its own."""

    def routes(self) -> Iterable[PathRoute]:
        """Return the paths."""

    def start(self, url: str) -> None:
        """Begin the work. The server listens at the URL."""

    def stop(self) -> None:
        """Begin no more work: the server is about to stop accepting connections."""

    async def close(self) -> None:
        """End the work, after the server has stopped."""
