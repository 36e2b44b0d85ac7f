"""What clients of services get that differ from OpenAI's API, and how they are recognised."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo.dialects import OpenAI
from acytoo.dialects.openai import OpenAICompletions
from acytoo.errors import RateLimitError
from acytoo.http import ServerRequest
from acytoo.types import Finish, Item, OpaquePart, Request, Start, ToolCall, Usage, collect
from tests.dialects.openai.helpers import DIALECT, HELLO, decode, read

AGENTS = {
    "mistral-client-python/3.7.0": "OpenAIForMistral",
    "mistral-client-typescript/2.7.0": "OpenAIForMistral",
    "ai-sdk/mistral/3.0.69 ai-sdk/provider-utils/4.0.56": "OpenAIForMistral",
    "ai-sdk/xai/3.0.138 ai-sdk/provider-utils/4.0.56": "OpenAIForXAI",
    "speakeasy-sdk/typescript 1.3.19 2.914.0 1.0.0 @openrouter/sdk": "OpenAIForOpenRouter",
    "speakeasy-sdk/python 1.3.84 2.914.0 1.0.0 openrouter": "OpenAIForOpenRouter",
    "speakeasy-sdk/python 1.3.84 2.914.0 1.0.0 other": "OpenAI",
    "ai-sdk/openrouter/2.0.0": "OpenAI",
    "OpenAI/Python 3.57.0": "OpenAI",
    "": "OpenAI",
}
"""Clients as they name themselves, and the dialect for each."""

MISTRAL, XAI, OPENROUTER = "mistral-client-python/3.7.0", "ai-sdk/xai/3", "speakeasy-sdk/python openrouter"

CALLS: list[Item] = [
    Start("c", "m", 7),
    "Hi",
    ToolCall(0, "call_a", "f", '{"x"'),
    ToolCall(1, "call_b", "g", signature="s", source="gemini"),
    ToolCall(0, arguments=": 1}"),
    OpaquePart("openai", {"extra": 1}, "tool_call", 0),
    " there",
    Usage(3, 4),
    Finish("tool_calls"),
]


def dialect_for(agent: str) -> OpenAI:
    dialect = DIALECT.for_client(ServerRequest("/v1/chat/completions", {"user-agent": agent}, b"{}"))
    assert isinstance(dialect, OpenAI)
    return dialect


def chunks(body: bytes) -> list[Any]:
    """Return the records of a body before `[DONE]`."""
    return [msgspec.json.decode(record[6:]) for record in body.removesuffix(b"data: [DONE]\n\n").split(b"\n\n")[:-1]]


@pytest.mark.parametrize("agent", AGENTS)
def test_a_client_is_recognised_by_its_name(agent: str) -> None:
    assert type(dialect_for(agent)).__name__ == AGENTS[agent]


def test_a_client_without_a_name_gets_the_api_itself() -> None:
    assert DIALECT.for_client(ServerRequest("/v1/chat/completions", {}, b"{}")) is DIALECT


@pytest.mark.parametrize("agent", [MISTRAL, XAI])
def test_a_client_that_needs_a_name_in_each_piece_of_a_call_gets_complete_calls(agent: str) -> None:
    writer = dialect_for(agent).writer(Request(HELLO, "m"))
    body = writer.write(CALLS[:4]) + writer.write(CALLS[4:]) + writer.end()
    assert collect(read(body)).text == "Hi there"
    assert [call for one in chunks(body) for call in one["choices"][0]["delta"].get("tool_calls", [])] == [
        {
            "index": 0,
            "function": {"arguments": '{"x": 1}', "name": "f"},
            "id": "call_a",
            "type": "function",
            "extra": 1,
        },
        {
            "index": 1,
            "function": {"arguments": "{}", "name": "g"},
            "id": "call_b",
            "type": "function",
            "extra_content": {"google": {"thought_signature": "s"}},
        },
    ]
    assert writer.keeps_reply


@pytest.mark.parametrize("agent", [MISTRAL, XAI])
def test_a_custom_call_is_text_for_these_clients_too(agent: str) -> None:
    request = decode({"messages": HELLO, "model": "m", "tools": [{"type": "custom", "custom": {"name": "sh"}}]})
    items: list[Item] = [ToolCall(0, "a", "sh", '{"inp'), ToolCall(0, arguments='ut":"ls"}'), Finish("tool_calls")]
    written = dialect_for(agent).writer(request), DIALECT.writer(request)
    own, plain = [chunks(writer.write(items) + writer.end()) for writer in written]
    assert [one["choices"] for one in own] == [one["choices"] for one in plain]


def test_a_part_of_another_api_beside_a_call_is_not_written() -> None:
    writer = dialect_for(XAI).writer(Request(HELLO, "m"))
    body = writer.write([ToolCall(0, "a", "f", "{}"), OpaquePart("gemini", {"x": 1}, "tool_call", 0)]) + writer.end()
    assert b'"x"' not in body


@pytest.mark.parametrize("items", [[Usage(3, 4)], []], ids=["usage", "none"])
def test_mistrals_clients_get_the_usage_with_the_finish_reason(items: list[Item]) -> None:
    writer = dialect_for(MISTRAL).writer(Request(HELLO, "m"))
    body = writer.write([*CALLS[:3], ToolCall(0, arguments=": 1}"), *items, Finish("tool_calls")]) + writer.end()
    *others, last = chunks(body)
    assert all("usage" not in one for one in others)
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    assert ("usage" in last) is bool(items)
    assert [item for item in read(body) if isinstance(item, Usage)] == items


def test_mistrals_clients_get_models_with_a_type_and_errors_in_its_shape() -> None:
    dialect = dialect_for(MISTRAL)
    [model] = dialect.models(["m"], 7)["data"]
    assert model == {**DIALECT.model("m", 7), "type": "base", "capabilities": {"completion_chat": True}}
    assert dialect.error_document(RateLimitError("slow down", status=429)) == {
        "object": "error",
        "message": "slow down",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_error",
        "error": {"message": "slow down", "type": "rate_limit_error", "param": None, "code": "rate_limit_error"},
    }


def test_the_errors_of_openrouters_clients_have_the_status_as_their_code() -> None:
    document = dialect_for(OPENROUTER).error_document(RateLimitError("slow down", status=429))
    assert document["error"] == {"message": "slow down", "type": "rate_limit_error", "param": None, "code": 429}


def test_an_error_in_a_stream_of_openrouters_clients_is_a_chunk_too() -> None:
    writer = dialect_for(OPENROUTER).writer(Request(HELLO, "m"))
    body = writer.write(["Hi"]) + writer.fail(RateLimitError("slow down", status=429, retry_after=7))
    assert chunks(body)[-1] == {
        **chunks(body)[0],
        "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "error"}],
        "error": {
            "message": "slow down",
            "type": "rate_limit_error",
            "param": None,
            "code": 429,
            "status": 429,
            "retry_after": 7,
        },
    }
    with pytest.raises(RateLimitError, match="slow down") as caught:
        read(body)
    assert caught.value.retry_after == 7


def test_the_earlier_completions_are_the_same_for_every_client() -> None:
    dialect = OpenAICompletions()
    assert dialect.for_client(ServerRequest("/v1/completions", {"user-agent": MISTRAL}, b"{}")) is dialect
