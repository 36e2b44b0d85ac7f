"""The service that a part of a reply comes from: only that one gets it back, not another of the same API."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects.base import Dialect
from acytoo.dialects.services import api_of, is_host_of, service_at
from acytoo.testing import FakeEndpoint, status
from acytoo.types import Message
from tests.server.live_server import backend

USER: Message = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("https://api.anthropic.com", "x/api.anthropic.com"),
        ("https://API.Anthropic.com/v1?key=secret", "x/api.anthropic.com"),
        ("https://user:pass@h/v1", "x/h"),
        ("http://127.0.0.1:8000/v1", "x/127.0.0.1:8000"),
        ("http://[::1]:8000", "x/[::1]:8000"),
        ("http+unix://%2Frun%2Fchat.sock/v1", "x/%2frun%2fchat.sock"),
        ("embedded://smollm2", "x/smollm2"),
        ("", "x"),
    ],
)
def test_a_service_is_an_api_and_a_host_without_credentials(url: str, service: str) -> None:
    assert service_at("x", url) == service
    assert api_of(service) == "x"


REPLIES: list[tuple[Dialect, Any]] = [
    (
        dialects.Anthropic(),
        {
            "id": "m",
            "type": "message",
            "content": [
                {"type": "thinking", "thinking": "a", "signature": "MARK"},
                {"type": "server_tool_use", "id": "MARK", "name": "web_search", "input": {}},
                {"type": "text", "text": "Hi", "citations": [{"url": "MARK"}]},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "MARK"}},
            ],
            "stop_reason": "tool_use",
        },
    ),
    (
        dialects.Gemini(),
        {
            "candidates": [
                {
                    "content": {
                        "parts": [
                            {"text": "a", "thought": True, "thoughtSignature": "MARK"},
                            {"executableCode": {"code": "MARK"}},
                            {"text": "Hi"},
                        ]
                    },
                    "finishReason": "STOP",
                }
            ]
        },
    ),
    (
        dialects.OpenAIResponses(),
        {
            "id": "r",
            "status": "completed",
            "output": [
                {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "MARK"},
                {"type": "web_search_call", "id": "MARK", "status": "completed"},
                {
                    "type": "message",
                    "role": "assistant",
                    "phase": "MARK",
                    "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
                },
            ],
        },
    ),
    (
        dialects.OpenAI(),
        {
            "choices": [
                {
                    "message": {
                        "content": "Hi",
                        "reasoning": "a",
                        "reasoning_details": [{"type": "reasoning.encrypted", "data": "MARK"}],
                        "annotations": [{"type": "file", "file": {"hash": "MARK"}}],
                        "tool_calls": [
                            {
                                "id": "c",
                                "type": "function",
                                "function": {"name": "f", "arguments": "{}"},
                                "extra_content": {"x": "MARK"},
                            }
                        ],
                    },
                    "finish_reason": "tool_calls",
                }
            ]
        },
    ),
]


@pytest.mark.parametrize(("dialect", "document"), REPLIES, ids=lambda value: getattr(value, "name", ""))
async def test_what_only_one_service_knows_goes_back_to_it_and_not_to_another_of_its_api(
    dialect: Dialect, document: Any
) -> None:
    answer = status(200, body=document)
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(FakeEndpoint(dialect, answer)) for _ in range(2)]
        message = (await backend(dialect, first.url).reply([USER])).message
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": ""} for call in message.get("tool_calls", ())
        ]
        turn: list[Any] = [USER, json.loads(json.dumps(message)), *results]
        for fake in (first, second):
            await backend(dialect, fake.url).reply(turn)
    marks = json.dumps(document).count("MARK")
    assert [request.body.count(b"MARK") for request in (first.requests[1], second.requests[0])] == [marks, 0]
    assert b"Hi" in second.requests[0].body


@pytest.mark.parametrize(
    ("url", "host", "is_host"),
    [
        ("https://api.mistral.ai/v1", "mistral.ai", True),
        ("https://mistral.ai", "mistral.ai", True),
        ("https://API.MISTRAL.AI:443/v1", "mistral.ai", True),
        ("https://notmistral.ai/v1", "mistral.ai", False),
        ("https://mistral.ai.example/v1", "mistral.ai", False),
        ("https://example/mistral.ai", "mistral.ai", False),
        ("", "mistral.ai", False),
        ("https://example", "", True),
        ("", "", True),
    ],
)
def test_a_url_is_one_of_a_host_or_not(url: str, host: str, is_host: bool) -> None:
    assert is_host_of(url, host) is is_host
