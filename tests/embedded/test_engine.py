"""The engine with the real model in this process: when it stops generating, and which models it cannot load."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from acytoo import Acytoo, AsyncGeneratorProvider, dialects
from acytoo.embedded.engine import Engine
from acytoo.embedded.provider import EngineProvider, Model, load_engine, resolve_model
from acytoo.errors import EmbeddedError, UsageError
from acytoo.server.config import ServerConfig
from acytoo.server.run import start

STORY = [{"role": "user", "content": "Tell me a very long story."}]


class Client(AsyncGeneratorProvider):
    """A client of /v1/chat/completions, which passes the engine's own options through."""

    dialect = dialects.OpenAI()


ENDLESS = {"ignore_eos": True, "max_tokens": 8000}


async def busy_slots(engine: Engine) -> list[bool]:
    """Return whether each slot is generating, as the engine reports it."""
    headers = {"authorization": f"Bearer {engine.key.reveal()}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(engine.url.removesuffix("/v1") + "/slots", headers=headers) as response,
    ):
        return [slot["is_processing"] for slot in await response.json()]


async def wait_until(engine: Engine, *, busy: bool) -> None:
    """Wait until some slot is generating, or until none is.

    The engine notices that a client has left only if it receives no request for a second. So while waiting for it to
    stop, poll slowly.
    """
    async with asyncio.timeout(240):
        while any(await busy_slots(engine)) is not busy:
            if not busy:
                await asyncio.sleep(1.5)


@pytest.fixture(scope="module")
def loaded(model_file: Path) -> tuple[Engine, EngineProvider]:
    """The real model in an engine of its own, and its provider."""
    return load_engine(resolve_model(f"embedded://{model_file}"))


async def read_all(stream: AsyncIterator[str]) -> None:
    async for _ in stream:
        pass


@pytest.fixture
async def served(loaded: tuple[Engine, EngineProvider]) -> AsyncIterator[tuple[Engine, str]]:
    """The engine, and the URL of our server in front of it."""
    server, url = await start(ServerConfig({"embedded": loaded[1]}, port=0, grace=0))
    await wait_until(loaded[0], busy=False)
    yield loaded[0], url
    await server.close()


@pytest.mark.parametrize("end", ["break", "cancel", "error"])
async def test_the_engine_stops_generating_when_the_client_leaves(served: tuple[Engine, str], end: str) -> None:
    engine, url = served
    stream = Client(f"{url}/v1").create_async_generator("", STORY, extra_body=ENDLESS)
    await anext(stream)
    assert any(await busy_slots(engine))
    if end == "break":
        await stream.aclose()
    elif end == "cancel":
        task = asyncio.ensure_future(read_all(stream))  # never ends: one text more may have been received already
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    else:
        with pytest.raises(ZeroDivisionError):
            await stream.athrow(ZeroDivisionError())
    await wait_until(engine, busy=False)


async def test_the_engine_stops_if_the_client_leaves_before_the_first_token(served: tuple[Engine, str]) -> None:
    engine, url = served
    long = [{"role": "user", "content": "Tell me more. " * 300}]
    task = asyncio.ensure_future(anext(Acytoo(url).create_async_generator("", long)))
    await wait_until(engine, busy=True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await wait_until(engine, busy=False)


async def test_prompts_of_clients_that_left_delay_others_only_briefly(served: tuple[Engine, str]) -> None:
    engine, url = served

    async def cpu_seconds_to_first_text(words: int, name: str) -> float:
        start_time = time.process_time()
        messages = [{"role": "user", "content": f"{name} " + "word " * words}]
        stream = Client(f"{url}/v1").create_async_generator("", messages, temperature=0, extra_body=ENDLESS)
        await anext(stream)
        await stream.aclose()
        return time.process_time() - start_time

    baseline = await cpu_seconds_to_first_text(1000, "a")
    abandoned = [asyncio.ensure_future(cpu_seconds_to_first_text(3000, name)) for name in "bc"]
    await wait_until(engine, busy=True)
    for task in abandoned:
        task.cancel()
    await asyncio.gather(*abandoned, return_exceptions=True)
    assert await cpu_seconds_to_first_text(1, "d") < baseline


async def test_after_the_warm_up_the_beginning_of_a_prompt_is_cached(model_file: Path) -> None:
    engine, provider = load_engine(resolve_model(f"embedded://{model_file}"))
    engine.warm_up()
    reply = await provider.reply(STORY, max_tokens=1, temperature=0)
    assert reply.usage is not None
    assert reply.usage.cached_tokens > 10
    engine.close()


async def test_a_model_whose_warm_up_fails_still_replies(model_file: Path) -> None:
    template = "{% if not messages[0].content %}{{ raise_exception('empty') }}{% endif %}{{ messages[0].content }}"
    engine, provider = load_engine(Model("no-warm-up", model_file, template))
    engine.warm_up()
    assert (await provider.reply(STORY, temperature=0, max_tokens=5, extra_body={"ignore_eos": True})).text
    engine.close()


async def test_four_clients_are_answered_at_the_same_time(served: tuple[Engine, str]) -> None:
    engine, url = served
    streams = [Client(f"{url}/v1").create_async_generator("", STORY, extra_body=ENDLESS) for _ in range(4)]
    async with asyncio.timeout(240):
        assert all(await asyncio.gather(*(anext(stream) for stream in streams)))
        assert await busy_slots(engine) == [True] * 4
    await asyncio.gather(*(stream.aclose() for stream in streams))
    await wait_until(engine, busy=False)


async def test_a_conversation_longer_than_the_context_is_an_error(served: tuple[Engine, str]) -> None:
    messages = [{"role": "user", "content": "word " * 20_000}]
    with pytest.raises(Exception, match="the model reads at most 8,192: shorten it") as caught:
        await Acytoo(served[1]).create_async("", messages)
    assert getattr(caught.value, "status", None) == 400


async def test_two_first_calls_at_the_same_time_start_one_server(model_file: Path) -> None:
    def server_count() -> int:
        return [thread.name for thread in threading.enumerate()].count("acytoo-embedded")

    before = server_count()
    provider = Acytoo(f"embedded://{model_file.parent}/./{model_file.name}")
    streams = [provider.create_async_generator("", STORY) for _ in range(2)]
    assert all(await asyncio.gather(*(anext(stream) for stream in streams)))
    await asyncio.gather(*(stream.aclose() for stream in streams))
    assert server_count() - before <= 1
    assert server_count() == 1


async def test_an_unknown_model_name_is_an_error_that_lists_the_known_names() -> None:
    with pytest.raises(UsageError, match="smollm2-135m-instruct"):
        await Acytoo("embedded://smollm3").create_async("", STORY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"", "expected a GGUF file"),
        (b"PK\x03\x04 a zip", "expected a GGUF file"),
        (b"GGUF", "invalid model file"),
        (b"GGUF" + b"\xff" * 4096, "invalid model file"),
    ],
)
async def test_an_invalid_model_file_is_an_error_and_nothing_is_printed(
    content: bytes | None, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my model.gguf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EmbeddedError, match=message) as caught:
        await Acytoo(f"embedded://{file}").create_async("", STORY)
    assert str(file) in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("size", "message"), [(1_000_000, "invalid model file"), (98_362_000, "cannot load")])
async def test_a_truncated_model_file_is_an_error_and_nothing_is_printed(
    size: int, message: str, model_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "truncated.gguf"
    with model_file.open("rb") as complete:
        file.write_bytes(complete.read(size))
    with pytest.raises(EmbeddedError, match=message):
        await Acytoo(f"embedded://{file}").create_async("", STORY)
    assert capfd.readouterr() == ("", "")
