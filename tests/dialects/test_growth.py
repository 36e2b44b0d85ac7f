"""No request or reply costs more than its size: the work for n, 2n and 4n of everything grows in a line.

The work is the number of instructions that the interpreter executes, so it is the same on every machine. A loop in C
counts as one instruction: `in` and `index` on a list have to be looked for in the source.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.dialects.translate import translate
from acytoo.errors import AcytooError, RequestError
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.messages import check_messages, check_options
from acytoo.types import Finish, Item, Logprobs, OpaquePart, Reasoning, Refusal, Request, Start, ToolCall, collect
from acytoo.wire.sse import sse
from tests.dialects.strategies import document_type, request_for, to_server_request

SIZE = 20
EVERY = pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)


def instructions(work: Callable[[], object]) -> int:
    """Return how many instructions some work takes."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except AcytooError:
        pass  # a refusal costs something, too
    finally:
        sys.settrace(before)
    return count


def assert_linear(make: Callable[[int], Callable[[], object]]) -> None:
    """Assert that twice as much takes at most about twice as long; `make` returns the work for a size."""
    instructions(make(SIZE))  # the first run may compile or cache something
    first, second, third = [instructions(make(SIZE * factor)) for factor in (1, 2, 4)]
    assert third - second <= 2.3 * (second - first) + 1000, f"{first}, {second}, {third} instructions for n, 2n, 4n"


# Requests.

HELLO: dict[str, Any] = {"role": "user", "content": "Hello"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def function_call(number: int) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": f"f{number}", "arguments": '{"a": 1}'}}


def result(number: int) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": "done"}


def tool(number: int) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    return {"type": "function", "function": {"name": f"f{number}", "description": "", "parameters": schema}}


def calling(numbers: range, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [function_call(i) for i in numbers], **fields}


def turn_parts(number: int) -> list[dict[str, Any]]:
    parts = [({"type": "text", "text": f"t{i}"}, {"type": "tool_call", "index": i}) for i in range(number)]
    return [part for pair in parts for part in pair]


def asking(*messages: Any, **fields: Any) -> Request:
    return Request(list(messages), "m", **fields)


def user(*parts: dict[str, Any]) -> Request:
    return asking({"role": "user", "content": list(parts)})


def schema(properties: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **fields}


def one_tool(parameters: dict[str, Any], **fields: Any) -> Request:
    return asking(HELLO, tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}], **fields)


def allowing(number: int) -> Request:
    names = [{"type": "function", "function": {"name": f"f{i}"}} for i in range(number)]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": names}}
    return asking(HELLO, tools=[tool(i) for i in range(number)], tool_choice=choice)


def same_calls(number: int) -> dict[str, Any]:
    calls = [{**function_call(i), "function": {"name": "f", "arguments": "{}"}} for i in range(number)]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def blocks(number: int, **fields: str) -> dict[str, Any]:
    return {"role": "assistant", "content": "Hi", "reasoning": [{"text": f"r{i}", **fields} for i in range(number)]}


TEXT = {"type": "text", "text": "Hi"}
IMAGE = {"type": "image_url", "image_url": {"url": PIXEL}}
FILE = {"type": "file", "file": {"file_data": PIXEL, "filename": "a.png"}}
HI = {"role": "assistant", "content": "Hi"}
NULLABLE = {"type": ["string", "null"], "enum": ["a"]}

REQUESTS: dict[str, Callable[[int], Request]] = {
    "messages": lambda n: asking(*[HELLO, HI] * n, HELLO),
    "system messages": lambda n: asking(*[{"role": "system", "content": "Be kind."}] * n, HELLO),
    "user messages": lambda n: asking(*[HELLO] * n),
    "messages with parts": lambda n: asking(*[{"role": "user", "content": [TEXT, IMAGE]}] * n),
    "text parts": lambda n: user(*[TEXT] * n),
    "images": lambda n: user(*[IMAGE] * n),
    "files": lambda n: user(*[FILE] * n),
    "calls of one turn": lambda n: asking(HELLO, calling(range(n)), *map(result, range(n))),
    "results in reverse": lambda n: asking(HELLO, calling(range(n)), *map(result, reversed(range(n)))),
    "turns with a call": lambda n: asking(
        HELLO, *[message for i in range(n) for message in (calling(range(i, i + 1)), result(i))]
    ),
    "turns with a call in a row": lambda n: asking(
        HELLO, *[calling(range(i, i + 1)) for i in range(n)], *map(result, range(n))
    ),
    "calls of one name": lambda n: asking(HELLO, same_calls(n), *map(result, range(n))),
    "calls without results": lambda n: asking(HELLO, calling(range(n)), HELLO),
    "results without calls": lambda n: asking(HELLO, *map(result, range(n))),
    "images in results": lambda n: asking(
        HELLO, calling(range(n)), *[{**result(i), "content": [TEXT, IMAGE]} for i in range(n)]
    ),
    "texts after a call": lambda n: asking(HELLO, calling(range(1)), *[HI] * n, result(0)),
    "refusals": lambda n: asking(HELLO, *[{"role": "assistant", "content": None, "refusal": "No"}] * n, HELLO),
    "reasoning": lambda n: asking(HELLO, blocks(n), HELLO),
    **{
        f"reasoning of {source}": lambda n, source=source: asking(  # type: ignore[misc]
            HELLO, blocks(n, signature="s", data="d", source=source), HELLO
        )
        for source in ("anthropic", "openai-responses", "gemini")
    },
    "turn parts": lambda n: asking(
        HELLO,
        calling(range(n), content="".join([f"t{i}" for i in range(n)]), turn_parts=turn_parts(n)),
        *map(result, range(n)),
    ),
    "tools": lambda n: asking(HELLO, tools=[tool(i) for i in range(n)]),
    "tools of an unknown type": lambda n: asking(HELLO, tools=[{"type": f"t{i}", "name": "t"} for i in range(n)]),
    "allowed tools": allowing,
    "a large schema": lambda n: one_tool(schema({f"p{i}": NULLABLE for i in range(n)})),
    "an enum": lambda n: one_tool(schema({"p": {"enum": [f"e{i}" for i in range(n)]}})),
    "a large format": lambda n: asking(
        HELLO,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "j", "schema": schema({f"p{i}": {"anyOf": [NULLABLE]} for i in range(n)})},
        },
    ),
    "stops": lambda n: asking(HELLO, stop=[f"s{i}" for i in range(n)]),
    "extra fields": lambda n: asking(HELLO, extra={f"x{i}": 1 for i in range(n)}),
    "extra fields of an object": lambda n: asking(HELLO, extra={"options": {f"x{i}": 1 for i in range(n)}}),
    "fields of messages": lambda n: asking({**HELLO, **{f"x{i}": 1 for i in range(n)}}),
    "fields of parts": lambda n: user(*[{**TEXT, f"x{i}": 1} for i in range(n)]),
    "fields of tools": lambda n: asking(HELLO, tools=[{**tool(i), f"x{i}": 1} for i in range(n)]),
}


def encode(dialect: Dialect, request: Request) -> Any:
    return dialect.encode_request(request, Endpoint("http://h"), Unsupported(dialect.name, drop=True))


@EVERY
@pytest.mark.parametrize("name", REQUESTS)
def test_encoding_a_request(dialect: Dialect, name: str) -> None:
    def make(size: int) -> Callable[[], object]:
        request = REQUESTS[name](size)
        request.messages = check_messages(request.messages)
        return lambda: encode(dialect, request)

    assert_linear(make)


@pytest.mark.parametrize("name", REQUESTS)
def test_checking_a_request(name: str) -> None:
    def make(size: int) -> Callable[[], object]:
        request = REQUESTS[name](size)

        def work() -> None:
            check_messages(request.messages)
            check_options(request)

        return work

    assert_linear(make)


def try_encode(dialect: Dialect, request: Request) -> ServerRequest | None:
    try:
        return to_server_request(encode(dialect, request))
    except AcytooError:
        return None


@EVERY
@pytest.mark.parametrize("name", REQUESTS)
def test_decoding_a_request_and_translating_it_for_each_api(dialect: Dialect, name: str) -> None:
    def make_decode(size: int) -> Callable[[], object]:
        request = REQUESTS[name](size)
        incoming = try_encode(dialect, request)
        return lambda: incoming and dialect.decode_request_lenient(incoming)

    assert_linear(make_decode)
    for target in dialects.ALL:

        def make_translate(size: int, target: Dialect = target) -> Callable[[], object]:
            request = REQUESTS[name](size)
            incoming = try_encode(dialect, request)
            if incoming is None:
                return lambda: None
            try:
                decoded = dialect.decode_request(incoming).request
            except RequestError:
                return lambda: None
            return lambda: encode(target, translate(decoded, dialect))

        assert_linear(make_translate)


# Replies.

START, FINISH = Start("id-1", "m", 7), Finish("stop")


def call_items(index: int, pieces: int = 1) -> list[Item]:
    between = [ToolCall(index, arguments="x")] * pieces
    return [ToolCall(index, f"call_{index}", "f", '{"a":"'), *between, ToolCall(index, arguments='"}')]


TOKEN = {"token": "x", "logprob": -1.0, "bytes": [120], "top_logprobs": []}


def repeated(number: int, make: Callable[[int], list[Item]]) -> list[Item]:
    return [item for i in range(number) for item in make(i)]


REPLIES: dict[str, Callable[[int], list[Item]]] = {
    "texts": lambda n: ["Hello "] * n,
    "calls": lambda n: repeated(n, call_items),
    "texts between calls": lambda n: repeated(n, lambda i: ["Hello ", *call_items(i)]),
    "pieces of a call": lambda n: call_items(0, n),
    "pieces of a call that look complete": lambda n: [
        ToolCall(0, "c", "f", '{"a":"'), *[ToolCall(0, arguments="{}")] * n, ToolCall(0, arguments='"}')
    ],
    "texts between such pieces": lambda n: [
        ToolCall(0, "c", "f", '{"a":"'),
        *repeated(n, lambda _: [ToolCall(0, arguments="{}"), "Hello "]),
        ToolCall(0, arguments='"}'),
    ],
    "calls side by side": lambda n: [
        *[ToolCall(i, f"call_{i}", "f", '{"a":') for i in range(n)],
        *[ToolCall(i, arguments="1}") for i in range(n)],
    ],
    "pieces of reasoning": lambda n: [*[Reasoning("hm ")] * n, "Hi"],
    "blocks of reasoning": lambda n: [*[Reasoning(f"r{i}", index=i) for i in range(n)], "Hi"],
    "signed blocks of reasoning": lambda n: [
        *[Reasoning(f"r{i}", signature="s", index=i, source="anthropic") for i in range(n)], "Hi"
    ],
    "reasoning between calls": lambda n: repeated(n, lambda i: [Reasoning(f"r{i}", index=i), *call_items(i)]),
    "refusals": lambda n: [Refusal("No ")] * n,
    "logprobs": lambda n: repeated(n, lambda _: ["x", Logprobs([TOKEN])]),
    "opaque parts": lambda n: repeated(
        n, lambda i: ["x", OpaquePart("anthropic", {"type": "server_tool_use", "id": f"i{i}"})]
    ),
    "opaque texts": lambda n: repeated(n, lambda i: ["x", OpaquePart("gemini", {"thoughtSignature": f"s{i}"}, "text")]),
}  # fmt: skip


def items_of(name: str, size: int) -> list[Item]:
    items = REPLIES[name](size)
    finish = Finish("tool_calls") if any(isinstance(item, ToolCall) for item in items) else FINISH
    return [START, "Hi", *items, finish]


def batches(items: list[Item]) -> Iterator[list[Item]]:
    yield from ([item] for item in items)


def write(dialect: Dialect, items: list[Item]) -> bytes:
    writer = dialect.writer(request_for(dialect))
    return b"".join([*map(writer.write, batches(items)), writer.end()])


def read(dialect: Dialect, chunks: list[bytes], content_type: str = "") -> list[Item]:
    kind = content_type or dialect.writer(request_for(dialect)).content_type
    reader = dialect.reader(ResponseHead(200, {"content-type": kind}))
    items = [item for chunk in chunks for item in reader.feed(chunk)] + reader.flush()
    reader.close()
    return items


def in_chunks(body: bytes, size: int) -> list[bytes]:
    return [body[i : i + size] for i in range(0, len(body), size)]


EVERY_REPLY = pytest.mark.parametrize("name", REPLIES)


@EVERY
@EVERY_REPLY
def test_writing_a_stream(dialect: Dialect, name: str) -> None:
    def make(size: int) -> Callable[[], object]:
        items = items_of(name, size)
        return lambda: write(dialect, items)

    assert_linear(make)


@EVERY
@EVERY_REPLY
@pytest.mark.parametrize("size", [50, 1_000_000])
def test_reading_a_stream(dialect: Dialect, name: str, size: int) -> None:
    def make(number: int) -> Callable[[], object]:
        chunks = in_chunks(write(dialect, items_of(name, number)), size)
        return lambda: read(dialect, chunks)

    assert_linear(make)


@EVERY
@EVERY_REPLY
def test_writing_and_reading_a_document(dialect: Dialect, name: str) -> None:
    def make_write(size: int) -> Callable[[], object]:
        reply = collect(items_of(name, size))
        return lambda: dialect.write_reply(reply, request_for(dialect))

    def make_read(size: int) -> Callable[[], object]:
        body = dialect.write_reply(collect(items_of(name, size)), request_for(dialect))
        return lambda: read(dialect, [body], document_type(dialect))

    assert_linear(make_write)
    assert_linear(make_read)


@EVERY_REPLY
def test_collecting_a_reply(name: str) -> None:
    def make(size: int) -> Callable[[], object]:
        items = items_of(name, size)
        return lambda: collect(items).items()

    assert_linear(make)


# Events of which only the names have the types.


@pytest.mark.parametrize("name", ["openai-responses", "anthropic"])
def test_reading_events_without_types(name: str) -> None:
    event = {"openai-responses": "response.in_progress", "anthropic": "message_delta"}[name]

    def make(size: int) -> Callable[[], object]:
        chunk = b"".join([sse(b'{"a": %d}' % number, event) for number in range(size)])
        reader = dialects.by_name(name).reader(ResponseHead(200, {"content-type": "text/event-stream"}))
        return lambda: reader.feed(chunk)

    assert_linear(make)
