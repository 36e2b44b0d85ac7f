"""Anthropic's own SDK against our server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.testing import json_error, reply, status
from tests.server.sdks.conftest import Scripted
from tests.server.sdks.sync_and_async import (
    CUTS,
    EVERY_CUT,
    EVERY_CUT_IDS,
    FUNCTION,
    HELLO,
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
    enter,
    resolve,
)

TOOLS = [{"name": FUNCTION["name"], "description": FUNCTION["description"], "input_schema": PARAMETERS}]
FAULTS = (anthropic.APIError, httpx2.HTTPError)
GREEDY = {"temperature": 0}
ASKED = {"model": "m", "max_tokens": 100, "messages": HELLO}


def client_for(kind: str, url: str, key: str = "any") -> Any:
    settings = {"base_url": url, "api_key": key, "max_retries": 0}
    if kind == "sync":
        return anthropic.Anthropic(**settings, http_client=anthropic.DefaultHttpxClient(verify=TLS))
    return anthropic.AsyncAnthropic(**settings, http_client=anthropic.DefaultAsyncHttpxClient(verify=TLS))


@pytest.fixture
async def client(kind: str, embedded: str) -> AsyncIterator[Any]:
    """The SDK's client of the server over the real model."""
    async with enter(client_for(kind, embedded)) as client:
        yield client


async def test_a_complete_message_has_text_usage_and_stop_reason(client: Any) -> None:
    message = await resolve(client.messages.create(model=MODEL, max_tokens=4, extra_body=GREEDY, messages=HELLO))
    (block,) = message.content
    assert block.text
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 4
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 4
    assert message.model == MODEL


async def test_a_streamed_message_equals_the_complete_one(client: Any) -> None:
    asked = {
        "model": MODEL,
        "max_tokens": 6,
        "messages": HELLO,
        "extra_body": GREEDY,
        "system": "Be brief.",
    }
    whole = await resolve(client.messages.create(**asked))
    events = await collect_all(client.messages.create(**asked, stream=True))
    texts = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert len(texts) > 1
    assert "".join(texts) == whole.content[0].text
    assert events[-1].type == "message_stop"


async def test_the_stream_helper_collects_the_message(client: Any) -> None:
    async with enter(client.messages.stream(model=MODEL, max_tokens=4, extra_body=GREEDY, messages=HELLO)) as stream:
        texts = await collect_all(stream.text_stream)
        final = await resolve(stream.get_final_message())
    assert "".join(texts) == final.content[0].text != ""
    assert final.stop_reason == "max_tokens"
    assert final.usage.output_tokens == 4


async def test_tokens_are_counted(client: Any) -> None:
    short = await resolve(client.messages.count_tokens(model=MODEL, messages=HELLO))
    longer = [{"role": "user", "content": "Say hello. " * 20}]
    assert (
        0
        < short.input_tokens
        < (await resolve(client.messages.count_tokens(model=MODEL, messages=longer))).input_tokens
    )


async def test_a_forced_tool_is_called_and_its_result_is_answered(client: Any) -> None:
    asked = [{"role": "user", "content": WEATHER}]
    call_it = {"tools": TOOLS, "tool_choice": {"type": "any"}}
    message = await resolve(
        client.messages.create(model=MODEL, max_tokens=60, extra_body=GREEDY, messages=asked, **call_it)
    )
    (call,) = message.content
    assert message.stop_reason == "tool_use"
    check_call(call.name, call.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    history = [
        *asked,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result, {"type": "text", "text": "Well?"}]},
    ]
    answer = await resolve(client.messages.create(model=MODEL, max_tokens=4, extra_body=GREEDY, messages=history))
    assert answer.content[0].text


async def test_a_forced_tool_is_called_when_streamed(client: Any) -> None:
    call_it = {"tools": TOOLS, "tool_choice": {"type": "tool", "name": "get_weather"}}
    asked = [{"role": "user", "content": WEATHER}]
    async with enter(
        client.messages.stream(model=MODEL, max_tokens=60, extra_body=GREEDY, messages=asked, **call_it)
    ) as stream:
        final = await resolve(stream.get_final_message())
    (call,) = final.content
    check_call(call.name, call.input)


async def test_a_message_obeys_its_schema(client: Any) -> None:
    asked = [{"role": "user", "content": "Rex is a dog."}]
    parsed = await resolve(
        client.messages.parse(model=MODEL, max_tokens=60, extra_body=GREEDY, messages=asked, output_format=Pet)
    )
    assert isinstance(parsed.parsed_output, Pet)


async def test_models_are_listed_and_an_unknown_one_is_not_found(client: Any) -> None:
    assert [model.id for model in (await resolve(client.models.list())).data] == [MODEL]
    assert (await resolve(client.models.retrieve(MODEL))).id == MODEL
    with pytest.raises(anthropic.NotFoundError):
        await resolve(client.models.retrieve("nobody"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"messages": []}, "messages is empty"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "nobody"),
        ({"messages": HELLO, "temperature": "hot"}, "temperature"),
    ],
)
async def test_a_wrong_request_is_the_sdks_bad_request(client: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=message):
        await resolve(client.messages.create(model=MODEL, max_tokens=4, extra_body=wrong, messages=HELLO))


# Over scripted backends.


async def test_every_part_of_a_reply_arrives_in_one_document(kind: str, scripted: Scripted) -> None:
    async with enter(client_for(kind, scripted(RICH))) as client:
        assert_rich(await resolve(client.messages.create(**ASKED, tools=TOOLS)))


async def test_every_part_of_a_reply_arrives_streamed(kind: str, scripted: Scripted) -> None:
    client = client_for(kind, scripted(RICH))
    async with enter(client), enter(client.messages.stream(**ASKED, tools=TOOLS)) as stream:
        assert_rich(await resolve(stream.get_final_message()))


def assert_rich(message: Any) -> None:
    thought, text, *calls = message.content
    assert (thought.type, thought.thinking) == ("thinking", "Let me see.")
    assert text.text == RICH_TEXT
    assert [(call.name, call.input) for call in calls] == RICH_CALLS
    assert message.stop_reason == "tool_use"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (16, 5, 12)


async def test_a_wrong_password_is_the_sdks_authentication_error(kind: str, scripted: Scripted) -> None:
    url = scripted(LONG, password=PASSWORD)
    async with enter(client_for(kind, url, "guess")) as client:
        for call in (client.messages.create, client.messages.count_tokens):
            asked = {k: v for k, v in ASKED.items() if k != "max_tokens" or call == client.messages.create}
            with pytest.raises(anthropic.AuthenticationError):
                await resolve(call(**asked))
    async with enter(client_for(kind, url, PASSWORD)) as client:
        assert await resolve(client.messages.create(**ASKED))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, anthropic.BadRequestError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
async def test_the_backends_status_is_the_sdks_error(
    kind: str, scripted: Scripted, stream: bool, code: int, error: type[anthropic.APIStatusError]
) -> None:
    url = scripted(status(code, "the backend's message", retry_after=7 if code == 429 else None))
    async with enter(client_for(kind, url)) as client:
        with pytest.raises(error, match="the backend's message") as raised:
            await resolve(client.messages.create(**ASKED, stream=stream))
    assert raised.value.response.headers.get("retry-after") == ("7" if code == 429 else None)


@pytest.mark.parametrize(("dialect", "cut"), EVERY_CUT, ids=EVERY_CUT_IDS)
async def test_a_stream_that_was_cut_raises(kind: str, scripted: Scripted, dialect: Dialect, cut: str) -> None:
    async with enter(client_for(kind, scripted(CUTS[cut], dialect=dialect))) as client:
        with pytest.raises(FAULTS):
            await collect_all(client.messages.create(**ASKED, stream=True))


@pytest.mark.parametrize("cut", CUTS)
async def test_the_stream_helper_raises_for_a_cut_reply(kind: str, scripted: Scripted, cut: str) -> None:
    async with enter(client_for(kind, scripted(CUTS[cut], dialect=dialects.Anthropic()))) as client:
        with pytest.raises(FAULTS):
            async with enter(client.messages.stream(**ASKED)) as stream:
                await resolve(stream.get_final_message())


@pytest.mark.parametrize(
    "answer", [LONG.close(after_bytes=30), json_error("no memory")], ids=["cut", "an error in 200"]
)
async def test_a_cut_document_and_an_error_with_status_200_raise(kind: str, scripted: Scripted, answer: Any) -> None:
    async with enter(client_for(kind, scripted(answer))) as client:
        with pytest.raises(anthropic.InternalServerError):
            await resolve(client.messages.create(**ASKED))


async def test_a_tool_runner_continues_without_the_thread_that_this_server_does_not_keep(
    kind: str, scripted: Scripted
) -> None:
    url = scripted(reply("Hello"))
    async with enter(client_for(kind, url)) as client:
        runner = client.beta.messages.tool_runner(model="m", max_tokens=9, messages=HELLO, tools=[])
        final = await resolve(runner.until_done())
    assert final.content[0].text == "Hello"
