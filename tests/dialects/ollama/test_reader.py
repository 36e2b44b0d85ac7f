"""Ollama's reader: documented replies and errors to items."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.dialects.ollama import Ollama
from acytoo.errors import AcytooError, ProtocolError, ServerError, TruncatedError
from acytoo.types import Finish, Item, Logprobs, Reasoning, Start, ToolCall, Usage, collect
from tests.dialects.ollama.helpers import DOCUMENT, STREAM, anything, lines, no_deadline, read

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
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("name", SEQUENCES)
def test_documented_lines_become_items_at_any_chunk_size(name: str, size: int) -> None:
    data, items = SEQUENCES[name]
    assert read(data, [size]) == items


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_stream_cut_at_any_byte_is_truncated_or_complete(name: str) -> None:
    data, items = SEQUENCES[name]
    for end in range(len(data)):
        try:
            assert read(data[:end]) == items
        except TruncatedError:
            continue
        assert data[end:] == b"\n"


def test_a_call_without_an_id_gets_one() -> None:
    call = {"function": {"name": "now", "arguments": None}}
    data = lines({"model": "m", "message": {"content": "", "tool_calls": [call, call]}, "done": True})
    calls = collect(read(data)).tool_calls
    assert [call["function"] for call in calls] == [{"name": "now", "arguments": "{}"}] * 2
    assert calls[0]["id"] != calls[1]["id"]
    assert calls[0]["id"]


def test_unknown_fields_and_lines_are_ignored() -> None:
    data = lines(
        {"status": "loading model", "completed": 7},
        {"model": "m", "message": {"content": "Hi", "mood": {"good": 1}}, "done": False, "new": [None]},
        {"model": "m", "done": True, "done_reason": "stop"},
        {"model": "m", "message": {"content": "nobody asked"}, "done": False},
    )
    assert read(data) == [Start(model="m"), "Hi", Finish("stop")]


# Documents.


def test_a_complete_reply_is_one_document() -> None:
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
    assert read(json.dumps(document, indent=2).encode(), [5], DOCUMENT) == items


def test_a_document_cut_at_any_byte_is_truncated() -> None:
    data = lines({"model": "m", "message": {"content": "Hé 🌍"}, "done": True}).strip()
    for end in range(len(data)):
        with pytest.raises(TruncatedError):
            read(data[:end], head=DOCUMENT)


def test_lines_with_the_content_type_of_a_document_are_read_as_lines() -> None:
    data, items = SEQUENCES["text"]
    assert read(data, [10], DOCUMENT) == items


@pytest.mark.parametrize(
    "body", [b"<html><title>Sign in</title></html>\n", b"[1]\n", b"data: {}\n\n", b'"text"\n', b"<html>"]
)
def test_a_body_of_another_api_is_a_protocol_error(body: bytes) -> None:
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
def test_a_document_that_is_not_a_complete_reply_raises(document: dict[str, Any], error: type[AcytooError]) -> None:
    with pytest.raises(error):
        read(lines(document), head=DOCUMENT)


# Errors.


def test_an_error_in_mid_stream_is_raised_with_the_servers_message() -> None:
    # Source: docs.ollama.com, "Errors" (errors that occur while streaming).
    data = lines({"model": "m", "message": {"content": "Hi"}, "done": False}, {"error": "an error was encountered"})
    with pytest.raises(ServerError, match="an error was encountered"):
        read(data)


LINE = ["message", "done", "model", "created_at", "done_reason", "eval_count", "logprobs", "error", "prompt_eval_count"]


@given(st.lists(st.dictionaries(st.sampled_from(LINE), anything, max_size=5), max_size=4), st.booleans())
@no_deadline
def test_garbage_in_a_reply_raises_only_acytoo_errors(documents: list[Any], as_document: bool) -> None:
    try:
        read(lines(*documents), head=DOCUMENT if as_document else STREAM)
    except AcytooError:
        pass


def test_a_line_may_have_text_and_thinking_wherever_it_stands() -> None:
    message = {"role": "assistant", "content": "a", "thinking": "b"}
    turns = [{"model": "m", "message": message, "done": False}] * 3
    reply = collect(read(lines(*turns, {"model": "m", "done": True, "done_reason": "stop"})))
    assert (reply.text, reply.reasoning) == ("aaa", [{"text": "bbb"}])


@pytest.mark.parametrize(
    ("created_at", "created"),
    [
        ("2023-08-04T08:52:19Z", 1691139139),
        ("0001-01-01T00:00:00Z", 0),  # no time, in Go
        ("1969-12-31T23:59:00Z", 0),
        ("yesterday", 0),
        (None, 0),
    ],
)
def test_a_time_that_is_none_or_malformed_is_no_time(created_at: str | None, created: int) -> None:
    line = {"model": "m", "created_at": created_at, "message": {"role": "assistant", "content": "Hi"}, "done": False}
    assert collect(read(lines(line, {"model": "m", "done": True, "done_reason": "stop"}))).created == created


def test_a_dialect_reads_what_its_options_declare() -> None:
    message = {"role": "assistant", "content": "<think>hm</think>Hi"}
    data = lines({"model": "m", "message": message, "done": False})
    for tags, text, reasoning in ((True, "Hi", "hm"), (False, message["content"], "")):
        reader = Ollama(ends_without_finish=True, think_tags=tags).reader(STREAM)
        items = [*reader.feed(data), *reader.flush()]
        reader.close()
        reply = collect(items)
        assert (reply.text, "".join([block["text"] for block in reply.reasoning])) == (text, reasoning)
    strict = Ollama().reader(STREAM)
    strict.feed(data)
    with pytest.raises(TruncatedError):
        strict.close()
