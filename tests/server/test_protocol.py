"""The server's side of the Acytoo protocol, and what every path shares: health, page, errors, who may call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from acytoo import Acytoo, TruncatedError, UsageError, dialects
from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.providers.compatible import Compatible
from acytoo.secret import Secret
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, reply, silent, status

HELLO: list[Any] = [{"role": "user", "content": "Hi"}]


@asynccontextmanager
async def served(backend: AsyncGeneratorProvider, **settings: Any) -> AsyncIterator[str]:
    """Run our server over a backend, and yield its URL."""
    server, url = await start(ServerConfig({"backend": backend}, port=0, **{"grace": 1.0, **settings}))
    try:
        yield url
    finally:
        await server.close()


async def posted(url: str, body: Any, **headers: str) -> tuple[int, str, bytes]:
    """Return status, content type and body of the response to a JSON POST."""
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        return response.status, response.headers["content-type"], await response.read()


async def test_a_success_is_200_plain_text_in_utf_8_chunked() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("你", "好")) as fake:
        async with served(Compatible(fake.url)) as url, aiohttp.ClientSession() as session:
            async with session.post(f"{url}/api/completions", json={"messages": HELLO}) as response:
                assert response.status == 200
                assert response.headers["content-type"] == "text/plain; charset=utf-8"
                assert response.headers["transfer-encoding"] == "chunked"
                assert (await response.read()).decode() == "你好"


async def test_each_text_is_sent_when_it_arrives() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("first", "second").stall(after=1)) as fake:
        async with served(Compatible(fake.url)) as url, aiohttp.ClientSession() as session:
            async with session.post(f"{url}/api/completions", json={"messages": HELLO}) as response:
                assert await response.content.readany() == b"first"


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ({"role": "user", "content": "Hi", "createdAt": "2023-09-01"}, "Hi"),
        ({"role": "user", "id": "1", "parts": [{"type": "text", "text": "Hi"}]}, "Hi"),
    ],
)
async def test_messages_may_have_the_shapes_of_web_clients(message: dict[str, Any], asked: str) -> None:
    async with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        async with served(Acytoo(fake.url)) as url:
            assert (await posted(f"{url}/api/completions", {"messages": [message]}))[2] == b"ok"
        assert asked.encode() in fake.requests[0].body


@pytest.mark.parametrize("field", ["key", "password"])
async def test_the_password_is_accepted_as_key_or_password_and_nothing_else_is(field: str) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("ok")) as fake:
        async with served(Compatible(fake.url), password=Secret("s3cret")) as url:
            path = f"{url}/api/completions"
            assert (await posted(path, {"messages": HELLO, field: "s3cret"}))[0] == 200
            for wrong in ({}, {field: "wrong"}, {field: ""}):
                code, kind, body = await posted(path, {"messages": HELLO, **wrong})
                assert (code, kind) == (401, "application/json")
                assert b'"msg"' in body
        assert len(fake.requests) == 1


@pytest.mark.parametrize("path", ["/v1beta/models", "/v1beta/models/backend", "/v1/models"])
async def test_a_gemini_clients_key_in_the_query_gives_access_to_the_lists_too(path: str) -> None:
    async with (
        served(Acytoo("http://127.0.0.1:9"), password=Secret("s3cret")) as url,
        aiohttp.ClientSession() as session,
    ):
        for key, status_ in (("s3cret", 200), ("wrong", 401), ("", 401)):
            async with session.get(f"{url}{path}", params={"key": key}) as response:
                assert response.status == status_
                assert set(await response.json()) & {"models", "name"} or status_ == 401


@pytest.mark.parametrize(
    "body",
    [{}, {"messages": "Hi"}, {"messages": []}, {"messages": [{"role": "user"}]}, [], {"messages": HELLO, "model": 7}],
)
async def test_a_malformed_request_is_400_and_reaches_no_backend(body: Any) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("ok")) as fake:
        async with served(Compatible(fake.url)) as url:
            code, kind, _ = await posted(f"{url}/api/completions", body)
        assert (code, kind, fake.requests) == (400, "application/json", [])


@pytest.mark.parametrize("code", [400, 401, 404, 422, 429, 500, 503])
async def test_the_backends_status_survives(code: int) -> None:
    async with FakeEndpoint(dialects.OpenAI(), status(code, message="no", retry_after=7)) as fake:
        async with served(Compatible(fake.url)) as url, aiohttp.ClientSession() as session:
            async with session.post(f"{url}/api/completions", json={"messages": HELLO}) as response:
                assert (response.status, (await response.json())["msg"]) == (code, "no")
                assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1beta/models/m:generateContent"])
@pytest.mark.parametrize(
    ("header", "value", "seen"),
    [
        ("retry-after", "1234567", "1234567"),
        ("retry-after", "1.2", "2"),
        ("retry-after-ms", "20", "1"),
        ("retry-after", "0", "0"),
        ("retry-after-ms", "inf", None),
    ],
)
async def test_retry_after_is_rounded_up_to_whole_seconds(path: str, header: str, value: str, seen: str | None) -> None:
    body = {"messages": HELLO, "max_tokens": 5, "contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    async with FakeEndpoint(dialects.Acytoo(), status(429, message="no").header(header, value)) as fake:
        async with served(Acytoo(fake.url), drop_unsupported=True) as url, aiohttp.ClientSession() as session:
            async with session.post(f"{url}{path}", json=body) as response:
                assert response.status == 429
                assert response.headers.get("retry-after") == seen
                if "v1beta" in path and seen:
                    assert f'"retryDelay":"{seen}s"' in await response.text()


async def test_a_failure_in_mid_stream_aborts_the_connection() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("half", "whole").reset(after=1)) as fake:
        async with served(Compatible(fake.url)) as url:
            with pytest.raises(TruncatedError) as caught:
                await Acytoo(url).create_async("", HELLO)
            assert caught.value.text in ("", "half")


async def test_an_acytoo_server_can_be_the_backend_of_another() -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("through ", "two")) as fake:
        async with served(Compatible(fake.url), password=Secret("inner")) as inner:
            async with served(Acytoo(inner, password="inner")) as outer:
                assert await Acytoo(outer).create_async("", HELLO) == "through two"


@pytest.mark.parametrize("path", ["/api/completions", "/v1/chat/completions", "/v1/messages", "/api/chat"])
async def test_a_client_that_leaves_while_waiting_stops_the_backend(path: str) -> None:
    async with FakeEndpoint(dialects.OpenAI(), silent()) as fake:
        async with served(Compatible(fake.url)) as url, aiohttp.ClientSession() as session:
            body = (
                {"messages": HELLO, "max_tokens": 5, "stream": False} if "api/comp" not in path else {"messages": HELLO}
            )
            asking = asyncio.create_task(session.post(f"{url}{path}", json=body).__aenter__())
            await fake.received()
            asking.cancel()
            await fake.disconnected()


async def test_keep_alives_are_sent_before_the_first_token_if_the_api_has_them() -> None:
    async with FakeEndpoint(dialects.OpenAI(), silent()) as fake:
        async with served(Compatible(fake.url), first_ping_after=0.2) as url, aiohttp.ClientSession() as session:
            for path, ping in (
                ("/v1/chat/completions", b": ping\n\n"),
                ("/v1/messages", b"event: ping"),
                ("/api/chat", b'"content":""'),
            ):
                body = {"messages": HELLO, "max_tokens": 5, "stream": True}
                async with session.post(f"{url}{path}", json=body) as response:
                    assert response.status == 200
                    assert ping in await response.content.readany()
                    response.close()


async def test_healthz_reports_ok_and_the_start_page_is_html() -> None:
    async with served(Acytoo("http://127.0.0.1:9")) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/healthz") as response:
            assert (await response.json())["status"] == "ok"
        async with session.get(f"{url}/") as response:
            assert response.content_type == "text/html"
            assert "<title>Acytoo</title>" in await response.text()


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/messages", 405),
        ("POST", "/v1beta/models/m:embedContent", 404),
        ("DELETE", "/v1beta/models/m:generateContent", 405),
        ("POST", "/v1/models/m", 405),
    ],
)
async def test_a_wrong_path_or_method_is_reported_as_json(method: str, path: str, code: int) -> None:
    async with served(Acytoo("http://127.0.0.1:9")) as url, aiohttp.ClientSession() as session:
        async with session.request(method, f"{url}{path}") as response:
            assert response.status == code
            assert "error" in await response.json()


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"host": "evil.example"}],
)
async def test_pages_of_other_sites_cannot_call_a_server_without_a_password(headers: dict[str, str]) -> None:
    async with FakeEndpoint(dialects.OpenAI(), reply("ok")) as fake:
        async with served(Compatible(fake.url)) as url:
            assert (await posted(f"{url}/api/completions", {"messages": HELLO}, **headers))[0] == 403
        assert fake.requests == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_a_public_address_without_a_password_is_rejected(host: str) -> None:
    with pytest.raises(UsageError, match="password"):
        ServerConfig({"backend": Acytoo("http://127.0.0.1:9")}, host=host)


async def test_a_port_in_use_is_reported() -> None:
    async with served(Acytoo("http://127.0.0.1:9")) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1 port {port}"):
            await start(ServerConfig({"backend": Acytoo("http://127.0.0.1:9")}, port=port))


async def test_an_invalid_port_is_reported() -> None:
    with pytest.raises(UsageError, match=r"cannot listen on .* port 99999"):
        await start(ServerConfig({"backend": Acytoo("http://127.0.0.1:9")}, port=99999))


async def test_an_ipv6_address_may_be_written_in_brackets() -> None:
    async with served(Acytoo("http://127.0.0.1:9"), host="[::1]") as url, aiohttp.ClientSession() as session:
        assert url.startswith("http://[::1]:")
        async with session.get(f"{url}/healthz") as response:
            assert response.status == 200


async def test_a_model_name_selects_its_backend() -> None:
    async with (
        FakeEndpoint(dialects.OpenAI(), reply("one")) as first,
        FakeEndpoint(dialects.OpenAI(), reply("two")) as second,
    ):
        backends: dict[str, AsyncGeneratorProvider] = {"a": Compatible(first.url), "b": Compatible(second.url)}
        server, url = await start(ServerConfig(backends, port=0, grace=1.0))
        try:
            assert await Acytoo(url).create_async("anything", HELLO) == "one"
            assert await Acytoo(url).create_async("b/model", HELLO) == "two"
        finally:
            await server.close()
        assert b'"model":"model"' in second.requests[0].body.replace(b" ", b"")


OLLAMA = {"model": "m", "messages": HELLO, "options": {"top_k": 40, "top_p": 0.9, "num_predict": -1}}
GEMINI = {
    "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
    "generationConfig": {"temperature": 1, "topP": 0.95, "topK": 64},
}


@pytest.mark.parametrize(
    ("path", "body", "chosen"),
    [
        ("/api/chat", {**OLLAMA, "stream": False}, {**OLLAMA, "options": {"top_k": 41}}),
        ("/api/chat", OLLAMA, {**OLLAMA, "options": {"top_k": 41}}),
        ("/v1beta/models/m:generateContent", GEMINI, {**GEMINI, "generationConfig": {"topK": 65}}),
        ("/v1beta/models/m:streamGenerateContent", GEMINI, {**GEMINI, "generationConfig": {"topK": 65}}),
    ],
)
async def test_the_defaults_that_clients_of_an_api_send_are_left_out_for_one_without_them(
    path: str, body: dict[str, Any], chosen: dict[str, Any]
) -> None:
    with FakeEndpoint(dialects.Acytoo(), reply("ok")) as fake:
        async with served(Acytoo(fake.url)) as url:
            assert (await posted(f"{url}{path}", body))[0] == 200
            code, _, error = await posted(f"{url}{path}", chosen)
        assert fake.requests[0].json.keys() == {"key", "model", "messages", "temperature", "password"}
    assert code == 400
    assert b"top_k" in error
