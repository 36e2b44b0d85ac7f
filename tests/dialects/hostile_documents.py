"""Every reply, error and request on record, with a hostile value at each of its places.

The problem: a codec that takes one field for granted raises a KeyError or a TypeError in the caller's face, and on a
server takes the request down with a traceback. Such places are found by trying all of them.

The strategy: a `Case` is a recorded document and what to do with a changed one. Its variants are numbered: each place
of the document combined with each of `VALUES`. A test runs a fixed sample, `python -m bench fuzz --target documents`
runs all of them. What is read goes on through everything that follows in use: replies to the writers of every API and
back into requests, requests to the encoders of every API, errors to the error documents of every API.

The cost: about a millisecond for each variant.
"""

from __future__ import annotations

import json
import pickle
import random
import re
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec

from acytoo import dialects
from acytoo.client import redact_error
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.dialects.json import UNDECODABLE
from acytoo.dialects.surrogates import replace_lone_escapes
from acytoo.dialects.translate import translate
from acytoo.errors import AcytooError, RequestError, StatusError, UsageError
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.secret import Secret
from acytoo.types import Event, Finish, Item, Request, ToolCall, Usage, collect
from tests.dialects.strategies import request_for
from tests.dialects.test_real_clients import RECORDED, dialect_of
from tests.dialects.test_recordings import ERROR_RESPONSES, REPLIES, Recording, identify
from tests.dialects.unusual_requests import UNUSUAL_REQUESTS

VALUES: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "-1": b"-1",
    "0": b"0",
    "0.5": b"0.5",
    "1e400": b"1e400",
    "-1e400": b"-1e400",
    "1e308": b"1e308",
    "2**63": b"9223372036854775808",
    "2**64": b"18446744073709551616",
    "5000 digits": b"9" * 5000,
    "NaN": b"NaN",
    "no text": b'""',
    "a space": b'" "',
    "digits": b'"5"',
    "unusual digits": '"²٣"'.encode(),
    "half a surrogate pair": rb'"\ud800"',
    "a NUL": rb'"\u0000"',
    "a line end": rb'"\r\n\r\ndata: x\n\n"',
    "a brace": rb'"{"',
    "long text": b'"' + b"x" * 3000 + b'"',
    "invalid UTF-8": b'"\xff\xc3"',
    "[]": b"[]",
    "[null]": b"[null]",
    "[[]]": b"[[]]",
    "[5]": b"[5]",
    '["x"]': b'["x"]',
    "{}": b"{}",
    '{"a": {}}': b'{"a":{}}',
    "[{}]": b"[{}]",
    '[{"type": "text"}]': b'[{"type":"text"}]',
    '{"type": 5}': b'{"type":5}',
    "deep lists": b"[" * 200 + b"]" * 200,
    "deep objects": b'{"a":' * 200 + b"1" + b"}" * 200,
    "deeper lists": b"[" * 900 + b"]" * 900,
    "deeper objects": b'{"a":' * 450 + b"1" + b"}" * 450,
    "deepest objects": b'{"a":' * 900 + rb'"\ud800"' + b"}" * 900,
}
"""JSON, or nearly, by a name for reports."""

_TWICE = ("null", "0.5", "digits", "[]", "{}")
"""The values that a key also has a second time: the last one counts, for us and for others."""

_MARK = '"@@HOSTILE@@"'


def places_in(document: Any) -> list[tuple[Any, ...]]:
    """Return the paths of the values in a document; of values alike in a list, such as a schema's, only the first."""
    places = []
    seen = set()
    for path, value, kinds in _values_in(document, (), ()):
        alike = tuple(key for key in path if isinstance(key, str)), type(value), kinds
        if alike not in seen:
            seen.add(alike)
            places.append(path)
    return places


def _values_in(
    value: Any, path: tuple[Any, ...], kinds: tuple[str, ...]
) -> Iterator[tuple[tuple[Any, ...], Any, tuple[str, ...]]]:
    """Yield (path, value, kinds) for every value inside; `kinds` are the names of the kinds of objects around it."""
    yield path, value, kinds
    if isinstance(value, list):
        for index, element in enumerate(value):
            yield from _values_in(element, (*path, index), kinds)
    elif isinstance(value, dict):
        kind = str([value.get(name) for name in ("type", "role") if isinstance(value.get(name), str)])
        for name, field in value.items():
            yield from _values_in(field, (*path, name), (*kinds, kind))


def _with_mark(document: Any, path: tuple[Any, ...], twice: bool) -> str:
    """Return the document as JSON with a mark in place of a value, or beside it as the second of two equal keys."""
    if not path:
        return _MARK
    key, *rest = path
    if isinstance(document, list):
        inner = [
            _with_mark(value, tuple(rest), twice) if index == key else json.dumps(value)
            for index, value in enumerate(document)
        ]
        return f"[{','.join(inner)}]"
    fields = []
    for name, value in document.items():
        text = _with_mark(value, tuple(rest), twice) if name == key else json.dumps(value)
        if name == key and not rest and twice:
            text = f"{json.dumps(value)},{json.dumps(name)}:{text}"
        fields.append(f"{json.dumps(name)}:{text}")
    return f"{{{','.join(fields)}}}"


def _without(document: Any, path: tuple[Any, ...]) -> Any:
    copy = document.copy()
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _without(copy[path[0]], path[1:])
    return copy


class Case(NamedTuple):
    """A recorded document, and what is done with a changed one, which must raise nothing but an AcytooError."""

    name: str
    document: Any
    run: Callable[[bytes], None]

    def variants(self, numbers: Callable[[int], list[int]] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (description, JSON) of the variants; `numbers` chooses some of their number."""
        kinds = [*VALUES, "removed", *[f"twice: {name}" for name in _TWICE]]
        places = places_in(self.document)
        total = len(places) * len(kinds)
        for number in range(total) if numbers is None else numbers(total):
            path, kind = places[number // len(kinds)], kinds[number % len(kinds)]
            is_field = bool(path) and isinstance(path[-1], str)
            name = kind.removeprefix("twice: ")
            where = ".".join(map(str, path)) or "the document"
            if kind == "removed":
                if path:
                    yield f"{where} removed", json.dumps(_without(self.document, path)).encode()
            elif is_field or kind == name:
                before, _, after = _with_mark(self.document, path, kind != name).partition(_MARK)
                yield f"{where} = {kind}", before.encode() + VALUES[name] + after.encode()

    def sample(self, count: int) -> Iterator[tuple[str, bytes]]:
        """Yield some variants, the same ones each time."""
        chosen = random.Random(self.name)
        return self.variants(lambda total: chosen.sample(range(total), min(count, total)))


def failure(case: Case, body: bytes) -> str | None:
    """Return what other error than an AcytooError a variant raises, and where; None if it raises none."""
    try:
        case.run(body)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = next((frame for frame in reversed(frames) if "/acytoo/" in frame.filename), frames[-1])
        place = f"{ours.filename.rpartition('/acytoo/')[2]}:{ours.lineno} in {ours.name}"
        return f"{type(error).__name__} at {place}: {str(error)[:150]}"
    return None


# What is done with a reply.

_ENDPOINT = Endpoint("http://h", Secret("k3y"))


def _read(dialect: Dialect, head: ResponseHead, chunks: list[bytes]) -> tuple[list[Item], AcytooError | None]:
    """Return the items that a client gets, and the error after them."""
    reader = dialect.reader(head)
    items: list[Item] = []
    try:
        for chunk in chunks:
            items += reader.feed(chunk)
            if reader.pending_error is not None:
                raise reader.pending_error
        items += reader.flush()
        reader.close()
    except AcytooError as error:
        items += reader.flush_truncated()
        return items, error
    return items, None


def _scan(dialect: Dialect, head: ResponseHead, chunks: list[bytes]) -> None:
    """Read as a server does that passes the reply through."""
    reader = dialect.reader(head)
    try:
        for chunk in chunks:
            reader.scan(chunk)
        reader.flush()
        reader.close()
    except AcytooError:
        pass


def _check_items(items: list[Item]) -> None:
    """Check that callers get what the types promise."""
    for item in items:
        assert type(item) is str or isinstance(item, Event), item
        assert item != ""
        if isinstance(item, (ToolCall, Finish, Usage)):
            msgspec.convert(msgspec.to_builtins(item), type(item))  # raises for a field of another type


def use_reply(dialect: Dialect, head: ResponseHead, body: bytes) -> None:
    """Read a reply at once, by line, and passed through; then do what callers and servers do with it."""
    lines = body.splitlines(keepends=True)
    items, error = _read(dialect, head, [body])
    _check_items(items)
    by_line, _ = _read(dialect, head, lines)
    _check_items(by_line)
    _scan(dialect, head, [body])
    _scan(dialect, head, lines)
    turn = dialect.memory().turn(ServerRequest(dialect.routes[0], {}, b'{"model":"m","input":"Hi"}'))
    turn.watch(body)
    if error is not None:
        use_error(error)
    known = repr([*items, *by_line]) if not any(isinstance(item, ToolCall) for item in items) else ""
    if known in _USED:
        return
    reply = collect(items)
    repr(reply)
    msgspec.json.encode([item for item in items if isinstance(item, Event)])
    again: list[Any] = [{"role": "user", "content": "Hi"}, reply.message, {"role": "user", "content": "And?"}]
    for target in dialects.ALL:
        for use in (
            partial(_write_stream, target, items),
            partial(target.write_reply, reply, request_for(target)),
            partial(target.encode_request, Request(again, "m"), _ENDPOINT, Unsupported(target.name, drop=True)),
        ):
            try:
                use()
            except AcytooError as refusal:
                use_error(refusal)
    _USED.add(known)


_USED: set[str] = set()
"""Replies that were used already: most variants of a document are read as the same one."""


def _write_stream(dialect: Dialect, items: list[Item]) -> None:
    writer = dialect.writer(request_for(dialect))
    writer.write(items)
    writer.end()


def use_error(error: AcytooError) -> None:
    """Show an error, copy it, and write it in every API."""
    pickle.loads(pickle.dumps(error))
    redact_error(error, b"", [_ENDPOINT.key])
    assert str(error)
    assert "k3y" not in repr(error)
    for target in dialects.ALL:
        answer = target.write_error(error)
        assert answer.status >= 400
        assert all(value.isprintable() for value in answer.headers.values())
        target.writer(request_for(target)).fail(error)


def use_error_body(dialect: Dialect, status: int, body: bytes) -> None:
    """Read an error document."""
    error = dialect.read_error(status, body)
    assert isinstance(error, StatusError)
    assert error.message
    use_error(error)


def use_count(dialect: Dialect, body: bytes) -> None:
    """Read a token count as a client does, and write it as a server does."""
    try:
        count = dialect.read_count(body)
    except (*UNDECODABLE, AcytooError):
        return
    dialect.write_count(count)


# What is done with a request.


def use_request(dialect: Dialect, incoming: ServerRequest, body: bytes) -> None:
    """Decode a request as a server does, then send it to a backend of every API, and write a reply to it."""
    incoming = msgspec.structs.replace(incoming, body=body)
    turn = dialect.memory().turn(incoming)
    dialect.is_client(incoming)
    try:
        lenient = dialect.decode_request_lenient(turn.request)
        writer = dialect.writer(lenient.request)
        writer.fail(StatusError("no"))
        if dialect.can_pass_through and not dialect.is_legacy:
            dialect.for_model(body, "other")
            dialect.http_request(lenient.request, _ENDPOINT, body)
        parsed = dialect.decode_request(turn.request)
    except AcytooError as refusal:
        assert isinstance(refusal, UsageError) or (isinstance(refusal, RequestError) and refusal.status == 400)
        use_error(refusal)
        return
    request = parsed.request
    _write_replies(dialect, request)
    try:
        request = translate(turn.with_history(request), dialect)
    except AcytooError as refusal:
        use_error(refusal)
        return
    for target in dialects.ALL:
        for drop in (True, False):
            try:
                target.encode_request(request, _ENDPOINT, Unsupported(target.name, drop=drop))
                target.encode_count_request(request, _ENDPOINT)
            except AcytooError as refusal:
                use_error(refusal)
    try:
        dialect.encode_request(parsed.request, _ENDPOINT, Unsupported(dialect.name))
    except AcytooError as refusal:
        use_error(refusal)


_REPLY: list[Item] = ["Hello", ToolCall(0, "call-1", "f", "{}"), Usage(1, 2), Finish("tool_calls")]


def _write_replies(dialect: Dialect, request: Request) -> None:
    writer = dialect.writer(request)
    if writer.ping:
        bytes(writer.ping)
    writer.write(_REPLY)
    writer.end()
    dialect.write_reply(collect(_REPLY), request)


# The cases.


def _decoded(text: bytes) -> Any:
    """Return a JSON object or list, None for anything else."""
    try:
        document = msgspec.json.decode(replace_lone_escapes(text))
    except UNDECODABLE:
        return None
    return document if isinstance(document, (dict, list)) else None


def _reply_cases(recording: Recording) -> Iterator[Case]:
    """Yield a case for the document, or for each record of the stream."""
    use = partial(use_reply, recording.dialect, recording.head)
    document = _decoded(recording.body)
    if document is not None:
        yield Case(f"{recording.api} reply {recording.name}", document, use)
        return
    for number, found in enumerate(re.finditer(rb"^(?:data: ?)?([{\[].*[}\]])\r?$", recording.body, re.MULTILINE)):
        record = _decoded(found[1])
        if record is not None:
            start, end = recording.body[: found.start(1)], recording.body[found.end(1) :]
            use_record = partial(_use_record, use, start, end)
            yield Case(f"{recording.api} reply {recording.name} record {number}", record, use_record)


def _use_record(use: Callable[[bytes], None], start: bytes, end: bytes, record: bytes) -> None:
    use(start + record + end)


def _request_case(name: str, dialect: Dialect, incoming: ServerRequest, body: Any) -> Case:
    return Case(f"{dialect.name} request {name}", body, partial(use_request, dialect, incoming))


def _own_fields(dialect: Dialect) -> dict[str, Any]:
    """Return fields that a codec of this API treats in a way of its own, each with a value that it might have."""
    names = {
        *dialect.ignorable_fields,
        *dialect.conversation_fields,
        *dialect.no_op_values,
        *dialect.vendor_fields,
        *dialect.capabilities.request_fields,
        *dialect.options,
        "stream_options",
    }
    return {name: {"type": "x"} for name in sorted(names)}


def _sent_back(recording: Recording) -> Iterator[Case]:
    """Yield a case for the request that continues a recorded reply, with all that its API needs of it."""
    items, error = _read(recording.dialect, recording.head, [recording.body])
    if error is not None:
        return
    messages: list[Any] = [{"role": "user", "content": "Hi"}, collect(items).message, {"role": "user", "content": "X"}]
    sent = recording.dialect.encode_request(Request(messages, "m"), _ENDPOINT, Unsupported("", drop=True))
    url = urlsplit(sent.url)
    incoming = ServerRequest(url.path, {}, b"", dict(parse_qsl(url.query)))
    yield _request_case(f"after {recording.name}", recording.dialect, incoming, msgspec.json.decode(sent.body))


def cases() -> Iterator[Case]:
    """Yield every case."""
    for recording in REPLIES:
        yield from _reply_cases(recording)
    for recording in ERROR_RESPONSES:
        if (document := _decoded(recording.body)) is not None:
            use = partial(use_error_body, recording.dialect, recording.status)
            yield Case(f"{recording.api} error {identify(recording)}", document, use)
    counts = {"anthropic": {"input_tokens": 5}, "gemini": {"totalTokens": 5, "cachedContentTokenCount": 1}}
    for name, document in counts.items():
        yield Case(f"{name} count", document, partial(use_count, dialects.by_name(name)))
    for name, recorded in RECORDED.items():
        url = urlsplit(recorded["path"])
        if (dialect := dialect_of(url.path)) is not None:
            incoming = ServerRequest(url.path, recorded["headers"], b"", dict(parse_qsl(url.query)))
            yield _request_case(name, dialect, incoming, recorded["body"])
    for recording in REPLIES:
        yield from _sent_back(recording)
    for number, (api, path, body) in enumerate(UNUSUAL_REQUESTS):
        dialect = dialects.by_name(api)
        known = [dialect, *[legacy() for legacy in dialect.legacy_endpoints]]
        routes = [(other, route) for other in known for route in other.routes + other.count_routes]
        dialect, route = next(found for found in routes if found[1].endswith(path))
        incoming = ServerRequest(_path(route), {}, b"")
        yield _request_case(f"unusual {number}", dialect, incoming, {"model": "m-1", **body})
    for dialect in dialects.ALL:
        incoming = ServerRequest(_path(dialect.routes[0]), {}, b"")
        body = {"model": "m-1", **dialect.minimal_body, **_own_fields(dialect)}
        yield _request_case("own fields", dialect, incoming, body)


def _path(route: str) -> str:
    return route.replace("{model:.+}", "m-1")
