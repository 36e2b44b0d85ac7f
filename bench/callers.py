"""The clients under measurement: each streams one reply and passes its texts on.

A caller is `caller(on_text)`. A context manager makes it from a `Target`, so that one client serves many calls. Each
library is used as its documentation shows. If a default would make it fail at many streams (httpx and aiohttp allow 100
connections, g4f 20), only that limit is lifted.
"""

from __future__ import annotations

import codecs
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

OnText = Callable[[str], None]
Caller = Callable[[OnText], Awaitable[None]]

PROMPT = "Hello, how are you?"
MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": PROMPT}]
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
_AUTHORIZATION = {"authorization": "Bearer bench"}


@dataclass(frozen=True)
class Target:
    """The server that a caller talks to, and more options of the caller's own library."""

    url: str
    model: str
    ca: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def v1(self) -> str:
        """The base URL of OpenAI's API."""
        return f"{self.url}/v1"

    @property
    def ssl(self) -> ssl.SSLContext | bool:
        """What HTTP clients take to verify a server with."""
        return ssl.create_default_context(cafile=self.ca) if self.ca else True

    def body(self, **more: Any) -> dict[str, Any]:
        """Return the body of a streamed chat completion."""
        usage = {"include_usage": True}
        return {"model": self.model, "messages": MESSAGES, "stream": True, "stream_options": usage, **more}


@asynccontextmanager
async def acytoo(target: Target) -> AsyncIterator[Caller]:
    """Ours: `create_async_generator`."""
    from acytoo.providers.compatible import Compatible

    provider = Compatible(target.v1, key="bench", ca=target.ca, **target.options)

    async def call(on_text: OnText) -> None:
        async for text in provider.create_async_generator(model=target.model, messages=MESSAGES):
            on_text(text)

    yield call


@asynccontextmanager
async def acytoo_stream(target: Target) -> AsyncIterator[Caller]:
    """Ours: `stream()` with tools and usage."""
    from acytoo.providers.compatible import Compatible
    from acytoo.types import ToolCall

    provider = Compatible(target.v1, key="bench", ca=target.ca)

    async def call(on_text: OnText) -> None:
        async for item in provider.stream(MESSAGES, model=target.model, tools=TOOLS):
            if isinstance(item, str):
                on_text(item)
            elif isinstance(item, ToolCall):
                on_text(item.arguments)

    yield call


@asynccontextmanager
async def acytoo_raw(target: Target) -> AsyncIterator[Caller]:
    """Ours: the Acytoo protocol's raw text."""
    from acytoo import Acytoo

    provider = Acytoo(target.url, ca=target.ca, **target.options)

    async def call(on_text: OnText) -> None:
        async for text in provider.create_async_generator(model=target.model, messages=MESSAGES):
            on_text(text)

    yield call


@asynccontextmanager
async def aiohttp(target: Target) -> AsyncIterator[Caller]:
    """The loop that a good engineer writes by hand, which all ratios refer to."""
    import aiohttp as library

    async with library.ClientSession(connector=library.TCPConnector(limit=0, ssl=target.ssl)) as session:
        yield _by_hand(session, target, _AUTHORIZATION, lambda: {"json": target.body()})


@asynccontextmanager
async def aiohttp_tuned(target: Target) -> AsyncIterator[Caller]:
    """The same loop with small read and TLS buffers, the body written by orjson, no time limits and no cookies."""
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

    connector = Connector(limit=0, ssl=target.ssl)
    timeout = library.ClientTimeout(total=None, sock_connect=10)
    headers = {**_AUTHORIZATION, "content-type": "application/json"}
    async with library.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=library.DummyCookieJar()
    ) as session:
        yield _by_hand(session, target, headers, lambda: {"data": orjson.dumps(target.body())})


def _by_hand(session: Any, target: Target, headers: dict[str, str], body: Callable[[], dict[str, Any]]) -> Caller:
    """Return the loop: `iter_any`, split on blank lines, orjson. It checks neither errors nor the end of the reply."""
    import orjson

    async def call(on_text: OnText) -> None:
        async with session.post(f"{target.url}/v1/chat/completions", headers=headers, **body()) as response:
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

    return call


@asynccontextmanager
async def aiohttp_tools(target: Target) -> AsyncIterator[Caller]:
    """The same loop, which also reads tool calls and usage.

    It repeats the lines of `_by_hand`: a function call for each event, to share them, would slow the baselines down.
    """
    import aiohttp as library
    import orjson

    async with library.ClientSession(connector=library.TCPConnector(limit=0, ssl=target.ssl)) as session:

        async def call(on_text: OnText) -> None:
            usage = None
            body = target.body(tools=TOOLS)
            url = f"{target.url}/v1/chat/completions"
            async with session.post(url, json=body, headers=_AUTHORIZATION) as response:
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
                        completion = orjson.loads(data)
                        usage = completion.get("usage") or usage
                        for choice in completion["choices"]:
                            delta = choice["delta"]
                            if text := delta.get("content"):
                                on_text(text)
                            for tool_call in delta.get("tool_calls") or ():
                                on_text(tool_call["function"].get("arguments") or "")

        yield call


@asynccontextmanager
async def aiohttp_raw(target: Target) -> AsyncIterator[Caller]:
    """The same loop for raw text: `iter_any` and an incremental decoder."""
    import aiohttp as library

    async with library.ClientSession(connector=library.TCPConnector(limit=0, ssl=target.ssl)) as session:

        async def call(on_text: OnText) -> None:
            decode = codecs.getincrementaldecoder("utf-8")().decode
            body = {"key": "", "model": target.model, "messages": MESSAGES, "temperature": 0.5, "password": ""}
            async with session.post(f"{target.url}/api/completions", json=body) as response:
                response.raise_for_status()
                async for chunk in response.content.iter_any():
                    if text := decode(chunk):
                        on_text(text)

        yield call


@asynccontextmanager
async def httpx(target: Target) -> AsyncIterator[Caller]:
    """httpx with `aiter_lines` and the standard library's json."""
    import httpx as library

    limits = library.Limits(max_connections=None, max_keepalive_connections=100)
    async with library.AsyncClient(timeout=60, limits=limits, verify=target.ssl) as client:

        async def call(on_text: OnText) -> None:
            url = f"{target.url}/v1/chat/completions"
            async with client.stream("POST", url, json=target.body(), headers=_AUTHORIZATION) as response:
                response.raise_for_status()
                async for line in response.aiter_lines():
                    if not line.startswith("data: ") or line == "data: [DONE]":
                        continue  # read to the end: httpx closes the connection of a response that is left earlier
                    choices = json.loads(line[6:])["choices"]
                    if choices and (text := choices[0]["delta"].get("content")):
                        on_text(text)

        yield call


@asynccontextmanager
async def openai(target: Target) -> AsyncIterator[Caller]:
    """OpenAI's official SDK."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=target.v1, api_key="bench", **target.options)

    async def call(on_text: OnText) -> None:
        await _read_completion(await client.chat.completions.create(**target.body()), on_text)

    yield call


@asynccontextmanager
async def litellm(target: Target) -> AsyncIterator[Caller]:
    """litellm's `acompletion`."""
    import litellm as library

    fixed = {"model": f"openai/{target.model}", "api_base": target.v1, "api_key": "bench", "stream": True}

    async def call(on_text: OnText) -> None:
        await _read_completion(await library.acompletion(messages=MESSAGES, **fixed, **target.options), on_text)

    yield call


@asynccontextmanager
async def any_llm(target: Target) -> AsyncIterator[Caller]:
    """any-llm-sdk's class, which its documentation recommends for more than one call."""
    from any_llm import AnyLLM

    client = AnyLLM.create("openai", api_key="bench", api_base=target.v1, **target.options)

    async def call(on_text: OnText) -> None:
        stream = await client.acompletion(model=target.model, messages=MESSAGES, stream=True)
        await _read_completion(stream, on_text)

    yield call


async def _read_completion(stream: Any, on_text: OnText) -> None:
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            on_text(chunk.choices[0].delta.content)


@asynccontextmanager
async def g4f(target: Target) -> AsyncIterator[Caller]:
    """gpt4free's template for OpenAI-compatible services."""
    from g4f.Provider.template import OpenaiTemplate
    from g4f.requests import aiohttp as requests

    connector = requests.TCPConnector
    requests.TCPConnector = lambda **options: connector(**{**options, "limit": 0, "limit_per_host": 0})

    class Bench(OpenaiTemplate):  # type: ignore[misc]
        base_url = target.v1
        working = True
        models = [target.model]

    async def call(on_text: OnText) -> None:
        async for item in Bench.create_async_generator(
            model=target.model, messages=MESSAGES, api_key="bench", stream=True, **target.options
        ):
            if isinstance(item, str):
                on_text(item)

    yield call


@asynccontextmanager
async def langchain_openai(target: Target) -> AsyncIterator[Caller]:
    """LangChain's ChatOpenAI."""
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model=target.model, base_url=target.v1, api_key="bench", stream_usage=True, **target.options)

    async def call(on_text: OnText) -> None:
        async for chunk in chat.astream(PROMPT):
            if isinstance(chunk.content, str) and chunk.content:
                on_text(chunk.content)

    yield call


@asynccontextmanager
async def pydantic_ai(target: Target) -> AsyncIterator[Caller]:
    """Pydantic AI's agent, without debouncing."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = Agent(OpenAIChatModel(target.model, provider=OpenAIProvider(base_url=target.v1, api_key="bench")))

    async def call(on_text: OnText) -> None:
        async with agent.run_stream(PROMPT) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                on_text(text)

    yield call


CALLERS: dict[str, Callable[[Target], AbstractAsyncContextManager[Caller]]] = {
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
NO_RETRIES: dict[str, dict[str, Any]] = {"openai": {"max_retries": 0}, "langchain-openai": {"max_retries": 0}}
"""Options with which a library that retries by default fails at once, as a measurement must."""
