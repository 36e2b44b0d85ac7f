"""The server of the soak, over scripted backends in every dialect; counts itself on request, a line for a line."""

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

WORDS = [f"word {number} " for number in range(50)]
_WHOLE = reply(Start("id-1", "m-1", 7), *WORDS, Usage(9, 20), Finish("stop"))
_LONG = reply(Start("id-1", "m-1", 7), *["x" * 5000] * 400, Usage(9, 20), Finish("stop"))

ANSWERS: tuple[ScriptedResponse, ...] = (
    _WHOLE,
    _WHOLE,
    _WHOLE.cut_bytes(7),
    _WHOLE.drip(40, 0.02),
    _LONG,
    _WHOLE.reset(after=9),
    _WHOLE.close(after=9),
    _WHOLE.stall(after=9),
    _WHOLE.half_close(after=9),
    _WHOLE.fail("the model has failed", after=9),
    _WHOLE.without_end(),
    _WHOLE.with_length(10_000).close(),
    silent(),
    hang_up(),
    garbage(),
    status(429, retry_after=1),
    status(500, body="x" * 200_000),
    status(400),
    json_error("overloaded"),
    page(),
)


def counted(server: Any) -> dict[str, Any]:
    """What the process holds now."""
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
    """Say where it serves; then answer every line of stdin with what the process holds; end with stdin."""
    chance = random.Random(4)
    async with AsyncExitStack() as stack:
        backends: dict[str, AsyncGeneratorProvider] = {}
        fakes: list[FakeEndpoint] = []
        for dialect in dialects.ALL:
            fake = FakeEndpoint(dialect, lambda received: chance.choice(ANSWERS))
            fakes.append(await stack.enter_async_context(fake))
            made: type[AsyncGeneratorProvider] = type("Backend", (AsyncGeneratorProvider,), {"dialect": dialect})
            backends[dialect.name] = made(fake.url, model="m-1", timeout={"first_byte": 0.5, "idle": 0.5})
        config = ServerConfig(backends, port=0, grace=1.0, idle=5.0, receive=2.0, ping_after=0.2)
        runner, url = await start(config)
        stack.push_async_callback(runner.cleanup)
        print(url, flush=True)
        forgetting = asyncio.ensure_future(forget(fakes))
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(counted(runner.server)), flush=True)
        forgetting.cancel()


async def forget(fakes: list[FakeEndpoint]) -> None:
    """The scripted backends keep book of everything, for ever: that is theirs, not the server's."""
    while True:
        for fake in fakes:
            fake.requests.clear()
            fake.peers[:] = [peer for peer in fake.peers if not peer.left.is_set()]
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
