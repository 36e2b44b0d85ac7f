"""Anthropic's requests in both directions: the exact turns of messages, and the exact messages of turns."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.types import Request
from tests.dialects.anthropic.helpers import decode, encode

QUESTION: Any = {"role": "user", "content": "Q"}
ANSWER: Any = {"role": "assistant", "content": "A"}

MESSAGES: dict[str, tuple[Any, list[Any]]] = {
    "text": ({"role": "assistant", "content": "Hi"}, [{"role": "assistant", "content": "Hi"}]),
    "blank": ({"role": "assistant", "content": " "}, []),
    "refusal": (
        {"role": "assistant", "content": None, "refusal": "no"},
        [{"role": "assistant", "content": [{"type": "text", "text": "no"}]}],
    ),
    "text and refusal": (
        {"role": "assistant", "content": "Hi", "refusal": "no"},
        [{"role": "assistant", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "no"}]}],
    ),
    "refusal and call": (
        {
            "role": "assistant",
            "content": None,
            "refusal": "no",
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        [
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "no"}, {"type": "tool_use", "id": "a", "name": "f", "input": {}}],
            }
        ],
    ),
    "parts": (
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "refusal", "refusal": "no"},
                {"type": "text", "text": "", "cache_control": {"x": 1}},
                {"type": "text", "text": "See", "cache_control": {"x": 1}},
            ],
        },
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "See"},
                    {"type": "text", "text": "no"},
                    {"type": "text", "text": "See", "cache_control": {"x": 1}},
                ],
            }
        ],
    ),
    "audio": ({"role": "assistant", "content": "Hi", "audio": {"id": "x"}}, [{"role": "assistant", "content": "Hi"}]),
    "call": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}],
    ),
    "call odd id": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a.b:é", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        [{"role": "assistant", "content": [{"type": "tool_use", "id": "a_b__", "name": "f", "input": {}}]}],
    ),
    "call no id": (
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "f"}}]},
        [{"role": "assistant", "content": [{"type": "tool_use", "id": "", "name": "f", "input": {}}]}],
    ),
    "call cached": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                    "cache_control": {"x": 1},
                    "other": 1,
                }
            ],
        },
        [
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}, "cache_control": {"x": 1}}],
            }
        ],
    ),
    "reasoning": (
        {
            "role": "assistant",
            "content": "Hi",
            "reasoning": [
                {"text": "h", "signature": "s", "source": "anthropic"},
                {"data": "d", "source": "anthropic"},
                {"text": "unsigned"},
                {"text": "g", "signature": "s", "source": "gemini"},
                {"text": "own unsigned", "source": "anthropic"},
            ],
        },
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "h", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                    {"type": "thinking", "thinking": "own unsigned", "signature": ""},
                    {"type": "text", "text": "Hi"},
                ],
            }
        ],
    ),
    "own parts": (
        {
            "role": "assistant",
            "content": "Hi",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ],
            "reasoning": [{"text": "hm", "signature": "s", "source": "anthropic"}],
            "turn_parts": [
                {"type": "opaque", "source": "anthropic", "fields": {"type": "server_tool_use", "id": "w"}},
                {"type": "tool_call", "index": 1, "source": "anthropic", "fields": {"caller": {"x": 1}}},
                {"type": "reasoning", "index": 0},
                {"type": "text", "text": "Hi", "source": "anthropic", "fields": {"citations": [1]}},
                {"type": "tool_call", "index": 0},
            ],
        },
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "server_tool_use", "id": "w"},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}, "caller": {"x": 1}},
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "Hi", "citations": [1]},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                ],
            }
        ],
    ),
    "container": (
        {
            "role": "assistant",
            "content": "Hi",
            "turn_parts": [
                {"type": "opaque", "source": "anthropic", "fields": {"container": {"id": "c"}}},
                {"type": "text", "text": "Hi"},
            ],
        },
        [{"role": "assistant", "content": "Hi"}],
    ),
    "foreign opaque": (
        {
            "role": "assistant",
            "content": "Hi",
            "turn_parts": [{"type": "opaque", "source": "gemini", "fields": {"x": 1}}, {"type": "text", "text": "Hi"}],
        },
        [{"role": "assistant", "content": "Hi"}],
    ),
    "tool": (
        {"role": "tool", "tool_call_id": "a", "content": "ok"},
        [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "ok"}]}],
    ),
    "tool parts": (
        {
            "role": "tool",
            "tool_call_id": "a.b",
            "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "u"}}],
            "is_error": True,
            "cache_control": {"x": 1},
        },
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "a_b",
                        "content": [
                            {"type": "text", "text": "See"},
                            {"type": "image", "source": {"type": "url", "url": "u"}},
                        ],
                        "is_error": True,
                        "cache_control": {"x": 1},
                    }
                ],
            }
        ],
    ),
    "tool no error": (
        {"role": "tool", "tool_call_id": "a", "content": [], "is_error": False},
        [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [], "is_error": False}]}],
    ),
    "image": (
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": "https://h/a"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}, "cache_control": {"x": 1}},
            ],
        },
        [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "url", "url": "https://h/a"}},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AA"},
                        "cache_control": {"x": 1},
                    },
                ],
            }
        ],
    ),
    "files": (
        {
            "role": "user",
            "content": [
                {"type": "file", "file": {"file_id": "f", "filename": "t"}},
                {"type": "file", "file": {"file_url": "u"}, "context": "c", "citations": {"enabled": True}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "t"}},
                {"type": "file", "file": {"file_data": "data:text/csv;base64,SGk="}},
                {"type": "file", "file": {"file_data": "data:image/png;base64,AA", "filename": "t"}},
                {"type": "file", "file": {"file_data": "data:audio/wav;base64,AA"}},
            ],
        },
        [
            {
                "role": "user",
                "content": [
                    {"type": "document", "source": {"type": "file", "file_id": "f"}, "title": "t"},
                    {
                        "type": "document",
                        "source": {"type": "url", "url": "u"},
                        "citations": {"enabled": True},
                        "context": "c",
                    },
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"},
                        "title": "t",
                    },
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}},
                ],
            }
        ],
    ),
    "native": (
        {
            "role": "user",
            "content": [
                {"type": "search_result", "x": 1},
                {"type": "web_search_tool_result", "x": 1},
                {"type": "video", "x": 1},
                {"type": "mid_conv_system", "content": "x"},
            ],
        },
        [
            {
                "role": "user",
                "content": [
                    {"type": "search_result", "x": 1},
                    {"type": "web_search_tool_result", "x": 1},
                    {"type": "mid_conv_system", "content": "x"},
                ],
            }
        ],
    ),
    "developer later": ({"role": "developer", "content": "D"}, [{"role": "system", "content": "D"}]),
}


@pytest.mark.parametrize(("message", "turns"), MESSAGES.values(), ids=MESSAGES)
def test_a_message_is_sent_as_this_turn(message: Any, turns: list[Any]) -> None:
    before = [QUESTION] if message["role"] == "assistant" else [QUESTION, ANSWER]
    request = Request([*before, message], "m", extra_for="anthropic")
    assert encode(request, drop=True)["messages"][len(before) :] == turns


TURNS: dict[str, tuple[list[Any], list[Any]]] = {
    "text": ([{"role": "user", "content": [{"type": "text", "text": "x"}]}], [{"role": "user", "content": "x"}]),
    "two texts": (
        [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "x"}]}],
        [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "x"}]}],
    ),
    "cached": (
        [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"x": 1}, "other": 1}]}],
        [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"x": 1}}]}],
    ),
    "none": ([{"role": "user", "content": []}], [{"role": "user", "content": ""}]),
    "string": ([{"role": "user", "content": "x"}], [{"role": "user", "content": "x"}]),
    "results": (
        [
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "b",
                        "content": [{"type": "text", "text": "x"}],
                        "is_error": True,
                        "cache_control": {"x": 1},
                    },
                    {"type": "text", "text": "x"},
                ],
            }
        ],
        [
            {"role": "tool", "tool_call_id": "a", "content": ""},
            {"role": "tool", "tool_call_id": "b", "content": "x", "is_error": True, "cache_control": {"x": 1}},
            {"role": "user", "content": "x"},
        ],
    ),
    "images": (
        [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "url", "url": "u"}},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AA"},
                        "cache_control": {"x": 1},
                    },
                    {"type": "image", "source": {"type": "file", "file_id": "f"}},
                ],
            }
        ],
        [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "u"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}, "cache_control": {"x": 1}},
                    {"type": "image", "source": {"type": "file", "file_id": "f"}},
                ],
            }
        ],
    ),
    "documents": (
        [
            {
                "role": "user",
                "content": [
                    {"type": "document", "title": "t", "context": "c", "source": {"type": "file", "file_id": "f"}},
                    {
                        "type": "document",
                        "title": "t",
                        "context": "c",
                        "source": {"type": "text", "data": "Hi", "media_type": "text/plain"},
                    },
                    {"type": "document", "title": "t", "context": "c", "source": {"type": "url", "url": "u"}},
                    {
                        "type": "document",
                        "title": "t",
                        "context": "c",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"},
                    },
                    {"type": "document", "title": "t", "context": "c", "source": {"type": "content", "content": "x"}},
                    {"type": "document", "title": "", "source": {"type": "url", "url": "u"}},
                ],
            }
        ],
        [
            {
                "role": "user",
                "content": [
                    {"type": "file", "file": {"file_id": "f", "filename": "t"}, "context": "c"},
                    {
                        "type": "file",
                        "file": {"file_data": "data:text/plain;base64,SGk=", "filename": "t"},
                        "context": "c",
                    },
                    {"type": "file", "file": {"file_url": "u", "filename": "t"}, "context": "c"},
                    {
                        "type": "file",
                        "file": {"file_data": "data:application/pdf;base64,AA", "filename": "t"},
                        "context": "c",
                    },
                    {"type": "document", "title": "t", "context": "c", "source": {"type": "content", "content": "x"}},
                    {"type": "file", "file": {"file_url": "u"}},
                ],
            }
        ],
    ),
    "system later": (
        [{"role": "user", "content": [{"type": "text", "text": "x"}]}, {"role": "system", "content": "S"}],
        [{"role": "user", "content": "x"}, {"role": "system", "content": "S"}],
    ),
    "assistant text": (
        [{"role": "assistant", "content": [{"type": "text", "text": "x"}]}],
        [{"role": "assistant", "content": "x"}],
    ),
    "assistant none": ([{"role": "assistant", "content": []}], [{"role": "assistant", "content": ""}]),
    "assistant call": (
        [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}],
        [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            }
        ],
    ),
    "thinking": (
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "x"},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                ],
            }
        ],
        [
            {
                "role": "assistant",
                "content": "x",
                "reasoning": [{"text": "hm", "signature": "s", "source": "anthropic"}],
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            }
        ],
    ),
    "redacted": (
        [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": "d"}, {"type": "text", "text": "x"}]}],
        [{"role": "assistant", "content": "x", "reasoning": [{"data": "d", "source": "anthropic"}]}],
    ),
    "unsigned": (
        [{"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "x"}]}],
        [{"role": "assistant", "content": "x", "reasoning": [{"text": "hm"}]}],
    ),
    "empty thinking": (
        [
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "", "signature": ""}, {"type": "text", "text": "x"}],
            }
        ],
        [{"role": "assistant", "content": "x"}],
    ),
    "text thinking": (
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "x"},
                ],
            }
        ],
        [
            {"role": "assistant", "content": "x"},
            {
                "role": "assistant",
                "content": "x",
                "reasoning": [{"text": "hm", "signature": "s", "source": "anthropic"}],
            },
        ],
    ),
    "call thinking": (
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                ],
            }
        ],
        [
            {
                "role": "assistant",
                "content": None,
                "reasoning": [{"text": "hm", "signature": "s", "source": "anthropic"}],
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ],
                "turn_parts": [
                    {"type": "tool_call", "index": 0},
                    {"type": "reasoning", "index": 0},
                    {"type": "tool_call", "index": 1},
                ],
            }
        ],
    ),
    "call text": (
        [
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}, {"type": "text", "text": "x"}],
            }
        ],
        [
            {
                "role": "assistant",
                "content": "x",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                "turn_parts": [{"type": "tool_call", "index": 0}, {"type": "text", "text": "x"}],
            }
        ],
    ),
    "call cited": (
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                    {"type": "text", "text": "x", "citations": [1]},
                ],
            }
        ],
        [
            {
                "role": "assistant",
                "content": "x",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                "turn_parts": [
                    {"type": "tool_call", "index": 0},
                    {"type": "text", "text": "x", "source": "anthropic", "fields": {"citations": [1]}},
                ],
            }
        ],
    ),
    "call image": (
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                    {"type": "image", "source": {"type": "url", "url": "u"}},
                ],
            }
        ],
        [
            {
                "role": "assistant",
                "content": [{"type": "image_url", "image_url": {"url": "u"}}],
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                "turn_parts": [{"type": "tool_call", "index": 0}, {"type": "content", "index": 0}],
            }
        ],
    ),
    "call fields": (
        [
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool_use",
                        "id": "a",
                        "name": "f",
                        "input": {"a": 1},
                        "cache_control": {"x": 1},
                        "extra_content": {"google": {"thought_signature": "s"}},
                    },
                    {"type": "tool_use", "id": "b", "name": "f", "input": None, "extra_content": {"x": 1}},
                ],
            }
        ],
        [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "a",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a":1}'},
                        "cache_control": {"x": 1},
                        "extra_content": {"google": {"thought_signature": "s"}},
                    },
                    {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ],
            }
        ],
    ),
    "server tool": (
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "server_tool_use", "id": "s", "name": "w", "input": {}},
                    {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                    {"type": "text", "text": "x"},
                ],
            }
        ],
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "server_tool_use", "id": "s", "name": "w", "input": {}},
                    {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                    {"type": "text", "text": "x"},
                ],
            }
        ],
    ),
}


@pytest.mark.parametrize(("turns", "messages"), TURNS.values(), ids=TURNS)
def test_turns_are_received_as_these_messages(turns: list[Any], messages: list[Any]) -> None:
    assert decode({"model": "m", "max_tokens": 5, "messages": turns}).messages == messages
