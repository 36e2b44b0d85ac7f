"""The load on a gateway: many raw connections in a process of their own; prints what it saw as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from typing import Any, cast

_END = b"0\r\n\r\n"
_TIME = re.compile(rb'"(\d{19})"')


class Connection(asyncio.Protocol):
    """One connection that asks again as soon as it is answered, or listens for ever."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._fresh = True
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._load.request)

    def connection_lost(self, exc: Exception | None) -> None:
        """No gateway may close while it is measured."""
        if not self._load.over.done():
            self._load.over.set_exception(ConnectionError(f"the gateway closed a connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        """Some of an answer."""
        load = self._load
        if self._fresh:
            self._fresh = False
            load.began += 1
            if not data.startswith(b"HTTP/1.1 200"):
                if not load.over.done():
                    load.over.set_exception(ConnectionError(data[:500].decode("latin-1")))
                return
        load.read += len(data)
        if load.listening:
            now = time.monotonic_ns()
            load.late += [now - int(sent) for sent in _TIME.findall(data)]
            return
        if (self._tail + data[-5:])[-5:] == _END:
            load.answered += 1
            self._fresh, self._tail = True, b""
            if load.asked < load.wanted:
                load.asked += 1
                self._transport.write(load.request)
            elif load.answered == load.wanted and not load.over.done():
                load.over.set_result(None)
        else:
            self._tail = data[-5:]


class Load:
    """What all connections share."""

    def __init__(self, request: bytes, wanted: int, listening: bool) -> None:
        self.request = request
        self.wanted = wanted
        self.listening = listening
        self.asked = self.answered = self.began = self.read = 0
        self.late: list[int] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()


async def closed(arguments: argparse.Namespace, request: bytes) -> dict[str, Any]:
    """Requests a second, each connection asking again once it is answered."""
    for wanted in (max(arguments.streams, arguments.requests // 10), arguments.requests):
        load = Load(request, wanted, listening=False)
        load.asked = arguments.streams
        if wanted == arguments.requests:
            await asyncio.sleep(0.1)  # the connections of the warming up are gone from the gateway by then
            _window_begins()
        wall, cpu = time.perf_counter(), time.process_time()
        transports = await _connected(arguments, load)
        await load.over
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        for transport in transports:
            transport.abort()
    sys.stderr.write("over\n")
    sys.stderr.flush()
    return {"requests_per_s": arguments.requests / wall, "bytes": load.read, "wall_s": wall, "cpu_s": cpu}


async def paced(arguments: argparse.Namespace, request: bytes) -> dict[str, Any]:
    """Time added to each text of many streams, over a window in which all of them run."""
    load = Load(request, arguments.streams, listening=True)
    transports = await _connected(arguments, load)
    deadline = time.monotonic() + 60
    while load.began < arguments.streams and not load.over.done():
        if time.monotonic() > deadline:
            raise SystemExit(f"only {load.began} of {arguments.streams} streams began within a minute")
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    _window_begins()
    load.late.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(arguments.window)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    sys.stderr.write("over\n")
    sys.stderr.flush()
    if load.over.done():
        load.over.result()
    times = sorted(load.late)
    load.over.cancel()
    for transport in transports:
        transport.abort()
    if not times:
        raise SystemExit("nothing came within the window")
    return {
        "p50_ms": times[len(times) // 2] / 1e6,
        "p99_ms": times[len(times) * 99 // 100] / 1e6,
        "chunks": len(times),
        "kept_up": len(times) / (arguments.streams * wall / arguments.interval),
        "wall_s": wall,
        "cpu_s": cpu,
    }


def _window_begins() -> None:
    """Say so, and wait until whoever counts the others' work has begun to."""
    sys.stderr.write("window\n")
    sys.stderr.flush()
    sys.stdin.readline()


async def _connected(arguments: argparse.Namespace, load: Load) -> list[asyncio.Transport]:
    loop = asyncio.get_running_loop()
    transports = []
    for number in range(arguments.streams):
        transport, _ = await loop.create_connection(lambda: Connection(load), "127.0.0.1", arguments.port)
        transports.append(transport)
        if load.listening and number % 20 == 19:
            await asyncio.sleep(0.02)
    return transports


def main() -> None:
    """Load one gateway in one mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("closed", "paced"))
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("body")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE")
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--window", type=float, default=3.0)
    arguments = parser.parse_args()
    body = arguments.body.encode()
    request = (
        f"POST {arguments.path} HTTP/1.1\r\nhost: 127.0.0.1:{arguments.port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer bench\r\nx-api-key: bench\r\nanthropic-version: 2023-06-01\r\n"
        + "".join(f"{header}\r\n" for header in arguments.header)
        + f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
    mode = closed if arguments.mode == "closed" else paced
    try:
        import uvloop
    except ImportError:
        result = asyncio.run(mode(arguments, request))
    else:
        result = uvloop.run(mode(arguments, request))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
