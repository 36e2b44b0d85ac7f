"""The server of the soak, over scripted backends in every dialect. It answers each line of stdin with its counts."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from acytoo import dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, ScriptedResponse, garbage, hang_up, json_error, page, reply, silent, status
from acytoo.types import Finish, Start, Usage

TEXTS = [f"word {number} " for number in range(50)]
_COMPLETE = reply(Start("id-1", "m-1", 7), *TEXTS, Usage(9, 20), Finish("stop"))
_LONG = reply(Start("id-1", "m-1", 7), *["x" * 5000] * 400, Usage(9, 20), Finish("stop"))

RESPONSES: tuple[ScriptedResponse, ...] = (
    _COMPLETE,
    _COMPLETE,
    _COMPLETE.cut_bytes(7),
    _COMPLETE.drip(40, 0.02),
    _LONG,
    _COMPLETE.reset(after=9),
    _COMPLETE.close(after=9),
    _COMPLETE.stall(after=9),
    _COMPLETE.half_close(after=9),
    _COMPLETE.fail("the model has failed", after=9),
    _COMPLETE.without_end(),
    _COMPLETE.with_length(10_000).close(),
    silent(),
    hang_up(),
    garbage(),
    status(429, retry_after=1),
    status(500, body="x" * 200_000),
    status(400),
    json_error("overloaded"),
    page(),
)


def resources(server: Any) -> dict[str, Any]:
    """Return what the process holds now."""
    gc.collect()
    rss = int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024
    return {
        "fds": len(list(Path("/proc/self/fd").iterdir())),
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "rss_mb": round(rss, 1),
        "connections": len(server.connections) if server is not None else 0,
    }


async def main() -> None:
    """Print the URL, then the resources for each line of stdin, until stdin ends."""
    chance = random.Random(4)
    async with AsyncExitStack() as stack:
        backends: dict[str, AsyncGeneratorProvider] = {}
        fakes: list[FakeEndpoint] = []
        for dialect in dialects.ALL:
            fake = FakeEndpoint(dialect, lambda received: chance.choice(RESPONSES))
            fakes.append(await stack.enter_async_context(fake))
            backend: type[AsyncGeneratorProvider] = type("Backend", (AsyncGeneratorProvider,), {"dialect": dialect})
            backends[dialect.name] = backend(fake.url, model="m-1", timeout={"first_byte": 0.5, "idle": 0.5})
        config = ServerConfig(backends, port=0, grace=1.0, idle=5.0, receive=2.0, first_ping_after=0.2, ping_after=0.2)
        server, url = await start(config)
        stack.push_async_callback(server.close)
        print(url, flush=True)
        forget_task = asyncio.ensure_future(forget(fakes))
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(resources(server)), flush=True)
        forget_task.cancel()


async def forget(fakes: list[FakeEndpoint]) -> None:
    """Clear the records of the scripted backends, which grow forever and would count as a leak of the server."""
    while True:
        for fake in fakes:
            fake.requests.clear()
            fake.peers[:] = [peer for peer in fake.peers if not peer.client_left.is_set()]
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
