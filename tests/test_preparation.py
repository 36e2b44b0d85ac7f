"""Providers and dialects whose login takes a request of its own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acytoo import AsyncGeneratorProvider, AuthenticationError, ServerError, TruncatedError, dialects
from acytoo.dialects.base import Fetch
from acytoo.http import Endpoint, HTTPRequest
from acytoo.secret import Secret
from acytoo.testing import FakeEndpoint, reply, status
from acytoo.types import Request
from tests.helpers import MESSAGES


async def _log_in(endpoint: Endpoint, fetch: Fetch) -> Endpoint:
    body = json.dumps({"password": endpoint.password.reveal()}).encode()
    head, answer = await fetch(HTTPRequest(f"{endpoint.url}/login", {"content-type": "application/json"}, body))
    assert head.status == 200
    token = json.loads(answer)["token"]
    return msgspec.structs.replace(endpoint, key=Secret(token), headers={"cookie": f"s={token}"})


class WithLogin(AsyncGeneratorProvider):
    """A provider that logs in."""

    url = "http://127.0.0.1"
    dialect = dialects.OpenAI()

    async def prepare(self, endpoint: Endpoint, fetch: Fetch) -> Endpoint:
        return await _log_in(endpoint, fetch)


class LoginDialect(dialects.OpenAI):
    """A dialect whose API needs a login."""

    async def prepare(self, endpoint: Endpoint, fetch: Fetch) -> Endpoint:
        return await _log_in(endpoint, fetch)


class WithDialect(AsyncGeneratorProvider):
    """A provider of that API."""

    url = "http://127.0.0.1"
    dialect = LoginDialect()


class Service:
    """A service in which a token is valid for `lifetime` requests."""

    def __init__(self, lifetime: int = 1000) -> None:
        self.lifetime = lifetime
        self.logins = 0
        self.uses = 0

    def __call__(self, received: Any) -> Any:
        if received.target.endswith("/login"):
            if received.json["password"] != "right":
                return status(401, f"wrong password {received.json['password']}")
            self.logins += 1
            self.uses = 0
            return status(200, body={"token": f"token-{self.logins}"})
        if self.uses >= self.lifetime or received.headers.get("authorization") != f"Bearer token-{self.logins}":
            return status(401, f"{received.headers.get('authorization')} has expired")
        assert received.headers["cookie"] == f"s=token-{self.logins}"
        self.uses += 1
        return reply("Hello ", "world")


BOTH = pytest.mark.parametrize("provider", [WithLogin, WithDialect])


@BOTH
async def test_an_instance_logs_in_once(provider: type[AsyncGeneratorProvider]) -> None:
    service = Service()
    async with FakeEndpoint(dialects.OpenAI(), service) as fake:
        instance = provider(fake.url, password="right")
        replies = await asyncio.gather(*(instance.create_async("m", MESSAGES) for _ in range(5)))
        assert replies == ["Hello world"] * 5
        assert (await instance.reply(MESSAGES, model="m")).text == "Hello world"
        assert await asyncio.to_thread(lambda: "".join(instance.create_completion("m", MESSAGES))) == "Hello world"
        assert service.logins == 1
        assert await provider(fake.url, password="right").create_async("m", MESSAGES) == "Hello world"
        assert service.logins == 2


@BOTH
async def test_other_credentials_of_a_call_log_in_for_themselves(provider: type[AsyncGeneratorProvider]) -> None:
    async with FakeEndpoint(dialects.OpenAI(), Service()) as fake:
        instance = provider(fake.url, password="right")
        await instance.create_async("m", MESSAGES)
        with pytest.raises(AuthenticationError, match="wrong password"):
            await instance.create_async("m", MESSAGES, password="wrong-secret")


@BOTH
async def test_an_expired_login_is_repeated_once(provider: type[AsyncGeneratorProvider]) -> None:
    service = Service(lifetime=2)
    async with FakeEndpoint(dialects.OpenAI(), service) as fake:
        instance = provider(fake.url, password="right")
        for _ in range(5):
            assert await instance.create_async("m", MESSAGES) == "Hello world"
        assert service.logins == 3
        service.lifetime = 0
        with pytest.raises(AuthenticationError, match="expired"):
            await instance.create_async("m", MESSAGES)
        assert service.logins == 4


@BOTH
async def test_a_passed_through_body_is_sent_with_the_login_too(provider: type[AsyncGeneratorProvider]) -> None:
    service = Service(lifetime=1)
    async with FakeEndpoint(dialects.OpenAI(), service) as fake:
        instance = provider(fake.url, password="right")
        body = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": true}'
        for _ in range(2):
            stream = instance.pass_through(body, Request([]), dialects.OpenAI().writer(Request([])))
            assert b"world" in b"".join([chunk async for chunk in stream])
        assert service.logins == 2


@BOTH
async def test_a_login_that_fails_the_second_time_leaves_no_connection_open(
    provider: type[AsyncGeneratorProvider],
) -> None:
    answers = iter(
        [
            status(200, body={"token": "token-1"}),
            reply("Hello"),
            status(401, "expired").with_length(999).stall(),
            status(503, "no more logins"),
        ]
    )
    async with FakeEndpoint(dialects.OpenAI(), lambda _: next(answers)) as fake:
        instance = provider(fake.url, password="right")
        assert await instance.create_async("m", MESSAGES) == "Hello"
        body = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": true}'
        with pytest.raises(ServerError, match="no more logins"):
            async for _ in instance.pass_through(body, Request([]), dialects.OpenAI().writer(Request([]))):
                pass
        refused = fake.requests[2].peer
        assert refused is not None
        async with asyncio.timeout(120):
            await refused.client_left.wait()


@BOTH
async def test_no_error_shows_a_credential_of_the_login(provider: type[AsyncGeneratorProvider]) -> None:
    service = Service(lifetime=0)
    async with FakeEndpoint(dialects.OpenAI(), service) as fake:
        with pytest.raises(AuthenticationError) as refused:
            await provider(fake.url, password="wrong-secret").create_async("m", MESSAGES)
        assert "wrong-secret" not in f"{refused.value!r} {refused.value.body}"
        with pytest.raises(AuthenticationError) as expired:
            await provider(fake.url, password="right").create_async("m", MESSAGES)
        assert "token-1" not in f"{expired.value!r} {expired.value.body}"


async def test_the_dialect_of_the_documentation_reads_a_reply_or_reports_that_it_was_cut() -> None:
    code = (Path(__file__).parent.parent / "docs" / "own-provider.md").read_text()
    block = next(block for block in code.split("```python\n") if "class PromptReader" in block).partition("```")[0]
    names: dict[str, Any] = {}
    exec(block, names)

    bodies = {"good": b'{"text": "Hello "}\n{"text": "world"}\n{"done": true}\n', "cut": b'{"text": "Hello "}\n'}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    async with FakeEndpoint(
        dialects.OpenAI(), lambda received: status(200, body=bodies[received.json["model"]])
    ) as fake:
        provider = names["Prompt"](fake.url)
        assert await provider.create_async("good", messages) == "Hello world"
        with pytest.raises(TruncatedError):
            await provider.create_async("cut", messages)
        assert fake.requests[0].json["prompt"] == "System: Be brief.\n\nUser: Hi\n\nAssistant:"


@pytest.mark.parametrize(("path", "is_own"), [("/v1/login", True), ("/v1-login", False)])
async def test_the_credentials_in_a_url_are_sent_only_below_it(path: str, is_own: bool) -> None:
    class WithOwnLogin(AsyncGeneratorProvider):
        dialect = dialects.OpenAI()

        async def prepare(self, endpoint: Endpoint, fetch: Fetch) -> Endpoint:
            await fetch(HTTPRequest(f"{endpoint.url.removesuffix('/v1')}{path}", {}, b"{}"))
            return endpoint

    async with FakeEndpoint(dialects.OpenAI(), status(200, body={}), reply("Hello")) as fake:
        url = fake.url.replace("://", "://user:pass@")
        assert await WithOwnLogin(f"{url}/v1?token=secret").create_async("m", MESSAGES) == "Hello"
        login, call = fake.requests
        assert ("authorization" in login.headers) == ("token=secret" in login.target) == is_own
        assert "authorization" in call.headers
        assert "token=secret" in call.target


async def test_a_login_that_returns_no_endpoint_is_named() -> None:
    class Forgetful(WithLogin):
        async def prepare(self, endpoint: Endpoint, fetch: Fetch) -> Endpoint:
            return None  # type: ignore[return-value]

    with pytest.raises(TypeError, match="prepare must return an Endpoint, not NoneType"):
        await Forgetful("http://127.0.0.1:9").create_async("m", MESSAGES)
