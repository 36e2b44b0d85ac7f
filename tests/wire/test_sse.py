"""Server-sent events are decoded completely and in order, however the bytes are split."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.errors import ProtocolError
from acytoo.wire.limits import MAX_RECORD, MAX_REPLY_ELEMENTS
from acytoo.wire.sse import COMMENT, SSEDecoder, sse

DATA = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])).map(str.encode)


def decoded(chunks: Iterable[bytes]) -> list[bytes]:
    """Return the data of every event in the chunks, including an unfinished last one."""
    decoder = SSEDecoder()
    records = [record for chunk in chunks for record in decoder.feed(chunk)]
    return records + decoder.close()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """Split the body at the given places, modulo its length."""
    ends = sorted({place % (len(body) + 1) for place in places} | {len(body)})
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


CUTS = st.lists(st.integers(0, 10_000), max_size=30)


@given(st.lists(DATA), CUTS)
def test_encoded_events_decode_however_the_bytes_are_split(data: list[bytes], places: list[int]) -> None:
    assert decoded(cut(b"".join(map(sse, data)), places)) == data


@given(st.lists(st.tuples(DATA, st.sampled_from(["", "message", "errors"]))), CUTS)
def test_event_names_do_not_disturb_the_data(events: list[tuple[bytes, str]], places: list[int]) -> None:
    body = b"".join(sse(data, event) for data, event in events)
    assert decoded(cut(body, places)) == [data for data, _ in events]


@given(DATA.filter(lambda data: not data.lstrip().startswith((b"{", b"[{", b'"'))), CUTS)
def test_a_text_in_an_event_with_the_name_error_is_its_error(data: bytes, places: list[int]) -> None:
    for sent in (data, json.dumps(data.decode()).encode()):
        (record,) = decoded(cut(sse(sent, "error"), places))
        assert json.loads(record) == {"error": data.decode()}


def test_json_in_an_event_with_the_name_error_is_as_it_was_sent() -> None:
    for data in (b'{"message":"slow down"}', b'[{"error":{}}]'):
        for body in (sse(data, "error"), b"id: 1\nevent: error\ndata: " + data + b"\n\n"):
            assert decoded([body]) == [data]


@pytest.mark.parametrize("fields", [b"event: error\nid: 1\n", b"id: 1\nevent:error\n", b": comment\nevent: error\n"])
def test_the_error_of_an_event_may_have_several_lines(fields: bytes) -> None:
    assert decoded([fields + b"data: it\ndata: broke\n\n"]) == [b'{"error": "it\\nbroke"}']


@pytest.mark.parametrize("name", [b"event:error", b"event: error  "])
def test_the_text_of_an_error_is_known_however_its_event_is_written(name: bytes) -> None:
    assert decoded([name + b"\ndata: it broke\n\n"]) == [b'{"error": "it broke"}']


def test_the_text_of_an_error_may_begin_like_deeply_nested_json() -> None:
    text = "[" * 100_000
    assert [json.loads(record) for record in decoded([sse(text.encode(), "error")])] == [{"error": text}]


def test_the_name_of_an_event_is_not_in_its_data() -> None:
    assert decoded([b"event: message\ndata: a\ndata: event: error\n\n"]) == [b"a\nevent: error"]


LINES = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data:  c",
        b"data",
        b"data:",
        b": hi",
        b":",
        b"event: x",
        b"id: 7",
        b"retry: 5",
        b"",
        b"odd",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def by_the_standard(lines: list[bytes]) -> list[bytes]:
    """Parse line by line as the standard does, but keep a last event without its blank line."""
    events: list[list[bytes]] = [[]]
    for line in lines:
        field, _, value = line.partition(b":")
        if not line:
            events.append([])
        elif field == b"data":
            events[-1].append(value.removeprefix(b" "))
    return [b"\n".join(data) for data in events if data]


@given(st.lists(st.tuples(LINES, ENDS)), CUTS, st.booleans())
def test_lines_are_parsed_as_the_standard_requires(
    lines: list[tuple[bytes, bytes]], places: list[int], bom: bool
) -> None:
    body = b"".join(line + end for line, end in lines)
    meant = by_the_standard(re.split(b"\r\n|\r|\n", body))
    assert decoded(cut(b"\xef\xbb\xbf" * bom + body, places)) == meant


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data\n\n", [b""]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\ndata: b\n\ndata: c\n\n", [b"a\nb", b"c"]),
        (b"data: c\n\ndata: a\ndata: b\n\n", [b"c", b"a\nb"]),
        (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [b"a", b"b"]),
        (b"data: a\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (COMMENT + b"data: a\n\n" + COMMENT, [b"a"]),
        (b"data: a\n: in between\ndata: b\n\n", [b"a\nb"]),
        (b"event: x\ndata: a\n\n", [b"a"]),
        (b"data: a\nevent: x\n\n", [b"a"]),
        (b"id: 1\nevent: x\nretry: 10\ndata: a\n\n", [b"a"]),
        (b"event: x\n\n", []),
        (b"datum: a\n\n", []),
        (b" data: a\n\n", []),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [b"a", b"b", b"c"]),
        (b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"]),
        (b"data: a", [b"a"]),
        (b"data: a\n", [b"a"]),
        (b"", []),
        (b"\xef\xbb", []),
        (b'error: {"code": 400}\n\n', [b'{"error":{"code": 400}}']),
        (b'data: a\n\n{"error": {"code": 400}}\n', [b"a", b'{"error": {"code": 400}}\n']),
        (b'data: a\n\n{\n "error": {}\n}\n\ndata: b\n\n', [b"a", b'{\n "error": {}\n}', b"b"]),
        (b'data: {"cut\n{"error": {"code": 400}}\n\n', [b'{"cut\n{"error": {"code": 400}}']),
    ],
)
def test_a_body_has_these_data_at_once_and_byte_by_byte(body: bytes, data: list[bytes]) -> None:
    assert decoded([body]) == data
    assert decoded(body[i : i + 1] for i in range(len(body))) == data


def test_an_event_is_returned_with_the_byte_that_completes_it() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [b"a"]
    assert decoder.feed(b"\ndata: b\n") == []
    assert decoder.feed(b"\n") == [b"b"]


def test_a_line_without_end_is_an_error_before_memory_is_full() -> None:
    decoder, chunk = SSEDecoder(), b"x" * 65536
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="larger than 16 MiB"):
            for _ in range(1600):
                decoder.feed(chunk)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_RECORD
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("record", [b"data: {}\n\n", b": x\n\n", b"\n", b"\r", b"data\n\n"])
def test_a_million_tiny_records_leave_no_memory_in_use(record: bytes) -> None:
    decoder, chunk = SSEDecoder(), record * 5_000
    for _ in range(180):
        decoder.feed(chunk)
    tracemalloc.start()
    try:
        for _ in range(20):
            decoder.feed(chunk)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"event: x\ndata:a\ndata: b\n\n", [b"a\nb"]),
        (b"event: x\ndata: a\nid: 7\n\n", [b"a"]),
        (b"event: x\nid: 7\ndata: a\n\n", [b"a"]),
        (b"id: 7\ndata: a\n\n", [b"a"]),
        (b"event: x\ndata: \nid: 7\n\n", [b""]),
        (b"data: \nid: 7\n\ndata: b\n\n", [b"", b"b"]),
    ],
)
def test_other_lines_of_an_event_do_not_change_its_data(body: bytes, data: list[bytes]) -> None:
    assert decoded([body]) == data
    assert decoded([b"data: 0\n\n" + body]) == [b"0", *data]


def test_whether_an_event_is_unfinished_is_known() -> None:
    decoder = SSEDecoder()
    known = []
    for chunk in (b"data: a\n\n", b"d", b"ata: b\n", b"\n", b"data: c\r\r", b"\n", b"\xef"):
        decoder.feed(chunk)
        known.append(decoder.is_between_events)
    assert not SSEDecoder().is_between_events
    assert known == [True, False, False, True, False, True, False]
    decoder = SSEDecoder()
    decoder.feed(b"\xef\xbb\xbf")
    assert decoder.is_between_events


def test_nothing_is_kept_of_events_that_arrive_together() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: 1\n\ndata: 2\n\n") == [b"1", b"2"]
    assert decoder.is_between_events


def test_a_line_end_before_the_last_byte_of_a_chunk_does_not_end_an_event() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\nd") == []
    assert decoder.feed(b"ata: b\n\n") == [b"a\nb"]
    assert decoder.feed(b"data: a\n:\n") == []
    assert decoder.feed(b"\n") == [b"a"]


def test_a_blank_line_over_two_chunks_does_not_delay_the_next_event() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"\ndata: a\n\n") == [b"a"]


def test_the_elements_of_an_event_in_many_chunks_are_limited() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"data: [")
    with pytest.raises(ProtocolError, match="values and fields"):
        for _ in range(20):
            decoder.feed(b"[]," * 50_000)
        decoder.feed(b"\n\n")


@pytest.mark.parametrize("before", [b"", b"data: {}\n\n"])
def test_an_event_without_end_that_arrives_at_once_is_an_error(before: bytes) -> None:
    with pytest.raises(ProtocolError, match="larger than 16 MiB"):
        SSEDecoder().feed(before + b"x" * (MAX_RECORD + 1))


def test_the_elements_of_an_event_that_nothing_ended_are_limited() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: [" + b"0," * MAX_REPLY_ELEMENTS + b"0]") == []
    with pytest.raises(ProtocolError, match="values and fields"):
        decoder.close()


NAMED = b"data: a\n\nevent: x\ndata: b\n\nid: 1\nevent:y \ndata:c\n\nevent: z\ndata: d\ndata: e\n\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_name_of_an_event_is_known_after_its_chunk(size: int) -> None:
    decoder = SSEDecoder()
    names = {}
    for start in range(0, len(NAMED), size):
        for record in decoder.feed(NAMED[start : start + size]):
            names[record] = decoder.name_of(record)
    assert names == {b"a": b"", b"b": b"x", b"c": b"y", b"d\ne": b""}
    assert decoder.name_of(b"") == b""


def test_the_name_of_a_last_event_is_known_after_the_end() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"event: x\ndata: a") == []
    assert decoder.close() == [b"a"]
    assert decoder.name_of(b"a") == b"x"


def test_an_event_without_a_name_does_not_have_that_of_an_earlier_one_with_its_data() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"event: x\ndata: a\n\n") == [b"a"]
    assert decoder.name_of(b"a") == b"x"
    assert decoder.feed(b"data: a\n\n") == [b"a"]
    assert decoder.name_of(b"a") == b""
