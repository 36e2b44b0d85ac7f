"""What every provider gets from its base: collected replies, events, checks, and what gpt4free's clients read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from acytoo import Acytoo, AsyncGeneratorProvider, Messages, dialects
from acytoo.errors import AuthenticationError, TimedOutError, TruncatedError, UnreachableError, UsageError
from acytoo.testing import FakeEndpoint, refused_port, reply, silent, status
from acytoo.types import Finish, Start, Usage
from tests.helpers import MESSAGES


class Chat(AsyncGeneratorProvider):
    """An API with events."""

    dialect = dialects.OpenAI()
    url = "http://127.0.0.1"


class Older(AsyncGeneratorProvider):
    """A class in the older style: a classmethod that does everything itself."""

    url = "https://example.org"
    supports_gpt_35_turbo = True

    @classmethod
    async def create_async_generator(  # type: ignore[override]
        cls, model: str, messages: Messages, proxy: str | None = None, **kwargs: Any
    ) -> AsyncIterator[str]:
        yield "Hel"
        yield ""
        yield f"lo {messages[-1]['content']}"


def _here(url: str) -> type[Acytoo]:
    return type("Here", (Acytoo,), {"url": url})


async def test_create_async_is_the_whole_text() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hel", "lo")) as fake:
        assert await Acytoo(fake.url).create_async("", MESSAGES) == "Hello"
        assert await _here(fake.url).create_async("", MESSAGES) == "Hello"


async def test_create_async_raises_rather_than_return_half() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hel", "lo").close(after=1)) as fake:
        with pytest.raises(TruncatedError) as caught:
            await Acytoo(fake.url).create_async("", MESSAGES)
        assert caught.value.text == "Hel"


async def test_stream_gives_text_and_events_in_their_order() -> None:
    said = reply(Start("r1", "m1", 5), "Hel", "lo", Finish("stop"), Usage(3, 2))
    async with FakeEndpoint(dialects.OpenAI(), said) as fake:
        items = [item async for item in Chat(fake.url).stream(MESSAGES, model="m1")]
    assert items == [Start("r1", "m1", 5), "Hel", "lo", Finish("stop"), Usage(3, 2)]


async def test_create_async_generator_gives_the_text_alone() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply(Start("r1", "m1", 5), "Hel", "lo", Finish("stop"))) as fake:
        assert [text async for text in Chat(fake.url).create_async_generator("m1", MESSAGES)] == ["Hel", "lo"]


async def test_reply_collects_everything_and_its_message_can_be_sent_on() -> None:
    async with FakeEndpoint(
        dialects.OpenAI(), reply(Start("r1", "m1", 5), "Hello", Finish("length"), Usage(3, 2))
    ) as fake:
        found = await Chat(fake.url).reply(MESSAGES, model="m1")
        assert (found.text, found.finish_reason, found.usage) == ("Hello", "length", Usage(3, 2))
        await Chat(fake.url).reply([*MESSAGES, found.message, *MESSAGES], model="m1")
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
async def test_what_is_missing_is_told_before_anything_is_sent(options: dict[str, Any], kind: type[Exception]) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("Hi")) as fake:
        provider = type("Picky", (Chat,), options)(fake.url)
        with pytest.raises(kind, match="Picky needs"):
            provider.create_async_generator("", MESSAGES)
        assert fake.connections == 0


async def test_check_says_that_an_endpoint_works_and_how_fast() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply(Start("r1", "m1", 5), "OK", Finish("stop"))) as fake:
        found = await Chat(fake.url).check("m1")
        assert found
        assert (found.text, found.model, found.error) == ("OK", "m1", None)
        assert found.first_s is not None
        assert found.total_s is not None
        assert 0 <= found.first_s <= found.total_s
        assert fake.requests[0].json["max_tokens"] == 5


async def test_check_of_an_api_without_a_token_limit_stops_reading_early() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("a long speech of many words").stall()) as fake:
        assert await Acytoo(fake.url).check()
        await fake.disconnected()


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (status(401, "wrong key"), AuthenticationError, ""),
        (silent(), TimedOutError, ""),
        (reply("Hi").stall(after=1), TimedOutError, "Hi"),
        (reply("Hi").close(after=1), TruncatedError, "Hi"),
    ],
)
async def test_check_says_why_an_endpoint_does_not_work(answer: Any, kind: type[Exception], text: str) -> None:
    async with FakeEndpoint(dialects.OpenAI(), answer) as fake:
        found = await Chat(fake.url).check("m1", timeout=0.4)
    assert not found
    assert type(found.error) is kind
    assert found.text == text


async def test_check_never_raises_for_what_is_wrong_with_the_endpoint() -> None:
    with refused_port() as port:
        assert type((await Chat(f"http://127.0.0.1:{port}").check("m")).error) is UnreachableError
    picky = type("Picky", (Chat,), {"needs_auth": True})
    assert type((await picky().check("m")).error) is AuthenticationError


@pytest.mark.parametrize("provider", [Older, Older()])
async def test_a_class_in_the_older_style_gets_the_other_methods(provider: Any) -> None:
    messages = [{"role": "user", "content": "you"}]
    assert await provider.create_async("", messages) == "Hello you"
    assert [item async for item in provider.stream(messages)] == ["Hel", "lo you"]
    assert (await provider.reply(messages)).text == "Hello you"
    assert "".join(provider.create_completion("", messages)) == "Hello you"
    assert await provider.check()


@pytest.mark.parametrize(
    "name", ["label", "params", "live", "use_stream_timeout", "supports_native_tools", "needs_auth"]
)
def test_what_gpt4frees_clients_read_is_there(name: str) -> None:
    assert hasattr(Acytoo, name)
    assert Acytoo.get_dict()["name"] == Acytoo.get_parent() == "Acytoo"


async def test_what_gpt4frees_clients_pass_along_is_accepted() -> None:
    passed: dict[str, Any] = {
        "provider": "Acytoo",
        "stream": True,
        "ignore_stream": False,
        "conversation": None,
        "stream_timeout": 3,
    }
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        assert await Acytoo(fake.url).create_async("", MESSAGES, **passed) == "Hi"
        assert fake.requests[0].json.keys() == {"key", "model", "messages", "temperature", "password"}


async def test_dropping_what_cannot_be_expressed_is_asked_for_explicitly() -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("Hi")) as fake:
        with pytest.raises(UsageError, match="drop_unsupported"):
            await Acytoo(fake.url).create_async("", MESSAGES, max_tokens=5)
        assert await Acytoo(fake.url, drop_unsupported=True).create_async("", MESSAGES, max_tokens=5) == "Hi"
        assert await Acytoo(fake.url).create_async("", MESSAGES, max_tokens=5, drop_unsupported=True) == "Hi"
