"""Feed mutated bytes to the wire codecs and every dialect, guided by coverage (needs atheris).

The result must be items or an AcytooError, the same for every split of the bytes. Anything else is a crash; libFuzzer
writes its input to a file.
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


TARGETS: tuple[Callable[[bytes], None], ...] = (read_reply, read_reply, read_error, decode_request)


def one_input(data: bytes) -> None:
    """Pass the input to a target; its first byte selects which."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def fuzz(options: list[str]) -> None:
    """Fuzz until libFuzzer's options end it, such as `-max_total_time=300`."""
    atheris.Setup([sys.argv[0], *options], one_input)
    atheris.Fuzz()
