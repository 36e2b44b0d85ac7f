"""The writer of OpenAI's Responses: items to events and documents, and back through the reader."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acytoo.dialects.openai_responses.request import decode_opaque
from acytoo.errors import (
    AcytooError,
    RateLimitError,
    RequestError,
    ServerError,
    StatusError,
    TimedOutError,
    TruncatedError,
    status_error,
)
from acytoo.types import Finish, Item, Logprobs, OpaquePart, Reasoning, Refusal, Reply, Start, ToolCall, Usage, collect
from tests.dialects.openai_responses.helpers import (
    DIALECT,
    DOCUMENT_HEAD,
    NAME,
    START,
    STREAM_HEAD,
    decode,
    decode_events,
    feed,
    make_request,
    read,
    texts,
    write,
)

# No "null", which means that there are none, and no object without an end, which is an error beside most reasons.
fragments = st.text(max_size=4).filter(lambda text: text.strip() != "null" and "{" not in text)


@st.composite
def replies(draw: st.DrawFn) -> list[Item]:
    """Draw items as any reader returns them: the pieces of a block together, the fragments of calls in any order."""
    items: list[Item] = [Start(draw(texts), draw(texts), draw(st.integers(1, 2**40)))]
    blocks = calls = 0
    for kind in draw(
        st.lists(st.sampled_from(["text", "logprobs", "refusal", "reasoning", "call", "more"]), max_size=12)
    ):
        if kind == "text":
            items.append(draw(texts))
        elif kind == "logprobs":
            items += [
                draw(texts),
                Logprobs([{"token": draw(texts), "logprob": -0.5, "bytes": [1], "top_logprobs": []}]),
            ]
        elif kind == "refusal":
            items.append(Refusal(draw(texts)))
        elif kind == "reasoning":
            own = draw(st.booleans())
            first = Reasoning(draw(texts), blocks, id=draw(texts) if own else "", source=NAME if own else "")
            items += [first, Reasoning(draw(texts), blocks)]
            if own:
                items.append(Reasoning("", blocks, data=draw(texts.filter(lambda t: not t.startswith("acytoo:")))))
            elif draw(st.booleans()):
                items.append(Reasoning("", blocks, signature=draw(texts), source="anthropic"))
            blocks += 1
        elif kind == "call":
            items.append(ToolCall(calls, f"call_{calls}", draw(texts), draw(fragments)))
            calls += 1
        elif calls:
            items.append(ToolCall(draw(st.integers(0, calls - 1)), arguments=draw(fragments)))
    counts = st.integers(0, 2**31)
    items.append(Usage(draw(counts), draw(counts), draw(counts), draw(counts), draw(counts)))
    items.append(Finish(draw(st.sampled_from(["length", "content_filter", "tool_calls" if calls else "stop"]))))
    return items


def normalized(items: list[Item]) -> Reply:
    """Return the reply without what writing adds: the id of a plain block, and the API's name for `length`.

    Another API's opaque fields, which are sealed, are opened as the server opens them when they are sent back.
    """
    reply = collect(items)
    for index, sealed in enumerate(reply.reasoning):
        if sealed.get("data", "").startswith("acytoo:"):
            opened: Any = {"text": sealed["text"], **decode_opaque({"encrypted_content": sealed["data"]})}
            reply.reasoning[index] = opened
    for block in reply.reasoning:
        if block.get("source") != NAME or "data" not in block:
            block.pop("id", None)
            if block.get("source") == NAME:
                del block["source"]
    if reply.finish:
        reply.finish = Finish(reply.finish.reason)
    return reply


@given(replies(), st.integers(1, 300), st.booleans())
def test_a_written_stream_is_read_back_in_chunks_of_any_size(items: list[Item], size: int, batch: bool) -> None:
    writer = DIALECT.writer(make_request())
    written: list[bytes] = []
    written += [writer.write(items)] if batch else [writer.write([item]) for item in items]
    assert normalized(read(b"".join([*written, writer.ping, writer.end()]), size)) == normalized(items)


@given(replies())
def test_a_written_document_is_read_back(items: list[Item]) -> None:
    body = DIALECT.write_reply(collect(items), make_request())
    assert normalized(feed(DIALECT.reader(DOCUMENT_HEAD), body)) == normalized(items)


@settings(max_examples=20)
@given(replies(), st.data())
def test_a_written_stream_that_is_cut_is_truncated_or_complete(items: list[Item], data: st.DataObject) -> None:
    stream = write(items)
    reader = DIALECT.reader(STREAM_HEAD)
    read_items = reader.feed(stream[: data.draw(st.integers(0, len(stream) - 1))]) + reader.flush()
    try:
        reader.close()
    except TruncatedError:
        return
    assert normalized(read_items) == normalized(items)


@given(replies())
def test_events_are_numbered_from_zero_and_every_item_that_begins_ends(items: list[Item]) -> None:
    events = decode_events(write(items))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    done = [event["item"]["id"] for event in events if event["type"] == "response.output_item.done"]
    assert sorted(added) == sorted(done)
    assert [item["id"] for item in events[-1]["response"]["output"]] == added


def test_the_events_of_a_text_are_those_of_the_reference() -> None:
    events = decode_events(write([START, "Hi", "!", Finish()]))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def test_the_events_of_a_thought_are_those_of_the_reference() -> None:
    events = decode_events(write([START, Reasoning("hm"), Reasoning("!"), Finish()]))
    [added] = [event for event in events if event["type"] == "response.output_item.added"]
    place = {"item_id": added["item"]["id"], "output_index": 0, "summary_index": 0}
    kinds = ["part.added", "text.delta", "text.delta", "text.done", "part.done"]
    found = [event for event in events if event["type"].startswith("response.reasoning_summary_")]
    assert [event["type"].removeprefix("response.reasoning_summary_") for event in found] == kinds
    assert all({name: event[name] for name in place} == place for event in found)


def test_thoughts_and_messages_have_a_status_when_they_begin_and_end() -> None:
    events = decode_events(write([START, Reasoning("hm"), "Hi", Finish()]))
    items = [(event["item"]["type"], event["item"]["status"]) for event in events if "item" in event]
    assert items == [
        ("reasoning", "in_progress"),
        ("reasoning", "completed"),
        ("message", "in_progress"),
        ("message", "completed"),
    ]


def test_the_events_of_a_refusal_are_those_of_the_reference() -> None:
    events = decode_events(write([START, Refusal("No"), Refusal("."), Finish()]))
    assert [event["type"].removeprefix("response.") for event in events][2:-1] == [
        "output_item.added",
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
    ]


def test_a_call_without_an_id_gets_one() -> None:
    [call] = decode_events(write([START, ToolCall(0, "", "f", "{}"), Finish("tool_calls")]))[-1]["response"]["output"]
    assert re.fullmatch(r"call_\w{24,}", call["call_id"])


def test_the_status_of_a_response_is_in_progress_until_it_is_complete() -> None:
    events = decode_events(write([START, "Hi", Finish()]))
    assert [event["response"]["status"] for event in events if "response" in event] == [
        "in_progress", "in_progress", "completed",
    ]  # fmt: skip
    [done] = [event for event in events if event["type"] == "response.output_item.done"]
    assert done["item"]["status"] == "completed"
    [added] = [event for event in events if event["type"] == "response.output_item.added"]
    assert added["item"]["status"] == "in_progress"


def test_every_event_begins_with_its_name() -> None:
    data = write([START, Reasoning("hm"), "Hi", ToolCall(0, "c", "f", "{}"), Finish("tool_calls")])
    names = [event.split(b"\n")[0] for event in data.removesuffix(b"\n\n").split(b"\n\n")]
    assert names == [f"event: {event['type']}".encode() for event in decode_events(data)]


def test_the_annotations_of_a_message_follow_its_text() -> None:
    annotation = {"type": "url_citation", "url": "https://a.example", "start_index": 0, "end_index": 2, "title": "a"}
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hi", "annotations": [annotation]}]}
    events = decode_events(write([START, "Hi", OpaquePart(NAME, message, "text"), Finish()]))
    [found] = [event for event in events if event["type"] == "response.output_text.annotation.added"]
    [added] = [event for event in events if event["type"] == "response.content_part.added"]
    place = ("item_id", "output_index", "content_index")
    assert [found[name] for name in place] == [added[name] for name in place]
    assert (found["annotation_index"], found["annotation"]) == (0, annotation)
    assert events[-1]["response"]["output"][0]["content"][0]["annotations"] == [annotation]


def test_what_only_this_api_has_of_a_call_is_added_to_it() -> None:
    own = {"type": "function_call", "id": "fc_9", "namespace": "n"}
    items: list[Item] = [
        START,
        ToolCall(0, "c", "f", "{}"),
        OpaquePart(NAME, own, "tool_call", 0),
        Finish("tool_calls"),
    ]
    [call] = decode_events(write(items))[-1]["response"]["output"]
    assert (call["type"], call["call_id"], call["namespace"]) == ("function_call", "c", "n")


def test_an_empty_reply_is_a_complete_response() -> None:
    assert collect(read(write([]))).finish == Finish("stop")


def test_a_response_repeats_the_fields_of_its_request() -> None:
    request = decode(
        {"model": "m", "instructions": "short", "input": "x", "tools": [{"type": "function", "name": "f"}],
         "text": {"format": {"type": "json_object"}}, "metadata": {"a": "b"}, "temperature": 0.1}
    )  # fmt: skip
    response = json.loads(DIALECT.write_reply(Reply("hi"), request))
    assert response["instructions"] == "short"
    assert response["tools"][0]["name"] == "f"
    assert response["text"]["format"] == {"type": "json_object"}
    assert (response["metadata"], response["temperature"]) == ({"a": "b"}, 0.1)


EVERY_FIELD: dict[str, Any] = {
    "instructions": "Be brief",
    "max_output_tokens": 5,
    "metadata": {"a": "b"},
    "parallel_tool_calls": False,
    "reasoning": {"effort": "low", "summary": "auto"},
    "temperature": 0.5,
    "text": {"format": {"type": "json_object"}, "verbosity": "low"},
    "tool_choice": "required",
    "tools": [{"type": "function", "parameters": {}, "strict": False, "name": "f"}],
    "top_logprobs": 2,
    "top_p": 0.25,
    "truncation": "auto",
    "user": "u",
}
DEFAULTS: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}


@pytest.mark.parametrize("fields", [{}, EVERY_FIELD, *[{name: EVERY_FIELD[name]} for name in EVERY_FIELD]])
def test_a_response_has_every_field_of_its_request_or_the_default(fields: dict[str, Any]) -> None:
    tools = {"tools": EVERY_FIELD["tools"]} if fields.keys() & {"tool_choice", "parallel_tool_calls"} else {}
    request = decode({"model": "m", "input": [{"role": "user", "content": "x"}], **tools, **fields})
    response = json.loads(DIALECT.write_reply(Reply("hi", id="r", created=5), request))
    del response["output"], response["completed_at"]
    always = {"id": "r", "object": "response", "created_at": 5, "status": "completed", "model": "m", "store": False}
    absent = ("error", "incomplete_details", "usage", "frequency_penalty", "presence_penalty", "previous_response_id")
    assert response == {
        **always,
        **dict.fromkeys(absent),
        "background": False,
        **DEFAULTS,
        **tools,
        **fields,
        "reasoning": DEFAULTS["reasoning"] | fields.get("reasoning", {}),
    }


LONG = "x" * 300_000


@pytest.mark.parametrize(
    ("field", "instead"),
    [
        ({"instructions": LONG}, None),
        ({"user": LONG}, None),
        ({"metadata": {LONG: "a"}}, {}),
        ({"tools": [{"type": "function", "name": LONG}]}, []),
        ({"tool_choice": {"type": "function", "name": LONG}}, "auto"),
        ({"reasoning": {"effort": LONG}}, {"effort": None, "summary": None}),
        ({"text": {"format": {"type": "json_schema", "name": LONG, "schema": {}}}}, {"format": {"type": "text"}}),
        ({"truncation": LONG}, "disabled"),
    ],
    ids=["instructions", "user", "metadata", "tools", "tool_choice", "reasoning", "text", "truncation"],
)
def test_a_response_does_not_repeat_a_field_that_is_very_long(field: dict[str, Any], instead: object) -> None:
    request = decode({"model": "m", "input": "x", "temperature": 0.1, **field})
    response = json.loads(DIALECT.write_reply(Reply("hi"), request))
    assert (response[next(iter(field))], response["temperature"]) == (instead, 0.1)


@pytest.mark.parametrize(
    ("error", "expected", "status"),
    [
        (status_error(429, "slower", code="tokens"), RateLimitError, 429),
        (status_error(400, "too long", code="context_length_exceeded"), RequestError, 400),
        (status_error(None, "overloaded"), ServerError, 502),
        (TruncatedError("cut"), ServerError, 502),
        (TimedOutError("idle", 3), ServerError, 504),
    ],
)
def test_an_error_in_mid_stream_is_read_back_with_its_status(error: AcytooError, expected: type, status: int) -> None:
    writer = DIALECT.writer(make_request())
    with pytest.raises(StatusError) as caught:
        read(writer.write([START, "half"]) + writer.fail(error))
    assert type(caught.value) is expected
    assert (caught.value.status, caught.value.message) == (status, error.message)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (status_error(400, "too long", code="context_length_exceeded"), "context_length_exceeded"),
        (status_error(429, "pay", code="insufficient_quota"), "insufficient_quota"),
        (status_error(429, "slower", code="RESOURCE_EXHAUSTED"), "rate_limit_exceeded"),
        (status_error(400, "no", code="INVALID_ARGUMENT"), "invalid_prompt"),
        (TruncatedError("cut"), "server_error"),
    ],
)
def test_a_failed_response_has_the_message_and_a_code_of_this_api(error: AcytooError, code: str) -> None:
    writer = DIALECT.writer(make_request())
    last = writer.fail(error).split(b"\n\n")[-2]
    event = json.loads(last.partition(b"data: ")[2])
    assert event["type"] == "response.failed"
    assert event["response"]["error"] == {"code": code, "message": error.message}


def test_an_error_response_is_read_back() -> None:
    response = DIALECT.write_error(status_error(429, "slower", code="tokens", retry_after=2))
    error = DIALECT.read_error(response.status, response.body)
    assert (type(error), error.message, error.code) == (RateLimitError, "slower", "tokens")
    assert response.headers["retry-after"] == "2"


@pytest.mark.parametrize(
    ("created", "finish", "completed"),
    [
        (2**40, Finish(), 2**40),  # no client has to understand a response that ended before it began
        (2**40, Finish("length"), None),
    ],
)
def test_only_a_completed_response_has_the_time_of_its_end(created: int, finish: Finish, completed: int | None) -> None:
    items: list[Item] = [Start("r", "m", created), "Hi", finish]
    document = json.loads(DIALECT.write_reply(collect(items), make_request()))
    assert document["completed_at"] == completed
    events = [json.loads(data) for data in re.findall(r"data: (.*)", write(items).decode())]
    assert [event["response"]["completed_at"] for event in events if "response" in event] == [None, None, completed]


def test_the_time_of_a_responses_end_is_now() -> None:
    before = int(time.time())
    document = json.loads(DIALECT.write_reply(Reply("Hi", created=7), make_request()))
    assert before <= document["completed_at"] <= time.time()


def test_a_response_has_the_fields_that_openrouters_sdks_need() -> None:
    document = json.loads(DIALECT.write_reply(Reply("Hi"), make_request()))
    assert document["frequency_penalty"] is None
    assert document["presence_penalty"] is None
