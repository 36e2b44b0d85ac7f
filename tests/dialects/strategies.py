"""Hypothesis strategies for replies that a dialect can express, and helpers that encode and decode bodies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from hypothesis import strategies as st

from acytoo.dialects.base import Dialect, Unsupported
from acytoo.http import Endpoint, HTTPRequest, ResponseHead, ServerRequest
from acytoo.types import Finish, Item, Logprobs, Reasoning, Refusal, Reply, Request, Start, ToolCall, Usage, collect


def request_for(dialect: Dialect) -> Request:
    """Return a request whose reply may contain everything that the dialect can express."""
    return Request(
        [{"role": "user", "content": "Hello"}],
        "m",
        logprobs=True if "logprobs" in dialect.options else None,
        extra=dict(dialect.capabilities.request_fields),
        extra_for=dialect.name,
    )


# Encode and decode requests.


def encode(dialect: Dialect, request: Request) -> HTTPRequest:
    """Encode a request. Raises UnsupportedError for whatever the API cannot express."""
    return dialect.encode_request(request, Endpoint("http://h"), Unsupported(dialect.name))


def to_server_request(outgoing: HTTPRequest) -> ServerRequest:
    """Return the request as a server receives it."""
    url = urlsplit(outgoing.url)
    return ServerRequest(url.path, outgoing.headers, outgoing.body, dict(parse_qsl(url.query)))


def round_trip(dialect: Dialect, request: Request) -> Request:
    """Encode a request and return the request that a server decodes from it."""
    return dialect.decode_request(to_server_request(encode(dialect, request))).request


# Encode and decode replies.


def encode_stream(dialect: Dialect, items: list[Item], batch: int = 3) -> bytes:
    """Return the body of a streamed reply, encoded a few items at a time."""
    writer = dialect.writer(request_for(dialect))
    batches = [items[i : i + batch] for i in range(0, len(items), batch)]
    return b"".join([*map(writer.write, batches), writer.end()])


def encode_document(dialect: Dialect, reply: Reply) -> bytes:
    """Return the body of a reply that is one document."""
    return dialect.write_reply(reply, request_for(dialect))


def read_items(dialect: Dialect, chunks: Iterable[bytes], content_type: str = "") -> list[Item]:
    """Return the items of a body. Raises whatever the reader raises."""
    items: list[Item] = []
    read_into(items, dialect, chunks, content_type)
    return items


def read_into(items: list[Item], dialect: Dialect, chunks: Iterable[bytes], content_type: str = "") -> None:
    """Append the items of a body to a list, which keeps those before an error."""
    reader = dialect.reader(
        ResponseHead(200, {"content-type": content_type or dialect.writer(request_for(dialect)).content_type})
    )
    for chunk in chunks:
        items += reader.feed(chunk)
    items += reader.flush()
    reader.close()


def read_document(dialect: Dialect, chunks: Iterable[bytes]) -> list[Item]:
    """Return the items of a body that is one document."""
    return read_items(dialect, chunks, document_type(dialect))


def document_type(dialect: Dialect) -> str:
    """Return the content type of a reply that is one document."""
    return "text/plain" if dialect.framing == "text" else "application/json"


def split_at(body: bytes, places: list[int]) -> list[bytes]:
    """Return the body in chunks, split at these places (modulo its length)."""
    ends = sorted({place % (len(body) + 1) for place in places} | {len(body)})
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def split_bytes(body: bytes) -> list[bytes]:
    """Return the body in chunks of one byte."""
    return [body[i : i + 1] for i in range(len(body))]


# Compare.


def texts(items: Iterable[Item]) -> list[str]:
    return [item for item in items if isinstance(item, str)]


def reply_fields(dialect: Dialect, items: Iterable[Item]) -> dict[str, Any]:
    """Return the fields of a reply that the dialect can express, to compare replies by them."""
    capabilities = dialect.capabilities
    reply = collect(items)
    reasoning = [block.get("text", "") for block in reply.reasoning]
    return {
        "text": reply.text,
        "reasoning": reasoning if capabilities.reasoning_blocks else "".join(reasoning),
        "calls": [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in reply.tool_calls],
        "refusal": reply.refusal,
        "logprobs": reply.logprobs,
        "finish": reply.finish_reason,
        "start": {name: getattr(reply, name) for name in capabilities.start},
        "usage": {name: getattr(reply.usage, name, None) for name in capabilities.usage},
    }


# Replies.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
NAME = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | TEXT,
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(TEXT, VALUES, max_size=3).map(lambda arguments: msgspec.json.encode(arguments).decode())


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    counts = st.integers(0, 10_000)
    cache_read, cache_write, reasoning = draw(counts), draw(counts), draw(counts)
    return Usage(
        cache_read + cache_write + draw(counts) + 1,
        reasoning + draw(counts) + 1,
        cache_read,
        cache_write,
        reasoning,
        draw(st.integers(0, cache_write)),
    )


@st.composite
def replies(draw: st.DrawFn, dialect: Dialect) -> list[Item]:
    """Draw the items of a complete reply that this dialect can express, in any order an API might send them."""
    capabilities = dialect.capabilities
    if capabilities.items == {"text"}:
        drawn = draw(st.lists(TEXT, min_size=1, max_size=8))
        return [text.replace("\ufeff", "") or "x" for text in drawn]
    items: list[Item] = [Start(f"id-{draw(NAME)}", draw(NAME), draw(st.integers(1, 2**31)))]
    blocks = calls = 0
    segments = draw(st.lists(st.sampled_from(sorted(capabilities.items - {"refusal", "logprobs"})), max_size=5))
    for segment in segments:
        if segment == "text":
            for text in draw(st.lists(TEXT, min_size=1, max_size=4)):
                items.append(text)
                if "logprobs" in capabilities.items and draw(st.booleans()):
                    token = {"token": text, "logprob": -0.5, "bytes": list(text.encode()), "top_logprobs": []}
                    items.append(Logprobs([token]))
        elif segment == "reasoning":
            index = blocks if capabilities.reasoning_blocks else 0
            items += [Reasoning(text, index) for text in draw(st.lists(TEXT, min_size=1, max_size=3))]
            blocks += 1
        else:
            items += draw(tool_calls(calls))
            calls = len({item.index for item in items if isinstance(item, ToolCall)})
    if "refusal" in capabilities.items and draw(st.booleans()):
        items += [Refusal(text) for text in draw(st.lists(TEXT, min_size=1, max_size=2))]
    reason = "tool_calls" if calls else draw(st.sampled_from(["stop", "length", "content_filter"]))
    end: list[Item] = [draw(usages()), Finish(reason)]
    return items + (end if draw(st.booleans()) else end[::-1])


@st.composite
def tool_calls(draw: st.DrawFn, first: int) -> list[Item]:
    """Draw one or two complete tool calls with their fragments interleaved."""
    opened: list[Item] = []
    queues: list[list[Item]] = []
    for index in range(first, first + draw(st.integers(1, 2))):
        arguments = draw(ARGUMENTS)
        opened.append(ToolCall(index, f"call_{index}", draw(NAME)))
        middle = draw(st.integers(0, len(arguments)))
        queues.append([ToolCall(index, arguments=part) for part in (arguments[:middle], arguments[middle:]) if part])
    order = draw(st.permutations([index for index, queue in enumerate(queues) for _ in queue]))
    return opened + [queues[index].pop(0) for index in order]


def sample(dialect: Dialect) -> list[Item]:
    """Return one reply that uses everything that the dialect can express."""
    capabilities = dialect.capabilities
    items: list[Item] = ["Hé", "llo 世界", " 👩‍👩‍👧\n\n", '"q"\\', " end"]
    if "logprobs" in capabilities.items:
        items.append(Logprobs([{"token": " end", "logprob": -0.5, "bytes": [32, 101, 110, 100], "top_logprobs": []}]))
    if "reasoning" in capabilities.items:
        items = [Reasoning("H"), Reasoning("m é"), *items]
    if "tool_calls" in capabilities.items:
        items += [ToolCall(0, "a", "f"), ToolCall(0, arguments='{"x":"é"'), ToolCall(0, arguments=',"y":[1]}')]
        items += [ToolCall(1, "b", "g", "{}")]
    if capabilities.finish:
        items = [Start("id-1", "m-1", 7), *items, Finish("tool_calls"), Usage(9, 8, 3, 2, 1)]
    return items
