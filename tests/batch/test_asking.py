"""Whether a row is asked for as a document or as a stream."""

from __future__ import annotations

import asyncio

import pytest

from acytoo import AsyncGeneratorProvider, Finish, RequestError, Route, TimedOutError, TruncatedError, Usage, dialects
from acytoo import provider as provider_at
from acytoo.batch import results
from acytoo.batch.asking import asker
from acytoo.batch.requests import Requests
from acytoo.batch.rows import Row
from acytoo.batch.scheduler import Result
from acytoo.errors import AcytooError
from acytoo.testing import FakeEndpoint, ReceivedRequest, ScriptedResponse, reply, status
from tests.skipping_loop import in_skipping_loop, skip

ANSWER = reply("Hello", Finish("stop"), Usage(input_tokens=2, output_tokens=3))


def fake(*responses: ScriptedResponse) -> FakeEndpoint:
    return FakeEndpoint(dialects.OpenAI(), *responses)


def model_at(upstream: FakeEndpoint, timeout: float | None = None) -> AsyncGeneratorProvider:
    return provider_at("compatible/m", url=upstream.url, timeout=timeout)


async def ask(provider: AsyncGeneratorProvider, count: int, longest_document: float = 25.0) -> list[Result]:
    """Return the results for so many rows, asked for one after another with one attempt each."""
    rows = iter([Row(number, number, {"prompt": f"p{number}"}) for number in range(count)])
    asked = asker(Requests(provider), longest_document)
    return [result async for result in results(rows, asked, jobs=1, attempts=1)]


def are_streamed(upstream: FakeEndpoint) -> list[bool]:
    return [request.json.get("stream", False) for request in upstream.requests]


async def test_rows_are_asked_for_as_documents() -> None:
    async with fake(ANSWER) as upstream:
        found = await ask(model_at(upstream), 3)
    assert [result.reply and result.reply.text for result in found] == ["Hello"] * 3
    assert are_streamed(upstream) == [False] * 3


@pytest.mark.parametrize("longest", [25.0, 0.0])
@pytest.mark.parametrize("name", ["openai", "openai-responses", "anthropic", "gemini", "ollama", "acytoo"])
async def test_documents_and_streams_of_every_api_have_the_same_replies(name: str, longest: float) -> None:
    async with FakeEndpoint(dialects.by_name(name), ANSWER) as upstream:
        found = await ask(provider_at(f"{name}/m", url=upstream.url, key="k"), 2, longest)
    replies = [result.reply for result in found]
    assert [reply and reply.text for reply in replies] == ["Hello"] * 2
    if name != "acytoo":
        assert [reply and reply.finish_reason for reply in replies] == ["stop"] * 2
        assert [reply and reply.usage and reply.usage.output_tokens for reply in replies] == [3, 3]


async def test_after_a_document_that_took_long_rows_are_streamed() -> None:
    async with fake(ANSWER) as upstream:
        found = await ask(model_at(upstream), 3, longest_document=0.0)
    assert [result.reply and result.reply.text for result in found] == ["Hello"] * 3
    assert are_streamed(upstream) == [False, True, True]


@pytest.mark.parametrize(
    ("failure", "error"),
    [(ANSWER.stall(after=0), TimedOutError), (status(504), AcytooError), (status(524), AcytooError)],
)
@in_skipping_loop
async def test_after_a_document_that_was_waited_for_in_vain_rows_are_streamed(
    failure: ScriptedResponse, error: type[AcytooError]
) -> None:
    async with fake(failure, ANSWER) as upstream:
        asking = asyncio.ensure_future(ask(model_at(upstream, timeout=1000), 3))
        await upstream.received()
        if error is TimedOutError:
            skip(1000)
        found = await asking
    assert [type(result.error) for result in found[1:]] == [type(None)] * 2
    assert isinstance(found[0].error, error)
    assert are_streamed(upstream) == [False, True, True]


async def test_after_a_document_that_failed_at_once_rows_are_still_documents() -> None:
    async with fake(status(500), ANSWER.reset(after_bytes=20), ANSWER) as upstream:
        found = await ask(model_at(upstream), 3)
    assert isinstance(found[1].error, TruncatedError)
    assert are_streamed(upstream) == [False] * 3


async def test_a_model_that_answers_only_in_streams_gets_no_further_request_for_a_document() -> None:
    def answer(received: ReceivedRequest) -> ScriptedResponse:
        return ANSWER if received.json.get("stream") else status(400, "This model only support stream mode")

    async with FakeEndpoint(dialects.OpenAI(), answer) as upstream:
        found = await ask(model_at(upstream), 3)
    assert [result.reply and result.reply.text for result in found] == ["Hello"] * 3
    assert are_streamed(upstream) == [False, True, True, True]


async def test_a_request_that_is_wrong_is_sent_once_if_other_rows_have_had_documents() -> None:
    async with fake(ANSWER, status(400, "too long")) as upstream:
        found = await ask(model_at(upstream), 2)
    assert isinstance(found[1].error, RequestError)
    assert are_streamed(upstream) == [False, False]


async def test_a_request_that_is_wrong_both_ways_keeps_documents_for_the_others() -> None:
    async with fake(status(400, "too long"), status(400, "too long"), ANSWER) as upstream:
        found = await ask(model_at(upstream), 2)
    assert isinstance(found[0].error, RequestError)
    assert found[0].attempts == 1
    assert are_streamed(upstream) == [False, True, False]


async def test_a_route_is_asked_for_streams() -> None:
    async with fake(ANSWER) as upstream:
        found = await ask(Route(model_at(upstream)), 2)
    assert [result.reply and result.reply.text for result in found] == ["Hello"] * 2
    assert are_streamed(upstream) == [True, True]


async def test_the_wait_for_a_document_counts_less_the_longer_it_is() -> None:
    long = reply("Hello", Finish("stop"), Usage(output_tokens=5000)).wait(0.3, after=0)
    async with fake(long) as upstream:
        answer = await asker(Requests(model_at(upstream)))(Row(1, 1, {"prompt": "p"}))
    assert answer.first_s < 0.3
