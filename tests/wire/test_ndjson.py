"""Lines of JSON are decoded completely and in order, however the bytes are split."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.errors import ProtocolError
from acytoo.wire.limits import MAX_RECORD, MAX_REPLY_ELEMENTS
from acytoo.wire.ndjson import NDJSONDecoder

LINE = st.text(st.characters(exclude_characters="\n\ufeff", exclude_categories=["Cs"]), min_size=1).map(str.encode)


def decoded(chunks: Iterable[bytes]) -> list[bytes]:
    """Return every line in the chunks, including an unfinished last one."""
    decoder = NDJSONDecoder()
    lines = [line for chunk in chunks for line in decoder.feed(chunk)]
    return lines + decoder.close()


def filled(line: bytes) -> bool:
    return bool(line.strip())


@given(st.lists(LINE.filter(filled)), st.lists(st.integers(0, 10_000), max_size=30), st.booleans())
def test_lines_are_the_same_however_the_bytes_are_split(lines: list[bytes], places: list[int], ended: bool) -> None:
    body = b"\n".join(lines) + b"\n" * ended
    ends = sorted({place % (len(body) + 1) for place in places} | {len(body)})
    assert decoded(body[start:end] for start, end in zip([0, *ends], ends, strict=False)) == lines


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),
        (b'{"a":1}\r\n{"b":2}\r\n', [b'{"a":1}\r', b'{"b":2}\r']),
        (b'{"a":1}\n\n \n\r\n{"b":2}', [b'{"a":1}', b'{"b":2}']),
        (b'\xef\xbb\xbf{"a":1}\n', [b'{"a":1}']),
        (b"\n\n", []),
        (b" ", []),
        (b"", []),
        (b"\xef\xbb", [b"\xef\xbb"]),
    ],
)
def test_a_body_has_these_lines_at_once_and_byte_by_byte(body: bytes, lines: list[bytes]) -> None:
    assert decoded([body]) == lines
    assert decoded(body[i : i + 1] for i in range(len(body))) == lines


def test_a_line_is_returned_with_the_byte_that_ends_it() -> None:
    decoder = NDJSONDecoder()
    assert decoder.feed(b"{}") == []
    assert decoder.feed(b"\n[") == [b"{}"]


def test_a_line_without_end_is_an_error_before_memory_is_full() -> None:
    decoder, chunk = NDJSONDecoder(), b"x" * 65536
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="larger than 16 MiB"):
            for _ in range(1600):
                decoder.feed(chunk)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_RECORD
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("record", [b"{}\n", b"\n", b" \r\n"])
def test_a_million_tiny_records_leave_no_memory_in_use(record: bytes) -> None:
    decoder, chunk = NDJSONDecoder(), record * 5_000
    for _ in range(180):
        decoder.feed(chunk)
    tracemalloc.start()
    try:
        for _ in range(20):
            decoder.feed(chunk)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("before", [b"", b"{}\n"])
def test_a_line_without_end_that_arrives_at_once_is_an_error(before: bytes) -> None:
    with pytest.raises(ProtocolError, match="larger than 16 MiB"):
        NDJSONDecoder().feed(before + b"x" * (MAX_RECORD + 1))


def test_the_elements_of_a_line_that_nothing_ended_are_limited() -> None:
    decoder = NDJSONDecoder()
    assert decoder.feed(b"[" + b"0," * MAX_REPLY_ELEMENTS + b"0]") == []
    with pytest.raises(ProtocolError, match="values and fields"):
        decoder.close()
