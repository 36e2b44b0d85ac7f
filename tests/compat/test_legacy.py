"""Legacy (gpt4free-style) classes: no setting or option is lost, whatever the parameters of the method."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest

from acytoo import Acytoo, AsyncGeneratorProvider, Route, UsageError, dialects
from acytoo.errors import ProtocolError, ReplyTooLargeError, ServerError, UnsupportedError
from acytoo.testing import FakeEndpoint, reply
from acytoo.types import Attempts, Reasoning, Request

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
PROXY = "http://p:1"


class Usual(AsyncGeneratorProvider):
    """The signature that most classes of gpt4free have."""

    url = "http://a"

    @classmethod
    async def create_async_generator(  # type: ignore[override]
        cls, model: str, messages: Any, stream: bool = True, proxy: str | None = None
    ) -> AsyncIterator[str]:
        yield repr({"url": cls.url, "stream": stream, "proxy": proxy})


class Open(AsyncGeneratorProvider):
    """A class that takes any argument."""

    url = "http://a"

    @classmethod
    async def create_async_generator(  # type: ignore[override]
        cls, model: str, messages: Any, proxy: str | None = None, **kwargs: Any
    ) -> AsyncIterator[str]:
        yield repr({"url": cls.url, "proxy": proxy, **kwargs})


class Named(AsyncGeneratorProvider):
    """A class that takes the settings under gpt4free's names, and only by keyword."""

    url = "http://a"

    @classmethod
    async def create_async_generator(  # type: ignore[override]
        cls, model: str, messages: Any, *, base_url: str = "", api_key: str = "", timeout: int = 0, seed: int = 0
    ) -> AsyncIterator[str]:
        yield repr({"base_url": base_url, "api_key": api_key, "timeout": timeout, "seed": seed})


class Static(AsyncGeneratorProvider):
    """A class that cannot know its URL."""

    url = "http://a"

    @staticmethod
    async def create_async_generator(model: str, messages: Any, proxy: str | None = None) -> AsyncIterator[str]:  # type: ignore[override]
        yield repr({"proxy": proxy})


class OfInstance(AsyncGeneratorProvider):
    """A class whose method is not a classmethod."""

    url = "http://a"

    async def create_async_generator(  # type: ignore[override]
        self, model: str, messages: Any, proxy: str | None = None, key: str = ""
    ) -> AsyncIterator[str]:
        yield repr({"url": self.url, "proxy": proxy, "key": key})


async def _from_async_generator(provider: Any, /, **kwargs: Any) -> str:
    return "".join([text async for text in provider.create_async_generator("m", MESSAGES, **kwargs)])


async def _from_stream(provider: Any, **kwargs: Any) -> str:
    return "".join([text async for text in provider.stream(MESSAGES, model="m", **kwargs)])


async def _from_create_async(provider: Any, **kwargs: Any) -> str:
    return str(await provider.create_async("m", MESSAGES, **kwargs))


async def _from_reply(provider: Any, **kwargs: Any) -> str:
    return str((await provider.reply(MESSAGES, model="m", **kwargs)).text)


async def _from_completion(provider: Any, **kwargs: Any) -> str:
    return "".join(provider.create_completion("m", MESSAGES, **kwargs))


EVERY_METHOD = pytest.mark.parametrize(
    "ask", [_from_async_generator, _from_stream, _from_create_async, _from_reply, _from_completion]
)
Ask = Callable[..., Any]


@EVERY_METHOD
async def test_the_settings_of_an_instance_reach_the_method(ask: Ask) -> None:
    seen = eval(await ask(Open("http://b", proxy=PROXY, key="k", timeout=5)))
    assert seen == {"url": "http://b", "proxy": PROXY, "key": "k", "timeout": 5}
    assert eval(await ask(Usual("http://b", proxy=PROXY))) == {"url": "http://b", "stream": True, "proxy": PROXY}
    assert eval(await ask(Named("http://b", key="k", timeout=5))) == {
        "base_url": "http://b",
        "api_key": "k",
        "timeout": 5,
        "seed": 0,
    }
    assert eval(await ask(OfInstance("http://b", proxy=PROXY, api_key="k"))) == {
        "url": "http://b",
        "proxy": PROXY,
        "key": "k",
    }


@EVERY_METHOD
@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (Usual("http://b", key="k"), "key"),
        (Usual(timeout=5), "timeout"),
        (Usual(password="p"), "password"),
        (Usual(extra_headers={"a": "b"}), "extra_headers"),
        (Usual(trust_env=True), "trust_env"),
        (Named(proxy=PROXY), "proxy"),
        (Static("http://b"), "url"),
        (Static(base_url="http://b"), "base_url"),
        (OfInstance(timeout=5), "timeout"),
    ],
)
async def test_a_setting_that_the_method_cannot_take_is_refused_by_name(ask: Ask, provider: Any, name: str) -> None:
    with pytest.raises(UsageError, match=f"cannot take '{name}'"):
        await ask(provider)


@EVERY_METHOD
@pytest.mark.parametrize("provider", [Usual, Usual()])
async def test_a_proxy_is_passed_by_name(ask: Ask, provider: Any) -> None:
    assert eval(await ask(provider, proxy=PROXY)) == {"url": "http://a", "stream": True, "proxy": PROXY}


@EVERY_METHOD
async def test_an_argument_of_the_call_replaces_the_instances_setting(ask: Ask) -> None:
    provider = Named("http://b", key="k")
    seen = eval(await ask(provider, api_key="k2", base_url="http://c", seed=7))
    assert (seen["api_key"], seen["base_url"], seen["seed"]) == ("k2", "http://c", 7)
    assert eval(await ask(Open(proxy=PROXY), proxy=None))["proxy"] == PROXY


@EVERY_METHOD
async def test_an_option_that_the_method_cannot_take_is_refused_or_dropped(ask: Ask) -> None:
    with pytest.raises(UsageError, match="cannot take 'seed'"):
        await ask(Usual(), seed=7)
    assert await ask(Usual(), seed=7, drop_unsupported=True)
    assert await ask(Usual(), media=None, web_search=False, temperature=None)


@EVERY_METHOD
async def test_settings_of_the_environment_count_too(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEN_URL", "http://b")
    monkeypatch.setenv("OPEN_PROXY", PROXY)
    monkeypatch.setenv("OPEN_KEY", "k")
    assert eval(await ask(Open())) == {"url": "http://b", "proxy": PROXY, "key": "k"}
    monkeypatch.setenv("USUAL_KEY", "k")  # the class may read it by itself
    assert eval(await ask(Usual()))["url"] == "http://a"
    monkeypatch.setenv("NAMED_PROXY", PROXY)
    with pytest.raises(UsageError, match="'proxy'"):
        await ask(Named())


async def test_gpt4frees_argument_provider_is_left_out_or_passed() -> None:
    assert eval(await _from_async_generator(Usual(), provider=Usual))["url"] == "http://a"
    assert eval(await _from_async_generator(Open(), provider=5))["provider"] == 5


async def test_positional_arguments_keep_their_places() -> None:
    seen = [text async for text in Usual(proxy=PROXY).create_async_generator("m", MESSAGES, False)]
    assert eval("".join(seen)) == {"url": "http://a", "stream": False, "proxy": PROXY}


@pytest.mark.parametrize("provider", [Usual, Open, Named, Static, OfInstance])
async def test_check_works_whatever_the_parameters(provider: type[AsyncGeneratorProvider]) -> None:
    assert await provider().check()


async def test_a_server_refuses_or_drops_options_that_the_method_cannot_take() -> None:
    request = Request(MESSAGES, model="m", seed=7, temperature=0.5)
    with pytest.raises(UnsupportedError, match="seed"):
        Usual().answer(request)
    assert [batch async for batch in Open().answer(request)] == [
        [repr({"url": "http://a", "proxy": None, "seed": 7, "temperature": 0.5})]
    ]


def test_the_class_itself_keeps_its_method() -> None:
    assert list(inspect.signature(Usual.create_async_generator).parameters) == ["model", "messages", "stream", "proxy"]
    assert inspect.isasyncgen(Usual.create_async_generator("m", MESSAGES))


def yielding(*items: Any) -> type[AsyncGeneratorProvider]:
    """Return a legacy class that yields these items."""

    class Yielding(AsyncGeneratorProvider):
        url = "http://a"

        @classmethod
        async def create_async_generator(cls, model: str, messages: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            for item in items:
                yield item

    return Yielding


async def test_what_is_empty_is_left_out() -> None:
    provider = yielding("a", "", None, "b")()
    assert [text async for text in provider.create_async_generator("m", MESSAGES)] == ["a", "b"]
    assert await provider.create_async("m", MESSAGES) == "ab"


@pytest.mark.parametrize("item", [b"bytes", 5, ["list"], {"type": "text"}])
async def test_what_is_not_text_is_an_error_that_names_it(item: Any) -> None:
    cls = yielding("Hel", item)
    for ask in (cls.create_async, cls().create_async):
        with pytest.raises(ProtocolError, match=f"Yielding.*{type(item).__name__}, not str"):
            await ask("m", MESSAGES)
    with pytest.raises(ProtocolError, match="not str"):
        await cls().reply(MESSAGES, model="m")
    with pytest.raises(ProtocolError, match="not str"):
        list(cls.create_completion("m", MESSAGES))


class Mixin:
    """A mixin with the method; a class that inherits it has none of its own."""

    @classmethod
    async def create_async_generator(cls, model: str, messages: Any, **kwargs: Any) -> AsyncIterator[str]:
        yield repr({"url": getattr(cls, "url", ""), **kwargs})


class FromMixin(Mixin, AsyncGeneratorProvider):  # type: ignore[misc]
    url = "http://a"


class Returning(AsyncGeneratorProvider):
    """gpt4free's AsyncProvider."""

    url = "http://a"

    @classmethod
    async def create_async(cls, model: str, messages: Any, **kwargs: Any) -> str:  # type: ignore[override]
        return repr({"url": cls.url, **kwargs})


class Synchronous(AsyncGeneratorProvider):
    """gpt4free's AbstractProvider."""

    url = "http://a"

    @classmethod
    def create_completion(cls, model: str, messages: Any, stream: bool, **kwargs: Any) -> Any:  # type: ignore[override]
        assert stream
        yield "{'url': "
        yield f"{cls.url!r}, **{kwargs!r}}}"


class Wrapping(AsyncGeneratorProvider):
    """A class whose method is a coroutine that returns the generator."""

    url = "http://a"

    @classmethod
    async def create_async_generator(cls, model: str, messages: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return FromMixin.create_async_generator(model, messages, **kwargs, url=cls.url)


@EVERY_METHOD
@pytest.mark.parametrize("cls", [FromMixin, Returning, Synchronous, Wrapping])
async def test_a_class_of_any_age_gets_the_settings_of_its_instance(ask: Ask, cls: Any) -> None:
    assert eval(await ask(cls("http://b", proxy=PROXY, key="k"))) == {"url": "http://b", "proxy": PROXY, "key": "k"}


@pytest.mark.parametrize("cls", [Returning, Synchronous])
async def test_a_class_without_the_generator_streams_its_other_method(cls: Any) -> None:
    assert eval("".join([text async for text in cls.create_async_generator("m", MESSAGES, proxy=PROXY)])) == {
        "url": "http://a",
        "proxy": PROXY,
    }


async def test_an_iterator_without_aclose_is_read() -> None:
    class Letters:
        def __init__(self) -> None:
            self.left = ["a", "b"]

        def __aiter__(self) -> Letters:
            return self

        async def __anext__(self) -> str:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    class Iterating(AsyncGeneratorProvider):
        url = "http://a"

        @classmethod
        def create_async_generator(cls, model: str, messages: Any) -> Letters:  # type: ignore[override]
            return Letters()

    assert await Iterating().create_async("m", MESSAGES) == "ab"


@pytest.mark.parametrize("result", [5, {"text": "a"}, b"bytes"])
async def test_a_result_that_is_not_text_is_an_error(result: Any) -> None:
    class Wrong(AsyncGeneratorProvider):
        url = "http://a"

        @classmethod
        async def create_async_generator(cls, model: str, messages: Any) -> Any:  # type: ignore[override]
            return result

    with pytest.raises(ProtocolError, match=f"Wrong has yielded {type(result).__name__}, not str"):
        await Wrong.create_async("m", MESSAGES)


async def test_the_iterator_of_a_synchronous_method_does_not_stop_the_event_loop() -> None:
    is_going = threading.Event()

    class Waiting(AsyncGeneratorProvider):
        url = "http://a"

        @staticmethod
        def create_completion(model: str, messages: Any, stream: bool = False) -> Any:  # type: ignore[override]
            assert is_going.wait(120)
            yield "a"

    asyncio.get_running_loop().call_soon(is_going.set)
    assert (await Waiting().reply(MESSAGES, model="m")).text == "a"


async def test_the_model_of_an_instance_is_passed() -> None:
    class Named(AsyncGeneratorProvider):
        url = "http://a"

        @classmethod
        async def create_async_generator(cls, model: str, messages: Any) -> AsyncIterator[str]:  # type: ignore[override]
            yield model

    assert [text async for text in Named(model="mine").create_async_generator("", MESSAGES)] == ["mine"]


class Failing(AsyncGeneratorProvider):
    url = "http://a"

    @classmethod
    async def create_async_generator(cls, model: str, messages: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        yield Reasoning("Hm")
        yield "Hello"
        raise OSError("sesame")


async def test_an_error_of_its_http_library_is_a_server_error_for_a_server_and_a_route() -> None:
    for provider in (Failing(), Route(Failing(), attempts=1)):
        request = Request(MESSAGES, model="m")
        items: list[Any] = []
        with pytest.raises(ServerError, match="the legacy provider raised OSError") as caught:
            async for batch in (await provider.open_reply(request, lambda p, asked: p.answer(asked))).batches:
                items += [item for item in batch if not isinstance(item, Attempts)]
        assert items == [Reasoning("Hm"), "Hello"]
        assert caught.value.text == "Hello"
        assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(OSError, match="sesame"):
        await Failing.create_async("m", MESSAGES)


async def test_check_reports_an_error_of_its_http_library() -> None:
    result = await Failing().check()
    assert (result.ok, result.text) == (False, "Hello")
    assert isinstance(result.error, ServerError)
    assert "sesame" not in str(result.error)


async def test_a_class_with_an_initializer_of_its_own_has_no_settings() -> None:
    class Alone(AsyncGeneratorProvider):
        url = "http://a"

        def __init__(self) -> None:
            self.mine = "mine"

        async def create_async_generator(self, model: str, messages: Any) -> AsyncIterator[str]:  # type: ignore[override]
            yield self.mine

    assert await Alone.create_async("m", MESSAGES) == "mine"


async def test_a_classmethod_around_that_of_a_dialect_gets_the_settings() -> None:
    class Loud(Acytoo):
        @classmethod
        async def create_async_generator(cls, model: str, messages: Any, **kwargs: Any) -> AsyncIterator[str]:  # type: ignore[override]
            async for text in super().create_async_generator(model, messages, **kwargs):
                yield text.upper()

    async with FakeEndpoint(dialects.Acytoo(), reply("hello")) as fake:
        assert await Loud(fake.url, key="k", drop_unsupported=True).create_async("m", MESSAGES, seed=1) == "HELLO"
    assert fake.requests[0].json["key"] == "k"


async def test_settings_that_acytoo_applies_itself_are_no_arguments_of_the_method() -> None:
    for cls in (Usual, Open):
        text = await cls.create_async("m", MESSAGES)
        assert await cls(max_reply=1000, drop_unsupported=True).create_async("m", MESSAGES) == text
        assert await cls().create_async("m", MESSAGES, max_reply=1000, drop_unsupported=True) == text
    with pytest.raises(ReplyTooLargeError):
        await yielding("x" * 2000)(max_reply=1000).create_async("m", MESSAGES)


async def test_an_instance_may_drop_the_options_that_its_method_cannot_take() -> None:
    provider = Usual(drop_unsupported=True)
    assert await provider.create_async("m", MESSAGES, temperature=1.0) == await Usual.create_async("m", MESSAGES)


@pytest.mark.parametrize("provider", [Usual, Usual()])
async def test_a_third_argument_of_another_type_than_a_proxy_is_refused(provider: Any) -> None:
    with pytest.raises(UsageError, match="invalid proxy True"):  # in gpt4free it is `stream`
        list(provider.create_completion("m", MESSAGES, True))
    with pytest.raises(UsageError, match="invalid proxy True"):
        await provider.create_async("m", MESSAGES, True)
    with pytest.raises(UsageError, match="invalid proxy of the type dict") as caught:
        await provider.create_async("m", MESSAGES, {"http": "http://user:secret@host:1"})
    assert "secret" not in caught.value.message


async def test_its_models_are_those_of_its_method_or_its_attribute() -> None:
    class Listing(Usual):
        models: ClassVar[list[str]] = ["a", "b"]

    class Asking(Listing):
        @classmethod
        def get_models(cls) -> list[str]:
            return [f"{cls.url}/{threading.current_thread() is threading.main_thread()}"]

    assert await Listing().list_models() == ["a", "b"]
    assert await Asking().list_models() == ["http://a/False"]
    with pytest.raises(UnsupportedError):
        await Usual().list_models()
