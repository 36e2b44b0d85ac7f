"""Readers: the items before an error in a stream are not lost, in whatever chunks it arrives."""

from __future__ import annotations

import gc

import pytest

from acytoo import dialects
from acytoo.dialects.base import Dialect, Reader
from acytoo.errors import AcytooError, ProtocolError, ServerError, TruncatedError
from acytoo.http import ResponseHead
from acytoo.types import Finish, Item, Request, Start

WITH_ERRORS = [dialect for dialect in dialects.ALL if dialect.name != "acytoo"]
"""The dialects whose streams can report an error. Acytoo's raw text can only be cut off."""


def stream_with_error(dialect: Dialect) -> bytes:
    """Return a stream of two texts and an error."""
    writer = dialect.writer(Request([{"role": "user", "content": "Hi"}]))
    return writer.write([Start("id", "m", 1), "Hel", "lo"]) + writer.fail(ServerError("it broke", status=500))


def stream_reader(dialect: Dialect) -> Reader:
    """Return a reader for a stream of this dialect."""
    return dialect.reader(ResponseHead(200, {"content-type": dialect.writer(Request([])).content_type}))


@pytest.mark.parametrize("dialect", WITH_ERRORS, ids=lambda dialect: dialect.name)
def test_texts_in_the_same_chunk_as_an_error_are_not_lost(dialect: Dialect) -> None:
    reader = stream_reader(dialect)
    items = reader.feed(stream_with_error(dialect))
    assert [item for item in items if isinstance(item, str)] == ["Hel", "lo"]
    assert isinstance(reader.pending_error, ServerError)


@pytest.mark.parametrize("dialect", WITH_ERRORS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_an_error_follows_the_same_texts_in_chunks_of_any_size(dialect: Dialect, size: int) -> None:
    chunk = stream_with_error(dialect)
    reader = stream_reader(dialect)
    items: list[Item] = []
    stream_error: AcytooError | None = None
    for start in range(0, len(chunk), size):
        try:
            items += reader.feed(chunk[start : start + size])
        except AcytooError as error:
            stream_error = error
        stream_error = stream_error or reader.pending_error
        if stream_error is not None:
            break
    assert "".join([item for item in items if isinstance(item, str)]) == "Hello"
    assert isinstance(stream_error, ServerError)


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_texts_leave_nothing_behind_that_the_garbage_collector_visits(dialect: Dialect) -> None:
    writer = dialect.writer(Request([]))
    chunks = [writer.write([Start("id", "m", 1), "a"]), *[writer.write(["b"]) for _ in range(500)]]
    reader = stream_reader(dialect)
    reader.feed(chunks[0])
    gc.collect()
    before = len(gc.get_objects())
    for chunk in chunks[1:]:
        reader.feed(chunk)
    assert len(gc.get_objects()) - before < 100


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_a_request_without_messages_has_a_writer(dialect: Dialect) -> None:
    assert isinstance(dialect.writer(Request([])).end(), bytes)


def test_raw_text_before_invalid_utf8_is_not_lost() -> None:
    reader = dialects.Acytoo().reader(ResponseHead(200, {"content-type": "text/plain; charset=utf-8"}))
    assert reader.feed("Hello 你".encode() + b"\xff more") == ["Hello 你"]
    assert isinstance(reader.pending_error, ProtocolError)


SSE = [dialect for dialect in dialects.ALL if dialect.framing == "sse"]


def complete_stream(dialect: Dialect) -> bytes:
    """Return a complete stream of two texts."""
    writer = dialect.writer(Request([{"role": "user", "content": "Hi"}]))
    return writer.write([Start("id", "m", 1), "Hel", "lo", Finish("stop")]) + writer.end()


def data_lines(stream: bytes) -> list[bytes]:
    """Return the data of each event."""
    return [line.removeprefix(b"data: ") for line in stream.split(b"\n") if line.startswith(b"data: ")]


def read(dialect: Dialect, body: bytes, size: int) -> str:
    """Return the text of a complete reply, read in chunks of a size."""
    reader = stream_reader(dialect)
    items = [item for start in range(0, len(body), size) for item in reader.feed(body[start : start + size])]
    items += reader.flush()
    reader.close()
    return "".join([item for item in items if isinstance(item, str)])


@pytest.mark.parametrize("dialect", SSE, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_a_stream_in_bare_lines_is_read(dialect: Dialect, size: int) -> None:
    lines = data_lines(complete_stream(dialect))
    assert read(dialect, b"{}\n{}\n" + b"\n".join(lines) + b"\n", size) == "Hello"
    assert read(dialect, b"\r\n\r\n".join(lines), size) == "Hello"


@pytest.mark.parametrize("dialect", SSE, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_a_stream_without_blank_lines_is_read(dialect: Dialect, size: int) -> None:
    lines = data_lines(complete_stream(dialect))
    assert read(dialect, b"".join([b"data: %b\n" % line for line in lines]), size) == "Hello"


@pytest.mark.parametrize("dialect", SSE, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("prefix", [b"", b"data: "])
def test_a_stream_in_lines_that_is_cut_is_truncated(dialect: Dialect, prefix: bytes) -> None:
    lines = [prefix + line for line in data_lines(stream_with_error(dialect)) if b"it broke" not in line]
    for end in (b"", b"\n" + prefix + b'{"choi'):
        with pytest.raises(TruncatedError):
            read(dialect, b"\n".join(lines) + end, 10_000)


@pytest.mark.parametrize("dialect", SSE, ids=lambda dialect: dialect.name)
def test_an_error_in_bare_lines_follows_the_texts(dialect: Dialect) -> None:
    lines = [line for line in data_lines(stream_with_error(dialect)) if b"response.failed" not in line]
    lines += [] if any(b"it broke" in line for line in lines) else [b'{"error":{"message":"it broke","code":500}}']
    reader = stream_reader(dialect)
    assert reader.feed(b"\n".join(lines)) == []
    assert [item for item in reader.flush() if isinstance(item, str)] == ["Hel", "lo"]
    assert isinstance(reader.pending_error, ServerError)


@pytest.mark.parametrize("dialect", SSE, ids=lambda dialect: dialect.name)
def test_some_events_without_a_blank_line_between_them_are_an_error_that_says_so(dialect: Dialect) -> None:
    lines = data_lines(complete_stream(dialect))
    with pytest.raises(ProtocolError, match="no blank line between them"):
        read(dialect, b"".join([b"data: %b\n" % line for line in lines]) + b"\n", 10_000)


@pytest.mark.parametrize("dialect", SSE, ids=lambda dialect: dialect.name)
def test_a_quoted_text_without_its_end_is_not_the_text_of_an_error(dialect: Dialect) -> None:
    reader = stream_reader(dialect)
    assert reader.feed(dialect.writer(Request([{"role": "user", "content": "Hi"}])).write([Start("id", "m", 1), "Hel"]))
    with pytest.raises(ProtocolError, match="cut"):
        reader.feed(b'data: "cut\n\n')
