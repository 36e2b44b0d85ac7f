"""The engine with the real model, used in this process: what it is given, when it stops, what it refuses."""

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
from acytoo.embedded.provider import EngineProvider, Model, load, model_of
from acytoo.errors import EmbeddedError, UsageError
from acytoo.server.config import ServerConfig
from acytoo.server.run import start

STORY = [{"role": "user", "content": "Tell me a very long story."}]


class Client(AsyncGeneratorProvider):
    """A client of /v1/chat/completions, which hands the engine's own options on to it."""

    dialect = dialects.OpenAI()


FOR_EVER = {"ignore_eos": True, "max_tokens": 8000}


async def slots(engine: Engine) -> list[bool]:
    """Whether each of the engine's slots is generating, as the engine itself tells."""
    headers = {"authorization": f"Bearer {engine.key.reveal()}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(engine.url.removesuffix("/v1") + "/slots", headers=headers) as response,
    ):
        return [slot["is_processing"] for slot in await response.json()]


async def until(engine: Engine, *, busy: bool) -> None:
    """Return when some slot is generating, or none is any more; each look asks the engine anew.

    It looks after its clients when it was left alone for a second: who waits for it to stop must not ask all the time.
    """
    async with asyncio.timeout(240):
        while any(await slots(engine)) is not busy:
            if not busy:
                await asyncio.sleep(1.5)


@pytest.fixture(scope="module")
def loaded(model_file: Path) -> tuple[Engine, EngineProvider]:
    """The real model, in an engine of its own."""
    return load(model_of(f"embedded://{model_file}"))


@pytest.fixture
async def served(loaded: tuple[Engine, EngineProvider]) -> AsyncIterator[tuple[Engine, str]]:
    """The engine, and the URL of a server in front of it."""
    runner, url = await start(ServerConfig({"embedded": loaded[1]}, port=0, grace=0))
    await until(loaded[0], busy=False)
    yield loaded[0], url
    await runner.cleanup()


@pytest.mark.parametrize("end", ["break", "cancel", "error"])
async def test_the_engine_stops_generating_when_the_client_leaves(served: tuple[Engine, str], end: str) -> None:
    engine, url = served
    stream = Client(f"{url}/v1").create_async_generator("", STORY, extra_body=FOR_EVER)
    await anext(stream)
    assert any(await slots(engine))
    if end == "break":
        await stream.aclose()
    elif end == "cancel":
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    else:
        with pytest.raises(ZeroDivisionError):
            await stream.athrow(ZeroDivisionError())
    await until(engine, busy=False)


async def test_a_client_that_leaves_before_the_first_token_stops_the_engine_too(served: tuple[Engine, str]) -> None:
    engine, url = served
    long = [{"role": "user", "content": "Tell me more. " * 300}]
    task = asyncio.ensure_future(anext(Acytoo(url).create_async_generator("", long)))
    await until(engine, busy=True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(engine, busy=False)


async def test_prompts_whose_clients_have_left_hold_nobody_up_for_long(served: tuple[Engine, str]) -> None:
    engine, url = served

    async def seconds(words: int, name: str) -> float:
        began = time.monotonic()
        asked = [{"role": "user", "content": f"{name} " + "word " * words}]
        stream = Client(f"{url}/v1").create_async_generator("", asked, temperature=0, extra_body=FOR_EVER)
        await anext(stream)
        await stream.aclose()
        return time.monotonic() - began

    whole = await seconds(1000, "a")
    left = [asyncio.ensure_future(seconds(3000, name)) for name in "bc"]
    await until(engine, busy=True)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert await seconds(1, "d") < whole


async def test_a_warm_model_has_read_how_a_conversation_begins(model_file: Path) -> None:
    engine, provider = load(model_of(f"embedded://{model_file}"))
    engine.warm_up()
    reply = await provider.reply(STORY, max_tokens=1, temperature=0)
    assert reply.usage is not None
    assert reply.usage.cached_tokens > 10
    engine.close()


async def test_a_model_that_cannot_be_warmed_up_answers_all_the_same(model_file: Path) -> None:
    unwilling = "{% if not messages[0].content %}{{ raise_exception('empty') }}{% endif %}{{ messages[0].content }}"
    engine, provider = load(Model("unwilling", model_file, unwilling))
    engine.warm_up()
    assert (await provider.reply(STORY, temperature=0, extra_body={"ignore_eos": True, "max_tokens": 5})).text
    engine.close()


async def test_as_many_clients_as_there_are_slots_are_answered_at_once(served: tuple[Engine, str]) -> None:
    engine, url = served
    streams = [Client(f"{url}/v1").create_async_generator("", STORY, extra_body=FOR_EVER) for _ in range(4)]
    async with asyncio.timeout(240):
        assert all(await asyncio.gather(*(anext(stream) for stream in streams)))
        assert await slots(engine) == [True] * 4
    await asyncio.gather(*(stream.aclose() for stream in streams))
    await until(engine, busy=False)


async def test_a_conversation_longer_than_the_model_can_hold_is_an_error(served: tuple[Engine, str]) -> None:
    endless = [{"role": "user", "content": "word " * 20_000}]
    with pytest.raises(Exception, match="context") as caught:
        await Acytoo(served[1]).create_async("", endless)
    assert getattr(caught.value, "status", None) == 400


async def test_two_first_calls_at_once_start_one_engine(model_file: Path) -> None:
    def engines() -> int:
        return [thread.name for thread in threading.enumerate()].count("acytoo-embedded")

    before = engines()
    provider = Acytoo(f"embedded://{model_file.parent}/./{model_file.name}")
    streams = [provider.create_async_generator("", STORY) for _ in range(2)]
    assert all(await asyncio.gather(*(anext(stream) for stream in streams)))
    await asyncio.gather(*(stream.aclose() for stream in streams))
    assert engines() - before <= 1
    assert engines() == 1


async def test_a_name_that_nobody_knows_is_an_error_that_names_those_known() -> None:
    with pytest.raises(UsageError, match="smollm2-135m-instruct"):
        await Acytoo("embedded://smollm3").create_async("", STORY)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "not a GGUF file"),
        (b"PK\x03\x04 a zip", "not a GGUF file"),
        (b"GGUF", "cannot be loaded"),
        (b"GGUF" + b"\xff" * 4096, "cannot be loaded"),
    ],
)
async def test_a_bad_model_file_is_an_error_and_the_engine_says_nothing(
    content: bytes | None, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my model.gguf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EmbeddedError, match=words) as caught:
        await Acytoo(f"embedded://{file}").create_async("", STORY)
    assert str(file) in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [1_000_000, 90_000_000])
async def test_a_cut_model_file_is_an_error_and_the_engine_says_nothing(
    size: int, model_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cut.gguf"
    with model_file.open("rb") as whole:
        file.write_bytes(whole.read(size))
    with pytest.raises(EmbeddedError, match="cannot be loaded"):
        await Acytoo(f"embedded://{file}").create_async("", STORY)
    assert capfd.readouterr() == ("", "")
