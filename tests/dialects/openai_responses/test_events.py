"""The events of a written stream, followed as the reference describes them: each repetition is what came before it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given

from acytoo.types import Finish, Item, Logprobs, OpaquePart, Reasoning, Refusal, Request, Start, ToolCall, Usage
from tests.dialects.openai_responses.helpers import NAME, START, decode, decode_events, write
from tests.dialects.openai_responses.test_writer import replies

TEXT = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
EMPTY = {"output_text": TEXT, "refusal": {"type": "refusal", "refusal": ""}}
SUMMARY = {"type": "summary_text", "text": ""}


def followed(events: list[Any]) -> list[Any]:
    """Return the output that the events build, and assert that each has the place and the texts of those before it."""
    output: list[Any] = []
    open_items: set[int] = set()
    for event in events[2:-1]:
        kind = event["type"].removeprefix("response.")
        place = event["output_index"]
        if kind == "output_item.added":
            assert place == len(output)
            open_items.add(place)
            output.append(copy.deepcopy(event["item"]))
            assert event["item"].get("status") in ("in_progress", None, "completed")
            continue
        assert place in open_items
        item = output[place]
        if kind == "output_item.done":
            open_items.remove(place)
            added = {name for name in event["item"] if name not in item}
            assert {name: value for name, value in event["item"].items() if name not in added | {"status"}} == {
                name: value for name, value in item.items() if name != "status"
            }
            output[place] = event["item"]
            continue
        assert event["item_id"] == item["id"]
        parts = item.get("content", item.get("summary"))
        index = event.get("content_index", event.get("summary_index"))
        assert ("summary_index" in event) == kind.startswith("reasoning")
        match kind:
            case "content_part.added":
                assert index == len(parts)
                assert event["part"] == EMPTY[event["part"]["type"]]
                parts.append(copy.deepcopy(event["part"]))
            case "reasoning_summary_part.added":
                assert index == len(parts)
                assert event["part"] == SUMMARY
                parts.append(copy.deepcopy(event["part"]))
            case "content_part.done" | "reasoning_summary_part.done":
                assert event["part"] == parts[index]
            case "output_text.delta":
                parts[index]["text"] += event["delta"]
                parts[index]["logprobs"] += event["logprobs"]
            case "output_text.done":
                assert (event["text"], event["logprobs"]) == (parts[index]["text"], parts[index]["logprobs"])
            case "output_text.annotation.added":
                assert event["annotation_index"] == len(parts[index]["annotations"])
                parts[index]["annotations"].append(event["annotation"])
            case "refusal.delta":
                parts[index]["refusal"] += event["delta"]
            case "refusal.done":
                assert event["refusal"] == parts[index]["refusal"]
            case "reasoning_summary_text.delta":
                parts[index]["text"] += event["delta"]
            case "reasoning_summary_text.done":
                assert event["text"] == parts[index]["text"]
            case "function_call_arguments.delta":
                item["arguments"] += event["delta"]
            case "function_call_arguments.done":
                assert event["arguments"] == item["arguments"]
            case "custom_tool_call_input.delta":
                item["input"] += event["delta"]
            case "custom_tool_call_input.done":
                assert event["input"] == item["input"]
            case _:
                raise AssertionError(kind)
    assert not open_items
    return output


def check(items: list[Item], request: Request | None = None) -> list[Any]:
    """Return the output of a stream after following its events."""
    events = decode_events(write(items, request))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[0]["response"] == events[1]["response"]
    assert (events[0]["response"]["status"], events[0]["response"]["output"]) == ("in_progress", [])
    assert events[0]["response"]["usage"] is None
    output: list[Any] = events[-1]["response"]["output"]
    assert followed(events) == output
    return output


@given(replies())
def test_the_events_of_a_stream_build_its_last_response(items: list[Item]) -> None:
    check(items)


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {**TEXT, "text": value, **fields}


def message(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "status": "completed", "role": "assistant", "content": list(content), **fields}


def thought(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [SUMMARY | {"text": value}], "status": "completed", **fields}


def call(call_id: str, name: str, arguments: str, **fields: Any) -> dict[str, Any]:
    kind = {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments, "status": "completed"}
    return kind | fields


def own(part: str = "", index: int = 0, **fields: Any) -> OpaquePart:
    return OpaquePart(NAME, fields, part, index)


TOKEN: Any = {"token": "Hi", "logprob": -1}
SEARCH: dict[str, Any] = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
NOTED = {"type": "output_text", "text": "Hi", "annotations": [{"a": 1}, {"b": 2}], "logprobs": []}
SHELL: Any = [{"type": "custom", "name": "sh"}, {"type": "function", "name": "f", "parameters": {}}]

OUTPUT: dict[str, tuple[list[Item], list[Any]]] = {
    "texts": (["Hel", "lo"], [message(text("Hello"))]),
    "log probabilities": (["Hi", Logprobs([TOKEN]), "!"], [message(text("Hi!", logprobs=[TOKEN]))]),
    "log probabilities without a text": (
        [Logprobs([TOKEN]), Refusal("no"), Logprobs([TOKEN])],
        [message({"type": "refusal", "refusal": "no"})],
    ),
    "a refusal between texts": (
        ["Hi", Refusal("n"), Refusal(""), Refusal("o"), "Ho"],
        [message(text("Hi"), {"type": "refusal", "refusal": "no"}, text("Ho"))],
    ),
    "a thought": ([Reasoning("h"), Reasoning("m"), "Hi"], [thought("hm"), message(text("Hi"))]),
    "two blocks": ([Reasoning("1", 0), Reasoning("2", 1)], [thought("1"), thought("2")]),
    "a thought of this API": (
        [Reasoning("hm", id="rs_x", source=NAME), Reasoning("", data="enc", source=NAME)],
        [thought("hm", id="rs_x", encrypted_content="enc")],
    ),
    "a thought of this API without a text": (
        [Reasoning("", id="rs_x", source=NAME), Reasoning("", data="enc")],
        [{"type": "reasoning", "id": "rs_x", "summary": [], "status": "completed", "encrypted_content": "enc"}],
    ),
    "the opaque fields of one block": (
        [Reasoning("1", 0, data="enc", source=NAME), Reasoning("2", 1)],
        [thought("1", encrypted_content="enc"), thought("2")],
    ),
    "a thought of another API": ([Reasoning("hm", id="x", source="gemini")], [thought("hm")]),
    "calls at once": (
        [ToolCall(0, "a", "f", '{"x"'), ToolCall(1, "b", "g", "{}"), ToolCall(0, arguments=":1}"), "Hi"],
        [call("a", "f", '{"x":1}'), call("b", "g", "{}"), message(text("Hi"))],
    ),
    "a call between texts": (
        ["Hi", ToolCall(0, "a", "f", "{}"), "Ho"],
        [message(text("Hi")), call("a", "f", "{}"), message(text("Ho"))],
    ),
    "an item that only this API has": (["Hi", own(**SEARCH), "Ho"], [message(text("Hi")), SEARCH, message(text("Ho"))]),
    "fields of a message": (
        ["Hi", own("text", id="x", type="message", phase="p", content=[NOTED]), "Ho"],
        [message(NOTED, phase="p"), message(text("Ho"))],
    ),
    "fields of a thought": (
        [Reasoning("hm", 0), own("reasoning", 0, id="x", type="reasoning", extra=1), Reasoning("2", 1)],
        [thought("hm", extra=1), thought("2")],
    ),
    "fields of another thought": ([Reasoning("hm", 0), own("reasoning", 1, extra=1)], [thought("hm")]),
    "fields of a call": (
        [ToolCall(0, "a", "f", "{}"), own("tool_call", 0, type="function_call", id="x", name="y", namespace="n")],
        [call("a", "f", "{}", namespace="n")],
    ),
    "fields of a call of another kind": (
        [ToolCall(0, "a", "f", "{}"), own("tool_call", 0, type="custom_tool_call", namespace="n")],
        [call("a", "f", "{}")],
    ),
    "fields of an unknown call": ([own("tool_call", 3, type="function_call", n=1), "Hi"], [message(text("Hi"))]),
    "a part without fields": (["Hi", own(), "Ho"], [message(text("HiHo"))]),
    "a custom call": (
        [ToolCall(0, "a", "sh", '{"input"'), ToolCall(0, arguments=':"ls"}'), ToolCall(1, "b", "f", "{}")],
        [
            {"type": "custom_tool_call", "call_id": "a", "name": "sh", "input": "ls", "status": "completed"},
            call("b", "f", "{}"),
        ],
    ),
}


@pytest.mark.parametrize(("items", "output"), OUTPUT.values(), ids=OUTPUT)
def test_a_stream_has_this_output(items: list[Item], output: list[Any]) -> None:
    request = decode({"model": "m", "input": "Hello", "tools": SHELL})
    for written in (check([START, *items, Finish()], request), check([*items, Usage(1, 2), Finish("stop")], request)):
        assert [
            {name: value for name, value in item.items() if name != "id" or name in expected}
            for item, expected in zip(written, output, strict=True)
        ] == output


@pytest.mark.parametrize(
    ("finish", "status", "details"),
    [
        (Finish("stop"), "completed", None),
        (Finish("tool_calls"), "completed", None),
        (Finish("length"), "incomplete", {"reason": "max_output_tokens"}),
        (Finish("content_filter"), "incomplete", {"reason": "content_filter"}),
        (Finish("new_reason"), "completed", None),
    ],
    ids=range(5),
)
def test_what_was_open_at_the_end_has_the_status_of_the_response(finish: Finish, status: str, details: Any) -> None:
    items: list[Item] = [START, Reasoning("hm"), ToolCall(0, "a", "f", "{}"), "Hi", Usage(1, 2, 3, 4, 5), finish]
    *_, last = decode_events(write(items))
    response = last["response"]
    assert (last["type"], response["status"], response["incomplete_details"]) == (f"response.{status}", status, details)
    assert [item["status"] for item in response["output"]] == ["completed", status, status]
    assert response["usage"] == {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 4},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 3,
    }
    assert (response["id"], response["model"], response["created_at"]) == (START.id, START.model, START.created)


@pytest.mark.parametrize(
    ("start", "fields"),
    [
        (Start("r"), {"id": "r", "model": "gpt-x"}),
        (Start("", "m"), {"model": "m"}),
        (Start("", "", 7), {"created_at": 7}),
    ],
)
def test_a_start_counts_only_before_the_first_event(start: Start, fields: dict[str, Any]) -> None:
    *_, last = decode_events(write([start, "Hi", Start("other", "other", 9), Finish()]))
    assert fields.items() <= last["response"].items()
    assert last["response"]["id"] != "other"
    *_, late = decode_events(write(["Hi", start, Finish()]))
    assert late["response"]["model"] == "gpt-x"
