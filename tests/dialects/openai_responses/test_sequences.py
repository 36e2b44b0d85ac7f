"""Events that servers send in another order or place, with the exact items of each sequence."""

from __future__ import annotations

from typing import Any

import pytest

from acytoo.errors import AcytooError, ProtocolError, ServerError, TruncatedError
from acytoo.types import Finish, Item, Logprobs, OpaquePart, Reasoning, Refusal, Start, ToolCall, Usage
from tests.dialects.openai_responses.helpers import CALL, NAME, USAGE, message, read, sse, text

IDENTITY = {"id": "r", "model": "m", "created_at": 5}
SEEN = Start("r", "m", 5)
SEPARATE = OpaquePart(NAME, part="text")
P = {"output_index": 0, "content_index": 0}
REF = {"type": "refusal", "refusal": "no"}
S: dict[str, Any] = {"type": "reasoning", "id": "rs"}
SUMMARY = {"summary": [{"text": "1"}], "content": [{"text": "2"}]}


def ev(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


def last(*output: Any, kind: str = "completed", **fields: Any) -> dict[str, Any]:
    return ev(kind, response={**IDENTITY, "status": kind, "output": list(output), **fields})


def made(call_id: str, name: str, arguments: str = "") -> dict[str, Any]:
    return {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name, "arguments": arguments}


SEQUENCES: dict[str, tuple[list[dict[str, Any]], list[Item]]] = {
    "queued": (
        [ev("queued", response=IDENTITY), ev("output_text.delta", delta="Hi", **P), last()],
        [SEEN, "Hi", Finish()],
    ),
    "in_progress": (
        [ev("in_progress", response=IDENTITY), ev("output_text.delta", delta="Hi", **P), last()],
        [SEEN, "Hi", Finish()],
    ),
    "late identity": (
        [
            ev("created", response={"id": "r"}),
            ev("in_progress", response={"model": "m"}),
            ev("output_text.delta", delta="Hi", **P),
            last(),
        ],
        [Start(id="r"), Start(id="r", model="m"), "Hi", SEEN, Finish()],
    ),
    "text alias": (
        [ev("text.delta", delta="Hi", **P), ev("text.done", text="Hi!", **P), last()],
        ["Hi", "!", SEEN, Finish()],
    ),
    "refusal part": (
        [ev("content_part.done", part=REF, **P), last(message(REF))],
        [Refusal(text="no"), SEEN, Finish()],
    ),
    "refusal that is longer when it ends": (
        [ev("refusal.delta", delta="n", **P), ev("refusal.done", refusal="no", **P), last(message(REF))],
        [Refusal(text="n"), Refusal(text="o"), SEEN, Finish()],
    ),
    "refusal that is longer in its part": (
        [ev("refusal.delta", delta="n", **P), ev("content_part.done", part=REF, **P), last()],
        [Refusal(text="n"), Refusal(text="o"), SEEN, Finish()],
    ),
    "refusal that is longer in its message": (
        [
            ev("refusal.delta", delta="n", **P),
            ev("refusal.done", refusal="n", **P),
            ev("output_item.done", output_index=0, item=message(REF)),
            last(message(REF)),
        ],
        [Refusal(text="n"), Refusal(text="o"), SEEN, Finish()],
    ),
    "refusal that is longer last": (
        [ev("refusal.delta", delta="n", **P), last(message(REF))],
        [Refusal(text="n"), SEEN, Refusal(text="o"), Finish()],
    ),
    "refusal that is another when it ends": (
        [ev("refusal.delta", delta="never", **P), ev("refusal.done", refusal="no", **P), last(message(REF))],
        [Refusal(text="never"), SEEN, Finish()],
    ),
    "refusal that ends with another identifier": (
        [
            ev("refusal.delta", delta="n", item_id="a", content_index=0),
            ev("refusal.done", refusal="no", item_id="b", content_index=0),
            last(message(REF)),
        ],
        [Refusal(text="n"), Refusal(text="o"), SEEN, Finish()],
    ),
    "two refusals, the first longer last": (
        [
            ev("refusal.delta", delta="n", **P),
            ev("refusal.delta", delta="no", output_index=0, content_index=1),
            last(message(REF, {"type": "refusal", "refusal": "nope"})),
        ],
        [Refusal(text="n"), Refusal(text="no"), SEEN, Finish()],
    ),
    "a text and a refusal with one index": (
        [
            ev("output_text.delta", delta="Hi", **P),
            ev("refusal.delta", delta="n", **P),
            ev("refusal.done", refusal="no", **P),
            ev("output_text.done", text="Hi", **P),
            last(message(text("Hi"), REF)),
        ],
        ["Hi", Refusal(text="n"), Refusal(text="o"), SEEN, Finish()],
    ),
    "refusal last": ([last(message(REF))], [SEEN, Refusal(text="no"), Finish()]),
    "text and refusal last": ([last(message(text("Hi"), REF))], [SEEN, "Hi", Refusal(text="no"), Finish()]),
    "text then refusal last": (
        [ev("output_text.delta", delta="Hi", **P), last(message(text("Hi"), REF))],
        ["Hi", SEEN, SEPARATE, Refusal(text="no"), Finish()],
    ),
    "refusal then more": (
        [ev("refusal.delta", delta="no", **P), last(message(text("Hi"), REF))],
        [Refusal(text="no"), SEEN, SEPARATE, "Hi", Finish()],
    ),
    "reasoning.delta": (
        [ev("reasoning.delta", delta={"text": "hm"}, **P), ev("reasoning.done", text="hm", **P), last()],
        [Reasoning(text="hm"), SEEN, Finish()],
    ),
    "reasoning_summary.delta": (
        [
            ev("reasoning_summary.delta", delta={"text": "hm"}, output_index=0, summary_index=0),
            ev("reasoning_summary.done", text="hm", output_index=0, summary_index=0),
            last(),
        ],
        [Reasoning(text="hm"), SEEN, Finish()],
    ),
    "reasoning_text": (
        [
            ev("reasoning_text.delta", delta="h", **P),
            ev("reasoning_text.delta", delta="m", **P),
            ev("reasoning_text.done", text="hm", **P),
            ev("reasoning_text.delta", delta="2", output_index=0, content_index=1),
            last(),
        ],
        [Reasoning(text="h"), Reasoning(text="m"), Reasoning(text="\n\n2"), SEEN, Finish()],
    ),
    "reasoning part": (
        [ev("content_part.done", part={"type": "reasoning_text", "text": "hm"}, **P), last()],
        [Reasoning(text="hm"), SEEN, Finish()],
    ),
    "reasoning done only": (
        [ev("output_item.done", output_index=0, item={**S, "summary": [{"text": "1"}, {"text": "2"}]}), last()],
        [
            Reasoning(id="rs", source=NAME),
            Reasoning(text="1"),
            Reasoning(text="\n\n2"),
            OpaquePart(
                source=NAME,
                fields={"type": "reasoning", "id": "rs", "summary": [{"text": "1"}, {"text": "2"}]},
                part="reasoning",
            ),
            SEEN,
            Finish(),
        ],
    ),
    "reasoning content": (
        [
            ev(
                "output_item.done",
                output_index=0,
                item={**S, "summary": [], "content": [{"type": "reasoning_text", "text": "1"}]},
            ),
            last({**S, "content": [{"text": "1"}]}),
        ],
        [Reasoning(id="rs", source=NAME), Reasoning(text="1"), SEEN, Finish()],
    ),
    "reasoning last": (
        [last({**S, "summary": [{"text": "1"}], "encrypted_content": "e"}, message(text("Hi")))],
        [
            SEEN,
            Reasoning(id="rs", source=NAME),
            Reasoning(text="1"),
            Reasoning(data="e", id="rs", source=NAME),
            "Hi",
            Finish(),
        ],
    ),
    "reasoning added twice": (
        [
            ev("output_item.added", output_index=0, item={**S, "encrypted_content": "x"}),
            ev("output_item.done", output_index=0, item={**S, "summary": [{"text": "1"}], "encrypted_content": "e"}),
            ev("output_item.done", output_index=0, item={**S, "summary": [{"text": "1"}], "encrypted_content": "e"}),
            last(),
        ],
        [
            Reasoning(id="rs", source=NAME),
            Reasoning(text="1"),
            Reasoning(data="e", id="rs", source=NAME),
            SEEN,
            Finish(),
        ],
    ),
    "done status": (
        [ev("output_text.delta", delta="Hi", **P), ev("done", response={**IDENTITY, "status": "completed"})],
        ["Hi", SEEN, Finish()],
    ),
    "incomplete none": (
        [ev("output_text.delta", delta="Hi", **P), last(kind="incomplete")],
        ["Hi", SEEN, Finish(reason="incomplete")],
    ),
    "incomplete str": (
        [ev("output_text.delta", delta="Hi", **P), last(kind="incomplete", incomplete_details="max_messages")],
        ["Hi", SEEN, Finish(reason="max_messages")],
    ),
    "incomplete steered": (
        [ev("output_text.delta", delta="Hi", **P), last(kind="incomplete", incomplete_details={"reason": "steered"})],
        ["Hi", SEEN, Finish(reason="steered")],
    ),
    "incomplete unknown": (
        [ev("output_text.delta", delta="Hi", **P), last(kind="incomplete", incomplete_details={"reason": "length"})],
        ["Hi", SEEN, Finish(reason="length")],
    ),
    "completed empty": ([ev("output_text.delta", delta="Hi", **P), ev("completed")], ["Hi", Finish()]),
    "output_text": ([last(output_text="Hi")], [SEEN, "Hi", Finish()]),
    "output_text both": ([last(message(text("Ho")), output_text="Hi")], [SEEN, "Ho", Finish()]),
    "output dict": ([ev("completed", response={**IDENTITY, "output": message(text("Hi"))})], [SEEN, "Hi", Finish()]),
    "content text": ([last({"type": "message", "content": "Hi"})], [SEEN, "Hi", Finish()]),
    "part as item": ([last({"type": "output_text", "text": "Hi"})], [SEEN, "Hi", Finish()]),
    "no type": ([last({"content": [{"type": "text", "text": {"value": "Hi"}}]})], [SEEN, "Hi", Finish()]),
    "function": (
        [last({"type": "function", "id": "x", "function": {"name": "f", "arguments": "{}"}})],
        [SEEN, ToolCall(id="x", name="f"), ToolCall(arguments="{}"), Finish(reason="tool_calls")],
    ),
    "tool_call": (
        [last({"type": "tool_call", "call_id": "x", "name": "f", "parameters": {"a": 1}})],
        [SEEN, ToolCall(id="x", name="f"), ToolCall(arguments='{"a":1}'), Finish(reason="tool_calls")],
    ),
    "tool_use": (
        [last({"type": "tool_use", "id": "x", "name": "f", "input": {"a": 1}})],
        [SEEN, ToolCall(id="x", name="f"), ToolCall(arguments='{"a":1}'), Finish(reason="tool_calls")],
    ),
    "calls in message": (
        [
            last(
                {
                    "type": "message",
                    "content": [text("Hi")],
                    "tool_calls": [{"id": "x", "index": 0, "function": {"name": "f", "arguments": "{}"}}],
                }
            )
        ],
        [SEEN, "Hi", ToolCall(id="x", name="f"), ToolCall(arguments="{}"), Finish(reason="tool_calls")],
    ),
    "calls in done": (
        [
            ev(
                "output_item.done",
                output_index=0,
                item={
                    "type": "message",
                    "content": [text("Hi")],
                    "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{}"}}],
                },
            ),
            last(),
        ],
        ["Hi", ToolCall(id="x", name="f"), ToolCall(arguments="{}"), SEEN, Finish(reason="tool_calls")],
    ),
    "added text": ([ev("output_item.added", output_index=0, item=message(text("Hi"))), last()], [SEEN, "Hi", Finish()]),
    "added part": ([ev("content_part.added", part=text("Hi"), **P), last()], [SEEN, "Hi", Finish()]),
    "added part, then delta": (
        [ev("content_part.added", part=text("Hi"), **P), ev("output_text.delta", delta="Ho", **P), last()],
        ["Ho", SEEN, Finish()],
    ),
    "added refusal": ([ev("content_part.added", part=REF, **P), last()], [SEEN, Refusal(text="no"), Finish()]),
    "announced args": (
        [ev("output_item.added", output_index=0, item={**CALL, "arguments": '{"a":1}'}), last()],
        [ToolCall(id="call_1", name="get_weather"), SEEN, ToolCall(arguments='{"a":1}'), Finish(reason="tool_calls")],
    ),
    "announced, then deltas": (
        [
            ev("output_item.added", output_index=0, item={**CALL, "arguments": '{"a":1}'}),
            ev("function_call_arguments.delta", output_index=0, delta='{"b":1}'),
            last(),
        ],
        [ToolCall(id="call_1", name="get_weather"), ToolCall(arguments='{"b":1}'), SEEN, Finish(reason="tool_calls")],
    ),
    "args object": (
        [
            ev("output_item.added", output_index=0, item=CALL),
            ev("function_call_arguments.done", output_index=0, arguments={"a": 1}),
            last(),
        ],
        [ToolCall(id="call_1", name="get_weather"), ToolCall(arguments='{"a":1}'), SEEN, Finish(reason="tool_calls")],
    ),
    "delta null": ([ev("output_text.delta", delta=None, **P), last(message(text("Hi")))], [SEEN, "Hi", Finish()]),
    "logprobs part": (
        [ev("content_part.done", part={**text("Hi"), "logprobs": [{"token": "Hi"}]}, **P), last()],
        ["Hi", Logprobs(tokens=[{"token": "Hi"}]), SEEN, Finish()],
    ),
    "logprobs when the text ends": (
        [
            ev("output_text.delta", delta="Hi", **P),
            ev("output_text.done", text="Hi", logprobs=[{"token": "Hi"}], **P),
            ev("content_part.done", part={**text("Hi"), "logprobs": [{"token": "Hi"}]}, **P),
            last(message({**text("Hi"), "logprobs": [{"token": "Hi"}]})),
        ],
        ["Hi", Logprobs(tokens=[{"token": "Hi"}]), SEEN, Finish()],
    ),
    "logprobs of a text without deltas": (
        [ev("output_text.done", text="Hi", logprobs=[{"token": "Hi"}], **P), last()],
        ["Hi", Logprobs(tokens=[{"token": "Hi"}]), SEEN, Finish()],
    ),
    "logprobs of a part after deltas": (
        [
            ev("output_text.delta", delta="Hi", **P),
            ev("output_text.done", text="Hi", logprobs=[], **P),
            ev("content_part.done", part={**text("Hi"), "logprobs": [{"token": "Hi"}]}, **P),
            last(),
        ],
        ["Hi", Logprobs(tokens=[{"token": "Hi"}]), SEEN, Finish()],
    ),
    "logprobs of the message": (
        [
            ev("output_text.delta", delta="Hi", **P),
            ev(
                "output_item.done",
                output_index=0,
                item=message({**text("Hi"), "logprobs": [{"token": "Hi"}]}),
            ),
            last(),
        ],
        ["Hi", Logprobs(tokens=[{"token": "Hi"}]), SEEN, Finish()],
    ),
    "logprobs last after deltas": (
        [
            ev("output_text.delta", delta="Hi", **P),
            last(message({**text("Hi"), "logprobs": [{"token": "Hi"}]})),
        ],
        ["Hi", SEEN, Logprobs(tokens=[{"token": "Hi"}]), Finish()],
    ),
    "logprobs of what a text adds when it ends": (
        [
            ev("output_text.delta", delta="Hi", logprobs=[{"token": "Hi"}], **P),
            ev("output_text.done", text="Hi!", logprobs=[{"token": "Hi"}, {"token": "!"}], **P),
            last(),
        ],
        ["Hi", Logprobs(tokens=[{"token": "Hi"}]), "!", Logprobs(tokens=[{"token": "!"}]), SEEN, Finish()],
    ),
    "logprobs before their text, then repeated": (
        [
            ev("output_text.delta", delta="", logprobs=[{"token": ""}], **P),
            ev("output_text.delta", delta="Hi", **P),
            ev("output_text.done", text="Hi", logprobs=[{"token": ""}], **P),
            last(),
        ],
        [Logprobs(tokens=[{"token": ""}]), "Hi", SEEN, Finish()],
    ),
    "logprobs of another text than that of the deltas": (
        [
            ev("output_text.delta", delta="Hi", **P),
            ev("output_text.done", text="Ho", logprobs=[{"token": "Ho"}], **P),
            last(),
        ],
        ["Hi", SEEN, Finish()],
    ),
    "logprobs of two texts last": (
        [
            ev("output_text.delta", delta="Hi", **P),
            ev("output_text.delta", delta="Ho", output_index=1, content_index=0),
            last(*[message({**text(said), "logprobs": [{"token": said}]}) for said in ("Hi", "Ho")]),
        ],
        [
            "Hi",
            SEPARATE,
            "Ho",
            SEEN,
            Logprobs(tokens=[{"token": "Hi"}]),
            Logprobs(tokens=[{"token": "Ho"}]),
            Finish(),
        ],
    ),
    "logprobs last": (
        [last(message({**text("Hi"), "logprobs": [{"token": "Hi"}]}))],
        [SEEN, "Hi", Logprobs(tokens=[{"token": "Hi"}]), Finish()],
    ),
    "phase": (
        [
            ev("output_text.delta", delta="Hi", **P),
            ev("output_item.done", output_index=0, item={**message(text("Hi")), "phase": "p"}),
            last(),
        ],
        [
            "Hi",
            OpaquePart(
                source=NAME,
                fields={
                    "id": "msg_1",
                    "type": "message",
                    "status": "completed",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
                    "phase": "p",
                },
                part="text",
            ),
            SEEN,
            Finish(),
        ],
    ),
    "phase last": (
        [ev("output_text.delta", delta="Hi", **P), last({**message(text("Hi")), "phase": "p"})],
        [
            "Hi",
            SEEN,
            OpaquePart(
                source=NAME,
                fields={
                    "id": "msg_1",
                    "type": "message",
                    "status": "completed",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
                    "phase": "p",
                },
                part="text",
            ),
            Finish(),
        ],
    ),
    "search": (
        [
            ev("output_item.done", output_index=0, item={"type": "web_search_call", "id": "w"}),
            ev("output_text.delta", delta="Hi", output_index=1, content_index=0),
            last({"type": "web_search_call", "id": "w"}, message(text("Hi")), usage=USAGE),
        ],
        [
            OpaquePart(source=NAME, fields={"type": "web_search_call", "id": "w"}),
            "Hi",
            SEEN,
            Usage(37, 11, 7, 0, 3, other_counts={"web_searches": 1}),
            Finish(),
        ],
    ),
    "search last": (
        [last({"type": "web_search_call", "id": "w"}, message(text("Hi")))],
        [SEEN, OpaquePart(source=NAME, fields={"type": "web_search_call", "id": "w"}), "Hi", Finish()],
    ),
    "custom": (
        [
            ev(
                "output_item.added",
                output_index=0,
                item={"type": "custom_tool_call", "id": "c", "call_id": "a", "name": "sh", "input": ""},
            ),
            ev("custom_tool_call_input.delta", output_index=0, delta="l"),
            ev("custom_tool_call_input.delta", output_index=0, delta="s"),
            last(),
        ],
        [ToolCall(id="a", name="sh"), SEEN, ToolCall(arguments='{"input":"ls"}'), Finish(reason="tool_calls")],
    ),
    "custom done": (
        [
            ev(
                "output_item.added",
                output_index=0,
                item={"type": "custom_tool_call", "id": "c", "call_id": "a", "name": "sh", "input": ""},
            ),
            ev("custom_tool_call_input.delta", output_index=0, delta="x"),
            ev("custom_tool_call_input.done", output_index=0, input="ls"),
            last({"type": "custom_tool_call", "id": "c", "call_id": "a", "name": "sh", "input": "ls"}),
        ],
        [
            ToolCall(id="a", name="sh"),
            SEEN,
            ToolCall(arguments='{"input":"ls"}'),
            OpaquePart(
                source=NAME,
                fields={"type": "custom_tool_call", "id": "c", "call_id": "a", "name": "sh", "input": "ls"},
                part="tool_call",
            ),
            Finish(reason="tool_calls"),
        ],
    ),
    "id call": (
        [
            ev(
                "output_item.done",
                output_index=0,
                item={"type": "function_call", "id": "fc", "name": "f", "arguments": ""},
            ),
            last(),
        ],
        [ToolCall(id="fc", name="f"), ToolCall(arguments="{}"), SEEN, Finish(reason="tool_calls")],
    ),
    "call own": (
        [ev("output_item.done", output_index=0, item={**CALL, "arguments": "{}", "namespace": "n", "x": None}), last()],
        [
            ToolCall(id="call_1", name="get_weather"),
            ToolCall(arguments="{}"),
            OpaquePart(
                source=NAME,
                fields={
                    "id": "fc_1",
                    "type": "function_call",
                    "call_id": "call_1",
                    "name": "get_weather",
                    "arguments": "{}",
                    "namespace": "n",
                    "x": None,
                },
                part="tool_call",
            ),
            SEEN,
            Finish(reason="tool_calls"),
        ],
    ),
    "two messages": (
        [
            ev("output_text.delta", delta="Hi", **P),
            ev("output_text.delta", delta="Ho", output_index=1, content_index=0),
            last(message(text("Hi")), message(text("Ho"))),
        ],
        ["Hi", SEPARATE, "Ho", SEEN, Finish()],
    ),
    "two parts": (
        [
            ev("output_text.delta", delta="Hi", **P),
            ev("output_text.delta", delta="Ho", output_index=0, content_index=1),
            last(message(text("Hi"), text("Ho"))),
        ],
        [
            "Hi",
            "Ho",
            SEEN,
            OpaquePart(
                source=NAME,
                fields={
                    "id": "msg_1",
                    "type": "message",
                    "status": "completed",
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "Hi", "annotations": []},
                        {"type": "output_text", "text": "Ho", "annotations": []},
                    ],
                },
                part="text",
            ),
            Finish(),
        ],
    ),
    "two parts swapped": (
        [
            ev("output_text.delta", delta="Hi", **P),
            ev("output_text.delta", delta="Ho", output_index=0, content_index=1),
            last(message(text("Ho"), text("Hi"))),
        ],
        [
            "Hi",
            "Ho",
            SEEN,
            OpaquePart(
                source=NAME,
                fields={
                    "id": "msg_1",
                    "type": "message",
                    "status": "completed",
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "Ho", "annotations": []},
                        {"type": "output_text", "text": "Hi", "annotations": []},
                    ],
                },
                part="text",
            ),
            Finish(),
        ],
    ),
    "more in last": (
        [ev("output_text.delta", delta="Hi", **P), last(message(text("Hi there")))],
        ["Hi", SEEN, " there", Finish()],
    ),
    "other in last": ([ev("output_text.delta", delta="Hi", **P), last(message(text("Bye")))], ["Hi", SEEN, Finish()]),
    "third in last": (
        [ev("output_text.delta", delta="Hi", **P), last(message(text("Hi")), message(text("Ho")))],
        ["Hi", SEEN, SEPARATE, "Ho", Finish()],
    ),
    "flat": ([{"type": "response.completed", **IDENTITY, "output": [message(text("Hi"))]}], [SEEN, "Hi", Finish()]),
    "untyped document": (
        [{**IDENTITY, "status": "completed", "output": [message(text("Hi"))]}],
        [SEEN, "Hi", Finish()],
    ),
    "a second part at the end of the first": (
        [
            ev("content_part.done", part=text("Hi"), output_index=0, content_index=0),
            ev("content_part.done", part=text("Ho"), output_index=0, content_index=1),
            ev("content_part.done", part=text("Ho"), output_index=0, content_index=1),
            ev("output_text.done", text="Ha", output_index=0, content_index=2),
            ev("refusal.done", refusal="no", output_index=0, content_index=3),
            last(message(text("Hi"), text("Ho"), text("Ha"), REF)),
        ],
        ["Hi", "Ho", "Ha", Refusal("no"), SEEN, Finish()],
    ),
    "a second part that was added with its text": (
        [
            ev("content_part.added", part=text("Hi"), output_index=0, content_index=0),
            ev("content_part.added", part=text("Ho"), output_index=0, content_index=1),
            last(),
        ],
        [SEEN, "Hi", "Ho", Finish()],
    ),
    "reasoning in two parts": (
        [ev("output_item.done", output_index=0, item={**S, "content": [{"text": "1"}, {"text": "2"}]}), last()],
        [
            Reasoning(id="rs", source=NAME),
            Reasoning("1"),
            Reasoning("\n\n2"),
            OpaquePart(NAME, {**S, "content": [{"text": "1"}, {"text": "2"}]}, "reasoning"),
            SEEN,
            Finish(),
        ],
    ),
    "reasoning with a summary": (
        [ev("output_item.done", output_index=0, item=S | SUMMARY), last()],
        [
            Reasoning(id="rs", source=NAME),
            Reasoning("1"),
            OpaquePart(NAME, S | SUMMARY, "reasoning"),
            SEEN,
            Finish(),
        ],
    ),
    "calls in another order at the end": (
        [
            ev("output_item.added", output_index=0, item=made("a", "f")),
            ev("function_call_arguments.delta", output_index=0, delta='{"x":1}'),
            ev("output_item.added", output_index=1, item=made("b", "g")),
            ev("function_call_arguments.delta", output_index=1, delta='{"y":1}'),
            last(made("b", "g", '{"y":1}'), made("a", "f", '{"x":1}')),
        ],
        [
            *(ToolCall(0, "a", "f"), ToolCall(0, arguments='{"x":1}'), ToolCall(1, "b", "g")),
            *(ToolCall(1, arguments='{"y":1}'), SEEN, Finish("tool_calls")),
        ],
    ),
    "a third call at the end": (
        [
            ev("output_item.added", output_index=0, item=made("a", "f")),
            ev("function_call_arguments.delta", output_index=0, delta="{}"),
            last(made("a", "f", "{}"), made("c", "h", "{}")),
        ],
        [
            *(ToolCall(0, "a", "f"), ToolCall(0, arguments="{}"), SEEN),
            *(ToolCall(1, "c", "h"), ToolCall(1, arguments="{}"), Finish("tool_calls")),
        ],
    ),
    "another id at the end": (
        [
            ev("output_item.added", output_index=0, item=made("a", "f")),
            ev("function_call_arguments.delta", output_index=0, delta="{}"),
            last(made("z", "f", "{}")),
        ],
        [ToolCall(0, "a", "f"), ToolCall(0, arguments="{}"), SEEN, Finish("tool_calls")],
    ),
}


@pytest.mark.parametrize(("events", "items"), SEQUENCES.values(), ids=SEQUENCES)
def test_a_sequence_of_events_has_these_items(events: list[dict[str, Any]], items: list[Item]) -> None:
    assert read(sse(*events)) == items


ERRORS: dict[str, tuple[list[dict[str, Any]], type[AcytooError], str]] = {
    "done no status": (
        [ev("output_text.delta", delta="Hi", **P), ev("done", response=IDENTITY)],
        TruncatedError,
        "the stream ended without response\\.completed or response\\.incomplete",
    ),
    "failed status": (
        [ev("output_text.delta", delta="Hi", **P), last(status="failed")],
        ServerError,
        "the response failed, and the server gave no reason",
    ),
    "failed status err": (
        [
            ev("output_text.delta", delta="Hi", **P),
            last(status="failed", error={"code": "server_error", "message": "broke"}),
        ],
        ServerError,
        "500: broke",
    ),
    "cancelled": (
        [ev("output_text.delta", delta="Hi", **P), last(status="cancelled")],
        TruncatedError,
        "the reply is not complete, its status is 'cancelled'",
    ),
    "incomplete fail": (
        [
            ev("output_text.delta", delta="Hi", **P),
            last(kind="incomplete", incomplete_details={"reason": "server_error"}),
        ],
        ServerError,
        "the server ended the reply with the incomplete_details\\.reason 'server_",
    ),
    "completed nothing": (
        [ev("completed")],
        TruncatedError,
        "the stream ended without response\\.completed or response\\.incomplete: it",
    ),
    "args number": (
        [
            ev("output_item.added", output_index=0, item=CALL),
            ev("function_call_arguments.done", output_index=0, arguments=7),
            last(),
        ],
        ProtocolError,
        "the server sent arguments of a call that are no object: 7",
    ),
    "delta number": (
        [ev("output_text.delta", delta=7, **P), last()],
        ProtocolError,
        "the server sent a piece of a text that is not text: 7",
    ),
    "choices": (
        [{"choices": []}],
        ProtocolError,
        "the response is not in the format of the openai\\-responses API: '\\{\"choi",
    ),
    "empty": ([{}], TruncatedError, "the stream ended without response\\.completed or response\\.incomplete: it"),
}


@pytest.mark.parametrize(("events", "error", "message"), ERRORS.values(), ids=ERRORS)
def test_a_sequence_of_events_that_is_no_reply_raises(
    events: list[dict[str, Any]], error: type[AcytooError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(sse(*events))
