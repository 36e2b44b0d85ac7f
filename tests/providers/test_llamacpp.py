"""Providers against a server that is not ours: llama.cpp's own, which implements three of the APIs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.embedded.engine import Engine
from acytoo.errors import AuthenticationError, NotFoundError, RequestError
from acytoo.providers.anthropic import Anthropic
from acytoo.providers.compatible import LlamaCpp
from acytoo.providers.openai import OpenAIResponses
from acytoo.types import Finish, Request, Start, Usage

HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": SCHEMA}}

Provider: TypeAlias = type[AsyncGeneratorProvider]
EACH = pytest.mark.parametrize("cls", [LlamaCpp, OpenAIResponses, Anthropic])


@pytest.fixture(scope="module")
def engine(model_file: Path) -> Iterator[Engine]:
    """Run llama.cpp's server with the model's own chat template."""
    engine = Engine(model_file, "smollm2")
    yield engine
    engine.close()


def at(engine: Engine, cls: Provider, **settings: Any) -> AsyncGeneratorProvider:
    return cls(engine.url, **{"key": engine.key, "model": "smollm2", **settings})


@EACH
async def test_a_stream_has_texts_usage_and_a_finish_reason(engine: Engine, cls: Provider) -> None:
    items = [item async for item in at(engine, cls).stream(HELLO, max_tokens=6, temperature=0)]
    assert len([item for item in items if isinstance(item, str)]) > 1
    assert any(isinstance(item, Start) and item.id for item in items)
    usage = [item for item in items if isinstance(item, Usage)][-1]
    assert usage.output_tokens == 6
    assert usage.input_tokens > 3
    assert sum(isinstance(item, Finish) for item in items) == 1


@EACH
async def test_an_unstreamed_reply_has_the_same_text_as_the_stream(engine: Engine, cls: Provider) -> None:
    provider = at(engine, cls)
    streamed = await provider.reply(HELLO, max_tokens=6, temperature=0)
    whole = [item async for batch in provider.answer(asked(stream=False)) for item in batch]
    assert "".join(item for item in whole if isinstance(item, str)) == streamed.text != ""
    assert any(isinstance(item, Usage) and item.output_tokens == 6 for item in whole)


def asked(**options: Any) -> Request:
    return Request(HELLO, "smollm2", max_tokens=6, temperature=0, **options)


@pytest.mark.parametrize("cls", [LlamaCpp, Anthropic])
async def test_a_reply_that_ran_out_of_tokens_has_finish_reason_length(engine: Engine, cls: Provider) -> None:
    assert (await at(engine, cls).reply(HELLO, max_tokens=2, temperature=0)).finish_reason == "length"


@EACH
async def test_history_is_accepted(engine: Engine, cls: Provider) -> None:
    provider = at(engine, cls)
    reply = await provider.reply(HELLO, max_tokens=4, temperature=0)
    history = [{"role": "system", "content": "Be brief."}, *HELLO, reply.message, {"role": "user", "content": "Again."}]
    again = await provider.reply(history, max_tokens=4, temperature=0)
    assert again.text
    assert reply.usage is not None
    assert again.usage is not None
    assert again.usage.input_tokens > reply.usage.input_tokens


@EACH
async def test_a_history_with_a_tool_call_is_accepted(engine: Engine, cls: Provider) -> None:
    call = {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    history: list[dict[str, Any]] = [
        {"role": "user", "content": "The weather in Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_a", "content": "sunny"},
    ]
    assert (await at(engine, cls).reply(history, tools=[TOOL], max_tokens=4, temperature=0)).text


async def test_chat_completions_follow_a_schema(engine: Engine) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    reply = await at(engine, LlamaCpp).reply(HELLO, response_format=wanted, max_tokens=40, temperature=0)
    assert msgspec.json.decode(reply.text) in ({"city": "Paris"}, {"city": "Rome"})


@EACH
async def test_a_required_tool_is_called_with_arguments_of_its_schema(engine: Engine, cls: Provider) -> None:
    messages = [{"role": "user", "content": "The weather in Rome?"}]
    reply = await at(engine, cls).reply(messages, tools=[TOOL], tool_choice="required", max_tokens=40, temperature=0)
    for call in reply.tool_calls:
        assert call["id"]
        assert call["function"]["name"] == "weather"
        assert msgspec.json.decode(call["function"]["arguments"])["city"] in ("Paris", "Rome")
    assert reply.tool_calls or reply.text


@EACH
async def test_a_wrong_key_is_an_authentication_error(engine: Engine, cls: Provider) -> None:
    with pytest.raises(AuthenticationError, match="Invalid API Key") as raised:
        await at(engine, cls, key="guess").reply(HELLO)
    assert raised.value.status == 401


@EACH
async def test_a_request_that_is_too_long_is_a_request_error(engine: Engine, cls: Provider) -> None:
    with pytest.raises(RequestError, match="context size"):
        await at(engine, cls).reply([{"role": "user", "content": "word " * 9000}])


@EACH
async def test_a_wrong_path_is_not_found(engine: Engine, cls: Provider) -> None:
    with pytest.raises(NotFoundError):
        await at(engine, cls).reply(HELLO, url=engine.url.removesuffix("/v1") + "/elsewhere")


async def test_tokens_are_counted(engine: Engine) -> None:
    provider = at(engine, Anthropic)
    assert 0 < await provider.count_tokens(asked()) < await provider.count_tokens(Request(HELLO * 3, "smollm2"))


@EACH
async def test_check_reports_that_it_works(engine: Engine, cls: Provider) -> None:
    check = await at(engine, cls).check()
    assert check.ok
    assert check.text
