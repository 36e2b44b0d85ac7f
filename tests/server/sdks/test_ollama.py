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
    collect_all,
    resolve,
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
        await resolve(client.close())


@pytest.fixture
async def client(kind: str, embedded: str) -> AsyncIterator[Any]:
    """The package's client of the server over the real model."""
    async with client_for(kind, embedded) as client:
        yield client


async def test_a_complete_reply_has_text_counts_and_its_reason(client: Any) -> None:
    reply = await resolve(client.chat(model=MODEL, messages=HELLO, options={"num_predict": 4, "temperature": 0}))
    assert reply.message.content
    assert (reply.done, reply.done_reason) == (True, "length")
    assert reply.eval_count == 4
    assert reply.prompt_eval_count > 0
    assert reply.model == MODEL


async def test_a_streamed_reply_equals_the_complete_one(client: Any) -> None:
    asked = {"model": MODEL, "messages": HELLO, "options": {"num_predict": 6, "temperature": 0}}
    whole = await resolve(client.chat(**asked))
    lines = await collect_all(client.chat(**asked, stream=True))
    texts = [line.message.content for line in lines]
    assert len(list(filter(None, texts))) > 1
    assert "".join(texts) == whole.message.content
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1].eval_count == 6


async def test_generate_answers_a_prompt_and_loads_the_model(client: Any) -> None:
    options = {"num_predict": 4, "temperature": 0, "mirostat": 0, "repeat_penalty": 1.1}
    reply = await resolve(client.generate(model=MODEL, prompt="Hi", options=options))
    assert reply.response
    assert (reply.done_reason, reply.eval_count) == ("length", 4)
    parts = await collect_all(await resolve(client.generate(model=MODEL, prompt="Hi", options=options, stream=True)))
    assert "".join(part.response for part in parts) == reply.response
    for load in (client.generate(model=MODEL), client.chat(model=MODEL)):
        assert (await resolve(load)).done_reason == "load"


async def test_a_tools_result_is_answered(client: Any) -> None:
    call = {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
    history = [
        {"role": "user", "content": WEATHER},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
    ]
    reply = await resolve(
        client.chat(model=MODEL, messages=history, tools=TOOLS, options={"num_predict": 4, "temperature": 0})
    )
    assert reply.message.content or reply.message.tool_calls


async def test_a_reply_obeys_its_schema(client: Any) -> None:
    asked = [{"role": "user", "content": "Rex is a dog."}]
    reply = await resolve(
        client.chat(model=MODEL, messages=asked, format=Pet.model_json_schema(), options={"temperature": 0})
    )
    assert Pet.model_validate_json(reply.message.content).kind in ("cat", "dog")


async def test_models_are_listed_and_shown(client: Any) -> None:
    assert [model.model for model in (await resolve(client.list())).models] == [MODEL]
    assert "tools" in (await resolve(client.show(MODEL))).capabilities


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"messages": [{"role": "king", "content": "x"}]}, "role"),
        ({"messages": HELLO, "options": {"num_predict": 2.5}}, "options.num_predict"),
    ],
)
async def test_a_wrong_request_is_a_response_error_with_400(client: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ollama.ResponseError, match=message) as raised:
        await resolve(client.chat(model=MODEL, **wrong))
    assert raised.value.status_code == 400


# Over scripted backends.


@pytest.mark.parametrize("stream", [False, True])
async def test_every_part_of_a_reply_arrives(kind: str, scripted: Scripted, stream: bool) -> None:
    async with client_for(kind, scripted(RICH)) as client:
        asked = client.chat(model="m", messages=HELLO, tools=TOOLS, stream=stream)
        lines = await collect_all(asked) if stream else [await resolve(asked)]
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
                await resolve(method(**asked))
            assert raised.value.status_code == 401
    async with client_for(kind, url, PASSWORD) as client:
        assert await resolve(client.chat(model="m", messages=HELLO))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("code", [400, 404, 429, 500])
async def test_the_backends_status_is_the_response_errors(
    kind: str, scripted: Scripted, stream: bool, code: int
) -> None:
    async with client_for(kind, scripted(status(code, "the backend's message", retry_after=7))) as client:
        with pytest.raises(ollama.ResponseError, match="the backend's message") as raised:
            asked = client.chat(model="m", messages=HELLO, stream=stream)
            await (collect_all(asked) if stream else resolve(asked))
    assert raised.value.status_code == code


@pytest.mark.parametrize(("dialect", "cut"), EVERY_CUT, ids=EVERY_CUT_IDS)
async def test_a_stream_that_was_cut_raises(kind: str, scripted: Scripted, dialect: Dialect, cut: str) -> None:
    async with client_for(kind, scripted(CUTS[cut], dialect=dialect)) as client:
        with pytest.raises(FAULTS):
            await collect_all(client.chat(model="m", messages=HELLO, stream=True))


@pytest.mark.parametrize(
    "answer", [LONG.close(after_bytes=30), json_error("no memory")], ids=["cut", "an error in 200"]
)
async def test_a_cut_document_and_an_error_with_status_200_raise(kind: str, scripted: Scripted, answer: Any) -> None:
    async with client_for(kind, scripted(answer)) as client:
        with pytest.raises(ollama.ResponseError):
            await resolve(client.chat(model="m", messages=HELLO))
