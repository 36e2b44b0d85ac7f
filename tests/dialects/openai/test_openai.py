"""OpenAI's chat completions as their many servers really speak them, each fixture naming its source."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acytoo import dialects
from acytoo.dialects import OpenAI
from acytoo.dialects.base import Dialect, Unsupported
from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    StatusError,
    TimedOutError,
    TruncatedError,
    UnsupportedError,
    UsageError,
)
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.secret import Secret
from acytoo.types import (
    Finish,
    Item,
    Logprobs,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Start,
    ToolCall,
    Usage,
    collect,
)

DIALECT = OpenAI()
ENDPOINT = Endpoint("http://h/v1")
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def read(body: bytes, content_type: str = "text/event-stream") -> list[Item]:
    """The items of a whole response body."""
    reader = DIALECT.reader(ResponseHead(200, {"content-type": content_type}))
    items = reader.feed(body) + reader.flush()
    reader.close()
    return items


def events(*documents: object) -> bytes:
    """Server-sent events: JSON for documents, strings as they are."""
    encode = msgspec.json.encode
    return b"".join(b"data: %b\n\n" % (d.encode() if isinstance(d, str) else encode(d)) for d in documents)


def choice(delta: object, finish: str | None = None, **more: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}]}


def calling(*calls: object) -> dict[str, Any]:
    return choice({"tool_calls": list(calls)})


STOP = choice({}, "stop")
CALLED = choice({}, "tool_calls")

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
            ToolCall(1, "b", "g"),
            ToolCall(0, arguments='{"x"'),
            ToolCall(1, arguments="{}"),
            ToolCall(0, arguments=":1}"),
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
        [ToolCall(0, "a", "f", "{}", "sig", "gemini"), ToolCall(1, "b", "g", "{}"), Finish("stop")],
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
        [ToolCall(0, "a", "f"), ToolCall(0, arguments="{}"), Finish("tool_calls")],
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
    # vLLM's and SGLang's tool parsers: the id comes again with every piece.
    "the id in every piece": (
        (
            calling({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}),
            calling({"index": 0, "id": "a", "function": {"name": "", "arguments": "{}"}}),
            CALLED,
        ),
        [ToolCall(0, "a", "f"), ToolCall(0, arguments="{}"), Finish("tool_calls")],
    ),
    # ollama/ollama issue 6473 kind of servers: arguments as an object, not as JSON text.
    "arguments as an object": (
        (calling({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": [1]}}}), CALLED),
        [ToolCall(0, "a", "f", '{"x":[1]}'), Finish("tool_calls")],
    ),
    # Indices that do not begin at 0 (gateways that count Anthropic's content blocks) are numbered anew.
    "sparse indices": (
        (
            calling({"index": 1, "id": "a", "function": {"name": "f", "arguments": "{}"}}),
            calling({"index": 1000000000, "id": "b", "function": {"name": "g", "arguments": ""}}),
            CALLED,
        ),
        [ToolCall(0, "a", "f", "{}"), ToolCall(1, "b", "g"), Finish("tool_calls")],
    ),
    # OpenAI API reference, deprecated `function_call`.
    "function_call": (
        (
            choice({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}),
            choice({"function_call": {"arguments": "{}"}}),
            choice({}, "function_call"),
        ),
        [ToolCall(0, "call_", "f"), ToolCall(0, arguments="{}"), Finish("tool_calls", raw="function_call")],
    ),
    # DeepSeek API docs, "Reasoning Model": reasoning_content before content, the other one null.
    "reasoning_content": (
        (
            choice({"content": None, "reasoning_content": "Hm"}),
            choice({"content": "", "reasoning_content": "m"}),
            choice({"content": "Yes", "reasoning_content": None}),
            STOP,
        ),
        [Reasoning("Hm"), Reasoning("m"), "Yes", Finish("stop")],
    ),
    # OpenRouter docs, "Reasoning Tokens": `reasoning`, and details that only it can read; content stays "".
    "reasoning": (
        (
            choice({"content": "", "reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]}),
            choice({"content": "Yes", "reasoning": None}),
            STOP,
        ),
        [Reasoning("Hm"), "Yes", Finish("stop")],
    ),
    # Mistral API docs, "Reasoning": content as parts, thinking inside a list.
    "mistral's parts": (
        (
            choice({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]}),
            choice({"content": [{"type": "text", "text": "Yes"}, {"type": "reference", "reference_ids": [1]}]}),
            STOP,
        ),
        [Reasoning("Hm"), "Yes", Finish("stop")],
    ),
    # OpenAI API reference, streamed chunk object: delta.refusal, also beside an empty content.
    "refusal": (
        (choice({"content": "", "refusal": "I"}), choice({"refusal": " can't"}), STOP),
        [Refusal("I"), Refusal(" can't"), Finish("stop")],
    ),
    # OpenAI API reference, `logprobs.content` beside the text they are of.
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
    # The maker's own word for the end survives (DeepSeek: insufficient_system_resource).
    "an unknown finish reason": (
        (choice({"content": "Hi"}, "insufficient_system_resource"),),
        ["Hi", Finish("insufficient_system_resource", raw="insufficient_system_resource")],
    ),
    # darshi1337/apogee pull request 139 and others: ends without [DONE]; a finish reason is an end too.
    "no [DONE]": ((choice({"content": "Hi"}), STOP), ["Hi", Finish("stop")]),
    # A [DONE] is an end; nothing is invented for the finish reason that did not come.
    "no finish reason": ((choice({"content": "Hi"}), "[DONE]"), ["Hi"]),
    "nothing after [DONE]": ((choice({"content": "Hi"}), "[DONE]", choice({"content": "!"}), "not JSON"), ["Hi"]),
    # coddy-project/coddy-agent pull request 106: empty data frames keep a stream alive.
    "empty data": (("", choice({"content": "Hi"}), " ", STOP), ["Hi", Finish("stop")]),
    "null choices": (({"choices": None}, choice({"content": "Hi"}), {"choices": None}, STOP), ["Hi", Finish("stop")]),
    "null delta": ((choice(None), choice({"content": "Hi"}), STOP), ["Hi", Finish("stop")]),
    "null error": (({**choice({"content": "Hi"}), "error": None}, STOP), ["Hi", Finish("stop")]),
    "odd usage": (
        (STOP, {"usage": {"prompt_tokens": "many", "completion_tokens": -1, "prompt_tokens_details": 5}}),
        [Finish("stop"), Usage()],
    ),
    # OpenAI API reference, `n`: other choices than the first are not ours.
    "a second choice": (
        ({"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]}, STOP),
        ["a", Finish("stop")],
    ),
}


@pytest.mark.parametrize(("documents", "items"), STREAMS.values(), ids=STREAMS)
def test_a_stream_is_read_as_its_server_means_it(documents: tuple[object, ...], items: list[Item]) -> None:
    found = read(events(*documents))
    for item in found:
        if isinstance(item, ToolCall) and item.id.startswith("call_"):
            found[found.index(item)] = msgspec.structs.replace(item, id="call_")
    assert found == items


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
def test_a_stream_may_be_framed_in_these_ways(body: bytes) -> None:
    assert read(body) == ["Hi", Finish("stop")]


TOLD: dict[str, tuple[bytes, type[StatusError], int | None, str]] = {
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
    # OpenRouter docs, "Errors": beside a choice that finishes with "error", the code an HTTP status.
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
    "an error only named": (events(choice({}, "error")), ServerError, None, "finish_reason 'error'"),
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
    "vllm, older": (
        events({"object": "error", "message": "Too long.", "type": "BadRequestError", "code": 400}, "[DONE]"),
        RequestError,
        400,
        "Too long.",
    ),
    # ggml-org/llama.cpp pull request 16109, and what it was before that.
    "llama.cpp": (
        events({"error": {"code": 500, "message": "No slot.", "type": "server_error"}}),
        ServerError,
        500,
        "No slot.",
    ),
    "llama.cpp, older": (
        b'error: {"code":400,"message":"Too long.","type":"invalid_request_error"}\n\n' + events("[DONE]"),
        RequestError,
        400,
        "Too long.",
    ),
    # Blaizzy/nativ pull request 195: only a string.
    "a string": (events({"error": "No budget."}), ServerError, None, "No budget."),
    "named": (b"event: error\n" + events({"error": {"message": "Oh."}}), ServerError, None, "Oh."),
    "without words": (events({"error": {"code": 500}}), ServerError, 500, "500"),
    "without anything": (events({"error": {}}), ServerError, None, "without a message"),
    # FastAPI's shape, from servers built on it.
    "a detail": (events(choice({"content": "a"}), {"detail": "No memory."}, "[DONE]"), ServerError, None, "No memory."),
    # JSON in place of a stream, with status 200.
    "a document": (b'{"error": {"message": "No.", "code": 401}}', AuthenticationError, 401, "No."),
}


@pytest.mark.parametrize(("body", "kind", "status", "words"), TOLD.values(), ids=TOLD)
def test_a_fault_told_in_a_stream_is_raised_in_the_servers_words(
    body: bytes, kind: type[StatusError], status: int | None, words: str
) -> None:
    with pytest.raises(kind) as caught:
        read(body)
    assert (caught.value.status, words in caught.value.message) == (status, True)


@pytest.mark.parametrize(
    ("body", "error", "words"),
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
def test_what_is_no_whole_reply_is_told_apart(body: bytes, error: type[AcytooError], words: str) -> None:
    with pytest.raises(error, match=words.replace("[", r"\[")):
        read(body)


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain", ""])
def test_a_document_in_place_of_a_stream_is_read_whatever_it_is_called(content_type: str) -> None:
    body = b'\n {"id": "c", "model": "m", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}'
    assert read(body, content_type) == [Start("c", "m"), "Hi", Finish("stop")]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_a_stream_is_read_whatever_it_is_called(content_type: str) -> None:
    assert read(events(choice({"content": "Hi"}), STOP), content_type) == ["Hi", Finish("stop")]


def test_a_document_without_finish_reason_is_whole_and_none_is_invented() -> None:
    assert read(b'{"choices": [{"message": {"content": "Hi"}}]}') == ["Hi"]


HALVES: dict[str, tuple[list[str], list[Item]]] = {
    "an emoji in two records": ([r"a\ud83d", r"\ude00b"], ["a", "😀b"]),
    "an emoji and nothing else": ([r"\ud83d", r"\ude00"], ["😀"]),
    "a whole one in escapes": ([r"\ud83d\ude00"], ["😀"]),
    "a family": ([r"\ud83d", r"\udc69\u200d\ud83d", r"\udc66"], ["👩\u200d", "👦"]),
    "the first half alone": ([r"a\ud83d", "b"], ["a", "\ufffdb"]),
    "the first half last": ([r"a\ud83d"], ["a", "\ufffd"]),
    "the second half alone": ([r"a\ude00b"], ["a\ufffdb"]),
    "halves the wrong way round": ([r"\ude00\ud83d", "b"], ["\ufffd", "\ufffdb"]),
    "the same half twice": ([r"\ud83d", r"\ud83d", r"\ude00"], ["\ufffd", "😀"]),
    "an escaped backslash before": ([r"a\\ud83d"], [r"a\ud83d"]),
}


@pytest.mark.parametrize(("texts", "items"), HALVES.values(), ids=HALVES)
def test_halves_of_a_character_are_joined_across_records(texts: list[str], items: list[Item]) -> None:
    body = events(*(f'{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}' for text in texts), STOP, "[DONE]")
    assert read(body) == [*items, Finish("stop")]
    reader = DIALECT.reader(ResponseHead(200, {}))
    singly = [item for i in range(len(body)) for item in reader.feed(body[i : i + 1])]
    assert [*singly, *reader.flush()] == [*items, Finish("stop")]


def test_halves_are_joined_in_arguments_and_reasoning_too() -> None:
    body = events(
        r'{"choices":[{"index":0,"delta":{"reasoning_content":"\ud83d"}}]}',
        r'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"\"\ud83d"}}]}}]}',
        r'{"choices":[{"index":0,"delta":{"reasoning_content":"\ude00"}}]}',
        r'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\ude00\""}}]}}]}',
        r'{"choices":[{"index":0,"delta":{},"logprobs":{"content":[{"token":"\ud83d"}]}}]}',
        "[DONE]",
    )
    assert read(body) == [
        ToolCall(0, "a", "f", '"'),
        Reasoning("😀"),
        ToolCall(0, arguments='😀"'),
        Logprobs([{"token": "\ufffd"}]),
    ]


def test_a_cut_after_half_a_character_invents_none() -> None:
    reader = DIALECT.reader(ResponseHead(200, {}))
    assert reader.feed(events(r'{"choices":[{"index":0,"delta":{"content":"a\ud83d"}}]}')) == ["a"]
    assert reader.flush() == []
    with pytest.raises(TruncatedError):
        reader.close()


def test_half_a_character_in_a_document_becomes_a_replacement_character() -> None:
    body = rb'{"choices": [{"message": {"content": "a\ud83d \ud83d\ude00"}, "finish_reason": "stop"}]}'
    assert read(body) == ["a\ufffd 😀", Finish("stop")]


@pytest.mark.parametrize(
    ("status", "body", "words", "code"),
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
def test_an_error_body_gives_its_words(status: int, body: bytes, words: str, code: str | None) -> None:
    error = DIALECT.read_error(status, body)
    assert error.status == status
    assert words in error.message
    assert code is None or error.code == code


@pytest.mark.parametrize("dialect", [OpenAI(), dialects.OpenAIResponses()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("type_", "code", "param"),
    [
        ("invalid_request_error", "context_length_exceeded", "messages"),
        ("invalid_request_error", "invalid_api_key", None),
        ("insufficient_quota", "insufficient_quota", None),
        ("server_error", None, None),
    ],
)
def test_an_errors_type_code_and_param_are_told_apart_and_written_back(
    dialect: Dialect, type_: str, code: str | None, param: str | None
) -> None:
    told = {"message": "No.", "type": type_, "param": param, "code": code}
    error = dialect.read_error(400, msgspec.json.encode({"error": told}))
    assert (error.code, error.type, error.param) == (code or type_, type_, param or "")
    again = msgspec.json.decode(dialect.write_error(error).body)["error"]
    assert again == told | {"code": code or type_}


@pytest.mark.parametrize(
    ("dialect", "word"),
    [
        (dialects.Anthropic(), '"type":"invalid_request_error","message":"No."'),
        (dialects.Gemini(), '"status":"INVALID_ARGUMENT"'),
        (dialects.Ollama(), '{"error":"No."}'),
        (dialects.Acytoo(), '"type":"invalid_request_error"'),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_an_error_of_this_api_is_told_in_the_words_of_the_others(dialect: Dialect, word: str) -> None:
    body = b'{"error":{"message":"No.","type":"invalid_request_error","code":"context_length_exceeded"}}'
    assert word in dialect.write_error(DIALECT.read_error(400, body)).body.decode()


def test_a_code_in_a_stream_says_which_status_it_would_have_been_as_its_type_does() -> None:
    told = {"message": "No.", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
    with pytest.raises(RequestError) as caught:
        read(events({"error": told}))
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "context_length_exceeded", "messages")


# The request, client's half.


def built(request: Request, dialect: OpenAI = DIALECT, endpoint: Endpoint = ENDPOINT) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(dialect.encode_request(request, endpoint, Unsupported("openai")).body)
    return body


def test_the_smallest_request_is_this() -> None:
    outgoing = DIALECT.encode_request(Request(HELLO, "m"), Endpoint("http://h/v1/", Secret("k")), Unsupported("openai"))
    assert outgoing.url == "http://h/v1/chat/completions"
    assert outgoing.headers == {"accept": "*/*", "content-type": "application/json", "authorization": "Bearer k"}
    assert msgspec.json.decode(outgoing.body) == {
        "model": "m",
        "messages": HELLO,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_without_a_stream_none_is_asked_for() -> None:
    assert built(Request(HELLO, "m", stream=False)) == {"model": "m", "messages": HELLO}


@pytest.mark.parametrize(
    ("dialect", "field", "value"),
    [
        (OpenAI(max_tokens_field="max_completion_tokens"), "max_completion_tokens", 5),
        (OpenAI(), "max_tokens", 5),
        (OpenAI(stream_usage=False), "stream_options", None),
    ],
)
def test_servers_vary_in_fields(dialect: OpenAI, field: str, value: object) -> None:
    assert built(Request(HELLO, "m", max_tokens=5), dialect).get(field) == value


def test_azure_has_its_own_path_query_and_header() -> None:
    azure = OpenAI(path="/chat/completions", key_header="api-key")
    endpoint = Endpoint("https://h/openai/deployments/d?api-version=1", Secret("k"))
    outgoing = azure.encode_request(Request(HELLO, "m"), endpoint, Unsupported("openai"))
    assert outgoing.url == "https://h/openai/deployments/d/chat/completions?api-version=1"
    assert outgoing.headers["api-key"] == "k"


@pytest.mark.parametrize(("field", "sent"), [("", None), ("reasoning_content", "hm")])
def test_reasoning_goes_back_only_where_the_server_wants_it(field: str, sent: str | None) -> None:
    turn: Any = {"role": "assistant", "content": "Hi", "reasoning": [{"text": "h"}, {"text": "m"}, {"data": "x"}]}
    message = built(Request([turn], "m"), OpenAI(reasoning_field=field))["messages"][0]
    assert message.get("reasoning_content") == sent
    assert "reasoning" not in message


def test_building_changes_nothing_of_the_caller() -> None:
    turn: Any = {"role": "assistant", "content": "Hi", "reasoning": [{"text": "hm"}], "ours": 1}
    request = Request([turn, *HELLO], "m", stop=["x"], extra={"a": 1})
    before = msgspec.json.encode(request)
    built(request)
    assert msgspec.json.encode(request) == before


def test_extra_fields_of_the_user_are_sent_and_have_the_last_word() -> None:
    extra = {"temperature": 2, "min_p": 0.1, "stream_options": {"include_usage": False, "x": 1}}
    body = built(Request(HELLO, "m", temperature=1, extra=extra))
    assert (body["temperature"], body["min_p"], body["model"]) == (2, 0.1, "m")
    assert body["stream_options"] == {"include_usage": False, "x": 1}
    assert built(Request(HELLO, "m", extra={"stream_options": {"x": 1}}))["stream_options"]["include_usage"] is True


@pytest.mark.parametrize(
    ("given", "sent"), [({"city": "Paris"}, '{"city":"Paris"}'), ({}, "{}"), (None, "{}"), ("{oops", "{oops")]
)
def test_a_calls_arguments_go_as_json_text(given: object, sent: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": given}}
    turn: Any = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = built(Request([turn], "m"))
    assert body["messages"][0]["tool_calls"] == [{**call, "function": {"name": "f", "arguments": sent}}]
    assert call["function"] == {"name": "f", "arguments": given}


def test_extra_fields_of_another_dialect_are_refused_by_name() -> None:
    request = Request(HELLO, "m", extra={"keep_alive": 5}, extra_for="ollama")
    with pytest.raises(UnsupportedError, match="keep_alive"):
        built(request)
    unsupported = Unsupported("openai", drop=True)
    outgoing = DIALECT.encode_request(request, ENDPOINT, unsupported)
    assert (unsupported.dropped, b"keep_alive" in outgoing.body) == (["keep_alive"], False)


@pytest.mark.parametrize("text", ["\ud83d", "a\udfff"])
def test_what_json_cannot_say_is_told_before_anything_is_sent(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        built(Request([{"role": "user", "content": text}], "m"))


# The request, server's half.


def parsed(body: object, headers: dict[str, str] | None = None) -> Request:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return DIALECT.decode_request(ServerRequest("/v1/chat/completions", headers or {}, raw)).request


def test_a_client_that_says_nothing_about_streaming_wants_none() -> None:
    for body in ({"messages": HELLO}, {"messages": HELLO, "stream": None}, {"messages": HELLO, "stream": False}):
        assert parsed(body).stream is False
    assert parsed({"messages": HELLO, "stream": True}).stream is True


TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ({"max_completion_tokens": 5}, "max_tokens", 5),
        ({"max_tokens": 4, "max_completion_tokens": None}, "max_tokens", 4),
        ({"stop": "x"}, "stop", ["x"]),
        ({"stop": ["x", "y"]}, "stop", ["x", "y"]),
        ({"temperature": 1}, "temperature", 1.0),
        ({"temperature": None}, "temperature", None),
        ({"n": 1}, "extra", {}),
        ({"min_p": 0.1}, "extra", {"min_p": 0.1}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice", ...),
        ({"tool_choice": "auto", "tools": TOOLS}, "tool_choice", "auto"),
        ({"tool_choice": "auto"}, "tool_choice", None),
        ({"parallel_tool_calls": True}, "parallel_tool_calls", None),
        ({"tools": []}, "tools", None),
    ],
)
def test_a_field_of_the_body_becomes_this_option(body: dict[str, Any], name: str, value: object) -> None:
    request = parsed({"messages": HELLO, **body})
    assert getattr(request, name) == (body[name] if value is ... else value)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_sent_back_is_kept(field: str) -> None:
    turn: Any = {"role": "assistant", "content": "Hi", field: "hm"}
    assert parsed({"messages": [turn]}).messages == [
        {"role": "assistant", "content": "Hi", "reasoning": [{"text": "hm"}]}
    ]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "request body"),
        (b"{", "request body"),
        (b"\xff", "request body"),
        (b"[]", "request body"),
        (b'{"messages": "\xff"}', "request body"),
        (b"[" * 100_000, "request body"),
        ({}, "messages is missing"),
        ({"messages": None}, "messages is missing"),
        ({"messages": []}, "messages is empty"),
        ({"messages": "Hello"}, "messages must be a list"),
        ({"messages": ["Hello"]}, r"messages\[0\] must be a dict"),
        ({"messages": [*HELLO, {"role": "king", "content": ""}]}, r"messages\[1\] has the role 'king'"),
        ({"messages": [{"role": ["user"], "content": ""}]}, r"messages\[0\] has the role"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\] \(user\) has no content"),
        ({"messages": [{"role": "user", "content": 5}]}, r"messages\[0\] has content of type int"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, r"messages\[0\]\.content\[0\]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, r"messages\[0\]\.content\[0\]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, r"messages\[0\]\.tool_calls\[0\]"),
        ({"messages": [{"role": "assistant", "tool_calls": 5}]}, r"messages\[0\]"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": [], "function": {"name": "f"}}]}]},
            r"messages\[0\]\.tool_calls\[0\]",
        ),
        ({"messages": [{**HELLO[0], "reasoning": [5]}]}, r"messages\[0\]"),
        ({"messages": HELLO, "temperature": "hot"}, r"\$\.temperature"),
        ({"messages": HELLO, "stop": [5]}, r"\$\.stop"),
        ({"messages": HELLO, "tools": {"f": 1}}, r"\$\.tools"),
        ({"messages": HELLO, "tools": ["f"]}, r"\$\.tools"),
        ({"messages": HELLO, "tools": [{"type": "function"}]}, r"tools\[0\] must be like"),
        ({"messages": HELLO, "tools": [{"type": "function", "function": {"name": 5}}]}, r"tools\[0\] must be like"),
        ({"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": 5}}, "response_format must be"),
        ({"messages": HELLO, "response_format": {}}, "response_format must be"),
        ({"messages": HELLO, "stream": "yes"}, r"\$\.stream"),
        ({"messages": HELLO, "model": 5}, r"\$\.model"),
    ],
)
def test_a_malformed_body_is_refused_naming_the_place(body: object, place: str) -> None:
    with pytest.raises(RequestError, match=place) as caught:
        parsed(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({"authorization": "Bearer k"}, "k"),
        ({"authorization": "bearer  k "}, "k"),
        ({"api-key": "k"}, "k"),
        ({"x-api-key": "k"}, "k"),
        ({"authorization": "Basic k"}, None),
        ({}, None),
    ],
)
def test_the_key_is_found_in_these_headers(headers: dict[str, str], secret: str | None) -> None:
    call = DIALECT.decode_request(
        ServerRequest("/v1/chat/completions", headers, msgspec.json.encode({"messages": HELLO}))
    )
    assert [found.reveal() for found in call.secrets] == ([secret] if secret else [])


# The reply, server's half.


def test_usage_is_streamed_only_where_it_was_asked_for() -> None:
    for asked in (True, False):
        writer = DIALECT.writer(parsed({"messages": HELLO, "stream_options": {"include_usage": asked}}))
        body = writer.write(["Hi", Finish("stop"), Usage(1, 2)]) + writer.end()
        assert (Usage(1, 2) in read(body)) is asked


def test_a_fault_in_mid_stream_is_an_error_event_without_done() -> None:
    writer = DIALECT.writer(Request(HELLO, "m"))
    body = writer.write(["Hi"]) + writer.fail(TimedOutError("idle", 5))
    assert b"[DONE]" not in body
    with pytest.raises(ServerError, match="did not continue") as caught:
        read(body)
    assert caught.value.status == 504


def test_an_empty_reply_streams_a_role_and_its_end() -> None:
    writer = DIALECT.writer(Request(HELLO, "m"))
    first, second, third = writer.end().split(b"\n\n")[:3]
    assert msgspec.json.decode(first[6:])["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert msgspec.json.decode(second[6:])["choices"][0]["finish_reason"] == "stop"
    assert third == b"data: [DONE]"


def test_a_ping_is_a_comment_that_readers_skip() -> None:
    writer = DIALECT.writer(Request(HELLO, "m"))
    body = writer.ping + writer.write(["Hi"]) + writer.ping + writer.write([Finish()]) + writer.end()
    assert collect(read(body)).text == "Hi"


def test_a_whole_reply_has_the_shape_that_clients_check() -> None:
    reply = Reply("Hi", usage=Usage(3, 4, 1, 0, 2), finish=Finish("length"), id="c", model="m", created=7)
    assert msgspec.json.decode(DIALECT.write_reply(reply, Request(HELLO, "m"))) == {
        "id": "c",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }


def test_a_stream_that_is_passed_on_may_end_with_done_alone() -> None:
    body = events(choice({"role": "assistant", "content": ""}), choice({"content": "Hi"}), choice({"content": "!"}))
    body += events("[DONE]")
    for chunks in ([body], [body[i : i + 1] for i in range(len(body))]):
        reader = DIALECT.reader(ResponseHead(200, {"content-type": "text/event-stream"}))
        for chunk in chunks:
            reader.scan(chunk)
        reader.close()
