"""A chat API's server that does what its script says, request by request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeAlias

from acytoo.dialects.base import Dialect
from acytoo.errors import AcytooError
from acytoo.http import ServerRequest
from acytoo.testing.fakes.requests import ReceivedRequest, read_request
from acytoo.testing.fakes.server import Loopback, Peer
from acytoo.testing.script.render import steps_of
from acytoo.testing.script.responses import ScriptedResponse
from acytoo.testing.script.steps import Close, HalfClose, Reset, Send, Step, Wait
from acytoo.types import Request

Script: TypeAlias = ScriptedResponse | Callable[[ReceivedRequest], ScriptedResponse]


class FakeEndpoint(Loopback):
    """Answers the first request with the first of its scripts and so on, the last one again and again.

    A script is an `Answer`, or a function that makes one of the request. `on_connect` is played before a
    request is read. Every path is answered, in the dialect's own words.
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
            raise TypeError("FakeEndpoint needs a script, like reply('Hello ', 'world')")
        self.dialect = dialect
        self.scripts = scripts
        self.on_connect = on_connect
        self.requests: list[ReceivedRequest] = []

    @property
    def url(self) -> str:
        """Where it answers; known inside the context."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def received(self, count: int = 1) -> ReceivedRequest:
        """Return request number `count` (1 is the first) when it has come."""
        await self.until(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def serve(self, peer: Peer) -> None:
        """One request after the other, until somebody closes."""
        if self.on_connect is not None:
            await self._play(peer, self.on_connect, Request([]))
        while peer.open:
            received = await read_request(peer.reader)
            if received is None:
                break
            received.peer = peer
            self.requests.append(received)
            self._changed()
            script = self.scripts[min(len(self.requests), len(self.scripts)) - 1]
            answer = script if isinstance(script, ScriptedResponse) else script(received)
            await self._play(peer, answer, self._asked(received))

    async def _play(self, peer: Peer, answer: ScriptedResponse, request: Request) -> None:
        for step in steps_of(answer, self.dialect, request):
            if isinstance(step, Send):
                await peer.send(step.data)
            else:
                await _do(step, peer)

    def _asked(self, received: ReceivedRequest) -> Request:
        """What the request asks for; one that is malformed gets the scripted answer all the same."""
        try:
            incoming = ServerRequest(received.path, received.headers, received.body, received.query)
            return self.dialect.decode_request(incoming).request
        except AcytooError:
            return Request([])


async def _do(step: Step, peer: Peer) -> None:
    if isinstance(step, Wait):
        try:
            async with asyncio.timeout(step.seconds):
                await peer.left.wait()
        except TimeoutError:
            return
        raise ConnectionResetError("the client has left")
    if isinstance(step, Reset):
        peer.reset()
    elif isinstance(step, Close):
        peer.close()
    else:
        if isinstance(step, HalfClose):
            peer.half_close()
        await peer.left.wait()
