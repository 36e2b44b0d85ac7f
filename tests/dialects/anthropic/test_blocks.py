"""Blocks of Anthropic's replies as they are written: the exact events of a stream, and the content of a message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo.types import (
    Finish,
    Item,
    Logprobs,
    OpaquePart,
    Reasoning,
    Refusal,
    Reply,
    Request,
    ToolCall,
    Usage,
    collect,
)
from tests.dialects.anthropic.helpers import DIALECT, HELLO, documents, write

S = "anthropic"


def own(part: str = "", index: int = 0, **fields: Any) -> OpaquePart:
    return OpaquePart(S, fields, part, index)


BLOCKS: dict[str, tuple[list[Item], list[tuple[int, Any]], list[Any]]] = {
    # The items, the blocks and deltas with the index of their block, and the content of a complete message.
    "citations": (
        ["Hi", own("text", citations=[{"a": 1}, {"b": 2}]), "Ho"],
        [
            (0, {"type": "text", "text": ""}),
            (0, {"type": "text_delta", "text": "Hi"}),
            (0, {"type": "citations_delta", "citation": {"a": 1}}),
            (0, {"type": "citations_delta", "citation": {"b": 2}}),
            (0, "stop"),
            (1, {"type": "text", "text": ""}),
            (1, {"type": "text_delta", "text": "Ho"}),
            (1, "stop"),
        ],
        [{"type": "text", "text": "Hi", "citations": [{"a": 1}, {"b": 2}]}, {"type": "text", "text": "Ho"}],
    ),
    "citations of another API": (
        ["Hi", OpaquePart("gemini", {"citations": [1]}, "text"), "Ho"],
        [
            (0, {"type": "text", "text": ""}),
            (0, {"type": "text_delta", "text": "Hi"}),
            (0, "stop"),
            (1, {"type": "text", "text": ""}),
            (1, {"type": "text_delta", "text": "Ho"}),
            (1, "stop"),
        ],
        [{"type": "text", "text": "Hi"}, {"type": "text", "text": "Ho"}],
    ),
    "citations without a text": (
        [own("text", citations=[{"a": 1}]), "Ho"],
        [(0, {"type": "text", "text": ""}), (0, {"type": "text_delta", "text": "Ho"}), (0, "stop")],
        [{"type": "text", "text": "Ho"}],
    ),
    "separate": (
        ["Hi", OpaquePart("anthropic", part="text"), "Ho"],
        [
            (0, {"type": "text", "text": ""}),
            (0, {"type": "text_delta", "text": "Hi"}),
            (0, "stop"),
            (1, {"type": "text", "text": ""}),
            (1, {"type": "text_delta", "text": "Ho"}),
            (1, "stop"),
        ],
        [{"type": "text", "text": "Hi"}, {"type": "text", "text": "Ho"}],
    ),
    "own block": (
        [
            "Hi",
            own(type="server_tool_use", id="s", name="w", input={}),
            own(type="web_search_tool_result", tool_use_id="s", content=[]),
            "Ho",
        ],
        [
            (0, {"type": "text", "text": ""}),
            (0, {"type": "text_delta", "text": "Hi"}),
            (0, "stop"),
            (1, {"type": "server_tool_use", "id": "s", "name": "w", "input": {}}),
            (1, "stop"),
            (2, {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
            (2, "stop"),
            (3, {"type": "text", "text": ""}),
            (3, {"type": "text_delta", "text": "Ho"}),
            (3, "stop"),
        ],
        [
            {"type": "text", "text": "Hi"},
            {"type": "server_tool_use", "id": "s", "name": "w", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            {"type": "text", "text": "Ho"},
        ],
    ),
    "block of another API": (
        ["Hi", OpaquePart("gemini", {"type": "x"}), "Ho"],
        [
            (0, {"type": "text", "text": ""}),
            (0, {"type": "text_delta", "text": "Hi"}),
            (0, {"type": "text_delta", "text": "Ho"}),
            (0, "stop"),
        ],
        [{"type": "text", "text": "Hi"}, {"type": "text", "text": "Ho"}],
    ),
    "container": (
        ["Hi", own(container={"id": "c", "expires_at": "x"})],
        [(0, {"type": "text", "text": ""}), (0, {"type": "text_delta", "text": "Hi"}), (0, "stop")],
        [{"type": "text", "text": "Hi"}],
    ),
    "call fields": (
        [ToolCall(0, "a", "f", "{}"), own("tool_call", 0, caller={"x": 1}), ToolCall(1, "b", "g", "{}")],
        [
            (0, {"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {"x": 1}}),
            (0, {"type": "input_json_delta", "partial_json": "{}"}),
            (0, "stop"),
            (1, {"type": "tool_use", "id": "b", "name": "g", "input": {}}),
            (1, {"type": "input_json_delta", "partial_json": "{}"}),
            (1, "stop"),
        ],
        [
            {"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {"x": 1}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {}},
        ],
    ),
    "call signed": (
        [ToolCall(0, "a", "f", "{}", "s", "gemini")],
        [
            (
                0,
                {
                    "type": "tool_use",
                    "id": "a",
                    "name": "f",
                    "input": {},
                    "extra_content": {"google": {"thought_signature": "s"}},
                },
            ),
            (0, {"type": "input_json_delta", "partial_json": "{}"}),
            (0, "stop"),
        ],
        [
            {
                "type": "tool_use",
                "id": "a",
                "name": "f",
                "input": {},
                "extra_content": {"google": {"thought_signature": "s"}},
            }
        ],
    ),
    "call no id": (
        [ToolCall(0, "", "f", "{}")],
        [
            (0, {"type": "tool_use", "id": "toolu_", "name": "f", "input": {}}),
            (0, {"type": "input_json_delta", "partial_json": "{}"}),
            (0, "stop"),
        ],
        [{"type": "tool_use", "id": "toolu_", "name": "f", "input": {}}],
    ),
    "thought": (
        [Reasoning("h"), Reasoning("m", signature="s", source=S), "Hi"],
        [
            (0, {"type": "thinking", "thinking": "", "signature": ""}),
            (0, {"type": "thinking_delta", "thinking": "h"}),
            (0, {"type": "thinking_delta", "thinking": "m"}),
            (0, {"type": "signature_delta", "signature": "s"}),
            (0, "stop"),
            (1, {"type": "text", "text": ""}),
            (1, {"type": "text_delta", "text": "Hi"}),
            (1, "stop"),
        ],
        [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "Hi"}],
    ),
    "thoughts": (
        [Reasoning("1", 0), Reasoning("2", 1), "Hi"],
        [
            (0, {"type": "thinking", "thinking": "", "signature": ""}),
            (0, {"type": "thinking_delta", "thinking": "1"}),
            (0, "stop"),
            (1, {"type": "thinking", "thinking": "", "signature": ""}),
            (1, {"type": "thinking_delta", "thinking": "2"}),
            (1, "stop"),
            (2, {"type": "text", "text": ""}),
            (2, {"type": "text_delta", "text": "Hi"}),
            (2, "stop"),
        ],
        [
            {"type": "thinking", "thinking": "1", "signature": ""},
            {"type": "thinking", "thinking": "2", "signature": ""},
            {"type": "text", "text": "Hi"},
        ],
    ),
    "redacted": (
        [Reasoning("", data="d", source=S), "Hi"],
        [
            (0, {"type": "redacted_thinking", "data": "d"}),
            (0, "stop"),
            (1, {"type": "text", "text": ""}),
            (1, {"type": "text_delta", "text": "Hi"}),
            (1, "stop"),
        ],
        [{"type": "redacted_thinking", "data": "d"}, {"type": "text", "text": "Hi"}],
    ),
    "foreign thought": (
        [Reasoning("h", signature="s", source="gemini"), Reasoning("", 1, data="d", source="gemini"), "Hi"],
        [
            (0, {"type": "thinking", "thinking": "", "signature": ""}),
            (0, {"type": "thinking_delta", "thinking": "h"}),
            (0, "stop"),
            (1, {"type": "text", "text": ""}),
            (1, {"type": "text_delta", "text": "Hi"}),
            (1, "stop"),
        ],
        [{"type": "thinking", "thinking": "h", "signature": ""}, {"type": "text", "text": "Hi"}],
    ),
    "empty thought": (
        [Reasoning(""), "Hi"],
        [(0, {"type": "text", "text": ""}), (0, {"type": "text_delta", "text": "Hi"}), (0, "stop")],
        [{"type": "text", "text": "Hi"}],
    ),
    "refusal": (
        ["Hi", Refusal("no")],
        [
            (0, {"type": "text", "text": ""}),
            (0, {"type": "text_delta", "text": "Hi"}),
            (0, {"type": "text_delta", "text": "no"}),
            (0, "stop"),
        ],
        [{"type": "text", "text": "Hi"}, {"type": "text", "text": "no"}],
    ),
    "refusal then call": (
        [Refusal("no"), ToolCall(0, "a", "f", "{}")],
        [
            (0, {"type": "text", "text": ""}),
            (0, {"type": "text_delta", "text": "no"}),
            (0, "stop"),
            (1, {"type": "tool_use", "id": "a", "name": "f", "input": {}}),
            (1, {"type": "input_json_delta", "partial_json": "{}"}),
            (1, "stop"),
        ],
        [{"type": "text", "text": "no"}, {"type": "tool_use", "id": "a", "name": "f", "input": {}}],
    ),
    "logprobs": (
        ["Hi", Logprobs([{"token": "x"}])],
        [(0, {"type": "text", "text": ""}), (0, {"type": "text_delta", "text": "Hi"}), (0, "stop")],
        [{"type": "text", "text": "Hi"}],
    ),
    "mixed": (
        ["a", ToolCall(0, "a", "f", '{"x"'), "b", ToolCall(0, arguments=":1}"), Reasoning("c")],
        [
            (0, {"type": "text", "text": ""}),
            (0, {"type": "text_delta", "text": "a"}),
            (0, "stop"),
            (1, {"type": "tool_use", "id": "a", "name": "f", "input": {}}),
            (1, {"type": "input_json_delta", "partial_json": '{"x"'}),
            (2, {"type": "text", "text": ""}),
            (2, {"type": "text_delta", "text": "b"}),
            (1, {"type": "input_json_delta", "partial_json": ":1}"}),
            (1, "stop"),
            (2, "stop"),
            (3, {"type": "thinking", "thinking": "", "signature": ""}),
            (3, {"type": "thinking_delta", "thinking": "c"}),
            (3, "stop"),
        ],
        [
            {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "text", "text": "b"},
            {"type": "thinking", "thinking": "c", "signature": ""},
        ],
    ),
}


def named(blocks: Any) -> Any:
    """Return blocks with the beginning of ids that are made here."""
    found = json.loads(json.dumps(blocks))
    for block in found:
        block = block[1] if isinstance(block, list) else block
        if isinstance(block, dict) and len(block.get("id", "")) > 20:
            block["id"] = "toolu_"
    return found


@pytest.mark.parametrize(("items", "events", "content"), BLOCKS.values(), ids=BLOCKS)
def test_a_reply_has_these_blocks(items: list[Item], events: list[tuple[int, Any]], content: list[Any]) -> None:
    writer = DIALECT.writer(Request(HELLO, "c"))
    _, *found, _, _ = documents(writer.write(items) + writer.end())
    fields = {"content_block_start": "content_block", "content_block_delta": "delta"}
    seen = [(each["index"], each[fields[each["type"]]] if each["type"] in fields else "stop") for each in found]
    assert named(seen) == json.loads(json.dumps(events))
    document = json.loads(DIALECT.write_reply(collect([*items, Finish()]), Request(HELLO, "c")))
    assert named(document["content"]) == content


def test_the_container_is_beside_the_stop_reason() -> None:
    items: list[Item] = ["Hi", own(container={"id": "c", "expires_at": "x"}), Finish()]
    *_, change, _ = documents(write(items))
    assert change["delta"] == {
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "container": {"id": "c", "expires_at": "x"},
    }
    document = json.loads(DIALECT.write_reply(collect(items), Request(HELLO, "c")))
    assert document["container"] == {"id": "c", "expires_at": "x"}
    other: list[Item] = ["Hi", OpaquePart("gemini", {"container": {"id": "c"}}), Finish()]
    assert "container" not in json.loads(DIALECT.write_reply(collect(other), Request(HELLO, "c")))
    assert "container" not in documents(write(other))[-2]["delta"]


USAGES: list[tuple[Usage, dict[str, Any]]] = [
    (
        Usage(10, 2, 3, 4, 5, 1),
        {
            "input_tokens": 3,
            "cache_creation_input_tokens": 4,
            "cache_read_input_tokens": 3,
            "output_tokens": 2,
            "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 1},
            "output_tokens_details": {"thinking_tokens": 5},
        },
    ),
    (
        Usage(1, 2, 0, 0, 0, 0),
        {"input_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 2},
    ),
    (
        Usage(1, 2, 3, 4, 0, 0),
        {"input_tokens": 0, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 3, "output_tokens": 2},
    ),
    (
        Usage(0, 0, 0, 5, 0, 7),
        {
            "input_tokens": 0,
            "cache_creation_input_tokens": 5,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 7},
        },
    ),
]


@pytest.mark.parametrize(("usage", "fields"), USAGES, ids=range(len(USAGES)))
def test_a_usage_has_what_is_cached_beside_the_rest(usage: Usage, fields: dict[str, Any]) -> None:
    assert documents(write(["Hi", usage, Finish()]))[-2]["usage"] == fields
    assert json.loads(DIALECT.write_reply(Reply("Hi", usage=usage), Request(HELLO, "c")))["usage"] == fields
