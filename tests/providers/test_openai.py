"""OpenAI's two APIs: their addresses, and how they differ from compatible services."""

from __future__ import annotations

import pytest

from acytoo.base_provider import AsyncGeneratorProvider
from acytoo.providers.openai import OpenAI, OpenAIResponses
from acytoo.registry import provider
from tests.providers.helpers import sent, target


def test_the_addresses_are_the_documented_ones() -> None:
    assert target(OpenAI) == "https://api.openai.com/v1/chat/completions"
    assert target(OpenAIResponses) == "https://api.openai.com/v1/responses"


@pytest.mark.parametrize(
    ("cls", "path"), [(OpenAI, "/v1/chat/completions"), (OpenAIResponses, "/v1/responses")], ids=["chat", "responses"]
)
async def test_a_call_is_a_post_with_a_bearer_token(cls: type[AsyncGeneratorProvider], path: str) -> None:
    received = await sent(cls)
    assert (received.method, received.target) == ("POST", path)
    assert received.headers["authorization"] == "Bearer sk-1"
    assert received.headers["content-type"] == "application/json"
    assert (received.json["model"], received.json["stream"]) == ("m-1", True)


async def test_chat_completions_get_max_completion_tokens() -> None:
    body = (await sent(OpenAI, max_tokens=7)).json
    assert body["max_completion_tokens"] == 7
    assert "max_tokens" not in body


async def test_responses_are_not_stored_by_the_service() -> None:
    body = (await sent(OpenAIResponses, max_tokens=7)).json
    assert (body["store"], body["max_output_tokens"]) == (False, 7)


async def test_streams_request_usage() -> None:
    assert (await sent(OpenAI)).json["stream_options"] == {"include_usage": True}


def test_the_environment_variables_are_those_of_the_official_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert OpenAI().url == OpenAIResponses().url == "http://127.0.0.1:1/v1"
    assert type(provider("openai-responses/gpt-x")) is OpenAIResponses


async def test_extra_headers_are_sent() -> None:
    headers = (await sent(OpenAI, extra_headers={"OpenAI-Organization": "org-1"})).headers
    assert headers["openai-organization"] == "org-1"
