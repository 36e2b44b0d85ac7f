"""Replies in every dialect: whole however they are cut, never silently short, never beyond a limit."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.client import redact_error
from acytoo.dialects.base import Dialect
from acytoo.dialects.readers import MAX_DOCUMENT
from acytoo.errors import (
    AcytooError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StatusError,
    TimedOutError,
    TruncatedError,
    status_error,
)
from acytoo.http import ResponseHead
from acytoo.secret import Secret
from acytoo.types import Finish, Item, ToolCall, Usage, collect
from acytoo.wire.limits import MAX_RECORD
from tests.dialects.strategies import (
    asked,
    cut,
    heard,
    read,
    read_into,
    read_whole,
    replies,
    sample,
    singly,
    texts,
    whole_type,
    written,
    written_whole,
)

every = pytest.mark.parametrize("dialect", dialects.ALL, ids=[dialect.name for dialect in dialects.ALL])
every_with_records = pytest.mark.parametrize(
    "dialect",
    [dialect for dialect in dialects.ALL if dialect.capabilities.finish],
    ids=[dialect.name for dialect in dialects.ALL if dialect.capabilities.finish],
)
ENVIRONMENTS = st.lists(st.integers(0, 100_000), max_size=40)
slowly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@every
@given(st.data(), ENVIRONMENTS)
@slowly
def test_what_was_written_is_read_however_it_is_cut(dialect: Dialect, data: st.DataObject, places: list[int]) -> None:
    items = data.draw(replies(dialect))
    found = read(dialect, cut(written(dialect, items), places))
    assert heard(dialect, found) == heard(dialect, items)
    if dialect.capabilities.finish:
        assert texts(found) == texts(items)
    assert all(texts(found))


@every
@given(st.data(), ENVIRONMENTS)
@slowly
def test_a_whole_reply_comes_back(dialect: Dialect, data: st.DataObject, places: list[int]) -> None:
    reply = collect(data.draw(replies(dialect)))
    found = read_whole(dialect, cut(written_whole(dialect, reply), places))
    assert heard(dialect, found) == heard(dialect, reply.items())


@every
def test_a_reply_may_come_one_byte_at_a_time(dialect: Dialect) -> None:
    items = sample(dialect)
    assert heard(dialect, read(dialect, singly(written(dialect, items)))) == heard(dialect, items)
    whole = singly(written_whole(dialect, collect(items)))
    assert heard(dialect, read_whole(dialect, whole)) == heard(dialect, items)


@every
def test_a_stream_cut_at_any_byte_is_told_and_invents_nothing(dialect: Dialect) -> None:
    items = sample(dialect)
    body, full = written(dialect, items), heard(dialect, items)
    for place in range(len(body)):
        found: list[Item] = []
        try:
            read_into(found, dialect, [body[:place]])
        except TruncatedError:
            whole = False
        else:
            whole = dialect.capabilities.finish
        part = heard(dialect, found)
        for said in ("text", "refusal"):
            assert full[said].startswith(part[said])
        assert "".join(full["reasoning"]).startswith("".join(part["reasoning"]))
        for call, cut_call in zip(full["calls"], part["calls"], strict=False):
            assert all(field.startswith(cut_field) for field, cut_field in zip(call, cut_call, strict=True))
        if whole:
            said_all = ("text", "refusal", "reasoning", "calls", "logprobs", "finish")
            assert [part[said] for said in said_all] == [full[said] for said in said_all]


@every
def test_a_document_cut_at_any_byte_is_told(dialect: Dialect) -> None:
    body = written_whole(dialect, collect(sample(dialect)))
    for place in range(len(body)):
        found: list[Item] = []
        try:
            read_into(found, dialect, [body[:place]], whole_type(dialect))
        except TruncatedError:
            continue
        assert not dialect.capabilities.finish, f"a document cut at byte {place} was taken for a whole one"
        assert collect(sample(dialect)).text.startswith("".join(texts(found)))


@every
@given(st.data())
@slowly
def test_pings_between_the_records_change_nothing(dialect: Dialect, data: st.DataObject) -> None:
    items = data.draw(replies(dialect))
    writer = dialect.writer(asked(dialect))
    body = b"".join([writer.ping + writer.write([item]) for item in items]) + writer.ping + writer.end()
    found, meant = heard(dialect, read(dialect, [body])), heard(dialect, items)
    del found["start"], meant["start"]  # a ping before the first item may have to name the reply
    assert found == meant


@every_with_records
def test_a_document_may_come_in_place_of_a_stream_and_a_stream_as_json(dialect: Dialect) -> None:
    items = sample(dialect)
    document = written_whole(dialect, collect(items))
    for content_type in ("text/event-stream", "application/json", "text/plain"):
        if not speaks_lines(dialect) or content_type == "application/json":
            assert heard(dialect, read(dialect, [document], content_type)) == heard(dialect, items)
        assert heard(dialect, read(dialect, [written(dialect, items)], content_type)) == heard(dialect, items)


@every
@pytest.mark.parametrize("arguments", ['{"x": 1, "y', "x=1", "[1]"])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_call_without_whole_arguments_is_told_as_it_is_or_as_a_fault(
    dialect: Dialect, arguments: str, streamed: bool
) -> None:
    items: list[Item] = ["Hm", ToolCall(0, "a", "f"), ToolCall(0, arguments=arguments), Finish("tool_calls")]
    try:
        body = written(dialect, items) if streamed else written_whole(dialect, collect(items))
        found = collect(read(dialect, [body], "" if streamed else whole_type(dialect)))
    except AcytooError:
        return
    assert [call["function"]["arguments"] for call in found.tool_calls] in ([], [arguments])
    assert found.finish_reason not in ("stop", "length")


@every_with_records
def test_halves_of_a_character_in_two_records_are_joined(dialect: Dialect) -> None:
    body = written(dialect, ["x", "@1", "@2", "y", "@3"], batch=1)
    for name, escape in ((b"@1", rb"a\ud83d"), (b"@2", rb"\ude00b"), (b"@3", rb"c\ud83d")):
        body = body.replace(name, escape, 1)
    body = body.replace(b"@1@2", rb"a\ud83d\ude00b").replace(b"@3", b"c").replace(b"@1", b"").replace(b"@2", b"")
    assert "".join(texts(read(dialect, [body]))) == "xa😀byc\ufffd"
    assert "".join(texts(read(dialect, singly(body)))) == "xa😀byc\ufffd"


@every_with_records
def test_half_a_character_in_a_document_becomes_a_replacement_character(dialect: Dialect) -> None:
    document = written_whole(dialect, collect(["@1"])).replace(b"@1", rb"a\ud83d \ud83d\ude00")
    assert "".join(texts(read_whole(dialect, [document]))) == "a\ufffd 😀"


# What we do not know.


def speaks_lines(dialect: Dialect) -> bool:
    return "ndjson" in dialect.writer(asked(dialect)).content_type


def records_of(dialect: Dialect, body: bytes) -> list[bytes]:
    """The records of a body, frames and all."""
    end = b"\n" if speaks_lines(dialect) else b"\n\n"
    return [record + end for record in body.split(end) if record]


def document_of(record: bytes) -> tuple[bytes, Any, bytes]:
    """A record's (frame before, document, frame after); the document is None where it is no JSON."""
    start = record.find(b"{")
    if start < 0:
        return record, None, b""
    text = record[start:].rstrip(b"\n")
    return record[:start], msgspec.json.decode(text), record[start + len(text) :]


def with_unknown_fields(document: Any) -> Any:
    if isinstance(document, dict):
        told = {
            name: value
            if name in ("input", "arguments", "args", "logprobs", "logprobsResult")
            else with_unknown_fields(value)
            for name, value in document.items()
        }
        return {"x_first": [{"type": 5}], **told, "x_last": {"deep": [None, True, 1.5, {}]}}
    return [with_unknown_fields(item) for item in document] if isinstance(document, list) else document


@every_with_records
def test_fields_we_do_not_know_change_nothing(dialect: Dialect) -> None:
    items, body = sample(dialect), b""
    for record in records_of(dialect, written(dialect, items)):
        before, document, after = document_of(record)
        body += record if document is None else before + msgspec.json.encode(with_unknown_fields(document)) + after
    assert heard(dialect, read(dialect, [body])) == heard(dialect, items)
    whole = msgspec.json.decode(written_whole(dialect, collect(items)))
    found = read_whole(dialect, [msgspec.json.encode(with_unknown_fields(whole))])
    assert heard(dialect, found) == heard(dialect, items)


@every_with_records
def test_records_we_do_not_know_change_nothing(dialect: Dialect) -> None:
    items = sample(dialect)
    records = records_of(dialect, written(dialect, items))
    unknown = b'{"type":"x.unknown","x":[1]}'
    frames = [b"event: x.unknown\ndata: " + unknown + b"\n\n", b"data: " + unknown + b"\n\n", b"id: 5\nx: y\n\n"]
    for frame in [unknown + b"\n"] if speaks_lines(dialect) else frames:
        body = b"".join([part for record in records for part in (frame, record)])
        assert heard(dialect, read(dialect, [body])) == heard(dialect, items)


# What is wrong.


@every_with_records
def test_bytes_that_are_no_utf8_are_told(dialect: Dialect) -> None:
    for body, content_type in (
        (written(dialect, ["@@@"]), ""),
        (written_whole(dialect, collect(["@@@"])), whole_type(dialect)),
    ):
        with pytest.raises(ProtocolError):
            read(dialect, [body.replace(b"@@@", b"a\xff\xfeb")], content_type)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places_in(document: Any) -> list[list[Any]]:
    """The path of every value inside a document."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        inside = list(document.items())
    elif isinstance(document, list):
        inside = list(enumerate(document))
    return [[]] + [[key, *path] for key, value in inside for path in places_in(value)]


GONE = object()
WRONG = JSON | st.just(GONE)


def replaced(document: Any, path: list[Any], value: Any) -> Any:
    """The document with one value of it replaced, or gone."""
    if not path:
        return {} if value is GONE else value
    copy = document.copy()
    if value is GONE and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


@every_with_records
@given(st.data())
@slowly
def test_a_wrong_value_anywhere_raises_nothing_but_our_errors(dialect: Dialect, data: st.DataObject) -> None:
    records = records_of(dialect, written(dialect, sample(dialect)))
    bodies = [written_whole(dialect, collect(sample(dialect)))]
    place = data.draw(st.integers(0, len(records)))
    before, document, after = document_of((records + bodies)[place])
    if document is None:
        return
    path = data.draw(st.sampled_from(places_in(document)))
    wrong = before + msgspec.json.encode(replaced(document, path, data.draw(WRONG))) + after
    try:
        if place == len(records):
            read_whole(dialect, [wrong])
        else:
            read(dialect, [*records[:place], wrong, *records[place + 1 :]])
    except AcytooError:
        pass


@every
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"data: {", b'{"', b"}\n\n", b"\r\n", b"data: [DONE]\n\n"])))
@slowly
def test_any_bytes_raise_nothing_but_our_errors(dialect: Dialect, chunks: list[bytes]) -> None:
    for content_type in ("", "application/json", "text/html"):
        try:
            read(dialect, chunks, content_type)
        except AcytooError:
            pass


@every
def test_a_page_in_place_of_a_reply_is_told_by_its_title(dialect: Dialect) -> None:
    page = b"\n<!DOCTYPE html><html><head><title>Sign in</title></head>" + b"<p>" * 100_000
    with pytest.raises(ProtocolError, match="Sign in"):
        read(dialect, cut(page, [100, 5000]), "text/html; charset=utf-8")


@every
def test_an_error_in_place_of_a_reply_is_told_in_its_words(dialect: Dialect) -> None:
    body = dialect.write_error(status_error(429, "Slow down.")).body
    with pytest.raises(StatusError, match="Slow down"):
        read(dialect, [body], "application/json")


@every_with_records
@pytest.mark.parametrize("record", [b'{"detail":"GPU lost"}', b'{"error":"GPU lost"}', b'{"error":{}}'])
def test_an_error_in_a_stream_is_raised_whatever_its_shape(dialect: Dialect, record: bytes) -> None:
    frame = record + b"\n" if speaks_lines(dialect) else b"data: " + record + b"\n\n"
    first, *rest = records_of(dialect, written(dialect, ["Hello"], batch=1))
    while b"Hello" not in first:
        first += rest.pop(0)
    for passed_on in (False, True):
        reader = dialect.reader(ResponseHead(200, {"content-type": dialect.writer(asked(dialect)).content_type}))
        with pytest.raises(StatusError, match=r"GPU lost|without a message"):
            for chunk in (first, frame, *rest):
                reader.scan(chunk) if passed_on else reader.feed(chunk)


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (dialects.OpenAI(), b"data: [DONE]\n\n"),
        (dialects.OpenAI(), b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\ndata: [DONE]\n\n'),
        (dialects.Anthropic(), b'data: {"type":"message_stop"}\n\n'),
        (
            dialects.Anthropic(),
            b'data: {"type":"message_start","message":{"id":"i"}}\n\ndata: {"type":"message_stop"}\n\n',
        ),
        (dialects.OpenAIResponses(), b'data: {"type":"response.completed"}\n\n'),
    ],
)
def test_an_end_without_a_reply_is_no_reply(dialect: Dialect, body: bytes) -> None:
    for chunks in ([body], singly(body)):
        with pytest.raises(TruncatedError):
            read(dialect, chunks)
        reader = dialect.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
        for chunk in chunks:
            reader.scan(chunk)
        with pytest.raises(TruncatedError):
            reader.close()


@every_with_records
def test_text_in_place_of_records_is_told_in_its_words(dialect: Dialect) -> None:
    for body in (b"upstream is down", b"event of the day: upstream is down\n\n"):
        for content_type in ("text/plain", "text/event-stream", "application/json"):
            with pytest.raises(ProtocolError, match="upstream is down"):
                read(dialect, [body], content_type)


# Hostile sizes.


@every_with_records
@pytest.mark.parametrize("start", [b"data: ", b'{"x": "', b'data: {"x": "', b"x"])
def test_a_line_of_100_megabytes_meets_a_limit(dialect: Dialect, start: bytes) -> None:
    for content_type in ("", "application/json"):
        reader = dialect.reader(ResponseHead(200, {"content-type": content_type or "text/event-stream"}))
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolError, match="MiB"):
                for chunk in [start, *[b"x" * 65536] * 1600]:
                    reader.feed(chunk)
            assert tracemalloc.get_traced_memory()[1] < 2 * MAX_DOCUMENT
        finally:
            tracemalloc.stop()


@every
def test_a_hundred_megabytes_of_small_records_leave_nothing_behind(dialect: Dialect) -> None:
    items = ["word "] * 500
    writer = dialect.writer(asked(dialect))
    first = writer.write(["word "])
    block = writer.write(list(items))
    reader = dialect.reader(ResponseHead(200, {"content-type": writer.content_type}))
    reader.feed(first)
    for _ in range(10):
        assert len("".join(texts(reader.feed(block)))) == 2500
    tracemalloc.start()
    try:
        for _ in range(100):
            reader.feed(block)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000 + 10 * len(block)
    finally:
        tracemalloc.stop()


@every_with_records
def test_a_million_tiny_records_pass(dialect: Dialect) -> None:
    frame = b'{"type":"x"}\n' if speaks_lines(dialect) else b'data: {"type":"x"}\n\n'
    reader = dialect.reader(ResponseHead(200, {"content-type": dialect.writer(asked(dialect)).content_type}))
    block = frame * 5000
    assert [item for _ in range(200) for item in reader.feed(block)] == []
    found = reader.feed(written(dialect, sample(dialect))) + reader.flush()
    assert heard(dialect, found) == heard(dialect, sample(dialect))


@every
def test_a_text_of_10_megabytes_comes_through(dialect: Dialect) -> None:
    text = "wörd " * 2_000_000
    body = written(dialect, [text])
    assert "".join(texts(read(dialect, [body[i : i + 65536] for i in range(0, len(body), 65536)]))) == text
    whole = written_whole(dialect, collect([text]))
    assert "".join(texts(read_whole(dialect, [whole[i : i + 65536] for i in range(0, len(whole), 65536)]))) == text


@every
def test_a_record_that_drips_costs_no_more_than_its_length(dialect: Dialect) -> None:
    text = "x" * 300_000
    assert "".join(texts(read(dialect, singly(written(dialect, [text]))))) == text


@every_with_records
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"error":', b'{"message":', b'{"choices":[', b'{"response":'])
def test_json_nested_without_end_is_refused(dialect: Dialect, opening: bytes) -> None:
    nested = opening * 100_000
    for body in (b"data: " + nested + b"\n\n", nested + b"\n", nested):
        with pytest.raises((ProtocolError, TruncatedError)):
            read(dialect, [body])
    assert len(nested) < MAX_RECORD


# SurrogateJoiner of characters, and secrets, in an error's words.

HALF_TOLD: list[tuple[Dialect, bytes]] = [
    (dialects.OpenAI(), rb'data: {"error":{"message":"bad \ud83d","type":"\ud83d"}}' + b"\n\n"),
    (dialects.OpenAI(), rb'data: {"detail":"bad \ud83d"}' + b"\n\n"),
    (dialects.OpenAI(), rb'data: {"error":{"detail":["bad \ud83d"]}}' + b"\n\n"),
    (dialects.Anthropic(), rb'data: {"type":"error","error":{"type":"x","message":"bad \ud83d"}}' + b"\n\n"),
    (dialects.OpenAIResponses(), rb'data: {"type":"error","code":"\ud83d","message":"bad \ud83d"}' + b"\n\n"),
    (dialects.Gemini(), rb'data: {"error":{"code":400,"message":"bad \ud83d"}}' + b"\n\n"),
    (dialects.Ollama(), rb'{"error":"bad \ud83d"}' + b"\n"),
]


@pytest.mark.parametrize(("dialect", "body"), HALF_TOLD)
def test_half_a_character_in_an_error_becomes_a_replacement_character(dialect: Dialect, body: bytes) -> None:
    for chunks in ([body], [body.rstrip(b"\n")], singly(body)):
        with pytest.raises(StatusError, match="bad \ufffd") as caught:
            read(dialect, chunks)
        assert str(vars(caught.value)).encode()
    assert dialect.read_error(500, body[body.find(b"{") :]).message.startswith(("bad \ufffd", '["bad \ufffd'))


HALF_CALLED: list[tuple[Dialect, bytes]] = [
    (
        dialects.OpenAI(),
        rb'data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":{"a":"\ud83d"}}}]},'
        rb'"finish_reason":"tool_calls"}]}' + b"\n\n",
    ),
    (
        dialects.Anthropic(),
        rb'data: {"type":"content_block_start","content_block":{"type":"tool_use","input":{"a":"\ud83d"}}}'
        b'\n\ndata: {"type":"content_block_stop"}\n\ndata: {"type":"message_stop"}\n\n',
    ),
    (
        dialects.Gemini(),
        rb'data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":"\ud83d"}}}]},'
        rb'"finishReason":"STOP"}]}' + b"\n\n",
    ),
    (
        dialects.Ollama(),
        rb'{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a":"\ud83d"}}}]},"done":true}' + b"\n",
    ),
]


@pytest.mark.parametrize(("dialect", "body"), HALF_CALLED)
def test_half_a_character_in_arguments_becomes_a_replacement_character(dialect: Dialect, body: bytes) -> None:
    for chunks in ([body], singly(body)):
        (call,) = collect(read(dialect, chunks)).tool_calls
        assert msgspec.json.decode(call["function"]["arguments"]) == {"a": "\ufffd"}


def test_half_a_character_where_there_is_no_text_is_not_this_api() -> None:
    with pytest.raises(ProtocolError):
        read(dialects.OpenAI(), [rb'data: {"choices":"\ud83d"}' + b"\n\n"])


@every
def test_an_error_nested_without_end_is_told(dialect: Dialect) -> None:
    for opening, closing in ((b'{"error":', b"}"), (b'{"detail":[', b"]}"), (b"[", b"]")):
        for depth in range(800, 1000, 3):
            body = opening * depth + b"1" + closing * depth
            assert dialect.read_error(500, body).message
            for frame in (b"data: " + body + b"\n\n", body) if dialect.capabilities.finish else ():
                with pytest.raises(AcytooError):
                    read(dialect, [frame], "application/json")


KEY = "sk-0123456789abcdefghij"


@every
@pytest.mark.parametrize("size", [200, 500, 2000])
def test_a_secret_that_an_errors_cut_goes_through_is_taken_out(dialect: Dialect, size: int) -> None:
    for place in range(size - len(KEY) - 3, size + 3):
        body = b"x" * place + KEY.encode() + b" is not valid " + b"y" * 3000
        told: list[AcytooError] = [dialect.read_error(401, body)]
        try:
            read(dialect, [b"data: " + body + b"\n\n"])
        except AcytooError as error:
            told.append(error)
        for one in told:
            assert "sk" not in str(vars(redact_error(one, b"", [Secret(KEY)])))


# Errors, both ways.


@every
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 504])
def test_an_error_keeps_status_words_and_kind(dialect: Dialect, status: int) -> None:
    error = status_error(status, "It is ‘so’.", retry_after=2)
    answer = dialect.write_error(error)
    assert answer.status == status
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["retry-after"] == "2"
    back = dialect.read_error(answer.status, answer.body, 2)
    assert (type(back), back.status, back.message, back.retry_after) == (type(error), status, error.message, 2)


@every
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (status_error(429, "Slow down."), RateLimitError),
        (status_error(None, "Broken."), ServerError),
        (TimedOutError("idle", 5), ServerError),
        (TruncatedError("It was cut."), ServerError),
    ],
    ids=["429", "no status", "timed out", "cut"],
)
def test_a_fault_in_mid_stream_ends_in_an_error(dialect: Dialect, error: AcytooError, kind: type[StatusError]) -> None:
    writer = dialect.writer(asked(dialect))
    body = writer.write(["Hello"]) + writer.fail(error)
    found: list[Item] = []
    if not dialect.capabilities.finish:
        assert body == b"Hello"
        return
    with pytest.raises(StatusError) as caught:
        read_into(found, dialect, [body])
    assert error.message in caught.value.message
    assert isinstance(caught.value, kind) or caught.value.status is None


@every
def test_usage_is_never_negative_and_never_invented(dialect: Dialect) -> None:
    items = [item for item in sample(dialect) if not isinstance(item, Usage)]
    found = collect(read(dialect, [written(dialect, items)])).usage
    assert found in (None, Usage())
