"""OpenAI's own SDK against our server: chat completions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
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
    check_call,
    collect_all,
    enter,
    resolve,
)

TOOLS = [{"type": "function", "function": FUNCTION}]
FAULTS = (openai.APIError, httpx2.HTTPError)


def client_for(kind: str, url: str, key: str = "any") -> Any:
    settings = {"base_url": f"{url}/v1", "api_key": key, "max_retries": 0}
    if kind == "sync":
        return openai.OpenAI(**settings, http_client=openai.DefaultHttpxClient(verify=TLS))
    return openai.AsyncOpenAI(**settings, http_client=openai.DefaultAsyncHttpxClient(verify=TLS))


@pytest.fixture
async def client(kind: str, embedded: str) -> AsyncIterator[Any]:
    """The SDK's client of the server over the real model."""
    async with enter(client_for(kind, embedded)) as client:
        yield client


async def test_a_complete_reply_has_text_usage_and_finish_reason(client: Any) -> None:
    reply = await resolve(client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, temperature=0))
    (choice,) = reply.choices
    assert choice.message.content
    assert choice.finish_reason == "length"
    assert reply.usage.completion_tokens == 4
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 4
    assert reply.model == MODEL


async def test_a_completion_of_the_earlier_api_is_answered(client: Any) -> None:
    options = {"model": MODEL, "prompt": "Hi", "max_tokens": 4, "temperature": 0}
    reply = await resolve(client.completions.create(**options))
    assert reply.choices[0].text
    assert (reply.choices[0].finish_reason, reply.usage.completion_tokens) == ("length", 4)
    chunks = await collect_all(await resolve(client.completions.create(**options, stream=True)))
    assert "".join(chunk.choices[0].text for chunk in chunks) == reply.choices[0].text


async def test_a_completion_of_the_earlier_api_has_its_prompt_or_log_probabilities(client: Any) -> None:
    options = {"model": MODEL, "prompt": "Hi", "max_tokens": 3, "temperature": 0}
    plain = await resolve(client.completions.create(**options))
    echoed = await collect_all(await resolve(client.completions.create(**options, echo=True, stream=True)))
    assert "".join(chunk.choices[0].text for chunk in echoed) == "Hi" + plain.choices[0].text
    (choice,) = (await resolve(client.completions.create(**options, logprobs=2))).choices
    assert "".join(choice.logprobs.tokens) == choice.text
    assert [len(likely) for likely in choice.logprobs.top_logprobs] == [2, 2, 2]


async def test_a_streamed_reply_equals_the_complete_one(client: Any) -> None:
    asked = {"model": MODEL, "messages": HELLO, "max_tokens": 6, "temperature": 0}
    whole = await resolve(client.chat.completions.create(**asked))
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = await collect_all(client.chat.completions.create(**asked, **options))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert len(list(filter(None, texts))) > 1
    assert "".join(texts) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"
    assert (last.choices, last.usage.completion_tokens) == ([], 6)


async def test_a_forced_tool_is_called_and_its_result_is_answered(client: Any) -> None:
    asked = [{"role": "user", "content": WEATHER}]
    call_it = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 60, "temperature": 0}
    reply = await resolve(client.chat.completions.create(model=MODEL, messages=asked, **call_it))
    (choice,) = reply.choices
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    check_call(call.function.name, call.function.arguments)
    history = [*asked, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    answer = await resolve(client.chat.completions.create(model=MODEL, messages=history, max_tokens=4, temperature=0))
    assert answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 0


async def test_a_forced_tool_is_called_when_streamed(client: Any) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    options = {"tools": TOOLS, "tool_choice": choice, "max_tokens": 60, "temperature": 0}
    asked = [{"role": "user", "content": WEATHER}]
    async with enter(client.chat.completions.stream(model=MODEL, messages=asked, **options)) as stream:
        await collect_all(stream)
        final = await resolve(stream.get_final_completion())
    (call,) = final.choices[0].message.tool_calls
    check_call(call.function.name, call.function.arguments)


async def test_a_reply_obeys_its_schema(client: Any) -> None:
    asked = [{"role": "user", "content": "Rex is a dog."}]
    parsed = await resolve(
        client.chat.completions.parse(model=MODEL, messages=asked, response_format=Pet, max_tokens=60, temperature=0)
    )
    assert isinstance(parsed.choices[0].message.parsed, Pet)


async def test_models_are_listed_and_an_unknown_one_is_not_found(client: Any) -> None:
    assert [model.id for model in (await resolve(client.models.list())).data] == [MODEL]
    assert (await resolve(client.models.retrieve(MODEL))).id == MODEL
    with pytest.raises(openai.NotFoundError):
        await resolve(client.models.retrieve("nobody"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"messages": []}, "messages is empty"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "the role 'nobody'"),
        ({"messages": HELLO, "temperature": "hot"}, "temperature"),
    ],
)
async def test_a_wrong_request_is_the_sdks_bad_request(client: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        await resolve(client.chat.completions.create(model=MODEL, **wrong))


# Over scripted backends.


async def test_every_part_of_a_reply_arrives_in_one_document(kind: str, scripted: Scripted) -> None:
    async with enter(client_for(kind, scripted(RICH))) as client:
        reply = await resolve(client.chat.completions.create(model="m", messages=HELLO, tools=TOOLS))
        assert_rich(reply)


async def test_every_part_of_a_reply_arrives_streamed(kind: str, scripted: Scripted) -> None:
    async with enter(client_for(kind, scripted(RICH))) as client:
        options = {"tools": TOOLS, "stream_options": {"include_usage": True}}
        async with enter(client.chat.completions.stream(model="m", messages=HELLO, **options)) as stream:
            await collect_all(stream)
            assert_rich(await resolve(stream.get_final_completion()))


def assert_rich(reply: Any) -> None:
    message = reply.choices[0].message
    assert message.content == RICH_TEXT
    assert message.reasoning_content == "Let me see."
    assert [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls] == RICH_CALLS
    assert reply.choices[0].finish_reason == "tool_calls"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (21, 12)
    assert reply.usage.prompt_tokens_details.cached_tokens == 5
    assert reply.usage.completion_tokens_details.reasoning_tokens == 4


async def test_a_wrong_password_is_the_sdks_authentication_error(kind: str, scripted: Scripted) -> None:
    url = scripted(LONG, password=PASSWORD)
    async with enter(client_for(kind, url, "guess")) as client:
        with pytest.raises(openai.AuthenticationError):
            await resolve(client.chat.completions.create(model="m", messages=HELLO))
        with pytest.raises(openai.AuthenticationError):
            await resolve(client.models.list())
    async with enter(client_for(kind, url, PASSWORD)) as client:
        assert await resolve(client.chat.completions.create(model="m", messages=HELLO))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_the_backends_status_is_the_sdks_error(
    kind: str, scripted: Scripted, stream: bool, code: int, error: type[openai.APIStatusError]
) -> None:
    url = scripted(status(code, "the backend's message", retry_after=7 if code == 429 else None))
    async with enter(client_for(kind, url)) as client:
        with pytest.raises(error, match="the backend's message") as raised:
            await resolve(client.chat.completions.create(model="m", messages=HELLO, stream=stream))
    assert raised.value.response.headers.get("retry-after") == ("7" if code == 429 else None)


@pytest.mark.parametrize(("dialect", "cut"), EVERY_CUT, ids=EVERY_CUT_IDS)
async def test_a_stream_that_was_cut_raises(kind: str, scripted: Scripted, dialect: Dialect, cut: str) -> None:
    async with enter(client_for(kind, scripted(CUTS[cut], dialect=dialect))) as client:
        stream = await resolve(client.chat.completions.create(model="m", messages=HELLO, stream=True))
        with pytest.raises(FAULTS):
            await collect_all(stream)


@pytest.mark.parametrize(
    "answer", [LONG.close(after_bytes=30), json_error("no memory")], ids=["cut", "an error in 200"]
)
async def test_a_cut_document_and_an_error_with_status_200_raise(kind: str, scripted: Scripted, answer: Any) -> None:
    async with enter(client_for(kind, scripted(answer))) as client:
        with pytest.raises(openai.InternalServerError):
            await resolve(client.chat.completions.create(model="m", messages=HELLO))
