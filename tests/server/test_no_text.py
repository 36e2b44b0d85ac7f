"""Replies without text, such as an image, that are translated for a client of an API which has no field for them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo import Route, Target, dialects
from acytoo.dialects import Dialect
from acytoo.errors import AcytooError, RequestError, TruncatedError
from acytoo.secret import Secret
from acytoo.server.config import ServerConfig
from acytoo.server.run import start
from acytoo.testing import ScriptedResponse, reply, status
from acytoo.types import Finish, Item, JSONObject, OpaquePart, Reasoning, Refusal, Request, Start, ToolCall, collect
from tests.server.live_server import backend, call, head, live_server, request

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
STREAM = pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])

PARTS: dict[str, tuple[Dialect, JSONObject, str]] = {
    "an image of OpenRouter": (
        dialects.OpenAI(),
        {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]},
        "image",
    ),
    "audio of OpenAI": (dialects.OpenAI(), {"audio": {"id": "audio_1", "data": "UklG", "expires_at": 9}}, "audio"),
    "an image of Gemini": (dialects.Gemini(), {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}, "image"),
    "code of Gemini": (dialects.Gemini(), {"executableCode": {"language": "PYTHON", "code": "1"}}, "executableCode"),
    "an image of Responses": (
        dialects.OpenAIResponses(),
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO"},
        "image",
    ),
    "a search of Responses": (
        dialects.OpenAIResponses(),
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        "web_search_call",
    ),
    "a search of Anthropic": (
        dialects.Anthropic(),
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        "server_tool_use",
    ),
}
SOURCES = pytest.mark.parametrize(("source", "fields", "kind"), PARTS.values(), ids=PARTS)
CLIENTS = pytest.mark.parametrize("client", dialects.ALL, ids=lambda dialect: dialect.name)


def script(source: Dialect, items: list[Item], stream: bool) -> ScriptedResponse:
    """Return the backend's response with these items."""
    if stream:
        return reply(*items)
    document = source.write_reply(collect(items), Request(HELLO, model="m-1"))
    return status(200, body=document, content_type="application/json")


@STREAM
@SOURCES
@CLIENTS
async def test_a_reply_of_which_its_client_would_get_nothing_is_an_error(
    client: Dialect, source: Dialect, fields: JSONObject, kind: str, stream: bool
) -> None:
    items: list[Item] = [Start("id-1", "m-1", 7), Reasoning("Hm"), OpaquePart(source.name, fields), Finish("stop")]
    async with live_server(script(source, items, stream), dialect=source) as server:
        if client.name == source.name:
            got = await backend(client, server.url).reply(HELLO)
            assert got.text == ""
            assert fields in [part.get("fields") for part in got.turn_parts]
            return
        answer = await call(server.port, request(client, stream=stream))
        message = f"the reply has no text but other parts ({kind}), which the {client.name} API has no field for"
        assert message in answer.body.decode()
        if stream and client.name != "acytoo":
            assert answer.status == 200
            finished = [b"[DONE]", b"message_stop", b"finishReason", b'"done":true', b"response.completed"]
            assert not any(end in answer.body for end in finished)
        else:
            assert (answer.status, answer.headers.get("x-should-retry")) == (422, "false")
        provider = backend(client, server.url)
        with pytest.raises((RequestError, TruncatedError), match="other parts"):
            if stream:
                _ = [item async for item in provider.stream(HELLO)]
            else:
                await provider.reply(HELLO, stream=False)


BESIDE: dict[str, list[Item]] = {
    "text": ["Here: "],
    "a call": [ToolCall(0, "call_1", "f", "{}")],
    "a refusal": [Refusal("No.")],
}


@STREAM
@pytest.mark.parametrize("beside", BESIDE)
@CLIENTS
async def test_a_part_without_a_field_is_left_out_beside_any_other_answer(
    client: Dialect, beside: str, stream: bool
) -> None:
    source, fields, _ = PARTS["an image of OpenRouter"]
    items: list[Item] = [*BESIDE[beside], OpaquePart(source.name, fields), Finish("stop")]
    async with live_server(script(source, items, stream), dialect=source) as server:
        answer = await call(server.port, request(client, stream=stream))
        is_lost = beside == "a call" and client.name == "acytoo"
        assert answer.status == (422 if is_lost else 200)
        assert ("tool call, image" in answer.body.decode()) == is_lost
        assert answer.is_complete


LEGACY: dict[str, JSONObject] = {"/v1/completions": {"model": "m-1"}, "/api/generate": {"model": "m-1"}}


@STREAM
@SOURCES
@pytest.mark.parametrize("path", LEGACY)
async def test_endpoints_for_texts_have_no_field_for_parts_of_their_own_api(
    path: str, source: Dialect, fields: JSONObject, kind: str, stream: bool
) -> None:
    items: list[Item] = [Start("id-1", "m-1", 7), OpaquePart(source.name, fields), Finish("stop")]
    body = msgspec.json.encode({**LEGACY[path], "prompt": "Hello", "stream": stream})
    async with live_server(script(source, items, stream), dialect=source) as server:
        answer = await call(server.port, head(f"POST {path} HTTP/1.1", f"content-length: {len(body)}\r\n") + body)
    assert f"other parts ({kind})" in answer.body.decode()
    assert not any(end in answer.body for end in [b"[DONE]", b'"done":true', b'"finish_reason":"stop"'])


@STREAM
@pytest.mark.parametrize("name", ["an image of OpenRouter", "audio of OpenAI"])
async def test_parts_of_the_clients_api_are_written_when_the_reply_is_translated(name: str, stream: bool) -> None:
    source, fields, _ = PARTS[name]
    behind = dialects.OpenAI(dialects.openai.Variations(think_tags=True))  # whose replies have another shape
    items: list[Item] = [Start("id-1", "m-1", 7), OpaquePart("openai", fields), Finish("stop")]
    async with live_server(script(source, items, stream), dialect=behind) as server:
        got = await backend(source, server.url).reply(HELLO, stream=stream)
        assert [part["fields"] for part in got.turn_parts] == [fields]


async def test_an_error_names_only_some_of_many_kinds() -> None:
    kinds = [f"{'x' * 200}{number}_call" for number in range(30)]
    parts: list[Item] = [OpaquePart("anthropic", {"type": kind, "id": kind}) for kind in kinds]
    async with live_server(reply(Start("id-1", "m-1"), *parts, Finish("stop")), dialect=dialects.Anthropic()) as server:
        answer = await call(server.port, request("ollama"))
    assert b"other parts" in answer.body
    assert len(answer.body) < 3000


@STREAM
@pytest.mark.parametrize("chained", [False, True], ids=["translated", "chained"])
@CLIENTS
async def test_nobody_asks_again_for_an_answer_that_the_client_cannot_get(
    client: Dialect, chained: bool, stream: bool
) -> None:
    source, fields, _ = PARTS["an image of OpenRouter"]
    if client.name == source.name:
        source, fields, _ = PARTS["an image of Gemini"]
    items: list[Item] = [Start("id-1", "m-1", 7), OpaquePart(source.name, fields), Finish("stop")]
    async with live_server(script(source, items, stream), dialect=source) as server:
        url, gateway = server.url, None
        if chained:
            config = ServerConfig({"backend": backend(client, url)}, Secret(""), port=0, grace=0.1)
            gateway, url = await start(config)
        try:
            route = Route(Target(backend(client, url), name="t"), backend(client, url), attempts=4)
            with pytest.raises(AcytooError, match="other parts") as caught:
                if stream:
                    _ = [item async for item in route.stream(HELLO)]
                else:
                    await route.reply(HELLO, stream=False)
        finally:
            if gateway is not None:
                await gateway.close()
        assert not caught.value.retryable
        assert len(server.fake.requests) == 1
