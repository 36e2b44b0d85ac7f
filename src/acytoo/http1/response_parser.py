"""Parse the responses on one connection: bytes in, heads and bodies out. No I/O.

The problem: a reply must be complete or an error, so the end of a body must be certain, and a response must never be
taken for the answer to another request. The strategy: llhttp parses strictly; what it leaves to its user is checked
here: contradicting framing, limits (llhttp itself has none), bytes that belong to no request, and what the end of the
connection means. The cost: llhttp calls `list.append` for each piece of a body, without a Python function between.

Source: RFC 9112, sections 4 to 7 and 9; llhttp 9 as bundled with httptools 0.6.4 to 0.9.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpResponseParser

from acytoo.http import ResponseHead
from acytoo.http1.head import MAX_FIELDS, MAX_HEAD, MAX_TRAILERS, HTTPError, add_fields, size_of_fields

_WITHOUT_BODY = frozenset({204, 304})
_SINGLE = frozenset({"content-length", "transfer-encoding"})
"""Fields of which a response must not have two."""


class ResponseParser:
    """A parser of responses, one after another; `start` begins the next one.

    `head` is None until the head is complete; interim (1xx) responses are skipped. `pieces` are the unread pieces of
    the body. Once `is_complete` is true, `can_reuse` is whether another request may follow on the connection.
    """

    __slots__ = ("_count", "_fed", "_fields", "_is_interim", "_parser", "_reason", "_received", "can_reuse",
                 "has_begun", "head", "is_complete", "is_framed", "on_body", "pieces")  # fmt: skip

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self.start()
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def start(self) -> None:
        """Expect the response to the next request."""
        self.head: ResponseHead | None = None
        self.has_begun = False
        """Whether a byte of the response has arrived."""
        self.is_complete = False
        self.is_framed = False
        """Whether HTTP's framing marks the end of the body, rather than the end of the connection."""
        self.can_reuse = False
        self._is_interim = False
        self._fields: dict[str, str] = {}
        self._reason = b""
        self._received: list[tuple[bytes, bytes]] = []
        self._count = 0
        """The number of fields that were taken."""
        self._fed = 0
        """Bytes fed since the last piece of the body."""

    @property
    def reason(self) -> str:
        """The reason phrase of the status line, which may be empty."""
        return self._reason.decode("utf-8", "replace")

    def feed(self, data: bytes | memoryview) -> None:
        """Parse the bytes that arrived. Raises HTTPError if they are not a response to the request."""
        parser = self._parser
        if parser is None or self.is_complete:
            self.can_reuse = False  # bytes after the response belong to no request
            return
        before = len(self.pieces)
        try:
            parser.feed_data(data)
        except HttpParserError as error:
            if not self.is_complete:
                cause = error.__context__
                raise HTTPError(str(cause if isinstance(cause, HTTPError) else error)) from None
            self.can_reuse = False
        if len(self.pieces) > before:
            self._fed = 0
        elif not self.is_complete:
            # llhttp itself collects an unfinished field without any limit.
            self._fed += len(data)
            limit = MAX_HEAD if self.head is None else MAX_TRAILERS
            if self._fed > limit:
                raise HTTPError(f"the {'head' if self.head is None else 'framing'} is larger than {limit} bytes")

    def end(self) -> None:
        """Note that the connection has ended, which completes a body without framing. Raises HTTPError otherwise."""
        if self.is_complete:
            self.can_reuse = False
        elif self.head is not None and not self.is_framed:
            self.is_complete = True
        else:
            raise HTTPError("the connection ended before the response was complete")

    def close(self) -> None:
        """Break the reference cycle with llhttp's object. Nothing can be fed any more."""
        self._parser = None

    # llhttp calls these. An exception that they raise leaves `feed_data` as the context of its own.

    def on_message_begin(self) -> None:
        """Check that a request is waiting for this response."""
        if self.is_complete:
            self.can_reuse = False
            raise HTTPError("a response to no request")
        self.has_begun = True

    def on_status(self, reason: bytes) -> None:
        """Keep the reason phrase, which may arrive in parts."""
        self._reason += reason
        if len(self._reason) > MAX_HEAD:
            raise HTTPError("the status line is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field of the head, or a trailer, until all of them are checked."""
        self._received.append((name, value))

    def _take_fields(self) -> None:
        """Add the fields that were received to the head, or drop trailers. Raises HTTPError above a limit."""
        received = self._received
        self._count += len(received)
        size = size_of_fields(received)
        if self._count > MAX_FIELDS:
            raise HTTPError(f"more than {MAX_FIELDS} header fields")
        if self.head is not None:
            if size > MAX_TRAILERS:
                raise HTTPError(f"the trailers are larger than {MAX_TRAILERS} bytes")
        elif size > MAX_HEAD:
            raise HTTPError(f"the head is larger than {MAX_HEAD} bytes")
        else:
            add_fields(self._fields, received, _SINGLE)
        received.clear()

    def on_headers_complete(self) -> None:
        """Decide what ends the body."""
        self._take_fields()
        parser, fields = self._parser, self._fields
        assert parser is not None
        status = parser.get_status_code()
        if (version := parser.get_http_version()) not in ("1.1", "1.0"):
            raise HTTPError(f"unknown HTTP version {version}")
        if status < 200:
            if status == 101 or status < 100:
                raise HTTPError(f"unexpected status {status}")
            self._is_interim = True
            return
        coding = fields.get("transfer-encoding")
        if coding is not None:
            if coding.strip().lower() != "chunked":
                raise HTTPError(f"unknown transfer-encoding {coding[:100]!r}")
            if "content-length" in fields:
                raise HTTPError("both content-length and transfer-encoding")
        self.is_framed = coding is not None or "content-length" in fields or status in _WITHOUT_BODY
        self.head = ResponseHead(status, fields)
        self._fed = 0

    def on_message_complete(self) -> None:
        """Note the end of the body, or that of an interim response."""
        if self._is_interim:
            self._is_interim = False
            self._fields = {}
            self._reason = b""
            return
        if self._received:
            self._take_fields()
        assert self._parser is not None
        self.is_complete = True
        self.can_reuse = self._parser.should_keep_alive()
