"""Ollama's writer: items to replies and errors, and back through the reader."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.dialects.ollama import OllamaGenerate
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
    status_error,
)
from acytoo.types import (
    Finish,
    Item,
    Logprobs,
    Reasoning,
    Refusal,
    Reply,
    Start,
    ToolCall,
    ToolCallDict,
    Usage,
    collect,
)
from tests.dialects.ollama.helpers import DIALECT, DOCUMENT, arguments, make_request, no_deadline, read, texts, write


@pytest.mark.parametrize(
    ("status", "cls"), [(400, RequestError), (401, AuthenticationError), (404, NotFoundError), (429, RateLimitError)]
)
def test_an_error_response_survives_a_round_trip(status: int, cls: type[AcytooError]) -> None:
    response = DIALECT.write_error(status_error(status, "model 'x' not found", retry_after=2))
    assert (response.status, json.loads(response.body)) == (status, {"error": "model 'x' not found"})
    assert response.headers["retry-after"] == "2"
    error = DIALECT.read_error(response.status, response.body, 2)
    assert (type(error), error.message, error.retry_after) == (cls, "model 'x' not found", 2)


def test_an_error_in_mid_stream_is_the_last_line() -> None:
    writer = DIALECT.writer(make_request())
    data = writer.write([Start(model="m"), "Hi"]) + writer.fail(TimedOutError("idle", 60))
    assert b'"done":true' not in data
    with pytest.raises(ServerError, match="did not continue"):
        read(data)


def test_a_written_stream_looks_like_the_documented_one() -> None:
    first, last = write([Start(model="m", created=1691139139), "Hi", Finish("length"), Usage(3, 4)]).splitlines()
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


def test_every_line_has_a_message_of_the_assistant() -> None:
    items: list[Item] = [Start(model="m"), Reasoning("hm"), "Hi", Logprobs([]), Refusal("No."), Finish("stop")]
    lines = [json.loads(line) for line in write(items).splitlines()]
    assert [(line["message"]["role"], line["done"]) for line in lines] == [("assistant", False)] * 4 + [
        ("assistant", True)
    ]


def test_a_document_has_the_fields_of_the_last_line() -> None:
    reply = Reply("Hi", reasoning=[{"text": "hm"}], usage=Usage(3, 4), finish=Finish(), model="m", created=1691139139)
    document = json.loads(DIALECT.write_reply(reply, make_request()))
    assert document["message"] == {"role": "assistant", "content": "Hi", "thinking": "hm"}
    assert (document["done"], document["done_reason"], document["created_at"]) == (True, "stop", "2023-08-04T08:52:19Z")
    assert document["eval_duration"] > 0


def test_a_document_has_the_nanoseconds_since_the_reply_was_created() -> None:
    document = json.loads(DIALECT.write_reply(Reply("Hi", created=int(time.time()) - 100), make_request()))
    assert 100e9 <= document["total_duration"] < 1000e9


def test_a_reply_that_names_no_model_has_that_of_the_request() -> None:
    for data in (write([Start("id-1"), "Hi"]).splitlines()[0], DIALECT.write_reply(Reply("Hi"), make_request())):
        assert json.loads(data)["model"] == "llama3.2"


def test_every_character_that_python_takes_for_a_line_end_is_escaped() -> None:
    # ollama-python splits lines with str.splitlines, which also splits at these characters inside a text.
    text = "a\u2028b\u2029c\u0085d\x0be\x1cf\r\n"
    data = write([Start(model="m"), text, Reasoning(text), ToolCall(0, "1", "f", json.dumps({"x": text}))])
    documents = [json.loads(line) for line in data.decode().splitlines()]
    assert documents[0]["message"]["content"] == text
    reply = collect(read(data))
    assert (reply.text, reply.reasoning) == (text, [{"text": text}])
    assert json.loads(reply.tool_calls[0]["function"]["arguments"]) == {"x": text}


def test_a_refusal_is_written_as_text() -> None:
    assert collect(read(write([Refusal("I will not")]))).text == "I will not"


def test_a_call_cut_by_the_token_limit_is_left_out() -> None:
    reply = collect(read(write([ToolCall(0, "1", "f", '{"a": '), Finish("length")])))
    assert (reply.tool_calls, reply.finish_reason) == ([], "length")


def test_a_call_whose_arguments_are_not_json_is_an_error() -> None:
    data = write(["Hi", ToolCall(0, "1", "f", "{nonsense"), Finish("tool_calls")])
    with pytest.raises(ServerError, match="'f'"):
        read(data)
    call: ToolCallDict = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "[1]"}}
    with pytest.raises(ProtocolError, match="'f'"):
        DIALECT.write_reply(Reply(tool_calls=[call]), make_request())


def test_a_ping_is_a_line_with_an_empty_text() -> None:
    # ollama-python decodes every line, so a blank one would break it.
    line = json.loads(DIALECT.writer(make_request()).ping)
    assert (line["message"], line["done"]) == ({"role": "assistant", "content": ""}, False)


# Round trips.


probability = st.integers(-50, 0).map(float)


@st.composite
def replies(draw: st.DrawFn) -> list[Item]:
    """Draw the items of a reply that this API can express."""
    items: list[Item] = [Start(model=draw(texts), created=draw(st.integers(1, 2**32)))]
    items += [Reasoning(text) for text in draw(st.lists(texts, max_size=2))]
    for text in draw(st.lists(texts, max_size=4)):
        items.append(text)
        if draw(st.booleans()):
            items.append(Logprobs([{"token": text, "logprob": draw(probability), "top_logprobs": []}]))
    calls = draw(st.lists(arguments, max_size=3))
    for index, candidate in enumerate(calls):
        text = json.dumps(candidate, ensure_ascii=False, separators=(",", ":"))
        cut = draw(st.integers(0, len(text)))
        items += [ToolCall(index, f"id{index}", draw(texts), text[:cut]), ToolCall(index, arguments=text[cut:])]
    ends: list[Item] = [Finish(draw(st.sampled_from(["tool_calls" if calls else "stop", "length"])))]
    if draw(st.booleans()):
        ends.append(Usage(draw(st.integers(0, 2**40)), draw(st.integers(0, 2**40))))
    return items + draw(st.permutations(ends))


cuts = st.lists(st.integers(1, 90), min_size=1, max_size=5)


@given(replies(), cuts, st.booleans())
@no_deadline
def test_a_written_stream_is_read_back_at_any_chunk_size(items: list[Item], sizes: list[int], one_by_one: bool) -> None:
    writer = DIALECT.writer(make_request())
    batches = [[item] for item in items] if one_by_one else [items]
    data = b"".join([writer.write(batch) for batch in batches]) + writer.end()
    assert collect(read(data, sizes)) == collect(items)


@given(replies())
@no_deadline
def test_a_written_document_is_read_back(items: list[Item]) -> None:
    reply = collect(items)
    assert collect(read(DIALECT.write_reply(reply, make_request()), [50], DOCUMENT)) == reply


@given(replies(), st.data())
@no_deadline
def test_a_written_stream_that_is_cut_is_truncated_or_complete(items: list[Item], data: st.DataObject) -> None:
    stream = write(items)
    end = data.draw(st.integers(0, 2**16)) % len(stream)
    try:
        assert collect(read(stream[:end])) == collect(items)
    except TruncatedError:
        assert end < len(stream) - 1


def test_generate_has_a_response_instead_of_a_message() -> None:
    endpoint = OllamaGenerate()
    items: list[Item] = [Start(model="m"), Reasoning("hm"), "He", "llo", Usage(3, 2), Finish("length")]
    writer = endpoint.writer(make_request())
    lines = [json.loads(line) for line in (writer.write(items) + writer.ping + writer.end()).splitlines()]
    assert not any("message" in line for line in lines)
    assert [(line["response"], line.get("thinking"), line["done"]) for line in lines] == [
        ("", "hm", False),
        ("He", None, False),
        ("llo", None, False),
        ("", None, False),
        ("", None, True),
    ]
    assert (lines[-1]["done_reason"], lines[-1]["eval_count"]) == ("length", 2)
    document = json.loads(endpoint.write_reply(collect(items), make_request()))
    assert (document["response"], document["thinking"], document["done"]) == ("Hello", "hm", True)
    assert "message" not in document


def test_loading_the_model_is_a_reply_without_text() -> None:
    items: list[Item] = [Start(model="m"), Finish("load", raw="load")]
    document = json.loads(DIALECT.write_reply(collect(items), make_request()))
    assert (document["message"]["content"], document["done_reason"]) == ("", "load")
    assert json.loads(write(items))["done_reason"] == "load"
