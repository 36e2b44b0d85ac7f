"""OpenAI's Responses as a codec: documented events to items, items to events, requests both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acytoo.dialects.base import Reader, Unsupported
from acytoo.dialects.openai import OpenAI
from acytoo.dialects.openai_responses import OpenAIResponses
from acytoo.dialects.translate import translate
from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    StatusError,
    TimedOutError,
    TruncatedError,
    UnsupportedError,
    UsageError,
    status_error,
)
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.messages import check_options
from acytoo.secret import Secret
from acytoo.types import (
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

DIALECT = OpenAIResponses()
NAME = "openai-responses"
STREAM = ResponseHead(200, {"content-type": "text/event-stream; charset=utf-8"})
WHOLE = ResponseHead(200, {"content-type": "application/json"})
ENDPOINT = Endpoint("https://api.example/v1", Secret("sk-1"))


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join([f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n".encode() for event in events])


def read_with(reader: Reader, data: bytes, size: int = 0) -> list[Item]:
    items: list[Item] = []
    for at in range(0, len(data), size or len(data) or 1):
        items += reader.feed(data[at : at + (size or len(data))])
    items += reader.flush()
    reader.close()
    return items


def read(data: bytes, size: int = 0) -> list[Item]:
    return read_with(DIALECT.reader(STREAM), data, size)


def request(*messages: Any, **options: Any) -> Request:
    return Request([*messages] or [{"role": "user", "content": "Hello"}], model="gpt-x", **options)


def build(asked: Request, *, drop: bool = False) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(DIALECT.encode_request(asked, ENDPOINT, Unsupported(NAME, drop=drop)).body)
    return body


def parse(body: dict[str, Any]) -> Request:
    return DIALECT.decode_request(ServerRequest("/v1/responses", {}, json.dumps(body).encode())).request


def written(items: list[Item], asked: Request | None = None) -> bytes:
    writer = DIALECT.writer(asked or request())
    return writer.write(items) + writer.end()


def events_of(data: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: ")]


# What services send.

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
FIELDS = [
    "type", "role", "id", "item", "item_id", "output_index", "content_index", "delta", "text", "refusal", "arguments",
    "logprobs", "part", "response", "error", "code", "message", "status", "output", "content", "summary", "call_id",
    "encrypted_content", "usage", "input_tokens", "input_tokens_details", "name", "incomplete_details", "reason",
    "created_at", "model", "input", "instructions", "tools", "tool_choice", "reasoning", "effort", "include",
    "image_url", "background", "top_logprobs", "strict", "format",
]  # fmt: skip
TYPES = [
    "message", "function_call", "reasoning", "function_call_output", "output_text", "input_text", "input_image",
    "input_file", "refusal", "summary_text", "reasoning_text", "function", "allowed_tools", "json_schema", "other",
]  # fmt: skip


CREATED = {
    "type": "response.created",
    "response": {"id": "resp_1", "object": "response", "created_at": 1741290958, "status": "in_progress",
                 "model": "gpt-4o-2024-08-06", "output": []},
}  # fmt: skip
START = Start("resp_1", "gpt-4o-2024-08-06", 1741290958)
USAGE = {
    "input_tokens": 37,
    "input_tokens_details": {"cached_tokens": 7},
    "output_tokens": 11,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 48,
}


def completed(*output: dict[str, Any], kind: str = "completed", **fields: Any) -> dict[str, Any]:
    response = {**CREATED["response"], "status": kind, "output": list(output), "usage": USAGE, **fields}  # type: ignore[dict-item]
    return {"type": f"response.{kind}", "response": response}


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": list(parts)}


def text(value: str) -> dict[str, Any]:
    return {"type": "output_text", "text": value, "annotations": []}


def at(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    ids = {"item_id": f"item_{index}", "output_index": index}
    return {"type": f"response.{kind}", **ids, **fields}


CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "get_weather"}
END: list[Item] = [Usage(37, 11, 7, 0, 3), Finish("stop")]

TEXT = [
    CREATED,
    {"type": "response.in_progress", "response": CREATED["response"]},
    at("output_item.added", item=message()),
    at("content_part.added", content_index=0, part=text("")),
    at("output_text.delta", content_index=0, delta="Hi"),
    at("output_text.delta", content_index=0, delta=" 世界", logprobs=[]),
    at("output_text.done", content_index=0, text="Hi 世界"),
    at("content_part.done", content_index=0, part=text("Hi 世界")),
    at("output_item.done", item=message(text("Hi 世界"))),
    completed(message(text("Hi 世界"))),
]

SEQUENCES: dict[str, tuple[list[Any], list[Item]]] = {
    # OpenAI's API reference, "Responses", the example of a streamed text response.
    "text is told once": (TEXT, [START, "Hi", " 世界", *END]),
    # OpenAI's guide "Function calling", streaming, with a second call beside the first.
    "parallel calls": (
        [
            CREATED,
            at("output_item.added", 0, item={**CALL, "arguments": ""}),
            at("output_item.added", 1, item={**CALL, "id": "fc_2", "call_id": "call_2", "arguments": ""}),
            at("function_call_arguments.delta", 0, delta='{"a"'),
            at("function_call_arguments.delta", 1, delta="{}"),
            at("function_call_arguments.delta", 0, delta=":1}"),
            at("function_call_arguments.done", 0, arguments='{"a":1}'),
            at("output_item.done", 0, item={**CALL, "arguments": '{"a":1}'}),
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
            at("output_item.added", item={"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}),
            at("reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""}),
            at("reasoning_summary_text.delta", summary_index=0, delta="One"),
            at("reasoning_summary_text.done", summary_index=0, text="One"),
            at("reasoning_summary_text.delta", summary_index=1, delta="Two"),
            at(
                "output_item.done",
                item={
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}],
                    "encrypted_content": "gAAA",
                },
            ),
            at("output_text.delta", 1, content_index=0, delta="Hi"),
            completed(message(text("Hi"))),
        ],
        [
            START,
            Reasoning(id="rs_1", source=NAME),
            Reasoning("One"),
            Reasoning("\n\nTwo"),
            Reasoning(data="gAAA", id="rs_1", source=NAME),
            "Hi",
            *END,
        ],
    ),
    # OpenAI's API reference, `response.refusal.delta` and `response.refusal.done`.
    "a refusal": (
        [
            CREATED,
            at("refusal.delta", content_index=0, delta="I can't"),
            at("refusal.done", content_index=0, refusal="I can't"),
            completed(message({"type": "refusal", "refusal": "I can't"})),
        ],
        [START, Refusal("I can't"), *END],
    ),
    # OpenAI's API reference, `include: message.output_text.logprobs`.
    "log-probabilities follow their text": (
        [
            at("output_text.delta", content_index=0, delta="Hi", logprobs=[{"token": "Hi", "logprob": -0.1}]),
            completed(),
        ],
        ["Hi", Logprobs([{"token": "Hi", "logprob": -0.1}]), START, *END],
    ),
    # OpenAI's API reference, `response.incomplete`.
    "the limit of tokens": (
        [
            at("output_text.delta", content_index=0, delta="Hi"),
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
    "a server that tells parts only when they are whole": (
        [
            at("output_text.done", 0, content_index=0, text="Hi"),
            at("output_item.done", 0, item=message(text("Hi"))),
            at("output_item.done", 1, item={**CALL, "arguments": "{}"}),
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
    "a server that tells all at the end": (
        [completed(message(text("Hi")), {**CALL, "arguments": "{}"})],
        [START, "Hi", ToolCall(0, "call_1", "get_weather"), ToolCall(0, arguments="{}"), END[0], Finish("tool_calls")],
    ),
    "unknown events, items and fields": (
        [
            {"type": "response.future", "x": 1},
            at("web_search_call.searching"),
            at("output_item.added", item={"type": "web_search_call", "id": "ws_1"}),
            at("output_item.added", item=None),
            at("output_text.annotation.added", annotation={"type": "url_citation"}),
            {},
            *TEXT,
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "after the end"},
        ],
        [START, "Hi", " 世界", *END],
    ),
}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("size", [0, 1, 7])
def test_documented_events_become_items_however_they_are_cut(name: str, size: int) -> None:
    events, items = SEQUENCES[name]
    assert read(sse(*events), size) == items


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_stream_cut_at_any_byte_is_truncated_or_whole(name: str) -> None:
    events, items = SEQUENCES[name]
    data = sse(*events)
    whole = collect(items)
    for end in range(len(data)):
        reader = DIALECT.reader(STREAM)
        came = reader.feed(data[:end]) + reader.flush()
        assert whole.text.startswith(collect(came).text)
        try:
            reader.close()
        except TruncatedError:
            continue
        assert collect(came) == whole


def test_a_done_marker_is_no_end() -> None:
    with pytest.raises(TruncatedError):
        read(sse(*TEXT[:-1]) + b"data: [DONE]\n\n")


def test_a_page_is_not_a_reply() -> None:
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
"""In the shape of the example response in OpenAI's API reference, "Create a model response"."""


def test_a_whole_response_becomes_items() -> None:
    reply = collect(read_with(DIALECT.reader(WHOLE), json.dumps(DOCUMENT).encode(), 100))
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
def test_a_document_that_is_no_whole_response_raises(document: Any, error: type[AcytooError]) -> None:
    with pytest.raises(error):
        read_with(DIALECT.reader(WHOLE), json.dumps(document).encode())


def test_half_a_document_is_truncated() -> None:
    with pytest.raises(TruncatedError):
        read_with(DIALECT.reader(WHOLE), json.dumps(DOCUMENT).encode()[:-1])


ERRORS: dict[str, tuple[list[Any], type[StatusError], str]] = {
    # OpenAI's API reference, the `error` event.
    "flat": (
        [{"type": "error", "code": "server_error", "message": "it broke", "param": None}],
        ServerError,
        "it broke",
    ),
    # openai/openai-dotnet issue 881, as the service really sends it.
    "nested": (
        [{"type": "error", "error": {"type": "too_many_requests", "code": "too_many_requests", "message": "slower"}}],
        RateLimitError,
        "slower",
    ),
    # zendev-sh/goai pull request 88: the type is no error's name.
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
    # earendil-works/pi issue 7983: Azure tells the reason after the failure.
    "failed first, told after": (
        [
            completed(kind="failed", error=None),
            {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "limit"}},
        ],
        RateLimitError,
        "limit",
    ),
    "failed without a reason": ([completed(kind="failed", error=None)], ServerError, "gave no reason"),
    "untyped": ([{"error": {"message": "bad key", "code": "invalid_api_key"}}], AuthenticationError, "bad key"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_fault_told_in_the_stream_is_raised_as_what_it_is(name: str) -> None:
    events, error, words = ERRORS[name]
    with pytest.raises(error, match=words):
        read(sse(*events))


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)
    return st.builds(
        lambda typed, rest: {**rest, **typed}, st.fixed_dictionaries({"type": st.sampled_from(TYPES)}), fields
    )


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "a", "user", "assistant"]),
    lambda inner: st.lists(inner, max_size=3) | objects(inner),
    max_leaves=12,
)


@given(st.lists(st.tuples(st.sampled_from(KINDS), objects(anything)), max_size=5))
def test_garbage_in_known_events_raises_nothing_but_our_errors(events: list[tuple[str, dict[str, Any]]]) -> None:
    try:
        read(sse(*[{**event, "type": kind} for kind, event in events]))
    except AcytooError:
        pass


@given(objects(anything))
def test_garbage_in_a_document_raises_nothing_but_our_errors(document: dict[str, Any]) -> None:
    try:
        read_with(DIALECT.reader(WHOLE), json.dumps(document).encode())
    except AcytooError:
        pass


@given(objects(anything), st.lists(objects(anything), max_size=3))
def test_garbage_in_a_request_is_answered_with_400(body: dict[str, Any], items: list[Any]) -> None:
    try:
        parse({**body, "input": items})
    except RequestError as error:
        assert error.status == 400


# Items out and in again.

texts = st.text(min_size=1, max_size=8)


@st.composite
def replies(draw: st.DrawFn) -> list[Item]:
    """Items as the readers of any dialect give them: pieces of one block together, fragments of calls in any order."""
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
            items.append(ToolCall(calls, f"call_{calls}", draw(texts), draw(st.text(max_size=4))))
            calls += 1
        elif calls:
            items.append(ToolCall(draw(st.integers(0, calls - 1)), arguments=draw(texts)))
    items.append(Usage(*[draw(st.integers(0, 2**31)) for _ in range(5)]))
    items.append(Finish(draw(st.sampled_from(["length", "content_filter", "tool_calls" if calls else "stop"]))))
    return items


def normal(items: list[Item]) -> Reply:
    """The reply, without the identity that a plain block gets and the server's own word for `length`."""
    reply = collect(items)
    for block in reply.reasoning:
        if block.get("source") != NAME or "data" not in block:
            block.pop("id", None)
            if block.get("source") == NAME:
                del block["source"]
    if reply.finish:
        reply.finish = Finish(reply.finish.reason)
    return reply


@given(replies(), st.integers(1, 300), st.booleans())
def test_what_is_written_is_read_back_however_it_is_cut(items: list[Item], size: int, batch: bool) -> None:
    writer = DIALECT.writer(request())
    written: list[bytes] = []
    written += [writer.write(items)] if batch else [writer.write([item]) for item in items]
    assert normal(read(b"".join([*written, writer.ping, writer.end()]), size)) == normal(items)


@given(replies())
def test_a_whole_reply_is_read_back(items: list[Item]) -> None:
    body = DIALECT.write_reply(collect(items), request())
    assert normal(read_with(DIALECT.reader(WHOLE), body)) == normal(items)


@settings(max_examples=20)
@given(replies(), st.data())
def test_a_written_stream_that_is_cut_is_truncated_or_whole(items: list[Item], data: st.DataObject) -> None:
    stream = written(items)
    reader = DIALECT.reader(STREAM)
    came = reader.feed(stream[: data.draw(st.integers(0, len(stream) - 1))]) + reader.flush()
    try:
        reader.close()
    except TruncatedError:
        return
    assert normal(came) == normal(items)


@given(replies())
def test_events_are_numbered_from_zero_and_every_item_that_begins_ends(items: list[Item]) -> None:
    events = events_of(written(items))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    begun = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    done = [event["item"]["id"] for event in events if event["type"] == "response.output_item.done"]
    assert sorted(begun) == sorted(done)
    assert [item["id"] for item in events[-1]["response"]["output"]] == begun


def test_the_events_of_a_text_are_those_of_the_reference() -> None:
    events = events_of(written([START, "Hi", "!", Finish()]))
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


def test_a_reply_without_anything_is_still_a_response() -> None:
    assert collect(read(written([]))).finish == Finish("stop")


def test_a_response_repeats_what_was_asked() -> None:
    asked = parse(
        {"model": "m", "instructions": "short", "input": "x", "tools": [{"type": "function", "name": "f"}],
         "text": {"format": {"type": "json_object"}}, "metadata": {"a": "b"}, "temperature": 0.1}
    )  # fmt: skip
    response = json.loads(DIALECT.write_reply(Reply("hi"), asked))
    assert response["instructions"] == "short"
    assert response["tools"][0]["name"] == "f"
    assert response["text"]["format"] == {"type": "json_object"}
    assert (response["metadata"], response["temperature"]) == ({"a": "b"}, 0.1)


@pytest.mark.parametrize(
    ("error", "read_as", "status"),
    [
        (status_error(429, "slower", code="tokens"), RateLimitError, 429),
        (status_error(400, "too long", code="context_length_exceeded"), RequestError, 400),
        (status_error(None, "overloaded"), ServerError, 502),
        (TruncatedError("cut"), ServerError, 502),
        (TimedOutError("idle", 3), ServerError, 504),
    ],
)
def test_a_fault_in_mid_stream_is_read_back_with_its_status(error: AcytooError, read_as: type, status: int) -> None:
    writer = DIALECT.writer(request())
    with pytest.raises(StatusError) as caught:
        read(writer.write([START, "half"]) + writer.fail(error))
    assert type(caught.value) is read_as
    assert (caught.value.status, caught.value.message) == (status, error.message)


def test_an_error_answer_is_read_back() -> None:
    answer = DIALECT.write_error(status_error(429, "slower", code="tokens", retry_after=2))
    error = DIALECT.read_error(answer.status, answer.body)
    assert (type(error), error.message, error.code) == (RateLimitError, "slower", "tokens")
    assert answer.headers["retry-after"] == "2"


# Requests out.

PNG = "data:image/png;base64,AAAA"


@pytest.mark.parametrize(
    ("message", "items"),
    [
        ({"role": "user", "content": "Hi"}, [{"role": "user", "content": "Hi"}]),
        ({"role": "developer", "content": "Hi"}, [{"role": "developer", "content": "Hi"}]),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "this?"},
                    {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}},
                ],
            },
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "this?"},
                        {"type": "input_image", "image_url": PNG, "detail": "low"},
                        {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
                    ],
                }
            ],
        ),
        (
            {
                "role": "assistant",
                "content": "so",
                "reasoning": [
                    {"text": "hm", "id": "rs_1", "data": "gAAA", "source": NAME},
                    {"text": "as it is", "id": "rs_2", "source": NAME},
                    {"text": "foreign", "signature": "s", "source": "anthropic"},
                    {"text": "nobody's"},
                ],
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            [
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "hm"}],
                    "encrypted_content": "gAAA",
                },
                {
                    "type": "reasoning",
                    "id": "rs_2",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "as it is"}],
                },
                {"type": "message", "role": "assistant", "content": [text("so")]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            ],
        ),
        (
            {"role": "assistant", "content": None, "refusal": "no"},
            [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        ),
        (
            {"role": "tool", "tool_call_id": "c", "name": "f", "content": [{"type": "text", "text": "sun"}]},
            [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "sun"}]}],
        ),
    ],
)
def test_a_message_becomes_items(message: dict[str, Any], items: list[Any]) -> None:
    assert build(request(message))["input"] == items


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"max_tokens": 5}, {"max_output_tokens": 5}),
        ({"stream": False}, {}),
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}),
        ({"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}),
        (
            {"reasoning_effort": "low", "extra": {"reasoning": {"summary": "auto"}, "text": {"verbosity": "low"}}},
            {
                "reasoning": {"effort": "low", "summary": "auto"},
                "include": ["reasoning.encrypted_content"],
                "text": {"verbosity": "low"},
            },
        ),
        ({"logprobs": True, "top_logprobs": 2}, {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}),
        ({"extra": {"store": True}}, {"store": True}),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "web_search"}]},
            {
                "tools": [
                    {
                        "type": "function",
                        "name": "f",
                        "parameters": {"type": "object", "properties": {}},
                        "strict": False,
                    },
                    {"type": "web_search"},
                ]
            },
        ),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "function", "name": "f"}},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}},
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}}},
        ),
    ],
)
def test_options_take_this_apis_shape(options: dict[str, Any], fields: dict[str, Any]) -> None:
    body = build(request(**options))
    plain = {"model": "gpt-x", "input": [{"role": "user", "content": "Hello"}], "store": False, "stream": True}
    if options.get("stream") is False:
        del plain["stream"]
    assert body == {**plain, **fields}


def test_the_first_system_message_is_the_instructions() -> None:
    body = build(request({"role": "system", "content": "short"}, {"role": "user", "content": "Hi"}))
    assert (body["instructions"], len(body["input"])) == ("short", 1)


def test_the_request_goes_to_the_endpoint_with_its_key() -> None:
    outgoing = DIALECT.encode_request(request(), ENDPOINT, Unsupported(NAME))
    assert outgoing.url == "https://api.example/v1/responses"
    assert outgoing.headers["authorization"] == "Bearer sk-1"


@pytest.mark.parametrize(
    ("asked", "feature"),
    [
        (request(stop=["x"]), "stop"),
        (request(seed=1), "seed"),
        (request(presence_penalty=0.1), "presence_penalty"),
        (request(frequency_penalty=0.1), "frequency_penalty"),
        (request(top_k=1), "top_k"),
        (request(extra={"keep_alive": 1}, extra_for="ollama"), "keep_alive"),
        (request({"role": "user", "content": "x", "name": "Ann"}), "the name of a message"),
        (request({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}), "input_audio content"),
        (request(tools=[{"type": "custom", "custom": {"name": "f"}}]), "custom tools"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name_or_dropped(asked: Request, feature: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        build(asked)
    assert caught.value.feature == feature
    assert build(asked, drop=True)["model"] == "gpt-x"


@pytest.mark.parametrize("include", [None, "reasoning.encrypted_content"])
def test_an_include_that_is_not_a_list_does_not_break_a_request_about_reasoning(include: object) -> None:
    body = build(parse({"model": "m", "input": "x", "include": include, "reasoning": {"summary": "auto"}}))
    assert body["include"] == (include or ["reasoning.encrypted_content"])


def test_an_image_without_a_url_is_refused() -> None:
    with pytest.raises(UsageError, match="image_url part"):
        build(request({"role": "user", "content": [{"type": "image_url"}]}))


def test_the_callers_messages_are_left_alone() -> None:
    messages: list[Any] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
    ]
    before = json.dumps(messages)
    build(Request(messages, tools=[{"type": "function", "function": {"name": "f"}}]))
    assert json.dumps(messages) == before


# Requests in.

SAID = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text("so")]}
ASKED = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc_1"}
CALLED = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ("Hi", [{"role": "user", "content": "Hi"}]),
        ([{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}], [{"role": "user", "content": "Hi"}]),
        ([SAID], [{"role": "assistant", "content": "so"}]),
        ([{"role": "assistant", "content": "so"}], [{"role": "assistant", "content": "so"}]),
        (
            [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "g"}, SAID, ASKED],
            [
                {
                    "role": "assistant",
                    "content": "so",
                    "reasoning": [{"data": "g", "id": "rs_1", "source": NAME}],
                    "tool_calls": [CALLED],
                }
            ],
        ),
        (
            [ASKED, {**ASKED, "call_id": "d"}, {"type": "function_call_output", "call_id": "c", "output": "sun"}],
            [
                {"role": "assistant", "content": None, "tool_calls": [CALLED, {**CALLED, "id": "d"}]},
                {"role": "tool", "tool_call_id": "c", "content": "sun"},
            ],
        ),
        ([SAID, SAID], [{"role": "assistant", "content": "so"}, {"role": "assistant", "content": "so"}]),
        (
            [{"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
            [{"role": "assistant", "content": None, "refusal": "no"}],
        ),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": PNG, "detail": "high"}]}],
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}]}],
        ),
    ],
)
def test_items_become_messages(given: Any, messages: list[Any]) -> None:
    assert parse({"model": "m", "input": given}).messages == messages


def test_another_apis_signature_comes_back_through_a_client_of_this_one() -> None:
    block: Any = {"text": "hm", "signature": "sig", "source": "anthropic"}
    body = json.loads(DIALECT.write_reply(Reply("so", reasoning=[block]), request()))
    assert parse({"model": "m", "input": body["output"]}).messages[0]["reasoning"] == [block]


def test_a_request_is_streamed_only_where_it_says_so() -> None:
    assert not parse({"model": "m", "input": "x"}).stream
    assert parse({"model": "m", "input": "x", "stream": True}).stream


def test_the_bearer_token_is_the_callers_secret() -> None:
    call = DIALECT.decode_request(ServerRequest("/responses", {"authorization": "Bearer sk-2"}, b'{"input": "x"}'))
    assert call.secrets == [Secret("sk-2")]


OWN: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_0"}, "previous_response_id"),
    ({"conversation": "conv_0"}, "conversation"),
    ({"background": True}, "background"),
    ({"tools": [{"type": "web_search"}]}, "tools:web_search"),
    ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice:web_search_preview"),
    ({"input": [{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_1"}]}, "input:item_reference"),
]


@pytest.mark.parametrize(("fields", "feature"), OWN)
def test_what_only_this_api_has_is_refused_by_name_when_crossing(fields: dict[str, Any], feature: str) -> None:
    asked = translate(parse({"model": "m", "input": "x", **fields}), DIALECT)
    with pytest.raises(UnsupportedError) as caught:
        OpenAI().encode_request(asked, ENDPOINT, Unsupported("openai"))
    assert caught.value.feature == feature


@pytest.mark.parametrize(("fields", "feature"), OWN)
def test_what_only_this_api_has_reaches_an_endpoint_of_it(fields: dict[str, Any], feature: str) -> None:
    body = build(parse({"model": "m", "input": "x", **fields}))
    assert {name: body[name] for name in fields} == fields


def test_harmless_fields_are_left_behind_when_crossing() -> None:
    body = {
        "model": "m",
        "input": "x",
        "store": True,
        "background": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low"},
        "previous_response_id": None,
    }
    asked = translate(parse(body), DIALECT)
    assert (asked.extra, asked.reasoning_effort) == ({}, "low")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "input is missing"),
        ({"input": []}, "input is missing"),
        ({"input": ["x"]}, r"input\[0\] must be an item"),
        ({"input": [{"role": "user"}]}, r"input\[0\] has no content"),
        ({"input": [{"role": "user", "content": [{}]}]}, r"input\[0\]\.content\[0\] must be a part"),
        ({"input": [{"role": "robot", "content": "x"}]}, "robot"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "call_id is missing"),
        ({"input": "x", "tools": {}}, "tools must be a list"),
        ({"input": "x", "tools": [{"type": "function"}]}, "no name"),
        ({"input": "x", "text": "json"}, "text must be an object"),
        ({"input": "x", "temperature": "hot"}, "temperature"),
    ],
)
def test_a_malformed_request_is_answered_with_what_is_wrong(body: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        parse({"model": "m", **body})
    assert caught.value.status == 400


# Out and in again.

parts = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, texts),
    st.builds(lambda t: {"type": "image_url", "image_url": {"url": t, "detail": "low"}}, texts),
    st.builds(lambda t: {"type": "file", "file": {"filename": t, "file_data": t}}, texts),
)
contents = st.one_of(texts, st.lists(parts, min_size=2, max_size=3))
blocks = st.builds(lambda t, d: {"text": t, "data": d, "id": "rs_1", "source": NAME}, texts, st.just("gAAA"))
functions = st.builds(
    lambda name, strict: {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object"}, **({"strict": True} if strict else {})},
    },
    texts,
    st.booleans(),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """History with every kind of message; the assistant never speaks twice in a row."""
    messages: list[Any] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(texts)})
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": draw(st.sampled_from(["user", "developer", "system"])), "content": draw(contents)})
        said: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
        if draw(st.booleans()):
            said["reasoning"] = draw(st.lists(blocks, min_size=1, max_size=2))
        if draw(st.booleans()):
            said["refusal"] = draw(texts)
        messages.append(said)
        if draw(st.booleans()):
            said["content"] = draw(st.none() | texts)
            ids = [f"call_{number}" for number in range(draw(st.integers(1, 3)))]
            said["tool_calls"] = [
                {"id": id_, "type": "function", "function": {"name": draw(texts), "arguments": draw(texts)}}
                for id_ in ids
            ]
            results = [{"role": "tool", "tool_call_id": id_, "content": draw(contents)} for id_ in ids]
            messages += results
    return messages


choices = st.sampled_from(
    [
        "auto",
        "none",
        "required",
        {"type": "function", "function": {"name": "f"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
    ]
)
formats = st.sampled_from(
    [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
    ]
)
requests = st.builds(
    Request,
    conversations(),
    model=texts,
    stream=st.booleans(),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    max_tokens=st.none() | st.integers(1, 9),
    tools=st.none() | st.lists(functions, min_size=1, max_size=2),
    tool_choice=st.none() | choices,
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.none() | formats,
    reasoning_effort=st.none() | st.sampled_from(["none", "low", "high"]),
    logprobs=st.just(True),
    top_logprobs=st.none() | st.integers(0, 20),
    user=st.none() | texts,
)


@given(requests)
def test_a_request_that_can_be_said_comes_back_as_it_was(asked: Request) -> None:
    check_options(asked)
    outgoing = DIALECT.encode_request(asked, ENDPOINT, Unsupported(NAME))
    call = DIALECT.decode_request(ServerRequest("/v1/responses", outgoing.headers, outgoing.body))
    assert call.secrets == [ENDPOINT.key]
    returned = call.request
    assert returned.extra.pop("store") is False
    assert "message.output_text.logprobs" in returned.extra.pop("include")
    asked.extra_for = NAME
    assert returned == asked
