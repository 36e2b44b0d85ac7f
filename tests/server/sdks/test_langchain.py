"""LangChain's ChatOpenAI against our server, by both of OpenAI's APIs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

from acytoo.testing import status
from tests.server.sdks.conftest import Scripted
from tests.server.sdks.sync_and_async import (
    CUTS,
    FUNCTION,
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
    resolve,
)

TOOL = {"type": "function", "function": FUNCTION}
FAULTS = (openai.APIError, httpx2.HTTPError)
BOTH_APIS = pytest.mark.parametrize("responses", [False, True], ids=["chat completions", "responses"])


@asynccontextmanager
async def chat(url: str, key: str = "any", **settings: Any) -> AsyncIterator[ChatOpenAI]:
    """A chat model with HTTP clients of its own, closed at the end: LangChain's are kept for ever."""
    with openai.DefaultHttpxClient(verify=TLS) as client:
        async with openai.DefaultAsyncHttpxClient(verify=TLS) as async_client:
            yield ChatOpenAI(
                base_url=f"{url}/v1",
                api_key=key,
                model=MODEL,
                max_retries=0,
                http_client=client,
                http_async_client=async_client,
                **settings,
            )


def asked(kind: str, model: Any, method: str, *arguments: Any) -> Any:
    """The method, in its synchronous or its asynchronous form."""
    return getattr(model, method if kind == "sync" else f"a{method}")(*arguments)


@BOTH_APIS
async def test_a_complete_message_has_text_and_usage(kind: str, embedded: str, responses: bool) -> None:
    async with chat(embedded, max_tokens=4, temperature=0, use_responses_api=responses) as model:
        message = await resolve(asked(kind, model, "invoke", "Say hello."))
    assert message.text
    assert message.usage_metadata["output_tokens"] == 4


@BOTH_APIS
async def test_a_streamed_message_comes_in_pieces(kind: str, embedded: str, responses: bool) -> None:
    async with chat(embedded, max_tokens=6, temperature=0, stream_usage=True, use_responses_api=responses) as model:
        whole = await resolve(asked(kind, model, "invoke", "Say hello."))
        chunks = await collect_all(asked(kind, model, "stream", "Say hello."))
    texts = [chunk.text for chunk in chunks]
    assert len(list(filter(None, texts))) > 1
    assert "".join(texts) == whole.text
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) == 6


@BOTH_APIS
async def test_structured_output_is_parsed(kind: str, embedded: str, responses: bool) -> None:
    async with chat(embedded, use_responses_api=responses) as model:
        pet = await resolve(asked(kind, model.with_structured_output(Pet), "invoke", "Rex is a dog."))
    assert isinstance(pet, Pet)


@BOTH_APIS
async def test_a_bound_tool_is_called_and_its_result_is_answered(kind: str, embedded: str, responses: bool) -> None:
    async with chat(embedded, max_tokens=60, temperature=0, use_responses_api=responses) as model:
        history: list[Any] = [HumanMessage(WEATHER)]
        message = await resolve(asked(kind, model.bind_tools([TOOL], tool_choice="any"), "invoke", history))
        (call,) = message.tool_calls
        check_call(call["name"], call["args"])
        history += [message, ToolMessage("sunny", tool_call_id=call["id"])]
        answer = await resolve(asked(kind, model.bind(max_tokens=4), "invoke", history))
    assert answer.text


@BOTH_APIS
async def test_every_part_of_a_reply_is_collected(kind: str, scripted: Scripted, responses: bool) -> None:
    async with chat(scripted(RICH), use_responses_api=responses, stream_usage=True) as model:
        first, *rest = await collect_all(asked(kind, model.bind_tools([TOOL]), "stream", "Hello"))
        message = sum(rest, first)
    assert message.text == RICH_TEXT
    assert [(call["name"], call["args"]) for call in message.tool_calls] == RICH_CALLS
    assert message.usage_metadata["total_tokens"] == 33


@BOTH_APIS
@pytest.mark.parametrize(
    ("code", "error"),
    [(400, openai.BadRequestError), (429, openai.RateLimitError), (500, openai.InternalServerError)],
)
async def test_the_backends_status_is_openais_error(
    kind: str, scripted: Scripted, responses: bool, code: int, error: type[openai.APIStatusError]
) -> None:
    async with chat(scripted(status(code, "the backend's message")), use_responses_api=responses) as model:
        with pytest.raises(error, match="the backend's message"):
            await resolve(asked(kind, model, "invoke", "Hello"))


async def test_a_wrong_password_is_openais_authentication_error(kind: str, scripted: Scripted) -> None:
    async with chat(scripted(LONG, password=PASSWORD), "guess") as model:
        with pytest.raises(openai.AuthenticationError):
            await resolve(asked(kind, model, "invoke", "Hello"))


@BOTH_APIS
@pytest.mark.parametrize("cut", CUTS)
async def test_a_stream_that_was_cut_raises(kind: str, scripted: Scripted, responses: bool, cut: str) -> None:
    async with chat(scripted(CUTS[cut]), use_responses_api=responses) as model:
        with pytest.raises(FAULTS):
            await collect_all(asked(kind, model, "stream", "Hello"))
