"""A fixed amount of the wire's and the dialects' hot paths, to count its instructions."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

from acytoo import dialects
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
    """A reply of 300 texts in three chunks."""
    writer = dialect.writer(_REQUEST)
    first = writer.write([Start("id", "m", 1), *_ITEMS])
    last = writer.write([*_ITEMS, Finish("stop"), Usage(9, 9)]) + writer.end()
    return [first, writer.write(_ITEMS), last]


def _reading(dialect: Dialect, *, passing: bool = False) -> Callable[[], None]:
    """A reply that is read, or only watched while it is passed on."""
    chunks = _body(dialect)
    head = ResponseHead(200, {"content-type": _TYPES.get(dialect.name, "text/event-stream")})

    def work() -> None:
        reader = dialect.reader(head)
        take = reader.scan if passing else reader.feed
        for chunk in chunks:
            take(chunk)
        reader.flush()
        reader.close()

    return work


def _writing(dialect: Dialect) -> Callable[[], None]:
    def work() -> None:
        _body(dialect)

    return work


def _building(dialect: Dialect) -> Callable[[], None]:
    endpoint = Endpoint("http://127.0.0.1:1")

    def work() -> None:
        dialect.encode_request(_REQUEST, endpoint, Unsupported(dialect.name, drop=True))

    return work


def _decoding(make: Callable[[], SSEDecoder | NDJSONDecoder | TextDecoder], chunk: bytes) -> Callable[[], None]:
    def work() -> None:
        feed = make().feed
        for _ in range(3):
            feed(chunk)

    return work


def works() -> dict[str, Callable[[], None]]:
    """Every piece of work by its name."""
    found = {
        "wire sse": _decoding(SSEDecoder, b'data: {"a":"bcd"}\n\n' * 100),
        "wire sse, one byte at a time": lambda: _bytewise(b'data: {"a":"bcd"}\n\n' * 3),
        "wire ndjson": _decoding(NDJSONDecoder, b'{"a":"bcd"}\n' * 100),
        "wire text": _decoding(TextDecoder, "größer ".encode() * 100),
    }
    for dialect in dialects.ALL:
        found[f"{dialect.name} read"] = _reading(dialect)
        found[f"{dialect.name} write"] = _writing(dialect)
        found[f"{dialect.name} build"] = _building(dialect)
    found["openai pass on"] = _reading(dialects.OpenAI(), passing=True)
    return found


def _bytewise(data: bytes) -> None:
    feed = SSEDecoder().feed
    for place in range(len(data)):
        feed(data[place : place + 1])


def main() -> None:
    """Do the pieces of work that are named on standard input, each as often as the number before it; warmed up by 0."""
    gc.disable()
    found = works()
    for line in sys.stdin:
        times, _, name = line.strip().partition(" ")
        work = found[name]
        for _ in range(int(times) or 20):
            work()
        print("done", flush=True)


if __name__ == "__main__":
    main()
