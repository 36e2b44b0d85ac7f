"""The official SDKs through a gateway with keys: its refusals are their own errors, and their retries get through."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import anthropic
import ollama
import openai
import pytest
from google import genai
from google.genai import errors
from langchain_openai import ChatOpenAI

from acytoo import dialects
from acytoo.testing import FakeEndpoint, reply
from acytoo.types import Finish, Usage
from tests.gateway.served import Served, served
from tests.server.sdks.sync_and_async import HELLO, TLS

LIMIT = 60.0
"""Seconds after which a test has failed; far more than any needs."""

Ask: TypeAlias = Callable[[str, str, int], Awaitable[str]]
"""Sends a request to the gateway at a URL with a key and so many retries. Returns the text."""

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


@pytest.fixture(autouse=True)
def without_sdk_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's environment from pointing an SDK elsewhere or tracing it."""
    for name in os.environ:
        if name.startswith(("OPENAI_", "ANTHROPIC_", "OLLAMA_", "GOOGLE_", "GEMINI_", "LANGCHAIN_", "LANGSMITH_")):
            monkeypatch.delenv(name)


async def ask_openai(url: str, key: str, retries: int) -> str:
    async with (
        openai.DefaultAsyncHttpxClient(verify=TLS) as http,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=retries, http_client=http) as client,
    ):
        completion = await client.chat.completions.create(model="fast", messages=HELLO)
    return completion.choices[0].message.content or ""


async def ask_openai_responses(url: str, key: str, retries: int) -> str:
    async with (
        openai.DefaultAsyncHttpxClient(verify=TLS) as http,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=retries, http_client=http) as client,
    ):
        return str((await client.responses.create(model="fast", input="Hi")).output_text)


async def ask_anthropic(url: str, key: str, retries: int) -> str:
    async with (
        anthropic.DefaultAsyncHttpxClient(verify=TLS) as http,
        anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=retries, http_client=http) as client,
    ):
        message: Any = await client.messages.create(model="fast", max_tokens=10, messages=HELLO)
    return str(message.content[0].text)


async def ask_gemini(url: str, key: str, retries: int) -> str:
    options: Any = {
        "base_url": url,
        "retry_options": {"attempts": retries + 1},
        "client_args": {"verify": TLS},
        "async_client_args": {"verify": TLS, "ssl": TLS},
    }
    client = genai.Client(api_key=key, http_options=options)
    try:
        return (await client.aio.models.generate_content(model="fast", contents="Hi")).text or ""
    finally:
        await client.aio.aclose()
        client.close()


async def ask_langchain(url: str, key: str, retries: int) -> str:
    with openai.DefaultHttpxClient(verify=TLS) as http:
        async with openai.DefaultAsyncHttpxClient(verify=TLS) as async_http:
            chat = ChatOpenAI(
                base_url=f"{url}/v1",
                api_key=key,
                model="fast",
                max_retries=retries,
                http_client=http,
                http_async_client=async_http,
            )
            return str((await chat.ainvoke("Hi")).content)


async def ask_ollama(url: str, key: str, retries: int) -> str:
    client = ollama.AsyncClient(host=url, headers={"authorization": f"Bearer {key}"}, verify=TLS)
    try:
        return (await client.chat(model="fast", messages=HELLO)).message.content or ""
    finally:
        await client.close()


SDKS: dict[str, tuple[Ask, type[Exception], type[Exception]]] = {
    "openai": (ask_openai, openai.AuthenticationError, openai.RateLimitError),
    "openai responses": (ask_openai_responses, openai.AuthenticationError, openai.RateLimitError),
    "anthropic": (ask_anthropic, anthropic.AuthenticationError, anthropic.RateLimitError),
    "gemini": (ask_gemini, errors.ClientError, errors.ClientError),
    "langchain": (ask_langchain, openai.AuthenticationError, openai.RateLimitError),
    "ollama": (ask_ollama, ollama.ResponseError, ollama.ResponseError),
}
"""How each asks, and what it raises for a wrong key and for a limit."""

FAST = '[models.fast]\ntargets = ["up/m1"]\n'


@pytest.mark.parametrize("sdk", SDKS)
async def test_a_limit_is_the_sdks_own_error_with_the_time_to_wait(sdk: str, tmp_path: Path) -> None:
    ask, wrong_key, limited = SDKS[sdk]
    async with FakeEndpoint(dialects.OpenAI(), reply("Hi", Finish())) as fake:
        async with served(tmp_path, fake.url, f"requests_per_minute = 1\n{FAST}") as gate:
            assert await ask(gate.url, "sk-ci", 0) == "Hi"
            with pytest.raises(limited, match="the limit of 1 request per minute is reached: try again in"):
                await ask(gate.url, "sk-ci", 0)
            with pytest.raises(wrong_key, match="key is missing or wrong"):
                await ask(gate.url, "sk-wrong", 0)
        assert len(fake.requests) == 1


@pytest.mark.parametrize("sdk", sorted(SDKS.keys() - {"ollama"}))  # which never tries again
async def test_a_request_without_a_place_is_tried_again_by_the_sdk(sdk: str, tmp_path: Path) -> None:
    ask, _, _ = SDKS[sdk]
    async with FakeEndpoint(dialects.OpenAI(), reply("Hi").stall(at_byte=1), reply("Hi", Finish())) as fake:
        async with served(tmp_path, fake.url, f"concurrent = 1\n{FAST}") as gate, asyncio.timeout(LIMIT):
            holds = asyncio.create_task(gate.post("/v1/chat/completions", {"model": "fast", "messages": HELLO}))
            await fake.received()
            asked = asyncio.ensure_future(ask(gate.url, "sk-ci", 5))
            while not await _has_refused(gate):  # noqa: ASYNC110 - a refusal is no event
                await asyncio.sleep(0.01)
            holds.cancel()  # the client leaves
            assert await asked == "Hi"


@pytest.mark.parametrize("limit", ["budget_per_month = 2", "tokens_per_minute = 5"])
@pytest.mark.parametrize("sdk", ["openai", "openai responses", "anthropic", "langchain"])
async def test_an_sdk_neither_waits_for_hours_nor_repeats_what_never_fits(sdk: str, limit: str, tmp_path: Path) -> None:
    ask, _, limited = SDKS[sdk]
    async with (
        asyncio.timeout(LIMIT),
        FakeEndpoint(dialects.OpenAI(), reply("Hi", Usage(1, 2000), Finish())) as fake,
        served(tmp_path, fake.url, f"{limit}\n{FAST}[prices.up]\ninput = 1\noutput = 1000\n") as gate,
    ):
        if "month" in limit:
            assert await ask(gate.url, "sk-ci", 0) == "Hi"
        with pytest.raises(limited):
            await ask(gate.url, "sk-ci", 3)
        await gate.gateway.ledger.flush()
        (refused,) = [row for row in await gate.gateway.ledger.usage(0, 1e12, ["outcome"]) if not row.attempts]
    assert refused.requests == 1


async def _has_refused(gate: Served) -> bool:
    """Return whether a request was refused by a limit."""
    return b'status="429"' in (await gate.get("/metrics")).body
