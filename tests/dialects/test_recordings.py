"""Byte streams of the real APIs, recorded or documented, read by our readers.

A fake server of ours renders its replies with our own writers, so a reader and a writer that are wrong in the same way
would agree. The recordings in `recordings/<api>/` come from elsewhere: each follows a public source, with its own ids
and texts. Its expected result stands in `recordings/<api>/index.toml`, written by hand from the API's documentation.

An entry of the index is named after its file. What it does not name is expected to be empty. A call without an `id`
is one that the API gave none: the reader makes one up. `arguments` are the exact text if the API sends text, a table
if it sends an object. With `error`, the reply ends in that error, after the text and the rest of the entry.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acytoo import dialects, errors
from acytoo.dialects.base import Dialect
from acytoo.errors import AcytooError, StatusError
from acytoo.http import ResponseHead
from acytoo.types import Event, Item, ToolCall, Usage, collect
from tests.dialects.strategies import split_at, split_bytes

RECORDINGS = Path(__file__).parent / "recordings"

LEAST = 8
"""Recordings that every API has at least."""

KINDS = frozenset({"text", "tools", "reasoning", "usage", "refusal", "error", "unusual", "streamed", "whole"})
INEXPRESSIBLE = {"acytoo": {"tools", "reasoning", "usage", "refusal"}, "ollama": {"refusal"}}
"""Kinds that an API has no field for."""

SHAPES: dict[str, Callable[[bytes], object]] = {
    "bom": lambda body: body.startswith(b"\xef\xbb\xbf"),
    "comment": lambda body: re.search(rb"^:", body, re.MULTILINE),
    "crlf": lambda body: b"\r\n" in body,
    "field-only-line": lambda body: re.search(rb"^(data|id)$", body, re.MULTILINE),
    "multi-line-data": lambda body: re.search(rb"^data: .*\ndata: ", body, re.MULTILINE),
    "no-space": lambda body: re.search(rb"^data:\S", body, re.MULTILINE),
    "no-last-line-end": lambda body: not body.endswith(b"\n"),
}
"""What the bytes of a recording must show for the index to name the shape: it is easily lost by an editor or by Git."""


class Recording(NamedTuple):
    """One file and its entry in the index."""

    api: str
    name: str
    body: bytes
    entry: dict[str, Any]

    @property
    def dialect(self) -> Dialect:
        return dialects.by_name(self.api)

    @property
    def status(self) -> int:
        status: int = self.entry.get("status", 200)
        return status

    @property
    def head(self) -> ResponseHead:
        headers = {"content-type": self.entry["content_type"]} if self.entry["content_type"] else {}
        return ResponseHead(self.status, headers | self.entry.get("headers", {}))


@functools.cache
def recordings() -> list[Recording]:
    """Every entry of every index."""
    return [
        Recording(index.parent.name, name, (index.parent / name).read_bytes(), entry)
        for index in sorted(RECORDINGS.glob("*/index.toml"))
        for name, entry in tomllib.loads(index.read_text(encoding="utf-8")).items()
    ]


REPLIES = [recording for recording in recordings() if recording.status == 200]
ERROR_RESPONSES = [recording for recording in recordings() if recording.status != 200]


def identify(recording: Recording) -> str:
    return f"{recording.api}/{recording.name}"


# Reading.


def read_reply(recording: Recording, chunks: Iterable[bytes]) -> tuple[list[Item], AcytooError | None]:
    """Return the items and the error that a client would get for these chunks."""
    reader = recording.dialect.reader(recording.head)
    items: list[Item] = []
    try:
        for chunk in chunks:
            items += reader.feed(chunk)
            if reader.pending_error is not None:
                return items, reader.pending_error
        items += reader.flush()
        reader.close()
    except AcytooError as error:
        return items, error
    return items, None


def comparable(recording: Recording, items: Iterable[Item]) -> list[Item]:
    """Return the items with texts joined and without the ids that the reader made up, which differ every time."""
    joined: list[Item] = []
    for item in items:
        if isinstance(item, str) and joined and isinstance(joined[-1], str):
            joined[-1] += item
        elif isinstance(item, ToolCall) and item.id.encode() not in recording.body:
            joined.append(msgspec.structs.replace(item, id=""))
        else:
            joined.append(item)
    return joined


def result(recording: Recording, items: list[Item]) -> dict[str, Any]:
    """Return what was read in the form of an index entry, without what is empty."""
    reply = collect(items)
    finish = reply.finish
    read = {
        "id": reply.id,
        "model": reply.model,
        "created": reply.created,
        "text": reply.text,
        "reasoning": [{k: v for k, v in block.items() if k != "source"} for block in reply.reasoning],
        "calls": [call_of(recording, index, call) for index, call in enumerate(reply.tool_calls)],
        "refusal": reply.refusal,
        "logprobs": reply.logprobs,
        "usage": {} if reply.usage is None else usage_of(reply.usage),
        "finish": finish.reason if finish else "",
        "finish_raw": finish.raw if finish else "",
        "stop_sequence": finish.stop_sequence if finish else "",
    }
    return {name: value for name, value in read.items() if value}


def usage_of(usage: Usage) -> dict[str, Any]:
    counts: dict[str, Any] = msgspec.to_builtins(usage)
    return {name: count for name, count in counts.items() if name != "type"}


def call_of(recording: Recording, index: int, call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call in the form of the index; made-up ids are left out, arguments are decoded if the entry's are."""
    expected = recording.entry.get("calls", [])
    as_object = index < len(expected) and isinstance(expected[index]["arguments"], dict)
    arguments = call["function"]["arguments"]
    read = {
        "id": call["id"] if call["id"].encode() in recording.body else "",
        "name": call["function"]["name"],
        "arguments": msgspec.json.decode(arguments) if as_object else arguments,
        "signature": call.get("extra_content", {}).get("google", {}).get("thought_signature", ""),
    }
    assert call["id"]
    return {name: value for name, value in read.items() if value or name == "arguments"}


ABOUT = frozenset({"source", "content_type", "headers", "status", "kinds", "shapes", "error"})
"""Fields of an entry that are not part of the expected reply."""


def expected(recording: Recording) -> dict[str, Any]:
    return {name: value for name, value in recording.entry.items() if name not in ABOUT}


def check_error(recording: Recording, error: AcytooError | None) -> None:
    """Compare an error with the entry's `error`: exactly its class, and every field that it names."""
    described = dict(recording.entry.get("error", {}))
    if error is None or not described:
        assert error is None
        assert not described
        return
    assert type(error) is getattr(errors, described.pop("class")), error
    assert described.pop("contains", "") in error.message
    assert {name: getattr(error, name) for name in described} == described
    if isinstance(error, StatusError):
        assert error.status == described.get("status")


# Tests.


@pytest.mark.parametrize("recording", REPLIES, ids=identify)
def test_a_recording_is_read_as_documented(recording: Recording) -> None:
    items, error = read_reply(recording, [recording.body])
    check_error(recording, error)
    assert result(recording, items) == expected(recording)
    assert all(type(item) is str or isinstance(item, Event) for item in items)
    assert "" not in items


@pytest.mark.parametrize("recording", REPLIES, ids=identify)
def test_a_recording_gives_the_same_items_byte_by_byte(recording: Recording) -> None:
    whole, error = read_reply(recording, [recording.body])
    bytewise, error_bytewise = read_reply(recording, split_bytes(recording.body))
    assert comparable(recording, bytewise) == comparable(recording, whole)
    check_error(recording, error_bytewise)
    assert str(error_bytewise) == str(error)


@pytest.mark.parametrize("recording", REPLIES, ids=identify)
@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 1_000_000), max_size=6))
def test_a_recording_gives_the_same_items_at_any_splits(recording: Recording, places: list[int]) -> None:
    whole, error = read_reply(recording, [recording.body])
    split, error_split = read_reply(recording, split_at(recording.body, places))
    assert comparable(recording, split) == comparable(recording, whole)
    assert str(error_split) == str(error)


@pytest.mark.parametrize("recording", REPLIES, ids=identify)
def test_scanning_a_recording_reports_the_same_error_or_end(recording: Recording) -> None:
    # A reply that a server passes through is scanned, not read.
    reader = recording.dialect.reader(recording.head)
    error: AcytooError | None = None
    try:
        for chunk in split_at(recording.body, list(range(0, len(recording.body), 100))):
            reader.scan(chunk)
            error = error or reader.pending_error
        if error is None:
            reader.flush()
            reader.close()
    except AcytooError as raised:
        error = raised
    check_error(recording, error)


@pytest.mark.parametrize("recording", ERROR_RESPONSES, ids=identify)
def test_a_recorded_error_status_is_read_as_documented(recording: Recording) -> None:
    check_error(recording, recording.dialect.read_error(recording.status, recording.body))


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_every_api_has_recordings_of_every_kind(dialect: Dialect) -> None:
    own = [recording for recording in recordings() if recording.dialect is dialect]
    assert len(own) >= LEAST
    kinds = {kind for recording in own for kind in recording.entry["kinds"]}
    assert kinds == KINDS - INEXPRESSIBLE.get(dialect.name, set())


@pytest.mark.parametrize("recording", recordings(), ids=identify)
def test_an_index_entry_is_complete(recording: Recording) -> None:
    entry = recording.entry
    kinds = set(entry["kinds"])
    assert entry["source"]
    assert kinds <= KINDS
    assert len(kinds & {"streamed", "whole"}) == 1
    # A refusal may be a finish reason alone, as at Gemini.
    fields = {"text": "text", "tools": "calls", "reasoning": "reasoning", "usage": "usage", "error": "error"}
    assert {kind for kind, name in fields.items() if name in entry} == kinds & fields.keys()


@pytest.mark.parametrize("recording", recordings(), ids=identify)
def test_a_recording_still_has_the_shape_it_was_made_for(recording: Recording) -> None:
    shapes = recording.entry.get("shapes", [])
    assert [shape for shape in shapes if not SHAPES[shape](recording.body)] == []


def test_every_file_is_in_an_index() -> None:
    listed = {f"{recording.api}/{recording.name}" for recording in recordings()}
    files = {path.relative_to(RECORDINGS).as_posix() for path in RECORDINGS.glob("*/*")}
    assert {name for name in files if not name.endswith("/index.toml")} == listed
