"""The request as it is written: its head and its body at once."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from acytoo.transport.timeouts import Deadlines

_AT_ONCE = 32 * 1024
"""Bytes of a body that are written without waiting: less than a transport takes before it says to wait."""

_of_response = aiohttp.ClientResponse.__init__.__code__
_RESPONSE_TAKES = frozenset(_of_response.co_varnames[: _of_response.co_argcount + _of_response.co_kwonlyargcount])
_IS_KNOWN = _RESPONSE_TAKES - {"stream_writer"} == frozenset({
    "self", "method", "url", "writer", "continue100", "timer", "request_info", "traces", "loop", "session",
})  # fmt: skip
_TAKES_WRITER = "stream_writer" in _RESPONSE_TAKES


class Body(aiohttp.Payload):
    """The request's body, however large; it knows what it is sent on, and tells when: the connection then stands."""

    _autoclose = True

    def __init__(self, data: bytes, limits: Deadlines) -> None:
        super().__init__(data)
        self._size = len(data)
        self._limits = limits
        self.data = data
        self.on_new_connection = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self.data.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send it: its length is told, and all of it is sent."""
        self.sending(writer.transport)
        await writer.write(self.data)

    def sending(self, transport: asyncio.WriteTransport | None) -> None:
        """It is being sent here."""
        self._limits.sending(_gone if transport is None else transport.abort)


class Request(aiohttp.ClientRequest):
    """Writes a small body at once with the head, where aiohttp gives it to a task, which costs a turn of the loop.

    Where other requests are under way it gives up one turn: all that are ready are then written together, and their
    answers come together. Each written for itself cost a tenth more, at 16 at once.
    Source: aiohttp's `client_reqrep.py`, 3.12 to 3.14; where responses are made otherwise, all is left to aiohttp.
    """

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Send it, return the response that is to come. Raises ServerDisconnectedError on a kept connection on which
        something came that nobody had asked for: it would be taken for the answer.
        """
        protocol, body = conn.protocol, self.body
        if type(body) is not Body:
            return await super().send(conn)
        if len(conn._connector._acquired) > 1:
            await asyncio.sleep(0)
        if protocol.should_close and not body.on_new_connection:
            raise aiohttp.ServerDisconnectedError
        transport = protocol.transport
        if (
            len(body.data) > _AT_ONCE
            or self._continue is not None
            or protocol.writing_paused
            or transport is None
            or transport.is_closing()
            or not _IS_KNOWN
        ):
            return await super().send(conn)
        if conn._connector.force_close:
            self.headers["connection"] = "close"
        writer = StreamWriter(protocol, self.loop)
        target = str(self.url) if self.proxy and not self.is_ssl() else self.url.raw_path_qs
        await writer.write_headers(f"{self.method} {target} HTTP/1.1", self.headers)
        body.sending(transport)
        await writer.write_eof(body.data)
        response = self.response_class(
            self.method,
            self.original_url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=self._traces,
            loop=self.loop,
            session=self._session,
            **({"stream_writer": writer} if _TAKES_WRITER else {}),
        )
        self.response = response  # type: ignore[assignment]
        return response


def _gone() -> None:
    """A connection that is lost already needs no giving up."""
