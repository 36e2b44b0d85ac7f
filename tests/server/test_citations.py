"""What a reply is based on, for a client of another API: the addresses and the titles of its citations."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.citations import Citation
from acytoo.testing import ScriptedResponse, status
from acytoo.types import Reply
from tests.dialects.test_finish import sse
from tests.dialects.test_odd_content import document
from tests.server.live_server import backend, live_server

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
STREAM = pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
URL, TITLE = "https://one.example/a", "One"

NOTE = {"type": "url_citation", "url": URL, "title": TITLE, "start_index": 1, "end_index": 4}
PART = {"type": "output_text", "text": "Hello", "annotations": [NOTE]}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [PART]}
RESPONSE = {"id": "r", "object": "response", "status": "completed", "output": [MESSAGE]}
FOUND = {"type": "web_search_result_location", "url": URL, "title": TITLE, "encrypted_index": "x", "cited_text": "y"}
CITED = {"type": "text", "text": "Hello", "citations": [FOUND]}
GROUNDING = {"groundingChunks": [{"web": {"uri": URL, "title": TITLE}}]}
CANDIDATE = {"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP", "groundingMetadata": GROUNDING}
CHAT_NOTE = {"type": "url_citation", "url_citation": {"url": URL, "title": TITLE, "start_index": 1, "end_index": 4}}
SAID = {"role": "assistant", "content": "Hello"}
RESULTS = {"citations": [URL], "search_results": [{"url": URL, "title": TITLE}]}


def block(**fields: Any) -> dict[str, Any]:
    return {"index": 0, **fields}


SOURCES: dict[str, tuple[Dialect, bytes, bytes]] = {
    "openai": (
        dialects.OpenAI(),
        sse({"choices": [{"delta": SAID | {"annotations": [CHAT_NOTE]}}]}, {"choices": [{"finish_reason": "stop"}]}),
        document(choices=[{"message": SAID | {"annotations": [CHAT_NOTE]}, "finish_reason": "stop"}]),
    ),
    "perplexity": (
        dialects.OpenAI(),
        sse({"choices": [{"delta": SAID}], **RESULTS}, {"choices": [{"finish_reason": "stop"}], **RESULTS}),
        document(choices=[{"message": SAID, "finish_reason": "stop"}], **RESULTS),
    ),
    "openai-responses": (
        dialects.OpenAIResponses(),
        sse({"type": "response.created", "response": {}}, {"type": "response.completed", "response": RESPONSE}),
        document(**RESPONSE),
    ),
    "anthropic": (
        dialects.Anthropic(),
        sse(
            {"type": "message_start", "message": {"id": "m", "content": []}},
            block(type="content_block_start", content_block={"type": "text", "text": ""}),
            block(type="content_block_delta", delta={"type": "text_delta", "text": "Hello"}),
            block(type="content_block_delta", delta={"type": "citations_delta", "citation": FOUND}),
            block(type="content_block_stop"),
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        ),
        document(type="message", content=[CITED], stop_reason="end_turn"),
    ),
    "gemini": (dialects.Gemini(), sse({"candidates": [CANDIDATE]}), document(candidates=[CANDIDATE])),
}
CLIENTS = ("openai", "openai-responses", "gemini")


def script(name: str, stream: bool) -> tuple[Dialect, ScriptedResponse]:
    dialect, events, body = SOURCES[name]
    if stream:
        return dialect, status(200, body=events, content_type="text/event-stream")
    return dialect, status(200, body=body, content_type="application/json")


def citations_of(dialect: Dialect, reply: Reply) -> list[Citation]:
    return [one for part in reply.turn_parts if "fields" in part for one in dialect.citations_in(part["fields"])]


@STREAM
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("client", CLIENTS)
async def test_the_addresses_that_a_reply_is_based_on_reach_clients_of_other_apis(
    client: str, source: str, stream: bool
) -> None:
    api, response = script(source, stream)
    dialect = dialects.by_name(client)
    async with live_server(response, dialect=api) as server:
        reply = await backend(dialect, server.url).reply(HELLO, stream=stream)
    assert reply.text == "Hello"
    [found] = citations_of(dialect, reply)
    assert (found.url, found.title) == (URL, TITLE)
    has_place = {"openai", "openai-responses"} >= {client, source}
    assert (found.start, found.end) == ((1, 4) if has_place else (0, 0))


@STREAM
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("client", ["acytoo", "anthropic", "ollama"])
async def test_an_api_without_a_field_for_addresses_gets_the_text(client: str, source: str, stream: bool) -> None:
    api, response = script(source, stream)
    async with live_server(response, dialect=api) as server:
        reply = await backend(dialects.by_name(client), server.url).reply(HELLO, stream=stream)
    assert reply.text == "Hello"
    assert (URL in repr(reply.turn_parts)) == (client == source)
