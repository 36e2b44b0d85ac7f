"""The reader of OpenAI's Responses: documented events, documents and errors to items."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.dialects.base import Dialect
from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    StatusError,
    TruncatedError,
)
from acytoo.types import (
    Finish,
    Item,
    Logprobs,
    OpaquePart,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Start,
    ToolCall,
    Usage,
    collect,
)
from tests.dialects.openai_responses.helpers import (
    CALL,
    CREATED,
    DIALECT,
    DOCUMENT_HEAD,
    END,
    NAME,
    START,
    STREAM_HEAD,
    USAGE,
    anything,
    completed,
    event,
    feed,
    message,
    objects,
    read,
    sse,
    text,
)

KINDS = [
    "error",
    "response.created",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.output_item.added",
    "response.output_item.done",
    "response.content_part.done",
    "response.output_text.delta",
    "response.output_text.done",
    "response.refusal.done",
    "response.reasoning_summary_text.delta",
    "response.reasoning_text.done",
    "response.function_call_arguments.delta",
]


TEXT = [
    CREATED,
    {"type": "response.in_progress", "response": CREATED["response"]},
    event("output_item.added", item=message()),
    event("content_part.added", content_index=0, part=text("")),
    event("output_text.delta", content_index=0, delta="Hi"),
    event("output_text.delta", content_index=0, delta=" 世界", logprobs=[]),
    event("output_text.done", content_index=0, text="Hi 世界"),
    event("content_part.done", content_index=0, part=text("Hi 世界")),
    event("output_item.done", item=message(text("Hi 世界"))),
    completed(message(text("Hi 世界"))),
]

TWO_SUMMARIES = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}],
    "encrypted_content": "gAAA",
}

SEQUENCES: dict[str, tuple[list[Any], list[Item]]] = {
    # OpenAI's API reference, "Responses", the example of a streamed text response.
    "a text that several events repeat": (TEXT, [START, "Hi", " 世界", *END]),
    # OpenAI's guide "Function calling", streaming, with a second call beside the first.
    "parallel calls": (
        [
            CREATED,
            event("output_item.added", 0, item={**CALL, "arguments": ""}),
            event("output_item.added", 1, item={**CALL, "id": "fc_2", "call_id": "call_2", "arguments": ""}),
            event("function_call_arguments.delta", 0, delta='{"a"'),
            event("function_call_arguments.delta", 1, delta="{}"),
            event("function_call_arguments.delta", 0, delta=":1}"),
            event("function_call_arguments.done", 0, arguments='{"a":1}'),
            event("output_item.done", 0, item={**CALL, "arguments": '{"a":1}'}),
            completed({**CALL, "arguments": '{"a":1}'}, {**CALL, "call_id": "call_2", "arguments": "{}"}),
        ],
        [
            START,
            ToolCall(0, "call_1", "get_weather"),
            ToolCall(1, "call_2", "get_weather"),
            ToolCall(0, arguments='{"a"'),
            ToolCall(1, arguments="{}"),
            ToolCall(0, arguments=":1}"),
            END[0],
            Finish("tool_calls"),
        ],
    ),
    # OpenAI's guide "Reasoning", summaries and encrypted reasoning items; events from the API reference.
    "a summary in two parts, and its encrypted form": (
        [
            CREATED,
            event(
                "output_item.added", item={"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
            ),
            event("reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""}),
            event("reasoning_summary_text.delta", summary_index=0, delta="One"),
            event("reasoning_summary_text.done", summary_index=0, text="One"),
            event("reasoning_summary_text.delta", summary_index=1, delta="Two"),
            event(
                "output_item.done",
                item=TWO_SUMMARIES,
            ),
            event("output_text.delta", 1, content_index=0, delta="Hi"),
            completed(message(text("Hi"))),
        ],
        [
            START,
            Reasoning(id="rs_1", source=NAME),
            Reasoning("One"),
            Reasoning("\n\nTwo"),
            Reasoning(data="gAAA", id="rs_1", source=NAME),
            OpaquePart(NAME, TWO_SUMMARIES, "reasoning"),
            "Hi",
            *END,
        ],
    ),
    # OpenAI's API reference, `response.refusal.delta` and `response.refusal.done`.
    "a refusal": (
        [
            CREATED,
            event("refusal.delta", content_index=0, delta="I can't"),
            event("refusal.done", content_index=0, refusal="I can't"),
            completed(message({"type": "refusal", "refusal": "I can't"})),
        ],
        [START, Refusal("I can't"), *END],
    ),
    # OpenAI's API reference, `include: message.output_text.logprobs`.
    "log-probabilities follow their text": (
        [
            event("output_text.delta", content_index=0, delta="Hi", logprobs=[{"token": "Hi", "logprob": -0.1}]),
            completed(),
        ],
        ["Hi", Logprobs([{"token": "Hi", "logprob": -0.1}]), START, *END],
    ),
    # OpenAI's API reference, `response.incomplete`.
    "the limit of tokens": (
        [
            event("output_text.delta", content_index=0, delta="Hi"),
            completed(kind="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        ],
        ["Hi", START, END[0], Finish("length", raw="max_output_tokens")],
    ),
    "the content filter": (
        [completed(kind="incomplete", incomplete_details={"reason": "content_filter"})],
        [START, END[0], Finish("content_filter")],
    ),
    # llama.cpp's server as observed: no output_index, no model before the end.
    "a server without output_index": (
        [
            {"type": "response.created", "response": {"id": "resp_1", "object": "response", "status": "in_progress"}},
            {"type": "response.output_item.added", "item": {"type": "message", "id": "msg_1", "content": []}},
            {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Oh"},
            {"type": "response.output_text.delta", "item_id": "msg_1", "delta": ","},
            {"type": "response.output_text.done", "item_id": "msg_1", "text": "Oh,"},
            {"type": "response.output_item.done", "item": message(text("Oh,"))},
            completed(message(text("Oh,"))),
        ],
        [Start("resp_1"), "Oh", ",", START, *END],
    ),
    "a server without deltas": (
        [
            event("output_text.done", 0, content_index=0, text="Hi"),
            event("output_item.done", 0, item=message(text("Hi"))),
            event("output_item.done", 1, item={**CALL, "arguments": "{}"}),
            completed(message(text("Hi")), {**CALL, "arguments": "{}"}),
        ],
        [
            "Hi",
            ToolCall(0, "call_1", "get_weather"),
            ToolCall(0, arguments="{}"),
            START,
            END[0],
            Finish("tool_calls"),
        ],
    ),
    "a server with only the last event": (
        [completed(message(text("Hi")), {**CALL, "arguments": "{}"})],
        [START, "Hi", ToolCall(0, "call_1", "get_weather"), ToolCall(0, arguments="{}"), END[0], Finish("tool_calls")],
    ),
    "unknown events, items and fields": (
        [
            {"type": "response.future", "x": 1},
            event("web_search_call.searching"),
            event("output_item.added", item={"type": "web_search_call", "id": "ws_1"}),
            event("output_item.added", item=None),
            event("output_text.annotation.added", annotation={"type": "url_citation"}),
            {},
            *TEXT,
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "after the end"},
        ],
        [START, "Hi", " 世界", *END],
    ),
}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("size", [0, 1, 7])
def test_documented_events_become_items_in_chunks_of_any_size(name: str, size: int) -> None:
    events, items = SEQUENCES[name]
    assert read(sse(*events), size) == items


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_stream_cut_at_any_byte_is_truncated_or_complete(name: str) -> None:
    events, items = SEQUENCES[name]
    data = sse(*events)
    complete = collect(items)
    for end in range(len(data)):
        reader = DIALECT.reader(STREAM_HEAD)
        read_items = reader.feed(data[:end]) + reader.flush()
        assert complete.text.startswith(collect(read_items).text)
        try:
            reader.close()
        except TruncatedError:
            continue
        assert collect(read_items) == complete


@pytest.mark.parametrize("streamed", [True, False])
def test_the_searches_in_the_output_are_counted_with_the_usage(streamed: bool) -> None:
    # OpenAI's guide "Web search", output and citations
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    output: list[dict[str, Any]] = [
        {**search, "action": {"type": "search", "query": "a"}},
        {**search, "id": "ws_2", "action": {"type": "open_page", "url": "https://a.example"}},
        {**search, "id": "ws_3"},
        message(text("Hi")),
    ]
    last = completed(*output)
    items = read(sse(last)) if streamed else DIALECT.read_reply(json.dumps(last["response"]).encode())
    assert [item.other_counts for item in items if isinstance(item, Usage)] == [{"web_searches": 2}]


def test_an_output_item_whose_type_is_not_text_is_ignored() -> None:
    events = [*TEXT[:-1], completed({"type": ["message"]}, message(text("Hi 世界")))]
    assert read(sse(*events)) == [START, "Hi", " 世界", *END]


@pytest.mark.parametrize("identifier", [1, True])
def test_a_numeric_identifier_is_not_the_index_of_another_item(identifier: object) -> None:
    events: list[dict[str, Any]] = [
        CREATED,
        {"type": "response.output_item.added", "output_index": 0, "item": {**message(), "id": identifier}},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "one"},
        {"type": "response.output_item.added", "output_index": 1, "item": {**message(), "id": "msg_2"}},
        {"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": "two"},
        completed(),
    ]
    assert [item for item in read(sse(*events)) if isinstance(item, str)] == ["one", "two"]


def test_a_done_marker_does_not_complete_a_reply() -> None:
    with pytest.raises(TruncatedError):
        read(sse(*TEXT[:-1]) + b"data: [DONE]\n\n")


def test_an_event_with_html_is_not_of_this_api() -> None:
    with pytest.raises(ProtocolError):
        read(b"data: <html>\n\n")


DOCUMENT = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1741290958,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "gpt-4o-2024-08-06",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]},
        message(text("Hi"), {"type": "refusal", "refusal": "no"}),
        {**CALL, "arguments": "{}"},
    ],
    "usage": USAGE,
}
"""A document in the shape of the example response in OpenAI's API reference, "Create a model response"."""


def test_a_complete_document_becomes_items() -> None:
    reply = collect(feed(DIALECT.reader(DOCUMENT_HEAD), json.dumps(DOCUMENT).encode(), 100))
    assert reply == Reply(
        "Hi",
        [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
        [{"text": "Hm", "id": "rs_1", "source": NAME}],
        "no",
        [],
        Usage(37, 11, 7, 0, 3),
        Finish("tool_calls"),
        "resp_1",
        "gpt-4o-2024-08-06",
        1741290958,
    )


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({**DOCUMENT, "status": "failed", "error": {"code": "rate_limit_exceeded", "message": "m"}}, RateLimitError),
        ({**DOCUMENT, "status": "in_progress"}, TruncatedError),
        ({**DOCUMENT, "status": "cancelled"}, TruncatedError),
        ({"choices": []}, ProtocolError),
        ([], ProtocolError),
    ],
)
def test_a_document_that_is_not_a_complete_response_raises(document: Any, error: type[AcytooError]) -> None:
    with pytest.raises(error):
        feed(DIALECT.reader(DOCUMENT_HEAD), json.dumps(document).encode())


@pytest.mark.parametrize(("value", "count"), [(37.0, 37), (-5, 0), (2**70, 0), ("37", 37), (None, 0)])
def test_a_count_of_an_odd_type_or_size_is_repaired_or_ignored(value: object, count: int) -> None:
    document = {**DOCUMENT, "created_at": value, "usage": {"input_tokens": value, "output_tokens": 1}}
    reply = collect(feed(DIALECT.reader(DOCUMENT_HEAD), json.dumps(document).encode()))
    assert (reply.created, reply.usage) == (count, Usage(count, 1))


def test_a_document_that_is_cut_is_truncated() -> None:
    with pytest.raises(TruncatedError):
        feed(DIALECT.reader(DOCUMENT_HEAD), json.dumps(DOCUMENT).encode()[:-1])


ERRORS: dict[str, tuple[list[Any], type[StatusError], str]] = {
    # OpenAI's API reference, the `error` event.
    "flat": (
        [{"type": "error", "code": "server_error", "message": "it broke", "param": None}],
        ServerError,
        "it broke",
    ),
    # openai/openai-dotnet issue 881, as the service sends it.
    "nested": (
        [{"type": "error", "error": {"type": "too_many_requests", "code": "too_many_requests", "message": "slower"}}],
        RateLimitError,
        "slower",
    ),
    # zendev-sh/goai pull request 88: the type does not name an error.
    "nested under another type": (
        [{"type": "error", "error": {"type": "tokens", "code": "rate_limit_exceeded", "message": "TPM"}}],
        RateLimitError,
        "TPM",
    ),
    # OpenAI's API reference, `response.failed`.
    "failed": (
        [CREATED, completed(kind="failed", error={"code": "invalid_image_url", "message": "no image"})],
        RequestError,
        "no image",
    ),
    # earendil-works/pi issue 7983: Azure sends the reason after the failure.
    "failed first, the reason after it": (
        [
            completed(kind="failed", error=None),
            {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "limit"}},
        ],
        RateLimitError,
        "limit",
    ),
    # OpenRouter's documentation of its Responses API, "Error Handling".
    "response.error": (
        [{"type": "response.error", "error": {"code": "rate_limit_exceeded", "message": "slow down"}}],
        RateLimitError,
        "slow down",
    ),
    "response.error, flat": (
        [{"type": "response.error", "code": "rate_limit_exceeded", "message": "slow down"}],
        RateLimitError,
        "slow down",
    ),
    "failed, flat": ([{"type": "response.failed", "message": "no memory"}], ServerError, "no memory"),
    "an error event without any field": ([{"type": "error"}], ServerError, "an error without a message"),
    # openai/codex: the error of its backend.
    "the limit of a plan": (
        [
            {
                "type": "error",
                "status": 429,
                "error": {"type": "usage_limit_reached", "message": "plan", "plan_type": "x"},
            }
        ],
        RateLimitError,
        "plan",
    ),
    "failed without a reason": ([completed(kind="failed", error=None)], ServerError, "gave no reason"),
    "untyped": ([{"error": {"message": "bad key", "code": "invalid_api_key"}}], AuthenticationError, "bad key"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_in_a_stream_is_raised_with_its_class_and_message(name: str) -> None:
    events, error, message = ERRORS[name]
    with pytest.raises(error, match=message):
        read(sse(*events))


@given(st.lists(st.tuples(st.sampled_from(KINDS), objects(anything)), max_size=5))
def test_garbage_in_known_events_raises_only_acytoo_errors(events: list[tuple[str, dict[str, Any]]]) -> None:
    try:
        collect(read(sse(*[{**event, "type": kind} for kind, event in events])))
    except AcytooError:
        pass


@given(objects(anything))
def test_garbage_in_a_document_raises_only_acytoo_errors(document: dict[str, Any]) -> None:
    try:
        collect(feed(DIALECT.reader(DOCUMENT_HEAD), json.dumps(document).encode()))
    except AcytooError:
        pass


@pytest.mark.parametrize("field", ["item_id", "output_index"])
def test_arguments_belong_to_the_call_that_any_one_identifier_names(field: str) -> None:
    calls = [{"type": "function_call", "id": f"fc_{n}", "call_id": f"c{n}", "name": "f"} for n in range(2)]
    events: list[dict[str, Any]] = [
        {"type": "response.output_item.added", "output_index": n, "item": call} for n, call in enumerate(calls)
    ]
    for n in range(2):
        name: dict[str, Any] = {"item_id": f"fc_{n}"} if field == "item_id" else {"output_index": n}
        delta = json.dumps({"n": n})
        events.append({"type": "response.function_call_arguments.delta", "delta": delta, **name})
    reply = collect(read(sse(*events, completed())))
    assert [call["function"]["arguments"] for call in reply.tool_calls] == ['{"n": 0}', '{"n": 1}']


def test_a_refusal_without_deltas_is_read_from_its_complete_part() -> None:
    part = {"type": "refusal", "refusal": "I can't"}
    done = event("content_part.done", content_index=0, part=part)
    assert Refusal("I can't") in read(sse(CREATED, done, completed()))


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
@pytest.mark.parametrize("target", dialects.ALL, ids=lambda dialect: dialect.name)
def test_what_only_the_ends_of_parts_have_is_translated_for_every_api(target: Dialect, stream: bool) -> None:
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    items = read(
        sse(
            CREATED,
            event("output_text.delta", content_index=0, delta="Hi"),
            event("output_text.done", content_index=0, text="Hi", logprobs=[token]),
            event("refusal.delta", content_index=1, delta="I "),
            event("refusal.done", content_index=1, refusal="I can't"),
            completed(),
        )
    )
    request = Request([{"role": "user", "content": "Hello"}], "m", stream=stream)
    writer = target.writer(request)
    body = writer.write(items) + writer.end() if stream else target.write_reply(collect(items), request)
    reader = target.reader(STREAM_HEAD if stream else DOCUMENT_HEAD)
    reply = collect(reader.feed(body) + reader.flush())
    assert reply.text + reply.refusal == "HiI can't"
    if "logprobs" in target.capabilities.items:
        assert reply.logprobs == [token]


def reasoning(index: int, delta: str) -> dict[str, Any]:
    return event("reasoning_text.delta", content_index=index, delta=delta)


def test_reasoning_whose_deltas_are_numbered_has_no_blank_lines_between_them() -> None:
    # vllm-project/vllm pull request 35184
    pieces = [reasoning(index, piece) for index, piece in enumerate(["The", " sky", " is"])]
    done = event("reasoning_text.done", content_index=2, text="The sky is")
    item = {"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "The sky is"}]}
    ends = event("output_item.done", item=item)
    reply = collect(read(sse(CREATED, *pieces, done, ends, completed(item, message(text("Hi"))))))
    assert [block.get("text") for block in reply.reasoning] == ["The sky is"]


def test_two_parts_of_a_reasoning_have_a_blank_line_between_them() -> None:
    done = event("reasoning_text.done", content_index=0, text="One")
    for events in (
        [reasoning(0, "One"), done, reasoning(1, "Two")],
        [done, event("reasoning_text.done", content_index=1, text="Two")],
    ):
        reply = collect(read(sse(CREATED, *events, completed(message(text("Hi"))))))
        assert [block.get("text") for block in reply.reasoning] == ["One\n\nTwo"]


SEARCH = {
    "type": "custom_tool_call",
    "id": "ctc_1",
    "call_id": "xs_1",
    "name": "x_keyword_search",
    "status": "completed",
}


@pytest.mark.parametrize("streamed", [True, False])
def test_a_search_that_xais_server_has_made_is_not_a_call_of_the_callers_tool(streamed: bool) -> None:
    # vercel/ai issue 10607: the tool `x_search`
    search = {**SEARCH, "input": '{"query": "x"}'}
    last = completed(search, message(text("Hi")))
    events = [
        event("output_item.added", item={**SEARCH, "input": "", "status": "in_progress"}),
        event("custom_tool_call_input.delta", item_id="ctc_1", delta='{"query": "x"}'),
        event("custom_tool_call_input.done", item_id="ctc_1", input='{"query": "x"}'),
        event("output_item.done", item=search),
        event("output_text.delta", 1, content_index=0, delta="Hi"),
        event("output_item.done", 1, item=message(text("Hi"))),
    ]
    items = read(sse(*events, last)) if streamed else DIALECT.read_reply(json.dumps(last["response"]).encode())
    reply = collect(items)
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("Hi", [], "stop")
    assert [part["fields"] for part in reply.turn_parts if part["type"] == "opaque"] == [search]


@pytest.mark.parametrize(
    "place",
    [
        {"output_index": 0, "item_id": "msg_1"},
        {"output_index": 0, "item_id": None},
        {"output_index": None, "item_id": None},
        {"output_index": None, "item_id": "msg_1"},
    ],
    ids=str,
)
def test_a_thought_a_text_and_a_call_in_one_output_item_are_each_read_once(place: dict[str, Any]) -> None:
    # BerriAI/litellm#36375 (one output_index for all), lemonade-sdk/lemonade#3607 (none)
    thought = {"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "hm"}]}
    call = {**CALL, "arguments": '{"a":1}'}
    number = place["output_index"]
    events: list[dict[str, Any]] = [
        {"type": "response.reasoning_text.delta", "content_index": 0, "delta": "hm", **place},
        {"type": "response.output_text.delta", "content_index": 0, "delta": "H", **place},
        {"type": "response.output_text.delta", "content_index": 0, "delta": "i", **place},
        {"type": "response.output_text.done", "content_index": 0, "text": "Hi", **place},
        {"type": "response.output_item.added", "output_index": number, "item": {**CALL, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "delta": '{"a":', **place, "item_id": CALL["id"]},
        {"type": "response.function_call_arguments.delta", "delta": "1}", **place, "item_id": CALL["id"]},
        {"type": "response.output_item.done", "output_index": number, "item": call},
    ]
    for output in ([], [thought, message(text("Hi")), call]):
        reply = collect(read(sse(CREATED, *events, completed(*output))))
        assert (reply.text, "".join([block.get("text", "") for block in reply.reasoning])) == ("Hi", "hm")
        assert [call["function"]["arguments"] for call in reply.tool_calls] == ['{"a":1}']


def test_arguments_at_the_place_of_a_text_belong_to_the_call_with_their_identifier() -> None:
    events = [
        event("output_text.delta", 0, content_index=0, delta="Hi"),
        event("output_item.added", 1, item={**CALL, "arguments": ""}),
        event("function_call_arguments.delta", 0, item_id=CALL["id"], delta='{"a":1}'),
        event("output_item.done", 1, item={**CALL, "arguments": '{"a":1}'}),
    ]
    reply = collect(read(sse(CREATED, *events, completed())))
    assert reply.text == "Hi"
    assert [call["function"]["arguments"] for call in reply.tool_calls] == ['{"a":1}']


def test_a_call_without_a_name_or_arguments_is_dropped_with_its_own_fields() -> None:
    items = read(sse(completed({"type": "function_call", "id": "fc_1", "own": 1}, message(text("Hi")))))
    assert (collect(items).text, collect(items).tool_calls) == ("Hi", [])


@pytest.mark.parametrize("details", ["max_output_tokens", "length", "max_tokens"])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_completed_response_with_a_reason_why_it_is_incomplete_is_not_complete(details: str, streamed: bool) -> None:
    last = completed(message(text("Hi")), incomplete_details={"reason": details})
    items = read(sse(last)) if streamed else DIALECT.read_reply(json.dumps(last["response"]).encode())
    assert collect(items).finish_reason == "length"


def test_a_complete_response_in_place_of_an_event_is_read_once() -> None:
    response = completed(message(text("Hi")))["response"]
    for events in ([response], [*TEXT[:-1], {**response, "output": [message(text("Hi 世界"))]}]):
        assert collect(read(sse(*events))).text in ("Hi", "Hi 世界")


def test_a_record_of_chat_completions_is_not_of_this_api() -> None:
    with pytest.raises(ProtocolError, match="openai-responses"):
        read(sse({"choices": [{"delta": {"content": "Hi"}}]}))


@pytest.mark.parametrize(
    "error", [{}, {"code": "", "message": ""}, {"code": None, "message": None}, False], ids=json.dumps
)
def test_an_error_with_empty_fields_is_no_error(error: Any) -> None:
    events = [{**one, "error": error} for one in TEXT[:-1]]
    assert collect(read(sse(*events, completed(message(text("Hi 世界")), error=error)))).text == "Hi 世界"


def test_the_counts_of_a_usage_may_have_the_names_of_chat_completions() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    assert Usage(5, 2, 3) in read(sse(completed(message(text("Hi")), usage=usage)))


def test_of_a_summary_and_the_reasoning_only_the_first_to_arrive_is_read() -> None:
    summary = event("reasoning_summary_text.delta", summary_index=0, delta="short")
    complete = event("reasoning_text.delta", content_index=0, delta="long")
    for events, expected in (([summary, complete], "short"), ([complete, summary], "long")):
        reply = collect(read(sse(CREATED, *events, completed(message(text("Hi"))))))
        assert "".join([block.get("text", "") for block in reply.reasoning]) == expected


@pytest.mark.parametrize(
    ("begun", "complete", "arguments"),
    [
        ('{"a":1}', '{"a":1}', ['{"a":1}']),
        ('{"a":1}', '{"a": 1}', ['{"a":1}']),
        ('{"a":1}', '{"a": 2}', ['{"a":1}', '{"a": 2}']),
        ('{"a"', '{"a":1}', ['{"a":1}']),
    ],
)
def test_a_complete_call_with_other_identifiers_repeats_the_one_with_its_id_and_arguments(
    begun: str, complete: str, arguments: list[str]
) -> None:
    events = [
        event("output_item.added", item={**CALL, "arguments": ""}),
        event("function_call_arguments.delta", delta=begun),
        event("output_item.done", 7, item={**CALL, "id": "fc_2", "arguments": complete}),
    ]
    calls = collect(read(sse(CREATED, *events, completed()))).tool_calls
    assert [call["function"]["arguments"] for call in calls] == arguments


def test_texts_in_an_item_that_is_no_message_are_not_the_replys() -> None:
    own = {"type": "mcp_call", "id": "mcp_1", "content": [text("not said")]}
    for kind in ("added", "done"):
        reply = collect(read(sse(CREATED, event(f"output_item.{kind}", item=own), completed(message(text("Hi"))))))
        assert reply.text == "Hi"


def test_a_message_may_have_its_first_text_when_it_is_added() -> None:
    events = [
        event("output_item.added", item={**message(text("Hi")), "status": "in_progress"}),
        event("output_text.delta", content_index=0, delta="Hi"),
        event("output_text.delta", content_index=0, delta=" there"),
    ]
    assert collect(read(sse(CREATED, *events, completed(message(text("Hi there")))))).text == "Hi there"


def test_reasoning_of_an_item_that_was_not_added_is_a_block_of_its_own() -> None:
    events = [event("reasoning_summary_text.delta", index, summary_index=0, delta=f"{index}") for index in range(2)]
    items = read(sse(CREATED, *events, completed()))
    assert [(item.index, item.text) for item in items if isinstance(item, Reasoning)] == [(0, "0"), (1, "1")]


@pytest.mark.parametrize(("place", "expected"), [(0, "onetwo"), (1, "onetwo more")])
def test_only_the_last_text_can_still_become_longer(place: int, expected: str) -> None:
    said = ["one", "two"]
    events = [
        *[event("output_text.delta", content_index=index, delta=part) for index, part in enumerate(said)],
        event("output_text.done", content_index=place, text=f"{said[place]} more"),
    ]
    assert collect(read(sse(CREATED, *events, completed()))).text == expected


@pytest.mark.parametrize("is_complete", [True, False], ids=["with all of them at the end", "with none at the end"])
@pytest.mark.parametrize("stages", [("added", "delta", "done"), ("added", "done"), ("done",)], ids="-".join)
def test_calls_that_follow_each_other_at_one_place_are_several(stages: tuple[str, ...], is_complete: bool) -> None:
    calls = [
        {"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", "name": "f", "arguments": f'{{"n":{n}}}'}
        for n in range(3)
    ]
    events: list[dict[str, Any]] = []
    for call in calls:
        stage_events = {
            "added": event("output_item.added", 0, item={**call, "arguments": ""}),
            "delta": event("function_call_arguments.delta", 0, item_id=call["id"], delta=call["arguments"]),
            "done": event("output_item.done", 0, item=call),
        }
        events += [stage_events[stage] for stage in stages]
    reply = collect(read(sse(CREATED, *events, completed(*(calls if is_complete else [])))))
    assert [call["id"] for call in reply.tool_calls] == ["call_0", "call_1", "call_2"]
    assert [call["function"]["arguments"] for call in reply.tool_calls] == ['{"n":0}', '{"n":1}', '{"n":2}']


def test_a_message_and_its_calls_may_have_one_place() -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
    events = [
        event("output_item.added", 0, item={**message(), "id": "msg_1"}),
        event("output_text.delta", 0, content_index=0, delta="Hi"),
        event("output_item.done", 0, item={**message(text("Hi")), "id": "msg_1"}),
        event("output_item.added", 0, item={**call, "arguments": ""}),
        event("output_item.done", 0, item=call),
        event("output_item.added", 0, item={**message(), "id": "msg_2"}),
        event("output_text.delta", 0, content_index=0, delta=" there"),
        event("output_item.done", 0, item={**message(text(" there")), "id": "msg_2"}),
    ]
    for output in ([], [message(text("Hi")), call, message(text(" there"))]):
        reply = collect(read(sse(CREATED, *events, completed(*output))))
        assert reply.text == "Hi there"
        assert [call["id"] for call in reply.tool_calls] == ["call_1"]


@pytest.mark.parametrize("is_complete", [True, False], ids=["with all of them at the end", "with none at the end"])
@pytest.mark.parametrize("order", ["0101", "0011", "1001"])
@pytest.mark.parametrize("kind", ["function_call", "custom_tool_call"])
def test_calls_that_are_made_at_once_at_one_place_have_their_own_pieces(
    kind: str, order: str, is_complete: bool
) -> None:
    field, subject = {
        "function_call": ("arguments", "function_call_arguments"),
        "custom_tool_call": ("input", "custom_tool_call_input"),
    }[kind]
    calls = [{"type": kind, "id": f"i{n}", "call_id": f"call_{n}", "name": "f", field: f'{{"n":{n}}}'} for n in (0, 1)]
    pieces = [iter((call[field][:5], call[field][5:])) for call in calls]
    events = [
        *[event("output_item.added", 0, item={**call, field: ""}) for call in calls],
        *[event(f"{subject}.delta", 0, item_id=f"i{n}", delta=next(pieces[int(n)])) for n in order],
        *[event(f"{subject}.done", 0, item_id=call["id"], **{field: call[field]}) for call in calls],
        *[event("output_item.done", 0, item=call) for call in calls],
    ]
    reply = collect(read(sse(CREATED, *events, completed(*(calls if is_complete else [])))))
    assert [call["id"] for call in reply.tool_calls] == ["call_0", "call_1"]
    arguments = [json.loads(call["function"]["arguments"]) for call in reply.tool_calls]
    inputs = [json.loads(one["input"]) if "input" in one else one for one in arguments]
    assert inputs == [{"n": 0}, {"n": 1}]


def test_messages_that_end_after_each_has_its_text_may_have_one_place() -> None:
    said = ["one", "two"]
    complete = [{**message(text(one)), "id": one} for one in said]
    events = [
        *[
            entry
            for one in said
            for entry in (
                event("output_item.added", 0, item={**message(), "id": one}),
                event("output_text.delta", 0, item_id=one, content_index=0, delta=one),
            )
        ],
        *[event("output_text.done", 0, item_id=one, content_index=0, text=one) for one in said],
        *[event("output_item.done", 0, item=one) for one in complete],
    ]
    for output in ([], complete):
        assert collect(read(sse(CREATED, *events, completed(*output)))).text == "onetwo"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=str)
def test_calls_of_one_name_are_repeated_at_the_end_in_any_order(order: tuple[int, int]) -> None:
    calls = [
        {"type": "function_call", "id": f"i{n}", "call_id": f"call_{n}", "name": "f", "arguments": f'{{"n":{n}}}'}
        for n in (0, 1)
    ]
    events = [event("output_item.added", n, item={**call, "arguments": ""}) for n, call in enumerate(calls)]
    reply = collect(read(sse(CREATED, *events, completed(*[calls[n] for n in order]))))
    assert [(call["id"], call["function"]["arguments"]) for call in reply.tool_calls] == [
        ("call_0", '{"n":0}'),
        ("call_1", '{"n":1}'),
    ]
