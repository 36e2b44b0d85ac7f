"""Turn a scripted response into steps.

The dialect's writer encodes the reply, HTTP framing is added, then the faults are injected. A fault may be placed in
the body or on the wire, so there are two passes: `_framed_body` injects the faults whose place counts pieces or bytes
of the body, which is only known before framing, and `_inject_on_wire` those whose place counts every byte sent. Both
are generators: a reply of many megabytes is rendered as it is sent, unless a Content-Length has to be computed.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator
from http import HTTPStatus

from acytoo.dialects.base import Dialect
from acytoo.testing.script.responses import (
    BodyContent,
    ErrorContent,
    RawContent,
    ReplyContent,
    ScriptedFault,
    ScriptedResponse,
)
from acytoo.testing.script.steps import FINAL_STEPS, Close, Reset, Send, Step, Wait
from acytoo.types import Request, collect


def steps_of(response: ScriptedResponse, dialect: Dialect, request: Request) -> Iterator[Step]:
    """Yield the steps that answer one request, up to and including the first final one."""
    for step in _inject_on_wire(_http_steps(response, dialect, request), response.faults):
        yield step
        if isinstance(step, FINAL_STEPS):
            return


def _http_steps(response: ScriptedResponse, dialect: Dialect, request: Request) -> Iterator[Step]:
    """Yield the response as HTTP, with the faults that have a place in the body."""
    status, headers, pieces = _encode(response, dialect, request)
    if isinstance(response.content, RawContent):
        body = _framed_body(pieces, response.faults, chunked=False)
        yield from _in_writes(body, response.write_size, response.body_every_s)
        return
    if response.gzipped:
        headers["content-encoding"] = "gzip"
        pieces = _gzip(pieces)
    is_stream = isinstance(response.content, ReplyContent) and request.stream
    framing = response.framing or ("chunked" if is_stream else "length")
    if framing == "length":
        buffered = list(pieces)
        pieces = iter(buffered)
        size = sum(len(piece) for piece in buffered if isinstance(piece, bytes))
        headers["content-length"] = str(size if response.length is None else response.length)
    elif framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    else:
        headers["connection"] = "close"
    headers.update(response.headers)
    head_write_size = 1 if response.head_every_s else response.write_size
    yield from _in_writes(iter([Send(_head(status, headers))]), head_write_size, response.head_every_s)
    body = _framed_body(pieces, response.faults, chunked=framing == "chunked")
    yield from _in_writes(body, response.write_size, response.body_every_s)
    if framing == "close":
        yield Close()


def _encode(
    response: ScriptedResponse, dialect: Dialect, request: Request
) -> tuple[int, dict[str, str], Iterator[bytes | Step]]:
    """Return the status, the headers and the pieces of the body.

    A step among the pieces ends the body: some dialects can only reset the connection to report an error.
    """
    content = response.content
    if isinstance(content, RawContent):
        return 0, {}, iter(content.pieces)
    if isinstance(content, BodyContent):
        return response.status or 200, {"content-type": content.content_type}, iter(content.pieces)
    if isinstance(content, ErrorContent):
        error = dialect.write_error(content.error)
        return response.status or error.status, dict(error.headers), iter([error.body])
    if request.stream:
        headers = {"content-type": dialect.writer(request).content_type}
        return response.status or 200, headers, _encode_stream(content, dialect, request)
    document = dialect.write_reply(collect(content.items), request)
    return response.status or 200, {"content-type": "application/json"}, iter([document])


def _encode_stream(content: ReplyContent, dialect: Dialect, request: Request) -> Iterator[bytes | Step]:
    """Yield one piece per item, and one for the end of the reply."""
    writer = dialect.writer(request)
    items = content.items if content.failure is None else content.items[: content.failure_after]
    for item in items:
        yield writer.write([item])
    if content.failure is not None:
        yield writer.fail(content.failure) or Reset()
    elif content.terminated:
        yield writer.end()


def _framed_body(pieces: Iterable[bytes | Step], faults: tuple[ScriptedFault, ...], *, chunked: bool) -> Iterator[Step]:
    """Yield the body in HTTP framing with the faults placed in it. One inside a chunk leaves that chunk incomplete."""
    pending = [fault for fault in faults if fault.at_byte is None]
    done = 0
    # The empty piece in front takes the faults that are placed before the body.
    for index, piece in enumerate(itertools.chain([b""], pieces)):
        if not isinstance(piece, bytes):
            yield piece
            return
        due = [(offset, f) for f in pending if (offset := _offset(f, index, done, len(piece))) is not None]
        pending = [fault for fault in pending if all(fault is not due_fault for _, due_fault in due)]
        done += len(piece)
        due.sort(key=lambda placed: placed[0])
        ends = [offset for offset, fault in due if fault.step is None]
        piece = piece[: ends[0]] if ends else piece
        before, after = (b"%x\r\n" % len(piece), b"\r\n") if chunked and piece else (b"", b"")
        framed = before + piece + after
        sent = 0
        for offset, fault in due:
            if fault.step is None:
                break
            stop = len(framed) if offset == len(piece) else len(before) + offset
            yield from _send(framed[sent:stop])
            yield fault.step
            sent = stop
        yield from _send(framed[sent:])
        if ends:
            break
    for fault in pending:
        if fault.step is not None:
            yield fault.step
    if chunked:
        yield Send(b"0\r\n\r\n")


def _offset(fault: ScriptedFault, index: int, done: int, size: int) -> int | None:
    """Return a fault's offset in piece number `index`, or None if it belongs elsewhere.

    Piece 0 is the empty one before the body, `done` the bytes before this piece and `size` those in it.
    """
    if fault.after is not None:
        return size if fault.after == index else None
    if fault.after_bytes is None:
        return None
    offset = fault.after_bytes - done
    return offset if 0 < offset <= size or offset == index == 0 else None


def _send(data: bytes) -> Iterator[Step]:
    if data:
        yield Send(data)


def _in_writes(steps: Iterable[Step], size: int | None, every_s: float) -> Iterator[Step]:
    """Split the data into writes of `size` bytes, with a pause after each."""
    for step in steps:
        if size is None or not isinstance(step, Send):
            yield step
            continue
        for begin in range(0, len(step.data), size):
            yield Send(step.data[begin : begin + size])
            if every_s:
                yield Wait(every_s)


def _inject_on_wire(steps: Iterable[Step], faults: tuple[ScriptedFault, ...]) -> Iterator[Step]:
    """Inject the faults placed by their byte on the wire. Those beyond the last byte come after it."""
    pending = sorted(((f.at_byte, f.step) for f in faults if f.at_byte is not None), key=lambda placed: placed[0])
    done = 0
    for step in steps:
        data = step.data if isinstance(step, Send) else b""
        while pending and isinstance(step, Send) and pending[0][0] <= done + len(data):
            at_byte, fault_step = pending.pop(0)
            yield from _send(data[: at_byte - done])
            data, done = data[at_byte - done :], at_byte
            if fault_step is not None:
                yield fault_step
        if isinstance(step, Send):
            yield from _send(data)
            done += len(data)
        else:
            yield step
    for _, fault_step in pending:
        if fault_step is not None:
            yield fault_step


def _gzip(pieces: Iterable[bytes | Step]) -> Iterator[bytes | Step]:
    """Compress and flush each piece, so that a client can decode it as soon as it arrives."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    for piece in pieces:
        if isinstance(piece, bytes):
            yield compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH)
        else:
            yield piece
    yield compressor.flush()


def _head(status: int, headers: dict[str, str]) -> bytes:
    """Return the status line and the headers."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")
