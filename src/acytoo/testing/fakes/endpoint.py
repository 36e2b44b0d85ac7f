"""A fake chat API that answers each request as its script says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeAlias

from acytoo.dialects.base import Dialect
from acytoo.testing.fakes.requests import ReceivedRequest, read_request
from acytoo.testing.fakes.server import FakeServer, Peer
from acytoo.testing.script.render import steps_of
from acytoo.testing.script.responses import ScriptedResponse
from acytoo.testing.script.steps import Close, HalfClose, Reset, Send, Step, Wait
from acytoo.types import Request

Script: TypeAlias = ScriptedResponse | Callable[[ReceivedRequest], ScriptedResponse]


class FakeEndpoint(FakeServer):
    """A chat API that answers the first request with the first script, and so on; the last script is repeated.

    A script is a `ScriptedResponse` or a function that returns one for a request. `on_connect` is sent before a
    request is read. Every path is answered, in the dialect's own format.
    """

    def __init__(
        self,
        dialect: Dialect,
        *scripts: Script,
        on_connect: ScriptedResponse | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls)
        if not scripts and on_connect is None:
            raise TypeError("FakeEndpoint needs a script, such as reply('Hello ', 'world')")
        self.dialect = dialect
        self.scripts = scripts
        self.on_connect = on_connect
        self.requests: list[ReceivedRequest] = []

    @property
    def url(self) -> str:
        """The base URL, valid inside the context."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def received(self, count: int = 1) -> ReceivedRequest:
        """Wait for request number `count` (1 is the first) and return it."""
        await self.until(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def serve(self, peer: Peer) -> None:
        """Answer one request after the other until either side closes the connection."""
        if self.on_connect is not None:
            await self._perform(peer, self.on_connect, Request([]))
        while peer.is_open:
            received = await read_request(peer.reader)
            if received is None:
                break
            received.peer = peer
            self.requests.append(received)
            self._notify()
            script = self.scripts[min(len(self.requests), len(self.scripts)) - 1]
            response = script if isinstance(script, ScriptedResponse) else script(received)
            await self._perform(peer, response, received.decode(self.dialect))

    async def _perform(self, peer: Peer, response: ScriptedResponse, request: Request) -> None:
        for step in steps_of(response, self.dialect, request):
            if isinstance(step, Send):
                await peer.send(step.data)
            else:
                await _perform_step(step, peer)


async def _perform_step(step: Step, peer: Peer) -> None:
    """Perform any step but `Send`. Raises ConnectionResetError if the client disconnects during a `Wait`."""
    if isinstance(step, Wait):
        try:
            async with asyncio.timeout(step.seconds):
                await peer.client_left.wait()
        except TimeoutError:
            return
        raise ConnectionResetError("the client has disconnected")
    if isinstance(step, Reset):
        peer.reset()
    elif isinstance(step, Close):
        peer.close()
    else:
        if isinstance(step, HalfClose):
            peer.half_close()
        await peer.client_left.wait()
