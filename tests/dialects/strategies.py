"""Hypothesis strategies for replies that a dialect can express, and their way through the wire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import strategies as st

from acytoo.dialects.base import Dialect
from acytoo.http import ResponseHead
from acytoo.types import Finish, Item, Logprobs, Reasoning, Refusal, Reply, Request, Start, ToolCall, Usage, collect


def asked(dialect: Dialect) -> Request:
    """A request whose answer may say everything."""
    return Request(
        [{"role": "user", "content": "Hello"}],
        "m",
        logprobs=True if "logprobs" in dialect.options else None,
        extra=dict(dialect.capabilities.request_fields),
        extra_for=dialect.name,
    )


# Through the wire.


def written(dialect: Dialect, items: list[Item], batch: int = 3) -> bytes:
    """The whole body of a streamed reply, written a few items at a time."""
    writer = dialect.writer(asked(dialect))
    batches = [items[i : i + batch] for i in range(0, len(items), batch)]
    return b"".join([*[writer.write(some) for some in batches], writer.end()])


def written_whole(dialect: Dialect, reply: Reply) -> bytes:
    return dialect.write_reply(reply, asked(dialect))


def read(dialect: Dialect, chunks: Iterable[bytes], content_type: str = "") -> list[Item]:
    """The items of a body. Raises whatever the reader raises."""
    items: list[Item] = []
    read_into(items, dialect, chunks, content_type)
    return items


def read_into(items: list[Item], dialect: Dialect, chunks: Iterable[bytes], content_type: str = "") -> None:
    """The same, where what came before an error is wanted."""
    reader = dialect.reader(
        ResponseHead(200, {"content-type": content_type or dialect.writer(asked(dialect)).content_type})
    )
    for chunk in chunks:
        items += reader.feed(chunk)
    items += reader.flush()
    reader.close()


def read_whole(dialect: Dialect, chunks: Iterable[bytes]) -> list[Item]:
    return read(dialect, chunks, whole_type(dialect))


def whole_type(dialect: Dialect) -> str:
    return "text/plain" if dialect.framing == "text" else "application/json"


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """The body in chunks, cut at the places (taken modulo its length)."""
    ends = sorted({place % (len(body) + 1) for place in places} | {len(body)})
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def singly(body: bytes) -> list[bytes]:
    return [body[i : i + 1] for i in range(len(body))]


# What was said.


def texts(items: Iterable[Item]) -> list[str]:
    return [item for item in items if isinstance(item, str)]


def heard(dialect: Dialect, items: Iterable[Item]) -> dict[str, Any]:
    """All that the dialect can say of a reply, to be compared."""
    able, reply = dialect.capabilities, collect(items)
    thoughts = [block.get("text", "") for block in reply.reasoning]
    return {
        "text": reply.text,
        "reasoning": thoughts if able.reasoning_blocks else "".join(thoughts),
        "calls": [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in reply.tool_calls],
        "refusal": reply.refusal,
        "logprobs": reply.logprobs,
        "finish": reply.finish_reason,
        "start": {name: getattr(reply, name) for name in able.start},
        "usage": {name: getattr(reply.usage, name, None) for name in able.usage},
    }


# Replies.

PIECE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
WORD = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | PIECE,
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(PIECE, VALUES, max_size=3).map(lambda given: msgspec.json.encode(given).decode())


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    counts = st.integers(0, 10_000)
    cached, written, thoughts = draw(counts), draw(counts), draw(counts)
    return Usage(cached + written + draw(counts) + 1, thoughts + draw(counts) + 1, cached, written, thoughts)


@st.composite
def replies(draw: st.DrawFn, dialect: Dialect) -> list[Item]:
    """The items of a complete reply that this dialect can express, in any order an API might have."""
    able = dialect.capabilities
    if able.items == {"text"}:
        pieces = draw(st.lists(PIECE, min_size=1, max_size=8))
        return [piece.replace("\ufeff", "") or "x" for piece in pieces]
    items: list[Item] = [Start(f"id-{draw(WORD)}", draw(WORD), draw(st.integers(1, 2**31)))]
    blocks = calls = 0
    segments = draw(st.lists(st.sampled_from(sorted(able.items - {"refusal", "logprobs"})), max_size=5))
    for segment in segments:
        if segment == "text":
            for piece in draw(st.lists(PIECE, min_size=1, max_size=4)):
                items.append(piece)
                if "logprobs" in able.items and draw(st.booleans()):
                    token = {"token": piece, "logprob": -0.5, "bytes": list(piece.encode()), "top_logprobs": []}
                    items.append(Logprobs([token]))
        elif segment == "reasoning":
            index = blocks if able.reasoning_blocks else 0
            items += [Reasoning(piece, index) for piece in draw(st.lists(PIECE, min_size=1, max_size=3))]
            blocks += 1
        else:
            items += draw(calling(calls))
            calls = len({item.index for item in items if isinstance(item, ToolCall)})
    if "refusal" in able.items and draw(st.booleans()):
        items += [Refusal(piece) for piece in draw(st.lists(PIECE, min_size=1, max_size=2))]
    reason = "tool_calls" if calls else draw(st.sampled_from(["stop", "length", "content_filter"]))
    end: list[Item] = [draw(usages()), Finish(reason)]
    return items + (end if draw(st.booleans()) else end[::-1])


@st.composite
def calling(draw: st.DrawFn, first: int) -> list[Item]:
    """One or two whole tool calls, their fragments interleaved."""
    opened: list[Item] = []
    queues: list[list[Item]] = []
    for index in range(first, first + draw(st.integers(1, 2))):
        arguments = draw(ARGUMENTS)
        opened.append(ToolCall(index, f"call_{index}", draw(WORD)))
        place = draw(st.integers(0, len(arguments)))
        queues.append([ToolCall(index, arguments=part) for part in (arguments[:place], arguments[place:]) if part])
    order = draw(st.permutations([index for index, queue in enumerate(queues) for _ in queue]))
    return opened + [queues[index].pop(0) for index in order]


def sample(dialect: Dialect) -> list[Item]:
    """One rich reply."""
    able = dialect.capabilities
    items: list[Item] = ["Hé", "llo 世界", " 👩‍👩‍👧\n\n", '"q"\\', " end"]
    if "logprobs" in able.items:
        items.append(Logprobs([{"token": " end", "logprob": -0.5, "bytes": [32, 101, 110, 100], "top_logprobs": []}]))
    if "reasoning" in able.items:
        items = [Reasoning("H"), Reasoning("m é"), *items]
    if "tool_calls" in able.items:
        items += [ToolCall(0, "a", "f"), ToolCall(0, arguments='{"x":"é"'), ToolCall(0, arguments=',"y":[1]}')]
        items += [ToolCall(1, "b", "g", "{}")]
    if able.finish:
        items = [Start("id-1", "m-1", 7), *items, Finish("tool_calls"), Usage(9, 8, 3, 2, 1)]
    return items
