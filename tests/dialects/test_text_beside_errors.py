"""A record or a document that reports an error and has a text too: neither is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.errors import ServerError
from acytoo.testing import FakeEndpoint, status
from acytoo.types import Request
from tests.server.live_server import backend

OPENAI, ANTHROPIC, GEMINI = dialects.OpenAI(), dialects.Anthropic(), dialects.Gemini()
RESPONSES, OLLAMA = dialects.OpenAIResponses(), dialects.Ollama()
ERROR = {"message": "it broke", "code": 502}


def sse(*documents: object) -> str:
    return "".join([f"data: {json.dumps(document)}\n\n" for document in documents])


def lines(*documents: object) -> str:
    return "".join([json.dumps(document) + "\n" for document in documents])


def chunk(text: str, **fields: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, **fields}]}


def line(text: str, **fields: object) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}, "done": False, **fields}


def event(text: str, **fields: object) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": text}]}}], **fields}


def document(**choice: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"content": "one two"}, **choice}]}


MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "one two"}]}
RESPONSE = {
    "object": "response", "status": "failed", "error": ERROR,
    "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "one two"}]}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "media_type", "body"),
    [
        (OPENAI, "text/event-stream", sse(chunk("one "), chunk("two") | {"error": ERROR})),
        (OPENAI, "text/event-stream", sse(chunk("one "), chunk("two", error=ERROR, finish_reason="error"))),
        (OPENAI, "application/json", json.dumps(document() | {"error": ERROR})),
        (OPENAI, "application/json", json.dumps(document(error=ERROR, finish_reason="error"))),
        (OLLAMA, "application/x-ndjson", lines(line("one "), line("two", error="it broke"))),
        (OLLAMA, "application/json", json.dumps(line("one two", error="it broke", done=True))),
        (GEMINI, "text/event-stream", sse(event("one "), event("two", error=ERROR))),
        (GEMINI, "application/json", json.dumps(event("one two", error=ERROR))),
        (ANTHROPIC, "application/json", json.dumps(MESSAGE | {"error": {"type": "api_error", "message": "it broke"}})),
        (RESPONSES, "application/json", json.dumps(RESPONSE)),
    ],
)
async def test_a_text_beside_an_error_is_the_text_of_that_error(dialect: Dialect, media_type: str, body: str) -> None:
    async with FakeEndpoint(dialect, status(200, body=body).header("content-type", media_type)) as fake:
        reply = backend(dialect, fake.url).answer(
            Request([{"role": "user", "content": "Hi"}], "m", stream=media_type != "application/json")
        )
        received: list[Any] = []
        with pytest.raises(ServerError, match=r"it broke") as caught:
            async for batch in reply:
                received += batch
        await reply.aclose()
    assert caught.value.text == "one two"
    assert "role" not in caught.value.message
