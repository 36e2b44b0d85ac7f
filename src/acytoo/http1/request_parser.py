"""Parse the requests on one connection: bytes in, heads and bodies out. No I/O.

The problem: a message that two parsers understand differently can carry a second request past a proxy ("request
smuggling"). The strategy: llhttp parses strictly, and what it leaves to its user is refused here: odd or contradicting
framing, other versions, too much of anything. The cost: one call of a Python function for each header field.

Source: RFC 9112, sections 3, 6 and 7; llhttp 9 as bundled with httptools 0.6.4 to 0.9.
"""

from __future__ import annotations

import re
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from acytoo.http1.head import MAX_HEAD, MAX_TRAILERS, HTTPError, add_fields, size_of_fields

_MAX_FIELD = 16 * 1024
"""Bytes of the request target, or of one field's name and value."""

_MAX_FIELDS = 128
"""Header fields of a request, trailers included."""

_SMALL = min(_MAX_FIELD, MAX_TRAILERS)
"""Bytes of names and values together in which nothing can be too large."""

_MAX_DIGITS = 20
"""Digits of a length, zeros at its beginning included: llhttp has no limit, but Python's `int` has one."""

_OTHER_PROTOCOL = re.compile(rb" (?:RTSP|ICE)/\d\.\d\r?\n")
_OTHER_METHODS = tuple(
    b" ANNOUNCE DESCRIBE FLUSH GET GET_PARAMETER OPTIONS PAUSE PLAY POST RECORD REDIRECT SET_PARAMETER SETUP SOURCE"
    b" TEARDOWN".split()
)
"""The methods that llhttp knows in RTSP and ICE. None is the end of another one."""

_FRAMING = ("content-length", "transfer-encoding")
_SINGLE = frozenset({"host", *_FRAMING})
"""Fields of which a request must not have two, not even equal ones."""


class Receiver(Protocol):
    """What a parser reports to: for each request its head, the pieces of its body, and its end."""

    def head_received(self, method: str, target: str, version: str, headers: dict[str, str], keep_alive: bool) -> None:
        """Take a head. Header names are in lower case; fields of one name are joined."""

    def body_received(self, data: bytes) -> None:
        """Take a piece of the body."""

    def request_ended(self) -> None:
        """Note that the request is complete."""


class RequestParser:
    """A parser of any number of pipelined requests. It ignores what follows the last one."""

    __slots__ = (
        "_count", "_data", "_fields", "_head", "_in_body", "_is_open", "_is_replay", "_is_upgrade", "_keep_alive",
        "_others", "_parser", "_progress", "_received", "_receiver", "_size", "_stalled", "_target", "is_done",
    )  # fmt: skip

    def __init__(self, receiver: Receiver) -> None:
        self._receiver: Receiver | None = receiver
        self.is_done = False
        """Whether no more requests can follow."""
        self._is_open = self._is_replay = self._is_upgrade = False
        self._progress = self._count = self._stalled = 0
        self._received: list[tuple[bytes, bytes]] = []
        self._data: bytes | memoryview = b""
        self._head: bytearray | None = None  # what has arrived of one that is unfinished
        self._others: set[tuple[bytes, bytes]] | None = None
        self._parser: HttpRequestParser | None = HttpRequestParser(self)

    def feed(self, data: bytes | memoryview) -> None:
        """Parse bytes and report what they complete. Raises HTTPError if they are not HTTP/1.1, or exceed a limit."""
        if self.is_done or self._parser is None:
            return
        before = self._progress + self._count
        rest: bytes | memoryview = data
        self._data, self._others = data, None
        while rest:
            try:
                self._parser.feed_data(rest)
                break
            except HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            except HttpParserError as error:
                if self.is_done:  # bytes after the last request
                    return
                self.is_done = True
                if error.__context__ is None:
                    raise HTTPError(str(error)) from None
                raise error.__context__ from None
            # Outside of the handler, so that a later error has no other context.
            if self.is_done:
                return
            self._ignore_upgrade()
        self._data, self._others = b"", None
        if self._is_open:
            if self._received:
                self._take_fields_so_far()
            if not self._in_body:
                if self._head is None:
                    self._head = bytearray()
                self._head += data
            # llhttp collects an unfinished field or chunk extension without any limit.
            self._stalled = self._stalled + len(data) if self._progress + self._count == before else 0
            if self._stalled > _MAX_FIELD:
                self.is_done = True
                raise HTTPError(f"a header field or chunk extension is larger than {_MAX_FIELD} bytes")

    def _ignore_upgrade(self) -> None:
        """Go on with the body of a request that offers another protocol, as Java's client does for HTTP/2.

        llhttp takes what follows for that protocol, so another parser is fed a head with the same framing.
        """
        self._is_replay = True
        framing = next((f"{name}: {self._fields[name]}\r\n" for name in _FRAMING if name in self._fields), "")
        connection = "" if self._keep_alive else "connection: close\r\n"
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(f"POST / HTTP/1.1\r\n{framing}{connection}\r\n".encode())

    def close(self) -> None:
        """Break the reference cycles. Nothing can be fed any more."""
        self._parser = self._receiver = None

    # llhttp calls these. An exception that they raise leaves `feed_data` as the context of its own.

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._is_replay:
            return
        self._is_open = True
        self._in_body = False
        self._target = b""
        self._fields: dict[str, str] = {}
        self._progress += self._count
        self._size = self._count = 0

    def on_url(self, part: bytes) -> None:
        """Keep the request target, which may arrive in parts."""
        if self._is_replay:
            return
        self._progress += 1
        self._target += part
        if len(self._target) > _MAX_FIELD:
            raise HTTPError(f"the request target is larger than {_MAX_FIELD} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field of the head, or a trailer, until all that arrived are checked."""
        self._received.append((name, value))

    def _take_fields(self) -> None:
        """Add the fields that were received to the head, or drop trailers. Raises HTTPError above a limit."""
        received = self._received
        self._count += len(received)
        self._size += size_of_fields(received)
        if self._count > _MAX_FIELDS or self._size > _SMALL:
            self._check_sizes()
        if not self._in_body:
            add_fields(self._fields, received, _SINGLE)
        received.clear()

    def _take_fields_so_far(self) -> None:
        """Take the fields of an unfinished head, or of unfinished trailers. Raises HTTPError as `_take_fields`."""
        try:
            self._take_fields()
        except HTTPError:
            self.is_done = True
            raise

    def _check_sizes(self) -> None:
        """Raise HTTPError if a field that was received is too large, or all of them are, or too many."""
        if any(len(name) + len(value) > _MAX_FIELD for name, value in self._received):
            raise HTTPError(f"a header field is larger than {_MAX_FIELD} bytes")
        if self._count > _MAX_FIELDS:
            raise HTTPError(f"more than {_MAX_FIELDS} header fields")
        if self._in_body and self._size > MAX_TRAILERS:
            raise HTTPError(f"the trailers are larger than {MAX_TRAILERS} bytes")
        if self._size > MAX_HEAD:
            raise HTTPError(f"the head is larger than {MAX_HEAD} bytes")

    def on_headers_complete(self) -> None:
        """Check the version and the framing, and report the head."""
        if self._is_replay:
            self._is_replay = self._is_upgrade = False
            self._received.clear()
            return
        self._take_fields()
        parser, receiver, fields = self._parser, self._receiver, self._fields
        assert parser is not None
        assert receiver is not None
        self._require_http(parser.get_method())
        version = parser.get_http_version()
        if version == "1.1":
            if "host" not in fields:
                raise HTTPError("no host header")
        elif version != "1.0":
            raise HTTPError(f"unknown HTTP version {version}")
        if (coding := fields.get("transfer-encoding")) is not None:
            if version == "1.0":
                raise HTTPError("transfer-encoding in HTTP/1.0")
            if coding.lower() != "chunked":
                raise HTTPError(f"unknown transfer-encoding {coding[:100]!r}")
            if "content-length" in fields:
                raise HTTPError("both content-length and transfer-encoding")
        elif (length := fields.get("content-length")) is not None and not (length.isascii() and length.isdigit()):
            raise HTTPError("content-length is not a number")
        elif length is not None and len(length) > _MAX_DIGITS:
            raise HTTPError(f"content-length has more than {_MAX_DIGITS} digits")
        self._in_body = True
        self._size = 0
        method = parser.get_method().decode()
        self._is_upgrade = "upgrade" in fields and parser.should_upgrade()
        self._keep_alive = parser.should_keep_alive() and method != "CONNECT"
        receiver.head_received(method, self._target.decode("latin-1"), version, fields, self._keep_alive)

    def _require_http(self, method: bytes) -> None:
        """Raise HTTPError for a request line of RTSP or ICE, which llhttp parses too, without a way to ask for it.

        The line is somewhere in the bytes that were fed last, or in those of an unfinished head before them. These are
        searched once for all the requests in them.
        """
        if self._others is None:
            self._others = _lines_of_other_protocols(bytes(self._head or b"") + self._data)
            self._head = None
        if self._others and (method, self._target) in self._others:
            raise HTTPError("the protocol is not HTTP")

    def on_body(self, data: bytes) -> None:
        """Report a piece of the body."""
        self._progress += 1
        assert self._receiver is not None
        self._receiver.body_received(data)

    def on_message_complete(self) -> None:
        """Report the end of the request."""
        if self._is_upgrade:
            return
        if self._received:
            self._take_fields()
        self._is_open = False
        self.is_done = not self._keep_alive
        assert self._receiver is not None
        self._receiver.request_ended()


def _lines_of_other_protocols(data: bytes) -> set[tuple[bytes, bytes]]:
    """Return method and target of all that may be a request line of RTSP or ICE.

    They are looked for from the end: what is before a method may be a body. Each byte is looked at a few times at most,
    whatever the data is.
    """
    found: set[tuple[bytes, bytes]] = set()
    if b" RTSP/" in data or b" ICE/" in data:
        for match in _OTHER_PROTOCOL.finditer(data):
            end = _before_spaces(data, match.start())
            start = data.rfind(b" ", 0, end) + 1
            before = _before_spaces(data, start)
            method = next((method for method in _OTHER_METHODS if data.endswith(method, 0, before)), b"")
            found.add((method, data[start:end]))
    return found


def _before_spaces(data: bytes, end: int) -> int:
    """Return where the spaces begin that end there."""
    while end and data[end - 1] == 0x20:
        end -= 1
    return end
