"""What each API cannot express: the exact names, which callers read in an error and clients in a header."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects.base import Unsupported
from acytoo.errors import UnsupportedError
from acytoo.http import Endpoint
from acytoo.secret import Secret
from acytoo.types import Request

HELLO: Any = [{"role": "user", "content": "Hi"}]

CASES: dict[str, tuple[dict[str, Any], dict[str, list[str]]]] = {
    "seed": ({"seed": 1}, {"acytoo": ["seed"], "openai-responses": ["seed"], "anthropic": ["seed"]}),
    "logprobs": ({"logprobs": True}, {"acytoo": ["logprobs"], "anthropic": ["logprobs"]}),
    "top_logprobs": ({"top_logprobs": 2}, {"acytoo": ["top_logprobs"], "anthropic": ["top_logprobs"]}),
    "penalties": (
        {"presence_penalty": 0.1, "frequency_penalty": 0.2},
        {
            "acytoo": ["presence_penalty", "frequency_penalty"],
            "openai-responses": ["presence_penalty", "frequency_penalty"],
            "anthropic": ["presence_penalty", "frequency_penalty"],
        },
    ),
    "temperature": ({"temperature": 0.5, "top_p": 0.5}, {"acytoo": ["top_p"]}),
    "top_k": ({"top_k": 5}, {"acytoo": ["top_k"], "openai-responses": ["top_k"]}),
    "limit": ({"max_tokens": 5}, {"acytoo": ["max_tokens"]}),
    "stop": ({"stop": ["x"]}, {"acytoo": ["stop"], "openai-responses": ["stop"]}),
    "user": ({"user": "u"}, {"acytoo": ["user"], "ollama": ["user"], "gemini": ["user"]}),
    "json": (
        {"response_format": {"type": "json_object"}},
        {"acytoo": ["response_format"], "anthropic": ["response_format of type 'json_object'"]},
    ),
    "schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}},
        {"acytoo": ["response_format"]},
    ),
    "grammar": (
        {"response_format": {"type": "grammar"}},
        {
            "acytoo": ["response_format"],
            "anthropic": ["response_format of type 'grammar'"],
            "ollama": ["response_format 'grammar'"],
            "gemini": ["response_format 'grammar'"],
        },
    ),
    "effort": ({"reasoning_effort": "low"}, {"acytoo": ["reasoning_effort"]}),
    "odd effort": (
        {"reasoning_effort": "silly"},
        {
            "acytoo": ["reasoning_effort"],
            "anthropic": ["reasoning_effort 'silly'"],
            "ollama": ["reasoning_effort='silly'"],
            "gemini": ["reasoning_effort='silly'"],
        },
    ),
    "no effort": ({"reasoning_effort": "none"}, {"acytoo": ["reasoning_effort"]}),
    "effort and a low limit": (
        {"reasoning_effort": "low", "max_tokens": 1024},
        {"acytoo": ["max_tokens", "reasoning_effort"]},
    ),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {"acytoo": ["tools"]}),
    "auto": (
        {
            "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}],
            "tool_choice": "auto",
        },
        {"acytoo": ["tools"]},
    ),
    "required": (
        {
            "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}],
            "tool_choice": "required",
        },
        {"acytoo": ["tools", "tool_choice"], "ollama": ["tool_choice='required'"]},
    ),
    "none": (
        {
            "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}],
            "tool_choice": "none",
        },
        {"acytoo": ["tools", "tool_choice"]},
    ),
    "one": (
        {
            "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
        },
        {"acytoo": ["tools", "tool_choice"], "ollama": ["tool_choice={'type': 'function', 'function': {'name': 'f'}}"]},
    ),
    "allowed": (
        {
            "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
        },
        {
            "acytoo": ["tools", "tool_choice"],
            "anthropic": ["tool_choice of type 'allowed_tools'"],
            "ollama": ["tool_choice={'type': 'allowed_tools', 'allowed_tools': {'mode': 'auto', 'tools': []}}"],
            "gemini": ["tool_choice={'type': 'allowed_tools', 'allowed_tools': {'mode': 'auto', 'tools': []}}"],
        },
    ),
    "one call at a time": (
        {
            "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}],
            "parallel_tool_calls": False,
        },
        {
            "acytoo": ["tools", "parallel_tool_calls"],
            "ollama": ["parallel_tool_calls=False"],
            "gemini": ["parallel_tool_calls=False"],
        },
    ),
    "novel tool": (
        {"tools": [{"type": "novel"}], "extra_for": "gemini"},
        {
            "acytoo": ["tools"],
            "openai": ["the tool type 'novel'"],
            "openai-responses": ["the tool type 'novel'"],
            "anthropic": ["novel tools"],
            "ollama": ["the tool type 'novel'"],
            "gemini": ["the tool type 'novel'"],
        },
    ),
    "custom tool": ({"tools": [{"type": "custom", "custom": {"name": "s"}}]}, {"acytoo": ["tools"]}),
    "grammar of a custom tool": (
        {
            "tools": [
                {
                    "type": "custom",
                    "custom": {
                        "name": "s",
                        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "s: /a/"}},
                    },
                }
            ]
        },
        {
            "acytoo": ["tools"],
            "openai": ["the grammar of a custom tool"],
            "anthropic": ["the grammar of a custom tool"],
            "ollama": ["the grammar of a custom tool"],
            "gemini": ["the grammar of a custom tool"],
        },
    ),
    "sound": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}]}
            ],
            "extra_for": "x",
        },
        {
            "acytoo": ["input_audio content"],
            "openai-responses": ["input_audio content"],
            "anthropic": ["input_audio content"],
            "ollama": ["input_audio content"],
        },
    ),
    "novel content": (
        {
            "messages": [{"role": "user", "content": [{"type": "novel"}, {"type": "text", "text": "Hi"}]}],
            "extra_for": "x",
        },
        {
            "acytoo": ["novel content"],
            "openai": ["novel content"],
            "openai-responses": ["novel content"],
            "anthropic": ["novel content"],
            "ollama": ["novel content"],
            "gemini": ["novel content"],
        },
    ),
    "tiff": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:image/tiff;base64,AA"}}]}
            ],
            "extra_for": "x",
        },
        {"acytoo": ["file content"], "openai": ["image/tiff files"], "ollama": ["file content"]},
    ),
    "file id": (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}], "extra_for": "x"},
        {"acytoo": ["file content"], "ollama": ["file content"]},
    ),
    "file url": (
        {
            "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_url": "https://h/a.pdf"}}]}],
            "extra_for": "x",
        },
        {"acytoo": ["file content"], "openai": ["a file's URL"], "ollama": ["file content"]},
    ),
    "name": (
        {"messages": [{"role": "user", "content": "Hi", "name": "Ann"}]},
        {
            "openai-responses": ["the name of a message"],
            "anthropic": ["the name of a message"],
            "ollama": ["the name of a message's author"],
            "gemini": ["the name of a message's author"],
        },
    ),
    "system image": (
        {
            "messages": [
                {
                    "role": "system",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                        {"type": "text", "text": "x"},
                    ],
                },
                {"role": "user", "content": "Hi"},
            ]
        },
        {
            "acytoo": ["image_url content"],
            "anthropic": ["image_url content in a system message"],
            "gemini": ["image_url content"],
        },
    ),
    "spoken turn": (
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "a", "audio": {"id": "x"}},
                {"role": "user", "content": "Hi"},
            ],
            "extra_for": "x",
        },
        {"openai-responses": ["audio of an assistant message"], "anthropic": ["audio content"]},
    ),
    "image of a turn": (
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                        {"type": "text", "text": "x"},
                    ],
                },
                {"role": "user", "content": "Hi"},
            ],
            "extra_for": "x",
        },
        {
            "acytoo": ["image_url content"],
            "openai-responses": ["image_url content of an assistant message"],
            "gemini": ["image_url content"],
        },
    ),
    "image of a result": (
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {
                    "role": "tool",
                    "tool_call_id": "a",
                    "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}],
                },
            ]
        },
        {"acytoo": ["tool calls", "image_url content"]},
    ),
    "failed result": (
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "a", "content": "x", "is_error": True},
            ]
        },
        {"acytoo": ["tool calls"]},
    ),
    "another API's field": (
        {"extra": {"store": True, "seed_list": []}, "extra_for": "x"},
        {
            "acytoo": ["store", "seed_list"],
            "openai": ["store", "seed_list"],
            "openai-responses": ["store", "seed_list"],
            "anthropic": ["store", "seed_list"],
            "ollama": ["store", "seed_list"],
            "gemini": ["store", "seed_list"],
        },
    ),
    "several replies": (
        {"extra": {"n": 2}, "extra_for": "openai"},
        {
            "acytoo": ["n"],
            "openai": ["n above 1"],
            "openai-responses": ["n"],
            "anthropic": ["n"],
            "ollama": ["n"],
            "gemini": ["n"],
        },
    ),
}
"""The fields of a request, and what each API leaves out if it may. An API that is not named sends everything."""


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(("fields", "expected"), CASES.values(), ids=CASES)
def test_what_an_api_cannot_express_has_a_name(
    fields: dict[str, Any], expected: dict[str, list[str]], dialect: dialects.Dialect
) -> None:
    request = Request(**{"messages": HELLO, "model": "m", **fields})
    endpoint, lenient = Endpoint("https://h", Secret("k")), Unsupported(dialect.name, drop=True)
    dialect.encode_request(request, endpoint, lenient)
    assert lenient.dropped == expected.get(dialect.name, [])
    strict = Unsupported(dialect.name)
    try:
        dialect.encode_request(request, endpoint, strict)
    except UnsupportedError as error:
        assert error.feature in lenient.dropped
    else:
        assert set(strict.dropped) == set(lenient.dropped)
