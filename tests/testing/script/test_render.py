"""Scripted responses as steps: every place of a fault and every framing, without a socket."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo import dialects
from acytoo.errors import ServerError
from acytoo.testing import ScriptedResponse, reply, status
from acytoo.testing.script.render import steps_of
from acytoo.testing.script.responses import AFTER_RESPONSE
from acytoo.testing.script.steps import Close, Reset, Send, Stall, Step, Wait
from acytoo.types import Request

HEAD_END = b"\r\n\r\n"


def steps(response: ScriptedResponse, stream: bool = True) -> list[Step]:
    return list(steps_of(response, dialects.Acytoo(), Request([], stream=stream)))


def sent(response: ScriptedResponse) -> bytes:
    return b"".join(step.data for step in steps(response) if isinstance(step, Send))


def body(response: ScriptedResponse) -> bytes:
    return sent(response).partition(HEAD_END)[2]


def test_each_text_of_a_reply_is_one_chunk() -> None:
    assert body(reply("Hello ", "world")) == b"6\r\nHello \r\n5\r\nworld\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (reply("abc").reset(), [Send(b"3\r\nabc\r\n"), Reset()]),
        (reply("abc").close(after=0), [Close()]),
        (reply("abc").close(after_bytes=0), [Close()]),
        (reply("abc").reset(after_bytes=2), [Send(b"3\r\nab"), Reset()]),
        (reply("abc").reset(after_bytes=3), [Send(b"3\r\nabc\r\n"), Reset()]),
        (reply("abc").reset(after_bytes=99), [Send(b"3\r\nabc\r\n"), Reset()]),
        (reply("a", "b").stall(after=1), [Send(b"1\r\na\r\n"), Stall()]),
        (
            reply("a", "b").wait(2, after=1),
            [Send(b"1\r\na\r\n"), Wait(2), Send(b"1\r\nb\r\n"), Send(b"0\r\n\r\n")],
        ),
        (reply("abc", "d").end(after_bytes=2), [Send(b"2\r\nab\r\n"), Send(b"0\r\n\r\n")]),
        (reply("ab").with_length().until_close(), [Send(b"ab"), Close()]),
        (reply("ab").drip(1, every_s=3).with_length(), [Send(b"a"), Wait(3), Send(b"b"), Wait(3)]),
        (reply("ab").close(at_byte=AFTER_RESPONSE), [Send(b"2\r\nab\r\n"), Send(b"0\r\n\r\n"), Close()]),
        (reply("ab").insert(b"zz\r\n", after=0), [Send(b"zz\r\n"), Send(b"2\r\nab\r\n"), Send(b"0\r\n\r\n")]),
    ],
)
def test_a_fault_is_injected_at_its_place(response: ScriptedResponse, expected: list[Step]) -> None:
    actual = steps(response)
    start = next(
        i for i in range(len(actual)) if HEAD_END in b"".join(s.data for s in actual[: i + 1] if isinstance(s, Send))
    )
    assert actual[start + 1 :] == expected


@given(st.integers(0, 200))
def test_a_cut_on_the_wire_sends_exactly_that_many_bytes(at_byte: int) -> None:
    complete = sent(reply("Hello ", "world"))
    cut = steps(reply("Hello ", "world").reset(at_byte=at_byte))
    assert b"".join(s.data for s in cut if isinstance(s, Send)) == complete[:at_byte]
    assert cut[-1] == Reset()


@given(st.integers(1, 30))
def test_cut_bytes_changes_the_writes_but_not_the_bytes(size: int) -> None:
    response = reply("Hällo ", "wörld")
    assert sent(response.cut_bytes(size)) == sent(response)
    assert all(len(s.data) <= size for s in steps(response.cut_bytes(size)) if isinstance(s, Send))


def test_a_content_length_may_be_wrong() -> None:
    assert b"content-length: 99\r\n" in sent(reply("ab").with_length(99))


def test_a_gzipped_body_decompresses_to_the_reply() -> None:
    assert gzip.decompress(body(reply("Hello ", "world").gzip().with_length())) == b"Hello world"


def test_a_dialect_that_cannot_report_an_error_in_the_stream_resets_the_connection() -> None:
    assert steps(reply("a", "b").fail("overloaded", after=1))[1:] == [Send(b"1\r\na\r\n"), Reset()]


def test_a_dialect_that_can_report_an_error_in_the_stream_does_so() -> None:
    response = reply("a").fail(ServerError("overloaded", status=503), after=1)
    steps_sent = list(steps_of(response, dialects.OpenAI(), Request([])))
    assert b"overloaded" in b"".join(s.data for s in steps_sent if isinstance(s, Send))
    assert b"[DONE]" not in b"".join(s.data for s in steps_sent if isinstance(s, Send))


def test_without_end_leaves_out_the_end_of_the_reply_but_ends_the_body() -> None:
    steps_sent = list(steps_of(reply("a").without_end(), dialects.OpenAI(), Request([])))
    data = b"".join(s.data for s in steps_sent if isinstance(s, Send))
    assert b"[DONE]" not in data
    assert data.endswith(b"0\r\n\r\n")


def test_a_request_without_stream_gets_one_document() -> None:
    steps_sent = list(steps_of(reply("Hello ", "world"), dialects.OpenAI(), Request([], stream=False)))
    assert b'"Hello world"' in b"".join(s.data for s in steps_sent if isinstance(s, Send))


def test_an_error_has_the_dialects_format_and_its_retry_after() -> None:
    response = sent(status(429, "slow down", retry_after=2))
    assert response.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"retry-after: 2\r\n" in response
    assert b"slow down" in response
