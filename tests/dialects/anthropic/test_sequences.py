"""Events of Anthropic's API and of servers that imitate it, with the exact items of each sequence."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from acytoo.errors import AcytooError, ProtocolError, ServerError, TruncatedError
from acytoo.types import Finish, Item, OpaquePart, Reasoning, Refusal, Start, ToolCall, Usage
from tests.dialects.anthropic.helpers import block, delta, end, read, start, stop

NAME = "anthropic"
START = Start("msg_1", "claude-opus-4-7")
SEPARATE = OpaquePart(NAME, part="text")
T0 = block(0, type="text", text="")
M: dict[str, Any] = {
    "id": "m",
    "type": "message",
    "model": "c",
    "content": [{"type": "text", "text": "Hello there"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 2},
}


def td(index: int, text: str) -> dict[str, Any]:
    return delta(index, type="text_delta", text=text)


def jd(index: int, text: str) -> dict[str, Any]:
    return delta(index, type="input_json_delta", partial_json=text)


def hd(index: int, text: str) -> dict[str, Any]:
    return delta(index, type="thinking_delta", thinking=text)


def sd(index: int, text: str) -> dict[str, Any]:
    return delta(index, type="signature_delta", signature=text)


def call(index: int, **fields: Any) -> dict[str, Any]:
    return block(index, **{"type": "tool_use", "id": "a", "name": "f", "input": {}, **fields})


def read_all(documents: list[Any]) -> list[Item]:
    """Return the items, with the beginning of an id that is made here."""
    items = read(b"".join([b"data: %b\n\n" % json.dumps(each).encode() for each in documents]))
    made = [isinstance(item, ToolCall) and len(item.id) == 29 for item in items]
    return [
        msgspec.structs.replace(item, id="call_") if is_made and isinstance(item, ToolCall) else item
        for item, is_made in zip(items, made, strict=True)
    ]


SEQUENCES: dict[str, tuple[list[Any], list[Item]]] = {
    "block starts with text": (
        [start(), block(0, type="text", text="He"), td(0, "llo"), stop(0), *end("end_turn")],
        [START, "He", "llo", Finish()],
    ),
    "start repeated": (
        [start(), block(0, type="text", text="Hel"), td(0, "Hel"), td(0, "lo"), stop(0), *end("end_turn")],
        [START, "Hel", "lo", Finish()],
    ),
    "one letter repeated": (
        [start(), block(0, type="text", text="H"), td(0, "H"), stop(0), *end("end_turn")],
        [START, "H", "H", Finish()],
    ),
    "thinking start repeated": (
        [
            start(),
            block(0, type="thinking", thinking="hm"),
            hd(0, "hm"),
            hd(0, "m"),
            sd(0, "s"),
            stop(0),
            *end("end_turn"),
        ],
        [START, Reasoning(text="hm"), Reasoning(text="m"), Reasoning(signature="s", source=NAME), Finish()],
    ),
    "two texts": (
        [start(), T0, td(0, "a"), stop(0), block(1, type="text", text=""), td(1, "b"), stop(1), *end("end_turn")],
        [START, "a", SEPARATE, "b", Finish()],
    ),
    "text without start": ([start(), td(0, "a"), *end("end_turn")], [START, "a", Finish()]),
    "thinking without start": (
        [start(), hd(0, "h"), hd(0, "m"), td(1, "a"), *end("end_turn")],
        [START, Reasoning(text="h"), Reasoning(text="m"), "a", Reasoning(source=NAME), Finish()],
    ),
    "thinking no signature": (
        [
            start(),
            block(0, type="thinking", thinking=""),
            hd(0, "h"),
            stop(0),
            T0,
            td(0, "a"),
            stop(0),
            *end("end_turn"),
        ],
        [START, Reasoning(text="h"), Reasoning(source=NAME), "a", Finish()],
    ),
    "signature only": (
        [start(), block(0, type="thinking", thinking="", signature="s"), stop(0), td(1, "a"), *end("end_turn")],
        [START, Reasoning(signature="s", source=NAME), "a", Finish()],
    ),
    "redacted": (
        [start(), block(0, type="redacted_thinking", data="d"), stop(0), td(1, "a"), *end("end_turn")],
        [START, Reasoning(data="d", source=NAME), "a", Finish()],
    ),
    "two thoughts": (
        [
            start(),
            block(0, type="thinking", thinking=""),
            hd(0, "1"),
            sd(0, "s"),
            stop(0),
            block(1, type="thinking", thinking=""),
            hd(1, "2"),
            sd(1, "t"),
            stop(1),
            td(2, "a"),
            *end("end_turn"),
        ],
        [
            START,
            Reasoning(text="1"),
            Reasoning(signature="s", source=NAME),
            Reasoning(text="2", index=1),
            Reasoning(index=1, signature="t", source=NAME),
            "a",
            Finish(),
        ],
    ),
    "signature without thought": ([start(), sd(0, "s"), td(1, "a"), *end("end_turn")], [START, "a", Finish()]),
    "delta types missing": (
        [
            start(),
            block(0, type="thinking", thinking=""),
            delta(0, thinking="h"),
            delta(0, signature="s"),
            stop(0),
            block(1, type="text", text=""),
            delta(1, text="a"),
            stop(1),
            call(2),
            delta(2, partial_json='{"x":1}'),
            stop(2),
            *end("tool_use"),
        ],
        [
            START,
            Reasoning(text="h"),
            Reasoning(signature="s", source=NAME),
            "a",
            ToolCall(id="a", name="f"),
            ToolCall(arguments='{"x":1}'),
            Finish(reason="tool_calls"),
        ],
    ),
    "call input in start": (
        [start(), call(0, input={"x": 1}), stop(0), *end("tool_use")],
        [START, ToolCall(id="a", name="f"), ToolCall(arguments='{"x":1}'), Finish(reason="tool_calls")],
    ),
    "call input in start then deltas": (
        [start(), call(0, input={"x": 1}), jd(0, '{"y":1}'), stop(0), *end("tool_use")],
        [START, ToolCall(id="a", name="f"), ToolCall(arguments='{"y":1}'), Finish(reason="tool_calls")],
    ),
    "call {} delta": (
        [start(), call(0), jd(0, "{}"), stop(0), *end("tool_use")],
        [START, ToolCall(id="a", name="f"), ToolCall(arguments="{}"), Finish(reason="tool_calls")],
    ),
    "call pieces": (
        [start(), call(0), jd(0, ""), jd(0, '{"x"'), jd(0, ":1"), jd(0, "}"), stop(0), *end("tool_use")],
        [
            START,
            ToolCall(id="a", name="f"),
            ToolCall(arguments='{"x"'),
            ToolCall(arguments=":1"),
            ToolCall(arguments="}"),
            Finish(reason="tool_calls"),
        ],
    ),
    "call repeated": (
        [start(), call(0), jd(0, '{"x":1}'), jd(0, ' {"x": 1}'), stop(0), *end("tool_use")],
        [START, ToolCall(id="a", name="f"), ToolCall(arguments='{"x":1}'), Finish(reason="tool_calls")],
    ),
    "call quoted": (
        [start(), call(0), jd(0, '"{'), jd(0, '\\"x\\":1}"'), stop(0), *end("tool_use")],
        [START, ToolCall(id="a", name="f"), ToolCall(arguments='{"x":1}'), Finish(reason="tool_calls")],
    ),
    "call no stop": (
        [start(), call(0), jd(0, '{"x":1}'), *end("tool_use")],
        [START, ToolCall(id="a", name="f"), ToolCall(arguments='{"x":1}'), Finish(reason="tool_calls")],
    ),
    "call caller": (
        [start(), call(0, caller={"type": "x"}), stop(0), *end("tool_use")],
        [
            START,
            ToolCall(id="a", name="f"),
            OpaquePart(source=NAME, fields={"caller": {"type": "x"}}, part="tool_call"),
            ToolCall(arguments="{}"),
            Finish(reason="tool_calls"),
        ],
    ),
    "call signed": (
        [start(), call(0, extra_content={"google": {"thought_signature": "s"}}), stop(0), *end("tool_use")],
        [
            START,
            ToolCall(id="a", name="f", signature="s", source="gemini"),
            ToolCall(arguments="{}"),
            Finish(reason="tool_calls"),
        ],
    ),
    "call arguments": (
        [start(), call(0, input=None, arguments={"x": 1}), stop(0), *end("tool_use")],
        [START, ToolCall(id="a", name="f"), ToolCall(arguments='{"x":1}'), Finish(reason="tool_calls")],
    ),
    "call no id": (
        [start(), block(0, type="tool_use", name="f", input={"x": 1}), stop(0), *end("tool_use")],
        [START, ToolCall(id="call_", name="f", arguments='{"x":1}'), Finish(reason="tool_calls")],
    ),
    "server tool": (
        [
            start(),
            block(0, type="server_tool_use", id="s", name="w", input={}),
            jd(0, '{"q"'),
            jd(0, ":1}"),
            stop(0),
            block(1, type="web_search_tool_result", tool_use_id="s", content=[1]),
            stop(1),
            td(2, "a"),
            *end("end_turn"),
        ],
        [
            START,
            OpaquePart(source=NAME, fields={"type": "server_tool_use", "id": "s", "name": "w", "input": {"q": 1}}),
            OpaquePart(source=NAME, fields={"type": "web_search_tool_result", "tool_use_id": "s", "content": [1]}),
            "a",
            Finish(),
        ],
    ),
    "server tool odd": (
        [
            start(),
            block(0, type="server_tool_use", id="s", name="w", input={}),
            jd(0, "["),
            stop(0),
            td(2, "a"),
            *end("end_turn"),
        ],
        [
            START,
            OpaquePart(source=NAME, fields={"type": "server_tool_use", "id": "s", "name": "w", "input": {}}),
            "a",
            Finish(),
        ],
    ),
    "own call": (
        [start(), block(0, type="mcp_tool_use", id="s", name="w", input={"a": 1}), stop(0), *end("tool_use")],
        [
            START,
            OpaquePart(source=NAME, fields={"type": "mcp_tool_use", "id": "s", "name": "w", "input": {"a": 1}}),
            Finish(reason="tool_calls"),
        ],
    ),
    "citations": (
        [
            start(),
            block(0, type="text", text="", citations=[]),
            td(0, "a"),
            delta(0, type="citations_delta", citation={"x": 1}),
            delta(0, type="citations_delta", citation={"y": 1}),
            stop(0),
            *end("end_turn"),
        ],
        [START, "a", OpaquePart(source=NAME, fields={"citations": [{"x": 1}, {"y": 1}]}, part="text"), Finish()],
    ),
    "citations in start": (
        [start(), block(0, type="text", text="", citations=[{"x": 1}]), td(0, "a"), stop(0), *end("end_turn")],
        [START, "a", OpaquePart(source=NAME, fields={"citations": [{"x": 1}]}, part="text"), Finish()],
    ),
    "citations in start that are a number": (
        [
            start(),
            block(0, type="text", text="", citations=5),
            td(0, "a"),
            delta(0, type="citations_delta", citation={"x": 1}),
            stop(0),
            *end("end_turn"),
        ],
        [START, "a", OpaquePart(source=NAME, fields={"citations": [{"x": 1}]}, part="text"), Finish()],
    ),
    "text of an unknown block": (
        [
            start(),
            block(0, type="new", note="a", other=None),
            delta(0, type="new_delta", note="b", other="c"),
            delta(0, type="new_delta", note="d", other="e"),
            stop(0),
            *end("end_turn"),
        ],
        [START, OpaquePart(source=NAME, fields={"type": "new", "note": "abd", "other": "ce"}), Finish()],
    ),
    "unknown delta": (
        [start(), T0, td(0, "a"), delta(0, type="new_delta", x=1), stop(0), *end("end_turn")],
        [START, "a", Finish()],
    ),
    "unknown event": (
        [start(), {"type": "new_event", "index": 0, "content_block": 7}, T0, td(0, "a"), stop(0), *end("end_turn")],
        [START, "a", Finish()],
    ),
    "refusal": (
        [start(), T0, td(0, "a"), stop(0), *end("refusal", details={"explanation": "why"})],
        [START, "a", Refusal(text="why"), Finish(reason="content_filter", raw="refusal")],
    ),
    "refusal no reason": (
        [start(), T0, td(0, "a"), stop(0), *end("refusal", details={"explanation": 5})],
        [START, "a", Finish(reason="content_filter", raw="refusal")],
    ),
    "stop sequence": (
        [start(), T0, td(0, "a"), stop(0), *end("stop_sequence", "###")],
        [START, "a", Finish(stop_sequence="###", raw="stop_sequence")],
    ),
    "pause": (
        [start(), T0, td(0, "a"), stop(0), *end("pause_turn")],
        [START, "a", Finish(reason="pause_turn", raw="pause_turn")],
    ),
    "unknown reason": (
        [start(), T0, td(0, "a"), stop(0), *end("new_reason")],
        [START, "a", Finish(reason="new_reason", raw="new_reason")],
    ),
    "no reason": ([start(), T0, td(0, "a"), stop(0), {"type": "message_stop"}], [START, "a"]),
    "late reason": (
        [
            start(),
            T0,
            td(0, "a"),
            stop(0),
            {"type": "message_delta", "stop_reason": "max_tokens", "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ],
        [START, "a", Finish(reason="length"), Usage(output_tokens=3)],
    ),
    "reason in stop": (
        [
            start(),
            T0,
            td(0, "a"),
            stop(0),
            {"type": "message_stop", "message": {"stop_reason": "end_turn", "usage": {"output_tokens": 3}}},
        ],
        [START, "a", Finish(), Usage(output_tokens=3)],
    ),
    "usage after": (
        [
            start(),
            T0,
            td(0, "a"),
            stop(0),
            end("end_turn")[0],
            {"type": "message_delta", "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ],
        [START, "a", Finish(), Usage(output_tokens=3)],
    ),
    "usage in delta": (
        [
            start(input_tokens=4),
            T0,
            td(0, "a"),
            stop(0),
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "usage": {"output_tokens": 3}}},
            {"type": "message_stop"},
        ],
        [START, "a", Finish(), Usage(input_tokens=4, output_tokens=3)],
    ),
    "usage all": (
        [
            start(input_tokens=4, cache_read_input_tokens=5, cache_creation_input_tokens=6),
            T0,
            td(0, "a"),
            stop(0),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {
                    "output_tokens": 3,
                    "output_tokens_details": {"thinking_tokens": 2},
                    "cache_creation": {"ephemeral_1h_input_tokens": 1},
                    "server_tool_use": {"web_search_requests": 2},
                },
            },
            {"type": "message_stop"},
        ],
        [
            START,
            "a",
            Finish(),
            Usage(
                input_tokens=15,
                output_tokens=3,
                cached_tokens=5,
                cache_write_tokens=6,
                reasoning_tokens=2,
                cache_write_1h_tokens=1,
                other_counts={"web_searches": 2},
            ),
        ],
    ),
    "usage openai": (
        [
            start(),
            T0,
            td(0, "a"),
            stop(0),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"prompt_tokens": 4, "completion_tokens": 3},
            },
            {"type": "message_stop"},
        ],
        [START, "a", Finish(), Usage(input_tokens=4, output_tokens=3)],
    ),
    "usage zeros": (
        [
            start(input_tokens=4),
            T0,
            td(0, "a"),
            stop(0),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"input_tokens": 0, "output_tokens": 3},
            },
            {"type": "message_stop"},
        ],
        [START, "a", Finish(), Usage(input_tokens=4, output_tokens=3)],
    ),
    "container": (
        [
            start(),
            T0,
            td(0, "a"),
            stop(0),
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "container": {"id": "c"}}, "usage": {}},
            {"type": "message_stop"},
        ],
        [START, "a", OpaquePart(source=NAME, fields={"container": {"id": "c"}}), Finish()],
    ),
    "two reasons": (
        [start(), T0, td(0, "a"), stop(0), end("end_turn")[0], end("max_tokens")[0], {"type": "message_stop"}],
        [START, "a", Finish(), Finish(reason="length")],
    ),
    "content in start": (
        [
            {
                "type": "message_start",
                "message": {
                    "id": "m",
                    "model": "c",
                    "content": [{"type": "text", "text": "Hi"}],
                    "usage": {"input_tokens": 1},
                },
            },
            *end("end_turn"),
        ],
        [Start(id="m", model="c"), "Hi", Usage(input_tokens=1), Finish(), Usage(input_tokens=1)],
    ),
    "message event": (
        [M, {"type": "message_stop"}],
        [Start(id="m", model="c"), "Hello there", Finish(), Usage(input_tokens=1, output_tokens=2)],
    ),
    "message after": (
        [start(), T0, td(0, "Hello"), td(0, " there"), stop(0), M, {"type": "message_stop"}],
        [START, "Hello", " there", Finish(), Usage(input_tokens=1, output_tokens=2)],
    ),
    "text parts string": (
        [{**M, "content": ["Hi"]}],
        [Start(id="m", model="c"), "Hi", Finish(), Usage(input_tokens=1, output_tokens=2)],
    ),
    "content string": (
        [{**M, "content": "Hi"}],
        [Start(id="m", model="c"), "Hi", Finish(), Usage(input_tokens=1, output_tokens=2)],
    ),
    "done": ([start(), T0, td(0, "a"), stop(0), *end("end_turn"), td(0, "more")], [START, "a", Finish()]),
    "empty": ([{}, start(), T0, td(0, "a"), stop(0), *end("end_turn")], [START, "a", Finish()]),
    "a short text again": (
        [start(), T0, td(0, "Hi"), stop(0), T0, td(0, "Hi"), stop(0), *end("end_turn")],
        [START, "Hi", SEPARATE, "Hi", Finish()],
    ),
    "seven letters again": (
        [start(), T0, td(0, "1234567"), stop(0), T0, td(0, "1234567"), stop(0), *end("end_turn")],
        [START, "1234567", SEPARATE, "1234567", Finish()],
    ),
    "eight letters again": (
        [start(), T0, td(0, "12345678"), stop(0), T0, td(0, "12345678"), stop(0), *end("end_turn")],
        [START, "12345678", Finish()],
    ),
    "a short text again in two pieces": (
        [start(), T0, td(0, "H"), td(0, "i"), stop(0), T0, td(0, "H"), td(0, "i"), stop(0), *end("end_turn")],
        [START, "H", "i", Finish()],
    ),
    "a short text again in one piece": (
        [start(), T0, td(0, "H"), td(0, "i"), stop(0), T0, td(0, ""), td(0, "Hi"), stop(0), *end("end_turn")],
        [START, "H", "i", SEPARATE, "Hi", Finish()],
    ),
    "another text at the same index": (
        [start(), T0, td(0, "Hello you"), stop(0), T0, td(0, "Hello you two"), stop(0), *end("end_turn")],
        [START, "Hello you", SEPARATE, "Hello you two", Finish()],
    ),
    "a message that begins again": (
        [start(), T0, td(0, "Hi"), start(), T0, td(0, "Hi"), stop(0), *end("end_turn")],
        [START, "Hi", Finish()],
    ),
    "a message that begins again and goes on": (
        [start(), T0, td(0, "Hi"), start(), T0, td(0, "Hi you"), stop(0), *end("end_turn")],
        [START, "Hi", " you", Finish()],
    ),
}


@pytest.mark.parametrize(("events", "items"), SEQUENCES.values(), ids=SEQUENCES)
def test_a_sequence_of_events_has_these_items(events: list[Any], items: list[Item]) -> None:
    assert read_all(events) == items


ERRORS: dict[str, tuple[list[Any], type[AcytooError], str]] = {
    "delta for no call": (
        [start(), jd(0, '{"x":1}'), *end("tool_use")],
        ProtocolError,
        "the server sent arguments of a tool call that has not begun",
    ),
    "reason without content": (
        [start(), *end("new_reason")],
        ServerError,
        "the server ended the reply with the stop_reason 'new_reason' and no co",
    ),
    "tool_use without call": (
        [start(), T0, td(0, "a"), stop(0), *end("tool_use")],
        ProtocolError,
        "the server ended the reply with the stop_reason 'tool_use', but it has",
    ),
    "no reason thinking": (
        [start(), hd(0, "a"), stop(0), {"type": "message_stop"}],
        TruncatedError,
        "the stream ended without stop_reason or message_stop after a block of ",
    ),
    "error": (
        [start(), T0, td(0, "a"), {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}],
        ServerError,
        "529: busy",
    ),
    "error flat": ([start(), {"type": "error"}], ServerError, "an error without a message"),
    "untyped": (
        [start(), {"x": 1}],
        ProtocolError,
        "the response is not in the format of the anthropic API: '..x.: 1.' .an",
    ),
    "untyped error": ([start(), {"detail": "GPU lost"}], ServerError, "GPU lost"),
    "another message": (
        [start(), T0, td(0, "Hi"), start(), T0, td(0, "Bye"), stop(0), *end("end_turn")],
        ProtocolError,
        "the server began its message again, with another text",
    ),
}


@pytest.mark.parametrize(("events", "error", "message"), ERRORS.values(), ids=ERRORS)
def test_a_sequence_of_events_that_is_no_reply_raises(
    events: list[Any], error: type[AcytooError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_all(events)
