"""What goes wrong, in words short enough for a command line: `reset:17`, `gzip+end:2t`, `status:429+retry-after:2`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from acytoo.dialects.base import Dialect, Framing
from acytoo.errors import AcytooError, UsageError
from acytoo.http import ServerRequest
from acytoo.testing.fakes.requests import ReceivedRequest
from acytoo.testing.script.responses import (
    AFTER_RESPONSE,
    Body,
    Items,
    ScriptedResponse,
    garbage,
    hang_up,
    json_error,
    page,
    redirect,
    reply,
    silent,
    status,
)
from acytoo.types import Finish, Request, collect

TEXTS = ("Grüße, ", "世界 ", "👩‍👩‍👧 ", "done.")
"""The texts of the reply that everything happens to: characters of one to four bytes, and one of five code points."""

SERVER_WORDS = "out of cheese"
"""What every scripted error says."""

Base: TypeAlias = Callable[[ReceivedRequest, Dialect], ScriptedResponse]
Change: TypeAlias = Callable[[ScriptedResponse], ScriptedResponse]


@dataclass(frozen=True)
class Directive:
    """One word: `example` shows its arguments, `makes` is called with them."""

    name: str
    example: str
    does: str
    makes: Callable[..., Any]
    begins: bool = False
    """Whether it says what is answered; the others say what happens to that."""


def script_of(text: str, dialect: Dialect) -> Callable[[ReceivedRequest], ScriptedResponse]:
    """The script that some words, joined by `+`, stand for. Raises UsageError naming what is not known."""
    base: Base | None = None
    changes: list[Change] = []
    for part in text.split("+"):
        name, *arguments = part.split(":", 2 if part.startswith("redirect:") else -1)
        word = WORDS.get(name)
        if word is None:
            raise UsageError(f"no fault is called {name!r}: known are {', '.join(WORDS)}")
        try:
            made = word.makes(*arguments)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{part!r}: write it like {word.example}") from error
        if not word.begins:
            changes.append(made)
        elif base is not None:
            raise UsageError(f"{text!r} says twice what is answered")
        else:
            base = made
    chosen = base or _ok

    def script(received: ReceivedRequest) -> ScriptedResponse:
        return functools.reduce(lambda answer, change: change(answer), changes, chosen(received, dialect))

    return script


def asked(received: ReceivedRequest, dialect: Dialect) -> Request:
    """What a request asks for; a malformed one counts as an empty one that wants a stream."""
    try:
        return dialect.decode_request(
            ServerRequest(received.path, received.headers, received.body, received.query)
        ).request
    except AcytooError:
        return Request([{"role": "user", "content": ""}])


# What is answered.


def _ok(received: ReceivedRequest, dialect: Dialect) -> ScriptedResponse:
    return reply(*TEXTS, Finish("stop"))


def _same(answer: ScriptedResponse) -> Callable[[], Base]:
    return lambda: lambda received, dialect: answer


def _status(code: str, shape: str = "json") -> Base:
    number = int(code)
    shapes: dict[str, ScriptedResponse] = {
        "json": status(number, SERVER_WORDS),
        "text": status(number, body=SERVER_WORDS),
        "html": page(SERVER_WORDS, number),
        "empty": status(number, body=""),
        "huge": status(number, body=f"{SERVER_WORDS} " * 700_000),
        "cut": status(number, body=SERVER_WORDS).with_length(99).reset(),
    }
    if shape not in shapes:
        raise ValueError(shape)
    return lambda received, dialect: shapes[shape]


def _echo(code: str = "401") -> Base:
    number = int(code)

    def echo(received: ReceivedRequest, dialect: Dialect) -> ScriptedResponse:
        told = f"{SERVER_WORDS}: {received.target} {received.headers} {received.body.decode('utf-8', 'replace')}"
        return status(number, body={"error": {"message": told}})

    return echo


def _redirect(code: str, location: str) -> Base:
    return lambda received, dialect: redirect(location, int(code))


def _long(count: str = "1000") -> Base:
    return lambda received, dialect: reply(*["x" * 65536] * int(count), Finish("stop"))


def _named(received: ReceivedRequest, dialect: Dialect) -> ScriptedResponse:
    return reply(f"for {asked(received, dialect).messages[-1]['content']}", Finish("stop"))


def _texts(*texts: str) -> Callable[[], Base]:
    return lambda: lambda received, dialect: reply(*texts, Finish("stop"))


def _document(received: ReceivedRequest, dialect: Dialect) -> ScriptedResponse:
    """The reply as one document, whatever was asked for."""
    body = dialect.write_reply(collect([*TEXTS, Finish("stop")]), asked(received, dialect))
    return ScriptedResponse(Body((body,), "application/json"), framing="length")


def _huge_head(received: ReceivedRequest, dialect: Dialect) -> ScriptedResponse:
    return _ok(received, dialect).header("x-huge", "x" * 1_000_000)


def _rewritten(rewrite: Callable[[list[bytes]], list[bytes]]) -> Callable[[], Base]:
    """The usual reply, its pieces (one for each text, the end) rewritten as bytes."""
    return _rewritten_framed(lambda pieces, framing: rewrite(pieces))


def _rewritten_framed(rewrite: Callable[[list[bytes], Framing], list[bytes]]) -> Callable[[], Base]:
    """Rewrite the usual reply as `_rewritten` does, by what separates its records."""

    def base(received: ReceivedRequest, dialect: Dialect) -> ScriptedResponse:
        writer = dialect.writer(asked(received, dialect))
        pieces = [writer.write([text]) for text in TEXTS] + [writer.write([Finish("stop")]) + writer.end()]
        body = tuple(rewrite([piece for piece in pieces if piece], writer.framing))
        return ScriptedResponse(Body(body, writer.content_type), framing="chunked")

    return lambda: base


def _blank(framing: Framing) -> bytes:
    """What a stream of such records may have between two of them."""
    return b": ping\n\n" if framing == "sse" else b"\n"


def _record(framing: Framing, data: bytes) -> bytes:
    return b"data: " + data + b"\n\n" if framing == "sse" else data + b"\n"


def _between(pieces: list[bytes], extra: bytes) -> list[bytes]:
    return [part for piece in pieces for part in (piece, extra)][:-1]


# What happens to it.


def _place(place: str) -> dict[str, int]:
    if not place:
        return {}
    if place == "w":
        return {"at_byte": AFTER_RESPONSE}
    kind = {"t": "after", "w": "at_byte"}.get(place[-1], "after_bytes")
    return {kind: int(place.rstrip("tw"))}


def _at(method: Callable[..., ScriptedResponse]) -> Callable[..., Change]:
    def makes(place: str = "") -> Change:
        here = _place(place)
        return lambda answer: method(answer, **here)

    return makes


def _wait(seconds: str, place: str = "") -> Change:
    length, here = float(seconds), _place(place)
    return lambda answer: answer.wait(length, **here)


def _noise(place: str = "1t") -> Change:
    here = _place(place)
    return lambda answer: answer.insert(b"zz\r\n", **here)


def _fail(place: str = "0t") -> Change:
    after = int(place.rstrip("t"))
    return lambda answer: answer.fail(SERVER_WORDS, after=after)


def _cut(size: str = "1") -> Change:
    bytes_each = int(size)
    return lambda answer: answer.cut_bytes(bytes_each)


def _drip(size: str = "1", seconds: str = "0.001") -> Change:
    bytes_each, every_s = int(size), float(seconds)
    return lambda answer: answer.drip(bytes_each, every_s)


def _slow_head(seconds: str) -> Change:
    every_s = float(seconds)
    return lambda answer: answer.slow_head(every_s)


def _length(stated: str = "") -> Change:
    size = int(stated) if stated else None
    return lambda answer: answer.with_length(size)


def _header(name: str, value: str) -> Change:
    return lambda answer: answer.header(name, value)


def _retry_after(seconds: str) -> Change:
    return _header("retry-after", seconds)


def _no_end(answer: ScriptedResponse) -> ScriptedResponse:
    """Without the end that the dialect has, and without the item that says why the reply ended."""
    content = answer.content
    if isinstance(content, Items):
        kept = tuple(item for item in content.items if not isinstance(item, Finish))
        answer = replace(answer, content=replace(content, items=kept))
    return answer.without_end()


_PLACES = (
    "17 is after 17 bytes of the body, 1t after 1 text, 9w after 9 bytes on the wire, w after the complete response, "
    "nothing at the end of the body"
)

_ALL = (
    Directive("ok", "ok", "answer well: what every other word changes", lambda: _ok, True),
    Directive("status", "status:503:html", "refuse; the body is json, text, html, empty, huge or cut", _status, True),
    Directive("echo", "echo:401", "refuse, and repeat the whole request in the error, key included", _echo, True),
    Directive("page", "page", "an HTML page with status 200", _same(page(SERVER_WORDS)), True),
    Directive("json-error", "json-error", "an error in JSON with status 200", _same(json_error(SERVER_WORDS)), True),
    Directive("empty", "empty", "status 200 without a byte of body", _same(status(200, body="")), True),
    Directive("garbage", "garbage", "bytes that are no HTTP", _same(garbage()), True),
    Directive("silent", "silent", "no answer at all", _same(silent()), True),
    Directive("hang-up", "hang-up", "close the connection instead of answering", _same(hang_up()), True),
    Directive("redirect", "redirect:307:/elsewhere", "redirect, with this status, to there", _redirect, True),
    Directive("long", "long:1000", "a reply of so many times 64 KiB", _long, True),
    Directive("short", "short", "a reply of two short texts", _texts("é", "o"), True),
    Directive("named", "named", "a reply that repeats the question", lambda: _named, True),
    Directive("nul", "nul", "NUL and other control characters in the text", _texts("a\0b", "\x1b\x7f", "c"), True),
    Directive(
        "separators",
        "separators",
        "U+2028, U+2029, U+0085, U+FEFF in it",
        _texts("a\u2028b", "\u2029\x85", "\ufeffc"),
        True,
    ),
    Directive(
        "breaks", "breaks", "line ends of every kind in the text", _texts("a\n\nb", "\r\n", "\r", "data: c\n\n"), True
    ),
    Directive(
        "document",
        "document",
        "the whole reply as one document, though a stream was asked for",
        lambda: _document,
        True,
    ),
    Directive("huge-head", "huge-head", "a header of a megabyte", lambda: _huge_head, True),
    Directive("one-packet", "one-packet", "the whole body in one write", _rewritten(lambda p: [b"".join(p)]), True),
    Directive("bom", "bom", "a byte order mark before the body", _rewritten(lambda p: [b"\xef\xbb\xbf", *p]), True),
    Directive(
        "crlf", "crlf", "records that end with CRLF", _rewritten(lambda p: [x.replace(b"\n", b"\r\n") for x in p]), True
    ),
    Directive(
        "cr", "cr", "records that end with CR alone", _rewritten(lambda p: [x.replace(b"\n", b"\r") for x in p]), True
    ),
    Directive(
        "pings",
        "pings",
        "comments or blank lines between records",
        _rewritten_framed(lambda p, f: _between(p, _blank(f))),
        True,
    ),
    Directive(
        "unknown",
        "unknown",
        "a record of a kind that nobody knows yet, after each",
        _rewritten_framed(lambda p, f: _between(p, _record(f, b'{"type":"from.the.future","future":{"x":[1]}}'))),
        True,
    ),
    Directive(
        "broken",
        "broken",
        "broken JSON after the first text",
        _rewritten_framed(lambda p, f: [p[0], _record(f, b'{"a": nope'), *p[1:]]),
        True,
    ),
    Directive(
        "strange-error",
        "strange-error",
        "an error after the first text, in no shape of the API's own",
        _rewritten_framed(lambda p, f: [p[0], _record(f, b'{"detail":"%b"}' % SERVER_WORDS.encode()), *p[1:]]),
        True,
    ),
    Directive(
        "invalid",
        "invalid",
        "bytes in the second text that are no UTF-8",
        _rewritten(lambda p: [x.replace("世".encode(), b"\xff\xfe") for x in p]),
        True,
    ),
    Directive("end-twice", "end-twice", "what ends the reply, twice", _rewritten(lambda p: [*p, p[-1]]), True),
    Directive("more", "more", "after the end, the last text once more", _rewritten(lambda p: [*p, p[-2]]), True),
    Directive(
        "shuffled", "shuffled", "the texts' records in the wrong order", _rewritten(lambda p: [*p[-2::-1], p[-1]]), True
    ),
    Directive("reset", "reset:17", f"tear the connection down (RST); {_PLACES}", _at(ScriptedResponse.reset)),
    Directive("close", "close:17", "close the connection (FIN) there", _at(ScriptedResponse.close)),
    Directive("half-close", "half-close:17", "send no more (FIN), keep reading", _at(ScriptedResponse.half_close)),
    Directive("stall", "stall:1t", "be silent from there on", _at(ScriptedResponse.stall)),
    Directive("end", "end:1t", "end the body there, in good order", _at(ScriptedResponse.end)),
    Directive("wait", "wait:0.5:1t", "be silent there for so many seconds", _wait),
    Directive("noise", "noise:1t", "break HTTP's chunked framing there", _noise),
    Directive("fail", "fail:1t", "tell an error there, in the dialect's way", _fail),
    Directive("no-end", "no-end", "leave out what ends a reply", lambda: _no_end),
    Directive("cut", "cut:1", "write so many bytes at a time", _cut),
    Directive("drip", "drip:1:0.05", "write so many bytes, every so many seconds", _drip),
    Directive(
        "slow-head",
        "slow-head:0.1",
        "write the response's head so slowly, byte by byte",
        _slow_head,
    ),
    Directive("gzip", "gzip", "compress the body, asked or not", lambda: ScriptedResponse.gzip),
    Directive(
        "length", "length:5", "state the body's length instead of sending chunks: the true one, or a wrong one", _length
    ),
    Directive(
        "until-close",
        "until-close",
        "state no length: the body ends with the connection",
        lambda: ScriptedResponse.until_close,
    ),
    Directive("header", "header:content-encoding:br", "send one more header", _header),
    Directive("retry-after", "retry-after:2", "send that header", _retry_after),
)

WORDS = {word.name: word for word in _ALL}
