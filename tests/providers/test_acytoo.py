"""The contract: every row of its two tables, on the class and on an instance."""

from __future__ import annotations

import asyncio
import copy
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeAlias, get_type_hints

import pytest

import acytoo
from acytoo import Acytoo, AsyncGeneratorProvider, AsyncResult, Messages, dialects
from acytoo.errors import UsageError
from acytoo.providers.acytoo import _create_header, _create_payload
from acytoo.testing import FakeEndpoint, reply, status
from tests.helpers import CONTRACT, MESSAGES

Provider: TypeAlias = Acytoo | type[Acytoo]


@pytest.fixture
async def fake() -> AsyncIterator[FakeEndpoint]:
    """Run an endpoint that answers every request with the same reply."""
    async with FakeEndpoint(dialects.Acytoo(), reply("Hello ", "", "world")) as endpoint:
        yield endpoint


def on_the_class(url: str) -> Provider:
    return type("Acytoo", (Acytoo,), {"url": url})


BOTH = pytest.mark.parametrize("make", [Acytoo, on_the_class])
Make: TypeAlias = Callable[[str], Provider]
TOOL = {"type": "function", "function": {"name": "get_weather"}}


def test_the_class_has_the_contracts_attributes() -> None:
    assert issubclass(Acytoo, AsyncGeneratorProvider)
    for provider in (Acytoo, Acytoo()):
        assert isinstance(provider.url, str)
        assert provider.working is True
        assert provider.supports_message_history is True
        assert provider.supports_gpt_35_turbo is True


def test_the_types_are_exported() -> None:
    assert {"Acytoo", "AsyncGeneratorProvider", "AsyncResult", "Messages"} <= set(acytoo.__all__)
    assert Messages is acytoo.Messages
    assert AsyncResult is acytoo.AsyncResult


def test_the_method_has_the_contracts_signature() -> None:
    for method in (Acytoo.create_async_generator, Acytoo().create_async_generator):
        names = list(inspect.signature(method).parameters.values())
        assert [p.name for p in names] == ["model", "messages", "proxy", "kwargs"]
        assert names[2].default is None
        assert names[3].kind is inspect.Parameter.VAR_KEYWORD
    assert get_type_hints(AsyncGeneratorProvider.create_async_generator.__func__)["return"] == AsyncResult  # type: ignore[attr-defined]


def test_the_headers_are_the_contracts() -> None:
    assert _create_header() == {"accept": "*/*", "content-type": "application/json"}


def test_the_payload_is_the_contracts() -> None:
    assert _create_payload(MESSAGES) == {
        "key": "",
        "model": "gpt-3.5-turbo",
        "messages": MESSAGES,
        "temperature": 0.5,
        "password": "",
    }
    assert list(_create_payload(MESSAGES)) == ["key", "model", "messages", "temperature", "password"]


def test_the_payload_accepts_model_key_and_password() -> None:
    given = _create_payload(MESSAGES, 0.9, model="gpt-4", key="k", password="p")
    assert given == {"key": "k", "model": "gpt-4", "messages": MESSAGES, "temperature": 0.9, "password": "p"}


@BOTH
async def test_the_texts_are_non_empty_and_concatenate_to_the_reply(make: Make, fake: FakeEndpoint) -> None:
    provider = make(fake.url)
    seen = [text async for text in provider.create_async_generator(model="gpt-3.5-turbo", messages=MESSAGES)]
    assert "".join(seen) == "Hello world"
    assert all(type(text) is str for text in seen)
    assert "" not in seen


@BOTH
async def test_the_request_is_the_contracts_to_the_byte(make: Make, fake: FakeEndpoint) -> None:
    async for _ in make(fake.url).create_async_generator("gpt-3.5-turbo", MESSAGES):
        pass
    request = fake.requests[0]
    assert (request.method, request.target) == ("POST", "/api/completions")
    assert request.headers["accept"] == "*/*"
    assert request.headers["content-type"] == "application/json"
    assert request.json == _create_payload(MESSAGES)
    assert list(request.json) == list(_create_payload(MESSAGES))


@BOTH
async def test_model_key_password_and_temperature_really_are_sent(make: Make, fake: FakeEndpoint) -> None:
    options: dict[str, Any] = {"key": "k1", "password": "p1", "temperature": 0.0}
    async for _ in make(fake.url).create_async_generator("gpt-4", MESSAGES, **options):
        pass
    assert fake.requests[0].json == {**options, "model": "gpt-4", "messages": MESSAGES}


async def test_an_instances_key_and_password_are_sent_and_a_calls_own_win(fake: FakeEndpoint) -> None:
    provider = Acytoo(fake.url, key="k1", password="p1")
    await provider.create_async("", MESSAGES)
    await provider.create_async("", MESSAGES, key="k2")
    sent = [(request.json["key"], request.json["password"]) for request in fake.requests]
    assert sent == [("k1", "p1"), ("k2", "p1")]


@pytest.mark.parametrize("provider", [Acytoo, Acytoo()])
async def test_the_environment_provides_what_is_not_passed(
    provider: Provider, fake: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACYTOO_URL", fake.url)
    monkeypatch.setenv("ACYTOO_KEY", "k-env")
    monkeypatch.setenv("ACYTOO_PASSWORD", "p-env")
    fresh = provider if isinstance(provider, type) else Acytoo()
    await fresh.create_async("", MESSAGES)
    await Acytoo(fake.url, key="k-given").create_async("", MESSAGES)
    sent = [(request.json["key"], request.json["password"]) for request in fake.requests]
    assert sent == [("k-env", "p-env"), ("k-given", "p-env")]


@BOTH
@pytest.mark.parametrize(
    ("option", "near"),
    [("temprature", "temperature"), ("pasword", "password"), ("modle", "extra_body"), ("tiemout", "timeout")],
)
async def test_an_unknown_option_is_refused_before_anything_is_sent(
    make: Make, option: str, near: str, fake: FakeEndpoint
) -> None:
    options: dict[str, Any] = {option: 1}
    with pytest.raises(UsageError, match=rf"{option}.*{near}"):
        make(fake.url).create_async_generator("", MESSAGES, **options)
    assert fake.connections == 0


@BOTH
@pytest.mark.parametrize("option", [{"max_tokens": 5}, {"tools": [TOOL]}, {"seed": 1}, {"top_p": 0.5}])
async def test_an_option_that_the_protocol_cannot_express_is_refused(
    make: Make, option: dict[str, Any], fake: FakeEndpoint
) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        make(fake.url).create_async_generator("", MESSAGES, **option)
    assert fake.connections == 0


@BOTH
@pytest.mark.parametrize("messages", ["text", [], None, [{"role": "user", "content": None}], [{"content": "x"}]])
async def test_malformed_messages_are_refused_before_anything_is_sent(
    make: Make, messages: Any, fake: FakeEndpoint
) -> None:
    with pytest.raises(UsageError, match="messages"):
        make(fake.url).create_async_generator("", messages)
    assert fake.connections == 0


@pytest.mark.parametrize("temperature", ["hot", [1], {"a": 1}])
async def test_an_option_of_the_wrong_type_is_refused(temperature: Any, fake: FakeEndpoint) -> None:
    with pytest.raises(UsageError, match="temperature"):
        Acytoo(fake.url).create_async_generator("", MESSAGES, temperature=temperature)
    assert fake.connections == 0


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "localhost", "www.acytoo.com/x", "ftp://x", "http://", "  ", "http:x"]
)
def test_an_invalid_url_is_refused_with_the_reason(url: str) -> None:
    with pytest.raises(UsageError, match="URL"):
        Acytoo(url)
    with pytest.raises(UsageError, match="URL"):
        Acytoo().create_async_generator("", MESSAGES, url=url)


def test_a_url_without_a_scheme_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"did you mean http://127.0.0.1:8080 or https://127.0.0.1:8080"):
        Acytoo("127.0.0.1:8080")


@BOTH
async def test_the_callers_messages_are_never_changed(make: Make, fake: FakeEndpoint) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief.", "createdAt": 3},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hello", "reasoning": [{"text": "hm"}]},
        {"role": "user", "content": "And?"},
    ]
    before = copy.deepcopy(messages)
    await make(fake.url).create_async("", messages)
    assert messages == before
    sent = fake.requests[0].json["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert sent[1]["content"] == "Hi"
    assert "reasoning" not in sent[2]


@BOTH
async def test_the_text_arrives_as_it_is_sent(make: Make) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("first", "second").stall(after=1)) as fake:
        async with aclosing(make(fake.url).create_async_generator("", MESSAGES)) as stream:
            assert await anext(stream) == "first"
        await fake.disconnected()


@BOTH
async def test_an_error_status_carries_the_servers_own_message(make: Make) -> None:
    async with FakeEndpoint(dialects.Acytoo(), status(401, body={"msg": "wrong password"})) as fake:
        with pytest.raises(acytoo.AcytooError, match="401: wrong password"):
            await make(fake.url).create_async("", MESSAGES)


@pytest.mark.parametrize(
    ("dialect", "path", "content_type", "has_key"),
    [
        (dialects.Acytoo(path="/api/chat"), "/api/chat", "application/json", True),
        (dialects.Acytoo(content_type="text/plain"), "/api/completions", "text/plain", True),
        (dialects.Acytoo(omit_empty_key=True), "/api/completions", "application/json", False),
    ],
)
async def test_known_server_variations_are_options_of_the_dialect(
    dialect: dialects.Acytoo, path: str, content_type: str, has_key: bool, fake: FakeEndpoint
) -> None:
    provider = type("Other", (Acytoo,), {"dialect": dialect})(fake.url)
    await provider.create_async("", MESSAGES)
    request = fake.requests[0]
    assert (request.path, request.headers["content-type"]) == (path, content_type)
    assert ("key" in request.json) is has_key


async def test_extra_body_fields_are_sent_unchanged(fake: FakeEndpoint) -> None:
    await Acytoo(fake.url).create_async("", MESSAGES, extra_body={"botId": 7}, extra_headers={"X-Site": "a"})
    assert fake.requests[0].json["botId"] == 7
    assert fake.requests[0].headers["x-site"] == "a"


@BOTH
@pytest.mark.parametrize("field", ["model", "messages", "key", "password"])
async def test_a_field_with_its_own_argument_is_refused_in_extra_body(
    make: Make, field: str, fake: FakeEndpoint
) -> None:
    with pytest.raises(UsageError, match=rf"extra_body has '{field}'.*{field}="):
        make(fake.url).create_async_generator("", MESSAGES, extra_body={field: "x"})
    assert fake.connections == 0


@BOTH
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
async def test_a_number_that_json_cannot_represent_is_refused(make: Make, number: float, fake: FakeEndpoint) -> None:
    with pytest.raises(UsageError, match="temperature"):
        make(fake.url).create_async_generator("", MESSAGES, temperature=number)
    assert fake.connections == 0


async def test_a_base_url_with_a_path_and_a_slash_is_kept(fake: FakeEndpoint) -> None:
    await Acytoo(fake.url + "/sub/").create_async("", MESSAGES)
    assert fake.requests[0].target == "/sub/api/completions"


def test_the_example_of_the_contract_runs_verbatim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "example.py"
    script.write_text(CONTRACT)
    with FakeEndpoint(dialects.Acytoo(), reply("你好, ", "world 👋")) as fake:
        monkeypatch.setenv("ACYTOO_URL", fake.url)
        command = [sys.executable, "-W", "error", "-X", "utf8", str(script)]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.stderr == b""
    assert done.stdout.decode() == "你好, world 👋"


async def test_many_calls_at_once_do_not_mix_their_texts() -> None:
    def echo(request: Any) -> Any:
        word = request.json["messages"][0]["content"]
        return reply(*[word] * 20).cut_bytes(3)

    async with FakeEndpoint(dialects.Acytoo(), echo) as fake:
        provider = Acytoo(fake.url)
        words = [f"w{number}·" for number in range(30)]
        asked = [provider.create_async("", [{"role": "user", "content": word}]) for word in words]
        assert await asyncio.gather(*asked) == [word * 20 for word in words]
