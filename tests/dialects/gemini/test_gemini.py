"""Gemini's API as a codec: documented responses to items, items to responses, requests both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acytoo.dialects.base import Reader, Unsupported
from acytoo.dialects.gemini import Gemini
from acytoo.dialects.translate import translate
from acytoo.errors import (
    AcytooError,
    AuthenticationError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    TimedOutError,
    TruncatedError,
    UnsupportedError,
    UsageError,
    status_error,
)
from acytoo.http import Endpoint, ResponseHead, ServerRequest
from acytoo.messages import check_options
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

DIALECT = Gemini()
STREAM = ResponseHead(200, {"content-type": "text/event-stream"})
WHOLE = ResponseHead(200, {"content-type": "application/json; charset=UTF-8"})
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
ASKED: list[Any] = [{"role": "user", "parts": [{"text": "Hello"}]}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "in a city", "parameters": SCHEMA}}
DECLARED = {"name": "weather", "description": "in a city", "parametersJsonSchema": SCHEMA}
PNG = "iVBORw0KGgo="

untimed = settings(deadline=None)


def sse(*documents: dict[str, Any], end: str = "\r\n\r\n") -> bytes:
    """Events as Google's servers end them."""
    return b"".join([f"data: {json.dumps(document, ensure_ascii=False)}{end}".encode() for document in documents])


def said(*parts: dict[str, Any], reason: str = "", **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], **fields}


def read(data: bytes, sizes: list[int] | None = None, head: ResponseHead = STREAM) -> list[Item]:
    reader = DIALECT.reader(head)
    items = feed(reader, data, sizes or [len(data) or 1])
    reader.close()
    return items


def feed(reader: Reader, data: bytes, sizes: list[int]) -> list[Item]:
    items: list[Item] = []
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        items += reader.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    return items + reader.flush()


def asking(messages: list[Any] | None = None, model: str = "gemini-2.0-flash", **options: Any) -> Request:
    return Request(messages or HELLO, model=model, **options)


def build(request: Request, *, drop: bool = False) -> dict[str, Any]:
    endpoint = Endpoint("https://generativelanguage.googleapis.com")
    body: dict[str, Any] = json.loads(DIALECT.encode_request(request, endpoint, Unsupported("gemini", drop=drop)).body)
    return body


def parse(body: Any, verb: str = "streamGenerateContent", query: dict[str, str] | None = None) -> Request:
    path = f"/v1beta/models/gemini-2.0-flash:{verb}"
    return DIALECT.decode_request(
        ServerRequest(path, {}, json.dumps(body).encode(), {"alt": "sse"} if query is None else query)
    ).request


def written(items: list[Item]) -> bytes:
    writer = DIALECT.writer(asking())
    return writer.write(items) + writer.end()


# Documented sequences.

IDENTITY = {"modelVersion": "gemini-2.5-flash", "responseId": "Il0taoSYJ5Cez7IP"}
START = Start("Il0taoSYJ5Cez7IP", "gemini-2.5-flash")

SEQUENCES: dict[str, tuple[bytes, list[Item]]] = {
    # Source: ai.google.dev, Gemini API reference, "Generating content" (streaming, curl), usage on every event.
    "text": (
        sse(
            said(
                {"text": "AI"},
                usageMetadata={"promptTokenCount": 8, "candidatesTokenCount": 1, "totalTokenCount": 9},
                **IDENTITY,
            ),
            said({"text": " learns 🌍"}, usageMetadata={"promptTokenCount": 8, "totalTokenCount": 11}, **IDENTITY),
            said(
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
    # Source: ai.google.dev, "Gemini thinking" (thought summaries) and "Thought signatures" (signature of a text,
    # in the last event with an empty text).
    "thoughts and a signed text": (
        sse(
            said({"text": "**Counting**\n", "thought": True}, **IDENTITY),
            said({"text": "the letters.", "thought": True}, **IDENTITY),
            said({"text": "Three."}, **IDENTITY),
            said({"text": "", "thoughtSignature": "EjQKMgEM"}, reason="STOP", **IDENTITY),
        ),
        [
            START,
            Reasoning("**Counting**\n", source="gemini"),
            Reasoning("the letters.", source="gemini"),
            "Three.",
            Reasoning("", 1, "EjQKMgEM", source="gemini"),
            Finish("stop"),
        ],
    ),
    # Source: ai.google.dev, "Thought signatures" (parallel function calls: only the first is signed).
    "signed parallel calls": (
        sse(
            said(
                {
                    "functionCall": {"name": "weather", "args": {"city": "Paris"}, "id": "fc-1"},
                    "thoughtSignature": "c2lnbmF0dXJl",
                },
                {"functionCall": {"name": "weather", "args": {"city": "London"}, "id": "fc-2"}},
                **IDENTITY,
            ),
            said({"text": ""}, reason="STOP", **IDENTITY),
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
    # Source: Gemini API reference, Candidate: content is left out where it is held back.
    "an answer held back": (
        sse(said({"text": "Once"}, **IDENTITY), {"candidates": [{"finishReason": "SAFETY", "index": 0}], **IDENTITY}),
        [START, "Once", Finish("content_filter", raw="SAFETY")],
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
def test_documented_events_become_items_however_they_are_cut(name: str, size: int) -> None:
    data, items = SEQUENCES[name]
    assert read(data, [size]) == items


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_stream_cut_at_any_byte_is_truncated_or_whole(name: str) -> None:
    data, items = SEQUENCES[name]
    for end in range(len(data)):
        try:
            got = read(data[:end])
        except TruncatedError:
            continue
        assert b"}" not in data[end:]
        assert got == items


def test_a_call_without_an_id_gets_one() -> None:
    calls = collect(
        read(sse(said({"functionCall": {"name": "now"}}, {"functionCall": {"name": "now"}}, reason="STOP")))
    )
    ids = [call["id"] for call in calls.tool_calls]
    assert [call["function"] for call in calls.tool_calls] == [{"name": "now", "arguments": "{}"}] * 2
    assert ids[0]
    assert ids[0] != ids[1]


def test_blocks_of_reasoning_end_with_their_signature_or_what_follows() -> None:
    data = sse(
        said(
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
    data = sse(said({"text": "He"}, reason="STOP"), said({"text": "llo"}, reason="STOP"))
    assert read(data) == ["He", Finish("stop"), "llo"]


def test_usage_after_the_finish_reason_counts() -> None:
    data = sse(said({"text": "Hi"}, reason="STOP"), {"usageMetadata": {"promptTokenCount": 3}})
    assert read(data) == ["Hi", Finish("stop"), Usage(3)]


def test_unknown_events_fields_and_candidates_are_tolerated() -> None:
    other = {"content": {"parts": [{"text": "second"}]}, "index": 1, "finishReason": "STOP"}
    data = b": ping\r\n\r\n\r\n\r\n" + sse(
        {"thinkingProgress": {"percent": 5}},
        {"candidates": [other]},
        said({"executableCode": {"code": "1"}}, {"text": "Hi", "mood": [1]}, future={"x": None}),
        said({"text": "!"}, reason="STOP"),
    )
    assert read(data + b"data: [DONE]\n\n") == ["Hi", "!", Finish("stop")]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", Finish("stop")),
        ("MAX_TOKENS", Finish("length")),
        ("RECITATION", Finish("content_filter", raw="RECITATION")),
        ("SPII", Finish("content_filter", raw="SPII")),
        ("OTHER", Finish("OTHER", raw="OTHER")),
        ("MALFORMED_FUNCTION_CALL", Finish("MALFORMED_FUNCTION_CALL", raw="MALFORMED_FUNCTION_CALL")),
    ],
)
def test_every_finish_reason_survives_the_way_there_and_back(reason: str, finish: Finish) -> None:
    items: list[Item] = ["x", finish]
    assert read(sse(said({"text": "x"}, reason=reason))) == items
    assert collect(read(written(items))).finish == finish


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (None, "STOP"),
        (Finish("tool_calls"), "STOP"),
        (Finish("content_filter"), "SAFETY"),
        (Finish("content_filter", raw="refusal"), "SAFETY"),
        (Finish("load"), "OTHER"),
    ],
)
def test_another_apis_reason_takes_the_nearest_word(finish: Finish | None, reason: str) -> None:
    document = json.loads(DIALECT.write_reply(Reply("x", finish=finish), asking()))
    assert document["candidates"][0]["finishReason"] == reason


# Whole replies.


def test_a_whole_reply_is_one_document() -> None:
    document = said({"text": "Hello!"}, reason="STOP", usageMetadata={"promptTokenCount": 2}, **IDENTITY)
    assert read(json.dumps(document, indent=2).encode(), [3], WHOLE) == [START, "Hello!", Usage(2), Finish("stop")]


def test_a_stream_that_comes_as_an_array_is_read() -> None:
    documents = [said({"text": "He"}, **IDENTITY), said({"text": "llo"}, reason="STOP", **IDENTITY)]
    assert read(json.dumps(documents).encode(), [3], WHOLE) == [START, "He", "llo", Finish("stop")]


@pytest.mark.parametrize("documents", [said({"text": "Hé"}, reason="STOP"), [said({"text": "Hé"}, reason="STOP")]])
def test_a_whole_reply_cut_at_any_byte_is_truncated(documents: Any) -> None:
    data = json.dumps(documents).encode()
    for end in range(len(data)):
        with pytest.raises(TruncatedError):
            read(data[:end], head=WHOLE)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (said({"text": "Hi"}), TruncatedError),
        ({}, ProtocolError),
        ({"choices": []}, ProtocolError),
        ([], ProtocolError),
        ({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}, ServerError),
        ([{"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}], RateLimitError),
    ],
)
def test_a_document_that_is_no_whole_reply_raises(document: Any, error: type[AcytooError]) -> None:
    with pytest.raises(error):
        read(json.dumps(document).encode(), head=WHOLE)


@pytest.mark.parametrize("body", [b"<html><title>Sign in</title></html>", b"data: [1]\n\n", b'data: "text"\n\n'])
def test_what_is_not_this_api_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="gemini"):
        read(body)


# Errors.

OVERLOADED = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize("size", [1, 11, 100_000])
@pytest.mark.parametrize(
    "told",
    [
        sse(OVERLOADED),
        # Source: google-genai, `_api_client.py`: an error comes line by line, without `data:`.
        json.dumps(OVERLOADED, indent=2).encode(),
        json.dumps([OVERLOADED], indent=2).encode() + b"\r\n",
        b",\r\n" + json.dumps(OVERLOADED).encode() + b"\r\n]",
    ],
)
def test_an_error_in_mid_stream_is_raised_with_its_status(told: bytes, size: int) -> None:
    data = sse(said({"text": "Hi"}), said({"functionCall": {"name": "log", "args": {"error": "none"}}})) + told
    with pytest.raises(ServerError, match="overloaded") as caught:
        read(data, [size])
    assert (caught.value.status, caught.value.code) == (503, "UNAVAILABLE")


def test_words_about_an_error_are_no_error() -> None:
    text = '\n{"error": {"message": "x"}}\n'
    data = sse(said({"text": text}), said({"functionCall": {"name": "f", "args": {"error": {}}}}, reason="STOP"))
    assert collect(read(data, [9])).text == text


def test_how_long_to_wait_is_in_the_details() -> None:
    # Source: google.rpc.RetryInfo, as the Gemini API sends it with 429.
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
    body = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [{}, retry]}}
    error = DIALECT.read_error(429, json.dumps([body]).encode())
    assert (type(error), error.code, error.retry_after) == (RateLimitError, "RESOURCE_EXHAUSTED", 34.07)
    assert DIALECT.read_error(429, json.dumps(body).encode(), 5).retry_after == 5


def test_a_wrong_key_is_an_authentication_error_although_it_is_a_400() -> None:
    # Source: the Gemini API's answer to a wrong key, google.rpc.ErrorInfo.
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    body = {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [info]}}
    error = DIALECT.read_error(400, json.dumps(body).encode())
    assert (type(error), error.status, error.message) == (AuthenticationError, 400, "API key not valid.")


@pytest.mark.parametrize("body", [b"", b"oops", b"[]", b"[1]", b'{"error": "x"}', b'{"error": {"details": [1, {}]}}'])
def test_any_error_body_gives_an_error(body: bytes) -> None:
    assert isinstance(DIALECT.read_error(500, body), ServerError)


@pytest.mark.parametrize(
    ("status", "cls", "word"),
    [
        (400, RequestError, "INVALID_ARGUMENT"),
        (401, AuthenticationError, "UNAUTHENTICATED"),
        (404, NotFoundError, "NOT_FOUND"),
        (429, RateLimitError, "RESOURCE_EXHAUSTED"),
        (503, ServerError, "UNAVAILABLE"),
        (529, ServerError, "UNKNOWN"),
    ],
)
def test_an_error_answer_is_read_back_as_what_it_was(status: int, cls: type[AcytooError], word: str) -> None:
    answer = DIALECT.write_error(status_error(status, "no", retry_after=2))
    error = DIALECT.read_error(answer.status, answer.body)
    assert (answer.status, answer.headers["retry-after"]) == (status, "2")
    assert (type(error), error.message, error.code, error.retry_after) == (cls, "no", word, 2)


def test_a_fault_in_mid_stream_is_an_error_event_and_plain_json() -> None:
    writer = DIALECT.writer(asking())
    data = writer.write([Start(model="m"), "Hi"]) + writer.fail(TimedOutError("idle", 60))
    assert b"finishReason" not in data
    plain = data.splitlines()[-1]
    assert json.loads(plain)["error"]["status"] == "DEADLINE_EXCEEDED"
    for stream in (data, data.replace(b"data: " + plain, b"")):
        with pytest.raises(ServerError, match="went silent") as caught:
            read(stream)
        assert caught.value.status == 504


# Replies, written.


def test_a_written_stream_looks_like_the_documented_one() -> None:
    items: list[Item] = [Start("r1", "m"), "Hi", Finish("length"), Usage(8, 34, 5, 0, 30)]
    first, last, rest = written(items).split(b"\n\n")
    assert rest == b""
    assert json.loads(first.removeprefix(b"data: ")) == {
        "candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "index": 0}],
        "modelVersion": "m",
        "responseId": "r1",
    }
    assert json.loads(last.removeprefix(b"data: ")) == {
        "candidates": [
            {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": 8,
            "candidatesTokenCount": 4,
            "totalTokenCount": 42,
            "cachedContentTokenCount": 5,
            "thoughtsTokenCount": 30,
        },
        "modelVersion": "m",
        "responseId": "r1",
    }


def test_a_ping_is_blank_and_readers_skip_it() -> None:
    # google-genai takes any line that is neither blank nor `data: ` for JSON.
    writer = DIALECT.writer(asking())
    data = writer.ping + writer.write(["Hi"]) + writer.ping + writer.end() + writer.ping
    assert writer.ping.strip() == b""
    assert collect(read(data, [1])).text == "Hi"


def test_another_apis_signature_is_not_passed_off_as_geminis() -> None:
    items: list[Item] = [Reasoning("hm", 0, "sig", source="anthropic"), ToolCall(0, "1", "f", "{}", "sig", "other")]
    assert b"sig" not in written(items[:1])
    assert collect(read(written(items[:1]))).reasoning == [{"text": "hm", "source": "gemini"}]


def test_a_refusal_is_said_as_text() -> None:
    assert collect(read(written([Refusal("I will not")]))).text == "I will not"


@pytest.mark.parametrize(("reason", "told"), [("length", "length"), ("tool_calls", "MALFORMED_FUNCTION_CALL")])
def test_a_call_whose_arguments_are_not_json_is_left_out_and_the_reason_says_so(reason: str, told: str) -> None:
    reply = collect(read(written(["Hi", ToolCall(0, "1", "f", '{"a": '), Finish(reason)])))
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("Hi", [], told)


def test_no_character_is_written_that_python_takes_for_a_line_end() -> None:
    text = "a\u2028b\u2029c\u0085d\x0be\x1cf"
    items: list[Item] = [text, Reasoning(text, source="gemini"), ToolCall(0, "1", "f", json.dumps({"x": text}))]
    data = written(items)
    assert all(line.startswith("data: ") for line in data.decode().splitlines() if line)
    assert collect(read(data)).text == text


def test_without_alt_sse_a_stream_is_an_array() -> None:
    writer = DIALECT.writer(parse({"contents": ASKED}, query={}))
    data = writer.write(["He"]) + writer.ping + writer.write(["llo", Finish("stop")]) + writer.end()
    assert writer.content_type == "application/json"
    assert len(json.loads(data)) == 3
    assert collect(read(data, [4], WHOLE)).text == "Hello"


@pytest.mark.parametrize("items", [[], ["Hi"]])
def test_a_fault_ends_an_array_with_the_error(items: list[Item]) -> None:
    writer = DIALECT.writer(parse({"contents": ASKED}, query={}))
    data = writer.write(items) + writer.fail(status_error(429, "slow down"))
    assert json.loads(data)[-1]["error"]["code"] == 429
    with pytest.raises(RateLimitError):
        read(data, head=WHOLE)


characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts
arguments = st.dictionaries(texts, scalars | st.lists(scalars, max_size=2), max_size=3)
signatures = st.sampled_from(["", "c2ln", "RWpRS01nRU0="])


def token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


@st.composite
def replies(draw: st.DrawFn) -> list[Item]:
    """The items of a reply that this API can express."""
    items: list[Item] = [Start(draw(texts), draw(texts))]
    blocks = draw(st.lists(st.lists(texts, min_size=1, max_size=2), max_size=2))
    for index, pieces in enumerate(blocks):
        items += [Reasoning(piece, index, source="gemini") for piece in pieces]
        if index < len(blocks) - 1 or draw(st.booleans()):
            items.append(Reasoning("", index, "c2ln", source="gemini"))
    for text in draw(st.lists(texts, max_size=4)):
        items.append(text)
        if draw(st.booleans()):
            probability = draw(st.integers(-50, 0).map(float))
            tops = [token(other, probability) for other in draw(st.lists(texts, max_size=2))]
            items.append(Logprobs([{**token(text, probability), "top_logprobs": tops}]))
    if signature := draw(signatures):
        items.append(Reasoning("", len(blocks), signature, source="gemini"))
    calls = draw(st.lists(arguments, max_size=3))
    for index, given_ in enumerate(calls):
        text = json.dumps(given_, ensure_ascii=False, separators=(",", ":"))
        cut = draw(st.integers(0, len(text)))
        signed = (signature, "gemini") if (signature := draw(signatures)) else ("", "")
        items += [
            ToolCall(index, f"id{index}", draw(texts), text[:cut]),
            ToolCall(index, "", "", text[cut:], *signed),
        ]
    blocked = Finish("content_filter", raw="RECITATION")
    ends: list[Item] = [draw(st.sampled_from([Finish("tool_calls" if calls else "stop"), Finish("length"), blocked]))]
    if draw(st.booleans()):
        thoughts = draw(st.integers(0, 2**30))
        counts = [draw(st.integers(0, 2**30)) for _ in range(3)]
        ends.append(Usage(counts[0], counts[1] + thoughts, counts[2], reasoning_tokens=thoughts))
    return items + draw(st.permutations(ends))


cuts = st.lists(st.integers(1, 90), min_size=1, max_size=5)


@given(replies(), cuts, st.booleans())
@untimed
def test_what_is_written_is_read_back_however_it_is_cut(items: list[Item], sizes: list[int], singly: bool) -> None:
    writer = DIALECT.writer(asking())
    batches = [[item] for item in items] if singly else [items]
    data = b"".join([writer.write(batch) for batch in batches]) + writer.end()
    assert collect(read(data, sizes)) == collect(items)


@given(replies())
@untimed
def test_a_whole_reply_is_read_back(items: list[Item]) -> None:
    reply = collect(items)
    assert collect(read(DIALECT.write_reply(reply, asking()), [50], WHOLE)) == reply


@given(replies(), st.data())
@untimed
def test_a_written_stream_that_is_cut_is_truncated_or_whole(items: list[Item], data: st.DataObject) -> None:
    stream = written(items)
    end = data.draw(st.integers(0, 2**16)) % len(stream)
    try:
        assert collect(read(stream[:end])) == collect(items)
    except TruncatedError:
        assert end < len(stream) - 2


names = (
    st.sampled_from(["content", "parts", "text", "thought", "functionCall", "name", "args", "type", "error"])
    | st.sampled_from(["role", "functionResponse", "inlineData", "mime_type", "data", "details", "index"])
    | texts
)
anything: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5)
        | st.lists(anything, max_size=3)
        | st.dictionaries(names, anything, max_size=4)
    )
)
CHUNK = ["candidates", "usageMetadata", "modelVersion", "responseId", "promptFeedback", "error"]
CANDIDATE = ["content", "finishReason", "index", "logprobsResult"]
BODY = ["contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safety_settings", "cachedContent"]
CONFIG = ["temperature", "stopSequences", "responseSchema", "responseMimeType", "thinkingConfig", "candidateCount"]
PART = ["text", "thought", "thoughtSignature", "functionCall", "functionResponse", "inlineData", "fileData"]


def fields(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), anything, max_size=5)


@given(
    st.lists(fields(CHUNK) | fields(CANDIDATE).map(lambda found: {"candidates": [found]}), max_size=4), st.booleans()
)
@untimed
def test_garbage_in_a_reply_raises_nothing_but_our_errors(documents: list[Any], whole: bool) -> None:
    try:
        read(json.dumps(documents).encode() if whole else sse(*documents))
    except AcytooError:
        pass


@given(fields(BODY), fields(CONFIG), st.lists(fields(PART), max_size=3), st.sampled_from(["user", "model"]))
@untimed
def test_garbage_in_a_request_is_answered_with_400(
    body: dict[str, Any], config: dict[str, Any], parts: list[Any], role: str
) -> None:
    for given_ in (
        body,
        body | {"contents": [{"role": role, "parts": parts}]},
        {"contents": ASKED, "generationConfig": config},
        [body],
    ):
        try:
            parse(given_)
        except RequestError as error:
            assert error.status == 400


# Requests, built.


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({}, {}),
        (
            {
                "temperature": 0.5,
                "top_p": 0.9,
                "top_k": 40,
                "max_tokens": 9,
                "stop": ["x"],
                "seed": 1,
                "presence_penalty": 0.1,
                "frequency_penalty": 0.2,
                "logprobs": True,
                "top_logprobs": 3,
            },
            {
                "generationConfig": {
                    "temperature": 0.5,
                    "topP": 0.9,
                    "topK": 40,
                    "maxOutputTokens": 9,
                    "stopSequences": ["x"],
                    "seed": 1,
                    "presencePenalty": 0.1,
                    "frequencyPenalty": 0.2,
                    "responseLogprobs": True,
                    "logprobs": 3,
                }
            },
        ),
        ({"tools": [WEATHER], "parallel_tool_calls": True}, {"tools": [{"functionDeclarations": [DECLARED]}]}),
        ({"tool_choice": "auto"}, {"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}),
        ({"tool_choice": "none"}, {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}),
        ({"tool_choice": "required"}, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}},
        ),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"generationConfig": {"responseMimeType": "application/json"}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
        ),
        (
            {"reasoning_effort": "low", "model": "gemini-3-pro-preview"},
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True}}},
        ),
        (
            {"reasoning_effort": "low", "model": "models/gemini-2.5-flash"},
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True}}},
        ),
        ({"reasoning_effort": "none"}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
        (
            {
                "seed": 1,
                "tools": [WEATHER],
                "extra": {
                    "alt": "json",
                    "cachedContent": "c",
                    "generationConfig.speechConfig": {},
                    "generationConfig": {"seed": 2, "topK": 3},
                    "tools.googleSearch": {},
                },
            },
            {
                "cachedContent": "c",
                "generationConfig": {"seed": 2, "topK": 3, "speechConfig": {}},
                "tools": [{"functionDeclarations": [DECLARED]}, {"googleSearch": {}}],
            },
        ),
    ],
)
def test_options_take_this_apis_shape(options: dict[str, Any], body: dict[str, Any]) -> None:
    assert build(asking(**options)) == {"contents": ASKED} | body


@pytest.mark.parametrize(
    ("base", "model", "stream", "url"),
    [
        ("https://g.example", "gemini-x", True, "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"),
        ("https://g.example/", "models/gemini-x", False, "/v1beta/models/gemini-x:generateContent"),
        ("https://g.example?a=1", "org/m 1:8b", True, "/v1beta/models/org/m%201:8b:streamGenerateContent?a=1&alt=sse"),
        ("https://g.example", "tunedModels/mine", False, "/v1beta/tunedModels/mine:generateContent"),
        ("https://g.example", "m?key=x", False, "/v1beta/models/m%3Fkey%3Dx:generateContent"),
    ],
)
def test_the_model_and_whether_to_stream_are_in_the_url(base: str, model: str, stream: bool, url: str) -> None:
    outgoing = DIALECT.encode_request(
        asking(model=model, stream=stream), Endpoint(base, Secret("g-1")), Unsupported("gemini")
    )
    assert outgoing.url == "https://g.example" + url
    assert outgoing.headers["x-goog-api-key"] == "g-1"


def test_a_model_is_needed() -> None:
    with pytest.raises(UsageError, match="model"):
        build(asking(model=""))


def test_a_message_that_is_not_a_system_one_is_needed() -> None:
    with pytest.raises(UsageError, match="system"):
        build(asking([{"role": "system", "content": "x"}]))


def test_history_with_calls_results_and_media_is_sent() -> None:
    signed = {"google": {"thought_signature": "s2"}}
    calls = [
        {"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}, "extra_content": signed},
        {"id": "c2", "function": {"name": "now", "arguments": ""}},
    ]
    blocks = [
        {"text": "hm", "source": "gemini"},
        {"signature": "s1", "source": "gemini"},
        {"text": "mine", "signature": "x", "source": "anthropic"},
    ]
    messages: list[Any] = [
        {"role": "system", "content": "Be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.JPG?x=1"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
                {"type": "file", "file": {"file_id": "https://example.com/files/1"}},
            ],
        },
        {"role": "assistant", "content": "Wait", "reasoning": blocks, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {"role": "developer", "content": "In French"},
        {"role": "user", "content": "Well?"},
    ]
    body = build(asking(messages))
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief"}, {"text": "In French"}]}
    assert body["contents"] == [
        {
            "role": "user",
            "parts": [
                {"text": "look"},
                {"inlineData": {"mimeType": "image/png", "data": PNG}},
                {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.com/a.JPG?x=1"}},
                {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
                {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
                {"fileData": {"fileUri": "https://example.com/files/1"}},
            ],
        },
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True},
                {"text": "Wait", "thoughtSignature": "s1"},
                {
                    "functionCall": {"id": "c1", "name": "weather", "args": {"city": "Rome"}},
                    "thoughtSignature": "s2",
                },
                {"functionCall": {"id": "c2", "name": "now", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "sunny"}}},
                {"functionResponse": {"id": "c2", "name": "now", "response": {"output": "noon"}}},
            ],
        },
        {"role": "user", "parts": [{"text": "Well?"}]},
    ]


@pytest.mark.parametrize(("model", "stands_in"), [("gemini-3-flash", True), ("gemini-2.5-pro", False)])
def test_a_call_of_another_model_is_sent_to_gemini_3_with_the_documented_stand_in(model: str, stands_in: bool) -> None:
    # Source: ai.google.dev, "Thought signatures": without one, Gemini 3 answers 400.
    calls = [{"id": str(i), "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in range(2)]
    messages: list[Any] = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "0", "content": "x"},
        {"role": "tool", "tool_call_id": "1", "content": "y"},
    ]
    body = build(asking(messages, model=model))
    signed = [part.get("thoughtSignature") for part in body["contents"][1]["parts"]]
    assert signed == (["skip_thought_signature_validator", None] if stands_in else [None, None])
    assert "extra_content" not in parse(body).messages[1]["tool_calls"][0]


@pytest.mark.parametrize(
    ("request_", "feature"),
    [
        (asking(user="u"), "user"),
        (asking(parallel_tool_calls=False), "parallel_tool_calls"),
        (asking(tools=[{"type": "web_search"}]), "web_search"),
        (asking(tool_choice="sometimes"), "tool_choice"),
        (asking(reasoning_effort="extreme"), "reasoning_effort"),
        (asking(model="gemini-2.5-pro", reasoning_effort="xhigh"), "reasoning_effort"),
        (asking(response_format={"type": "grammar"}), "grammar"),
        (asking([{"role": "user", "content": [{"type": "video", "video": 1}]}]), "video"),
        (asking([{"role": "user", "content": "x", "name": "Ann"}]), "name"),
        (asking([*HELLO, {"role": "tool", "tool_call_id": "lost", "content": "x"}]), "lost"),
        (asking(extra={"metadata": {}}, extra_for="openai"), "metadata"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name_or_dropped(request_: Request, feature: str) -> None:
    with pytest.raises(UnsupportedError, match="gemini") as caught:
        build(request_)
    assert feature in caught.value.feature
    assert build(request_, drop=True)["contents"]


def test_arguments_that_are_no_object_are_refused_before_anything_is_sent() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "[1]"}}
    with pytest.raises(UsageError, match=r"messages\[0\]\.tool_calls\[0\]"):
        build(asking([{"role": "assistant", "content": None, "tool_calls": [call]}]))


# Requests, parsed.


def test_a_request_in_snake_case_is_understood() -> None:
    # As google-genai 3.4 sends some of its fields.
    request = parse(
        {
            "system_instruction": {"parts": [{"text": "Be brief"}], "role": "user"},
            "contents": [
                {
                    "role": "user",
                    "parts": [{"text": "look"}, {"inline_data": {"mime_type": "image/png", "data": PNG}}],
                },
                {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"x": 1}}}]},
                {"parts": [{"function_response": {"name": "f", "response": {"result": [1]}}}, {"text": "Well?"}]},
            ],
            "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": SCHEMA}]}],
            "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f", "g"]}},
            "generation_config": {"max_output_tokens": 9, "thinking_config": {"thinking_level": "HIGH"}},
            "safety_settings": [],
        }
    )
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert request.messages == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": '{"result":[1]}', "name": "f"},
        {"role": "user", "content": "Well?"},
    ]
    assert request.tools == [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    assert build(request)["toolConfig"] == {
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]},
    }
    assert (request.max_tokens, request.reasoning_effort, request.extra) == (9, "high", {"safetySettings": []})


def test_a_schema_in_geminis_own_form_becomes_json_schema() -> None:
    own = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "nullable": True, "maxLength": "9"},
            "any_of": {
                "anyOf": [{"type": "INTEGER"}, {"type": "ARRAY", "items": {"type": "NUMBER"}, "min_items": "1"}]
            },
        },
        "propertyOrdering": ["type"],
        "required": ["type"],
    }
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": ["string", "null"], "maxLength": 9},
            "any_of": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "number"}, "minItems": 1}]},
        },
        "required": ["type"],
    }
    request = parse(
        {
            "contents": ASKED,
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": own}]}],
            "generationConfig": {"responseSchema": own, "responseMimeType": "application/json"},
        }
    )
    assert request.tools is not None
    assert request.tools[0]["function"]["parameters"] == schema
    assert request.response_format == {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}


@pytest.mark.parametrize(
    ("thinking", "effort", "kept"),
    [
        ({"thinkingBudget": 0}, "none", False),
        ({"thinkingBudget": 512}, "low", False),
        ({"thinkingBudget": 8192}, "medium", False),
        ({"thinkingBudget": 32768}, "high", False),
        ({"thinkingBudget": -1, "includeThoughts": True}, None, True),
        ({"includeThoughts": True}, None, True),
    ],
)
def test_a_thinking_budget_becomes_an_effort_and_an_automatic_one_is_kept(
    thinking: dict[str, Any], effort: str | None, kept: bool
) -> None:
    request = parse({"contents": ASKED, "generationConfig": {"thinkingConfig": thinking, "candidateCount": 1}})
    assert request.reasoning_effort == effort
    assert request.extra == ({"generationConfig.thinkingConfig": thinking} if kept else {})
    assert translate(request, DIALECT).extra == {}


def test_what_only_this_api_has_is_named_when_crossing() -> None:
    body = {
        "contents": ASKED,
        "tools": [{"googleSearch": {}}],
        "generationConfig": {"speechConfig": {}},
        "toolConfig": {"retrievalConfig": {}},
        "safetySettings": [],
    }
    request = parse(body)
    assert set(translate(request, DIALECT).extra) == {
        "tools.googleSearch",
        "generationConfig.speechConfig",
        "toolConfig.retrievalConfig",
    }
    assert build(request) == body


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1beta/models/gemini-x:streamGenerateContent", "gemini-x", True),
        ("/v1/models/org/llama3:8b:generateContent", "org/llama3:8b", False),
        ("/v1beta/models/models/x:generateContent", "x", False),
    ],
)
def test_the_model_and_whether_to_stream_come_from_the_path(path: str, model: str, stream: bool) -> None:
    request = DIALECT.decode_request(ServerRequest(path, {}, json.dumps({"contents": ASKED}).encode())).request
    assert (request.model, request.stream) == (model, stream)


@pytest.mark.parametrize(
    ("headers", "query"),
    [({"x-goog-api-key": "g-1"}, {}), ({}, {"key": "g-1"}), ({"authorization": "Bearer g-1"}, {})],
)
def test_the_key_is_the_callers_secret_wherever_it_stands(headers: dict[str, str], query: dict[str, str]) -> None:
    body = json.dumps({"contents": ASKED}).encode()
    call = DIALECT.decode_request(ServerRequest("/v1beta/models/m:generateContent", headers, body, query))
    assert call.secrets == [Secret("g-1")]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "contents"),
        ({"contents": 3}, "contents must be a list"),
        ({"contents": ["x"]}, r"contents\[0\] must be an object"),
        ({"contents": [{"parts": [{}]}]}, "empty part"),
        ({"contents": [{"role": "model", "parts": [{"functionCall": {"name": 3}}]}]}, "name"),
        ({"contents": ASKED, "generationConfig": []}, "generationConfig"),
        ({"contents": ASKED, "generationConfig": {"temperature": "hot"}}, "temperature"),
        ({"contents": ASKED, "tools": [{"functionDeclarations": [{}]}]}, "name"),
    ],
)
def test_a_malformed_request_is_answered_with_what_is_wrong(body: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        parse(body)
    assert caught.value.status == 400


def test_a_part_that_other_apis_have_no_name_for_is_refused_by_its_own_and_forwarded_as_it_is() -> None:
    body = json.dumps({"contents": [{"parts": [{"toolResponse": {"x": 1}}]}], "model": "left alone"}).encode()
    incoming = ServerRequest("/v1beta/models/gemini-x:generateContent", {}, body)
    request = DIALECT.decode_request(incoming).request
    with pytest.raises(UnsupportedError, match="toolResponse"):
        build(request)
    endpoint = Endpoint("https://g.example", Secret("g-1"))
    outgoing = DIALECT.http_request(request, endpoint, DIALECT.for_model(body, "gemini-x"))
    assert outgoing.url == "https://g.example/v1beta/models/gemini-x:generateContent"
    assert (outgoing.body, outgoing.headers["x-goog-api-key"]) == (body, "g-1")


def test_tokens_are_counted_with_tools_and_instruction() -> None:
    request = asking([{"role": "system", "content": "Be brief"}, *HELLO], tools=[WEATHER], user="u")
    outgoing = DIALECT.count(request, Endpoint("https://g.example"))
    asked = json.loads(outgoing.body)["generateContentRequest"]
    assert outgoing.url == "https://g.example/v1beta/models/gemini-2.0-flash:countTokens"
    assert asked["model"] == "models/gemini-2.0-flash"
    counted = DIALECT.decode_request(
        ServerRequest("/v1beta/models/gemini-2.0-flash:countTokens", {}, outgoing.body)
    ).request
    assert (counted.messages, counted.tools, counted.stream) == (request.messages, [WEATHER], False)
    assert DIALECT.read_count(DIALECT.write_count(31)) == 31


def test_a_count_may_be_of_contents_alone() -> None:
    body = json.dumps({"contents": ASKED}).encode()
    assert DIALECT.decode_request(ServerRequest("/v1/models/m:countTokens", {}, body)).request.messages == HELLO


def test_another_verb_is_refused() -> None:
    with pytest.raises(RequestError, match="generateContent"):
        parse({"contents": ASKED}, verb="embedContent")


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """Messages that this API can express, in the shared shape."""
    messages: list[Any] = [{"role": "system", "content": text} for text in draw(st.lists(texts, max_size=2))]
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}
    for turn in range(draw(st.integers(1, 3))):
        text = draw(texts)
        media = draw(st.lists(st.sampled_from([image, audio, file]), max_size=2))
        asked = [{"type": "text", "text": text}, *media] if media else text
        answer: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
        if draw(st.booleans()):
            answer["reasoning"] = [{"text": draw(texts), "signature": "c2ln", "source": "gemini"}]
            answer["reasoning"] += draw(st.lists(st.just({"signature": "czI=", "source": "gemini"}), max_size=1))
        messages += [{"role": "user", "content": asked}, answer]
        if found := draw(st.lists(arguments, max_size=2)):
            names = [draw(texts) for _ in found]
            dumped = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in found]
            answer["content"] = draw(st.none() | texts)
            if answer["content"] is None:
                answer.pop("reasoning", None)
            answer["tool_calls"] = [
                {"id": f"{turn}.{i}", "type": "function", "function": {"name": names[i], "arguments": dumped[i]}}
                for i in range(len(found))
            ]
            if draw(st.booleans()):
                answer["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "c2ln"}}
            messages += [
                {"role": "tool", "tool_call_id": f"{turn}.{i}", "content": draw(texts), "name": names[i]}
                for i in range(len(found))
            ]
    return messages


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


FORMAT = {"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}}}
CHOICES = ["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]
EXTRA = ["cachedContent", "generationConfig.speechConfig", "toolConfig.retrievalConfig", "tools.googleSearch"]

requests = st.builds(
    Request,
    messages=conversations(),
    model=st.just("gemini-2.0-flash"),
    stream=st.just(True),
    temperature=optional(st.integers(0, 2).map(float)),
    top_p=optional(st.just(0.5)),
    top_k=optional(st.integers(1, 99)),
    max_tokens=optional(st.integers(1, 99)),
    stop=optional(st.lists(texts, min_size=1, max_size=2)),
    seed=optional(st.integers(0, 99)),
    presence_penalty=optional(st.just(0.25)),
    frequency_penalty=optional(st.just(-0.25)),
    tools=optional(st.just([WEATHER])),
    tool_choice=optional(st.sampled_from(CHOICES)),
    response_format=optional(st.sampled_from([{"type": "json_object"}, FORMAT])),
    reasoning_effort=optional(st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"])),
    logprobs=optional(st.booleans()),
    top_logprobs=optional(st.integers(0, 20)),
    extra=st.dictionaries(st.sampled_from(EXTRA), st.just({"x": 1})),
    extra_for=st.just("gemini"),
)


@given(requests)
@untimed
def test_a_request_that_can_be_said_comes_back_as_it_was(asked: Request) -> None:
    check_options(asked)
    assert parse(build(asked)) == asked
