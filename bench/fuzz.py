"""`python -m bench.fuzz`: feed mutated bytes to the wire codecs and every dialect, guided by coverage (needs atheris).

What may come out is items or an AcytooError, the same however the bytes are cut; anything else is a crash, kept
as a file beside. Options are libFuzzer's: `-max_total_time=300`, a corpus folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import atheris

with atheris.instrument_imports(include=["acytoo"]):
    from acytoo import dialects
    from acytoo.dialects.base import Reader
    from acytoo.errors import AcytooError
    from acytoo.http import ResponseHead, ServerRequest
    from acytoo.types import collect

_TYPES = ("text/event-stream", "application/json", "application/x-ndjson", "text/plain; charset=utf-8", "text/html")


def outcome(reader: Reader, chunks: list[bytes]) -> Any:
    """What a body gives: what its items say, and the class of the error it ends in."""
    items: list[Any] = []
    try:
        for chunk in chunks:
            if chunk:
                items += reader.feed(chunk)
                if reader.pending_error is not None:
                    raise reader.pending_error
        items += reader.flush()
        reader.close()
        return said(items), None
    except AcytooError as error:
        return said(items), type(error).__name__


def said(items: list[Any]) -> Any:
    """The reply without what is invented where an API gives none, anew each time."""
    reply = collect(items)
    reply.id, reply.created = "", 0
    for call in reply.tool_calls:
        call["id"] = ""
    return reply


def reading(data: bytes) -> None:
    """A response: read at once and in two pieces, it ends the same, and where it is whole it says the same.

    What came before a fault may be less where both came in one chunk.
    """
    if len(data) < 3:
        return
    dialect, kind, body = dialects.ALL[data[0] % len(dialects.ALL)], _TYPES[data[1] % len(_TYPES)], data[3:]
    head = ResponseHead(200, {"content-type": kind})
    place = data[2] % (len(body) + 1)
    whole, cut = (outcome(dialect.reader(head), parts) for parts in ([body], [body[:place], body[place:]]))
    same = whole == cut if whole[1] is None else whole[1] == cut[1] and cut[0].text.startswith(whole[0].text)
    assert same, f"{dialect.name}, {kind}: {whole} at once, {cut} cut at {place}"


def erring(data: bytes) -> None:
    """The body of an error: it has a message."""
    if data:
        assert dialects.ALL[data[0] % len(dialects.ALL)].read_error(500, data[1:]).message


def serving(data: bytes) -> None:
    """A request: it is understood, or refused with a word of why."""
    if len(data) < 2:
        return
    dialect = dialects.ALL[data[0] % len(dialects.ALL)]
    path = dialect.routes[data[1] % len(dialect.routes)].replace("{model:.+}", "m-1")
    try:
        dialect.decode_request(ServerRequest(path, {}, data[2:]))
    except AcytooError as error:
        answer = dialect.write_error(error)
        assert answer.status == 400, error


TARGETS: tuple[Callable[[bytes], None], ...] = (reading, reading, erring, serving)


def one_input(data: bytes) -> None:
    """The first byte says which of the parsers gets the rest."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def main() -> None:
    """Fuzz until told otherwise."""
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
