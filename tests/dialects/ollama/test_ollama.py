"""Ollama's chat API as a codec: documented lines to items, items to lines, requests both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acytoo.dialects.base import Reader, Unsupported
from acytoo.dialects.ollama import Ollama
from acytoo.dialects.translate import translate
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
    UsageError,
    status_error,
)
from acytoo.http import Endpoint, ResponseHead, ServerRequest
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
    ToolCallDict,
    Usage,
    collect,
)

DIALECT = Ollama()
STREAM = ResponseHead(200, {"content-type": "application/x-ndjson"})
WHOLE = ResponseHead(200, {"content-type": "application/json; charset=utf-8"})
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PNG = "iVBORw0KGgo="

untimed = settings(deadline=None)


def lines(*documents: dict[str, Any]) -> bytes:
    return b"".join([json.dumps(document, ensure_ascii=False).encode() + b"\n" for document in documents])


def read(data: bytes, sizes: list[int] | None = None, head: ResponseHead = STREAM) -> list[Item]:
    reader = DIALECT.reader(head)
    items = feed(reader, data, sizes or [len(data) or 1])
    reader.close()
    return items


def feed(reader: Reader, data: bytes, sizes: list[int]) -> list[Item]:
    items: list[Item] = []
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        items += reader.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    return items + reader.flush()


def asking(messages: list[Any] | None = None, **options: Any) -> Request:
    return Request(messages or HELLO, model="llama3.2", **options)


def build(request: Request, *, drop: bool = False, key: str = "") -> dict[str, Any]:
    endpoint = Endpoint("http://localhost:11434", Secret(key))
    body: dict[str, Any] = json.loads(DIALECT.encode_request(request, endpoint, Unsupported("ollama", drop=drop)).body)
    return body


def parse(body: Any, headers: dict[str, str] | None = None) -> Request:
    return DIALECT.decode_request(ServerRequest("/api/chat", headers or {}, json.dumps(body).encode())).request


def written(items: list[Item]) -> bytes:
    writer = DIALECT.writer(asking())
    return writer.write(items) + writer.end()


# Documented sequences.

TIME = "2023-08-04T08:52:19.385406455-07:00"
DURATIONS = {"total_duration": 4883583458, "load_duration": 1334875, "prompt_eval_duration": 342546000}

SEQUENCES: dict[str, tuple[bytes, list[Item]]] = {
    # Source: ollama/ollama docs/api.md, "Chat request (Streaming)".
    "text": (
        lines(
            {
                "model": "llama3.2",
                "created_at": TIME,
                "message": {"role": "assistant", "content": "The", "images": None},
                "done": False,
            },
            {
                "model": "llama3.2",
                "created_at": TIME,
                "message": {"role": "assistant", "content": " sky"},
                "done": False,
            },
            {
                "model": "llama3.2",
                "created_at": "2023-08-04T19:22:45.499127Z",
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "stop",
                **DURATIONS,
                "prompt_eval_count": 26,
                "eval_count": 282,
            },
        ),
        [Start(model="llama3.2", created=1691164339), "The", " sky", Usage(26, 282), Finish("stop")],
    ),
    # Source: the same; the final response of older servers has neither message nor done_reason.
    "no message at the end": (
        lines(
            {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": False},
            {"model": "m", "created_at": "2023-08-04T19:22:45.499127Z", "done": True, "eval_count": 2},
        ),
        [Start(model="m"), "Hi", Usage(0, 2), Finish("stop")],
    ),
    # Source: docs.ollama.com, "Thinking" (streaming); ollama-python, ChatResponse.message.thinking.
    "thinking": (
        lines(
            {
                "model": "qwen3",
                "message": {"role": "assistant", "content": "", "thinking": "Let me "},
                "done": False,
            },
            {"model": "qwen3", "message": {"role": "assistant", "content": "", "thinking": "count"}, "done": False},
            {"model": "qwen3", "message": {"role": "assistant", "content": "Three"}, "done": False},
            {"model": "qwen3", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "length"},
        ),
        [Start(model="qwen3"), Reasoning("Let me "), Reasoning("count"), "Three", Finish("length")],
    ),
    # Source: docs.ollama.com, "Tool calling" (streaming, parallel); servers since 0.12 give ids.
    "parallel calls": (
        lines(
            {
                "model": "llama3.2",
                "message": {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {"id": "call_1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Tokyo"}}},
                        {"id": "call_2", "function": {"index": 1, "name": "weather", "arguments": {"city": "Paris"}}},
                    ],
                },
                "done": False,
            },
            {
                "model": "llama3.2",
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "stop",
            },
        ),
        [
            Start(model="llama3.2"),
            ToolCall(0, "call_1", "weather", '{"city":"Tokyo"}'),
            ToolCall(1, "call_2", "weather", '{"city":"Paris"}'),
            Finish("tool_calls"),
        ],
    ),
    # Source: ollama-python, ChatResponse.logprobs.
    "log-probabilities": (
        lines(
            {
                "model": "m",
                "message": {"role": "assistant", "content": "Hi"},
                "logprobs": [{"token": "Hi", "logprob": -0.1, "top_logprobs": [{"token": "Hi", "logprob": -0.1}]}],
                "done": False,
            },
            {
                "model": "m",
                "message": {"content": "!"},
                "logprobs": [{"token": "!", "logprob": -2}],
                "done": True,
                "done_reason": "stop",
            },
        ),
        [
            Start(model="m"),
            "Hi",
            Logprobs([{"token": "Hi", "logprob": -0.1, "top_logprobs": [{"token": "Hi", "logprob": -0.1}]}]),
            "!",
            Logprobs([{"token": "!", "logprob": -2, "top_logprobs": []}]),
            Finish("stop"),
        ],
    ),
    # Source: ollama/ollama docs/api.md, "Load a model" (chat).
    "a model that was only loaded": (
        lines(
            {
                "model": "llama3.2",
                "created_at": "2024-09-12T21:17:29.110811Z",
                "message": {"role": "assistant", "content": ""},
                "done_reason": "load",
                "done": True,
            }
        ),
        [Start(model="llama3.2", created=1726175849), Finish("load", raw="load")],
    ),
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("name", SEQUENCES)
def test_documented_lines_become_items_however_they_are_cut(name: str, size: int) -> None:
    data, items = SEQUENCES[name]
    assert read(data, [size]) == items


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_stream_cut_at_any_byte_is_truncated_or_whole(name: str) -> None:
    data, items = SEQUENCES[name]
    for end in range(len(data)):
        try:
            assert read(data[:end]) == items
        except TruncatedError:
            continue
        assert data[end:] == b"\n"


def test_a_call_without_an_id_gets_one() -> None:
    called = {"function": {"name": "now", "arguments": None}}
    data = lines({"model": "m", "message": {"content": "", "tool_calls": [called, called]}, "done": True})
    calls = collect(read(data)).tool_calls
    assert [call["function"] for call in calls] == [{"name": "now", "arguments": "{}"}] * 2
    assert calls[0]["id"] != calls[1]["id"]
    assert calls[0]["id"]


def test_unknown_fields_and_lines_are_tolerated() -> None:
    data = lines(
        {"status": "loading model", "completed": 7},
        {"model": "m", "message": {"content": "Hi", "mood": {"good": 1}}, "done": False, "new": [None]},
        {"model": "m", "done": True, "done_reason": "stop"},
        {"model": "m", "message": {"content": "nobody asked"}, "done": False},
    )
    assert read(data) == [Start(model="m"), "Hi", Finish("stop")]


def test_a_whole_reply_is_one_document() -> None:
    # Source: ollama/ollama docs/api.md, "Chat request (No streaming)".
    document = {
        "model": "llama3.2",
        "created_at": "2023-12-12T14:13:43.416799Z",
        "message": {"role": "assistant", "content": "Hello! How are you today?"},
        "done": True,
        **DURATIONS,
        "prompt_eval_count": 26,
        "eval_count": 298,
    }
    items = [Start(model="llama3.2", created=1702390423), "Hello! How are you today?", Usage(26, 298), Finish("stop")]
    assert read(json.dumps(document, indent=2).encode(), [5], WHOLE) == items


def test_a_whole_reply_cut_at_any_byte_is_truncated() -> None:
    data = lines({"model": "m", "message": {"content": "Hé 🌍"}, "done": True}).strip()
    for end in range(len(data)):
        with pytest.raises(TruncatedError):
            read(data[:end], head=WHOLE)


def test_lines_under_the_content_type_of_a_document_are_read_as_lines() -> None:
    data, items = SEQUENCES["text"]
    assert read(data, [10], WHOLE) == items


@pytest.mark.parametrize(
    "body", [b"<html><title>Sign in</title></html>\n", b"[1]\n", b"data: {}\n\n", b'"text"\n', b"<html>"]
)
def test_what_is_not_this_api_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="ollama"):
        read(body)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"model": "m", "message": {"content": "Hi"}, "done": False}, TruncatedError),
        ({"model": "m"}, ProtocolError),
        ({"error": "model runner has unexpectedly stopped"}, ServerError),
    ],
)
def test_a_document_that_is_no_whole_reply_raises(document: dict[str, Any], error: type[AcytooError]) -> None:
    with pytest.raises(error):
        read(lines(document), head=WHOLE)


# Errors.


def test_an_error_in_mid_stream_is_raised_with_the_servers_words() -> None:
    # Source: docs.ollama.com, "Errors" (errors that occur while streaming).
    data = lines({"model": "m", "message": {"content": "Hi"}, "done": False}, {"error": "an error was encountered"})
    with pytest.raises(ServerError, match="an error was encountered"):
        read(data)


@pytest.mark.parametrize(
    ("status", "cls"), [(400, RequestError), (401, AuthenticationError), (404, NotFoundError), (429, RateLimitError)]
)
def test_an_error_answer_is_read_back_as_what_it_was(status: int, cls: type[AcytooError]) -> None:
    answer = DIALECT.write_error(status_error(status, "model 'x' not found", retry_after=2))
    assert (answer.status, json.loads(answer.body)) == (status, {"error": "model 'x' not found"})
    assert answer.headers["retry-after"] == "2"
    error = DIALECT.read_error(answer.status, answer.body, 2)
    assert (type(error), error.message, error.retry_after) == (cls, "model 'x' not found", 2)


def test_a_fault_in_mid_stream_ends_the_lines_with_an_error() -> None:
    writer = DIALECT.writer(asking())
    data = writer.write([Start(model="m"), "Hi"]) + writer.fail(TimedOutError("idle", 60))
    assert b'"done":true' not in data
    with pytest.raises(ServerError, match="went silent"):
        read(data)


# Replies, written.


def test_a_written_stream_looks_like_the_documented_one() -> None:
    first, last = written([Start(model="m", created=1691139139), "Hi", Finish("length"), Usage(3, 4)]).splitlines()
    assert json.loads(first) == {
        "model": "m",
        "created_at": "2023-08-04T08:52:19Z",
        "message": {"role": "assistant", "content": "Hi"},
        "done": False,
    }
    end = json.loads(last)
    assert (end["done"], end["done_reason"], end["prompt_eval_count"], end["eval_count"]) == (True, "length", 3, 4)
    durations = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    assert all(type(end[name]) is int for name in durations)


def test_a_whole_reply_has_the_fields_of_the_last_line() -> None:
    reply = Reply("Hi", reasoning=[{"text": "hm"}], usage=Usage(3, 4), finish=Finish(), model="m", created=1691139139)
    document = json.loads(DIALECT.write_reply(reply, asking()))
    assert document["message"] == {"role": "assistant", "content": "Hi", "thinking": "hm"}
    assert (document["done"], document["done_reason"], document["created_at"]) == (True, "stop", "2023-08-04T08:52:19Z")
    assert document["eval_duration"] > 0


def test_no_character_is_written_that_python_takes_for_a_line_end() -> None:
    # ollama-python reads lines with str.splitlines, and fails on these inside of a text.
    text = "a\u2028b\u2029c\u0085d\x0be\x1cf\r\n"
    data = written([Start(model="m"), text, Reasoning(text), ToolCall(0, "1", "f", json.dumps({"x": text}))])
    documents = [json.loads(line) for line in data.decode().splitlines()]
    assert documents[0]["message"]["content"] == text
    reply = collect(read(data))
    assert (reply.text, reply.reasoning) == (text, [{"text": text}])
    assert json.loads(reply.tool_calls[0]["function"]["arguments"]) == {"x": text}


def test_a_refusal_is_said_as_text() -> None:
    assert collect(read(written([Refusal("I will not")]))).text == "I will not"


def test_a_call_cut_by_the_token_limit_is_left_out() -> None:
    reply = collect(read(written([ToolCall(0, "1", "f", '{"a": '), Finish("length")])))
    assert (reply.tool_calls, reply.finish_reason) == ([], "length")


def test_a_call_whose_arguments_are_not_json_is_an_error_and_no_reply() -> None:
    data = written(["Hi", ToolCall(0, "1", "f", "{nonsense"), Finish("tool_calls")])
    with pytest.raises(ServerError, match="'f'"):
        read(data)
    call: ToolCallDict = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "[1]"}}
    with pytest.raises(ProtocolError, match="'f'"):
        DIALECT.write_reply(Reply(tool_calls=[call]), asking())


def test_a_line_without_text_keeps_a_stream_alive() -> None:
    # ollama-python decodes every line it gets: a blank one would break it.
    line = json.loads(DIALECT.writer(asking()).ping)
    assert (line["message"], line["done"]) == ({"role": "assistant", "content": ""}, False)


characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts
arguments = st.dictionaries(texts, scalars | st.lists(scalars, max_size=2), max_size=3)
probability = st.integers(-50, 0).map(float)


@st.composite
def replies(draw: st.DrawFn) -> list[Item]:
    """The items of a reply that this API can express."""
    items: list[Item] = [Start(model=draw(texts), created=draw(st.integers(1, 2**32)))]
    items += [Reasoning(text) for text in draw(st.lists(texts, max_size=2))]
    for text in draw(st.lists(texts, max_size=4)):
        items.append(text)
        if draw(st.booleans()):
            items.append(Logprobs([{"token": text, "logprob": draw(probability), "top_logprobs": []}]))
    calls = draw(st.lists(arguments, max_size=3))
    for index, given_ in enumerate(calls):
        text = json.dumps(given_, ensure_ascii=False, separators=(",", ":"))
        cut = draw(st.integers(0, len(text)))
        items += [ToolCall(index, f"id{index}", draw(texts), text[:cut]), ToolCall(index, arguments=text[cut:])]
    ends: list[Item] = [Finish(draw(st.sampled_from(["tool_calls" if calls else "stop", "length"])))]
    if draw(st.booleans()):
        ends.append(Usage(draw(st.integers(0, 2**40)), draw(st.integers(0, 2**40))))
    return items + draw(st.permutations(ends))


cuts = st.lists(st.integers(1, 90), min_size=1, max_size=5)


@given(replies(), cuts, st.booleans())
@untimed
def test_what_is_written_is_read_back_however_it_is_cut(items: list[Item], sizes: list[int], singly: bool) -> None:
    writer = DIALECT.writer(asking())
    batches = [[item] for item in items] if singly else [items]
    data = b"".join([writer.write(batch) for batch in batches]) + writer.end()
    assert collect(read(data, sizes)) == collect(items)


@given(replies())
@untimed
def test_a_whole_reply_is_read_back(items: list[Item]) -> None:
    reply = collect(items)
    assert collect(read(DIALECT.write_reply(reply, asking()), [50], WHOLE)) == reply


@given(replies(), st.data())
@untimed
def test_a_written_stream_that_is_cut_is_truncated_or_whole(items: list[Item], data: st.DataObject) -> None:
    stream = written(items)
    end = data.draw(st.integers(0, 2**16)) % len(stream)
    try:
        assert collect(read(stream[:end])) == collect(items)
    except TruncatedError:
        assert end < len(stream) - 1


names = st.sampled_from(["role", "content", "function", "name", "arguments", "type", "text", "id", "images"]) | texts
anything: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5)
        | st.lists(anything, max_size=3)
        | st.dictionaries(names, anything, max_size=4)
    )
)
LINE = ["message", "done", "model", "created_at", "done_reason", "eval_count", "logprobs", "error", "prompt_eval_count"]
BODY = ["messages", "model", "stream", "options", "tools", "think", "format", "logprobs", "keep_alive"]


@given(st.lists(st.dictionaries(st.sampled_from(LINE), anything, max_size=5), max_size=4), st.booleans())
@untimed
def test_garbage_in_a_reply_raises_nothing_but_our_errors(documents: list[Any], whole: bool) -> None:
    try:
        read(lines(*documents), head=WHOLE if whole else STREAM)
    except AcytooError:
        pass


@given(st.dictionaries(st.sampled_from(BODY), anything, max_size=6), st.lists(st.dictionaries(texts, anything)))
@untimed
def test_garbage_in_a_request_is_answered_with_400(body: dict[str, Any], messages: list[Any]) -> None:
    for given_ in (body, body | {"messages": [{"role": "user", "content": "x"} | m for m in messages]}, [body]):
        try:
            parse(given_)
        except RequestError as error:
            assert error.status == 400


# Requests, built.


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({}, {}),
        (
            {
                "temperature": 0.5,
                "top_p": 0.9,
                "top_k": 40,
                "max_tokens": 9,
                "stop": ["x"],
                "seed": 1,
                "presence_penalty": 0.1,
                "frequency_penalty": 0.2,
            },
            {
                "options": {
                    "temperature": 0.5,
                    "top_p": 0.9,
                    "top_k": 40,
                    "num_predict": 9,
                    "stop": ["x"],
                    "seed": 1,
                    "presence_penalty": 0.1,
                    "frequency_penalty": 0.2,
                }
            },
        ),
        ({"stream": False}, {"stream": False}),
        ({"tools": [WEATHER], "tool_choice": "auto", "parallel_tool_calls": True}, {"tools": [WEATHER]}),
        ({"tools": [WEATHER], "tool_choice": "none"}, {}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
            {"format": {"type": "object"}},
        ),
        ({"response_format": {"type": "text"}}, {}),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"reasoning_effort": "high"}, {"think": "high"}),
        ({"logprobs": True, "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        (
            {"temperature": 1.0, "extra": {"keep_alive": "5m", "options": {"num_ctx": 9, "temperature": 0}}},
            {"options": {"temperature": 0, "num_ctx": 9}, "keep_alive": "5m"},
        ),
        ({"extra": {"options.num_ctx": 9}, "extra_for": "ollama"}, {"options": {"num_ctx": 9}}),
    ],
)
def test_options_take_this_apis_shape(options: dict[str, Any], fields: dict[str, Any]) -> None:
    assert build(asking(**options)) == {"model": "llama3.2", "messages": HELLO, "stream": True} | fields


def test_the_request_goes_to_the_chat_path_with_the_key_where_there_is_one() -> None:
    for key, authorization in (("", None), ("ok-1", "Bearer ok-1")):
        outgoing = DIALECT.encode_request(asking(), Endpoint("https://ollama.com/", Secret(key)), Unsupported("ollama"))
        assert (outgoing.url, outgoing.method) == ("https://ollama.com/api/chat", "POST")
        assert outgoing.headers.get("authorization") == authorization


def test_history_with_calls_results_and_images_is_sent() -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "Where is "}, image, {"type": "text", "text": "this?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": [{"text": "hm", "signature": "x"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "assistant", "content": None, "refusal": "No."},
    ]
    assert build(asking(messages))["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Where is this?", "images": [PNG]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": {"city": "Paris"}}}],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "c1", "tool_name": "weather"},
        {"role": "assistant", "content": "No."},
    ]


def content(part: dict[str, Any]) -> Request:
    return asking([{"role": "user", "content": [{"type": "text", "text": "see"}, part]}])


@pytest.mark.parametrize(
    ("request_", "feature"),
    [
        (asking(user="u"), "user"),
        (asking(tools=[WEATHER], tool_choice="required"), "tool_choice='required'"),
        (asking(parallel_tool_calls=False), "parallel_tool_calls"),
        (asking(tools=[{"type": "web_search"}]), "web_search"),
        (asking(reasoning_effort="minimal"), "reasoning_effort"),
        (asking(response_format={"type": "grammar"}), "grammar"),
        (content({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}), "image's URL"),
        (content({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), "input_audio"),
        (asking([{"role": "user", "content": "x", "name": "Ann"}]), "name"),
        (asking(extra={"metadata": {}}, extra_for="openai"), "metadata"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name_or_dropped(request_: Request, feature: str) -> None:
    with pytest.raises(UnsupportedError, match="ollama") as caught:
        build(request_)
    assert feature in caught.value.feature
    assert build(request_, drop=True)["messages"]


def test_arguments_that_are_no_object_are_refused_before_anything_is_sent() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{half"}}
    with pytest.raises(UsageError, match=r"messages\[0\]\.tool_calls\[0\]"):
        build(asking([{"role": "assistant", "content": None, "tool_calls": [call]}]))


# Requests, parsed.


def test_a_request_streams_unless_it_says_otherwise() -> None:
    body = {"model": "m", "messages": HELLO}
    assert parse(body).stream is True
    assert parse(body | {"stream": False}).stream is False


def test_a_request_of_the_python_client_is_understood() -> None:
    # As ollama-python 0.6 sends it: calls without ids, results with the tool's name, an empty list of tools.
    call = {"function": {"name": "weather", "arguments": {"city": "Paris"}}}
    request = parse(
        {
            "model": "m",
            "stream": True,
            "tools": [],
            "think": True,
            "options": {"num_predict": -1, "num_ctx": 99, "stop": "x"},
            "keep_alive": 0,
            "messages": [
                {"role": "user", "content": "look", "images": ["/9j/4AAQ"]},
                {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call, call]},
                {"role": "tool", "tool_name": "weather", "content": "sunny"},
                {"role": "tool", "tool_name": "weather", "content": "rain"},
            ],
        }
    )
    image = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4AAQ"}}
    function = {"name": "weather", "arguments": '{"city":"Paris"}'}
    assert request.messages == [
        {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
        {
            "role": "assistant",
            "content": "",
            "reasoning": [{"text": "hm"}],
            "tool_calls": [
                {"id": "call_0", "type": "function", "function": function},
                {"id": "call_1", "type": "function", "function": function},
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "sunny", "name": "weather"},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain", "name": "weather"},
    ]
    assert (request.tools, request.max_tokens, request.stop, request.reasoning_effort) == (None, None, ["x"], "medium")
    assert (request.extra, request.extra_for) == ({"options.num_ctx": 99, "keep_alive": 0}, "ollama")


def test_results_without_ids_find_their_calls_by_name_then_in_order() -> None:
    calls: list[Any] = [{"function": {"name": name, "arguments": {}}} for name in ("now", "weather", "now")]
    results = [{"role": "tool", "tool_name": name, "content": "x"} for name in ("weather", "now", "", "lost")]
    messages = parse({"messages": [{"role": "assistant", "tool_calls": calls}, *results]}).messages
    assert [message["tool_call_id"] for message in messages[1:]] == ["call_1", "call_0", "call_2", "call_3"]


def test_how_a_model_is_loaded_is_left_behind_when_crossing_and_how_it_samples_is_not() -> None:
    request = parse({"messages": HELLO, "keep_alive": "5m", "options": {"num_ctx": 9, "mirostat": 1}})
    assert translate(request, DIALECT).extra == {"options.mirostat": 1}


def test_the_bearer_token_is_the_callers_secret() -> None:
    call = DIALECT.decode_request(
        ServerRequest("/api/chat", {"authorization": "Bearer ok-1"}, b'{"messages":[{"role":"user","content":"x"}]}')
    )
    assert call.secrets == [Secret("ok-1")]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "messages"),
        ({"messages": []}, "empty"),
        ({"messages": ["x"]}, "list of objects"),
        ({"messages": [{"role": "king", "content": "x"}]}, "king"),
        ({"messages": HELLO, "options": 3}, "options"),
        ({"messages": HELLO, "options": {"temperature": "hot"}}, "temperature"),
        ({"messages": [{"role": "user", "content": "x", "images": [3]}]}, "images"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, "tool call"),
        ({"messages": HELLO, "think": [1]}, "reasoning_effort"),
    ],
)
def test_a_malformed_request_is_answered_with_what_is_wrong(body: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        parse(body)
    assert caught.value.status == 400


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """Messages that this API can express, in the shared shape."""
    messages: list[Any] = [{"role": "system", "content": text} for text in draw(st.lists(texts, max_size=1))]
    for turn in range(draw(st.integers(1, 3))):
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
        text = draw(texts)
        asked = text if draw(st.booleans()) else [{"type": "text", "text": text}, image]
        answer: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
        if draw(st.booleans()):
            answer["reasoning"] = [{"text": draw(texts)}]
        messages += [{"role": "user", "content": asked}, answer]
        if found := draw(st.lists(arguments, max_size=2)):
            names = [draw(texts) for _ in found]
            dumped = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in found]
            answer["tool_calls"] = [
                {"id": f"{turn}.{i}", "type": "function", "function": {"name": names[i], "arguments": dumped[i]}}
                for i in range(len(found))
            ]
            messages += [
                {"role": "tool", "tool_call_id": f"{turn}.{i}", "content": draw(texts), "name": names[i]}
                for i in range(len(found))
            ]
    return messages


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


SCHEMA = {"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}}}

requests = st.builds(
    Request,
    messages=conversations(),
    model=texts,
    stream=st.booleans(),
    temperature=optional(st.integers(0, 2).map(float)),
    top_p=optional(st.just(0.5)),
    top_k=optional(st.integers(1, 99)),
    max_tokens=optional(st.integers(1, 99)),
    stop=optional(st.lists(texts, min_size=1, max_size=2)),
    seed=optional(st.integers(0, 99)),
    presence_penalty=optional(st.just(0.25)),
    frequency_penalty=optional(st.just(-0.25)),
    tools=optional(st.just([WEATHER])),
    response_format=optional(st.sampled_from([{"type": "json_object"}, SCHEMA])),
    reasoning_effort=optional(st.sampled_from(["none", "low", "medium", "high"])),
    logprobs=optional(st.booleans()),
    top_logprobs=optional(st.integers(0, 20)),
    extra=st.dictionaries(st.sampled_from(["keep_alive", "options.num_ctx", "options.mirostat"]), st.integers(0, 9)),
    extra_for=st.just("ollama"),
)


@given(requests)
@untimed
def test_a_request_that_can_be_said_comes_back_as_it_was(asked: Request) -> None:
    assert parse(build(asked)) == asked
