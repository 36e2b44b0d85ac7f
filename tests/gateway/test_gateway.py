"""A server with a config file, from a client's request to the row in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from acytoo.dialects import ALL, Anthropic, Dialect, OpenAI
from acytoo.dialects.openai import Variations
from acytoo.errors import AuthenticationError, NotFoundError, RateLimitError
from acytoo.gateway.gateway import Gateway
from acytoo.gateway.keys import hash_secret
from acytoo.gateway.ledger import UsageRow
from acytoo.providers.anthropic import Anthropic as AnthropicProvider
from acytoo.providers.openai import OpenAI as OpenAIProvider
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, reply
from acytoo.testing.hostile.site import example
from acytoo.types import Finish, Usage
from tests.gateway.served import served

HELLO = [{"role": "user", "content": "Hello there"}]
USAGE = Usage(input_tokens=1000, output_tokens=500)


@asynccontextmanager
async def gateway(folder: Path, upstream: str, rest: str) -> AsyncIterator[tuple[str, Gateway]]:
    """A gateway in front of one upstream named `up`, and its key `sk-ci`."""
    config = f"""
        [server]
        port = 0
        [storage]
        ledger = "sqlite:ledger.db"
        [upstreams.up]
        provider = "compatible"
        url = "{upstream}"
        [models.fast]
        targets = ["up/m1"]
        [keys.ci]
        hash = "{hash_secret("sk-ci")}"
        {rest}
    """
    path = folder / "acytoo.toml"
    path.write_text(config)
    running = Gateway(path)
    async with running.running() as application:
        server, url = await start(running.server_config, application=application)
        try:
            yield url, running
        finally:
            await server.close()


async def usage(running: Gateway, by: str = "outcome") -> list[UsageRow]:
    await running.ledger.flush()
    return await running.ledger.usage(0, 1e12, by.split(","))


def openai(url: str, **settings: Any) -> OpenAIProvider:
    return OpenAIProvider(url=url + "/v1", key="sk-ci", **settings)


class _WithoutUsage(OpenAIProvider):
    """A client that does not ask for the usage."""

    dialect = OpenAI(Variations(stream_usage=False))


async def test_a_reply_is_recorded_with_the_tokens_that_the_upstream_reported(tmp_path: Path) -> None:
    price = '[prices."up/m1"]\ninput = 2.0\noutput = 4.0\n'
    async with FakeEndpoint(OpenAI(), reply("Hi", USAGE, Finish())) as fake:
        async with gateway(tmp_path, fake.url, price) as (url, running):
            assert await openai(url).create_async("fast", HELLO) == "Hi"
            (row,) = await usage(running, "key,model,target,dialect,outcome")
    assert row.group == {"key": "ci", "model": "fast", "target": "up/m1", "dialect": "openai", "outcome": "complete"}
    assert (row.input_tokens, row.output_tokens, row.estimated) == (1000, 500, 0)
    assert row.cost == (1000 * 2 + 500 * 4) * 1000


async def test_a_passed_stream_is_asked_for_usage_that_its_client_does_not_see(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi", USAGE, Finish())) as fake:
        async with gateway(tmp_path, fake.url, "") as (url, running):
            provider = _WithoutUsage(url=url + "/v1", key="sk-ci")
            items = [item async for item in provider.stream(HELLO, model="fast")]
            (row,) = await usage(running)
    assert fake.requests[0].json["stream_options"] == {"include_usage": True}
    assert not [item for item in items if isinstance(item, Usage)]
    assert [item for item in items if isinstance(item, Finish)]
    assert (row.input_tokens, row.output_tokens, row.estimated) == (1000, 500, 0)


async def test_a_key_is_presented_as_each_dialect_does_it(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake, gateway(tmp_path, fake.url, "") as (url, running):
        assert await AnthropicProvider(url=url, key="sk-ci").create_async("fast", HELLO, max_tokens=9) == "Hi"
        with pytest.raises(AuthenticationError):
            await AnthropicProvider(url=url, key="sk-other").create_async("fast", HELLO, max_tokens=9)
        assert [(row.group["key"], row.attempts) for row in await usage(running, "key")] == [("ci", 1)]


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
async def test_the_admin_key_may_ask_no_model_and_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: Dialect
) -> None:
    monkeypatch.setenv("TEST_ADMIN_KEY", "sk-the-admin-key")
    path, fields = example(dialect, stream=False)
    admin = "authorization: Bearer sk-the-admin-key\r\n"
    server = 'admin_key = "env:TEST_ADMIN_KEY"'
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake, served(tmp_path, fake.url, server=server) as running:
        for asked in (path, *dialect.count_routes):
            response = await running.post(asked.replace("{model}", "up/m"), fields, admin)
            assert response.status == 403
            assert b"the admin key may not ask models: use another key" in response.body
    assert not fake.requests


async def test_a_disabled_key_is_refused_and_says_why(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake, gateway(tmp_path, fake.url, "disabled = true") as (url, _):
        with pytest.raises(AuthenticationError, match="the key 'ci' is disabled: ask those who run this server"):
            await openai(url).create_async("fast", HELLO)
    assert not fake.requests


async def test_a_key_that_is_rotated_has_two_secrets_and_one_limit(tmp_path: Path) -> None:
    rest = f"""
        previous_hash = "{hash_secret("sk-old")}"
        previous_expires = 2999-01-01
        requests_per_minute = 2
    """
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake, gateway(tmp_path, fake.url, rest) as (url, running):
        assert await openai(url).create_async("fast", HELLO) == "Hi"
        provider = OpenAIProvider(url=url + "/v1", key="sk-old")
        assert await provider.create_async("fast", HELLO) == "Hi"
        with pytest.raises(RateLimitError):
            await provider.create_async("fast", HELLO)
        assert {row.group["key"] for row in await usage(running, "key")} == {"ci"}


async def test_the_old_secret_of_a_key_ends_on_its_day(tmp_path: Path) -> None:
    rest = f'previous_hash = "{hash_secret("sk-old")}"\nprevious_expires = 2020-01-01'
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake, gateway(tmp_path, fake.url, rest) as (url, _):
        with pytest.raises(AuthenticationError, match="the key 'ci' expired at the end of 2020-01-01"):
            await OpenAIProvider(url=url + "/v1", key="sk-old").create_async("fast", HELLO)
        assert await openai(url).create_async("fast", HELLO) == "Hi"


async def test_a_limit_refuses_with_the_time_to_wait(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake:
        async with gateway(tmp_path, fake.url, "requests_per_minute = 1") as (url, running):
            await openai(url).create_async("fast", HELLO)
            with pytest.raises(RateLimitError, match="limit of 1 request per minute") as caught:
                await openai(url).create_async("fast", HELLO)
            outcomes = {row.group["outcome"]: row.attempts for row in await usage(running)}
    assert 50 < (caught.value.retry_after or 0) <= 60
    assert outcomes == {"complete": 1, "RateLimitError": 0}
    assert len(fake.requests) == 1


@pytest.mark.parametrize("limit", ["requests_per_minute = 1", "concurrent = 1", "tokens_per_day = 100"])
@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("/v1/chat/completions", "x-ratelimit-remaining-requests"),
        ("/v1/completions", "x-ratelimit-remaining-requests"),
        ("/v1/responses", "x-ratelimit-remaining-requests"),
        ("/v1/messages", "anthropic-ratelimit-requests-remaining"),
        ("/v1/messages/count_tokens", "anthropic-ratelimit-requests-remaining"),
    ],
)
async def test_a_refusal_says_what_is_left_in_the_headers_of_its_api(
    path: str, left: str, limit: str, tmp_path: Path
) -> None:
    async with (
        FakeEndpoint(OpenAI(), reply("Hi").stall(at_byte=1)) as fake,
        served(tmp_path, fake.url, f'{limit}\nrequests_per_day = 7\n[models.fast]\ntargets = ["up/m1"]') as gate,
    ):
        body = {"model": "fast", "messages": HELLO, "input": "Hi", "prompt": "Hi", "max_tokens": 50}
        holds = asyncio.create_task(gate.post("/v1/chat/completions", body))
        await fake.received()
        response = await gate.post(path, body)
        holds.cancel()
    assert response.status == 429
    assert response.headers[left] == ("0" if "minute" in limit else "6")


async def test_a_budget_counts_what_replies_really_cost(tmp_path: Path) -> None:
    rest = 'budget_per_day = 0.02\n[prices."up/m1"]\ninput = 10.0\noutput = 10.0\n'
    async with (
        FakeEndpoint(OpenAI(), reply("Hi", USAGE, Finish())) as fake,
        gateway(tmp_path, fake.url, rest) as (url, _),
    ):
        await openai(url).create_async("fast", HELLO, max_tokens=10)
        with pytest.raises(RateLimitError, match=r"\$0.02 per day"):
            await openai(url).create_async("fast", HELLO, max_tokens=1000)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [True, False])
async def test_what_a_cache_keeps_for_an_hour_has_a_price_of_its_own(
    path: str, stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_KEY", "sk-claude-0123456789")
    usage = Usage(100_100, 0, 0, 100_000, cache_write_1h_tokens=60_000)
    async with FakeEndpoint(Anthropic(), reply("Hi", usage, Finish())) as fake:
        rest = f'[upstreams.anthropic]\nurl = "{fake.url}"\nkey = "env:CLAUDE_KEY"\n'
        async with served(tmp_path, "http://127.0.0.1:1", rest) as gate:
            body = {"model": "anthropic/claude-sonnet-4-0", "messages": HELLO, "max_tokens": 50, "stream": stream}
            assert (await gate.post(path, body)).status == 200
            await gate.gateway.ledger.flush()
            (row,) = await gate.gateway.ledger.usage(0, 1e12, [])
    assert row.cost == 100 * 3000 + 40_000 * 3750 + 60_000 * 6000


@pytest.mark.parametrize("model", ["fast", "unknown"])
@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1beta/models/{}:countTokens"])
async def test_counting_tokens_is_not_recorded_even_if_it_fails(path: str, model: str, tmp_path: Path) -> None:
    async with (
        FakeEndpoint(OpenAI(), reply("Hi", Finish())) as fake,
        served(tmp_path, fake.url, '[models.fast]\ntargets = ["up/m1"]') as gate,
    ):
        body = {"model": model, "messages": HELLO, "contents": [{"parts": [{"text": "Hi"}]}]}
        assert (await gate.post(path.format(model), body)).status == (400 if model == "fast" else 404)
        await gate.gateway.ledger.flush()
        assert await gate.gateway.ledger.usage(0, 1e12, []) == []


async def test_a_budget_survives_a_restart(tmp_path: Path) -> None:
    rest = 'budget_per_month = 0.02\n[prices."up/m1"]\ninput = 10.0\noutput = 10.0\n'
    async with FakeEndpoint(OpenAI(), reply("Hi", USAGE, Finish())) as fake:
        async with gateway(tmp_path, fake.url, rest) as (url, _):
            await openai(url).create_async("fast", HELLO, max_tokens=10)
        async with gateway(tmp_path, fake.url, rest) as (url, _):
            with pytest.raises(RateLimitError, match=r"\$0.02 per month"):
                await openai(url).create_async("fast", HELLO, max_tokens=1000)


async def test_a_budget_refuses_a_model_of_unknown_price(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake:
        async with gateway(tmp_path, fake.url, "budget_per_day = 1.0") as (url, _):
            with pytest.raises(AuthenticationError, match=r"the price of 'up/m1' is unknown"):
                await openai(url).create_async("fast", HELLO)
    assert not fake.requests


async def test_a_key_sees_and_uses_only_its_models(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake:
        async with gateway(tmp_path, fake.url, 'models = ["fast"]') as (url, _):
            errors = []
            for model in ("up/other", "no/other"):
                with pytest.raises(NotFoundError, match="unknown model") as failure:
                    await openai(url).create_async(model, HELLO)
                errors.append((failure.value.status, failure.value.code, str(failure.value).replace(model, "")))
            assert errors[0] == errors[1]  # or else it would show which models there are
            with pytest.raises(NotFoundError, match=r"unknown model 'fasr', .*: did you mean 'fast'"):
                await openai(url).create_async("fasr", HELLO)
    assert not fake.requests


async def test_a_request_keeps_its_id_through_to_the_upstream(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake, gateway(tmp_path, fake.url, "") as (url, _):
        await openai(url, extra_headers={"x-request-id": "my-id-1"}).create_async("fast", HELLO)
        await openai(url, extra_headers={"x-request-id": "not an id\tof ours"}).create_async("fast", HELLO)
    first, second = (request.headers["x-request-id"] for request in fake.requests)
    assert first == "my-id-1"
    assert second.startswith("req_")


async def test_the_file_is_followed_without_a_restart(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake, gateway(tmp_path, fake.url, "") as (url, running):
        await openai(url).create_async("fast", HELLO)
        path = tmp_path / "acytoo.toml"
        path.write_text(path.read_text().replace(hash_secret("sk-ci"), hash_secret("sk-new")))
        await running.reloaded()
        with pytest.raises(AuthenticationError):
            await openai(url).create_async("fast", HELLO)
        provider = OpenAIProvider(url=url + "/v1", key="sk-new")
        assert await provider.create_async("fast", HELLO) == "Hi"


async def test_the_access_log_is_a_file_beside_the_config_file(tmp_path: Path) -> None:
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake:
        async with gateway(tmp_path, fake.url, '[log]\nrequests = "file:requests.log"\n') as (url, _):
            await openai(url).create_async("fast", HELLO)
    assert '"model":"fast"' in (tmp_path / "requests.log").read_text()


async def test_a_request_whose_body_arrives_during_a_reload_is_answered_from_the_new_config(tmp_path: Path) -> None:
    body = b'{"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}'
    async with FakeEndpoint(OpenAI(), reply("Hi")) as fake, gateway(tmp_path, fake.url, "") as (url, running):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-ci\r\n"
        head += f"content-length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body[:10])
        path = tmp_path / "acytoo.toml"
        path.write_text(path.read_text().replace('"up/m1"', '"up/m2"'))
        await running.reloaded()
        writer.write(body[10:])
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
        (row,) = await usage(running, "target")
    assert row.group["target"] == "up/m2"
    assert fake.requests[0].json["model"] == "m2"
