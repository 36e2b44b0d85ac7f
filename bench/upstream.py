"""A chat service for measurements. The model's name selects what to stream, because every gateway passes it on.

`burst-N-S`: N texts of S characters, as fast as they are read. `tools-N`: N/2 texts, then a tool call in N/2 pieces.
`paced-MS`: every MS milliseconds a text that is the time it was sent, forever. `still`: one text, then silence.
A request without a model gets the seconds of CPU that the service has used.
Every event is an HTTP chunk of its own, as real services send them. `/api/completions` responds in raw text, any other
path in OpenAI's events.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import re
import ssl
import sys
import time
from typing import cast

_MODEL = re.compile(rb'"model"\s*:\s*"(?:[a-z0-9_.]+/)*([a-z]+[-0-9]*)"')
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n"
    b"connection: keep-alive\r\n\r\n"
)
_END = b"0\r\n\r\n"
_FRAME = '{"id":"chatcmpl-Bench0000000000000000000000","object":"chat.completion.chunk","created":1760000000,'
_FRAME += '"model":"gpt-bench","service_tier":"default","system_fingerprint":"fp_0123456789","choices":'
_CHUNKS_PER_BLOCK = 256


def framed(data: bytes) -> bytes:
    """Return an HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(delta: object, finish: str | None = None) -> bytes:
    """Return an event of a streamed chat completion, as OpenAI writes it."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return f"data: {_FRAME}{json.dumps([choice], separators=(',', ':'))}}}\n\n".encode()


def _usage() -> bytes:
    return f'data: {_FRAME}[],"usage":{{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}}}\n\n'.encode()


_OPENING = framed(event({"role": "assistant", "content": ""}))
_CLOSING = framed(event({}, "stop")) + framed(_usage()) + framed(b"data: [DONE]\n\n")


def texts(number: int, size: int) -> list[str]:
    """Return texts like a model's tokens: letters and a space."""
    return [("abcdefghij"[i % 10] * (size - 1) + " ") for i in range(number)]


def _call(arguments: str, first: bool = False) -> object:
    function = {"name": "get_weather", "arguments": arguments} if first else {"arguments": arguments}
    named = {"id": "call_1", "type": "function"} if first else {}
    return {"tool_calls": [{"index": 0, **named, "function": function}]}


@functools.cache
def blocks(spec: str, raw: bool) -> tuple[bytes, ...]:
    """Return a complete body, rendered in advance, in blocks for one write each."""
    kind, *numbers = spec.split("-")
    number = int(numbers[0])
    if kind == "tools":
        half = number // 2
        pieces = [framed(event({"content": text})) for text in texts(half, 6)]
        pieces.append(framed(event(_call('{"city": "', first=True))))
        pieces += [framed(event(_call("abcde"))) for _ in range(number - half - 2)]
        pieces.append(framed(event(_call('"}'))))
    else:
        size = int(numbers[1])
        pieces = [framed(text.encode() if raw else event({"content": text})) for text in texts(number, size)]
    if not raw:
        pieces = [_OPENING, *pieces, _CLOSING]
    joined = [b"".join(pieces[i : i + _CHUNKS_PER_BLOCK]) for i in range(0, len(pieces), _CHUNKS_PER_BLOCK)]
    joined[-1] += _END
    return tuple(joined)


class Wheel:
    """A timer for all paced connections: it sends a text to each once a period, spread evenly."""

    def __init__(self, milliseconds: int) -> None:
        self._slots: list[set[Connection]] = [set() for _ in range(milliseconds)]
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.time()
        self._slot = 0
        self._added = 0
        self._loop.call_at(self._next, self._turn)

    def add(self, connection: Connection) -> set[Connection]:
        """Put the connection into a slot and return the slot, from which it is removed to stop."""
        slot = self._slots[self._added * 37 % len(self._slots)]
        self._added += 1
        slot.add(connection)
        return slot

    def _turn(self) -> None:
        now = self._loop.time()
        self._next = max(self._next, now - 0.05)  # after a longer delay, texts are skipped
        while self._next <= now:
            for connection in self._slots[self._slot]:
                connection.send_time()
            self._slot = (self._slot + 1) % len(self._slots)
            self._next += 0.001
        self._loop.call_later(0.001, self._turn)  # uvloop rounds to milliseconds: less would be 0


_wheels: dict[int, Wheel] = {}
_TIME = b"t" * 19
_TIMED = framed(event({"content": _TIME.decode()})).split(_TIME)
_TIMED_RAW = framed(_TIME).split(_TIME)


class Connection(asyncio.Protocol):
    """A connection that responds to one request after another."""

    def __init__(self) -> None:
        self._received = b""
        self._blocks: tuple[bytes, ...] = ()
        self._sent = 0
        self._paused = False
        self._slot: set[Connection] | None = None
        self._timed = _TIMED

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop sending."""
        self._blocks = ()
        if self._slot is not None:
            self._slot.discard(self)

    def pause_writing(self) -> None:
        """Stop writing blocks."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write more blocks."""
        self._paused = False
        self._pump()

    def data_received(self, data: bytes) -> None:
        """Respond once the request is complete."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if len(body) < int(length[1]) if length else b"chunked" in head and not body.endswith(_END):
            return
        self._received = b""
        spec = _MODEL.search(body)
        if spec is None:
            is_models = head.startswith(b"GET /v1/models ")
            body = b'{"object":"list","data":[]}' if is_models else b"%.6f" % time.process_time()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            return
        self._respond(spec[1].decode(), b"/api/completions" in head[:200])

    def send_time(self) -> None:
        """Send the current time as a text."""
        self._transport.write(b"%b%019d%b" % (self._timed[0], time.monotonic_ns(), self._timed[1]))

    def _respond(self, spec: str, raw: bool) -> None:
        self._transport.write(_HEAD % (b"text/plain; charset=utf-8" if raw else b"text/event-stream"))
        kind, _, rest = spec.partition("-")
        if kind in ("paced", "still"):
            self._timed = _TIMED_RAW if raw else _TIMED
            if not raw:
                self._transport.write(_OPENING)
            if kind == "still":
                self.send_time()
                return
            milliseconds = int(rest)
            if milliseconds not in _wheels:
                _wheels[milliseconds] = Wheel(milliseconds)
            self._slot = _wheels[milliseconds].add(self)
            return
        self._blocks, self._sent = blocks(spec, raw), 0
        self._pump()

    def _pump(self) -> None:
        while self._sent < len(self._blocks) and not self._paused:
            self._transport.write(self._blocks[self._sent])
            self._sent += 1


async def serve(certificate: str) -> None:
    """Serve on a free port of the loopback, print the port, run until stdin ends."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, ssl=context, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve, on uvloop if it is installed, to use as little CPU as possible."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", default="")
    arguments = parser.parse_args()
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(arguments.certificate))
    else:
        uvloop.run(serve(arguments.certificate))


if __name__ == "__main__":
    main()
