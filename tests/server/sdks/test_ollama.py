"""Ollama's own Python client against our server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import ollama
import pytest

from acytoo.dialects import Dialect
from acytoo.testing import json_error, status
from tests.server.sdks.conftest import Scripted
from tests.server.sdks.sync_and_async import (
    CUTS,
    EVERY_CUT,
    EVERY_CUT_IDS,
    FUNCTION,
    HELLO,
    LONG,
    MODEL,
    PASSWORD,
    RICH,
    RICH_CALLS,
    RICH_TEXT,
    TLS,
    WEATHER,
    Pet,
    listed,
    settled,
)

TOOLS = [{"type": "function", "function": FUNCTION}]
FAULTS = (ollama.ResponseError, httpx.HTTPError)


@asynccontextmanager
async def client_for(kind: str, url: str, key: str = "any") -> AsyncIterator[Any]:
    maker = ollama.Client if kind == "sync" else ollama.AsyncClient
    client = maker(host=url, headers={"authorization": f"Bearer {key}"}, verify=TLS)
    try:
        yield client
    finally:
        await settled(client.close())


@pytest.fixture
async def client(kind: str, embedded: str) -> AsyncIterator[Any]:
    """The package's client of the server over the real model."""
    async with client_for(kind, embedded) as client:
        yield client


async def test_a_whole_reply_has_text_counts_and_its_reason(client: Any) -> None:
    reply = await settled(client.chat(model=MODEL, messages=HELLO, options={"num_predict": 4, "temperature": 0}))
    assert reply.message.content
    assert (reply.done, reply.done_reason) == (True, "length")
    assert reply.eval_count == 4
    assert reply.prompt_eval_count > 0
    assert reply.model == MODEL


async def test_a_streamed_reply_is_the_whole_one_in_pieces(client: Any) -> None:
    asked = {"model": MODEL, "messages": HELLO, "options": {"num_predict": 6, "temperature": 0}}
    whole = await settled(client.chat(**asked))
    lines = await listed(client.chat(**asked, stream=True))
    texts = [line.message.content for line in lines]
    assert len(list(filter(None, texts))) > 1
    assert "".join(texts) == whole.message.content
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1].eval_count == 6


async def test_a_tools_result_is_answered(client: Any) -> None:
    call = {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
    history = [
        {"role": "user", "content": WEATHER},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
    ]
    reply = await settled(
        client.chat(model=MODEL, messages=history, tools=TOOLS, options={"num_predict": 4, "temperature": 0})
    )
    assert reply.message.content or reply.message.tool_calls


async def test_a_reply_obeys_its_schema(client: Any) -> None:
    asked = [{"role": "user", "content": "Rex is a dog."}]
    reply = await settled(
        client.chat(model=MODEL, messages=asked, format=Pet.model_json_schema(), options={"temperature": 0})
    )
    assert Pet.model_validate_json(reply.message.content).kind in ("cat", "dog")


async def test_models_are_listed_and_shown(client: Any) -> None:
    assert [model.model for model in (await settled(client.list())).models] == [MODEL]
    assert "tools" in (await settled(client.show(MODEL))).capabilities


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"messages": []}, "messages is empty"),
        ({"messages": HELLO, "options": {"num_predict": 2.5}}, "max_tokens"),
    ],
)
async def test_a_wrong_request_is_a_response_error_with_400(client: Any, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ollama.ResponseError, match=words) as raised:
        await settled(client.chat(model=MODEL, **wrong))
    assert raised.value.status_code == 400


# Over scripted backends.


@pytest.mark.parametrize("stream", [False, True])
async def test_everything_a_reply_can_say_arrives(kind: str, scripted: Scripted, stream: bool) -> None:
    async with client_for(kind, scripted(RICH)) as client:
        asked = client.chat(model="m", messages=HELLO, tools=TOOLS, stream=stream)
        lines = await listed(asked) if stream else [await settled(asked)]
    messages = [line.message for line in lines]
    assert "".join(message.thinking or "" for message in messages) == "Let me see."
    assert "".join(message.content or "" for message in messages) == RICH_TEXT
    calls = [call.function for message in messages for call in message.tool_calls or ()]
    assert [(call.name, call.arguments) for call in calls] == RICH_CALLS
    assert (lines[-1].prompt_eval_count, lines[-1].eval_count) == (21, 12)
    assert lines[-1].done_reason == "stop"


async def test_a_wrong_password_is_a_response_error_with_401(kind: str, scripted: Scripted) -> None:
    url = scripted(LONG, password=PASSWORD)
    async with client_for(kind, url, "guess") as client:
        for method, asked in ((client.chat, {"model": "m", "messages": HELLO}), (client.list, {})):
            with pytest.raises(ollama.ResponseError) as raised:
                await settled(method(**asked))
            assert raised.value.status_code == 401
    async with client_for(kind, url, PASSWORD) as client:
        assert await settled(client.chat(model="m", messages=HELLO))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("code", [400, 404, 429, 500])
async def test_the_backends_status_is_the_response_errors(
    kind: str, scripted: Scripted, stream: bool, code: int
) -> None:
    async with client_for(kind, scripted(status(code, "the backend's words", retry_after=7))) as client:
        with pytest.raises(ollama.ResponseError, match="the backend's words") as raised:
            asked = client.chat(model="m", messages=HELLO, stream=stream)
            await (listed(asked) if stream else settled(asked))
    assert raised.value.status_code == code


@pytest.mark.parametrize(("dialect", "cut"), EVERY_CUT, ids=EVERY_CUT_IDS)
async def test_a_stream_that_was_cut_raises(kind: str, scripted: Scripted, dialect: Dialect, cut: str) -> None:
    async with client_for(kind, scripted(CUTS[cut], dialect=dialect)) as client:
        with pytest.raises(FAULTS):
            await listed(client.chat(model="m", messages=HELLO, stream=True))


@pytest.mark.parametrize(
    "answer", [LONG.close(after_bytes=30), json_error("no memory")], ids=["cut", "an error in 200"]
)
async def test_a_whole_reply_that_is_none_raises(kind: str, scripted: Scripted, answer: Any) -> None:
    async with client_for(kind, scripted(answer)) as client:
        with pytest.raises(ollama.ResponseError):
            await settled(client.chat(model="m", messages=HELLO))
