"""Responses are parsed strictly, whatever the split of their bytes; h11 is the oracle for generated ones."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acytoo.http1.head import MAX_FIELDS, MAX_HEAD, MAX_TRAILERS, HTTPError
from acytoo.http1.response_parser import ResponseParser
from tests.http1.helpers import sized

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Parsed(NamedTuple):
    """What a parser reports after all bytes, `None` in `status` for an error."""

    status: int | None
    body: bytes
    is_complete: bool


def parse(data: bytes, cuts: tuple[int, ...] = (), *, ends: bool = True) -> tuple[Parsed, ResponseParser]:
    """Feed the bytes, divided at the cuts; `ends`: the connection ends after them."""
    parser = ResponseParser()
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for begin, end in pairwise(places):
            parser.feed(memoryview(data)[begin:end])
        if ends and not parser.is_complete:
            parser.end()
    except HTTPError:
        return Parsed(None, b"".join(parser.pieces), False), parser
    status = parser.head.status if parser.head is not None else None
    return Parsed(status, b"".join(parser.pieces), parser.is_complete), parser


GOOD = {
    "a length": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
    "a length of zero": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
    "chunks": (CHUNKED + b"2\r\nhi\r\n3\r\n you\r\n0\r\n\r\n".replace(b"3\r\n you", b"4\r\n you"), b"hi you"),
    "chunks with an extension": (CHUNKED + b"2;a=b\r\nhi\r\n0\r\n\r\n", b"hi"),
    "chunks in capitals": (CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "trailers": (CHUNKED + b"2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n", b"hi"),
    "the end of the connection": (b"HTTP/1.1 200 OK\r\n\r\nhi", b"hi"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhi", b"hi"),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "no body despite its length": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", b""),
    "no reason": (b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nhi", b"hi"),
    "interim responses": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"hi",
    ),
    "a large head": (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 40_000 + b"\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
}


@pytest.mark.parametrize(("data", "body"), GOOD.values(), ids=GOOD)
def test_a_response_is_complete_at_its_end_and_not_before(data: bytes, body: bytes) -> None:
    parsed, _ = parse(data)
    assert parsed == Parsed(parsed.status, body, True)
    ends_with_connection = b"content-length" not in data and b"chunked" not in data and b" 204 " not in data
    if not ends_with_connection:
        for cut in range(0, len(data), max(1, len(data) // 200)):
            assert not parse(data[:cut])[0].is_complete


@pytest.mark.parametrize(("data", "body"), GOOD.values(), ids=GOOD)
@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 60_000), max_size=6).map(tuple))
def test_any_split_of_the_bytes_gives_the_same_response(data: bytes, body: bytes, cuts: tuple[int, ...]) -> None:
    assert parse(data, cuts)[0] == parse(data)[0]


@pytest.mark.parametrize(("data", "body"), [GOOD[name] for name in GOOD if len(GOOD[name][0]) < 500])
def test_byte_by_byte_gives_the_same_response(data: bytes, body: bytes) -> None:
    assert parse(data, tuple(range(len(data))))[0] == parse(data)[0]


BAD = {
    "length and chunks": CHUNKED.replace(b"OK\r\n", b"OK\r\ncontent-length: 2\r\n") + b"2\r\nhi\r\n0\r\n\r\n",
    "chunks and length": CHUNKED[:-2] + b"content-length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "two lengths that differ": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
    "two equal lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi",
    "a length with a sign": b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nhi",
    "a length below zero": b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nhi",
    "a length without end": b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 40 + b"\r\n\r\nhi",
    "gzip as a transfer coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "an unknown transfer coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\nhi",
    "two transfer codings": CHUNKED[:-2] + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "a chunk size that is not a number": CHUNKED + b"zz\r\nhi\r\n0\r\n\r\n",
    "a chunk size below zero": CHUNKED + b"-2\r\nhi\r\n0\r\n\r\n",
    "a chunk size with 0x": CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n",
    "a chunk size too large": CHUNKED + b"f" * 30 + b"\r\nhi",
    "a chunk longer than its size": CHUNKED + b"2\r\nhi you\r\n0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
    "chunks with bare line feeds": CHUNKED + b"2\nhi\n0\n\n",
    "a folded header": b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nhi",
    "a space before the colon": b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nhi",
    "a NUL in a value": b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nhi",
    "HTTP/2": b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "no HTTP at all": b"SSH-2.0-OpenSSH_9.6\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "a switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nhi",
    "a status below 100": b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nhi",
    "too large a head": b"HTTP/1.1 200 OK\r\nx: " + b"x" * (MAX_HEAD + 1) + b"\r\ncontent-length: 2\r\n\r\nhi",
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"x: a\r\n" * (MAX_FIELDS + 1) + b"content-length: 2\r\n\r\nhi",
    "too large trailers": CHUNKED + b"2\r\nhi\r\n0\r\n" + b"x: " + b"x" * (MAX_TRAILERS + 1) + b"\r\n\r\n",
    "too many trailers": CHUNKED + b"2\r\nhi\r\n0\r\n" + b"x: a\r\n" * (MAX_FIELDS + 1) + b"\r\n",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_broken_response_is_an_error_in_whatever_pieces_it_arrives(data: bytes) -> None:
    for cuts in ((), (20,), (len(data) // 2,), tuple(range(0, len(data), max(1, len(data) // 300)))):
        parsed, _ = parse(data, cuts, ends=False)
        assert not parsed.is_complete
        assert parsed.status is None


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nx", b"HTTP/1.1 200 OK\r\nx: ", CHUNKED + b"2;", CHUNKED + b"0\r\nx: "],
    ids=["reason", "name", "value", "chunk extension", "trailer"],
)
def test_an_element_without_end_is_an_error_while_it_arrives(start: bytes) -> None:
    parser = ResponseParser()
    parser.feed(start)
    with pytest.raises(HTTPError, match=r"larger|long"):
        for _ in range(2 * MAX_HEAD // 1000 + 2):
            parser.feed(b"x" * 1000)


def test_interim_responses_without_end_are_an_error() -> None:
    parser = ResponseParser()
    with pytest.raises(HTTPError):
        for _ in range(MAX_HEAD):
            parser.feed(b"HTTP/1.1 100 Continue\r\nx: yyyyyyyyyyyyyyyyy\r\n\r\n")


@pytest.mark.parametrize(
    "rest", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nnobody", b"x", b"\0"]
)
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("name", ["a length", "chunks", "no body"])
def test_bytes_after_a_response_spoil_the_connection_but_not_the_response(
    name: str, rest: bytes, together: bool
) -> None:
    data, body = GOOD[name]
    parser = ResponseParser()
    for piece in (data + rest,) if together else (data, rest):
        parser.feed(piece)
    assert (b"".join(parser.pieces), parser.is_complete, parser.can_reuse) == (body, True, False)


@pytest.mark.parametrize(
    ("data", "can_reuse"),
    [
        (GOOD["a length"][0], True),
        (GOOD["chunks"][0], True),
        (GOOD["no body"][0], True),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi", True),
        (GOOD["the end of the connection"][0], False),
    ],
)
def test_a_connection_can_be_reused_if_both_sides_agree(data: bytes, can_reuse: bool) -> None:
    assert parse(data)[1].can_reuse is can_reuse


def test_one_parser_reads_one_response_after_another() -> None:
    parser = ResponseParser()
    for text in (b"one", b"two"):
        parser.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-a: 1\r\nX-A: 2\r\n\r\n" + text)
        assert parser.head is not None
        assert parser.head.headers == {"content-length": "3", "x-a": "1, 2"}
        assert (b"".join(parser.pieces), parser.can_reuse) == (text, True)
        parser.pieces.clear()
        parser.start()


# h11 as the oracle: whatever it accepts of generated messages, we accept, with the same body; and the reverse.

TOKEN = st.text("abcdefgh-", min_size=1, max_size=8).map(lambda name: "x-" + name)
VALUE = st.text('abc ,;="é', max_size=12).map(str.strip)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Return a response with random fields and framing, which may be contradictory, and perhaps one byte changed."""
    lines = [f"HTTP/1.{draw(st.sampled_from('01'))} {draw(st.sampled_from([200, 204, 304, 404, 500]))} OK"]
    lines += [f"{name}: {value}" for name, value in draw(st.lists(st.tuples(TOKEN, VALUE), max_size=3))]
    body = draw(st.binary(max_size=40))
    framing = draw(st.sampled_from(["length", "chunked", "none", "wrong length"]))
    rest = body
    if framing == "chunked":
        lines.append("transfer-encoding: chunked")
        sizes = draw(st.lists(st.integers(1, 10), max_size=5))
        parts, place = [], 0
        for size in sizes:
            if part := body[place : place + size]:
                parts.append(b"%x\r\n%b\r\n" % (len(part), part))
            place += size
        rest = b"".join(parts) + b"0\r\n\r\n"
    elif framing != "none":
        lines.append(f"content-length: {len(body) + (framing == 'wrong length')}")
    message = "\r\n".join([*lines, "", ""]).encode() + rest
    if draw(st.booleans()) and draw(st.booleans()):
        place = draw(st.integers(0, len(message) - 1))
        message = (
            message[:place] + draw(st.sampled_from([b"", b"\r", b"\n", b":", b" ", b"0", b"\0"])) + message[place + 1 :]
        )
    return message


def oracle(data: bytes) -> Parsed:
    """Return what h11 makes of the response to a POST on a connection that ends after it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    status, body = None, b""
    connection.receive_data(data)
    connection.receive_data(b"")
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Parsed(status, body, True)
            elif event is h11.PAUSED or event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return Parsed(None, body, False)
    except h11.RemoteProtocolError:
        return Parsed(None, body, False)


def is_known_difference(data: bytes) -> bool:
    """Return whether the two read the message differently on purpose, each within RFC 9112.

    h11 accepts lines that end with a bare line feed, an obsolete fold, and any version of HTTP. We refuse them.
    """
    head = data.partition(b"\r\n\r\n")[0]
    rest = data.replace(b"\r\n", b"")
    is_another_version = data[5:8] not in (b"1.0", b"1.1")
    return b"\n" in rest or b"\r" in rest or b"\r\n " in head or b"\0" in head or is_another_version


@given(data=responses(), cuts=st.lists(st.integers(0, 300), max_size=4).map(tuple))
@settings(max_examples=1500, deadline=None)
def test_generated_responses_are_read_as_h11_reads_them(data: bytes, cuts: tuple[int, ...]) -> None:
    if is_known_difference(data):
        return
    ours, theirs = parse(data, cuts)[0], oracle(data)
    assert (ours.status if ours.is_complete else None, ours.is_complete) == (
        theirs.status if theirs.is_complete else None,
        theirs.is_complete,
    ), data
    if ours.is_complete:
        assert ours.body == theirs.body


LIMITS: dict[str, tuple[Callable[[int], bytes], int]] = {
    "reason": (lambda size: b"HTTP/1.1 204 " + b"y" * size + b"\r\n\r\n", MAX_HEAD),
    "fields": (lambda count: b"HTTP/1.1 204 OK\r\n" + b"x: y\r\n" * count + b"\r\n", MAX_FIELDS),
    "fields and trailers": (lambda count: CHUNKED + b"0\r\n" + b"x: y\r\n" * (count - 1) + b"\r\n", MAX_FIELDS),
    "head": (lambda size: b"HTTP/1.1 204 OK\r\n" + sized(size, 8) + b"\r\n", MAX_HEAD),
    "trailers": (lambda size: CHUNKED + b"0\r\n" + sized(size, 8) + b"\r\n", MAX_TRAILERS),
}


@pytest.mark.parametrize("name", LIMITS)
def test_exactly_as_much_as_a_limit_is_accepted(name: str) -> None:
    response, limit = LIMITS[name]
    parser = ResponseParser()
    parser.feed(response(limit))
    assert parser.is_complete
    with pytest.raises(HTTPError, match=r"larger than|more than|too long"):
        ResponseParser().feed(response(limit + 1))


@pytest.mark.parametrize(
    ("data", "limit", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nx: ", MAX_HEAD, f"the head is larger than {MAX_HEAD} bytes"),
        (CHUNKED + b"2\r\nhi\r\n2;", MAX_TRAILERS, f"the framing is larger than {MAX_TRAILERS} bytes"),
    ],
)
def test_an_unfinished_element_may_be_as_large_as_the_limit(data: bytes, limit: int, message: str) -> None:
    parser = ResponseParser()
    parser.feed(data)
    counted = len(data) if parser.head is None else 0
    parser.feed(b"y" * (limit - counted))
    with pytest.raises(HTTPError, match=f"^{message}$"):
        parser.feed(b"y")


def test_the_reason_phrase_is_that_of_the_final_response() -> None:
    parser = ResponseParser()
    assert parser.reason == ""
    parser.feed(b"HTTP/1.1 103 Early\r\nx: 1\r\n\r\nHTTP/1.1 404 Not ")
    parser.feed(b"F\xffound\r\ncontent-length: 0\r\n\r\n")
    assert parser.reason == "Not F\ufffdound"
    assert parser.head is not None
    assert parser.head.headers == {"content-length": "0"}


def test_whether_a_response_has_begun_is_known() -> None:
    parser = ResponseParser()
    assert not parser.has_begun
    parser.feed(b"H")
    assert parser.has_begun
    parser.feed(b"TTP/1.1 204 OK\r\n\r\n")
    parser.start()
    assert not parser.has_begun


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body_is_framed(status: int) -> None:
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 %d OK\r\n\r\n" % status)
    assert (parser.is_complete, parser.is_framed, parser.can_reuse) == (True, True, True)


def test_a_closed_connection_cannot_be_reused_after_a_complete_response() -> None:
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 204 OK\r\n\r\n")
    parser.end()
    assert (parser.is_complete, parser.can_reuse) == (True, False)


def test_a_closed_parser_reads_nothing() -> None:
    parser = ResponseParser()
    parser.close()
    parser.feed(b"HTTP/1.1 204 OK\r\n\r\n")
    assert (parser.head, parser.is_complete, parser.can_reuse) == (None, False, False)
