"""Anthropic's writer: items to replies and errors, and back through the reader."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    TimedOutError,
    TruncatedError,
    UnsupportedError,
)
from acytoo.types import (
    Event,
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
from tests.dialects.anthropic.helpers import (
    DIALECT,
    DOCUMENT,
    HELLO,
    counts,
    documents,
    join_pieces,
    read,
    texts,
    write,
)


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
    sent = documents(body)
    assert [(d["type"], d.get("index")) for d in sent] == [
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
    assert sent[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert sent[-2]["usage"] == {
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


def test_a_streamed_refusal_is_text_with_the_stop_reason_refusal() -> None:
    body = write([Start("m", "claude"), Refusal("I "), Refusal("won't"), Finish("stop")])
    assert join_pieces(read(body))[1:3] == ["I won't", Finish("content_filter", raw="refusal")]


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
def test_a_reply_with_calls_has_the_stop_reason_tool_use_unless_it_was_cut(items: list[Item], reason: str) -> None:
    assert documents(write(items))[-2]["delta"]["stop_reason"] == reason
    document = json.loads(DIALECT.write_reply(collect(items), Request(HELLO)))
    assert document["stop_reason"] == reason


def test_opaque_fields_of_other_apis_are_not_sent_as_anthropics() -> None:
    foreign: list[Item] = [
        Reasoning("Hm", 0, signature="gem", source="gemini"),
        Reasoning("", 1, data="enc", source="openai-responses"),
    ]
    assert collect(read(write(foreign))).reasoning == [{"text": "Hm", "source": "anthropic"}]
    document = json.loads(DIALECT.write_reply(collect(foreign), Request(HELLO)))
    assert document["content"] == [{"type": "thinking", "thinking": "Hm", "signature": ""}]


def test_a_call_signed_by_gemini_keeps_its_signature() -> None:
    call = ToolCall(0, "a", "f", "{}", "sig", "gemini")
    assert join_pieces(read(write([call])))[1] == call
    assert join_pieces(read(DIALECT.write_reply(collect([call, Finish()]), Request(HELLO)), head=DOCUMENT))[1] == call


def test_an_error_in_mid_stream_is_an_error_event_without_message_stop() -> None:
    writer = DIALECT.writer(Request(HELLO))
    body = writer.write([Start("m", "c"), "Hel"]) + writer.fail(RateLimitError("slow down", status=429))
    assert documents(body)[-1] == {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    with pytest.raises(RateLimitError, match="slow down"):
        read(body)


def test_a_ping_is_skipped_at_any_position() -> None:
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
def test_an_error_response_has_the_status_and_type_of_the_api(error: AcytooError, status: int, kind: str) -> None:
    response = DIALECT.write_error(error)
    body = json.loads(response.body)
    assert (response.status, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert body["error"]["message"] == error.message
    assert response.headers.get("retry-after") == ("2" if status == 429 else None)


@pytest.mark.parametrize("arguments", ['{"x": 1, "y', '{"x"', "x=1", "[1]", '{"x":1}}', "null"])
def test_a_streamed_call_whose_arguments_are_not_a_json_object_is_an_error_event(arguments: str) -> None:
    body = write([Start("m", "c"), ToolCall(0, "a", "f"), ToolCall(0, arguments=arguments), Finish("tool_calls")])
    sent = documents(body)
    assert sent[-1]["error"]["message"] == "the model's arguments for 'f' are not a JSON object"
    assert not {"content_block_stop", "message_delta", "message_stop"} & {document["type"] for document in sent}
    with pytest.raises(ServerError, match="arguments for 'f'"):
        read(body)


def test_a_streamed_call_cut_by_the_token_limit_ends_with_max_tokens() -> None:
    sent = documents(write([ToolCall(0, "a", "f", '{"x": 1, "y'), Finish("length")]))
    assert [document["type"] for document in sent][-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert sent[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_document_has_empty_input_for_a_call_cut_by_the_token_limit() -> None:
    items: list[Item] = [ToolCall(0, "a", "f", '{"x":'), Finish("length")]
    assert json.loads(DIALECT.write_reply(collect(items), Request(HELLO)))["content"][0]["input"] == {}


def test_a_document_with_arguments_that_are_not_json_is_a_protocol_error() -> None:
    items: list[Item] = [ToolCall(0, "a", "f", "x=1"), Finish("tool_calls")]
    with pytest.raises(ProtocolError, match="arguments for 'f'"):
        DIALECT.write_reply(collect(items), Request(HELLO))


def test_a_token_count_is_written_as_documented() -> None:
    # Anthropic documentation, "Count tokens in a Message"
    assert DIALECT.write_count(2095) == b'{"input_tokens":2095}'


def test_a_reply_with_a_refusal_has_the_stop_reason_refusal() -> None:
    reply = Reply(text="x", refusal="no", finish=Finish())
    assert isinstance(reply.items()[-1], Event)
    assert json.loads(DIALECT.write_reply(reply, Request(HELLO)))["stop_reason"] == "refusal"


@st.composite
def replies(draw: st.DrawFn) -> list[Item]:
    """Items that this API can express, in any order of blocks, as `join_pieces` returns them."""
    items: list[Item] = [Start(draw(texts), draw(texts))]
    thoughts = calls = 0
    for kind in draw(st.lists(st.sampled_from(["text", "thought", "redacted", "call", "opaque"]), max_size=6)):
        if kind == "text" and not isinstance(items[-1], str):
            items.append(draw(texts))
        elif kind == "thought":
            signature = draw(st.sampled_from(["", "EqQB=="]))
            items.append(Reasoning(draw(texts), thoughts, signature=signature, source="anthropic"))
        elif kind == "opaque":
            fields = {"type": "server_tool_use", "id": "srvtoolu_1", "name": draw(texts), "input": {"x": draw(texts)}}
            items.append(OpaquePart("anthropic", fields))
        elif kind == "redacted":
            items.append(Reasoning("", thoughts, data=draw(texts), source="anthropic"))
        elif kind == "call":
            arguments = json.dumps(
                draw(st.dictionaries(texts, texts | counts, max_size=3)), ensure_ascii=draw(st.booleans())
            )
            items.append(ToolCall(calls, f"toolu_{calls}", draw(texts), arguments))
            calls += 1
        thoughts += kind in ("thought", "redacted")
    raw = draw(st.sampled_from(["", "model_context_window_exceeded"]))
    reasons = st.sampled_from(["tool_calls" if calls else "stop", "length", "pause_turn"])
    finish = Finish("length", raw=raw) if raw else Finish(draw(reasons))
    if finish.reason == "pause_turn":
        finish = Finish("pause_turn", raw="pause_turn")
    cached, written, rest, output = draw(st.tuples(counts, counts, counts, counts))
    return [*items, finish, Usage(cached + written + rest, output, cached, written, draw(st.integers(0, output)))]


def split_items(items: list[Item], size: int) -> list[Item]:
    """Return the items as a model streams them: texts and arguments in pieces."""
    pieces: list[Item] = []
    for item in items:
        if isinstance(item, str):
            pieces += [item[start : start + size] for start in range(0, len(item), size)]
        elif isinstance(item, ToolCall):
            pieces.append(ToolCall(item.index, item.id, item.name))
            pieces += [
                ToolCall(item.index, arguments=item.arguments[start : start + size])
                for start in range(0, len(item.arguments), size)
            ]
        else:
            pieces.append(item)
    return pieces


@given(items=replies(), size=st.integers(1, 9), sizes=st.lists(st.integers(1, 80), min_size=1, max_size=5))
def test_a_written_stream_is_read_back_in_chunks_of_any_size(items: list[Item], size: int, sizes: list[int]) -> None:
    assert join_pieces(read(write(split_items(items, size)), sizes)) == items


@given(items=replies())
def test_a_written_document_is_read_back(items: list[Item]) -> None:
    reply = collect(items)
    read_again = collect(read(DIALECT.write_reply(reply, Request(HELLO)), head=DOCUMENT))
    for call in (*reply.tool_calls, *read_again.tool_calls):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    assert read_again == reply


@given(items=replies(), part=st.floats(0, 1, exclude_max=True))
def test_a_written_stream_that_ends_early_is_truncated_or_complete(items: list[Item], part: float) -> None:
    body = write(items)
    try:
        items_read = read(body[: int(len(body) * part)])
    except TruncatedError:
        return
    assert join_pieces(items_read) == items


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


def test_a_refused_thread_has_the_details_after_which_the_official_sdks_continue_without_one() -> None:
    error = DIALECT.conversation_error("thread")
    assert error is not None
    response = DIALECT.write_error(error)
    document = json.loads(response.body)
    assert (response.status, document["error"]["type"]) == (400, "invalid_request_error")
    assert document["error"]["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
