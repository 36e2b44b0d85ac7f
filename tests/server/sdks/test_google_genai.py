"""Google's own SDK against our server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
from google import genai
from google.genai import errors, types

from acytoo.dialects import Dialect
from acytoo.testing import json_error, status
from tests.server.sdks.conftest import Scripted
from tests.server.sdks.sync_and_async import (
    CUTS,
    EVERY_CUT,
    EVERY_CUT_IDS,
    FUNCTION,
    LONG,
    MODEL,
    PARAMETERS,
    PASSWORD,
    RICH,
    RICH_CALLS,
    RICH_TEXT,
    TLS,
    WEATHER,
    Pet,
    check_call,
    collect_all,
    resolve,
)

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
DECLARED = {"name": FUNCTION["name"], "description": FUNCTION["description"], "parameters_json_schema": PARAMETERS}
TOOLS = [{"function_declarations": [DECLARED]}]
FAULTS = (errors.APIError, httpx.HTTPError, httpx2.HTTPError, aiohttp.ClientError)
"""Its synchronous client is built on one library, its asynchronous one on another."""


@asynccontextmanager
async def models_of(kind: str, url: str, key: str = "any") -> AsyncIterator[Any]:
    args = {"client_args": {"verify": TLS}, "async_client_args": {"verify": TLS, "ssl": TLS}}
    client = genai.Client(api_key=key, http_options={"base_url": url, **args})
    try:
        yield client.models if kind == "sync" else client.aio.models
    finally:
        client.close()
        await client.aio.aclose()


@pytest.fixture
async def models(kind: str, embedded: str) -> AsyncIterator[Any]:
    """The SDK's client of the server over the real model."""
    async with models_of(kind, embedded) as models:
        yield models


async def test_a_complete_reply_has_text_usage_and_finish_reason(models: Any) -> None:
    config = {"max_output_tokens": 4, "temperature": 0, "system_instruction": "Be brief."}
    reply = await resolve(models.generate_content(model=MODEL, contents="Say hello.", config=config))
    assert reply.text
    assert reply.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    usage = reply.usage_metadata
    assert usage.candidates_token_count == 4
    assert usage.total_token_count == usage.prompt_token_count + 4
    assert reply.model_version == MODEL


async def test_a_streamed_reply_equals_the_complete_one(models: Any) -> None:
    asked = {"model": MODEL, "contents": "Say hello.", "config": {"max_output_tokens": 6, "temperature": 0}}
    whole = await resolve(models.generate_content(**asked))
    chunks = await collect_all(models.generate_content_stream(**asked))
    texts = [chunk.text or "" for chunk in chunks]
    assert len(list(filter(None, texts))) > 1
    assert "".join(texts) == whole.text
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert chunks[-1].usage_metadata.candidates_token_count == 6


async def test_a_forced_tool_is_called_and_its_result_is_answered(models: Any) -> None:
    asked = types.UserContent(WEATHER)
    config = {
        "max_output_tokens": 60,
        "temperature": 0,
        "tools": TOOLS,
        "tool_config": {"function_calling_config": {"mode": "ANY"}},
    }
    reply = await resolve(models.generate_content(model=MODEL, contents=[asked], config=config))
    (call,) = reply.function_calls
    check_call(call.name, call.args)
    result = types.Part.from_function_response(name=call.name, response={"weather": "sunny"})
    history = [asked, reply.candidates[0].content, types.UserContent(result)]
    answer = await resolve(
        models.generate_content(model=MODEL, contents=history, config={"max_output_tokens": 4, "temperature": 0})
    )
    assert answer.text


async def test_a_reply_obeys_its_schema(models: Any) -> None:
    config = {"response_mime_type": "application/json", "response_schema": Pet, "temperature": 0}
    reply = await resolve(models.generate_content(model=MODEL, contents="Rex is a dog.", config=config))
    assert isinstance(reply.parsed, Pet)


async def test_tokens_are_counted(models: Any) -> None:
    short = await resolve(models.count_tokens(model=MODEL, contents="Say hello."))
    longer = await resolve(models.count_tokens(model=MODEL, contents="Say hello. " * 20))
    assert 0 < short.total_tokens < longer.total_tokens


async def test_models_are_listed_and_an_unknown_one_is_not_found(models: Any) -> None:
    assert [model.name for model in await collect_all(models.list())] == [f"models/{MODEL}"]
    assert (await resolve(models.get(model=MODEL))).display_name == MODEL
    with pytest.raises(errors.ClientError) as raised:
        await resolve(models.get(model="nobody"))
    assert raised.value.code == 404


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"contents": []}, "contents is missing"), ({"generationConfig": {"temperature": "hot"}}, "temperature")],
)
async def test_a_wrong_request_is_a_client_error_with_400(models: Any, wrong: dict[str, Any], message: str) -> None:
    config = {"http_options": {"extra_body": wrong}}
    with pytest.raises(errors.ClientError, match=message) as raised:
        await resolve(models.generate_content(model=MODEL, contents="Hello", config=config))
    assert raised.value.code == 400


# Over scripted backends.


@pytest.mark.parametrize("stream", [False, True])
async def test_every_part_of_a_reply_arrives(kind: str, scripted: Scripted, stream: bool) -> None:
    async with models_of(kind, scripted(RICH)) as models:
        asked = {"model": "m", "contents": "Hello", "config": {"tools": TOOLS}}
        if stream:
            chunks = await collect_all(models.generate_content_stream(**asked))
        else:
            chunks = [await resolve(models.generate_content(**asked))]
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or ()]
    assert "".join(part.text for part in parts if part.text and part.thought) == "Let me see."
    assert "".join(part.text for part in parts if part.text and not part.thought) == RICH_TEXT
    calls = [part.function_call for part in parts if part.function_call]
    assert [(call.name, call.args) for call in calls] == RICH_CALLS
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    usage = chunks[-1].usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (21, 5)
    assert (usage.candidates_token_count, usage.thoughts_token_count, usage.total_token_count) == (8, 4, 33)


async def test_a_wrong_password_is_a_client_error_with_401(kind: str, scripted: Scripted) -> None:
    url = scripted(LONG, password=PASSWORD)
    async with models_of(kind, url, "guess") as models:
        for method, asked in (
            (models.generate_content, {"model": "m", "contents": "Hello"}),
            (models.get, {"model": "m-1"}),
        ):
            with pytest.raises(errors.ClientError) as raised:
                await resolve(method(**asked))
            assert (raised.value.code, raised.value.status) == (401, "UNAUTHENTICATED")
    async with models_of(kind, url, PASSWORD) as models:
        assert await resolve(models.generate_content(model="m", contents="Hello"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "error", "word"),
    [
        (400, errors.ClientError, "INVALID_ARGUMENT"),
        (404, errors.ClientError, "NOT_FOUND"),
        (429, errors.ClientError, "RESOURCE_EXHAUSTED"),
        (500, errors.ServerError, "INTERNAL"),
    ],
)
async def test_the_backends_status_is_the_sdks_error(
    kind: str, scripted: Scripted, stream: bool, code: int, error: type[errors.APIError], word: str
) -> None:
    async with models_of(kind, scripted(status(code, "the backend's message", retry_after=7))) as models:
        with pytest.raises(error, match="the backend's message") as raised:
            if stream:
                await collect_all(models.generate_content_stream(model="m", contents="Hello"))
            else:
                await resolve(models.generate_content(model="m", contents="Hello"))
    assert (raised.value.code, raised.value.status) == (code, word)


@pytest.mark.parametrize(("dialect", "cut"), EVERY_CUT, ids=EVERY_CUT_IDS)
async def test_a_stream_that_was_cut_raises(kind: str, scripted: Scripted, dialect: Dialect, cut: str) -> None:
    async with models_of(kind, scripted(CUTS[cut], dialect=dialect)) as models:
        with pytest.raises(FAULTS):
            await collect_all(models.generate_content_stream(model="m", contents="Hello"))


@pytest.mark.parametrize(
    "answer", [LONG.close(after_bytes=30), json_error("no memory")], ids=["cut", "an error in 200"]
)
async def test_a_cut_document_and_an_error_with_status_200_raise(kind: str, scripted: Scripted, answer: Any) -> None:
    async with models_of(kind, scripted(answer)) as models:
        with pytest.raises(errors.ServerError):
            await resolve(models.generate_content(model="m", contents="Hello"))
