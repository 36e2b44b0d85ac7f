"""An answer as steps: the dialect's writer makes the pieces, HTTP frames them, faults cut them."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator
from http import HTTPStatus

from acytoo.dialects.base import Dialect
from acytoo.testing.script.responses import Body, Fault, Items, Raw, Refusal, ScriptedResponse
from acytoo.testing.script.steps import LAST, Close, Reset, Send, Step, Wait
from acytoo.types import Request, collect


def steps_of(answer: ScriptedResponse, dialect: Dialect, request: Request) -> Iterator[Step]:
    """Everything the server does for one request, in order; pieces are rendered only as they are needed."""
    steps = _cut_on_the_wire(_all_steps(answer, dialect, request), answer.faults)
    for step in steps:
        yield step
        if isinstance(step, LAST):
            return


def _all_steps(answer: ScriptedResponse, dialect: Dialect, request: Request) -> Iterator[Step]:
    status, headers, pieces = _rendered(answer, dialect, request)
    if isinstance(answer.content, Raw):
        yield from _in_writes(_body(pieces, answer.faults, chunked=False), answer.write_size, answer.body_every_s)
        return
    if answer.gzipped:
        headers["content-encoding"] = "gzip"
        pieces = _gzip(pieces)
    framing = answer.framing or ("chunked" if isinstance(answer.content, Items) and request.stream else "length")
    if framing == "length":
        whole = list(pieces)
        pieces = iter(whole)
        size = sum(len(piece) for piece in whole if isinstance(piece, bytes))
        headers["content-length"] = str(size if answer.length is None else answer.length)
    elif framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    else:
        headers["connection"] = "close"
    headers.update(answer.headers)
    head_size = 1 if answer.head_every_s else answer.write_size
    yield from _in_writes(iter([Send(_head(status, headers))]), head_size, answer.head_every_s)
    body = _body(pieces, answer.faults, chunked=framing == "chunked")
    yield from _in_writes(body, answer.write_size, answer.body_every_s)
    if framing == "close":
        yield Close()


def _rendered(
    answer: ScriptedResponse, dialect: Dialect, request: Request
) -> tuple[int, dict[str, str], Iterator[bytes | Step]]:
    """The status, the headers and the pieces of the body (with a step where the dialect can only tear down)."""
    content = answer.content
    if isinstance(content, Raw):
        return 0, {}, iter(content.pieces)
    if isinstance(content, Body):
        return answer.status or 200, {"content-type": content.content_type}, iter(content.pieces)
    if isinstance(content, Refusal):
        told = dialect.write_error(content.error)
        return answer.status or told.status, dict(told.headers), iter([told.body])
    if request.stream:
        headers = {"content-type": dialect.writer(request).content_type}
        return answer.status or 200, headers, _streamed(content, dialect, request)
    body = dialect.write_reply(collect(content.items), request)
    return answer.status or 200, {"content-type": "application/json"}, iter([body])


def _streamed(content: Items, dialect: Dialect, request: Request) -> Iterator[bytes | Step]:
    """One piece for each item; what ends a stream is a piece of its own."""
    writer = dialect.writer(request)
    items = content.items if content.failure is None else content.items[: content.failure_after]
    for item in items:
        yield writer.write([item])
    if content.failure is not None:
        told = writer.fail(content.failure)
        yield told if told else Reset()
    elif content.terminated:
        yield writer.end()


def _body(pieces: Iterable[bytes | Step], faults: tuple[Fault, ...], *, chunked: bool) -> Iterator[Step]:
    """The framed body and the faults that have a place in it; one inside a chunk leaves that chunk unfinished."""
    waiting = [fault for fault in faults if fault.at_byte is None]
    done = 0
    for index, piece in enumerate(itertools.chain([b""], pieces)):
        if not isinstance(piece, bytes):
            yield piece
            return
        here = [(place, f) for f in waiting if (place := _place(f, index, done, len(piece))) is not None]
        waiting = [fault for fault in waiting if all(fault is not placed for _, placed in here)]
        done += len(piece)
        here.sort(key=lambda placed: placed[0])
        ends = [place for place, fault in here if fault.step is None]
        piece = piece[: ends[0]] if ends else piece
        before, after = (b"%x\r\n" % len(piece), b"\r\n") if chunked and piece else (b"", b"")
        framed = before + piece + after
        sent = 0
        for place, fault in here:
            if fault.step is None:
                break
            until = len(framed) if place == len(piece) else len(before) + place
            yield from _send(framed[sent:until])
            yield fault.step
            sent = until
        yield from _send(framed[sent:])
        if ends:
            break
    for fault in waiting:
        if fault.step is not None:
            yield fault.step
    if chunked:
        yield Send(b"0\r\n\r\n")


def _place(fault: Fault, index: int, done: int, size: int) -> int | None:
    """Where in piece number `index` (1 is the first, 0 is before it) a fault comes, None where it comes elsewhere."""
    if fault.after is not None:
        return size if fault.after == index else None
    if fault.after_bytes is None:
        return None
    place = fault.after_bytes - done
    return place if 0 < place <= size or place == index == 0 else None


def _send(data: bytes) -> Iterator[Step]:
    if data:
        yield Send(data)


def _in_writes(steps: Iterable[Step], size: int | None, every_s: float) -> Iterator[Step]:
    """The same steps in writes of `size` bytes, with a pause after each."""
    for step in steps:
        if size is None or not isinstance(step, Send):
            yield step
            continue
        for begin in range(0, len(step.data), size):
            yield Send(step.data[begin : begin + size])
            if every_s:
                yield Wait(every_s)


def _cut_on_the_wire(steps: Iterable[Step], faults: tuple[Fault, ...]) -> Iterator[Step]:
    """The same steps, with the faults that are placed by their byte on the wire; beyond the end is the end."""
    waiting = sorted(((f.at_byte, f.step) for f in faults if f.at_byte is not None), key=lambda placed: placed[0])
    done = 0
    for step in steps:
        data = step.data if isinstance(step, Send) else b""
        while waiting and isinstance(step, Send) and waiting[0][0] <= done + len(data):
            place, fault = waiting.pop(0)
            yield from _send(data[: place - done])
            data, done = data[place - done :], place
            if fault is not None:
                yield fault
        if isinstance(step, Send):
            yield from _send(data)
            done += len(data)
        else:
            yield step
    for _, fault in waiting:
        if fault is not None:
            yield fault


def _gzip(pieces: Iterable[bytes | Step]) -> Iterator[bytes | Step]:
    """Every piece compressed and flushed, so that it can be read as soon as it is there."""
    press = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    for piece in pieces:
        if isinstance(piece, bytes):
            yield press.compress(piece) + press.flush(zlib.Z_SYNC_FLUSH)
        else:
            yield piece
    yield press.flush()


def _head(status: int, headers: dict[str, str]) -> bytes:
    """The status line and the headers."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")
