"""The load on a gateway: many raw connections in one process.

`python -m bench.load JOB`: the result is printed as JSON. "window" on stderr announces the measured window, which
begins with a line on stdin; "over" is its end, so that the parent can count the CPU of the gateway and the upstream.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any, cast

_END = b"0\r\n\r\n"
_TIME = re.compile(rb'"(\d{19})"')


@dataclass(frozen=True)
class Job:
    """What to send, and how often. `mode` is "closed" (send again after each response) or "paced" (open streams)."""

    mode: str
    port: int
    path: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    streams: int = 1
    requests: int = 100
    interval: float = 1.0
    window: float = 3.0

    @property
    def request(self) -> bytes:
        """The request's bytes."""
        body = self.body.encode()
        headers = {
            "host": f"127.0.0.1:{self.port}",
            "content-type": "application/json",
            "authorization": "Bearer bench",
            "x-api-key": "bench",
            "anthropic-version": "2023-06-01",
            **self.headers,
            "content-length": str(len(body)),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


class Connection(asyncio.Protocol):
    """A connection that sends its request again after each response, or reads an endless stream."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._at_start = True
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._load.request)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail: no gateway may close a connection during a measurement."""
        self._load.fail(f"the gateway closed a connection: {exc}")

    def data_received(self, data: bytes) -> None:
        """Count, and send the next request after the last chunk."""
        load = self._load
        if self._at_start:
            self._at_start = False
            load.begun += 1
            if not data.startswith(b"HTTP/1.1 200"):
                load.fail(data[:500].decode("latin-1"))
                return
        load.received += len(data)
        if load.paced:
            now = time.monotonic_ns()
            load.delays += [now - int(sent) for sent in _TIME.findall(data)]
            return
        self._tail = (self._tail + data[-5:])[-5:]
        if self._tail == _END:
            self._at_start, self._tail = True, b""
            load.responses += 1
            if load.sent < load.total:
                load.sent += 1
                self._transport.write(load.request)
            elif load.responses == load.total and not load.over.done():
                load.over.set_result(None)


class Load:
    """The state that all connections share."""

    def __init__(self, job: Job, total: int) -> None:
        self.job = job
        self.request = job.request
        self.paced = job.mode == "paced"
        self.total = total
        self.sent = job.streams
        self.responses = self.begun = self.received = 0
        self.delays: list[int] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        """End the measurement with an error, unless it has ended."""
        if not self.over.done():
            self.over.set_exception(ConnectionError(reason))

    async def connect(self) -> list[asyncio.Transport]:
        """Open the connections; those of endless streams a few at a time."""
        loop = asyncio.get_running_loop()
        transports = []
        for number in range(self.job.streams):
            transport, _ = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.job.port)
            transports.append(transport)
            if self.paced and number % 20 == 19:
                await asyncio.sleep(0.02)
        return transports


async def closed(job: Job) -> dict[str, Any]:
    """Measure requests a second; a tenth of them is the warm-up."""
    for total in (max(job.streams, job.requests // 10), job.requests):
        load = Load(job, total)
        if total == job.requests:
            await asyncio.sleep(0.1)  # by then the gateway has closed the connections of the warm-up
            _begin_window()
        wall, cpu = time.perf_counter(), time.process_time()
        transports = await load.connect()
        await load.over
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        for transport in transports:
            transport.abort()
    _end_window()
    return {"requests_per_s": job.requests / wall, "bytes": load.received, "wall_s": wall, "cpu_s": cpu}


async def paced(job: Job) -> dict[str, Any]:
    """Measure the time added to each text of many streams, in a window in which all of them run."""
    load = Load(job, job.streams)
    transports = await load.connect()
    deadline = time.monotonic() + 60
    while load.begun < job.streams and not load.over.done():
        if time.monotonic() > deadline:
            raise SystemExit(f"only {load.begun} of {job.streams} streams began within a minute")
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    _begin_window()
    load.delays.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(job.window)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    _end_window()
    if load.over.done():
        load.over.result()
    times = sorted(load.delays)
    load.over.cancel()
    for transport in transports:
        transport.abort()
    if not times:
        raise SystemExit("no text arrived within the window")
    return {
        "p50_ms": times[len(times) // 2] / 1e6,
        "p99_ms": times[len(times) * 99 // 100] / 1e6,
        "chunks": len(times),
        "kept_up": len(times) / (job.streams * wall / job.interval),
        "wall_s": wall,
        "cpu_s": cpu,
    }


def _begin_window() -> None:
    """Announce the window and wait until the parent has begun to count."""
    print("window", file=sys.stderr, flush=True)
    sys.stdin.readline()


def _end_window() -> None:
    print("over", file=sys.stderr, flush=True)


def main() -> None:
    """Run one job, on uvloop if it is installed."""
    job = Job(**json.loads(sys.argv[1]))
    mode = closed if job.mode == "closed" else paced
    try:
        import uvloop
    except ImportError:
        result = asyncio.run(mode(job))
    else:
        result = uvloop.run(mode(job))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
