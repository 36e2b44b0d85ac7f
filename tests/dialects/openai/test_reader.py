"""OpenAI's reader: streams, documents and errors of many compatible servers, each with its source."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acytoo.dialects.openai.reader import StreamReader
from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    StatusError,
    TruncatedError,
)
from acytoo.http import ResponseHead
from acytoo.types import Finish, Item, Logprobs, OpaquePart, Reasoning, Refusal, Start, ToolCall, Usage, collect
from tests.dialects.openai.helpers import CALLED, DIALECT, STOP, calling, choice, events, read

SIGNED = OpaquePart("openai", {"extra_content": {"google": {"thought_signature": "sig"}}}, "tool_call")


def reasoning_in(field: str) -> OpaquePart:
    """Return the part that keeps in which field a server sent its reasoning."""
    return OpaquePart("openai", {"reasoning_field": field})


STREAMS: dict[str, tuple[tuple[object, ...], list[Item]]] = {
    # OpenAI API reference, "Streaming": role first, then content, then the finish reason, then [DONE].
    "openai": (
        (
            {
                "id": "c-1",
                "model": "gpt-4o-mini",
                "created": 1694268190,
                **choice({"role": "assistant", "content": ""}),
            },
            {"id": "c-1", "model": "gpt-4o-mini", "created": 1694268190, **choice({"content": "Hello"})},
            {"id": "c-1", "model": "gpt-4o-mini", "created": 1694268190, **choice({}, "stop")},
            "[DONE]",
        ),
        [Start("c-1", "gpt-4o-mini", 1694268190), "Hello", Finish("stop")],
    ),
    # OpenAI API reference, `stream_options.include_usage`: a last chunk with empty choices.
    "usage in a chunk of its own": (
        (
            choice({"content": "Hi"}),
            STOP,
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 9,
                    "completion_tokens": 12,
                    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 5},
                },
            },
            "[DONE]",
        ),
        ["Hi", Finish("stop"), Usage(9, 12, 4, 0, 5)],
    ),
    # OpenAI API reference, usage of audio models
    "audio usage": (
        (
            STOP,
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 9,
                    "completion_tokens": 12,
                    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 7},
                    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 11},
                },
            },
        ),
        [Finish("stop"), Usage(9, 12, other_counts={"input_audio_tokens": 7, "output_audio_tokens": 11})],
    ),
    # DeepSeek API docs, "Context Caching": prompt_cache_hit_tokens beside the usual fields.
    "deepseek cache usage": (
        (STOP, {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8}}),
        [Finish("stop"), Usage(9, 1, 8)],
    ),
    # Azure OpenAI, "Content streaming": the first chunk has no choices, only prompt_filter_results.
    "azure": (
        (
            {"choices": [], "created": 0, "id": "", "model": "", "prompt_filter_results": [{"prompt_index": 0}]},
            {"id": "c-1", "model": "gpt-4o", **choice({"content": "Hi"}, content_filter_results={})},
            {"id": "c-1", "model": "gpt-4o", **choice({}, "stop")},
            "[DONE]",
        ),
        [Start("c-1", "gpt-4o"), "Hi", Finish("stop")],
    ),
    # OpenAI API reference, function calling, streaming: parallel calls interleaved by index.
    "parallel tool calls": (
        (
            calling({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
            calling({"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}),
            calling({"index": 0, "function": {"arguments": '{"x"'}}, {"index": 1, "function": {"arguments": "{}"}}),
            calling({"index": 0, "function": {"arguments": ":1}"}}),
            CALLED,
            "[DONE]",
        ),
        [
            ToolCall(0, "a", "f"),
            ToolCall(0, arguments='{"x"'),
            ToolCall(0, arguments=":1}"),
            ToolCall(1, "b", "g", "{}"),
            Finish("tool_calls"),
        ],
    ),
    # THU-MAIC/OpenMAIC issue 1556 (a measured chunk of Google's endpoint): no index, a thought signature.
    "gemini's calls without index": (
        (
            calling(
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "sig"}},
                }
            ),
            calling({"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}),
            STOP,
        ),
        [ToolCall(0, "a", "f", "{}", "sig", "gemini"), SIGNED, ToolCall(1, "b", "g", "{}"), Finish("stop")],
    ),
    # open-webui/computer issue 224: arguments split over deltas without index, a signature in a delta of its own.
    "gemini's split call": (
        (
            calling({"id": "a", "function": {"name": "f", "arguments": '{"x"'}}),
            calling({"function": {"arguments": ":1}"}}),
            calling({"extra_content": {"google": {"thought_signature": "sig"}}}),
            STOP,
        ),
        [
            ToolCall(0, "a", "f", '{"x"'),
            ToolCall(0, arguments=":1}"),
            ToolCall(0, signature="sig", source="gemini"),
            SIGNED,
            Finish("stop"),
        ],
    ),
    # AstrBotDevs/AstrBot issue 6661: a proxy before Gemini repeats an empty id and type.
    "a piece with an empty id": (
        (
            calling({"id": "a", "function": {"name": "f", "arguments": ""}}),
            calling({"id": "", "type": "", "function": {"arguments": "{}"}}),
            CALLED,
        ),
        [ToolCall(0, "a", "f", "{}"), Finish("tool_calls")],
    ),
    # ollama/ollama issue 15457: every call has index 0.
    "all calls at index 0": (
        (
            calling({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}),
            calling({"index": 0, "id": "b", "function": {"name": "f", "arguments": "[]"}}),
            CALLED,
        ),
        [ToolCall(0, "a", "f", "{}"), ToolCall(1, "b", "f", "[]"), Finish("tool_calls")],
    ),
    # vLLM's and SGLang's tool parsers: every piece repeats the id.
    "the id in every piece": (
        (
            calling({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}),
            calling({"index": 0, "id": "a", "function": {"name": "", "arguments": "{}"}}),
            CALLED,
        ),
        [ToolCall(0, "a", "f", "{}"), Finish("tool_calls")],
    ),
    # Servers as in ollama/ollama issue 6473: arguments as an object, not as JSON text.
    "arguments as an object": (
        (calling({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": [1]}}}), CALLED),
        [ToolCall(0, "a", "f", '{"x":[1]}'), Finish("tool_calls")],
    ),
    # Indices that do not begin at 0 (gateways that count Anthropic's content blocks) are numbered from 0.
    "sparse indices": (
        (
            calling({"index": 1, "id": "a", "function": {"name": "f", "arguments": "{}"}}),
            calling({"index": 1000000000, "id": "b", "function": {"name": "g", "arguments": ""}}),
            CALLED,
        ),
        [
            ToolCall(0, "a", "f"),
            ToolCall(0, arguments="{}"),
            ToolCall(1, "b", "g", "{}"),
            Finish("tool_calls"),
        ],
    ),
    # OpenAI API reference, deprecated `function_call`.
    "function_call": (
        (
            choice({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}),
            choice({"function_call": {"arguments": "{}"}}),
            choice({}, "function_call"),
        ),
        [ToolCall(0, "call_", "f", "{}"), Finish("tool_calls", raw="function_call")],
    ),
    # DeepSeek API docs, "Reasoning Model": reasoning_content before content; the other field is null.
    "reasoning_content": (
        (
            choice({"content": None, "reasoning_content": "Hm"}),
            choice({"content": "", "reasoning_content": "m"}),
            choice({"content": "Yes", "reasoning_content": None}),
            STOP,
        ),
        [reasoning_in("reasoning_content"), Reasoning("Hm"), Reasoning("m"), "Yes", Finish("stop")],
    ),
    # OpenRouter docs, "Reasoning Tokens": `reasoning`, and details that only it can read; content stays "".
    "reasoning": (
        (
            choice({"content": "", "reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]}),
            choice({"content": "Yes", "reasoning": None}),
            STOP,
        ),
        [
            reasoning_in("reasoning"),
            Reasoning("Hm"),
            "Yes",
            OpaquePart("openai", {"reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]}),
            Finish("stop"),
        ],
    ),
    # OpenRouter docs, "Reasoning Tokens": a signature and encrypted data follow the text, and repeat none of it.
    "reasoning details after the text": (
        (
            choice({"content": "", "reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]}),
            choice({"content": "", "reasoning_details": [{"type": "reasoning.text", "text": "m", "signature": "s"}]}),
            choice({"content": "Yes"}),
            STOP,
        ),
        [
            reasoning_in("reasoning"),
            Reasoning("Hm"),
            "Yes",
            OpaquePart("openai", {"reasoning_details": [{"type": "reasoning.text", "text": "Hmm", "signature": "s"}]}),
            Finish("stop"),
        ],
    ),
    # OpenRouter docs, "Web Search": annotations, beside a text or alone.
    "annotations": (
        (
            choice({"content": "Yes", "annotations": [{"type": "url_citation", "url_citation": {"url": "a"}}]}),
            choice({"content": "", "annotations": [{"type": "url_citation", "url_citation": {"url": "b"}}]}),
            STOP,
        ),
        [
            "Yes",
            OpaquePart(
                "openai", {"annotations": [{"type": "url_citation", "url_citation": {"url": url}} for url in "ab"]}
            ),
            Finish("stop"),
        ],
    ),
    # Mistral API docs, "Reasoning": content as parts, thinking inside a list.
    "mistral's parts": (
        (
            choice({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]}),
            choice({"content": [{"type": "text", "text": "Yes"}, {"type": "reference", "reference_ids": [1]}]}),
            STOP,
        ),
        [reasoning_in("content"), Reasoning("Hm"), "Yes", Finish("stop")],
    ),
    # OpenAI API reference, streamed chunk object: delta.refusal, also beside an empty content.
    "refusal": (
        (choice({"content": "", "refusal": "I"}), choice({"refusal": " can't"}), STOP),
        [Refusal("I"), Refusal(" can't"), Finish("stop")],
    ),
    # OpenAI API reference, `logprobs.content` beside its text.
    "logprobs": (
        (choice({"content": "Hi"}, logprobs={"content": [{"token": "Hi", "logprob": -0.1}], "refusal": None}), STOP),
        ["Hi", Logprobs([{"token": "Hi", "logprob": -0.1}]), Finish("stop")],
    ),
    # One chunk with everything in it, as small proxies send.
    "all in one chunk": (
        ({**choice({"content": "Hi"}, "stop"), "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, "[DONE]"),
        ["Hi", Finish("stop"), Usage(1, 2)],
    ),
    # vLLM docs, `continuous_usage_stats`: usage in every chunk.
    "usage in every chunk": (
        (
            {**choice({"content": "Hi"}), "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
            {**STOP, "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        ),
        ["Hi", Usage(1, 1), Finish("stop"), Usage(1, 2)],
    ),
    "an unknown finish reason": (
        (choice({"content": "Hi"}, "new_reason"),),
        ["Hi", Finish("new_reason", raw="new_reason")],
    ),
    # Together API reference, `finish_reason`.
    "eos, without a text": ((choice({"content": ""}, "eos"),), [Finish("stop", raw="eos")]),
    # microsoft/foundry-local issue 263: the index counts the chunks, and each also has a `message`.
    "an index that counts up": (
        (
            *(
                {"choices": [{"index": i, "delta": {"content": text}, "message": {"content": text}}]}
                for i, text in enumerate(["Wh", "isper", " is"])
            ),
            {"choices": [{"index": 3, "delta": {"content": ""}, "finish_reason": "stop"}]},
        ),
        ["Wh", "isper", " is", Finish("stop")],
    ),
    "an index that is always 1": (
        ({"choices": [{"index": 1, "delta": {"content": "Hi"}}]}, {"choices": [{"index": 1, "finish_reason": "stop"}]}),
        ["Hi", Finish("stop")],
    ),
    # darshi1337/apogee pull request 139 and others: ends without [DONE]; a finish reason completes the reply too.
    "no [DONE]": ((choice({"content": "Hi"}), STOP), ["Hi", Finish("stop")]),
    # [DONE] completes the reply; the missing finish reason is not invented.
    "no finish reason": ((choice({"content": "Hi"}), "[DONE]"), ["Hi"]),
    "nothing after [DONE]": ((choice({"content": "Hi"}), "[DONE]", choice({"content": "!"}), "not JSON"), ["Hi"]),
    # coddy-project/coddy-agent pull request 106: empty data frames keep a stream alive.
    "empty data": (("", choice({"content": "Hi"}), " ", STOP), ["Hi", Finish("stop")]),
    "null choices": (({"choices": None}, choice({"content": "Hi"}), {"choices": None}, STOP), ["Hi", Finish("stop")]),
    "null delta": ((choice(None), choice({"content": "Hi"}), STOP), ["Hi", Finish("stop")]),
    "an error with empty fields": (
        ({**choice({"content": "Hi"}), "error": {"message": "", "type": "", "param": "", "code": None}}, STOP),
        ["Hi", Finish("stop")],
    ),
    "an error with empty fields in the choice": (
        (choice({"content": "Hi"}, error={"message": ""}), STOP),
        ["Hi", Finish("stop")],
    ),
    "null error": (({**choice({"content": "Hi"}), "error": None}, STOP), ["Hi", Finish("stop")]),
    "odd usage": (
        (STOP, {"usage": {"prompt_tokens": "many", "completion_tokens": -1, "prompt_tokens_details": 5}}),
        [Finish("stop"), Usage()],
    ),
    # OpenAI API reference, `n`: choices other than the first are ignored.
    "a second choice": (
        (
            {"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]},
            {"choices": [{"index": 1, "delta": {"content": "c"}}, {"index": 0, "delta": {"content": "d"}}]},
            STOP,
        ),
        ["a", "d", Finish("stop")],
    ),
}


@pytest.mark.parametrize(("documents", "items"), STREAMS.values(), ids=STREAMS)
def test_a_stream_of_each_server_becomes_these_items(documents: tuple[object, ...], items: list[Item]) -> None:
    result = read(events(*documents))
    for index, item in enumerate(result):
        if isinstance(item, ToolCall) and item.id.startswith("call_"):  # a new id is random
            result[index] = msgspec.structs.replace(item, id="call_")
    assert result == items


@pytest.mark.parametrize(
    "body",
    [
        # OpenRouter docs, "Streaming": comments while the upstream is slow.
        b": OPENROUTER PROCESSING\n\n" * 3 + events(choice({"content": "Hi"}), STOP, "[DONE]"),
        # Groq and others name their events.
        b"event: chunk\n" + events(choice({"content": "Hi"})) + events(STOP),
        events(choice({"content": "Hi"}), STOP).replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + events(choice({"content": "Hi"}), STOP),
        events(choice({"content": "Hi"}), STOP).replace(b"data: ", b"data:"),
        events(choice({"content": "Hi"}), STOP).rstrip(),
        events(choice({"content": "Hi"}), STOP, "[DONE]").rstrip(),
    ],
)
def test_server_sent_events_may_be_framed_in_these_ways(body: bytes) -> None:
    assert read(body) == ["Hi", Finish("stop")]


ERRORS: dict[str, tuple[bytes, type[StatusError], int | None, str]] = {
    # openai-python, `_streaming.py`: an `error` object inside the data is raised.
    "openai": (
        events({"error": {"message": "Overloaded.", "type": "server_error", "param": None, "code": None}}),
        ServerError,
        None,
        "Overloaded.",
    ),
    "openai rate limit": (
        events({"error": {"message": "Slow down.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}),
        RateLimitError,
        429,
        "Slow down.",
    ),
    # OpenRouter docs, "Errors": beside a choice that finishes with "error"; the code is an HTTP status.
    "openrouter": (
        events({**choice({"content": ""}, "error"), "error": {"code": 502, "message": "Provider disconnected"}}),
        ServerError,
        502,
        "Provider disconnected",
    ),
    "openrouter, before the finish": (
        events({**choice({"content": ""}), "error": {"code": 429, "message": "Wait"}}),
        RateLimitError,
        429,
        "Wait",
    ),
    # OpenRouter docs, "Errors": inside the choice.
    "an error in the choice": (
        events(choice({"content": ""}, None, error={"code": 403, "message": "Moderated"})),
        AuthenticationError,
        403,
        "Moderated",
    ),
    "only a finish reason": (events(choice({}, "error")), ServerError, None, "finish_reason 'error'"),
    # vLLM, `create_streaming_error_response`: followed by [DONE].
    "vllm": (
        events(
            {
                "error": {
                    "object": "error",
                    "message": "Too long.",
                    "type": "BadRequestError",
                    "param": None,
                    "code": 400,
                }
            },
            "[DONE]",
        ),
        RequestError,
        400,
        "Too long.",
    ),
    # vLLM before 0.10 and LMDeploy: the error is the document itself.
    "vllm before 0.10": (
        events({"object": "error", "message": "Too long.", "type": "BadRequestError", "code": 400}, "[DONE]"),
        RequestError,
        400,
        "Too long.",
    ),
    # ggml-org/llama.cpp pull request 16109, and the format before it.
    "llama.cpp": (
        events({"error": {"code": 500, "message": "No slot.", "type": "server_error"}}),
        ServerError,
        500,
        "No slot.",
    ),
    "llama.cpp before that": (
        b'error: {"code":400,"message":"Too long.","type":"invalid_request_error"}\n\n' + events("[DONE]"),
        RequestError,
        400,
        "Too long.",
    ),
    # Blaizzy/nativ pull request 195: only a string.
    "a string": (events({"error": "No budget."}), ServerError, None, "No budget."),
    "a named event": (b"event: error\n" + events({"error": {"message": "Oh."}}), ServerError, None, "Oh."),
    "without a message": (events({"error": {"code": 500}}), ServerError, 500, "500"),
    "empty": (events({"error": {}}), ServerError, None, "without a message"),
    # FastAPI's shape, from servers built on it.
    "a detail": (events(choice({"content": "a"}), {"detail": "No memory."}, "[DONE]"), ServerError, None, "No memory."),
    # A JSON document instead of a stream, with status 200.
    "a document": (b'{"error": {"message": "No.", "code": 401}}', AuthenticationError, 401, "No."),
}


@pytest.mark.parametrize(("body", "error", "status", "message"), ERRORS.values(), ids=ERRORS)
def test_an_error_in_a_stream_is_raised_with_its_status_and_message(
    body: bytes, error: type[StatusError], status: int | None, message: str
) -> None:
    with pytest.raises(error) as caught:
        read(body)
    assert (caught.value.status, message in caught.value.message) == (status, True)


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (events(choice({"content": "Hi"})), TruncatedError, "without finish_reason or"),
        (b"", TruncatedError, "without finish_reason or"),
        (b"\n\n", TruncatedError, "without finish_reason or"),
        (events("[DONE]"), TruncatedError, "without finish_reason or"),
        (events(choice({"role": "assistant", "content": ""}), "[DONE]"), TruncatedError, "without finish_reason or"),
        (events({"id": "c", "choices": [], "usage": {}}, "[DONE]"), TruncatedError, "without finish_reason or"),
        (b"upstream is down", ProtocolError, "upstream is down"),
        (b"error: upstream is down\n\ntry later\n\n", ProtocolError, "upstream is down"),
        (b"dat", TruncatedError, "without finish_reason or"),
        (b": ping\n\n", TruncatedError, "without finish_reason or"),
        (events(choice({"content": "Hi"}))[:-5], TruncatedError, "without finish_reason or"),
        (b'{"choices": [{"message": {"content": "Hi', TruncatedError, "cut"),
        (b'{"id": "c", "choices": [{"message": {"content": ""}}]}', TruncatedError, "finish_reason"),
        (b'{"choices": []}', ProtocolError, "no choices"),
        (b'{"hello": 1}', ProtocolError, "no choices"),
        (b"[1]", ProtocolError, "not in the format of the openai API"),
        (b"<!DOCTYPE html><title>Sign in</title>", ProtocolError, "Sign in"),
        (events("not JSON"), ProtocolError, "not JSON"),
        (events("[1]"), ProtocolError, "not in the format of the openai API"),
        (events({"choices": [{"delta": {"content": 5}}]}), ProtocolError, "content"),
        (
            b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
            ProtocolError,
            "not in the format of the openai API",
        ),
        (b'{"choices": [{"message": {"content": "\xff"}}]}', ProtocolError, "not in the format of the openai API"),
        (b"data: " + b'{"usage":' * 100_000 + b"\n\n", ProtocolError, "not in the format of the openai API"),
        (b'{"usage":' * 100_000, ProtocolError, "not in the format of the openai API"),
    ],
)
def test_an_incomplete_reply_and_another_format_are_different_errors(
    body: bytes, error: type[AcytooError], message: str
) -> None:
    with pytest.raises(error, match=message.replace("[", r"\[")):
        read(body)


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain", ""])
def test_a_document_instead_of_a_stream_is_read_with_any_content_type(content_type: str) -> None:
    body = b'\n {"id": "c", "model": "m", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'
    assert read(body, content_type) == [Start("c", "m"), "Hi", Finish("stop")]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_a_stream_is_read_with_any_content_type(content_type: str) -> None:
    assert read(events(choice({"content": "Hi"}), STOP), content_type) == ["Hi", Finish("stop")]


def test_a_document_without_finish_reason_is_complete_and_none_is_invented() -> None:
    assert read(b'{"choices": [{"message": {"content": "Hi"}}]}') == ["Hi"]


SURROGATES: dict[str, tuple[list[str], list[Item]]] = {
    "an emoji in two records": ([r"a\ud83d", r"\ude00b"], ["a", "😀b"]),
    "only an emoji in two records": ([r"\ud83d", r"\ude00"], ["😀"]),
    "a pair in one record": ([r"\ud83d\ude00"], ["😀"]),
    "a family": ([r"\ud83d", r"\udc69\u200d\ud83d", r"\udc66"], ["👩\u200d", "👦"]),
    "a high surrogate alone": ([r"a\ud83d", "b"], ["a", "\ufffdb"]),
    "a high surrogate at the end": ([r"a\ud83d"], ["a", "\ufffd"]),
    "a low surrogate alone": ([r"a\ude00b"], ["a\ufffdb"]),
    "surrogates in the wrong order": ([r"\ude00\ud83d", "b"], ["\ufffd", "\ufffdb"]),
    "a high surrogate twice": ([r"\ud83d", r"\ud83d", r"\ude00"], ["\ufffd", "😀"]),
    "an escaped backslash before": ([r"a\\ud83d"], [r"a\ud83d"]),
}


@pytest.mark.parametrize(("texts", "items"), SURROGATES.values(), ids=SURROGATES)
def test_surrogates_are_joined_across_records(texts: list[str], items: list[Item]) -> None:
    body = events(*(f'{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}' for text in texts), STOP, "[DONE]")
    assert read(body) == [*items, Finish("stop")]
    reader = DIALECT.reader(ResponseHead(200, {}))
    items_bytewise = [item for i in range(len(body)) for item in reader.feed(body[i : i + 1])]
    assert [*items_bytewise, *reader.flush()] == [*items, Finish("stop")]


def test_surrogates_are_joined_in_arguments_and_reasoning_too() -> None:
    body = events(
        r'{"choices":[{"index":0,"delta":{"reasoning_content":"\ud83d"}}]}',
        r'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"[\"\ud83d"}}]}}]}',
        r'{"choices":[{"index":0,"delta":{"reasoning_content":"\ude00"}}]}',
        r'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\ude00\"]"}}]}}]}',
        r'{"choices":[{"index":0,"delta":{},"logprobs":{"content":[{"token":"\ud83d"}]}}]}',
        "[DONE]",
    )
    assert read(body) == [
        reasoning_in("reasoning_content"),
        ToolCall(0, "a", "f", '["'),
        Reasoning("😀"),
        ToolCall(0, arguments='😀"]'),
        Logprobs([{"token": "\ufffd"}]),
    ]


def test_a_stream_cut_after_a_high_surrogate_has_no_replacement_character() -> None:
    reader = DIALECT.reader(ResponseHead(200, {}))
    assert reader.feed(events(r'{"choices":[{"index":0,"delta":{"content":"a\ud83d"}}]}')) == ["a"]
    assert reader.flush() == []
    with pytest.raises(TruncatedError):
        reader.close()


def test_a_lone_surrogate_in_a_document_becomes_a_replacement_character() -> None:
    body = rb'{"choices": [{"message": {"content": "a\ud83d \ud83d\ude00"}, "finish_reason": "stop"}]}'
    assert read(body) == ["a\ufffd 😀", Finish("stop")]


@pytest.mark.parametrize(
    ("status", "body", "message", "code"),
    [
        (401, b'{"error":{"message":"Bad key","type":"invalid_request_error","code":"x"}}', "Bad key", None),
        (429, b'{"error":{"code":429,"message":"Slow","metadata":{}}}', "Slow", ""),
        (400, b'{"object":"error","message":"Too long","type":"BadRequestError"}', "Too long", "BadRequestError"),
        (422, b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "field required", ""),
        (500, b'[{"error":{"code":500,"message":"Oh","status":"INTERNAL"}}]', "Oh", "INTERNAL"),
        (503, b"upstream connect error", "upstream connect error", ""),
        (502, b"<html><head><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway", ""),
        (500, b"", "no message", ""),
        (500, b"{}", "{}", ""),
        (500, b"\xff\xfe", "\ufffd", ""),
    ],
)
def test_an_error_body_has_this_message(status: int, body: bytes, message: str, code: str | None) -> None:
    error = DIALECT.read_error(status, body)
    assert error.status == status
    assert message in error.message
    assert code is None or error.code == code


def test_the_status_of_an_error_in_a_stream_follows_from_its_code_or_its_type() -> None:
    fields = {"message": "No.", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
    with pytest.raises(RequestError) as caught:
        read(events({"error": fields}))
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "context_length_exceeded", "messages")


def test_a_stream_that_is_passed_through_may_end_with_done_alone() -> None:
    body = events(choice({"role": "assistant", "content": ""}), choice({"content": "Hi"}), choice({"content": "!"}))
    body += events("[DONE]")
    for chunks in ([body], [body[i : i + 1] for i in range(len(body))]):
        reader = DIALECT.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
        for chunk in chunks:
            reader.scan(chunk)
        reader.close()


def test_a_choice_with_text_in_place_of_a_delta_is_read() -> None:
    """Some servers send the shape of /v1/completions in a chat stream, as text-generation-webui does for prompts."""
    pieces: list[object] = [{"choices": [{"index": 0, "text": "Hel", "finish_reason": None}]}, choice({}, text="lo")]
    body = events(*pieces, {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}, "[DONE]")
    document = msgspec.json.encode({"choices": [{"index": 0, "text": "Hello", "finish_reason": "stop"}]})
    assert collect(read(body)).text == collect(read(document, "application/json")).text == "Hello"


def test_text_that_repeats_the_delta_is_read_once() -> None:
    body = events(choice({"content": "Hello"}, text="Hello"), choice({"content": "."}, "stop", text="."), "[DONE]")
    assert collect(read(body)).text == "Hello."


def numbered(index: int, content: str, finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": index, "delta": {"content": content}, "finish_reason": finish}]}


@pytest.mark.parametrize(
    "chunks",
    [
        [numbered(0, "Hel"), numbered(1, "Bon"), numbered(0, "lo", "stop"), numbered(1, "jour", "stop")],
        [numbered(0, "Hello"), numbered(0, "", "stop"), numbered(1, "Bonjour"), numbered(1, "", "stop")],
        [numbered(1, "Bonjour"), numbered(0, "Hello"), numbered(1, "", "stop"), numbered(0, "", "stop")],
    ],
)
def test_two_choices_in_turn_are_an_error_and_not_one_mixed_reply(chunks: list[object]) -> None:
    with pytest.raises(ProtocolError, match="several choices"):
        read(events(*chunks, "[DONE]"))


def test_two_choices_in_turn_may_pass_through() -> None:
    reader = DIALECT.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    reader.scan(events(numbered(0, "a"), numbered(1, "b"), numbered(0, "", "stop"), numbered(1, "", "stop"), "[DONE]"))
    reader.close()


def test_a_finish_reason_that_is_repeated_with_the_next_number_is_one_end() -> None:
    chunks = [numbered(0, "Hel"), numbered(1, "lo"), numbered(2, "", "stop"), numbered(2, "", "stop")]
    assert collect(read(events(*chunks, "[DONE]"))).text == "Hello"


_TEXT = {"choices": [{"delta": {"content": 'it has "usage":{} in it'}}]}
_USAGE = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
_WITH_TEXT = {"choices": [{"delta": {"content": "Hi"}}], "usage": {"prompt_tokens": 1}}
_NULL = {"choices": [{"delta": {"content": "Hi"}}], "usage": None}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("seed", range(40))
def test_only_chunks_with_the_usage_alone_are_left_out_of_a_stream(line_end: str, seed: int) -> None:
    chunks = random.Random(seed).choices([_TEXT, _USAGE, _WITH_TEXT, _NULL, STOP, "[DONE]"], k=seed % 7)
    expected = events(*[chunk for chunk in chunks if chunk is not _USAGE])
    got = DIALECT.without_usage(events(*chunks).replace(b"\n", line_end.encode()))
    assert got == expected.replace(b"\n", line_end.encode())


def test_a_last_chunk_without_an_end_may_have_the_usage() -> None:
    assert DIALECT.without_usage(events(STOP, _USAGE).rstrip()) == events(STOP)


@pytest.mark.parametrize(
    ("fields", "message", "choice_fields"),
    [
        ({}, {}, {}),
        ({"id": "c-1", "model": "m", "created": 5}, {"role": "assistant", "refusal": None, "annotations": []}, {}),
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, {}, {"finish_reason": "length"}),
        ({"usage": {"prompt_tokens": 3, "prompt_cache_hit_tokens": 2}}, {"tool_calls": []}, {"logprobs": None}),
        ({}, {"annotations": [{"type": "file"}]}, {}),
        ({}, {"reasoning_content": "thinking"}, {}),
        ({}, {"refusal": "no"}, {}),
        ({}, {"reasoning_text": "thinking", "reasoning_opaque": "x"}, {}),
        ({}, {"audio": {"id": "a", "transcript": "Hi"}}, {}),
        ({}, {"audio": {}, "thinking_blocks": []}, {}),
        ({}, {}, {"finish_reason": "end_turn"}),
        ({}, {}, {"finish_reason": None}),
        ({}, {}, {"finish_reason": "tool_calls"}),
        ({}, {}, {"finish_reason": "abort"}),
        ({}, {}, {"logprobs": {"content": [{"token": "Hi"}]}}),
        ({}, {}, {"error": {"message": "no"}}),
        ({"error": {"message": "no"}}, {}, {}),
    ],
)
def test_a_document_is_read_like_one_with_an_empty_delta_beside_its_message(
    fields: dict[str, object], message: dict[str, object], choice_fields: dict[str, object]
) -> None:
    def read_document(**delta: object) -> list[Item] | str:
        choice = {"message": {"content": "Hi", **message}, "finish_reason": "stop", **choice_fields, **delta}
        try:
            return DIALECT.read_reply(msgspec.json.encode({**fields, "choices": [choice]}))
        except AcytooError as error:
            return repr(error)

    assert read_document() == read_document(delta={})


def test_a_padded_done_ends_a_reply() -> None:
    assert read(events(choice({"content": "Hi"}), " [DONE] ", choice({"content": "more"}))) == ["Hi"]


def test_a_complete_call_that_is_repeated_without_an_index_is_one_call() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}
    assert [found["id"] for found in collect(read(events(calling(call), calling(call), CALLED))).tool_calls] == ["a"]
    longer = {"id": "a", "function": {"name": "f", "arguments": '{"x":2}'}}
    assert len(collect(read(events(calling(call), calling(longer), CALLED))).tool_calls) == 2


BESIDE_A_TEXT: dict[str, object] = {
    "reasoning_content": "r",
    "reasoning": "r",
    "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}],
    "reasoning_text": "r",
    "reasoning_opaque": "x",
    "thinking": "r",
    "thinking_blocks": [{"type": "thinking", "thinking": "r", "signature": "x"}],
    "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}],
    "audio": {"id": "a", "data": "AAAA"},
    "images": [{"type": "image_url", "image_url": {"url": "u"}}],
    "extra_content": {"google": {"thought": True}},
    "refusal": "No.",
    "tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}],
    "function_call": {"name": "f", "arguments": "{}"},
    "logprobs": {"content": [{"token": "c", "logprob": -1}]},
}


@pytest.mark.parametrize("texts", [0, 1, 3])
@pytest.mark.parametrize("field", BESIDE_A_TEXT)
def test_a_field_beside_a_text_is_read_wherever_the_record_is(field: str, texts: int) -> None:
    def read_with(delta: dict[str, Any], other: str = "") -> list[Item]:
        fields: dict[str, Any] = {"logprobs": delta.pop("logprobs", None)}
        chunk = {"id": "c", "model": "m", "other": other, **choice(delta, **fields)}
        plain = {"id": "c", "model": "m", **choice({"content": "ab"})}
        end = CALLED if "call" in field else STOP
        body = events(*[plain] * texts, chunk, end if field in delta else STOP, "[DONE]")
        items = read(body.replace(b'"surrogate"', b'"\\ud800"'))
        return [msgspec.structs.replace(item, id="") if isinstance(item, ToolCall) else item for item in items]

    items = read_with({"content": "c", field: BESIDE_A_TEXT[field]})
    # A record that msgspec refuses is decoded in another way.
    assert items == read_with({"content": "c", field: BESIDE_A_TEXT[field]}, "surrogate")
    assert items != read_with({"content": "c"})


@given(
    st.lists(
        st.one_of(st.text(max_size=6), st.sampled_from(["Hello", '"', "\\", "\n", '"}', "[DONE]", ""])), max_size=12
    ),
    st.booleans(),
)
def test_a_stream_has_the_texts_of_its_records(texts: list[str], ascii_only: bool) -> None:
    chunks = [{"id": "c", "model": "m", **choice({"content": text})} for text in texts]
    records = [json.dumps(chunk, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") for chunk in chunks]
    items: list[Item] = []
    StreamReader("openai").read(records, items)
    assert [item for item in items if isinstance(item, str)] == [text for text in texts if text]


def test_records_that_alternate_are_all_read() -> None:
    deltas = [choice({"content": "t"} if number % 2 else {"reasoning_content": "r"}) for number in range(100)]
    reply = collect(read(events(*deltas, STOP)))
    assert (reply.text, reply.reasoning[0]["text"]) == ("t" * 50, "r" * 50)


def usage_of(fields: dict[str, object]) -> Usage:
    items = read(events(choice({"content": "a"}, "stop"), {"choices": [], "usage": fields}, "[DONE]"))
    (usage,) = [item for item in items if isinstance(item, Usage)]
    return usage


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 3}}, Usage(7, 2, 3)),
        ({"prompt_tokens_details": {"cache_write_tokens": 3}}, Usage(7, 2, 0, 3)),
        ({"prompt_cache_hit_tokens": 3}, Usage(7, 2, 3)),
        ({"cached_tokens": 3}, Usage(7, 2, 3)),
        ({"prompt_cache_hit_tokens": 0, "cached_tokens": 3}, Usage(7, 2, 3)),
        ({"cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}, Usage(7, 2, 3, 4)),
        ({"cache_read_input_tokens": 5, "cache_creation_input_tokens": 4}, Usage(16, 2, 5, 4)),
        ({"cache_creation_input_tokens": 9}, Usage(7, 2, 0, 9)),
        ({"completion_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 9}, Usage(7, 2, 0, 0, 1)),
        ({"completion_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 14}, Usage(7, 7, 0, 0, 5)),
        ({"prompt_tokens_details": {"audio_tokens": 4}}, Usage(7, 2, other_counts={"input_audio_tokens": 4})),
        ({"completion_tokens_details": {"audio_tokens": 1}}, Usage(7, 2, other_counts={"output_audio_tokens": 1})),
        ({"prompt_tokens_details": None, "completion_tokens_details": "none"}, Usage(7, 2)),
        ({"prompt_tokens": "8", "completion_tokens": 3.0, "total_tokens": -1}, Usage(8, 3)),
        ({"prompt_tokens": "8", "prompt_tokens_details": {"cached_tokens": "5", "audio_tokens": None}}, Usage(8, 2, 5)),
    ],
)
def test_the_counts_of_a_usage_have_the_names_of_each_server(fields: dict[str, object], usage: Usage) -> None:
    assert usage_of({"prompt_tokens": 7, "completion_tokens": 2, **fields}) == usage


def test_a_usage_may_have_the_names_of_the_responses_api() -> None:
    assert usage_of({"input_tokens": 7, "output_tokens": 2}) == Usage(7, 2)


@pytest.mark.parametrize(
    ("fields", "start"),
    [
        ({"id": "c"}, Start("c")),
        ({"model": "m"}, Start("", "m")),
        ({"id": "c", "model": "m", "created": 5}, Start("c", "m", 5)),
    ],
)
def test_a_document_begins_with_what_it_says_of_itself(fields: dict[str, object], start: Start) -> None:
    document = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], **fields}
    assert read(msgspec.json.encode(document), "application/json") == [start, "a", Finish("stop")]


def test_a_document_with_a_call_that_was_cut_is_an_error() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}
    document = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    with pytest.raises(TruncatedError):
        read(msgspec.json.encode(document), "application/json")


def message(finish: str | None = None, **fields: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": fields, "finish_reason": finish}]}


@pytest.mark.parametrize("field", ["content", "refusal", "reasoning_content"])
@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (message, "Hello"),  # each message is a piece
        (choice, "Hel"),  # they are the whole reply so far, and this one does not continue it
    ],
)
def test_messages_in_a_stream_are_pieces_unless_a_delta_came_first(field: str, first: Any, expected: str) -> None:
    begin = {field: "Hel"}
    chunks = [message(**begin) if first is message else choice(begin), message(**{field: "lo"}), choice({}, "stop")]
    reply = collect(read(events(*chunks, "[DONE]")))
    thought = "".join([block["text"] for block in reply.reasoning])
    assert {"content": reply.text, "refusal": reply.refusal, "reasoning_content": thought}[field] == expected


def test_each_chunk_with_a_text_that_is_passed_through_is_content() -> None:
    reader = DIALECT.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
    for number in range(5):
        reader.scan(events({"id": "c", "model": "m", **choice({"content": f"text {number}"})}))
        assert reader.received_content


def test_pieces_of_a_call_that_have_nothing_else_are_its_arguments() -> None:
    begin = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": piece}} for piece in ('{"a"', ": [1, ", "2]}")]
    chunks = [calling(begin), *[{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces]]
    named = [{"id": "c", "model": "m", **chunk} for chunk in [*chunks, choice({}, "tool_calls")]]
    reply = collect(read(events(*named, "[DONE]")))
    assert [call["function"]["arguments"] for call in reply.tool_calls] == ['{"a": [1, 2]}']


def test_only_a_record_that_has_a_piece_alone_is_scanned_as_a_piece() -> None:
    reader = StreamReader("openai")
    piece = events({"id": "c", **choice({"content": "a"})})
    usage = events({"id": "c", **_USAGE})
    both = events({"id": "c", **choice({"content": "b"})}) + usage
    found = []
    for chunk in (
        piece,
        piece.replace(b'"a"', b'"c"'),
        usage,
        both,
        piece,
        piece.replace(b'"a"', b'"d"'),
        events(STOP),
    ):
        reader.scan(chunk)
        found.append(reader.is_piece)
    assert found == [False, True, False, False, False, True, False]
