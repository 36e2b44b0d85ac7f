"""OpenAI's own SDK against our server: responses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.testing import json_error, reply, status
from acytoo.types import Finish, Start
from tests.server.sdks.conftest import Scripted
from tests.server.sdks.sync_and_async import (
    CUTS,
    EVERY_CUT,
    EVERY_CUT_IDS,
    FUNCTION,
    LONG,
    MODEL,
    PASSWORD,
    RICH,
    RICH_CALLS,
    RICH_TEXT,
    WEATHER,
    Pet,
    check_call,
    collect_all,
    enter,
    resolve,
)
from tests.server.sdks.test_openai import client_for

TOOLS = [{"type": "function", **FUNCTION}]
FAULTS = (openai.APIError, httpx2.HTTPError)


@pytest.fixture
async def client(kind: str, embedded: str) -> AsyncIterator[Any]:
    """The SDK's client of the server over the real model."""
    async with enter(client_for(kind, embedded)) as client:
        yield client


async def test_a_complete_response_has_text_usage_and_the_reason_why_it_is_incomplete(client: Any) -> None:
    response = await resolve(
        client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=4, temperature=0)
    )
    assert response.output_text
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage.output_tokens == 4
    assert response.usage.total_tokens == response.usage.input_tokens + 4


async def test_a_streamed_response_equals_the_complete_one(client: Any) -> None:
    asked = {"model": MODEL, "input": "Say hello.", "max_output_tokens": 6, "temperature": 0}
    whole = await resolve(client.responses.create(**asked))
    events = await collect_all(client.responses.create(**asked, stream=True))
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(texts) > 1
    assert "".join(texts) == whole.output_text == events[-1].response.output_text
    assert events[-1].type == "response.incomplete"
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_a_forced_tool_is_called_and_its_result_is_answered(client: Any) -> None:
    asked = [{"role": "user", "content": WEATHER}]
    call_it = {"tools": TOOLS, "tool_choice": "required", "max_output_tokens": 60, "temperature": 0}
    response = await resolve(client.responses.create(model=MODEL, input=asked, **call_it))
    (call,) = response.output
    assert response.status == "completed"
    check_call(call.name, call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    history = [*asked, *response.output, result]
    answer = await resolve(
        client.responses.create(
            model=MODEL, input=history, instructions="Be brief.", max_output_tokens=4, temperature=0
        )
    )
    assert answer.output_text


async def test_the_stream_helper_collects_a_call(client: Any) -> None:
    options = {"tools": TOOLS, "tool_choice": {"type": "function", "name": "get_weather"}, "temperature": 0}
    async with enter(client.responses.stream(model=MODEL, input=WEATHER, **options)) as stream:
        events = await collect_all(stream)
        final = await resolve(stream.get_final_response())
    (call,) = final.output
    check_call(call.name, call.arguments)
    assert events[-1].type == "response.completed"


async def test_a_response_obeys_its_schema(client: Any) -> None:
    parsed = await resolve(client.responses.parse(model=MODEL, input="Rex is a dog.", text_format=Pet, temperature=0))
    assert isinstance(parsed.output_parsed, Pet)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input": []}, "input"),
        ({"input": "x", "temperature": "hot"}, "temperature"),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
    ],
)
async def test_a_wrong_request_is_the_sdks_bad_request(client: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        await resolve(client.responses.create(model=MODEL, **wrong))


# Over scripted backends.


async def test_every_part_of_a_reply_arrives_in_one_document(kind: str, scripted: Scripted) -> None:
    async with enter(client_for(kind, scripted(RICH))) as client:
        assert_rich(await resolve(client.responses.create(model="m", input="Hello", tools=TOOLS)))


async def test_every_part_of_a_reply_arrives_streamed(kind: str, scripted: Scripted) -> None:
    client = client_for(kind, scripted(RICH))
    async with enter(client), enter(client.responses.stream(model="m", input="Hello", tools=TOOLS)) as stream:
        events = await collect_all(stream)
        assert_rich(await resolve(stream.get_final_response()))
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == '{"city":"Paris"}{"city":"Rome"}'


def assert_rich(response: Any) -> None:
    thought, _, *calls = response.output
    assert "".join(part.text for part in thought.summary) == "Let me see."
    assert response.output_text == RICH_TEXT
    assert [(call.name, json.loads(call.arguments)) for call in calls] == RICH_CALLS
    assert (response.usage.input_tokens, response.usage.output_tokens) == (21, 12)
    assert response.usage.input_tokens_details.cached_tokens == 5
    assert response.usage.output_tokens_details.reasoning_tokens == 4


@pytest.mark.parametrize("stream", [False, True], ids=["complete", "streamed"])
@pytest.mark.parametrize("reply_id", ["chatcmpl-123", "gen-" + "7" * 24], ids=["short", "repeated"])
@pytest.mark.parametrize(
    "dialect", [dialects.OpenAI(), dialects.Ollama(), dialects.Acytoo()], ids=lambda dialect: dialect.name
)
async def test_each_turn_can_refer_to_the_one_before(
    kind: str, scripted: Scripted, dialect: Dialect, reply_id: str, stream: bool
) -> None:
    """Whatever id the backend gives its replies: Ollama's compatible API has `chatcmpl-123`, a cache repeats one."""
    start = Start(reply_id, "m", 7)
    answers = [reply(start, f"Answer {turn}.", Finish("stop")) for turn in range(3)]
    async with enter(client_for(kind, scripted(*answers, dialect=dialect))) as client:
        previous = None
        for turn in range(3):
            asked = {"model": "m", "input": f"Question {turn}?", "previous_response_id": previous}
            if stream:
                events = await collect_all(client.responses.create(**asked, stream=True))
                response = events[-1].response
                assert events[0].response.id == response.id
            else:
                response = await resolve(client.responses.create(**asked))
            assert response.output_text == f"Answer {turn}."
            assert response.id.startswith("resp_")
            assert response.id != previous
            previous = response.id


async def test_a_wrong_password_is_the_sdks_authentication_error(kind: str, scripted: Scripted) -> None:
    async with enter(client_for(kind, scripted(LONG, password=PASSWORD), "guess")) as client:
        with pytest.raises(openai.AuthenticationError):
            await resolve(client.responses.create(model="m", input="Hello"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "error"),
    [(400, openai.BadRequestError), (429, openai.RateLimitError), (500, openai.InternalServerError)],
)
async def test_the_backends_status_is_the_sdks_error(
    kind: str, scripted: Scripted, stream: bool, code: int, error: type[openai.APIStatusError]
) -> None:
    url = scripted(status(code, "the backend's message", retry_after=7 if code == 429 else None))
    async with enter(client_for(kind, url)) as client:
        with pytest.raises(error, match="the backend's message") as raised:
            await resolve(client.responses.create(model="m", input="Hello", stream=stream))
    assert raised.value.response.headers.get("retry-after") == ("7" if code == 429 else None)


@pytest.mark.parametrize(("dialect", "cut"), EVERY_CUT, ids=EVERY_CUT_IDS)
async def test_a_stream_that_was_cut_raises(kind: str, scripted: Scripted, dialect: Dialect, cut: str) -> None:
    async with enter(client_for(kind, scripted(CUTS[cut], dialect=dialect))) as client:
        with pytest.raises(FAULTS):
            await collect_all(client.responses.create(model="m", input="Hello", stream=True))


@pytest.mark.parametrize("cut", CUTS)
async def test_the_stream_helper_raises_for_a_cut_reply(kind: str, scripted: Scripted, cut: str) -> None:
    async with enter(client_for(kind, scripted(CUTS[cut], dialect=dialects.OpenAIResponses()))) as client:
        with pytest.raises(FAULTS):
            async with enter(client.responses.stream(model="m", input="Hello")) as stream:
                await resolve(stream.get_final_response())


@pytest.mark.parametrize(
    "answer", [LONG.close(after_bytes=30), json_error("no memory")], ids=["cut", "an error in 200"]
)
async def test_a_cut_document_and_an_error_with_status_200_raise(kind: str, scripted: Scripted, answer: Any) -> None:
    async with enter(client_for(kind, scripted(answer))) as client:
        with pytest.raises(openai.InternalServerError):
            await resolve(client.responses.create(model="m", input="Hello"))
