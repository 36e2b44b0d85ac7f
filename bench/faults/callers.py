"""How each library is asked: as it comes (`timeout` None), and with its documented settings for faults."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

OnText = Callable[[str], None]
Caller = Callable[[str, OnText, float | None], Coroutine[Any, Any, None]]

MODEL = "m-1"
MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "Hello, how are you?"}]


async def acytoo(url: str, on_text: OnText, timeout: float | None) -> None:
    """Ours, OpenAI-compatible; `timeout` is documented in the README."""
    from acytoo.providers.compatible import Compatible

    provider = Compatible(f"{url}/v1", key="bench", timeout=timeout)
    async for text in provider.create_async_generator(model=MODEL, messages=MESSAGES):
        on_text(text)


async def acytoo_raw(url: str, on_text: OnText, timeout: float | None) -> None:
    """Ours, the Acytoo protocol's raw text."""
    from acytoo import Acytoo

    async for text in Acytoo(url, timeout=timeout).create_async_generator(model=MODEL, messages=MESSAGES):
        on_text(text)


async def openai(url: str, on_text: OnText, timeout: float | None) -> None:
    """The makers' SDK; `timeout` and `max_retries` are in its README."""
    from openai import AsyncOpenAI

    options: dict[str, Any] = {"timeout": timeout, "max_retries": 0} if timeout else {}
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="bench", **options) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                on_text(chunk.choices[0].delta.content)


async def litellm(url: str, on_text: OnText, timeout: float | None) -> None:
    """litellm; `timeout`, `stream_timeout` and `num_retries` are in its documentation of `completion`."""
    import litellm as library

    options: dict[str, Any] = {"timeout": timeout, "stream_timeout": timeout, "num_retries": 0} if timeout else {}
    stream = await library.acompletion(
        model=f"openai/{MODEL}", messages=MESSAGES, api_base=f"{url}/v1", api_key="bench", stream=True, **options
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            on_text(chunk.choices[0].delta.content)


async def any_llm(url: str, on_text: OnText, timeout: float | None) -> None:
    """any-llm-sdk; `client_args` go to the SDK that it uses."""
    from any_llm import acompletion

    options: dict[str, Any] = {"client_args": {"timeout": timeout, "max_retries": 0}} if timeout else {}
    stream: Any = await acompletion(
        model=MODEL,
        provider="openai",
        messages=MESSAGES,
        api_base=f"{url}/v1",
        api_key="bench",
        stream=True,
        **options,
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            on_text(chunk.choices[0].delta.content)


async def g4f(url: str, on_text: OnText, timeout: float | None) -> None:
    """gpt4free, its template for OpenAI-compatible services; it documents no limit, `timeout` is a try."""
    from g4f.Provider.template import OpenaiTemplate

    made = type("Endpoint", (OpenaiTemplate,), {"base_url": f"{url}/v1", "working": True})
    options: dict[str, Any] = {"timeout": timeout} if timeout else {}
    async for item in made.create_async_generator(  # type: ignore[attr-defined]
        model=MODEL, messages=MESSAGES, api_key="bench", stream=True, **options
    ):
        if isinstance(item, str):
            on_text(item)


async def langchain_openai(url: str, on_text: OnText, timeout: float | None) -> None:
    """LangChain's ChatOpenAI; `timeout` and `max_retries` are in its documentation."""
    from langchain_openai import ChatOpenAI

    options: dict[str, Any] = {"timeout": timeout, "max_retries": 0} if timeout else {}
    chat = ChatOpenAI(model=MODEL, base_url=f"{url}/v1", api_key="bench", **options)
    async for chunk in chat.astream("Hello, how are you?"):
        if isinstance(chunk.content, str) and chunk.content:
            on_text(chunk.content)


CALLERS: dict[str, Caller] = {
    "acytoo": acytoo,
    "acytoo-raw": acytoo_raw,
    "openai": openai,
    "litellm": litellm,
    "any-llm-sdk": any_llm,
    "g4f": g4f,
    "langchain-openai": langchain_openai,
}
