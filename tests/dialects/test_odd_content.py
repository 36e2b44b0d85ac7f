"""Content of an unusual shape is read, or it is an error: never an empty reply or a call without arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.errors import ProtocolError, ServerError, StatusError, TruncatedError
from acytoo.http import ResponseHead
from acytoo.types import OpaquePart, collect
from tests.dialects.test_finish import read, sse

ANTHROPIC, GEMINI, OLLAMA, RESPONSES = (
    dialects.Anthropic(),
    dialects.Gemini(),
    dialects.Ollama(),
    dialects.OpenAIResponses(),
)


def message(*deltas: dict[str, Any]) -> bytes:
    """Return Anthropic's stream of one block of text with these deltas."""
    return sse(
        {"type": "message_start", "message": {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    )


def document(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def response(*events: dict[str, Any], output: Any = ()) -> bytes:
    end = {"type": "response.completed", "response": {"status": "completed", "output": output}}
    return sse({"type": "response.created", "response": {}}, *events, end)


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": 0, **fields}


TEXTS: list[tuple[Dialect, bytes]] = [
    (ANTHROPIC, message({"type": "text", "text": "Hi"})),
    (ANTHROPIC, message({"text": "Hi"})),
    (ANTHROPIC, document(type="message", content="Hi", stop_reason="end_turn")),
    (ANTHROPIC, document(type="message", content=["Hi"], stop_reason="end_turn")),
    (RESPONSES, response(output=[{"type": "message", "content": [{"text": "Hi"}]}])),
    (RESPONSES, response(output=[{"type": "message", "content": ["Hi"]}])),
    (RESPONSES, response(output=[{"type": "message", "content": {"type": "output_text", "text": "Hi"}}])),
    (RESPONSES, response(output=[{"type": "message", "content": [{"type": "text", "text": {"value": "Hi"}}]}])),
    (RESPONSES, response(output=[{"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}])),
    (RESPONSES, response(output={"type": "message", "content": "Hi"})),
    (RESPONSES, response(output=[{"type": "output_text", "text": "Hi"}])),
    (RESPONSES, response(event("output_item.done", item={"role": "assistant", "content": "Hi"}))),
]


@pytest.mark.parametrize(("dialect", "body"), TEXTS)
def test_a_text_of_an_unusual_shape_is_read(dialect: Dialect, body: bytes) -> None:
    items, error = read(dialect, body)
    assert (collect(items).text, error) == ("Hi", None)


@pytest.mark.parametrize("delta", [{"text": "Hi"}, ["Hi"], 5])
def test_a_piece_of_a_text_that_is_not_text_is_an_error(delta: object) -> None:
    for kind in ("output_text", "refusal"):
        _, error = read(RESPONSES, response(event(f"{kind}.delta", content_index=0, delta=delta)))
        assert isinstance(error, ProtocolError)


FUNCTION = {"type": "function_call", "id": "fc", "call_id": "a", "name": "f", "arguments": ""}
X = {"x": 1}


def ollama(call: dict[str, Any]) -> bytes:
    lines = ({"model": "m", "message": {"content": "", "tool_calls": [call]}, "done": False}, {"done": True})
    return b"".join([json.dumps(line).encode() + b"\n" for line in lines])


def gemini(call: dict[str, Any]) -> bytes:
    return sse({"candidates": [{"content": {"parts": [{"functionCall": call}]}, "finishReason": "STOP"}]})


def tool_use(fields: dict[str, Any]) -> bytes:
    return sse(
        {"type": "message_start", "message": {"content": []}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "a", "name": "f", **fields},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    )


CALL_WITHOUT_ID = {"type": "function", "function": {"name": "f", "arguments": X}}
CHAT_CALL = {"id": "a", "index": 0, **CALL_WITHOUT_ID}

CALLS: list[tuple[Dialect, bytes]] = [
    (RESPONSES, response(output=[{**FUNCTION, "arguments": X}])),
    (RESPONSES, response(output=[{**FUNCTION, "arguments": None, "input": X}])),
    (RESPONSES, response(output=[{**FUNCTION, "parameters": X}])),
    (RESPONSES, response(event("output_item.added", item={**FUNCTION, "arguments": json.dumps(X)}))),
    (RESPONSES, response(output=[{"type": "function_call", "id": "a", "function": {"name": "f", "arguments": X}}])),
    (
        RESPONSES,
        response(
            event("output_item.added", item=FUNCTION), event("output_item.done", item={**FUNCTION, "arguments": X})
        ),
    ),
    (
        RESPONSES,
        response(event("output_item.added", item=FUNCTION), event("function_call_arguments.delta", delta=X)),
    ),
    (
        RESPONSES,
        response(event("output_item.added", item=FUNCTION), event("function_call_arguments.done", arguments=X)),
    ),
    (RESPONSES, response(output=[{"type": "tool_call", "call_id": "a", "name": "f", "arguments": X}])),
    (RESPONSES, response(output=[{"type": "tool_call", "id": "a", "function": {"name": "f", "parameters": X}}])),
    (RESPONSES, response(output=[{"type": "tool_use", "id": "a", "name": "f", "input": X}])),
    (RESPONSES, response(output=[{"type": "message", "content": None, "tool_calls": [CHAT_CALL]}])),
    (RESPONSES, response(output=[{"type": "message", "content": [], "tool_calls": {"0": CHAT_CALL}}])),
    (RESPONSES, response(output=[{"type": "message", "content": [], "tool_calls": json.dumps([CHAT_CALL])}])),
    (RESPONSES, response(event("output_item.done", item={"type": "message", "tool_calls": [CHAT_CALL]}))),
    (
        RESPONSES,
        response(
            event("output_item.done", item={"type": "message", "content": [], "tool_calls": [CHAT_CALL]}),
            output=[{"type": "message", "content": [], "tool_calls": [CHAT_CALL]}],
        ),
    ),
    (
        RESPONSES,
        response(
            event("output_item.done", item={"type": "message", "content": [], "tool_calls": [CALL_WITHOUT_ID]}),
            output=[{"type": "message", "content": [], "tool_calls": [CALL_WITHOUT_ID]}],
        ),
    ),
    (RESPONSES, response(event("output_item.added", item={"type": "tool_call", "name": "f", "arguments": X}))),
    (RESPONSES, document(status="completed", output=[{"type": "tool_call", "name": "f", "arguments": X}])),
    (GEMINI, gemini({"name": "f", "args": json.dumps(X)})),
    (GEMINI, gemini({"name": "f", "arguments": X})),
    (GEMINI, gemini({"name": "f", "args": {}, "parameters": X})),
    (ANTHROPIC, tool_use({"input": X})),
    (ANTHROPIC, tool_use({"input": {}, "arguments": X})),
    (ANTHROPIC, tool_use({"parameters": json.dumps(X)})),
    (OLLAMA, ollama({"function": {"name": "f", "input": X}})),
    (OLLAMA, ollama({"function": {"name": "f"}, "arguments": X})),
    (OLLAMA, ollama({"name": "f", "args": X})),
    (OLLAMA, ollama({"name": "f", "arguments": X})),
    (OLLAMA, ollama({"function": {"name": "f", "parameters": X}})),
]


@pytest.mark.parametrize(("dialect", "body"), CALLS)
def test_a_call_of_an_unusual_shape_has_its_arguments(dialect: Dialect, body: bytes) -> None:
    items, error = read(dialect, body)
    assert error is None
    assert not any(isinstance(item, OpaquePart) for item in items)
    (call,) = collect(items).tool_calls
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("f", X)


def test_arguments_that_are_a_list_are_an_error() -> None:
    body = response(event("output_item.added", item=FUNCTION), event("function_call_arguments.delta", delta=[X]))
    assert isinstance(read(RESPONSES, body)[1], ProtocolError)


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_a_model_that_was_only_loaded_has_not_answered(reason: str) -> None:
    # can1357/oh-my-pi issue 7465: the answer to a conversation without a user's message
    body = document(model="m", message={"role": "assistant", "content": ""}, done_reason=reason, done=True)
    for data in (body, body + b"\n"):
        items, error = read(OLLAMA, data)
        assert not collect(items).text
        assert isinstance(error, ServerError)
        assert "no content" in error.message


def test_a_part_of_a_reply_in_place_of_a_record_is_not_the_servers_error() -> None:
    for dialect, body in (
        (OLLAMA, b'{"message": {"content": [5]}}\n'),
        (ANTHROPIC, sse({"message": {"id": "m", "content": []}})),
    ):
        assert isinstance(read(dialect, body)[1], ProtocolError)


LENGTH = {"type": "length"}
CHAT = dialects.OpenAI()
HI = {"choices": [{"delta": {"content": "Hi"}}]}
COMPLETE = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
DONE = b"data: [DONE]\n\n"


def stopped(reason: object) -> bytes:
    """Return Anthropic's stream of a text that ended for this reason."""
    return message({"text": "Hi"}).replace(b'"end_turn"', json.dumps(reason).encode())


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (ANTHROPIC, stopped(LENGTH)),
        (ANTHROPIC, document(type="message", content=[{"type": "text", "text": "Hi"}], stop_reason=LENGTH)),
        (GEMINI, sse({"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": LENGTH}]})),
        (OLLAMA, document(model="m", message={"content": "Hi"}, done=True, done_reason=LENGTH)),
        (CHAT, sse(HI, {"choices": [{"delta": {}, "finish_reason": LENGTH}]}) + DONE),
        (CHAT, sse(HI, {"choices": [{"delta": {}, "finish_reason": {"reason": "length"}}]}) + DONE),
        (CHAT, sse(HI, {"choices": [{"delta": {}, "finish_reason": {"type": "", "code": "length"}}]}) + DONE),
        (CHAT, document(choices=[{"message": {"content": "Hi"}, "finish_reason": LENGTH}])),
    ],
)
def test_a_reason_in_an_object_is_read(dialect: Dialect, body: bytes) -> None:
    items, error = read(dialect, body)
    assert error is None
    assert collect(items).finish_reason == "length"


def test_a_reason_in_an_object_without_a_text_is_one_that_nobody_knows() -> None:
    ended = {"choices": [{"delta": {}, "finish_reason": {"a": 1}}]}
    items, error = read(CHAT, sse(HI, ended) + DONE)
    assert error is None
    assert collect(items).finish_reason == "unknown"
    assert isinstance(read(CHAT, sse(ended) + DONE)[1], ServerError)


@pytest.mark.parametrize("end", ["\n\ndata: [DONE]\n\n", "\ndata: [DONE]", "data: [DONE]\n", "[DONE]", "\n[DONE]\n"])
def test_a_document_may_be_followed_by_the_end_of_a_stream(end: str) -> None:
    items, error = read(CHAT, document(**COMPLETE) + end.encode())
    assert (collect(items).text, error) == ("Hi", None)


@pytest.mark.parametrize(
    ("more", "expected"),
    [(json.dumps(COMPLETE), "was sent twice"), (" oops", "with something after it: 'oops'"), ("}", "after it: '}'")],
)
def test_more_after_a_document_is_named_in_the_error(more: str, expected: str) -> None:
    _, error = read(CHAT, document(**COMPLETE) + more.encode())
    assert isinstance(error, ProtocolError)
    assert expected in error.message


@pytest.mark.parametrize("last", [{"choices": []}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}])
def test_a_usage_of_zeros_does_not_replace_the_one_before(last: dict[str, Any]) -> None:
    counted = HI | {"usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    ended = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    zeros = last | {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}
    items, error = read(CHAT, sse(counted, ended, zeros) + DONE)
    usage = collect(items).usage
    assert error is None
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (5, 2)


def ended(**counts: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": counts}


def said(finish: str | None = None, **counts: int) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": "Hi"}] if not finish else []}, "finishReason": finish}
    return {"candidates": [candidate], "usageMetadata": counts}


def lines(*values: dict[str, Any]) -> bytes:
    return b"".join([json.dumps(value).encode() + b"\n" for value in values])


HI_OF_OLLAMA: dict[str, Any] = {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": False}
ZEROS_OF_OLLAMA: dict[str, Any] = {"prompt_eval_count": 0, "eval_count": 0}
COUNTS_OF_OLLAMA: dict[str, Any] = {"prompt_eval_count": 5, "eval_count": 2}
BEGUN = (
    {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 5, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
)

ZEROS: dict[str, tuple[Dialect, bytes]] = {
    "after the end of a message": (
        ANTHROPIC,
        sse(*BEGUN, ended(output_tokens=2), {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 0}}),
    ),
    "in a second end of a message": (
        ANTHROPIC,
        sse(*BEGUN, ended(input_tokens=5, output_tokens=2), ended(input_tokens=0, output_tokens=0)),
    ),
    "at the end of a message that is stopped": (
        ANTHROPIC,
        sse(*BEGUN, ended(output_tokens=2), {"type": "message_stop", "usage": {"input_tokens": 0, "output_tokens": 0}}),
    ),
    "at the end of a message with counts before": (
        ANTHROPIC,
        sse(*BEGUN, {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 2}}, ended(output_tokens=0)),
    ),
    "in the last event of Gemini": (
        GEMINI,
        sse(
            said(promptTokenCount=5, candidatesTokenCount=2),
            said("STOP", promptTokenCount=0, candidatesTokenCount=0, totalTokenCount=0),
        ),
    ),
    "after the end of Gemini": (
        GEMINI,
        sse(
            said(),
            said("STOP", promptTokenCount=5, candidatesTokenCount=2),
            {"usageMetadata": {"promptTokenCount": 0, "candidatesTokenCount": 0}},
        ),
    ),
    "in place of the words of Gemini": (
        GEMINI,
        sse(said(promptTokenCount=5, candidatesTokenCount=2), said("STOP", promptTokenCount=5)),
    ),
    "in the last line of Ollama": (
        OLLAMA,
        lines(
            HI_OF_OLLAMA,
            HI_OF_OLLAMA | {"message": {"content": ""}} | COUNTS_OF_OLLAMA,
            {"done": True, "done_reason": "stop"} | ZEROS_OF_OLLAMA,
        ),
    ),
    "in the first of two last lines of Ollama": (
        OLLAMA,
        lines(
            HI_OF_OLLAMA,
            {"done": True, "done_reason": "stop"} | ZEROS_OF_OLLAMA,
            {"done": True, "done_reason": "stop"} | COUNTS_OF_OLLAMA,
        ),
    ),
    "in the second of two last lines of Ollama": (
        OLLAMA,
        lines(
            HI_OF_OLLAMA,
            {"done": True, "done_reason": "stop"} | COUNTS_OF_OLLAMA,
            {"done": True, "done_reason": "stop"} | ZEROS_OF_OLLAMA,
        ),
    ),
}


@pytest.mark.parametrize(("dialect", "body"), ZEROS.values(), ids=ZEROS)
def test_zeros_of_any_api_do_not_replace_the_usage_before(dialect: Dialect, body: bytes) -> None:
    items, error = read(dialect, body)
    usage = collect(items).usage
    assert error is None
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (5, 2)


@pytest.mark.parametrize(("prompt", "total"), [(50, 50), (9, 45)])
def test_counts_of_a_cache_may_have_the_names_of_another_api(prompt: int, total: int) -> None:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": 2,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 6,
    }
    found = collect(read(CHAT, document(**COMPLETE, usage=usage))[0]).usage
    assert found is not None
    assert (found.input_tokens, found.cached_tokens, found.cache_write_tokens) == (total, 30, 6)


WRAPPED: list[tuple[Dialect, dict[str, Any]]] = [
    (CHAT, {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}),
    (RESPONSES, {"status": "completed", "output": [{"type": "message", "content": "Hi"}]}),
    (ANTHROPIC, {"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}),
    (GEMINI, {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}),
    (OLLAMA, {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": True}),
]
WRAPPERS = pytest.mark.parametrize(
    ("field", "beside"),
    [
        ("data", {}),
        ("result", {"success": True, "errors": [], "messages": []}),
        ("data", {"code": 0, "msg": "success"}),
        ("data", {"code": 200, "message": "ok"}),
        ("response", {}),
    ],
)


@WRAPPERS
@pytest.mark.parametrize(("dialect", "inner"), WRAPPED, ids=lambda value: getattr(value, "name", ""))
def test_a_document_may_be_in_a_field_of_a_gateway(
    dialect: Dialect, inner: dict[str, Any], field: str, beside: dict[str, Any]
) -> None:
    items, error = read(dialect, document(**beside, **{field: inner}))
    assert error is None
    assert collect(items).text == "Hi"


@WRAPPERS
@pytest.mark.parametrize("dialect", [dialect for dialect, _ in WRAPPED], ids=lambda dialect: dialect.name)
def test_an_error_in_a_field_of_a_gateway_is_the_error(dialect: Dialect, field: str, beside: dict[str, Any]) -> None:
    inner = {"error": {"message": "too many requests", "code": 429}}
    items, error = read(dialect, document(**beside, **{field: inner}))
    assert (items, isinstance(error, StatusError)) == ([], True)


@pytest.mark.parametrize("dialect", [dialect for dialect, _ in WRAPPED], ids=lambda dialect: dialect.name)
def test_a_failure_stays_one_if_its_document_has_other_data(dialect: Dialect) -> None:
    failure = document(success=False, errors=[{"code": 7009, "message": "no such model"}], result={"model": "m"})
    items, error = read(dialect, failure)
    assert items == []
    assert isinstance(error, StatusError)
    assert "no such model" in error.message


@pytest.mark.parametrize(
    "details",
    [
        {"reason": "max_output_tokens"},
        {"reason": {"type": "max_output_tokens"}},
        {"reason": {"reason": "max_output_tokens", "limit": 9}},
        "max_output_tokens",
    ],
)
@pytest.mark.parametrize("is_stream", [True, False])
def test_the_reason_of_an_incomplete_response_may_be_in_an_object(details: Any, is_stream: bool) -> None:
    fields = {"status": "incomplete", "incomplete_details": details, "output": [{"type": "message", "content": "Hi"}]}
    end = {"type": "response.incomplete", "response": fields}
    body = sse({"type": "response.created", "response": {}}, end) if is_stream else document(**fields)
    items, error = read(RESPONSES, body)
    assert error is None
    assert collect(items).finish_reason == "length"


@pytest.mark.parametrize("records", [{"result": HI}, {"response": "Hi"}])
def test_a_stream_of_another_shape_is_an_error_that_shows_it(records: dict[str, Any]) -> None:
    items, error = read(CHAT, sse(records, records) + DONE)
    assert items == []
    assert isinstance(error, TruncatedError)
    assert json.dumps(records)[:12] in error.message


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_words_in_place_of_records_are_an_error_that_shows_them(dialect: Dialect) -> None:
    reader = dialect.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    with pytest.raises(ProtocolError, match=r"Hello|event stream"):
        for byte in b"data: Hello\n\ndata: world\n\n":
            reader.feed(bytes([byte]))
            if reader.pending_error:
                raise reader.pending_error


@pytest.mark.parametrize("text", ["dat", "data", "date: Hi", "eve", " d", "{}"])
def test_raw_text_with_the_type_of_an_event_stream_is_read(text: str) -> None:
    reader = dialects.Acytoo().reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    items = [item for byte in text.encode() for item in reader.feed(bytes([byte]))] + reader.flush()
    reader.close()
    assert collect(items).text == text
