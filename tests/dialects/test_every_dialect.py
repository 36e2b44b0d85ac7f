"""Replies in every dialect: the same in any chunks, an error if they are truncated, bounded in memory."""

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
from acytoo.types import Finish, Item, Reasoning, Refusal, Start, ToolCall, Usage, collect
from acytoo.wire.limits import MAX_ELEMENTS, MAX_RECORD, MAX_REPLY_ELEMENTS
from tests.dialects.strategies import (
    document_type,
    encode_document,
    encode_stream,
    read_document,
    read_into,
    read_items,
    replies,
    reply_fields,
    request_for,
    sample,
    split_at,
    split_bytes,
    texts,
)

every = pytest.mark.parametrize("dialect", dialects.ALL, ids=[dialect.name for dialect in dialects.ALL])
every_with_records = pytest.mark.parametrize(
    "dialect",
    [dialect for dialect in dialects.ALL if dialect.capabilities.finish],
    ids=[dialect.name for dialect in dialects.ALL if dialect.capabilities.finish],
)
PLACES = st.lists(st.integers(0, 100_000), max_size=40)
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@every
@given(st.data(), PLACES)
@slow
def test_a_stream_is_read_as_written_in_any_chunks(dialect: Dialect, data: st.DataObject, places: list[int]) -> None:
    items = data.draw(replies(dialect))
    decoded = read_items(dialect, split_at(encode_stream(dialect, items), places))
    assert reply_fields(dialect, decoded) == reply_fields(dialect, items)
    if dialect.capabilities.finish:
        assert texts(decoded) == texts(items)
    assert all(texts(decoded))


@every
@given(st.data(), PLACES)
@slow
def test_a_document_is_read_as_written_in_any_chunks(dialect: Dialect, data: st.DataObject, places: list[int]) -> None:
    reply = collect(data.draw(replies(dialect)))
    decoded = read_document(dialect, split_at(encode_document(dialect, reply), places))
    assert reply_fields(dialect, decoded) == reply_fields(dialect, reply.items())


WITH_REFUSAL: dict[str, list[Item]] = {
    "a refusal": [Refusal("No."), Finish("stop")],
    "a refusal after a text": ["Half a ", Refusal("No."), Finish("stop")],
    "a refusal after a thought": [Reasoning("hm"), Refusal("No."), Finish("stop")],
}


@every
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
@pytest.mark.parametrize("items", WITH_REFUSAL.values(), ids=WITH_REFUSAL)
def test_a_refusal_is_not_lost_beside_anything_else(dialect: Dialect, items: list[Item], stream: bool) -> None:
    if stream:
        reply = collect(read_items(dialect, [encode_stream(dialect, items)]))
    else:
        reply = collect(read_document(dialect, [encode_document(dialect, collect(items))]))
    assert reply.text + reply.refusal == collect(items).text + "No."


@every_with_records
@pytest.mark.parametrize("names_none", [True, False])
def test_a_reply_that_names_no_model_is_written_with_that_of_the_request(dialect: Dialect, names_none: bool) -> None:
    items: list[Item] = [Start("id-1", "" if names_none else "m-own", 7), "Hi", Finish("stop")]
    expected = request_for(dialect).model if names_none else "m-own"
    assert collect(read_items(dialect, [encode_stream(dialect, items)])).model == expected
    assert collect(read_document(dialect, [encode_document(dialect, collect(items))])).model == expected


@every
def test_a_reply_may_arrive_one_byte_at_a_time(dialect: Dialect) -> None:
    items = sample(dialect)
    assert reply_fields(dialect, read_items(dialect, split_bytes(encode_stream(dialect, items)))) == reply_fields(
        dialect, items
    )
    document = split_bytes(encode_document(dialect, collect(items)))
    assert reply_fields(dialect, read_document(dialect, document)) == reply_fields(dialect, items)


@every
def test_a_stream_truncated_at_any_byte_is_an_error_and_invents_nothing(dialect: Dialect) -> None:
    items = sample(dialect)
    body, full = encode_stream(dialect, items), reply_fields(dialect, items)
    for place in range(len(body)):
        decoded: list[Item] = []
        try:
            read_into(decoded, dialect, [body[:place]])
        except TruncatedError:
            complete = False
        else:
            complete = dialect.capabilities.finish
        part = reply_fields(dialect, decoded)
        for field in ("text", "refusal"):
            assert full[field].startswith(part[field])
        assert "".join(full["reasoning"]).startswith("".join(part["reasoning"]))
        for call, part_of_call in zip(full["calls"], part["calls"], strict=False):
            assert all(value.startswith(start) for value, start in zip(call, part_of_call, strict=True))
        if complete:
            fields = ("text", "refusal", "reasoning", "calls", "logprobs", "finish")
            assert [part[field] for field in fields] == [full[field] for field in fields]


@every
def test_a_document_truncated_at_any_byte_is_an_error(dialect: Dialect) -> None:
    body = encode_document(dialect, collect(sample(dialect)))
    for place in range(len(body)):
        decoded: list[Item] = []
        try:
            read_into(decoded, dialect, [body[:place]], document_type(dialect))
        except TruncatedError:
            continue
        assert not dialect.capabilities.finish, f"a document truncated at byte {place} passed for complete"
        assert collect(sample(dialect)).text.startswith("".join(texts(decoded)))


@every
@given(st.data())
@slow
def test_pings_between_the_records_change_nothing(dialect: Dialect, data: st.DataObject) -> None:
    items = data.draw(replies(dialect))
    writer = dialect.writer(request_for(dialect))
    body = b"".join([writer.ping + writer.write([item]) for item in items]) + writer.ping + writer.end()
    decoded, expected = reply_fields(dialect, read_items(dialect, [body])), reply_fields(dialect, items)
    del decoded["start"], expected["start"]  # a ping before the first item may have to name the reply
    assert decoded == expected


@every_with_records
def test_documents_and_streams_are_recognized_whatever_their_content_type(dialect: Dialect) -> None:
    items = sample(dialect)
    document = encode_document(dialect, collect(items))
    for content_type in ("text/event-stream", "application/json", "text/plain"):
        if not is_ndjson(dialect) or content_type == "application/json":
            assert reply_fields(dialect, read_items(dialect, [document], content_type)) == reply_fields(dialect, items)
        assert reply_fields(
            dialect, read_items(dialect, [encode_stream(dialect, items)], content_type)
        ) == reply_fields(dialect, items)


@every
@pytest.mark.parametrize("arguments", ['{"x": 1, "y', "x=1", "[1]"])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_call_with_invalid_arguments_is_passed_on_unchanged_or_an_error(
    dialect: Dialect, arguments: str, streamed: bool
) -> None:
    items: list[Item] = ["Hm", ToolCall(0, "a", "f"), ToolCall(0, arguments=arguments), Finish("tool_calls")]
    try:
        body = encode_stream(dialect, items) if streamed else encode_document(dialect, collect(items))
        decoded = collect(read_items(dialect, [body], "" if streamed else document_type(dialect)))
    except AcytooError:
        return
    assert [call["function"]["arguments"] for call in decoded.tool_calls] in ([], [arguments])
    assert decoded.finish_reason not in ("stop", "length")


@every_with_records
def test_a_surrogate_pair_split_over_two_records_is_joined(dialect: Dialect) -> None:
    body = encode_stream(dialect, ["x", "@1", "@2", "y", "@3"], batch=1)
    for name, escape in ((b"@1", rb"a\ud83d"), (b"@2", rb"\ude00b"), (b"@3", rb"c\ud83d")):
        body = body.replace(name, escape, 1)
    body = body.replace(b"@1@2", rb"a\ud83d\ude00b").replace(b"@3", b"c").replace(b"@1", b"").replace(b"@2", b"")
    assert "".join(texts(read_items(dialect, [body]))) == "xa😀byc\ufffd"
    assert "".join(texts(read_items(dialect, split_bytes(body)))) == "xa😀byc\ufffd"


@every_with_records
def test_a_lone_surrogate_in_a_document_becomes_a_replacement_character(dialect: Dialect) -> None:
    document = encode_document(dialect, collect(["@1"])).replace(b"@1", rb"a\ud83d \ud83d\ude00")
    assert "".join(texts(read_document(dialect, [document]))) == "a\ufffd 😀"


# Unknown fields and records.


def is_ndjson(dialect: Dialect) -> bool:
    return "ndjson" in dialect.writer(request_for(dialect)).content_type


def split_records(dialect: Dialect, body: bytes) -> list[bytes]:
    """Return the records of a body, each with its framing."""
    end = b"\n" if is_ndjson(dialect) else b"\n\n"
    return [record + end for record in body.split(end) if record]


def split_frame(record: bytes) -> tuple[bytes, Any, bytes]:
    """Return (bytes before, document, bytes after) of a record. The document is None if it has no JSON object."""
    start = record.find(b"{")
    if start < 0:
        return record, None, b""
    text = record[start:].rstrip(b"\n")
    return record[:start], msgspec.json.decode(text), record[start + len(text) :]


def with_unknown_fields(document: Any) -> Any:
    """Return the document with unknown fields in every object of the API, but not in objects of the user."""
    if isinstance(document, dict):
        known = {
            name: value
            if name in ("input", "arguments", "args", "logprobs", "logprobsResult")
            else with_unknown_fields(value)
            for name, value in document.items()
        }
        return {"x_first": [{"type": 5}], **known, "x_last": {"deep": [None, True, 1.5, {}]}}
    return [with_unknown_fields(item) for item in document] if isinstance(document, list) else document


@every_with_records
def test_unknown_fields_change_nothing(dialect: Dialect) -> None:
    items, body = sample(dialect), b""
    for record in split_records(dialect, encode_stream(dialect, items)):
        before, document, after = split_frame(record)
        body += record if document is None else before + msgspec.json.encode(with_unknown_fields(document)) + after
    assert reply_fields(dialect, read_items(dialect, [body])) == reply_fields(dialect, items)
    document = msgspec.json.decode(encode_document(dialect, collect(items)))
    decoded = read_document(dialect, [msgspec.json.encode(with_unknown_fields(document))])
    assert reply_fields(dialect, decoded) == reply_fields(dialect, items)


@every_with_records
def test_unknown_records_change_nothing(dialect: Dialect) -> None:
    items = sample(dialect)
    records = split_records(dialect, encode_stream(dialect, items))
    unknown = b'{"type":"x.unknown","x":[1]}'
    frames = [b"event: x.unknown\ndata: " + unknown + b"\n\n", b"data: " + unknown + b"\n\n", b"id: 5\nx: y\n\n"]
    for frame in [unknown + b"\n"] if is_ndjson(dialect) else frames:
        body = b"".join([part for record in records for part in (frame, record)])
        assert reply_fields(dialect, read_items(dialect, [body])) == reply_fields(dialect, items)


# Invalid replies.


@every_with_records
def test_invalid_utf8_is_an_error(dialect: Dialect) -> None:
    for body, content_type in (
        (encode_stream(dialect, ["@@@"]), ""),
        (encode_document(dialect, collect(["@@@"])), document_type(dialect)),
    ):
        with pytest.raises(ProtocolError):
            read_items(dialect, [body.replace(b"@@@", b"a\xff\xfeb")], content_type)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def paths_in(document: Any) -> list[list[Any]]:
    """Return the path of every value inside a document."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        inside = list(document.items())
    elif isinstance(document, list):
        inside = list(enumerate(document))
    return [[]] + [[key, *path] for key, value in inside for path in paths_in(value)]


REMOVED = object()
WRONG_VALUES = JSON_VALUES | st.just(REMOVED)


def replace_at(document: Any, path: list[Any], value: Any) -> Any:
    """Return the document with the value at a path replaced, or removed if it is `REMOVED`."""
    if not path:
        return {} if value is REMOVED else value
    copy = document.copy()
    if value is REMOVED and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = replace_at(copy[path[0]], path[1:], value)
    return copy


@every_with_records
@given(st.data())
@slow
def test_a_wrong_value_anywhere_raises_only_acytoo_errors(dialect: Dialect, data: st.DataObject) -> None:
    records = split_records(dialect, encode_stream(dialect, sample(dialect)))
    bodies = [encode_document(dialect, collect(sample(dialect)))]
    place = data.draw(st.integers(0, len(records)))
    before, document, after = split_frame((records + bodies)[place])
    if document is None:
        return
    path = data.draw(st.sampled_from(paths_in(document)))
    wrong = before + msgspec.json.encode(replace_at(document, path, data.draw(WRONG_VALUES))) + after
    try:
        if place == len(records):
            read_document(dialect, [wrong])
        else:
            read_items(dialect, [*records[:place], wrong, *records[place + 1 :]])
    except AcytooError:
        pass


@every
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"data: {", b'{"', b"}\n\n", b"\r\n", b"data: [DONE]\n\n"])))
@slow
def test_any_bytes_raise_only_acytoo_errors(dialect: Dialect, chunks: list[bytes]) -> None:
    for content_type in ("", "application/json", "text/html"):
        try:
            read_items(dialect, chunks, content_type)
        except AcytooError:
            pass


@every
def test_an_html_page_instead_of_a_reply_is_an_error_with_its_title(dialect: Dialect) -> None:
    page = b"\n<!DOCTYPE html><html><head><title>Sign in</title></head>" + b"<p>" * 100_000
    with pytest.raises(ProtocolError, match="Sign in"):
        read_items(dialect, split_at(page, [100, 5000]), "text/html; charset=utf-8")


@every
def test_an_error_document_instead_of_a_reply_is_raised_with_its_message(dialect: Dialect) -> None:
    body = dialect.write_error(status_error(429, "Slow down.")).body
    with pytest.raises(StatusError, match="Slow down"):
        read_items(dialect, [body], "application/json")


@every_with_records
@pytest.mark.parametrize("record", [b'{"detail":"GPU lost"}', b'{"error":"GPU lost"}', b'{"error":{}}'])
def test_an_error_in_a_stream_is_raised_whatever_its_shape(dialect: Dialect, record: bytes) -> None:
    frame = record + b"\n" if is_ndjson(dialect) else b"data: " + record + b"\n\n"
    first, *rest = split_records(dialect, encode_stream(dialect, ["Hello"], batch=1))
    while b"Hello" not in first:
        first += rest.pop(0)
    for pass_through in (False, True):
        reader = dialect.reader(ResponseHead(200, {"content-type": dialect.writer(request_for(dialect)).content_type}))
        with pytest.raises(StatusError, match=r"GPU lost|without a message"):
            for chunk in (first, frame, *rest):
                reader.scan(chunk) if pass_through else reader.feed(chunk)


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
def test_a_stream_with_an_end_but_no_reply_is_truncated(dialect: Dialect, body: bytes) -> None:
    for chunks in ([body], split_bytes(body)):
        with pytest.raises(TruncatedError):
            read_items(dialect, chunks)
        reader = dialect.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
        for chunk in chunks:
            reader.scan(chunk)
        with pytest.raises(TruncatedError):
            reader.close()


@every_with_records
def test_text_instead_of_records_is_quoted_in_the_error(dialect: Dialect) -> None:
    for body in (b"upstream is down", b"event of the day: upstream is down\n\n"):
        for content_type in ("text/plain", "text/event-stream", "application/json"):
            with pytest.raises(ProtocolError, match="upstream is down"):
                read_items(dialect, [body], content_type)


# Size limits.


@every_with_records
@pytest.mark.parametrize("start", [b"data: ", b'{"x": "', b'data: {"x": "', b"x"])
def test_a_line_of_100_megabytes_exceeds_a_limit(dialect: Dialect, start: bytes) -> None:
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


@every_with_records
@pytest.mark.parametrize("value", [b"[]", b"{}", b"0"])
def test_a_record_or_document_of_millions_of_values_is_an_error(dialect: Dialect, value: bytes) -> None:
    name = {"gemini": b"candidates", "openai": b"choices"}.get(dialect.name, b"x")
    body = b'{"%b": [' % name + (value + b",") * MAX_REPLY_ELEMENTS + value + b"]}"
    frame = b"%b\n" if is_ndjson(dialect) else b"data: %b\n\n"
    for content_type, data in (("application/json", body), ("text/event-stream", frame % body)):
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolError, match="values and fields"):
                read_items(dialect, [data[i : i + 65536] for i in range(0, len(data), 65536)], content_type)
            assert tracemalloc.get_traced_memory()[1] < 5 * len(body)
        finally:
            tracemalloc.stop()


@every_with_records
def test_wrong_types_in_a_large_document_are_not_tolerated(dialect: Dialect) -> None:
    body = b'{"id": 5, "choices": 5, "candidates": 5, "message": 5, "output": 5, "type": 5, "content": 5, "x": ['
    body += b"[]," * MAX_ELEMENTS + b"0]}"
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            read_document(dialect, [body])
        assert tracemalloc.get_traced_memory()[1] < 10 * len(body)
    finally:
        tracemalloc.stop()


@every
def test_small_records_are_not_kept_in_memory(dialect: Dialect) -> None:
    items = ["word "] * 500
    writer = dialect.writer(request_for(dialect))
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
def test_two_hundred_thousand_tiny_records_are_read(dialect: Dialect) -> None:
    frame = b'{"type":"x"}\n' if is_ndjson(dialect) else b'data: {"type":"x"}\n\n'
    reader = dialect.reader(ResponseHead(200, {"content-type": dialect.writer(request_for(dialect)).content_type}))
    block = frame * 5000
    assert [item for _ in range(40) for item in reader.feed(block)] == []
    decoded = reader.feed(encode_stream(dialect, sample(dialect))) + reader.flush()
    assert reply_fields(dialect, decoded) == reply_fields(dialect, sample(dialect))


@every
def test_a_text_of_10_megabytes_is_read(dialect: Dialect) -> None:
    text = "wörd " * 2_000_000
    body = encode_stream(dialect, [text])
    assert "".join(texts(read_items(dialect, [body[i : i + 65536] for i in range(0, len(body), 65536)]))) == text
    body = encode_document(dialect, collect([text]))
    assert "".join(texts(read_document(dialect, [body[i : i + 65536] for i in range(0, len(body), 65536)]))) == text


@every
def test_a_large_record_in_chunks_of_one_byte_is_read(dialect: Dialect) -> None:
    text = "x" * 100_000
    assert "".join(texts(read_items(dialect, split_bytes(encode_stream(dialect, [text]))))) == text


@every_with_records
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"error":', b'{"message":', b'{"choices":[', b'{"response":'])
def test_json_that_is_nested_too_deeply_is_an_error(dialect: Dialect, opening: bytes) -> None:
    nested = opening * 100_000
    for body in (b"data: " + nested + b"\n\n", nested + b"\n", nested):
        with pytest.raises((ProtocolError, TruncatedError)):
            read_items(dialect, [body])
    assert len(nested) < MAX_RECORD


# Lone surrogates and secrets in errors.

SURROGATE_ERRORS: list[tuple[Dialect, bytes]] = [
    (dialects.OpenAI(), rb'data: {"error":{"message":"bad \ud83d","type":"\ud83d"}}' + b"\n\n"),
    (dialects.OpenAI(), rb'data: {"detail":"bad \ud83d"}' + b"\n\n"),
    (dialects.OpenAI(), rb'data: {"error":{"detail":["bad \ud83d"]}}' + b"\n\n"),
    (dialects.Anthropic(), rb'data: {"type":"error","error":{"type":"x","message":"bad \ud83d"}}' + b"\n\n"),
    (dialects.OpenAIResponses(), rb'data: {"type":"error","code":"\ud83d","message":"bad \ud83d"}' + b"\n\n"),
    (dialects.Gemini(), rb'data: {"error":{"code":400,"message":"bad \ud83d"}}' + b"\n\n"),
    (dialects.Ollama(), rb'{"error":"bad \ud83d"}' + b"\n"),
]


@pytest.mark.parametrize(("dialect", "body"), SURROGATE_ERRORS)
def test_a_lone_surrogate_in_an_error_becomes_a_replacement_character(dialect: Dialect, body: bytes) -> None:
    for chunks in ([body], [body.rstrip(b"\n")], split_bytes(body)):
        with pytest.raises(StatusError, match="bad \ufffd") as caught:
            read_items(dialect, chunks)
        assert str(vars(caught.value)).encode()
    assert dialect.read_error(500, body[body.find(b"{") :]).message.startswith(("bad \ufffd", '["bad \ufffd'))


SURROGATE_ARGUMENTS: list[tuple[Dialect, bytes]] = [
    (
        dialects.OpenAI(),
        rb'data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":{"a":"\ud83d"}}}]},'
        rb'"finish_reason":"tool_calls"}]}' + b"\n\n",
    ),
    (
        dialects.Anthropic(),
        rb'data: {"type":"content_block_start","content_block":{"type":"tool_use","name":"f","input":{"a":"\ud83d"}}}'
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


@pytest.mark.parametrize(("dialect", "body"), SURROGATE_ARGUMENTS)
def test_a_lone_surrogate_in_arguments_becomes_a_replacement_character(dialect: Dialect, body: bytes) -> None:
    for chunks in ([body], split_bytes(body)):
        (call,) = collect(read_items(dialect, chunks)).tool_calls
        assert msgspec.json.decode(call["function"]["arguments"]) == {"a": "\ufffd"}


def test_a_lone_surrogate_outside_a_text_is_an_error() -> None:
    with pytest.raises(ProtocolError):
        read_items(dialects.OpenAI(), [rb'data: {"choices":"\ud83d"}' + b"\n\n"])


@every
def test_an_error_that_is_nested_too_deeply_is_reported(dialect: Dialect) -> None:
    for opening, closing in ((b'{"error":', b"}"), (b'{"detail":[', b"]}"), (b"[", b"]")):
        for depth in range(800, 1000, 3):
            body = opening * depth + b"1" + closing * depth
            assert dialect.read_error(500, body).message
            for frame in (b"data: " + body + b"\n\n", body) if dialect.capabilities.finish else ():
                with pytest.raises(AcytooError):
                    read_items(dialect, [frame], "application/json")


KEY = "sk-0123456789abcdefghij"


@every
@pytest.mark.parametrize("size", [200, 500, 2000])
def test_a_secret_that_truncation_splits_is_redacted(dialect: Dialect, size: int) -> None:
    for place in range(size - len(KEY) - 3, size + 3):
        body = b"x" * place + KEY.encode() + b" is not valid " + b"y" * 3000
        errors: list[AcytooError] = [dialect.read_error(401, body)]
        try:
            read_items(dialect, [b"data: " + body + b"\n\n"])
        except AcytooError as error:
            errors.append(error)
        for original in errors:
            assert "sk" not in str(vars(redact_error(original, b"", [Secret(KEY)])))


# Errors, both ways.


@every
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 504])
def test_an_error_keeps_its_status_message_and_class(dialect: Dialect, status: int) -> None:
    error = status_error(status, "It is ‘so’.", retry_after=2)
    response = dialect.write_error(error)
    assert response.status == status
    assert response.headers["content-type"].startswith("application/json")
    assert response.headers["retry-after"] == "2"
    back = dialect.read_error(response.status, response.body, 2)
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
def test_an_error_in_mid_stream_reaches_the_client(
    dialect: Dialect, error: AcytooError, kind: type[StatusError]
) -> None:
    writer = dialect.writer(request_for(dialect))
    body = writer.write(["Hello"]) + writer.fail(error)
    decoded: list[Item] = []
    if not dialect.capabilities.finish:
        assert body == b"Hello"
        return
    with pytest.raises(StatusError) as caught:
        read_into(decoded, dialect, [body])
    assert error.message in caught.value.message
    assert isinstance(caught.value, kind) or caught.value.status is None


@every
def test_usage_is_never_negative_and_never_invented(dialect: Dialect) -> None:
    items = [item for item in sample(dialect) if not isinstance(item, Usage)]
    usage = collect(read_items(dialect, [encode_stream(dialect, items)])).usage
    assert usage in (None, Usage())


COUNTED = {
    "openai": '{"choices": [{"index": 0, "delta": {"annotations": [], "x": %d}}]}',
    "openai-responses": '{"type": "response.unknown", "sequence_number": %d, "at": %d}',
    "anthropic": '{"type": "content_block_delta", "index": 0, "delta": {"type": "unknown", "number": %d}}',
    "gemini": '{"usageMetadata": {"promptTokenCount": %d}}',
}
"""Records without content that differ in numbers only, as keep-alives of a server may."""


@pytest.mark.parametrize("name", COUNTED)
def test_records_without_content_that_only_count_are_keep_alives_after_a_while(name: str) -> None:
    reader = dialects.by_name(name).reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    progress = []
    for number in range(100, 200):
        reader.feed(f"data: {COUNTED[name].replace('%d', str(number))}\n\n".encode())
        progress.append(reader.received_content)
    assert not any(progress[20:])


def test_reports_of_how_much_of_a_prompt_has_been_read_stay_progress() -> None:
    reader = dialects.OpenAI().reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    for number in range(100):
        reader.feed(b'data: {"choices": [], "prompt_progress": {"total": 1000, "processed": %d}}\n\n' % number)
        assert reader.received_content
