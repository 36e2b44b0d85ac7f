"""Everything we use of aiohttp and asyncio that is not documented, in one place.

aiohttp's public interface is too slow for a stream of small chunks, and does not show whether a connection is new.
Each section below uses private details for one of two reasons:

- Speed. If a detail is not what this file knows, it uses the public way, which is slower but never wrong.
  Reading the buffer: a chunk of a burst costs half. Small buffers: a chunk that arrives alone costs a quarter less,
  and an open TLS stream holds a fraction of the memory. Sending the body with the head: one turn of the event loop.
- Correctness. Two hooks must be called by aiohttp: `Connector._create_connection` (only a request on a stale pooled
  connection is sent again) and `Request.send` (a surplus response on a kept connection is never taken for the next
  one). They fail closed: if either is absent at import, `CAN_REUSE` is false and no connection is ever reused.

Source: aiohttp 3.12 to 3.14 (`streams.py`, `client_reqrep.py`, `client_proto.py`, `connector.py`, `web_response.py`)
and CPython 3.11 to 3.14 (`asyncio/selector_events.py`, `asyncio/sslproto.py`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

if TYPE_CHECKING:
    from aiohttp import web

    from acytoo.transport.timeouts import Deadlines

# Reading the buffer of a body
#
# aiohttp returns buffered data piece by piece and lets its parser continue after each. Here all of it is taken at
# once, the parser continues once, and whoever waits for more awaits the reader's future itself, through no coroutine.

_READER_FIELDS = frozenset({
    "_buffer", "_buffer_offset", "_size", "_cursor", "_http_chunk_splits", "_protocol", "_eof", "_exception", "_waiter",
    "_loop",
})  # fmt: skip
KNOWS_READER = frozenset(getattr(aiohttp.StreamReader, "__slots__", ())) >= _READER_FIELDS
"""Whether the installed `StreamReader` has the fields used here."""


def can_read_buffer(content: aiohttp.StreamReader) -> bool:
    """Return whether `read_buffer` can be used: not with a subclass, nor after a piece has been read in part."""
    return KNOWS_READER and type(content) is aiohttp.StreamReader and not content._buffer_offset


def read_buffer(content: aiohttp.StreamReader) -> bytes | None:
    """Return all buffered bytes, b"" at EOF, or None if nothing has arrived (then await `wait_for_data`).

    Buffered data is returned before a stored exception is raised.
    """
    pieces = content._buffer
    if not pieces:
        if (error := content._exception) is not None:
            raise error
        return b"" if content._eof else None
    data = pieces.popleft() if len(pieces) == 1 else b"".join(_drain(pieces))
    content._size = 0
    content._cursor += len(data)
    splits = content._http_chunk_splits
    while splits:
        splits.pop()
    if content._protocol._reading_paused:
        content._protocol.resume_reading()
    return data


def wait_for_data(content: aiohttp.StreamReader) -> asyncio.Future[None]:
    """Return a future that is done when more has arrived, or nothing more will."""
    if content._waiter is not None and not content._waiter.done():
        raise RuntimeError("another task is waiting for this body already")
    waiter = content._loop.create_future()
    if content._protocol.connected:
        content._waiter = waiter
    else:
        waiter.set_exception(aiohttp.ClientPayloadError("the connection is closed"))
    return waiter


def _drain(queue: deque[bytes]) -> list[bytes]:
    """Empty the queue; its `clear()` would leave it holding half a kilobyte more than it needs."""
    return [queue.popleft() for _ in range(len(queue))]


def connection_lost(response: aiohttp.ClientResponse) -> asyncio.Future[None] | None:
    """Return a future that is done, perhaps with an error, when the connection is lost.

    None if the complete body has been received: aiohttp has then taken the connection from the response.
    """
    connection = response.connection
    return connection.protocol.closed if connection is not None and connection.protocol is not None else None


# Small read buffers
#
# asyncio reads every chunk into a new buffer of 256 KiB: a quarter of what a small chunk costs on CPython 3.11. Under
# TLS the buffer stays with the connection, and is most of the memory that an open stream holds.

_PLAIN_BUFFER = 64 * 1024
_TLS_BUFFER = 32 * 1024
"""Twice the largest TLS record."""


def use_small_buffers(transport: Any) -> None:
    """Let asyncio read into smaller buffers; transports of other event loops are left as they are."""
    tls = getattr(transport, "_ssl_protocol", None)
    if tls is None:
        if hasattr(transport, "max_size"):
            transport.max_size = _PLAIN_BUFFER
    elif hasattr(tls, "max_size") and hasattr(tls, "_ssl_buffer_view"):
        tls.max_size = _TLS_BUFFER
        tls._ssl_buffer = bytearray(_TLS_BUFFER)
        tls._ssl_buffer_view = memoryview(tls._ssl_buffer)


# New or reused: the two hooks on which correctness depends


def has_hook(owner: type, name: str, parameters: tuple[str, ...]) -> bool:
    """Return whether a class itself, not a base class, has this async method with exactly these parameters."""
    method = vars(owner).get(name)
    return inspect.iscoroutinefunction(method) and tuple(inspect.signature(method).parameters) == parameters


CAN_REUSE = has_hook(aiohttp.TCPConnector, "_create_connection", ("self", "req", "traces", "timeout")) and has_hook(
    aiohttp.ClientRequest, "send", ("self", "conn")
)
"""Whether connections may be reused: aiohttp has the methods that `Connector` and `Request` override."""


class RequestBody(aiohttp.Payload):
    """A request's body: records whether its connection is new, and reports to `deadlines` when it is being sent."""

    _autoclose = True

    def __init__(self, data: bytes, deadlines: Deadlines) -> None:
        super().__init__(data)
        self._size = len(data)
        self._deadlines = deadlines
        self.data = data
        self.on_new_connection = not CAN_REUSE

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text."""
        return self.data.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send the body, all of it: `content_length` is its own length."""
        self.start_sending(writer.transport)
        await writer.write(self.data)

    def start_sending(self, transport: asyncio.WriteTransport | None) -> None:
        """Start the time for the first byte: the connection is established."""
        self._deadlines.start_sending(_do_nothing if transport is None else transport.abort)


class Connector(aiohttp.TCPConnector):
    """A connector that marks a request's body when its connection is new, and reads into small buffers."""

    async def _create_connection(self, req: aiohttp.ClientRequest, *args: Any, **kwargs: Any) -> Any:
        if isinstance(req.body, RequestBody):
            req.body.on_new_connection = True
        protocol = await super()._create_connection(req, *args, **kwargs)
        use_small_buffers(protocol.transport)
        return protocol


_MAX_SENT_WITH_HEAD = 32 * 1024
"""Bytes of a body written without waiting: less than a transport takes before it asks the writer to pause."""

_response_init = aiohttp.ClientResponse.__init__.__code__
_RESPONSE_PARAMETERS = frozenset(
    _response_init.co_varnames[: _response_init.co_argcount + _response_init.co_kwonlyargcount]
)
KNOWS_RESPONSE = _RESPONSE_PARAMETERS - {"stream_writer"} == frozenset({
    "self", "method", "url", "writer", "continue100", "timer", "request_info", "traces", "loop", "session",
})  # fmt: skip
"""Whether the installed `ClientResponse` is constructed from the arguments that `Request.send` passes."""
_TAKES_STREAM_WRITER = "stream_writer" in _RESPONSE_PARAMETERS


class Request(aiohttp.ClientRequest):
    """A request that sends a small body together with its head.

    aiohttp leaves the body to a task, which costs a turn of the event loop. If other requests are in flight, this one
    waits for one turn itself: all that are ready are then written together, and their responses arrive together.
    Without that, 16 requests at once cost a tenth more each.
    """

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Send the request and return its response, which has not begun.

        Raises ServerDisconnectedError if something arrived on a kept connection before the request was sent: it
        would be taken for the response.
        """
        protocol, body = conn.protocol, self.body
        if type(body) is not RequestBody:
            return await super().send(conn)
        connector = getattr(conn, "_connector", None)
        if len(getattr(connector, "_acquired", ())) > 1:
            await asyncio.sleep(0)
        if protocol.should_close and not body.on_new_connection:
            raise aiohttp.ServerDisconnectedError
        transport = protocol.transport
        if (
            not KNOWS_RESPONSE
            or connector is None
            or len(body.data) > _MAX_SENT_WITH_HEAD
            or self._continue is not None
            or protocol.writing_paused
            or transport is None
            or transport.is_closing()
        ):
            return await super().send(conn)
        if connector.force_close:
            self.headers["connection"] = "close"
        writer = StreamWriter(protocol, self.loop)
        target = str(self.url) if self.proxy and not self.is_ssl() else self.url.raw_path_qs
        await writer.write_headers(f"{self.method} {target} HTTP/1.1", self.headers)
        body.start_sending(transport)
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
            **({"stream_writer": writer} if _TAKES_STREAM_WRITER else {}),
        )
        self.response = response  # type: ignore[assignment]
        return response


def _do_nothing() -> None:
    """Abort nothing: the connection is lost already."""


def ended_before_response(error: Exception) -> bool:
    """Return whether a connection ended before a byte of the response, as one does that the server closed while idle.

    A `ServerDisconnectedError` carries the parsed head as its `message` if a part of it arrived, else a string.
    """
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(getattr(error, "message", None), str)
    return isinstance(error, (ConnectionError, aiohttp.ClientOSError))


# Sessions


def loop_of(session: aiohttp.ClientSession) -> asyncio.AbstractEventLoop | None:
    """Return the event loop a session belongs to, None if unknown; reading the public `loop` warns."""
    return getattr(session, "_loop", None)


def is_idle(session: aiohttp.ClientSession) -> bool:
    """Return whether no request of the session is in flight; an unknown state counts as busy."""
    return not getattr(session.connector, "_acquired", True)


def abandon(session: aiohttp.ClientSession) -> None:
    """Close a session whose event loop is closed, so that nothing can be awaited."""
    connector = session.connector
    session.detach()
    close: Callable[[], object] | None = getattr(connector, "_close", None)
    if close is not None:
        close()


# The server's responses


def count_sent(response: web.StreamResponse, request: web.Request, size: int) -> None:
    """Count bytes that were written straight to the transport, for aiohttp's access log."""
    request.writer.output_size += size
    if hasattr(response, "_body_length"):
        response._body_length += size
