"""A server that is told to end under load: running replies finish, or are cut so that nobody takes them for whole."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from acytoo import dialects
from acytoo.testing import Answer, FakeEndpoint, reply
from acytoo.types import Finish, Start
from tests.processes import ACYTOO
from tests.server.site import LIMIT, Response, read_response, request

WORDS = [f"word {number} " for number in range(20)]
HELLO = reply(Start("id-1", "m-1", 7), *WORDS, Finish("stop"))


async def ended_under_load(answer: Answer, grace: float, signals: int) -> tuple[int, list[Response]]:
    """The exit code of a server that is told to end while it answers 30 clients, and what each of them got."""
    async with FakeEndpoint(dialects.openai, answer) as fake, asyncio.timeout(LIMIT * 4):
        server = await asyncio.create_subprocess_exec(
            *[ACYTOO, "serve", "--port", "0", "--to", "compatible/m-1", "--grace", str(grace)],
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "COMPATIBLE_URL": fake.url},
        )
        assert server.stderr is not None
        port = int((await server.stderr.readline()).split()[2].rpartition(b":")[2])
        readers, writers = [], []
        for number in range(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(dialects.ALL[number % len(dialects.ALL)]))
            readers.append(reader)
            writers.append(writer)
        await fake.received(30)
        for _ in range(signals):
            server.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
        responses = [await read_response(reader) for reader in readers]
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)
        for writer in writers:
            writer.close()
        assert b"Traceback" not in await server.stderr.read()
        return await server.wait(), responses


async def test_running_replies_finish() -> None:
    code, responses = await ended_under_load(HELLO.wait(2.0, after=3), 60.0, 1)
    assert code == 0
    assert all(response.status == 200 and response.whole for response in responses)


@pytest.mark.parametrize(
    ("grace", "signals"),
    [(0.5, 1), (0.0, 1), (60.0, 2)],
    ids=["the grace is over", "there is no grace", "a second signal"],
)
async def test_replies_that_do_not_finish_are_cut_and_not_whole(grace: float, signals: int) -> None:
    code, responses = await ended_under_load(HELLO.stall(after=3), grace, signals)
    assert code == 0
    assert not any(response.whole for response in responses)
