"""Model names: which backend a name selects, and that every listed name can be asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from acytoo import AsyncGeneratorProvider, AuthenticationError, ProtocolError, TimedOutError, UnsupportedError, dialects
from acytoo.dialects import Dialect
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
from acytoo.testing import FakeEndpoint, page, raw, reply
from acytoo.types import Finish, Start
from tests.server.live_server import Response, backend, call, head, live_server

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]
HELLO = reply(Start("id-1", "m-1", 7), "Hello", Finish("stop"))


class Plain(AsyncGeneratorProvider):
    """A backend that needs no model name."""

    dialect = dialects.OpenAI()


class Choosy(Plain):
    """A backend that needs a model name."""

    needs_model = True


@dataclass
class Served:
    """Our server over several endpoints, by the names of their backends."""

    port: int
    behind: dict[str, FakeEndpoint]

    async def ask(self, path: str, **fields: Any) -> Response:
        """Return the response to a POST of these fields."""
        body = json.dumps(fields).encode()
        return await call(self.port, head(f"POST {path} HTTP/1.1", f"content-length: {len(body)}\r\n") + body)

    async def get(self, path: str, headers: str = "") -> Any:
        """Return the document at a path."""
        answer = await call(self.port, head(f"GET {path} HTTP/1.1", headers))
        assert answer.status == 200
        return json.loads(answer.body)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The backend's name and the requested model of every request that reached a backend."""
        return [(name, r.json["model"]) for name, fake in self.behind.items() for r in fake.requests]


@asynccontextmanager
async def served(**models: tuple[type[AsyncGeneratorProvider], str]) -> AsyncIterator[Served]:
    """Start a server over backends: for each name its class and its default model ("" for none)."""
    async with AsyncExitStack() as stack:
        behind = {name: await stack.enter_async_context(FakeEndpoint(dialects.OpenAI(), HELLO)) for name in models}
        backends = {name: kind(behind[name].url, model=model or None) for name, (kind, model) in models.items()}
        server, url = await start(ServerConfig(backends, port=0, grace=0.1))
        stack.push_async_callback(server.close)
        yield Served(urlsplit(url).port or 0, behind)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("claude", ("claude", "opus")),
        ("claude/", ("claude", "opus")),
        ("claude/haiku", ("claude", "haiku")),
        ("plain", ("plain", "")),
        ("gpt-5-mini", ("gpt", "gpt-5-mini")),
        ("claude-opus", ("gpt", "claude-opus")),
        ("org/claude", ("gpt", "org/claude")),
        ("", ("gpt", "gpt-5")),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/completions"])
async def test_a_backends_name_selects_that_backend_and_no_other(path: str, name: str, asked: tuple[str, str]) -> None:
    kinds = {"gpt": (Choosy, "gpt-5"), "claude": (Choosy, "opus"), "plain": (Plain, "")}
    async with served(**kinds) as server:
        assert (await server.ask(path, model=name, messages=MESSAGES)).status == 200
        assert server.asked == [asked]


TRICKY: dict[str, tuple[type[AsyncGeneratorProvider], str]] = {
    "router": (Choosy, "claude/opus"),
    "claude": (Choosy, "claude-5"),
    "plain": (Plain, ""),
    "none": (Choosy, ""),
}
"""Without a prefix, the default's model would select another backend. The last needs a model name."""


@pytest.mark.parametrize("default", ["router", "claude", "plain", "none"])
async def test_every_listed_name_selects_its_own_backend(default: str) -> None:
    kinds = {default: TRICKY[default], **TRICKY}
    async with served(**kinds) as server:
        anthropic = "anthropic-version: 2023-06-01\r\n"
        lists = {
            "openai": [model["id"] for model in (await server.get("/v1/models"))["data"]],
            "anthropic": [model["id"] for model in (await server.get("/v1/models", anthropic))["data"]],
            "gemini": [model["name"] for model in (await server.get("/v1beta/models"))["models"]],
            "ollama": [model["name"] for model in (await server.get("/api/tags"))["models"]],
        }
        for api, names in lists.items():
            for name in names:
                if api == "gemini":
                    asking = server.ask(
                        f"/v1beta/{quote(name)}:generateContent", contents=[{"role": "user", "parts": [{"text": "Hi"}]}]
                    )
                else:
                    paths = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
                    asking = server.ask(paths[api], model=name, messages=MESSAGES, max_tokens=9, stream=False)
                assert (await asking).status == 200, name
            wanted = [(name, model) for name, (_, model) in kinds.items() if name != "none"]
            assert server.asked == wanted, api
            for fake in server.behind.values():
                fake.requests.clear()


async def test_a_backend_without_a_default_model_reports_how_to_ask_for_one() -> None:
    async with served(gpt=(Choosy, "gpt-5"), claude=(Choosy, "")) as server:
        answer = await server.ask("/v1/chat/completions", model="claude", messages=MESSAGES)
        assert answer.status == 400
        assert "claude/MODEL" in json.loads(answer.body)["error"]["message"]
        assert server.asked == []


async def test_the_lists_are_empty_if_no_model_can_be_asked_for_by_name() -> None:
    async with served(none=(Choosy, "")) as server:
        assert (await server.get("/v1/models"))["data"] == []
        listed = await server.get("/v1/models", "anthropic-version: 2023-06-01\r\n")
        assert (listed["data"], listed["first_id"], listed["last_id"]) == ([], None, None)


@pytest.mark.parametrize("headers", ["", "anthropic-version: 2023-06-01\r\n", "x-goog-api-client: x\r\n"])
async def test_a_model_is_found_by_geminis_name_for_it_whichever_client_asks(headers: str) -> None:
    async with served(plain=(Plain, "")) as server:
        found = await server.get("/v1/models/models/plain", headers)
        assert found.get("id", found.get("name")) in ("plain", "models/plain")


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
async def test_a_provider_of_each_dialect_lists_the_models_of_our_server(dialect: Dialect) -> None:
    base = "/v1" if dialect.name.startswith("openai") else ""
    async with live_server(HELLO, password="p-1") as server:
        asking = backend(dialect, server.url + base, key="p-1")
        assert await asking.list_models() == ["m-1"]
        with pytest.raises(AuthenticationError):
            await backend(dialect, server.url + base, key="wrong").list_models()


async def test_a_name_that_is_no_text_does_not_hide_the_others() -> None:
    body = rb'{"data": [{"id": ""}, {"id": "a"}, {"id": "b\ud800"}]}'
    answer = raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    async with FakeEndpoint(dialects.OpenAI(), answer) as fake:
        assert await Plain(fake.url).list_models() == ["a", "b\ufffd"]


async def test_something_else_than_a_list_is_an_error_that_shows_it() -> None:
    async with FakeEndpoint(dialects.OpenAI(), page("<title>Login</title>")) as fake:
        with pytest.raises(ProtocolError, match="an HTML page"):
            await Plain(fake.url).list_models()


async def test_a_list_that_is_too_large_is_an_error() -> None:
    async with FakeEndpoint(dialects.OpenAI(), page("x" * (17 << 20)), page("x" * (17 << 20)).gzip()) as fake:
        for _ in range(2):
            with pytest.raises(ProtocolError, match=r"larger than 16 MiB|more than 16777216 bytes"):
                await Plain(fake.url).list_models()


async def test_a_list_that_arrives_too_slowly_is_an_error() -> None:
    async with FakeEndpoint(dialects.OpenAI(), page("x" * 1000).drip(1, 0.01)) as fake:
        with pytest.raises(TimedOutError):
            await Plain(fake.url, timeout={"first_byte": 0.3}).list_models()


async def test_a_provider_without_a_dialect_says_that_it_lists_no_models() -> None:
    class Old(AsyncGeneratorProvider):
        @classmethod
        async def create_async_generator(  # type: ignore[override]
            cls, model: str, messages: Any, **kwargs: Any
        ) -> AsyncGenerator[str, None]:
            yield "x"

    class WithModels(Old):
        models = ("a", "b")

    with pytest.raises(UnsupportedError, match="a list of models"):
        await Old().list_models()
    assert await WithModels().list_models() == ["a", "b"]


@pytest.mark.parametrize("path", ["/openai/v1/chat/completions", "/openai/deployments/claude/opus/chat/completions"])
async def test_the_paths_of_groqs_and_azures_clients_are_those_of_chat_completions(path: str) -> None:
    async with served(gpt=(Choosy, "gpt-5"), claude=(Choosy, "")) as server:
        answer = await server.ask(path, model="claude/opus", messages=MESSAGES)
        assert answer.status == 200
        assert json.loads(answer.body)["object"] == "chat.completion"
        assert server.asked == [("claude", "opus")]
        for models in ("/openai/v1/models", "/openai/models"):
            assert await server.get(models) == await server.get("/v1/models")
        assert (await server.get("/openai/v1/models/gpt-5"))["id"] == "gpt-5"


async def test_azures_path_does_not_replace_a_missing_model() -> None:
    async with served(gpt=(Choosy, "gpt-5"), claude=(Choosy, "opus")) as server:
        answer = await server.ask("/openai/deployments/claude/chat/completions", messages=MESSAGES)
        assert answer.status == 400
        assert json.loads(answer.body)["error"]["message"] == (
            "model is missing: this server reads it from the body, not from the path"
        )
        assert server.asked == []


@pytest.mark.parametrize("path", ["/openai/v1/responses", "/openai/responses"])
async def test_azures_paths_of_responses_are_those_of_responses(path: str) -> None:
    async with served(gpt=(Choosy, "gpt-5")) as server:
        answer = await server.ask(path, model="gpt", input="Hi")
        assert json.loads(answer.body)["object"] == "response"
        assert server.asked == [("gpt", "gpt-5")]


async def test_a_base_url_without_a_version_is_enough_for_every_api() -> None:
    # Continue adds /messages to its `apiBase`, and LiteLLM adds /models/MODEL:generateContent.
    contents = [{"role": "user", "parts": [{"text": "Hi"}]}]
    async with served(gpt=(Choosy, "gpt-5")) as server:
        answers = [
            await server.ask("/chat/completions", model="gpt", messages=MESSAGES),
            await server.ask("/responses", model="gpt", input="Hi"),
            await server.ask("/messages", model="gpt", messages=MESSAGES, max_tokens=9),
            await server.ask("/models/gpt:generateContent", contents=contents),
        ]
        assert [answer.status for answer in answers] == [200] * 4
        assert [next(iter(json.loads(answer.body))) for answer in answers] == ["id", "id", "id", "candidates"]
        assert json.loads(answers[2].body)["type"] == "message"
        assert server.asked == [("gpt", "gpt-5")] * 4
        assert await server.get("/models") == await server.get("/v1/models")
        key = "x-goog-api-key: k\r\n"
        assert await server.get("/models", key) == await server.get("/v1beta/models")
        assert await server.get("/models/gpt-5", key) == await server.get("/v1beta/models/gpt-5")
        refused = await server.ask("/messages", model="gpt")
        assert json.loads(refused.body)["type"] == "error"
        assert (await server.ask("/messages/count_tokens", model="gpt")).status == 400
        assert (await server.ask("/models/gpt:countTokens")).status == 400


async def test_mistrals_sdk_gets_models_and_errors_that_it_accepts() -> None:
    agent = "user-agent: mistral-client-python/3.7.0\r\n"
    async with served(gpt=(Choosy, "gpt-5")) as server:
        assert [model["type"] for model in (await server.get("/v1/models", agent))["data"]] == ["base"]
        assert (await server.get("/v1/models/gpt-5", agent))["type"] == "base"
        assert "type" not in await server.get("/v1/models/gpt-5")
        for path, begins in (("/v1/ocr", "unknown path"), ("/v1/chat/completions", "invalid request body")):
            answer = await call(server.port, head(f"POST {path} HTTP/1.1", f"content-length: 0\r\n{agent}"))
            error = json.loads(answer.body)
            assert error["object"] == "error"
            assert error["message"].startswith(begins)
            assert error["error"]["message"] == error["message"]


@pytest.mark.parametrize("field", ["model", "name"])
async def test_ollamas_clients_learn_a_models_name_and_what_it_reads(field: str) -> None:
    # GitHub Copilot in VS Code shows `general.basename`, and without a context length leaves no tokens for a prompt.
    async with served(gpt=(Choosy, "gpt-5")) as server:
        answer = await server.ask("/api/show", **{field: "gpt-5", "verbose": True})
        assert answer.status == 200
        described = json.loads(answer.body)
        info = described["model_info"]
        assert info["general.basename"] == "gpt-5"
        assert info[f"{info['general.architecture']}.context_length"] == 131_072
        assert described["capabilities"] == ["completion", "tools"]
        assert described["details"] == (await server.get("/api/tags"))["models"][0]["details"]
        assert server.asked == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [({}, "model is missing: which one to describe"), ({"model": 7}, "model is missing: which one to describe")],
    ids=["none", "number"],
)
async def test_a_description_needs_a_models_name(fields: dict[str, Any], message: str) -> None:
    async with served(gpt=(Choosy, "gpt-5")) as server:
        answer = await server.ask("/api/show", **fields)
        assert (answer.status, json.loads(answer.body)) == (400, {"error": message})


async def test_a_description_needs_the_password() -> None:
    async with live_server(HELLO, dialect=dialects.OpenAI(), password="sesame") as server:
        body = b'{"model": "m-1"}'
        sent = head("POST /api/show HTTP/1.1", f"content-length: {len(body)}\r\n") + body
        assert (await call(server.port, sent)).status == 401


@pytest.mark.parametrize("version", ["v1beta1", "v1"])
@pytest.mark.parametrize("project", ["", "projects/p/locations/us-central1/"])
@pytest.mark.parametrize(
    ("verb", "begins"), [("generateContent", b'{"candidates":'), ("streamGenerateContent", b'[{"candidates":')]
)
async def test_googles_sdk_for_vertex_ai_is_answered(version: str, project: str, verb: str, begins: bytes) -> None:
    path = f"/{version}/{project}publishers/google/models/claude/opus:{verb}"
    async with served(gpt=(Choosy, "gpt-5"), claude=(Choosy, "")) as server:
        answer = await server.ask(path, contents=[{"role": "user", "parts": [{"text": "Hi"}]}], labels={"team": "a"})
        assert (answer.status, answer.body[: len(begins)]) == (200, begins)
        assert server.asked == [("claude", "opus")]


async def test_a_tuned_model_of_vertex_ai_is_not_the_model_of_a_server() -> None:
    async with served(gpt=(Choosy, "gpt-5")) as server:
        answer = await server.ask("/v1/projects/p/locations/l/endpoints/7:generateContent", contents=[])
        assert answer.status == 404
