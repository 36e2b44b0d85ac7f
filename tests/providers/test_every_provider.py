"""What holds for every provider: where it finds URL, key and model, and its errors if one is missing."""

from __future__ import annotations

import re

import pytest

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.errors import AuthenticationError, UsageError
from acytoo.registry import provider, providers
from acytoo.testing import FakeEndpoint, reply
from acytoo.types import Finish
from tests.providers.helpers import HELLO, sent

Provider = type[AsyncGeneratorProvider]
ALL = list(providers().values())
REMOTE = [cls for cls in ALL if "embedded" not in cls.url]


def each(classes: list[Provider]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cls", classes, ids=[cls.address_name() for cls in classes])


KEYED = [cls for cls in ALL if cls.needs_auth]


def test_providers_are_found_by_name() -> None:
    assert {"acytoo", "openai", "openai-responses", "anthropic", "gemini", "ollama", "azure", "groq"} <= set(
        providers()
    )
    assert provider("OpenAI/gpt-x").model == "gpt-x"
    assert provider("openrouter/maker/name").model == "maker/name"


def test_an_unknown_name_is_reported_with_the_most_similar_one() -> None:
    with pytest.raises(UsageError, match="'anthropic'"):
        provider("antropic/claude")


def test_a_url_is_an_acytoo_server() -> None:
    assert (type(provider("http://h:1")).__name__, provider("http://h:1").url) == ("Acytoo", "http://h:1")


@each(KEYED)
async def test_without_a_key_the_error_names_its_variable_and_nothing_is_sent(cls: Provider) -> None:
    assert cls.dialect is not None
    async with FakeEndpoint(cls.dialect, reply("Hello")) as fake:
        with pytest.raises(AuthenticationError, match=re.escape(cls.env["key"][0])):
            await cls(fake.url, model="m-1").create_async("", HELLO)
    assert fake.connections == 0


@each([cls for cls in REMOTE if cls.needs_model])
async def test_without_a_model_the_error_shows_an_address_with_one_and_nothing_is_sent(cls: Provider) -> None:
    assert cls.dialect is not None
    async with FakeEndpoint(cls.dialect, reply("Hello")) as fake:
        with pytest.raises(UsageError, match=f"{cls.address_name()}/MODEL"):
            await cls(fake.url, key="sk-1").create_async("", HELLO)
    assert fake.connections == 0


@each(REMOTE)
async def test_the_key_is_sent_in_a_header_and_nowhere_else(cls: Provider) -> None:
    received = await sent(cls, key="sk-secret")
    assert "sk-secret" not in received.target
    if cls.address_name() != "acytoo":
        assert [name for name, value in received.headers.items() if "sk-secret" in value] != []
        assert b"sk-secret" not in received.body


@each([cls for cls in REMOTE if not cls.needs_auth])
async def test_a_provider_that_needs_no_key_sends_none(cls: Provider) -> None:
    received = await sent(cls, key=None)
    assert not {"authorization", "x-api-key", "api-key", "x-goog-api-key"} & received.headers.keys()


@each(KEYED)
async def test_the_variable_of_the_service_is_read_before_the_classs_own(
    cls: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = f"{cls.__name__.upper()}_KEY"
    monkeypatch.setenv(own, "sk-class")
    assert any("sk-class" in value for value in (await sent(cls, key=None)).headers.values())
    monkeypatch.setenv(cls.env["key"][0], "sk-service")
    assert any("sk-service" in value for value in (await sent(cls, key=None)).headers.values())
    assert any("sk-given" in value for value in (await sent(cls, key="sk-given")).headers.values())
    received = await sent(cls, key="sk-given", api_key="sk-call")
    assert any("sk-call" in value for value in received.headers.values())


@each(REMOTE)
async def test_url_and_model_come_from_the_call_then_instance_then_environment_then_class(
    cls: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cls.dialect is not None
    variable = next(iter(cls.env.get("url", ())), f"{cls.__name__.upper()}_URL")
    answer = reply("Hello", Finish("stop"))
    async with (
        FakeEndpoint(cls.dialect, answer) as by_environment,
        FakeEndpoint(cls.dialect, answer) as by_instance,
        FakeEndpoint(cls.dialect, answer) as by_call,
    ):
        monkeypatch.setenv(variable, by_environment.url)
        monkeypatch.setenv(f"{cls.__name__.upper()}_MODEL", "from-environment")
        await cls(key="sk-1").create_async("", HELLO)
        await cls(by_instance.url, key="sk-1", model="from-instance").create_async("", HELLO)
        await cls(base_url=by_instance.url, key="sk-1").create_async("", HELLO)
        await cls(by_instance.url, key="sk-1", model="x").create_async("from-call", HELLO, url=by_call.url)
    found = [(f.target + f.body.decode()) for fake in (by_environment, by_instance, by_call) for f in fake.requests]
    wanted = ["from-environment", "from-instance", "from-environment", "from-call"]
    assert len(found) == len(wanted)
    for model, request in zip(wanted, found, strict=True):
        assert model in request


@each(ALL)
def test_a_key_is_in_no_repr(cls: Provider) -> None:
    made = cls("http://127.0.0.1:1", key="sk-secret", password="sk-secret", model="m-1")
    assert "sk-secret" not in repr(made) + repr(made._settings)
