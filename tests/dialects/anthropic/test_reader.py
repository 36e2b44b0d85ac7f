"""Anthropic's reader: documented replies and errors to items."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from acytoo.types import Finish, OpaquePart, Reasoning, Refusal, Start, ToolCall, Usage, collect
from tests.dialects.anthropic.helpers import (
    DIALECT,
    DOCUMENT,
    JSON,
    STREAM,
    block,
    delta,
    documents,
    end,
    events,
    join_pieces,
    read,
    start,
    stop,
    texts,
    write,
)

# Streams. Each sequence names its source.

START = Start("msg_1", "claude-opus-4-7")

SEQUENCES = {
    # Anthropic documentation, "Streaming messages", basic streaming request
    "text": (
        [
            start(input_tokens=25, output_tokens=1),
            block(0, type="text", text=""),
            {"type": "ping"},
            delta(0, type="text_delta", text="Hello"),
            delta(0, type="text_delta", text="!"),
            stop(0),
            *end("end_turn", output_tokens=15),
        ],
        [START, "Hello!", Finish("stop"), Usage(25, 15)],
    ),
    # Anthropic documentation, "Streaming messages", streaming request with tool use
    "tool use": (
        [
            start(input_tokens=472, output_tokens=2),
            block(0, type="text", text=""),
            delta(0, type="text_delta", text="Okay"),
            stop(0),
            block(1, type="tool_use", id="toolu_01", name="get_weather", input={}),
            delta(1, type="input_json_delta", partial_json=""),
            delta(1, type="input_json_delta", partial_json='{"location":'),
            delta(1, type="input_json_delta", partial_json=' "San Francisco, CA"}'),
            stop(1),
            *end("tool_use", output_tokens=89),
        ],
        [
            START,
            "Okay",
            ToolCall(0, "toolu_01", "get_weather", '{"location": "San Francisco, CA"}'),
            Finish("tool_calls"),
            Usage(472, 89),
        ],
    ),
    # Anthropic documentation, "Tool use", parallel tool use (two blocks one after another)
    "parallel tools": (
        [
            start(),
            block(0, type="tool_use", id="toolu_a", name="f", input={}),
            delta(0, type="input_json_delta", partial_json='{"x":1}'),
            stop(0),
            block(1, type="tool_use", id="toolu_b", name="g", input={}),
            stop(1),
            *end("tool_use", output_tokens=3),
        ],
        [
            START,
            ToolCall(0, "toolu_a", "f", '{"x":1}'),
            ToolCall(1, "toolu_b", "g", "{}"),
            Finish("tool_calls"),
            Usage(0, 3),
        ],
    ),
    # Anthropic documentation, "Streaming messages", streaming request with extended thinking
    "thinking": (
        [
            start(),
            block(0, type="thinking", thinking="", signature=""),
            delta(0, type="thinking_delta", thinking="I need to find the GCD"),
            delta(0, type="thinking_delta", thinking=" of 1071 and 462"),
            delta(0, type="signature_delta", signature="EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk"),
            stop(0),
            block(1, type="text", text=""),
            delta(1, type="text_delta", text="21"),
            stop(1),
            *end("end_turn", output_tokens=2),
        ],
        [
            START,
            Reasoning(
                "I need to find the GCD of 1071 and 462",
                signature="EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk",
                source="anthropic",
            ),
            "21",
            Finish("stop"),
            Usage(0, 2),
        ],
    ),
    # Anthropic documentation, "Extended thinking", thinking redaction
    "redacted thinking": (
        [
            start(),
            block(0, type="thinking", thinking="", signature=""),
            delta(0, type="thinking_delta", thinking="Hm"),
            delta(0, type="signature_delta", signature="s1"),
            stop(0),
            block(1, type="redacted_thinking", data="EmwKAhgBEgy3va3pzix"),
            stop(1),
            block(2, type="text", text=""),
            delta(2, type="text_delta", text="Based on"),
            stop(2),
            *end("end_turn"),
        ],
        [
            START,
            Reasoning("Hm", 0, signature="s1", source="anthropic"),
            Reasoning("", 1, data="EmwKAhgBEgy3va3pzix", source="anthropic"),
            "Based on",
            Finish("stop"),
        ],
    ),
    # Anthropic documentation, "Streaming messages", web search tool use: blocks of server tools have no item
    "web search": (
        [
            start(),
            block(0, type="text", text=""),
            delta(0, type="text_delta", text="I'll check"),
            stop(0),
            block(1, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
            delta(1, type="input_json_delta", partial_json='{"query": "weather"}'),
            stop(1),
            block(2, type="web_search_tool_result", tool_use_id="srvtoolu_1", content=[{"type": "web_search_result"}]),
            stop(2),
            block(3, type="text", text="", citations=[]),
            delta(3, type="citations_delta", citation={"cited_text": "Sunny", "url": "https://w.example"}),
            delta(3, type="text_delta", text=": sunny"),
            stop(3),
            *end("end_turn", output_tokens=510),
        ],
        [
            START,
            "I'll check",
            OpaquePart(
                "anthropic",
                {
                    "type": "server_tool_use",
                    "id": "srvtoolu_1",
                    "name": "web_search",
                    "input": {"query": "weather"},
                },
            ),
            OpaquePart(
                "anthropic",
                {
                    "type": "web_search_tool_result",
                    "tool_use_id": "srvtoolu_1",
                    "content": [{"type": "web_search_result"}],
                },
            ),
            ": sunny",
            OpaquePart("anthropic", {"citations": [{"cited_text": "Sunny", "url": "https://w.example"}]}, "text"),
            Finish("stop"),
            Usage(0, 510),
        ],
    ),
    # Anthropic documentation, "Prompt caching", tracking cache performance; SDK types/usage.py, output_tokens_details
    "cache usage": (
        [
            start(input_tokens=50, cache_read_input_tokens=100_000, cache_creation_input_tokens=248, output_tokens=1),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {
                    "output_tokens": 503,
                    "cache_read_input_tokens": None,
                    "output_tokens_details": {"thinking_tokens": 400},
                },
            },
            {"type": "message_stop"},
        ],
        [START, Finish("stop"), Usage(100_298, 503, 100_000, 248, 400)],
    ),
    # SDK types/usage.py and cache_creation.py: only the start has the part that is kept for an hour
    "usage of a cache for an hour": (
        [
            start(
                input_tokens=50,
                cache_creation_input_tokens=548,
                cache_creation={"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 400},
                output_tokens=1,
            ),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 503, "cache_creation_input_tokens": 548},
            },
            {"type": "message_stop"},
        ],
        [START, Finish("stop"), Usage(598, 503, 0, 548, 0, 400)],
    ),
    # Documentation, "Web search tool", usage and pricing
    "usage of web searches": (
        [
            start(input_tokens=50, output_tokens=1, server_tool_use={"web_search_requests": 0}),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 503, "server_tool_use": {"web_search_requests": 3}},
            },
            {"type": "message_stop"},
        ],
        [START, Finish("stop"), Usage(50, 503, other_counts={"web_searches": 3})],
    ),
    # SDK types/refusal_stop_details.py; documentation, "Streaming refusals"
    "refusal": (
        [
            start(),
            block(0, type="text", text=""),
            delta(0, type="text_delta", text="Well"),
            *end("refusal", None, {"type": "refusal", "category": "cyber", "explanation": "Not allowed."}),
        ],
        [START, "Well", Refusal("Not allowed."), Finish("content_filter", raw="refusal")],
    ),
    # Anthropic documentation, "Streaming messages": "new event types may be added"
    "unknown things": (
        [
            {"type": "weather_report", "index": "none", "delta": "rain"},
            start(),
            block(0, type="hologram", text={"not": "text"}),
            delta(0, type="hologram_delta", text=["not text"]),
            stop(0),
            delta(7, type="signature_delta", signature="of no block"),
            block(1, type="text", text="", shiny=True),
            delta(1, type="text_delta", text="ok", shine=[1, 2]),
            *end("end_turn"),
            delta(1, type="text_delta", text="after the end"),
        ],
        [START, OpaquePart("anthropic", {"type": "hologram", "text": ["not text"]}), "ok", Finish("stop")],
    ),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_documented_sequence_is_read(name: str) -> None:
    sequence, items = SEQUENCES[name]
    assert join_pieces(read(events(*sequence))) == items


@pytest.mark.parametrize("name", SEQUENCES)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_a_documented_sequence_is_read_in_chunks_of_any_size(name: str, sizes: list[int]) -> None:
    sequence, items = SEQUENCES[name]
    assert join_pieces(read(events(*sequence), sizes)) == items


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_stream_that_ends_at_any_byte_is_truncated_or_complete(name: str) -> None:
    sequence, items = SEQUENCES[name]
    body = events(*sequence)
    position = body.index(b'"stop_reason": "')
    for size in range(len(body)):
        reader = DIALECT.reader(STREAM)
        read_items = reader.feed(body[:size]) + reader.flush()
        if any(isinstance(item, Finish) for item in read_items):
            assert size > position
            reader.close()
            assert join_pieces(read_items) == items
        else:
            with pytest.raises(TruncatedError):
                reader.close()


@pytest.mark.parametrize(
    ("reason", "sequence", "finish"),
    [
        ("end_turn", None, Finish("stop")),
        ("max_tokens", None, Finish("length")),
        ("tool_use", None, Finish("tool_calls")),
        ("stop_sequence", "\n\nHuman:", Finish("stop", "\n\nHuman:", "stop_sequence")),
        ("pause_turn", None, Finish("pause_turn", raw="pause_turn")),
        ("refusal", None, Finish("content_filter", raw="refusal")),
        ("model_context_window_exceeded", None, Finish("length", raw="model_context_window_exceeded")),
    ],
)
def test_every_stop_reason_round_trips(reason: str, sequence: str | None, finish: Finish) -> None:
    call = [block(0, type="tool_use", id="a", name="f"), stop(0)] if reason == "tool_use" else []
    items = read(events(start(), *call, *end(reason, sequence)))
    assert [items[0], items[-1]] == [START, finish]
    sent = documents(write(items))[-2]["delta"]
    assert (sent["stop_reason"], sent["stop_sequence"]) == (reason, sequence)


def test_an_unknown_stop_reason_after_a_text_is_kept() -> None:
    body = events(start(), block(0, type="text", text="Hi"), stop(0), *end("a_new_one"))
    assert read(body) == [START, "Hi", Finish("a_new_one", raw="a_new_one")]


@pytest.mark.parametrize(
    ("error", "cls", "status"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, ServerError, 529),
        ({"type": "rate_limit_error", "message": "Slow down"}, RateLimitError, 429),
        ({"type": "api_error", "message": "Internal server error"}, ServerError, 500),
        ({"type": "authentication_error", "message": "invalid x-api-key"}, AuthenticationError, 401),
        ({"type": "invalid_request_error", "message": "no"}, RequestError, 400),
        ({"type": "a_new_error", "message": "new"}, ServerError, None),
    ],
)
def test_an_error_event_is_raised_with_the_http_status_of_its_type(
    error: dict[str, str], cls: type[StatusError], status: int | None
) -> None:
    # Anthropic documentation, "Streaming messages", error events
    body = events(start(), {"type": "error", "error": error})
    with pytest.raises(cls, match=error["message"]) as raised:
        read(body)
    assert (raised.value.status, raised.value.code) == (status, error["type"])


@pytest.mark.parametrize("body", [b"data: {oops\n\n", b'data: {"choices": []}\n\n', b"<html><title>Hi</title></html>"])
def test_a_body_of_another_format_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not in the format of the anthropic API"):
        read(body)


def test_a_message_start_with_invalid_content_is_a_protocol_error() -> None:
    message = start()
    message["message"]["content"] = [{"type": "text", "text": {"a": 7}}]
    with pytest.raises(ProtocolError, match="not in the format of the anthropic API"):
        read(events(message))


def test_a_call_with_its_complete_input_in_the_block_start_is_read() -> None:
    body = events(start(), block(0, type="tool_use", id="t", name="f", input={"x": 1}), stop(0), *end("tool_use"))
    assert join_pieces(read(body))[1] == ToolCall(0, "t", "f", '{"x":1}')


def test_a_stream_without_its_last_blank_line_is_complete() -> None:
    assert read(events(start(), *end("end_turn"))[:-2]) == [START, Finish("stop")]


# Documents.

MESSAGE: dict[str, Any] = {
    # Anthropic documentation, "Create a Message", response; "Extended thinking", example response
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-7",
    "content": [
        {"type": "thinking", "thinking": "Let me see", "signature": "WaUjzkypQ2mUEVM36O2T"},
        {"type": "text", "text": "Hi!"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 6, "cache_read_input_tokens": 4},
}


def test_a_document_is_read_as_the_items_of_its_stream() -> None:
    assert join_pieces(read(json.dumps(MESSAGE).encode(), head=DOCUMENT)) == [
        START,
        Reasoning("Let me see", signature="WaUjzkypQ2mUEVM36O2T", source="anthropic"),
        "Hi!",
        OpaquePart("anthropic", {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        ToolCall(0, "toolu_1", "f", '{"x":1}'),
        Finish("tool_calls"),
        Usage(14, 6, 4),
    ]


def test_a_document_that_ends_at_any_byte_is_truncated() -> None:
    body = json.dumps(MESSAGE).encode()
    for size in range(len(body)):
        with pytest.raises(TruncatedError):
            read(body[:size], head=DOCUMENT)


@pytest.mark.parametrize(
    ("body", "cls"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ServerError),
        (MESSAGE | {"stop_reason": None}, TruncatedError),
        ({"id": "chatcmpl-1", "choices": []}, ProtocolError),
        (MESSAGE | {"content": "text"}, ProtocolError),
    ],
)
def test_a_document_that_is_not_a_complete_message_is_an_error(body: dict[str, Any], cls: type[AcytooError]) -> None:
    with pytest.raises(cls):
        read(json.dumps(body).encode(), head=DOCUMENT)


def test_an_error_has_the_message_and_type_of_its_body() -> None:
    # Anthropic documentation, "Errors", error shapes
    body = {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-9"}, "request_id": "req_1"}
    error = DIALECT.read_error(404, json.dumps(body).encode())
    assert (str(error), error.code) == ("404: model: claude-9", "not_found_error")


@given(body=st.binary(max_size=300))
def test_random_bytes_raise_only_acytoo_errors(body: bytes) -> None:
    for head in (STREAM, DOCUMENT):
        with pytest.raises(AcytooError):
            read(body, head=head)


EVENT_TYPES = ["message_start", "content_block_start", "content_block_delta", "message_delta", "error"]
EVENT = st.fixed_dictionaries(
    {"type": st.sampled_from(EVENT_TYPES)},
    optional={
        "index": JSON,
        "delta": JSON | st.fixed_dictionaries({}, optional={"type": texts, "stop_reason": JSON, "text": JSON}),
        "content_block": JSON | st.fixed_dictionaries({"type": st.just("tool_use")}, optional={"input": JSON}),
        "message": JSON | st.fixed_dictionaries({"usage": st.dictionaries(texts, JSON), "content": JSON}),
        "usage": JSON | st.fixed_dictionaries({"output_tokens": JSON, "output_tokens_details": JSON}),
        "error": JSON,
    },
)


@given(document=EVENT)
def test_known_events_with_wrong_fields_raise_only_acytoo_errors(document: dict[str, Any]) -> None:
    for body, head in ((events(document), STREAM), (json.dumps(document).encode(), DOCUMENT)):
        try:
            read(body, head=head)
        except AcytooError:
            pass


def test_a_call_of_a_type_that_only_this_api_has_explains_the_stop_reason() -> None:
    own = block(0, type="new_tool_use", id="x", name="n", input={})
    items = read(events(start(), own, stop(0), *end("tool_use")))
    assert items[-2:] != []
    assert [item for item in items if isinstance(item, OpaquePart)]
    with pytest.raises(ProtocolError, match="tool_use"):
        read(events(start(), block(0, type="text", text="Hi"), stop(0), *end("tool_use")))


@pytest.mark.parametrize("index", [0, 1, 3], ids=["the thought", "the call", "no block"])
def test_a_thought_in_a_block_that_has_ended_is_another_thought(index: int) -> None:
    # musistudio/claude-code-router issue 1725.
    calls = [
        [block(i, type="tool_use", id=str(i), name="f"), delta(i, type="input_json_delta", partial_json="{}"), stop(i)]
        for i in (1, 2)
    ]
    thought = [block(0, type="thinking", thinking=""), delta(0, type="thinking_delta", thinking="Hm"), stop(0)]
    again = delta(index, type="thinking_delta", thinking="Again")
    reply = collect(read(events(start(), *thought, *calls[0], again, *calls[1], *end("tool_use"))))
    assert [block["text"] for block in reply.reasoning] == ["Hm", "Again"]
    assert {block["source"] for block in reply.reasoning} == {"anthropic"}
    assert [part["type"] for part in reply.turn_parts] == ["reasoning", "tool_call"] * 2


def test_the_deltas_of_a_block_that_only_this_api_has_are_joined_or_replaced() -> None:
    body = events(
        start(),
        block(0, type="new_thing", text="", number=1, rest=None),
        delta(0, type="new_delta", text="a", number=2),
        delta(0, type="new_delta", text="b", rest="c"),
        stop(0),
        *end("end_turn"),
    )
    (part,) = [item for item in read(body) if isinstance(item, OpaquePart)]
    assert part.fields == {"type": "new_thing", "text": "ab", "number": 2, "rest": "c"}


def test_what_is_encrypted_in_a_compaction_is_replaced_by_each_delta() -> None:
    # anthropics/anthropic-sdk-python#1830: the summary continues, and the encrypted form is that of all of it so far.
    deltas = [
        {"type": "compaction_delta", "content": text, "encrypted_content": data} for text, data in ("ax", "by", "cz")
    ]
    body = events(
        start(),
        block(0, type="compaction", content=None),
        *[delta(0, **fields) for fields in deltas],
        stop(0),
        *end("end_turn"),
    )
    parts = [item.fields for item in read(body) if isinstance(item, OpaquePart)]
    assert parts == [{"type": "compaction", "content": "abc", "encrypted_content": "z"}]
