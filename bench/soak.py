"""The soak: mixed faulty traffic for minutes, which must leave nothing behind."""

from __future__ import annotations

import asyncio
import collections
import json
import random
import socket
import struct
import subprocess
import sys
import time
from contextlib import aclosing, suppress
from typing import Any

from acytoo import AcytooError, dialects
from acytoo.base_provider import AsyncGeneratorProvider
from bench import machine
from bench.processes import LOGS, environment
from bench.soak_server import TEXTS, resources

DOCUMENT = LOGS / "soak.md"
MESSAGES = [{"role": "user", "content": "Hi"}]
COMPLETE = ("".join(TEXTS), "x" * 2_000_000)
ALLOWED_GROWTH = {"fds": 2, "tasks": 1, "threads": 1, "rss_mb": 20.0, "connections": 0}
"""How much the process may hold at the end beyond what it held after the warm-up."""


class Traffic:
    """Callers of every kind, with counts of how their calls ended."""

    def __init__(self, url: str, seed: int) -> None:
        self.port = int(url.rpartition(":")[2])
        self.random = random.Random(seed)
        self.ends: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.providers: list[AsyncGeneratorProvider] = []
        for dialect in dialects.ALL:
            base = url + ("/v1" if dialect.name in ("openai", "openai-responses") else "")
            client: type[AsyncGeneratorProvider] = type("Client", (AsyncGeneratorProvider,), {"dialect": dialect})
            self.providers.append(client(base, timeout=5.0))

    async def caller(self, until: float) -> None:
        """Make one call after the other, each of a random kind."""
        while time.monotonic() < until:
            kind = self.random.choice([self.read, self.read, self.leave, self.cancel, self.read_slowly, self.attack])
            try:
                async with asyncio.timeout(60):
                    await kind()
            except TimeoutError:
                self.wrong.append(f"{kind.__name__} did not end within 60 s")
            except OSError:
                self.ends["connection refused or lost"] += 1

    def _choose(self) -> tuple[AsyncGeneratorProvider, str]:
        return self.random.choice(self.providers), self.random.choice(dialects.ALL).name + "/m-1"

    async def read(self, pause: float = 0.0) -> None:
        """Read to the end: a reply without an error must be complete."""
        provider, model = self._choose()
        streamed = self.random.random() >= 0.3
        try:
            if not streamed:
                received = await self._read_document(provider, model)
            else:
                texts = []
                stream = provider.create_async_generator(model, MESSAGES)
                async with aclosing(stream):
                    async for text in stream:
                        texts.append(text)
                        if pause:
                            await asyncio.sleep(pause)
                received = "".join(texts)
        except AcytooError as error:
            self.ends[type(error).__name__] += 1
            return
        if received in COMPLETE:
            self.ends["complete"] += 1
        else:
            assert provider.dialect is not None
            self.wrong.append(f"{provider.dialect.name} to {model}: {received[:60]!r} as complete")

    async def _read_document(self, provider: AsyncGeneratorProvider, model: str) -> str:
        assert provider.dialect is not None
        request = provider._prepared(model, MESSAGES, {})[0]
        request.stream = False
        parts: list[str] = []
        batches = provider.answer(request)
        async with aclosing(batches):
            async for batch in batches:
                parts += [item for item in batch if isinstance(item, str)]
        return "".join(parts)

    async def read_slowly(self) -> None:
        """Read with pauses."""
        await self.read(0.01)

    async def leave(self) -> None:
        """Stop reading after some texts."""
        provider, model = self._choose()
        count = self.random.randrange(1, 20)
        with suppress(AcytooError):
            stream = provider.create_async_generator(model, MESSAGES)
            async with aclosing(stream):
                async for _ in stream:
                    if (count := count - 1) == 0:
                        break
        self.ends["left early"] += 1

    async def cancel(self) -> None:
        """Cancel the call at a random moment."""
        provider, model = self._choose()
        with suppress(AcytooError, TimeoutError):
            async with asyncio.timeout(self.random.random() * 0.3):
                await provider.create_async(model, MESSAGES)
        self.ends["cancelled"] += 1

    async def attack(self) -> None:
        """Send part of a request, or garbage, then close by FIN or RST, having read or not."""
        body = json.dumps({"model": "openai/m-1", "messages": MESSAGES, "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
        data = self.random.choice([head.encode() + body, self.random.randbytes(200), b"GET /\r\n\r\n", body])
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data[: self.random.randrange(len(data) * 2)])
            with suppress(TimeoutError):
                async with asyncio.timeout(self.random.random() * 0.2):
                    await reader.read(100)
            if self.random.random() < 0.5:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            writer.transport.abort()
        self.ends["hostile"] += 1


async def soak(minutes: float, callers: int, seed: int) -> dict[str, Any]:
    """Return the counts of both processes after the warm-up and at the end, and how all calls ended."""
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.soak_server",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        limit=2**20,
    )
    assert server.stdin is not None and server.stdout is not None
    stdin, stdout = server.stdin, server.stdout
    traffic = Traffic((await stdout.readline()).decode().strip(), seed)

    async def count() -> dict[str, Any]:
        await asyncio.sleep(35)  # longer than every timeout, and than a pool keeps a connection (15 to 30 s)
        stdin.write(b"\n")
        return {"server": json.loads(await stdout.readline()), "client": resources(None)}

    async def run(seconds: float) -> None:
        until = time.monotonic() + seconds
        await asyncio.gather(*[traffic.caller(until) for _ in range(callers)])

    await run(min(60.0, minutes * 20))
    before = await count()
    traffic.ends.clear()
    started = time.monotonic()
    await run(minutes * 60)
    seconds = time.monotonic() - started
    after = await count()
    stdin.close()
    return {
        "before": before,
        "after": after,
        "calls": dict(traffic.ends.most_common()),
        "wrong": traffic.wrong,
        "seconds": round(seconds),
        "callers": callers,
        "exit_code": await server.wait(),
        "machine": machine.description(),
    }


def problems(result: dict[str, Any]) -> list[str]:
    """Return what grew, what was wrong, and a bad exit code."""
    found = list(result["wrong"])
    for side in ("server", "client"):
        for name, allowed in ALLOWED_GROWTH.items():
            growth = result["after"][side][name] - result["before"][side][name]
            if growth > allowed:
                found.append(f"{side}: {name} grew by {growth:g}")
    if result["exit_code"]:
        found.append(f"the server ended with {result['exit_code']}")
    return found


def render(result: dict[str, Any]) -> str:
    """Return the result in Markdown."""
    rows = [
        f"| {side}: {name} | {result['before'][side][name]} | {result['after'][side][name]} |"
        for side in ("server", "client")
        for name in ALLOWED_GROWTH
        if (side, name) != ("client", "connections")
    ]
    calls = ", ".join(f"{name} {number}" for name, number in result["calls"].items())
    run = result["machine"]
    return f"""# The soak

`python -m bench soak --minutes 5` runs a server process over backends of every dialect that fail at random (cuts,
resets, stalls, errors, garbage, wrong lengths). Our own clients call it in every dialect; they read, read slowly, leave
early and are cancelled. Bare sockets send half a request or garbage and disappear. Resources are counted after a
warm-up and again at the end. The run fails if anything is left over, or if a reply without an error was not complete.

| what | after the warm-up | at the end |
| --- | --- | --- |
{chr(10).join(rows)}

{sum(result["calls"].values())} calls in {result["seconds"]} s by {result["callers"]} callers: {calls}.

Wrong: {"; ".join(problems(result)) or "nothing"}.

Run {run["when"]} with Python {run["python"]}, httptools {run["versions"]["httptools"]}, at {run["commit"]}. The
server's count includes the scripted backends, which live in its process.
"""
