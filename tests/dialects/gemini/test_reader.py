"""Gemini's reader: documented replies and errors to items."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.errors import AcytooError, AuthenticationError, ProtocolError, RateLimitError, ServerError, TruncatedError
from acytoo.types import Finish, Item, Logprobs, OpaquePart, Reasoning, Start, ToolCall, Usage, collect, signature_of
from tests.dialects.gemini.helpers import (
    DIALECT,
    DOCUMENT,
    STREAM,
    fields,
    no_deadline,
    read,
    response,
    snake_case,
    sse,
)

IDENTITY = {"modelVersion": "gemini-2.5-flash", "responseId": "Il0taoSYJ5Cez7IP"}
START = Start("Il0taoSYJ5Cez7IP", "gemini-2.5-flash")

SEQUENCES: dict[str, tuple[bytes, list[Item]]] = {
    # Source: ai.google.dev, Gemini API reference, "Generating content" (streaming, curl), usage on every event.
    "text": (
        sse(
            response(
                {"text": "AI"},
                usageMetadata={"promptTokenCount": 8, "candidatesTokenCount": 1, "totalTokenCount": 9},
                **IDENTITY,
            ),
            response({"text": " learns 🌍"}, usageMetadata={"promptTokenCount": 8, "totalTokenCount": 11}, **IDENTITY),
            response(
                {"text": "."},
                reason="STOP",
                usageMetadata={
                    "promptTokenCount": 8,
                    "cachedContentTokenCount": 5,
                    "candidatesTokenCount": 4,
                    "thoughtsTokenCount": 30,
                    "totalTokenCount": 42,
                    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}],
                },
                **IDENTITY,
            ),
        ),
        [START, "AI", " learns 🌍", ".", Usage(8, 34, 5, 0, 30), Finish("stop")],
    ),
    # Source: ai.google.dev, GenerateContentResponse, ModalityTokenCount; the reply of an image model
    "tokens by their modality": (
        sse(
            response(
                {"text": "Hi"},
                reason="STOP",
                usageMetadata={
                    "promptTokenCount": 1000,
                    "candidatesTokenCount": 1300,
                    "promptTokensDetails": [
                        {"modality": "TEXT", "tokenCount": 200},
                        {"modality": "AUDIO", "tokenCount": 800},
                        {"modality": "DOCUMENT", "tokenCount": 1},
                        {"modality": 7},
                    ],
                    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
                },
                **IDENTITY,
            ),
        ),
        [
            START,
            "Hi",
            Usage(1000, 1300, other_counts={"input_audio_tokens": 800, "output_image_tokens": 1290}),
            Finish("stop"),
        ],
    ),
    # Source: ai.google.dev, "Gemini thinking" (thought summaries) and "Thought signatures" (signature of a text,
    # in the last event with an empty text).
    "thoughts and a signed text": (
        sse(
            response({"text": "**Counting**\n", "thought": True}, **IDENTITY),
            response({"text": "the letters.", "thought": True}, **IDENTITY),
            response({"text": "Three."}, **IDENTITY),
            response({"text": "", "thoughtSignature": "EjQKMgEM"}, reason="STOP", **IDENTITY),
        ),
        [
            START,
            Reasoning("**Counting**\n", source="gemini"),
            Reasoning("the letters.", source="gemini"),
            "Three.",
            Reasoning("", 1, "EjQKMgEM", source="gemini"),
            OpaquePart("gemini", part="reasoning", index=1),
            Finish("stop"),
        ],
    ),
    # Source: ai.google.dev, "Thought signatures" (parallel function calls: only the first is signed).
    "signed parallel calls": (
        sse(
            response(
                {
                    "functionCall": {"name": "weather", "args": {"city": "Paris"}, "id": "fc-1"},
                    "thoughtSignature": "c2lnbmF0dXJl",
                },
                {"functionCall": {"name": "weather", "args": {"city": "London"}, "id": "fc-2"}},
                **IDENTITY,
            ),
            response({"text": ""}, reason="STOP", **IDENTITY),
        ),
        [
            START,
            ToolCall(0, "fc-1", "weather", '{"city":"Paris"}', "c2lnbmF0dXJl", "gemini"),
            ToolCall(1, "fc-2", "weather", '{"city":"London"}'),
            Finish("tool_calls"),
        ],
    ),
    # Source: ai.google.dev, "Safety settings"; Gemini API reference, PromptFeedback.
    "a blocked prompt": (
        sse(
            {
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
                **IDENTITY,
            }
        ),
        [START, Usage(4), Finish("content_filter", raw="PROHIBITED_CONTENT")],
    ),
    # Source: Gemini API reference, Candidate: a filtered candidate has no content.
    "a filtered reply": (
        sse(
            response({"text": "Once"}, **IDENTITY), {"candidates": [{"finishReason": "SAFETY", "index": 0}], **IDENTITY}
        ),
        [START, "Once", Finish("content_filter", raw="SAFETY")],
    ),
    "log-probabilities without most of their fields": (
        sse(
            {
                "candidates": [
                    {
                        "content": {"parts": [{"text": "Hi"}]},
                        "logprobsResult": {
                            "chosenCandidates": [{}, {"token": "H"}, {"logProbability": -1.5}],
                            "topCandidates": [{}, {"candidates": [{}]}],
                        },
                        "finishReason": "STOP",
                    }
                ]
            }
        ),
        [
            "Hi",
            Logprobs(
                [
                    {"token": "", "logprob": 0.0, "bytes": [], "top_logprobs": []},
                    {
                        "token": "H",
                        "logprob": 0.0,
                        "bytes": [72],
                        "top_logprobs": [{"token": "", "logprob": 0.0, "bytes": []}],
                    },
                    {"token": "", "logprob": -1.5, "bytes": [], "top_logprobs": []},
                ]
            ),
            Finish(),
        ],
    ),
    # Source: Gemini API reference, LogprobsResult.
    "log-probabilities": (
        sse(
            {
                "candidates": [
                    {
                        "content": {"parts": [{"text": "Hi"}], "role": "model"},
                        "logprobsResult": {
                            "chosenCandidates": [{"token": "Hi", "tokenId": 7, "logProbability": -0.25}],
                            "topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -0.25}]}],
                        },
                        "finishReason": "MAX_TOKENS",
                    }
                ]
            }
        ),
        [
            "Hi",
            Logprobs(
                [
                    {
                        "token": "Hi",
                        "logprob": -0.25,
                        "bytes": [72, 105],
                        "top_logprobs": [{"token": "Hi", "logprob": -0.25, "bytes": [72, 105]}],
                    }
                ]
            ),
            Finish("length"),
        ],
    ),
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("name", SEQUENCES)
def test_documented_events_become_items_at_any_chunk_size(name: str, size: int) -> None:
    data, items = SEQUENCES[name]
    assert read(data, [size]) == items


def snake_case_stream(data: bytes) -> bytes:
    return sse(*[snake_case(json.loads(line[5:])) for line in data.splitlines() if line])


@pytest.mark.parametrize("name", SEQUENCES)
def test_names_in_snake_case_are_read_as_those_in_camel_case(name: str) -> None:
    # The JSON mapping of protocol buffers: "parsers accept both the lowerCamelCase name and the original field name".
    data, items = SEQUENCES[name]
    assert read(snake_case_stream(data)) == items


@pytest.mark.parametrize(
    "part",
    [
        {"functionCall": {"name": "f", "id": "1", "args": {"file_path": "a", "filePath": {"a_b": 1}}}},
        {"text": "a thought", "thought": True, "thoughtSignature": "c2ln"},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}, "thoughtSignature": "c2ln"},
    ],
)
@pytest.mark.parametrize("as_document", [False, True])
def test_one_name_in_snake_case_is_read_among_others_in_camel_case(part: dict[str, Any], as_document: bool) -> None:
    def items(part: dict[str, Any]) -> list[Item]:
        document = response({"text": "Hi"}, part, reason="STOP", usageMetadata={"promptTokenCount": 3})
        return read(json.dumps(document).encode() if as_document else sse(document))

    assert items(snake_case(part)) == items(part)


def test_a_finish_reason_in_snake_case_is_read_beside_camel_case() -> None:
    document = response({"text": "Hi"}, usageMetadata={"promptTokenCount": 3}, **IDENTITY)
    document["candidates"][0]["finish_reason"] = "MAX_TOKENS"
    assert read(sse(document)) == [START, "Hi", Usage(3), Finish("length")]


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_stream_cut_at_any_byte_is_truncated_or_complete(name: str) -> None:
    data, items = SEQUENCES[name]
    for end in range(len(data)):
        try:
            cut_items = read(data[:end])
        except TruncatedError:
            continue
        assert b"}" not in data[end:]
        assert cut_items == items


def test_a_call_without_an_id_gets_one() -> None:
    calls = collect(
        read(sse(response({"functionCall": {"name": "now"}}, {"functionCall": {"name": "now"}}, reason="STOP")))
    )
    ids = [call["id"] for call in calls.tool_calls]
    assert [call["function"] for call in calls.tool_calls] == [{"name": "now", "arguments": "{}"}] * 2
    assert ids[0]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("ids", [("a", "b"), ("", "")], ids=["with ids", "without ids"])
def test_calls_that_are_repeated_with_a_signature_are_the_same_calls(ids: tuple[str, str]) -> None:
    # NousResearch/hermes-agent pull request 102809.
    first, second = (
        {"functionCall": {"name": "f", "args": {"x": x}} | ({"id": call_id} if call_id else {})}
        for x, call_id in enumerate(ids)
    )
    data = sse(response(first, second), response({**first, "thoughtSignature": "s"}, second, reason="STOP"))
    calls = collect(read(data)).tool_calls
    assert [call["function"]["arguments"] for call in calls] == ['{"x":0}', '{"x":1}']
    assert [signature_of(call) for call in calls] == [("s", "gemini"), None]


@pytest.mark.parametrize("thought", [True, False])
@pytest.mark.parametrize("text", ["", "Hm"])
def test_a_call_in_a_part_with_a_text_or_marked_as_a_thought_is_a_call(text: str, thought: bool) -> None:
    part = {"text": text, "thought": thought, "functionCall": {"id": "a", "name": "f", "args": {}}}
    data = sse(response({**part, "thoughtSignature": "s"}), response(reason="STOP"))
    reply = collect(read(data))
    assert [(call["id"], signature_of(call)) for call in reply.tool_calls] == [("a", ("s", "gemini"))]
    assert reply.text == ("" if thought else text)
    assert [block["text"] for block in reply.reasoning] == ([text] if thought and text else [])


def test_equal_calls_of_which_the_first_is_signed_are_two() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    data = sse(response({**call, "thoughtSignature": "s"}, call, reason="STOP"))
    assert len(collect(read(data)).tool_calls) == 2


def test_a_reasoning_block_ends_with_its_signature_or_the_next_part() -> None:
    data = sse(
        response(
            {"text": "a", "thought": True},
            {"text": "b", "thought": True, "thoughtSignature": "s1"},
            {"text": "c", "thought": True},
            {"text": "answer", "thoughtSignature": "s2"},
            {"text": "d", "thought": True},
            reason="STOP",
        )
    )
    assert collect(read(data)).reasoning == [
        {"text": "ab", "signature": "s1", "source": "gemini"},
        {"text": "c", "source": "gemini"},
        {"signature": "s2", "source": "gemini"},
        {"text": "d", "source": "gemini"},
    ]


def test_text_after_a_finish_reason_is_not_lost() -> None:
    # Gemini 1.0 gave every event a finishReason. Source: google-gemini/generative-ai-python issue reports of 2024.
    data = sse(response({"text": "He"}, reason="STOP"), response({"text": "llo"}, reason="STOP"))
    assert read(data) == ["He", Finish("stop"), "llo"]


def test_usage_after_the_finish_reason_is_yielded() -> None:
    data = sse(response({"text": "Hi"}, reason="STOP"), {"usageMetadata": {"promptTokenCount": 3}})
    assert read(data) == ["Hi", Finish("stop"), Usage(3)]


def test_unknown_events_fields_and_candidates_are_ignored_and_unknown_parts_kept() -> None:
    other = {"content": {"parts": [{"text": "second"}]}, "index": 1}
    first = response({"text": "!"}, reason="STOP")
    data = b": ping\r\n\r\n\r\n\r\n" + sse(
        {"thinkingProgress": {"percent": 5}},
        response({"executableCode": {"code": "1"}}, {"text": "Hi", "mood": [1]}, future={"x": None}),
        {"candidates": [other, *first["candidates"]]},
    )
    assert read(data + b"data: [DONE]\n\n") == [
        OpaquePart("gemini", {"executableCode": {"code": "1"}}),
        "Hi",
        "!",
        Finish("stop"),
    ]


# Documents.


def test_a_complete_reply_is_one_document() -> None:
    document = response({"text": "Hello!"}, reason="STOP", usageMetadata={"promptTokenCount": 2}, **IDENTITY)
    assert read(json.dumps(document, indent=2).encode(), [3], DOCUMENT) == [START, "Hello!", Usage(2), Finish("stop")]


def test_a_stream_sent_as_an_array_is_read() -> None:
    documents = [response({"text": "He"}, **IDENTITY), response({"text": "llo"}, reason="STOP", **IDENTITY)]
    assert read(json.dumps(documents).encode(), [3], DOCUMENT) == [START, "He", "llo", Finish("stop")]


@pytest.mark.parametrize(
    "documents", [response({"text": "Hé"}, reason="STOP"), [response({"text": "Hé"}, reason="STOP")]]
)
def test_a_document_cut_at_any_byte_is_truncated(documents: Any) -> None:
    data = json.dumps(documents).encode()
    for end in range(len(data)):
        with pytest.raises(TruncatedError):
            read(data[:end], head=DOCUMENT)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (response({"text": "Hi"}), TruncatedError),
        ({}, ProtocolError),
        ({"choices": []}, ProtocolError),
        ([], ProtocolError),
        ({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}, ServerError),
        ([{"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}], RateLimitError),
    ],
)
def test_a_document_that_is_not_a_complete_reply_raises(document: Any, error: type[AcytooError]) -> None:
    with pytest.raises(error):
        read(json.dumps(document).encode(), head=DOCUMENT)


@pytest.mark.parametrize("body", [b"<html><title>Sign in</title></html>", b"data: [1]\n\n", b'data: "text"\n\n'])
def test_a_body_of_another_api_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="gemini"):
        read(body)


# Errors.


OVERLOADED = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize("size", [1, 11, 100_000])
@pytest.mark.parametrize(
    "error_bytes",
    [
        sse(OVERLOADED),
        # Source: google-genai, `_api_client.py`: an error comes line by line, without `data:`.
        json.dumps(OVERLOADED, indent=2).encode(),
        json.dumps([OVERLOADED], indent=2).encode() + b"\r\n",
        b",\r\n" + json.dumps(OVERLOADED).encode() + b"\r\n]",
    ],
)
def test_an_error_in_mid_stream_is_raised_with_its_status(error_bytes: bytes, size: int) -> None:
    data = (
        sse(response({"text": "Hi"}), response({"functionCall": {"name": "log", "args": {"error": "none"}}}))
        + error_bytes
    )
    with pytest.raises(ServerError, match="overloaded") as caught:
        read(data, [size])
    assert (caught.value.status, caught.value.code) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("size", [1, 11, 100_000])
def test_a_plain_json_error_is_recognised_in_a_stream_that_is_passed_through(size: int) -> None:
    reader = DIALECT.reader(STREAM)
    data = sse(response({"text": "Hi"})) + json.dumps(OVERLOADED, indent=2).encode()
    with pytest.raises(ServerError, match="overloaded"):
        for start in range(0, len(data), size):
            reader.scan(data[start : start + size])
            if reader.pending_error is not None:
                raise reader.pending_error


@pytest.mark.parametrize(
    ("code", "cls"),
    [("RESOURCE_EXHAUSTED", RateLimitError), ("UNAUTHENTICATED", AuthenticationError), ("UNAVAILABLE", ServerError)],
)
def test_an_error_without_a_number_is_classified_by_its_status(code: str, cls: type[AcytooError]) -> None:
    with pytest.raises(AcytooError) as caught:
        read(sse({"error": {"message": "no", "status": code}}))
    assert (type(caught.value), getattr(caught.value, "code", "")) == (cls, code)


def test_text_that_contains_an_error_document_is_not_an_error() -> None:
    text = '\n{"error": {"message": "x"}}\n'
    data = sse(
        response({"text": text}), response({"functionCall": {"name": "f", "args": {"error": {}}}}, reason="STOP")
    )
    assert collect(read(data, [9])).text == text


def test_arguments_that_are_a_chunk_of_their_own_are_not_an_error() -> None:
    reader = DIALECT.reader(STREAM)
    items: list[Item] = []
    for chunk in (
        b'data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","id":"1","args":',
        b'{"error":"data: lost"}',
        b'}}]},"finishReason":"STOP"}]}\n\n',
    ):
        items += reader.feed(chunk)
    assert items == [ToolCall(0, "1", "f", '{"error":"data: lost"}'), Finish("tool_calls")]


def test_the_retry_delay_is_read_from_the_details() -> None:
    # Source: google.rpc.RetryInfo, as the Gemini API sends it with 429.
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
    body = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [{}, retry]}}
    error = DIALECT.read_error(429, json.dumps([body]).encode())
    assert (type(error), error.code, error.retry_after) == (RateLimitError, "RESOURCE_EXHAUSTED", 34.07)
    assert DIALECT.read_error(429, json.dumps(body).encode(), 5).retry_after == 5
    assert DIALECT.read_error(429, json.dumps(snake_case(body)).encode()).retry_after == 34.07


def test_models_and_counts_in_snake_case_are_read() -> None:
    models = [{"name": "models/a", "supported_generation_methods": ["embedContent"]}, {"name": "models/b"}]
    assert DIALECT.read_models(json.dumps({"models": models}).encode()) == ["b"]
    assert DIALECT.read_count(b'{"total_tokens": 7}') == DIALECT.read_count(b'{"totalTokens": 7}') == 7


def test_a_wrong_key_is_an_authentication_error_although_the_status_is_400() -> None:
    # Source: the Gemini API's response to a wrong key, google.rpc.ErrorInfo.
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    body = {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [info]}}
    error = DIALECT.read_error(400, json.dumps(body).encode())
    assert (type(error), error.status, error.message) == (AuthenticationError, 400, "API key not valid.")


@pytest.mark.parametrize("body", [b"", b"oops", b"[]", b"[1]", b'{"error": "x"}', b'{"error": {"details": [1, {}]}}'])
def test_any_error_body_gives_an_error(body: bytes) -> None:
    assert isinstance(DIALECT.read_error(500, body), ServerError)


CHUNK = ["candidates", "usageMetadata", "modelVersion", "responseId", "promptFeedback", "error"]
CANDIDATE = ["content", "finishReason", "index", "logprobsResult"]


@given(
    st.lists(fields(CHUNK) | fields(CANDIDATE).map(lambda candidate: {"candidates": [candidate]}), max_size=4),
    st.booleans(),
)
@no_deadline
def test_garbage_in_a_reply_raises_only_acytoo_errors(documents: list[Any], as_document: bool) -> None:
    try:
        read(json.dumps(documents).encode() if as_document else sse(*documents))
    except AcytooError:
        pass


def test_a_blank_record_and_done_are_skipped() -> None:
    body = b"data:  \n\n" + sse(response({"text": "Hi"}, reason="STOP")) + b"data: [DONE]\n\n"
    assert collect(read(body)).text == "Hi"


def test_an_unknown_finish_reason_after_a_text_is_kept() -> None:
    finish = collect(read(sse(response({"text": "Hi"}), response(reason="NEW_REASON")))).finish
    assert finish is not None
    assert finish.raw == "NEW_REASON"
    with pytest.raises(AcytooError):
        read(sse(response(reason="NEW_REASON")))


def test_a_part_that_only_this_api_has_is_content() -> None:
    part = {"executableCode": {"language": "PYTHON", "code": "1"}}
    finish = collect(read(sse(response(part), response(reason="NEW_REASON")))).finish
    assert finish is not None
    assert finish.raw == "NEW_REASON"


def test_an_error_after_the_mere_name_of_one_is_raised() -> None:
    body = b'"error":\n' + json.dumps({"error": {"code": 429, "message": "slow down"}}).encode()
    with pytest.raises(RateLimitError, match="slow down"):
        DIALECT.reader(STREAM).feed(body)


@pytest.mark.parametrize("is_cumulative", [True, False])
def test_a_stream_passes_through_unless_each_piece_repeats_the_text(is_cumulative: bool) -> None:
    assert type(DIALECT)(cumulative_texts=is_cumulative).can_pass_through is not is_cumulative
