"""Requests of OpenAI's Responses in both directions: the exact items of messages, and the exact messages of items."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dialects.openai_responses.helpers import decode, encode, make_request

MESSAGES: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "text part": (
        {"role": "user", "content": [{"type": "text", "text": "See"}]},
        [{"role": "user", "content": [{"type": "input_text", "text": "See"}]}],
    ),
    "image str": (
        {"role": "user", "content": [{"type": "image_url", "image_url": "u"}]},
        [{"role": "user", "content": [{"type": "input_image", "image_url": "u", "detail": "auto"}]}],
    ),
    "image": (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": "low"}}]},
        [{"role": "user", "content": [{"type": "input_image", "image_url": "u", "detail": "low"}]}],
    ),
    "image no detail": (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
        [{"role": "user", "content": [{"type": "input_image", "image_url": "u", "detail": "auto"}]}],
    ),
    "file id": (
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "f", "other": 1}}]},
        [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}],
    ),
    "file data": (
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}}]},
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,AA"}
                ],
            }
        ],
    ),
    "file named": (
        {
            "role": "user",
            "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}}],
        },
        [
            {
                "role": "user",
                "content": [{"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}],
            }
        ],
    ),
    "file url": (
        {"role": "user", "content": [{"type": "file", "file": {"file_url": "u"}}]},
        [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}],
    ),
    "text file": (
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/plain;base64,SGk="}}]},
        [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
    ),
    "text file named": (
        {
            "role": "user",
            "content": [{"type": "file", "file": {"file_data": "data:text/plain;base64,SGk=", "filename": "a.txt"}}],
        },
        [
            {
                "role": "user",
                "content": [{"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,SGk="}],
            }
        ],
    ),
    "own": (
        {"role": "user", "content": [{"type": "input_image", "file_id": "f"}]},
        [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}],
    ),
    "audio": (
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}, {"type": "text", "text": "See"}]},
        [{"role": "user", "content": [{"type": "input_text", "text": "See"}]}],
    ),
    "system": ({"role": "system", "content": "S"}, [{"role": "system", "content": "S"}]),
    "developer": (
        {"role": "developer", "content": [{"type": "text", "text": "See"}]},
        [{"role": "developer", "content": [{"type": "input_text", "text": "See"}]}],
    ),
    "named": ({"role": "user", "name": "Ann", "content": "x"}, [{"role": "user", "content": "x"}]),
    "empty list": ({"role": "user", "content": []}, [{"role": "user", "content": []}]),
}
TURNS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "empty": (
        {"role": "assistant", "content": ""},
        [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "", "annotations": []}]}],
    ),
    "refusal": (
        {"role": "assistant", "content": None, "refusal": "no"},
        [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
    ),
    "text and refusal": (
        {"role": "assistant", "content": "Hi", "refusal": "no"},
        [
            {
                "type": "message",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "Hi", "annotations": []},
                    {"type": "refusal", "refusal": "no"},
                ],
            }
        ],
    ),
    "parts": (
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "refusal", "refusal": "no"},
                {"type": "refusal"},
                {"type": "image_url", "image_url": {"url": "u"}},
            ],
        },
        [
            {
                "type": "message",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "See", "annotations": []},
                    {"type": "refusal", "refusal": "no"},
                    {"type": "refusal", "refusal": ""},
                ],
            }
        ],
    ),
    "audio": (
        {"role": "assistant", "content": "Hi", "audio": {"id": "x"}},
        [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
            }
        ],
    ),
    "call": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}],
    ),
    "call no id": (
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "f"}}]},
        [{"type": "function_call", "call_id": "", "name": "f", "arguments": "{}"}],
    ),
    "call object": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
        },
        [{"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"a":1}'}],
    ),
    "reasoning": (
        {
            "role": "assistant",
            "content": "Hi",
            "reasoning": [
                {"text": "h", "source": "openai-responses"},
                {"text": "m", "data": "e", "id": "rs", "source": "openai-responses"},
                {"data": "e", "source": "openai-responses"},
                {"text": "x", "source": "gemini"},
                {"id": "q", "source": "openai-responses"},
            ],
        },
        [
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "h"}]},
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "m"}],
                "id": "rs",
                "encrypted_content": "e",
            },
            {"type": "reasoning", "summary": [], "encrypted_content": "e"},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
            },
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
            "reasoning": [{"text": "hm", "source": "openai-responses", "data": "e"}],
            "turn_parts": [
                {"type": "opaque", "source": "openai-responses", "fields": {"type": "web_search_call", "id": "w"}},
                {
                    "type": "reasoning",
                    "index": 0,
                    "source": "openai-responses",
                    "fields": {"type": "reasoning", "id": "r", "encrypted_content": "e", "summary": [1, 2]},
                },
                {
                    "type": "tool_call",
                    "index": 1,
                    "source": "openai-responses",
                    "fields": {"id": "fc", "status": "completed", "namespace": "n", "name": "zz"},
                },
                {
                    "type": "text",
                    "text": "Hi",
                    "source": "openai-responses",
                    "fields": {
                        "type": "message",
                        "id": "m",
                        "status": "completed",
                        "phase": "p",
                        "content": [{"type": "output_text", "text": "Hi"}],
                    },
                },
                {"type": "tool_call", "index": 0},
            ],
        },
        [
            {"type": "web_search_call", "id": "w"},
            {"type": "reasoning", "id": "r", "encrypted_content": "e", "summary": [1, 2]},
            {"namespace": "n", "name": "f", "type": "function_call", "call_id": "b", "arguments": "{}"},
            {"type": "message", "phase": "p", "content": [{"type": "output_text", "text": "Hi"}]},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        ],
    ),
    "own custom": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"input":"ls"}'}}],
            "turn_parts": [
                {
                    "type": "tool_call",
                    "index": 0,
                    "source": "openai-responses",
                    "fields": {"type": "custom_tool_call", "namespace": "n"},
                }
            ],
        },
        [{"type": "custom_tool_call", "namespace": "n", "call_id": "a", "name": "f", "input": "ls"}],
    ),
    "incomplete reasoning": (
        {
            "role": "assistant",
            "content": "Hi",
            "reasoning": [{"id": "x", "source": "openai-responses"}],
            "turn_parts": [
                {"type": "reasoning", "index": 0},
                {"type": "opaque", "source": "openai-responses", "fields": {"type": "web_search_call"}},
                {"type": "text", "text": "Hi"},
            ],
        },
        [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
            }
        ],
    ),
    "foreign opaque": (
        {
            "role": "assistant",
            "content": "Hi",
            "turn_parts": [{"type": "opaque", "source": "gemini", "fields": {"x": 1}}, {"type": "text", "text": "Hi"}],
        },
        [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
            }
        ],
    ),
}


@pytest.mark.parametrize(("message", "items"), [*MESSAGES.values(), *TURNS.values()], ids=[*MESSAGES, *TURNS])
def test_a_message_is_sent_as_these_items(message: dict[str, Any], items: list[Any]) -> None:
    assert encode(make_request({"role": "user", "content": "Q"}, message), drop=True)["input"][1:] == items


ITEMS: dict[str, tuple[list[Any], tuple[list[Any], dict[str, Any]]]] = {
    "no type": ([{"role": "user", "content": "x"}], ([{"role": "user", "content": "x"}], {})),
    "parts": (
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "x"},
                    {"type": "input_image", "image_url": "u", "detail": "low"},
                    {"type": "input_image", "image_url": "u", "detail": "auto"},
                    {"type": "input_image", "file_id": "f"},
                    {"type": "input_file", "file_data": "d", "filename": "", "x": 1},
                ],
            }
        ],
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "x"},
                        {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
                        {"type": "image_url", "image_url": {"url": "u"}},
                        {"type": "input_image", "file_id": "f"},
                        {"type": "file", "file": {"file_data": "d"}},
                    ],
                }
            ],
            {},
        ),
    ),
    "one part": (
        [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        ([{"role": "user", "content": "x"}], {}),
    ),
    "no parts": ([{"role": "user", "content": []}], ([{"role": "user", "content": ""}], {})),
    "two texts": (
        [{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}],
        ([{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}], {}),
    ),
    "text call text": (
        [
            {"role": "assistant", "content": "x"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"role": "assistant", "content": "y"},
        ],
        (
            [
                {
                    "role": "assistant",
                    "content": "xy",
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                    "turn_parts": [
                        {"type": "text", "text": "x"},
                        {"type": "tool_call", "index": 0},
                        {"type": "text", "text": "y"},
                    ],
                }
            ],
            {},
        ),
    ),
    "refusals": (
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "n"}, {"type": "refusal", "refusal": "o"}]}],
        ([{"role": "assistant", "content": None, "refusal": "no"}], {}),
    ),
    "text refusal": (
        [{"role": "assistant", "content": [{"type": "output_text", "text": "x"}, {"type": "refusal", "refusal": "o"}]}],
        ([{"role": "assistant", "content": "x", "refusal": "o"}], {}),
    ),
    "reasoning": (
        [
            {"type": "reasoning", "summary": [{"text": "1"}, {"text": "2"}], "encrypted_content": "e", "id": "r"},
            {"role": "assistant", "content": "x"},
        ],
        (
            [
                {
                    "role": "assistant",
                    "content": "x",
                    "reasoning": [{"text": "1\n\n2", "data": "e", "id": "r", "source": "openai-responses"}],
                }
            ],
            {},
        ),
    ),
    "reasoning content": (
        [
            {"type": "reasoning", "summary": [], "content": [{"text": "1"}]},
            {"type": "function_call", "call_id": "c", "name": "f"},
        ],
        (
            [
                {
                    "role": "assistant",
                    "content": None,
                    "reasoning": [{"text": "1", "source": "openai-responses"}],
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                }
            ],
            {},
        ),
    ),
    "reasoning after call": (
        [
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""},
            {"type": "reasoning", "summary": [{"text": "1"}]},
            {"role": "assistant", "content": "x"},
            {"type": "function_call", "call_id": "d", "name": "g"},
        ],
        (
            [
                {
                    "role": "assistant",
                    "content": "x",
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                        {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                    ],
                    "reasoning": [{"text": "1", "source": "openai-responses"}],
                    "turn_parts": [
                        {"type": "tool_call", "index": 0},
                        {"type": "reasoning", "index": 0},
                        {"type": "text", "text": "x"},
                        {"type": "tool_call", "index": 1},
                    ],
                }
            ],
            {},
        ),
    ),
    "text reasoning": (
        [{"role": "assistant", "content": "x"}, {"type": "reasoning", "summary": [{"text": "1"}]}],
        (
            [
                {"role": "assistant", "content": "x"},
                {"role": "assistant", "content": "", "reasoning": [{"text": "1", "source": "openai-responses"}]},
            ],
            {},
        ),
    ),
    "output": (
        [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]}],
        ([{"role": "tool", "tool_call_id": "c", "content": "x"}], {}),
    ),
    "unknown": (
        [{"type": "web_search_call", "id": "w"}, {"role": "user", "content": "x"}],
        (
            [{"role": "user", "content": "x"}],
            {"input:web_search_call": [{"type": "web_search_call", "id": "w"}, {"role": "user", "content": "x"}]},
        ),
    ),
    "ref": (
        [{"id": "x"}, {"role": "user", "content": "x"}],
        ([{"role": "user", "content": "x"}], {"input:item_reference": [{"id": "x"}, {"role": "user", "content": "x"}]}),
    ),
    "namespaced": (
        [{"type": "function_call", "call_id": "c", "name": "f", "namespace": "n", "arguments": "{}"}],
        (
            [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "n__f", "arguments": "{}"}}],
                }
            ],
            {
                "input:namespace": [
                    {"type": "function_call", "call_id": "c", "name": "f", "namespace": "n", "arguments": "{}"}
                ]
            },
        ),
    ),
    "empty turn": ([{"role": "assistant", "content": []}], ([{"role": "assistant", "content": ""}], {})),
}


@pytest.mark.parametrize(("items", "expected"), ITEMS.values(), ids=ITEMS)
def test_items_are_received_as_these_messages(items: list[Any], expected: tuple[list[Any], dict[str, Any]]) -> None:
    request = decode({"model": "m", "input": items})
    assert (request.messages, request.extra) == expected
