"""Scripted responses: their content, how they are sent, and the faults injected into them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias

import msgspec

from acytoo.errors import AcytooError, ServerError, status_error
from acytoo.testing.script.steps import Close, HalfClose, Reset, Send, Stall, Step, Wait
from acytoo.types import Item

AFTER_RESPONSE = sys.maxsize
"""An `at_byte` beyond every response: after its last byte on the wire, when the response is complete."""


@dataclass(frozen=True)
class ReplyContent:
    """A reply, encoded by the dialect's own writer.

    With a `failure`, the stream reports that error after `failure_after` items. With `terminated=False`, it lacks the
    record that ends a complete reply in the dialect.
    """

    items: tuple[Item, ...]
    terminated: bool = True
    failure: AcytooError | None = None
    failure_after: int = 0


@dataclass(frozen=True)
class BodyContent:
    """A literal body, sent in one write per piece."""

    pieces: tuple[bytes, ...]
    content_type: str


@dataclass(frozen=True)
class ErrorContent:
    """An error document, encoded by the dialect."""

    error: AcytooError


@dataclass(frozen=True)
class RawContent:
    """Literal bytes for the connection, which need not be HTTP."""

    pieces: tuple[bytes, ...]


Content: TypeAlias = ReplyContent | BodyContent | ErrorContent | RawContent


@dataclass(frozen=True)
class ScriptedFault:
    """A step injected at one place of the response. Without a `step`, the body ends there.

    At most one of the places is set. Without one, the fault is at the end of the body: after its last byte, before
    whatever ends the body in HTTP.
    """

    step: Step | None
    after: int | None = None
    after_bytes: int | None = None
    at_byte: int | None = None


@dataclass(frozen=True)
class ScriptedResponse:
    """The response of a fake server to one request. Every method returns a changed copy.

    Places are given as `after` (a number of pieces: the texts of a reply), `after_bytes` (a number of bytes of the
    body, before HTTP's framing) or `at_byte` (a number of bytes on the wire, counted from the status line). A fault
    without a place is injected at the end of the body.
    """

    content: Content
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    framing: Literal["chunked", "length", "close"] | None = None
    length: int | None = None
    gzipped: bool = False
    write_size: int | None = None
    body_every_s: float = 0.0
    head_every_s: float = 0.0
    faults: tuple[ScriptedFault, ...] = ()

    # How the response is sent.

    def header(self, name: str, value: str) -> Self:
        """Add a header, replacing any header of the same name."""
        return replace(self, headers=(*self.headers, (name.lower(), value)))

    def cut_bytes(self, size: int) -> Self:
        """Send everything in writes of `size` bytes, regardless of record and character boundaries."""
        return replace(self, write_size=size)

    def drip(self, size: int, every_s: float) -> Self:
        """Send the body in writes of `size` bytes, with a pause of `every_s` seconds after each."""
        return replace(self, write_size=size, body_every_s=every_s)

    def slow_head(self, every_s: float) -> Self:
        """Send the status line and headers byte by byte, with a pause of `every_s` seconds after each byte."""
        return replace(self, head_every_s=every_s)

    def with_length(self, length: int | None = None) -> Self:
        """Send a Content-Length instead of chunks: the real length, or the given one, which may be wrong."""
        return replace(self, framing="length", length=length)

    def until_close(self) -> Self:
        """Send no length: the body ends when the connection closes."""
        return replace(self, framing="close")

    def gzip(self) -> Self:
        """Compress the body. Places in bytes then count compressed bytes."""
        return replace(self, gzipped=True)

    # Faults of the connection.

    def wait(
        self, seconds: float, *, after: int | None = None, after_bytes: int | None = None, at_byte: int | None = None
    ) -> Self:
        """Send nothing for `seconds`, then continue."""
        return self._with_fault(Wait(seconds), after, after_bytes, at_byte)

    def stall(self, *, after: int | None = None, after_bytes: int | None = None, at_byte: int | None = None) -> Self:
        """Send nothing more until the client disconnects."""
        return self._with_fault(Stall(), after, after_bytes, at_byte)

    def reset(self, *, after: int | None = None, after_bytes: int | None = None, at_byte: int | None = None) -> Self:
        """Reset the connection (RST)."""
        return self._with_fault(Reset(), after, after_bytes, at_byte)

    def close(self, *, after: int | None = None, after_bytes: int | None = None, at_byte: int | None = None) -> Self:
        """Close the connection (FIN)."""
        return self._with_fault(Close(), after, after_bytes, at_byte)

    def half_close(
        self, *, after: int | None = None, after_bytes: int | None = None, at_byte: int | None = None
    ) -> Self:
        """Shut down the sending side (FIN), and keep the connection until the client disconnects."""
        return self._with_fault(HalfClose(), after, after_bytes, at_byte)

    def insert(
        self,
        data: bytes,
        *,
        after: int | None = None,
        after_bytes: int | None = None,
        at_byte: int | None = None,
    ) -> Self:
        """Insert bytes outside HTTP's framing."""
        return self._with_fault(Send(data), after, after_bytes, at_byte)

    def end(self, *, after: int | None = None, after_bytes: int | None = None) -> Self:
        """End the body early but cleanly, as if it were complete."""
        return self._with_fault(None, after, after_bytes, None)

    # Faults in the dialect's own terms.

    def without_end(self) -> Self:
        """Leave out what ends a complete reply in the dialect, and end the body cleanly."""
        return replace(self, content=replace(self._reply_content(), terminated=False))

    def fail(self, error: AcytooError | str = "the model has failed", *, after: int = 0) -> Self:
        """Report an error in the stream after `after` items. A dialect that cannot do so resets the connection."""
        failure = ServerError(error, status=500) if isinstance(error, str) else error
        return replace(self, content=replace(self._reply_content(), failure=failure, failure_after=after))

    def _reply_content(self) -> ReplyContent:
        if not isinstance(self.content, ReplyContent):
            raise TypeError("only a reply(…) can lack its end or fail in its dialect: start with reply(…)")
        return self.content

    def _with_fault(self, step: Step | None, after: int | None, after_bytes: int | None, at_byte: int | None) -> Self:
        if sum(place is not None for place in (after, after_bytes, at_byte)) > 1:
            raise TypeError("a fault has one place: give only one of after, after_bytes and at_byte")
        return replace(self, faults=(*self.faults, ScriptedFault(step, after, after_bytes, at_byte)))


def reply(*items: Item) -> ScriptedResponse:
    """Return a reply of these texts and events in the endpoint's dialect, streamed if the request asks for a stream."""
    return ScriptedResponse(ReplyContent(items))


def status(
    code: int,
    message: str = "refused",
    *,
    retry_after: float | None = None,
    body: bytes | str | Mapping[str, Any] | None = None,
    content_type: str | None = None,
) -> ScriptedResponse:
    """Return a response with this status: the dialect's error document for `message`, or the given `body`."""
    if body is None:
        return ScriptedResponse(ErrorContent(status_error(code, message, retry_after=retry_after)), code)
    if isinstance(body, Mapping):
        body, content_type = msgspec.json.encode(body), content_type or "application/json"
    elif isinstance(body, str):
        body = body.encode()
    content = BodyContent((body,), content_type or "text/plain; charset=utf-8")
    response = ScriptedResponse(content, code, framing="length")
    return response if retry_after is None else response.header("retry-after", f"{retry_after:g}")


def page(title: str = "Sign in", code: int = 200) -> ScriptedResponse:
    """Return an HTML page, such as a captive portal's or a proxy's error page."""
    html = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return status(code, body=html, content_type="text/html; charset=utf-8")


def json_error(message: str, code: int = 200) -> ScriptedResponse:
    """Return a JSON error with a successful status."""
    return status(code, body={"error": {"message": message, "type": "server_error"}})


def redirect(location: str, code: int = 307) -> ScriptedResponse:
    """Return a redirect to another URL."""
    return status(code, body="").header("location", location)


def raw(*pieces: bytes) -> ScriptedResponse:
    """Return literal bytes, which need not be HTTP."""
    return ScriptedResponse(RawContent(pieces))


def garbage() -> ScriptedResponse:
    """Return bytes that are not HTTP, then close the connection."""
    return raw(b"\x00\xff\xfe SSH-2.0-nonsense \x80\r\n\r\n").close()


def silent() -> ScriptedResponse:
    """Return no response at all: the server sends nothing until the client disconnects."""
    return raw().stall()


def hang_up() -> ScriptedResponse:
    """Return no response: the server closes the connection.

    As a connection's second response, this is what a client sees if an idle connection expires as it is used.
    """
    return raw().close()
