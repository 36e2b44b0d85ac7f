"""The directives of the script syntax: what a fake server can be asked to do."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import msgspec

from acytoo.errors import status_error
from acytoo.testing.script import responses
from acytoo.testing.script.responses import AFTER_RESPONSE, BodyContent, ReplyContent, ScriptedResponse
from acytoo.testing.script.syntax import Exchange, ScriptSyntax
from acytoo.types import Finish, collect
from acytoo.wire.records import Framing

REPLY_TEXTS = ("Grüße, ", "世界 ", "👩‍👩‍👧 ", "done.")
"""The texts of the default reply: characters of one to four UTF-8 bytes, and one of five code points."""

COMPLETE_REPLY = "".join(REPLY_TEXTS)

ERROR_MESSAGE = "scripted error message"
"""The message of every scripted error."""

SYNTAX = ScriptSyntax(default="ok")
"""The syntax with the directives below, in the order of the documentation."""


# Directives that create the response.


@SYNTAX.creates("ok", "send the default reply; used if no other directive creates the response")
def _ok(exchange: Exchange) -> ScriptedResponse:
    return responses.reply(*REPLY_TEXTS, Finish("stop"))


def _text_count(text: str) -> int:
    return int(text.removesuffix("t"))


def _error_shape(text: str) -> str:
    if text not in ("json", "text", "html", "empty", "huge", "cut"):
        raise ValueError(text)
    return text


@SYNTAX.creates(
    "status:503:html", "send an error status; the body is json, text, html, empty, huge or cut", int, _error_shape
)
def _status(exchange: Exchange, code: int, shape: str = "json") -> ScriptedResponse:
    match shape:
        case "text":
            return responses.status(code, body=ERROR_MESSAGE)
        case "html":
            return responses.page(ERROR_MESSAGE, code)
        case "empty":
            return responses.status(code, body="")
        case "huge":
            return responses.status(code, body=f"{ERROR_MESSAGE} " * 500_000)
        case "cut":
            return responses.status(code, body=ERROR_MESSAGE).with_length(999).reset()
        case _:
            return responses.status(code, ERROR_MESSAGE)


@SYNTAX.creates("echo:401", "send an error that repeats the complete request, including the key", int)
def _echo(exchange: Exchange, code: int = 401) -> ScriptedResponse:
    received = exchange.received
    body = received.body.decode("utf-8", "replace")
    message = f"{ERROR_MESSAGE}: {received.target} {received.headers} {body}"
    return responses.status(code, body={"error": {"message": message}})


@SYNTAX.creates("page", "send an HTML page with status 200")
def _page(exchange: Exchange) -> ScriptedResponse:
    return responses.page(ERROR_MESSAGE)


@SYNTAX.creates("json-error", "send a JSON error with status 200")
def _json_error(exchange: Exchange) -> ScriptedResponse:
    return responses.json_error(ERROR_MESSAGE)


@SYNTAX.creates("empty", "send status 200 with an empty body")
def _empty(exchange: Exchange) -> ScriptedResponse:
    return responses.status(200, body="")


@SYNTAX.creates("garbage", "send bytes that are not HTTP")
def _garbage(exchange: Exchange) -> ScriptedResponse:
    return responses.garbage()


@SYNTAX.creates("silent", "send nothing")
def _silent(exchange: Exchange) -> ScriptedResponse:
    return responses.silent()


@SYNTAX.creates("hang-up", "close the connection without a response")
def _hang_up(exchange: Exchange) -> ScriptedResponse:
    return responses.hang_up()


@SYNTAX.creates("redirect:307:/elsewhere", "redirect with this status to this location", int, str)
def _redirect(exchange: Exchange, code: int, location: str) -> ScriptedResponse:
    return responses.redirect(location, code)


@SYNTAX.creates("long:1000", "send a reply of this many 64 KiB texts", int)
def _long(exchange: Exchange, count: int = 1000) -> ScriptedResponse:
    return responses.reply(*["x" * 65536] * count, Finish("stop"))


@SYNTAX.creates("short", "send a reply of two short texts")
def _short(exchange: Exchange) -> ScriptedResponse:
    return responses.reply("é", "o", Finish("stop"))


@SYNTAX.creates("named", "send a reply that repeats the question")
def _named(exchange: Exchange) -> ScriptedResponse:
    return responses.reply(f"for {exchange.request.messages[-1]['content']}", Finish("stop"))


@SYNTAX.creates("nul", "send a reply with NUL and other control characters")
def _nul(exchange: Exchange) -> ScriptedResponse:
    return responses.reply("a\0b", "\x1b\x7f", "c", Finish("stop"))


@SYNTAX.creates("separators", "send a reply with U+2028, U+2029, U+0085 and U+FEFF")
def _separators(exchange: Exchange) -> ScriptedResponse:
    return responses.reply("a\u2028b", "\u2029\x85", "\ufeffc", Finish("stop"))


@SYNTAX.creates("breaks", "send a reply with every kind of line break")
def _breaks(exchange: Exchange) -> ScriptedResponse:
    return responses.reply("a\n\nb", "\r\n", "\r", "data: c\n\n", Finish("stop"))


@SYNTAX.creates("document", "send the complete reply as one document, even if the request asks for a stream")
def _document(exchange: Exchange) -> ScriptedResponse:
    body = exchange.dialect.write_reply(collect([*REPLY_TEXTS, Finish("stop")]), exchange.request)
    return ScriptedResponse(BodyContent((body,), "application/json"), framing="length")


@SYNTAX.creates("huge-head", "send a header of one megabyte")
def _huge_head(exchange: Exchange) -> ScriptedResponse:
    return _ok(exchange).header("x-huge", "x" * 1_000_000)


# Directives that create the default reply with changed records.


def _records(exchange: Exchange) -> list[bytes]:
    """Return the default reply encoded as bytes: one piece per text, and one for the end."""
    writer = exchange.dialect.writer(exchange.request)
    pieces = [writer.write([text]) for text in REPLY_TEXTS] + [writer.write([Finish("stop")]) + writer.end()]
    return [piece for piece in pieces if piece]


def _stream_of(exchange: Exchange, records: list[bytes]) -> ScriptedResponse:
    content_type = exchange.dialect.writer(exchange.request).content_type
    return ScriptedResponse(BodyContent(tuple(records), content_type), framing="chunked")


def _framing(exchange: Exchange) -> Framing:
    return exchange.dialect.writer(exchange.request).framing


def _keep_alive(exchange: Exchange) -> bytes:
    """Return what a stream may have between two records."""
    return b": ping\n\n" if _framing(exchange) == "sse" else b"\n"


def _record_of(exchange: Exchange, data: bytes) -> bytes:
    """Return a record with this data."""
    return b"data: " + data + b"\n\n" if _framing(exchange) == "sse" else data + b"\n"


def _interleave(records: list[bytes], extra: bytes) -> list[bytes]:
    return [part for record in records for part in (record, extra)][:-1]


@SYNTAX.creates("one-packet", "send the complete body in one write")
def _one_packet(exchange: Exchange) -> ScriptedResponse:
    return _stream_of(exchange, [b"".join(_records(exchange))])


@SYNTAX.creates("bom", "send a byte order mark before the body")
def _bom(exchange: Exchange) -> ScriptedResponse:
    return _stream_of(exchange, [b"\xef\xbb\xbf", *_records(exchange)])


@SYNTAX.creates("crlf", "end lines with CRLF")
def _crlf(exchange: Exchange) -> ScriptedResponse:
    return _stream_of(exchange, [record.replace(b"\n", b"\r\n") for record in _records(exchange)])


@SYNTAX.creates("cr", "end lines with CR alone")
def _cr(exchange: Exchange) -> ScriptedResponse:
    return _stream_of(exchange, [record.replace(b"\n", b"\r") for record in _records(exchange)])


@SYNTAX.creates("pings", "send comments or blank lines between records")
def _pings(exchange: Exchange) -> ScriptedResponse:
    return _stream_of(exchange, _interleave(_records(exchange), _keep_alive(exchange)))


@SYNTAX.creates("unknown", "send a record of an unknown type after each record")
def _unknown(exchange: Exchange) -> ScriptedResponse:
    unknown = _record_of(exchange, b'{"type":"from.the.future","future":{"x":[1]}}')
    return _stream_of(exchange, _interleave(_records(exchange), unknown))


@SYNTAX.creates("broken", "send malformed JSON after the first text")
def _broken(exchange: Exchange) -> ScriptedResponse:
    first, *rest = _records(exchange)
    return _stream_of(exchange, [first, _record_of(exchange, b'{"a": nope'), *rest])


@SYNTAX.creates("strange-error", "send an error after the first text, in a shape that the API does not have")
def _strange_error(exchange: Exchange) -> ScriptedResponse:
    first, *rest = _records(exchange)
    error = _record_of(exchange, b'{"detail":"%b"}' % ERROR_MESSAGE.encode())
    return _stream_of(exchange, [first, error, *rest])


@SYNTAX.creates("invalid", "send invalid UTF-8 in the second text")
def _invalid(exchange: Exchange) -> ScriptedResponse:
    return _stream_of(exchange, [record.replace("世".encode(), b"\xff\xfe") for record in _records(exchange)])


@SYNTAX.creates("pinged-error", "send keep-alives, then a rate limit's error, in the dialect's own format")
def _pinged_error(exchange: Exchange) -> ScriptedResponse:
    failure = exchange.dialect.writer(exchange.request).fail(status_error(429, ERROR_MESSAGE, retry_after=7))
    return _stream_of(exchange, [_keep_alive(exchange)] * 3 + [failure])


@SYNTAX.creates("only-pings:1t", "send this many texts, then a keep-alive every 10 ms and nothing else", _text_count)
def _only_pings(exchange: Exchange, texts: int = 0) -> ScriptedResponse:
    own = exchange.dialect.writer(exchange.request).ping if texts else b""  # as the first record it may name the reply
    pings = [_keep_alive(exchange), own or _keep_alive(exchange)] * 1000
    return replace(_stream_of(exchange, [*_records(exchange)[:texts], *pings]), write_size=10_000, body_every_s=0.01)


@SYNTAX.creates("echo-in-stream", "send an error after the first text that repeats the request's headers")
def _echo_in_stream(exchange: Exchange) -> ScriptedResponse:
    message = f"{ERROR_MESSAGE}: {exchange.received.headers}"
    first, *_ = _records(exchange)
    return _stream_of(exchange, [first, _record_of(exchange, msgspec.json.encode({"error": {"message": message}}))])


@SYNTAX.creates("echo-escaped:401", "send an error that repeats the headers, each character as a JSON escape", int)
def _echo_escaped(exchange: Exchange, code: int = 401) -> ScriptedResponse:
    text = "".join([f"\\u{ord(character):04x}" for character in str(exchange.received.headers)])
    body = f'{{"error":{{"message":"{ERROR_MESSAGE}: {text}"}}}}'
    return responses.status(code, body=body, content_type="application/json")


@SYNTAX.creates("blanks:80", "send this many megabytes of spaces", int)
def _blanks(exchange: Exchange, megabytes: int = 80) -> ScriptedResponse:
    return _stream_of(exchange, [b" " * 1_000_000] * megabytes)


@SYNTAX.creates("absurd", "put absurd values into fields of the reply that nobody needs")
def _absurd(exchange: Exchange) -> ScriptedResponse:
    values = itertools.cycle(_ABSURD)
    return _stream_of(exchange, [_LABEL.sub(lambda found: found[1] + next(values), r) for r in _records(exchange)])


_ABSURD = (b"1e400", b"[[]]", b"-1", b'{"a":{}}', b"18446744073709551616", rb'"\ud800"', b"null", b"[" * 50 + b"]" * 50)

_LABEL = re.compile(
    rb'("(?:created|created_at|model|modelVersion|responseId|system_fingerprint|service_tier|object|usage'
    rb'|usageMetadata|total_duration|eval_count|prompt_eval_count|logprobs|metadata|stop_sequence)":)'
    rb'(?:"[^"]*"|[\d.]+|null|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})'
)
"""A field about the reply and its value: text, a number, or an object with objects in it."""


@SYNTAX.creates("end-twice", "send the end of the reply twice")
def _end_twice(exchange: Exchange) -> ScriptedResponse:
    *texts, end = _records(exchange)
    return _stream_of(exchange, [*texts, end, end])


@SYNTAX.creates("more", "send the last text again after the end")
def _more(exchange: Exchange) -> ScriptedResponse:
    *texts, end = _records(exchange)
    return _stream_of(exchange, [*texts, end, texts[-1]])


@SYNTAX.creates("shuffled", "send the texts' records in the wrong order")
def _shuffled(exchange: Exchange) -> ScriptedResponse:
    *texts, end = _records(exchange)
    return _stream_of(exchange, [*reversed(texts), end])


@SYNTAX.creates("failed:1", "send this many texts, then an end whose reason reports a failure", int)
def _failed(exchange: Exchange, count: int = 0) -> ScriptedResponse:
    writer = exchange.dialect.writer(exchange.request)
    end = writer.write([*REPLY_TEXTS[:count], Finish("stop")]) + writer.end()
    return _stream_of(exchange, [_GOOD_END.sub(b'"abort"', end)])


_GOOD_END = re.compile(rb'"stop"|"end_turn"|"STOP"|"completed"(?!:)(?=,"(?:model|role))')
"""The value that ends a complete reply: a finish reason, or the status of a response."""


@SYNTAX.creates("repeated", "send the complete reply as one document before the end of its stream")
def _repeated(exchange: Exchange) -> ScriptedResponse:
    *texts, end = _records(exchange)
    document = exchange.dialect.write_reply(collect([*REPLY_TEXTS, Finish("stop")]), exchange.request)
    return _stream_of(exchange, [*texts, _record_of(exchange, document), end])


@SYNTAX.creates("counted", "count the records in the number of the choice, candidate or block")
def _counted(exchange: Exchange) -> ScriptedResponse:
    pieces = [piece.replace(b'"index":0', b'"index":%d' % n) for n, piece in enumerate(_records(exchange))]
    return _stream_of(exchange, pieces)


@SYNTAX.creates("doubled", "send each record without text twice")
def _doubled(exchange: Exchange) -> ScriptedResponse:
    end = b"\n\n" if _framing(exchange) == "sse" else b"\n"
    records = [record + end for record in b"".join(_records(exchange)).split(end) if record]
    texts = [msgspec.json.encode(text)[1:-1] for text in REPLY_TEXTS]
    return _stream_of(exchange, [r if any(text in r for text in texts) else r + r for r in records])


# Directives that change the response.

Place: TypeAlias = Mapping[str, int]
"""Keyword arguments for the methods of `ScriptedResponse` that inject a fault."""

_END: Place = {}
_AFTER_FIRST_TEXT: Place = {"after": 1}


def _place(text: str) -> Place:
    """Parse a place, see `PLACES`."""
    if not text:
        return _END
    if text == "w":
        return {"at_byte": AFTER_RESPONSE}
    if text[-1] == "t":
        return {"after": int(text[:-1])}
    if text[-1] == "w":
        return {"at_byte": int(text[:-1])}
    return {"after_bytes": int(text)}


PLACES = {
    "17": "after 17 bytes of the body",
    "1t": "after 1 text",
    "9w": "after 9 bytes on the wire",
    "w": "after the complete response",
    "": "at the end of the body",
}
"""An example of each kind of place, and its meaning."""

_PLACES_HELP = ", ".join(f"{example or 'no place'}: {meaning}" for example, meaning in PLACES.items())


@SYNTAX.changes("reset:17", f"reset the connection (RST) at this place ({_PLACES_HELP})", _place)
def _reset(response: ScriptedResponse, place: Place = _END) -> ScriptedResponse:
    return response.reset(**place)


@SYNTAX.changes("close:17", "close the connection (FIN) at this place", _place)
def _close(response: ScriptedResponse, place: Place = _END) -> ScriptedResponse:
    return response.close(**place)


@SYNTAX.changes("half-close:17", "shut down the sending side (FIN) at this place, and keep reading", _place)
def _half_close(response: ScriptedResponse, place: Place = _END) -> ScriptedResponse:
    return response.half_close(**place)


@SYNTAX.changes("stall:1t", "send nothing more from this place on, but keep the connection open", _place)
def _stall(response: ScriptedResponse, place: Place = _END) -> ScriptedResponse:
    return response.stall(**place)


@SYNTAX.changes("end:1t", "end the body early but cleanly at this place", _place)
def _end(response: ScriptedResponse, place: Place = _END) -> ScriptedResponse:
    return response.end(**place)


@SYNTAX.changes("wait:0.5:1t", "pause for this many seconds at this place", float, _place)
def _wait(response: ScriptedResponse, seconds: float, place: Place = _END) -> ScriptedResponse:
    return response.wait(seconds, **place)


@SYNTAX.changes("noise:1t", "break HTTP's chunked framing at this place", _place)
def _noise(response: ScriptedResponse, place: Place = _AFTER_FIRST_TEXT) -> ScriptedResponse:
    return response.insert(b"zz\r\n", **place)


@SYNTAX.changes("unasked", "send half of a second response, which nobody asked for, after the complete response")
def _unasked(response: ScriptedResponse) -> ScriptedResponse:
    return response.insert(b"HTTP/1.1 408 Request Timeout\r\ncontent-le", at_byte=AFTER_RESPONSE)


@SYNTAX.changes("fail:1t", "report an error after this many texts, in the dialect's own format", _text_count)
def _fail(response: ScriptedResponse, after: int = 0) -> ScriptedResponse:
    return response.fail(ERROR_MESSAGE, after=after)


@SYNTAX.changes("no-end", "leave out what ends a reply in the dialect")
def _no_end(response: ScriptedResponse) -> ScriptedResponse:
    """Leave out the dialect's own end and the finish reason: in some dialects that is the end."""
    content = response.content
    if isinstance(content, ReplyContent):
        items = tuple(item for item in content.items if not isinstance(item, Finish))
        response = replace(response, content=replace(content, items=items))
    return response.without_end()


@SYNTAX.changes("cut:1", "send this many bytes per write", int)
def _cut(response: ScriptedResponse, size: int = 1) -> ScriptedResponse:
    return response.cut_bytes(size)


@SYNTAX.changes("drip:1:0.05", "send this many bytes per write, and pause for this many seconds after each", int, float)
def _drip(response: ScriptedResponse, size: int = 1, every_s: float = 0.001) -> ScriptedResponse:
    return response.drip(size, every_s)


@SYNTAX.changes("slow-head:0.1", "send the status line and headers byte by byte, this many seconds apart", float)
def _slow_head(response: ScriptedResponse, every_s: float) -> ScriptedResponse:
    return response.slow_head(every_s)


@SYNTAX.changes("gzip", "compress the body, whether or not the client accepts it")
def _gzip(response: ScriptedResponse) -> ScriptedResponse:
    return response.gzip()


def _optional_int(text: str) -> int | None:
    return int(text) if text else None


@SYNTAX.changes("length:5", "send a Content-Length instead of chunks: the real one, or this one", _optional_int)
def _length(response: ScriptedResponse, length: int | None = None) -> ScriptedResponse:
    return response.with_length(length)


@SYNTAX.changes("until-close", "send no length: the body ends when the connection closes")
def _until_close(response: ScriptedResponse) -> ScriptedResponse:
    return response.until_close()


@SYNTAX.changes("header:content-encoding:br", "add this header", str, str)
def _header(response: ScriptedResponse, name: str, value: str) -> ScriptedResponse:
    return response.header(name, value)


@SYNTAX.changes("retry-after:2", "add a Retry-After header", str)
def _retry_after(response: ScriptedResponse, seconds: str) -> ScriptedResponse:
    return response.header("retry-after", seconds)
