"""Which reasons are the end of a reply: in every dialect, streamed and as a document, read and passed through."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from acytoo import dialects
from acytoo.dialects import Dialect
from acytoo.dialects.finish import check_finish, nearest_reason
from acytoo.dialects.openai import OpenAI, Variations
from acytoo.errors import AcytooError, ProtocolError, ReplyError, ServerError, TruncatedError
from acytoo.http import ResponseHead
from acytoo.types import Finish, Item, Refusal, Request, collect

Body = Callable[[str, str], bytes]
"""Takes the text and the reason of a reply, and returns the body."""


def sse(*documents: dict[str, Any]) -> bytes:
    return b"".join([b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents])


def openai(text: str, reason: str) -> bytes:
    return sse(
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]},
    )


def openai_document(text: str, reason: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": reason}]}).encode()


def anthropic(text: str, reason: str) -> bytes:
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": text}}
    return sse(
        {"type": "message_start", "message": {"content": []}},
        *([block, {"type": "content_block_stop", "index": 0}] if text else []),
        {"type": "message_delta", "delta": {"stop_reason": reason}},
        {"type": "message_stop"},
    )


def anthropic_document(text: str, reason: str) -> bytes:
    content = [{"type": "text", "text": text}] if text else []
    return json.dumps({"type": "message", "content": content, "stop_reason": reason}).encode()


def gemini(text: str, reason: str) -> bytes:
    return sse({"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": reason}]})


def gemini_document(text: str, reason: str) -> bytes:
    return gemini(text, reason).removeprefix(b"data: ")


def ollama(text: str, reason: str) -> bytes:
    lines: list[dict[str, Any]] = [
        {"model": "m", "message": {"content": text}, "done": False},
        {"model": "m", "message": {"content": ""}, "done": True, "done_reason": reason},
    ]
    return b"".join([json.dumps(line).encode() + b"\n" for line in lines])


def ollama_document(text: str, reason: str) -> bytes:
    return json.dumps({"model": "m", "message": {"content": text}, "done": True, "done_reason": reason}).encode()


def responses(text: str, reason: str) -> bytes:
    end = {"status": "incomplete", "incomplete_details": {"reason": reason}, "output": []}
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text}
    return sse({"type": "response.created", "response": {}}, delta, {"type": "response.incomplete", "response": end})


def responses_document(text: str, reason: str) -> bytes:
    output = [{"type": "message", "content": [{"type": "output_text", "text": text}]}]
    details = {"reason": reason}
    return json.dumps({"output": output, "status": "incomplete", "incomplete_details": details}).encode()


STREAMS: dict[str, tuple[Dialect, Body]] = {
    "openai": (dialects.OpenAI(), openai),
    "anthropic": (dialects.Anthropic(), anthropic),
    "gemini": (dialects.Gemini(), gemini),
    "ollama": (dialects.Ollama(), ollama),
    "openai-responses": (dialects.OpenAIResponses(), responses),
}
DOCUMENTS: dict[str, tuple[Dialect, Body]] = {
    "openai, document": (dialects.OpenAI(), openai_document),
    "anthropic, document": (dialects.Anthropic(), anthropic_document),
    "gemini, document": (dialects.Gemini(), gemini_document),
    "ollama, document": (dialects.Ollama(), ollama_document),
    "openai-responses, document": (dialects.OpenAIResponses(), responses_document),
}
BODIES = STREAMS | DOCUMENTS

FAILURES = [
    "abort",  # vllm-project/vllm issue 57082
    "error",  # OpenRouter
    "insufficient_system_resource",  # DeepSeek
    "network_error",  # Zhipu
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "cancelled",
    "timeout",
]


def read(dialect: Dialect, body: bytes, *, scans: bool = False) -> tuple[list[Item], AcytooError | None]:
    """Return the items of a body and the error that ends them. `scans`: read it as if it were passed through."""
    is_document = body[:1] == b"{" and b"\n" not in body.rstrip()
    content_type = "application/json" if is_document else dialect.writer(Request([])).content_type
    reader = dialect.reader(ResponseHead(200, {"content-type": content_type}))
    items: list[Item] = []
    try:
        for byte in body:
            if scans:
                reader.scan(bytes([byte]))
            else:
                items += reader.feed(bytes([byte]))
            if reader.pending_error is not None:
                raise reader.pending_error
        items += reader.flush()
        reader.close()
    except AcytooError as error:
        return items, error
    return items, None


@pytest.mark.parametrize("reason", FAILURES)
@pytest.mark.parametrize("name", BODIES)
def test_a_reason_that_reports_a_failure_is_an_error_after_the_text(name: str, reason: str) -> None:
    dialect, body = BODIES[name]
    items, error = read(dialect, body("Half a", reason))
    assert collect(items).text == "Half a"
    assert isinstance(error, ServerError)
    assert (error.code, repr(reason) in error.message) == (reason, True)


@pytest.mark.parametrize("name", BODIES)
def test_a_reason_that_reports_a_failure_is_an_error_of_a_reply_that_is_passed_through(name: str) -> None:
    dialect, body = BODIES[name]
    _, error = read(dialect, body("Half a", "abort"), scans=True)
    assert isinstance(error, ServerError)


@pytest.mark.parametrize("scans", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_an_unknown_reason_completes_a_reply_only_if_it_has_content(name: str, scans: bool) -> None:
    dialect, body = BODIES[name]
    items, error = read(dialect, body("Hi", "brand_new"), scans=scans)
    assert error is None
    if not scans:
        assert collect(items).finish_reason == "brand_new"
    _, error = read(dialect, body("", "brand_new"), scans=scans)
    assert isinstance(error, ServerError)
    assert "'brand_new' and no content" in error.message


@pytest.mark.parametrize("reason", ["stop", "length"])
@pytest.mark.parametrize("name", ["openai", "openai, document", "ollama", "ollama, document", "anthropic"])
def test_a_known_reason_completes_a_reply_without_content(name: str, reason: str) -> None:
    dialect, body = BODIES[name]
    items, error = read(dialect, body("", reason))
    assert (error, collect(items).finish_reason) == (None, reason)


OTHER_NAMES = {
    "model_context_window_exceeded": "length",  # mozilla-ai/any-llm#1200: z.ai
    "time_limit": "length",  # IBM's watsonx
    "max_tokens": "length",
    "LENGTH": "length",
    "content_filter: RECITATION": "content_filter",  # Gemini's compatible endpoint
    "PROHIBITED_CONTENT": "content_filter",  # HKUDS/Vibe-Trading pull request 308
    "guardrail_intervened": "content_filter",
}


@pytest.mark.parametrize("reason", OTHER_NAMES)
@pytest.mark.parametrize("name", BODIES)
def test_another_name_of_a_reason_is_that_reason_with_and_without_content(name: str, reason: str) -> None:
    dialect, body = BODIES[name]
    for text in ("Hi", ""):
        items, error = read(dialect, body(text, reason))
        assert (error, collect(items).finish_reason) == (None, OTHER_NAMES[reason])


@pytest.mark.parametrize("reason", ["tool_call", "TOOL_CALLS", "tool_use"])
def test_a_call_has_the_finish_reason_of_calls_whatever_its_name(reason: str) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    chunk = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": reason}]}
    items, error = read(dialects.OpenAI(), sse(chunk))
    assert (error, collect(items).finish_reason) == (None, "tool_calls")


REASONING_ONLY: dict[str, tuple[Dialect, bytes]] = {
    "openai": (
        dialects.OpenAI(),
        sse({"choices": [{"delta": {"reasoning_content": "Hm"}}]}) + b"data: [DONE]\n\n",
    ),
    "anthropic": (
        dialects.Anthropic(),
        sse(
            {"type": "message_start", "message": {}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "Hm"}},
            {"type": "message_stop"},
        ),
    ),
}


@pytest.mark.parametrize("name", REASONING_ONLY)
def test_reasoning_alone_is_not_a_reply_unless_a_finish_reason_says_so(name: str) -> None:
    items, error = read(*REASONING_ONLY[name])
    assert collect(items).reasoning
    assert isinstance(error, ReplyError)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("response.completed", "failed"),
        ("response.completed", "cancelled"),
        ("response.completed", "in_progress"),
        ("response.incomplete", "incomplete"),
    ],
)
@pytest.mark.parametrize("is_document", [False, True])
def test_a_response_that_is_not_completed_is_an_error_after_the_text(
    event: str, status: str, is_document: bool
) -> None:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}]
    response: dict[str, Any] = {"status": status, "output": output}
    if status == "incomplete":
        response["incomplete_details"] = {"reason": "server_error"}
    body = json.dumps(response).encode() if is_document else sse({"type": event, "response": response})
    items, error = read(dialects.OpenAIResponses(), body)
    assert collect(items).text == "Hi"
    assert error is not None
    assert response.get("incomplete_details", {"reason": status})["reason"] in error.message


@pytest.mark.parametrize("is_document", [False, True])
def test_a_completed_response_with_an_error_is_that_error(is_document: bool) -> None:
    response = {"status": "completed", "error": {"code": "server_error", "message": "it broke"}, "output": []}
    event = {"type": "response.completed", "response": response}
    _, error = read(dialects.OpenAIResponses(), json.dumps(response).encode() if is_document else sse(event))
    assert isinstance(error, ServerError)
    assert (error.status, error.message) == (500, "it broke")


# agentjido/req_llm issue 944.
MALFORMED = {
    "finishReason": "MALFORMED_FUNCTION_CALL",
    "finishMessage": "Malformed function call: call:f{x",
    "index": 0,
}


@pytest.mark.parametrize("prefix", [b"data: ", b""])
def test_geminis_finish_message_is_part_of_the_error(prefix: bytes) -> None:
    _, error = read(dialects.Gemini(), prefix + json.dumps({"candidates": [MALFORMED]}).encode() + b"\n\n")
    assert isinstance(error, ServerError)
    assert "'MALFORMED_FUNCTION_CALL': Malformed function call: call:f{x" in error.message


@pytest.mark.parametrize(
    "document",
    [
        {"candidates": [{"finishReason": "SAFETY", "finishMessage": "Blocked by policy."}]},
        {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "Blocked by policy."}},
    ],
)
def test_geminis_message_about_filtered_content_is_a_refusal(document: dict[str, Any]) -> None:
    items, error = read(dialects.Gemini(), sse(document))
    assert error is None
    assert Refusal("Blocked by policy.") in items
    assert collect(items).finish_reason == "content_filter"


def test_a_failure_after_a_finish_reason_is_still_an_error() -> None:
    body = openai("Hi", "stop") + openai("", "error")
    assert isinstance(read(dialects.OpenAI(), body)[1], ServerError)
    body = gemini("Hi", "STOP") + gemini("", "MALFORMED_FUNCTION_CALL")
    assert isinstance(read(dialects.Gemini(), body)[1], ServerError)


def test_a_reply_that_vllm_ended_because_it_repeats_itself_ended_early() -> None:
    assert nearest_reason(Finish("repetition"), {"stop", "length"}) == "length"


def test_a_reason_of_the_table_is_never_a_failure() -> None:
    check_finish("finish_reason", "max_errors", {"max_errors"}, False)
    with pytest.raises(ServerError):
        check_finish("finish_reason", "max_errors", (), True)


# vllm-project/vllm issue 53255, earendil-works/pi issue 9681, labring/FastGPT issue 7339.
CALL_REASONS = [
    *[
        (name, reason)
        for name in ("openai", "openai, document")
        for reason in ("tool_calls", "function_call", "tool_call")
    ],
    *[(name, reason) for name in ("anthropic", "anthropic, document") for reason in ("tool_use", "tool_calls")],
    *[(name, "tool_calls") for name in ("ollama", "ollama, document")],
]


@pytest.mark.parametrize("text", ["Let me look.", ""])
@pytest.mark.parametrize(("name", "reason"), CALL_REASONS)
def test_a_reply_that_ends_with_a_call_and_has_none_is_an_error_after_the_text(
    name: str, reason: str, text: str
) -> None:
    dialect, body = BODIES[name]
    items, error = read(dialect, body(text, reason))
    assert collect(items).text == text
    assert isinstance(error, ProtocolError)
    assert repr(reason) in error.message


def test_a_call_that_is_passed_through_need_not_be_read() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    body = sse(
        {"choices": [{"delta": {"content": "Hi"}, "finish_reason": None}]},
        {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": None}]},
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    ).replace(b'": ', b'":')
    _, error = read(dialects.OpenAI(), body, scans=True)
    assert error is None


# Servers that end complete replies without a finish reason: pydantic/pydantic-ai issue 2996, pi issue 7062.

LAX = {
    dialect.name: OpenAI(Variations(ends_without_finish=True))
    if isinstance(dialect, OpenAI)
    else type(dialect)(ends_without_finish=True)  # type: ignore[call-arg]
    for dialect, _ in STREAMS.values()
}


def without_end(name: str) -> bytes:
    """Return a reply with a text, and without the record that ends it."""
    _, body = BODIES[name]
    if name in DOCUMENTS:
        document = json.loads(body("Hi", "stop"))
        for part in (document, *document.get("choices", ()), *document.get("candidates", ())):
            for field in ("finish_reason", "stop_reason", "done_reason", "finishReason", "done"):
                part.pop(field, None)
        return json.dumps(document).encode()
    if name == "openai":
        return sse({"choices": [{"delta": {"content": "Hi"}, "finish_reason": None}]})
    if name == "gemini":
        return sse({"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]})
    end = b"\n" if name == "ollama" else b"\n\n"
    kept = 1 if name == "ollama" else 2 if name == "openai-responses" else 3
    return b"".join([record + end for record in body("Hi", "stop").split(end)[:kept]])


STRICT = [name for name in BODIES if name not in ("openai, document", "openai-responses, document")]
"""OpenAI's documents need no finish reason, and a response has a status."""


@pytest.mark.parametrize("scans", [False, True])
@pytest.mark.parametrize("name", STRICT)
def test_a_reply_without_an_end_is_complete_only_for_a_dialect_that_expects_it(name: str, scans: bool) -> None:
    dialect, body = BODIES[name][0], without_end(name)
    _, error = read(dialect, body, scans=scans)
    assert isinstance(error, TruncatedError)
    assert "ends_without_finish=True" in error.message
    items, error = read(LAX[dialect.name], body, scans=scans)
    assert error is None
    if not scans:
        assert (collect(items).text, collect(items).finish) == ("Hi", None)


@pytest.mark.parametrize("name", STREAMS)
def test_a_reply_cut_inside_a_record_or_without_content_is_never_complete(name: str) -> None:
    dialect, body = LAX[name], without_end(name)
    for cut in (body + body.rstrip()[:-3], b"", body[:20], body.replace(b"Hi", b"")):
        _, error = read(dialect, cut)
        assert isinstance(error, ReplyError), cut
        assert "ends_without_finish" not in error.message


def test_a_call_that_is_cut_is_never_complete() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x": 1'}}
    body = sse({"choices": [{"delta": {"tool_calls": [call]}}]})
    assert isinstance(read(LAX["openai"], body)[1], TruncatedError)
    rest = {"index": 0, "function": {"arguments": "}"}}
    items, error = read(LAX["openai"], body + sse({"choices": [{"delta": {"tool_calls": [rest]}}]}))
    assert (error, collect(items).tool_calls[0]["function"]["arguments"]) == (None, '{"x": 1}')


def test_a_failure_is_an_error_for_a_dialect_that_expects_no_end_too() -> None:
    assert isinstance(read(LAX["openai"], openai("Half a", "abort"))[1], ServerError)


NO_REASON: dict[str, tuple[Dialect, bytes]] = {
    "openai": (dialects.OpenAI(), openai("Half a", "null")),
    "gemini": (dialects.Gemini(), gemini("Half a", "FINISH_REASON_UNSPECIFIED")),
}


@pytest.mark.parametrize("name", NO_REASON)
def test_a_name_for_no_reason_does_not_end_a_reply(name: str) -> None:
    items, error = read(*NO_REASON[name])
    assert (collect(items).text, type(error)) == ("Half a", TruncatedError)


def test_a_text_in_the_shape_of_ollamas_generate_is_read() -> None:
    lines = [{"model": "m", "response": "Hel", "done": False}, {"response": "lo", "done": False}, {"done": True}]
    items, error = read(dialects.Ollama(), b"".join([json.dumps(line).encode() + b"\n" for line in lines]))
    assert (collect(items).text, error) == ("Hello", None)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
@pytest.mark.parametrize("name", LAX)
@pytest.mark.parametrize(("reason", "nearest"), [("new_reason", "stop"), ("pause_turn", "length")])
def test_a_client_gets_only_reasons_that_its_api_has(name: str, reason: str, nearest: str, stream: bool) -> None:
    # async-openai and the SDK for .NET refuse a chunk with another reason.
    dialect = LAX[name]
    request = Request([{"role": "user", "content": "Hello"}], "m", stream=stream)
    if name == "anthropic" and reason == "pause_turn":
        reason = "max_messages"  # of the Responses API
    if name == "gemini":
        nearest = "OTHER"
    items: list[Item] = ["Hi", Finish(reason, raw=reason)]
    if stream:
        writer = dialect.writer(request)
        body = writer.write(items) + writer.end()
    else:
        body = dialect.write_reply(collect(items), request)
    assert reason.encode() not in body
    finish = collect(read(dialect, body)[0]).finish
    assert finish is not None
    assert finish.reason == nearest
