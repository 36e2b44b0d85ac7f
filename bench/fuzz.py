"""Feed mutated bytes to the HTTP parsers, the wire codecs and every dialect, guided by coverage (needs atheris).

The result must be items or an AcytooError, messages or an HTTPError, the same for every split of the bytes. Anything
else is a crash; libFuzzer writes its input to a file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import atheris

with atheris.instrument_imports(include=["acytoo"]):
    from acytoo import dialects
    from acytoo.dialects.base import Reader
    from acytoo.errors import AcytooError
    from acytoo.http import ResponseHead, ServerRequest
    from acytoo.http1.head import MAX_FIELDS, MAX_HEAD, HTTPError
    from acytoo.http1.request_parser import RequestParser
    from acytoo.http1.response_parser import ResponseParser
    from acytoo.types import collect

_TYPES = ("text/event-stream", "application/json", "application/x-ndjson", "text/plain; charset=utf-8", "text/html")


def outcome(reader: Reader, chunks: list[bytes]) -> Any:
    """Return the reply that a body gives, and the name of the error that it ends with."""
    items: list[Any] = []
    try:
        for chunk in chunks:
            if chunk:
                items += reader.feed(chunk)
                if reader.pending_error is not None:
                    raise reader.pending_error
        items += reader.flush()
        reader.close()
        return comparable(items), None
    except AcytooError as error:
        return comparable(items), type(error).__name__


def comparable(items: list[Any]) -> Any:
    """Return the reply without the random ids that replace missing ones."""
    reply = collect(items)
    reply.id, reply.created = "", 0
    for call in reply.tool_calls:
        call["id"] = ""
    return reply


def read_reply(data: bytes) -> None:
    """Read a response at once and in two chunks: both must end the same, and give the same reply if it is complete.

    Before a fault, one chunk may give less text than two.
    """
    if len(data) < 3:
        return
    dialect, kind, body = dialects.ALL[data[0] % len(dialects.ALL)], _TYPES[data[1] % len(_TYPES)], data[3:]
    head = ResponseHead(200, {"content-type": kind})
    cut = data[2] % (len(body) + 1)
    one, two = (outcome(dialect.reader(head), chunks) for chunks in ([body], [body[:cut], body[cut:]]))
    same = one == two if one[1] is None else one[1] == two[1] and two[0].text.startswith(one[0].text)
    assert same, f"{dialect.name}, {kind}: {one} at once, {two} cut at {cut}"


def read_error(data: bytes) -> None:
    """Read an error's body: there must be a message."""
    if data:
        assert dialects.ALL[data[0] % len(dialects.ALL)].read_error(500, data[1:]).message


def decode_request(data: bytes) -> None:
    """Decode a request: it must be valid, or refused with status 400."""
    if len(data) < 2:
        return
    dialect = dialects.ALL[data[0] % len(dialects.ALL)]
    path = dialect.routes[data[1] % len(dialect.routes)].replace("{model:.+}", "m-1")
    try:
        dialect.decode_request(ServerRequest(path, {}, data[2:]))
    except AcytooError as error:
        answer = dialect.write_error(error)
        assert answer.status == 400, error


def _response(chunks: list[bytes]) -> Any:
    """Return what a parser makes of a response, and whether it refuses it."""
    parser = ResponseParser()
    body = b""
    try:
        for chunk in chunks:
            parser.feed(chunk)
            body += b"".join(parser.pieces)
            parser.pieces.clear()
        parser.end()
        error = False
    except HTTPError:
        error = True
        body += b"".join(parser.pieces)
    head = parser.head
    _check_memory(head.headers if head else {}, len(b"".join(chunks)), len(body))
    result = (head, body, parser.is_complete, parser.is_framed, parser.can_reuse)
    parser.close()
    return result, error


class _Requests:
    """A receiver that keeps what is reported."""

    def __init__(self) -> None:
        self.heads: list[Any] = []
        self.bodies: list[bytes] = []
        self.ended = 0

    def head_received(self, method: str, target: str, version: str, headers: dict[str, str], keep_alive: bool) -> None:
        self.heads.append((method, target, version, dict(headers), keep_alive))
        self.bodies.append(b"")

    def body_received(self, data: bytes) -> None:
        self.bodies[-1] += data

    def request_ended(self) -> None:
        self.ended += 1
        assert self.ended == len(self.heads)


def _requests(chunks: list[bytes]) -> Any:
    """Return what a parser makes of requests, and whether it refuses the last one."""
    received = _Requests()
    parser = RequestParser(received)
    error = False
    try:
        for chunk in chunks:
            parser.feed(chunk)
    except HTTPError:
        error = True
    size = len(b"".join(chunks))
    for (_, _, _, headers, _), body in zip(received.heads, received.bodies, strict=True):
        _check_memory(headers, size, len(body))
    result = received.heads, received.bodies, received.ended, parser.is_done
    parser.close()
    return result, error


def _check_memory(headers: Mapping[str, str], size: int, body_size: int) -> None:
    assert len(headers) <= MAX_FIELDS
    kept = sum(len(name) + len(value) for name, value in headers.items())
    assert kept <= min(MAX_HEAD + 2 * MAX_FIELDS, size + 2 * MAX_FIELDS)
    assert body_size <= size


def _parse(read: Callable[[list[bytes]], Any], data: bytes) -> None:
    """Parse messages at once, in two chunks, and one byte at a time: the results must be the same."""
    if len(data) < 3:
        return
    cut, body = int.from_bytes(data[:2]) % (len(data) - 1), data[2:]
    whole = read([body])
    for chunks in ([body[:cut], body[cut:]], [body[i : i + 1] for i in range(len(body))]):
        other = read(chunks)
        assert whole == other, f"{whole} at once, {other} in chunks of {[len(chunk) for chunk in chunks][:3]}"


def parse_responses(data: bytes) -> None:
    """Parse a response and what follows it."""
    _parse(_response, data)


def parse_requests(data: bytes) -> None:
    """Parse pipelined requests."""
    _parse(_requests, data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "reply": read_reply,
    "error": read_error,
    "request": decode_request,
    "http-response": parse_responses,
    "http-request": parse_requests,
}
_WEIGHTED = ("reply", "reply", "error", "request", "http-response", "http-request")
"""The targets by the first byte of an input, if none is chosen."""


def one_input(data: bytes) -> None:
    """Pass the input to a target; its first byte selects which."""
    if data:
        TARGETS[_WEIGHTED[data[0] % len(_WEIGHTED)]](data[1:])


def fuzz(target: str, options: list[str]) -> None:
    """Fuzz one target, or all of them, until libFuzzer's options end it, such as `-max_total_time=300`."""
    atheris.Setup([sys.argv[0], *options], TARGETS[target] if target else one_input)
    atheris.Fuzz()
