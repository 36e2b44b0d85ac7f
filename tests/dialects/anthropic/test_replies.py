"""Anthropic's replies, read and written: documented event sequences, faults, properties."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.dialects.anthropic import Anthropic
from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    StatusError,
    TimedOutError,
    TruncatedError,
    UnsupportedError,
)
from acytoo.http import ResponseHead
from acytoo.types import (
    Event,
    Finish,
    Item,
    Logprobs,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Start,
    ToolCall,
    Usage,
    collect,
)

DIALECT = Anthropic()
STREAM = ResponseHead(200, {"content-type": "text/event-stream; charset=utf-8"})
WHOLE = ResponseHead(200, {"content-type": "application/json"})
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def events(*documents: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (d["type"].encode(), json.dumps(d).encode()) for d in documents)


def start(**usage: int) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-opus-4-7"}
    return {"type": "message_start", "message": message | {"stop_reason": None, "usage": usage}}


def block(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": content}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ending(reason: str, sequence: str | None = None, details: Any = None, **usage: int) -> list[Any]:
    change = {"stop_reason": reason, "stop_sequence": sequence, "stop_details": details}
    return [{"type": "message_delta", "delta": change, "usage": usage}, {"type": "message_stop"}]


def read(body: bytes, sizes: list[int] | None = None, head: ResponseHead = STREAM) -> list[Item]:
    """Everything a body says, fed in pieces of the sizes given, over and over; all at once without."""
    reader = DIALECT.reader(head)
    items: list[Item] = []
    at = turn = 0
    while at < len(body):
        size = sizes[turn % len(sizes)] if sizes else len(body)
        items += reader.feed(body[at : at + size])
        at, turn = at + size, turn + 1
    items += reader.flush()
    reader.close()
    return items


def joined(items: list[Item]) -> list[Item]:
    """The items with neighbouring pieces of one text, block or call made one."""
    made: list[Item] = []
    for item in items:
        last = made[-1] if made else None
        if isinstance(item, str) and isinstance(last, str):
            made[-1] = last + item
        elif isinstance(item, Reasoning) and isinstance(last, Reasoning) and item.index == last.index:
            made[-1] = msgspec.structs.replace(
                last,
                text=last.text + item.text,
                signature=last.signature or item.signature,
                source=last.source or item.source,
            )
        elif isinstance(item, ToolCall) and isinstance(last, ToolCall) and item.index == last.index:
            made[-1] = msgspec.structs.replace(last, arguments=last.arguments + item.arguments)
        else:
            made.append(item)
    return made


def write(items: list[Item], request: Request | None = None) -> bytes:
    writer = DIALECT.writer(request or Request(HELLO, "claude"))
    return b"".join([writer.write([item]) for item in items]) + writer.end()


def documents(body: bytes) -> list[Any]:
    """The events of a body; the name on each must be its type."""
    found = []
    for record in body.decode().strip().split("\n\n"):
        name, data = record.split("\n")
        document = json.loads(data.removeprefix("data: "))
        assert name == f"event: {document['type']}"
        found.append(document)
    return found


# Reading: event sequences as documented, the public source of each named.

STARTED = Start("msg_1", "claude-opus-4-7")

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
            *ending("end_turn", output_tokens=15),
        ],
        [STARTED, "Hello!", Finish("stop"), Usage(25, 15)],
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
            *ending("tool_use", output_tokens=89),
        ],
        [
            STARTED,
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
            *ending("tool_use", output_tokens=3),
        ],
        [
            STARTED,
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
            *ending("end_turn", output_tokens=2),
        ],
        [
            STARTED,
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
            *ending("end_turn"),
        ],
        [
            STARTED,
            Reasoning("Hm", 0, signature="s1", source="anthropic"),
            Reasoning("", 1, data="EmwKAhgBEgy3va3pzix", source="anthropic"),
            "Based on",
            Finish("stop"),
        ],
    ),
    # Anthropic documentation, "Streaming messages", web search tool use: server blocks have no counterpart
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
            *ending("end_turn", output_tokens=510),
        ],
        [STARTED, "I'll check: sunny", Finish("stop"), Usage(0, 510)],
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
        [STARTED, Finish("stop"), Usage(100_298, 503, 100_000, 248, 400)],
    ),
    # SDK types/refusal_stop_details.py; documentation, "Streaming refusals"
    "refusal": (
        [
            start(),
            block(0, type="text", text=""),
            delta(0, type="text_delta", text="Well"),
            *ending("refusal", None, {"type": "refusal", "category": "cyber", "explanation": "Not allowed."}),
        ],
        [STARTED, "Well", Refusal("Not allowed."), Finish("content_filter", raw="refusal")],
    ),
    # Anthropic documentation, "Streaming messages": "new event types may be added"
    "unknown things": (
        [
            {"type": "weather_report", "index": "none", "delta": "rain"},
            start(),
            block(0, type="hologram", text={"not": "text"}),
            delta(0, type="hologram_delta", text=["not text"]),
            stop(0),
            delta(7, type="thinking_delta", thinking="of no block"),
            block(1, type="text", text="", shiny=True),
            delta(1, type="text_delta", text="ok", shine=[1, 2]),
            *ending("end_turn"),
            delta(1, type="text_delta", text="after the end"),
        ],
        [STARTED, "ok", Finish("stop")],
    ),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_documented_sequence_reads_as_its_items(name: str) -> None:
    sequence, items = SEQUENCES[name]
    assert joined(read(events(*sequence))) == items


@pytest.mark.parametrize("name", SEQUENCES)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_a_documented_sequence_reads_the_same_however_it_is_cut_up(name: str, sizes: list[int]) -> None:
    sequence, items = SEQUENCES[name]
    assert joined(read(events(*sequence), sizes)) == items


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_stream_cut_at_any_byte_is_truncated_or_complete(name: str) -> None:
    sequence, items = SEQUENCES[name]
    body = events(*sequence)
    told = body.index(b'"stop_reason": "')
    for at in range(len(body)):
        reader = DIALECT.reader(STREAM)
        got = reader.feed(body[:at]) + reader.flush()
        if any(isinstance(item, Finish) for item in got):
            assert at > told
            reader.close()
            assert joined(got) == items
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
        ("a_new_one", None, Finish("a_new_one", raw="a_new_one")),
    ],
)
def test_every_stop_reason_survives_the_way_there_and_back(reason: str, sequence: str | None, finish: Finish) -> None:
    items = read(events(start(), *ending(reason, sequence)))
    assert items == [STARTED, finish]
    told = documents(write(items))[-2]["delta"]
    assert (told["stop_reason"], told["stop_sequence"]) == (reason, sequence)


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
def test_an_error_in_the_stream_is_raised_with_the_status_it_would_have_had(
    error: dict[str, str], cls: type[StatusError], status: int | None
) -> None:
    # Anthropic documentation, "Streaming messages", error events
    body = events(start(), {"type": "error", "error": error})
    with pytest.raises(cls, match=error["message"]) as raised:
        read(body)
    assert (raised.value.status, raised.value.code) == (status, error["type"])


@pytest.mark.parametrize("body", [b"data: {oops\n\n", b'data: {"choices": []}\n\n', b"<html><title>Hi</title></html>"])
def test_what_is_not_this_api_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not in the format of the anthropic API"):
        read(body)


def test_a_message_start_with_invalid_content_is_a_protocol_error() -> None:
    message = start()
    message["message"]["content"] = [{"type": "text", "text": 7}]
    with pytest.raises(ProtocolError, match="not in the format of the anthropic API"):
        read(events(message))


def test_a_call_whose_whole_input_comes_with_its_start_is_read() -> None:
    body = events(start(), block(0, type="tool_use", id="t", name="f", input={"x": 1}), stop(0), *ending("tool_use"))
    assert joined(read(body))[1] == ToolCall(0, "t", "f", '{"x":1}')


def test_a_stream_without_its_last_blank_line_is_whole() -> None:
    assert read(events(start(), *ending("end_turn"))[:-2]) == [STARTED, Finish("stop")]


# Reading: whole messages.

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


def test_a_whole_message_reads_as_the_items_of_its_stream() -> None:
    assert joined(read(json.dumps(MESSAGE).encode(), head=WHOLE)) == [
        STARTED,
        Reasoning("Let me see", signature="WaUjzkypQ2mUEVM36O2T", source="anthropic"),
        "Hi!",
        ToolCall(0, "toolu_1", "f", '{"x":1}'),
        Finish("tool_calls"),
        Usage(14, 6, 4),
    ]


def test_a_whole_message_cut_at_any_byte_is_truncated() -> None:
    body = json.dumps(MESSAGE).encode()
    for at in range(len(body)):
        with pytest.raises(TruncatedError):
            read(body[:at], head=WHOLE)


@pytest.mark.parametrize(
    ("body", "cls"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ServerError),
        (MESSAGE | {"stop_reason": None}, TruncatedError),
        ({"id": "chatcmpl-1", "choices": []}, ProtocolError),
        (MESSAGE | {"content": "text"}, ProtocolError),
    ],
)
def test_a_document_that_is_no_whole_message_is_an_error(body: dict[str, Any], cls: type[AcytooError]) -> None:
    with pytest.raises(cls):
        read(json.dumps(body).encode(), head=WHOLE)


def test_an_error_body_gives_the_servers_words() -> None:
    # Anthropic documentation, "Errors", error shapes
    body = {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-9"}, "request_id": "req_1"}
    error = DIALECT.read_error(404, json.dumps(body).encode())
    assert (str(error), error.code) == ("404: model: claude-9", "not_found_error")


# Writing.


def test_a_written_stream_has_the_documented_order_and_indexes() -> None:
    body = write(
        [
            Start("msg_1", "claude"),
            Reasoning("Hm", 0),
            Reasoning("", 0, signature="s", source="anthropic"),
            Reasoning("", 1, data="r", source="anthropic"),
            "He",
            "llo",
            ToolCall(0, "a", "f"),
            ToolCall(0, arguments='{"x":1}'),
            ToolCall(1, "b", "g"),
            ToolCall(1, arguments="{}"),
            Finish("tool_calls"),
            Usage(10, 5, 3, 2, 1),
        ]
    )
    told = documents(body)
    assert [(d["type"], d.get("index")) for d in told] == [
        ("message_start", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("content_block_start", 3),
        ("content_block_delta", 3),
        ("content_block_stop", 3),
        ("content_block_start", 4),
        ("content_block_delta", 4),
        ("content_block_stop", 4),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert told[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert told[-2]["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": 3,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 1},
    }


def test_mixed_fragments_of_parallel_calls_keep_their_own_blocks() -> None:
    items: list[Item] = [
        ToolCall(0, "a", "f"),
        ToolCall(1, "b", "g"),
        ToolCall(1, arguments='{"y":'),
        ToolCall(0, arguments='{"x":1}'),
        "meanwhile",
        ToolCall(1, arguments="2}"),
    ]
    calls = collect(read(write(items))).tool_calls
    assert [call["function"]["arguments"] for call in calls] == ['{"x":1}', '{"y":2}']


def test_a_refusal_is_text_and_its_stop_reason() -> None:
    body = write([Start("m", "claude"), Refusal("I "), Refusal("won't"), Finish("stop")])
    assert joined(read(body))[1:3] == ["I won't", Finish("content_filter", raw="refusal")]


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([], "end_turn"),
        (["hi"], "end_turn"),
        ([ToolCall(0, "a", "f", "{}")], "tool_use"),
        ([ToolCall(0, "a", "f", "{}"), Finish("stop")], "tool_use"),
        ([ToolCall(0, "a", "f", "{}"), Finish("length")], "max_tokens"),
        ([ToolCall(0, "a", "f", "{}"), Finish("stop", stop_sequence="x")], "stop_sequence"),
    ],
)
def test_a_reply_ends_for_its_calls_whatever_word_another_api_has_for_that(items: list[Item], reason: str) -> None:
    assert documents(write(items))[-2]["delta"]["stop_reason"] == reason
    whole = json.loads(DIALECT.write_reply(collect(items), Request(HELLO)))
    assert whole["stop_reason"] == reason


def test_opaque_parts_of_other_apis_are_not_passed_off_as_anthropics() -> None:
    foreign: list[Item] = [
        Reasoning("Hm", 0, signature="gem", source="gemini"),
        Reasoning("", 1, data="enc", source="openai-responses"),
    ]
    assert collect(read(write(foreign))).reasoning == [{"text": "Hm"}]
    whole = json.loads(DIALECT.write_reply(collect(foreign), Request(HELLO)))
    assert whole["content"] == [{"type": "thinking", "thinking": "Hm", "signature": ""}]


def test_a_call_signed_by_gemini_keeps_its_signature() -> None:
    call = ToolCall(0, "a", "f", "{}", "sig", "gemini")
    assert joined(read(write([call])))[1] == call
    assert joined(read(DIALECT.write_reply(collect([call, Finish()]), Request(HELLO)), head=WHOLE))[1] == call


def test_a_fault_in_mid_stream_is_an_error_event_and_no_end() -> None:
    writer = DIALECT.writer(Request(HELLO))
    body = writer.write([Start("m", "c"), "Hel"]) + writer.fail(RateLimitError("slow down", status=429))
    assert documents(body)[-1] == {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    with pytest.raises(RateLimitError, match="slow down"):
        read(body)


def test_a_ping_says_nothing_wherever_it_comes() -> None:
    writer = DIALECT.writer(Request(HELLO))
    body = writer.ping + writer.write([Start("m", "c")]) + writer.ping + writer.write(["Hi"]) + writer.end()
    assert documents(writer.ping) == [{"type": "ping"}]
    assert read(body) == [Start("m", "c"), "Hi", Finish("stop"), Usage()]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (RequestError("bad", status=400), 400, "invalid_request_error"),
        (RequestError("bad", status=422), 422, "invalid_request_error"),
        (AuthenticationError("who", status=401), 401, "authentication_error"),
        (AuthenticationError("no", status=403), 403, "permission_error"),
        (NotFoundError("gone", status=404, code="model_not_found"), 404, "not_found_error"),
        (RequestError("big", status=413), 413, "request_too_large"),
        (RateLimitError("slow", status=429, retry_after=2), 429, "rate_limit_error"),
        (ServerError("busy", status=529), 529, "overloaded_error"),
        (ServerError("busy", status=503), 503, "overloaded_error"),
        (ServerError("oops", status=500), 500, "api_error"),
        (TruncatedError("cut"), 502, "api_error"),
        (TimedOutError("idle", 1), 504, "timeout_error"),
        (UnsupportedError("seed", "anthropic"), 400, "invalid_request_error"),
    ],
)
def test_an_error_answer_has_the_status_and_type_its_clients_know(error: AcytooError, status: int, kind: str) -> None:
    answer = DIALECT.write_error(error)
    body = json.loads(answer.body)
    assert (answer.status, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert body["error"]["message"] == error.message
    assert answer.headers.get("retry-after") == ("2" if status == 429 else None)


@pytest.mark.parametrize("arguments", ['{"x": 1, "y', '{"x"', "x=1", "[1]", '{"x":1}}', "null"])
def test_a_streamed_call_whose_arguments_are_no_json_object_is_a_fault_and_no_end(arguments: str) -> None:
    body = write([Start("m", "c"), ToolCall(0, "a", "f"), ToolCall(0, arguments=arguments), Finish("tool_calls")])
    told = documents(body)
    assert told[-1]["error"]["message"] == "the model's arguments for 'f' are not a JSON object"
    assert not {"content_block_stop", "message_delta", "message_stop"} & {document["type"] for document in told}
    with pytest.raises(ServerError, match="arguments for 'f'"):
        read(body)


def test_a_streamed_call_that_the_token_limit_cut_ends_with_that_reason() -> None:
    told = documents(write([ToolCall(0, "a", "f", '{"x": 1, "y'), Finish("length")]))
    assert [document["type"] for document in told][-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert told[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_whole_reply_whose_arguments_the_token_limit_cut_has_none() -> None:
    items: list[Item] = [ToolCall(0, "a", "f", '{"x":'), Finish("length")]
    assert json.loads(DIALECT.write_reply(collect(items), Request(HELLO)))["content"][0]["input"] == {}


def test_a_whole_reply_with_arguments_that_are_no_json_is_a_fault() -> None:
    items: list[Item] = [ToolCall(0, "a", "f", "x=1"), Finish("tool_calls")]
    with pytest.raises(ProtocolError, match="arguments for 'f'"):
        DIALECT.write_reply(collect(items), Request(HELLO))


def test_a_token_count_is_answered_as_documented() -> None:
    # Anthropic documentation, "Count tokens in a Message"
    assert DIALECT.write_count(2095) == b'{"input_tokens":2095}'


# Properties of the way there and back.

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
counts = st.integers(0, 10**6)


@st.composite
def replies(draw: st.DrawFn) -> list[Item]:
    """Items this API can say, in any order of blocks, in the form `joined` gives them."""
    items: list[Item] = [Start(draw(words), draw(words))]
    thoughts = calls = 0
    for kind in draw(st.lists(st.sampled_from(["text", "thought", "secret", "call"]), max_size=6)):
        if kind == "text" and not isinstance(items[-1], str):
            items.append(draw(words))
        elif kind == "thought":
            signature = draw(st.sampled_from(["", "EqQB=="]))
            source = "anthropic" if signature else ""
            items.append(Reasoning(draw(words), thoughts, signature=signature, source=source))
        elif kind == "secret":
            items.append(Reasoning("", thoughts, data=draw(words), source="anthropic"))
        elif kind == "call":
            arguments = json.dumps(
                draw(st.dictionaries(words, words | counts, max_size=3)), ensure_ascii=draw(st.booleans())
            )
            items.append(ToolCall(calls, f"toolu_{calls}", draw(words), arguments))
            calls += 1
        thoughts += kind in ("thought", "secret")
    raw = draw(st.sampled_from(["", "model_context_window_exceeded"]))
    reasons = st.sampled_from(["tool_calls" if calls else "stop", "length", "pause_turn"])
    finish = Finish("length", raw=raw) if raw else Finish(draw(reasons))
    if finish.reason == "pause_turn":
        finish = Finish("pause_turn", raw="pause_turn")
    cached, written, rest, output = draw(st.tuples(counts, counts, counts, counts))
    return [*items, finish, Usage(cached + written + rest, output, cached, written, draw(st.integers(0, output)))]


def pieces(items: list[Item], size: int) -> list[Item]:
    """The items as a model streams them: texts and arguments in pieces."""
    made: list[Item] = []
    for item in items:
        if isinstance(item, str):
            made += [item[at : at + size] for at in range(0, len(item), size)]
        elif isinstance(item, ToolCall):
            made.append(ToolCall(item.index, item.id, item.name))
            made += [
                ToolCall(item.index, arguments=item.arguments[at : at + size])
                for at in range(0, len(item.arguments), size)
            ]
        else:
            made.append(item)
    return made


@given(items=replies(), size=st.integers(1, 9), sizes=st.lists(st.integers(1, 80), min_size=1, max_size=5))
def test_a_stream_reads_as_what_was_written_however_it_is_cut_up(
    items: list[Item], size: int, sizes: list[int]
) -> None:
    assert joined(read(write(pieces(items, size)), sizes)) == items


@given(items=replies())
def test_a_whole_reply_reads_as_what_was_written(items: list[Item]) -> None:
    reply = collect(items)
    again = collect(read(DIALECT.write_reply(reply, Request(HELLO)), head=WHOLE))
    for call in (*reply.tool_calls, *again.tool_calls):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    assert again == reply


@given(items=replies(), part=st.floats(0, 1, exclude_max=True))
def test_a_written_stream_that_is_cut_raises_or_is_complete(items: list[Item], part: float) -> None:
    body = write(items)
    try:
        got = read(body[: int(len(body) * part)])
    except TruncatedError:
        return
    assert joined(got) == items


@given(kinds=st.lists(st.sampled_from([Refusal("no"), Logprobs([{"token": "a"}]), "t", Finish(), Usage()]), max_size=8))
def test_events_in_any_order_make_a_stream_of_balanced_blocks(kinds: list[Item]) -> None:
    open_: set[int] = set()
    for document in documents(write(kinds)):
        if document["type"] == "content_block_start":
            assert document["index"] not in open_
            open_.add(document["index"])
        elif document["type"] == "content_block_delta":
            assert document["index"] in open_
        elif document["type"] == "content_block_stop":
            open_.remove(document["index"])
    assert not open_


@given(body=st.binary(max_size=300))
def test_no_bytes_escape_as_anything_but_our_own_errors(body: bytes) -> None:
    for head in (STREAM, WHOLE):
        with pytest.raises(AcytooError):
            read(body, head=head)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
EVENT_TYPES = ["message_start", "content_block_start", "content_block_delta", "message_delta", "error"]
EVENT = st.fixed_dictionaries(
    {"type": st.sampled_from(EVENT_TYPES)},
    optional={
        "index": JSON,
        "delta": JSON | st.fixed_dictionaries({}, optional={"type": words, "stop_reason": JSON, "text": JSON}),
        "content_block": JSON | st.fixed_dictionaries({"type": st.just("tool_use")}, optional={"input": JSON}),
        "message": JSON | st.fixed_dictionaries({"usage": st.dictionaries(words, JSON), "content": JSON}),
        "usage": JSON | st.fixed_dictionaries({"output_tokens": JSON, "output_tokens_details": JSON}),
        "error": JSON,
    },
)


@given(document=EVENT)
def test_known_events_with_wrong_fields_raise_only_our_own_errors(document: dict[str, Any]) -> None:
    for body, head in ((events(document), STREAM), (json.dumps(document).encode(), WHOLE)):
        try:
            read(body, head=head)
        except AcytooError:
            pass


def test_a_reply_has_items_of_every_kind_it_can_be_built_from() -> None:
    reply = Reply(text="x", refusal="no", finish=Finish())
    assert isinstance(reply.items()[-1], Event)
    assert json.loads(DIALECT.write_reply(reply, Request(HELLO)))["stop_reason"] == "refusal"
