"""A call that was cut never passes as a part of a complete reply, whatever ends the body after it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.errors import AcytooError, ReplyError, TruncatedError
from acytoo.http import ResponseHead
from acytoo.types import collect
from tests.dialects.test_finish import LAX, read, sse

TEXT: dict[str, bytes] = {
    "openai": sse({"choices": [{"delta": {"content": "Hi"}}]}),
    "anthropic": sse(
        {"type": "message_start", "message": {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
    ),
    "gemini": sse({"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]}),
    "openai-responses": sse(
        {"type": "response.created", "response": {}},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hi"},
    ),
}
"""The beginning of a reply, in each API whose calls may arrive in pieces."""


def openai(arguments: object, **fields: Any) -> bytes:
    call = {"index": 0, "function": {"name": "f", "arguments": arguments}, **fields}
    return sse({"choices": [{"delta": {"tool_calls": [call]}}]})


def anthropic(arguments: str, **fields: Any) -> bytes:
    delta = {"type": "input_json_delta", "partial_json": arguments}
    return sse(
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "name": "f", "input": {}, **fields},
        },
        *([{"type": "content_block_delta", "index": 1, "delta": delta}] if arguments else []),
    )


def responses(arguments: str, **fields: Any) -> bytes:
    call = {"type": "function_call", "name": "f", "arguments": "", **fields}
    delta = {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": arguments}
    added = {"type": "response.output_item.added", "output_index": 1, "item": call}
    return sse(added, *([delta] if arguments else []))


CUT = [
    *[("openai", openai(arguments, **fields)) for arguments in ("", '{"x": 1') for fields in ({}, {"id": "a"})],
    *[("anthropic", anthropic(arguments, **fields)) for arguments in ("", '{"x": 1') for fields in ({}, {"id": "a"})],
    ("anthropic", anthropic('{"query":', type="server_tool_use", id="a")),
    ("gemini", sse({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "willContinue": True}}]}}]})),
    *[
        ("openai-responses", responses(arguments, **fields))
        for arguments in ("", '{"x": 1')
        for fields in ({}, {"call_id": "a"})
    ],
]


@pytest.mark.parametrize("text", [b"", None], ids=["alone", "after a text"])
@pytest.mark.parametrize(("name", "call"), CUT)
def test_a_call_that_is_cut_is_an_error_for_a_dialect_that_expects_no_end(
    name: str, call: bytes, text: bytes | None
) -> None:
    body = (TEXT[name] if text is None else text) + call
    _, error = read(LAX[name], body)
    assert isinstance(error, TruncatedError)
    assert "ends_without_finish" not in error.message


COMPLETE = [
    ("openai", openai('{"x": 1}'), {"x": 1}),
    ("openai", openai("{}", id="a"), {}),
    ("anthropic", anthropic('{"x": 1}'), {"x": 1}),
    ("openai-responses", responses('{"x": 1}'), {"x": 1}),
]


@pytest.mark.parametrize(("name", "call", "arguments"), COMPLETE)
def test_a_complete_call_that_was_held_back_is_read_without_an_end(
    name: str, call: bytes, arguments: dict[str, Any]
) -> None:
    items, error = read(LAX[name], TEXT[name] + call)
    assert error is None
    reply = collect(items)
    (only,) = reply.tool_calls
    assert (reply.text, json.loads(only["function"]["arguments"])) == ("Hi", arguments)
    assert only["id"]


DONE = b"data: [DONE]\n\n"
STOPPED = sse({"type": "message_delta", "delta": {"stop_reason": None}}, {"type": "message_stop"})
WEAK_ENDS: list[tuple[Dialect, bytes]] = [
    (dialects.OpenAI(), TEXT["openai"] + openai('{"x": 1', id="a") + DONE),
    (dialects.Anthropic(), TEXT["anthropic"] + anthropic('{"x": 1', id="a") + STOPPED),
    (
        dialects.OpenAI(),
        json.dumps(
            {"choices": [{"message": {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": '{"x": 1'}}]}}]}
        ).encode(),
    ),
]


@pytest.mark.parametrize(("dialect", "body"), WEAK_ENDS)
def test_a_call_that_is_cut_is_an_error_if_no_reason_ends_the_reply(dialect: Dialect, body: bytes) -> None:
    _, error = read(dialect, body)
    assert isinstance(error, TruncatedError)
    assert "ends_without_finish" not in error.message
    _, error = read(dialect, body.replace(b'{\\"x\\": 1', b'{\\"x\\": 1}'))
    assert error is None


def scan(dialect: Dialect, chunks: list[bytes], *, trims: bool = False) -> AcytooError | None:
    """Return the error of a stream that passes through in these chunks. `trims`: as if they were large."""
    reader = dialect.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    try:
        for number, chunk in enumerate(chunks):
            if number < 2:  # the beginning is read
                reader.feed(chunk)
            else:
                reader.scan(chunk)
            if trims:
                reader.trim(2**20)
            if reader.pending_error is not None:
                raise reader.pending_error
        reader.flush()
        reader.close()
    except AcytooError as error:
        return error
    return None


def compact(*deltas: dict[str, Any]) -> list[bytes]:
    """Return chunks as OpenAI writes them."""
    head = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    tail = b',"logprobs":null,"finish_reason":null}]}\n\n'
    return [head + json.dumps(delta, separators=(",", ":")).encode() + tail for delta in deltas]


def piece(arguments: str, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, **fields, "function": {"arguments": arguments}}]}


def named(arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": arguments}}]}


TEXTS = [{"role": "assistant", "content": ""}, *[{"content": word} for word in (" a", " b", " c", " d")]]
PASSED: dict[str, list[dict[str, Any]]] = {
    "after texts": [*TEXTS, named(""), *map(piece, ('{"', "x", '": ', "1"))],
    "alone": [TEXTS[0], named(""), *map(piece, ('{"', "x", '": ', "1"))],
    "arguments in the first piece": [*TEXTS, named('{"x": '), piece("1")],
    "no arguments in the first piece": [
        *TEXTS,
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]},
        *map(piece, ('{"x": ', "1")),
    ],
    "one piece": [*TEXTS, named('{"x": 1')],
    "after thoughts": [*[{"reasoning_content": word} for word in "abcd"], named(""), piece('{"x": '), piece("1")],
    "texts after it": [*TEXTS, named('{"x": '), piece("1"), *TEXTS],
    "in the field before tool_calls": [
        *TEXTS,
        *[{"function_call": fields} for fields in ({"name": "f", "arguments": ""}, {"arguments": '{"x": '})],
        {"function_call": {"arguments": "1"}},
    ],
    "with a type": [*TEXTS, named(""), *[piece(text, type="function") for text in ('{"x": ', "1")]],
}


@pytest.mark.parametrize("size", [None, 1, 700, 100_000], ids=["records", "bytes", "some", "all"])
@pytest.mark.parametrize("end", [DONE, b""], ids=["DONE", "no end"])
@pytest.mark.parametrize("name", PASSED)
def test_a_call_that_is_cut_is_an_error_in_a_stream_that_passes_through(
    name: str, end: bytes, size: int | None
) -> None:
    dialect = dialects.OpenAI() if end else LAX["openai"]

    def error_after(*more: dict[str, Any]) -> AcytooError | None:
        chunks = [*compact(*PASSED[name], *more), end]
        body = b"".join(chunks)
        pieces = chunks if size is None else [body[i : i + size] for i in range(0, len(body), size)]
        error = scan(dialect, pieces)
        assert type(error) is type(scan(dialect, pieces, trims=True))
        return error

    error = error_after()
    assert isinstance(error, TruncatedError)
    assert "ends_without_finish" not in error.message
    assert error_after(piece("}")) is None


def test_a_finish_reason_completes_a_call_that_passes_through_whatever_its_arguments_are() -> None:
    # What the model has written is for the client to judge.
    end = compact({})[0].replace(b'"finish_reason":null', b'"finish_reason":"tool_calls"')
    assert scan(dialects.OpenAI(), [*compact(*PASSED["after texts"]), end, DONE]) is None


def test_a_completed_response_with_an_incomplete_item_is_an_error_although_its_output_is_empty() -> None:
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"x": 1', "status": "incomplete"}
    message = {
        "type": "message",
        "content": [{"type": "output_text", "text": "Half a"}],
        "status": "incomplete",
    }
    end = {"type": "response.completed", "response": {"status": "completed", "output": []}}
    for item in (call, message):
        body = sse({"type": "response.output_item.done", "output_index": 0, "item": item}, end)
        error = read(dialects.OpenAIResponses(), body)[1]
        assert isinstance(error, ReplyError)
        assert "is incomplete" in error.message
