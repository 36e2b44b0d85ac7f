"""The tasks of the guard: fixed amounts of work on the hot paths of the wire, the dialects and the routes.

The guard may run an older commit's copy of this file, so the protocol of `main` must stay as it is.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Any

from acytoo import AsyncGeneratorProvider, Route, dialects
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.http import Endpoint, ResponseHead
from acytoo.types import Finish, Item, Request, Start, Usage
from acytoo.wire.ndjson import NDJSONDecoder
from acytoo.wire.sse import SSEDecoder
from acytoo.wire.text import TextDecoder

_ITEMS: list[Item] = [" word"] * 100
_REQUEST = Request([{"role": "user", "content": "Hello, how are you?"}], "m", extra={}, extra_for="openai")
_TYPES = {"acytoo": "text/plain", "ollama": "application/x-ndjson"}


def _body(dialect: Dialect) -> list[bytes]:
    """Return a reply of 300 texts in three chunks."""
    writer = dialect.writer(_REQUEST)
    first = writer.write([Start("id", "m", 1), *_ITEMS])
    last = writer.write([*_ITEMS, Finish("stop"), Usage(9, 9)]) + writer.end()
    return [first, writer.write(_ITEMS), last]


def _read(dialect: Dialect, *, scan: bool = False) -> Callable[[], None]:
    """Return a task that reads a reply, or only scans it as pass-through does."""
    chunks = _body(dialect)
    head = ResponseHead(200, {"content-type": _TYPES.get(dialect.name, "text/event-stream")})

    def work() -> None:
        reader = dialect.reader(head)
        read = reader.scan if scan else reader.feed
        for chunk in chunks:
            read(chunk)
        reader.flush()
        reader.close()

    return work


def _write(dialect: Dialect) -> Callable[[], None]:
    def work() -> None:
        _body(dialect)

    return work


def _build(dialect: Dialect) -> Callable[[], None]:
    endpoint = Endpoint("http://127.0.0.1:1")

    def work() -> None:
        dialect.encode_request(_REQUEST, endpoint, Unsupported(dialect.name, drop=True))

    return work


def _decode(make: Callable[[], SSEDecoder | NDJSONDecoder | TextDecoder], chunk: bytes) -> Callable[[], None]:
    def work() -> None:
        feed = make().feed
        for _ in range(3):
            feed(chunk)

    return work


class _Stub(AsyncGeneratorProvider):
    """A provider without an endpoint, of which the route is the larger part of the work."""

    url = "http://127.0.0.1:1"
    dialect = dialects.OpenAI()

    def answer(self, request: Request, *args: Any, **kwargs: Any) -> AsyncGenerator[list[Item], None]:
        return _short_reply()


async def _short_reply() -> AsyncGenerator[list[Item], None]:
    yield [Start("id", "m", 1), " word", " word"]
    yield [" word", Finish("stop")]


def _route() -> Callable[[], None]:
    """Return a task that reads ten short replies through a route with one healthy target."""
    route = Route(_Stub())
    loop = asyncio.new_event_loop()

    async def read() -> None:
        for _ in range(10):
            async for _ in route.stream(_REQUEST.messages, model="m"):
                pass

    return lambda: loop.run_until_complete(read())


def tasks() -> dict[str, Callable[[], None]]:
    """Return every task by its name."""
    table = {
        "wire sse": _decode(SSEDecoder, b'data: {"a":"bcd"}\n\n' * 100),
        "wire sse, one byte at a time": lambda: _bytewise(b'data: {"a":"bcd"}\n\n' * 3),
        "wire ndjson": _decode(NDJSONDecoder, b'{"a":"bcd"}\n' * 100),
        "wire text": _decode(TextDecoder, "größer ".encode() * 100),
    }
    for dialect in dialects.ALL:
        table[f"{dialect.name} read"] = _read(dialect)
        table[f"{dialect.name} write"] = _write(dialect)
        table[f"{dialect.name} build"] = _build(dialect)
    table["openai pass on"] = _read(dialects.OpenAI(), scan=True)
    table["route with one healthy target, short reply"] = _route()
    return table


def _bytewise(data: bytes) -> None:
    feed = SSEDecoder().feed
    for place in range(len(data)):
        feed(data[place : place + 1])


def main() -> None:
    """Run the task that each line of stdin names, as often as the number before it; 0 is a warm-up."""
    gc.disable()
    table = tasks()
    for line in sys.stdin:
        times, _, name = line.strip().partition(" ")
        work = table[name]
        for _ in range(int(times) or 20):
            work()
        print("done", flush=True)


if __name__ == "__main__":
    main()
