"""The clients that are measured: each asks for one reply and hands over its texts as they come.

Every caller has the form `caller(on_text)`, made by a function that is given the base URL, the model and a CA file.
Each uses its library as its documentation shows; where a default would make it fail at many streams
(httpx and aiohttp hold at most 100 connections, g4f 20 of them), that limit alone is lifted.
"""

from __future__ import annotations

import codecs
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

OnText = Callable[[str], None]
Caller = Callable[[OnText], Awaitable[None]]

MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "Hello, how are you?"}]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


@asynccontextmanager
async def acytoo(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """Ours, `create_async_generator`."""
    from acytoo.providers.compatible import Compatible

    provider = Compatible(f"{url}/v1", key="bench", ca=ca)

    async def call(on_text: OnText) -> None:
        async for text in provider.create_async_generator(model=model, messages=MESSAGES):
            on_text(text)

    yield call


@asynccontextmanager
async def acytoo_stream(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """Ours, `stream()` with tools and usage."""
    from acytoo.providers.compatible import Compatible
    from acytoo.types import ToolCall

    provider = Compatible(f"{url}/v1", key="bench", ca=ca)

    async def call(on_text: OnText) -> None:
        async for item in provider.stream(MESSAGES, model=model, tools=TOOLS):
            if isinstance(item, str):
                on_text(item)
            elif isinstance(item, ToolCall):
                on_text(item.arguments)

    yield call


@asynccontextmanager
async def acytoo_raw(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """Ours, the Acytoo protocol's raw text."""
    from acytoo import Acytoo

    provider = Acytoo(url, ca=ca)

    async def call(on_text: OnText) -> None:
        async for text in provider.create_async_generator(model=model, messages=MESSAGES):
            on_text(text)

    yield call


def _body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}, **more}


@asynccontextmanager
async def aiohttp(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """The loop a good engineer writes by hand: `iter_any`, split by hand, orjson. What all ratios refer to."""
    import aiohttp as library
    import orjson

    async with library.ClientSession(connector=library.TCPConnector(limit=0, ssl=_context(ca))) as session:

        async def call(on_text: OnText) -> None:
            headers = {"authorization": "Bearer bench"}
            async with session.post(f"{url}/v1/chat/completions", json=_body(model), headers=headers) as response:
                response.raise_for_status()
                buffer = b""
                async for chunk in response.content.iter_any():
                    buffer += chunk
                    *events, buffer = buffer.split(b"\n\n")
                    for event in events:
                        if not event.startswith(b"data: "):
                            continue
                        data = event[6:]
                        if data == b"[DONE]":
                            return
                        choices = orjson.loads(data)["choices"]
                        if choices and (text := choices[0]["delta"].get("content")):
                            on_text(text)

        yield call


@asynccontextmanager
async def aiohttp_tools(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """The same loop, which also reads tool calls and usage."""
    import aiohttp as library
    import orjson

    async with library.ClientSession(connector=library.TCPConnector(limit=0, ssl=_context(ca))) as session:

        async def call(on_text: OnText) -> None:
            usage = None
            headers = {"authorization": "Bearer bench"}
            body = _body(model, tools=TOOLS)
            async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
                response.raise_for_status()
                buffer = b""
                async for chunk in response.content.iter_any():
                    buffer += chunk
                    *events, buffer = buffer.split(b"\n\n")
                    for event in events:
                        if not event.startswith(b"data: "):
                            continue
                        data = event[6:]
                        if data == b"[DONE]":
                            assert usage
                            return
                        chunk_of_reply = orjson.loads(data)
                        usage = chunk_of_reply.get("usage") or usage
                        for choice in chunk_of_reply["choices"]:
                            delta = choice["delta"]
                            if text := delta.get("content"):
                                on_text(text)
                            for tool_call in delta.get("tool_calls") or ():
                                on_text(tool_call["function"].get("arguments") or "")

        yield call


@asynccontextmanager
async def aiohttp_raw(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """The same loop for raw text: `iter_any` and an incremental decoder."""
    import aiohttp as library

    async with library.ClientSession(connector=library.TCPConnector(limit=0, ssl=_context(ca))) as session:

        async def call(on_text: OnText) -> None:
            decode = codecs.getincrementaldecoder("utf-8")().decode
            body = {"key": "", "model": model, "messages": MESSAGES, "temperature": 0.5, "password": ""}
            async with session.post(f"{url}/api/completions", json=body) as response:
                response.raise_for_status()
                async for chunk in response.content.iter_any():
                    if text := decode(chunk):
                        on_text(text)

        yield call


@asynccontextmanager
async def aiohttp_tuned(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """The same loop with what is known to help: reads into 64 KiB, smaller TLS buffers, no time limits, no cookies."""
    import aiohttp as library
    import orjson

    class Connector(library.TCPConnector):
        async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
            protocol = await super()._create_connection(*args, **kwargs)
            transport: Any = protocol.transport
            tls = getattr(transport, "_ssl_protocol", None)
            if tls is not None:
                tls.max_size = 32768
                tls._ssl_buffer = bytearray(32768)
                tls._ssl_buffer_view = memoryview(tls._ssl_buffer)
            elif hasattr(transport, "max_size"):
                transport.max_size = 65536
            return protocol

    connector = Connector(limit=0, ssl=_context(ca))
    limits = library.ClientTimeout(total=None, sock_connect=10)
    jar = library.DummyCookieJar()
    async with library.ClientSession(connector=connector, timeout=limits, cookie_jar=jar) as session:

        async def call(on_text: OnText) -> None:
            headers = {"authorization": "Bearer bench", "content-type": "application/json"}
            body = orjson.dumps(_body(model))
            async with session.post(f"{url}/v1/chat/completions", data=body, headers=headers) as response:
                response.raise_for_status()
                buffer = b""
                async for chunk in response.content.iter_any():
                    buffer += chunk
                    *events, buffer = buffer.split(b"\n\n")
                    for event in events:
                        if not event.startswith(b"data: "):
                            continue
                        data = event[6:]
                        if data == b"[DONE]":
                            return
                        choices = orjson.loads(data)["choices"]
                        if choices and (text := choices[0]["delta"].get("content")):
                            on_text(text)

        yield call


@asynccontextmanager
async def httpx(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """httpx, its `aiter_lines`, the standard library's json."""
    import httpx as library

    limits = library.Limits(max_connections=None, max_keepalive_connections=100)
    async with library.AsyncClient(timeout=60, limits=limits, verify=_context(ca)) as client:

        async def call(on_text: OnText) -> None:
            headers = {"authorization": "Bearer bench"}
            async with client.stream(
                "POST", f"{url}/v1/chat/completions", json=_body(model), headers=headers
            ) as response:
                response.raise_for_status()
                async for line in response.aiter_lines():
                    if not line.startswith("data: ") or line == "data: [DONE]":
                        continue  # to the end: a response that is left before it is no connection to use again
                    choices = json.loads(line[6:])["choices"]
                    if choices and (text := choices[0]["delta"].get("content")):
                        on_text(text)

        yield call


@asynccontextmanager
async def openai(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """The makers' SDK."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="bench", max_retries=0)

    async def call(on_text: OnText) -> None:
        body = _body(model)
        async for chunk in await client.chat.completions.create(**body):
            if chunk.choices and chunk.choices[0].delta.content:
                on_text(chunk.choices[0].delta.content)

    yield call


@asynccontextmanager
async def litellm(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """litellm."""
    import litellm as library

    async def call(on_text: OnText) -> None:
        stream = await library.acompletion(
            model=f"openai/{model}", messages=MESSAGES, api_base=f"{url}/v1", api_key="bench", stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                on_text(chunk.choices[0].delta.content)

    yield call


@asynccontextmanager
async def any_llm(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """any-llm-sdk, its class, which its documentation names for programs that ask more than once."""
    from any_llm import AnyLLM

    client = AnyLLM.create("openai", api_key="bench", api_base=f"{url}/v1")

    async def call(on_text: OnText) -> None:
        stream = await client.acompletion(model=model, messages=MESSAGES, stream=True)
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                on_text(chunk.choices[0].delta.content)

    yield call


@asynccontextmanager
async def g4f(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """gpt4free, its template for OpenAI-compatible services."""
    from g4f.Provider.template import OpenaiTemplate
    from g4f.requests import aiohttp as requests

    one_of_theirs = requests.TCPConnector
    requests.TCPConnector = lambda **options: one_of_theirs(**{**options, "limit": 0, "limit_per_host": 0})

    class Bench(OpenaiTemplate):  # type: ignore[misc]
        base_url = f"{url}/v1"
        working = True
        models = [model]

    async def call(on_text: OnText) -> None:
        async for item in Bench.create_async_generator(model=model, messages=MESSAGES, api_key="bench", stream=True):
            if isinstance(item, str):
                on_text(item)

    yield call


@asynccontextmanager
async def langchain_openai(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """LangChain's ChatOpenAI."""
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model=model, base_url=f"{url}/v1", api_key="bench", max_retries=0, stream_usage=True)

    async def call(on_text: OnText) -> None:
        async for chunk in chat.astream("Hello, how are you?"):
            if isinstance(chunk.content, str) and chunk.content:
                on_text(chunk.content)

    yield call


@asynccontextmanager
async def pydantic_ai(url: str, model: str, ca: str | None) -> AsyncIterator[Caller]:
    """Pydantic AI's agent, its text piece by piece."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=f"{url}/v1", api_key="bench")))

    async def call(on_text: OnText) -> None:
        async with agent.run_stream("Hello, how are you?") as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                on_text(text)

    yield call


def _context(ca: str | None) -> ssl.SSLContext | bool:
    return ssl.create_default_context(cafile=ca) if ca else True


CALLERS = {
    "acytoo": acytoo,
    "acytoo-stream": acytoo_stream,
    "acytoo-raw": acytoo_raw,
    "aiohttp": aiohttp,
    "aiohttp-tools": aiohttp_tools,
    "aiohttp-raw": aiohttp_raw,
    "aiohttp-tuned": aiohttp_tuned,
    "httpx": httpx,
    "openai": openai,
    "litellm": litellm,
    "any-llm-sdk": any_llm,
    "g4f": g4f,
    "langchain-openai": langchain_openai,
    "pydantic-ai": pydantic_ai,
}
