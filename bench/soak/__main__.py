"""`python -m bench.soak`: mixed faulty traffic for minutes; fails where anything of it is left."""

from __future__ import annotations

import argparse
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
from bench.processes import ROOT, environment
from bench.soak.server import WORDS, counted

DOCUMENT = ROOT / "docs" / "soak.md"
MESSAGES = [{"role": "user", "content": "Hi"}]
WHOLE = ("".join(WORDS), "x" * 2_000_000)
ALLOWED = {"fds": 2, "tasks": 1, "threads": 1, "rss_mb": 20.0, "connections": 0}
"""How much more than after the warm-up may be held at the end."""


class Traffic:
    """Callers of every kind, and how their calls ended."""

    def __init__(self, url: str, seed: int) -> None:
        self.port = int(url.rpartition(":")[2])
        self.chance = random.Random(seed)
        self.ends: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.providers: list[AsyncGeneratorProvider] = []
        for dialect in dialects.ALL:
            base = url + ("/v1" if dialect.name in ("openai", "openai-responses") else "")
            made: type[AsyncGeneratorProvider] = type("Client", (AsyncGeneratorProvider,), {"dialect": dialect})
            self.providers.append(made(base, timeout=5.0))

    async def caller(self, until: float) -> None:
        """One call after the other, each of a kind chosen by chance."""
        while time.monotonic() < until:
            kind = self.chance.choice([self.reads, self.reads, self.leaves, self.cancels, self.is_slow, self.hostile])
            try:
                async with asyncio.timeout(60):
                    await kind()
            except TimeoutError:
                self.wrong.append(f"{kind.__name__} did not end within 60 s")
            except OSError:
                self.ends["connection refused or lost"] += 1

    def _asked(self) -> tuple[AsyncGeneratorProvider, str]:
        return self.chance.choice(self.providers), self.chance.choice(dialects.ALL).name + "/m-1"

    async def reads(self, pause: float = 0.0) -> None:
        """Read everything: what is complete must be whole."""
        provider, model = self._asked()
        whole = self.chance.random() < 0.3
        try:
            if whole:
                text = await self._document(provider, model)
            else:
                texts = []
                stream = provider.create_async_generator(model, MESSAGES)
                async with aclosing(stream):
                    async for piece in stream:
                        texts.append(piece)
                        if pause:
                            await asyncio.sleep(pause)
                text = "".join(texts)
        except AcytooError as error:
            self.ends[f"told: {type(error).__name__}"] += 1
            return
        if text in WHOLE:
            self.ends["whole"] += 1
        else:
            self.wrong.append(f"{provider.dialect and provider.dialect.name} to {model}: {text[:60]!r} as whole")

    async def _document(self, provider: AsyncGeneratorProvider, model: str) -> str:
        assert provider.dialect is not None
        request = provider._prepared(model, MESSAGES, {})[0]
        request.stream = False
        parts: list[str] = []
        batches = provider.answer(request)
        async with aclosing(batches):
            async for batch in batches:
                parts += [item for item in batch if isinstance(item, str)]
        return "".join(parts)

    async def is_slow(self) -> None:
        """Read with pauses."""
        await self.reads(0.01)

    async def leaves(self) -> None:
        """Leave after some texts."""
        provider, model = self._asked()
        count = self.chance.randrange(1, 20)
        with suppress(AcytooError):
            stream = provider.create_async_generator(model, MESSAGES)
            async with aclosing(stream):
                async for _ in stream:
                    if (count := count - 1) == 0:
                        break
        self.ends["left"] += 1

    async def cancels(self) -> None:
        """Be cancelled at any moment."""
        provider, model = self._asked()
        with suppress(AcytooError, TimeoutError):
            async with asyncio.timeout(self.chance.random() * 0.3):
                await provider.create_async(model, MESSAGES)
        self.ends["cancelled"] += 1

    async def hostile(self) -> None:
        """Send some bytes of a request, or garbage, and vanish by FIN or RST, having read or not."""
        body = json.dumps({"model": "openai/m-1", "messages": MESSAGES, "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
        data = self.chance.choice([head.encode() + body, self.chance.randbytes(200), b"GET /\r\n\r\n", body])
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data[: self.chance.randrange(len(data) * 2)])
            with suppress(TimeoutError):
                async with asyncio.timeout(self.chance.random() * 0.2):
                    await reader.read(100)
            if self.chance.random() < 0.5:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            writer.transport.abort()
        self.ends["hostile"] += 1


async def soak(minutes: float, callers: int, seed: int) -> dict[str, Any]:
    """The counts of both processes after the warm-up and at the end, and how all calls ended."""
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.soak.server",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        limit=2**20,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    url = (await server.stdout.readline()).decode().strip()

    async def counts() -> dict[str, Any]:
        assert server.stdin is not None
        assert server.stdout is not None
        await asyncio.sleep(35)  # longer than any limit there is, and than a pool keeps a connection (15 to 30 s)
        server.stdin.write(b"\n")
        return {"server": json.loads(await server.stdout.readline()), "client": counted(None)}

    traffic = Traffic(url, seed)

    async def run(seconds: float) -> None:
        until = time.monotonic() + seconds
        await asyncio.gather(*[traffic.caller(until) for _ in range(callers)])

    await run(min(60.0, minutes * 20))
    before = await counts()
    traffic.ends.clear()
    started = time.monotonic()
    await run(minutes * 60)
    lasted = time.monotonic() - started
    after = await counts()
    server.stdin.close()
    code = await server.wait()
    return {
        "before": before,
        "after": after,
        "calls": dict(traffic.ends.most_common()),
        "wrong": traffic.wrong,
        "seconds": round(lasted),
        "callers": callers,
        "seed": seed,
        "exit_code": code,
        "machine": machine.described(),
    }


def left(result: dict[str, Any]) -> list[str]:
    """What is not where it was."""
    found = list(result["wrong"])
    for side in ("server", "client"):
        for name, more in ALLOWED.items():
            grown = result["after"][side][name] - result["before"][side][name]
            if grown > more:
                found.append(f"{side}: {name} grew by {grown:g}")
    if result["exit_code"]:
        found.append(f"the server ended with {result['exit_code']}")
    return found


def document(result: dict[str, Any]) -> str:
    """The result in Markdown."""
    rows = [
        f"| {side}: {name} | {result['before'][side][name]} | {result['after'][side][name]} |"
        for side in ("server", "client")
        for name in ALLOWED
        if (side, name) != ("client", "connections")
    ]
    total = sum(result["calls"].values())
    calls = ", ".join(f"{name} {number}" for name, number in result["calls"].items())
    found = left(result)
    return "\n".join(
        [
            "# The soak",
            "",
            "`python -m bench.soak --minutes 5`: a server process over backends of every dialect that fail by chance",
            "(cuts, resets, stalls, errors, garbage, lies about the length), called in every dialect by clients of",
            "ours that read, are slow, leave, are cancelled, and by bare sockets that send half a request or nonsense",
            "and vanish. Counted after a warm-up and again at the end; it fails where anything is left over, or where",
            "a call that was told to be complete was not the whole reply.",
            "",
            "| what | after the warm-up | at the end |",
            "| --- | --- | --- |",
            *rows,
            "",
            f"{total} calls in {result['seconds']} s by {result['callers']} callers: {calls}.",
            "",
            f"Wrong: {'; '.join(found) if found else 'nothing'}.",
            "",
            f"Run {result['machine']['when']} with Python {result['machine']['python']}, aiohttp "
            f"{result['machine']['versions']['aiohttp']}, at {result['machine']['commit']}; the server's count "
            "includes the scripted backends, which live in its process.",
            "",
        ]
    )


def main() -> None:
    """Soak, report, and end with 1 where something is left."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--callers", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="write the result into docs/soak.md")
    arguments = parser.parse_args()
    result = asyncio.run(soak(arguments.minutes, arguments.callers, arguments.seed))
    text = document(result)
    print(text)
    if arguments.keep:
        DOCUMENT.write_text(text)
    sys.exit(1 if left(result) else 0)


if __name__ == "__main__":
    main()
