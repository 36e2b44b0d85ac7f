"""The parser of requests: the same for every split of the bytes, and never more lenient than h11."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPMethod
from itertools import pairwise

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from acytoo.http1.head import HTTPError
from acytoo.http1.request_parser import RequestParser
from tests.http1.helpers import sized


@dataclass
class Received:
    """One request, as a parser reported it."""

    method: str
    target: str
    version: str
    headers: dict[str, str]
    keep_alive: bool
    body: bytes = b""
    is_complete: bool = False


@dataclass
class Collector:
    """A receiver that keeps what is reported to it."""

    requests: list[Received] = field(default_factory=list)

    def head_received(self, method: str, target: str, version: str, headers: dict[str, str], keep_alive: bool) -> None:
        assert len(self.requests) < 10_000, "the same bytes are parsed again and again"
        self.requests.append(Received(method, target, version, headers, keep_alive))

    def body_received(self, data: bytes) -> None:
        self.requests[-1].body += data

    def request_ended(self) -> None:
        self.requests[-1].is_complete = True


def parse(*chunks: bytes) -> tuple[list[Received], bool]:
    """Return the requests in the bytes, and whether the parser accepts all of them."""
    collector = Collector()
    parser = RequestParser(collector)
    try:
        for chunk in chunks:
            parser.feed(memoryview(chunk))
    except HTTPError as error:
        assert str(error)
        return collector.requests, False
    finally:
        parser.close()
    return collector.requests, True


def parse_with_h11(data: bytes) -> tuple[list[tuple[str, str, bytes]], bool]:
    """Return method, target and body of the complete requests that h11 finds, and whether it accepts all bytes."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
    connection.receive_data(data)
    found: list[tuple[str, str, bytes]] = []
    method = target = ""
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, target, body = event.method.decode(), event.target.decode(), b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                found.append((method, target, body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return found, True
                connection.start_next_cycle()
            else:
                return found, True
    except h11.RemoteProtocolError:
        return found, False


# Generated messages

TOKEN = st.text("abcXYZ019-_!", min_size=1, max_size=8)
VALUE = st.text("ab ,;:=/\t\u00e9", max_size=12).map(str.strip)
FIELDS = st.lists(
    st.tuples(TOKEN.map("x-".__add__), VALUE) | st.tuples(st.sampled_from(["Accept", "cookie", "User-Agent"]), VALUE),
    max_size=5,
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw one well-formed request."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]))
    target = draw(st.sampled_from(["/", "/v1/models?a=b", "/a%20b", "http://host/path", "*", "/" + "a" * 300]))
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0"]))
    body = draw(st.binary(max_size=40))
    fields = [("Host", "a:80"), *draw(FIELDS)]
    kind = draw(st.sampled_from(["length", "chunked", "none"]))
    if kind == "chunked" and version == "1.1":
        fields.append(("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked"]))))
        cut = draw(st.integers(0, len(body)))
        pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
        extension = draw(st.sampled_from([b"", b";a=b", b';a="b"']))
        trailer = draw(st.sampled_from([b"", b"x-checksum: 1\r\n"]))
        body = b"".join([b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces])
        body += b"0\r\n%b\r\n" % trailer
    elif kind == "length":
        fields.append(("Content-Length", str(len(body))))
    else:
        body = b""
    if draw(st.integers(0, 4)) == 0:
        fields.append(("Connection", draw(st.sampled_from(["close", "keep-alive", "Keep-Alive, x-a"]))))
    lines = [
        f"{method} {target} HTTP/{version}",
        *[f"{name}: {value}" for name, value in draw(st.permutations(fields))],
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


MESSAGES = st.lists(messages(), min_size=1, max_size=3).map(b"".join)
PIECES = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\0",
        b":",
        b",",
        b";",
        b"0",
        b"-1",
        b"+",
        b"a",
        b"\xff",
        b"chunked",
        b"HTTP/1.0",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\n",
        b"Host: b\r\n",
        b"x: y\r\n",
        b"gzip, ",
        b"\r\n ",
        b"\x0b",
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw requests of which some bytes are replaced, removed or added."""
    data = bytearray(draw(MESSAGES))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(PIECES)
    return bytes(data)


def comparable(requests: list[Received]) -> list[tuple[str, str, bytes]]:
    """Return method, target and body of the complete requests. h11 takes none after one in HTTP/1.0."""
    found = []
    for request in requests:
        if request.is_complete:
            found.append((request.method, request.target, request.body))
        if request.version == "1.0":
            break
    return found


@given(data=MESSAGES)
def test_well_formed_requests_are_read_as_h11_reads_them(data: bytes) -> None:
    requests, accepted = parse(data)
    assert accepted
    assert all(request.is_complete for request in requests)
    assert (comparable(requests), True) == parse_with_h11(data)


_METHODS = rb"(GET|POST|PUT|DELETE|OPTIONS|HEAD)"
LENIENT = re.compile(rb"[A-Z]+  |(?<=[\r\n])(?<!\r\n\r\n)[A-Z]+ |(?:\A|[\r\n])\r\n\r\n(?:[A-Z]+ |\Z)|\r\Z")
"""Where llhttp is more lenient than h11, and nothing can be hidden: spaces before a target, lines before requests, of
which the last may be incomplete. A server should ignore at least one (RFC 9112, section 2.2).
"""


@example(data=b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n\0\r")
@example(data=b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
@given(data=mutated())
def test_what_is_accepted_is_accepted_by_h11_and_means_the_same(data: bytes) -> None:
    requests, accepted = parse(data)
    if accepted and not LENIENT.search(data):
        found, accepted_by_h11 = parse_with_h11(data)
        assert accepted_by_h11
        assert comparable(requests) == found


@given(data=MESSAGES | mutated(), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_every_split_of_the_bytes_gives_the_same(data: bytes, cuts: list[int]) -> None:
    at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert parse(*[data[start:end] for start, end in pairwise(at)]) == parse(data)
    assert parse(*[data[index : index + 1] for index in range(len(data))]) == parse(data)


# Differences

HOST = b"Host: a\r\n"
STRICTER = {
    "an unknown method": b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "another version": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "a target that is neither a path nor a URL": b"GET path HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "a folded field": b"GET / HTTP/1.1\r\n" + HOST + b"x: a\r\n b\r\n\r\n",
    "two equal lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a length and chunks": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "too many fields": b"GET / HTTP/1.1\r\n" + HOST + b"x: y\r\n" * 200 + b"\r\n",
    "a field that is too long": b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"y" * 20_000 + b"\r\n\r\n",
    "a target that is too long": b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a head that is too long": b"GET / HTTP/1.1\r\n" + HOST + b"".join([b"x: %b\r\n" % (b"y" * 10_000)] * 7) + b"\r\n",
}


@pytest.mark.parametrize("data", STRICTER.values(), ids=STRICTER)
def test_more_is_refused_than_h11_refuses(data: bytes) -> None:
    assert parse_with_h11(data)[1]
    assert not parse(data)[1]
    assert not parse(*[data[index : index + 100] for index in range(0, len(data), 100)])[1]


OTHER_PROTOCOLS = [
    b"GET / RTSP/1.0",
    b"POST / RTSP/1.1",
    b"OPTIONS * RTSP/1.1",
    b"DESCRIBE rtsp://a/ RTSP/1.0",
    b"SOURCE /a ICE/1.0",
    b"\r\nGET  /  RTSP/1.0",
]


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
@pytest.mark.parametrize(
    "before", [b"", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"], ids=["first", "second"]
)
@pytest.mark.parametrize("line", OTHER_PROTOCOLS)
def test_another_protocol_is_refused(line: bytes, before: bytes, size: int) -> None:
    data = before + line + b"\r\nHost: a\r\n\r\n"
    requests, accepted = parse(*[data[start : start + size] for start in range(0, len(data), size)])
    assert not accepted
    assert [request.body for request in requests] == ([b"abc"] if before else [])


METHODS = [
    *[method.value for method in HTTPMethod],
    "ANNOUNCE",
    "DESCRIBE",
    "FLUSH",
    "GET_PARAMETER",
    "M-SEARCH",
    "PAUSE",
    "PLAY",
    "RECORD",
    "REDIRECT",
    "SET_PARAMETER",
    "SETUP",
    "SOURCE",
    "TEARDOWN",
]


@pytest.mark.parametrize("protocol", ["RTSP/1.0", "ICE/1.0"])
@pytest.mark.parametrize("method", METHODS)
def test_another_protocol_is_refused_with_every_method_after_whatever_body(method: str, protocol: str) -> None:
    before = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nGET SU"
    requests, accepted = parse(before + f"{method}   /a  {protocol}\r\nHost: a\r\n\r\n".encode())
    assert ([request.body for request in requests], accepted) == ([b"GET SU"], False)


def test_a_header_or_a_body_may_name_another_protocol() -> None:
    fields = b"Host: a\r\nUser-Agent: VLC RTSP/1.0\r\nx: GET / RTSP/1.0\r\n"
    body = b'["GET / RTSP/1.0",\n "GET / RTSP/1.0\\r\\n"]'
    data = b"POST / HTTP/1.1\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body
    requests, accepted = parse(data + data)
    assert ([request.body for request in requests], accepted) == ([body, body], True)


# What is reported


def test_names_are_in_lower_case_and_fields_of_one_name_are_joined() -> None:
    data = b"GET /a?b HTTP/1.1\r\nHOST: a\r\nX-A: 1 \r\nCookie: b=1\r\nx-a:2\r\nCOOKIE: c=\xff\r\nX-B:\r\n\r\n"
    [request], _ = parse(data)
    assert (request.method, request.target, request.version, request.keep_alive) == ("GET", "/a?b", "1.1", True)
    assert request.headers == {"host": "a", "x-a": "1, 2", "cookie": "b=1; c=\udcff", "x-b": ""}


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [("1.1", "", True), ("1.1", "close", False), ("1.0", "", False), ("1.0", "keep-alive", True)],
)
def test_whether_a_connection_is_kept_depends_on_version_and_header(
    version: str, connection: str, keep_alive: bool
) -> None:
    data = f"GET / HTTP/{version}\r\nHost: a\r\nx: y\r\nConnection: {connection or 'x'}\r\n\r\n".encode()
    requests, accepted = parse(data * 2)
    assert [request.keep_alive for request in requests] == [keep_alive] * (2 if keep_alive else 1)
    assert accepted  # what follows the last request is ignored


def test_a_field_that_never_ends_is_refused_while_it_arrives() -> None:
    collector = Collector()
    parser = RequestParser(collector)
    parser.feed(b"POST / HTTP/1.1\r\nHost: a\r\nx: ")
    with pytest.raises(HTTPError, match="16384"):
        for _ in range(20):
            parser.feed(b"y" * 1000)
    parser.feed(b"\r\n\r\n")  # is ignored
    assert collector.requests == []


def test_a_closed_parser_leaves_no_reference_cycle() -> None:
    gc.collect()
    gc.disable()
    try:
        collector = Collector()
        parser = RequestParser(collector)
        parser.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12")
        kept = weakref.ref(collector)
        parser.close()
        del parser, collector
        assert kept() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


def test_any_number_of_requests_that_offer_another_protocol_are_read() -> None:
    requests, accepted = parse(UPGRADE * 3000)
    assert (len(requests), accepted) == (3000, True)


def test_a_broken_request_after_one_that_offers_another_protocol_is_refused() -> None:
    requests, accepted = parse(UPGRADE + b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
    assert ([request.is_complete for request in requests], accepted) == ([True], False)


LINE = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
LIMITS: dict[str, tuple[Callable[[int], bytes], int]] = {
    "target": (lambda size: b"GET /" + b"y" * (size - 1) + b" HTTP/1.1\r\nHost: a\r\n\r\n", 16 * 1024),
    "field": (lambda size: LINE + sized(size, 1) + b"\r\n", 16 * 1024),
    "fields": (lambda count: LINE + b"x: y\r\n" * (count - 1) + b"\r\n", 128),
    "large fields": (lambda count: LINE + sized(200 * count, count - 1) + b"\r\n", 128),
    "fields and trailers": (lambda count: CHUNKED + b"x: y\r\n" * (count - 2) + b"\r\n", 128),
    "head": (lambda size: LINE + sized(size - len("hosta"), 8) + b"\r\n", 64 * 1024),
    "trailers": (lambda size: CHUNKED + sized(size, 8) + b"\r\n", 16 * 1024),
}


@pytest.mark.parametrize("name", LIMITS)
def test_more_than_a_limit_is_refused_before_all_of_it_has_arrived(name: str) -> None:
    request, limit = LIMITS[name]
    data = request(2 * limit)[:-2]
    received, accepted = parse(*[data[start : start + 1000] for start in range(0, len(data), 1000)])
    assert ([each.is_complete for each in received if each.is_complete], accepted) == ([], False)


@pytest.mark.parametrize("name", LIMITS)
def test_exactly_as_much_as_a_limit_is_accepted(name: str) -> None:
    request, limit = LIMITS[name]
    [received], accepted = parse(request(limit))
    assert (received.is_complete, accepted) == (True, True)
    received_requests, accepted = parse(request(limit + 1))
    assert ([each.is_complete for each in received_requests if each.is_complete], accepted) == ([], False)


def test_the_limits_hold_for_each_request_on_a_connection() -> None:
    request = LINE + b"x: y\r\n" * 100 + b"\r\n"
    requests, accepted = parse(request * 3, request, request)
    assert (len(requests), accepted) == (5, True)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no host header"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "two host headers"),
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer-encoding in HTTP/1.0"),
        (LINE + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "unknown transfer-encoding 'gzip, chunked'"),
        (LINE + b"x: " + b"y" * 20_000 + b"\r\n\r\n", "a header field is larger than 16384 bytes"),
        (LINE + b"x: y\r\n" * 128 + b"\r\n", "more than 128 header fields"),
        (LINE + sized(66_000, 8) + b"\r\n", "the head is larger than 65536 bytes"),
        (CHUNKED + sized(17_000, 8) + b"\r\n", "the trailers are larger than 16384 bytes"),
    ],
)
def test_the_error_names_what_is_wrong(head: bytes, message: str) -> None:
    with pytest.raises(HTTPError, match=f"^{re.escape(message)}$"):
        RequestParser(Collector()).feed(head)


def test_nothing_is_reported_after_an_error_or_the_last_request() -> None:
    collector = Collector()
    for first in (b"GET / HTTP/1.1\r\n\r\n", LINE + b"Connection: close\r\n\r\n"):
        parser = RequestParser(collector)
        try:
            parser.feed(first)
        except HTTPError:
            collector.requests.clear()
        assert parser.is_done
        before = len(collector.requests)
        parser.feed(LINE + b"\r\n")
        assert len(collector.requests) == before


def test_a_closed_parser_ignores_what_it_is_fed() -> None:
    parser = RequestParser(collector := Collector())
    parser.close()
    parser.feed(LINE + b"\r\n")
    assert (collector.requests, parser.is_done) == ([], False)


def test_connect_ends_the_connection() -> None:
    [request], accepted = parse(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + LINE)
    assert (request.method, request.target, request.keep_alive, accepted) == ("CONNECT", "a:1", False, True)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2\r\n\r\nhi", b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_body_of_a_request_that_offers_another_protocol_is_read(framing: bytes, size: int) -> None:
    fields = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    data = (LINE + fields + framing) * 2
    requests, accepted = parse(*[data[start : start + size] for start in range(0, len(data), size)])
    assert ([(each.body, each.is_complete) for each in requests], accepted) == ([(b"hi", True)] * 2, True)
    requests, accepted = parse(LINE + b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n" + framing + LINE)
    assert ([(each.body, each.is_complete) for each in requests], accepted) == ([(b"hi", True)], True)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("upgrade", ["", "Upgrade: h2c\r\n", "Upgrade: websocket\r\n"])
@pytest.mark.parametrize(
    "connection", ["", "Connection: keep-alive\r\n", "Connection: Upgrade\r\n", "Connection: x, Upgrade\r\n"]
)
@pytest.mark.parametrize("body", ["\r\n", "Content-Length: 2\r\n\r\nhi"])
def test_a_request_ends_and_the_next_one_is_read_whatever_it_offers(
    method: str, upgrade: str, connection: str, body: str
) -> None:
    data = f"{method} / HTTP/1.1\r\nHost: a\r\n{upgrade}{connection}{body}".encode()
    for chunks in ([data + data], [data, data], [bytes([byte]) for byte in data + data]):
        requests, accepted = parse(*chunks)
        assert [(each.method, each.body, each.is_complete) for each in requests] == [
            (method, b"hi" if "hi" in body else b"", True)
        ] * 2
        assert accepted


def test_any_number_of_line_ends_between_requests_is_ignored() -> None:
    requests, accepted = parse(LINE + b"\r\n", *[b"\r\n" * 1000] * 20, LINE + b"\r\n")
    assert ([request.is_complete for request in requests], accepted) == ([True, True], True)


def test_an_unfinished_field_may_be_as_long_as_the_limit() -> None:
    parser = RequestParser(Collector())
    parser.feed(LINE + b"x: ")
    for _ in range(16):
        parser.feed(b"y" * 1024)
    with pytest.raises(HTTPError, match="16384"):
        parser.feed(b"y")


@pytest.mark.parametrize("count", range(1, 8))
def test_a_body_that_arrives_with_its_head_has_no_limit(count: int) -> None:
    head = LINE + b"Transfer-Encoding: chunked\r\n\r\n"
    [request], accepted = parse(head + b"4e20\r\n%b\r\n" % (b"y" * 20_000) * count)
    assert (request.body, accepted) == (b"y" * 20_000 * count, True)


@pytest.mark.parametrize("count", range(1, 8))
def test_the_fields_of_a_request_may_arrive_with_the_end_of_the_one_before(count: int) -> None:
    first = LINE + b"Transfer-Encoding: chunked\r\n\r\n"
    requests, accepted = parse(first, b"0\r\n\r\n" + LINE + sized(20_000, count + 1) + b"x: ")
    assert ([request.is_complete for request in requests], accepted) == ([True], True)


@pytest.mark.parametrize("size", [100, 1000, 10_000])
def test_a_large_head_or_large_trailers_may_arrive_in_pieces(size: int) -> None:
    for request, limit in (LIMITS["head"], LIMITS["trailers"]):
        data = request(limit)
        [received], accepted = parse(*[data[start : start + size] for start in range(0, len(data), size)])
        assert (received.is_complete, accepted) == (True, True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LINE + b"x: y\r\n" * 1000, "more than 128 header fields"),
        (LINE + sized(100_000, 16), "the head is larger"),
        (CHUNKED + sized(30_000, 16), "the trailers are larger"),
    ],
    ids=["fields", "head", "trailers"],
)
def test_an_unfinished_head_is_refused_for_the_limit_that_it_exceeds(data: bytes, message: str) -> None:
    parser = RequestParser(Collector())
    with pytest.raises(HTTPError, match=message):
        for start in range(0, len(data), 1000):
            parser.feed(data[start : start + 1000])
    assert parser.is_done
