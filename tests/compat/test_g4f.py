"""How gpt4free's `Client` and `AsyncClient` use a provider (source: g4f 8.8.6, tools/run_tools.py).

The functions here do what those clients do. The clients themselves were run once against the same scripted endpoint;
their package is too large for a test dependency.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from acytoo import Acytoo, dialects
from acytoo.errors import AuthenticationError, UnsupportedError, UsageError
from acytoo.providers.openai import OpenAI
from acytoo.testing import FakeEndpoint, reply, status

MESSAGES: list[Any] = [{"role": "user", "content": "Hello"}]
HELLO = reply("Hel", "lo ", "world")


def iter_run_tools(provider: Any, model: str, messages: Any, **kwargs: Any) -> Iterator[str]:
    """Call a provider as `Client.chat.completions.create` does: with `provider`, and always for an iterator."""
    _check_attributes(provider)
    try:
        yield from provider.create_completion(model=model, messages=messages, provider=provider, **kwargs)
        provider.live += 1
    except Exception:
        provider.live -= 1
        raise


async def async_iter_run_tools(provider: Any, model: str, messages: Any, **kwargs: Any) -> AsyncIterator[str]:
    """Call a provider as `AsyncClient` does: each text is awaited with a timeout of its own."""
    _check_attributes(provider)
    response = provider.create_async_generator(model=model, messages=messages, **kwargs)
    limit = kwargs.get("stream_timeout") if provider.use_stream_timeout else kwargs.get("timeout")
    try:
        while True:
            try:
                yield await asyncio.wait_for(response.__anext__(), limit)
            except StopAsyncIteration:
                break
        provider.live += 1
    finally:
        await response.aclose()


def _check_attributes(provider: Any) -> None:
    """Check the attributes that the clients read before and after a call."""
    assert provider.supports_native_tools is False
    assert provider.model_aliases == {}
    assert provider.working is True
    assert provider.supports_stream is True
    assert isinstance(provider.__name__, str)
    assert isinstance(getattr(provider, "default_model", None), str)
    assert provider.label is None or isinstance(provider.label, str)
    assert provider.get_parent() == provider.__name__
    assert provider.get_dict()["name"] == provider.__name__
    assert provider.get_dict().keys() == {"name", "url", "label"}
    assert isinstance(provider.params, str)


@pytest.fixture
def hello(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEndpoint]:
    """Run an endpoint that the class finds by its environment variable."""
    with FakeEndpoint(dialects.Acytoo(), HELLO) as fake:
        monkeypatch.setenv("ACYTOO_URL", fake.url)
        yield fake


PASSED: list[dict[str, Any]] = [
    {},
    {"stream": True},
    {"stream": False, "ignore_stream": True},
    {"stream": True, "stream_timeout": 30},
    {"timeout": 30},
    {"conversation": None},
    {"proxy": None, "temperature": 0.3},
    {"max_tokens": 100, "stop": ["\n"], "drop_unsupported": True},
    {"media": None, "web_search": False},
    {"media": [], "web_search": None, "response_format": {"type": "json"}},
]


@pytest.mark.parametrize("kwargs", PASSED)
def test_the_client_gets_the_reply(kwargs: dict[str, Any], hello: FakeEndpoint) -> None:
    assert "".join(iter_run_tools(Acytoo, "gpt-4o", MESSAGES, **kwargs)) == "Hello world"
    assert hello.requests[0].json["model"] == "gpt-4o"


@pytest.mark.parametrize("kwargs", PASSED)
async def test_the_asynchronous_client_gets_the_reply(kwargs: dict[str, Any], hello: FakeEndpoint) -> None:
    texts = [text async for text in async_iter_run_tools(Acytoo, "gpt-4o", MESSAGES, **kwargs)]
    assert "".join(texts) == "Hello world"


@pytest.mark.parametrize("kwargs", PASSED)
async def test_an_instance_is_called_with_its_own_settings(kwargs: dict[str, Any]) -> None:
    async with FakeEndpoint(dialects.Acytoo(), HELLO) as fake:
        provider = Acytoo(fake.url, key="k1")
        texts = [text async for text in async_iter_run_tools(provider, "gpt-4o", MESSAGES, **kwargs)]
        assert "".join(texts) == "Hello world"
        assert fake.requests[0].json["key"] == "k1"
        texts = await asyncio.to_thread(lambda: list(iter_run_tools(provider, "gpt-4o", MESSAGES, **kwargs)))
        assert "".join(texts) == "Hello world"
        assert provider.live == Acytoo.live + 2


@pytest.mark.parametrize("kwargs", [{"media": [("image", "a.png")]}, {"web_search": True}])
def test_what_asks_for_something_else_is_refused(kwargs: dict[str, Any], hello: FakeEndpoint) -> None:
    with pytest.raises(UsageError, match=next(iter(kwargs))):
        list(iter_run_tools(Acytoo, "gpt-4o", MESSAGES, **kwargs))
    assert hello.requests == []


def test_the_clients_key_and_address_are_used(hello: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACYTOO_URL")
    passed = {"api_key": "k1", "base_url": hello.url}
    assert "".join(iter_run_tools(Acytoo, "", MESSAGES, **passed)) == "Hello world"
    assert hello.requests[0].json["key"] == "k1"


def test_the_client_works_inside_a_running_loop(hello: FakeEndpoint) -> None:
    async def main() -> str:
        return "".join(iter_run_tools(Acytoo, "gpt-4o", MESSAGES))

    assert asyncio.run(main()) == "Hello world"


def test_another_provider_works_the_same_way() -> None:
    with FakeEndpoint(dialects.OpenAI(), HELLO) as fake:
        passed = {"api_key": "k1", "base_url": fake.url, "max_tokens": 7, "stop": ["x"], "stream": True}
        assert "".join(iter_run_tools(OpenAI, "gpt-4o", MESSAGES, **passed)) == "Hello world"
        assert fake.requests[0].json["max_completion_tokens"] == 7
        assert fake.requests[0].headers["authorization"] == "Bearer k1"


def test_leaving_a_stream_early_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeEndpoint(dialects.Acytoo(), HELLO.stall(after=1)) as fake:
        monkeypatch.setenv("ACYTOO_URL", fake.url)
        texts = iter_run_tools(Acytoo, "gpt-4o", MESSAGES, stream=True)
        assert next(texts) == "Hel"
        texts.close()  # type: ignore[attr-defined]
        fake.wait_disconnected()


def test_an_option_that_the_api_cannot_express_is_refused(hello: FakeEndpoint) -> None:
    with pytest.raises(UnsupportedError, match="drop_unsupported"):
        list(iter_run_tools(Acytoo, "gpt-4o", MESSAGES, max_tokens=100))
    assert hello.requests == []


def test_the_servers_error_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeEndpoint(dialects.Acytoo(), status(401, "wrong key")) as fake:
        monkeypatch.setenv("ACYTOO_URL", fake.url)
        with pytest.raises(AuthenticationError, match="wrong key"):
            list(iter_run_tools(Acytoo, "gpt-4o", MESSAGES))


@pytest.mark.parametrize(
    "name", ["label", "params", "live", "use_stream_timeout", "supports_native_tools", "model_aliases", "needs_auth"]
)
def test_the_attributes_that_the_clients_read_exist(name: str) -> None:
    assert hasattr(Acytoo, name)
    assert Acytoo.get_dict()["name"] == Acytoo.get_parent() == "Acytoo"


async def test_arguments_that_the_clients_pass_to_every_provider_are_ignored() -> None:
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
