"""Readers keep what came before a fault, however the network cut it."""

from __future__ import annotations

import pytest

from acytoo import dialects
from acytoo.dialects.base import Dialect
from acytoo.errors import AcytooError, ProtocolError, ServerError
from acytoo.http import ResponseHead
from acytoo.types import Item, Request, Start

TELLING = [dialect for dialect in dialects.ALL if dialect.name != "acytoo"]
"""Those whose streams can tell a fault; raw text is only cut."""


def told(dialect: Dialect) -> bytes:
    """A stream of two texts and a fault, as one network read brings it."""
    writer = dialect.writer(Request([{"role": "user", "content": "Hi"}]))
    return writer.write([Start("id", "m", 1), "Hel", "lo"]) + writer.fail(ServerError("it broke", status=500))


def reader_for(dialect: Dialect) -> tuple[ResponseHead, bytes]:
    writer = dialect.writer(Request([{"role": "user", "content": "Hi"}]))
    return ResponseHead(200, {"content-type": writer.content_type}), told(dialect)


@pytest.mark.parametrize("dialect", TELLING, ids=lambda dialect: dialect.name)
def test_texts_that_came_in_the_same_chunk_as_a_fault_are_not_lost(dialect: Dialect) -> None:
    head, chunk = reader_for(dialect)
    reader = dialect.reader(head)
    items = reader.feed(chunk)
    assert [item for item in items if isinstance(item, str)] == ["Hel", "lo"]
    assert isinstance(reader.pending_error, ServerError)


@pytest.mark.parametrize("dialect", TELLING, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_a_fault_is_told_after_the_same_texts_in_whatever_pieces_it_comes(dialect: Dialect, size: int) -> None:
    head, chunk = reader_for(dialect)
    reader = dialect.reader(head)
    items: list[Item] = []
    fault: AcytooError | None = None
    for start in range(0, len(chunk), size):
        try:
            items += reader.feed(chunk[start : start + size])
        except AcytooError as error:
            fault = error
        fault = fault or reader.pending_error
        if fault is not None:
            break
    assert "".join([item for item in items if isinstance(item, str)]) == "Hello"
    assert isinstance(fault, ServerError)


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_a_writer_can_be_had_for_a_request_without_messages(dialect: Dialect) -> None:
    assert isinstance(dialect.writer(Request([])).end(), bytes)


def test_raw_text_before_bytes_that_are_none_is_not_lost() -> None:
    reader = dialects.Acytoo().reader(ResponseHead(200, {"content-type": "text/plain; charset=utf-8"}))
    assert reader.feed("Hello 你".encode() + b"\xff more") == ["Hello 你"]
    assert isinstance(reader.pending_error, ProtocolError)
