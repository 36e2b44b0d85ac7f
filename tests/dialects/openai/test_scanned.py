"""A stream that passes through is only searched, and yet its end, its errors and its silence are those of one read."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from acytoo.dialects.base import Reader
from acytoo.dialects.openai.reader import StreamReader
from acytoo.errors import AcytooError
from acytoo.http import ResponseHead
from acytoo.types import Finish, Usage
from tests.dialects.openai.helpers import DIALECT

HEAD = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
TAIL = b',"logprobs":null,"finish_reason":null}]}\n\n'


def chunk(delta: dict[str, Any], tail: bytes = TAIL) -> bytes:
    """Return a chunk as OpenAI writes it."""
    return HEAD + json.dumps(delta, separators=(",", ":")).encode() + tail


BEGIN = [chunk({"role": "assistant", "content": ""}), chunk({"content": "He"})]
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"it broke","code":500}}\n\n'
STOP = chunk({}, TAIL.replace(b"null}]", b'"stop"}]'))
USAGE = HEAD.partition(b'[{"index"')[0] + b'[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
KINDS: dict[str, bytes] = {
    "a text": chunk({"content": "llo"}),
    "another text": chunk({"content": "l"}),
    "a text that ends the reply": chunk({"content": "o"}, TAIL.replace(b"null}]", b'"stop"}]')),
    "a text beside an error": chunk({"content": "o"}, TAIL.replace(b"}]}", b'}],"error":{"message":"no","code":429}}')),
    "a text without a finish reason": chunk({"content": "o"}, b"}]}\n\n"),
    "two texts": chunk({"content": "l"}) + chunk({"content": "o"}),
    "a text and the end": chunk({"content": "o"}) + STOP,
    "a text and an error": chunk({"content": "o"}) + ERROR,
    "other line ends": chunk({"content": "o"}).replace(b"\n", b"\r\n"),
    "no text": chunk({"content": ""}),
    "another delta": chunk({"other": 1}),
    "an empty delta": chunk({}),
    "a thought": chunk({"reasoning_content": "hm"}),
    "a long text": chunk({"content": "x" * 2000}),
    "a call": chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}),
    "the end": STOP,
    "the usage": USAGE,
    "a comment": b": ping\n\n",
    "done": DONE,
    "an error": ERROR,
}
"""Chunks that may follow the beginning of a reply."""


def outcome(chunks: list[bytes], *, scans: bool) -> tuple[list[bool], str, Finish | None, Usage | None]:
    """Return which chunks up to the end have content, then the error, the finish reason and the usage."""
    reader = DIALECT.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    has_content: list[bool] = []
    message = ""
    try:
        for data in chunks:
            if scans:
                reader.scan(data)
            else:
                reader.feed(data)
            if reader.pending_error is not None:
                raise reader.pending_error
            if not is_complete(reader):
                has_content.append(reader.received_content)
        reader.flush()
        reader.close()
    except AcytooError as error:
        message = str(error)
    received = reader.current.received()
    return has_content, message, received.finish, received.usage


def is_complete(reader: Reader) -> bool:
    return isinstance(reader.current, StreamReader) and reader.current.complete


@pytest.mark.parametrize("first", KINDS)
def test_a_chunk_that_passes_through_has_what_it_has_when_it_is_read(first: str) -> None:
    for others in itertools.product(KINDS, repeat=2):
        chunks = [*BEGIN, *[KINDS[name] for name in (first, *others)]]
        assert outcome(chunks, scans=True) == outcome(chunks, scans=False), others


@pytest.mark.parametrize("name", KINDS)
def test_a_stream_that_passes_through_may_be_cut_anywhere(name: str) -> None:
    rest = KINDS["a text"] + KINDS[name] + STOP + USAGE + DONE
    expected = outcome([*BEGIN, rest], scans=False)[1:]
    for place in range(len(rest)):
        assert outcome([*BEGIN, rest[:place], rest[place:]], scans=True)[1:] == expected


# The usage that a client has not asked for.

PLAIN = b'data: {"choices":[{"delta":{"content":"Hi"}}],"usage":null}\n\n'
COUNTS = b'"usage":{"prompt_tokens":3,"completion_tokens":4}'


@pytest.mark.parametrize(
    "chunk_with_usage",
    [
        b'data: {"choices":[],%b}\n\n' % COUNTS,
        b'data:{"choices":[],%b}\n\n' % COUNTS,
        b'data: {"choices" : [ ], "usage" : {"prompt_tokens":3}}\n\n',
        b"data: {%b}\n\n" % COUNTS,
        b'event: x\ndata: {"choices":[],%b}\n\n' % COUNTS,
        b': ping\ndata: {"choices":[],%b}\n\n' % COUNTS,
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_chunk_that_has_only_the_usage_is_left_out(chunk_with_usage: bytes, line_end: bytes) -> None:
    for before, after in ((b"", b""), (PLAIN, b""), (b"", DONE), (PLAIN, PLAIN + DONE), (chunk_with_usage, DONE)):
        data = (before + chunk_with_usage + after).replace(b"\n", line_end)
        rest = (before + after).replace(chunk_with_usage, b"").replace(b"\n", line_end)
        assert DIALECT.without_usage(data) == rest
    assert DIALECT.without_usage(PLAIN + chunk_with_usage[:-2]) == PLAIN


@pytest.mark.parametrize(
    "kept",
    [
        PLAIN,
        b'data: {"choices":[{"delta":{"content":"\\"usage\\":{}"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"Hi"}}],%b}\n\n' % COUNTS,
        b'data: {"choices":[],"error":{"message":"no"},%b}\n\n' % COUNTS,
        b'data: {"choices":[],"usage":{}}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":3}\n\n',  # not JSON
        b': "usage":{}\n\n',
        b"",
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_any_other_chunk_is_passed_on_with_its_usage(kept: bytes, line_end: bytes) -> None:
    for data in (kept, kept + kept, PLAIN + kept + DONE, kept + PLAIN):
        assert DIALECT.without_usage(data.replace(b"\n", line_end)) == data.replace(b"\n", line_end)
