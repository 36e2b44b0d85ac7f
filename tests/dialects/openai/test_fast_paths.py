"""Nearly all chunks take a fast path, in which each costs a few calls of functions and no look at its fields."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from acytoo.http import ResponseHead
from tests.dialects.openai.helpers import DIALECT, choice, events
from tests.dialects.openai.test_scanned import BEGIN, STOP, USAGE, chunk

CALL = chunk({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]})
TEXTS = [chunk({"content": f"text {number}"}) for number in range(50)]
PIECES = [
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}) for text in ("{", *map(str, range(50)))
]
THOUGHTS = [chunk({"reasoning_content": f"thought {number}"}) for number in range(50)]
PLAIN = [events({"id": "c", "model": "m", **choice({"content": f"text {number}"})}) for number in range(50)]
ROLE = events({"id": "c", "model": "m", **choice({"role": "assistant", "content": ""})})


def calls_per_chunk(handle: Callable[[bytes], object], chunks: list[bytes]) -> float:
    """Return how many of our functions each of the chunks takes.

    Those of others are not counted: the garbage collector may call one at any time.
    """
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call" and str(frame.f_globals.get("__name__")).startswith("acytoo.")

    sys.setprofile(count)
    try:
        for data in chunks:
            handle(data)
    finally:
        sys.setprofile(None)
    return calls / len(chunks)


SCANNED: dict[str, tuple[list[bytes], list[bytes]]] = {
    "texts": (TEXTS[:1], TEXTS[1:]),
    "the same text with other pieces between": ([], TEXTS[:2] * 20),
    "thoughts": (THOUGHTS[:1], THOUGHTS[1:]),
    "pieces of a call": ([CALL, *PIECES[:2]], PIECES[2:]),
    "texts after thoughts": ([*THOUGHTS, TEXTS[0]], TEXTS[1:]),
    "texts as other servers write them": ([ROLE, *PLAIN[:2]], PLAIN[2:]),
}
READ: dict[str, tuple[list[bytes], list[bytes], int]] = {
    "texts": ([], TEXTS, 5),
    "texts as other servers write them": ([ROLE, PLAIN[0]], PLAIN[1:], 5),
    "texts after thoughts": ([*THOUGHTS, TEXTS[0]], TEXTS[1:], 5),
    "pieces of a call": ([CALL, *PIECES[:1]], PIECES[1:], 6),
    "pieces of a call after texts": ([*TEXTS, CALL, *PIECES[:1]], PIECES[1:], 6),
}


@pytest.mark.parametrize(("before", "chunks"), SCANNED.values(), ids=SCANNED)
def test_a_chunk_that_is_like_the_last_one_is_only_compared(before: list[bytes], chunks: list[bytes]) -> None:
    reader = DIALECT.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    for data in (*BEGIN, *before):
        reader.scan(data)
    assert calls_per_chunk(reader.scan, chunks) == 2


@pytest.mark.parametrize(("before", "chunks", "calls"), READ.values(), ids=READ)
def test_a_record_that_has_only_a_piece_is_decoded_once(before: list[bytes], chunks: list[bytes], calls: int) -> None:
    reader = DIALECT.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    for data in (*BEGIN, *before):
        reader.feed(data)
    assert calls_per_chunk(reader.feed, chunks) == calls


@pytest.mark.parametrize("end", [STOP, USAGE], ids=["finish reason", "usage"])
def test_the_end_of_a_text_is_decoded_once(end: bytes) -> None:
    for _ in range(2):  # the first one has types to prepare
        reader = DIALECT.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
        for data in (*BEGIN, *TEXTS):
            reader.feed(data)
        calls = calls_per_chunk(reader.feed, [end])
    assert calls < 17
