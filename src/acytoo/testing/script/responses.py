"""The vocabulary of scripts: what is answered, and what goes wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypeAlias

import msgspec

from acytoo.errors import AcytooError, ServerError, status_error
from acytoo.testing.script.steps import Close, HalfClose, Reset, Send, Stall, Step, Wait
from acytoo.types import Item

AFTER_RESPONSE = sys.maxsize
"""An `at_byte` beyond every response: after its last byte on the wire, when the response is complete."""


@dataclass(frozen=True)
class Items:
    """A reply, rendered by the dialect's own writer: `failure` is told in the stream after `failure_after` items."""

    items: tuple[Item, ...]
    terminated: bool = True
    failure: AcytooError | None = None
    failure_after: int = 0


@dataclass(frozen=True)
class Body:
    """A body as it is, one piece for each write."""

    pieces: tuple[bytes, ...]
    content_type: str


@dataclass(frozen=True)
class Refusal:
    """An error, rendered as the dialect's servers tell it."""

    error: AcytooError


@dataclass(frozen=True)
class Raw:
    """Bytes that need not be HTTP."""

    pieces: tuple[bytes, ...]


Content: TypeAlias = Items | Body | Refusal | Raw


@dataclass(frozen=True)
class Fault:
    """A step at one place of the answer: after so many pieces, bytes of the body or bytes on the wire, or at its end.

    The end is after the last byte of the body, before what ends the body in HTTP. No `step`: the body ends there.
    """

    step: Step | None
    after: int | None = None
    after_bytes: int | None = None
    at_byte: int | None = None


@dataclass(frozen=True)
class ScriptedResponse:
    """What a scripted server does with one request; every method returns a changed copy.

    Places are given as `after` (pieces: the texts of a reply), `after_bytes` (bytes of the body, before HTTP's framing)
    or `at_byte` (bytes on the wire, from the status line on). Without a place a fault comes at the end of the body.
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
    faults: tuple[Fault, ...] = field(default=())

    # How the answer is sent.

    def header(self, name: str, value: str) -> Self:
        """Send one more header; it takes the place of one of that name."""
        return replace(self, headers=(*self.headers, (name.lower(), value)))

    def cut_bytes(self, size: int) -> Self:
        """Send everything in writes of `size` bytes, whatever they cut in two."""
        return replace(self, write_size=size)

    def drip(self, size: int, every_s: float) -> Self:
        """Send the body in writes of `size` bytes, one every so many seconds."""
        return replace(self, write_size=size, body_every_s=every_s)

    def slow_head(self, every_s: float) -> Self:
        """Send the response's head byte by byte, one every so many seconds."""
        return replace(self, head_every_s=every_s)

    def with_length(self, length: int | None = None) -> Self:
        """State the body's length instead of sending it in chunks; `length` may be a lie."""
        return replace(self, framing="length", length=length)

    def until_close(self) -> Self:
        """State no length: the body ends with the connection."""
        return replace(self, framing="close")

    def gzip(self) -> Self:
        """Compress the body; places of faults are then counted in compressed bytes."""
        return replace(self, gzipped=True)

    # What goes wrong.

    def wait(
        self, seconds: float, *, after: int | None = None, after_bytes: int | None = None, at_byte: int | None = None
    ) -> Self:
        """Be silent for so many seconds, then go on."""
        return self._fault(Wait(seconds), after, after_bytes, at_byte)

    def stall(self, *, after: int | None = None, after_bytes: int | None = None, at_byte: int | None = None) -> Self:
        """Be silent from there on, until the client leaves."""
        return self._fault(Stall(), after, after_bytes, at_byte)

    def reset(self, *, after: int | None = None, after_bytes: int | None = None, at_byte: int | None = None) -> Self:
        """Tear the connection down (RST)."""
        return self._fault(Reset(), after, after_bytes, at_byte)

    def close(self, *, after: int | None = None, after_bytes: int | None = None, at_byte: int | None = None) -> Self:
        """Close the connection (FIN)."""
        return self._fault(Close(), after, after_bytes, at_byte)

    def half_close(
        self, *, after: int | None = None, after_bytes: int | None = None, at_byte: int | None = None
    ) -> Self:
        """Send no more (FIN) but keep the connection until the client leaves."""
        return self._fault(HalfClose(), after, after_bytes, at_byte)

    def insert(
        self,
        data: bytes,
        *,
        after: int | None = None,
        after_bytes: int | None = None,
        at_byte: int | None = None,
    ) -> Self:
        """Put bytes onto the wire that HTTP's framing knows nothing of."""
        return self._fault(Send(data), after, after_bytes, at_byte)

    def end(self, *, after: int | None = None, after_bytes: int | None = None) -> Self:
        """End the body there, in good order, as though it were whole."""
        return self._fault(None, after, after_bytes, None)

    # What goes wrong in the dialect's own terms.

    def without_end(self) -> Self:
        """Leave out what ends a complete reply in this dialect, and end the body in good order."""
        return replace(self, content=replace(self._items(), terminated=False))

    def fail(self, error: AcytooError | str = "the model has failed", *, after: int = 0) -> Self:
        """Tell an error in the stream after so many items; a dialect without words for it tears the connection down."""
        failure = ServerError(error, status=500) if isinstance(error, str) else error
        return replace(self, content=replace(self._items(), failure=failure, failure_after=after))

    def _items(self) -> Items:
        if not isinstance(self.content, Items):
            raise TypeError("only a reply(…) has an end or an error in its dialect")
        return self.content

    def _fault(self, step: Step | None, after: int | None, after_bytes: int | None, at_byte: int | None) -> Self:
        if sum(place is not None for place in (after, after_bytes, at_byte)) > 1:
            raise TypeError("give one place: after, after_bytes or at_byte")
        return replace(self, faults=(*self.faults, Fault(step, after, after_bytes, at_byte)))


def reply(*items: Item) -> ScriptedResponse:
    """A reply in the endpoint's dialect, streamed where the request asks for it; texts and events."""
    return ScriptedResponse(Items(items))


def status(
    code: int,
    message: str = "refused",
    *,
    retry_after: float | None = None,
    body: bytes | str | Mapping[str, Any] | None = None,
    content_type: str | None = None,
) -> ScriptedResponse:
    """An answer with this status: an error in the dialect's own shape, unless `body` says something else."""
    if body is None:
        return ScriptedResponse(Refusal(status_error(code, message, retry_after=retry_after)), code)
    if isinstance(body, Mapping):
        body, content_type = msgspec.json.encode(body), content_type or "application/json"
    elif isinstance(body, str):
        body = body.encode()
    answer = ScriptedResponse(Body((body,), content_type or "text/plain; charset=utf-8"), code, framing="length")
    return answer if retry_after is None else answer.header("retry-after", f"{retry_after:g}")


def page(title: str = "Sign in", code: int = 200) -> ScriptedResponse:
    """An HTML page, as portals and error pages of proxies are."""
    html = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return status(code, body=html, content_type="text/html; charset=utf-8")


def json_error(message: str, code: int = 200) -> ScriptedResponse:
    """An error in JSON under a status that says success."""
    return status(code, body={"error": {"message": message, "type": "server_error"}})


def redirect(location: str, code: int = 307) -> ScriptedResponse:
    """A redirect to another URL."""
    return status(code, body="").header("location", location)


def raw(*pieces: bytes) -> ScriptedResponse:
    """Bytes as they are, HTTP or not."""
    return ScriptedResponse(Raw(pieces))


def garbage() -> ScriptedResponse:
    """Bytes that are no HTTP."""
    return raw(b"\x00\xff\xfe SSH-2.0-nonsense \x80\r\n\r\n").close()


def silent() -> ScriptedResponse:
    """No answer at all: not a byte until the client leaves."""
    return raw().stall()


def hang_up() -> ScriptedResponse:
    """No answer: the connection is closed. On its second request, what a client sees of a keep-alive that ran out."""
    return raw().close()
