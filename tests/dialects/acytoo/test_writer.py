"""The Acytoo protocol's writer: text, and errors."""

from __future__ import annotations

import msgspec

from acytoo.errors import (
    RateLimitError,
    TruncatedError,
    status_error,
)
from acytoo.types import Finish, Item, Reasoning, Reply, Request, Start, Usage
from tests.dialects.acytoo.helpers import DIALECT, HELLO


def test_only_text_is_written() -> None:
    writer = DIALECT.writer(Request(HELLO))
    assert writer.content_type == "text/plain; charset=utf-8"
    items: list[Item] = [Start("i", "m"), Reasoning("hm"), "Hel", "lo é", Usage(1, 2), Finish()]
    assert writer.write(items) + writer.end() == "Hello é".encode()


def test_an_error_in_mid_stream_and_a_ping_write_nothing() -> None:
    writer = DIALECT.writer(Request(HELLO))
    assert (writer.fail(TruncatedError("x")), writer.ping) == (b"", b"")


def test_a_complete_reply_is_its_text() -> None:
    assert DIALECT.write_reply(Reply("Hé", finish=Finish()), Request(HELLO)) == "Hé".encode()


def test_an_error_response_has_its_message_in_both_shapes_and_can_be_read_back() -> None:
    response = DIALECT.write_error(status_error(429, "Slow down", retry_after=2.5))
    assert (response.status, response.headers["retry-after"]) == (429, "3")
    body = msgspec.json.decode(response.body)
    assert (body["msg"], body["error"]["message"]) == ("Slow down", "Slow down")
    error = DIALECT.read_error(response.status, response.body, 2.5)
    assert isinstance(error, RateLimitError)
    assert (error.message, error.retry_after) == ("Slow down", 2.5)
