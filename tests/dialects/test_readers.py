"""Readers: the items before an error in a stream are not lost, in whatever chunks it arrives."""

from __future__ import annotations

import pytest

from acytoo import dialects
from acytoo.dialects.base import Dialect, Reader
from acytoo.errors import AcytooError, ProtocolError, ServerError
from acytoo.http import ResponseHead
from acytoo.types import Item, Request, Start

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
def test_a_request_without_messages_has_a_writer(dialect: Dialect) -> None:
    assert isinstance(dialect.writer(Request([])).end(), bytes)


def test_raw_text_before_invalid_utf8_is_not_lost() -> None:
    reader = dialects.Acytoo().reader(ResponseHead(200, {"content-type": "text/plain; charset=utf-8"}))
    assert reader.feed("Hello 你".encode() + b"\xff more") == ["Hello 你"]
    assert isinstance(reader.pending_error, ProtocolError)
