"""Only complete records leave a RecordBuffer, in whatever pieces they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.wire.records import Framing, RecordBuffer, split_records

STREAMS: list[tuple[Framing, list[bytes]]] = [
    ("sse", [b"data: 1\n\n", b"event: x\ndata: 2\n\n", b": ping\r\n\r\n", b"data: 3\r\n\r\n", b"data: cut"]),
    ("ndjson", [b'{"a": 1}\n', b"\n", b'{"b": 2}\r\n', b'{"cut']),
    ("text", [b"a\n\nb"]),
]


@pytest.mark.parametrize(("framing", "records"), STREAMS)
@given(st.data())
def test_no_record_leaves_before_its_end(framing: Framing, records: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(records)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    buffer = RecordBuffer(framing)
    left = b""
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        left += buffer.feed(stream[start:end])
        if framing != "text":
            assert left in [b"".join(records[:count]) for count in range(len(records))]
    assert left + buffer.flush() == stream
    assert buffer.flush() == b""


@pytest.mark.parametrize(("framing", "records"), STREAMS)
def test_bytes_are_split_into_records(framing: Framing, records: list[bytes]) -> None:
    assert split_records(b"".join(records), framing) == records


@pytest.mark.parametrize(("framing", "end"), [("sse", b"\n\n"), ("sse", b"\r\n\r\n"), ("ndjson", b"\n")])
def test_an_end_at_the_very_beginning_ends_a_record(framing: Framing, end: bytes) -> None:
    buffer = RecordBuffer(framing)
    assert buffer.feed(end + b"rest") == end
    assert buffer.flush() == b"rest"
    assert buffer.flush() == b""


def test_text_is_not_held_back() -> None:
    buffer = RecordBuffer("text")
    assert buffer.feed(b"a") == b"a"
    assert buffer.flush() == b""
