"""What every provider inherits: collected replies, events, checks, and support for legacy classes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from acytoo import Acytoo, AsyncGeneratorProvider, Messages, dialects
from acytoo.dialects import Dialect
from acytoo.errors import (
    AuthenticationError,
    NoTextError,
    TimedOutError,
    ToolCallsError,
    TruncatedError,
    UnreachableError,
    UsageError,
)
from acytoo.testing import FakeEndpoint, refused_port, reply, silent, status
from acytoo.types import (
    Finish,
    Item,
    JSONObject,
    OpaquePart,
    Reasoning,
    Refusal,
    Request,
    Start,
    ToolCall,
    Usage,
    collect,
)
from tests.helpers import MESSAGES

CALLING = [dialect for dialect in dialects.ALL if "tools" in dialect.options]
"""The APIs that have tool calls."""


class Chat(AsyncGeneratorProvider):
    """An API with events."""

    dialect = dialects.OpenAI()
    url = "http://127.0.0.1"


class Legacy(AsyncGeneratorProvider):
    """A legacy (gpt4free-style) class: a classmethod that does everything itself."""

    url = "https://example.org"
    supports_gpt_35_turbo = True

    @classmethod
    async def create_async_generator(  # type: ignore[override]
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncIterator[str]:
        yield "Hel"
        yield ""
        yield f"lo {messages[-1]['content']}"


def _at(url: str) -> type[Acytoo]:
    return type("At", (Acytoo,), {"url": url})


async def test_create_async_returns_the_complete_text() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hel", "lo")) as fake:
        assert await Acytoo(fake.url).create_async("", MESSAGES) == "Hello"
        assert await _at(fake.url).create_async("", MESSAGES) == "Hello"


async def test_create_async_raises_instead_of_returning_an_incomplete_text() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hel", "lo").close(after=1)) as fake:
        with pytest.raises(TruncatedError) as caught:
            await Acytoo(fake.url).create_async("", MESSAGES)
        assert caught.value.text == "Hel"


async def test_stream_yields_texts_and_events_in_order() -> None:
    answer = reply(Start("r1", "m1", 5), "Hel", "lo", Finish("stop"), Usage(3, 2))
    async with FakeEndpoint(dialects.OpenAI(), answer) as fake:
        items = [item async for item in Chat(fake.url).stream(MESSAGES, model="m1")]
    assert items == [Start("r1", "m1", 5), "Hel", "lo", Finish("stop"), Usage(3, 2)]


async def test_create_async_generator_yields_only_the_text() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply(Start("r1", "m1", 5), "Hel", "lo", Finish("stop"))) as fake:
        assert [text async for text in Chat(fake.url).create_async_generator("m1", MESSAGES)] == ["Hel", "lo"]


async def test_reply_collects_everything_and_its_message_can_be_sent_again() -> None:
    async with FakeEndpoint(
        dialects.OpenAI(), reply(Start("r1", "m1", 5), "Hello", Finish("length"), Usage(3, 2))
    ) as fake:
        collected = await Chat(fake.url).reply(MESSAGES, model="m1")
        assert (collected.text, collected.finish_reason, collected.usage) == ("Hello", "length", Usage(3, 2))
        await Chat(fake.url).reply([*MESSAGES, collected.message, *MESSAGES], model="m1")
        assert fake.requests[1].json["messages"][1] == {"role": "assistant", "content": "Hello"}


async def test_an_error_in_mid_stream_carries_the_text_so_far() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hel", "lo").fail("overloaded", after=1)) as fake:
        with pytest.raises(Exception, match="overloaded") as caught:
            await Chat(fake.url).create_async("m", MESSAGES)
        assert getattr(caught.value, "text", None) == "Hel"


async def test_a_stream_without_its_end_is_truncated() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hel", "lo").without_end()) as fake:
        with pytest.raises(TruncatedError):
            await Chat(fake.url).create_async("m", MESSAGES)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"needs_auth": True}, AuthenticationError),
        ({"needs_model": True}, UsageError),
    ],
)
async def test_a_missing_key_or_model_is_reported_before_anything_is_sent(
    options: dict[str, Any], kind: type[Exception]
) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hi")) as fake:
        provider = type("Picky", (Chat,), options)(fake.url)
        with pytest.raises(kind, match="Picky needs"):
            provider.create_async_generator("", MESSAGES)
        assert fake.connections == 0


async def test_check_reports_that_an_endpoint_works_and_how_fast() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply(Start("r1", "m1", 5), "OK", Finish("stop"))) as fake:
        result = await Chat(fake.url).check("m1")
        assert result
        assert (result.text, result.model, result.error) == ("OK", "m1", None)
        assert result.first_s is not None
        assert result.total_s is not None
        assert 0 <= result.first_s <= result.total_s
        assert fake.requests[0].json["max_tokens"] == 5


async def test_check_of_an_api_without_a_token_limit_stops_reading_early() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("a long reply of many words").stall()) as fake:
        assert await Acytoo(fake.url).check()
        await fake.disconnected()


@pytest.mark.parametrize(
    ("answer", "timeout", "kind", "text"),
    [
        (status(401, "wrong key"), 60, AuthenticationError, ""),
        (silent(), 0.4, TimedOutError, ""),
        (reply("Hi").stall(after=1), 5, TimedOutError, "Hi"),
        (reply("Hi").close(after=1), 60, TruncatedError, "Hi"),
    ],
)
async def test_check_reports_why_an_endpoint_does_not_work(
    answer: Any, timeout: float, kind: type[Exception], text: str
) -> None:
    async with FakeEndpoint(dialects.OpenAI(), answer) as fake:
        result = await Chat(fake.url).check("m1", timeout=timeout)
    assert not result
    assert type(result.error) is kind
    assert result.text == text


async def test_check_returns_the_endpoints_error_instead_of_raising_it() -> None:
    with refused_port() as port:
        assert type((await Chat(f"http://127.0.0.1:{port}").check("m")).error) is UnreachableError
    picky = type("Picky", (Chat,), {"needs_auth": True})
    assert type((await picky().check("m")).error) is AuthenticationError


@pytest.mark.parametrize("provider", [Legacy, Legacy()])
async def test_a_legacy_class_gets_the_other_methods(provider: Any) -> None:
    messages = [{"role": "user", "content": "you"}]
    assert await provider.create_async("", messages) == "Hello you"
    assert [item async for item in provider.stream(messages)] == ["Hel", "lo you"]
    assert (await provider.reply(messages)).text == "Hello you"
    assert "".join(provider.create_completion("", messages)) == "Hello you"
    assert await provider.check()


async def test_unsupported_options_are_dropped_only_with_drop_unsupported() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        with pytest.raises(UsageError, match="drop_unsupported"):
            await Acytoo(fake.url).create_async("", MESSAGES, max_tokens=5)
        assert await Acytoo(fake.url, drop_unsupported=True).create_async("", MESSAGES, max_tokens=5) == "Hi"
        assert await Acytoo(fake.url).create_async("", MESSAGES, max_tokens=5, drop_unsupported=True) == "Hi"


CALLS = [ToolCall(0, "a", "weather", '{"city":'), ToolCall(0, arguments='"Rome"}'), ToolCall(1, "b", "time", "{}")]
"""The pieces of two calls."""
TOOLS = [{"type": "function", "function": {"name": "weather"}}]


@pytest.mark.parametrize("dialect", CALLING, ids=lambda dialect: dialect.name)
async def test_a_text_method_raises_the_calls_that_it_cannot_return(dialect: Dialect) -> None:
    provider_class: type[Chat] = type("Calling", (Chat,), {"dialect": dialect})
    async with FakeEndpoint(dialect, reply("One ", "moment", *CALLS, Finish("tool_calls"))) as fake:
        provider = provider_class(fake.url, model="m")
        texts: list[str] = []
        with pytest.raises(ToolCallsError) as caught:
            async for text in provider.create_async_generator("", MESSAGES, tools=TOOLS):
                texts.append(text)  # noqa: PERF401 - the texts before the error are checked
        assert "".join(texts) == caught.value.text == "One moment"
        functions = [(call["function"]["name"], call["function"]["arguments"]) for call in caught.value.tool_calls]
        assert functions == [("weather", '{"city":"Rome"}'), ("time", "{}")]
        assert "weather, time" in caught.value.message
        assert "use reply() or stream()" in caught.value.message
        with pytest.raises(ToolCallsError):
            await provider.create_async("", MESSAGES)
        assert len((await provider.reply(MESSAGES)).tool_calls) == 2


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
AUDIO = {"id": "audio_1", "data": "UklGRg==", "expires_at": 1}
OTHER_PARTS: dict[str, tuple[Dialect, JSONObject, str]] = {
    "OpenRouter's images": (dialects.OpenAI(), {"images": [IMAGE]}, "image"),
    "an image of Gemini": (dialects.Gemini(), {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}, "image"),
    "a file of Gemini": (dialects.Gemini(), {"fileData": {"mimeType": "audio/wav", "fileUri": "f"}}, "audio"),
    "Gemini's code": (dialects.Gemini(), {"executableCode": {"language": "PYTHON", "code": "1"}}, "executableCode"),
    "an image of Responses": (
        dialects.OpenAIResponses(),
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO"},
        "image",
    ),
    "a search of Anthropic": (
        dialects.Anthropic(),
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        "server_tool_use",
    ),
}
other_parts = pytest.mark.parametrize(("dialect", "fields", "kind"), OTHER_PARTS.values(), ids=OTHER_PARTS)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
@other_parts
async def test_a_text_method_raises_an_image_that_it_cannot_return(
    dialect: Dialect, fields: JSONObject, kind: str, stream: bool
) -> None:
    provider_class: type[Chat] = type("Drawing", (Chat,), {"dialect": dialect})
    items: list[Item] = [OpaquePart(dialect.name, fields), Finish("stop")]
    document = dialect.write_reply(collect(items), Request(MESSAGES, model="m"))
    script = reply(*items) if stream else status(200, body=document, content_type="application/json")
    async with FakeEndpoint(dialect, script) as fake:
        provider = provider_class(fake.url, model="m")
        with pytest.raises(NoTextError) as caught:
            await provider.create_async("", MESSAGES)
        error = caught.value
        assert (error.kinds, error.text) == ([kind], "")
        assert error.message == (
            f"the reply has no text but other parts ({kind}), and this method returns only text: "
            "use reply() or stream()"
        )
        assert error.parts == (await provider.reply(MESSAGES)).turn_parts
        assert [part["fields"] for part in error.parts] == [fields]
        with pytest.raises(NoTextError):
            await asyncio.to_thread(list, provider.create_completion("", MESSAGES))


@other_parts
async def test_a_text_method_returns_the_text_beside_an_image(dialect: Dialect, fields: JSONObject, kind: str) -> None:
    provider_class: type[Chat] = type("Drawing", (Chat,), {"dialect": dialect})
    async with FakeEndpoint(dialect, reply("Here: ", OpaquePart(dialect.name, fields), Finish("stop"))) as fake:
        assert await provider_class(fake.url).create_async("m", MESSAGES) == "Here: "


@pytest.mark.parametrize("reason", ["stop", "length"])
async def test_what_only_accompanies_a_reply_without_text_is_not_its_answer(reason: str) -> None:
    thoughts: list[Item] = [Reasoning("Hm"), OpaquePart("openai", {"reasoning_details": [{"type": "reasoning.text"}]})]
    async with FakeEndpoint(dialects.OpenAI(), reply(*thoughts, Finish(reason))) as fake:
        assert await Chat(fake.url).create_async("m", MESSAGES) == ""


async def test_a_refusal_is_text_for_the_methods_that_return_only_text() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply(Refusal("I "), Refusal("can't."), Finish("stop"))) as fake:
        assert await Chat(fake.url).create_async("m", MESSAGES) == "I can't."
        assert (await Chat(fake.url).reply(MESSAGES)).refusal == "I can't."


def test_the_synchronous_method_raises_the_calls_too() -> None:
    with FakeEndpoint(dialects.OpenAI(), reply("Hi", *CALLS, Finish("tool_calls"))) as fake:
        texts = Chat(fake.url).create_completion("m", MESSAGES)
        assert next(texts) == "Hi"
        with pytest.raises(ToolCallsError, match="weather, time"):
            next(texts)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"dialect": dialects.OpenAI}, r"Mine\.dialect must be an instance such as dialects\.OpenAI\(\), .*: add \(\)"),
        ({"dialect": "openai"}, r"Mine\.dialect must be an instance such as dialects\.OpenAI\(\), not 'openai'"),
        ({"env": {"key": "MY_KEY"}}, r"Mine\.env\['key'\] must be a tuple of names, such as \('MY_KEY',\)"),
        ({"env": {"api_key": ("MY_KEY",)}}, r"Mine\.env has 'api_key': expected url, key, password, proxy, model"),
        ({"env": "MY_KEY"}, r"Mine\.env must be like \{'key': \('NAME',\)\}, not 'MY_KEY'"),
    ],
    ids=["class", "name", "text", "unknown", "not-a-mapping"],
)
def test_a_class_whose_attributes_cannot_work_is_refused_where_it_is_written(
    attributes: dict[str, object], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        type("Mine", (AsyncGeneratorProvider,), {"url": "http://127.0.0.1", **attributes})
